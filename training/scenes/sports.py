"""Draws the objects of COCO's supercategory "sports": a frisbee, a sports ball and a kite.

Each function returns a random object as a list of shapes. The coordinates run from about -1 to 1. The pattern
of a ball is computed on the unit sphere, rotated at random in space, and seen along the z axis.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.random import Generator

from training.scenes.paint import BLACK, WHITE, Colour, Points, chance, darker, hsv, lighter, pick, vivid
from training.scenes.shapes import Drawing, Shape, arc, points_at


def frisbee(rng: Generator) -> Drawing:
    """Draws a frisbee with rings and a star, with more rings, or with three bent stripes."""
    squash = rng.uniform(0.38, 1)
    colour = vivid(rng)
    ink = pick(rng, [WHITE, BLACK, vivid(rng), darker(colour, 0.5)])
    flat = np.array([1, squash])

    def ring(radius: float, colour: Colour, width: float = 0.0, opacity: float = 1.0) -> Shape:
        return Shape(arc(0, 0, radius) * flat, colour, width, "paint", opacity)

    thickness = 0.22 * (1 - squash)
    shapes = [
        Shape(np.concatenate([arc(0, 0, 1, 1, 180, 360) * flat, arc(0, thickness, 1, squash, 0, 180)]),
              darker(colour, 0.45)),
        Shape(arc(0, 0, 1) * flat, colour),
        ring(0.965, lighter(colour, 0.5), 0.035),
        ring(0.86, darker(colour, 0.28), 0.04),
        ring(0.80, lighter(colour, 0.3), 0.025),
        ring(0.73, darker(colour, 0.16)),
        ring(0.71, lighter(colour, 0.08)),
    ]  # fmt: skip
    style = int(rng.integers(3))
    if style == 0:
        radii = np.where(np.arange(10) % 2, 0.16, 0.38)
        angles = np.arange(10) * np.pi / 5 + rng.uniform(0, np.pi)
        star = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
        shapes += [ring(0.58, ink, 0.035), Shape(star * flat, ink, mode="paint")]
    elif style == 1:
        shapes += [ring(0.56, ink, 0.07), ring(0.36, ink, 0.05), ring(0.14, ink)]
    else:
        turn = rng.uniform(0, 360)
        for start in (0, 120, 240):
            sweep = arc(0, 0, 0.42, start=turn + start, stop=turn + start + 85, count=16)
            shapes.append(Shape(sweep * flat, ink, 0.13, "paint"))
        shapes.append(ring(0.62, ink, 0.03))
    shine = arc(0, 0, 0.9, start=200, stop=255, count=16) * flat
    shapes.append(Shape(shine, WHITE, 0.06, "paint", 0.55))
    return shapes


def _rotation(rng: Generator) -> Points:
    """Returns a random rotation of space, (3, 3). All rotations are equally likely."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.asarray(q * np.sign(np.diag(r)), np.float64)


def _seen(curve: Points) -> list[Points]:
    """Returns the visible parts (z > 0) of a curve (K, 3) on the unit sphere, as flat lines."""
    front = np.flatnonzero(curve[:, 2] > 0)
    parts = np.split(front, np.flatnonzero(np.diff(front) > 1) + 1)
    return [curve[part, :2] for part in parts if len(part) > 1]


def _flattened(polygon: Points) -> Points | None:
    """Returns a polygon (K, 3) on the unit sphere as a flat polygon (K, 2).

    Points on the back of the sphere are moved to its rim. Returns None if no point is on the front.
    """
    if (polygon[:, 2] <= 0.0).all():
        return None
    flat = polygon[:, :2].copy()
    behind = polygon[:, 2] < 0
    flat[behind] *= 1.02 / np.maximum(np.linalg.norm(flat[behind], axis=1, keepdims=True), 1e-6)
    return flat


def _on_sphere(longitude: Points, colatitude: Points) -> Points:
    """Returns points (K, 3) on the unit sphere from two angles (K,) in radians."""
    x, y = np.cos(longitude), np.sin(longitude)
    return np.stack([np.sin(colatitude) * x, np.sin(colatitude) * y, np.cos(colatitude)], axis=1)


def _circle_on_sphere(axis: int, height: float, count: int = 72) -> Points:
    """Returns the circle on the unit sphere at `height` along one axis, (count, 3)."""
    angles = np.linspace(0, 2 * np.pi, count)
    radius = np.sqrt(1 - height**2)
    columns = [radius * np.cos(angles), radius * np.sin(angles)]
    columns.insert(axis, np.full(count, height))
    return np.stack(columns, axis=1)


def _ball_seam(count: int = 160) -> Points:
    """Returns the seam of a tennis ball on the unit sphere, (count, 3)."""
    t = np.linspace(0, 2 * np.pi, count)
    a, b = 0.72, 0.28
    x, y = a * np.cos(t) + b * np.cos(3 * t), a * np.sin(t) - b * np.sin(3 * t)
    return np.stack([x, y, 2 * np.sqrt(a * b) * np.sin(2 * t)], axis=1)


def _icosahedron() -> tuple[Points, list[list[int]]]:
    """Returns the corners of an icosahedron on the unit sphere, (12, 3), and the neighbours of each corner.

    The five neighbours of a corner are in order around the corner.
    """
    golden = (1 + np.sqrt(5)) / 2
    corners = [
        tuple(np.roll((0, a, b * golden), shift)) for shift in range(3) for a in (-1, 1) for b in (-1, 1)
    ]
    points = np.array(corners) / np.sqrt(1 + golden**2)
    neighbours = []
    for point in points:
        near = np.argsort(-(points @ point))[1:6]
        side = points[near[0]] - point * (points[near[0]] @ point)
        angles = np.arctan2(points[near] @ np.cross(point, side), points[near] @ side)
        neighbours.append([int(index) for index in near[np.argsort(angles)]])
    return points, neighbours


ICOSAHEDRON = _icosahedron()


def sports_ball(rng: Generator) -> Drawing:
    """Draws a basketball, a soccer ball, a tennis ball or a beach ball."""
    return pick(rng, [_basketball, _soccer_ball, _tennis_ball, _beach_ball])(rng)


def _basketball(rng: Generator) -> Drawing:
    shapes = [Shape(arc(0, 0, 1), hsv(rng.uniform(0.045, 0.075), 0.82, rng.uniform(0.8, 0.95)))]
    turn = _rotation(rng)
    for axis, height in ((0, 0.0), (1, 0.0), (2, 0.6), (2, -0.6)):
        for line in _seen(_circle_on_sphere(axis, height) @ turn):
            shapes.append(Shape(line, (38, 26, 22), 0.055, "paint"))
    return shapes


def _soccer_ball(rng: Generator) -> Drawing:
    dark = pick(rng, [BLACK, BLACK, darker(vivid(rng), 0.3)])
    shapes = [Shape(arc(0, 0, 1), WHITE)]
    corners, neighbours = ICOSAHEDRON
    turn = _rotation(rng)
    for index, near in enumerate(neighbours):
        pentagon = corners[index] * 2 / 3 + corners[near] / 3
        outward = corners[near] * 2 / 3 + corners[index] / 3
        pentagon /= np.linalg.norm(pentagon, axis=1, keepdims=True)
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        flat = _flattened(pentagon @ turn)
        if flat is not None:
            shapes.append(Shape(flat, dark, mode="paint"))
        for a, b in zip(pentagon @ turn, outward @ turn, strict=True):
            if a[2] > 0 or b[2] > 0:
                shapes.append(Shape(np.stack([a[:2], b[:2]]), lighter(dark, 0.25), 0.035, "paint"))
    return shapes


def _tennis_ball(rng: Generator) -> Drawing:
    shapes = [
        Shape(arc(0, 0, 1), hsv(rng.uniform(0.17, 0.21), rng.uniform(0.65, 0.8), rng.uniform(0.85, 0.97)))
    ]
    for line in _seen(_ball_seam() @ _rotation(rng)):
        shapes.append(Shape(line, WHITE, 0.11, "paint"))
    return shapes


def _beach_ball(rng: Generator) -> Drawing:
    shapes = [Shape(arc(0, 0, 1), WHITE)]
    turn = _rotation(rng)
    hue = rng.random()
    bands = np.linspace(0, np.pi, 13)
    for panel in range(0, 6, 2):
        colour = hsv(hue + panel / 6, 0.85, 0.93)
        for low, high in pairwise(bands):  # in narrow bands: a whole panel may bend around the rim
            longitude = np.radians(60 * panel + np.array([0, 20, 40, 60, 60, 40, 20, 0]))
            colatitude = np.array([low] * 4 + [high] * 4)
            flat = _flattened(_on_sphere(longitude, colatitude) @ turn)
            if flat is not None:
                shapes.append(Shape(flat, colour, mode="paint"))
    for pole in (0.97, -0.97):
        flat = _flattened(_circle_on_sphere(2, pole, 24) @ turn)
        if flat is not None:
            shapes.append(Shape(flat, WHITE, mode="paint"))
    return shapes


def kite(rng: Generator) -> Drawing:
    """Draws a kite of four panels, with a tail that carries three bows."""
    half_width, middle = rng.uniform(0.55, 0.75), rng.uniform(-0.4, -0.15)
    top, right, bottom, left = points_at((0, -1), (half_width, middle), (0, 0.75), (-half_width, middle))
    centre = points_at((0, middle))[0]
    first, second = vivid(rng), pick(rng, [vivid(rng), WHITE])
    colours = [first, second, first, second]
    if chance(rng, 0.35):
        colours = [vivid(rng) for _ in range(4)]
    swing = rng.uniform(0.08, 0.16) * rng.choice([-1, 1])
    along = np.linspace(0, 1, 24)
    tail = np.stack([swing * np.sin(along * 2.2 * np.pi), 0.72 + along * rng.uniform(0.6, 0.85)], axis=1)
    ribbon = pick(rng, [first, second, vivid(rng)])
    shapes = [Shape(tail, darker(ribbon, 0.25), 0.06)]
    for place in (9, 16, 23):
        x, y = tail[place]
        for side in (-1, 1):
            shapes.append(
                Shape(points_at((x, y), (x + 0.19 * side, y - 0.11), (x + 0.19 * side, y + 0.11)), ribbon)
            )
    shapes += [
        Shape(np.stack([top, right, centre]), colours[0]),
        Shape(np.stack([right, bottom, centre]), colours[1]),
        Shape(np.stack([bottom, left, centre]), colours[2]),
        Shape(np.stack([left, top, centre]), colours[3]),
    ]
    spar = darker(first, 0.6)
    outline = np.stack([top, right, bottom, left, top])
    shapes += [
        Shape(np.stack([top, bottom]), spar, 0.035, "paint"),
        Shape(np.stack([left, right]), spar, 0.035, "paint"),
        Shape(outline, spar, 0.03),
    ]
    return shapes

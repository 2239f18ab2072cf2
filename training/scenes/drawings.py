"""Drawings: ten kinds of object, as vector shapes and as patches of pixels.

An object is a list of shapes in units of its own; rotation, foreshortening and size are applied to the
points, the shapes are filled at two to four times the wanted resolution, and the patch is averaged down.
Coordinates are (x, y), y downwards; colours are RGB, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from answer import coco
from training.scenes.paint import (
    BLACK,
    WHITE,
    Bytes,
    Colour,
    Floats,
    Points,
    chance,
    darker,
    hsv,
    lighter,
    pick,
    vivid,
)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One polygon or line of a drawing, in the drawing's own units."""

    points: Points
    """(K, 2)."""
    colour: Colour = (0, 0, 0)
    width: float = 0.0
    """Of the line; 0 fills the polygon."""
    mode: Literal["add", "paint", "erase"] = "add"
    """`add` belongs to the object, `paint` only colours what is already there, `erase` makes a hole."""
    opacity: float = 1.0


Drawing = list[Shape]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A drawn object, cut to its box."""

    rgb: Floats
    """(h, w, 3) in 0 to 255, already multiplied by alpha."""
    alpha: Floats
    """(h, w) in 0 to 1."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(h, w), the object's own pixels."""
        return self.alpha >= 0.5


def _points(*pairs: tuple[float, float]) -> Points:
    return np.array(pairs, np.float64)


def _arc(
    x: float,
    y: float,
    rx: float,
    ry: float | None = None,
    start: float = 0,
    stop: float = 360,
    count: int = 48,
) -> Points:
    """(count, 2) points on an ellipse; degrees run clockwise from the right, as y points down."""
    angles = np.radians(np.linspace(start, stop, count))
    return np.stack([x + rx * np.cos(angles), y + (rx if ry is None else ry) * np.sin(angles)], axis=1)


def _rectangle(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Points:
    if radius == 0.0:
        return _points((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    corners = ((x1, y1, 0), (x0, y1, 90), (x0, y0, 180), (x1, y0, 270))
    return np.concatenate(
        [
            _arc(
                x - radius if x == x1 else x + radius, y - radius if y == y1 else y + radius, radius,
                start=start, stop=start + 90, count=8,
            )
            for x, y, start in corners
        ]
    )  # fmt: skip


def _wavy(rng: Generator, radius: float, depth: float, count: int = 90) -> Points:
    """A closed curve around the origin whose radius varies smoothly by about `depth`."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radii = np.full(count, radius)
    for waves in (3, 5, 8):
        radii += depth / 2 * rng.uniform(0.4, 1) * np.sin(waves * angles + rng.uniform(0, 2 * np.pi))
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _turned(points: Points, degrees: float) -> Points:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned: Points = points @ np.array([[c, s], [-s, c]])
    return turned


# --- The ten objects: (rng) -> shapes within about -1 to 1 --------------------------------------------------


def traffic_light(rng: Generator) -> Drawing:
    housing = pick(rng, [(38, 40, 44), (30, 44, 38), (52, 54, 60), (232, 178, 24), (28, 30, 34)])
    shapes = [
        Shape(_rectangle(-0.1, -1.1, 0.1, -0.9), darker(housing, 0.3)),
        Shape(_rectangle(-0.1, 0.9, 0.1, 1.1), darker(housing, 0.3)),
    ]
    if chance(rng, 0.4):
        plate = pick(rng, [WHITE, (245, 205, 60), (20, 22, 24)])
        shapes += [
            Shape(_rectangle(-0.56, -1.14, 0.56, 1.14, 0.14), plate),
            Shape(_rectangle(-0.5, -1.08, 0.5, 1.08, 0.12), darker(housing, 0.45)),
        ]
    shapes += [
        Shape(_rectangle(-0.41, -1, 0.41, 1, 0.14), housing),
        Shape(_rectangle(-0.41, -1, -0.34, 1), lighter(housing, 0.22), mode="paint", opacity=0.8),
    ]
    lit = int(rng.integers(3))
    for lamp, (y, colour) in enumerate(zip((-0.64, 0, 0.64), LAMPS, strict=True)):
        shapes.append(Shape(_arc(0, y - 0.02, 0.31), darker(housing, 0.6), mode="paint"))
        if lamp == lit:
            shapes += [
                Shape(_arc(0, y, 0.27), colour, mode="paint"),
                Shape(_arc(0, y, 0.19), lighter(colour, 0.3), mode="paint"),
                Shape(_arc(-0.05, y - 0.05, 0.09), lighter(colour, 0.7), mode="paint"),
            ]
        else:
            shapes += [
                Shape(_arc(0, y, 0.26), darker(colour, 0.72), mode="paint"),
                Shape(_arc(0, y, 0.18, start=190, stop=260, count=12), darker(colour, 0.4), 0.04, "paint"),
            ]
        shapes.append(
            Shape(_arc(0, y, 0.3, start=185, stop=355, count=24), darker(housing, 0.35), 0.07, "paint")
        )
    return shapes


LAMPS: tuple[Colour, Colour, Colour] = ((240, 40, 34), (255, 184, 20), (36, 208, 96))


def stop_sign(rng: Generator) -> Drawing:
    red = hsv(rng.uniform(-0.02, 0.01), rng.uniform(0.82, 0.95), rng.uniform(0.72, 0.9))
    octagon = _arc(0, 0, 1, start=22.5, stop=337.5, count=8)
    shapes = [
        Shape(octagon, WHITE),
        Shape(octagon * 0.985, (205, 205, 205), 0.015, "paint"),
        Shape(octagon * 0.91, red, mode="paint"),
    ]
    top, height, width, step = -0.28, 0.56, 0.24, 0.41
    for index, strokes in enumerate(STOP_LETTERS):
        left = -1.5 * step - width / 2 + index * step
        for stroke in strokes:
            shapes.append(Shape(stroke * (width, height) + (left, top), WHITE, 0.105, "paint"))
    return shapes


STOP_LETTERS: tuple[tuple[Points, ...], ...] = (
    (
        np.concatenate(
            [
                _arc(0.5, 0.25, 0.48, 0.25, -35, -265, 20),
                _arc(0.5, 0.75, 0.48, 0.25, -85, 145, 20),
            ]
        ),
    ),
    (_points((0, 0), (1, 0)), _points((0.5, 0), (0.5, 1))),
    (_arc(0.5, 0.5, 0.5, 0.5, count=32),),
    (
        np.concatenate([_points((0, 1), (0, 0), (0.5, 0)), _arc(0.5, 0.27, 0.48, 0.27, -90, 90, 16),
                        _points((0, 0.54))]),
    ),
)  # fmt: skip
"""S, T, O and P as lines in a unit square."""


def umbrella(rng: Generator) -> Drawing:
    panels = int(rng.integers(5, 9))
    first = vivid(rng)
    second = pick(rng, [WHITE, vivid(rng), darker(first, 0.3), lighter(first, 0.45)])
    stick = pick(rng, [(70, 48, 36), (60, 62, 68), (150, 96, 52), (205, 205, 210)])
    height = rng.uniform(0.62, 0.85)
    hook = 0.17
    handle = np.concatenate(
        [_points((0, -0.1), (0, 0.86)), _arc(-hook, 0.86, hook, start=0, stop=175, count=16)]
    )
    shapes = [
        Shape(_points((0, -height - 0.13), (0, -height + 0.1)), stick, 0.06),
        Shape(handle, darker(stick, 0.25), 0.085),
        Shape(handle - (0.015, 0), lighter(stick, 0.25), 0.03, "paint"),
    ]
    ribs = np.sin(np.linspace(-np.pi / 2, np.pi / 2, panels + 1))
    turn = np.linspace(0, np.pi / 2, 14)
    lines = [np.stack([x * np.sin(turn), -height * np.cos(turn)], axis=1) for x in ribs]
    for index, (left, right) in enumerate(pairwise(lines)):
        x0, x1 = left[-1, 0], right[-1, 0]
        scallop = _arc((x0 + x1) / 2, 0, (x1 - x0) / 2, 0.09, 180, 360, 12)
        colour = second if index % 2 else first
        depth = abs((x0 + x1) / 2) * 0.28
        shapes.append(Shape(np.concatenate([left, scallop, right[::-1]]), darker(colour, depth)))
    for line in lines[1:-1]:
        shapes.append(Shape(line, darker(first, 0.45), 0.02, "paint"))
    shine = np.stack([-0.45 * np.sin(turn[3:11]), -height * 0.93 * np.cos(turn[3:11])], axis=1)
    shapes.append(Shape(shine, WHITE, 0.06, "paint", 0.3))
    return shapes


def frisbee(rng: Generator) -> Drawing:
    squash = rng.uniform(0.38, 1)
    colour = vivid(rng)
    ink = pick(rng, [WHITE, BLACK, vivid(rng), darker(colour, 0.5)])
    flat = np.array([1, squash])

    def ring(radius: float, colour: Colour, width: float = 0.0, opacity: float = 1.0) -> Shape:
        return Shape(_arc(0, 0, radius) * flat, colour, width, "paint", opacity)

    thickness = 0.22 * (1 - squash)
    shapes = [
        Shape(np.concatenate([_arc(0, 0, 1, 1, 180, 360) * flat, _arc(0, thickness, 1, squash, 0, 180)]),
              darker(colour, 0.45)),
        Shape(_arc(0, 0, 1) * flat, colour),
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
            sweep = _arc(0, 0, 0.42, start=turn + start, stop=turn + start + 85, count=16)
            shapes.append(Shape(sweep * flat, ink, 0.13, "paint"))
        shapes.append(ring(0.62, ink, 0.03))
    shine = _arc(0, 0, 0.9, start=200, stop=255, count=16) * flat
    shapes.append(Shape(shine, WHITE, 0.06, "paint", 0.55))
    return shapes


def _rotation(rng: Generator) -> Points:
    """(3, 3), any rotation of space with equal chances."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.asarray(q * np.sign(np.diag(r)), np.float64)


def _seen(curve: Points) -> list[Points]:
    """The parts of a curve (K, 3) on the unit sphere that face us (z > 0), as flat lines."""
    front = np.flatnonzero(curve[:, 2] > 0)
    parts = np.split(front, np.flatnonzero(np.diff(front) > 1) + 1)
    return [curve[part, :2] for part in parts if len(part) > 1]


def _flattened(polygon: Points) -> Points | None:
    """A polygon (K, 3) on the unit sphere as seen, its far parts pulled to the rim; None if all is far."""
    if (polygon[:, 2] <= 0.0).all():
        return None
    flat = polygon[:, :2].copy()
    behind = polygon[:, 2] < 0
    flat[behind] *= 1.02 / np.maximum(np.linalg.norm(flat[behind], axis=1, keepdims=True), 1e-6)
    return flat


def _on_sphere(longitude: Points, colatitude: Points) -> Points:
    """(K, 3) points on the unit sphere from two angles (K,) in radians."""
    x, y = np.cos(longitude), np.sin(longitude)
    return np.stack([np.sin(colatitude) * x, np.sin(colatitude) * y, np.cos(colatitude)], axis=1)


def _circle_on_sphere(axis: int, height: float, count: int = 72) -> Points:
    """(count, 3): the circle on the unit sphere at `height` along one axis."""
    angles = np.linspace(0, 2 * np.pi, count)
    radius = np.sqrt(1 - height**2)
    columns = [radius * np.cos(angles), radius * np.sin(angles)]
    columns.insert(axis, np.full(count, height))
    return np.stack(columns, axis=1)


def _ball_seam(count: int = 160) -> Points:
    """(count, 3): the seam of a tennis ball on the unit sphere."""
    t = np.linspace(0, 2 * np.pi, count)
    a, b = 0.72, 0.28
    x, y = a * np.cos(t) + b * np.cos(3 * t), a * np.sin(t) - b * np.sin(3 * t)
    return np.stack([x, y, 2 * np.sqrt(a * b) * np.sin(2 * t)], axis=1)


def _icosahedron() -> tuple[Points, list[list[int]]]:
    """(12, 3) corners on the unit sphere, and the five neighbours of each in order around it."""
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
    return pick(rng, [_basketball, _soccer_ball, _tennis_ball, _beach_ball])(rng)


def _basketball(rng: Generator) -> Drawing:
    shapes = [Shape(_arc(0, 0, 1), hsv(rng.uniform(0.045, 0.075), 0.82, rng.uniform(0.8, 0.95)))]
    turn = _rotation(rng)
    for axis, height in ((0, 0.0), (1, 0.0), (2, 0.6), (2, -0.6)):
        for line in _seen(_circle_on_sphere(axis, height) @ turn):
            shapes.append(Shape(line, (38, 26, 22), 0.055, "paint"))
    return shapes


def _soccer_ball(rng: Generator) -> Drawing:
    dark = pick(rng, [BLACK, BLACK, darker(vivid(rng), 0.3)])
    shapes = [Shape(_arc(0, 0, 1), WHITE)]
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
        Shape(_arc(0, 0, 1), hsv(rng.uniform(0.17, 0.21), rng.uniform(0.65, 0.8), rng.uniform(0.85, 0.97)))
    ]
    for line in _seen(_ball_seam() @ _rotation(rng)):
        shapes.append(Shape(line, WHITE, 0.11, "paint"))
    return shapes


def _beach_ball(rng: Generator) -> Drawing:
    shapes = [Shape(_arc(0, 0, 1), WHITE)]
    turn = _rotation(rng)
    hue = rng.random()
    bands = np.linspace(0, np.pi, 13)
    for panel in range(0, 6, 2):
        colour = hsv(hue + panel / 6, 0.85, 0.93)
        for low, high in pairwise(bands):  # a panel as a whole may bend around the rim
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
    half_width, middle = rng.uniform(0.55, 0.75), rng.uniform(-0.4, -0.15)
    top, right, bottom, left = _points((0, -1), (half_width, middle), (0, 0.75), (-half_width, middle))
    centre = _points((0, middle))[0]
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
                Shape(_points((x, y), (x + 0.19 * side, y - 0.11), (x + 0.19 * side, y + 0.11)), ribbon)
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


def bottle(rng: Generator) -> Drawing:
    glass = pick(
        rng, [(34, 92, 52), (96, 52, 22), (70, 150, 200), (176, 28, 36), (150, 205, 225), (60, 130, 90)]
    )
    cap = pick(rng, [vivid(rng), BLACK, (205, 170, 80), WHITE])
    paper = pick(rng, [WHITE, (244, 232, 204), vivid(rng)])
    ink = pick(rng, [vivid(rng), BLACK, (150, 30, 40)])
    body, neck = rng.uniform(0.27, 0.38), rng.uniform(0.085, 0.13)
    shoulder, collar = rng.uniform(-0.3, -0.05), rng.uniform(-0.68, -0.52)
    blend = np.linspace(0, 1, 16)
    slope = neck + (body - neck) * (1 - np.cos(np.pi * blend)) / 2
    right_side = np.concatenate(
        [
            _points((neck, -0.9)),
            np.stack([slope, collar + (shoulder - collar) * blend], axis=1),
            _arc(body - 0.07, 0.93, 0.07, start=0, stop=90, count=6),
        ]
    )
    outline = np.concatenate([right_side, right_side[::-1] * (-1, 1)])
    label_top = rng.uniform(shoulder + 0.05, 0.15)
    label_bottom = rng.uniform(label_top + 0.35, 0.85)
    middle = (label_top + label_bottom) / 2
    shapes = [
        Shape(outline, glass),
        Shape(_rectangle(-2, -1, -body * 0.72, 1), darker(glass), mode="paint", opacity=0.5),
        Shape(_rectangle(body * 0.8, -1, 2, 1), darker(glass), mode="paint", opacity=0.6),
        Shape(_rectangle(-1, label_top, 1, label_bottom), paper, mode="paint"),
        Shape(_rectangle(-1, label_top, 1, label_top + 0.05), ink, mode="paint"),
        Shape(_rectangle(-1, label_bottom - 0.05, 1, label_bottom), ink, mode="paint"),
        Shape(
            _arc(0, middle, body * 0.5, min(body * 0.5, (label_bottom - label_top) * 0.3)), ink, mode="paint"
        ),
        Shape(_rectangle(body * 0.78, label_top, 2, label_bottom), (0, 0, 0), mode="paint", opacity=0.16),
        Shape(_rectangle(-body * 0.62, shoulder, -body * 0.42, 0.9), WHITE, mode="paint", opacity=0.35),
        Shape(_rectangle(-neck * 0.6, -0.85, -neck * 0.1, collar + 0.05), WHITE, mode="paint", opacity=0.4),
        Shape(_rectangle(-neck - 0.025, -1, neck + 0.025, -0.82, 0.03), cap),
        Shape(_points((-neck, -0.83), (neck, -0.83)), darker(cap, 0.4), 0.025, "paint"),
    ]
    return shapes


def banana(rng: Generator) -> Drawing:
    span = rng.uniform(95, 140)
    thickness = rng.uniform(0.17, 0.23)
    ripe = rng.random()
    skin = hsv(0.13 + 0.035 * ripe, rng.uniform(0.7, 0.85), rng.uniform(0.9, 1))
    angles = np.radians(np.linspace(90 - span / 2, 90 + span / 2, 40))
    along = np.linspace(-1, 1, 40)
    half = thickness * np.clip(1 - np.abs(along) ** 3.2, 0, 1) ** 0.8 + 0.035
    direction = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outer, inner = direction * (1 + half * 0.85)[:, None], direction * (1 - half * 1.15)[:, None]
    ridge = direction * (1 + half * 0.25)[:, None]
    brown = (84, 58, 30)
    stem = np.stack([direction[0], direction[0] + (0.04, -0.17)])
    shapes = [
        Shape(stem, darker(skin, 0.3), 0.1),
        Shape(stem[1:] + (_points((0, 0), (0.004, -0.03))), brown, 0.1),
        Shape(np.concatenate([outer, inner[::-1]]), skin),
        Shape(np.concatenate([outer, ridge[::-1]]), darker(skin, 0.16), mode="paint"),
        Shape(ridge[3:-2], darker(skin, 0.4), 0.025, "paint"),
        Shape((direction * (1 - half * 0.55)[:, None])[8:-8], lighter(skin, 0.6), 0.05, "paint", 0.6),
        Shape(direction[-2:], brown, 0.09),
    ]
    for _ in range(int(rng.integers(0, 9))):
        place = int(rng.integers(5, 35))
        spot = direction[place] * (1 + rng.uniform(-0.8, 0.6) * half[place])
        shapes.append(
            Shape(
                _arc(spot[0], spot[1], rng.uniform(0.01, 0.03), count=10),
                (120, 82, 30),
                mode="paint",
                opacity=0.8,
            )
        )
    return shapes


def donut(rng: Generator) -> Drawing:
    squash = rng.uniform(0.62, 1)
    dough = hsv(rng.uniform(0.075, 0.095), rng.uniform(0.5, 0.65), rng.uniform(0.76, 0.9))
    icing = pick(
        rng,
        [(246, 140, 178), (92, 52, 34), (250, 240, 228), (150, 214, 234), (252, 212, 92), (190, 130, 214)],
    )
    hole = rng.uniform(0.26, 0.36)
    flat = np.array([1, squash])
    edge = _wavy(rng, 0.86, 0.07)
    rim = _wavy(rng, hole + 0.09, 0.03)
    shapes = [
        Shape(_arc(0, 0, 1) * flat, darker(dough, 0.22)),
        Shape(_arc(0, -0.04, 0.96, 0.95) * flat, dough, mode="paint"),
        Shape(edge * flat + (0, 0.03), darker(dough, 0.3), mode="paint"),
        Shape(edge * flat, icing, mode="paint"),
        Shape(
            _arc(0, 0, 0.72, start=195, stop=265, count=20) * flat, lighter(icing, 0.65), 0.07, "paint", 0.6
        ),
        Shape(_arc(0, 0, 0.74, start=20, stop=90, count=20) * flat, darker(icing, 0.3), 0.09, "paint", 0.35),
        Shape(rim * flat, darker(icing, 0.25), mode="paint"),
        Shape(rim * flat * 0.95 + (0, 0.02), darker(dough, 0.18), mode="paint"),
    ]
    if chance(rng, 0.75):
        for _ in range(int(rng.integers(18, 36))):
            angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(hole + 0.18, 0.78)
            tilt = rng.uniform(0, np.pi)
            place = radius * np.array([np.cos(angle), np.sin(angle)])
            step = 0.055 * np.array([np.cos(tilt), np.sin(tilt)])
            shapes.append(Shape(np.stack([place - step, place + step]) * flat, vivid(rng), 0.045, "paint"))
    else:
        drizzle = pick(rng, [WHITE, (80, 44, 28), vivid(rng)])
        for x in np.linspace(-0.75, 0.75, 8):
            line = _points((x - 0.12, -0.9), (x + 0.12, 0.9)) * (1, 0.6 if abs(x) > 0.5 else 0.85)
            shapes.append(Shape(line * flat, drizzle, 0.05, "paint"))
        shapes.append(Shape(rim * flat * 0.95 + (0, 0.02), darker(dough, 0.18), mode="paint"))
    shapes.append(Shape(_arc(0, 0.01, hole) * flat, mode="erase"))
    return shapes


def clock(rng: Generator) -> Drawing:
    rim = pick(rng, [BLACK, (120, 74, 40), (200, 40, 44), (70, 110, 170), (190, 160, 80), (170, 172, 178)])
    face, ink = pick(
        rng, [(WHITE, BLACK), (WHITE, BLACK), ((246, 236, 212), (60, 40, 28)), ((36, 40, 48), WHITE)]
    )
    shapes: Drawing = []
    style = int(rng.integers(4))
    if style == 0:  # an alarm clock: feet and bells
        for side in (-1, 1):
            shapes += [
                Shape(_points((0.55 * side, 0.8), (0.75 * side, 1.08)), darker(rim, 0.3), 0.13),
                Shape(_turned(_arc(0, -1.12, 0.4, 0.27, 180, 360, 24), 36 * side), lighter(rim, 0.15)),
            ]
        shapes.append(Shape(_points((0, -1), (0, -1.2)), darker(rim, 0.3), 0.1))
    if style == 1:
        shapes += [
            Shape(_rectangle(-1, -1, 1, 1, 0.16), rim),
            Shape(_rectangle(-0.94, -0.94, 0.94, 0.94, 0.12), lighter(rim, 0.2), 0.03, "paint"),
            Shape(_rectangle(-0.84, -0.84, 0.84, 0.84, 0.08), face, mode="paint"),
        ]
    else:
        shapes += [
            Shape(_arc(0, 0, 1), rim),
            Shape(_arc(0, 0, 0.95), lighter(rim, 0.3), 0.03, "paint"),
            Shape(_arc(0, 0, 0.85), face, mode="paint"),
        ]
    for hour in range(12):
        long = hour % 3 == 0
        tick = _points((0, -0.76), (0, -0.58 if long else -0.66))
        shapes.append(Shape(_turned(tick, hour * 30), ink, 0.075 if long else 0.04, "paint"))
    minute = rng.integers(0, 60)
    hour_angle = 30 * (rng.integers(0, 12) + minute / 60)
    shapes += [
        Shape(_turned(_points((0, 0.1), (0, -0.4)), hour_angle), ink, 0.1, "paint"),
        Shape(_turned(_points((0, 0.12), (0, -0.64)), float(minute) * 6), ink, 0.065, "paint"),
    ]
    if chance(rng, 0.6):
        shapes.append(
            Shape(_turned(_points((0, 0.2), (0, -0.68)), rng.uniform(0, 360)), (214, 40, 40), 0.03, "paint")
        )
    shapes.append(Shape(_arc(0, 0, 0.075), pick(rng, [ink, (214, 40, 40)]), mode="paint"))
    return shapes


@dataclass(frozen=True, slots=True)
class Kind:
    """How one category is drawn."""

    draw: Callable[[Generator], Drawing]
    tilt_degrees: float
    """Largest rotation either way."""
    round: bool = False
    """Lit like a sphere."""


KINDS: dict[int, Kind] = {
    coco.BY_NAME[name].id: kind
    for name, kind in {
        "traffic light": Kind(traffic_light, 14),
        "stop sign": Kind(stop_sign, 16),
        "umbrella": Kind(umbrella, 40),
        "frisbee": Kind(frisbee, 50),
        "sports ball": Kind(sports_ball, 180, round=True),
        "kite": Kind(kite, 60),
        "bottle": Kind(bottle, 50),
        "banana": Kind(banana, 180),
        "donut": Kind(donut, 35),
        "clock": Kind(clock, 20),
    }.items()
}


# --- From shapes to pixels ----------------------------------------------------------------------------------


def render(shapes: Drawing, size_px: int, transform: Points) -> Patch:
    """The drawing, transformed by a (2, 2) matrix and scaled so that its longest side is about `size_px`."""
    turned = [shape.points @ transform.T for shape in shapes]
    stretch = float(np.sqrt(abs(np.linalg.det(transform))))
    solid = [(p, s.width * stretch / 2) for p, s in zip(turned, shapes, strict=True) if s.mode == "add"]
    low = np.min([p.min(axis=0) - r for p, r in solid], axis=0)
    high = np.max([p.max(axis=0) + r for p, r in solid], axis=0)
    factor = 4 if size_px < 80 else 3 if size_px < 160 else 2
    scale = (size_px - 0.5) / float((high - low).max())
    width, height = (int(side) for side in np.ceil((high - low) * scale).astype(int))
    rgb = np.zeros((height * factor, width * factor, 3), np.uint8)
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    for points, shape in zip(turned, shapes, strict=True):
        fixed = np.round((points - low) * (scale * factor * 16)).astype(np.int32)  # 4 fractional bits
        thickness = max(1, round(shape.width * stretch * scale * factor)) if shape.width else 0
        if shape.mode != "erase":
            _fill(rgb, fixed, thickness, shape.colour, shape.opacity)
        if shape.mode != "paint":
            _fill(alpha, fixed, thickness, 255 if shape.mode == "add" else 0)
    rgb[alpha == 0] = 0
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    return Patch(small, cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255))


def _fill(canvas: Bytes, fixed: NDArray[np.int32], thickness: int, colour: Any, opacity: float = 1.0) -> None:
    """Draws a polygon (thickness 0) or a line into `canvas`; `fixed` has four fractional bits."""
    if opacity < 1:
        before = canvas.copy()
        _fill(canvas, fixed, thickness, colour)
        cv2.addWeighted(canvas, opacity, before, 1 - opacity, 0, dst=canvas)
    elif thickness:
        cv2.polylines(canvas, [fixed], False, colour, thickness, cv2.LINE_8, shift=4)
    else:
        cv2.fillPoly(canvas, [fixed], colour, cv2.LINE_8, shift=4)


def _lit(patch: Patch, rng: Generator, sphere: bool) -> Patch:
    """The patch under light from above: a gentle slope of brightness, a highlight and dark rim on spheres."""
    height, width = patch.alpha.shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    if sphere:
        distance = np.hypot(x + 0.35, y + 0.4)
        light = 1.12 - 0.3 * distance**2
        shine = 90 * np.exp(-((distance / 0.3) ** 2))
        rgb = patch.rgb * light[..., None] + (shine * patch.alpha)[..., None]
    else:
        light = 1.02 - rng.uniform(0, 0.12) * y + rng.uniform(-0.1, 0.1) * x
        rgb = patch.rgb * light[..., None]
    return Patch(rgb.astype(np.float32), patch.alpha)


def draw_object(rng: Generator, category_id: int, size_px: int) -> Patch:
    """A random object of one category, seen from a random side, its longest side about `size_px`."""
    kind = KINDS[category_id]
    angle = np.radians(rng.uniform(-kind.tilt_degrees, kind.tilt_degrees))
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    narrow = np.diag([1.0 if kind.round else rng.uniform(0.82, 1.0), 1.0])
    mirror = np.diag([rng.choice([-1.0, 1.0]) if category_id != STOP_SIGN else 1.0, 1.0])
    return _lit(render(kind.draw(rng), size_px, rotate @ narrow @ mirror), rng, kind.round)


STOP_SIGN = coco.BY_NAME["stop sign"].id  # the one drawing with letters

"""Draws a random object of one of ten categories as a patch of pixels.

Each category has a function that returns a random object as a list of shapes. `draw_object` calls the
function of the category. It rotates, narrows and mirrors the shapes, renders them at the wanted size and adds
light. This module holds the functions of seven categories, and `training/scenes/sports.py` holds the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator

import coco
from training.scenes.paint import (
    BLACK,
    WHITE,
    Colour,
    Points,
    chance,
    darker,
    hsv,
    lighter,
    pick,
    vivid,
)
from training.scenes.shapes import Drawing, Patch, Shape, arc, points_at, rectangle, render
from training.scenes.sports import frisbee, kite, sports_ball


def _wavy(rng: Generator, radius: float, depth: float, count: int = 90) -> Points:
    """Returns a closed curve (count, 2) around the origin. Its radius varies smoothly by about `depth`."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radii = np.full(count, radius)
    for waves in (3, 5, 8):
        radii += depth / 2 * rng.uniform(0.4, 1) * np.sin(waves * angles + rng.uniform(0, 2 * np.pi))
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _turned(points: Points, degrees: float) -> Points:
    """Returns the points rotated clockwise around the origin."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned: Points = points @ np.array([[c, s], [-s, c]])
    return turned


# --- Seven of the ten objects; their coordinates run from about -1 to 1 -------------------------------------


def traffic_light(rng: Generator) -> Drawing:
    """Draws a traffic light with one lamp on."""
    housing = pick(rng, [(38, 40, 44), (30, 44, 38), (52, 54, 60), (232, 178, 24), (28, 30, 34)])
    shapes = [
        Shape(rectangle(-0.1, -1.1, 0.1, -0.9), darker(housing, 0.3)),
        Shape(rectangle(-0.1, 0.9, 0.1, 1.1), darker(housing, 0.3)),
    ]
    if chance(rng, 0.4):
        plate = pick(rng, [WHITE, (245, 205, 60), (20, 22, 24)])
        shapes += [
            Shape(rectangle(-0.56, -1.14, 0.56, 1.14, 0.14), plate),
            Shape(rectangle(-0.5, -1.08, 0.5, 1.08, 0.12), darker(housing, 0.45)),
        ]
    shapes += [
        Shape(rectangle(-0.41, -1, 0.41, 1, 0.14), housing),
        Shape(rectangle(-0.41, -1, -0.34, 1), lighter(housing, 0.22), mode="paint", opacity=0.8),
    ]
    lit = int(rng.integers(3))
    for lamp, (y, colour) in enumerate(zip((-0.64, 0, 0.64), LAMPS, strict=True)):
        shapes.append(Shape(arc(0, y - 0.02, 0.31), darker(housing, 0.6), mode="paint"))
        if lamp == lit:
            shapes += [
                Shape(arc(0, y, 0.27), colour, mode="paint"),
                Shape(arc(0, y, 0.19), lighter(colour, 0.3), mode="paint"),
                Shape(arc(-0.05, y - 0.05, 0.09), lighter(colour, 0.7), mode="paint"),
            ]
        else:
            shapes += [
                Shape(arc(0, y, 0.26), darker(colour, 0.72), mode="paint"),
                Shape(arc(0, y, 0.18, start=190, stop=260, count=12), darker(colour, 0.4), 0.04, "paint"),
            ]
        shapes.append(
            Shape(arc(0, y, 0.3, start=185, stop=355, count=24), darker(housing, 0.35), 0.07, "paint")
        )
    return shapes


LAMPS: tuple[Colour, Colour, Colour] = ((240, 40, 34), (255, 184, 20), (36, 208, 96))


def stop_sign(rng: Generator) -> Drawing:
    """Draws a stop sign."""
    red = hsv(rng.uniform(-0.02, 0.01), rng.uniform(0.82, 0.95), rng.uniform(0.72, 0.9))
    octagon = arc(0, 0, 1, start=22.5, stop=337.5, count=8)
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
                arc(0.5, 0.25, 0.48, 0.25, -35, -265, 20),
                arc(0.5, 0.75, 0.48, 0.25, -85, 145, 20),
            ]
        ),
    ),
    (points_at((0, 0), (1, 0)), points_at((0.5, 0), (0.5, 1))),
    (arc(0.5, 0.5, 0.5, 0.5, count=32),),
    (
        np.concatenate([points_at((0, 1), (0, 0), (0.5, 0)), arc(0.5, 0.27, 0.48, 0.27, -90, 90, 16),
                        points_at((0, 0.54))]),
    ),
)  # fmt: skip
"""The letters S, T, O and P as lines in a unit square."""


def umbrella(rng: Generator) -> Drawing:
    """Draws an open umbrella."""
    panels = int(rng.integers(5, 9))
    first = vivid(rng)
    second = pick(rng, [WHITE, vivid(rng), darker(first, 0.3), lighter(first, 0.45)])
    stick = pick(rng, [(70, 48, 36), (60, 62, 68), (150, 96, 52), (205, 205, 210)])
    height = rng.uniform(0.62, 0.85)
    hook = 0.17
    handle = np.concatenate(
        [points_at((0, -0.1), (0, 0.86)), arc(-hook, 0.86, hook, start=0, stop=175, count=16)]
    )
    shapes = [
        Shape(points_at((0, -height - 0.13), (0, -height + 0.1)), stick, 0.06),
        Shape(handle, darker(stick, 0.25), 0.085),
        Shape(handle - (0.015, 0), lighter(stick, 0.25), 0.03, "paint"),
    ]
    ribs = np.sin(np.linspace(-np.pi / 2, np.pi / 2, panels + 1))
    turn = np.linspace(0, np.pi / 2, 14)
    lines = [np.stack([x * np.sin(turn), -height * np.cos(turn)], axis=1) for x in ribs]
    for index, (left, right) in enumerate(pairwise(lines)):
        x0, x1 = left[-1, 0], right[-1, 0]
        scallop = arc((x0 + x1) / 2, 0, (x1 - x0) / 2, 0.09, 180, 360, 12)
        colour = second if index % 2 else first
        depth = abs((x0 + x1) / 2) * 0.28
        shapes.append(Shape(np.concatenate([left, scallop, right[::-1]]), darker(colour, depth)))
    for line in lines[1:-1]:
        shapes.append(Shape(line, darker(first, 0.45), 0.02, "paint"))
    shine = np.stack([-0.45 * np.sin(turn[3:11]), -height * 0.93 * np.cos(turn[3:11])], axis=1)
    shapes.append(Shape(shine, WHITE, 0.06, "paint", 0.3))
    return shapes


def bottle(rng: Generator) -> Drawing:
    """Draws a bottle with a label and a cap."""
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
            points_at((neck, -0.9)),
            np.stack([slope, collar + (shoulder - collar) * blend], axis=1),
            arc(body - 0.07, 0.93, 0.07, start=0, stop=90, count=6),
        ]
    )
    outline = np.concatenate([right_side, right_side[::-1] * (-1, 1)])
    label_top = rng.uniform(shoulder + 0.05, 0.15)
    label_bottom = rng.uniform(label_top + 0.35, 0.85)
    middle = (label_top + label_bottom) / 2
    shapes = [
        Shape(outline, glass),
        Shape(rectangle(-2, -1, -body * 0.72, 1), darker(glass), mode="paint", opacity=0.5),
        Shape(rectangle(body * 0.8, -1, 2, 1), darker(glass), mode="paint", opacity=0.6),
        Shape(rectangle(-1, label_top, 1, label_bottom), paper, mode="paint"),
        Shape(rectangle(-1, label_top, 1, label_top + 0.05), ink, mode="paint"),
        Shape(rectangle(-1, label_bottom - 0.05, 1, label_bottom), ink, mode="paint"),
        Shape(
            arc(0, middle, body * 0.5, min(body * 0.5, (label_bottom - label_top) * 0.3)), ink, mode="paint"
        ),
        Shape(rectangle(body * 0.78, label_top, 2, label_bottom), (0, 0, 0), mode="paint", opacity=0.16),
        Shape(rectangle(-body * 0.62, shoulder, -body * 0.42, 0.9), WHITE, mode="paint", opacity=0.35),
        Shape(rectangle(-neck * 0.6, -0.85, -neck * 0.1, collar + 0.05), WHITE, mode="paint", opacity=0.4),
        Shape(rectangle(-neck - 0.025, -1, neck + 0.025, -0.82, 0.03), cap),
        Shape(points_at((-neck, -0.83), (neck, -0.83)), darker(cap, 0.4), 0.025, "paint"),
    ]
    return shapes


def banana(rng: Generator) -> Drawing:
    """Draws a banana."""
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
        Shape(stem[1:] + (points_at((0, 0), (0.004, -0.03))), brown, 0.1),
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
                arc(spot[0], spot[1], rng.uniform(0.01, 0.03), count=10),
                (120, 82, 30),
                mode="paint",
                opacity=0.8,
            )
        )
    return shapes


def donut(rng: Generator) -> Drawing:
    """Draws a donut with icing, and with sprinkles or stripes."""
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
        Shape(arc(0, 0, 1) * flat, darker(dough, 0.22)),
        Shape(arc(0, -0.04, 0.96, 0.95) * flat, dough, mode="paint"),
        Shape(edge * flat + (0, 0.03), darker(dough, 0.3), mode="paint"),
        Shape(edge * flat, icing, mode="paint"),
        Shape(
            arc(0, 0, 0.72, start=195, stop=265, count=20) * flat, lighter(icing, 0.65), 0.07, "paint", 0.6
        ),
        Shape(arc(0, 0, 0.74, start=20, stop=90, count=20) * flat, darker(icing, 0.3), 0.09, "paint", 0.35),
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
            line = points_at((x - 0.12, -0.9), (x + 0.12, 0.9)) * (1, 0.6 if abs(x) > 0.5 else 0.85)
            shapes.append(Shape(line * flat, drizzle, 0.05, "paint"))
        shapes.append(Shape(rim * flat * 0.95 + (0, 0.02), darker(dough, 0.18), mode="paint"))
    shapes.append(Shape(arc(0, 0.01, hole) * flat, mode="erase"))
    return shapes


def clock(rng: Generator) -> Drawing:
    """Draws a clock: an alarm clock, a square one or a round one."""
    rim = pick(rng, [BLACK, (120, 74, 40), (200, 40, 44), (70, 110, 170), (190, 160, 80), (170, 172, 178)])
    face, ink = pick(
        rng, [(WHITE, BLACK), (WHITE, BLACK), ((246, 236, 212), (60, 40, 28)), ((36, 40, 48), WHITE)]
    )
    shapes: Drawing = []
    style = int(rng.integers(4))
    if style == 0:  # an alarm clock with feet and bells
        for side in (-1, 1):
            shapes += [
                Shape(points_at((0.55 * side, 0.8), (0.75 * side, 1.08)), darker(rim, 0.3), 0.13),
                Shape(_turned(arc(0, -1.12, 0.4, 0.27, 180, 360, 24), 36 * side), lighter(rim, 0.15)),
            ]
        shapes.append(Shape(points_at((0, -1), (0, -1.2)), darker(rim, 0.3), 0.1))
    if style == 1:
        shapes += [
            Shape(rectangle(-1, -1, 1, 1, 0.16), rim),
            Shape(rectangle(-0.94, -0.94, 0.94, 0.94, 0.12), lighter(rim, 0.2), 0.03, "paint"),
            Shape(rectangle(-0.84, -0.84, 0.84, 0.84, 0.08), face, mode="paint"),
        ]
    else:
        shapes += [
            Shape(arc(0, 0, 1), rim),
            Shape(arc(0, 0, 0.95), lighter(rim, 0.3), 0.03, "paint"),
            Shape(arc(0, 0, 0.85), face, mode="paint"),
        ]
    for hour in range(12):
        long = hour % 3 == 0
        tick = points_at((0, -0.76), (0, -0.58 if long else -0.66))
        shapes.append(Shape(_turned(tick, hour * 30), ink, 0.075 if long else 0.04, "paint"))
    minute = rng.integers(0, 60)
    hour_angle = 30 * (rng.integers(0, 12) + minute / 60)
    shapes += [
        Shape(_turned(points_at((0, 0.1), (0, -0.4)), hour_angle), ink, 0.1, "paint"),
        Shape(_turned(points_at((0, 0.12), (0, -0.64)), float(minute) * 6), ink, 0.065, "paint"),
    ]
    if chance(rng, 0.6):
        shapes.append(
            Shape(_turned(points_at((0, 0.2), (0, -0.68)), rng.uniform(0, 360)), (214, 40, 40), 0.03, "paint")
        )
    shapes.append(Shape(arc(0, 0, 0.075), pick(rng, [ink, (214, 40, 40)]), mode="paint"))
    return shapes


@dataclass(frozen=True, slots=True)
class Kind:
    """How one category is drawn."""

    draw: Callable[[Generator], Drawing]
    tilt_degrees: float
    """The largest rotation to either side."""
    round: bool = False
    """Whether the object is lit like a sphere."""


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


# --- The objects as pixels ----------------------------------------------------------------------------------


def _lit(patch: Patch, rng: Generator, sphere: bool) -> Patch:
    """Returns the patch under light from above.

    Spheres get a highlight and a dark rim. All other objects get a gentle slope of brightness.
    """
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
    """Draws a random object of one category, rotated and narrowed at random.

    The longest side of the patch is about `size_px`.
    """
    kind = KINDS[category_id]
    angle = np.radians(rng.uniform(-kind.tilt_degrees, kind.tilt_degrees))
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    narrow = np.diag([1.0 if kind.round else rng.uniform(0.82, 1.0), 1.0])
    mirror = np.diag([rng.choice([-1.0, 1.0]) if category_id != STOP_SIGN else 1.0, 1.0])
    return _lit(render(kind.draw(rng), size_px, rotate @ narrow @ mirror), rng, kind.round)


STOP_SIGN = coco.BY_NAME["stop sign"].id
"""The only object with letters. It is never mirrored, because mirrored letters would be wrong."""

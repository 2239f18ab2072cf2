"""Draws the random backgrounds of the scenes.

Each function draws one family of backgrounds. The function takes a random generator, a height and a width in
px, and returns (H, W, 3) RGB, uint8. Training uses ten families. The five others are held out for evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from training.scenes.paint import (
    Bytes,
    Colour,
    Floats,
    blend,
    chance,
    darker,
    hsv,
    lighter,
    muted,
    pick,
    vivid,
)


def _noise(rng: Generator, height: int, width: int, cells: int, octaves: int = 4) -> Floats:
    """Returns fractal value noise, (H, W), 0 to 1.

    The coarsest octave has `cells` cells along the longer side.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        step = cells * 2**octave / max(height, width)
        grid = rng.random((max(2, round(height * step)), max(2, round(width * step))), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.5**octave)
    total -= total.min()
    total /= max(total.max(), np.float32(1e-6))
    return total


def _between(share: Floats, first: Colour, second: Colour) -> Bytes:
    """Mixes two colours, (H, W, 3): `first` where the share (H, W) is 0, `second` where the share is 1."""
    table = np.linspace(first, second, 256).round().astype(np.uint8)
    return table[np.clip(share * 255, 0, 255).astype(np.uint8)]


def slope(rng: Generator, height: int, width: int) -> Floats:
    """Returns values that rise from 0 to 1 along a random direction, (H, W)."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp: Floats = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    ramp -= ramp.min()
    ramp /= ramp.max()
    return ramp


def _clutter(image: Bytes, rng: Generator, count: int) -> Bytes:
    """Draws things that are not objects: lines, boxes, triangles, plain ellipses and letters."""
    height, width = image.shape[:2]
    for _ in range(count):
        colour = muted(rng) if chance(rng, 0.6) else vivid(rng)
        x, y = int(rng.integers(width)), int(rng.integers(height))
        size = int(rng.integers(10, 110))
        thickness = -1 if chance(rng, 0.55) else int(rng.integers(1, 6))
        corners = np.array([x, y]) + rng.integers(-size, size + 1, (4, 2))
        match int(rng.integers(5)):
            case 0:
                cv2.line(image, (x, y), tuple(corners[0].tolist()), colour, abs(thickness) + 1, cv2.LINE_AA)
            case 1:
                box = cv2.boxPoints(((x, y), (size, size * rng.uniform(0.2, 1)), rng.uniform(0, 90)))
                cv2.drawContours(image, [box.astype(np.int32)], 0, colour, thickness, cv2.LINE_AA)
            case 2:
                cv2.drawContours(image, [corners[:3].astype(np.int32)], 0, colour, thickness, cv2.LINE_AA)
            case 3:
                axes = (size // 2 + 4, int(size * rng.uniform(0.15, 0.5)) + 2)
                cv2.ellipse(image, (x, y), axes, rng.uniform(0, 180), 0, 360, colour, thickness, cv2.LINE_AA)
            case _:
                text = "".join(
                    pick(rng, "ABCDEFGHKLMNRUVWXYZ2345679") for _ in range(int(rng.integers(1, 5)))
                )
                font = pick(rng, [cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_TRIPLEX])
                cv2.putText(image, text, (x, y), font, size / 40, colour, 1 + size // 25, cv2.LINE_AA)
    return image


def _gradient(rng: Generator, height: int, width: int) -> Bytes:
    """Draws a gradient between two colours, with a few things that are not objects."""
    image = _between(slope(rng, height, width), muted(rng), muted(rng))
    return _clutter(image, rng, int(rng.integers(0, 9)))


def _clouds(rng: Generator, height: int, width: int) -> Bytes:
    """Draws noise in two colours."""
    return _between(_noise(rng, height, width, int(rng.integers(2, 14)), 5), muted(rng), muted(rng))


def _stripes(rng: Generator, height: int, width: int) -> Bytes:
    """Draws stripes or checks in two colours."""
    period = rng.uniform(14, 90)
    ramp = slope(rng, height, width) * (height + width) / period
    if chance(rng, 0.4):
        ramp = np.floor(ramp) + np.floor(slope(rng, height, width) * (height + width) / period)
    share = np.clip(np.abs(ramp % 2 - 1) * 12 - 5.5, 0, 1)
    return _between(share.astype(np.float32), muted(rng), muted(rng))


def _blobs(rng: Generator, height: int, width: int) -> Bytes:
    """Draws lights and things that are out of focus."""
    image = np.full((height // 4, width // 4, 3), muted(rng), np.uint8)
    for _ in range(int(rng.integers(10, 40))):
        centre = (int(rng.integers(width // 4)), int(rng.integers(height // 4)))
        cv2.circle(image, centre, int(rng.integers(3, 28)), muted(rng), -1)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.0, 6))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _landscape(rng: Generator, height: int, width: int) -> Bytes:
    """Draws a sky with clouds, two rows of hills, and a meadow or sand."""
    sky = hsv(rng.uniform(0.53, 0.62), rng.uniform(0.25, 0.65), rng.uniform(0.75, 1))
    if chance(rng, 0.2):
        sky = hsv(rng.uniform(0.02, 0.1), 0.5, 0.95)
    fade = np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1)
    clear = _between(fade, sky, lighter(sky, 0.7))
    cloud = np.clip(_noise(rng, height, width, 4, 4) * 2.4 - 1.2, 0, 1)[..., None] * np.float32(0.8)
    image: Bytes = (clear + (np.float32(250) - clear) * cloud).astype(np.uint8)
    horizon = rng.uniform(0.4, 0.7) * height
    rows = np.arange(height, dtype=np.float32)[:, None]
    ground_hue = rng.uniform(0.1, 0.38)
    for layer in range(3):
        ridge = _noise(rng, 2, width, 3 + layer, 4)[0] * height * (0.22 - 0.06 * layer)
        below = rows > horizon + layer * 0.08 * height - ridge[None]
        dark = hsv(ground_hue, 0.3 + 0.12 * layer, 0.62 - 0.1 * layer)
        texture = _noise(rng, height, width, 20 + 30 * layer, 3)
        image[below] = _between(texture, dark, lighter(dark, 0.25))[below]
    return image


def _wall(rng: Generator, height: int, width: int) -> Bytes:
    """Draws a lightly mottled wall full of things that are not objects."""
    colour = muted(rng)
    image = _between(_noise(rng, height, width, 6, 5), darker(colour, 0.12), lighter(colour, 0.12))
    return _clutter(image, rng, int(rng.integers(8, 36)))


def _leaves(rng: Generator, height: int, width: int) -> Bytes:
    """Draws dense, overlapping leaves or pebbles of one hue."""
    hue, spread = rng.random(), rng.uniform(0.02, 0.12)
    image = np.full((height, width, 3), hsv(hue, 0.5, 0.3), np.uint8)
    slim = rng.uniform(0.25, 0.9)
    for _ in range(int(rng.integers(150, 400))):
        size = rng.uniform(6, 22)
        colour = hsv(hue + rng.normal(0, spread), rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.85))
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(size), max(1, int(size * slim)))
        cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    return image


def _room(rng: Generator, height: int, width: int) -> Bytes:
    """Draws a wall, a table or floor, and some framed boxes."""
    wall, floor = muted(rng), muted(rng)
    image = _between(slope(rng, height, width), wall, darker(wall, 0.25))
    edge = int(rng.uniform(0.5, 0.8) * height)
    grain = _noise(rng, height - edge, width, int(rng.integers(3, 30)), 4)
    image[edge:] = _between(grain, darker(floor, 0.25), floor)
    for _ in range(int(rng.integers(1, 6))):
        x, y = int(rng.integers(width)), int(rng.integers(max(1, edge - 40)))
        w, h = int(rng.integers(30, 140)), int(rng.integers(30, 120))
        cv2.rectangle(image, (x, y), (x + w, min(y + h, edge - 6)), muted(rng), -1)
        cv2.rectangle(image, (x, y), (x + w, min(y + h, edge - 6)), muted(rng), int(rng.integers(2, 7)))
    return image


def _mosaic(rng: Generator, height: int, width: int) -> Bytes:
    """Draws tiles in a few colours, with or without joints."""
    tall, wide = int(rng.integers(6, 48)), int(rng.integers(6, 48))
    colours = np.array([muted(rng) for _ in range(int(rng.integers(2, 6)))], np.uint8)
    tiles = colours[rng.integers(0, len(colours), (height // tall + 1, width // wide + 1))]
    image: Bytes = tiles.repeat(tall, axis=0).repeat(wide, axis=1)[:height, :width].copy()
    if chance(rng, 0.6):
        joint, colour = int(rng.integers(1, 5)), muted(rng)
        for offset in range(joint):
            image[offset::tall] = colour
            image[:, offset::wide] = colour
    return image


def _confetti(rng: Generator, height: int, width: int) -> Bytes:
    """Draws many small, sharp boxes and strokes."""
    image = _between(slope(rng, height, width), muted(rng), muted(rng))
    colours = [muted(rng) for _ in range(int(rng.integers(1, 8)))]
    for _ in range(int(rng.integers(60, 300))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        w, h = int(rng.integers(3, 22)), int(rng.integers(3, 22))
        if chance(rng, 0.6):
            cv2.rectangle(image, (x, y), (x + w, y + h), pick(rng, colours), -1)
        else:
            cv2.line(image, (x, y), (x + 2 * w, y + h - 12), pick(rng, colours), w // 5 + 1, cv2.LINE_AA)
    return image


def _cells(rng: Generator, height: int, width: int) -> Bytes:
    """Draws Voronoi cells, which look like stained glass or cracked earth."""
    count = int(rng.integers(25, 110))
    seeds = np.stack([rng.integers(0, height, count), rng.integers(0, width, count)], axis=1)
    blank = np.full((height, width), 255, np.uint8)
    blank[seeds[:, 0], seeds[:, 1]] = 0
    _, labels = cv2.distanceTransformWithLabels(blank, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    base, other = muted(rng), muted(rng)
    colours = np.array([blend(base, other, rng.random()) for _ in range(int(labels.max()) + 1)], np.uint8)
    image = colours[labels]
    edges = cv2.Laplacian(labels.astype(np.float32), cv2.CV_32F) != 0
    image[edges] = darker(base, 0.5)
    return np.asarray(cv2.GaussianBlur(image, (3, 3), 0), np.uint8)


def _wood(rng: Generator, height: int, width: int) -> Bytes:
    """Draws wooden planks with grain."""
    light = hsv(rng.uniform(0.05, 0.11), rng.uniform(0.3, 0.6), rng.uniform(0.6, 0.9))
    plank = int(rng.integers(60, 150))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    board = np.floor(y / plank)
    bend = _noise(rng, height, width, 4, 3) * rng.uniform(14, 30)
    rings = np.sin((y + bend * 2 + board * 31) * rng.uniform(0.25, 0.5) + x * 0.01) * 0.5 + 0.5
    grain = cv2.blur(rng.random((height, width), dtype=np.float32), (41, 1))
    share = np.clip(0.55 * rings + 2 * (grain - 0.5) + 0.25 + 0.15 * np.sin(board * 2.4), 0, 1)
    image = _between(share.astype(np.float32), darker(light, 0.32), light)
    image[::plank] = darker(light, 0.7)
    return image


def _marble(rng: Generator, height: int, width: int) -> Bytes:
    """Draws polished stone with veins."""
    stone = pick(rng, [(238, 236, 232), (52, 58, 62), (196, 210, 200), (222, 200, 184)])
    warp = _noise(rng, height, width, 3, 5) * 5
    veins = np.abs(np.sin((slope(rng, height, width) * 3 + warp) * np.pi))
    share = 1 - np.clip(veins * 3.5, 0, 1)
    body = _between(_noise(rng, height, width, 5, 4), stone, darker(stone, 0.12))
    vein = np.array(darker(stone, 0.45) if stone[0] > 100 else lighter(stone, 0.5), np.float32)
    mix = (share * rng.uniform(0.4, 0.8))[..., None].astype(np.float32)
    return np.asarray(body + (vein - body) * mix, np.float32).astype(np.uint8)


def _bricks(rng: Generator, height: int, width: int) -> Bytes:
    """Draws a brick wall with mortar. Each brick has its own shade."""
    clay = pick(rng, [(164, 82, 62), (188, 120, 88), (150, 146, 140), (210, 190, 165), (120, 66, 58)])
    mortar = pick(rng, [(206, 200, 190), (120, 116, 112)])
    image = np.full((height, width, 3), mortar, np.uint8)
    tall = int(rng.integers(16, 34))
    long = int(tall * rng.uniform(1.9, 2.7))
    for row, y in enumerate(range(0, height, tall)):
        for x in range(-(row % 2) * long // 2, width, long):
            shade = blend(clay, (40, 30, 30) if chance(rng, 0.5) else (255, 235, 220), rng.uniform(0, 0.25))
            cv2.rectangle(image, (x + 2, y + 2), (x + long - 2, y + tall - 2), shade, -1)
    speckle = (_noise(rng, height, width, 60, 3) - np.float32(0.5)) * 40
    return np.clip(image + speckle[..., None], 0, 255).astype(np.uint8)


def _skyline(rng: Generator, height: int, width: int) -> Bytes:
    """Draws rows of towers with windows in front of a sky by day, at dusk or at night."""
    above, below = pick(
        rng,
        [((40, 52, 104), (240, 150, 110)), ((104, 170, 226), (226, 238, 246)), ((18, 24, 52), (70, 70, 120))],
    )
    fade = np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1)
    image = _between(fade, above, below)
    tint = muted(rng)
    for layer in range(3):
        x = int(rng.integers(-30, 0))
        while x < width:
            wide, tall = int(rng.integers(34, 90)), int(height * rng.uniform(0.25, 0.75) * (1 - 0.2 * layer))
            colour = blend(blend(tint, below, 0.5 - 0.25 * layer), (20, 22, 30), 0.15 + 0.25 * layer)
            cv2.rectangle(image, (x, height - tall), (x + wide, height), colour, -1)
            for wx in range(x + 6, x + wide - 8, 12):
                for wy in range(height - tall + 8, height, 16):
                    lit = (250, 220, 140) if chance(rng, 0.35) else darker(colour, 0.3)
                    cv2.rectangle(image, (wx, wy), (wx + 5, wy + 8), lit, -1)
            x += wide + int(rng.integers(0, 14))
    return image


Backdrop = Callable[[Generator, int, int], Bytes]
"""Draws a background from a random generator, a height and a width in px."""

TRAINING_BACKDROPS: dict[str, Backdrop] = {
    "gradient": _gradient,
    "clouds": _clouds,
    "stripes": _stripes,
    "blobs": _blobs,
    "landscape": _landscape,
    "wall": _wall,
    "leaves": _leaves,
    "room": _room,
    "mosaic": _mosaic,
    "confetti": _confetti,
}
HELD_OUT_BACKDROPS: dict[str, Backdrop] = {
    "cells": _cells,
    "wood": _wood,
    "marble": _marble,
    "bricks": _bricks,
    "skyline": _skyline,
}

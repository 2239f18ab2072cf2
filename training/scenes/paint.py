"""Paint: the colours and the chances that drawings and backdrops are made with. RGB, 0 to 255."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Points = NDArray[np.float64]
Colour = tuple[int, int, int]
T = TypeVar("T")

WHITE: Colour = (250, 250, 248)
BLACK: Colour = (22, 22, 24)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return round(255 * r), round(255 * g), round(255 * b)


def vivid(rng: Generator) -> Colour:
    return hsv(rng.random(), rng.uniform(0.65, 0.95), rng.uniform(0.75, 1))


def blend(colour: Colour, other: Colour, share: float) -> Colour:
    r, g, b = (round(a + (z - a) * share) for a, z in zip(colour, other, strict=True))
    return r, g, b


def darker(colour: Colour, share: float = 0.35) -> Colour:
    return blend(colour, (0, 0, 0), share)


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    return blend(colour, (255, 255, 255), share)


def chance(rng: Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def pick(rng: Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def muted(rng: Generator) -> Colour:
    return hsv(rng.random(), rng.uniform(0.05, 0.6), rng.uniform(0.25, 0.95))

"""Provides the colours and the random choices that the drawings and the backdrops use.

Colours are RGB, 0 to 255.
"""

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
    """Returns the RGB colour of a hue, a saturation and a value, each from 0 to 1.

    Hues outside this range wrap around. The two others are clipped.
    """
    r, g, b = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return round(255 * r), round(255 * g), round(255 * b)


def vivid(rng: Generator) -> Colour:
    """Returns a random bright and saturated colour."""
    return hsv(rng.random(), rng.uniform(0.65, 0.95), rng.uniform(0.75, 1))


def blend(colour: Colour, other: Colour, share: float) -> Colour:
    """Mixes two colours. The result is `colour` where the share is 0, and `other` where the share is 1."""
    r, g, b = (round(a + (z - a) * share) for a, z in zip(colour, other, strict=True))
    return r, g, b


def darker(colour: Colour, share: float = 0.35) -> Colour:
    """Mixes the colour with black."""
    return blend(colour, (0, 0, 0), share)


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    """Mixes the colour with white."""
    return blend(colour, (255, 255, 255), share)


def chance(rng: Generator, probability: float) -> bool:
    """Returns True with the given probability."""
    return bool(rng.random() < probability)


def pick(rng: Generator, choices: Sequence[T]) -> T:
    """Returns one of the choices. All choices are equally likely."""
    return choices[int(rng.integers(len(choices)))]


def muted(rng: Generator) -> Colour:
    """Returns a random colour of low or medium saturation."""
    return hsv(rng.random(), rng.uniform(0.05, 0.6), rng.uniform(0.25, 0.95))

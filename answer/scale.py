"""Scale: turns pixels into centimetres or metres, from a line in the photo whose length a person knows.

This holds for things in one plane only: the plane of the line, which faces the camera. What is nearer to the
camera looks larger, and what is farther away looks smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from answer.settings import SettingsError, said

UNITS = ("cm", "m")
LONGEST = 1_000_000
"""The greatest length of a line, in its unit."""
ONE_PLANE = "Lengths and areas hold only for what lies in the same plane as your line and faces the camera."


@dataclass(frozen=True, slots=True)
class Scale:
    """How long and how large a pixel of the photo is.

    Args:
        per_pixel: The length of a pixel, in `unit`.
        unit: One of `UNITS`.
        length: The length of the line from which this comes, in `unit`.
    """

    per_pixel: float
    unit: str
    length: float

    @property
    def headers(self) -> tuple[str, str, str]:
        """The names of the columns that `measured` gives."""
        return f"area ({self.unit}²)", f"width ({self.unit})", f"height ({self.unit})"

    @property
    def words(self) -> str:
        """The scale in a sentence, and what it holds for."""
        line, pixel = f"{self.length:g} {self.unit}", f"{self.per_pixel:.3g} {self.unit}"
        return f"By your line of {line}, a pixel is {pixel}. {ONE_PLANE}"

    def measured(self, area_px: float, width_px: float, height_px: float) -> tuple[float, float, float]:
        """Returns an area, a width and a height in `unit`, with four digits that count."""
        area = area_px * self.per_pixel**2
        numbers = area, width_px * self.per_pixel, height_px * self.per_pixel
        first, second, third = (float(f"{number:.4g}") for number in numbers)
        return first, second, third


def scale_of(drawn: object, size: tuple[int, int]) -> Scale | None:
    """Returns the scale that a line in a photo gives, or None if there is no line.

    Args:
        drawn: {"line": [x1, y1, x2, y2], "length": number, "unit": "cm" or "m"}. The ends of the line are
            shares of the photo's width and height, 0 to 1. It comes from a visitor's browser.
        size: (height, width) of the photo in pixels.

    Raises:
        SettingsError: `drawn` is something else, or the line has no length.
    """
    if drawn is None:
        return None
    if not isinstance(drawn, dict) or drawn.keys() != {"line", "length", "unit"}:
        raise SettingsError("scale: expected a line, its length and its unit.")
    line, length, unit = drawn["line"], drawn["length"], drawn["unit"]
    ends = line if isinstance(line, list) else []
    if len(ends) != 4 or not all(_is_number(end) and 0 <= end <= 1 for end in ends):
        raise SettingsError("scale: expected the ends of a line in the photo, as four numbers from 0 to 1.")
    if unit not in UNITS:
        raise SettingsError(f"scale: expected the unit {' or '.join(UNITS)}, got {said(unit)}.")
    if not _is_number(length) or not 0 < length <= LONGEST:
        raise SettingsError(f"scale: expected a length above 0 and at most {LONGEST}, got {said(length)}.")
    x1, y1, x2, y2 = ends
    pixels = math.hypot((x2 - x1) * size[1], (y2 - y1) * size[0])
    if pixels < 1:
        raise SettingsError("scale: the line is too short. Draw it from one end of something to the other.")
    return Scale(length / pixels, unit, length)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

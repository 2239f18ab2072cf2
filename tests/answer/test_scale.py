"""Tests how a line of known length turns pixels into centimetres or metres."""

from __future__ import annotations

from typing import Any

import pytest

import coco
from answer.report import headers, table
from answer.scale import ONE_PLANE, Scale, scale_of
from answer.settings import SettingsError
from tests.samples import make_detections

SIZE = (300, 400)
LINE: dict[str, Any] = {"line": [0.25, 0.5, 0.75, 0.5], "length": 50, "unit": "cm"}


@pytest.mark.parametrize(
    ("line", "length", "per_pixel"),
    [
        ([0.25, 0.5, 0.75, 0.5], 50, 0.25),  # 200 px
        ([0.5, 1, 0.5, 0], 30, 0.1),  # 300 px
        ([0, 0, 1, 1], 5, 0.01),  # 300 by 400 px: 500 px
    ],
)
def test_a_line_says_how_long_a_pixel_is_in_every_direction(
    line: list[float], length: float, per_pixel: float
) -> None:
    scale = scale_of({"line": line, "length": length, "unit": "m"}, SIZE)
    assert scale is not None and scale.per_pixel == pytest.approx(per_pixel)


def test_without_a_line_there_is_no_scale() -> None:
    assert scale_of(None, SIZE) is None


def test_areas_grow_with_the_square() -> None:
    assert Scale(0.5, "cm", 10).measured(100, 20, 30) == (25, 10, 15)
    assert Scale(1 / 3, "m", 1).measured(1, 1, 1000) == (0.1111, 0.3333, 333.3)


def test_a_table_has_three_more_columns_with_a_scale() -> None:
    detections = make_detections([[0, 0, 20, 40]])
    scale = Scale(0.5, "cm", 10)
    (plain,), (row,) = (table(detections, coco.CATEGORIES, [800], one) for one in (None, scale))
    assert row == [*plain, 200, 10, 20]
    assert headers(scale) == (*headers(), "area (cm²)", "width (cm)", "height (cm)")


def test_the_sentence_says_what_it_holds_for() -> None:
    assert Scale(0.25, "cm", 50).words == f"By your line of 50 cm, a pixel is 0.25 cm. {ONE_PLANE}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"line": [0, 0, 1]}, "four numbers from 0 to 1"),
        ({"line": [0, 0, 1, 1.5]}, "four numbers from 0 to 1"),
        ({"line": "long"}, "four numbers from 0 to 1"),
        ({"line": [0.5, 0.5, 0.5, 0.5]}, "the line is too short"),
        ({"length": 0}, "a length above 0"),
        ({"length": "two"}, "a length above 0"),
        ({"length": 10**400}, "a length above 0"),
        ({"length": True}, "a length above 0"),
        ({"unit": "foot"}, "the unit cm or m, got 'foot'"),
        ({"more": 1}, "a line, its length and its unit"),
    ],
)
def test_what_is_no_scale_is_refused_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        scale_of(LINE | change, SIZE)

"""The checks of settings, and the words of a visitor as a message repeats them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import coco
from answer.settings import (
    SAID,
    Filters,
    SettingsError,
    check_classes,
    check_clip_detail,
    check_fraction,
    rgb,
    said,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x" * 38, f"'{'x' * 38}'"),
        ("a" * 20 + "z" * 19, f"'{'a' * 17}...{'z' * 18}'"),
        (10**39, "1" + "0" * 39),
        (10**40, f"1{'0' * 17}...{'0' * 19}"),
        ([1, 2, 3], "[1, 2, 3]"),
        ([1, 2, 3, 4], "[1, 2, 3, ...]"),
        ([[1]], "[[1]]"),
        ([[[1]]], "[[[...]]]"),
    ],
    ids=[
        "a text of 40 characters with its quotes", "a text of 41", "a number of 40 digits", "a number of 41",
        "three values", "four values", "two levels", "three levels",
    ],
)  # fmt: skip
def test_one_character_too_many_shortens_a_value_in_its_middle(value: Any, expected: str) -> None:
    assert said(value) == expected
    assert len(said(value)) <= 40


def test_a_sentence_repeats_sixty_characters_and_marks_where_it_stops() -> None:
    assert SAID == 60
    words = ["a" * 16, "b" * 16, "c" * 16]
    assert said(words) == str(words) and len(said(words)) == 60
    words[2] += "c"
    assert said(words) == str(words)[:59] + "…" and len(said(words)) == 60


@pytest.mark.parametrize("field", ["score_threshold", "mask_threshold"])
@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.37])
def test_thresholds_from_0_to_1_are_accepted(field: str, value: float) -> None:
    assert getattr(Filters(**{field: value}), field) == value


@pytest.mark.parametrize("field", ["score_threshold", "mask_threshold"])
@pytest.mark.parametrize(
    "value", [-0.001, 1.001, float("nan"), float("inf"), -float("inf"), True, False, "0.5", None, [0.5], 50]
)
def test_other_thresholds_are_refused_with_the_range_and_what_came(field: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"^{field}: expected a number from 0 to 1, got ") as caught:
        Filters(**{field: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("persn", "did you mean person"),
        ("Dog", "did you mean dog"),
        ("hair dryer", "did you mean hair drier"),
        (
            "xylophone orchestra",
            "there are person, bicycle, car, motorcycle, airplane, bus, train, truck and 72 more",
        ),
        ("", "there are person"),
        ("__background__", "there are person"),
    ],
)
def test_an_unknown_class_is_refused_with_the_nearest_names(name: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=f"^classes: there is no category '{name}'; .*{hint}"):
        check_classes(Filters(classes=("person", name)), coco.CATEGORIES)


@pytest.mark.parametrize("name", [5, None, 1.5, ("person",)])
def test_a_class_that_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(SettingsError, match=r"^classes: expected names such as "):
        Filters(classes=(name,))


def test_a_very_long_class_name_is_not_echoed_in_full() -> None:
    with pytest.raises(SettingsError) as caught:
        check_classes(Filters(classes=("x" * 10_000,)), coco.CATEGORIES)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", [["person"], {"a": 1}])
def test_a_class_that_is_no_word_is_refused(name) -> None:
    with pytest.raises(SettingsError, match="expected names such as"):
        Filters(classes=(name,))


@pytest.mark.parametrize("hidden", [("2",), (2.0,), (True,), (None,)])
def test_a_hidden_id_that_is_no_whole_number_is_refused(hidden: Any) -> None:
    with pytest.raises(SettingsError, match=r"hidden: expected ids of instances such as \[2, 5\], got"):
        Filters(hidden=hidden)


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.1 + 0.2, np.float64(0.5)])
def test_a_fraction_is_any_number_from_0_to_1(value: Any) -> None:
    check_fraction("opacity", value)  # raises nothing


@pytest.mark.parametrize("value", [-1e-9, 1.000001, 2, float("nan"), float("-inf"), True, "0.5", None, [0.5]])
def test_what_is_no_fraction_is_refused_by_the_name_of_the_setting(value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        check_fraction("opacity", value)
    assert str(caught.value) == f"opacity: expected a number from 0 to 1, got {value!r}."


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ("#ff8000", (255, 128, 0)),
        ("#FFFFFF", (255, 255, 255)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
        ("rgba(254.6,0,12.4,0.5)", (255, 0, 12)),
    ],
)
def test_a_colour_is_read_in_both_ways_in_which_browsers_write_it(
    color: str, expected: tuple[int, int, int]
) -> None:
    assert rgb(color) == expected


@pytest.mark.parametrize(
    "color", ["", "red", "#fff", "#12345g", "rgb(1, 2)", "rgb(256, 0, 0)", "rgb(1.2.3, 0, 0)", None, 7]
)
def test_any_other_colour_is_refused(color: Any) -> None:
    with pytest.raises(SettingsError, match="color: expected one such as"):
        rgb(color)


def test_clips_and_live_do_not_look_closer() -> None:
    check_clip_detail("fast")
    with pytest.raises(SettingsError, match="'closer' is for photos"):
        check_clip_detail("closer")

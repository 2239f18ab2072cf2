from __future__ import annotations

from inspect import signature
from typing import Any, get_args

import gradio as gr
import pytest

from answer.result import in_view
from answer.settings import Filters, SettingsError
from detections import Detections
from inference import SCORE_FLOOR
from tests.samples import CAT, DOG, PERSON, make_detections
from ui.components import stage
from ui.controls import Controls, add_controls, read
from visualize import PARTS, ColorBy, Style

PETS = make_detections([[0, 0, 9, 9]] * 4, class_ids=[CAT, DOG, CAT, PERSON], scores=[0.9, 0.8, 0.7, 0.1])


@pytest.fixture
def looks() -> Controls:
    with gr.Blocks():
        return add_controls(stage({}))


def reading(detections: Detections = PETS, **values: Any) -> tuple[Filters, Style]:
    """Returns the filters and the style that the controls give after these values were changed."""
    untouched: dict[str, Any] = {
        "threshold": 0.5,
        "kinds": {"unticked": []},
        "mask_threshold": 0.5,
        "shown": list(PARTS),
        "opacity": 0.5,
        "color_by": "instance",
        "picture": {"hidden": []},
    }
    return read(detections, **untouched | values)


def test_values_come_in_the_order_in_which_they_are_read(looks: Controls) -> None:
    _, *parameters = signature(read).parameters
    inputs = looks.inputs()
    assert len(inputs) == len(parameters)
    for component, name in zip(inputs, parameters, strict=True):
        assert component is getattr(looks, name)


def test_controls_that_nobody_has_touched_say_what_is_so_by_default(looks: Controls) -> None:
    values = [component.value for component in looks.inputs()]
    assert read(PETS, *values) == reading() == (Filters(), Style())


def test_both_ends_of_each_slider_are_accepted_and_the_lowest_threshold_shows_everything(
    looks: Controls,
) -> None:
    assert looks.threshold.minimum == SCORE_FLOOR
    for end in ("minimum", "maximum"):
        ends = {
            name: getattr(getattr(looks, name), end) for name in ("threshold", "mask_threshold", "opacity")
        }
        filters, style = reading(**ends)
        assert (filters.score_threshold, filters.mask_threshold, style.opacity) == tuple(ends.values())


def test_what_can_be_chosen_is_what_there_is(looks: Controls) -> None:
    assert [value for _, value in looks.shown.choices] == list(PARTS)
    assert [value for _, value in looks.color_by.choices] == list(get_args(ColorBy))


@pytest.mark.parametrize(
    ("unticked", "classes"),
    [
        ([], None),
        (["dog"], ("cat", "person")),
        (["person"], ("cat", "dog")),
        (["cat", "dog"], ("person",)),
        (["cat", "dog", "person"], ()),
        (["zebra"], None),
        (["zebra", "cat"], ("dog", "person")),
    ],
    ids=["none", "one", "one below the threshold", "two", "all", "one not there", "one of two not there"],
)
def test_the_kinds_that_are_left_are_the_classes_and_none_stands_for_all(
    unticked: list[str], classes: tuple[str, ...] | None
) -> None:
    assert reading(kinds={"unticked": unticked})[0].classes == classes


@pytest.mark.parametrize("unticked", [[], ["cat"], ["zebra"]])
def test_where_nothing_was_found_no_kind_is_left_out(unticked: list[str]) -> None:
    assert reading(make_detections([]), kinds={"unticked": unticked})[0].classes is None


def test_an_id_that_is_no_category_cannot_be_ticked_and_breaks_nothing() -> None:
    detections = make_detections([[0, 0, 9, 9]] * 3, class_ids=[CAT, 12, DOG])
    assert reading(detections)[0].classes is None
    assert reading(detections, kinds={"unticked": ["cat"]})[0].classes == ("dog",)


def test_a_kind_that_comes_into_view_is_shown_unless_it_was_unticked() -> None:
    for unticked, ids in (([], [1, 2, 3, 4]), (["cat"], [2, 4]), (["person"], [1, 2, 3])):
        filters, _ = reading(threshold=0.05, kinds={"unticked": unticked})
        assert in_view(PETS, filters).ids.tolist() == ids


@pytest.mark.parametrize("shown", [[], ["masks"], ["labels", "boxes"], ["labels", "masks", "boxes"]])
def test_a_part_is_drawn_if_it_is_ticked(shown: list[str]) -> None:
    _, style = reading(shown=shown)
    assert {part for part in PARTS if getattr(style, part)} == set(shown)


def test_what_was_hidden_by_hand_is_not_in_view() -> None:
    filters, _ = reading(picture={"hidden": [3, 1]})
    assert filters.hidden == (3, 1)
    assert in_view(PETS, filters).ids.tolist() == [2]


def test_masks_end_where_the_mask_threshold_says_in_numbers_and_in_pictures() -> None:
    filters, style = reading(mask_threshold=0.65)
    assert filters == Filters(mask_threshold=0.65)
    assert style == Style(mask_threshold=0.65)


def test_the_other_values_are_taken_as_they_are() -> None:
    filters, style = reading(threshold=0.31, opacity=0.2, color_by="category")
    assert filters == Filters(0.31)
    assert style == Style(opacity=0.2, color_by="category")


def test_a_value_that_the_page_never_sends_is_refused_in_a_sentence() -> None:
    for value in ({"threshold": 7}, {"picture": {"hidden": ["all"]}}):
        with pytest.raises(SettingsError):
            reading(**value)

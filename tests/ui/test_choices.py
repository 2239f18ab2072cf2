from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import gradio as gr
import pytest

from answer.edits import read_edits
from answer.result import View
from answer.settings import Filters, SettingsError
from detections import Detections
from inference import NAMES, SCORE_FLOOR
from marks import ColorBy
from network.detail import DETAILS
from tests.samples import CAT, DOG, PERSON, make_detections, make_result
from ui.choices import SAME, TABS, Choices
from ui.components import EMPTY_STAGE
from ui.layout import Layout, add_layout
from visualize import EFFECTS, PARTS, Style

PETS = make_detections([[0, 0, 9, 9]] * 4, class_ids=[CAT, DOG, CAT, PERSON], scores=[0.9, 0.8, 0.7, 0.1])


@pytest.fixture(scope="module")
def layout() -> Layout:
    with gr.Blocks():
        return add_layout()


def untouched(layout: Layout) -> dict[Any, Any]:
    """Returns what the components of a page say that nobody has touched."""
    return {component: component.value for component in layout.inputs()}


def seen(detections: Detections = PETS, **changed: Any) -> View:
    """Returns what a visitor sees of `detections` who has changed these settings."""
    return Choices(**changed).view(make_result(detections))


def test_what_nobody_has_touched_is_as_the_defaults_say(layout: Layout) -> None:
    assert layout.read(untouched(layout)) == Choices()
    view = seen()
    assert (view.filters, view.style) == (Filters(), Style())


LINE = {"line": [0, 0, 1, 1], "length": 2, "unit": "m"}


def test_every_setting_is_read_from_a_component_of_its_own(layout: Layout) -> None:
    names = {field.name for field in fields(Choices)}
    assert layout.controls.keys() == names - {"without", "hidden", "edits", "show", "thresholds", "scale"}
    changed: dict[str, Any] = {
        "model": "scenes",
        "detail": "fast",
        "score_threshold": 0.31,
        "mask_threshold": 0.65,
        "opacity": 0.2,
        "color_by": "category",
        "tab": "Compare",
        "step": 2,
        "effect": "blur",
        "color": "#123456",
        "other_model": "starter",
        "other_threshold": 0.9,
        "other_show": "difference",
    }
    assert changed.keys() == layout.controls.keys()
    values = untouched(layout) | {layout.controls[name]: value for name, value in changed.items()}
    values[layout.summary] = {"unticked": ["cat", "dog"], "thresholds": {"car": 0.8}}
    edit = {"do": "rename", "id": 3, "name": "teapot"}
    of_stage = {"hidden": [3, 1], "show": ["labels"], "edits": [edit], "scale": LINE}
    values[layout.picture] = EMPTY_STAGE | of_stage
    expected = Choices(
        **changed,
        without=("cat", "dog"),
        hidden=(3, 1),
        edits=read_edits([edit]),
        show=("labels",),
        thresholds={"car": 0.8},
        scale=LINE,
    )
    assert layout.read(values) == expected
    assert all(getattr(expected, name) != getattr(Choices(), name) for name in names)


def test_both_ends_of_each_slider_are_accepted_and_the_lowest_threshold_shows_everything(
    layout: Layout,
) -> None:
    assert layout.controls["score_threshold"].minimum == SCORE_FLOOR
    for end in ("minimum", "maximum"):
        names = ("score_threshold", "mask_threshold", "opacity")
        ends = {name: getattr(layout.controls[name], end) for name in names}
        view = seen(**ends)
        assert (view.filters.score_threshold, view.filters.mask_threshold, view.style.opacity) == tuple(
            ends.values()
        )


def test_what_can_be_chosen_is_what_there_is(layout: Layout) -> None:
    def offered(name: str) -> list[object]:
        return [value for _, value in layout.controls[name].choices]

    assert sorted(offered("model")) == sorted(NAMES)
    assert offered("detail") == list(DETAILS)
    assert offered("color_by") == list(get_args(ColorBy))
    assert offered("effect") == list(EFFECTS)
    assert sorted(offered("other_model")) == sorted({SAME, *NAMES} - {"auto"})
    assert tuple(layout.tab_of) == TABS
    assert Choices().tab == TABS[0]


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
    assert seen(without=tuple(unticked)).filters.classes == classes


@pytest.mark.parametrize("unticked", [[], ["cat"], ["zebra"]])
def test_where_nothing_was_found_no_kind_is_left_out(unticked: list[str]) -> None:
    assert seen(make_detections([]), without=tuple(unticked)).filters.classes is None


def test_an_id_that_is_no_category_cannot_be_ticked_and_breaks_nothing() -> None:
    detections = make_detections([[0, 0, 9, 9]] * 3, class_ids=[CAT, 12, DOG])
    assert seen(detections).filters.classes is None
    assert seen(detections, without=("cat",)).filters.classes == ("dog",)


def test_a_kind_that_comes_into_view_is_shown_unless_it_was_unticked() -> None:
    for without, ids in (((), [1, 2, 3, 4]), (("cat",), [2, 4]), (("person",), [1, 2, 3])):
        assert seen(score_threshold=0.05, without=without).shown.ids.tolist() == ids


@pytest.mark.parametrize("show", [(), ("masks",), ("labels", "boxes"), ("labels", "masks", "boxes")])
def test_a_part_is_drawn_if_it_is_switched_on(show: tuple[str, ...]) -> None:
    style = seen(show=show).style
    assert {part for part in PARTS if getattr(style, part)} == set(show)


def test_what_was_hidden_by_hand_is_not_in_view() -> None:
    view = seen(hidden=(3, 1))
    assert view.filters.hidden == (3, 1)
    assert view.shown.ids.tolist() == [2]


def test_masks_end_where_the_mask_threshold_says_in_numbers_and_in_pictures() -> None:
    view = seen(mask_threshold=0.65)
    assert view.filters == Filters(mask_threshold=0.65)
    assert view.style == Style(mask_threshold=0.65)


def test_the_other_values_are_taken_as_they_are() -> None:
    view = seen(score_threshold=0.31, opacity=0.2, color_by="category")
    assert view.filters == Filters(0.31)
    assert view.style == Style(opacity=0.2, color_by="category")


def test_a_value_that_the_page_never_sends_is_refused_in_a_sentence() -> None:
    for value in ({"score_threshold": 7}, {"hidden": ("all",)}):
        with pytest.raises(SettingsError):
            seen(**value)


def test_thresholds_of_kinds_that_the_model_does_not_know_wait_for_a_model_that_does() -> None:
    view = seen(thresholds={"cat": 0.9, "leaf": 0.2})
    assert view.filters.thresholds == {"cat": 0.9}
    assert Choices(thresholds={"cat": 0.9, "leaf": 0.2}).least_score == 0.2
    assert Choices().least_score == 0.5

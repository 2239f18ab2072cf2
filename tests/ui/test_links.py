from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import coco
from inference import NAMES
from network.detail import DETAILS
from ui.choices import TABS, Choices
from ui.links import EXAMPLES, LONGEST, NO_EXAMPLE, PHOTOS, SETTINGS, read_query, to_link
from visualize import EFFECTS, PARTS

ADDRESS = "https://example.org/demo"
DEFAULTS = {name: setting.default for name, setting in SETTINGS.items()}
EVERYTHING: dict[str, Any] = {
    "example": "coffee",
    "model": "resnet50_fpn_v2",
    "detail": "fast",
    "score_threshold": 0.07,
    "mask_threshold": 0.95,
    "without": ["person", "hot dog"],
    "thresholds": {"person": 0.7, "hot dog": 0.05},
    "show": ["labels"],
    "opacity": 0,
    "color_by": "category",
    "tab": "Compare",
    "step": 2,
    "effect": "blur",
    "color": "#12ab00",
    "other_threshold": 1,
    "other_show": "difference",
}


def back(values: dict[str, Any], photo: str | Path = "photo.jpg") -> tuple[dict[str, Any], list[str]]:
    """Makes a link to these values, and returns the values and faults that are read from the link."""
    return read_query(urlsplit(to_link(ADDRESS, Path(photo), values)).query)


def test_a_view_as_by_default_has_the_plain_address() -> None:
    assert to_link(ADDRESS, Path("photo.jpg"), DEFAULTS) == f"{ADDRESS}/"
    assert read_query("") == (DEFAULTS, [])


def test_every_setting_comes_back() -> None:
    assert EVERYTHING.keys() == SETTINGS.keys()
    values = {name: value for name, value in EVERYTHING.items() if name != "example"}
    assert back(values, EXAMPLES["coffee"]) == (EVERYTHING, [])


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.sampled_from(NAMES),
            "detail": st.sampled_from(list(DETAILS)),
            "score_threshold": st.integers(5, 100).map(lambda percent: percent / 100),
            "without": st.lists(st.sampled_from(list(coco.BY_NAME)), unique=True, max_size=79),
            "show": st.sets(st.sampled_from(PARTS)).map(lambda parts: [p for p in PARTS if p in parts]),
            "opacity": st.floats(0, 1).map(lambda number: round(number, 2)),
            "tab": st.sampled_from(TABS),
            "effect": st.sampled_from(list(EFFECTS)),
        },
    )
)
def test_any_settings_come_back(values: dict[str, Any]) -> None:
    assert back(values) == (DEFAULTS | values, [])


def test_kinds_of_any_model_come_back_from_a_link() -> None:
    names = ["Blatt, grün", "50% rust", "a%2Cb", "<b>&=", "葉"]
    assert back({"without": names}) == (DEFAULTS | {"without": names}, [])


def test_only_what_differs_is_in_the_link() -> None:
    assert (
        to_link(ADDRESS, Path("x"), DEFAULTS | {"score_threshold": 0.3}) == f"{ADDRESS}/?score_threshold=0.3"
    )
    two = DEFAULTS | {"without": ["hot dog", "cat"]}
    assert to_link(ADDRESS, Path("x"), two) == f"{ADDRESS}/?without=hot%20dog,cat"


def test_an_example_is_in_the_link_and_a_photo_of_the_visitors_is_not() -> None:
    assert {"astronaut", "chelsea", "coffee", "scene-1", "scene-6"} <= EXAMPLES.keys()
    assert to_link(ADDRESS, EXAMPLES["scene-1"], {}) == f"{ADDRESS}/?example=scene-1"
    assert to_link(ADDRESS, Path("uploads") / "coffee.png", {}) == f"{ADDRESS}/"


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("score_threshold=much", "score_threshold"),
        ("score_threshold=nan", "score_threshold"),
        ("score_threshold=7", "score_threshold"),
        ("score_threshold=", "score_threshold"),
        ("example=../../app", "example"),
        ("model=yolo", "model"),
        ("detail=none", "detail"),
        ("without=" + "x" * 101, "without"),
        ("show=masks,hats", "show"),
        ("color=red", "color"),
        ("color_by=", "color_by"),
        ("tab=objetcs", "tab"),
        ("step=0", "step"),
    ],
)
def test_what_cannot_be_read_is_named_and_left_as_by_default(query: str, fault: str) -> None:
    assert read_query(query) == (DEFAULTS, [fault])
    values, faults = read_query(f"{query}&opacity=0.2")
    assert (values["opacity"], faults) == (0.2, [fault])


def test_what_is_no_setting_is_passed_over() -> None:
    assert read_query("__theme=dark&logs=container&&=&x") == (DEFAULTS, [])


def test_a_long_query_is_cut() -> None:
    assert read_query("x=" + "y" * LONGEST + "&opacity=0.2") == (DEFAULTS, [])


def test_every_example_that_is_offered_is_a_photo_that_a_link_can_open() -> None:
    assert 6 <= len(PHOTOS) <= 8
    for name in PHOTOS:
        assert read_query(f"example={name}")[0]["example"] == name
        assert EXAMPLES[name].stat().st_size <= 600_000


def test_a_link_can_ask_for_an_empty_page() -> None:
    assert NO_EXAMPLE not in EXAMPLES
    assert read_query(f"example={NO_EXAMPLE}") == (DEFAULTS | {"example": NO_EXAMPLE}, [])


def test_what_nobody_has_touched_is_as_by_default_in_a_link() -> None:
    values = Choices().linked()
    assert values == {name: DEFAULTS[name] for name in values}
    assert DEFAULTS.keys() - values.keys() == {"example"}


def test_what_is_set_is_in_the_link_and_what_is_hidden_by_hand_is_not() -> None:
    changed = Choices(
        score_threshold=0.2, without=("cat",), show=("labels", "boxes"), hidden=(3,), tab="Code"
    )
    link = to_link(ADDRESS, Path("x"), changed.linked())
    assert link == f"{ADDRESS}/?score_threshold=0.2&without=cat&show=boxes,labels&tab=Code"


def test_the_name_of_a_tab_may_be_in_small_letters() -> None:
    assert read_query("tab=inside") == (DEFAULTS | {"tab": "Inside"}, [])


@pytest.mark.parametrize(
    "text", ["person", "person:", "person:2", "person:much", ":0.01", f"{101 * chr(120)}:1"]
)
def test_thresholds_that_are_none_are_left_out(text: str) -> None:
    values, faults = read_query(f"thresholds={text}")
    assert values["thresholds"] == {} and faults == ["thresholds"]


def test_a_threshold_of_a_kind_with_an_odd_name_comes_back() -> None:
    odd = {"a, b: 50 %": 0.25}
    assert back({"thresholds": odd})[0]["thresholds"] == odd

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

import coco
from answer.report import hidden_by_threshold
from answer.result import View, in_view
from answer.settings import Filters
from detections import Detections
from tests.samples import CAT, DOG, PERSON, make_detections, make_result, random_detections
from ui.histogram import HEIGHT, WIDTH, histogram

BAR = 0.05
"""The range of scores in one bar."""
ROUNDING = 0.1
"""The error of a sum of two coordinates, because coordinates have one decimal."""
THRESHOLDS = [0, 0.05, 0.1, 0.12, 0.3, 0.33, 0.5, 0.52, 0.7, 0.9, 0.95, 0.99, 1]


def scored(*scores: float) -> Detections:
    return make_detections([[0, 0, 9, 9]] * len(scores), scores=scores)


def many() -> Detections:
    """Returns instances with random scores, and one instance on each border between two bars."""
    scores = np.concatenate([random_detections(0, 150, (60, 80)).scores, np.arange(2, 21) / 20])
    return scored(*np.sort(scores)[::-1].tolist())


def drawing(detections: Detections, filters: Filters) -> ElementTree.Element:
    svg = ElementTree.fromstring(histogram(View(make_result(detections), filters))).find("svg")
    assert svg is not None
    return svg


def bars(svg: ElementTree.Element, kind: str) -> list[dict[str, float]]:
    """Returns x, y, width and height of the bars of a kind, "shown" or "hidden"."""
    return [
        {side: float(bar.attrib[side]) for side in ("x", "y", "width", "height")}
        for bar in svg.findall("rect")
        if bar.attrib["class"] == kind
    ]


def line_x(svg: ElementTree.Element) -> float:
    (line,) = svg.findall("line")
    assert line.attrib["x1"] == line.attrib["x2"]
    return float(line.attrib["x1"])


def test_the_tallest_bar_fills_the_drawing_and_the_others_are_in_proportion() -> None:
    svg = drawing(scored(0.93, 0.92, 0.62, 0.33), Filters())
    assert [bar["height"] for bar in bars(svg, "shown")] == [HEIGHT / 2, HEIGHT]
    assert [bar["height"] for bar in bars(svg, "hidden")] == [HEIGHT / 2]


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_heights_add_up_to_the_instances_shown_and_hidden(threshold: float) -> None:
    detections, filters = many(), Filters(threshold)
    svg = drawing(detections, filters)
    shown = len(in_view(detections, coco.CATEGORIES, filters))
    # A score on a border belongs to the bar above it. Only the score 1 belongs to the bar below.
    places = np.minimum(np.round(detections.scores.astype(float), 6) / BAR + 1e-9, 19).astype(int)
    tallest = max(Counter(places.tolist()).values())
    for kind, count in (("shown", shown), ("hidden", len(detections) - shown)):
        heights = [bar["height"] for bar in bars(svg, kind)]
        assert sum(heights) == pytest.approx(count * HEIGHT / tallest, abs=ROUNDING * len(heights))


@pytest.mark.parametrize("threshold", THRESHOLDS[:-1])  # nothing can stand on the right of 1
def test_what_is_shown_stands_on_the_right_of_the_line_and_what_is_hidden_on_its_left(
    threshold: float,
) -> None:
    svg = drawing(many(), Filters(threshold))
    # The line may also run through a bar, because a bar holds a range of scores.
    assert all(bar["x"] + bar["width"] > line_x(svg) for bar in bars(svg, "shown"))
    assert all(bar["x"] < line_x(svg) for bar in bars(svg, "hidden"))


def test_a_score_stands_where_the_slider_has_it() -> None:
    for score in np.arange(0.06, 1, 0.01):
        (bar,) = bars(drawing(scored(score), Filters(0)), "shown")
        x = (score - 0.05) / 0.95 * WIDTH
        assert bar["x"] - 0.6 <= x <= bar["x"] + bar["width"] + 0.6


@pytest.mark.parametrize(("threshold", "x"), [(0, 0), (0.05, 0), (0.525, WIDTH / 2), (1, WIDTH)])
def test_the_line_stands_where_the_sliders_knob_does(threshold: float, x: float) -> None:
    assert line_x(drawing(many(), Filters(threshold))) == x


def test_the_lowest_and_the_highest_score_are_counted() -> None:
    just_above_the_floor = float(np.nextafter(np.float32(0.05), np.float32(1)))
    low, high = bars(drawing(scored(1, just_above_the_floor), Filters(0)), "shown")
    assert low["x"] < 1
    assert high["x"] + high["width"] > WIDTH - 1


def test_in_the_bar_that_the_line_runs_through_the_shown_stand_on_the_hidden() -> None:
    svg = drawing(scored(0.53, 0.53, 0.51), Filters(0.52))
    (shown,), (hidden,) = bars(svg, "shown"), bars(svg, "hidden")
    assert shown["x"] == hidden["x"]
    assert (shown["y"], shown["y"] + shown["height"]) == (0, hidden["y"])
    assert hidden["y"] + hidden["height"] == HEIGHT


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_kinds_not_ticked_and_instances_hidden_by_hand_are_not_there_at_all(threshold: float) -> None:
    detections = make_detections(
        [[0, 0, 9, 9]] * 6, class_ids=[CAT, DOG, CAT, PERSON, CAT, DOG], scores=[0.9, 0.8, 0.6, 0.6, 0.4, 0.2]
    )
    filters = Filters(threshold, ("cat", "dog"), hidden=(1, 5))
    left = detections.select(np.array([1, 2, 5]))
    assert histogram(View(make_result(detections), filters)) == histogram(
        View(make_result(left), Filters(threshold))
    )


@pytest.mark.parametrize("detections", [make_detections([]), scored(0.9)], ids=["none found", "none ticked"])
def test_nothing_at_all_is_a_line_without_bars(detections: Detections) -> None:
    svg = drawing(detections, Filters(classes=("zebra",)))
    assert [part.tag for part in svg] == ["line"]


@pytest.mark.parametrize("detections", [make_detections([]), many()], ids=["none", "many"])
def test_the_words_are_there_for_those_who_see_it_and_those_who_do_not(detections: Detections) -> None:
    filters = Filters(0.6)
    figure = ElementTree.fromstring(histogram(View(make_result(detections), filters)))
    words = hidden_by_threshold(View(make_result(detections), filters))
    assert [(caption.text, len(caption)) for caption in figure.findall("figcaption")] == [(words, 0)]
    svg = figure.find("svg")
    assert svg is not None and svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"].endswith(f": {words}.")


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_everything_lies_within_the_drawing(threshold: float) -> None:
    for detections in (many(), many().select(np.arange(0, 160, 7))):
        svg = drawing(detections, Filters(threshold))
        assert svg.attrib["viewBox"] == f"0 0 {WIDTH} {HEIGHT}"
        assert 0 <= line_x(svg) <= WIDTH
        for bar in bars(svg, "shown") + bars(svg, "hidden"):
            assert bar["width"] > 0 and bar["height"] > 0
            assert 0 <= bar["x"] <= WIDTH - bar["width"]
            assert 0 <= bar["y"] <= HEIGHT - bar["height"] + ROUNDING


def test_the_mask_threshold_changes_nothing() -> None:
    assert histogram(View(make_result(many()), replace(Filters(), mask_threshold=0.9))) == histogram(
        View(make_result(many()))
    )

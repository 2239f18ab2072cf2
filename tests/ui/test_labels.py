"""Tests that the page (`assets/labels.js`) places labels exactly as `marks.place_labels` does in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page

from marks import CORNERS, MIDDLES, Placements, place_labels
from tests.ui.scripts import source

# The part of the script that only computes needs nothing of the page. The rest needs these names.
STUBS = """
const stage = {}, root = {}, inView = [], parts = new Map(), drawn = {}, zoom = {};
class ResizeObserver { observe() {} }
"""
Case = tuple[NDArray[Any], NDArray[Any], NDArray[Any], tuple[float, float]]
"""Boxes, text sizes, priorities, and the height and width of the picture."""


@pytest.fixture(scope="module")
def empty(browser: Browser) -> Iterator[Page]:
    """An empty page that knows the functions of `assets/labels.js`."""
    page = browser.new_page()
    page.evaluate(
        f"() => {{ window.ours = (() => {{ {STUBS} {source(('labels',))}\n"
        "return { placements, CORNERS, MIDDLES, roundHalfToEven }; })(); }"
    )
    yield page
    page.close()


@pytest.fixture(params=["corners", "middles"])
def compare(request: pytest.FixtureRequest, empty: Page) -> Callable[[list[Case]], Placements]:
    """Fails if both programs place the labels of any case otherwise. Returns the last placements."""
    places: Any = {"corners": CORNERS, "middles": MIDDLES}[request.param]

    def compare(cases: list[Case]) -> Placements:
        sent = [
            [boxes.tolist(), texts.tolist(), order.tolist(), size[::-1]]
            for boxes, texts, order, size in cases
        ]
        answers: list[list[dict[str, list[float]]]] = empty.evaluate(
            "([cases, places]) => cases.map((one) => window.ours.placements(...one, window.ours[places]))",
            [sent, request.param.upper()],
        )
        for (boxes, texts, order, size), answer in zip(cases, answers, strict=True):
            expected = place_labels(boxes, texts, order, size, places)
            assert ["label" in one for one in answer] == expected.labelled.tolist()
            assert ["dot" in one for one in answer] == expected.dotted.tolist()
            labels = [one.get("label", [0] * 4) for one in answer]
            dots = [one.get("dot", [0] * 3) for one in answer]
            np.testing.assert_allclose(np.reshape(labels, (-1, 4)), expected.labels_xyxy, atol=1e-6)
            np.testing.assert_allclose(np.reshape(dots, (-1, 3)), expected.dots_xyr, atol=1e-6)
        return expected

    return compare


def crowd(seed: int, count: int, largest: float = 0.5, reach: float = 0.1, whole: bool = False) -> Case:
    """Returns random boxes in a picture, some of them over its borders, and labels of several widths."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(200, 900, 2)
    sides = rng.uniform(0.005, largest, (count, 2)) * size[::-1]
    corners = rng.uniform(-reach, 1, (count, 2)) * size[::-1]
    boxes = np.hstack([corners, corners + sides])
    texts = np.stack([rng.uniform(20, 110, count), np.full(count, 19.2)], axis=1)
    if whole:
        boxes, texts, size = boxes.round(), texts.round(), size.round()
    return boxes, texts, rng.random(count), (float(size[0]), float(size[1]))


def test_the_constants_are_the_same(empty: Page) -> None:
    assert empty.evaluate("window.ours.CORNERS") == [list(place) for place in CORNERS]
    assert empty.evaluate("window.ours.MIDDLES") == [list(place) for place in MIDDLES]


def test_halves_are_rounded_as_numpy_rounds_them(empty: Page) -> None:
    numbers = np.arange(-6, 6.01, 0.25)
    rounded = empty.evaluate("(numbers) => numbers.map(window.ours.roundHalfToEven)", numbers.tolist())
    np.testing.assert_array_equal(np.array(rounded, float), np.round(numbers))


def test_labels_of_random_photos_stand_at_the_same_places(
    compare: Callable[[list[Case]], Placements],
) -> None:
    compare([crowd(seed, 1 + seed % 40) for seed in range(60)])


def test_labels_of_crowds_stand_at_the_same_places(compare: Callable[[list[Case]], Placements]) -> None:
    placed = compare([crowd(seed, 100, 0.08) for seed in range(15)])
    assert placed.labelled.any() and placed.dotted.any()
    assert not (placed.labelled | placed.dotted).all()


def test_whole_numbers_and_ties_make_no_difference(compare: Callable[[list[Case]], Placements]) -> None:
    cases = [crowd(seed, 30, 0.3, whole=True) for seed in range(100, 130)]
    compare(cases)
    compare([(boxes, texts, np.zeros(len(boxes)), size) for boxes, texts, _, size in cases])
    compare([(boxes, texts, (10 * order).round(), size) for boxes, texts, order, size in cases])


SIZE = (300.0, 400.0)
HERE, TEXT = [50.0, 40.0, 200.0, 160.0], [60.0, 20.0]


@pytest.mark.parametrize(
    ("boxes", "texts"),
    [
        ([], []),
        ([HERE], [TEXT]),
        ([HERE] * 12, [TEXT] * 12),
        ([[0, 0, 400, 300]] * 3, [TEXT] * 3),
        ([[-50, -50, 450, 350], HERE], [TEXT] * 2),
        ([[399, 299, 400, 300], [0, 0, 1, 1]], [TEXT] * 2),
        ([[10, 10, 10, 10], [20, 20, 20, 80]], [TEXT] * 2),
        ([[-90, 10, -1, 90], [400, 10, 500, 90], [10, 300, 90, 400], [-9, -9, 0, 0]], [TEXT] * 4),
        ([HERE, [60, 50, 90, 70]], [[401, 20], [60, 301]]),
        ([HERE, [60, 50, 90, 70]], [[400, 300], [1, 1]]),
        ([HERE], [[150, 120]]),
        ([[10, 10, 70, 50], [10, 50, 70, 90], [70, 10, 130, 50]], [[60, 20]] * 3),
        ([[50, 50, 109, 91], [50, 50, 111, 89.5]], [TEXT] * 2),
        ([[100 + i, 100 + i, 300 - i, 250 - i] for i in range(0, 80, 4)], [[40, 16]] * 20),
        ([[20 * i, 20 * j, 20 * i + 20, 20 * j + 20] for i in range(20) for j in range(15)], [[18, 9]] * 300),
    ],
    ids=[
        "nothing", "one", "the same twelve times", "the whole picture", "over all borders", "in the corners",
        "without area", "outside", "texts larger than the picture", "texts as large as the picture",
        "a text as large as half of its box", "side by side", "halves", "one in the other", "a chequerboard",
    ],
)  # fmt: skip
def test_labels_of_odd_boxes_stand_at_the_same_places(
    boxes: list[list[float]], texts: list[list[float]], compare: Callable[[list[Case]], Placements]
) -> None:
    count = len(boxes)
    arrays = np.reshape(boxes, (count, 4)).astype(float), np.reshape(texts, (count, 2)).astype(float)
    compare([(*arrays, order, SIZE) for order in (np.arange(count), -np.arange(count), np.zeros(count))])

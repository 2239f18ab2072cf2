from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import coco
from answer.result import in_view
from answer.settings import Filters
from detections import Detections
from marks import (
    CORNERS,
    MIDDLES,
    MOST_LABELS,
    NEAR,
    PALETTE,
    Placements,
    ink,
    instance_colors,
    label_priorities,
    place_labels,
    shown_score,
)
from tests.samples import CAR, CAT, DOG, PERSON, make_detections, random_detections, random_image

VISIONS = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""What people without one kind of cones see, in linear sRGB: Machado et al. 2009, table 1, severity 1.0."""
LEAST_DISTANCE = {"all cones": 20, "protanopia": 13, "deuteranopia": 13, "tritanopia": 13}
"""The least CIEDE2000 distance of two colours of the palette.

A distance of 2 is just visible side by side, and 10 is clear at a glance. Contours and labels have the full
distance. Fills that are half transparent have about half of it.
"""

SIZE = (900, 1400)


def linear(colors: NDArray[np.uint8]) -> NDArray[np.float64]:
    c = colors / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(linear_rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns CIE L*a*b* (D65) of linear sRGB, both (N, 3)."""
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = linear_rgb @ np.transpose(to_xyz) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def ciede2000(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Returns the distance of two CIE L*a*b* colours, after Sharma, Wu and Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    grow = 1.5 - 0.5 * math.sqrt(mean**7 / (mean**7 + 25**7))
    c1, c2 = math.hypot(a1 * grow, b1), math.hypot(a2 * grow, b2)
    h1, h2 = (math.degrees(math.atan2(b, a * grow)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180
    dl, dc, dh = l2 - l1, c2 - c1, 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    h, c, lightness = (h1 + turn / 2) % 360, (c1 + c2) / 2, (l1 + l2) / 2
    t = 1 - 0.17 * math.cos(math.radians(h - 30)) + 0.24 * math.cos(math.radians(2 * h))
    t += 0.32 * math.cos(math.radians(3 * h + 6)) - 0.2 * math.cos(math.radians(4 * h - 63))
    sl = 1 + 0.015 * (lightness - 50) ** 2 / math.sqrt(20 + (lightness - 50) ** 2)
    sc, sh = 1 + 0.045 * c, 1 + 0.015 * c * t
    rotation = (
        -math.sin(math.radians(60 * math.exp(-(((h - 275) / 25) ** 2))))
        * 2
        * math.sqrt(c**7 / (c**7 + 25**7))
    )
    return math.sqrt((dl / sl) ** 2 + (dc / sc) ** 2 + (dh / sh) ** 2 + rotation * dc / sc * dh / sh)


def contrast(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Returns the contrast of two colours, from 1 (none) to 21, by WCAG 2."""
    dark, light = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (a, b))
    return (light + 0.05) / (dark + 0.05)


def palette() -> NDArray[np.uint8]:
    return np.array([list(bytes.fromhex(color[1:])) for color in PALETTE], np.uint8)


# --- the palette and the colours ---


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
        ((50.0, 2.5, 0.0), (61.0, -5.0, 29.0), 22.8977),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_measure_of_these_tests_gives_the_published_distances(
    one: tuple[float, ...], other: tuple[float, ...], distance: float
) -> None:
    assert ciede2000(np.array(one), np.array(other)) == pytest.approx(
        distance, abs=1e-4
    )  # Sharma et al., table 1


@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_colours_of_the_palette_differ_strongly_for_everybody(vision: str) -> None:
    seen = lab((linear(palette()) @ np.transpose(VISIONS[vision])).clip(0, 1))
    for i, j in itertools.combinations(range(len(PALETTE)), 2):
        assert ciede2000(seen[i], seen[j]) >= LEAST_DISTANCE[vision], (PALETTE[i], PALETTE[j])


def test_every_colour_of_the_palette_can_be_written_on_and_shows_in_light_and_in_dark() -> None:
    black, white = np.zeros(3, np.uint8), np.full(3, 255, np.uint8)
    for color in palette():
        assert contrast(np.array(ink(color.tolist()), np.uint8), color) >= 4.5  # WCAG 2, level AA
        assert contrast(black, color) >= 3  # on a black page, as a graphical object
        assert 35 < lab(linear(color[np.newaxis]))[0, 0] < 95
        assert np.hypot(*lab(linear(color[np.newaxis]))[0, 1:]) > 40  # nobody takes it for grey
        assert max(contrast(black, color), contrast(white, color)) >= 3


def test_ink_is_black_or_white_whichever_contrasts_more() -> None:
    black, white = np.zeros(3, np.uint8), np.full(3, 255, np.uint8)
    greys = [np.full(3, level, np.uint8) for level in range(256)]
    colors = random_image(11, 1, 500)[0]
    for color in [*greys, *colors]:
        better = black if contrast(color, black) > contrast(color, white) else white
        assert ink(color) == tuple(better.tolist()), color
    assert ink((255, 255, 0)) == (0, 0, 0)
    assert ink([0, 0, 255]) == (255, 255, 255)


def rows_of(gap: float) -> Detections:
    """Returns ten boxes in a row in a picture 1000 pixels wide. The gap is between each and the next."""
    lefts = np.arange(10) * (40 + gap)
    return make_detections([[x, 10, x + 40, 60] for x in lefts], (100, 1000))


@pytest.mark.parametrize("gap", [-20, 0, 1000 * NEAR])
def test_objects_that_touch_have_different_colours(gap: float) -> None:
    detections = rows_of(gap)
    detections.ids[:] = np.arange(10) * len(PALETTE) + 1  # so that all prefer the same colour
    colors = instance_colors(detections)
    assert (colors[:-1] != colors[1:]).any(axis=1).all()


@pytest.mark.parametrize("seed", range(5))
def test_in_a_crowd_no_object_has_the_colour_of_a_neighbour_as_long_as_colours_are_left(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 800, (60, 2))
    detections = make_detections(
        np.hstack([corners, corners + rng.uniform(20, 90, (60, 2))]).tolist(), (900, 900)
    )
    colors = instance_colors(detections)
    boxes, near = detections.boxes, 900 * NEAR
    for i in range(60):
        low, high = boxes[:i, :2] - near, boxes[:i, 2:] + near
        touching = ((boxes[i, :2] <= high) & (boxes[i, 2:] >= low)).all(axis=1)
        used = np.unique(colors[:i][touching], axis=0)
        if len(used) < len(PALETTE):
            assert not (used == colors[i]).all(axis=1).any()


def test_if_all_colours_touch_the_one_that_the_fewest_have_is_taken() -> None:
    detections = make_detections([[0, 0, 50, 50]] * 25)
    counts = np.unique(instance_colors(detections), axis=0, return_counts=True)[1]
    assert len(counts) == len(PALETTE)
    assert set(counts.tolist()) == {2, 3}


@pytest.mark.parametrize("color_by", ["instance", "category"])
@pytest.mark.parametrize(
    "filters", [Filters(0.5), Filters(0.05, ("cat", "car", "person")), Filters(0.2, hidden=(1, 2, 5, 9))]
)
def test_a_filter_changes_no_colour(color_by: str, filters: Filters) -> None:
    detections = random_detections(9, 40, (60, 80))
    detections.class_ids[:20] = np.resize([PERSON, CAT, CAR, DOG, PERSON], 20)
    shown = in_view(detections, coco.CATEGORIES, filters)
    assert 0 < len(shown) < 40
    np.testing.assert_array_equal(
        instance_colors(shown, color_by, among=detections),
        instance_colors(detections, color_by)[np.isin(detections.ids, shown.ids)],
    )


def test_fainter_detections_change_no_colour_of_more_certain_ones() -> None:
    detections = random_detections(8, 50, (60, 80))
    few = detections.select(np.arange(50) < 20)
    np.testing.assert_array_equal(instance_colors(few), instance_colors(detections)[:20])


def test_colours_depend_on_ids_and_boxes_and_not_on_the_order_of_rows_or_the_size_of_the_picture() -> None:
    detections = random_detections(7, 20, (60, 80))
    colors = instance_colors(detections)
    np.testing.assert_array_equal(instance_colors(detections.resized(600, 800)), colors)
    equal = make_detections(
        detections.boxes[::-1].tolist(), scores=[0.5] * 20, ids=detections.ids[::-1].tolist()
    )
    np.testing.assert_array_equal(instance_colors(equal), colors[::-1])


def test_each_category_has_one_colour_and_others_have_others() -> None:
    class_ids = [CAR, CAT, CAR, PERSON, DOG, CAT]
    detections = make_detections([[10 * k, 0, 10 * k + 9, 9] for k in range(6)], class_ids=class_ids)
    colors = instance_colors(detections, "category")
    for i, j in itertools.product(range(6), repeat=2):
        assert (colors[i] == colors[j]).all() == (class_ids[i] == class_ids[j])


def test_as_many_objects_as_colours_all_differ_wherever_they_are() -> None:
    colors = instance_colors(rows_of(60))
    assert colors.dtype == np.uint8
    assert len(np.unique(colors, axis=0)) == len(PALETTE) == 10


def test_nothing_found_has_no_colours() -> None:
    assert instance_colors(make_detections([])).shape == (0, 3)
    some = make_detections([[0, 0, 9, 9]])
    assert instance_colors(some.select(np.zeros(1, np.bool_)), "category", some).shape == (0, 3)


# --- scores ---


@pytest.mark.parametrize(
    ("score", "two", "three"),
    [
        (0.9999, "0.99", "0.999"),
        (1.0, "1.00", "1.000"),
        (0.998, "0.99", "0.998"),
        (0.995, "0.99", "0.995"),
        (0.05, "0.05", "0.050"),
        (0.29, "0.29", "0.290"),
        (0.0, "0.00", "0.000"),
        (1e-7, "0.00", "0.000"),
        (float(np.nextafter(np.float32(1), np.float32(0))), "0.99", "0.999"),
    ],
)
def test_a_score_is_cut_and_not_rounded(score: float, two: str, three: str) -> None:
    for kind in (float, np.float32):
        assert (shown_score(kind(score)), shown_score(kind(score), 3)) == (two, three)


@given(st.integers(0, 10_000))
def test_a_score_that_has_few_digits_is_shown_as_it_is(number: int) -> None:
    assert shown_score(np.float32(number / 10_000), 4) == f"{number / 10_000:.4f}"


@given(st.floats(0, 1, width=32))
def test_only_a_score_of_1_reads_as_1_and_none_reads_as_more_than_it_is(score: float) -> None:
    assert shown_score(score).startswith("1") == (score == 1)
    assert float(np.float32(shown_score(score, 3))) <= score


# --- labels ---


@st.composite
def crowds(
    draw: st.DrawFn,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], tuple[int, int]]:
    """Returns boxes that reach into a picture, the sizes of their labels, priorities, and the size."""
    height, width = draw(st.integers(1, 500)), draw(st.integers(1, 500))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count = draw(st.integers(0, 40))
    low = rng.uniform(-0.2, 0.99, (count, 2))
    high = np.maximum(low, 0.01) + rng.uniform(0, draw(st.sampled_from([0.02, 0.3, 1.5])), (count, 2))
    boxes = np.hstack([low, high]) * np.tile([width, height], 2)
    if draw(st.booleans()):
        boxes = boxes.round()
        boxes[:, :2] = np.minimum(boxes[:, :2], [width - 1, height - 1])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], np.maximum(boxes[:, :2], 0) + 1)
    texts = rng.uniform(1, draw(st.sampled_from([5, 60, 600])), (count, 2)).round()
    return boxes, texts, rng.integers(0, 5, count).astype(float), (height, width)


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Returns whether two boxes share an area."""
    return bool((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) > 1e-9).all())


def touches(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Returns whether two boxes share a point, also of their edges."""
    return bool((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) >= -1e-6).all())


def check_laws(
    placed: Placements,
    boxes: NDArray[np.float64],
    texts: NDArray[np.float64],
    priorities: NDArray[np.float64],
    size_hw: tuple[int, int],
) -> None:
    height, width = size_hw
    labels = placed.labels_xyxy[placed.labelled]
    for one, other in itertools.combinations(labels, 2):
        assert not overlap(one, other)
    for i in np.flatnonzero(placed.labelled):
        x1, y1, x2, y2 = placed.labels_xyxy[i]
        assert min(x1, y1) >= 0 and x2 <= width + 1e-9 and y2 <= height + 1e-9
        np.testing.assert_allclose([x2 - x1, y2 - y1], texts[i], atol=1e-6)
        assert touches(placed.labels_xyxy[i], boxes[i])
    dots = placed.dots_xyr[placed.dotted]
    squares = np.hstack([dots[:, :2] - dots[:, 2:], dots[:, :2] + dots[:, 2:]])
    for label, square in itertools.product(labels, squares):
        assert not touches(label, square)
    for one, other in itertools.combinations(squares, 2):
        assert not overlap(one, other)
    for square, box in zip(squares, boxes[placed.dotted], strict=True):
        assert touches(square, box)
    assert not (placed.labelled & placed.dotted).any()
    assert not placed.labels_xyxy[~placed.labelled].any() and not placed.dots_xyr[~placed.dotted].any()
    areas = (labels[:, 2:] - labels[:, :2]).prod(axis=1)
    if len(areas) > 1:  # the first label may be as large as it is
        assert areas.sum() <= MOST_LABELS * height * width + 1e-6
    fitting = np.flatnonzero((texts <= [width, height]).all(axis=1))
    assert placed.labelled.any() == (len(fitting) > 0)
    if len(fitting):
        assert placed.labelled[fitting[np.argmax(priorities[fitting])]]


@given(crowds(), st.sampled_from([CORNERS, MIDDLES]))
def test_labels_and_dots_keep_their_laws_in_any_crowd(crowd: tuple, places: tuple) -> None:  # type: ignore[type-arg]
    placed, again = place_labels(*crowd, places), place_labels(*crowd, places)
    check_laws(placed, *crowd)
    for name in ("labelled", "labels_xyxy", "dotted", "dots_xyr"):
        np.testing.assert_array_equal(getattr(placed, name), getattr(again, name))


def one_label(
    box: list[float], text: tuple[float, float] = (60, 20), size_hw: tuple[int, int] = SIZE
) -> list[float]:
    placed = place_labels(np.array([box]), np.array([text]), np.array([1]), size_hw)
    assert placed.labelled[0]
    return placed.labels_xyxy[0].tolist()


def test_a_label_stands_inside_its_box_at_the_top_left() -> None:
    assert one_label([100, 200, 400, 500]) == [100, 200, 160, 220]


def test_a_label_that_is_wider_than_its_box_stands_in_the_middle_of_it() -> None:
    assert one_label([100, 200, 120, 400])[::2] == [80, 140]


@pytest.mark.parametrize(
    "box", [[-50, -50, 40, 40], [1390, 880, 1500, 1000], [0, 0, 1400, 900], [1399, 0, 1400, 900]]
)
def test_a_label_at_the_pictures_edge_stays_inside(box: list[float]) -> None:
    x1, y1, x2, y2 = one_label(box)
    assert 0 <= x1 < x2 <= 1400 and 0 <= y1 < y2 <= 900


@pytest.mark.parametrize("box", [[-90, -90, -50, -50], [1500, 100, 1600, 200]])
def test_an_object_outside_of_the_picture_has_neither_label_nor_dot(box: list[float]) -> None:
    placed = place_labels(np.array([box]), np.array([[60, 20]]), np.array([1]), SIZE)
    assert not placed.labelled.any() and not placed.dotted.any()


def test_a_label_that_does_not_fit_into_the_picture_becomes_a_dot() -> None:
    placed = place_labels(np.array([[0, 0, 50, 40]]), np.array([[60, 20]]), np.array([1]), (40, 50))
    assert not placed.labelled.any() and placed.dotted.all()


def test_the_highest_priority_chooses_first_and_others_move_aside() -> None:
    boxes, texts = np.array([[100, 200, 400, 500]] * 2), np.array([[60, 20]] * 2)
    for priorities, first in (([1, 2], 1), ([2, 1], 0), ([1, 1], 0)):
        placed = place_labels(boxes, texts, np.array(priorities), SIZE)
        assert placed.labelled.all()
        assert placed.labels_xyxy[first].tolist() == [100, 200, 160, 220]


def test_an_object_that_is_smaller_than_two_labels_gets_a_dot_in_its_middle() -> None:
    boxes = np.array([[100, 200, 400, 500], [600, 300, 630, 320]])
    placed = place_labels(boxes, np.array([[60, 20]] * 2), np.array([2, 1]), SIZE)
    assert placed.labelled.tolist() == [True, False]
    assert placed.dots_xyr[1, :2].tolist() == [615, 310]
    assert 2 <= placed.dots_xyr[1, 2] <= 5


def test_the_only_object_gets_its_label_however_small_and_stays_visible() -> None:
    x1, y1, x2, y2 = one_label([600, 300, 606, 306])
    assert y2 <= 300 or y1 >= 306 or x2 <= 600 or x1 >= 606


def test_a_dot_moves_inside_its_box_away_from_a_label() -> None:
    boxes, texts = np.array([[100, 200, 400, 500], [95, 195, 110, 260]]), np.array([[60, 20]] * 2)
    placed = place_labels(boxes, texts, np.array([2, 1]), SIZE)
    assert placed.labels_xyxy[0].tolist() == [100, 200, 160, 220]
    assert placed.dotted[1] and 220 < placed.dots_xyr[1, 1] < 260


def test_a_dot_that_has_no_room_is_left_out() -> None:
    boxes, texts = np.array([[0, 0, 60, 20], [20, 5, 30, 10]]), np.array([[60, 20]] * 2)
    placed = place_labels(boxes, texts, np.array([2, 1]), (20, 60))
    assert placed.labelled.tolist() == [True, False] and not placed.dotted.any()


def test_a_label_does_not_cover_a_small_object_if_another_place_is_free() -> None:
    large, small = [100, 200, 400, 500], [110, 203, 130, 215]
    placed = place_labels(np.array([large, small]), np.array([[60, 20]] * 2), np.array([2, 1]), SIZE)
    assert placed.labelled[0] and not overlap(placed.labels_xyxy[0], np.array(small, float))


def test_a_label_does_not_stand_on_a_smaller_object_if_another_place_is_free() -> None:
    large, small = [100, 200, 500, 600], [50, 150, 250, 300]
    placed = place_labels(np.array([large, small]), np.array([[60, 20]] * 2), np.array([2, 1]), SIZE)
    assert placed.labelled.all() and not overlap(placed.labels_xyxy[0], np.array(small, float))


def crowd(count: int, size_hw: tuple[int, int], seed: int = 0) -> NDArray[np.float64]:
    """Returns the boxes of people in rows behind each other, taller at the front."""
    rng = np.random.default_rng(seed)
    feet = np.sort(rng.uniform(0.4, 1, count))
    tall = feet * rng.uniform(0.25, 0.45, count)
    x, wide = rng.uniform(0, 0.95, count), tall * rng.uniform(0.3, 0.45, count) * size_hw[0] / size_hw[1]
    return np.column_stack([x, feet - tall, x + wide, feet]) * np.tile(size_hw[::-1], 2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("size_hw", "text", "most"), [((933, 1400), (62, 22), 0.06), ((260, 390), (48, 16), 0.1)]
)
def test_labels_cover_little_of_a_crowd_of_37_people(
    seed: int, size_hw: tuple[int, int], text: tuple[int, int], most: float
) -> None:
    boxes = crowd(37, size_hw, seed)
    placed = place_labels(boxes, np.array([text] * 37), boxes[:, 3], size_hw)
    labels = placed.labels_xyxy[placed.labelled]
    assert (labels[:, 2:] - labels[:, :2]).prod(axis=1).sum() <= most * size_hw[0] * size_hw[1]
    assert len(labels) >= 5


def test_labels_of_nothing_are_nothing() -> None:
    placed = place_labels(np.zeros((0, 4)), np.zeros((0, 2)), np.zeros(0), SIZE)
    assert placed.labels_xyxy.shape == (0, 4) and placed.dots_xyr.shape == (0, 3)
    assert placed.labelled.shape == placed.dotted.shape == (0,)


def test_300_objects_take_less_than_20_milliseconds() -> None:
    boxes, texts = crowd(300, SIZE), np.array([[60, 20]] * 300)
    priorities = np.random.default_rng(0).random(300)
    seconds = []
    for _ in range(9):
        start = time.process_time()  # not the clock's time, because other tests run beside this one
        place_labels(boxes, texts, priorities, SIZE)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.020


def test_large_and_certain_objects_come_first() -> None:
    detections = make_detections([[0, 0, 10, 10], [0, 0, 40, 40], [0, 0, 80, 60]], scores=[0.9, 0.9, 0.1])
    assert np.argsort(-label_priorities(detections)).tolist() == [1, 0, 2]

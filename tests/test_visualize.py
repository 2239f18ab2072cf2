from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detections import Detections
from tests.samples import CAR, CAT, PERSON, make_detections, random_detections, random_image
from visualize import Style, annotate, blend_masks, draw_boxes, instance_colors

GREY = 7
"""Neither a label's ink nor the colour of any instance, so that whatever is drawn shows."""
MASKS_ONLY = Style(boxes=False, labels=False)
BOXES_ONLY = Style(masks=False, labels=False)
LABELS_ONLY = Style(masks=False, boxes=False)


def grey(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, np.uint8)


def texts(detections: Detections) -> list[str]:
    return [f"thing {id}" for id in detections.ids]


def drawn(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W): where a picture that began as `grey` was drawn on."""
    return (picture != GREY).any(axis=2)


def extent(where: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 (exclusive) around what is true."""
    ys, xs = np.nonzero(where)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def union_of_masks(
    detections: Detections, size: tuple[int, int], threshold: float = 0.5
) -> NDArray[np.bool_]:
    masks = [detections.mask(i, size, threshold) for i in range(len(detections))]
    return np.any(masks, axis=0)


def test_opacity_0_changes_nothing() -> None:
    image, detections = random_image(0, 60, 80), random_detections(0, 5, (60, 80))
    np.testing.assert_array_equal(blend_masks(image, detections, Style(opacity=0)), image)


def test_opacity_1_gives_the_plain_colour() -> None:
    detections = make_detections([[10, 20, 50, 40]])
    blended = blend_masks(random_image(0, 60, 80), detections, Style(opacity=1))
    assert (blended[detections.mask(0)] == instance_colors(detections)[0]).all()


@pytest.mark.parametrize("opacity", [0.25, 0.5, 0.9])
def test_opacities_between_mix_old_and_colour_to_the_nearest_level(opacity: float) -> None:
    image, detections = random_image(1, 60, 80), make_detections([[10, 20, 50, 40]])
    mask, color = detections.mask(0), instance_colors(detections)[0]
    blended = blend_masks(image, detections, Style(opacity=opacity))[mask]
    exact = (1 - opacity) * image[mask].astype(float) + opacity * color
    assert np.abs(blended - exact).max() <= 0.5 + 1e-9


def test_every_byte_outside_of_the_masks_stays_and_every_mask_shows() -> None:
    image, detections = grey(60, 80), random_detections(2, 6, (60, 80), reach=0.2)
    changed = drawn(blend_masks(image, detections, Style(opacity=0.6)))
    np.testing.assert_array_equal(changed, union_of_masks(detections, (60, 80)))


def test_the_highest_score_is_laid_on_last() -> None:
    detections = make_detections([[10, 10, 50, 50], [30, 10, 70, 50]])
    blended = blend_masks(grey(60, 80), detections, Style(opacity=1))
    first, second = instance_colors(detections)
    assert (blended[30, 40] == first).all()
    assert (blended[30, 60] == second).all()


def test_masks_are_cut_at_the_threshold_of_the_style() -> None:
    detections = random_detections(3, 3, (60, 80))
    for threshold in (0.2, 0.8):
        style = Style(opacity=1, mask_threshold=threshold)
        changed = drawn(blend_masks(grey(60, 80), detections, style))
        np.testing.assert_array_equal(changed, union_of_masks(detections, (60, 80), threshold))


@pytest.mark.parametrize("size", [(30, 40), (90, 200), (1, 1)])
def test_masks_are_drawn_on_images_of_another_size(size: tuple[int, int]) -> None:
    detections = random_detections(4, 6, (60, 80))
    changed = drawn(blend_masks(grey(*size), detections, Style(opacity=1)))
    np.testing.assert_array_equal(changed, union_of_masks(detections, size))


@pytest.mark.parametrize("scale", [0.5, 1, 3])
def test_a_boxs_line_runs_along_its_edge_at_any_size(scale: float) -> None:
    detections = make_detections([[10, 20, 50, 40]])
    picture = draw_boxes(grey(int(60 * scale), int(80 * scale)), detections, [], BOXES_ONLY)
    line = drawn(picture)
    assert (picture[line] == instance_colors(detections)[0]).all()
    x1, y1, x2, y2 = (int(value * scale) for value in (10, 20, 50, 40))
    edge, near = np.zeros_like(line), np.zeros_like(line)
    edge[y1:y2, x1:x2] = True
    edge[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] = False
    near[y1 - 2 : y2 + 2, x1 - 2 : x2 + 2] = True
    near[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3] = False
    assert line[edge].all()
    assert near[line].all()


def test_lines_and_letters_grow_with_the_picture() -> None:
    detections = make_detections([[10, 20, 50, 40]])
    line = drawn(draw_boxes(grey(3000, 4000), detections, [], BOXES_ONLY))
    assert line[1000:2000, 1500].sum() >= 10  # two lines
    small, large = (
        extent(drawn(draw_boxes(grey(height, height * 4 // 3), detections, ["person 1"], LABELS_ONLY)))
        for height in (600, 3000)
    )
    assert (large[3] - large[1]) > 4 * (small[3] - small[1])


def test_the_box_with_the_highest_score_lies_on_top() -> None:
    detections = make_detections([[10, 10, 50, 50], [10, 30, 50, 55]])
    picture = draw_boxes(grey(60, 80), detections, [], BOXES_ONLY)
    assert (picture[40, 10] == instance_colors(detections)[0]).all()


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 40, 30],
        [360, 0, 400, 30],
        [0, 270, 40, 300],
        [360, 270, 400, 300],
        [180, 0, 220, 300],
        [0, 0, 400, 300],
        [396, 296, 400, 300],
        [-90, -90, -50, -50],
        [500, 500, 600, 600],
    ],
)
def test_a_label_stays_inside_the_picture(box: list[float]) -> None:
    middle, anywhere = (
        drawn(draw_boxes(grey(300, 400), make_detections([b], (300, 400)), ["person 12: 0.98"], LABELS_ONLY))
        for b in ([150, 120, 250, 220], box)
    )
    assert anywhere.sum() == middle.sum()


def test_a_label_lies_above_its_box_where_there_is_room() -> None:
    detections = make_detections([[150, 120, 250, 220]], (300, 400))
    x1, y1, _, y2 = extent(drawn(draw_boxes(grey(300, 400), detections, ["person"], LABELS_ONLY)))
    assert (x1, y2) == (150, 120)
    assert y1 > 90


def test_labels_of_boxes_in_one_place_do_not_cover_each_other() -> None:
    box = [150, 120, 250, 220]
    one, four = (
        drawn(draw_boxes(grey(300, 400), make_detections([box] * n, (300, 400)), ["car"] * n, LABELS_ONLY))
        for n in (1, 4)
    )
    assert four.sum() == 4 * one.sum()


def test_what_is_written_on_a_label_shows() -> None:
    detections = make_detections([[150, 120, 250, 220]], (300, 400))
    cat, dog = (draw_boxes(grey(300, 400), detections, [text], LABELS_ONLY) for text in ("cat", "dog"))
    x1, y1, x2, y2 = extent(drawn(cat))
    plate = cat[y1:y2, x1:x2]
    ink = (plate != instance_colors(detections)[0]).any(axis=2)
    left, top, right, bottom = extent(ink)
    assert 0 < left < right < x2 - x1
    assert 0 < top < bottom < y2 - y1
    assert (cat != dog).any()


def test_the_ink_of_every_label_is_readable_on_its_colour() -> None:
    def luminance(color: NDArray[np.uint8]) -> float:
        c = color / 255
        return float(
            np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    for id in range(1, 60):
        detections = make_detections([[150, 80, 250, 99]], (100, 3000), ids=[id])
        picture = draw_boxes(grey(100, 3000), detections, ["I"], LABELS_ONLY)
        plate = picture[drawn(picture)]
        color = instance_colors(detections)[0]
        ink = plate[np.abs(plate.astype(int) - color).sum(axis=1).argmax()]
        light, dark = sorted((luminance(color), luminance(ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"colour of id {id}"  # WCAG 2, level AA


def test_a_label_larger_than_the_picture_draws_what_fits() -> None:
    picture = draw_boxes(grey(9, 9), make_detections([[0, 0, 9, 9]], (9, 9)), ["refrigerator"], LABELS_ONLY)
    assert drawn(picture)[0, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
def test_the_smallest_pictures_can_be_annotated(size: tuple[int, int]) -> None:
    detections = random_detections(5, 4, size)
    assert annotate(grey(*size), detections, texts(detections), Style()).shape == (*size, 3)


def test_a_label_too_few_is_refused() -> None:
    detections = random_detections(5, 3, (60, 80))
    with pytest.raises(ValueError):
        draw_boxes(grey(60, 80), detections, ["one", "two"], LABELS_ONLY)


def test_nothing_found_and_nothing_wanted_leave_the_picture_as_it_is() -> None:
    image, some = random_image(6, 60, 80), random_detections(6, 4, (60, 80))
    nothing = some.select(np.zeros(4, np.bool_))
    np.testing.assert_array_equal(annotate(image, nothing, [], Style()), image)
    bare = Style(masks=False, boxes=False, labels=False)
    np.testing.assert_array_equal(annotate(image, some, texts(some), bare), image)


def test_each_part_is_drawn_when_it_alone_is_wanted() -> None:
    detections = make_detections([[10, 20, 50, 40]], (60, 80))
    pictures = [
        annotate(grey(60, 80), detections, ["cat"], style)
        for style in (MASKS_ONLY, BOXES_ONLY, LABELS_ONLY, Style())
    ]
    for one, other in itertools.combinations(pictures, 2):
        assert (one != other).any()


@pytest.mark.parametrize("style", [Style(), MASKS_ONLY, BOXES_ONLY, LABELS_ONLY])
def test_the_picture_given_is_never_changed_nor_given_back(style: Style) -> None:
    image, detections = random_image(7, 60, 80), random_detections(7, 4, (60, 80))
    before = image.copy()
    image.flags.writeable = False
    annotated = annotate(image, detections, texts(detections), style)
    assert not np.shares_memory(annotated, image)
    assert annotated.dtype == np.uint8
    assert annotated.shape == image.shape
    np.testing.assert_array_equal(image, before)


def test_pictures_in_any_memory_layout_are_annotated_alike() -> None:
    image, detections = random_image(8, 60, 80), random_detections(8, 4, (60, 80))
    expected = annotate(image, detections, texts(detections), Style())
    for same in (np.asfortranarray(image), image[::-1].copy()[::-1]):
        np.testing.assert_array_equal(annotate(same, detections, texts(detections), Style()), expected)


@pytest.mark.parametrize("color_by", ["instance", "category"])
def test_a_filter_changes_no_colour(color_by: str) -> None:
    detections = random_detections(9, 30, (60, 80))
    keep = np.arange(30) % 3 == 1
    np.testing.assert_array_equal(
        instance_colors(detections.select(keep), color_by), instance_colors(detections, color_by)[keep]
    )


def test_colours_depend_on_the_id_alone_or_on_the_category_alone() -> None:
    detections = make_detections([[0, 0, 9, 9]] * 3, class_ids=[CAR, CAT, CAR], ids=[4, 5, 6])
    other = make_detections([[20, 5, 70, 50]] * 3, (99, 99), class_ids=[PERSON, CAT, CAR], ids=[4, 9, 6])
    by_id, other_by_id = instance_colors(detections), instance_colors(other)
    assert (by_id == other_by_id).all(axis=1).tolist() == [True, False, True]
    by_category, other_by_category = (instance_colors(d, "category") for d in (detections, other))
    assert (by_category[0] == by_category[2]).all()
    assert (by_category == other_by_category).all(axis=1).tolist() == [False, True, True]


def test_a_hundred_ids_have_a_hundred_colours_and_neighbours_differ_clearly() -> None:
    colors = instance_colors(make_detections([[0, 0, 9, 9]] * 100, scores=[0.5] * 100))
    assert colors.dtype == np.uint8
    assert len(np.unique(colors, axis=0)) == 100
    assert np.abs(np.diff(colors.astype(int), axis=0)).sum(axis=1).min() > 100


def test_nothing_found_has_no_colours() -> None:
    assert instance_colors(make_detections([])).shape == (0, 3)


def test_hiding_one_instance_leaves_the_rest_of_the_masks_as_they_were() -> None:
    detections = random_detections(10, 5, (60, 80))
    style = replace(MASKS_ONLY, opacity=1)
    hidden = 2
    everything = blend_masks(grey(60, 80), detections, style)
    rest = blend_masks(grey(60, 80), detections.select(np.arange(5) != hidden), style)
    outside = ~detections.mask(hidden)
    np.testing.assert_array_equal(rest[outside], everything[outside])

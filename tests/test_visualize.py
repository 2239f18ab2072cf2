"""Tests of `visualize`. Long, because masks, boxes, labels and effects share one scene."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detections import Detections
from marks import PALETTE, ink, instance_colors
from tests.samples import make_detections, random_detections, random_image
from visualize import (
    EFFECTS,
    Effect,
    Style,
    annotate,
    apply_effect,
    cut_out,
    union_mask,
)

GREY = 7
"""The grey level of a picture with nothing drawn on it. No ink and no instance has this colour."""
INKS = ((0, 0, 0), (255, 255, 255))
MASKS_ONLY = Style(boxes=False, labels=False)
BOXES_ONLY = Style(masks=False, labels=False)
LABELS_ONLY = Style(masks=False, boxes=False)
ON_OBJECTS: tuple[Effect, ...] = ("blur", "pixelate")
ON_BACKGROUNDS: tuple[Effect, ...] = ("spotlight", "blur_background", "color_background")


def grey(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, np.uint8)


def texts(detections: Detections) -> list[str]:
    return [f"thing {id}" for id in detections.ids]


def drawn(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Returns where something was drawn on a picture that began as `grey`, (H, W) bool."""
    return (picture != GREY).any(axis=2)


def extent(where: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Returns the box around the true pixels: x1, y1, x2, y2, with x2 and y2 exclusive."""
    ys, xs = np.nonzero(where)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def union_of_masks(
    detections: Detections, size: tuple[int, int], threshold: float = 0.5
) -> NDArray[np.bool_]:
    masks = [detections.mask(i, size, threshold) for i in range(len(detections))]
    return np.any(masks, axis=0)


def grown(where: NDArray[np.bool_], by: int, shape: int = cv2.MORPH_RECT) -> NDArray[np.bool_]:
    """Returns `where`, (H, W) bool, grown by a number of pixels in all directions. Shrinks it if below 0."""
    change = cv2.dilate if by > 0 else cv2.erode
    kernel = cv2.getStructuringElement(shape, (2 * abs(by) + 1,) * 2)
    return change(where.view(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0).view(np.bool_)


def edge_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns the pixels on both sides of the mask's edge, inside and outside, (H, W) bool."""
    return mask & ~grown(mask, -1, cv2.MORPH_CROSS), grown(mask, 1, cv2.MORPH_CROSS) & ~mask


def drawn_masks(
    image: NDArray[np.uint8], detections: Detections, opacity: float = 0.5, threshold: float = 0.5
) -> NDArray[np.uint8]:
    style = replace(MASKS_ONLY, opacity=opacity, mask_threshold=threshold)
    return annotate(image, detections, texts(detections), style)


def luminance(color: NDArray[np.uint8]) -> float:
    """Returns the relative luminance of an sRGB colour, (3,), by WCAG 2."""
    c = color / 255
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def contrast(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Returns the contrast of two colours, from 1 (none) to 21, by WCAG 2."""
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def checkerboard(height: int, width: int, cell: int) -> NDArray[np.uint8]:
    """Returns black and white squares with sides of `cell` pixels, (H, W, 3).

    With small cells, no picture has finer and stronger detail.
    """
    ys, xs = np.indices((height, width)) // cell
    return np.repeat(((ys + xs) % 2 * 255).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)


def reduced(picture: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    return cv2.resize(picture, (width // times, height // times), interpolation=cv2.INTER_AREA)


def test_opacity_0_leaves_only_the_contours() -> None:
    image, detections = random_image(0, 60, 80), make_detections([[10, 20, 50, 40]])
    outlined, (inside, outside) = drawn_masks(image, detections, opacity=0), edge_of(detections.mask(0))
    changed = (outlined != image).any(axis=2)
    np.testing.assert_array_equal(changed, inside | outside)


def test_opacity_1_gives_the_plain_colour() -> None:
    detections = make_detections([[10, 20, 50, 40]])
    blended = drawn_masks(random_image(0, 60, 80), detections, opacity=1)
    assert (blended[detections.mask(0)] == instance_colors(detections)[0]).all()


@pytest.mark.parametrize("opacity", [0.03, 0.25, 0.5, 0.9])
def test_opacities_between_mix_old_and_colour_to_the_nearest_level(opacity: float) -> None:
    image, detections = random_image(1, 60, 80), make_detections([[10, 20, 50, 40]])
    inside, color = grown(detections.mask(0), -1), instance_colors(detections)[0]
    blended = drawn_masks(image, detections, opacity)[inside]
    exact = (1 - opacity) * image[inside].astype(float) + opacity * color
    assert np.abs(blended - exact).max() <= 0.5 + 1e-9


def test_every_mask_shows_and_outside_of_the_masks_only_a_hairline() -> None:
    detections = random_detections(2, 6, (60, 80), reach=0.2)
    picture, union = drawn_masks(grey(60, 80), detections, 0.6), union_of_masks(detections, (60, 80))
    changed = drawn(picture)
    assert changed[union].all()
    assert not changed[~grown(union, 1)].any()
    assert {tuple(color) for color in picture[changed & ~union].tolist()} <= set(INKS)


def test_the_highest_score_is_laid_on_last() -> None:
    detections = make_detections([[10, 10, 50, 50], [30, 10, 70, 50]])
    blended = drawn_masks(grey(60, 80), detections, opacity=1)
    first, second = instance_colors(detections)
    assert (blended[30, 40] == first).all()
    assert (blended[30, 60] == second).all()


def test_masks_are_cut_at_the_threshold_of_the_style() -> None:
    detections = random_detections(3, 3, (60, 80))
    for threshold in (0.2, 0.8):
        picture = drawn_masks(grey(60, 80), detections, 1, threshold)
        colored = drawn(picture) & ~np.any([(picture == color).all(axis=2) for color in INKS], axis=0)
        np.testing.assert_array_equal(colored, union_of_masks(detections, (60, 80), threshold))


@pytest.mark.parametrize("size", [(30, 40), (90, 200), (1, 1)])
def test_masks_are_drawn_on_images_of_another_size(size: tuple[int, int]) -> None:
    detections = random_detections(4, 6, (60, 80))
    changed, union = drawn(drawn_masks(grey(*size), detections, 1)), union_of_masks(detections, size)
    assert changed[union].all() and not changed[~grown(union, 1)].any()


@pytest.mark.parametrize(
    ("size", "width"), [((60, 80), 1), ((768, 1024), 2), ((933, 1400), 2), ((3000, 4000), 6)]
)
def test_a_contour_runs_inside_the_mask_and_a_hairline_around_it(size: tuple[int, int], width: int) -> None:
    height, width_px = size
    box = [width_px * 0.2, height * 0.3, width_px * 0.7, height * 0.8]
    detections = make_detections([box], size)
    across, down = (np.indices((28, 28)) - 13.5) / 14
    detections.mask_probs[0] = (1.35 - np.hypot(across, down)).clip(
        0, 1
    )  # a disc that reaches the box's edge
    picture, mask = drawn_masks(grey(*size), detections, 0), detections.mask(0)
    color = instance_colors(detections)[0]
    contour, hairline = (picture == color).all(axis=2), (picture == ink(color.tolist())).all(axis=2)
    assert not contour[~mask].any() and not hairline[mask].any()
    assert drawn(picture).sum() == contour.sum() + hairline.sum()
    inside, outside = edge_of(mask)
    assert contour[inside].all() and hairline[outside].mean() > 0.995
    slack, around = (
        width // 3,
        (width + 1) // 2,
    )  # contours of large pictures are a little coarser than the mask
    assert not contour[grown(mask, -width - slack)].any()
    assert not hairline[~grown(mask, around + slack)].any()
    middle = size[0] * 55 // 100  # a row
    assert contour[middle].sum() == pytest.approx(2 * width, abs=2 * slack)
    assert hairline[middle].sum() == pytest.approx(2 * around, abs=2 * slack)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("id", range(1, len(PALETTE) + 1))
def test_a_contour_shows_on_every_background_also_on_its_own_colour(level: int, id: int) -> None:
    detections = make_detections([[20, 20, 60, 50]], ids=[id])
    color = instance_colors(detections)[0]
    for background in (np.full(3, level, np.uint8), color):
        image = np.full((60, 80, 3), background, np.uint8)
        picture = drawn_masks(image, detections, 0)
        seen = {tuple(each) for each in picture.reshape(-1, 3).tolist()} - {tuple(background.tolist())}
        assert max(contrast(background, np.array(each, np.uint8)) for each in seen) >= 3


def test_a_contour_goes_around_holes_too() -> None:
    detections = make_detections([[10, 10, 66, 50]])
    detections.mask_probs[:, 10:18, 10:18] = 0
    mask = detections.mask(0)
    assert not mask[30, 38]
    picture, (inside, outside) = drawn_masks(grey(60, 80), detections, 0), edge_of(mask)
    assert (picture[inside] == instance_colors(detections)[0]).all()
    assert (picture[outside] == 0).all()


@pytest.mark.parametrize("scale", [0.5, 1, 3])
def test_a_boxs_line_runs_along_its_edge_at_any_size(scale: float) -> None:
    detections = make_detections([[10, 20, 50, 40]])
    picture = annotate(grey(int(60 * scale), int(80 * scale)), detections, [""], BOXES_ONLY)
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
    line = drawn(annotate(grey(3000, 4000), detections, [""], BOXES_ONLY))
    assert line[990:2010, 1500].sum() >= 10  # two lines
    small, large = (
        extent(drawn(labelled(height, height * 4 // 3, detections, ["person"]))) for height in (900, 4500)
    )
    assert (large[3] - large[1]) > 4 * (small[3] - small[1])


def test_the_box_with_the_highest_score_lies_on_top() -> None:
    detections = make_detections([[10, 10, 50, 50], [10, 30, 50, 55]])
    picture = annotate(grey(60, 80), detections, ["", ""], BOXES_ONLY)
    assert (picture[40, 10] == instance_colors(detections)[0]).all()


def labelled(height: int, width: int, detections: Detections, words: list[str]) -> NDArray[np.uint8]:
    return annotate(grey(height, width), detections, words, LABELS_ONLY)


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
    ],
)
def test_a_label_stays_inside_the_picture(box: list[float]) -> None:
    middle, anywhere = (
        drawn(labelled(300, 400, make_detections([b], (300, 400)), ["person"]))
        for b in ([150, 120, 250, 220], box)
    )
    assert anywhere.sum() == middle.sum()


@pytest.mark.parametrize("box", [[-90, -90, -50, -50], [500, 500, 600, 600]])
def test_nothing_is_drawn_of_an_object_outside_of_the_picture(box: list[float]) -> None:
    detections = make_detections([box], (300, 400))
    assert not drawn(annotate(grey(300, 400), detections, ["person"], Style())).any()


def test_a_label_lies_in_the_corner_of_its_box() -> None:
    detections = make_detections([[150, 120, 250, 220]], (300, 400))
    picture = annotate(grey(300, 400), detections, ["person"], replace(LABELS_ONLY, boxes=True))
    changed = drawn(picture) & ~drawn(annotate(grey(300, 400), detections, [""], BOXES_ONLY))
    x1, y1, x2, y2 = extent(changed)
    assert (x1, y1) == (151, 121)  # the box's line is one pixel wide
    assert x2 < 220 and y2 < 150


def test_a_label_lies_above_the_middle_of_a_box_that_is_not_drawn() -> None:
    detections = make_detections([[150, 120, 250, 220]], (300, 400))
    x1, y1, x2, y2 = extent(drawn(labelled(300, 400, detections, ["person"])))
    assert y2 == 120 and y1 > 90
    assert abs(x1 + x2 - 400) <= 1


def test_labels_of_boxes_in_one_place_do_not_cover_each_other() -> None:
    box = [150, 120, 350, 320]
    one, four = (
        drawn(labelled(600, 800, make_detections([box] * n, (600, 800)), ["car"] * n)) for n in (1, 4)
    )
    assert four.sum() == 4 * one.sum()


def test_an_object_without_room_for_its_label_gets_a_dot_of_its_colour_with_a_hairline() -> None:
    detections = make_detections([[100, 100, 400, 300], [500, 200, 512, 212]], (600, 800))
    picture = labelled(600, 800, detections, ["person", "person"])
    x1, y1, x2, y2 = extent(drawn(picture[:, 450:]))
    assert x2 - x1 < 12 and y2 - y1 < 12
    color = instance_colors(detections)[1]
    assert picture[206, 506].tolist() == color.tolist()
    assert contrast(picture[y1:y2, 450 + x1 : 450 + x2].min(axis=(0, 1)), color) > 3


def test_what_is_written_on_a_label_shows() -> None:
    detections = make_detections([[150, 120, 250, 220]], (300, 400))
    cat, dog = (labelled(300, 400, detections, [text]) for text in ("cat", "dog"))
    x1, y1, x2, y2 = extent(drawn(cat))
    plate = cat[y1:y2, x1:x2]
    letters = (plate != instance_colors(detections)[0]).any(axis=2)
    left, top, right, bottom = extent(letters)
    assert 0 < left < right < x2 - x1
    assert 0 < top < bottom < y2 - y1
    assert (cat != dog).any()


def test_a_score_is_written_only_if_the_style_asks_for_it_and_is_cut() -> None:
    detections = make_detections([[150, 120, 250, 220]], (300, 400), scores=[0.998])
    with_score = annotate(grey(300, 400), detections, ["cat"], replace(LABELS_ONLY, scores=True))
    np.testing.assert_array_equal(with_score, labelled(300, 400, detections, ["cat 0.99"]))
    assert not Style().scores


def test_the_ink_of_every_label_is_readable_on_its_colour() -> None:
    for id in range(1, 60):
        detections = make_detections([[150, 80, 250, 99]], (100, 300), ids=[id])
        picture = labelled(100, 300, detections, ["I"])
        plate = picture[drawn(picture)]
        color = instance_colors(detections)[0]
        written = plate[np.abs(plate.astype(int) - color).sum(axis=1).argmax()]
        assert contrast(written, color) >= 3, f"colour of id {id}"  # thin strokes are softened by their edges
        assert abs(luminance(written) - luminance(np.array(ink(color.tolist()), np.uint8))) < 0.3


def test_a_label_larger_than_the_picture_is_a_dot() -> None:
    picture = labelled(9, 9, make_detections([[0, 0, 9, 9]], (9, 9)), ["refrigerator"])
    assert drawn(picture)[4, 4] and not drawn(picture)[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_a_filter_changes_no_colour_of_a_picture() -> None:
    detections = random_detections(9, 30, (60, 80))
    shown, style = detections.select(np.arange(30) == 29), replace(MASKS_ONLY, opacity=1)
    picture = annotate(grey(60, 80), shown, ["cat"], style, detections)
    assert (picture[shown.mask(0)] == instance_colors(detections)[29]).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
def test_the_smallest_pictures_can_be_annotated(size: tuple[int, int]) -> None:
    detections = random_detections(5, 4, size)
    assert annotate(grey(*size), detections, texts(detections), Style()).shape == (*size, 3)


def test_too_few_labels_are_refused() -> None:
    detections = random_detections(5, 3, (60, 80))
    with pytest.raises(ValueError, match="labels: expected one for each of 3 instances, got 2"):
        annotate(grey(60, 80), detections, ["one", "two"], LABELS_ONLY)


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


def test_hiding_one_instance_leaves_the_rest_of_the_masks_as_they_were() -> None:
    detections = random_detections(10, 5, (60, 80))
    hidden = 2
    names, style = texts(detections), replace(MASKS_ONLY, opacity=1)
    everything = annotate(grey(60, 80), detections, names, style)
    kept = detections.select(np.arange(5) != hidden)
    rest = annotate(grey(60, 80), kept, texts(kept), style, among=detections)
    outside = ~grown(detections.mask(hidden), 1)
    np.testing.assert_array_equal(rest[outside], everything[outside])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(60, 80), (90, 200)])
def test_a_hard_cut_out_holds_the_masks_pixels_and_is_black_and_clear_elsewhere(
    seed: int, size: tuple[int, int]
) -> None:
    image, detections = random_image(seed, *size), random_detections(seed, 5, (60, 80), reach=0.3)
    for i, threshold in itertools.product(range(5), (0.3, 0.5, 0.8)):
        mask = detections.mask(i, size, threshold)
        cut = cut_out(image, detections, i, threshold)
        assert cut.dtype == np.uint8
        if not mask.any():
            assert cut.shape == (0, 0, 4)
            continue
        x1, y1, x2, y2 = extent(mask)
        expected = np.dstack([image, np.full(size, 255, np.uint8)]) * mask[:, :, np.newaxis]
        np.testing.assert_array_equal(cut, expected[y1:y2, x1:x2])


def test_a_soft_cut_out_is_opaque_inside_clear_outside_and_falls_at_the_masks_border() -> None:
    image, detections = random_image(12, 600, 800), make_detections([[200, 150, 600, 450]], (600, 800))
    hard, soft = (cut_out(image, detections, 0, edges=edges) for edges in ("hard", "soft"))
    room = (soft.shape[0] - hard.shape[0]) // 2
    assert 2 <= room <= 20
    assert soft.shape == (hard.shape[0] + 2 * room, hard.shape[1] + 2 * room, 4)
    across = soft[soft.shape[0] // 2, :, 3].astype(int)
    assert (across[2 * room : -2 * room] == 255).all()
    assert across[[0, -1]].max() <= 2
    assert (np.diff(across[: 2 * room]) >= 0).all()
    assert 100 < across[room] < 155
    inside = soft[2 * room : -2 * room, 2 * room : -2 * room]
    np.testing.assert_array_equal(inside, hard[room:-room, room:-room])


def test_a_soft_edge_grows_with_the_picture() -> None:
    detections = make_detections([[200, 150, 600, 450]], (600, 800))
    small, large = (
        cut_out(grey(600 * times, 800 * times), detections, 0, edges="soft")[:, :, 3] for times in (1, 4)
    )
    widths = [
        np.count_nonzero((alpha[len(alpha) // 2] > 9) & (alpha[len(alpha) // 2] < 246))
        for alpha in (small, large)
    ]
    assert 3 * widths[0] < widths[1] < 5 * widths[0]


def test_a_soft_cut_out_stays_opaque_where_the_photo_itself_ends() -> None:
    everything = make_detections([[-50, -50, 130, 110]])
    assert (cut_out(grey(60, 80), everything, 0, edges="soft")[:, :, 3] == 255).all()
    left_half = make_detections([[-50, -50, 40, 110]])
    cut = cut_out(grey(60, 80), left_half, 0, edges="soft")
    assert cut.shape[0] == 60
    assert (cut[:, :30, 3] == 255).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_cut_out_has_no_colour_where_it_is_clear(seed: int) -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    detections = random_detections(seed, 3, (300, 400), mask_side=5)
    for i in range(3):
        for edges in ("hard", "soft"):
            cut = cut_out(image, detections, i, edges=edges)
            clear = cut[:, :, 3] == 0
            assert clear.any()
            assert not cut[clear].any()
            assert (cut[~clear, :3] == 255).all()


@pytest.mark.parametrize("edges", ["hard", "soft"])
def test_an_empty_mask_cuts_out_nothing(edges: str) -> None:
    for detections in (make_detections([[10, 10, 50, 50]], prob=0.4), make_detections([[500, 10, 600, 50]])):
        assert cut_out(grey(60, 80), detections, 0, edges=edges).shape == (0, 0, 4)


@pytest.mark.parametrize("size", [(30, 40), (60, 80), (1, 1)])
def test_the_union_is_what_any_mask_covers(size: tuple[int, int]) -> None:
    detections = random_detections(13, 4, (60, 80), reach=0.3)
    for threshold in (0.3, 0.7):
        union = union_mask(detections, size, threshold)
        assert union.dtype == np.bool_
        np.testing.assert_array_equal(union, union_of_masks(detections, size, threshold))
    assert union_mask(detections).shape == (60, 80)
    assert not union_mask(make_detections([]), size).any()


def test_every_effect_has_a_title() -> None:
    assert tuple(EFFECTS) == get_args(Effect)
    assert len(set(EFFECTS.values())) == len(EFFECTS)


def test_an_unknown_effect_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"cut_out, spotlight, .*, got 'sepia'"):
        apply_effect(grey(6, 8), make_detections([]), "sepia")


@pytest.mark.parametrize("size", [(60, 80), (100, 50), (1, 30), (1, 1)])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_touches_only_the_objects_or_only_the_background(
    effect: Effect, seed: int, size: tuple[int, int]
) -> None:
    image, detections = random_image(seed, *size), random_detections(seed, 4, (60, 80), reach=0.3)
    for threshold in (0.4, 0.9):
        result = apply_effect(image, detections, effect, mask_threshold=threshold)
        union = union_of_masks(detections, size, threshold)
        kept = ~union if effect in ON_OBJECTS else union
        np.testing.assert_array_equal(result[kept][:, :3], image[kept])
        if size == (60, 80):
            different = (result[~kept][:, :3] != image[~kept]).any(axis=1)
            assert different.mean() > 0.95  # some noise pixels equal their mean by chance


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_gives_a_new_picture_and_changes_none_of_what_it_was_given(effect: Effect) -> None:
    image, detections = random_image(14, 60, 80), random_detections(14, 4, (60, 80))
    arrays = (image, detections.boxes, detections.mask_probs)
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    result = apply_effect(image, detections, effect)
    assert result.dtype == np.uint8
    assert result.shape == (60, 80, 4 if effect == "cut_out" else 3)
    result[:] = 0
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("effect", EFFECTS)
def test_effects_take_pictures_in_any_memory_layout(effect: Effect) -> None:
    image, detections = random_image(15, 60, 80), random_detections(15, 4, (60, 80))
    expected = apply_effect(image, detections, effect)
    for same in (np.asfortranarray(image), image[::-1].copy()[::-1], np.dstack([image, image])[:, :, :3]):
        np.testing.assert_array_equal(apply_effect(same, detections, effect), expected)


def test_with_nothing_found_everything_is_background() -> None:
    image, nothing = random_image(16, 60, 80), make_detections([])
    for effect in ON_OBJECTS:
        result = apply_effect(image, nothing, effect)
        np.testing.assert_array_equal(result, image)
        assert not np.shares_memory(result, image)
    assert not apply_effect(image, nothing, "cut_out").any()
    assert (apply_effect(image, nothing, "color_background", color=(1, 2, 3)) == [1, 2, 3]).all()
    assert apply_effect(image, nothing, "spotlight").max() < 128
    assert apply_effect(image, nothing, "blur_background").std() < image.std() / 2


def test_a_cut_out_picture_is_opaque_in_the_masks_and_black_and_clear_elsewhere() -> None:
    image, detections = random_image(17, 60, 80), random_detections(17, 3, (60, 80))
    union = union_of_masks(detections, (60, 80))
    result = apply_effect(image, detections, "cut_out")
    np.testing.assert_array_equal(result[:, :, 3], union * 255)
    assert not result[~union].any()


def test_a_spotlight_leaves_the_rest_grey_and_less_than_half_as_bright() -> None:
    image, detections = random_image(18, 60, 80), make_detections([[10, 20, 50, 40]])
    rest = apply_effect(image, detections, "spotlight")[~detections.mask(0)].astype(float)
    assert (rest == rest[:, :1]).all()
    brightness = image[~detections.mask(0)] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(rest[:, 0] - 0.4 * brightness).max() <= 1


def test_a_plain_background_is_white_unless_told() -> None:
    image, detections = random_image(19, 60, 80), make_detections([[10, 20, 50, 40]])
    outside = ~detections.mask(0)
    assert (apply_effect(image, detections, "color_background")[outside] == 255).all()
    told = apply_effect(image, detections, "color_background", color=(9, 99, 199))
    assert (told[outside] == [9, 99, 199]).all()


@pytest.mark.parametrize("box", [[150, 100, 350, 300], [150, 100, 350, 110], [240, 100, 250, 300]])
@pytest.mark.parametrize("stripes", [False, True])
@pytest.mark.parametrize("effect", ON_OBJECTS)
def test_no_fine_detail_is_left_of_a_hidden_object(effect: Effect, stripes: bool, box: list[float]) -> None:
    detections = make_detections([box], (400, 500))
    if stripes:  # a mask of narrow stripes must hide the object as well as a whole mask
        detections.mask_probs[:, :, ::2] = 0
    result = apply_effect(checkerboard(400, 500, 2), detections, effect)
    hidden = result[detections.mask(0)].astype(int)
    assert np.ptp(hidden) <= 8
    assert np.abs(hidden - 127.5).max() <= 8


@pytest.mark.parametrize("length", [160, 800])
def test_a_blur_leaves_nothing_smaller_than_an_eighth_of_the_object(length: int) -> None:
    stripes = np.zeros((length, length, 3), np.uint8)
    stripes[:, np.arange(length) // (length // 16) % 2 == 1] = 255
    detections = make_detections([[0, 0, length, length]], (length, length))
    result = apply_effect(stripes, detections, "blur")
    assert np.ptp(result[length // 4 : -length // 4, length // 4 : -length // 4]) <= 4


@pytest.mark.parametrize("effect", ON_OBJECTS)
def test_a_small_object_does_not_show_what_the_large_one_around_it_hides(effect: Effect) -> None:
    image = random_image(20, 400, 500)
    person, tie = [100, 50, 400, 350], [240, 150, 260, 200]
    expected = apply_effect(image, make_detections([person], (400, 500)), effect)
    for boxes in ([person, tie], [tie, person]):
        result = apply_effect(image, make_detections(boxes, (400, 500)), effect)
        np.testing.assert_array_equal(result, expected)


def test_pixelated_squares_have_one_colour_each_the_mean_of_what_they_cover() -> None:
    image, everything = random_image(21, 240, 240), make_detections([[0, 0, 240, 240]], (240, 240))
    result, mask = apply_effect(image, everything, "pixelate"), everything.mask(0)
    for y, x in itertools.product(range(0, 240, 20), repeat=2):
        square, old, inside = (each[y : y + 20, x : x + 20] for each in (result, image, mask))
        mean = old.reshape(-1, 3).mean(axis=0)
        assert (square[inside] == square[10, 10]).all()
        assert np.abs(square[10, 10] - mean).max() <= 0.5 + 1e-6


def test_the_smallest_objects_are_hidden_too() -> None:
    image, detections = checkerboard(60, 80, 1), make_detections([[30, 30, 36, 38]])
    for effect in ON_OBJECTS:
        hidden = apply_effect(image, detections, effect)[detections.mask(0)]
        assert np.ptp(hidden.astype(int)) <= 60


@pytest.mark.parametrize("seed", range(3))
def test_no_objects_colour_bleeds_into_a_blurred_background(seed: int) -> None:
    detections = random_detections(seed, 3, (300, 400), mask_side=7)
    union = union_of_masks(detections, (300, 400))
    image = np.where(union[:, :, np.newaxis], random_image(seed, 300, 400), np.uint8(GREY))
    np.testing.assert_array_equal(apply_effect(image, detections, "blur_background"), image)


def test_a_blurred_background_keeps_its_large_shapes_and_loses_its_small_ones() -> None:
    image = checkerboard(600, 800, 400)
    image[:, 100:110] = 255
    result = apply_effect(image, make_detections([[700, 500, 720, 520]], (600, 800)), "blur_background")
    assert result[200, 300].max() <= 5
    assert result[200, 600].min() >= 250
    assert result[200, 50:200].max() < 128


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_photo_and_its_preview_look_alike_with_an_effect(effect: Effect) -> None:
    coarse = random_image(22, 12, 16)
    image = cv2.resize(coarse, (1600, 1200), interpolation=cv2.INTER_CUBIC)
    boxes = [[100, 80, 500, 900], [450, 300, 1500, 700], [900, 600, 1100, 1150], [-100, 1000, 400, 1300]]
    detections = make_detections(boxes, (1200, 1600))
    full = apply_effect(image, detections, effect)
    preview = apply_effect(reduced(image, 4), detections, effect)
    assert np.abs(reduced(full, 4).astype(int) - preview).mean() < 2


def test_a_name_that_is_wider_than_the_picture_is_drawn_or_left_out_without_an_error() -> None:
    detections = make_detections([[2, 2, 60, 40]], (48, 64))
    image = np.full((48, 64, 3), 120, np.uint8)
    drawn = annotate(image, detections, ["\u6642\u8a08 " + "x" * 100], Style())
    assert drawn.shape == image.shape and (drawn != image).any()

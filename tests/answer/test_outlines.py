from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from answer.outlines import edge_path, joined, polygons

Mask = NDArray[np.bool_]


def noise(rng: np.random.Generator) -> Mask:
    """Makes a mask with single pixels, parts that touch at corners, and holes of every shape."""
    height, width = rng.integers(1, 30, 2)
    return rng.random((height, width)) < rng.random()


def blobs(rng: np.random.Generator) -> Mask:
    """Makes a mask as the app does: enlarges a few values and applies a threshold."""
    cells = rng.random(rng.integers(2, 9, 2))
    height, width = rng.integers(2, 90, 2).tolist()
    mask: Mask = cv2.resize(cells, (width, height)) > rng.random()
    return mask


def threads(rng: np.random.Generator) -> Mask:
    """Makes a mask of lines one pixel wide, which cross each other and enclose areas."""
    height, width = rng.integers(2, 60, 2).tolist()
    drawn = np.zeros((height, width), np.uint8)
    ends = rng.integers(0, [width, height], (8, 2)).tolist()
    for start, end in pairwise(ends):
        cv2.line(drawn, start, end, 1)
    return drawn > 0


def sieves(rng: np.random.Generator) -> Mask:
    """Makes a full mask with many holes."""
    height, width = rng.integers(1, 40, 2)
    return rng.random((height, width)) > 0.1


def rings(rng: np.random.Generator) -> Mask:
    """Makes a mask with parts inside the holes of other parts."""
    side = int(rng.integers(4, 50))
    y, x = np.mgrid[:side, :side]
    mask: Mask = np.maximum(abs(y - side // 2), abs(x - side // 2)) % 4 < rng.integers(1, 4)
    return mask


KINDS = [noise, blobs, threads, sieves, rings]
FEW = {
    "a pixel": ["#"],
    "two pixels": ["##"],
    "corners that touch": ["#.", ".#"],
    "a diagonal": ["#..", ".#.", "..#"],
    "a hole": ["###", "#.#", "###"],
    "a hole behind corners": [".#.", "#.#", ".#."],
    "holes that touch": ["####", "#.##", "##.#", "####"],
    "one hole above another": ["###", "#.#", "###", "#.#", "###"],
    "a part in a hole": ["#####", "#...#", "#.#.#", "#...#", "#####"],
    "all": ["###", "###"],
    "open at the borders": ["#.#", "...", "#.#"],
}


def from_rows(rows: list[str]) -> Mask:
    return np.array([[cell == "#" for cell in row] for row in rows])


def several(make: Callable[[np.random.Generator], Mask]) -> list[Mask]:
    return [make(np.random.default_rng(seed)) for seed in range(60)]


def rasterised(path: str, size: tuple[int, int]) -> Mask:
    """Returns the pixels of (height, width) that lie in a path of h and v steps, by the even-odd rule.

    A pixel lies inside if the path passes an odd number of times on its left, at the height of its centre.
    """
    height, width = size
    passes = np.zeros((height, width + 1), int)
    assert re.fullmatch(r"(M\d+ \d+([hv]-?[1-9]\d*)+Z)*", path)
    for contour in re.findall(r"M([^Z]+)Z", path):
        corner, steps = re.match(r"(\d+ \d+)(.*)", contour).groups()  # type: ignore[union-attr]
        x, y = start = tuple(map(int, corner.split()))
        for direction, length in re.findall(r"([hv])(-?\d+)", steps):
            before = y
            x, y = (x + int(length), y) if direction == "h" else (x, y + int(length))
            passes[min(before, y) : max(before, y), x] += 1
        assert x == start[0] or y == start[1]  # the way back to the start is straight too
        if x == start[0]:
            passes[min(y, start[1]) : max(y, start[1]), x] += 1
    inside: Mask = passes[:, :width].cumsum(axis=1) % 2 == 1
    return inside


def filled(parts: list[NDArray[np.int32]], size: tuple[int, int]) -> Mask:
    """Returns the pixels that OpenCV fills, one polygon at a time."""
    mask = np.zeros(size, np.uint8)
    for part in parts:
        cv2.fillPoly(mask, [part], 1)
    return mask > 0


def drawn(parts: list[NDArray[np.int32]], size: tuple[int, int]) -> Mask:
    """Returns the pixels that Pillow draws, one polygon at a time, as labelme does."""
    picture = Image.new("L", size[::-1])
    for part in parts:
        ImageDraw.Draw(picture).polygon([tuple(point) for point in part.tolist()], outline=1, fill=1)
    return np.asarray(picture) > 0


@pytest.mark.parametrize("rows", FEW.values(), ids=FEW)
def test_small_masks_come_back_from_paths_and_polygons(rows: list[str]) -> None:
    mask = from_rows(rows)
    np.testing.assert_array_equal(rasterised(edge_path(mask), mask.shape), mask)
    np.testing.assert_array_equal(filled(polygons(mask), mask.shape), mask)
    np.testing.assert_array_equal(drawn(polygons(mask), mask.shape), mask)


@pytest.mark.parametrize("make", KINDS)
def test_a_filled_path_is_the_mask(make: Callable[[np.random.Generator], Mask]) -> None:
    for mask in several(make):
        np.testing.assert_array_equal(rasterised(edge_path(mask), mask.shape), mask)


@pytest.mark.parametrize("fill", [filled, drawn])
@pytest.mark.parametrize("make", KINDS)
def test_filled_polygons_are_the_mask(
    make: Callable[[np.random.Generator], Mask], fill: Callable[..., Mask]
) -> None:
    for mask in several(make):
        np.testing.assert_array_equal(fill(polygons(mask), mask.shape), mask)


@pytest.mark.parametrize("make", KINDS)
def test_a_polygon_is_one_part_and_has_three_points(make: Callable[[np.random.Generator], Mask]) -> None:
    for mask in several(make):
        parts = polygons(mask)
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        assert len(parts) == count - 1
        found = set()
        for part in parts:
            assert (part.dtype, part.ndim, part.shape[1]) == (np.int32, 2, 2)
            assert len(part) >= 3
            label = labels[part[0, 1], part[0, 0]]
            found.add(label)
            np.testing.assert_array_equal(filled([part], mask.shape), labels == label)
        assert len(found) == len(parts)


def test_an_empty_mask_has_no_outline() -> None:
    for size in [(0, 0), (0, 4), (3, 5)]:
        assert edge_path(np.zeros(size, np.bool_)) == ""
        assert polygons(np.zeros(size, np.bool_)) == []


def test_outlines_are_where_the_crop_is_in_the_image() -> None:
    mask = from_rows(["##", "#."])
    assert edge_path(mask, (7, 1000)) == "M7 1000v2h1v-1h1v-1Z"
    (polygon,) = polygons(mask, (7, 1000))
    np.testing.assert_array_equal(polygon, [[7, 1000], [7, 1001], [8, 1000]])
    for shifted, at_origin in zip(polygons(mask, (30, -20)), polygons(mask), strict=True):
        np.testing.assert_array_equal(shifted, at_origin + np.array([30, -20]))


def test_straight_edges_take_one_step() -> None:
    assert edge_path(np.ones((300, 20_000), np.bool_)) == "M0 0v300h20000v-300Z"


def test_a_part_of_an_array_has_the_outlines_of_its_copy() -> None:
    mask = blobs(np.random.default_rng(3))[1:, ::-2]
    assert edge_path(mask) == edge_path(mask.copy())
    for ours, expected in zip(polygons(mask), polygons(mask.copy()), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("make", KINDS)
def test_joined_parts_are_the_mask_and_lines_between_them(
    make: Callable[[np.random.Generator], Mask],
) -> None:
    for mask in several(make):
        parts = polygons(mask)
        if not parts:
            continue
        whole = joined(parts)
        fill = filled([whole], mask.shape)
        assert fill[mask].all()
        # The sides of `whole` that no part has are the lines, each there and back.
        sides = {side for part in parts for side in sides_of(part)}
        ties = [side for side in sides_of(whole) if side not in sides]
        assert len(ties) == 2 * (len(parts) - 1)
        assert sorted(ties) == sorted((end, start) for start, end in ties)
        lines = np.zeros(mask.shape, np.uint8)
        for start, end in ties:
            cv2.line(lines, start, end, 1)
        assert fill[lines > 0].all()
        near = cv2.dilate(lines, np.ones((3, 3), np.uint8)) > 0  # OpenCV before 5.0 fills wider lines
        assert not (fill & ~mask & ~near).any()


def sides_of(polygon: NDArray[np.int32]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    points = [tuple(point) for point in polygon.tolist()]
    return [pair for pair in zip(points, points[1:] + points[:1], strict=True) if pair[0] != pair[1]]


def test_parts_are_joined_where_they_are_nearest() -> None:
    mask = np.zeros((40, 200), np.bool_)
    mask[10:30, 20:40] = mask[10:30, 45:60] = mask[29:39, 150:190] = True
    added = filled([joined(polygons(mask))], mask.shape) & ~mask
    assert np.count_nonzero(added) == (44 - 39) + (149 - 59)


def test_parts_of_many_corners_are_joined_by_hardly_more_than_the_shortest_line() -> None:
    y, x = np.mgrid[:1400, :2100]
    for dy in (0, 90, 333):
        left, right = (y - 500) ** 2 + (x - 500) ** 2, (y - 500 - dy) ** 2 + (x - 1500) ** 2
        a, b = polygons((left < 480**2) | (right < 470**2))
        assert min(len(a), len(b)) > 500
        shortest = np.linalg.norm(a[:, np.newaxis] - b, axis=2).min()
        sides = {*sides_of(a), *sides_of(b)}
        start, end = next(side for side in sides_of(joined([a, b])) if side not in sides)
        assert np.hypot(end[0] - start[0], end[1] - start[1]) <= 1.1 * shortest


def test_one_part_is_joined_already() -> None:
    (part,) = polygons(from_rows(["###", "#.#", "###"]))
    np.testing.assert_array_equal(joined([part]), part)

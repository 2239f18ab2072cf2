"""The estimates beside the true sizes of files, also for photos and masks that cannot be compressed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import coco
from answer.files import EXPORTS, effect_file, export_file
from answer.many import Named
from answer.many_files import EXPORTS as MANY_EXPORTS
from answer.many_files import export_many
from answer.result import View, in_view
from answer.settings import Filters
from categories import Categories
from detections import Detections
from serving.estimates import effect_bytes, export_bytes, many_bytes, png_bytes
from tests.samples import make_detections, make_result, random_detections, random_image
from visualize import EFFECTS

WHOLE = Filters(score_threshold=0.0)
SMOOTH = make_detections([[10 * i, 5 * i, 300 + 10 * i, 200 + 5 * i] for i in range(10)], (300, 400))
CASES: dict[str, Detections] = {
    "noise": random_detections(1, 20, (300, 400)),
    "noise beyond the borders": random_detections(2, 20, (300, 400), reach=0.5),
    "coarse noise": random_detections(3, 10, (400, 300), mask_side=3),
    "whole boxes": SMOOTH,
    "nothing": random_detections(4, 0, (300, 400)),
    "the smallest": random_detections(5, 3, (1, 1)),
    "narrow": random_detections(6, 5, (20, 600)),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Detections, Path]:
    """Instances, and the file of a photo of noise to which they belong."""
    detections = CASES[request.param]
    path = tmp_path / "photo.png"
    Image.fromarray(random_image(0, *detections.image_size)).save(path)
    return detections, path


@pytest.mark.parametrize("edges", ["hard", "soft"])
@pytest.mark.parametrize("format", EXPORTS)
def test_no_file_is_larger_than_its_estimate(
    format: str, edges: str, case: tuple[Detections, Path], tmp_path: Path
) -> None:
    detections, photo = case
    for filters in (WHOLE, Filters(0.0, mask_threshold=0.0), Filters(0.5)):
        path = export_file(View(make_result(detections, photo), filters), format, tmp_path, edges)
        assert path.stat().st_size <= export_bytes(in_view(detections, coco.CATEGORIES, filters), format)


@pytest.mark.parametrize("format", ["coco", "yolo", "labelme", "csv", "zip"])
def test_the_names_of_200_kinds_fit_in_the_estimate(format: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(random_image(0, 300, 400)).save(photo)
    kinds = Categories.named("🌱" * 97 + f"{number:03d}" for number in range(1, 201))
    result = make_result(SMOOTH, photo)
    result = replace(result, model=replace(result.model, categories=kinds))
    path = export_file(View(result, WHOLE), format, tmp_path)
    assert path.stat().st_size <= export_bytes(SMOOTH, format)


@pytest.mark.parametrize("format", MANY_EXPORTS)
def test_no_file_of_many_photos_is_larger_than_its_estimate(
    format: str, case: tuple[Detections, Path], tmp_path: Path
) -> None:
    detections, photo = case
    view = View(make_result(detections, photo), WHOLE)
    for count in (1, 7):
        photos = [Named(f"photo-{k}", view) for k in range(count)]
        *_, last = export_many(photos, format, tmp_path)
        assert last.path is not None
        assert last.path.stat().st_size <= many_bytes([view.shown] * count, format)


def test_no_effect_is_larger_than_its_estimate(case: tuple[Detections, Path], tmp_path: Path) -> None:
    detections, photo = case
    for effect in EFFECTS:
        path = effect_file(View(make_result(detections, photo), WHOLE), effect, tmp_path)
        assert path.stat().st_size <= effect_bytes(detections)


@pytest.mark.parametrize("format", ["annotated", "cutouts", "zip"])
def test_the_estimate_for_pixels_that_cannot_be_compressed_is_close(format: str, tmp_path: Path) -> None:
    large = make_detections([[50, 50, 1150, 850]] * 4, (900, 1200))
    photo = tmp_path / "photo.png"
    Image.fromarray(random_image(0, 900, 1200)).save(photo)
    path = export_file(View(make_result(large, photo), WHOLE), format, tmp_path)
    assert export_bytes(large, format) <= 2 * path.stat().st_size


def test_a_png_of_noise_fits_in_its_estimate(tmp_path: Path) -> None:
    for height, width in ((1, 1), (1, 5000), (5000, 1), (700, 900)):
        for channels in (3, 4):
            pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
            for level in (0, 1, 9):
                Image.fromarray(pixels).save(tmp_path / "noise.png", compress_level=level)
                assert (tmp_path / "noise.png").stat().st_size <= png_bytes(height, width, channels)

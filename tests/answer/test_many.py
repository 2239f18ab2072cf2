"""Tests of what is counted and written of many photos together, read back by other programs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

import coco
from answer.many import Named, coco_pieces, for_validation, joined, renumbered, tally, to_counts_csv
from answer.many_files import EXPORTS, SHEET_COLUMNS, Sheet, export_many, picture_names, reduced
from answer.result import View
from answer.settings import Filters, SettingsError
from categories import Categories
from photo.errors import ImageError
from tests.samples import CAR, CAT, DOG, PERSON, make_detections, make_result, random_image

SIZE = (60, 80)
BOXES = [[5, 5, 30, 40], [40, 10, 70, 50], [10, 45, 25, 58]]


@pytest.fixture
def photos(tmp_path: Path) -> list[Named]:
    """Three photos with 3, 2 and no objects in view, and one that could not be read."""
    found = [([PERSON, DOG, PERSON], BOXES), ([DOG, CAR], BOXES[:2]), ([], [])]
    named = []
    for k, (class_ids, boxes) in enumerate(found):
        path = tmp_path / f"{k}.png"
        Image.fromarray(random_image(k, *SIZE)).save(path)
        detections = make_detections(boxes, SIZE, class_ids=class_ids)
        named.append(Named(f"photo {k}", View(make_result(detections, path), Filters(0.5))))
    return [*named, Named("bad", None, "This picture is damaged.")]


def whole(photos: list[Named]) -> dict[str, object]:
    text = "".join(coco_pieces(photos, [f"{photo.name}.jpg" for photo in photos]))
    read: dict[str, object] = json.loads(text)
    return read


def exported(photos: list[Named], format: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    *_, last = export_many(photos, format, folder)
    assert last.path is not None and last.share == 1
    return last.path


def unpacked(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def test_counts_follow_the_views_and_sums_are_sums(photos: list[Named]) -> None:
    told = tally([photo.view for photo in photos])
    assert told.kinds == ("person", "dog", "car")
    assert told.rows == ((2, 1, 0), (0, 1, 1), (0, 0, 0), None) and told.sums == (2, 2, 1)
    assert photos[0].view is not None
    fewer = View(photos[0].view.result, Filters(0.5, classes=("dog",), hidden=(2,)))
    assert tally([fewer]).sums == ()
    assert tally([]).kinds == ()


def test_the_table_of_counts_says_why_a_photo_has_none(photos: list[Named]) -> None:
    rows = list(csv.reader(io.StringIO(to_counts_csv(photos))))
    assert rows == [
        ["photo", "person", "dog", "car", "sum", "error"],
        ["photo 0", "2", "1", "0", "3", ""],
        ["photo 1", "0", "1", "1", "2", ""],
        ["photo 2", "0", "0", "0", "0", ""],
        ["bad", "", "", "", "", "This picture is damaged."],
        ["sum", "2", "2", "1", "5", ""],
    ]


def test_pycocotools_reads_one_file_of_all_photos(photos: list[Named], tmp_path: Path) -> None:
    api = COCO(exported(photos, "coco", tmp_path / "out"))
    assert sorted(api.anns) == [1, 2, 3, 4, 5]
    names = {image["id"]: image["file_name"] for image in api.imgs.values()}
    assert names == {1: "photo 0.jpg", 2: "photo 1.jpg", 3: "photo 2.jpg"}
    for image_id, photo in enumerate(photos[:3], 1):
        view = photo.view
        assert view is not None
        annotations = api.loadAnns(api.getAnnIds(imgIds=image_id))
        assert [each["category_id"] for each in annotations] == view.shown.class_ids.tolist()
        for i, each in enumerate(annotations):
            (y, x), crop = view.shown.mask_crop(i)
            mask = np.zeros(SIZE, bool)
            mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
            assert (api.annToMask(each) == mask).all() and each["area"] == mask.sum()


@pytest.mark.parametrize("keep", [[], [0], [2], [2, 3], [2, 0, 3, 1]])
def test_the_pieces_are_json_whatever_is_empty(photos: list[Named], keep: list[int]) -> None:
    chosen = [photos[k] for k in keep]
    read = whole(chosen)
    assert isinstance(read["annotations"], list) and isinstance(read["images"], list)
    assert [each["id"] for each in read["annotations"]] == list(range(1, len(read["annotations"]) + 1))
    assert len(read["images"]) == sum(photo.view is not None for photo in chosen)


def test_the_split_depends_on_the_names_alone() -> None:
    names = [f"photo-{k}" for k in range(23)]
    kept = for_validation(names)
    assert kept == for_validation(names[::-1]) and len(kept) == 5
    assert max(map(_hash, kept)) < min(map(_hash, set(names) - kept))
    assert for_validation(["a"]) == set() and len(for_validation(["a", "b"])) == 1


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def test_a_yolo_folder_has_a_label_for_each_picture_and_the_masks_come_back(
    photos: list[Named], tmp_path: Path
) -> None:
    folder = unpacked(exported(photos, "yolo", tmp_path / "out"), tmp_path / "yolo")
    listed = yaml.safe_load((folder / "data.yaml").read_text())
    pictures = sorted(folder.glob("images/*/*.jpg"))
    assert sorted(str(path.relative_to(folder)) for path in pictures) == sorted(picture_names(photos)[:3])
    assert {path.parent.name for path in pictures} == {"train", "val"}
    assert (folder / listed["train"]).is_dir() and (folder / listed["val"]).is_dir()
    for photo in photos[:3]:
        (picture,) = folder.glob(f"images/*/{photo.name}.jpg")
        label = folder / "labels" / picture.parent.name / f"{photo.name}.txt"
        view = photo.view
        assert view is not None
        with Image.open(picture) as opened:
            assert opened.size == SIZE[::-1] and not opened.getexif()
        lines = label.read_text().splitlines()
        assert [listed["names"][int(line.split()[0])] for line in lines] == [
            view.categories.name_of(id) for id in view.shown.class_ids.tolist()
        ]
        for i, line in enumerate(lines):
            points = np.array(line.split()[1:], float).reshape(-1, 2) * SIZE[::-1]
            drawn = cv2.fillPoly(np.zeros(SIZE, np.uint8), [points.astype(np.int32)], 1)
            assert int(drawn.sum()) == view.shown.area(i)


def test_a_single_photo_is_trained_and_validated_with(photos: list[Named], tmp_path: Path) -> None:
    folder = unpacked(exported(photos[:1], "yolo", tmp_path / "out"), tmp_path / "yolo")
    listed = yaml.safe_load((folder / "data.yaml").read_text())
    assert listed["train"] == listed["val"] == "images/train"


def test_everything_is_in_one_zip_whose_parts_belong_together(photos: list[Named], tmp_path: Path) -> None:
    folder = unpacked(exported(photos, "zip", tmp_path / "out"), tmp_path / "all")
    api = COCO(folder / "photos-coco.json")
    assert all((folder / image["file_name"]).is_file() for image in api.imgs.values())
    assert (folder / "photos-counts.csv").read_bytes() == to_counts_csv(photos).encode()
    with Image.open(folder / "photos-sheet.jpg") as sheet:
        assert sheet.size == Sheet(4).picture.size
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["counts"] == {"person": 2, "dog": 2, "car": 1}
    assert manifest["photos"][3] == {"name": "bad", "error": "This picture is damaged."}
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == files - {"manifest.json"}
    assert {path.name for path in folder.glob("segmented/*")} == {f"photo {k}.jpg" for k in range(3)}


@pytest.mark.parametrize("format", EXPORTS)
def test_the_same_photos_give_the_same_bytes(photos: list[Named], format: str, tmp_path: Path) -> None:
    one, other = (exported(photos, format, tmp_path / name) for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("format", EXPORTS)
def test_a_file_that_is_given_up_is_deleted(photos: list[Named], format: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    steps = export_many(photos, format, tmp_path / "out")
    next(steps)
    steps.close()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_photo_whose_file_is_gone_ends_in_a_sentence(photos: list[Named], tmp_path: Path) -> None:
    (tmp_path / "1.png").unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(ImageError, match="could not be opened"):
        list(export_many(photos, "zip", tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_what_cannot_be_saved_is_said(photos: list[Named], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="none of the photos has an answer"):
        list(export_many(photos[3:], "csv", tmp_path))
    with pytest.raises(SettingsError, match="format: expected one of zip, coco, yolo, csv, sheet, got 'exe'"):
        list(export_many(photos, "exe", tmp_path))


def test_a_sheet_shows_each_photo_in_its_place() -> None:
    sheet = Sheet(6)
    detections = make_detections([], (300, 400))
    view = View(make_result(detections))
    for place in range(6):
        sheet.add(place, f"{place}", np.full((300, 400, 3), 40 * place, np.uint8), view)
    seen = np.asarray(sheet.picture)
    for place in range(6):
        row, column = divmod(place, SHEET_COLUMNS)
        assert (seen[12 + 150 + row * 346, 12 + 200 + column * 412] == 40 * place).all()


@pytest.mark.parametrize("size", [(3000, 4000), (4000, 3000), (30, 40), (1, 30), (300, 9000)])
def test_a_photo_fits_in_its_cell(size: tuple[int, int]) -> None:
    height, width = reduced(np.zeros((*size, 3), np.uint8)).shape[:2]
    assert height <= 300 and width <= 400 and (height, width) <= size


def test_photos_of_models_with_other_kinds_share_one_list_of_categories() -> None:
    model = make_result(make_detections([], SIZE)).model
    leaves = replace(model, categories=Categories.named(["leaf", "dog", "petal"]))
    first = View(make_result(make_detections(BOXES, SIZE, class_ids=[PERSON, DOG, CAT])))
    other = replace(make_result(make_detections(BOXES, SIZE, class_ids=[1, 2, 3])), model=leaves)
    views = [first, View(other)]
    together = joined(views)
    assert list(together)[:80] == list(coco.CATEGORIES)
    assert [category.name for category in together][80:] == ["leaf", "petal"]
    ids = renumbered(views[1], together).class_ids.tolist()
    assert [together.name_of(id) for id in ids] == ["leaf", "dog", "petal"] and ids[1] == DOG
    read = whole([Named("a", first), Named("b", views[1])])
    assert isinstance(read["annotations"], list) and isinstance(read["categories"], list)
    names = {each["id"]: each["name"] for each in read["categories"]}
    assert [names[each["category_id"]] for each in read["annotations"]] == [
        *("person", "dog", "cat"),
        *("leaf", "dog", "petal"),
    ]

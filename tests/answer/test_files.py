"""Tests of `answer.files`. The file is long because the formats share one result, made once."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
import zipfile
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

import coco
from answer.data import to_json
from answer.files import EXPORTS, MANIFEST_VERSION, cut_out_file, effect_file, export_file, name_in_file
from answer.formats import (
    COCO_PALETTE,
    category_map,
    instance_map,
    to_coco,
    to_labelme,
    to_yolo,
    yolo_names,
)
from answer.result import Result, View, in_view, names
from answer.settings import Filters, SettingsError
from detections import Detections
from inference import SegmentationModel, load
from photo.colours import srgb_profile
from photo.errors import ImageError
from photo.images import read_image
from serving.photos import segment_file
from tests.conftest import ROOT
from tests.samples import (
    CAT,
    DOG,
    annotated_photo,
    make_detections,
    make_result,
    random_detections,
    random_image,
)
from tests.truth import SCENE
from visualize import EFFECTS, Style, annotate, apply_effect, cut_out


def photographed(tmp_path: Path, detections: Detections, format: str = "PNG", **options: object) -> Result:
    """Returns a result whose photo exists, with noise of the right size in it."""
    path = tmp_path / "photo"
    Image.fromarray(random_image(0, *detections.image_size)).save(path, format, **options)
    return make_result(detections, path)


def test_the_annotated_photo_has_its_original_size_and_shows_what_passes(tmp_path: Path) -> None:
    detections = random_detections(13, 10, (90, 120))
    result, filters, style = photographed(tmp_path, detections), Filters(0.5), Style(opacity=0.8)
    with Image.open(io.BytesIO(annotated_photo(result, filters, style))) as png:
        picture = np.asarray(png)
    shown = in_view(detections, coco.CATEGORIES, filters)
    assert 0 < len(shown) < 10
    expected = annotate(read_image(result.path), shown, names(shown, coco.CATEGORIES), style, detections)
    np.testing.assert_array_equal(picture, expected)
    assert picture.shape == (90, 120, 3)


@pytest.mark.parametrize("size", [(90, 120), (1, 1), (7, 200)])
def test_the_jpeg_shows_what_the_png_shows_and_declares_srgb(
    size: tuple[int, int], tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((*size, 3), 128, np.uint8)).save(path)
    result = make_result(random_detections(17, 4, size), path)
    view = View(result, FILTERS, Style(labels=False, opacity=0.8))
    with Image.open(export_file(view, "jpeg", folder)) as jpeg:
        assert (jpeg.format, jpeg.size, jpeg.mode) == ("JPEG", size[::-1], "RGB")
        assert jpeg.info["icc_profile"] == srgb_profile()
        assert not jpeg.getexif() and "comment" not in jpeg.info
        seen = np.asarray(jpeg).astype(int)
    exact = picture(export_file(view, "annotated", folder).read_bytes()).astype(int)
    assert np.abs(seen - exact).mean() < 6


def test_the_jpeg_of_a_photo_is_about_as_large_as_the_photo(tmp_path: Path, folder: Path) -> None:
    photo = ROOT / "examples" / "dogs.jpg"
    with Image.open(photo) as opened:
        size = opened.height, opened.width
    result = make_result(random_detections(18, 6, size), photo)
    jpeg = export_file(View(result), "jpeg", folder).stat().st_size
    png = export_file(View(result), "annotated", folder).stat().st_size
    assert jpeg < 2.5 * photo.stat().st_size < png


def test_a_photo_in_which_nothing_passes_comes_back_as_it_is(tmp_path: Path) -> None:
    result = photographed(tmp_path, random_detections(14, 3, (60, 80)))
    with Image.open(io.BytesIO(annotated_photo(result, Filters(1), Style()))) as png:
        np.testing.assert_array_equal(np.asarray(png), read_image(result.path))


def test_the_annotated_photo_names_the_model_and_carries_none_of_the_photos_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera maker"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # the place where the photo was taken
    result = photographed(tmp_path, make_detections([], (60, 80)), "JPEG", exif=exif, comment=b"private")
    with Image.open(result.path) as photo:
        assert photo.getexif().get_ifd(0x8825)
    content = annotated_photo(result, Filters(), Style())
    with Image.open(io.BytesIO(content)) as png:
        png.load()
        assert not png.getexif()
        assert png.info == {"srgb": 0, "Description": "Segmented by the model fake (made by hand)."}
    assert b"Camera maker" not in content
    assert b"private" not in content


def test_the_annotated_photo_is_a_whole_png_that_names_the_model_in_any_script(tmp_path: Path) -> None:
    result = photographed(tmp_path, random_detections(3, 4, (60, 80)))
    result = replace(result, model=replace(result.model, origin="模型 é.pth"))
    content = annotated_photo(result, Filters(0), Style())
    with Image.open(io.BytesIO(content)) as png:
        png.verify()  # checks the checksum of each chunk
    with Image.open(io.BytesIO(content)) as png:
        assert png.info["Description"] == "Segmented by the model fake (模型 é.pth)."
        drawn = annotate(
            read_image(result.path), result.detections, names(result.detections, coco.CATEGORIES), Style()
        )
        np.testing.assert_array_equal(np.asarray(png), drawn)
    np.testing.assert_array_equal(
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), drawn[..., ::-1]
    )


def test_a_photo_that_is_gone_cannot_be_annotated(tmp_path: Path) -> None:
    result = make_result(make_detections([]), tmp_path / "gone.png")
    with pytest.raises(ImageError, match="could not be opened"):
        annotated_photo(result, Filters(), Style())


def street(tmp_path: Path, detections: Detections | None = None) -> Result:
    """Returns a result whose photo is called street.photo.png, by default with ten ids from 2 to 900."""
    if detections is None:
        made = random_detections(21, 11, (90, 120), mask_side=6, reach=0.1).select(np.arange(1, 11))
        detections = replace(made, ids=np.linspace(2, 900, 10).astype(np.int64))
    path = tmp_path / "street.photo.png"
    Image.fromarray(random_image(0, *detections.image_size)).save(path)
    return make_result(detections, path)


FILTERS = Filters(0.3, mask_threshold=0.4)


def exported(result: Result, format: str, folder: Path, filters: Filters = FILTERS) -> Path:
    return export_file(View(result, filters), format, folder)


def contents(path: Path) -> dict[str, bytes]:
    """Returns the names and contents of the files in a zip. For any other file, returns its own."""
    if path.suffix != ".zip":
        return {path.name: path.read_bytes()}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def picture(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as png:
        return np.asarray(png)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "exports"
    made.mkdir()
    return made


@pytest.mark.parametrize("format", EXPORTS)
def test_a_file_is_named_after_the_photo_and_its_format(format: str, tmp_path: Path, folder: Path) -> None:
    path = exported(street(tmp_path), format, folder)
    assert path.name == f"street.photo{EXPORTS[format].suffix}"
    assert list(folder.iterdir()) == [path]


def test_no_two_formats_share_a_name() -> None:
    for texts in zip(*EXPORTS.values(), strict=True):
        assert len(set(texts)) == len(EXPORTS)


def test_the_texts_are_those_of_what_is_in_view(tmp_path: Path, folder: Path) -> None:
    result = street(tmp_path)
    shown = in_view(result.detections, coco.CATEGORIES, FILTERS)
    assert 0 < len(shown) < 10
    read = {name: exported(result, name, folder).read_text() for name in ("coco", "yolo", "labelme")}
    assert json.loads(read["coco"]) == to_coco(shown, coco.CATEGORIES, "street.photo.png", 0.4)
    assert json.loads(read["labelme"]) == to_labelme(shown, coco.CATEGORIES, "street.photo.png", 0.4)
    assert read["yolo"] == to_yolo(shown, coco.CATEGORIES, 0.4)


def test_the_csv_file_has_a_row_for_each_instance_in_view(tmp_path: Path, folder: Path) -> None:
    result = street(tmp_path)
    shown = in_view(result.detections, coco.CATEGORIES, FILTERS)
    with exported(result, "csv", folder).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == shown.ids.tolist()
    assert [int(row["area (px)"]) for row in rows] == [shown.area(i, 0.4) for i in range(len(shown))]


def test_pillow_and_opencv_read_the_instance_ids(tmp_path: Path, folder: Path) -> None:
    result = street(tmp_path)
    path = exported(result, "instances", folder)
    expected = instance_map(in_view(result.detections, coco.CATEGORIES, FILTERS), 0.4)
    assert expected.max() > 255
    np.testing.assert_array_equal(picture(path.read_bytes()), expected)
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, expected)


def test_pillow_reads_categories_and_opencv_their_colours(tmp_path: Path, folder: Path) -> None:
    result = street(tmp_path)
    path = exported(result, "categories", folder)
    expected = category_map(in_view(result.detections, coco.CATEGORIES, FILTERS), 0.4)
    with Image.open(path) as png:
        assert png.mode == "P"
        np.testing.assert_array_equal(np.asarray(png), expected)
    colors = np.array([COCO_PALETTE.get(id, (0, 0, 0)) for id in range(256)], np.uint8)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:, :, 2::-1], colors[expected])


@pytest.mark.parametrize("edges", ["hard", "soft"])
def test_each_instance_in_view_has_its_cut_out(edges: Any, tmp_path: Path, folder: Path) -> None:
    result = street(tmp_path)
    shown, photo = in_view(result.detections, coco.CATEGORIES, FILTERS), read_image(result.path)
    files = contents(export_file(View(result, FILTERS), "cutouts", folder, edges))
    assert [int(name[:3]) for name in files] == shown.ids.tolist()
    for i, (name, content) in enumerate(files.items()):
        kind = coco.CATEGORIES.name_of(int(shown.class_ids[i])).replace(" ", "-")
        assert name == f"{shown.ids[i]:03d}-{kind}.png"
        expected = cut_out(photo, shown, i, 0.4, edges)
        np.testing.assert_array_equal(picture(content), expected)
        alone = cut_out_file(View(result, FILTERS), int(shown.ids[i]), folder, edges)
        assert alone.name == f"street.photo-{name}"
        np.testing.assert_array_equal(picture(alone.read_bytes()), expected)


def test_an_instance_without_a_pixel_has_no_cut_out(tmp_path: Path, folder: Path) -> None:
    boxes = [[0, 0, 20, 20], [200, 200, 240, 240], [30, 30, 50, 50]]
    result = street(tmp_path, make_detections(boxes, class_ids=[CAT, CAT, DOG]))
    assert list(contents(exported(result, "cutouts", folder))) == ["001-cat.png", "003-dog.png"]
    with pytest.raises(SettingsError, match=r"object 2 has no pixel"):
        cut_out_file(View(result, FILTERS), 2, folder)


def test_the_manifest_says_how_many_instances_were_left_out_for_having_no_pixel(
    tmp_path: Path, folder: Path
) -> None:
    boxes = [[0, 0, 20, 20], [200, 200, 240, 240], [30, 30, 50, 50]]
    result = street(tmp_path, make_detections(boxes, class_ids=[CAT, CAT, DOG]))
    files = contents(exported(result, "zip", folder))
    assert json.loads(files["manifest.json"])["left_out_without_pixels"] == 1
    annotations = json.loads(files["street.photo-coco.json"])["annotations"]
    assert [annotation["id"] for annotation in annotations] == [1, 3]
    shapes = json.loads(files["images/street.photo.json"])["shapes"]
    assert [shape["group_id"] for shape in shapes] == [1, 3]
    assert len(files["labels/street.photo.txt"].splitlines()) == 2
    table = csv.DictReader(io.StringIO(files["street.photo.csv"].decode()))
    assert [row["id"] for row in table] == ["1", "2", "3"]
    files = contents(exported(result, "zip", folder, Filters(hidden=(2,))))
    assert json.loads(files["manifest.json"])["left_out_without_pixels"] == 0  # 2 is not in view


@pytest.mark.parametrize("id", [0, 4, 99, -1, "cat", None, [1]])
def test_what_is_not_in_view_cannot_be_cut_out(id: Any, tmp_path: Path, folder: Path) -> None:
    result = street(tmp_path, make_detections([[0, 0, 20, 20]] * 4))
    with pytest.raises(SettingsError, match="id: expected that of an object in view"):
        cut_out_file(View(result, Filters(0.5, hidden=(4,))), id, folder)
    assert not list(folder.iterdir())


def test_the_zip_holds_everything(tmp_path: Path, folder: Path) -> None:
    result = street(tmp_path)
    shown = in_view(result.detections, coco.CATEGORIES, FILTERS)
    files = contents(exported(result, "zip", folder))
    cut_outs = contents(exported(result, "cutouts", folder))
    single = ("annotated", "coco", "instances", "categories", "csv")
    assert files.keys() == {
        "images/street.photo.png",
        "images/street.photo.json",
        "labels/street.photo.txt",
        "data.yaml",
        *(f"street.photo{EXPORTS[format].suffix}" for format in single),
        *(f"cutouts/{name}" for name in cut_outs),
        "manifest.json",
    }
    np.testing.assert_array_equal(picture(files["images/street.photo.png"]), read_image(result.path))
    for format in single:
        path = exported(result, format, folder)
        assert files[path.name] == path.read_bytes()
    assert files["images/street.photo.json"] == exported(result, "labelme", folder).read_bytes()
    assert files["labels/street.photo.txt"] == exported(result, "yolo", folder).read_bytes()
    assert files["data.yaml"].decode() == yolo_names(coco.CATEGORIES)
    assert {name: files[f"cutouts/{name}"] for name in cut_outs} == cut_outs
    assert len(cut_outs) == len(shown)


def test_files_of_the_zip_name_pictures_that_are_there(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(exported(street(tmp_path), "zip", folder)) as archive:
        archive.extractall(folder / "unpacked")
    unpacked = folder / "unpacked"
    label = json.loads((unpacked / "images" / "street.photo.json").read_text())
    assert (unpacked / "images" / label["imagePath"]).is_file()
    data = yaml.safe_load((unpacked / "data.yaml").read_text())
    # YOLO looks for the labels of images/x.png in labels/x.txt.
    (image,) = (unpacked / data["train"]).glob("*.png")
    assert (unpacked / "labels" / image.name).with_suffix(".txt").is_file()
    (named,) = json.loads((unpacked / "street.photo-coco.json").read_text())["images"]
    assert named["file_name"] == image.name


def test_the_manifest_says_how_the_result_was_made(tmp_path: Path, folder: Path) -> None:
    result = street(tmp_path)
    filters = Filters(0.3, ("cat", "dog"), 0.4, (2,))
    path = export_file(View(result, filters, Style(opacity=0.25, boxes=False)), "zip", folder, "soft")
    files = contents(path)
    manifest = json.loads(files["manifest.json"])
    versions = manifest.pop("versions")
    assert manifest == {
        "manifest_version": MANIFEST_VERSION,
        "model": to_json(View(result, filters))["model"],
        "image": {
            "file": "images/street.photo.png",
            "width": 120,
            "height": 90,
            "pixels_sha256": hashlib.sha256(read_image(result.path).tobytes()).hexdigest(),
        },
        "settings": {
            "filters": {
                "score_threshold": 0.3,
                "classes": ["cat", "dog"],
                "mask_threshold": 0.4,
                "hidden": [2],
                "thresholds": {},
            },
            "style": asdict(Style(opacity=0.25, boxes=False)),
            "edges": "soft",
            "scale": None,
        },
        "edits": [],
        "by_a_person": {"edited": [], "person": []},
        "counts": to_json(View(result, filters))["counts"],
        "left_out_without_pixels": 0,
        "files": [name for name in files if name != "manifest.json"],
    }
    assert versions["numpy"] == np.__version__
    assert versions.keys() >= {"python", "torch", "torchvision", "numpy", "pillow", "gradio"}


def test_the_result_can_be_made_again_from_the_zip(
    scenes_model: SegmentationModel, tmp_path: Path, folder: Path
) -> None:
    first = segment_file(SCENE, scenes_model)
    every = first.detections.ids.tolist()
    filters = Filters(0.4, ("bottle", "kite", "cup", "stop sign"), 0.6, (every[0],))
    files = contents(export_file(View(first, filters, Style(color_by="category")), "zip", folder))
    manifest = json.loads(files["manifest.json"])

    photo = tmp_path / "again.png"
    photo.write_bytes(files[manifest["image"]["file"]])
    pixels = hashlib.sha256(read_image(photo).tobytes()).hexdigest()
    assert pixels == manifest["image"]["pixels_sha256"]
    named = manifest["model"]
    model = load(named["name"], device=named["device"], precision=named["precision"])
    assert model.sha256 == named["sha256"]
    settings = manifest["settings"]["filters"]
    classes = settings["classes"] and tuple(settings["classes"])
    again = Filters(**settings | {"classes": classes, "hidden": tuple(settings["hidden"])})
    second = segment_file(photo, model)

    instances = to_json(View(second, again))["instances"]
    assert instances == to_json(View(first, filters))["instances"]
    assert manifest["counts"] == Counter(instance["category_name"] for instance in instances)
    assert instances
    style = Style(**manifest["settings"]["style"])
    made_again = contents(
        export_file(View(second, again, style), "zip", folder, manifest["settings"]["edges"])
    )
    shorter = {name.replace(SCENE.stem, "again"): content for name, content in files.items()}
    assert made_again.keys() == shorter.keys()
    for name in made_again:
        if name.endswith(".png"):
            np.testing.assert_array_equal(picture(made_again[name]), picture(shorter[name]))


@pytest.mark.parametrize("format", EXPORTS)
def test_the_same_result_gives_the_same_bytes(
    format: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = street(tmp_path)
    first = exported(result, format, folder).read_bytes()
    later = time.time() + 10**6
    monkeypatch.setattr(time, "time", lambda: later)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert exported(result, format, elsewhere).read_bytes() == first


SECRETS = (b"Camera maker", b"private words", b"holiday.photo.jpeg", b"Exif", b"GPS", b"XML:com.adobe")


def holiday(tmp_path: Path) -> Result:
    """Returns a result for a JPEG full of private metadata. The name of the photo's folder is private too."""
    uploads = tmp_path / "uploads-of-somebody"
    uploads.mkdir()
    detections = random_detections(22, 6, (60, 80), mask_side=5)
    exif = Image.Exif()
    exif[0x010F] = "Camera maker"
    exif[0x010E] = exif[0x9286] = "private words"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0)})
    path = uploads / "holiday.photo.jpeg"
    Image.fromarray(random_image(0, 60, 80)).save(
        path,
        exif=exif,
        comment=b"private words",
        xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>private words</x:xmpmeta>",
        icc_profile=b"private words",
    )
    with Image.open(path) as photo:
        assert photo.getexif().get_ifd(0x8825)
        assert photo.info.keys() >= {"exif", "xmp", "comment", "icc_profile"}
    return make_result(detections, path)


def files_of_a_holiday(result: Result, folder: Path) -> list[Path]:
    paths = [exported(result, format, folder) for format in EXPORTS]
    shown = in_view(result.detections, coco.CATEGORIES, FILTERS)
    paths += [cut_out_file(View(result, FILTERS), id, folder) for id in shown.ids.tolist()]
    return paths + [effect_file(View(result, FILTERS), effect, folder) for effect in EFFECTS]


def test_no_file_carries_metadata_of_the_upload_or_where_it_lay(tmp_path: Path, folder: Path) -> None:
    result = holiday(tmp_path)
    for path in files_of_a_holiday(result, folder):
        for name, content in {path.name: path.read_bytes(), **contents(path)}.items():
            for secret in (*SECRETS, b"uploads-of-somebody", str(tmp_path).encode()):
                assert secret not in content, name
                assert secret not in name.encode()


def test_no_picture_carries_more_than_pixels_a_palette_and_our_own_words(
    tmp_path: Path, folder: Path
) -> None:
    result = holiday(tmp_path)
    for path in files_of_a_holiday(result, folder):
        for name, content in contents(path).items():
            if name.endswith(".png"):
                kinds = {kind for kind, _ in chunks(content)}
                assert kinds <= {b"IHDR", b"sRGB", b"PLTE", b"IDAT", b"IEND", b"iTXt"}, name
                assert (b"iTXt" in kinds) == name.endswith(EXPORTS["annotated"].suffix)


def test_pictures_declare_srgb_before_their_pixels_and_maps_of_ids_do_not(
    tmp_path: Path, folder: Path
) -> None:
    maps = (EXPORTS["instances"].suffix, EXPORTS["categories"].suffix)
    seen = set()
    for path in files_of_a_holiday(holiday(tmp_path), folder):
        for name, content in contents(path).items():
            if name.endswith(".png"):
                found = chunks(content)
                declared = [k for k, (kind, _) in enumerate(found) if kind == b"sRGB"]
                assert declared == ([] if name.endswith(maps) else [1]), name  # right after the header
                assert all(found[k][1] == b"\0" for k in declared)  # the perceptual intent
                with Image.open(io.BytesIO(content)) as png:
                    png.verify()  # checks the checksum of each chunk
                    seen.add((png.mode, bool(declared)))
    assert seen == {("RGB", True), ("RGBA", True), ("I;16", False), ("P", False)}


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the kind and the content of each chunk of a PNG."""
    found, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4])
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


@pytest.mark.parametrize("format", EXPORTS)
@pytest.mark.parametrize("size", [(1, 1), (60, 80)])
def test_a_photo_in_which_nothing_passes_can_be_exported(
    size: tuple[int, int], format: str, tmp_path: Path, folder: Path
) -> None:
    result = street(tmp_path, random_detections(23, 3, size))
    files = contents(exported(result, format, folder, Filters(1)))
    assert not [name for name in files if "person" in name or name.startswith("cutouts/")]
    for name, content in files.items():
        if name.endswith(".png"):
            assert picture(content).shape[:2] == size


@pytest.mark.parametrize("format", EXPORTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
def test_the_smallest_photos_can_be_exported(
    size: tuple[int, int], format: str, tmp_path: Path, folder: Path
) -> None:
    result = street(tmp_path, random_detections(24, 12, size, reach=2))
    assert contents(exported(result, format, folder, Filters(0, mask_threshold=0.2)))


def test_progress_rises_and_names_what_is_done(tmp_path: Path, folder: Path) -> None:
    steps: list[tuple[float, str]] = []
    result = street(tmp_path)
    export_file(View(result, FILTERS), "zip", folder, on_stage=lambda *step: steps.append(step))
    shares = [share for share, _ in steps]
    assert shares == sorted(shares)
    assert shares[0] >= 0 and shares[-1] < 1
    assert all(words for _, words in steps)
    assert [words for _, words in steps if words.startswith("Reading")] == ["Reading the photo"]


@pytest.mark.parametrize("format", ["annotated", "cutouts", "zip"])
def test_without_the_photo_there_is_no_picture_of_it_and_no_half_a_file(format: str, folder: Path) -> None:
    result = make_result(make_detections([[0, 0, 20, 20]]), folder / "gone.png")
    with pytest.raises(ImageError, match="could not be opened"):
        exported(result, format, folder)
    with pytest.raises(ImageError, match="could not be opened"):
        cut_out_file(View(result, FILTERS), 1, folder)
    with pytest.raises(ImageError, match="could not be opened"):
        effect_file(View(result, FILTERS), "blur", folder)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("format", ["coco", "yolo", "labelme", "instances", "categories", "csv"])
def test_what_needs_no_pixels_outlives_the_photo(format: str, folder: Path) -> None:
    result = make_result(make_detections([[0, 0, 20, 20]]), folder / "gone.png")
    assert exported(result, format, folder).stat().st_size


@pytest.mark.parametrize("format", ["svg", "", None, ["zip"]])
def test_an_unknown_format_is_refused(format: Any, tmp_path: Path, folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"format: expected one of jpeg, annotated, coco, .*, got"):
        exported(street(tmp_path), format, folder)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("edges", ["round", "", None, ["soft"]])
def test_unknown_edges_are_refused(edges: Any, tmp_path: Path, folder: Path) -> None:
    result = street(tmp_path)
    with pytest.raises(SettingsError, match=r"edges: expected one of hard, soft, got"):
        export_file(View(result, FILTERS), "csv", folder, edges)
    with pytest.raises(SettingsError, match=r"edges: expected one of hard, soft, got"):
        cut_out_file(View(result, FILTERS), 2, folder, edges)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_is_that_of_the_photo_at_its_own_size(effect: Any, tmp_path: Path, folder: Path) -> None:
    result = street(tmp_path)
    path = effect_file(View(result, FILTERS), effect, folder, "#336699")
    assert path.name == f"street.photo-{effect.replace('_', '-')}.png"
    shown = in_view(result.detections, coco.CATEGORIES, FILTERS)
    expected = apply_effect(
        read_image(result.path), shown, effect, mask_threshold=0.4, color=(0x33, 0x66, 0x99)
    )
    np.testing.assert_array_equal(picture(path.read_bytes()), expected)


@pytest.mark.parametrize("effect", ["sepia", "", None, ["blur"]])
def test_an_unknown_effect_is_refused(effect: Any, tmp_path: Path, folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"effect: expected one of cut_out, .*, got"):
        effect_file(View(street(tmp_path), FILTERS), effect, folder)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("traffic light", "traffic-light"), ("../../etc/passwd", "etc-passwd"), ("Blatt, grün", "Blatt-grün"),
        ("a" * 100, "a" * 40), ("?*:", "object"), ("C:\\con", "C-con"),
    ],
)  # fmt: skip
def test_a_kinds_name_cannot_lead_a_file_to_another_folder(name: str, part: str) -> None:
    assert name_in_file(name) == part

"""Tests `/segment_many` as a program uses it, through Gradio's client and over plain HTTP."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from photo.limits import MAX_PHOTOS
from tests.calls import FILE_DATA, call
from tests.truth import SCENE


@pytest.fixture(scope="module")
def client(server: str) -> Client:
    return Client(server, verbose=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three photos, two of them with the same name."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "b").mkdir()
    paths = [folder / "a.png", folder / "b" / "a.png", folder / "turned.jpg"]
    shutil.copy(SCENE, paths[0])
    with Image.open(SCENE) as scene:
        scene.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(paths[1])
        scene.convert("RGB").rotate(180).save(paths[2])
    return paths


def files(paths: list[Path]) -> list[Any]:
    return [handle_file(path) for path in paths]


def test_each_photo_has_the_answer_of_segment_and_all_have_sums(client: Client, photos: list[Path]) -> None:
    job = client.submit(images=files(photos), score_threshold=0.6, api_name="/segment_many")
    *steps, answer = list(job)
    assert [step["photos_done"] for step in steps] == [1, 2, 3] and not any(step["done"] for step in steps)
    assert [photo["name"] for photo in answer["photos"]] == ["a", "a-2", "turned"]
    assert answer["done"] and answer["photos_with_error"] == 0 and answer["file"] is None
    one = client.predict(image=handle_file(photos[0]), score_threshold=0.6, api_name="/segment")
    assert answer["photos"][0]["answer"]["instances"] == one["instances"]
    sums: dict[str, int] = {}
    for photo in answer["photos"]:
        for kind, count in photo["answer"]["counts"].items():
            sums[kind] = sums.get(kind, 0) + count
    assert answer["counts"] == sums and sum(sums.values()) > 5


def zipped(tmp_path: Path, entries: dict[str, bytes]) -> Path:
    path = tmp_path / "trip.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("in_a_list", [True, False])
def test_a_zip_gives_the_same_as_its_photos(
    client: Client, photos: list[Path], tmp_path: Path, in_a_list: bool
) -> None:
    path = zipped(tmp_path, {"x/one.png": photos[0].read_bytes(), "note.txt": b"hello"})
    images = [handle_file(path)] if in_a_list else handle_file(path)
    answer = client.predict(images=images, api_name="/segment_many")
    (photo,) = answer["photos"]
    assert photo["name"] == "one" and photo["answer"]["counts"]
    assert answer["warnings"] == ["“note.txt” was left out: it is no picture."]


def test_what_is_wrong_with_one_photo_is_said_of_this_photo(
    client: Client, photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(photos[2].read_bytes()[:300])
    (tmp_path / "text.jpg").write_text("no picture")
    inner = zipped(tmp_path, {"one.png": photos[0].read_bytes()})
    paths = [tmp_path / "broken.jpg", photos[0], tmp_path / "text.jpg", inner]
    answer = client.predict(images=files(paths), format="csv", api_name="/segment_many")
    errors = [photo["error"] for photo in answer["photos"]]
    assert errors[1] is None and answer["photos"][1]["answer"]["counts"]
    assert "damaged or incomplete" in errors[0] and "not a picture" in errors[2]
    assert errors[3] == "This is a ZIP. Please send it by itself."
    assert answer["photos_with_error"] == 3
    table = list(csv.reader(io.StringIO(Path(answer["file"]).read_text())))
    assert [row[0] for row in table] == ["photo", "broken", "a", "text", "trip", "sum"]
    assert table[1][-1] == errors[0] and table[-1][-2] == table[2][-2]


def test_the_file_for_all_photos_trains_and_loads(client: Client, photos: list[Path], tmp_path: Path) -> None:
    answer = client.predict(images=files(photos), format="zip", api_name="/segment_many")
    with zipfile.ZipFile(answer["file"]) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    listed = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert (listed["train"], listed["val"]) == ("images/train", "images/val") and len(listed["names"]) == 80
    coco = json.loads((tmp_path / "photos-coco.json").read_text())
    assert all((tmp_path / image["file_name"]).is_file() for image in coco["images"])
    assert len(coco["annotations"]) == sum(answer["counts"].values())


def test_a_photo_may_be_an_address_and_a_wrong_one_is_said_of_it(client: Client, photos: list[Path]) -> None:
    wrong = {"path": "http://127.0.0.1:9/cat.jpg", "meta": FILE_DATA}
    answer = client.predict(images=[handle_file(photos[0]), wrong], api_name="/segment_many")
    assert answer["photos"][0]["answer"]["counts"]
    assert answer["photos"][1]["error"] and answer["photos"][1]["answer"] is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"format": "avi"}, "format: expected one of zip, coco, yolo, csv, sheet"),
        ({"classes": ["unicorn"]}, "there is no category"),
        ({"detail": "much"}, "detail: expected one of"),
        ({"score_threshold": 2}, "score_threshold: expected a number"),
        ({"images": []}, "images: no photo was sent"),
        ({"images": [None]}, "images: no photo was sent"),
        ({"images": "photo"}, "images: no picture was sent"),
    ],
)
def test_wrong_arguments_get_a_sentence(
    server: str, photos: list[Path], arguments: dict[str, Any], sentence: str
) -> None:
    with httpx.Client(timeout=30) as http:
        uploaded = http.post(
            f"{server}gradio_api/upload", files={"files": ("a.png", photos[0].read_bytes())}
        ).json()[0]
        good = {"images": [{"path": uploaded, "meta": FILE_DATA}]}
        assert sentence in call(server, "segment_many", good | arguments, http).sentence
        many = {"images": good["images"] * (MAX_PHOTOS + 1)}
        assert (
            f"images: expected {MAX_PHOTOS} files at most"
            in call(server, "segment_many", many, http).sentence
        )


def test_a_zip_that_cannot_be_used_is_refused_in_a_sentence(client: Client, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(AppError, match="This ZIP is damaged or incomplete"):
        client.predict(images=[handle_file(tmp_path / "x.zip")], api_name="/segment_many")


def test_a_path_that_is_no_upload_is_not_opened(server: str, photos: list[Path]) -> None:
    with httpx.Client(timeout=30) as http:
        wrong = {"images": [{"path": "/etc/passwd", "meta": FILE_DATA}]}
        assert "expected an uploaded file" in call(server, "segment_many", wrong, http).sentence

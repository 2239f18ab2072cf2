"""Tests tools/check_official.py with fake models in place of the published ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import coco
from inference import SegmentationModel
from network.weights import WeightsError
from photo.images import read_image
from tests.samples import fake_model
from tools.check_official import EXAMPLES, SEEN_IN, known_digits, main

WANTED = [coco.BY_NAME[name].id for name in SEEN_IN.values()]
WHOLE = [(0.0, 0.0, 1.0, 1.0)]


def sees_all(name: str) -> SegmentationModel:
    """Returns a model with torchvision's hash that finds a person, a cat and a cup in every photo."""
    model = fake_model(WHOLE * 3, WANTED, (0.9, 0.8, 0.5))
    return replace(model, name=name, origin="torchvision x.pth", sha256=known_digits(name).ljust(64, "0"))


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_all_is_well_where_both_models_see_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def load(name: str) -> SegmentationModel:
        asked.append(name)
        return sees_all(name)

    assert main([], load) == 0
    said = capsys.readouterr().out
    assert asked == ["resnet50_fpn", "resnet50_fpn_v2"]
    assert "bf2d0c1e".ljust(64, "0") in said and "73cbd019".ljust(64, "0") in said
    assert said.splitlines()[-1].startswith("All is well: resnet50_fpn and resnet50_fpn_v2 see")


def test_the_examples_are_the_photos_that_it_looks_at() -> None:
    for photo in SEEN_IN:
        assert read_image(EXAMPLES / photo).size


def test_a_model_that_sees_no_cat_is_wrong(
    scenes_model: SegmentationModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], lambda name: sees_all(name) if name == "resnet50_fpn" else scenes_model) == 1
    verdict = last_line(capsys)
    assert verdict.startswith("Something is wrong: ")
    assert "resnet50_fpn_v2 sees no cat in chelsea.png" in verdict and "resnet50_fpn sees" not in verdict


@pytest.mark.parametrize(("score", "code"), [(0.5, 0), (0.49, 1)])
def test_a_score_below_a_half_is_not_seen(score: float, code: int) -> None:
    def load(name: str) -> SegmentationModel:
        model = fake_model(WHOLE * 3, WANTED, (0.9, 0.8, score))
        return replace(sees_all(name), network=model.network)

    assert main([], load) == code


def test_weights_that_cannot_be_fetched_are_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def load(name: str) -> SegmentationModel:
        raise WeightsError(f"The file of {name} could not be fetched: no connection.")

    assert main([], load) == 1
    said = capsys.readouterr()
    assert "The file of resnet50_fpn could not be fetched: no connection." in said.out
    assert "Traceback" not in said.out + said.err
    assert said.out.splitlines()[-1] == (
        "Something is wrong: resnet50_fpn could not be loaded; resnet50_fpn_v2 could not be loaded."
    )


def test_without_a_network_the_real_loader_gives_a_sentence_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert last_line(capsys).startswith("Something is wrong: resnet50_fpn could not be loaded")


def test_torchvisions_file_with_another_hash_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], lambda name: replace(sees_all(name), sha256="0" * 64)) == 1
    assert "begins with bf2d0c1e; the weights of resnet50_fpn_v2" in last_line(capsys)


def test_weights_from_elsewhere_have_no_known_hash(capsys: pytest.CaptureFixture[str]) -> None:
    def load(name: str) -> SegmentationModel:
        return replace(sees_all(name), origin="file mine.safetensors", sha256="0" * 64)

    assert main([], load) == 0
    assert "not known" in capsys.readouterr().out


@pytest.fixture
def cats(tmp_path: Path) -> list[str]:
    """Returns options that name two grey pictures and their annotations. A cat fills the first picture."""
    for name in ("1.png", "2.png"):
        Image.new("RGB", (80, 60), "grey").save(tmp_path / name)
    cat = coco.BY_NAME["cat"]
    truth = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 60, "width": 80} for i in (1, 2)],
        "annotations": [
            {
                "id": 1, "image_id": 1, "category_id": cat.id, "iscrowd": 0, "area": 4800,
                "bbox": [0, 0, 80, 60], "segmentation": [[0, 0, 80, 0, 80, 60, 0, 60]],
            }
        ],
        "categories": [cat.as_json()],
    }  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return ["--coco-images", str(tmp_path), "--coco-annotations", str(tmp_path / "truth.json")]


@pytest.fixture(autouse=True)
def build_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tools.evaluate.BUILD", tmp_path / "build")


@pytest.mark.parametrize(
    ("load", "code", "said"),
    [
        pytest.param(sees_all, 0, "All is well", id="finds the cat"),
        pytest.param(
            lambda name: replace(sees_all(name), network=fake_model(WHOLE * 2, (1, 47), (0.9, 0.8)).network),
            1,
            "the box AP of resnet50_fpn is 37.9 points below the published one; the mask AP",
            id="finds no cat",
        ),
    ],
)
def test_precision_on_cocos_photos_is_compared_with_the_published_one(
    cats: list[str],
    load: Callable[[str], SegmentationModel],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*cats, "--limit", "1"], load) == code
    assert said in last_line(capsys)


def test_photos_that_are_not_there_are_told_in_a_sentence(
    cats: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "2.png").unlink()
    assert main(cats, sees_all) == 1
    said = capsys.readouterr().out
    assert "1 of 2 images are not in" in said
    assert "resnet50_fpn could not be measured" in said.splitlines()[-1]


def test_a_folder_without_annotations_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["--coco-images", str(tmp_path)], sees_all)
    assert refusal.value.code == 2 and "go together" in capsys.readouterr().err

"""Tests tools/evaluate.py and tools/coco_results.py: the figures, the results file, and refused input.

The file is long because its tests share one small dataset and its networks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

import coco
from inference import SegmentationModel
from tests.samples import CAR, CAT, DOG, PERSON, FakeNetwork, fake_model, random_detections
from tools.coco_results import KINDS, NAMES, CocoDataset, Result, coco_result, coco_results, twelve_numbers
from tools.evaluate import (
    EvaluationError,
    Figures,
    heading,
    load_from_factory,
    main,
    measure,
    open_results,
    published,
    read_annotations,
    table,
)
from training.scenes import draw as scenes
from training.scenes import train as train_scenes

SIZE = (60, 80)
CATEGORIES = [coco.BY_ID[category_id].as_json() for category_id in (PERSON, CAR, CAT, DOG)]
Box = tuple[int, int, int, int]


def filled(box: Box) -> dict[str, Any]:
    """Returns the RLE of a mask that fills the box x1 y1 x2 y2."""
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[box[1] : box[3], box[0] : box[2]] = 1
    encoded: dict[str, Any] = rle.encode(mask)
    return encoded | {"counts": encoded["counts"].decode()}


def hit(image_id: int, score: float, box: Box, mask: Box | None = None) -> Result:
    """Returns a detected person in `box`. The person's mask fills `mask`, or `box` if `mask` is None."""
    return coco_result(image_id, PERSON, score, box, filled(mask or box))


def known(image_ids: Sequence[int], people: Sequence[tuple[int, Box]]) -> CocoDataset:
    """Returns annotations. Each of `people` is an image id, and the box that a person fills in this image."""
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 60, "width": 80} for i in image_ids],
        "annotations": [
            hit(image_id, 1, box)
            | {"id": number, "iscrowd": 0, "area": (box[2] - box[0]) * (box[3] - box[1])}
            for number, (image_id, box) in enumerate(people)
        ],
        "categories": CATEGORIES,
    }


# --- The numbers --------------------------------------------------------------------------------------------


def test_average_precision_is_what_one_works_out_by_hand() -> None:
    # There are three people of 10x10 px in two images, and three detections. The first detection (0.9) and
    # the last (0.7) are right, the second is wrong. So the precisions are 1, 1/2, 2/3 at the recalls 1/3,
    # 1/3, 2/3. COCO takes the precision at 101 recalls from 0 to 1. 34 of these recalls are at most 1/3
    # (precision 1), and 33 more are at most 2/3 (precision 2/3): (34 + 33 x 2/3) / 101 = 56/101.
    # The last detection's mask covers 7x9 of the person's 100 px. Its IoU is 0.63, so the mask is right at
    # the thresholds 0.5, 0.55 and 0.6. At the seven higher thresholds only the first mask is right: 34/101.
    truth = known([1, 2], [(1, (0, 0, 10, 10)), (2, (20, 20, 30, 30)), (2, (50, 0, 60, 10))])
    results = [
        hit(1, 0.9, (0, 0, 10, 10)),
        hit(1, 0.8, (60, 40, 70, 50)),
        hit(2, 0.7, (20, 20, 30, 30), (20, 20, 27, 29)),
    ]
    box, mask = (twelve_numbers(truth, results, kind) for kind in KINDS)
    assert [*box] == [*mask] == [*NAMES] and len(NAMES) == 12
    assert box["AP"] == pytest.approx(56 / 101)
    assert box["AP_small"] == box["AP50"] == box["AP75"] == pytest.approx(56 / 101)
    assert box["AR_1"] == box["AR_100"] == pytest.approx(2 / 3)
    assert mask["AP"] == pytest.approx((3 * 56 + 7 * 34) / 1010)
    assert mask["AP50"] == pytest.approx(56 / 101) and mask["AP75"] == pytest.approx(34 / 101)
    assert mask["AR_100"] == pytest.approx((3 * 2 + 7 * 1) / 30)
    assert box["AP_medium"] == mask["AR_large"] == -1  # no person is that large


def random_case(seed: int) -> tuple[CocoDataset, list[Result]]:
    """Returns random objects in four images, some of them crowds, and results that are near some objects."""
    rng = np.random.default_rng(seed)
    truth, results = known([3, 5, 8, 9], []), []
    for image in truth["images"]:
        ids = rng.choice([PERSON, CAR], 6)
        there = replace(random_detections(seed + image["id"], 6, SIZE, mask_side=4), class_ids=ids)
        moved = (there.boxes + rng.normal(0, 2, there.boxes.shape)).astype(np.float32)
        scores = np.sort(rng.random(6))[::-1].astype(np.float32)
        results += coco_results(replace(there, boxes=moved, scores=scores), image["id"])
        for annotation in coco_results(there, image["id"]):
            extra = {"id": len(truth["annotations"]) + 1, "iscrowd": int(rng.random() < 0.2)}
            area = float(rle.area(annotation["segmentation"]))
            truth["annotations"].append(annotation | extra | {"area": area})
    return truth, results


@pytest.mark.parametrize("seed", [0, 100, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_of_pycocotools_run_by_hand(seed: int, kind: str, tmp_path: Path) -> None:
    truth, results = random_case(seed)
    left_out = {"box": "segmentation", "mask": "bbox"}[kind]
    file, found_file = tmp_path / "truth.json", tmp_path / "found.json"
    file.write_text(json.dumps(truth))
    found_file.write_text(json.dumps([{k: v for k, v in r.items() if k != left_out} for r in results]))
    with redirect_stdout(StringIO()):
        reference = COCO(str(file))
        evaluation = COCOeval(reference, reference.loadRes(str(found_file)), KINDS[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = twelve_numbers(truth, results, kind)
    assert [*numbers.values()] == evaluation.stats.tolist()
    assert 0 < numbers["AP"] < 1 and any(a["iscrowd"] for a in truth["annotations"])


def test_nothing_found_is_a_precision_of_nought() -> None:
    for kind in KINDS:
        numbers = twelve_numbers(known([1], [(1, (0, 0, 10, 10))]), [], kind)
        assert numbers["AP"] == numbers["AR_100"] == numbers["AP_small"] == 0
        assert twelve_numbers(known([1], []), [], kind)["AP"] == -1  # there is nothing to find


def test_an_object_with_the_id_0_counts_as_found() -> None:
    truth = known([1], [(1, (0, 0, 10, 10))])
    assert truth["annotations"][0]["id"] == 0
    assert twelve_numbers(truth, [hit(1, 0.9, (0, 0, 10, 10))], "box")["AP"] == pytest.approx(1)


def test_evaluating_changes_neither_truth_nor_results() -> None:
    truth, results = random_case(0)
    before = json.dumps([truth, results])
    for kind in KINDS:
        twelve_numbers(truth, results, kind)
    assert json.dumps([truth, results]) == before


# --- The command --------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def build_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("tools.evaluate.BUILD", tmp_path / "build")
    return tmp_path / "build"


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Writes four grey pictures and returns their annotations. A person fills each picture.

    The annotations do not list the pictures in the order of their ids.
    """
    ids = [7, 2, 9, 4]
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(known(ids, [(i, (0, 0, 80, 60)) for i in ids])))
    for i in ids:
        Image.new("RGB", (80, 60), "grey").save(tmp_path / f"{i}.png")
    return file


def run(annotations: Path, *options: object) -> None:
    main(["--images", str(annotations.parent), "--annotations", str(annotations), *map(str, options)])


def printed(capsys: pytest.CaptureFixture[str]) -> Figures:
    """Returns the figures from the last line of the command's output."""
    figures: Figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    return figures


def finder() -> SegmentationModel:
    """Returns a model that finds the person in a picture, and a car that is not in the picture."""
    return fake_model([(0, 0, 1, 1), (0, 0, 0.5, 0.5)], [PERSON, CAR], [0.9, 0.3])


def looked(model: SegmentationModel) -> int:
    """Returns the number of pictures that the model was given."""
    network: Any = model.network
    return len(network.seen)


def test_drawn_scenes_give_the_figures_of_torchvisions_own_forward(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = list(train_scenes.held_out_scenes(4))
    names = [f"{i}.png" for i in range(4)]
    for name, scene in zip(names, drawn, strict=True):
        scenes.write_scene(tmp_path / name, scene)
    scenes.write_instances(tmp_path / "truth.json", range(4), True, scenes.to_coco(drawn, names))
    run(tmp_path / "truth.json", "--model", "scenes")
    figures = printed(capsys)
    expected = train_scenes.evaluate(train_scenes.load_network(), drawn)
    assert figures["images"] == 4 and figures["model"] == "scenes" and len(figures["sha256"]) == 64
    assert figures["published"] == {}
    assert expected["box_ap"] > 0.5 and expected["mask_ap"] > 0.4
    for kind in KINDS:
        assert figures[kind]["AP"] == pytest.approx(expected[f"{kind}_ap"], abs=0.002)
        assert figures[kind]["AP50"] == pytest.approx(expected[f"{kind}_ap50"], abs=0.002)


def test_the_precision_is_chosen_and_one_that_cannot_be_had_ends_the_command(
    annotations: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(annotations, "--model", "scenes", "--precision", "bfloat16")
    assert printed(capsys)["precision"] == "bfloat16"
    monkeypatch.setattr("network.eight_bit.able", lambda: False)
    with pytest.raises(SystemExit, match="scenes cannot run in int8 here, only in "):
        run(annotations, "--model", "scenes", "--precision", "int8")
    with pytest.raises(SystemExit, match="A factory's network cannot run in int8"):
        run(annotations, "--model-factory", "m:f", "--precision", "int8")


def test_a_weights_file_says_itself_of_which_network_it_is(
    annotations: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(annotations, "--weights", train_scenes.WEIGHTS, "--limit", 1)
    assert printed(capsys)["model"] == "scenes"


def test_an_interrupted_run_goes_on_where_it_was(annotations: Path, tmp_path: Path) -> None:
    file, model = tmp_path / "results.jsonl", finder()
    whole = measure(model, tmp_path, annotations, results_file=tmp_path / "other.jsonl")
    interrupted = finder()
    network: Any = interrupted.network

    def stop_at_the_third(*arguments: Any) -> Any:
        if len(network.seen) == 3:
            raise KeyboardInterrupt
        return FakeNetwork.rpn(network, *arguments)

    network.rpn = stop_at_the_third
    with pytest.raises(KeyboardInterrupt):
        measure(interrupted, tmp_path, annotations, results_file=file)
    assert len(file.read_text().splitlines()) == 1 + 2
    rest = finder()
    figures = measure(rest, tmp_path, annotations, results_file=file)
    assert looked(model) == 4 and looked(rest) == 2
    for key in whole.keys() - {"seconds_per_image"}:
        assert figures[key] == whole[key]
    again = finder()
    assert measure(again, tmp_path, annotations, results_file=file) == figures
    assert looked(again) == 0


@pytest.mark.parametrize(
    ("lines", "waiting"),
    [pytest.param(4, 1, id="of an image"), pytest.param(0, 4, id="the first of all")],
)
def test_half_a_last_line_is_dropped(lines: int, waiting: int, annotations: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    figures = measure(finder(), tmp_path, annotations, results_file=file)
    content = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(content[:lines]) + content[lines][:-9])
    model = finder()
    again = measure(model, tmp_path, annotations, results_file=file)
    assert looked(model) == waiting
    assert again["box"] == figures["box"] and again["instances"] == figures["instances"]
    written = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert [line["image_id"] for line in written[1:]] == [2, 4, 7, 9]


def test_photos_without_instances_are_not_looked_at_twice(annotations: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    figures = measure(fake_model(), tmp_path, annotations, results_file=file)
    assert figures["box"]["AP"] == figures["mask"]["AP"] == 0 and figures["instances"] == 0
    again = fake_model()
    assert measure(again, tmp_path, annotations, results_file=file) == figures
    assert looked(again) == 0


def test_results_of_another_model_or_of_other_annotations_are_refused(
    annotations: Path, tmp_path: Path
) -> None:
    file = tmp_path / "results.jsonl"
    measure(finder(), tmp_path, annotations, results_file=file)
    kept = file.read_bytes()
    with pytest.raises(EvaluationError, match=r"of another run \(sha256: 000.* there, 111.* here\)"):
        measure(replace(finder(), sha256="1" * 64), tmp_path, annotations, results_file=file)
    annotations.write_text(annotations.read_text() + "\n")
    with pytest.raises(EvaluationError, match=r"of another run \(annotations_sha256"):
        measure(finder(), tmp_path, annotations, results_file=file)
    assert file.read_bytes() == kept


@pytest.mark.parametrize("content", [b"{}", b"not json\n", b"[1]\n{}\n", b"\xff\xd8\xff\xe0\n"])
def test_another_file_is_not_taken_for_results_and_stays_as_it_is(
    content: bytes, annotations: Path, tmp_path: Path
) -> None:
    file = tmp_path / "precious"
    file.write_bytes(content)
    with pytest.raises(EvaluationError, match="is not a results file"):
        open_results(file, heading(finder(), annotations))
    assert file.read_bytes() == content
    with pytest.raises(EvaluationError, match="cannot be a results file"):
        open_results(tmp_path, heading(finder(), annotations))


def test_by_default_every_model_has_a_results_file_of_its_own(
    annotations: Path, build_folder: Path, tmp_path: Path
) -> None:
    for sha256 in ("0" * 64, "1" * 64):
        measure(replace(finder(), sha256=sha256, name="a:b"), tmp_path, annotations, limit=1)
    names = [file.name for file in build_folder.iterdir()]
    assert len(names) == 2 and all(name.startswith("coco-a-b-") for name in names)


def test_a_limit_takes_the_first_images_by_id_and_only_what_is_in_them(
    annotations: Path, tmp_path: Path
) -> None:
    file = tmp_path / "results.jsonl"
    for name in ("7.png", "9.png"):
        (tmp_path / name).unlink()  # photos beyond the limit may be missing
    figures = measure(finder(), tmp_path, annotations, limit=2, results_file=file)
    assert [json.loads(line)["image_id"] for line in file.read_text().splitlines()[1:]] == [2, 4]
    assert figures["images"] == 2 and figures["instances"] == 4
    assert {a["image_id"] for a in read_annotations(annotations, 2)["annotations"]} == {2, 4}
    assert figures["box"]["AP"] == figures["box"]["AR_100"] == pytest.approx(1)


def test_a_photo_larger_than_the_working_image_is_measured_at_its_own_size(
    annotations: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (1280, 960)).save(tmp_path / "2.png")
    truth = json.loads(annotations.read_text())
    image = next(image for image in truth["images"] if image["id"] == 2)
    image |= {"width": 1280, "height": 960}
    whole = {"size": [960, 1280], "counts": [0, 960 * 1280]}
    annotation = next(a for a in truth["annotations"] if a["image_id"] == 2)
    annotation |= {"bbox": [0, 0, 1280, 960], "area": 960 * 1280, "segmentation": whole}
    annotations.write_text(json.dumps(truth))
    model = finder()
    figures = measure(model, tmp_path, annotations, limit=1)
    network: Any = model.network
    assert network.seen == [(768, 1024)]
    assert figures["box"]["AP"] == figures["mask"]["AP"] == pytest.approx(1)


def test_missing_photos_are_counted_and_the_first_is_named(annotations: Path, tmp_path: Path) -> None:
    (tmp_path / "9.png").unlink()
    (tmp_path / "4.png").unlink()
    with pytest.raises(SystemExit) as refusal:
        run(annotations, "--model", "scenes")
    assert refusal.value.code == f"2 of 4 images are not in {tmp_path}, the first is 4.png."


def test_a_photo_of_another_size_than_was_annotated_is_refused(annotations: Path, tmp_path: Path) -> None:
    Image.new("RGB", (60, 80)).save(tmp_path / "4.png")
    with pytest.raises(EvaluationError, match=r"4\.png is 60 x 80 pixels, but its .* are for 80 x 60\."):
        measure(finder(), tmp_path, annotations)


def test_a_damaged_photo_is_named(annotations: Path, tmp_path: Path) -> None:
    (tmp_path / "4.png").write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match=r"4\.png: This file is not a picture"):
        measure(finder(), tmp_path, annotations)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not json", "holds no COCO instances"),
        (b"[]", "holds no COCO instances"),
        (b'{"images": [{"id": 1}]}', "holds no COCO instances"),
        (b'{"images": [], "annotations": [], "categories": []}', "names no images"),
        (
            b'{"images": [{"id": 1}], "categories": [], "annotations": '
            b'[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": []}]}',
            "image 1 in .* has no area",
        ),
    ],
)
def test_a_file_of_another_kind_than_coco_instances_is_refused(
    content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "truth.json").write_bytes(content)
    with pytest.raises(EvaluationError, match=said):
        measure(finder(), tmp_path, tmp_path / "truth.json")
    with pytest.raises(EvaluationError, match="cannot be read"):
        measure(finder(), tmp_path, tmp_path / "nowhere.json")


def test_no_images_at_all_are_not_a_limit(annotations: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(annotations, "--limit", 0)
    assert "expected 1 or more" in capsys.readouterr().err


# --- Networks of a factory ----------------------------------------------------------------------------------


class FakeModule(FakeNetwork, nn.Module):
    """The fake network as a torch module."""

    def __init__(self, weight: float) -> None:
        nn.Module.__init__(self)
        FakeNetwork.__init__(self, [(0, 0, 1, 1)], [PERSON], [0.9])
        self.weight = nn.Parameter(torch.full((2,), weight))


def person_everywhere() -> nn.Module:
    return FakeModule(weight=0.0)


def trained_further() -> nn.Module:
    return FakeModule(weight=1.0)


def no_network() -> object:
    return nn.Linear(1, 1)


def test_a_network_of_a_factory_is_measured(annotations: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(annotations, "--model-factory", "tests.tools.test_evaluate:person_everywhere")
    figures = printed(capsys)
    assert figures["model"] == "tests.tools.test_evaluate:person_everywhere"
    assert figures["box"]["AP"] == figures["mask"]["AP"] == pytest.approx(1)


def test_other_weights_of_a_factory_have_another_hash() -> None:
    first, same, other = (
        load_from_factory(f"tests.tools.test_evaluate:{function}").sha256
        for function in ("person_everywhere", "person_everywhere", "trained_further")
    )
    assert first == same != other and len(other) == 64


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("standin", "The factory is 'standin'; expected module:function."),
        (":load", "The factory is ':load'; expected module:function."),
        ("no_such_module:load", "The module no_such_module cannot be imported"),
        (
            "tests.tools.test_evaluate:nothing",
            "The module tests.tools.test_evaluate has no function nothing.",
        ),
        (
            "tests.tools.test_evaluate:no_network",
            "gives a Linear; expected an nn.Module with torchvision's four",
        ),
    ],
)
def test_a_factory_that_gives_no_network_is_refused(factory: str, said: str, annotations: Path) -> None:
    with pytest.raises(SystemExit) as refusal:
        run(annotations, "--model-factory", factory)
    assert said in str(refusal.value.code)


# --- What is published --------------------------------------------------------------------------------------


def test_torchvisions_figures_are_set_beside_its_own_models() -> None:
    assert published("resnet50_fpn") == pytest.approx({"box": 0.379, "mask": 0.346})
    assert published("resnet50_fpn_v2") == pytest.approx({"box": 0.474, "mask": 0.418})
    assert published("scenes") == published("module:function") == {}


def test_the_table_is_in_percent_with_dashes_for_sizes_that_do_not_occur(
    annotations: Path, tmp_path: Path
) -> None:
    figures = measure(replace(finder(), name="resnet50_fpn"), tmp_path, annotations)
    rows = [row.split() for row in table(figures).splitlines()]
    assert ["AP", "100.0", "100.0"] in rows and ["AP_small", "-", "-"] in rows
    assert ["published", "37.9", "34.6"] in rows

"""Tests the drawn scenes, the training of the `scenes` network, and the weights that ship."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from network.architectures import SCENES_LABELS
from training.scenes import draw as scenes
from training.scenes import train as train_scenes

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples" / "scenes").glob("*.png"))


@pytest.fixture(scope="module")
def forty() -> list[scenes.Scene]:
    return [scenes.draw_scene(seed, held_out=seed % 2 == 1) for seed in range(40)]


def test_the_same_seed_draws_the_same_scene_and_another_seed_another() -> None:
    first, again, other = (scenes.draw_scene(seed, held_out=True) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.masks, again.masks)
    np.testing.assert_array_equal(first.category_ids, again.category_ids)
    assert first.image.shape != other.image.shape or (first.image != other.image).any()


def test_the_two_parts_share_no_scene_and_no_family_of_backgrounds(forty: list[scenes.Scene]) -> None:
    training, held_out = {scene.backdrop for scene in forty[::2]}, {scene.backdrop for scene in forty[1::2]}
    assert not scenes.TRAINING_BACKDROPS.keys() & scenes.HELD_OUT_BACKDROPS.keys()
    assert training <= scenes.TRAINING_BACKDROPS.keys() and len(training) > 4
    assert held_out == scenes.HELD_OUT_BACKDROPS.keys()
    assert not np.array_equal(
        scenes.draw_scene(7, held_out=False).masks, scenes.draw_scene(7, held_out=True).masks
    )


def test_pictures_masks_and_categories_have_the_stated_shapes_and_types(forty: list[scenes.Scene]) -> None:
    for scene in forty:
        height, width = scene.image.shape[:2]
        assert (height, width) in scenes.SCENE_SIZES and min(height, width) >= 384
        assert scene.image.dtype == np.uint8 and scene.image.shape[2] == 3
        assert scenes.OBJECT_RANGE[0] <= len(scene.masks) <= scenes.OBJECT_RANGE[1]
        assert scene.masks.shape == (len(scene.category_ids), height, width) and scene.masks.dtype == np.bool_
        assert scene.category_ids.dtype == np.int64


def test_every_category_is_drawn_and_no_other(forty: list[scenes.Scene]) -> None:
    assert set(np.concatenate([scene.category_ids for scene in forty]).tolist()) == set(SCENES_LABELS[1:])


def test_no_pixel_belongs_to_two_objects(forty: list[scenes.Scene]) -> None:
    assert all((scene.masks.sum(axis=0) <= 1).all() for scene in forty)


def test_objects_are_neither_smaller_nor_larger_than_stated(forty: list[scenes.Scene]) -> None:
    for scene in forty:
        for mask in scene.masks:
            x0, y0, x1, y1 = train_scenes.box_of(mask)
            assert scenes.SIZE_RANGE_PX[0] <= max(x1 - x0, y1 - y0) <= scenes.SIZE_RANGE_PX[1]


def test_about_a_third_is_partly_hidden_and_nothing_more_than_stated(forty: list[scenes.Scene]) -> None:
    visible = np.concatenate([scene.visible for scene in forty])
    assert visible.min() >= scenes.MIN_VISIBLE and visible.max() <= 1
    assert 0.22 <= np.mean(visible < 0.95) <= 0.45


def test_the_hole_of_a_donut_is_background() -> None:
    for seed in range(5):
        mask = scenes.draw_object(np.random.default_rng(seed), 60, size_px=100).mask
        assert not mask[mask.shape[0] // 2, mask.shape[1] // 2] and mask.any()


@pytest.mark.parametrize("category_id", scenes.CATEGORY_IDS)
@pytest.mark.parametrize("size_px", [16, 61, 250])
def test_an_object_is_drawn_as_large_as_asked(category_id: int, size_px: int) -> None:
    x0, y0, x1, y1 = train_scenes.box_of(
        scenes.draw_object(np.random.default_rng(1), category_id, size_px).mask
    )
    assert 0.85 * size_px - 2 <= max(x1 - x0, y1 - y0) <= size_px


def test_coco_instances_go_through_pycocotools_unchanged(forty: list[scenes.Scene]) -> None:
    some = forty[:4]
    coco = COCO()
    coco.dataset = json.loads(json.dumps(scenes.to_coco(some, [f"{i}.png" for i in range(4)])))
    coco.createIndex()
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}[13] == "stop sign"
    for image_id, scene in enumerate(some, start=1):
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        assert len(annotations) == len(scene.masks)
        for annotation, mask, category_id in zip(annotations, scene.masks, scene.category_ids, strict=True):
            x0, y0, x1, y1 = train_scenes.box_of(mask)
            np.testing.assert_array_equal(coco.annToMask(annotation), mask)
            assert annotation["category_id"] == category_id and annotation["iscrowd"] == 0
            assert annotation["area"] == mask.sum() and annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]


def test_the_command_writes_pictures_and_one_file_of_instances(tmp_path: Path) -> None:
    scenes.main(["--count", "2", "--seed", "3", "--held-out", "--out", str(tmp_path)])
    instances = json.loads((tmp_path / "instances.json").read_text(encoding="utf-8"))
    assert instances["info"]["seeds"] == [3, 4] and instances["info"]["held_out"]
    for image in instances["images"]:
        picture = cv2.imread(str(tmp_path / image["file_name"]))
        assert picture is not None and picture.shape[:2] == (image["height"], image["width"])


@pytest.mark.parametrize("picture", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_the_held_out_scene_of_its_seed(picture: Path) -> None:
    instances = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))
    (seed,) = instances["info"]["seeds"]
    assert instances["info"]["held_out"] and seed in scenes.EXAMPLE_SEEDS
    scene = scenes.draw_scene(seed, held_out=True)
    written = cv2.cvtColor(cv2.imread(str(picture), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(written.astype(int) - scene.image).mean() < 1  # another OpenCV may round differently
    assert instances["images"][0]["file_name"] == picture.name
    assert [a["category_id"] for a in instances["annotations"]] == scene.category_ids.tolist()
    assert picture.stat().st_size < 400_000


def test_there_are_six_examples() -> None:
    assert len(EXAMPLES) == len(scenes.EXAMPLE_SEEDS) == 6


def test_the_shipped_weights_are_small_and_the_ones_the_model_card_names() -> None:
    content = train_scenes.WEIGHTS.read_bytes()
    card = (train_scenes.WEIGHTS.parent / "README.md").read_text(encoding="utf-8")
    assert len(content) <= 8_000_000
    assert re.findall(r"\b[0-9a-f]{64}\b", card) == [hashlib.sha256(content).hexdigest()]


def test_the_shipped_weights_find_and_outline_what_is_drawn() -> None:
    figures = train_scenes.evaluate(train_scenes.load_network(), list(train_scenes.held_out_scenes(12)))
    assert figures["scenes"] == 12 and figures["objects"] > 36
    assert figures["box_ap50_32px"] >= 0.80 and figures["mask_ap50_32px"] >= 0.75


def test_average_precision_is_one_for_the_truth_and_ignores_what_is_too_small(
    forty: list[scenes.Scene],
) -> None:
    truth = scenes.to_coco(forty[:6], [f"{i}.png" for i in range(6)])
    perfect = [annotation | {"score": 0.9} for annotation in truth["annotations"]]
    large = [result for result in perfect if max(result["bbox"][2:]) >= 32]
    assert len(large) < len(perfect)
    for kind in ("box", "mask"):
        assert train_scenes.average_precision(truth, perfect, kind) == pytest.approx((1, 1))
        assert train_scenes.average_precision(truth, large, kind)[1] < 1
        assert train_scenes.average_precision(truth, large, kind, smallest_px=32) == pytest.approx((1, 1))
        assert train_scenes.average_precision(truth, [], kind) == (0, 0)


def test_a_mirrored_example_has_mirrored_boxes_and_masks(forty: list[scenes.Scene]) -> None:
    image, target = train_scenes.to_example(forty[0], flip=False)
    mirrored, mirrored_target = train_scenes.to_example(forty[0], flip=True)
    torch.testing.assert_close(mirrored, image.flip(-1))
    torch.testing.assert_close(mirrored_target["masks"], target["masks"].flip(-1))
    torch.testing.assert_close(
        mirrored_target["boxes"][:, [2, 0]], image.shape[-1] - target["boxes"][:, [0, 2]]
    )


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_training_goes_on_from_its_checkpoint_and_its_weights_load(
    tmp_path: Path, precision: torch.dtype
) -> None:
    checkpoint, weights = tmp_path / "run.pt", tmp_path / "scenes.safetensors"
    for iterations in (1, 2):
        options = train_scenes.Options(iterations, batch_size=2, workers=0, precision=precision)
        network = train_scenes.train(options, checkpoint)
        assert torch.load(checkpoint, weights_only=True)["iteration"] == iterations
    train_scenes.save_weights(network, weights)
    loaded = train_scenes.load_network(weights)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(dict(loaded.named_parameters())[name], parameter, rtol=1e-3, atol=1e-4)
    (output,) = loaded([torch.rand(3, 384, 384)])
    assert output.keys() == {"boxes", "labels", "scores", "masks"}

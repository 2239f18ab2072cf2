"""Tests which photos are learnt from, which photos are held out, and which photos are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from network.architectures import STARTER_LABELS
from tests.tiny_teacher import annotation, write_annotations, write_photos
from tools.evaluate import EvaluationError
from training.starter.photos import LABELLED_WEIGHT, PhotoError, Truth, find_photos


def found(known: dict[str, Path]) -> Any:
    return find_photos(known["images"], known["annotations"], known["unlabelled"], seed=0)


def test_every_twentieth_photo_of_each_kind_is_held_out_and_the_rest_learnt_from(tmp_path: Path) -> None:
    known = write_photos(tmp_path)
    photos = found(known)
    assert [path.name for path in photos.held_out] == ["0.png", "4.png"]
    names = sorted(path.name for path in photos.learnt)
    assert names == sorted(["1.png", "2.png", "3.png"] * LABELLED_WEIGHT + ["5.png"])
    assert [path.name for path, _ in photos.truth.photos] == ["1.png", "2.png", "3.png"]


def test_true_boxes_hold_the_masks_whether_mirrored_or_not(tmp_path: Path) -> None:
    truth = found(write_photos(tmp_path)).truth
    mirrored = set()
    for index in range(12):
        image, target = truth[index]
        assert image.shape == (3, 96, 128) and 0 <= image.min() < image.max() <= 1
        (box,), (mask,), (label,) = target["boxes"].tolist(), target["masks"].numpy(), target["labels"]
        assert STARTER_LABELS[int(label)] == 90
        x0, y0, x1, y1 = map(int, box)
        assert (x1 - x0, y1 - y0) == (60, 40)
        assert mask[y0:y1, x0:x1].all() and mask.sum() == 60 * 40
        bright = image.mean(dim=0).numpy() > 140 / 255
        assert bright[mask == 1].mean() > 0.99 and bright[mask == 0].mean() < 0.01
        mirrored.add(x0 not in (19, 28, 37))
    assert mirrored == {True, False}
    np.testing.assert_array_equal(truth[3][0].numpy(), truth[3][0].numpy())


def test_masks_are_read_from_run_lengths_as_from_outlines(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (30, 20)).save(photo)
    mask = np.zeros((20, 30), np.uint8, order="F")
    mask[4:9, 5:17] = 1
    packed = rle.encode(mask)
    runs = [4 + 5 * 20, *[5, 15] * 11, 5, 20 * 30 - 16 * 20 - 9]
    plain = annotation(0, (5, 4, 12, 5))
    for segmentation in (plain["segmentation"], packed, {"size": [20, 30], "counts": runs}):
        truth = Truth([(photo, [plain | {"segmentation": segmentation}])], seed=0)
        _, target = truth[0]
        found = target["masks"][0].numpy()
        expected = mask if target["boxes"][0, 0] == 5 else mask[:, ::-1]
        np.testing.assert_array_equal(found, expected)


def test_crowds_and_boxes_without_area_are_not_learnt_from(tmp_path: Path) -> None:
    known = write_photos(tmp_path)
    dataset = json.loads(known["annotations"].read_text())
    dataset["annotations"][1]["iscrowd"] = 1
    dataset["annotations"][2]["bbox"][2] = 0
    known["annotations"].write_text(json.dumps(dataset))
    assert [path.name for path, _ in found(known).truth.photos] == ["3.png"]


def test_what_cannot_be_trained_with_is_refused_before_it_is_needed(tmp_path: Path) -> None:
    known = write_photos(tmp_path)
    images = json.loads(known["annotations"].read_text())["images"]
    objects = [annotation(0, (1, 1, 9, 9))]
    strange, small, empty = tmp_path / "strange.json", tmp_path / "small.json", tmp_path / "empty.json"
    write_annotations(strange, images, [annotation(0, (1, 1, 9, 9), category_id=12)])
    write_annotations(small, [images[0] | {"width": 500}], objects)
    write_annotations(empty, images, objects)  # its only object is in the photo that is held out
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "half.jpg").write_bytes(b"\xff\xd8\xff")
    for changed, message in (
        ({"annotations": strange}, "strange.json has category 12, none of COCO's 80"),
        ({"annotations": small}, "0.png is 128 x 96 pixels, its annotations are for 500 x 96"),
        ({"annotations": empty}, "empty.json names no photo with an object"),
        ({"unlabelled": tmp_path / "none"}, "There is no folder .*none; expected one with photos"),
        ({"unlabelled": broken}, "half.jpg: "),
    ):
        with pytest.raises(PhotoError, match=message):
            found(known | changed)
    with pytest.raises(EvaluationError, match="are not in"):
        found(known | {"images": broken})

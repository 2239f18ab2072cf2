"""Photos to train with: some with true objects, as torchvision's models want them, and more without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as rle
from torch.utils.data import Dataset
from tqdm import tqdm

from network.architectures import STARTER_LABELS
from photo.images import ImageError, read_photo
from tools.evaluate import check_photos, read_annotations
from tools.segment_folder import photos_in
from training.common import Example

LABEL_BY_CATEGORY = {category_id: label for label, category_id in enumerate(STARTER_LABELS)}
HELD_OUT = 20
"""Nothing is learnt from every so many-th photo of either kind: those tell how a run goes."""
LABELLED_WEIGHT = 2
"""A labelled photo is drawn so much more often than another: of its kind are those to be measured on."""

Image = NDArray[np.uint8]
Annotation = dict[str, Any]


class PhotoError(ValueError):
    """Photos or annotations cannot be trained with; the message says why, and what would do."""


@dataclass(frozen=True, slots=True)
class Photos:
    """What a run learns from, and what it does not."""

    learnt: list[Path]
    """To cut views from; one path may be there several times."""
    held_out: list[Path]
    truth: Truth
    """The labelled ones among `learnt` that hold objects."""


def find_photos(folder: Path, annotations: Path, unlabelled: Path, seed: int) -> Photos:
    """All photos of a file of COCO instances, which are in `folder`, and all pictures in `unlabelled`.

    Each is read once, so that a damaged one is known before hours have passed.

    Raises:
        PhotoError: One cannot be read or has another size than its annotations say; or there are too few.
        tools.evaluate.EvaluationError: The annotations cannot be used, or a photo is missing.
    """
    dataset = read_annotations(annotations)
    check_photos(dataset, folder)
    if not unlabelled.is_dir():
        raise PhotoError(f"There is no folder {unlabelled}; expected one with photos.")
    by_image: dict[int, list[Annotation]] = {image["id"]: [] for image in dataset["images"]}
    for annotation in dataset["annotations"]:
        if annotation["category_id"] not in LABEL_BY_CATEGORY:
            raise PhotoError(
                f"{annotations.name} has category {annotation['category_id']}, none of COCO's 80."
            )
        if not annotation.get("iscrowd") and min(annotation["bbox"][2:]) > 0:
            by_image[annotation["image_id"]].append(annotation)
    labelled = [(folder / image["file_name"], by_image[image["id"]]) for image in dataset["images"]]
    others = [unlabelled / name for name in photos_in(unlabelled, unlabelled / "none", recursive=True)]
    sizes = {folder / image["file_name"]: (image["height"], image["width"]) for image in dataset["images"]}
    for path in tqdm([*sizes, *others], desc="looking at the photos", unit="photo"):
        try:
            size = read_photo(path).size
        except ImageError as error:
            raise PhotoError(f"{path.name}: {error}") from error
        if size != sizes.get(path, size):
            height, width = sizes[path]
            raise PhotoError(
                f"{path.name} is {size[1]} x {size[0]} pixels, its annotations are for {width} x {height}."
            )
    held_out = [path for path, _ in labelled[::HELD_OUT]] + others[::HELD_OUT]
    del labelled[::HELD_OUT], others[::HELD_OUT]
    learnt = [path for path, _ in labelled] * LABELLED_WEIGHT + others
    if not any(known for _, known in labelled):
        raise PhotoError(f"{annotations.name} names no photo with an object to learn from.")
    return Photos(learnt, held_out, Truth([pair for pair in labelled if pair[1]], seed))


class Truth(Dataset[Example]):
    """A labelled photo (3, H, W), float32 in 0 to 1, and its true boxes, labels and masks.

    Item number i of one seed is always the same photo, mirrored or not.
    """

    def __init__(self, photos: Sequence[tuple[Path, list[Annotation]]], seed: int) -> None:
        self.photos, self.seed = photos, seed

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng((self.seed, index))
        path, annotations = self.photos[int(rng.integers(len(self.photos)))]
        photo = read_photo(path).pixels
        masks = np.stack([_decode(annotation, photo.shape[:2]) for annotation in annotations])
        boxes = np.array([annotation["bbox"] for annotation in annotations], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        if rng.random() < 0.5:
            photo, masks = photo[:, ::-1], masks[:, :, ::-1]
            boxes[:, [0, 2]] = photo.shape[1] - boxes[:, [2, 0]]
        labels = [LABEL_BY_CATEGORY[annotation["category_id"]] for annotation in annotations]
        return torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1))).float() / 255, {
            "boxes": torch.from_numpy(boxes),
            "labels": torch.tensor(labels),
            "masks": torch.from_numpy(np.ascontiguousarray(masks)),
        }


def _decode(annotation: Annotation, size_hw: tuple[int, int]) -> Image:
    """The mask (H, W) of a COCO annotation: polygons, or run lengths, compressed or not."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        segmentation = rle.merge(rle.frPyObjects(segmentation, *size_hw))
    elif isinstance(segmentation["counts"], list):
        segmentation = rle.frPyObjects(segmentation, *size_hw)
    mask: Image = rle.decode(segmentation)
    return mask

"""Finds and checks the photos to train with, and reads the labelled ones for torchvision's losses.

There are labelled photos, which have COCO annotations, and unlabelled photos. `find_photos` divides both into
photos to learn from and held-out photos.
"""

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
from photo.errors import ImageError
from photo.images import read_photo
from tools.evaluate import check_photos, read_annotations
from tools.segment_folder import photos_in
from training.common import Example

LABEL_BY_CATEGORY = {category_id: label for label, category_id in enumerate(STARTER_LABELS)}
HELD_OUT = 20
"""Every 20th labelled photo and every 20th unlabelled photo is held out.

The student does not learn from these photos. They show how a run goes.
"""
LABELLED_WEIGHT = 2
"""A labelled photo is drawn this many times as often as an unlabelled photo.

The reason: the student is measured on photos of the same kind as the labelled photos.
"""

Image = NDArray[np.uint8]
Annotation = dict[str, Any]


class PhotoError(ValueError):
    """Photos or annotations cannot be used for training. The message says why, and what is expected."""


@dataclass(frozen=True, slots=True)
class Photos:
    """The photos of one run."""

    learnt: list[Path]
    """The photos to cut views from. A path may occur several times."""
    held_out: list[Path]
    """The photos that the run does not learn from."""
    truth: Truth
    """The labelled photos among `learnt` that show at least one object."""


def find_photos(folder: Path, annotations: Path, unlabelled: Path, seed: int) -> Photos:
    """Finds all labelled and unlabelled photos, and divides them into learnt and held-out photos.

    Reads every photo once. So a damaged photo stops the run at its start and not after hours.

    Args:
        folder: The folder of the labelled photos.
        annotations: A file of COCO instances.
        unlabelled: The folder of the unlabelled photos. Its subfolders are searched as well.
        seed: The seed of `Truth`.

    Raises:
        PhotoError: A photo cannot be read, its size differs from its annotations, or a category is none of
            COCO's 80. Or the folder of unlabelled photos is missing, or no labelled photo to learn from
            shows an object.
        tools.evaluate.EvaluationError: The annotations cannot be used, or a labelled photo is missing.
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
    """Labelled photos (3, H, W), float32, 0 to 1, with their true boxes, labels and masks.

    Each item is a random photo, and about half of the items are mirrored. Item number i of one seed is always
    the same.
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
    """Returns the mask (H, W) of a COCO annotation.

    The annotation holds polygons or run lengths. The run lengths may be compressed.
    """
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        segmentation = rle.merge(rle.frPyObjects(segmentation, *size_hw))
    elif isinstance(segmentation["counts"], list):
        segmentation = rle.frPyObjects(segmentation, *size_hw)
    mask: Image = rle.decode(segmentation)
    return mask

"""Makes detections, models and pictures by hand or from a seed, for tests that need no weights."""

from __future__ import annotations

import re
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

import coco
from answer.files import export_file
from answer.result import Result, View
from answer.settings import Filters
from detections import Detections
from inference import SegmentationModel
from visualize import Style

PERSON, CAR, CAT, DOG = 1, 3, 17, 18


def make_detections(
    boxes: Sequence[Sequence[float]],
    size: tuple[int, int] = (60, 80),
    *,
    class_ids: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
    ids: Sequence[int] | None = None,
    prob: float = 1.0,
    mask_side: int = 28,
) -> Detections:
    """Returns instances in these boxes, x1 y1 x2 y2 in pixels of an image of `size` (height, width).

    By default they are persons with scores from 0.9 down to 0.6, and their masks fill their boxes.
    """
    count = len(boxes)
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(count, 4),
        scores=np.array(np.linspace(0.9, 0.6, count) if scores is None else scores, np.float32),
        class_ids=np.array([PERSON] * count if class_ids is None else class_ids, np.int64),
        mask_probs=np.full((count, mask_side, mask_side), prob, np.float32),
        ids=np.arange(1, count + 1) if ids is None else np.array(ids, np.int64),
        image_size=size,
    )


def random_detections(
    seed: int, count: int, size: tuple[int, int], mask_side: int = 28, reach: float = 0.0
) -> Detections:
    """Returns instances with random boxes, classes, mask probabilities, and scores above 0.05.

    Boxes may reach out of the image by up to `reach` times its sides. By default they lie inside the image.
    """
    rng = np.random.default_rng(seed)
    sides_xy = np.array([size[1], size[0]])
    upper_left = rng.uniform(-reach, 1, (count, 2))
    lower_right = rng.uniform(upper_left.clip(0), 1 + reach)
    return Detections(
        boxes=np.hstack([upper_left * sides_xy, lower_right * sides_xy]).astype(np.float32),
        scores=np.sort(rng.uniform(0.06, 1, count))[::-1].astype(np.float32),
        class_ids=rng.choice([category.id for category in coco.CATEGORIES], count).astype(np.int64),
        mask_probs=rng.random((count, mask_side, mask_side)).astype(np.float32),
        ids=np.arange(1, count + 1),
        image_size=size,
    )


def random_image(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Returns (H, W, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class FakeNetwork:
    """Has torchvision's four stages, and finds the same instances in every picture.

    Args:
        boxes: (N, 4), x1 y1 x2 y2 as shares of the picture's width and height.
        labels: (N,), the category of each instance.
        scores: (N,), from 0 to 1.
    """

    def __init__(
        self, boxes: Sequence[Sequence[float]], labels: Sequence[int], scores: Sequence[float]
    ) -> None:
        self.boxes, self.labels, self.scores = boxes, labels, scores
        self.seen: list[tuple[int, int]] = []
        """The (height, width) of each picture that the network got."""

    def transform(self, images: list[Tensor]) -> tuple[ImageList, None]:
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        self.seen += sizes
        return ImageList(torch.stack(images), sizes), None

    def backbone(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict([("0", images)])

    def rpn(self, images: ImageList, features: object) -> tuple[list[Tensor], dict[str, Tensor]]:
        return [torch.zeros((0, 4))], {}

    def roi_heads(self, features: object, proposals: object, sizes: list[tuple[int, int]]) -> Any:
        height, width = sizes[0]
        count = len(self.labels)
        found = {
            "boxes": torch.tensor(self.boxes).reshape(count, 4) * torch.tensor([width, height] * 2),
            "labels": torch.tensor(self.labels, dtype=torch.int64),
            "scores": torch.tensor(self.scores, dtype=torch.float32),
            "masks": torch.ones((count, 1, 28, 28)),
        }
        return [found], {}


def fake_model(
    boxes: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
    scores: Sequence[float] = (),
    device: str = "cpu",
) -> SegmentationModel:
    """Returns a model with a `FakeNetwork`. Its labels are COCO category ids."""
    network: Any = FakeNetwork(boxes, labels, scores)
    return SegmentationModel(
        network, "fake", tuple(range(91)), torch.device(device), "float32", "made by hand", "0" * 64
    )


def make_result(detections: Detections, path: Path = Path("photo.png")) -> Result:
    """Returns a result of a `fake_model` with these detections and an empty working image.

    Args:
        path: The photo's file, which need not exist.
    """
    working_image = np.zeros((6, 8, 3), np.uint8)
    return Result(path, working_image, detections, fake_model(), {"read": 12.345, "model": 678.9})


def annotated_photo(result: Result, filters: Filters, style: Style) -> bytes:
    """Returns the bytes of the annotated picture that `export_file` writes."""
    with tempfile.TemporaryDirectory() as folder:
        return export_file(View(result, filters, style), "annotated", Path(folder)).read_bytes()


def old_name(name: str) -> str:
    """Returns the name that a tensor had when torchvision published its COCO_V1 weights."""
    for today, then in (
        (r"rpn\.head\.conv\.0\.0\.", "rpn.head.conv."),
        (r"(fpn\.(?:inner|layer)_blocks\.\d)\.0\.", r"\1."),
        (r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}."),
    ):
        name = re.sub(today, then, name)
    return name

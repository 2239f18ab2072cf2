"""Ideas: asks a network's heads about a box or a place that a person chose.

The heads look at the feature maps that `network.inside` keeps, so the backbone does not run again. The
arithmetic is that of torchvision's `RoIHeads`: the box head names what is in a box, and the mask head
outlines it (He et al., "Mask R-CNN", 2017, section 3). Heads of another kind get the box as a proposal.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import boxes as box_ops

from network.acceleration import OwnMaskHeads
from network.inside import Inside, array_of, has_known_heads
from network.precision import exact

MOST_NAMES = 5
"""The number of names that an idea has at most."""
MOST_PROPOSALS = 32
"""The number of proposals around a place that the box head looks at."""
MOST_TRIED = 8
"""The number of these whose masks are made, to see whether they cover the place."""


class NoIdeasError(ValueError):
    """The network cannot say what is in a box. The message says why, for people."""


NOTHING_IN_BOX = "The model sees no object in this box. Draw it a little larger, around the whole object."
NOTHING = "The model has no idea what is here. Draw a box around the object, and type its name."
NO_MAPS = "The model's feature maps take too much memory for this photo, so it cannot look at a box."


@dataclass(frozen=True, slots=True, eq=False)
class Idea:
    """What a network says of one box: its K best names, and a mask for each.

    Args:
        box: (4,) float32, x1 y1 x2 y2 in pixels of the picture before the network's transform.
        labels: (K,) int64, from 1, the best one first.
        scores: (K,) float32 from 0 to 1.
        mask_probs: (K, M, M) float32 from 0 to 1, inside the box.
    """

    box: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    mask_probs: NDArray[np.float32]

    @property
    def outlined(self) -> NDArray[np.bool_]:
        """(K,) bool: whether the network sees any pixel of an object of this name in the box."""
        seen: NDArray[np.bool_] = self.mask_probs.max((1, 2)) > 0.5
        return seen


def idea_of_box(
    network: GeneralizedRCNN,
    device: torch.device,
    steps: Inside,
    box_xyxy: NDArray[np.float32],
    label: int | None = None,
) -> Idea:
    """Returns what `network` says of a box. The box stays as it is: a person drew it.

    Args:
        network: The network that gave `steps`, in evaluation mode, on `device`.
        box_xyxy: (4,) x1 y1 x2 y2 in pixels of the picture before the network's transform.
        label: A label that is among the names in any case, the first one. None means the best names only.

    Raises:
        NoIdeasError: The feature maps are not kept, or heads of another kind find nothing.
    """
    if not has_known_heads(network.roi_heads):
        return _found(network, device, steps, np.asarray(box_xyxy, np.float32)[None] / _scale(steps), label)
    return _idea(network, _features(steps, device), steps, np.asarray(box_xyxy, np.float32), label)


def idea_at_place(network: GeneralizedRCNN, device: torch.device, steps: Inside, x: float, y: float) -> Idea:
    """Returns what `network` takes the object at a place for, however unsure it is.

    The box head looks at the proposals that contain the place. The best pair of a proposal and a name counts
    whose mask covers the place, and if there is none, the best pair.

    Args:
        x, y: The place in pixels of the picture before the network's transform.

    Raises:
        NoIdeasError: As `idea_of_box`, or no proposal contains the place.
    """
    (left, top, *_), seen = np.array([x, y, x, y], np.float32) / _scale(steps), steps.proposals
    around = (seen[:, 0] <= left) & (left <= seen[:, 2]) & (seen[:, 1] <= top) & (top <= seen[:, 3])
    proposals = torch.tensor(seen[around][:MOST_PROPOSALS], device=device)
    if not len(proposals):
        raise NoIdeasError(NOTHING)
    if not has_known_heads(network.roi_heads):
        return _found(network, device, steps, seen[around][:MOST_PROPOSALS], place=(float(left), float(top)))
    heads, own = _heads(network)
    features = _features(steps, device)
    scores, boxes = _names(own, features, proposals, steps.seen_hw)
    contains = (
        (boxes[..., 0] <= left) & (left < boxes[..., 2]) & (boxes[..., 1] <= top) & (top < boxes[..., 3])
    )
    likely = torch.where(contains, scores, torch.full_like(scores, -1.0))[:, 1:]
    order = likely.flatten().argsort(descending=True)[:MOST_TRIED]
    order = order[likely.flatten()[order] > 0]
    if not len(order):
        raise NoIdeasError(NOTHING)
    rows, labels = order // likely.shape[1], order % likely.shape[1] + 1
    tried = boxes[rows, labels]
    masks = _masks(heads, own, features, tried, steps.seen_hw, labels)
    chosen = next((i for i in range(len(order)) if _covers(masks[i], tried[i], float(left), float(top))), 0)
    return _idea(network, features, steps, array_of(tried[chosen]) * _scale(steps), int(labels[chosen]))


def _idea(
    network: GeneralizedRCNN,
    features: dict[str, Tensor],
    steps: Inside,
    box: NDArray[np.float32],
    label: int | None,
) -> Idea:
    """Returns what torchvision's heads say of a box, as `idea_of_box`."""
    heads, own = _heads(network)
    device = next(iter(features.values())).device
    boxes = torch.tensor(box[None] / _scale(steps), device=device)
    scores, _ = _names(own, features, boxes, steps.seen_hw)
    best = scores[0, 1:].argsort(descending=True)[:MOST_NAMES] + 1
    if label is not None:
        best = torch.cat([torch.tensor([label], device=device), best[best != label]])[:MOST_NAMES]
    masks = _masks(heads, own, features, boxes, steps.seen_hw, best)
    return Idea(box, array_of(best), array_of(scores[0, best]), array_of(masks))


def _covers(mask: Tensor, box: Tensor, x: float, y: float) -> bool:
    x1, y1, x2, y2 = box.tolist()
    if not (x1 <= x < x2 and y1 <= y < y2):
        return False
    side = mask.shape[-1]
    column, row = ((at - low) / max(high - low, 1e-6) * side for at, low, high in ((x, x1, x2), (y, y1, y2)))
    return bool(mask[min(int(row), side - 1), min(int(column), side - 1)] > 0.5)


def _found(
    network: GeneralizedRCNN,
    device: torch.device,
    steps: Inside,
    boxes: NDArray[np.float32],
    label: int | None = None,
    place: tuple[float, float] | None = None,
) -> Idea:
    """Returns the best instance that heads of another kind find in boxes, with the box that they give it.

    Args:
        boxes: (R, 4) in pixels of the picture that the network sees.
        label: A label that is taken before better ones.
        place: x and y of a place that the instance's mask covers, if any does.
    """
    regions = torch.tensor(boxes, device=device)
    found = network.roi_heads(_features(steps, device), [regions], [steps.seen_hw])[0][0]
    masks = found["masks"][:, 0].float()
    rows = found["scores"].argsort(descending=True).tolist()
    if place is not None:
        rows = [row for row in rows if _covers(masks[row], found["boxes"][row], *place)]
    if not rows:
        raise NoIdeasError(NOTHING_IN_BOX if place is None else NOTHING)
    row = next((row for row in rows if int(found["labels"][row]) == label), rows[0])
    box = array_of(found["boxes"][row]) * _scale(steps)
    labels, scores = array_of(found["labels"][row : row + 1]), array_of(found["scores"][row : row + 1])
    return Idea(box, labels, scores, array_of(masks[row : row + 1]))


def _heads(network: GeneralizedRCNN) -> tuple[Any, RoIHeads]:
    """Returns the heads of a network, and torchvision's own that may be inside of them."""
    heads: Any = network.roi_heads
    return heads, heads.heads if isinstance(heads, OwnMaskHeads) else heads


def _features(steps: Inside, device: torch.device) -> dict[str, Tensor]:
    """Returns the feature maps in float32, as the poolers read them."""
    maps = OrderedDict()
    for level in steps.levels:
        if level.features is None:
            raise NoIdeasError(NO_MAPS)
        maps[level.name] = torch.from_numpy(level.features)[None].to(device).float()
    return maps


def _names(
    own: RoIHeads, features: dict[str, Tensor], boxes: Tensor, seen_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Returns (R, L) scores of all labels, and (R, L, 4) boxes, moved by each label's deltas."""
    pooled = own.box_roi_pool(features, [boxes], [seen_hw]).to(_type_of(own.box_head))
    logits, codes = own.box_predictor(own.box_head(pooled))
    with exact(boxes.device):
        moved = own.box_coder.decode(codes, [boxes]).view(len(boxes), -1, 4)
        return logits.float().softmax(-1), box_ops.clip_boxes_to_image(moved, seen_hw)


def _masks(
    heads: Any,
    own: RoIHeads,
    features: dict[str, Tensor],
    boxes: Tensor,
    seen_hw: tuple[int, int],
    labels: Tensor,
) -> Tensor:
    """Returns (K, M, M) mask probabilities of K boxes, or of one box, for K labels."""
    pooled = own.mask_roi_pool(features, [boxes], [seen_hw]).to(_type_of(own.mask_head))
    inside = own.mask_head(pooled).expand(len(labels), -1, -1, -1)
    if isinstance(heads, OwnMaskHeads):
        return heads.masks(inside.contiguous(), labels)[:, 0]
    every: Tensor = own.mask_predictor(inside).float().sigmoid()
    return every[torch.arange(len(labels), device=labels.device), labels]


def _type_of(part: torch.nn.Module) -> torch.dtype:
    """Returns the type that a part calculates in: float32 for parts in 8 bits, which have no such weights."""
    return next((weight.dtype for weight in part.parameters() if weight.is_floating_point()), torch.float32)


def _scale(steps: Inside) -> NDArray[np.float32]:
    """Returns the factors that bring boxes from the picture that the network sees to the picture before."""
    return steps.on_picture(np.ones(4, np.float32))

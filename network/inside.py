"""Inside: runs a network step by step and keeps what each step gave, to show how the answer came about.

The steps are those of `GeneralizedRCNN.forward`, and the arithmetic is that of torchvision's
`RegionProposalNetwork.filter_proposals` and `RoIHeads.postprocess_detections`. The papers are He et al.,
"Mask R-CNN" (2017), Ren et al., "Faster R-CNN" (2015), and Lin et al., "Feature Pyramid Networks for Object
Detection" (2017).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.ops import boxes as box_ops

from network.acceleration import OwnMaskHeads
from network.eight_bit import decoded
from network.precision import exact

FEATURE_BYTES = 48_000_000
"""The most bytes for all feature maps of a photo. Torchvision's networks need 46 MB for a photo of 3:5."""
FLOAT16_MOST = 65504.0
"""The largest number that float16 can hold."""
NO_ANCHORS = "This network proposes regions in another way than by anchors, so anchors cannot be shown."
NO_NAMES = "This network names objects in another way, so scores of each kind cannot be shown."
NO_FINE_MAPS = "The finest feature maps of this network take too much memory, so they are left out."


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One level of the feature pyramid (Lin et al. 2017, section 3), h x w cells.

    Args:
        name: The network's own name of the level.
        features: (C, h, w) float16, the feature map. None if it would take too much memory.
        objectness: (h, w, A) float32 logits: how much each anchor looks like an object (Ren et al. 2015,
            section 3.1). None if the network has no anchors.
        anchors: (h, w, A, 4) float32, x1 y1 x2 y2 in pixels of the picture that the network sees. None if
            the network has no anchors.
    """

    name: str
    features: NDArray[np.float16] | None
    objectness: NDArray[np.float32] | None = None
    anchors: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The K best anchors of all levels, moved and resized by their deltas (Ren et al. 2015, section 3.1.2).

    Args:
        boxes: (K, 4) float32, x1 y1 x2 y2 in pixels of the picture that the network sees, clipped to it.
        scores: (K,) float32, objectness from 0 to 1.
        levels: (K,) int64, the index of each candidate's level.
        anchors: (K,) int64, the index of each candidate's anchor among the anchors of its level, flattened.
        kept: (R,) int64, the candidates that non-maximum suppression kept, as rows. These are the proposals.
        threshold: The intersection over union above which the better candidate removes the other one.
        most: The number of proposals at most.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    levels: NDArray[np.int64]
    anchors: NDArray[np.int64]
    kept: NDArray[np.int64]
    threshold: float
    most: int


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """What the box head says of each proposal (He et al. 2017, section 3).

    Args:
        scores: (R, L) float32 from 0 to 1, a softmax over the L labels. Label 0 is the background.
        deltas: (R, L, 4) float32: dx, dy, dw, dh for each label, as torchvision's `BoxCoder` decodes them.
        weights: The four numbers by which the deltas are divided.
        clip: The largest dw and dh after the division.
    """

    scores: NDArray[np.float32]
    deltas: NDArray[np.float32]
    weights: tuple[float, float, float, float]
    clip: float


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The P pairs of a proposal and a label whose score is high enough, the highest score first.

    Args:
        boxes: (P, 4) float32, the proposal's box after the label's deltas, in pixels of the picture that the
            network sees.
        scores: (P,) float32 from 0 to 1.
        labels: (P,) int64, from 1.
        proposals: (P,) int64, the row of each pair's proposal.
        kept: (N,) int64, the pairs that became instances, as rows.
        removed_by: (P,) int64, the row of the instance that removed each pair. -1 if none did.
        ious: (P,) float32, the intersection over union with the instance in `removed_by`; 0 if there is none.
        threshold: The intersection over union above which a pair removes later ones of its label.
        least_score: Pairs with this score or a lower one were left out before.
        most: The number of instances at most.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    proposals: NDArray[np.int64]
    kept: NDArray[np.int64]
    removed_by: NDArray[np.int64]
    ious: NDArray[np.float32]
    threshold: float
    least_score: float
    most: int


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """Every step from one picture to its N instances. At most 60 MB.

    All boxes are x1, y1, x2, y2 in pixels of the picture that the network sees, without its padding.

    Args:
        picture_hw: The height and width of the picture before the network's transform resized it.
        seen_hw: The height and width at which the network sees the picture.
        padded_hw: The same with the padding at the right and at the bottom.
        label_ids: The category id of each label. Label 0 is the background.
        label_names: The name of each label.
        levels: The feature pyramid, the finest level first.
        candidates: What the proposals were chosen from. None if the network has no anchors.
        proposals: (R, 4) float32, the regions that the box head looked at, the best one first.
        names: What the box head said. None if the network has another head.
        pairs: What the instances were chosen from. None if the network has another head.
        boxes: (N, 4) float32, the instances.
        scores: (N,) float32, from high to low.
        labels: (N,) int64, from 1.
        mask_probs: (N, M, M) float32 from 0 to 1, the mask head's output for the instance's own label (He et
            al. 2017, section 3).
        missing: Sentences that say what this network cannot show.
    """

    picture_hw: tuple[int, int]
    seen_hw: tuple[int, int]
    padded_hw: tuple[int, int]
    label_ids: tuple[int, ...]
    label_names: tuple[str, ...]
    levels: tuple[Level, ...]
    candidates: Candidates | None
    proposals: NDArray[np.float32]
    names: Names | None
    pairs: Pairs | None
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    mask_probs: NDArray[np.float32]
    missing: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return _bytes_of(self)

    def on_picture(self, boxes_xyxy: NDArray[Any]) -> NDArray[np.float32]:
        """Returns boxes, (..., 4), in pixels of the picture before the network's transform."""
        ratio_y, ratio_x = (
            np.float32(before) / np.float32(seen)
            for before, seen in zip(self.picture_hw, self.seen_hw, strict=True)
        )
        scale = np.array([ratio_x, ratio_y, ratio_x, ratio_y], np.float32)
        return np.asarray(boxes_xyxy * scale, np.float32)


def record(
    network: GeneralizedRCNN,
    images: ImageList,
    picture_hw: tuple[int, int],
    label_ids: tuple[int, ...],
    label_names: tuple[str, ...],
) -> Inside:
    """Runs the stages after the transform on one image, and keeps every step.

    Torchvision's stages give all steps, also if `network.acceleration` has changed them. Of other stages only
    the results are kept, and `Inside.missing` says so.

    Args:
        network: A network with torchvision's four stages, in evaluation mode.
        images: One image, as the network's transform gives it.
        picture_hw: The height and width of the image before the transform.
        label_ids, label_names: The category id and the name of each label.
    """
    (seen_hw,) = images.image_sizes
    features = network.backbone(images.tensors)
    if isinstance(features, Tensor):
        features = OrderedDict([("0", features)])
    features = decoded(features)
    missing: list[str] = []
    levels = _levels(features, missing)
    if type(network.rpn) is RegionProposalNetwork:
        levels, candidates, regions = _proposed(network.rpn, images, features, levels)
    else:
        candidates = None
        regions = network.rpn(images, features)[0][0]
        missing.append(NO_ANCHORS)
    names: Names | None = None
    pairs: Pairs | None = None
    if has_known_heads(network.roi_heads):
        names, pairs, found = _named(network.roi_heads, features, regions, seen_hw)
    else:
        found = network.roi_heads(features, [regions], images.image_sizes)[0][0]
        missing.append(NO_NAMES)
    return Inside(
        picture_hw,
        (int(seen_hw[0]), int(seen_hw[1])),
        (images.tensors.shape[2], images.tensors.shape[3]),
        label_ids,
        label_names,
        levels,
        candidates,
        array_of(regions),
        names,
        pairs,
        array_of(found["boxes"]),
        array_of(found["scores"]),
        array_of(found["labels"]),
        array_of(found["masks"][:, 0]),
        tuple(missing),
    )


def _levels(features: dict[str, Tensor], missing: list[str]) -> tuple[Level, ...]:
    """Keeps the feature maps in float16, but leaves out the finest ones if all take too much memory."""
    left = FEATURE_BYTES
    levels: list[Level] = []
    for name, values in sorted(features.items(), key=lambda item: item[1].numel()):
        left -= 2 * values[0].numel()
        kept = values[0].float().clamp(-FLOAT16_MOST, FLOAT16_MOST).half().contiguous() if left >= 0 else None
        levels.append(Level(name, None if kept is None else kept.cpu().numpy()))
    if left < 0:
        missing.append(NO_FINE_MAPS)
    by_name = {level.name: level for level in levels}
    return tuple(by_name[name] for name in features)


def _proposed(
    rpn: RegionProposalNetwork, images: ImageList, features: dict[str, Tensor], levels: tuple[Level, ...]
) -> tuple[tuple[Level, ...], Candidates, Tensor]:
    """Does the same as `RegionProposalNetwork.forward`. Gives the levels with their anchors, too."""
    maps = list(features.values())
    objectness, deltas = rpn.head(maps)
    anchors = rpn.anchor_generator(images, maps)
    shapes = [(level.shape[2], level.shape[3], level.shape[1]) for level in objectness]
    counts = [height * width * each for height, width, each in shapes]
    logits, deltas = concat_box_prediction_layers(objectness, deltas)
    logits = logits.view(1, -1)
    moved = rpn.box_coder.decode(deltas, anchors).view(-1, 4)
    chosen = rpn._get_top_n_idx(logits, counts)[0]
    level_of = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(logits.device)
    boxes = box_ops.clip_boxes_to_image(moved[chosen], images.image_sizes[0])
    scores = logits[0, chosen].sigmoid()
    fit = box_ops.remove_small_boxes(boxes, rpn.min_size)
    fit = fit[scores[fit] >= rpn.score_thresh]
    boxes, scores, chosen = boxes[fit], scores[fit], chosen[fit]
    level = level_of[chosen]
    kept = box_ops.batched_nms(boxes, scores, level, rpn.nms_thresh)[: rpn.post_nms_top_n()]
    starts = torch.tensor([0, *counts[:-1]]).cumsum(0).to(chosen.device)
    candidates = Candidates(
        array_of(boxes),
        array_of(scores),
        array_of(level),
        array_of(chosen - starts[level]),
        array_of(kept),
        float(rpn.nms_thresh),
        int(rpn.post_nms_top_n()),
    )
    by_level = zip(
        levels,
        shapes,
        torch.split(logits[0], counts),
        torch.split(anchors[0], counts),
        strict=True,
    )
    known = tuple(
        Level(level.name, level.features, array_of(own.view(shape)), array_of(here.view(*shape, 4)))
        for level, shape, own, here in by_level
    )
    return known, candidates, boxes[kept]


def has_known_heads(heads: Any) -> bool:
    """Whether the heads are torchvision's, with masks and without keypoints."""
    own: Any = heads.heads if type(heads) is OwnMaskHeads else heads
    return type(own) is RoIHeads and bool(own.has_mask()) and not own.has_keypoint()


def _named(
    heads: RoIHeads | OwnMaskHeads, features: dict[str, Tensor], regions: Tensor, seen_hw: tuple[int, int]
) -> tuple[Names, Pairs, dict[str, Tensor]]:
    """Does the same as `OwnMaskHeads.forward`, or as `RoIHeads.forward` if `heads` are torchvision's."""
    own: RoIHeads = heads.heads if isinstance(heads, OwnMaskHeads) else heads
    precision = next(iter(features.values())).dtype
    features = {name: values.float() for name, values in features.items()}
    pooled = own.box_roi_pool(features, [regions], [seen_hw]).to(precision)
    logits, codes = own.box_predictor(own.box_head(pooled))
    wx, wy, ww, wh = map(float, own.box_coder.weights)
    with exact(regions.device):
        scores = logits.softmax(-1)
        names = Names(
            array_of(scores),
            array_of(codes.view(len(regions), -1, 4)),
            (wx, wy, ww, wh),
            float(own.box_coder.bbox_xform_clip),
        )
        pairs, found = _paired(own, scores, codes, regions, seen_hw)
    inside = own.mask_head(own.mask_roi_pool(features, [found["boxes"]], [seen_hw]).to(precision))
    if isinstance(heads, OwnMaskHeads):
        masks = heads.masks(inside, found["labels"])
    else:
        of_all = own.mask_predictor(inside).sigmoid()
        masks = of_all[torch.arange(len(of_all), device=of_all.device), found["labels"]][:, None]
    return names, pairs, found | {"masks": masks}


def _paired(
    heads: RoIHeads, scores: Tensor, codes: Tensor, regions: Tensor, seen_hw: tuple[int, int]
) -> tuple[Pairs, dict[str, Tensor]]:
    """Does the same as `RoIHeads.postprocess_detections`, and notes which instance removed what."""
    boxes = box_ops.clip_boxes_to_image(heads.box_coder.decode(codes, [regions]), seen_hw)
    proposal, label = torch.where(scores[:, 1:] > heads.score_thresh)
    label = label + 1
    boxes, score = boxes[proposal, label], scores[proposal, label]
    fit = box_ops.remove_small_boxes(boxes, min_size=1e-2)
    # Torchvision's suppression sorts stably, so sorting before changes nothing.
    fit = fit[score[fit].argsort(descending=True, stable=True)]
    boxes, score, proposal, label = boxes[fit], score[fit], proposal[fit], label[fit]
    kept = box_ops.batched_nms(boxes, score, label, heads.nms_thresh)[: heads.detections_per_img]
    found = {"boxes": boxes[kept], "scores": score[kept], "labels": label[kept]}
    removed_by = torch.full_like(label, -1)
    ious = torch.zeros_like(score)
    if len(kept):
        overlap = box_ops.box_iou(boxes, boxes[kept])
        rows = torch.arange(len(boxes), device=boxes.device)
        may = (label[:, None] == label[kept]) & (rows[:, None] > kept) & (overlap > heads.nms_thresh)
        may[kept] = False
        first = may.long().argmax(1)
        removed = may.any(1)
        removed_by[removed] = first[removed]
        ious[removed] = overlap[rows, first][removed]
    pairs = Pairs(
        array_of(boxes),
        array_of(score),
        array_of(label),
        array_of(proposal),
        array_of(kept),
        array_of(removed_by),
        array_of(ious),
        float(heads.nms_thresh),
        float(heads.score_thresh),
        int(heads.detections_per_img),
    )
    return pairs, found


def array_of(values: Tensor) -> NDArray[Any]:
    """Returns a tensor as an array on the CPU. All floating-point types become float32."""
    values = values.float() if values.is_floating_point() else values
    array: NDArray[Any] = values.contiguous().cpu().numpy()
    return array


def _bytes_of(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, tuple):
        return sum(map(_bytes_of, value))
    if is_dataclass(value) and not isinstance(value, type):
        return sum(_bytes_of(getattr(value, field.name)) for field in fields(value))
    return 0

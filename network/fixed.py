"""Fixed: runs a network with tensors of fixed sizes only, so that the processor never waits for the host.

Torchvision selects proposals and detections with boolean indices. The sizes of the results depend on the
values, so a graphics processor stops, and the host waits, at every such step. Here each step keeps a fixed
number of places, and masks say which places hold something. So the whole network can be one CUDA graph
(`network.graphs`). The results are those of `RegionProposalNetwork.filter_proposals` and
`RoIHeads.postprocess_detections`. Where fixed sizes or a fixed number of rounds are not enough, the result
says that it is not certain, and the caller must run the network stage by stage.

In shapes, N is the number of images, L the number of levels, R regions of an image, D detections of an image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, permute_and_flatten
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from network import kernels
from network.acceleration import JoinedRPNHead, OwnMaskHeads
from network.precision import exact
from network.roi_align import Pyramid, RowRoIAlign, fixed_roi_align, pyramid_of, table_of

REGION_ROUNDS, BOX_ROUNDS = 24, 12
"""Rounds of `suppress`. Photos took at most 15 and 6. More are needed only where a chain of boxes is longer,
each of which would remove the next one."""
CANDIDATES = 1000
"""Boxes of an image that `detections` compares with each other: those with the highest scores."""
SHORTEST_SIDE = 128
"""Padded images below this height go another way, in pixels.

`MultiScaleRoIAlign` guesses the strides from the height of the image without its padding. Where the padding
is a large part of the height, the guess is wrong, and results would differ.
"""
SCORE, LABEL, MASK = 4, 5, 6
"""Where a row of `find` holds the score, the label, and the first cell of the mask. The box comes first."""


class Proposals(NamedTuple):
    """Regions that may hold instances, the most certain ones first."""

    boxes: Tensor
    """(N, R, 4) float32: x1, y1, x2, y2 in pixels of the padded image. Places without a region hold 0."""
    valid: Tensor
    """(N, R) bool: whether the place holds a region."""
    certain: Tensor
    """(N,) bool: whether the regions of this image are torchvision's."""


class Boxes(NamedTuple):
    """Detected instances without masks, the highest score first."""

    boxes: Tensor
    """(N, D, 4) float32, as in `Proposals`."""
    scores: Tensor
    """(N, D) float32, 0 in places without an instance."""
    labels: Tensor
    """(N, D) int64, 0 in places without an instance."""
    counts: Tensor
    """(N,) int64: the number of instances."""
    certain: Tensor
    """(N,) bool: whether the instances of this image are torchvision's."""


def supports(network: GeneralizedRCNN) -> bool:
    """Whether `find` can run `network`: torchvision's stages, as `acceleration.accelerate` leaves them."""
    rpn, heads = network.rpn, network.roi_heads
    if type(network.transform) is not GeneralizedRCNNTransform or type(rpn) is not RegionProposalNetwork:
        return False
    if type(rpn.head) is not JoinedRPNHead or type(heads) is not OwnMaskHeads:
        return False
    poolers = heads.heads.box_roi_pool, heads.heads.mask_roi_pool
    return heads.heads.detections_per_img > 0 and all(
        isinstance(pooler, RowRoIAlign) or RowRoIAlign.replaces(pooler) for pooler in poolers
    )


def padded_size(transform: GeneralizedRCNNTransform, size_hw: tuple[int, int]) -> tuple[int, int]:
    """Returns the height and width that `transform` gives an image of `size_hw`, with the padding."""
    scale = min(transform.min_size[-1] / min(size_hw), transform.max_size / max(size_hw))
    divisor = transform.size_divisible
    height, width = (math.ceil(math.floor(side * scale) / divisor) * divisor for side in size_hw)
    return height, width


class Layout(NamedTuple):
    """What does not depend on the pixels of images, but only on their padded size."""

    anchors: Tensor
    """(anchors of all levels, 4) float32."""
    boxes: Pyramid
    """The maps that the pooler of the boxes reads."""
    masks: Pyramid


def layout(network: GeneralizedRCNN, images: Tensor) -> Layout:
    """Returns the layout for padded images of this size. It runs the backbone once."""
    rpn, heads = network.rpn, network.roi_heads.heads
    features = _features(network, images)
    # The generator reads only size, type and device of features, and gives anchors of their type.
    shapes = ImageList(images[:1], [(images.shape[2], images.shape[3])])
    (anchors,) = rpn.anchor_generator(shapes, [level[:, :0].float() for level in features.values()])
    poolers = _torchvisions(heads.box_roi_pool), _torchvisions(heads.mask_roi_pool)
    boxes, masks = (pyramid_of(pooler, features, images.shape[2]) for pooler in poolers)
    return Layout(anchors, boxes, masks)


def find(network: GeneralizedRCNN, images: Tensor, limits: Tensor, known: Layout | None = None) -> Tensor:
    """Finds the instances in padded images. With a layout, the host never waits.

    Args:
        network: A network that `supports` accepts.
        images: (N, 3, H, W) float32, as the network's transform gives them.
        limits: (N, 4) float32: width, height, width, height of each image without its padding, in pixels.
        known: The layout for images of this size, if it is known.

    Returns:
        (N, 1 + D, 6 + M * M) float32. Row 0 begins with the number of instances, and 1 if they are certain.
        Each other row is an instance: box in pixels of the padded image, score, label, mask of M x M
        probabilities. `unpack` takes it apart.
    """
    known = known or layout(network, images)
    features = _features(network, images)
    rpn, heads = network.rpn, network.roi_heads.heads
    precision = next(iter(features.values())).dtype
    objectness, deltas = rpn.head(list(features.values()))
    box_pooler, mask_pooler = _torchvisions(heads.box_roi_pool), _torchvisions(heads.mask_roi_pool)
    same = box_pooler.featmap_names == mask_pooler.featmap_names
    table = table_of(box_pooler, features)
    mask_table = table if same else table_of(mask_pooler, features)
    del features
    with exact(images.device):
        regions = proposals(rpn, objectness, deltas, known.anchors, limits)
        pooled = fixed_roi_align(box_pooler, table, known.boxes, regions.boxes, precision)
    del objectness, deltas, table
    class_logits, box_codes = heads.box_predictor(heads.box_head(pooled))
    with exact(images.device):
        found = detections(heads, class_logits, box_codes, regions, limits)
        pooled = fixed_roi_align(mask_pooler, mask_table, known.masks, found.boxes, precision)
    del mask_table
    masks = network.roi_heads.masks(heads.mask_head(pooled), found.labels.flatten())
    certain = regions.certain & found.certain
    count, places = found.scores.shape
    rows = torch.cat(
        [
            found.boxes,
            found.scores.unsqueeze(2),
            found.labels.unsqueeze(2).float(),
            masks.view(count, places, -1),
        ],
        2,
    )
    facts = torch.stack([found.counts.float(), certain.float()], 1)
    first = nn.functional.pad(facts, (0, rows.shape[2] - 2)).unsqueeze(1)
    return torch.cat([first, rows], 1)


def unpack(found: Tensor) -> dict[str, Tensor] | None:
    """Takes apart what `find` gives for one image: (1 + D, 6 + M * M) on the CPU.

    Returns:
        The same as torchvision's heads: boxes, scores, labels and masks (n, 1, M, M). None if not certain.
    """
    count, certain = int(found[0, 0]), bool(found[0, 1])
    if not certain:
        return None
    rows, side = found[1 : 1 + count], math.isqrt(found.shape[1] - MASK)
    return {
        "boxes": rows[:, :SCORE],
        "scores": rows[:, SCORE],
        "labels": rows[:, LABEL].long(),
        "masks": rows[:, MASK:].reshape(count, 1, side, side),
    }


def proposals(
    rpn: RegionProposalNetwork,
    objectness: list[Tensor],
    deltas: list[Tensor],
    anchors: Tensor,
    limits: Tensor,
) -> Proposals:
    """Does the same as `RegionProposalNetwork.filter_proposals`, with fixed sizes.

    Args:
        objectness: (N, A, H, W) logits for each level.
        deltas: (N, 4A, H, W) for each level.
        anchors: (anchors of all levels, 4).
        limits: As for `find`.
    """
    images = len(limits)
    sizes = [logits[0].numel() for logits in objectness]
    places = min(max(sizes), rpn.pre_nms_top_n())
    logits, codes, priors = [], [], []
    for own_logits, own_codes, here in zip(objectness, deltas, torch.split(anchors, sizes), strict=True):
        anchors_per_cell, (height, width) = own_logits.shape[1], own_logits.shape[2:]
        own_logits = permute_and_flatten(own_logits, images, anchors_per_cell, 1, height, width).flatten(1)
        own_codes = permute_and_flatten(own_codes, images, anchors_per_cell, 4, height, width)
        top, chosen = own_logits.topk(min(places, own_logits.shape[1]), dim=1)
        own_codes, here = _rows(own_codes, chosen), here[chosen]
        missing = places - top.shape[1]
        if missing:  # these boxes have no area, and so they are not valid
            top = nn.functional.pad(top, (0, missing), value=-math.inf)
            own_codes, here = (nn.functional.pad(rows, (0, 0, 0, missing)) for rows in (own_codes, here))
        logits.append(top)
        codes.append(own_codes)
        priors.append(here)
    levels = len(logits)
    # Stable sorts, because torchvision's are: of equal scores, the first one counts.
    score, order = torch.cat(logits).sigmoid().sort(dim=1, descending=True, stable=True)
    decoded = _decode(torch.cat(codes), torch.cat(priors), rpn.box_coder)
    box = _clip(_rows(decoded, order), limits.repeat(levels, 1))
    valid = _large(box, rpn.min_size) & (score >= rpn.score_thresh)
    kept, settled = keep(box, valid, rpn.nms_thresh, REGION_ROUNDS)

    def by_image(values: Tensor) -> Tensor:
        return values.view(levels, images, *values.shape[1:]).transpose(0, 1).flatten(1, 2)

    key = by_image(torch.where(kept, score, -1.0))
    key, order = key.sort(dim=1, descending=True, stable=True)
    wanted = min(rpn.post_nms_top_n(), order.shape[1])
    valid = key[:, :wanted] >= 0
    best = _rows(by_image(box), order[:, :wanted])
    return Proposals(torch.where(valid.unsqueeze(2), best, 0.0), valid, by_image(settled).all(1))


def detections(
    heads: RoIHeads, class_logits: Tensor, box_regression: Tensor, regions: Proposals, limits: Tensor
) -> Boxes:
    """Does the same as `RoIHeads.postprocess_detections`, with fixed sizes.

    Args:
        class_logits: (N * R, labels).
        box_regression: (N * R, 4 * labels).
        limits: As for `find`.
    """
    images, places = regions.valid.shape
    labels = class_logits.shape[1]
    scores = class_logits.softmax(1).view(images, places, labels)[:, :, 1:]  # label 0 is the background
    above = (scores > heads.score_thresh) & regions.valid.unsqueeze(2)
    score, order = torch.where(above, scores, -1.0).flatten(1).sort(dim=1, descending=True, stable=True)
    score, order = score[:, :CANDIDATES], order[:, :CANDIDATES]
    region = order // (labels - 1)
    label = order % (labels - 1) + 1
    codes = _rows(box_regression.view(images, places * labels, 4), region * labels + label)
    box = _clip(_decode(codes, _rows(regions.boxes, region), heads.box_coder), limits)
    valid = _large(box, 1e-2) & (score >= 0)
    kept, settled = keep(box, valid, heads.nms_thresh, BOX_ROUNDS, label)

    wanted = min(heads.detections_per_img, kept.shape[1])
    # A box is final if it and all boxes before it are settled. If enough boxes are final, the rest is of no
    # interest, and neither are the boxes that had no place.
    final = settled.long().cumprod(1).bool()
    everything = final[:, -1] & (above.flatten(1).sum(1) <= kept.shape[1])
    certain = ((kept & final).sum(1) >= heads.detections_per_img) | everything
    rank = torch.where(kept, score, -1.0).sort(dim=1, descending=True, stable=True)[1][:, :wanted]
    valid = kept.gather(1, rank)
    return Boxes(
        torch.where(valid.unsqueeze(2), _rows(box, rank), 0.0),
        torch.where(valid, score.gather(1, rank), 0.0),
        torch.where(valid, label.gather(1, rank), 0),
        valid.sum(1),
        certain,
    )


def keep(
    boxes: Tensor, valid: Tensor, threshold: float, rounds: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Non-maximum suppression without a wait.

    Args:
        boxes: (N, K, 4), in falling order of their scores.
        valid: (N, K) bool. Other boxes are neither kept nor remove any.
        rounds: As for `suppress`.
        labels: (N, K) int64. If given, a box removes only boxes of its own label.

    Returns:
        What `suppress` gives.
    """
    if valid.shape[1] <= kernels.MOST_BOXES and kernels.work(boxes.device):
        return kernels.suppress(boxes, valid, threshold, labels), torch.ones_like(valid)
    removes = overlaps(boxes, threshold)
    if labels is not None:
        removes &= labels.unsqueeze(2) == labels.unsqueeze(1)
    return suppress(removes, valid, rounds)


def overlaps(boxes: Tensor, threshold: float) -> Tensor:
    """Returns which boxes would remove which later ones.

    Args:
        boxes: (N, K, 4) x1, y1, x2, y2, in falling order of their scores.

    Returns:
        (N, K, K) bool. [n, i, j] is true if i comes before j and their IoU is above `threshold`. The
        arithmetic is that of torchvision's kernels.
    """
    x1, y1, x2, y2 = boxes.unbind(2)
    area = (x2 - x1) * (y2 - y1)
    width = torch.minimum(x2[:, :, None], x2[:, None]).sub_(torch.maximum(x1[:, :, None], x1[:, None]))
    height = torch.minimum(y2[:, :, None], y2[:, None]).sub_(torch.maximum(y1[:, :, None], y1[:, None]))
    shared = width.clamp_(min=0).mul_(height.clamp_(min=0))
    union = (area[:, :, None] + area[:, None]).sub_(shared)
    return (shared.div_(union) > threshold).triu_(1)


def suppress(removes: Tensor, valid: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Non-maximum suppression without a wait: keeps the boxes that no kept box before them removes.

    Each round applies this rule to all boxes at once. A box has its final value as soon as all boxes that
    might remove it have theirs, so after n rounds the first n boxes of every chain are final. If a round
    changes nothing, the result is that of the greedy algorithm, because only one result fulfils the rule.

    Args:
        removes: (N, K, K) bool, as `overlaps` gives it.
        valid: (N, K) bool. Other boxes are neither kept nor remove any.

    Returns:
        kept: (N, K) bool.
        settled: (N, K) bool: whether the last round left the value as it was. The values up to the first one
            that is not settled are those of the greedy algorithm.
    """
    # Counting is a product with 0 and 1, where only more or less than 0 matters: half precision is enough.
    counting = torch.float16 if removes.device.type == "cuda" else torch.float32
    matrix = removes.to(counting)
    kept = before = valid
    for _ in range(rounds):
        before = kept
        removers = torch.bmm(kept.to(counting).unsqueeze(1), matrix).squeeze(1)
        kept = valid & (removers == 0)
    return kept, kept == before


def _features(network: GeneralizedRCNN, images: Tensor) -> dict[str, Tensor]:
    features = network.backbone(images)
    return {"0": features} if isinstance(features, Tensor) else features


def _torchvisions(pooler: MultiScaleRoIAlign | RowRoIAlign) -> MultiScaleRoIAlign:
    return pooler.pooler if isinstance(pooler, RowRoIAlign) else pooler


def _decode(codes: Tensor, boxes: Tensor, coder: object) -> Tensor:
    """Does the same as `BoxCoder.decode_single` for one box per row, (..., 4) each.

    `decode_single` makes a tensor on the host, and the processor would wait for it.
    """
    weights, clip = coder.weights, coder.bbox_xform_clip  # type: ignore[attr-defined]
    x1, y1, x2, y2 = boxes.unbind(-1)
    dx, dy, dw, dh = (code / weight for code, weight in zip(codes.unbind(-1), weights, strict=True))
    width, height = x2 - x1, y2 - y1
    centre_x, centre_y = dx * width + (x1 + 0.5 * width), dy * height + (y1 + 0.5 * height)
    half_width = 0.5 * (dw.clamp(max=clip).exp() * width)
    half_height = 0.5 * (dh.clamp(max=clip).exp() * height)
    return torch.stack(
        [centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height], -1
    )


def _clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Clips (N, K, 4) boxes to their images, whose `limits` are (N, 4)."""
    return torch.minimum(boxes.clamp(min=0), limits.unsqueeze(1))


def _large(boxes: Tensor, least: float) -> Tensor:
    return ((boxes[..., 2:] - boxes[..., :2]) >= least).all(-1)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Picks rows of (N, K, C) by an index of (N, k), for each n."""
    return values.gather(1, index.unsqueeze(2).expand(-1, -1, values.shape[2]))

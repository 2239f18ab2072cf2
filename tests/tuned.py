"""Fine-tunes a small network on three kinds of object, as torchvision's tutorial does with a large one.

The tutorial is "TorchVision Object Detection Finetuning Tutorial" on https://docs.pytorch.org/tutorials. Here
the network is `scenes`, and drawn scenes take the place of photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor

import coco
from network.architectures import ARCHITECTURES
from network.weights import find_weights
from training.scenes.draw import Scene, draw_scene
from training.scenes.train import Example, box_of, to_tensor

KINDS = {"stop sign": "Stop, rot", "kite": "<b>Drachen</b>", "clock": "時計"}
"""The three kinds by their COCO names, and what our own model calls them."""
LABELS = {coco.BY_NAME[name].id: label for label, name in enumerate(KINDS, start=1)}
"""Our own labels, by COCO category id."""


def own_network(classes: int) -> MaskRCNN:
    """Returns the trained `scenes` network with new predictors, for kinds that it does not know yet."""
    torch.manual_seed(0)
    network = ARCHITECTURES["scenes"].build()
    network.load_state_dict(find_weights(ARCHITECTURES["scenes"]).state_dict, strict=False)
    assert isinstance(network, MaskRCNN)
    heads = network.roi_heads
    heads.box_predictor = FastRCNNPredictor(heads.box_predictor.cls_score.in_features, classes)
    masks = heads.mask_predictor.conv5_mask
    heads.mask_predictor = MaskRCNNPredictor(masks.in_channels, masks.out_channels, classes)
    return network


def fine_tuned(seeds: Sequence[int] = range(14), rounds: int = 2) -> MaskRCNN:
    """Trains the predictors on a few scenes, for some seconds."""
    network = own_network(len(KINDS) + 1)
    network.requires_grad_(False)
    heads = (network.roi_heads.box_predictor, network.roi_heads.mask_predictor)
    parameters = [parameter.requires_grad_(True) for head in heads for parameter in head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3)
    examples = [example for seed in seeds if (example := _example(draw_scene(seed, held_out=False)))]
    network.train()
    for _ in range(rounds):
        for image, target in examples:
            losses = network([image], [target])
            loss = sum(losses[name] for name in ("loss_classifier", "loss_box_reg", "loss_mask"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


def _example(scene: Scene) -> Example | None:
    """Returns a scene as torchvision's models take it, with the three kinds only. None if it shows none."""
    rows = [row for row, id in enumerate(scene.category_ids.tolist()) if id in LABELS]
    if not rows:
        return None
    masks = scene.masks[rows]
    target = {
        "boxes": torch.from_numpy(np.array([box_of(mask) for mask in masks], np.float32)),
        "labels": torch.tensor([LABELS[int(scene.category_ids[row])] for row in rows]),
        "masks": torch.from_numpy(masks.astype(np.uint8)),
    }
    return to_tensor(scene.image), target

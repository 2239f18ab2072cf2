from __future__ import annotations

import pytest
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights, MaskRCNN_ResNet50_FPN_Weights
from torchvision.ops import FrozenBatchNorm2d

import coco
from network.architectures import ARCHITECTURES, COCO_LABELS, SCENES_LABELS, resnet50_fpn, scenes


def test_v1_has_frozen_norms_with_epsilon_zero() -> None:
    norms = [module for module in resnet50_fpn().modules() if isinstance(module, FrozenBatchNorm2d)]
    assert len(norms) == 53
    assert {norm.eps for norm in norms} == {0.0}


@pytest.mark.parametrize("labels", [COCO_LABELS, SCENES_LABELS])
def test_each_label_is_a_coco_category_or_a_gap(labels: tuple[int, ...]) -> None:
    assert labels[0] == 0
    meta = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    for id in labels[1:]:
        assert (id in coco.BY_ID) == (meta[id] != "N/A")


def test_the_scenes_network_gives_as_many_labels_as_are_named() -> None:
    assert scenes().roi_heads.box_predictor.cls_score.out_features == len(SCENES_LABELS)
    assert all(id in coco.BY_ID for id in SCENES_LABELS[1:])


def test_the_published_weights_are_torchvisions() -> None:
    published = {name: architecture.published for name, architecture in ARCHITECTURES.items()}
    assert published == {
        "resnet50_fpn": MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
        "resnet50_fpn_v2": MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
        "starter": None,
        "scenes": None,
    }

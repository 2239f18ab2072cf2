"""Weights for other kinds of object than ours: how many classes they have, and what these are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from safetensors.torch import save_file
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

from inference import built, load, load_best
from network import weights
from network.architectures import ARCHITECTURES
from network.weights import WeightsError, configured_name, find_weights, layout_of, layout_of_file
from tests.fake_hub import FakeHub, answer

SCENES, V1 = ARCHITECTURES["scenes"], ARCHITECTURES["resnet50_fpn"]
NAMES = ["leaf", "rust", "mildew"]


@pytest.fixture(scope="module")
def state_dict() -> dict[str, torch.Tensor]:
    """The weights of a small network with three kinds."""
    torch.manual_seed(0)
    return SCENES.build(4).state_dict()


@pytest.fixture
def file(state_dict: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    torch.save(state_dict, tmp_path / "my.pth")
    return tmp_path / "my.pth"


def safetensors(state_dict: dict[str, torch.Tensor], path: Path, labels: str) -> Path:
    save_file(state_dict, path, {"format": "pt", "labels": labels})
    return path


@pytest.mark.parametrize("classes", [2, 4, 91, 201])
@pytest.mark.parametrize("name", ["resnet50_fpn", "resnet50_fpn_v2", "scenes", "starter"])
def test_a_layout_is_recognised_with_any_number_of_classes(name: str, classes: int) -> None:
    with torch.device("meta"):
        network = ARCHITECTURES[name].build(classes)
    assert layout_of(network.state_dict()) == name
    assert weights.Weights(network.state_dict(), "", "").classes == classes


def test_what_torchvisions_tutorial_makes_is_recognised() -> None:
    with torch.device("meta"):
        network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
        inputs = network.roi_heads.box_predictor.cls_score.in_features
        network.roi_heads.box_predictor = FastRCNNPredictor(inputs, 2)
        inputs = network.roi_heads.mask_predictor.conv5_mask.in_channels
        network.roi_heads.mask_predictor = MaskRCNNPredictor(inputs, 256, 2)
    assert layout_of(network.state_dict()) == "resnet50_fpn"


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (1, "tells 1 class apart. Expected 2 to 201: the background, and 1 to 200 kinds of object."),
        (1000, "tells 1000 classes apart. Expected 2 to 201"),
    ],
)
def test_too_few_and_too_many_classes_are_refused(classes: int, words: str) -> None:
    with torch.device("meta"):
        network = V1.build(classes)
    with pytest.raises(WeightsError) as caught:
        layout_of(network.state_dict())
    assert words in str(caught.value)


def test_heads_that_disagree_are_refused() -> None:
    with torch.device("meta"):
        network = V1.build(91)
        network.roi_heads.box_predictor = FastRCNNPredictor(1024, 4)
    with pytest.raises(WeightsError, match=r"scores for 4 classes, boxes for 4 and masks for 91\."):
        layout_of(network.state_dict())


def test_a_predictor_of_another_width_is_told_by_the_layouts_there_are() -> None:
    with torch.device("meta"):
        network = V1.build(4)
        network.roi_heads.mask_predictor = MaskRCNNPredictor(256, 128, 4)
    with pytest.raises(WeightsError, match="fit none of our networks"):
        layout_of(network.state_dict())


def test_names_come_from_the_file_beside_the_weights(file: Path) -> None:
    file.with_name("labels.txt").write_text("\n".join(["__background__", *NAMES]))
    model = load("auto", weights=file, device="cpu", precision="float32")
    assert (model.name, model.label_ids) == ("scenes", (0, 1, 2, 3))
    assert [*model.categories.by_name] == NAMES
    assert model.label_names == ("background", *NAMES)
    assert model.notes == ()


def test_names_in_the_metadata_come_before_those_beside(
    state_dict: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = safetensors(state_dict, tmp_path / "my.safetensors", json.dumps(NAMES))
    (tmp_path / "labels.txt").write_text("wrong")
    assert find_weights(SCENES, path).labels == tuple(NAMES)


def test_without_names_the_kinds_have_numbers_and_a_note_says_so(file: Path) -> None:
    model = load("scenes", weights=file, device="cpu", precision="float32")
    assert [*model.categories.by_name] == ["class 1", "class 2", "class 3"]
    (note,) = model.notes
    assert note == (
        "The weights come without names of their kinds of object, so these are called class 1 to class 3."
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("leaf\nrust", r"file my\.pth cannot be used\. labels\.txt holds 2 names, but the network knows 3"),
        ("leaf\nrust\n" + "x" * 10_000, "a name of 10,000 characters for label 3"),
    ],
)
def test_a_wrong_file_beside_the_weights_is_refused(names: str, words: str, file: Path) -> None:
    file.with_name("labels.txt").write_text(names)
    with pytest.raises(WeightsError, match=words):
        load("auto", weights=file, device="cpu")


def test_damaged_metadata_is_refused(state_dict: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = safetensors(state_dict, tmp_path / "my.safetensors", "[leaf")
    with pytest.raises(
        WeightsError, match=r'my\.safetensors cannot be used\. The metadata "labels" is damaged'
    ):
        find_weights(SCENES, path)


def test_the_environments_file_takes_the_place_of_the_network_of_its_layout(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.with_name("labels.txt").write_text("\n".join(NAMES))
    monkeypatch.setenv("SEGMENTATION_WEIGHTS", str(file))
    model, shortfall = load_best(device="cpu")
    assert (model.name, [*model.categories.by_name], shortfall) == ("scenes", NAMES, None)
    assert find_weights(ARCHITECTURES["starter"]).labels is None


def test_wrong_names_of_the_environments_file_are_said_and_another_model_answers(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.with_name("labels.txt").write_text("leaf")
    monkeypatch.setenv("SEGMENTATION_WEIGHTS", str(file))
    model, shortfall = load_best(device="cpu")
    assert model.name == "starter"
    assert shortfall is not None and "labels.txt holds 1 name, but the network knows 3 kinds" in shortfall


def test_a_repository_that_names_its_file_is_what_auto_means(
    state_dict: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = safetensors(state_dict, tmp_path / "my.safetensors", json.dumps(NAMES))
    hub = FakeHub(**{"me/leaves": {"a.safetensors": path.read_bytes()}})
    monkeypatch.setattr(weights, "hf_hub_download", hub.download(tmp_path / "cache"))
    monkeypatch.setenv("SEGMENTATION_WEIGHTS_REPO", "me/leaves:a.safetensors")
    assert configured_name() == "scenes"
    found = find_weights(SCENES)
    assert (found.labels, found.origin) == (tuple(NAMES), "Hugging Face Hub me/leaves:a.safetensors")
    monkeypatch.setenv("SEGMENTATION_WEIGHTS_REPO", "me/leaves")
    assert configured_name() is None


def test_a_hub_that_cannot_be_reached_leaves_torchvisions_weights_with_a_note(
    monkeypatch: pytest.MonkeyPatch, state_dict: dict[str, torch.Tensor]
) -> None:
    def fail(*names: object, **options: object) -> str:
        raise OSError("no connection")

    monkeypatch.setattr(weights, "hf_hub_download", fail)
    monkeypatch.setattr(weights, "_published", lambda url: weights.Weights(state_dict, "torchvision", "0"))
    monkeypatch.setenv("SEGMENTATION_WEIGHTS_REPO", "me/leaves:a.safetensors")
    assert configured_name() is None
    note = find_weights(V1).note
    assert note is not None and "so torchvision's COCO weights answer" in note


def test_a_repository_without_a_file_for_this_network_is_no_reason_for_a_note(
    monkeypatch: pytest.MonkeyPatch, state_dict: dict[str, torch.Tensor]
) -> None:
    def absent(repo: str, name: str, *, local_files_only: bool = False, **options: object) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        raise RemoteEntryNotFoundError("404", response=answer(404))

    monkeypatch.setattr(weights, "hf_hub_download", absent)
    monkeypatch.setattr(weights, "_published", lambda url: weights.Weights(state_dict, "torchvision", "0"))
    monkeypatch.setenv("SEGMENTATION_WEIGHTS_REPO", "me/leaves")
    assert find_weights(V1).note is None


def test_norms_that_were_trained_get_the_epsilon_that_they_were_trained_with(
    state_dict: dict[str, torch.Tensor],
) -> None:
    with torch.device("meta"):
        frozen = V1.build(4).state_dict()
    frozen = {name: torch.zeros(value.shape) for name, value in frozen.items()}
    counted = frozen | {"backbone.body.bn1.num_batches_tracked": torch.tensor(3)}
    for tensors, epsilon in ((frozen, 0.0), (counted, 1e-5)):
        network = built(V1, weights.Weights(tensors, "", "", labels=tuple(NAMES)))
        assert {m.eps for m in network.modules() if isinstance(m, FrozenBatchNorm2d)} == {epsilon}


def test_the_layout_is_told_from_the_file_alone(file: Path) -> None:
    file.with_name("labels.txt").write_text("wrong")
    assert layout_of_file(file) == "scenes"

"""Tests of `inference`. The file is long because every test needs the networks and the oracle at its top."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.models.detection import (
    MaskRCNN,
    MaskRCNN_ResNet50_FPN_V2_Weights,
    MaskRCNN_ResNet50_FPN_Weights,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn_v2,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign, box_iou
from torchvision.transforms.functional import to_tensor

import inference
from detections import Detections
from inference import (
    EXAMPLES,
    SCORE_FLOOR,
    WORKING_SIDE,
    ModelError,
    SegmentationModel,
    load,
    load_best,
    looks_of,
    reading_side,
    segment,
    segment_many,
    segment_or_fall_back,
)
from matching import match
from network.architectures import ARCHITECTURES, COCO_LABELS
from network.calibration import CalibrationError, as_json, calibrate, digest_of
from network.detail import CLOSER, FULL_DETAIL
from network.eight_bit import able
from network.weights import Weights, WeightsError, find_weights
from network.zero_gpu import NotLentError
from photo.images import read_image
from photo.strips import fit_within
from tests.samples import CAT, fake_model, random_image
from tests.truth import SCENE
from tools.random_weights import random_network, random_picture

LANDSCAPE, PORTRAIT, TINY, LARGE = (480, 640), (640, 427), (30, 40), (2000, 3000)
"""Heights and widths in pixels."""
SCORES_APART = 2e-4
"""The largest difference between our scores and torchvision's. The scores of torchvision's own network differ
by up to 1.1e-4 between two orders of its weights in memory (`docs/performance.md`)."""


def torchvisions_own(monkeypatch: pytest.MonkeyPatch, name: str, file: Path) -> MaskRCNN:
    """Returns the network as torchvision builds it for its published weights, with the weights of `file`."""
    state_dict = torch.load(file, weights_only=True)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *args, **options: state_dict)
    if name == "resnet50_fpn":
        return maskrcnn_resnet50_fpn(weights=MaskRCNN_ResNet50_FPN_Weights.COCO_V1).eval()
    return maskrcnn_resnet50_fpn_v2(weights=MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1).eval()


def assert_equals_torchvision(model: SegmentationModel, oracle: MaskRCNN, size: tuple[int, int]) -> None:
    image = random_picture(*size, seed=4)
    working = fit_within(image, WORKING_SIDE)
    with torch.inference_mode():
        expected = {key: value.numpy() for key, value in oracle([to_tensor(working.copy())])[0].items()}

    found = segment(model, image)

    assert len(found) == len(expected["scores"]) >= 50
    assert len(np.unique(found.scores)) == len(found)
    assert found.image_size == size
    on_working = found.resized(*working.shape[:2])
    np.testing.assert_allclose(found.scores, expected["scores"], atol=SCORES_APART)
    # Two instances may change places if their scores differ by less than this tolerance.
    places = [int(np.abs(expected["boxes"] - box).max(1).argmin()) for box in on_working.boxes]
    assert sorted(places) == list(range(len(found)))
    expected = {key: values[places] for key, values in expected.items()}
    np.testing.assert_allclose(on_working.boxes, expected["boxes"], atol=1e-2)
    np.testing.assert_allclose(found.scores, expected["scores"], atol=SCORES_APART)
    np.testing.assert_array_equal(found.class_ids, expected["labels"])
    for i, (x1, y1, x2, y2) in enumerate(expected["boxes"]):
        differing = np.count_nonzero(on_working.mask(i) != (expected["masks"][i, 0] > 0.5))
        assert differing <= 0.001 * (x2 - x1) * (y2 - y1), f"instance {i}: {differing} pixels differ"
    assert any(on_working.mask(i).any() for i in range(len(found)))


@pytest.mark.parametrize("size", [pytest.param(LANDSCAPE, marks=pytest.mark.slow), LARGE])
def test_segment_gives_what_torchvision_gives_for_the_v1_layout(
    size: tuple[int, int], v1_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load("resnet50_fpn", weights=v1_file, device="cpu")
    assert_equals_torchvision(model, torchvisions_own(monkeypatch, "resnet50_fpn", v1_file), size)


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet50_fpn", PORTRAIT), ("resnet50_fpn", TINY)]
    + [("resnet50_fpn_v2", LANDSCAPE)]
    + [pytest.param("resnet50_fpn_v2", size, marks=pytest.mark.slow) for size in (TINY, PORTRAIT, LARGE)],
)
def test_segment_gives_what_torchvision_gives_when_the_network_works_at_a_smaller_size(
    name: str, size: tuple[int, int], v1_file: Path, v2_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = v1_file if name == "resnet50_fpn" else v2_file
    model = load(name, weights=file, device="cpu")
    oracle = torchvisions_own(monkeypatch, name, file)
    for network in (model.network, oracle):  # this takes less than a sixth of the time
        monkeypatch.setattr(network.transform, "min_size", (320,))
        monkeypatch.setattr(network.transform, "max_size", 533)
    assert_equals_torchvision(model, oracle, size)


def test_pth_and_safetensors_load_to_the_same_weights(v1_file: Path, tmp_path: Path) -> None:
    safe = tmp_path / "v1.safetensors"
    save_file(torch.load(v1_file, weights_only=True), safe)
    from_pth = load("resnet50_fpn", weights=v1_file, device="cpu")
    from_safe = load("resnet50_fpn", weights=safe, device="cpu")
    assert from_pth is not from_safe and from_pth.sha256 != from_safe.sha256
    ours, theirs = from_pth.network.state_dict(), from_safe.network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_environments_file_decides_what_auto_is(v1_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTATION_WEIGHTS", str(v1_file))
    model, shortfall = load_best(device="cpu")
    assert (model.name, shortfall) == ("resnet50_fpn", None)
    assert model.origin == f"file {v1_file.name}"


def test_weights_of_another_network_are_refused_with_both_named(v1_file: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"does not hold the weights of resnet50_fpn_v2: \d+ tensors differ"
    ):
        load("resnet50_fpn_v2", weights=v1_file, device="cpu")


class OneLevelBackbone(nn.Module):
    """Returns one feature map at stride 16 as a tensor, without a dictionary around it."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 32, 16, 16), nn.BatchNorm2d(32), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class FinerMaskPredictor(MaskRCNNPredictor):
    """Predicts masks of 24x24 cells from regions of 12x12 cells."""


def one_level_network() -> MaskRCNN:
    return MaskRCNN(
        OneLevelBackbone(),
        num_classes=91,
        min_size=320,
        max_size=640,
        rpn_anchor_generator=AnchorGenerator(((32, 64, 128),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        mask_roi_pool=MultiScaleRoIAlign(["0"], 12, 2),
    )


def test_any_network_with_the_four_stages_works_whatever_its_mask_size_and_levels() -> None:
    network = random_network(one_level_network)
    assert isinstance(network.backbone(torch.zeros(1, 3, 64, 64)), Tensor)
    model = SegmentationModel(network, "one level", COCO_LABELS, torch.device("cpu"), "float32", "", "")
    image = random_picture(*LANDSCAPE, seed=5)
    assert segment(model, image).mask_probs.shape[1:] == (24, 24)
    assert_equals_torchvision(model, network, LANDSCAPE)


def test_a_backbone_with_named_levels_works_as_well(scenes_model: SegmentationModel) -> None:
    features = scenes_model.network.backbone(torch.zeros(1, 3, 128, 128))
    assert isinstance(features, OrderedDict) and len(features) > 1


class HeadsThatGive(nn.Module):
    """Finds instances with these scores in every picture."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, *args: object) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        count = len(self.scores)
        boxes = torch.tensor([[1.0, 1.0, 9.0, 9.0]]).repeat(count, 1)
        labels, masks = torch.ones(count, dtype=torch.int64), torch.ones(count, 1, 28, 28)
        return [{"boxes": boxes, "labels": labels, "scores": self.scores, "masks": masks}], {}


@pytest.mark.parametrize("scores", [(), (0.9, 0.0501, SCORE_FLOOR, 0.01), (SCORE_FLOOR,)])
def test_only_what_is_above_the_score_floor_is_kept(scores: tuple[float, ...]) -> None:
    network = one_level_network().eval()
    network.roi_heads = HeadsThatGive(*scores)
    model = SegmentationModel(network, "given", COCO_LABELS, torch.device("cpu"), "float32", "", "")
    found = segment(model, random_picture(*TINY))
    assert found.image_size == TINY
    assert found.scores.tolist() == pytest.approx([score for score in scores if score > SCORE_FLOOR])
    assert found.ids.tolist() == list(range(1, len(found) + 1))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_image_is_refused(image: np.ndarray, scenes_model: SegmentationModel) -> None:
    with pytest.raises(ValueError, match=r"image: expected \(H, W, 3\) uint8 RGB, got"):
        segment(scenes_model, image)


def test_a_strip_that_would_vanish_is_refused_with_the_limit(scenes_model: SegmentationModel) -> None:
    with pytest.raises(ValueError, match="at most 1:30"):
        segment(scenes_model, np.zeros((3000, 2, 3), np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1024, 35), (35, 1024)])
def test_extreme_sizes_within_the_limits_work(size: tuple[int, int], scenes_model: SegmentationModel) -> None:
    assert segment(scenes_model, random_picture(*size)).image_size == size


def able_to(monkeypatch: pytest.MonkeyPatch, **able: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)


@pytest.mark.parametrize("able", ["avx512_bf16", "amx_bf16", "bf16"])
def test_the_environment_chooses_bfloat16_on_a_processor_that_has_it(
    able: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENTATION_PRECISION", "bfloat16")
    able_to(monkeypatch, **{able: True})
    assert load_best(device="cpu")[0].precision == "bfloat16"
    assert load("scenes", device="cpu", precision="float32").precision == "float32"


def test_a_processor_without_it_stays_with_float32_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SEGMENTATION_PRECISION", "bfloat16")
    able_to(monkeypatch, avx512_bf16=False, avx2=True)
    assert load("scenes", device="cpu").precision == "float32"
    assert "does not calculate in bfloat16" in caplog.text
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # an older torch cannot say
    assert inference._precision(torch.device("cpu")) == "float32"
    assert inference._precision(torch.device("cuda")) == "bfloat16"


def test_the_default_is_the_best_that_keeps_results_and_the_environment_still_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    able_to(monkeypatch, avx512_bf16=True)
    monkeypatch.delenv("SEGMENTATION_PRECISION", raising=False)
    devices = [torch.device(name) for name in ("cpu", "cuda", "mps")]
    assert [inference._precision(device) for device in devices] == ["float32"] * 3  # there is no card
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    assert [inference._precision(device) for device in devices] == ["float32", "tf32", "float32"]
    monkeypatch.setenv("SEGMENTATION_PRECISION", "float32")
    assert inference._precision(devices[1]) == "float32"


def test_an_unknown_precision_in_the_environment_is_answered_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEGMENTATION_PRECISION", "int4")
    with pytest.raises(ModelError, match="SEGMENTATION_PRECISION: expected float32, tf32, bfloat16, float16"):
        load("scenes", device="cpu")


def test_a_loaded_model_is_ready_to_run(scenes_model: SegmentationModel) -> None:
    assert not scenes_model.network.training
    assert not any(parameter.requires_grad for parameter in scenes_model.network.parameters())
    assert len(scenes_model.sha256) == 64
    with pytest.raises(AttributeError):
        scenes_model.name = "another"  # type: ignore[misc]


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="resnet50_fpn_v2, starter, scenes"):
        load("yolo")
    with pytest.raises(ModelError, match="float32, tf32, bfloat16, float16, int8"):
        load("scenes", precision="int4")
    with pytest.raises(ModelError, match="cuda, mps or cpu"):
        load("scenes", device="abacus")


def test_auto_falls_back_to_the_starter_and_says_why() -> None:
    model, shortfall = load_best(device="cpu")
    assert model.name == "starter"
    assert shortfall is not None
    assert "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth could not be fetched" in shortfall
    again = load("auto", device="cpu")
    assert (again.name, again.sha256) == (model.name, model.sha256)


def test_a_model_named_explicitly_is_never_replaced_by_another() -> None:
    with pytest.raises(
        WeightsError, match=r"could not be fetched from download\.pytorch\.org: no connection"
    ):
        load("resnet50_fpn", device="cpu")


def test_cuda_comes_before_mps_and_mps_before_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert inference._device(None).type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert inference._device(None).type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert inference._device(None).type == "cuda"


def failing(error: BaseException, device: str = "cpu", times: int = 1) -> SegmentationModel:
    """Returns a model that finds one cat. Its backbone fails with `error` at the first `times` calls."""
    model = fake_model([[0, 0, 1, 1]], [CAT], [0.9], device)
    backbone, left = model.network.backbone, [error] * times

    def fail(images: Tensor) -> OrderedDict[str, Tensor]:
        if left:
            raise left.pop()
        return backbone(images)

    model.network.backbone = fail
    return model


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA driver error: device not ready"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_a_device_that_fails_leaves_the_photo_to_the_cpu_which_is_said(error: BaseException) -> None:
    model, asked = failing(error, "meta"), []
    spare = fake_model([[0, 0, 1, 1]], [CAT], [0.8])

    def load_spare(name: str) -> SegmentationModel:
        asked.append(name)
        return spare

    # The pixels move to the "meta" device. Nothing reads them there, because the backbone fails first.
    found, used, note = segment_or_fall_back(model, random_image(0, 30, 40), load_spare)
    assert found.class_ids.tolist() == [CAT] and used is spare and asked == [model.name]
    assert note is not None and "so the CPU did this" in note


def test_a_processor_that_is_not_lent_leaves_the_photo_to_the_cpu_with_the_reason() -> None:
    spare = fake_model([[0, 0, 1, 1]], [CAT], [0.8])
    model, ran = failing(NotLentError("None was free."), "meta"), []

    def run_spare(work: Callable[[], Detections]) -> Detections:
        ran.append(work)
        return work()

    found, used, note = segment_or_fall_back(
        model, random_image(0, 30, 40), lambda name: spare, run_spare=run_spare
    )
    assert used is spare and note == "None was free." and len(found) == len(ran) == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_cpu_that_has_too_little_memory_tries_once_more(error: BaseException) -> None:
    model = failing(error)
    found, used, note = segment_or_fall_back(model, random_image(0, 30, 40))
    assert (len(found), used, note) == (1, model, None)
    with pytest.raises(MemoryError):
        segment_or_fall_back(failing(error, times=2), random_image(0, 30, 40))


OUR_BUGS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
    ),
    RuntimeError(
        "Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the same"
    ),
    NotImplementedError("Could not run 'torchvision::nms' with arguments from the 'CUDA' backend."),
    TypeError("can't convert cuda:0 device type tensor to numpy."),
]


@pytest.mark.parametrize("error", OUR_BUGS, ids=str)
def test_a_bug_of_ours_is_not_taken_for_a_lost_device(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        segment_or_fall_back(
            failing(error, "meta"), random_image(0, 30, 40), lambda name: pytest.fail("it was tried again")
        )
    assert caught.value is error


def test_without_a_spare_a_lost_device_is_an_error() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(torch.OutOfMemoryError):
        segment_or_fall_back(failing(error, "meta"), random_image(0, 30, 40))


def test_the_tensors_of_a_failed_run_are_freed_before_the_next() -> None:
    class Held:
        """Stands for the tensors that a stage holds in memory."""

    kept: list[weakref.ref[Held]] = []

    def fail(images: Tensor) -> None:
        big = Held()
        kept.append(weakref.ref(big))
        raise MemoryError

    model = fake_model([[0, 0, 1, 1]], [CAT], [0.9], "meta")
    model.network.backbone = fail

    def load_spare(name: str) -> SegmentationModel:
        assert kept[0]() is None
        return fake_model()

    segment_or_fall_back(model, random_image(0, 30, 40), load_spare)
    assert len(kept) == 1


needs_int8 = pytest.mark.skipif(not able(), reason="this processor does not calculate in int8")


def test_int8_finds_what_float32_finds_and_is_named_in_the_model(scenes_model: SegmentationModel) -> None:
    """The accuracy on 200 drawn scenes is measured by benchmarks/precision.py."""
    model = load("scenes", device="cpu", precision="int8")
    if not able():
        assert model.precision != "int8"
        return
    assert model.precision == "int8"
    picture = read_image(EXAMPLES / "scenes" / "scene-1.png")
    exact, fast = (segment(each, picture) for each in (scenes_model, model))
    sure = exact.scores > 0.5
    assert sure.sum() > 3
    same = exact.class_ids[sure][:, None] == fast.class_ids
    overlaps = box_iou(torch.tensor(exact.boxes[sure]), torch.tensor(fast.boxes)).numpy() * same
    assert overlaps.max(1).min() > 0.9
    steps = inference.look_inside(model, picture)
    assert len(steps.levels) > 1 and all(np.isfinite(level.features).all() for level in steps.levels)


@needs_int8
def test_ranges_are_kept_for_the_next_load_and_made_again_if_damaged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = []
    one = [read_image(EXAMPLES / "scenes" / "scene-1.png")]
    monkeypatch.setattr(inference, "calibration_pictures", lambda folder: one)
    monkeypatch.setattr(inference, "calibrate", lambda *given: made.append(1) or calibrate(*given))
    monkeypatch.setenv("SEGMENTATION_PRECISION", "int8")
    first = load("scenes", device="cpu")
    again = load("scenes", device="cpu")
    assert made == [1] and first.precision == again.precision == "int8"
    picture = random_picture(120, 160)
    assert np.array_equal(segment(first, picture).scores, segment(again, picture).scores)
    (file,) = (Path(torch.hub.get_dir()) / "checkpoints").glob("int8-ranges-*.json")
    good = file.read_text()
    for text in (good[: len(good) // 2], good.replace('"weights": "', '"weights": "0'), ""):
        file.write_text(text)
        assert load("scenes", device="cpu").precision == "int8"
        assert "They are made again." in caplog.text and file.read_text() == good
        caplog.clear()
    assert made == [1] * 4


@needs_int8
def test_a_cache_that_cannot_be_written_costs_only_the_time_of_the_next_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    assert load("scenes", device="cpu", precision="int8").precision == "int8"
    assert "cannot be kept" in caplog.text


@needs_int8
def test_ranges_in_the_weights_metadata_need_no_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    architecture = ARCHITECTURES["scenes"]
    state_dict = find_weights(architecture).state_dict
    network = architecture.build().eval()
    network.load_state_dict(state_dict, strict=False)
    ranges = as_json(calibrate(network, [random_picture(200, 200)]), digest_of(state_dict))
    with_ranges, foreign = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file(state_dict, with_ranges, {"int8_ranges": ranges})
    changed = {
        name: value * 1.001 if value.is_floating_point() else value for name, value in state_dict.items()
    }
    save_file(changed, foreign, {"int8_ranges": ranges})
    monkeypatch.setattr(inference, "EXAMPLES", tmp_path)
    assert load("scenes", weights=with_ranges, device="cpu", precision="int8").precision == "int8"
    assert load("scenes", weights=foreign, device="cpu", precision="int8").precision != "int8"
    assert "belong to the weights" in caplog.text and "no pictures to calibrate with" in caplog.text


@needs_int8
@pytest.mark.parametrize("bfloat16", [False, True])
def test_where_int8_cannot_be_had_the_next_best_precision_is_used_and_the_log_says_why(
    bfloat16: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    able_to(monkeypatch, avx512_bf16=bfloat16)
    best = "bfloat16" if bfloat16 else "float32"
    with monkeypatch.context() as unknown:
        unknown.setattr(inference.eight_bit, "supports", lambda network: False)
        assert load("starter", device="cpu", precision="int8").precision == best
    assert f"not known in int8. So {best} is used in place of int8." in caplog.text
    monkeypatch.setattr(inference, "EXAMPLES", tmp_path)  # no pictures
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "broken.png").write_text("no picture")
    assert load("scenes", device="cpu", precision="int8").precision == best
    assert "broken.png is no picture" in caplog.text and "in the folder scenes" in caplog.text
    monkeypatch.setattr(inference.eight_bit, "able", lambda: False)
    assert load("scenes", device="cpu", precision="int8").precision == best
    assert "does not calculate in int8" in caplog.text


def test_int8_is_for_cpus() -> None:
    with pytest.raises(CalibrationError, match="Only CPUs calculate in int8 here, and the device is cuda"):
        inference._ranges(
            ARCHITECTURES["scenes"].build(), "scenes", Weights({}, "", ""), torch.device("cuda")
        )


def test_looking_closer_finds_what_is_found_in_the_parts_and_in_the_whole(
    scenes_model: SegmentationModel,
) -> None:
    scene = read_image(SCENE)
    large = np.ascontiguousarray(scene.repeat(2, 0).repeat(2, 1))
    found = segment(scenes_model, large, CLOSER)
    assert looks_of(scenes_model, large.shape[:2], CLOSER) > 1
    assert found.image_size == large.shape[:2]
    whole = segment(scenes_model, large)
    strong = whole.select(whole.scores > 0.5)
    assert len(match(strong, found)) == len(strong)  # nothing that one look finds is lost


def test_looking_closer_is_for_one_photo_at_a_time(scenes_model: SegmentationModel) -> None:
    with pytest.raises(ModelError, match="one photo at a time"):
        segment_many(scenes_model, [], CLOSER)


def test_a_photo_is_read_as_large_as_its_detail_needs_it() -> None:
    model = fake_model()
    assert reading_side(model, FULL_DETAIL) == 1024
    assert reading_side(model, CLOSER) == 4400
    assert looks_of(model, (3000, 4000), CLOSER) == 36 and looks_of(model, (3000, 4000), FULL_DETAIL) == 1

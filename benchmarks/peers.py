"""Runs the same network in other runtimes on the CPU, ONNX Runtime and OpenVINO, as fast as each of them can.

Both runtimes read one ONNX file, which torch's older exporter (`dynamo=False`) traces at a fixed size. The
file holds the whole network: the transform, the backbone, the region proposals with NMS, RoIAlign, both
heads, and the boxes in pixels of the picture. Like `segment`, it ends with mask probabilities of 28x28 and
does not paste the masks. Torchvision's own export pastes them in a loop that copies all earlier masks, and
OpenVINO cannot read this loop. So compare these runtimes with `segment`. Torchvision's forward pass also
pastes the masks, so it has more to do.

In int8 both runtimes are quantized statically, with the pictures that our own int8 network is calibrated
with (`calibration_pictures`): OpenVINO by NNCF with both of their default presets for convolutional networks,
ONNX Runtime in its QDQ format with one scale for each output channel.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.transform import resize_boxes

from tools.random_weights import CALIBRATION_SEEDS, random_picture

OPSET = 17
"""From opset 16 on, RoIAlign can place its samples as torchvision does."""


class Found(NamedTuple):
    """The results of torchvision's forward pass for one picture, with masks as (N, 1, M, M) probabilities."""

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: NDArray[np.float32]


class Peer(Protocol):
    """One runtime in which the network is ready for pictures of one size."""

    @property
    def name(self) -> str: ...

    def find(self, pixels: NDArray[np.float32]) -> Found:
        """Returns the instances in (3, H, W) float32 RGB from 0 to 1.

        The next call may overwrite the arrays.
        """

    def __call__(self, pixels: NDArray[np.float32]) -> int:
        """Returns the number of instances that `find` finds."""


@dataclass(frozen=True, slots=True)
class _Peer:
    name: str
    find: Callable[[NDArray[np.float32]], Found]

    def __call__(self, pixels: NDArray[np.float32]) -> int:
        return len(self.find(pixels).boxes)


class _Unpasted(nn.Module):
    """Torchvision's four stages and its resizing of boxes, without the pasting of masks."""

    def __init__(self, network: MaskRCNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        images, _ = self.network.transform([pixels])
        features = self.network.backbone(images.tensors)
        proposals, _ = self.network.rpn(images, features)
        (found,), _ = self.network.roi_heads(features, proposals, images.image_sizes)
        boxes = resize_boxes(found["boxes"], images.image_sizes[0], pixels.shape[-2:])
        return boxes, found["labels"], found["scores"], found["masks"]


def exported(network: MaskRCNN, size_hw: tuple[int, int], folder: Path) -> Path:
    """Returns the ONNX file for pictures of `size_hw`. Writes the file if `folder` does not hold it yet.

    A folder is for one network with one set of weights. The exporter knows only torchvision's own layers, so
    `network` must not contain our accelerated layers.
    """
    path = folder / f"{size_hw[0]}x{size_hw[1]}-{network.roi_heads.detections_per_img}.onnx"
    if not path.exists():
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # they say that sizes become constants, which is right here
            torch.onnx.export(
                _Unpasted(network).eval(),
                (torch.rand(3, *size_hw),),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=list(Found._fields),
            )
    return path


def onnx_runtime(network: MaskRCNN, size_hw: tuple[int, int], folder: Path) -> Peer:
    """Returns ONNX Runtime in float32, with torch's number of threads and all of its graph optimizations."""
    return _onnx_runtime("ONNX Runtime float32", exported(network, size_hw, folder))


def _onnx_runtime(name: str, path: Path) -> Peer:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # only errors: it warns of every shape that it does not know in advance
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return _Peer(name, lambda pixels: Found(*session.run(None, {"pixels": pixels})))


def openvino_float32(network: MaskRCNN, size_hw: tuple[int, int], folder: Path) -> Peer:
    """Returns OpenVINO in float32. If there is no instance, it finds one that is made of leftover memory."""
    return _openvino("OpenVINO float32", "f32", exported(network, size_hw, folder))


def openvino_bfloat16(network: MaskRCNN, size_hw: tuple[int, int], folder: Path) -> Peer:
    """Returns OpenVINO with bfloat16 layers. It keeps the arithmetic of boxes and scores in float32."""
    return _openvino("OpenVINO bfloat16", "bf16", exported(network, size_hw, folder))


def onnx_runtime_int8(network: MaskRCNN, size_hw: tuple[int, int], folder: Path) -> Peer:
    """Returns ONNX Runtime with convolutions and matrix products in 8 bits, and the rest in float32."""
    path = exported(network, size_hw, folder)
    quantized = path.with_suffix(".int8.onnx")
    if not quantized.exists():
        quantize_static(
            path,
            quantized,
            _Pictures(size_hw),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[
                "Conv",
                "ConvTranspose",
                "Gemm",
                "MatMul",
                "Add",
                "Relu",
                "MaxPool",
                "Resize",
            ],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return _onnx_runtime("ONNX Runtime int8", quantized)


def openvino_int8(network: MaskRCNN, size_hw: tuple[int, int], folder: Path) -> Peer:
    """Returns OpenVINO with the layers in 8 bits that NNCF chooses, and the others in bfloat16."""
    import nncf  # not at the top: the other runtimes do not need it

    path = exported(network, size_hw, folder)
    quantized = path.with_suffix(".int8.xml")
    if not quantized.exists():
        pictures = nncf.Dataset(calibration_pictures(size_hw), lambda picture: [_pixels(picture)])
        plain = path.with_suffix(".xml")  # NNCF cannot read the names that the ONNX reader gives to nodes
        openvino.save_model(openvino.Core().read_model(path), plain, compress_to_fp16=False)
        model = nncf.quantize(
            openvino.Core().read_model(plain),
            pictures,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(CALIBRATION_SEEDS),
        )
        openvino.save_model(model, quantized)
    return _openvino("OpenVINO int8", "bf16", quantized)


def calibration_pictures(size_hw: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Returns the (H, W, 3) uint8 pictures that every int8 contender is calibrated with."""
    return [random_picture(*size_hw, seed=seed) for seed in CALIBRATION_SEEDS]


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """The calibration pictures, one at a time, as ONNX Runtime wants them."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self._left: Iterator[NDArray[np.uint8]] = iter(calibration_pictures(size_hw))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        picture = next(self._left, None)
        return None if picture is None else {"pixels": _pixels(picture)}


def _pixels(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / np.float32(255)


def _openvino(name: str, precision: str, path: Path) -> Peer:
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = openvino.compile_model(path, "CPU", settings).create_infer_request()

    def find(pixels: NDArray[np.float32]) -> Found:
        results = request.infer([pixels], share_inputs=True, share_outputs=True)
        return Found(*(results[index] for index in range(len(Found._fields))))

    return _Peer(name, find)

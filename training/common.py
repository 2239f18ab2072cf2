"""Provides what both training tools need: lower precision, the learning rate, checkpoints and weight files.

It also holds two parts that make training faster: `MatrixRoIAlign` and `Muon`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign

from network.roi_align import cells_along

Example = tuple[Tensor, dict[str, Tensor]]
"""An image (3, H, W) with values from 0 to 1, and its target in torchvision's format."""


def autocast(module: nn.Module, precision: torch.dtype, device: torch.device) -> None:
    """Makes one module compute in `precision` and return float32.

    The caller names single modules and not the whole network. Otherwise torchvision would compute boxes in
    this precision too, and near 400 px two neighbouring bfloat16 numbers are 2 px apart.
    """
    forward = module.forward

    def fast(*inputs: Any) -> Any:
        with torch.autocast(device.type, precision):
            return _to_float(forward(*inputs))

    module.forward = fast


def _to_float(output: Any) -> Any:
    if isinstance(output, dict):
        return OrderedDict((key, _to_float(value)) for key, value in output.items())
    if isinstance(output, list | tuple):
        return type(output)(_to_float(value) for value in output)
    return output.float()


def learning_rate(highest: float, warm_up: int, iteration: int, done: float) -> float:
    """Returns the learning rate of one step: a linear warm-up, then a cosine down to 1 % of `highest`.

    Args:
        highest: The learning rate after the warm-up.
        warm_up: The number of steps in the warm-up.
        iteration: The number of this step, from 0.
        done: The share of the run that is over. The cosine ends where the share is 1.
    """
    warm = min(1.0, (iteration + 1) / warm_up)
    return highest * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2)


def parameter_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Returns the parameter groups for an optimizer. Biases and batch norms get no weight decay."""
    parameters = list(parameters)
    flat = [parameter for parameter in parameters if parameter.ndim < 2]
    deep = [parameter for parameter in parameters if parameter.ndim >= 2]
    return [{"params": deep, "weight_decay": weight_decay}, {"params": flat, "weight_decay": 0.0}]


def collate(examples: list[Example]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Returns the images and the targets of a batch, as torchvision's detection models take them."""
    return [image for image, _ in examples], [target for _, target in examples]


def start_worker(_: int) -> None:
    """Limits OpenCV to one thread in a `DataLoader` worker, so that the training keeps the cores."""
    cv2.setNumThreads(1)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors and plain values to `path`. The file is never half a checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    part.replace(path)


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes the state dict in float16. Leaves out the training step counters of the batch norms."""
    tensors = {
        key: value.to(torch.float16).contiguous()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt"})


class MatrixRoIAlign(nn.Module):
    """Returns the same as a `MultiScaleRoIAlign` with one feature map, with much faster gradients on a CPU.

    Each bin is a weighted sum of cells. The weight of a cell is the product of a weight for its row and a
    weight for its column. So two matrix products compute all bins of a region. This pays off when the
    feature map is small.
    """

    def __init__(self, pooler: MultiScaleRoIAlign) -> None:
        super().__init__()
        (self.name,) = pooler.featmap_names
        self.bins, self.samples = pooler.output_size, pooler.sampling_ratio

    def forward(
        self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Returns the features of the regions of all images, (regions, C, bins, bins).

        The arguments are those of `MultiScaleRoIAlign`.
        """
        level = features[self.name]
        channels, height, width = level.shape[1:]
        scale = 2.0 ** round(math.log2(height / max(shape[0] for shape in image_shapes)))
        pooled = []
        for cells, regions in zip(level, boxes, strict=True):
            x0, y0, x1, y1 = (regions * scale).unbind(dim=1)
            rows = _weights(y0, y1, self.bins[0], self.samples, height)
            columns = _weights(x0, x1, self.bins[1], self.samples, width)
            lines = rows.flatten(0, 1) @ cells.permute(1, 0, 2).flatten(1)  # (regions * bins, C * W)
            lines = lines.view(len(regions), self.bins[0] * channels, width)
            pooled.append((lines @ columns.mT).view(len(regions), self.bins[0], channels, self.bins[1]))
        return torch.cat(pooled).transpose(1, 2)


def _weights(start: Tensor, end: Tensor, bins: int, samples: int, size: int) -> Tensor:
    """Returns the weight of each of `size` cells in each bin along one axis, (regions, bins, size)."""
    cells, shares = cells_along(start, end, bins, samples, size)
    return shares.new_zeros(len(start), bins, size).scatter_add_(2, cells.long(), shares)


class Muon(torch.optim.Muon):
    """Muon (Jordan et al. 2024) for matrices and for the weights of convolutions.

    A convolution's weight is treated as a matrix with one row for each entry of its first dimension. torch's
    own Muon takes matrices only. So it gets matrices that share their memory with the weights. For this the
    weights must be in channels-last order.
    """

    def __init__(self, weights: Iterable[nn.Parameter], **options: Any) -> None:
        self.weights = list(weights)
        super().__init__([nn.Parameter(_matrix(weight.detach())) for weight in self.weights], **options)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Changes the weights by their gradients."""
        (group,) = self.param_groups
        for matrix, weight in zip(group["params"], self.weights, strict=True):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad)
        super().step()  # type: ignore[no-untyped-call]


def _matrix(weight: Tensor) -> Tensor:
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight

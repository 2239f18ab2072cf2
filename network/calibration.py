"""Calibration: which numbers occur between a network's layers, as `network.eight_bit` must know them.

The network runs in float32 over a few pictures. For each layer we keep some of its inputs, and choose the
range whose 255 steps give them back with the least mean squared error. A range that holds every number would
have wider steps, for the sake of a few numbers far from the others. The idea is that of Choukroun et al.,
"Low-bit Quantization of Neural Networks for Efficient Inference" (2019), section 3.

A run takes seconds, so the ranges are kept in a small file, which names the weights that they belong to.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FeaturePyramidNetwork

from network.acceleration import fold_batch_norms
from network.eight_bit import MOST, OUTPUT, Ranges, grid_of

FORMAT = 1
"""Of the file. It changes when ranges of an older version would not do any more."""
KEPT = 1 << 14
"""Numbers of each layer's input that are kept of each picture: evenly spaced ones, and the extremes."""
SHARES = tuple(0.98**power for power in range(60))
"""The parts of the full range that are tried."""

logger = logging.getLogger(__name__)


class CalibrationError(ValueError):
    """There are no ranges, or they are not those of these weights. The message says what was expected."""


def calibrate(
    network: GeneralizedRCNN, pictures: Sequence[NDArray[np.uint8]]
) -> dict[str, tuple[float, float]]:
    """Returns the ranges of all layers of `network`. Folds its batch norms, and changes it no further.

    Args:
        network: A network with torchvision's four stages in evaluation mode, float32 on the CPU, not
            accelerated.
        pictures: (H, W, 3) uint8 RGB each, of the kind that the network will see.

    Raises:
        CalibrationError: There is no picture, or the pictures do not reach each layer, or a layer gives no
            finite numbers.
    """
    if not pictures:
        raise CalibrationError("There are no pictures to calibrate with; expected at least one.")
    fold_batch_norms(network)
    network.to(memory_format=torch.channels_last)
    kept: dict[str, list[Tensor]] = {}
    with torch.inference_mode(), ExitStack() as hooks:
        _listen(network, kept, hooks)
        for i, picture in enumerate(pictures, start=1):
            logger.info("Calibrating with picture %d of %d.", i, len(pictures))
            batch, _ = network.transform([torch.tensor(picture).permute(2, 0, 1) / 255])
            features = network.backbone(batch.tensors)
            regions, _ = network.rpn(batch, features)
            network.roi_heads(features, regions, batch.image_sizes)
    ranges = {}
    for name in names_of(network):
        numbers = torch.cat(kept.get(name, [torch.empty(0)]))
        if not len(numbers) or not bool(numbers.isfinite().all()):
            raise CalibrationError(
                f"The pictures gave {name} {'infinite' if len(numbers) else 'no'} numbers; "
                "expected pictures in which a trained network finds something."
            )
        ranges[name] = best_range(numbers)
    return ranges


def names_of(network: nn.Module) -> list[str]:
    """Returns the names of all ranges that `calibrate` finds for `network`."""
    names = []
    for name, _, output in _heard(network):
        names += [name, name + OUTPUT] if output else [name]
    return names


def digest_of(state_dict: Mapping[str, Tensor]) -> str:
    """Returns a SHA-256 of the numbers of a network, in whatever file they are."""
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        if not name.endswith("num_batches_tracked"):  # published files have or lack these
            digest.update(name.encode())
            digest.update(state_dict[name].detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def best_range(numbers: Tensor) -> tuple[float, float]:
    """Returns the range whose grid gives `numbers` (n,) back with the least mean squared error."""
    low, high = min(float(numbers.min()), 0.0), max(float(numbers.max()), 0.0)
    best, least = (low, high), math.inf
    for share in SHARES:
        grid = grid_of(low * share, high * share)
        codes = (numbers / grid.scale).round_().add_(grid.zero).clamp_(0, MOST)
        error = float(codes.sub_(grid.zero).mul_(grid.scale).sub_(numbers).square_().mean())
        if error < least:
            best, least = (low * share, high * share), error
    return best


def save_ranges(path: Path, ranges: Ranges, digest: str) -> None:
    """Writes a file of ranges for the weights with this digest. No reader ever sees half a file.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(as_json(ranges, digest), encoding="utf-8")
    partial.replace(path)


def as_json(ranges: Ranges, digest: str) -> str:
    """Returns the text that `read_ranges` reads."""
    return json.dumps(
        {"format": FORMAT, "weights": digest, "ranges": {k: list(v) for k, v in ranges.items()}}
    )


def read_ranges(text: str | bytes, digest: str, names: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Reads ranges with these names, which must be those of the weights with this digest.

    Raises:
        CalibrationError: The text is damaged, or holds the ranges of other weights.
    """
    try:
        found: Any = json.loads(text)
        ranges = {str(name): (float(low), float(high)) for name, (low, high) in found["ranges"].items()}
        known = found["format"] == FORMAT
        weights = found["weights"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CalibrationError(
            "The ranges are damaged; expected what `calibration.as_json` writes."
        ) from error
    if not known:
        raise CalibrationError(f"The ranges have format {found['format']!r}; expected {FORMAT}.")
    if weights != digest:
        raise CalibrationError(f"The ranges belong to the weights {str(weights)[:12]}, not to {digest[:12]}.")
    missing = sorted(set(names) - set(ranges))
    if missing:
        raise CalibrationError(f"The ranges of {len(missing)} layers are missing, first {missing[0]}.")
    for name, (low, high) in ranges.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= 0 <= high and low < high):
            raise CalibrationError(f"The range of {name} is {low} to {high}; expected low <= 0 <= high.")
    return ranges


def ranges_file(digest: str) -> Path:
    """Returns where the ranges of the weights with this digest are kept: beside torchvision's weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / f"int8-ranges-{digest[:16]}.json"


def _heard(network: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Gives the name of each layer, the layer, and whether its output has a range of its own.

    The output of most layers is the input of another one. Others are added to something, or leave a part.
    """
    shown: set[int] = set()
    for module in network.modules():
        if isinstance(module, FeaturePyramidNetwork):
            shown |= {id(block[0]) for block in module.layer_blocks if isinstance(block, nn.Sequential)}
        elif isinstance(module, Bottleneck | BasicBlock) and isinstance(module.downsample, nn.Sequential):
            shown.add(id(module.downsample[0]))
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            yield name, module, id(module) in shown


def _listen(network: nn.Module, kept: dict[str, list[Tensor]], hooks: ExitStack) -> None:
    """Lets `kept` receive numbers of each layer's input, until the hooks are closed."""

    def hook(name: str, output: bool) -> Any:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], found: Tensor) -> None:
            kept.setdefault(name, []).append(_some(inputs[0]))
            if output:
                kept.setdefault(name + OUTPUT, []).append(_some(found))

        return keep

    for name, module, output in _heard(network):
        hooks.callback(module.register_forward_hook(hook(name, output)).remove)


def _some(numbers: Tensor) -> Tensor:
    """Returns at most `KEPT` of the numbers and the two extremes; nothing of an empty tensor."""
    flat = numbers.detach().flatten() if numbers.is_contiguous() else numbers.permute(0, 2, 3, 1).flatten()
    if not len(flat):
        return flat.float()
    step = max(1, len(flat) // KEPT) | 1  # odd, or else it would meet some channels only
    return torch.cat([flat[::step].float(), torch.stack(flat.aminmax()).float()])

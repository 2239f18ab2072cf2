"""Measures how far a network in int8 is from the same network in float32, layer by layer.

    pip install -r benchmarks/requirements.txt
    python benchmarks/eight_bit.py [--networks resnet50_fpn resnet50_fpn_v2] [--plot docs/int8.png]

The weights are random, and the network is calibrated as in `benchmarks/network.py`. Both networks see another
random picture. The error of a layer's result is the length of its difference from float32, divided by the
length of the result in float32. The backbone's errors contain those of all layers before. The heads get the
same input in both networks. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

runtime.prepare()

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from network.acceleration import accelerate
from network.architectures import ARCHITECTURES
from network.calibration import calibrate
from network.eight_bit import Codes, EightBlock
from tools.random_weights import CALIBRATION_SEEDS, random_network, random_picture

SIZE_HW = (768, 1024)
REGIONS = 20
"""Regions that the heads get."""


def errors(name: str) -> dict[str, float]:
    """Returns the relative error of each block and level of the backbone, and of each head's layers."""
    torch.manual_seed(0)
    network = random_network(ARCHITECTURES[name].build).requires_grad_(False)
    pictures = [random_picture(*SIZE_HW, seed=seed) for seed in CALIBRATION_SEEDS]
    ranges = calibrate(network, pictures)  # and folds the batch norms, which `accelerate` would do anyway
    exact = _results(network, {})
    exact |= _heads(network.roi_heads, exact["level 0"])
    accelerate(network, torch.device("cpu"), torch.float32, ranges)
    fast = _results(network, exact)
    fast |= _heads(network.roi_heads.heads, exact["level 0"])
    return {key: round(float((fast[key] - exact[key]).norm() / exact[key].norm()), 4) for key in exact}


def _results(network: Any, exact: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the results of the backbone's blocks, its levels, and the regions' hidden layer."""
    found: dict[str, Tensor] = {}
    hooks = []

    def keep(module: nn.Module, inputs: Any, result: Tensor | Codes) -> None:
        found[f"block {len(found) + 1}"] = result.float().clone()

    for module in network.backbone.modules():
        if isinstance(module, Bottleneck | EightBlock):
            hooks.append(module.register_forward_hook(keep))
    with torch.inference_mode():
        batch, _ = network.transform([torch.tensor(random_picture(*SIZE_HW, seed=9)).permute(2, 0, 1) / 255])
        levels = network.backbone(batch.tensors)
        for hook in hooks:
            hook.remove()
        found |= {f"level {level}": values.float() for level, values in levels.items()}
        read = exact.get("level 0", found["level 0"])
        found["regions"] = network.rpn.head.conv(read).float()
    return found


def _heads(heads: Any, level: Tensor) -> dict[str, Tensor]:
    """Returns the results of both heads for parts of a level."""
    found = {}
    with torch.inference_mode():
        for name, cells in (("box_head", 7), ("mask_head", 14)):
            places = range(0, REGIONS * 6, 6)
            regions = torch.cat([level[:, :, i : i + cells, i : i + cells] for i in places])
            found[name.replace("_", " ")] = getattr(heads, name)(regions)
    return found


def plot(figures: dict[str, dict[str, float]], path: Path) -> None:
    """Draws the errors of each network as a curve over its layers."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, row in figures.items():
        axes.plot(list(row), [100 * error for error in row.values()], "o-", markersize=4, label=name)
    axes.set_ylabel("relative error in %")
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", rotation=60)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", default=["resnet50_fpn", "resnet50_fpn_v2"])
    parser.add_argument("--plot", type=Path, help="a PNG file for the curves")
    arguments = parser.parse_args()
    figures = {name: errors(name) for name in arguments.networks}
    if arguments.plot:
        plot(figures, arguments.plot)
    for name, row in figures.items():
        print(name, *(f"{layer}: {error:.1%}" for layer, error in row.items()), sep="\n  ")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

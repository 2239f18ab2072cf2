"""Gives a Mask R-CNN random weights under which it behaves like a trained network.

The network's activations are sane, and it detects many objects. With plain random weights, activations
overflow or vanish, and the network detects nothing. Tests of fidelity and benchmarks of speed would then
compare nothing. Here, the network runs once on a random picture. During this run, hooks set each batch norm
to the statistics of its input. Other hooks scale the output layers, so that their values spread as in a
trained network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.ops import FrozenBatchNorm2d

SPREADS = {
    "rpn.head.cls_logits": 2.0,
    "rpn.head.bbox_pred": 0.3,
    "roi_heads.box_predictor.cls_score": 2.0,
    "roi_heads.box_predictor.bbox_pred": 0.5,
    "roi_heads.mask_predictor.mask_fcn_logits": 2.0,
}
"""Standard deviation of each output layer's values after the scaling."""
CALIBRATION_SEEDS = (2000, 2001, 2002)
"""Of the random pictures with which int8 networks are calibrated in benchmarks."""
RESIDUAL = 0.2
"""Standard deviation of the values that a residual block adds to its input.

With 1, each block would amplify rounding errors. No trained network does so.
"""


def random_network(build: Callable[[], MaskRCNN], seed: int = 0) -> MaskRCNN:
    """Returns the network that `build` makes, with seeded random weights, in evaluation mode."""
    torch.manual_seed(seed)
    network = build().eval()
    picture = torch.from_numpy(random_picture(256, 320, seed)).permute(2, 0, 1) / 255
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, (nn.BatchNorm2d, FrozenBatchNorm2d)):
            hooks.append(module.register_forward_pre_hook(_normalise_to(RESIDUAL if "bn3" in name else 1.0)))
        elif name in SPREADS:
            hooks.append(module.register_forward_hook(_spread_to(SPREADS[name])))
    with torch.no_grad():
        network([picture])
    for hook in hooks:
        hook.remove()
    return network


def random_picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Returns coloured noise, (height, width, 3) uint8. Its three scales give the network shapes to find."""
    rng = np.random.default_rng(seed)
    layers = []
    for cells in (6, 24, 96):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        layers.append(np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32))
    picture: NDArray[np.uint8] = np.mean(layers, axis=0).astype(np.uint8)
    return picture


def _normalise_to(deviation: float) -> Callable[[nn.Module, tuple[Tensor]], None]:
    """Returns a hook that makes a batch norm scale its input to mean 0 and this standard deviation."""

    def hook(module: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(module.running_mean, Tensor) and isinstance(module.running_var, Tensor)
        module.running_mean.copy_(inputs[0].mean((0, 2, 3)))
        module.running_var.copy_((inputs[0].var((0, 2, 3)) + 1e-3) / deviation**2)

    return hook


def _spread_to(deviation: float) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
    """Returns a hook that centres a layer's output channels and scales them to `deviation`.

    The hook changes the layer's parameters. If the network uses the layer at several levels, the hook scales
    the layer at the first level, where most of its outputs are.
    """
    seen: list[nn.Module] = []

    def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        if seen:
            return output
        seen.append(module)
        assert isinstance(module.weight, Tensor) and isinstance(module.bias, Tensor)
        others = [axis for axis in range(output.ndim) if axis != 1]
        factor = deviation / output.std()
        module.bias.copy_((module.bias - output.mean(others)) * factor)
        module.weight.mul_(factor)
        centred = output - output.mean(others, keepdim=True)
        return centred * factor

    return hook

"""Detail: lets a network look at a smaller picture and compute less for each part of it.

Torchvision's networks resize each picture to a shorter side of 800 pixels. At a lower detail the picture is
smaller, so the network finds fewer small objects. The proposals are fewer in proportion to the picture's
area, and masks have fewer cells, because most of the remaining time would be spent on them. "full" is
torchvision's own. "closer" is "full" for the whole photo and for each of its parts (`closer`).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TypeVar

from torch import nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN


@dataclass(frozen=True, slots=True)
class Detail:
    """How closely a network looks.

    Args:
        side: The shorter side of the picture that the network sees, in pixels.
        mask_cells: The cells along each side of an instance's features. Its mask has twice as many.
        title: What a visitor gains or loses, in words.
    """

    side: int
    mask_cells: int
    title: str


FULL_DETAIL = "full"
CLOSER = "closer"
DETAILS = {
    FULL_DETAIL: Detail(800, 14, "Finds smaller things, slower"),
    "balanced": Detail(560, 10, "In between"),
    "fast": Detail(400, 10, "Faster"),
    CLOSER: Detail(800, 14, "Looks closer, part by part: finds the smallest things, much slower"),
}

M = TypeVar("M", bound=nn.Module)


def has_details(network: GeneralizedRCNN) -> bool:
    """Whether `network` sees pictures of torchvision's size, so that a lower detail means something."""
    return getattr(network.transform, "min_size", None) == (DETAILS[FULL_DETAIL].side,)


def at_detail(network: GeneralizedRCNN, detail: str) -> GeneralizedRCNN:
    """Returns `network` as it looks at this detail. Shares all weights, and leaves `network` as it is.

    Args:
        detail: One of `DETAILS`. If the network has one detail only, the detail changes nothing.
    """
    if detail in (FULL_DETAIL, CLOSER) or not has_details(network):
        return network
    chosen, full = DETAILS[detail], DETAILS[FULL_DETAIL]
    share = (chosen.side / full.side) ** 2
    fewer = {
        limit: {mode: round(share * most) for mode, most in getattr(network.rpn, limit, {}).items()}
        for limit in ("_pre_nms_top_n", "_post_nms_top_n")
    }
    changed = _with(network, "transform", min_size=(chosen.side,))
    changed = _with(changed, "rpn", **fewer)
    for name, module in network.named_modules():  # the pool may lie inside of a faster part
        if "mask_roi_pool" in name and getattr(module, "output_size", None) == (full.mask_cells,) * 2:
            changed = _with(changed, name, output_size=(chosen.mask_cells,) * 2)
    return changed


def _with(module: M, path: str, **values: object) -> M:
    """Returns `module` with other values in the part at `path`. Everything else is shared."""
    changed = copy(module)
    if path:
        name, _, rest = path.partition(".")
        part = module._modules[name]
        assert part is not None
        changed._modules = module._modules | {name: _with(part, rest, **values)}
    else:
        vars(changed).update(values)
    return changed

"""Controls: adds the components that set how a result is shown, and reads their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from answer import coco
from answer.result import counts
from answer.settings import MASK_RANGE, SCORE_RANGE, Filters
from detections import Detections
from ui.components import ForgivingSlider, kind_filter
from visualize import PARTS, Style


@dataclass(frozen=True, slots=True)
class Controls:
    """The components, in the order in which `read` takes their values. `histogram` has no value to read."""

    threshold: gr.Slider
    kinds: gr.HTML
    mask_threshold: gr.Slider
    shown: gr.CheckboxGroup
    opacity: gr.Slider
    color_by: gr.Radio
    picture: gr.HTML
    histogram: gr.HTML

    def inputs(self) -> list[Any]:
        """Returns the components whose values `read` takes, in the same order."""
        return [
            self.threshold,
            self.kinds,
            self.mask_threshold,
            self.shown,
            self.opacity,
            self.color_by,
            self.picture,
        ]


def add_controls(picture: gr.HTML) -> Controls:
    """Adds all controls to the page except `picture`.

    Args:
        picture: The picture, which has its own place on the page. Its value holds the ids that are hidden by
            hand.
    """
    threshold = ForgivingSlider(
        *SCORE_RANGE,
        value=0.5,
        step=0.01,
        label="Score threshold",
        info="Hide objects that the model is less sure of.",
        elem_id="threshold",
    )
    histogram = gr.HTML(elem_id="histogram")
    kinds = kind_filter(elem_id="kinds")
    with gr.Accordion("Display", open=False):
        shown = gr.CheckboxGroup(
            [(part.capitalize(), part) for part in PARTS], value=list(PARTS), label="Show"
        )
        opacity = ForgivingSlider(0, 1, value=0.5, step=0.05, label="Mask opacity", elem_id="opacity")
        color_by = gr.Radio(
            [("each object", "instance"), ("each kind", "category")], value="instance", label="A colour for"
        )
        mask_threshold = ForgivingSlider(
            *MASK_RANGE,
            value=0.5,
            step=0.05,
            label="Mask threshold",
            info="Higher: masks keep only the pixels that surely belong.",
            elem_id="mask-threshold",
        )
    return Controls(threshold, kinds, mask_threshold, shown, opacity, color_by, picture, histogram)


def read(
    detections: Detections,
    threshold: float,
    kinds: dict[str, list[str]],
    mask_threshold: float,
    shown: list[str],
    opacity: float,
    color_by: Any,
    picture: dict[str, list[int]],
) -> tuple[Filters, Style]:
    """Returns the filters and the style that the values of `Controls.inputs` mean for these detections."""
    unticked = set(kinds["unticked"])
    offered = [name for name in counts(detections) if name in coco.BY_NAME]
    classes = tuple(name for name in offered if name not in unticked)
    everything = len(classes) == len(offered)
    parts = {part: part in shown for part in PARTS}
    style = Style(**parts, opacity=opacity, color_by=color_by, mask_threshold=mask_threshold)
    return Filters(
        threshold, None if everything else classes, mask_threshold, tuple(picture["hidden"])
    ), style


def to_settings(
    threshold: float,
    kinds: dict[str, list[str]],
    mask_threshold: float,
    shown: list[str],
    opacity: float,
    color_by: str,
    picture: object,
) -> dict[str, Any]:
    """Returns the values of `Controls.inputs` by their names in `ui.links`.

    The instances that are hidden by hand are left out, because they belong to this photo only.
    """
    return {
        "score_threshold": threshold,
        "mask_threshold": mask_threshold,
        "without": kinds["unticked"],
        "show": [part for part in PARTS if part in shown],
        "opacity": opacity,
        "color_by": color_by,
    }

"""Panels: what waits behind the first look. Effects, a comparison, downloads, and the calls as code.

Each is a few components (`add_…`) and what they show of a result; `page` joins them with events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import cv2
import gradio as gr
import numpy as np
from numpy.typing import NDArray

from answer.files import EXPORTS
from answer.result import Result, names, view
from answer.settings import OTHER_THRESHOLD, SCORE_RANGE, Filters, rgb
from network.architectures import ARCHITECTURES
from ui.components import ASSETS, ForgivingSlider, picture_file
from ui.links import SETTINGS
from ui.snippets import to_curl, to_javascript, to_python
from visualize import EFFECTS, Style, annotate, apply_effect

SAME = "same"
SLIDER: dict[str, Any] = {"interactive": False, "buttons": ["fullscreen"], "max_height": 640}
LINK_SCRIPT = """(link) => {
  if (!link) return;
  const address = new URL(window.location), query = new URL(link).searchParams;
  for (const name of SETTINGS) address.searchParams.delete(name);
  for (const [name, value] of query) address.searchParams.set(name, value);
  window.history.replaceState(null, "", address);
  // On a Space the page stands in a frame of the hub's, which is told.
  if (window.parent !== window)
    window.parent.postMessage({ queryString: query.toString() }, "https://huggingface.co");
}""".replace("SETTINGS", str(list(SETTINGS)))
CHECKS = 12
"""Pixels a side of the chequered squares that stand for transparency."""


@dataclass(frozen=True, slots=True)
class Effects:
    effect: gr.Radio
    color: gr.ColorPicker
    slider: gr.ImageSlider
    save: gr.Button


def add_effects() -> Effects:
    effect = gr.Radio(
        [(title, name) for name, title in EFFECTS.items()],
        value="spotlight",
        label="Effect",
        info="Made with the objects in view. Kinds not ticked and objects you hid stay out of it.",
        elem_id="effect",
    )
    color = gr.ColorPicker("#ffffff", label="Background", visible=False, elem_id="color")
    effect.change(
        lambda name: gr.update(visible=name == "color_background"),
        effect,
        color,
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    slider = gr.ImageSlider(label="Before and after", elem_id="before-after", **SLIDER)
    save = gr.Button("Download this picture", interactive=False, elem_id="save-effect")
    gr.Markdown("Only what a mask covers is blurred or pixelated: look at the edges before you publish.")
    return Effects(effect, color, slider, save)


def before_and_after(found: Result, filters: Filters, effect: Any, color: str) -> tuple[str, str]:
    """Paths of the working image without and with an effect."""
    image, shown = found.working_image, view(found.detections, filters)
    after = apply_effect(image, shown, effect, mask_threshold=filters.mask_threshold, color=rgb(color))
    return picture_file(image), picture_file(_on_checks(after) if after.shape[2] == 4 else after)


@dataclass(frozen=True, slots=True)
class Comparison:
    model: gr.Dropdown
    threshold: gr.Slider
    other: gr.State
    """The other model's result on the photo; None where the model is the same."""
    words: gr.Markdown
    slider: gr.ImageSlider


def add_comparison() -> Comparison:
    with gr.Row():
        model = gr.Dropdown(
            [("the same model", SAME)] + [(kind.title, name) for name, kind in ARCHITECTURES.items()],
            value=SAME,
            label="On the right: model",
            elem_id="other-model",
        )
        threshold = ForgivingSlider(
            *SCORE_RANGE,
            value=OTHER_THRESHOLD,
            step=0.01,
            label="and score threshold",
            elem_id="other-threshold",
        )
    words = gr.Markdown(elem_id="comparison")
    slider = gr.ImageSlider(label="Left: as set. Right: the other.", elem_id="left-right", **SLIDER)
    return Comparison(model, threshold, gr.State(None), words, slider)


def side_by_side(
    left: tuple[Result, Filters], right: tuple[Result, Filters], style: Style
) -> tuple[str, tuple[str, str]]:
    """What the two sides show, in words, and the paths of both pictures."""
    words, pictures = [], []
    for name, (result, passing) in zip(("Left", "Right"), (left, right), strict=True):
        shown = view(result.detections, passing)
        score = f"{passing.score_threshold:.2f}"
        objects = f"{len(shown)} object{'' if len(shown) == 1 else 's'}"
        words.append(f"**{name}:** {objects}, model {result.model.name}, threshold {score}.")
        annotated = annotate(result.working_image, shown, names(shown), style, result.detections)
        pictures.append(picture_file(annotated))
    return "  \n".join(words), (pictures[0], pictures[1])


@dataclass(frozen=True, slots=True)
class Downloads:
    format: gr.Dropdown
    soft: gr.Checkbox
    save: gr.Button
    file: gr.DownloadButton
    """Out of sight; what is given to it is downloaded."""


def add_downloads() -> Downloads:
    with gr.Row(equal_height=True, elem_id="downloads"):
        format = gr.Dropdown(
            [(kind.title, name) for name, kind in EXPORTS.items()],
            value="annotated",
            label="Download",
            info="What is in view, at the full size of your photo.",
            scale=3,
            elem_id="format",
        )
        soft = gr.Checkbox(False, label="Soft edges", visible=False, elem_id="soft")
        save = gr.Button("Download", interactive=False, scale=1, min_width=140, elem_id="save")
    format.change(
        lambda name: gr.update(visible=name in ("cutouts", "zip")),
        format,
        soft,
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    return Downloads(format, soft, save, gr.DownloadButton(visible="hidden", elem_id="saved"))


@dataclass(frozen=True, slots=True)
class Code:
    python: gr.Code
    javascript: gr.Code
    curl: gr.Code
    agents: gr.Markdown


def add_code() -> Code:
    with gr.Accordion("Use it from a program", open=False):
        gr.Markdown("What you see now, as a call:")
        with gr.Tab("Python"):
            gr.Markdown("After `pip install gradio_client`:")
            python = gr.Code(
                language="python", interactive=False, elem_id="python", show_label=False, buttons=["copy"]
            )
        with gr.Tab("JavaScript"):
            gr.Markdown(
                "After `npm install @gradio/client`, in a file whose name ends in `.mjs`, for Node.js:"
            )
            javascript = gr.Code(
                language="javascript",
                interactive=False,
                elem_id="javascript",
                show_label=False,
                buttons=["copy"],
            )
        with gr.Tab("curl"):
            curl = gr.Code(
                language="shell", interactive=False, elem_id="curl", show_label=False, buttons=["copy"]
            )
        with gr.Tab("Agents"):
            agents = gr.Markdown(elem_id="agents")
    return Code(python, javascript, curl, agents)


def calls(address: str, found: Result, filters: Filters, style: Style) -> tuple[str, str, str]:
    """The code for Python, for JavaScript and for the shell."""
    return (
        to_python(address, found, filters, style),
        to_javascript(address, found, filters, style),
        to_curl(address, found, filters),
    )


def for_agents(address: str) -> str:
    """How a language model is given the tools of this app."""
    return (
        f"This app is also an MCP server, at `{address}/gradio_api/mcp/`: give your assistant that address, "
        "and it can find, count and show the objects in pictures on the web (tools `detect_objects` and "
        "`draw_objects`)."
    )


def add_link() -> gr.Textbox:
    """What opens the page as it is now, and is kept in the browser's address bar."""
    link = gr.Textbox(
        label="Link to this view",
        info="Opens this page with these settings. A photo of yours is not in it; an example is.",
        interactive=False,
        buttons=["copy"],
        placeholder=" ",  # by which the style sheet knows that it is empty
        elem_id="link",
    )
    link.change(None, link, None, js=LINK_SCRIPT)
    return link


def add_explanation() -> None:
    """How the model sees, with pictures that `tools/explain.py` makes."""
    pictures = ASSETS / "how"
    gr.set_static_paths(pictures)
    text = (ASSETS / "how.html").read_text(encoding="utf-8")
    with gr.Accordion("How it works", open=False):
        gr.HTML(text.replace("{folder}", quote(pictures.as_posix())), apply_default_css=False)


def _on_checks(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An RGBA picture laid over grey squares, as image editors show what is transparent."""
    rows, columns = np.indices(picture.shape[:2], np.uint16) // CHECKS
    squares = np.where((rows + columns) % 2, np.uint8(205), np.uint8(240))
    laid = np.repeat(squares[..., np.newaxis], 3, axis=2)
    cv2.copyTo(np.ascontiguousarray(picture[..., :3]), picture[..., 3], laid)
    return laid

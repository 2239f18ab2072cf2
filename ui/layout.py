"""Layout: what is on the page, and where. `page` says what happens when something of it is used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import gradio as gr

from answer.edits import read_edits
from answer.files import EXPORTS
from answer.many_files import EXPORTS as MANY_EXPORTS
from answer.settings import MASK_RANGE, SCORE_RANGE
from clips.files import EXPORTS as CLIP_EXPORTS
from network.architectures import ARCHITECTURES, Architecture
from network.detail import DETAILS
from network.weights import FILE_VARIABLE, REPO_VARIABLE
from ui import links
from ui.choices import OTHER_SHOWS, SAME, Choices
from ui.components import ASSETS, ForgivingSlider, stage, summary_panel
from ui.inside import InsideTab, add_inside
from visualize import EFFECTS

TITLE = "# See every object in a photo"
FRESH = Choices()
DETAIL_INFO = "For Mask R-CNN. The small models have only the first and the last."
SAVE_EFFECT, SAVE_CLIP_EFFECT = "Download this picture", "Download the clip with this effect"
EFFECT_NOTE = "Only what a mask covers is blurred or pixelated: look at the edges before you publish."
CLIP_EFFECT_NOTE = (
    "The effect is seen in the downloaded clip. An object that the model loses for up to 5 of the frames "
    "it looks at stays covered. An object that it never finds stays visible: watch the whole clip before "
    "you publish it."
)
LINK_SCRIPT = """(link) => {
  if (!link) return;
  const address = new URL(window.location), query = new URL(link).searchParams;
  for (const name of SETTINGS) address.searchParams.delete(name);
  for (const [name, value] of query) address.searchParams.set(name, value);
  window.history.replaceState(null, "", address);
  // On a Space the page stands in a frame of the hub's, which is told.
  if (window.parent !== window)
    window.parent.postMessage({ queryString: query.toString() }, "https://huggingface.co");
}""".replace("SETTINGS", str(list(links.SETTINGS)))
"""Writes the settings into the address of the page."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The components of the page that something happens to, or that something is read from."""

    banner: gr.Row
    notice: gr.Markdown
    again: gr.Button
    picture: gr.HTML
    summary: gr.HTML
    histogram: gr.HTML
    run: gr.Button
    compared: gr.Markdown
    save_effect: gr.Button
    effect_note: gr.Markdown
    format: gr.Dropdown
    clip_format: gr.Dropdown
    many_format: gr.Dropdown
    save_many: gr.Button
    soft: gr.Checkbox
    save: gr.Button
    copy: gr.Button
    share: gr.Button
    file: gr.DownloadButton
    """Out of sight; what is given to it is downloaded."""
    link: gr.Textbox
    python: gr.Code
    javascript: gr.Code
    curl: gr.Code
    agents: gr.Markdown
    inside: InsideTab
    tabs: gr.Tabs
    tab_of: dict[str, gr.Tab]
    controls: dict[str, Any]
    """The components of `ui.choices.Choices`, by the names of its fields. `picture` and `summary` hold the
    rest."""

    def inputs(self) -> set[Any]:
        """Returns the components whose values `read` needs."""
        return {self.picture, self.summary, *self.controls.values()}

    def read(self, values: Mapping[Any, Any]) -> Choices:
        """Returns what the visitor has set, from the values of `inputs`."""
        picture = values[self.picture]
        return Choices(
            **{name: values[component] for name, component in self.controls.items()},
            without=tuple(values[self.summary]["unticked"]),
            thresholds=dict(values[self.summary].get("thresholds", {})),
            hidden=tuple(picture["hidden"]),
            edits=read_edits(picture.get("edits")),
            show=tuple(picture["show"]),
            scale=picture.get("scale"),
        )

    def of_clip(self, is_clip: bool) -> dict[Any, Any]:
        """Returns the components that are about photos only, or about clips only, shown or out of sight."""
        return {
            self.format: gr.update(visible=not is_clip),
            self.copy: gr.update(visible=not is_clip),
            self.share: gr.update(visible=not is_clip),
            self.clip_format: gr.update(visible=is_clip),
            self.save_effect: gr.update(value=SAVE_CLIP_EFFECT if is_clip else SAVE_EFFECT),
            self.effect_note: CLIP_EFFECT_NOTE if is_clip else EFFECT_NOTE,
        }

    def outputs(self) -> set[Any]:
        """Returns the components that a result gives new values to."""
        code = {self.python, self.javascript, self.curl, self.link}
        shown = {self.picture, self.summary, self.histogram, self.compared}
        return code | shown | set(self.controls.values()) | set(self.of_clip(False))


def add_layout() -> Layout:
    """Adds everything to the `gr.Blocks` that is open."""
    parts: dict[str, Any] = {}
    controls: dict[str, Any] = {"tab": gr.State(FRESH.tab)}
    gr.set_static_paths(links.PICTURES)  # served from there: copies of them would be swept away
    gr.Markdown(TITLE, elem_id="title")
    _add_banner(parts)
    with gr.Row(equal_height=False, elem_id="top"):
        with gr.Column(scale=7, min_width=320, elem_id="stage-column"):
            examples = {name: links.EXAMPLES[name] for name in links.PHOTOS}
            parts["picture"] = stage(examples, elem_id="picture")
        with gr.Column(scale=3, min_width=280, elem_id="rail"):
            _add_rail(parts, controls)
    _add_many(parts)
    with gr.Tabs(elem_id="tabs") as tabs:
        tab_of = {
            name: _add_tab(name, add, parts, controls)
            for name, add in {
                "Objects": _add_objects,
                "Effects": _add_effects,
                "Compare": _add_comparison,
                "Inside": add_inside,
                "Download": _add_downloads,
                "Code": _add_code,
                "How it works": _add_explanation,
            }.items()
        }
    # Not inside of a tab: Gradio builds what is in a tab only when the tab is opened.
    parts["file"] = gr.DownloadButton(visible="hidden", elem_id="saved")
    return Layout(**parts, tabs=tabs, tab_of=tab_of, controls=controls)


def _add_tab(name: str, add: Any, parts: dict[str, Any], controls: dict[str, Any]) -> gr.Tab:
    with gr.Tab(name, id=name) as tab:
        add(parts, controls)
    return tab


def _add_banner(parts: dict[str, Any]) -> None:
    with gr.Row(elem_id="banner", visible=False) as parts["banner"]:
        parts["notice"] = gr.Markdown(elem_id="notice")
        parts["again"] = gr.Button("Try again", size="sm", scale=0, min_width=120, elem_id="again")


def _add_many(parts: dict[str, Any]) -> None:
    """Adds what is about many photos. It is out of sight unless there are many (page.css)."""
    with gr.Column(elem_id="many"):
        gr.HTML('<div id="many-home"></div>', apply_default_css=False, padding=False)
        with gr.Row(equal_height=True, elem_id="many-downloads"):
            parts["many_format"] = gr.Dropdown(
                [(kind.title, name) for name, kind in MANY_EXPORTS.items()],
                value=next(iter(MANY_EXPORTS)),
                label="Download for all photos",
                info="What is in view in each of them.",
                scale=3,
                elem_id="many-format",
            )
            parts["save_many"] = gr.Button("Download all", scale=1, min_width=140, elem_id="save-many")


def _add_rail(parts: dict[str, Any], controls: dict[str, Any]) -> None:
    parts["summary"] = summary_panel(elem_id="summary")
    controls["score_threshold"] = ForgivingSlider(
        *SCORE_RANGE,
        value=FRESH.score_threshold,
        step=0.01,
        label="How sure must the model be?",
        info="The score threshold: objects with a lower score are hidden.",
        elem_id="threshold",
    )
    parts["histogram"] = gr.HTML(elem_id="histogram")
    gr.HTML('<div id="selected"></div>', apply_default_css=False, padding=False, elem_id="selected-home")
    with gr.Accordion("Display", open=False):
        controls["opacity"] = ForgivingSlider(
            0, 1, value=FRESH.opacity, step=0.05, label="Mask opacity", elem_id="opacity"
        )
        controls["color_by"] = gr.Radio(
            [("each object", "instance"), ("each kind", "category")],
            value=FRESH.color_by,
            label="A colour for",
        )
        controls["mask_threshold"] = ForgivingSlider(
            *MASK_RANGE,
            value=FRESH.mask_threshold,
            step=0.05,
            label="Mask threshold",
            info="Higher: masks keep only the pixels that surely belong.",
            elem_id="mask-threshold",
        )
    with gr.Accordion("Model", open=False):
        controls["model"] = gr.Radio(
            [("Automatic: the best one available", "auto")]
            + [(title_of(architecture), name) for name, architecture in ARCHITECTURES.items()],
            value=FRESH.model,
            label="Model",
            info="One that is not here yet is fetched when it is first used (about 180 MB).",
            elem_id="model",
        )
        controls["detail"] = gr.Radio(
            [(detail.title, name) for name, detail in DETAILS.items()],
            value=FRESH.detail,
            label="Detail",
            info=DETAIL_INFO,
            elem_id="detail",
        )
        parts["run"] = gr.Button("Look again", elem_id="run")


def _add_objects(parts: dict[str, Any], controls: dict[str, Any]) -> None:
    gr.HTML('<div id="objects-table"></div>', apply_default_css=False, padding=False)


def _add_effects(parts: dict[str, Any], controls: dict[str, Any]) -> None:
    effect = gr.Radio(
        [(title, name) for name, title in EFFECTS.items()],
        value=FRESH.effect,
        label="Effect",
        info="Made with the objects in view. Kinds that are hidden and objects you hid stay out of it. "
        "Drag the line on the picture to compare.",
        elem_id="effect",
    )
    color = gr.ColorPicker(FRESH.color, label="Background", visible=False, elem_id="color")
    _shows(effect, color, ("color_background",))
    parts["save_effect"] = gr.Button(SAVE_EFFECT, elem_id="save-effect")
    parts["effect_note"] = gr.Markdown(EFFECT_NOTE)
    controls |= {"effect": effect, "color": color}


def _add_comparison(parts: dict[str, Any], controls: dict[str, Any]) -> None:
    gr.Markdown("The left side of the picture stays as it is set. Drag the line to compare.")
    with gr.Row():
        controls["other_model"] = gr.Dropdown(
            [("the same model", SAME)] + [(kind.title, name) for name, kind in ARCHITECTURES.items()],
            value=FRESH.other_model,
            label="On the right: model",
            elem_id="other-model",
        )
        controls["other_threshold"] = ForgivingSlider(
            *SCORE_RANGE,
            value=FRESH.other_threshold,
            step=0.01,
            label="and how sure it must be",
            elem_id="other-threshold",
        )
    controls["other_show"] = gr.Radio(
        [(title, name) for name, title in OTHER_SHOWS.items()],
        value=FRESH.other_show,
        label="On the right of the line",
        elem_id="other-show",
    )
    parts["compared"] = gr.Markdown(elem_id="comparison")


def _add_downloads(parts: dict[str, Any], controls: dict[str, Any]) -> None:
    with gr.Row(equal_height=True, elem_id="downloads"):
        format = parts["format"] = gr.Dropdown(
            [(kind.title, name) for name, kind in EXPORTS.items()],
            value=next(iter(EXPORTS)),
            label="What to download",
            info="What is in view, at the full size of your photo.",
            scale=3,
            elem_id="format",
        )
        parts["clip_format"] = gr.Dropdown(
            [(kind.title, name) for name, kind in CLIP_EXPORTS.items()],
            value=next(iter(CLIP_EXPORTS)),
            label="What to download",
            info="What is in view in the clip.",
            scale=3,
            visible=False,
            elem_id="clip-format",
        )
        soft = parts["soft"] = gr.Checkbox(False, label="Soft edges", visible=False, elem_id="soft")
        _shows(format, soft, ("cutouts", "zip"))
        parts["save"] = gr.Button("Download", variant="primary", scale=1, min_width=140, elem_id="save")
        parts["copy"] = gr.Button("Copy picture", scale=1, min_width=140, elem_id="copy")
        parts["share"] = gr.Button("Share", scale=1, min_width=140, elem_id="share")
    parts["link"] = gr.Textbox(
        label="Link to this view",
        info="Opens this page with these settings. A photo of yours is not in it; an example is.",
        interactive=False,
        buttons=["copy"],
        elem_id="link",
    )
    parts["link"].change(None, parts["link"], None, js=LINK_SCRIPT)


def _add_code(parts: dict[str, Any], controls: dict[str, Any]) -> None:
    gr.Markdown("What you see now, as a program:")
    with gr.Tab("Python"):
        gr.Markdown("After `pip install gradio_client`:")
        parts["python"] = _code("python", "python")
    with gr.Tab("JavaScript"):
        gr.Markdown("After `npm install @gradio/client`, in a file whose name ends in `.mjs`, for Node.js:")
        parts["javascript"] = _code("javascript", "javascript")
    with gr.Tab("curl"):
        parts["curl"] = _code("shell", "curl")
    with gr.Tab("Agents"):
        parts["agents"] = gr.Markdown(elem_id="agents")


def _code(language: Any, id: str) -> gr.Code:
    return gr.Code(language=language, interactive=False, elem_id=id, show_label=False, buttons=["copy"])


def _add_explanation(parts: dict[str, Any], controls: dict[str, Any]) -> None:
    pictures = ASSETS / "how"
    gr.set_static_paths(pictures)
    text = (ASSETS / "how.html").read_text(encoding="utf-8")
    text = text.replace("{folder}", quote(pictures.as_posix()))
    text = text.replace("{scenes}", quote((links.PICTURES / "scenes").as_posix()))
    gr.HTML(text, apply_default_css=False)


def _shows(chooser: Any, shown: Any, values: tuple[str, ...]) -> None:
    """Shows a component only while `chooser` has one of these values."""
    chooser.change(
        lambda value: gr.update(visible=value in values),
        chooser,
        shown,
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )


def title_of(architecture: Architecture) -> str:
    """Returns what the list of models calls a network.

    Where the owner names weights, only they say how many kinds of object the network knows. They may be on
    the Hub, so nobody can say it when the page is built.
    """
    if any(os.environ.get(variable) for variable in (FILE_VARIABLE, REPO_VARIABLE)):
        return re.sub(r"\d+ kinds of object, ", "", architecture.title)
    return architecture.title

"""Page: what a visitor sees, and what happens when something is clicked or moved.

The model runs when a photo arrives or the button is pressed. Everything else (`show`) is a view of the
result that the browser session keeps, and never touches the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from api import EXPECTED_ERRORS, IN_FLIGHT, fallback_notice, save_annotated, sentences_for_people
from components import Layer, LayeredImage, PhotoInput
from detections import Detections
from export import areas
from images import ImageError
from inference import SCORE_FLOOR
from models import Models
from networks import ARCHITECTURES
from report import TABLE_HEADERS, picture_labels, summary, table, unique_labels
from result import Filters, Result, counts, segment_file, view
from visualize import Style, draw_boxes, instance_colors

HERE = Path(__file__).resolve().parent
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png")
SESSION_SECONDS = 3600
"""How long a session's result is kept after it was last used."""
POLL_SECONDS = 1.0

WELCOME = "Drop a photo on the left, take one with the camera, paste one, or click an example below."
EXPIRED = "There is no result to look at (one is kept for an hour). Send a photo, or press *Segment* again."
HOW_IT_WORKS = """
- **What runs here** is Mask R-CNN, a neural network that was shown 118,000 photos in which people had
  outlined every object of 80 everyday kinds (the COCO data set). It can only name those 80 kinds.
- **Score**: how sure the network is of what it names, from 0 to 1. It is not a guarantee: a confident
  mistake can have a high score.
- **Score threshold**: objects with a lower score are hidden. Lower it and you see more, right and wrong;
  raise it and only the sure ones stay. Moving it does not run the network again.
- **Mask**: the pixels that belong to the object. For each pixel in the box the network gives a probability;
  above the *mask threshold* the pixel counts.
- **Typical mistakes**: crowds and tiny objects are missed, one object is found twice, reflections and
  pictures of things count as things, and anything outside of the 80 kinds is named as the nearest one.
"""


@dataclass(frozen=True, slots=True)
class _Controls:
    """The components that say how a result is looked at, in the order in which `show` takes their values."""

    threshold: gr.Slider
    unticked: gr.State
    mask_threshold: gr.Slider
    shown: gr.CheckboxGroup
    opacity: gr.Slider
    color_by: gr.Radio

    def all(self) -> list[Any]:
        return [self.threshold, self.unticked, self.mask_threshold, self.shown, self.opacity, self.color_by]


def add_page(blocks: gr.Blocks, models: Models) -> None:
    """Adds the page to `blocks`, which is open."""
    gr.Markdown("# See every object in a photo\nEach one outlined, boxed, named, scored and counted.")
    with gr.Row(elem_id="banner", visible=False) as banner:
        notice = gr.Markdown(elem_id="notice")
        again = gr.Button("Try again", size="sm", scale=0, min_width=120, elem_id="again")
    result = gr.State(None, time_to_live=SESSION_SECONDS)

    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            photo = PhotoInput(
                label="Photo",
                type="filepath",
                sources=["upload", "webcam", "clipboard"],
                height=300,
                elem_id="photo",
            )
            run = gr.Button("Segment", variant="primary", elem_id="run")
            threshold = gr.Slider(
                SCORE_FLOOR,
                1.0,
                value=0.5,
                step=0.01,
                label="Score threshold",
                info="Hide objects that the model is less sure of.",
                elem_id="threshold",
            )
            classes = gr.CheckboxGroup(
                [],
                label="Kinds of object",
                info="Untick to hide.",
                show_select_all=True,
                visible=False,
                elem_id="classes",
            )
            with gr.Accordion("Display", open=False):
                shown = gr.CheckboxGroup(
                    [("Masks", "masks"), ("Boxes", "boxes"), ("Labels", "labels")],
                    value=["masks", "boxes", "labels"],
                    label="Show",
                )
                opacity = gr.Slider(0, 1, value=0.5, step=0.05, label="Mask opacity")
                color_by = gr.Radio(
                    [("each object", "instance"), ("each kind", "category")],
                    value="instance",
                    label="A colour for",
                )
                mask_threshold = gr.Slider(
                    0.05,
                    0.95,
                    value=0.5,
                    step=0.05,
                    label="Mask threshold",
                    info="Higher: masks keep only the pixels that surely belong.",
                )
            with gr.Accordion("Model", open=False):
                model = gr.Radio(
                    [("Automatic: the best one available", "auto")]
                    + [(architecture.title, name) for name, architecture in ARCHITECTURES.items()],
                    value="auto",
                    label="Model",
                    info="One that is not here yet is fetched when it is first used (about 180 MB).",
                    elem_id="model",
                )
        with gr.Column(scale=3, min_width=320):
            picture = LayeredImage(label="Objects", elem_id="picture", show_legend=True)
            words = gr.Markdown(WELCOME, elem_id="summary")
            rows = gr.Dataframe(
                headers=list(TABLE_HEADERS),
                datatype=["number", "str"] + ["number"] * (len(TABLE_HEADERS) - 2),
                interactive=False,
                label="Every object, in pixels of the original photo",
                max_height=360,
                visible=False,
                elem_id="table",
            )
            save = gr.Button("Download annotated picture", interactive=False, elem_id="save")
            saved = gr.DownloadButton(visible="hidden", elem_id="saved")

    _add_examples(photo)
    with gr.Accordion("How it works", open=False):
        gr.Markdown(HOW_IT_WORKS)

    controls = _Controls(threshold, gr.State(frozenset()), mask_threshold, shown, opacity, color_by)
    outputs = [picture, words, rows, classes, save]
    private: dict[str, Any] = {"api_visibility": "private"}
    instant = private | {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}

    def find_objects(path: str | None, name: str, *look: Any, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
        if path is None:
            return [None, *_nothing(WELCOME)]
        try:
            progress(0.0, "Loading the model (the first time takes longest)")
            found = segment_file(path, models.get(name), progress)
        except ImageError as error:
            return [None, *_nothing(f"**{error}**")]
        except EXPECTED_ERRORS as error:  # the photo is fine: keep what is on screen
            reason = f"**{error}** Choose another model, or try again later."
            return [gr.update(), gr.update(), reason, *[gr.update()] * 3]
        progress(0.95, "Drawing")
        return [found, *show(found, *look)]

    arguments = {"inputs": [photo, model, *controls.all()], "outputs": [result, *outputs]}
    once = private | {
        "concurrency_limit": IN_FLIGHT,
        "concurrency_id": "model",
        "trigger_mode": "always_last",
        "show_progress_on": [picture],
        "scroll_to_output": True,
    }
    gr.on([photo.change, run.click, model.input], find_objects, **arguments, **once)  # type: ignore[arg-type]

    view_arguments = {"inputs": [result, *controls.all()], "outputs": outputs}
    moved = [threshold.input, mask_threshold.input, shown.input, opacity.input, color_by.input]
    gr.on(moved, show, **view_arguments, **instant)  # type: ignore[arg-type]
    classes.input(untick, [classes, controls.unticked, result, threshold], controls.unticked, **instant).then(
        show, **view_arguments, **instant
    )
    save.click(download, [result, *controls.all()], saved, **private).success(
        None, js="() => document.querySelector('#saved').click()", **private
    )
    _add_banner(blocks, models, banner, notice, again, instant)


def untick(
    ticked: list[str], unticked: frozenset[str], found: Result | None, threshold: float
) -> frozenset[str]:
    """The kinds that stay away, after a click in the class filter: what it offered and is not ticked now.

    Kinds that it did not offer, because none of them reaches the threshold, stay as they were.
    """
    if found is None:
        return unticked
    offered = counts(view(found.detections, Filters(threshold))).keys()
    return frozenset((unticked - offered) | (offered - set(ticked)))


def download(found: Result | None, *look: Any) -> str:
    """The path of the annotated photo as it is looked at, at its original resolution."""
    if found is None:
        raise gr.Error(EXPIRED, print_exception=False)
    with sentences_for_people():
        return save_annotated(found, *_filters_and_style(found.detections, *look))


def show(found: Result | None, *look: Any) -> list[Any]:
    """The values of picture, summary, table, class filter and download button for a result."""
    if found is None:
        return _nothing(EXPIRED)
    filters, style = _filters_and_style(found.detections, *look)
    seen = view(found.detections, filters)
    choices = counts(view(found.detections, Filters(filters.score_threshold)))
    ticked = [name for name in choices if filters.classes is None or name in filters.classes]
    return [
        _layered(found, seen, style),
        summary(found, filters),
        gr.update(value=table(seen, areas(seen, filters.mask_threshold)), visible=len(seen) > 0),
        gr.update(
            choices=[(f"{name} ({count})", name) for name, count in choices.items()],
            value=ticked,
            visible=bool(choices),
        ),
        gr.update(interactive=True),
    ]


def _nothing(text: str) -> list[Any]:
    """The values that `show` gives when there is no result: an empty page that says `text`."""
    hidden = gr.update(visible=False)
    return [None, text, hidden, gr.update(choices=[], value=[], visible=False), gr.update(interactive=False)]


def _layered(found: Result, seen: Detections, style: Style) -> Any:
    size = found.working_image.shape[:2]
    labels = unique_labels(seen)
    colors = instance_colors(seen, style.color_by)
    picture = draw_boxes(found.working_image, seen, picture_labels(seen), style)
    free = (picture == found.working_image).all(axis=2)  # layers lie on top: leave boxes and labels clear
    layers = [
        Layer(seen.mask(i, size, style.mask_threshold) & free, labels[i], colors[i]) for i in range(len(seen))
    ]
    color_map = {label: f"#{bytes(color).hex()}" for label, color in zip(labels, colors, strict=True)}
    return gr.update(value=(picture, layers, style.opacity if style.masks else 0.0), color_map=color_map)


def _filters_and_style(
    detections: Detections,
    threshold: float,
    unticked: frozenset[str],
    mask_threshold: float,
    shown: Iterable[str],
    opacity: float,
    color_by: Any,
) -> tuple[Filters, Style]:
    classes = tuple(name for name in counts(detections) if name not in unticked) if unticked else None
    parts = {part: part in shown for part in ("masks", "boxes", "labels")}
    style = Style(**parts, opacity=opacity, color_by=color_by, mask_threshold=mask_threshold)
    return Filters(threshold, classes, mask_threshold), style


def _add_examples(photo: PhotoInput) -> None:
    photos = [str(HERE / "examples" / name) for name in PHOTOS]
    scenes = sorted(str(path) for path in (HERE / "examples" / "scenes").glob("*.png"))
    gr.Examples(photos, photo, label="Photos to try", cache_examples=False)
    gr.Examples(
        scenes, photo, label="Drawn scenes (the small built-in model knows these)", cache_examples=False
    )


def _add_banner(
    blocks: gr.Blocks,
    models: Models,
    banner: gr.Row,
    notice: gr.Markdown,
    again: gr.Button,
    instant: dict[str, Any],
) -> None:
    """Says above the page what the model is doing, while there is something to say."""
    timer = gr.Timer(POLL_SECONDS)

    def state() -> list[Any]:
        best = models.best
        shortfall = best.shortfall if best else None
        text = fallback_notice(shortfall) if shortfall else ""
        if models.loading:
            text = "The model is being loaded; a photo that you send now waits for it."
        elif shortfall:
            text += " Press *Try again*, or start the app with `SEGMENTATION_WEIGHTS=file.pth`."
        elif best is None:
            text = "The model could not be loaded; the server's log says why."
        visible = gr.update(visible=bool(text))
        return [visible, text, gr.update(visible=not models.loading), gr.update(active=models.loading)]

    def begin() -> list[Any]:
        models.start()
        return state()

    def retry() -> list[Any]:
        models.retry()
        return state()

    outputs = [banner, notice, again, timer]
    blocks.load(begin, None, outputs, **instant)
    timer.tick(state, None, outputs, **instant)
    again.click(retry, None, outputs, **instant)

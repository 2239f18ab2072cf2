"""Page: what a visitor sees, and what happens when something is clicked or moved.

The model runs when a photo arrives, the button is pressed or another model is compared. Everything else is
a view of the result that the browser session keeps (`show`), and never touches the model.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import numpy as np

from answer.files import check_format, cut_out_file, effect_file, export_file
from answer.report import kinds, summary
from answer.result import Result, view
from answer.settings import SettingsError
from network.architectures import ARCHITECTURES
from photo.errors import ImageError
from serving.estimates import effect_bytes, export_bytes
from serving.models import Models
from serving.scheduler import Job
from serving.service import EXPECTED_ERRORS, Request, Service, keep, new_folder
from ui import controls, links, panels
from ui.api import fallback_notice
from ui.components import picture_file, said, stage
from ui.histogram import histogram
from ui.overlay import look, scene

POLL_SECONDS = 1.0
Wish = tuple[str | None, int]
"""The photo to look at, as JSON of what the stage sent, and a number that is another one each time."""
NOTHING_ASKED: Wish = (None, 0)
NOTHING: dict[str, Any] = {"hidden": [], "photo": None}

WELCOME = "Drop a photo, take one with the camera, paste one, or click an example."
FOR_SCREEN_READERS = """() => {
  for (const told of document.querySelectorAll("#summary, #notice")) told.setAttribute("aria-live", "polite");
}"""
STOPPED = "Stopped."
EXPIRED = "There is no result to look at (one is kept for an hour). Please send the photo again."


def add_page(blocks: gr.Blocks, service: Service) -> None:
    """Adds the page to `blocks`, which is open."""
    gr.Markdown("# See every object in a photo", elem_id="title")
    with gr.Row(elem_id="banner", visible=False) as banner:
        notice = gr.Markdown(elem_id="notice")
        again = gr.Button("Try again", size="sm", scale=0, min_width=120, elem_id="again")
    found = gr.State(None)
    asked, done = gr.State(NOTHING_ASKED), gr.State(None)  # what was asked for, and answered, last
    drawn = gr.State(None)  # the settings that the last run began with

    gr.set_static_paths(links.PICTURES)  # served from there: copies of them would be swept away
    with gr.Row(equal_height=False, elem_id="top"):
        with gr.Column(scale=7, min_width=320, elem_id="stage-column"):
            picture = stage(links.EXAMPLES, elem_id="picture")
        with gr.Column(scale=3, min_width=280, elem_id="rail"):
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop")
            words = gr.Markdown(WELCOME, elem_id="summary")
            looks = controls.add_controls(picture)
            with gr.Accordion("Model", open=False):
                model = gr.Radio(
                    [("Automatic: the best one available", "auto")]
                    + [(architecture.title, name) for name, architecture in ARCHITECTURES.items()],
                    value="auto",
                    label="Model",
                    info="One that is not here yet is fetched when it is first used (about 180 MB).",
                    elem_id="model",
                )
                run = gr.Button("Look again", elem_id="run")
    with gr.Tabs(elem_id="tabs") as tabs:
        with gr.Tab("Objects", id="Objects") as objects_tab:
            gr.HTML('<div id="objects-table"></div>', apply_default_css=False, padding=False)
        with gr.Tab("Effects", id="Effects") as effects_tab:
            effects = panels.add_effects()
        with gr.Tab("Compare", id="Compare") as compare_tab:
            comparison = panels.add_comparison()
    downloads = panels.add_downloads()
    code = panels.add_code()
    link = panels.add_link()
    panels.add_explanation()

    tab, address = gr.State("Objects"), gr.State("")
    arguments = [found, comparison.other, comparison.threshold, tab, address, model]
    arguments += [effects.effect, effects.color, *looks.inputs()]
    views = [words, picture, looks.kinds, looks.histogram, code.python, code.javascript, code.curl, link]
    views += [effects.slider, comparison.words, comparison.slider]
    private: dict[str, Any] = {"api_visibility": "private"}
    instant = private | {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
    slow = private | {"concurrency_limit": None}  # the scheduler says whose turn it is

    async def find_objects(
        wish: Wish,
        name: str,
        answered: Wish | None,
        *rest: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Any:
        """A new result of which nothing is hidden by hand, or the reason why there is none."""
        source, _ = wish
        if wish == answered:  # the run before began late, and has seen to this one too
            return gr.skip()
        if source is None:
            return _no_result(wish, WELCOME)
        async with service.request("page", progress) as request:
            try:
                path = await _file_of(source, request)
                network = await request.model(name)

                def work(job: Job) -> tuple[Result, list[Any]]:
                    result = request.segment(path, network, job)
                    job.stage(0.95, "Drawing")
                    value = {"hidden": [], "photo": json.loads(source)}
                    return result, redraw(result, None, *rest[:-1], value)

                result, views_of_it = await request.run(work)
            except EXPECTED_ERRORS as error:  # what is on the stage stays
                request.refuse(error)
                advice = "" if isinstance(error, ImageError) else " Choose another model, or try again later."
                refusal = gr.update(said=said("error", f"{error}{advice}"))
                return {done: wish, picture: refusal, drawn: None}
        enabled = gr.update(interactive=True)
        return [wish, list(rest[:-1]), result, None, panels.SAME, enabled, enabled, *views_of_it]

    async def compare(
        result: Result | None,
        name: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Result | None:
        """The other model's result on the same photo."""
        if result is None or name == panels.SAME:
            return None
        keep(result.path)
        async with service.request("compare", progress) as request:
            network = await request.model(name)
            return await request.run(lambda job: request.segment(result.path, network, job))

    def looking(function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` of a result, in the line of those who look."""

        async def look_at(*arguments: Any) -> Any:
            async with service.request("look") as request:
                return await request.look(functools.partial(function, *arguments))

        return look_at

    queued: Any = instant | slow | {"queue": True}  # without Gradio's queue nobody hears of a changed state
    for event in (picture.photo, run.click, model.input):
        event(ask, [picture, asked], [asked, stop], **queued)
    finding = asked.change(
        find_objects,
        [asked, model, done, *arguments[2:]],
        [
            *[done, drawn, found, comparison.other, comparison.model],
            *[downloads.save, effects.save, *views],
        ],
        trigger_mode="always_last",
        show_progress_on=[picture],
        **slow,
    )
    finding.success(is_next, [asked, done], stop, **instant)
    finding.failure(
        lambda: [gr.update(visible=False), gr.update(said=said("stopped"))], None, [stop, picture], **instant
    )
    finding.success(looking(catch_up), [drawn, *arguments], views, **instant)
    stop.click(
        lambda: [gr.update(visible=False), gr.update(said=said("stopped"))],
        None,
        [stop, picture],
        cancels=finding,
        **instant,
    )
    moved = [
        looks.threshold.input,
        looks.kinds.input,
        looks.shown.input,
        looks.opacity.input,
        looks.color_by.input,
        picture.input,
        effects.effect.input,
        effects.color.input,
        comparison.threshold.input,
    ]
    gr.on(moved, looking(show), arguments, views, **instant)  # type: ignore[arg-type]
    looks.mask_threshold.input(looking(redraw), arguments, views, **instant)
    for shown_tab in (objects_tab, effects_tab, compare_tab):
        shown_tab.select(lambda name=shown_tab.label: name, None, tab, **instant).then(
            looking(turn_to), arguments, views, **instant
        )
    comparison.model.input(
        compare, [found, comparison.model], comparison.other, show_progress_on=[comparison.slider], **slow
    ).then(looking(show), arguments, views, **instant)

    async def save_selected(event: gr.EventData, *arguments: Any) -> str:
        return await save_cut_out(service, getattr(event, "id", None), *arguments)

    settings = [found, downloads.soft, *looks.inputs()]
    for event, save, wanted in (
        (downloads.save.click, functools.partial(save_format, service), [downloads.format]),
        (effects.save.click, functools.partial(save_effect, service), [effects.effect, effects.color]),
        (picture.cut_out, save_selected, []),
    ):
        event(
            save, [*wanted, *settings], downloads.file, show_progress_on=[downloads.format], **slow
        ).success(None, js="() => document.querySelector('#saved').click()", **private)
    linked = [
        *[
            address,
            code.agents,
            tabs,
            tab,
            picture,
            asked,
            model,
            looks.threshold,
            looks.mask_threshold,
            looks.kinds,
        ],
        *[looks.shown, looks.opacity, looks.color_by, effects.effect, effects.color, comparison.threshold],
    ]
    blocks.load(None, js=FOR_SCREEN_READERS)
    blocks.load(open_link, None, linked, **queued)  # which alone may warn
    _add_banner(blocks, service.models, banner, notice, again, instant)


async def _file_of(source: str, request: Request) -> Path:
    """Returns the file of what the stage sent. Raises `ImageError` for what no visitor may name."""
    sent = json.loads(source)
    if (name := sent.get("example")) is not None:
        if name not in links.EXAMPLES:
            raise ImageError("There is no such example. Please choose one that is shown.")
        return links.EXAMPLES[name]
    return await request.photo(sent)


def ask(value: dict[str, Any], asked: Wish) -> Any:
    """The wish for a run on the photo that the stage sent, and whether there is something to stop."""
    photo = value.get("photo")
    return [(json.dumps(photo) if photo else None, asked[1] + 1), gr.update(visible=bool(photo))]


def is_next(asked: Wish, done: Wish | None) -> Any:
    """Whether there is something to stop when a run has ended: another photo that came meanwhile."""
    return gr.update(visible=asked[0] is not None and asked != done)


def show(
    found: Result | None,
    other: Result | None,
    other_threshold: float,
    tab: str,
    address: str,
    model: str,
    effect: str,
    color: str,
    *values: Any,
    whole: bool = False,
) -> list[Any]:
    """What the page says about a result, for the values of `Controls.inputs`.

    Args:
        other: Another model's result on the same photo, to compare; None for the same model.
        tab: Which is open; pictures in others are not made.
        address: Of this app.
        model: The one that was asked for.
        whole: Whether the picture's outlines are made anew.
    """
    if found is None:
        return _nothing(EXPIRED)
    keep(found.path)
    filters, style = controls.read(found.detections, *values)
    where = {"tab": tab, "model": model, "effect": effect, "color": color, "other_threshold": other_threshold}
    picture = {"look": look(found, filters, style)}
    if whole:
        photo = {"path": picture_file(found.working_image), "meta": {"_type": "gradio.FileData"}}
        picture["scene"] = scene(found, filters.mask_threshold) | {"photo": photo}
        picture["value"] = values[-1]
    return [
        summary(found, filters),
        gr.update(**picture),
        gr.update(groups=kinds(view(found.detections, replace(filters, classes=None)))),
        histogram(found.detections, filters),
        *panels.calls(address, found, filters, style),
        links.to_link(address, found.path, where | controls.to_settings(*values)),
        panels.before_and_after(found, filters, effect, color) if tab == "Effects" else gr.skip(),
        *(_compared(found, other, other_threshold, *values) if tab == "Compare" else [gr.skip()] * 2),
    ]


def _compared(found: Result, other: Result | None, threshold: float, *values: Any) -> Any:
    """The photo as it is looked at, beside another threshold or another model's result."""
    filters, style = controls.read(found.detections, *values)
    if other is None:
        right = found, replace(filters, score_threshold=threshold)
    else:  # kinds of its own, and ids that mean other instances
        theirs, _ = controls.read(other.detections, *values)
        right = other, replace(theirs, score_threshold=threshold, hidden=())
    return panels.side_by_side((found, filters), right, style)


def turn_to(found: Result | None, *arguments: Any) -> Any:
    """As `show`, for a tab that was opened: where there is no result yet, nothing changes."""
    return gr.skip() if found is None else show(found, *arguments)


def catch_up(drawn: list[Any] | None, *arguments: Any) -> Any:
    """As `redraw`, where a tab was opened or something set after a run had begun, which `drawn` is from."""
    if arguments[0] is None or drawn in (None, list(arguments[2:-1])):
        return gr.skip()
    return redraw(*arguments)


def redraw(*arguments: Any) -> list[Any]:
    """As `show`, with new outlines: for a new result or another mask threshold."""
    return show(*arguments, whole=True)


async def save_format(
    service: Service,
    format: str,
    found: Result | None,
    soft: bool,
    *values: Any,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> str:
    """The path of a file with what is in view, at the photo's original resolution."""
    async with service.request("save", progress) as request:
        result = _kept(found)
        filters, style = controls.read(result.detections, *values)
        check_format(format, _edges(soft))

        def work(job: Job) -> str:
            folder = new_folder(export_bytes(view(result.detections, filters), format))
            return str(export_file(result, filters, style, format, folder, _edges(soft), job.stage))

        return await request.run(work)


async def save_effect(
    service: Service, effect: Any, color: str, found: Result | None, soft: bool, *values: Any
) -> str:
    """The path of the whole photo with an effect, at its original resolution."""
    async with service.request("save effect") as request:
        result = _kept(found)
        filters, _ = controls.read(result.detections, *values)

        def work(job: Job) -> str:
            folder = new_folder(effect_bytes(result.detections))
            return str(effect_file(result, filters, effect, folder, color))

        return await request.run(work)


async def save_cut_out(service: Service, id: Any, found: Result | None, soft: bool, *values: Any) -> str:
    """The path of the cut-out of the instance that was asked for."""
    async with service.request("save cut-out") as request:
        result = _kept(found)
        filters, _ = controls.read(result.detections, *values)

        def work(job: Job) -> str:
            shown = view(result.detections, filters)
            wanted = shown.select(np.array([one == id for one in shown.ids.tolist()], bool))
            folder = new_folder(export_bytes(wanted, "cutouts"))
            return str(cut_out_file(result, filters, id, folder, _edges(soft)))

        return await request.run(work)


def _kept(found: Result | None) -> Result:
    if found is None:
        raise SettingsError(EXPIRED)
    keep(found.path)
    return found


def _edges(soft: bool) -> str:
    return "soft" if soft else "hard"


def _nothing(text: str) -> list[Any]:
    """What `show` says when there is no result: an empty page that says `text`."""
    empty = gr.update(scene={"number": time.monotonic_ns()}, look={})
    return [text, empty, gr.update(groups=[]), *[""] * 5, None, "", None]


def _no_result(wish: Wish, text: str) -> list[Any]:
    """What `find_objects` answers when it has nothing to show, which `text` explains."""
    return [wish, *[None] * 3, panels.SAME, *[gr.update(interactive=False)] * 2, *_nothing(text)]


def open_link(request: gr.Request) -> list[Any]:
    """The address of this app, and what the query of the page's address asks for.

    Both as the visitor's browser knows them: proxies in between change what the server sees.
    """
    page = urlsplit(request.headers.get("referer") or str(request.request.base_url))
    address = page._replace(query="", fragment="").geturl().rstrip("/")
    wanted, faults = links.read_query(page.query)
    if faults:
        gr.Warning(f"The link's {', '.join(faults)} cannot be read, and is left as it is by default.")
    example = wanted["example"]
    return [
        *[address, panels.for_agents(address), gr.update(selected=wanted["tab"]), wanted["tab"]],
        *_asked_example(example),
        *[wanted["model"], wanted["score_threshold"], wanted["mask_threshold"]],
        gr.update(value={"unticked": wanted["without"]}),
        *[wanted["show"], wanted["opacity"], wanted["color_by"], wanted["effect"], wanted["color"]],
        wanted["other_threshold"],
    ]


def _asked_example(name: str | None) -> list[Any]:
    """What the stage and the wish are for a link that names an example."""
    if name is None:
        return [gr.skip(), gr.skip()]
    photo = {"example": name}
    return [
        gr.update(value=NOTHING | {"photo": photo}, said=said("waiting", "Reading the example")),
        (json.dumps(photo), 1),
    ]


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

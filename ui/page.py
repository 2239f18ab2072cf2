"""Page: what happens when a visitor brings a photo, or moves, ticks or opens something.

The model runs when a photo arrives (`Page.find`), the button is pressed or another model is compared.
Everything else is a `View` of the result that the browser session keeps (`Page.show`), and never touches the
model.
"""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from answer.opened import continued_result
from answer.result import Result, View
from answer.settings import SCORE_RANGE, SettingsError
from categories import Categories
from inference import FALLBACK_NAME, ModelError, SegmentationModel, looks_of
from network.detail import CLOSER
from network.weights import WeightsError
from photo.errors import ImageError
from serving.kept import Kept
from serving.models import Models
from serving.photos import FIRST_FRAME
from serving.scheduler import Job
from serving.service import Request, Service, keep
from ui import links, overlay, sides
from ui.api import detail_notice
from ui.choices import SAME, Choices
from ui.components import picture_file, said
from ui.correcting import add_correcting
from ui.film import FilmPage
from ui.histogram import histogram
from ui.inside import add_inside_events
from ui.layout import DETAIL_INFO, Layout, add_layout
from ui.many import ManyPage, Opened, fill, told
from ui.saving import add_saving
from ui.snippets import to_curl, to_javascript, to_python
from ui.telling import told_while

FRESH = Choices()
POLL_SECONDS = 1.0
QUICK_LOOK_SECONDS = 1.0
"""If the model needs longer than this, the small model shows its answer first."""
SENDING = {"sending": True}
"""What the stage names as its photo while a photo is on its way. The event comes when it has arrived."""
ODD = "The page sent something that it never sends. Please load it again."
WELCOME = "Drop a photo, take one with the camera, paste one, or click an example."
EXPIRED = "There is no result to look at (one is kept for an hour). Please send the photo again."
NOT_KEPT = "This photo is not kept any more (one is kept for an hour). Please send it again."
FILTERS_RESET = "The kinds are all shown again, because this photo has only kinds that you had hidden."
OTHER_MODEL = " Choose another model, or try again later."
AGENTS = (
    "This app is also an MCP server, at `{address}/gradio_api/mcp/`: give your assistant that address, and "
    "it can find, count and show the objects in pictures on the web (tools `detect_objects` and "
    "`draw_objects`)."
)
FOR_SCREEN_READERS = """() => {
  for (const told of document.querySelectorAll("#notice, #comparison, #inside-sentence"))
    told.setAttribute("aria-live", "polite");
}"""
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
INSTANT = PRIVATE | {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
SLOW = PRIVATE | {"concurrency_limit": None, "show_progress": "hidden"}
"""For events that wait for a turn, which the scheduler gives."""
Answer = dict[Any, Any]
"""New values for components, by component."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The run whose result is on the stage.

    Args:
        result: What it found.
        number: The number of the photo, as the stage counts them.
        choices: What was set when the run began.
        token: Under which the result is kept for a reload.
    """

    result: Result
    number: int
    choices: Choices
    token: str


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What the browser session remembers.

    Args:
        run: The `Run` that is on the stage, or None.
        film: The `ui.film.Film` that is on the stage, or None. One of the two is None.
        other: Another model's `Result` on the same photo, or None.
        address: The address of this app, as the visitor's browser knows it.
    """

    run: gr.State
    film: gr.State
    other: gr.State
    address: gr.State


class Refused(Exception):
    """There is no result. The message says why, for the visitor.

    Args:
        is_models: Whether the model is the reason, and not the photo.
    """

    def __init__(self, words: str, is_models: bool = False) -> None:
        super().__init__(words)
        self.is_models = is_models


def add_page(blocks: gr.Blocks, service: Service) -> None:
    """Adds the page to `blocks`, which is open."""
    layout = add_layout()
    memory = Memory(gr.State(None), gr.State(None), gr.State(None), gr.State(""))
    page = Page(layout, memory, service)
    inputs = layout.inputs() | {memory.run, memory.film, memory.other, memory.address}
    outputs = layout.outputs()

    controls = layout.controls
    finding = [
        event(
            page.find,
            inputs,
            outputs | {memory.run, memory.film, memory.other},
            **SLOW | {"trigger_mode": "always_last"},
        )
        for event in (
            *(layout.picture.photo, layout.run.click),
            *(controls[name].input for name in ("model", "detail")),
        )
    ]
    finding_many = [
        event(find, inputs, {layout.picture}, **SLOW)
        for event, find in (
            (layout.picture.find_many, page.find_many),
            (layout.picture.many_again, page.find_again),
        )
    ]
    layout.picture.stop(None, cancels=[*finding, *finding_many], **INSTANT)
    layout.picture.stop_many(None, cancels=finding_many, **INSTANT)
    layout.picture.unplayable(page.make_playable, inputs, {layout.picture}, **SLOW)
    for found in finding:
        found.success(page.catch_up, inputs, outputs, **INSTANT)
    names = (
        "score_threshold",
        "opacity",
        "color_by",
        "effect",
        "color",
        "other_threshold",
        "other_show",
        "step",
    )
    moved = [layout.picture.input, layout.summary.input, *(controls[name].input for name in names)]
    gr.on(moved, page.show, inputs, outputs, **INSTANT)
    for changed in (controls["mask_threshold"].input, layout.picture.corrected, layout.picture.measured):
        changed(page.redraw, inputs, outputs, **INSTANT)
    for name, tab in layout.tab_of.items():
        tab.select(lambda name=name: name, None, controls["tab"], **INSTANT).then(
            page.turn, inputs, outputs, **INSTANT
        )
    controls["other_model"].input(
        page.compare, inputs, {memory.other}, **SLOW | {"show_progress": "full"}
    ).then(page.turn, inputs, outputs, **INSTANT)
    layout.summary.reset(page.reset, inputs, outputs, **INSTANT)

    add_saving(layout, memory.run, memory.film, page.clips, page.many, service)
    add_correcting(layout, memory.run, service)
    add_inside_events(layout.inside, layout.tab_of["Inside"], controls["tab"], memory.run, service)
    blocks.load(None, js=FOR_SCREEN_READERS)
    opened = outputs | {memory.address, layout.tabs, layout.agents}
    blocks.load(page.open_link, None, opened, **INSTANT | {"queue": True})
    _add_banner(blocks, service.models, layout)


class Page:
    """What the page does. Each method gets the values of all components, and returns new values for some."""

    def __init__(self, layout: Layout, memory: Memory, service: Service) -> None:
        self._layout, self._memory, self._service = layout, memory, service
        self._kept = Kept[Result]()
        self.clips = FilmPage(layout, memory.film, service)
        self.many = ManyPage(layout, service)

    def _choices(self, values: Answer, number: int | None = None) -> Choices:
        """Returns what the visitor has set. Refuses in a sentence what the page never sends.

        Args:
            number: The number of the photo that is meant, if it is not the one of the run. Changes of another
                photo are left out.
        """
        try:
            choices = self._layout.read(values)
        except SettingsError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except (LookupError, TypeError, ValueError) as error:
            raise gr.Error(ODD, print_exception=False) from error
        run = values[self._memory.run]
        meant = run.number if number is None and run is not None else number
        return choices if values[self._layout.picture].get("number") == meant else replace(choices, edits=())

    async def find(self, values: Answer) -> AsyncIterator[Answer]:
        """Looks for the objects in the photo that was sent last, and says on the stage how far it is."""
        layout, run = self._layout, values[self._memory.run]
        self._choices(values)
        photo, number = (values[layout.picture].get(key) for key in ("photo", "number"))
        if photo is None:
            yield self._nothing(WELCOME)
            return
        if photo == SENDING:
            yield gr.skip()
            return
        if not isinstance(photo, dict) or not isinstance(number, int):
            raise gr.Error(ODD, print_exception=False)
        try:
            if "clip" in photo:
                async for answer in self._find_in_clip(values, photo["clip"], number):
                    yield answer
                return
            async for answer in told_while(partial(self._find, values, photo, number)):
                yield answer
        except Refused as error:
            answer = {layout.picture: gr.update(said=said("error", str(error), number))}
            if error.is_models:
                answer[layout.controls["model"]] = run.choices.model if run else FRESH.model
            yield answer

    async def _find_in_clip(self, values: Answer, source: object, number: int) -> AsyncIterator[Answer]:
        """Yields the page with what was found in a clip so far. Raises `Refused` as `_find` does."""
        first = self._without_photo()
        try:
            async for answer in self.clips.find(
                self._choices(values), source, number, values[self._memory.address]
            ):
                yield first | answer
                first = {}
        except gr.Error as error:
            reason = error.__cause__
            models = isinstance(reason, ModelError | WeightsError)
            raise Refused(f"{error.message}{OTHER_MODEL if models else ''}", models) from error

    async def find_many(self, values: Answer, which: object = "all") -> AsyncIterator[Answer]:
        """Looks for the objects in the photos that were sent together."""
        picture, choices = self._layout.picture, self._choices(values)
        source, number = (values[picture].get(key) for key in ("photo", "number"))
        if not isinstance(source, dict) or not isinstance(number, int):
            raise gr.Error(ODD, print_exception=False)
        if "many" not in source and not isinstance(source.get("photos"), list):
            raise gr.Error(ODD, print_exception=False)
        try:
            async for answer in self.many.find(choices, source, number, which):
                yield answer
        except (gr.Error, SettingsError) as error:
            words = error.message if isinstance(error, gr.Error) else str(error)
            yield {picture: gr.update(said=said("error", str(words), number))}

    async def find_again(self, values: Answer, event: gr.EventData) -> AsyncIterator[Answer]:
        """Looks again at photos that were sent together, or at one of them."""
        async for answer in self.find_many(values, getattr(event, "which", None)):
            yield answer

    async def make_playable(self, values: Answer) -> Answer:
        """Gives the stage a copy of its clip that every browser plays."""
        photo, number = (values[self._layout.picture].get(key) for key in ("photo", "number"))
        if not isinstance(photo, dict) or "clip" not in photo or not isinstance(number, int):
            raise gr.Error(ODD, print_exception=False)
        try:
            return await self.clips.make_playable(photo["clip"], number)
        except gr.Error as error:  # said on the stage once, also if the clip cannot be looked at either
            return {self._layout.picture: gr.update(said=said("error", error.message, number))}

    def _without_photo(self) -> Answer:
        """Returns the page without what is about a photo only."""
        layout = self._layout
        empty = (layout.link, layout.compared)
        nothing: Answer = dict.fromkeys(empty, "")
        return nothing | layout.of_clip(True) | {self._memory.run: None, self._memory.other: None}

    async def _find(
        self, values: Answer, source: dict[str, Any], number: int, tell: Callable[[Answer], None]
    ) -> Answer:
        """Returns the page with a new result. Tells what the stage shows until then.

        Raises:
            Refused: There is no result.
        """
        run, picture = values[self._memory.run], self._layout.picture
        try:
            opened = self.many.opened(source)
        except SettingsError as error:
            raise Refused(str(error)) from error
        try:
            if opened is not None and (run is None or run.number != number):
                light = opened.slot.result
                if light is None:
                    raise Refused(opened.slot.fault or ODD)
                async with self._service.request("look") as request:
                    return await request.look(
                        lambda: self._found(request.reopened(light), values, number, opened=opened)
                    )
            if "kept" in source and run is None:  # the page was loaded again
                kept = self._kept.get(source["kept"])
                if kept is None:
                    raise Refused(NOT_KEPT)
                async with self._service.request("look") as request:
                    return await request.look(lambda: self._found(kept, values, number, source["kept"]))
        except gr.Error as error:
            raise Refused(str(error.message)) from error

        foretold = False  # then the stage counts the seconds, and the next steps are not told

        def tell_stage(share: float, words: str) -> None:
            if not foretold:
                tell({picture: gr.update(said=said("working", words, number))})

        try:
            async with self._service.request("page", tell_stage) as request:
                choices = self._choices(values)
                path = await _file_of(source, run, request) if opened is None else opened.slot.sent.path
                assert path is not None
                network = await request.model(choices.model)
                notes = request.annotations(source.get("annotations")) if "annotated" in source else None

                def work(job: Job) -> Answer:
                    nonlocal foretold
                    seconds = request.expected_seconds(path, network, choices.detail)
                    closer = choices.detail == CLOSER  # whose looks are told one by one
                    small = self._small_model(seconds, network.categories)
                    if small is not None:
                        preview = request.segment(path, small, job)
                        if closer:
                            seconds *= looks_of(network, preview.detections.image_size, CLOSER)
                        tell(self._preview(preview, values, number, seconds))
                    elif seconds >= 1 and not closer:
                        words = "Looking for objects"
                        tell({picture: gr.update(said=said("working", words, number, seconds))})
                    foretold = seconds >= 1 and not closer
                    result = request.segment(path, network, job, choices.detail)
                    if notes is not None:
                        name = str(source["annotated"].get("orig_name") or path.name)
                        result = continued_result(result, notes, name, job.stage)
                    if opened is not None:
                        fill(opened, result)
                    return self._found(result, values, number, opened=opened)

                return await request.run(work)
        except gr.Error as error:
            reason = error.__cause__
            models = isinstance(reason, ModelError | WeightsError)
            raise Refused(f"{error.message}{OTHER_MODEL if models else ''}", models) from error

    def _small_model(self, seconds: float, categories: Categories) -> SegmentationModel | None:
        """Returns the small model for a quick look, or None if there is no need for one.

        A model that knows other kinds gives none, because its answer would be another one.
        """
        if seconds <= QUICK_LOOK_SECONDS:
            return None
        with suppress(WeightsError):
            small = self._service.models.get(FALLBACK_NAME)
            return small if small.categories == categories else None
        return None

    def _preview(self, result: Result, values: Answer, number: int, seconds: float) -> Answer:
        """Returns the stage with a quick look. Nothing else of the page changes."""
        view = replace(self._choices(values), hidden=(), edits=()).view(result)
        words = f"Quick look. The full answer comes in about {max(1, round(seconds))} s."
        mark = {"photo_number": number, "preview": True}
        return {
            self._layout.picture: gr.update(
                scene=_scene(view) | mark,
                look=overlay.look(view) | mark,
                said=said("working", words, number, seconds),
            )
        }

    def _found(
        self,
        result: Result,
        values: Answer,
        number: int,
        token: str | None = None,
        opened: Opened | None = None,
    ) -> Answer:
        """Returns the page with a new result, with one that was kept under `token`, or with one of many."""
        layout, run = self._layout, values[self._memory.run]
        choices = self._choices(values, number)
        keep(result.path)
        before = choices
        if opened is not None:
            choices = opened.many.choices(opened.place)
        if token is None:
            if opened is None:
                choices = replace(choices, hidden=(), edits=())  # the ids of another photo
            token = self._kept.put(result, run.token if run else None)
        fitting = _showing_something(choices, result) if opened is None else choices
        notes = (FILTERS_RESET if fitting != choices else "", detail_notice(result, choices.detail))
        new = Run(result, number, fitting, token)
        answer = self._shown(new, None, fitting, values[self._memory.address], notes, whole=True)
        if fitting != choices:
            answer[layout.summary]["value"] = fitting.of_summary()
        answer[layout.picture] |= {"clip_scene": {}, "clip_look": {}}
        seconds = self._service.seconds.expected(result.model, CLOSER)
        answer[layout.controls["detail"]] = gr.update(info=closer_info(result, seconds))
        if opened is not None:
            answer[layout.picture] |= self.many.on_stage(opened)
            answer = self._for_many(answer, opened, choices, before, values[self._memory.address])
        return (
            answer
            | layout.of_clip(False)
            | {
                self._memory.run: new,
                self._memory.film: None,
                self._memory.other: None,
                layout.controls["other_model"]: SAME,
            }
        )

    def _for_many(
        self, answer: Answer, opened: Opened, choices: Choices, before: Choices, address: str
    ) -> Answer:
        """Returns a page about one of many photos, with what is about all of them.

        Args:
            choices: What holds for this photo.
            before: What the controls show.
        """
        layout = self._layout
        controls = self.many.controls(choices, before)
        if layout.summary in controls:
            answer[layout.summary]["value"] = controls.pop(layout.summary)
        result = opened.slot.result
        assert result is not None
        return answer | controls | self.many.code(opened, address, choices.view(result))

    def open_link(self, request: gr.Request) -> Answer:
        """Returns the page as its address asks for.

        The address is as the visitor's browser knows it: proxies in between change what the server sees.
        """
        layout = self._layout
        page = urlsplit(request.headers.get("referer") or str(request.request.base_url))
        address = page._replace(query="", fragment="").geturl().rstrip("/")
        wanted, faults = links.read_query(page.query)
        if faults:
            gr.Warning(f"The link's {', '.join(faults)} cannot be read, and is left as it is by default.")
        example = wanted["example"]
        opened: dict[str, Any] = {"example": None if example == links.NO_EXAMPLE else example}
        if example is None:
            opened = {"example": next(iter(links.PHOTOS)), "first": True}
        names = wanted.keys() - {"example", "without", "show", "thresholds"}
        return {
            self._memory.address: address,
            layout.agents: AGENTS.format(address=address),
            layout.tabs: gr.update(selected=wanted["tab"]),
            layout.summary: {"unticked": wanted["without"], "thresholds": wanted["thresholds"]},
            layout.picture: gr.update(opened=opened | {"show": wanted["show"]}),
            **{layout.controls[name]: wanted[name] for name in names},
        }

    async def show(self, values: Answer) -> Any:
        """Returns the page for what is set now."""
        return await self._look(values, self._choices(values))

    async def redraw(self, values: Answer) -> Any:
        """As `show`, with new outlines, because the mask threshold or an object has changed."""
        return await self._look(values, self._choices(values), whole=True)

    async def turn(self, values: Answer) -> Any:
        """As `show`, for a tab that was opened. Where there is no result yet, nothing changes."""
        return await self.show(values) if values[self._memory.run] is not None else gr.skip()

    async def catch_up(self, values: Answer) -> Any:
        """As `redraw`, if something was set while the model ran."""
        run, film, choices = values[self._memory.run], values[self._memory.film], self._choices(values)
        if film is not None:
            return await self._look(values, choices) if choices != film.choices else gr.skip()
        if run is None or replace(choices, hidden=run.choices.hidden, edits=run.choices.edits) == run.choices:
            return gr.skip()
        return await self._look(values, choices, whole=True)

    async def reset(self, values: Answer) -> Any:
        """Changes the filters so that they show something, and shows it."""
        layout, run = self._layout, values[self._memory.run]
        if run is None:
            return gr.skip()
        choices = replace(self._choices(values), without=(), hidden=(), thresholds={})
        if not len(choices.view(run.result).shown) and len(run.result.detections):
            best = float(run.result.detections.scores.max())
            choices = replace(choices, score_threshold=max(SCORE_RANGE[0], int(100 * best) / 100))
        answer = await self._look(values, choices)
        answer[layout.summary]["value"] = choices.of_summary()
        answer[layout.picture]["look"]["reset"] = True  # the browser forgets what was hidden by hand
        return answer | {layout.controls["score_threshold"]: choices.score_threshold}

    async def compare(self, values: Answer, progress: gr.Progress = gr.Progress()) -> Answer:  # noqa: B008
        """Looks for the objects in the same photo with another model."""
        run, choices = values[self._memory.run], self._choices(values)
        if run is None or choices.other_model == SAME:
            return {self._memory.other: None}
        path = run.result.path
        keep(path)
        async with self._service.request("compare", progress) as request:
            network = await request.model(choices.other_model)
            result = await request.run(lambda job: request.segment(path, network, job, choices.detail))
            return {self._memory.other: result}

    async def _look(self, values: Answer, choices: Choices, whole: bool = False) -> Any:
        """Makes the page, in the line of those who look."""
        run, other, address = (
            values[part] for part in (self._memory.run, self._memory.other, self._memory.address)
        )
        film = values[self._memory.film]
        if film is not None:
            return await self.clips.show(film, choices, whole)
        if run is None:
            return self._nothing(EXPIRED)
        keep(run.result.path)
        async with self._service.request("look") as request:
            opened = self.many.opened(values[self._layout.picture].get("photo"))
            if opened is None or opened.slot.result is None or run.result.path != opened.slot.sent.path:
                return await request.look(lambda: self._shown(run, other, choices, address, (), whole))
            if not opened.slot.is_of(run.result):  # the photo was looked at again, and its ids are other ones
                choices = replace(choices, hidden=(), edits=())
            settled = opened.many.settle(opened.place, choices, opened.is_own)
            redrawn = whole or settled.mask_threshold != choices.mask_threshold

            def shown() -> Answer:
                answer = self._shown(run, other, settled, address, (), redrawn)
                answer[self._layout.picture] |= {"tally": told(opened.many)}
                return self._for_many(answer, opened, settled, choices, address)

            return await request.look(shown)

    def _shown(
        self,
        run: Run,
        other: Result | None,
        choices: Choices,
        address: str,
        notes: tuple[str, ...] = (),
        whole: bool = False,
    ) -> Answer:
        """Returns the page about one view of a result.

        Args:
            notes: Sentences for the visitor.
            whole: Whether the outlines are made anew.
        """
        layout, view, mark = self._layout, choices.view(run.result), {"photo_number": run.number}
        picture: dict[str, Any] = {"look": overlay.look(view) | mark, "second": {}}
        if whole:
            scene = _scene(view)
            picture["scene"] = scene | mark | {"token": run.token}
        answer: Answer = {
            layout.histogram: histogram(view),
            layout.python: to_python(address, view),
            layout.javascript: to_javascript(address, view),
            layout.curl: to_curl(address, view),
            layout.link: links.to_link(address, run.result.path, choices.linked()),
            layout.summary: gr.update(told=overlay.summary(view, tuple(filter(None, notes)))),
        }
        if choices.tab == "Effects":
            picture["second"] = sides.before_and_after(view, choices)
        if choices.tab == "Compare":
            picture["second"], answer[layout.compared] = sides.side_by_side(view, other, choices)
        return answer | {layout.picture: gr.update(**picture)}

    def _nothing(self, text: str) -> Answer:
        """Returns an empty page that says `text`."""
        layout = self._layout
        empty = (
            layout.histogram,
            layout.python,
            layout.javascript,
            layout.curl,
            layout.link,
            layout.compared,
        )
        return dict.fromkeys(empty, "") | {
            layout.picture: gr.update(scene={}, look={}, second={}),
            layout.summary: gr.update(told={"found": text}),
        }


def closer_info(result: Result, seconds: float) -> str:
    """Returns what the detail "closer" would cost for this photo, in a sentence beside the choice.

    Args:
        seconds: How long one look will probably take.
    """
    looks = looks_of(result.model, result.detections.image_size, CLOSER)
    if looks == 1:
        return f"{DETAIL_INFO} This photo is too small for looking closer."
    took = f"{looks} looks, about {max(1, round(looks * seconds))} s"
    return f"{DETAIL_INFO} Looking closer at this photo: {took}."


def _scene(view: View) -> dict[str, Any]:
    photo = {"path": picture_file(view.result.working_image), "meta": {"_type": "gradio.FileData"}}
    return overlay.scene(view) | {"photo": photo, "animated": FIRST_FRAME in view.result.notes}


def _showing_something(choices: Choices, result: Result) -> Choices:
    """Returns `choices`, or choices without filters of kinds if these would hide everything in a photo."""
    if len(choices.view(result).shown) or not choices.without:
        return choices
    freed = replace(choices, without=())
    return freed if len(freed.view(result).shown) else choices


async def _file_of(source: dict[str, Any], run: Run | None, request: Request) -> Path:
    """Returns the file of what the stage sent. Raises `ImageError` for what no visitor may name."""
    if "kept" in source and run is not None:
        keep(run.result.path)
        return run.result.path
    if "example" in source:
        path = links.EXAMPLES.get(str(source["example"]))
        if path is None:
            raise ImageError("There is no such example. Please choose one that is shown.")
        return path
    return await request.photo(source.get("annotated", source))


def _add_banner(blocks: gr.Blocks, models: Models, layout: Layout) -> None:
    """Says above the page what the model is doing, while there is something to say."""
    timer = gr.Timer(POLL_SECONDS)

    def state() -> Answer:
        best = models.best
        text = fallback_for_visitors(best.shortfall) if best and best.shortfall else ""
        if models.loading:
            text = "The model is being loaded. A photo that you send now waits for it."
        elif best is None:
            text = "The model could not be loaded. The server's log says why."
        return {
            layout.banner: gr.update(visible=bool(text)),
            layout.notice: text,
            layout.again: gr.update(visible=not models.loading),
            timer: gr.update(active=models.loading),
        }

    def begin() -> Answer:
        models.start()
        return state()

    def retry() -> Answer:
        models.retry()
        return state()

    outputs = {layout.banner, layout.notice, layout.again, timer}
    blocks.load(begin, None, outputs, **INSTANT)
    timer.tick(state, None, outputs, **INSTANT)
    layout.again.click(retry, None, outputs, **INSTANT)


def fallback_for_visitors(reason: str) -> str:
    """Returns what a visitor should know when the small model answers. The reason is folded away."""
    return (
        "The accurate model could not be loaded, so a smaller one answers. It misses and mistakes more.\n\n"
        f"<details><summary>For the owner</summary>{html.escape(reason)} Press <em>Try again</em>, or start "
        "the app with <code>SEGMENTATION_WEIGHTS=file.pth</code>.</details>"
    )

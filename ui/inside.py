"""Inside: the tab that shows, step by step, how the model came to its answer on the visitor's own photo.

One extra run of the network keeps every step (`inference.look_inside`). After that, every picture is made
from what was kept, and the network does not run again. What was kept takes up to 60 MB for a photo, so only
the last photos of all visitors are kept. Who comes back later waits for another run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from answer.settings import MASK_RANGE
from inside.look import MOST_PROPOSALS, POINTED, STEPS, WAYS, Look, can_show, draw
from inside.words import ABOUT, object_name, sentence
from inside.words import WAYS as NAMES_OF_WAYS
from network.detail import CLOSER
from network.inside import Inside
from serving.ideas import steps_of
from serving.service import Service, keep
from ui.api import ONE_LOOK
from ui.components import ForgivingSlider, as_markdown, picture_file

NAME = "Inside"
"""The name of the tab."""
OVERLAP_RANGE, PERCENT = (0.1, 0.95), (0, 100)
NO_RESULT = "Drop a photo above, or choose an example. Then this tab shows how the model looks at it."
NAMED = """() => {
  const picture = document.querySelector("#inside-picture");
  if (!picture || picture.dataset.named) return;
  picture.dataset.named = true;
  const name = () => {
    for (const button of picture.querySelectorAll("button:not([aria-label])"))
      button.setAttribute("aria-label", "Point at a place in the picture");
    picture.querySelector(".empty")?.setAttribute("role", "img");
    for (const image of picture.querySelectorAll("img:not([alt]), img[alt='']"))
      image.alt = "The step, drawn on the photo";
  };
  new MutationObserver(name).observe(picture, { childList: true, subtree: true });
  name();
}"""
"""Gives names to the parts of Gradio's image that have none."""
SELECTED = """() =>
  Number(document.querySelector("#picture [role=option][aria-selected=true]")?.dataset.id ?? 0)
"""
"""Returns the id of the object that is selected on the stage, or 0."""
SHARED: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None}
Values = dict[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class InsideTab:
    """The components of the tab.

    Args:
        held: The token of the result that the tab shows, or None.
        point: x and y of the place that was chosen, or None.
        selected: Out of sight: the id of the object that was selected on the stage when the tab was opened.
        step: The number of the step, from 1. It is a part of `ui.choices.Choices`.
        ways: The choosers of the steps that have several pictures.
        across: The x of the place in percent of the picture's width, for who does not click.
        down: The y in percent of its height.
    """

    held: gr.State
    point: gr.State
    selected: gr.Number
    step: gr.Radio
    ways: dict[str, gr.Radio]
    object: gr.Dropdown
    across: ForgivingSlider
    down: ForgivingSlider
    level: ForgivingSlider
    count: ForgivingSlider
    overlap: ForgivingSlider
    mask_threshold: ForgivingSlider
    picture: gr.Image
    sentence: gr.Markdown
    lead: gr.Markdown
    more: gr.Markdown

    def inputs(self) -> set[Any]:
        """Returns the components whose values `read` needs."""
        sliders = {self.across, self.down, self.level, self.count, self.overlap, self.mask_threshold}
        return {self.held, self.point, self.selected, self.step, self.object, *self.ways.values(), *sliders}

    def outputs(self) -> set[Any]:
        """Returns the components that get new values."""
        return self.inputs() - {self.step} | {self.picture, self.sentence, self.lead, self.more}

    def read(self, values: Values) -> Look:
        """Returns what the visitor wants to see, from the values of `inputs`."""
        step = STEPS[values[self.step] - 1]
        return Look(
            step,
            values[self.ways[step]] if step in self.ways else "",
            values[self.object],
            values[self.point],
            int(values[self.level]) - 1,
            int(values[self.count]),
            float(values[self.overlap]),
            float(values[self.mask_threshold]),
        )


def add_inside(parts: dict[str, Any], controls: dict[str, Any]) -> None:
    """Adds the components to the tab that is open: `parts["inside"]` and `controls["step"]`."""
    step = controls["step"] = gr.Radio(
        [(f"{i}. {ABOUT[name].title}", i) for i, name in enumerate(STEPS, 1)],
        value=1,
        label="Step",
        elem_id="inside-step",
    )
    lead = gr.Markdown(elem_id="inside-lead")
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            picture = gr.Image(
                label="The step on your photo",
                show_label=False,
                interactive=False,
                buttons=[],
                elem_id="inside-picture",
            )
            told = gr.Markdown(NO_RESULT, elem_id="inside-sentence")
        with gr.Column(scale=3, min_width=280):
            object = gr.Dropdown([], label="Object", visible=False, elem_id="inside-object")
            ways = {
                name: gr.Radio(
                    [(NAMES_OF_WAYS[way], way) for way in WAYS[name]],
                    value=WAYS[name][0],
                    label="Picture",
                    visible=False,
                    elem_id=f"inside-{name}",
                )
                for name in WAYS
            }
            across = _slider(*PERCENT, 50, 1, "Place: across, in %", None, "across")
            down = _slider(*PERCENT, 50, 1, "Place: down, in %", None, "down")
            level = _slider(1, 5, 1, 1, "Level of the pyramid", "1 has the finest cells.", "level")
            count = _slider(20, MOST_PROPOSALS, 100, 20, "Best proposals", None, "count")
            overlap = _slider(
                *OVERLAP_RANGE,
                0.5,
                0.05,
                "Threshold of overlap (IoU)",
                "The network does not run again.",
                "iou",
            )
            threshold = _slider(*MASK_RANGE, 0.5, 0.05, "Mask threshold", None, "mask")
    with gr.Accordion("More, for students", open=False):
        more = gr.Markdown(elem_id="inside-more")
    parts["inside"] = InsideTab(
        gr.State(None),
        gr.State(None),
        gr.Number(0, visible="hidden", elem_id="inside-selected"),
        step,
        ways,
        object,
        across,
        down,
        level,
        count,
        overlap,
        threshold,
        picture,
        told,
        lead,
        more,
    )


def _slider(
    least: float, most: float, value: float, step: float, label: str, info: str | None, id: str
) -> ForgivingSlider:
    return ForgivingSlider(
        least,
        most,
        value=value,
        step=step,
        label=label,
        info=info,
        visible=False,
        elem_id=f"inside-{id}",
    )


def add_inside_events(
    tab: InsideTab, opened: gr.Tab, open_tab: gr.State, run: gr.State, service: Service
) -> None:
    """Makes the tab work.

    Args:
        opened: The tab itself.
        open_tab: Holds the name of the tab that is open.
        run: Holds the `ui.page.Run` that is on the stage, or None.
    """
    insides = Insides(tab, run, service)
    inputs, outputs = tab.inputs() | {run}, tab.outputs()
    waiting = SHARED | {"show_progress_on": [tab.picture], "trigger_mode": "always_last"}
    opened.select(None, js=NAMED, api_visibility="private")
    opened.select(None, None, tab.selected, js=SELECTED, api_visibility="private").then(
        insides.open, inputs, outputs, **waiting
    )

    async def follow(values: Values, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
        return await insides.show(values, progress) if values[open_tab] == NAME else gr.skip()

    run.change(follow, inputs | {open_tab}, outputs, **waiting)
    at_once = SHARED | {"show_progress": "hidden", "trigger_mode": "always_last"}
    sliders = (tab.level, tab.count, tab.overlap, tab.mask_threshold)
    moved = [component.input for component in (tab.step, *tab.ways.values(), *sliders)]
    gr.on(moved, insides.show, inputs, outputs, **at_once)
    tab.object.input(insides.choose, inputs, outputs, **at_once)
    gr.on([tab.across.input, tab.down.input], insides.move, inputs, outputs, **at_once)
    tab.picture.select(insides.point_at, inputs, outputs, **at_once)


class Insides:
    """What the tab does. Each method gets the values of the components, and returns new values."""

    def __init__(self, tab: InsideTab, run: gr.State, service: Service) -> None:
        self._tab, self._run, self._service = tab, run, service

    async def open(self, values: Values, progress: gr.Progress = gr.Progress()) -> Values:  # noqa: B008
        """As `show`, for the object that is selected on the stage, if there is one."""
        id = values[self._tab.selected]
        if not id:
            return await self.show(values, progress)
        return await self.show(values, progress, int(id) - 1)

    async def show(
        self,
        values: Values,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        object: int | None = None,
    ) -> Values:
        """Returns the tab for what is set now. Runs the network if what it gave is not kept (any more).

        Args:
            object: The object that is meant. None means the one that is chosen in the tab.
        """
        run, tab, held = values[self._run], self._tab, values[self._tab.held]
        if run is None:
            return {tab.picture: None, tab.sentence: NO_RESULT, tab.lead: ""}
        answer: Values = {}
        is_same = held == run.token
        steps = self._service.steps.get(run.result)
        keep(run.result.path)
        if steps is None:
            async with self._service.request("inside", progress) as request:
                steps = await steps_of(self._service, request, run.result)
        answer[tab.held] = run.token
        look = tab.read(values)
        if run.result.detail == CLOSER:  # its objects have other ids than those of this one look
            object = None
        if not is_same:
            look, about_photo = self._fresh(steps, look)
            answer |= about_photo
        if object is not None and object != look.object:
            look = replace(look, object=object, point=None)
            answer[tab.point] = None
        # The browser may have asked before it knew the objects of this photo.
        if look.object is None or not 0 <= look.object < len(steps.scores):
            look = replace(look, object=0 if len(steps.scores) else None)
        answer[tab.object] = answer.get(tab.object, {}) | gr.update(value=look.object)
        async with self._service.request("look inside") as request:
            photo = run.result.working_image
            shown = await request.look(lambda: self._shown(photo, steps, look))
        for component, update in shown.items():
            before = answer.get(component)
            answer[component] = before | update if isinstance(before, dict) else update
        if run.result.detail == CLOSER:
            answer[tab.lead] = f"{ONE_LOOK} {answer[tab.lead]}"
        return answer

    async def choose(self, values: Values) -> Values:
        """As `show`, for another object. The place that was clicked does not count any more."""
        return {self._tab.point: None} | await self.show(values | {self._tab.point: None})

    async def move(self, values: Values) -> Values:
        """As `show`, for the place that the two sliders name."""
        tab, run = self._tab, values[self._run]
        if run is None:
            return await self.show(values)
        height, width = run.result.working_image.shape[:2]
        point = values[tab.across] / 100 * width, values[tab.down] / 100 * height
        answer = await self.show(values | {tab.point: point})
        for slider in (tab.across, tab.down):  # a slider that is being dragged stays where the hand is
            answer[slider].pop("value", None)
        return answer | {tab.point: point}

    async def point_at(self, values: Values, event: gr.SelectData) -> Values:
        """As `show`, for the place in the picture that was clicked."""
        try:
            x, y = event.index
            point = float(x), float(y)
        except (TypeError, ValueError):  # no page of ours sends this
            return await self.show(values)
        if not (math.isfinite(x) and math.isfinite(y)):
            return await self.show(values)
        return {self._tab.point: point} | await self.show(values | {self._tab.point: point})

    def _fresh(self, steps: Inside, look: Look) -> tuple[Look, Values]:
        """Returns the look at a new photo, and the components that depend on the photo."""
        tab = self._tab
        first = 0 if len(steps.scores) else None
        overlap = steps.pairs.threshold if steps.pairs else 0.5
        names = [(object_name(steps, row), row) for row in range(len(steps.scores))]
        level = min(look.level, len(steps.levels) - 1)
        fresh = replace(look, object=first, point=None, level=level, overlap=overlap)
        return fresh, {
            tab.point: None,
            tab.object: gr.update(choices=names),
            tab.overlap: gr.update(value=overlap),
            tab.level: gr.update(maximum=max(2, len(steps.levels)), value=level + 1),
        }

    def _shown(self, photo: Any, steps: Inside, look: Look) -> Values:
        tab, about, way = self._tab, ABOUT[look.step], look.the_way()
        missing = "\n\n".join(steps.missing)
        told = as_markdown(sentence(photo, steps, look))
        pointed = (way in POINTED or look.step == "names") and can_show(steps, look)
        if pointed:
            told += " Click the picture, or use the two sliders, to choose another place."
        levelled = look.step in ("features", "proposals") and way != "best" and len(steps.levels) > 1
        x, y = look.the_point(steps)
        places = {
            tab.across: gr.update(value=round(100 * x / steps.picture_hw[1])),
            tab.down: gr.update(value=round(100 * y / steps.picture_hw[0])),
        }
        visible = {
            tab.across: pointed,
            tab.down: pointed,
            tab.object: look.step in ("seen", "names", "once", "mask") and look.object is not None,
            tab.level: levelled,
            tab.count: look.step == "proposals" and way == "best",
            tab.overlap: look.step == "once" and can_show(steps, look),
            tab.mask_threshold: look.step == "mask" and way == "cut",
        } | {chooser: name == look.step for name, chooser in tab.ways.items()}
        updates = {component: gr.update(visible=shown) for component, shown in visible.items()}
        return {component: update | places.get(component, {}) for component, update in updates.items()} | {
            tab.picture: picture_file(draw(photo, steps, look)),
            tab.sentence: told,
            tab.lead: f"{about.lead} **Try this:** {about.attempt}",
            tab.more: f"{about.more}\n\n{missing}",
        }

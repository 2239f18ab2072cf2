"""Correcting: answers what is in a box that a visitor drew, or at a place that a visitor clicked.

What the visitor makes of the answer is an edit (`answer.edits`), which the browser keeps (`assets/edits.js`).
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from answer.edits import to_text
from answer.result import Result, View, in_view
from marks import shown_score
from network.ideas import Idea
from serving.ideas import checked_place, idea_at_place, idea_of_box, one_for_each_name, steps_of
from serving.service import Service, keep
from ui.layout import Layout
from ui.overlay import outline, scene_size

PRIVATE: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}
GONE = "This photo is not kept any more (one is kept for an hour). Please send it again."


def add_correcting(layout: Layout, run: gr.State, service: Service) -> None:
    """Makes the stage's questions work.

    Args:
        run: Holds the `ui.page.Run` that is on the stage, or None.
    """
    correcting = Correcting(layout, run, service)
    inputs = layout.inputs() | {run}
    layout.picture.prepare(correcting.prepare, inputs, None, **PRIVATE)
    layout.picture.ask(correcting.ask, inputs, {layout.picture}, trigger_mode="always_last", **PRIVATE)


class Correcting:
    """What the stage's questions do."""

    def __init__(self, layout: Layout, run: gr.State, service: Service) -> None:
        self._layout, self._run, self._service = layout, run, service

    async def prepare(self, values: dict[Any, Any]) -> None:
        """Lets the network make the features of the photo, so that they are there when a box is drawn."""
        run = values[self._run]
        if run is None or self._service.steps.get(run.result) is not None:
            return
        keep(run.result.path)
        async with self._service.request("inside") as request:
            await steps_of(self._service, request, run.result)

    async def ask(self, values: dict[Any, Any], event: gr.EventData) -> dict[Any, Any]:
        """Gives the stage what the network says of {"box", "name"} or {"place"}, in pixels of the photo.

        At a place, an object that the threshold hides comes first. Only then are proposals looked at.
        What is wrong with the question is said beside it, with the question's number.
        """
        run, question = values[self._run], _part(event, "question")
        about: dict[str, Any] = {"number": _part(event, "number"), "question": question}
        try:
            if run is None or about["number"] != run.number:
                raise gr.Error(GONE, print_exception=False)
            keep(run.result.path)
            place = _part(event, "place")
            async with self._service.request("ask") as request:
                choices, faint = self._layout.read(values), None
                if place is not None:
                    faint = await request.look(lambda: faint_at(choices.view(run.result), place))
                if faint is not None:
                    about |= faint
                else:
                    asked = (self._service, request, run.result)
                    if place is not None:
                        idea = await idea_at_place(*asked, place)
                    else:
                        idea = await idea_of_box(*asked, _part(event, "box"), _part(event, "name"))
                    about |= described(idea, run.result, choices.mask_threshold)
        except gr.Error as error:
            about["error"] = error.message
        return {self._layout.picture: gr.update(ideas=about)}


def faint_at(view: View, place: object) -> dict[str, Any] | None:
    """Returns the best object at a place that the threshold hides, as `described`, and with its "id".

    Args:
        place: x and y in pixels of the original photo.

    Raises:
        SettingsError: As `serving.ideas.checked_place`.
    """
    everything = in_view(view.everything, view.categories, view.filters.everything())
    threshold = view.filters.mask_threshold
    x, y = (int(at) for at in checked_place(place, everything.image_size))
    known = set(view.shown.ids.tolist())
    for i, id in enumerate(everything.ids.tolist()):
        x1, y1, x2, y2 = everything.boxes[i].tolist()
        if id in known or not (x1 - 1 <= x <= x2 + 1 and y1 - 1 <= y <= y2 + 1):
            continue
        (top, left), mask = everything.mask_crop(i, threshold=threshold)
        is_there = 0 <= y - top < mask.shape[0] and 0 <= x - left < mask.shape[1]
        if not is_there or not mask[y - top, x - left]:
            continue
        name = view.categories.name_of(int(everything.class_ids[i]))
        path = outline(everything, i, scene_size(everything.image_size), threshold)[0]
        score = float(shown_score(everything.scores[i], 4))
        found = {"name": name, "score": score, "mask": "", "outlined": True, "path": path}
        return {
            "id": id,
            "box": [round(side, 2) for side in everything.boxes[i].tolist()],
            "names": [found],
        }
    return None


def described(idea: Idea, result: Result, mask_threshold: float) -> dict[str, Any]:
    """Returns an idea as the stage shows it: its box, and what it says for each of its names.

    Args:
        idea: Its box is in pixels of the original photo.
    """
    as_found = one_for_each_name(idea, result)
    size = scene_size(as_found.image_size)
    return {
        "box": [round(side, 2) for side in idea.box.tolist()],
        "names": [
            {
                "name": result.categories.name_of(int(as_found.class_ids[i])),
                "score": float(shown_score(float(idea.scores[i]), 4)),
                "mask": to_text(as_found.mask_probs[i]),
                "outlined": bool(idea.outlined[i]),
                "path": outline(as_found, i, size, mask_threshold)[0],
            }
            for i in range(len(as_found))
        ],
    }


def _part(event: gr.EventData, name: str) -> Any:
    return getattr(event, name, None)

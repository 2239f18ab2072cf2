"""Film: what happens on the page when a visitor brings a video.

The stage plays the visitor's own file and draws the objects of each frame over it (`assets/film.js`). The
model looks at each frame once (`FilmPage.find`). The stage gets what was found while the rest is computed.
Everything after that is a `ClipView` of the result (`FilmPage.show`), and never touches the model.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np

from answer.result import Result, View
from answer.settings import SCORE_RANGE, Filters, SettingsError
from clips.report import TRACK_HEADERS, Track, counts_over_time, most_at_once, track_table
from clips.result import ClipResult, ClipView, Look
from clips.viewing import playable
from detections import Detections
from marks import fixed_colors, shown_score
from serving.kept import Kept
from serving.service import Service, keep, new_folder
from ui import overlay
from ui.choices import Choices
from ui.components import said
from ui.layout import Layout
from ui.snippets import clip_to_javascript, clip_to_python, to_curl

FIRST_SECONDS, MORE = 0.5, 1.25
"""The stage gets what was found after so many seconds, and then always after so many times longer.

All of it is sent each time. So the times grow, and the whole work stays in proportion to the clip.
"""
OUTLINE_SIDE = 640
"""The longer side of the grid on which outlines run, in its own pixels."""
USUAL_LEAST = 0.3
"""The stage gets the instances with at least this score, and all of them once the threshold is lower.

Most instances that the model keeps have a lower score. With them, a minute of a clip would be 12 MB.
"""
MOST_KEPT = 8
"""The number of clips whose results are kept, of all visitors together. One may take 70 MB."""
NOT_KEPT = "This clip is not kept any more, because others came since. Please send it again."
COPY_BYTES = 200 * 2**20
"""The room that is reserved for a copy of a clip."""
Answer = dict[Any, Any]


@dataclass(slots=True, eq=False)
class Film:
    """The clip on the stage, as the browser session remembers it. It changes while the clip is looked at.

    Args:
        number: The number that the stage gave the clip.
        address: The address of this app, as the visitor's browser knows it.
        choices: What the visitor has set last.
        token: Under which the result is kept. None before anything was found.
        least: The stage has the instances with at least this score.
    """

    number: int
    address: str
    choices: Choices
    token: str | None = None
    least: float = USUAL_LEAST


class FilmPage:
    """What the page does with a clip. Each method returns new values for some components.

    Args:
        layout: The components.
        film: Holds the `Film` that is on the stage, or None.
    """

    def __init__(self, layout: Layout, film: gr.State, service: Service) -> None:
        self._layout, self._film, self._service = layout, film, service
        self._kept = Kept[ClipResult](most=MOST_KEPT)

    async def find(
        self, choices: Choices, source: object, number: int, address: str
    ) -> AsyncIterator[Answer]:
        """Looks at a clip, and yields the page with what was found so far.

        Args:
            address: The address of this app, as the visitor's browser knows it.
            source: The uploaded file, as the stage sent it.
            number: The number that the stage gave the clip.
        """
        film = Film(number, address, replace(choices, hidden=()))
        start, next_at = time.monotonic(), FIRST_SECONDS
        drawn = Drawn()
        async with self._service.request("page clip") as request:
            path = await request.clip(source)
            network = await request.model(choices.model)
            plan, notes = await request.run(lambda job: request.plan_clip(path, network, choices.detail))
            words = " ".join([f"Looking at {plan.words}.", *notes])
            yield {self._layout.picture: gr.update(said=said("working", words, number)), self._film: film}
            async with contextlib.aclosing(request.segment_clip(path, network, choices.detail)) as steps:
                async for progress in steps:
                    keep(path)
                    yield {self._layout.picture: gr.update(said=said("working", progress.words, number))}
                    if (passed := time.monotonic() - start) >= next_at or progress.result.is_whole:
                        next_at = passed * MORE + FIRST_SECONDS
                        film.token = self._kept.put(progress.result, film.token)
                        yield self._shown(film, progress.result, drawn)

    async def make_playable(self, source: object, number: int) -> Answer:
        """Writes a copy of a clip that the visitor's browser can play, and gives it to the stage."""
        async with self._service.request("copy clip") as request:
            path = await request.clip(source)
            folder = new_folder(COPY_BYTES)
            copy = await request.run(lambda job: playable(path, folder, job.stage))
            file = {"path": str(copy), "meta": {"_type": "gradio.FileData"}}
            return {self._layout.picture: gr.update(playable={"number": number, "file": file})}

    async def show(self, film: Film, choices: Choices, whole: bool = False) -> Any:
        """Returns the page for what is set now.

        Args:
            whole: Whether the outlines are made anew.
        """
        film.choices = choices  # what is found next is shown like this
        if film.token is None:
            return gr.skip()
        drawn = Drawn() if whole or choices.least_score < film.least else None
        async with self._service.request("look") as request:
            result = self.result(film)
            keep(result.path)
            return await request.look(lambda: self._shown(film, result, drawn))

    def result(self, film: Film) -> ClipResult:
        """Returns the result of the clip on the stage. Raises `SettingsError` if it is not kept any more."""
        result = self._kept.get(film.token)
        if result is None:
            raise SettingsError(NOT_KEPT)
        return result

    def _shown(self, film: Film, result: ClipResult, drawn: Drawn | None) -> Answer:
        """Returns the page about a clip.

        Args:
            drawn: The frames that are drawn already, if the stage gets the frames.
        """
        layout, choices = self._layout, film.choices
        view = clip_view(result, choices)
        tracks = track_table(view)
        picture: Answer = {"clip_look": look_at(view, tracks) | {"number": film.number}}
        if drawn is not None:
            film.least = USUAL_LEAST if choices.least_score >= USUAL_LEAST else SCORE_RANGE[0]
            frames = drawn.frames(result, choices.mask_threshold, film.least)
            picture["clip_scene"] = scene(result, frames) | {"number": film.number}
        objects = View(as_result(result), view.filters, view.style)
        told = overlay.summary(objects) | {"found": found(view, tracks), "plain": False}
        dots = _dots(view, tracks)
        for kind in (kind for group in told["groups"] for kind in group["kinds"]):
            kind["dots"] = dots.get(kind["name"], [])[: overlay.MOST_DOTS]
        return {
            layout.picture: gr.update(**picture),
            layout.summary: gr.update(told=told),
            layout.histogram: "",
            layout.python: clip_to_python(film.address, view),
            layout.javascript: clip_to_javascript(film.address, view),
            layout.curl: to_curl(film.address, view),
        }


def clip_view(result: ClipResult, choices: Choices) -> ClipView:
    """Returns a clip's result as the visitor wants to see it."""
    class_ids = {id for look in result.looks for id in look.class_ids.tolist()}
    names = map(result.categories.name_of, class_ids)
    return ClipView(result, choices.filters(names, result.categories), choices.style())


class Drawn:
    """The frames of a clip as the stage draws them. More frames of the same clip are drawn when they come."""

    def __init__(self) -> None:
        self._made: tuple[float, float] | None = None
        self._frames: list[Any] = []

    def frames(self, result: ClipResult, mask_threshold: float, least: float) -> list[Any]:
        """Returns the `frame` of each look of a result."""
        if self._made != (mask_threshold, least):
            self._made, self._frames = (mask_threshold, least), []
        self._frames += [frame(look, mask_threshold, least) for look in result.looks[len(self._frames) :]]
        return list(self._frames)


def frame(look: Look, mask_threshold: float, least: float = 0.0) -> list[Any]:
    """Returns a look for the stage: its time, and its instances with the highest score first.

    Args:
        least: Instances with a lower score are left out.

    Returns:
        [seconds, [[id, category id, score, mask area in pixels of the clip, box, path], …]]. Boxes are x1 y1
        x2 y2 as shares of the width and height, and paths are in pixels of `scene`.
    """
    detections = look.detections
    size = _outline_size(look.image_size)
    cells = (look.image_size[0] / size[0]) * (look.image_size[1] / size[1])
    instances = []
    for i in range(int(np.count_nonzero(look.scores >= np.float32(least)))):
        path, area = overlay.outline(detections, i, size, mask_threshold)
        score = float(shown_score(detections.scores[i], 4))
        id, class_id = int(detections.ids[i]), int(detections.class_ids[i])
        instances.append([id, class_id, score, round(area * cells), overlay.shares(detections, i), path])
    return [round(look.seconds, 6), instances]


def scene(result: ClipResult, drawn: list[Any]) -> dict[str, Any]:
    """Returns what was found in the frames so far, for the stage.

    Args:
        drawn: The `frame` of each look.
    """
    height, width = _outline_size(result.facts.size)
    class_ids = sorted({id for look in result.looks for id in look.class_ids.tolist()})
    ids = sorted({id for look in result.looks for id in look.ids.tolist()})
    steps = result.durations
    return {
        "width": width,
        "height": height,
        "pixels": result.facts.size[0] * result.facts.size[1],
        "frames": list(drawn),
        "step": round(float(np.median(steps)), 6) if len(steps) else 1.0,
        "whole": result.is_whole,
        "names": {str(class_id): result.categories.name_of(class_id) for class_id in class_ids},
        "colors": {
            "instance": _colors(ids),
            "category": _colors(class_ids),
        },
    }


def look_at(view: ClipView, tracks: Sequence[Track]) -> dict[str, Any]:
    """Returns which instances of each frame are in view, the tracks in view, and the style.

    Args:
        tracks: The tracks in view (`clips.report.track_table`).
    """
    style = view.style
    kept = zip(view.result.looks, view.kept, strict=True)
    return {
        "ids": [look.ids[keep].tolist() for look, keep in kept],
        "hidden": list(view.filters.hidden),
        "opacity": style.opacity,
        "color_by": style.color_by,
        "headers": list(TRACK_HEADERS),
        "tracks": [
            [
                track.id,
                track.name,
                track.first_seconds,
                track.last_seconds,
                track.in_view_seconds,
                shown_score(track.best_score),
                track.best_seconds,
            ]
            for track in tracks
        ],
        "counts": {name: counts.tolist() for name, counts in counts_over_time(view).items()},
    }


def as_result(result: ClipResult) -> Result:
    """Returns the tracks of a clip as if they were the instances of one photo, with their best scores.

    So the summary of a clip counts tracks.
    """
    tracks = track_table(ClipView(result, Filters(score_threshold=0)))
    tracks = tuple(sorted(tracks, key=lambda track: -track.best_score))
    count = len(tracks)
    detections = Detections(
        np.zeros((count, 4), np.float32),
        np.array([track.best_score for track in tracks], np.float32),
        np.array([track.class_id for track in tracks], np.int64),
        np.zeros((count, 1, 1), np.float32),
        np.array([track.id for track in tracks], np.int64),
        result.facts.size,
    )
    height, width = result.facts.size
    nothing = np.broadcast_to(np.uint8(0), (height, width, 3))
    timings = {"read": 0.0, "model": 1000 * result.seconds}
    return Result(
        result.path, nothing, detections, result.model, timings, notes=result.notes, detail=result.detail
    )


def found(view: ClipView, tracks: Sequence[Track]) -> str:
    """Returns a sentence that says how many objects were followed, and how many are in view at once."""
    most = most_at_once(view)
    if not most:
        return "No object is in view in this clip. A lower score threshold, or other kinds, may show some."
    counts = Counter(track.name for track in tracks)
    followed = ", ".join(view.categories.counted(name, count) for name, count in counts.items())
    at_once = ", ".join(view.categories.counted(name, count) for name, count in most.items())
    so_far = "" if view.result.is_whole else f" This is the part until {view.result.times[-1]:.1f} s."
    return f"Followed: {followed or 'nothing'}. Most at the same time: {at_once}.{so_far}"


def _dots(view: ClipView, tracks: Sequence[Track]) -> dict[str, list[str]]:
    """Returns the colours of the tracks of each kind, by the kind's name."""
    dots: dict[str, list[str]] = {}
    by_class = view.style.color_by == "category"
    for track in tracks:
        (color,) = _colors([track.class_id if by_class else track.id]).values()
        fill = color["fill"]
        if fill not in dots.setdefault(track.name, []):
            dots[track.name].append(fill)
    return dots


def _outline_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = OUTLINE_SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _colors(keys: list[int]) -> dict[str, dict[str, str]]:
    """Returns the colour of each key and the colour of the letters on it."""
    colors = fixed_colors(np.array(keys, np.int64)).tolist()
    return {str(key): overlay.fill_and_ink(color) for key, color in zip(keys, colors, strict=True)}

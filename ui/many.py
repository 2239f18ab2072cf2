"""Many photos: what happens on the page when a visitor brings several photos or a ZIP.

A strip under the stage fills as photos finish (`assets/many.js`). Each photo opens on the stage as any photo
does. The server keeps what was found in each of them, without pixels, and the browser holds a token for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from answer.many import Named, tally
from answer.many_files import check_many_format
from answer.result import Result, View
from answer.settings import SettingsError
from photo.strips import fit_within
from serving.kept import Kept
from serving.many import Sent, light, seconds_left
from serving.service import Service, keep
from ui.choices import Choices
from ui.components import picture_file
from ui.layout import Layout
from ui.many_api import written
from ui.snippets import many_to_curl, many_to_javascript, many_to_python

FRESH = Choices()
OF_ALL = ("score_threshold", "mask_threshold", "without", "thresholds")
"""The choices that apply to all photos, unless a photo has its own."""
OF_ONE = ("hidden", "edits", "scale")
"""The choices that belong to one photo in any case."""
MOST_KEPT = 16
"""The groups of photos that are kept, of all visitors together. Fifty photos take up to 15 MB."""
THUMBNAIL_SIDE = 160
NOT_KEPT = "These photos are not kept any more (they are kept for an hour). Please send them again."
ODD = "The page sent something that it never sends. Please load it again."
Answer = dict[Any, Any]


@dataclass(slots=True, eq=False)
class Slot:
    """One photo of the strip. It changes when the photo is looked at, opened or set.

    Args:
        sent: Its name and its file.
        result: What was found in it, without pixels. None before that, or if it failed.
        fault: Why it failed, in a sentence.
        thumbnail: A small picture of it.
        own: What is set for this photo only, or None.
        last: What was set when it was last on the stage, or None.
    """

    sent: Sent
    result: Result | None = None
    fault: str = ""
    thumbnail: str = ""
    own: Choices | None = None
    last: Choices | None = None

    def is_of(self, result: Result) -> bool:
        """Returns whether a result on the stage has the same instances as this photo's last answer."""
        last = self.result
        return (
            last is not None
            and (last.model.name, last.detail) == (result.model.name, result.detail)
            and np.array_equal(last.detections.boxes, result.detections.boxes)
        )

    def forget_ids(self) -> None:
        """Drops what is hidden and corrected, because another look has other ids."""
        if self.last is not None:
            self.last = replace(self.last, hidden=(), edits=())


@dataclass(slots=True, eq=False)
class Many:
    """Photos that a visitor sent together.

    Args:
        slots: The photos.
        files: The names of the files that the visitor sent: the photos, or the ZIP.
        notes: What was left out, in sentences.
        common: What is set for all photos.
    """

    slots: list[Slot]
    files: tuple[str, ...]
    notes: tuple[str, ...]
    common: Choices

    def choices(self, place: int) -> Choices:
        """Returns what is set for one photo."""
        slot = self.slots[place]
        own, last = slot.own or self.common, slot.last or FRESH
        fields = {name: getattr(own, name) for name in OF_ALL}
        return replace(self.common, **fields, **{name: getattr(last, name) for name in OF_ONE})

    def settle(self, place: int, choices: Choices, is_own: bool) -> Choices:
        """Takes over what a visitor has set while a photo is on the stage, and returns what holds for it.

        Args:
            is_own: Whether it is set for this photo only. If it was so far and is no more, the photo goes
                back to what is set for all photos.
        """
        slot = self.slots[place]
        was_own, slot.last = slot.own is not None, choices
        if is_own:
            slot.own = choices
        elif was_own:
            slot.own = None
        else:
            self.common = choices
        kept = {name: getattr(self.common, name) for name in OF_ALL}
        self.common = replace(choices, **kept)
        return self.choices(place)

    def views(self) -> list[View | None]:
        """Returns the view of each photo, and None for each that has no answer."""
        return [
            None if slot.result is None else self.choices(place).view(slot.result)
            for place, slot in enumerate(self.slots)
        ]

    def named(self) -> list[Named]:
        """Returns the photos that were looked at, for a file of all."""
        pairs = zip(self.slots, self.views(), strict=True)
        return [Named(slot.sent.name, view, slot.fault) for slot, view in pairs if view or slot.fault]

    def keep(self) -> None:
        """Marks all files as used just now."""
        for slot in self.slots:
            if slot.sent.path is not None:
                keep(slot.sent.path)
            if slot.thumbnail:
                keep(Path(slot.thumbnail))

    def places(self, which: object) -> list[int]:
        """Returns the photos that are looked at (again): "all", "rest", or the number of one.

        Raises:
            SettingsError: There is no such photo.
        """
        if which == "all":
            return list(range(len(self.slots)))
        if which == "rest":
            return [place for place, slot in enumerate(self.slots) if slot.result is None]
        return [self.place(which)]

    def place(self, number: object) -> int:
        """Returns the number of a photo. Raises `SettingsError` if there is no such photo."""
        if type(number) is not int or not 0 <= number < len(self.slots):
            raise SettingsError(ODD)
        return number


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """The photo of a strip that is on the stage.

    Args:
        token: The token of `many`.
        place: The number of the photo, from 0.
        is_own: Whether the visitor sets something for this photo only.
    """

    many: Many
    token: str
    place: int
    is_own: bool

    @property
    def slot(self) -> Slot:
        return self.many.slots[self.place]


class ManyPage:
    """What the page does with many photos. Each method returns new values for some components."""

    def __init__(self, layout: Layout, service: Service) -> None:
        self._layout, self._service = layout, service
        self._kept = Kept[Many](most=MOST_KEPT)

    def opened(self, source: object) -> Opened | None:
        """Returns the photo of a strip that the stage names as its photo, or None if it is another photo.

        Raises:
            SettingsError: The photos are not kept any more, or there is no such photo.
        """
        if not isinstance(source, dict) or "many" not in source:
            return None
        many = self._many(source["many"])
        return Opened(many, source["many"], many.place(source.get("photo")), source.get("own") is True)

    def _many(self, token: object) -> Many:
        many = self._kept.get(token)
        if many is None:
            raise SettingsError(NOT_KEPT)
        return many

    async def find(
        self, choices: Choices, source: dict[str, Any], number: int, which: object = "all"
    ) -> AsyncIterator[Answer]:
        """Looks at photos, and yields the strip as it fills.

        Args:
            source: The uploaded files ("photos"), or the token of photos that were sent before ("many").
            number: The number that the stage gave the photos.
            which: The photos that are looked at again, as for `Many.places`.
        """
        service = self._service
        if "many" in source:
            many, token = self._many(source["many"]), str(source["many"])
        else:
            async with service.request("photos") as request:
                sent, notes = await request.photos(source["photos"])
            files = tuple(
                Path(str(one.get("path"))).name for one in source["photos"] if isinstance(one, dict)
            )
            many = Many(
                [Slot(one) for one in sent], files, notes, replace(choices, hidden=(), edits=(), scale=None)
            )
            token = self._kept.put(many)
        places = many.places(which)
        for place in places:
            many.slots[place].fault = ""
        strip = _Strip(self._layout, many, token, number, len(places))
        try:
            async with service.request("page many") as request:
                yield strip.shown()
                network = await request.model(choices.model)
                expected = service.seconds.expected(network, choices.detail)
                yield strip.shown(seconds=seconds_left([], expected, len(places)))
                wanted = [many.slots[place].sent for place in places]
                async with contextlib.aclosing(
                    request.segment_many(wanted, network, choices.detail)
                ) as steps:
                    async for progress in steps:
                        slot = many.slots[places[progress.place]]
                        await asyncio.to_thread(_fill, slot, progress.result, progress.fault)
                        yield await asyncio.to_thread(strip.shown, progress.done, progress.seconds_left)
                yield strip.shown(len(places), running=False)
        except gr.Error as error:
            yield strip.shown(running=False, fault=str(error.message))

    def on_stage(self, opened: Opened) -> Answer:
        """Returns the strip, and the controls with what is set for the photo that is opened."""
        opened.many.keep()
        strip = _Strip(self._layout, opened.many, opened.token, None, len(opened.many.slots))
        shown: Answer = strip.shown(running=None)[self._layout.picture]
        return shown

    def controls(self, choices: Choices, before: Choices) -> Answer:
        """Returns new values for the controls that show what is set, where they have to change."""
        layout = self._layout
        answer: Answer = {
            layout.controls[name]: getattr(choices, name)
            for name in OF_ALL
            if name in layout.controls and getattr(choices, name) != getattr(before, name)
        }
        value = choices.of_summary()
        return answer | ({layout.summary: value} if value != before.of_summary() else {})

    def code(self, opened: Opened, address: str, view: View) -> Answer:
        """Returns programs that get the same for all photos."""
        layout, files = self._layout, opened.many.files
        return {
            layout.python: many_to_python(address, view, files),
            layout.javascript: many_to_javascript(address, view, files),
            layout.curl: many_to_curl(address, view, files),
        }

    async def save(self, source: object, format: str, progress: gr.Progress) -> str:
        """Writes a file of all photos, and returns its path."""
        async with self._service.request("save many", progress) as request:
            check_many_format(format)
            if not isinstance(source, dict) or "many" not in source:
                raise SettingsError("There are not several photos on the stage.")
            many = self._many(source["many"])
            many.keep()
            for slot in many.slots:
                if slot.sent.path is not None:
                    request.needs(slot.sent.path)
            return str(await written(request, many.named(), format))


class _Strip:
    """The strip as it is sent to the browser while photos are looked at."""

    def __init__(self, layout: Layout, many: Many, token: str, number: int | None, count: int) -> None:
        self._layout, self._many = layout, many
        self._facts = {"token": token, "number": number, "count": count}

    def shown(
        self, done: int = 0, seconds: float = 0.0, running: bool | None = True, fault: str = ""
    ) -> Answer:
        """Returns the strip.

        Args:
            done: The number of photos that are done, of those that are looked at now.
            seconds: How long the rest will probably take.
            running: Whether photos are looked at. None leaves it as it is.
            fault: Why no more photos are looked at.
        """
        gallery = self._facts | {
            "photos": [_facts(slot) for slot in self._many.slots],
            "notes": list(self._many.notes),
            "done": done,
            "seconds": round(seconds, 1),
            "running": running,
            "fault": fault,
            "moment": time.monotonic_ns(),
        }
        return {self._layout.picture: gr.update(gallery=gallery, tally=told(self._many))}


def told(many: Many) -> dict[str, Any]:
    """Returns the counts of all photos, and which photos have settings of their own."""
    counted = tally(many.views())
    return {
        "kinds": list(counted.kinds),
        "rows": [None if row is None else list(row) for row in counted.rows],
        "sums": list(counted.sums),
        "own": [slot.own is not None for slot in many.slots],
        "moment": time.monotonic_ns(),
    }


def fill(opened: Opened, result: Result) -> None:
    """Takes over what another model has found in the photo that is on the stage."""
    opened.slot.forget_ids()
    _fill(opened.slot, result, "")


def _fill(slot: Slot, result: Result | None, fault: str) -> None:
    """Takes over what was found in a photo, and makes its thumbnail."""
    slot.fault = fault
    if result is not None:
        if not slot.is_of(result):
            slot.forget_ids()
        slot.thumbnail = picture_file(fit_within(result.working_image, THUMBNAIL_SIDE))
        slot.result = light(result)


def _facts(slot: Slot) -> dict[str, str]:
    state = "done" if slot.result is not None else "failed" if slot.fault else "ahead"
    return {"name": slot.sent.name, "state": state, "thumbnail": slot.thumbnail, "fault": slot.fault}

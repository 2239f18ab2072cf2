"""Agents: adds three tools that language models can call.

One tool describes the objects in a photo as short JSON. The other tool draws the objects on a picture that is
small enough for a language model. The third tool follows the objects in a video. The tools use the Model
Context Protocol (https://modelcontextprotocol.io).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

import coco
from answer.data import to_json
from answer.report import full_labels
from answer.result import Result, View, in_view
from answer.settings import Filters, check_classes, check_detail
from categories import Categories
from clips.result import ClipResult, ClipView
from serving.service import Service
from ui.api import filters_of, warnings_of
from ui.clips import to_json as to_clip_json
from ui.clips import warnings_of as clip_warnings_of
from ui.components import picture_file
from visualize import Style, annotate

TOOLS = ("detect_objects", "draw_objects", "track_objects")
TOLD = ("counts", "image_size", "warnings")
TOLD_OF_EACH = ("id", "category_name", "score", "bbox_xyxy", "area")
"""The parts of the answer of `/segment` that a language model gets: about the photo, and about each object.

Masks are left out, because a language model cannot use them.
"""
TOLD_OF_CLIP = ("clip", "most_at_once", "tracks", "warnings")
"""The parts of the answer of `/segment_video` that a language model gets."""


def add_tools(service: Service) -> None:
    """Adds the tools to the `gr.Blocks` that is open. Language models read the tools' docstrings."""

    async def answer(
        kind: str,
        image: object,
        score_threshold: float,
        classes: object,
        detail: str,
        make: Callable[[Result, Filters, str], str],
    ) -> str:
        async with service.request(kind) as request:
            filters = filters_of(score_threshold, classes)
            check_detail(detail)
            path, network = await request.photo(image), await request.model("auto")
            check_classes(filters, network.categories)
            return await request.run(
                lambda job: make(request.segment(path, network, job, detail), filters, detail)
            )

    def told(result: Result, filters: Filters, detail: str) -> str:
        """Returns the instances in view as JSON."""
        warnings = (*warnings_of(service.models, "auto", result, detail), *result.notes)
        whole = to_json(View(result, filters), warnings)
        short: dict[str, Any] = {key: whole[key] for key in TOLD} | {"model": result.model.name}
        short |= kinds_of(result.categories)
        short["instances"] = [{key: each[key] for key in TOLD_OF_EACH} for each in whole["instances"]]
        return json.dumps(short)

    def drawn(result: Result, filters: Filters, detail: str) -> str:
        """Draws the instances in view on the photo, and returns the path of the picture."""
        shown = in_view(result.detections, result.categories, filters)
        labels = full_labels(shown, result.categories)  # the other tool's answer refers to the ids
        return picture_file(annotate(result.working_image, shown, labels, Style(), result.detections))

    async def detect_objects(
        image: gr.FileData,
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        detail: str = "full",
    ) -> str:
        """Find, name, locate and count the objects in a photo, usually of the 80 everyday kinds of COCO:
        people, vehicles, animals, furniture, food, household things and others. Gives JSON: counts by kind,
        image_size, warnings, model, and for each object its id, category_name, score, bbox_xyxy (left, top,
        right, bottom) and the area of its mask, in pixels of the photo.

        Args:
            image: Web address of the photo (JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF), or a data URL of it.
            score_threshold: Least score of the objects returned, 0 to 1; 0.2 shows more, right and wrong.
            classes: Only these kinds, by their names such as "person", "dining table"; all if null.
            detail: "full", "balanced" or "fast" (sooner, finds less), or "closer" (much slower, finds more).
        """
        return await answer("detect", image, score_threshold, classes, detail, told)

    async def draw_objects(
        image: gr.FileData,
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        detail: str = "full",
    ) -> gr.FileData:
        """Show the objects in a photo: a picture of it, at most 1024 pixels wide or high, with a coloured
        mask and a box for each object, and a label where there is room for it. Labels give the id, as in
        detect_objects, and the score.

        Args:
            image: Web address of the photo (JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF), or a data URL of it.
            score_threshold: Least score of the objects drawn, 0 to 1.
            classes: Only these kinds, by their names such as "person", "dining table"; all if null.
            detail: "full", "balanced" or "fast" (sooner, finds less), or "closer" (much slower, finds more).
        """
        return FileData(path=await answer("draw", image, score_threshold, classes, detail, drawn))

    async def track_objects(
        video: gr.FileData,
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        detail: str = "full",
    ) -> str:
        """Find, name, follow and count the objects in a video, usually of the 80 everyday kinds of COCO.
        Gives JSON: clip (its size and length), most_at_once (the largest number of each kind that is in view
        at one time), tracks (for each object its id, category_name, when it is first and last seen and how
        long it is in view, in seconds), warnings and model. Takes about a minute.

        Args:
            video: Web address of the video (MP4, MOV, WebM, AVI, MKV or GIF, at most 25 MB), or a data URL.
            score_threshold: Least score of the objects that count, 0 to 1; 0.7 leaves fewer wrong ones.
            classes: Only these kinds, by their names such as "person", "dining table"; all if null.
            detail: "full", or "balanced" or "fast": sooner, but fewer small objects are found.
        """
        async with service.request("track") as request:
            filters = filters_of(score_threshold, classes)
            check_detail(detail)
            path, network = await request.clip(video), await request.model("auto")
            check_classes(filters, network.categories)
            result: ClipResult | None = None
            async with contextlib.aclosing(request.segment_clip(path, network, detail)) as steps:
                async for progress in steps:
                    result = progress.result
            assert result is not None
            warnings = clip_warnings_of(service.models, "auto", result, detail)
            whole = to_clip_json(ClipView(result, filters), warnings)
            short = {key: whole[key] for key in TOLD_OF_CLIP}
            return json.dumps(short | {"model": result.model.name} | kinds_of(result.categories))

    for tool in (detect_objects, draw_objects, track_objects):
        gr.api(tool, api_name=tool.__name__, concurrency_limit=None)


def kinds_of(categories: Categories) -> dict[str, list[str]]:
    """Returns the names that a model knows. COCO's are left out, because agents know them."""
    return {} if categories == coco.CATEGORIES else {"kinds": [*categories.by_name]}


def show_only_tools(blocks: gr.Blocks) -> None:
    """Removes all endpoints of `blocks` except `TOOLS` from the list of tools that agents see.

    Gradio puts all endpoints on this list when the app starts.
    """
    offered = blocks.mcp_server_obj
    if offered is not None:
        endpoints = offered.tool_to_endpoint.items()
        offered.tool_to_endpoint = {
            name: endpoint for name, endpoint in endpoints if endpoint.strip("/") in TOOLS
        }

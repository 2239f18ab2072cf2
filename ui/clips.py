"""Clips: adds the endpoint `/segment_video`, which follows the objects in a video."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from answer.data import filter_facts
from answer.settings import SettingsError, check_classes, check_detail, said
from clips.files import check_clip_export, clip_facts, export_clip
from clips.report import counts_over_time, most_at_once, track_rows
from clips.result import ClipResult, ClipView
from inference import detail_of
from serving.clips import ClipProgress
from serving.estimates import clip_bytes
from serving.models import Models
from serving.scheduler import Job
from serving.service import Service, new_folder
from ui.api import fallback_notice, filters_of, one_detail
from visualize import Style

SCHEMA_VERSION = 1
MOST_STRIDE = 1000
TRACK_KEYS = (
    "id",
    "category_name",
    "first_seconds",
    "last_seconds",
    "in_view_seconds",
    "best_score",
    "best_seconds",
)


def add_clip_endpoint(service: Service) -> None:
    """Adds the endpoint to the `gr.Blocks` that is open."""

    async def segment_video(
        video: gr.FileData,
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        mask_threshold: float = 0.5,
        model: str = "auto",
        hidden: list[int] | None = None,
        detail: str = "full",
        stride: int = 0,
        format: str | None = "coco",
        effect: str | None = None,
        color: str = "#ffffff",
        thresholds: dict[str, float] | None = None,
    ) -> AsyncIterator[dict]:  # type: ignore[type-arg]  # Gradio derives the schema from the bare type
        """Find and follow every object in a clip: tracks, counts over time, and a file with every frame.

        While it works, it sends its progress: frames_done, frames, frames_per_second, seconds_left.

        Args:
            video: The clip: MP4, MOV, WebM, AVI, MKV, or an animated GIF or WebP; the first 60 s of it.
            score_threshold: Least score of the objects that count, 0 to 1.
            classes: Names of the kinds that count, for example ["person", "dog"]; all if null.
            mask_threshold: A pixel belongs to an object if its probability is above this, 0 to 1.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2", "starter" or "scenes".
            hidden: Ids of tracks to leave out, as they were numbered in an answer before.
            detail: "full", or "balanced" or "fast": sooner, but fewer small objects are found.
            stride: Look at every n-th frame; 0 chooses it so that a minute is enough.
            format: Of the file: "coco", "mot", "counts", "tracks", "stills", "video", "zip"; null for none.
            effect: For "video" and "zip", such as "blur" or "pixelate", in place of the drawn objects.
            color: The background's for "color_background", as "#rrggbb".
            thresholds: Least scores of some categories, such as {"person": 0.7}, in place of score_threshold.

        Returns:
            At last one object: schema_version, done, model, clip, cached, settings, seconds, times, counts,
            most_at_once, tracks, warnings, file.
        """
        async with service.request("video") as request:
            filters = filters_of(score_threshold, classes, mask_threshold, hidden, thresholds)
            check_detail(detail)
            check_stride(stride)
            if format is not None:
                check_clip_export(format, effect, color)
            path, network = await request.clip(video), await request.model(model)
            check_classes(filters, network.categories)
            result: ClipResult | None = None
            async with contextlib.aclosing(request.segment_clip(path, network, detail, stride)) as steps:
                async for progress in steps:
                    result = progress.result
                    yield progress_facts(progress)
            assert result is not None
            view = ClipView(result, filters, Style(mask_threshold=filters.mask_threshold))
            answer = to_json(view, warnings_of(service.models, model, result, detail))
            if format is not None:
                wanted = format

                def write(job: Job) -> Path:
                    folder = new_folder(clip_bytes(view, wanted))
                    return export_clip(view, wanted, folder, effect, color, job.stage)

                answer["file"] = FileData(path=str(await request.run(write, goes_on=True))).model_dump()
            yield answer

    gr.api(segment_video, api_name="segment_video", concurrency_limit=None)


def check_stride(stride: object) -> None:
    """Raises `SettingsError` unless every `stride`-th frame can be looked at."""
    if type(stride) is not int or not 0 <= stride <= MOST_STRIDE:
        raise SettingsError(f"stride: expected a whole number from 0 to {MOST_STRIDE}, got {said(stride)}.")


def progress_facts(progress: ClipProgress) -> dict[str, Any]:
    """Returns how far the work on a clip is, as values that JSON can hold."""
    return {
        "done": False,
        "frames_done": progress.done,
        "frames": progress.frames,
        "frames_per_second": round(progress.frames_per_second, 2),
        "seconds_left": round(progress.seconds_left, 1),
    }


def to_json(view: ClipView, warnings: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns what is in view in a clip, without boxes and masks, as values that JSON can hold.

    Args:
        warnings: Sentences that the client should read, beside those of the result.
    """
    counts = {name: column.tolist() for name, column in counts_over_time(view).items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "done": True,
        **clip_facts(view),
        "cached": view.result.cached,
        "settings": filter_facts(view.filters),
        "seconds": round(view.result.seconds, 2),
        "times": [round(seconds, 3) for seconds in view.result.times.tolist()],
        "counts": counts,
        "most_at_once": most_at_once(view),
        "tracks": [dict(zip(TRACK_KEYS, row, strict=True)) for row in track_rows(view)],
        "warnings": [*warnings, *view.result.notes],
        "file": None,
    }


def warnings_of(models: Models, model: str, result: ClipResult, detail: str) -> tuple[str, ...]:
    """Returns the warnings for a client who asked for this model and this detail, and got this result."""
    best = models.best
    fallback = fallback_notice(best.shortfall) if model == "auto" and best and best.shortfall else ""
    used = detail_of(result.model, detail)
    return tuple(filter(None, (fallback, one_detail(result.model.name, detail) if used != detail else "")))

"""Many photos for programs: adds the endpoint `/segment_many`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from answer.data import filter_facts, to_json
from answer.many import Named, tally
from answer.many_files import Step, check_many_format, export_many
from answer.result import View
from answer.settings import Filters, check_classes, check_detail
from serving.estimates import many_bytes
from serving.many import ManyProgress
from serving.scheduler import Job
from serving.service import Request, Service, new_folder
from ui.api import filters_of, warnings_of
from visualize import Style

SCHEMA_VERSION = 1


def add_many_endpoint(service: Service) -> None:
    """Adds the endpoint to the `gr.Blocks` that is open."""

    async def segment_many(
        images: list[dict],  # type: ignore[type-arg]  # of files; for `FileData` in a list the schema has no type
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        mask_threshold: float = 0.5,
        model: str = "auto",
        detail: str = "full",
        format: str | None = None,
        thresholds: dict[str, float] | None = None,
    ) -> AsyncIterator[dict]:  # type: ignore[type-arg]  # Gradio derives the schema from the bare type
        """Find every object in many photos: the answer of each, counts of all, and one file for all.

        While it works, it sends its progress: photos_done, photos, seconds_left.

        Args:
            images: 1 to 50 photos as for /segment, or one ZIP with photos; together at most 200 MB.
            score_threshold: Least score of the objects returned, 0 to 1; nothing at or below 0.05 is kept.
            classes: Names of the kinds to return, for example ["person", "dog"]; all if null.
            mask_threshold: A pixel belongs to an object if its probability is above this, 0 to 1.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2", "starter" or "scenes".
            detail: "full", "balanced" or "fast" (sooner, finds less), or "closer" (much slower, finds more).
            format: Of the file for all photos: "zip", "coco", "yolo", "csv", "sheet"; null for none.
            thresholds: Least scores of some categories, such as {"person": 0.7}, in place of score_threshold.

        Returns:
            At last one object: schema_version, done, settings, photos, counts, photos_with_error, warnings,
            file. Each photo has its name, and an answer as that of /segment, or an error in a sentence.
        """
        async with service.request("many") as request:
            filters = filters_of(score_threshold, classes, mask_threshold, thresholds=thresholds)
            check_detail(detail)
            if format is not None:
                check_many_format(format)
            sent, notes = await request.photos(images)
            network = await request.model(model)
            check_classes(filters, network.categories)
            style = Style(mask_threshold=filters.mask_threshold)
            photos: list[Named] = []
            async with contextlib.aclosing(request.segment_many(sent, network, detail)) as steps:
                async for progress in steps:
                    result = progress.result
                    view = None if result is None else View(result, filters, style)
                    photos.append(Named(sent[progress.place].name, view, progress.fault))
                    yield progress_facts(progress)

            answers: list[dict[str, Any] | None] = []
            for photo in photos:
                view = photo.view
                if view is None:
                    answers.append(None)
                    continue
                warnings = (*warnings_of(service.models, model, view.result, detail), *view.result.notes)
                answers.append(await request.run(_answering(view, warnings), goes_on=True))
            answer = many_to_json(photos, answers, filters, notes)
            if format is not None and any(photo.view is not None for photo in photos):
                path = await written(request, photos, format)
                answer["file"] = FileData(path=str(path)).model_dump()
            yield answer

    gr.api(segment_many, api_name="segment_many", concurrency_limit=None)


async def written(request: Request, photos: Sequence[Named], format: str) -> Path:
    """Writes a file of many photos, with a turn for each photo, and returns its path.

    Raises:
        SettingsError, ImageError: As `answer.many_files.export_many`.
        DiskFull: There is too little room.
    """
    room = many_bytes([photo.view.shown for photo in photos if photo.view is not None], format)
    folder = await request.run(lambda job: new_folder(room), goes_on=True)
    last: Step | None = None
    async with contextlib.aclosing(request.turns(export_many(photos, format, folder))) as steps:
        async for last in steps:
            request.tell(last.share, last.words)
    assert last is not None and last.path is not None
    return last.path


def _answering(view: View, warnings: tuple[str, ...]) -> Callable[[Job], dict[str, Any]]:
    """Returns work that makes the answer about one photo."""
    return lambda job: to_json(view, warnings)


def progress_facts(progress: ManyProgress) -> dict[str, Any]:
    """Returns how far the work on the photos is, as values that JSON can hold."""
    return {
        "done": False,
        "photos_done": progress.done,
        "photos": progress.count,
        "seconds_left": round(progress.seconds_left, 1),
    }


def many_to_json(
    photos: Sequence[Named],
    answers: Sequence[dict[str, Any] | None],
    filters: Filters,
    notes: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Returns what is in view in many photos, as values that JSON can hold.

    Args:
        answers: The `answer.data.to_json` of each photo. None for a photo that could not be looked at.
        notes: Sentences about all photos that the client should read.
    """
    told = tally([photo.view for photo in photos])
    return {
        "schema_version": SCHEMA_VERSION,
        "done": True,
        "settings": filter_facts(filters),
        "photos": [
            {"name": photo.name, "error": photo.fault or None, "answer": answer}
            for photo, answer in zip(photos, answers, strict=True)
        ],
        "counts": dict(zip(told.kinds, told.sums, strict=True)),
        "photos_with_error": sum(answer is None for answer in answers),
        "warnings": list(notes),
        "file": None,
    }

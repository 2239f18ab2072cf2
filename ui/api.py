"""API: adds the endpoints that programs call, such as `/segment`, `/annotate` and `/export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from answer.data import to_json
from answer.edits import Edit, read_edits, to_text
from answer.files import check_format, effect_file, export_file
from answer.formats import to_rle
from answer.result import Result, View
from answer.result import names as names_of
from answer.settings import (
    Filters,
    SettingsError,
    check_classes,
    check_detail,
    check_effect,
    check_fraction,
    rgb,
    said,
)
from inference import SegmentationModel, detail_of
from inside.data import save, saved_bytes
from inside.data import to_json as to_inside_json
from network.detail import CLOSER, FULL_DETAIL
from network.ideas import Idea
from network.inside import Inside
from serving.estimates import effect_bytes, export_bytes
from serving.ideas import idea_at_place, idea_of_box, one_for_each_name
from serving.models import Models
from serving.photos import inside_file
from serving.scheduler import Job
from serving.service import Service, new_folder
from visualize import PARTS, Style

INSIDE_SCHEMA_VERSION = 1
ONE_LOOK = "These are the steps of the look at the whole photo. The looks at its parts are not shown."
"""What a visitor reads who sees inside of an answer that is made of many looks."""


def add_endpoints(service: Service) -> None:
    """Adds the endpoints to the `gr.Blocks` that is open.

    Gradio derives the schema of each endpoint from the endpoint's own function. So each docstring repeats the
    arguments that the endpoints share. Gradio takes only the first line of the text about an argument.
    """

    async def segment(
        image: gr.FileData,
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        mask_threshold: float = 0.5,
        model: str = "auto",
        hidden: list[int] | None = None,
        detail: str = "full",
        edits: list[dict] | None = None,  # type: ignore[type-arg]
        thresholds: dict[str, float] | None = None,
    ) -> dict:  # type: ignore[type-arg]  # Gradio derives the schema from the bare type
        """Find every object in a photo: name, score, box, area and mask of each, and counts.

        Args:
            image: The photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 40 megapixels.
            score_threshold: Least score of the objects returned, 0 to 1; nothing at or below 0.05 is kept.
            classes: Names of the kinds to return, for example ["person", "dog"]; all if null.
            mask_threshold: A pixel belongs to an object if its probability is above this, 0 to 1.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2", "starter" or "scenes".
            hidden: Ids of objects to leave out, as they were numbered in an answer before.
            detail: "full", "balanced" or "fast" (sooner, finds less), or "closer" (much slower, finds more).
            edits: Changes of yours, such as [{"do": "rename", "id": 3, "name": "cat"}]; see `/suggest`.
            thresholds: Least scores of some categories, such as {"person": 0.7}, in place of score_threshold.

        Returns:
            One object: schema_version, model, image_size, settings, timings_ms, counts, warnings, instances.
            Boxes and areas are in pixels of the photo; masks are COCO RLE at its size.
        """
        async with service.request("segment") as request:
            filters = filters_of(score_threshold, classes, mask_threshold, hidden, thresholds)
            check_detail(detail)
            changes = read_edits(edits)
            path, network = await request.photo(image), await request.model(model)
            check_classes(filters, network.categories.with_names(change.name for change in changes))

            def work(job: Job) -> dict[str, Any]:
                result = request.segment(path, network, job, detail)
                warnings = (*warnings_of(service.models, model, result, detail), *result.notes)
                return to_json(View(result, filters, edits=changes), warnings)

            return await request.run(work)

    async def annotate(
        image: gr.FileData,
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        mask_threshold: float = 0.5,
        model: str = "auto",
        hidden: list[int] | None = None,
        opacity: float = 0.5,
        color_by: str = "instance",
        show: list[str] | None = None,
        effect: str | None = None,
        color: str = "#ffffff",
        detail: str = "full",
        edits: list[dict] | None = None,  # type: ignore[type-arg]
        thresholds: dict[str, float] | None = None,
    ) -> gr.FileData:
        """Draw every object found in a photo, or change the photo with an effect: a PNG of its own size.

        Effects: "cut_out" (transparent background), "spotlight" (the rest grey and dim), "blur" and
        "pixelate" (the objects), "blur_background" and "color_background".

        Args:
            image: The photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 40 megapixels.
            score_threshold: Least score of the objects drawn, 0 to 1; nothing at or below 0.05 is kept.
            classes: Names of the kinds to draw, for example ["person", "dog"]; all if null.
            mask_threshold: A pixel belongs to an object if its probability is above this, 0 to 1.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2", "starter" or "scenes".
            hidden: Ids of objects to leave out, as they were numbered in an answer before.
            opacity: Of the masks, 0 (invisible) to 1 (plain colour).
            color_by: A colour for each "instance" or for each "category".
            show: What is drawn, of "masks", "boxes" and "labels"; all three if null.
            effect: Name of the effect to apply instead of drawing; none if null.
            color: The background's for "color_background", as "#rrggbb".
            detail: "full", "balanced" or "fast" (sooner, finds less), or "closer" (much slower, finds more).
            edits: Changes of yours, such as [{"do": "rename", "id": 3, "name": "cat"}]; see `/suggest`.
            thresholds: Least scores of some categories, such as {"person": 0.7}, in place of score_threshold.

        Returns:
            The picture, named like the photo with "-segmented" or the effect added.
        """
        async with service.request("annotate") as request:
            filters = filters_of(score_threshold, classes, mask_threshold, hidden, thresholds)
            style = _style(opacity, color_by, show, mask_threshold)
            _check_effect(effect, color)
            check_detail(detail)
            changes = read_edits(edits)
            path, network = await request.photo(image), await request.model(model)
            check_classes(filters, network.categories.with_names(change.name for change in changes))

            def work(job: Job) -> Path:
                result = request.segment(path, network, job, detail)
                view = View(result, filters, style, changes)
                if effect is None:
                    folder = new_folder(export_bytes(view.shown, "annotated"))
                    return export_file(view, "annotated", folder, on_stage=job.stage)
                return effect_file(view, effect, new_folder(effect_bytes(view.shown)), color)

            return FileData(path=str(await request.run(work)))

    async def export(
        image: gr.FileData,
        format: str = "zip",
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        mask_threshold: float = 0.5,
        model: str = "auto",
        hidden: list[int] | None = None,
        edges: str = "hard",
        detail: str = "full",
        edits: list[dict] | None = None,  # type: ignore[type-arg]
        thresholds: dict[str, float] | None = None,
    ) -> gr.FileData:
        """Save every object found in a photo for other programs, at the photo's own resolution.

        Formats: "annotated" (PNG), "coco", "yolo", "labelme", "instances" and "categories" (PNGs whose pixels
        are ids), "csv", "cutouts" (a ZIP of PNGs) and "zip" (all of these, and how they were made).

        Args:
            image: The photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 40 megapixels.
            format: Name of the format.
            score_threshold: Least score of the objects saved, 0 to 1; nothing at or below 0.05 is kept.
            classes: Names of the kinds to save, for example ["person", "dog"]; all if null.
            mask_threshold: A pixel belongs to an object if its probability is above this, 0 to 1.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2", "starter" or "scenes".
            hidden: Ids of objects to leave out, as they were numbered in an answer before.
            edges: Of cut-outs, "hard" or "soft".
            detail: "full", "balanced" or "fast" (sooner, finds less), or "closer" (much slower, finds more).
            edits: Changes of yours, such as [{"do": "rename", "id": 3, "name": "cat"}]; see `/suggest`.
            thresholds: Least scores of some categories, such as {"person": 0.7}, in place of score_threshold.

        Returns:
            The file, named like the photo with the format added.
        """
        async with service.request("export") as request:
            filters = filters_of(score_threshold, classes, mask_threshold, hidden, thresholds)
            check_format(format, edges)
            check_detail(detail)
            changes = read_edits(edits)
            path, network = await request.photo(image), await request.model(model)
            check_classes(filters, network.categories.with_names(change.name for change in changes))

            def work(job: Job) -> Path:
                result = request.segment(path, network, job, detail)
                view = View(result, filters, Style(mask_threshold=filters.mask_threshold), changes)
                folder = new_folder(export_bytes(view.shown, format))
                return export_file(view, format, folder, edges, job.stage)

            return FileData(path=str(await request.run(work)))

    async def inside(
        image: gr.FileData,
        model: str = "auto",
        detail: str = "full",
        arrays: bool = False,
    ) -> dict:  # type: ignore[type-arg]
        """Show how the model came to its answer: proposals, scores of each kind, and what was removed.

        Args:
            image: The photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 40 megapixels.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2", "starter" or "scenes".
            detail: "full", or "balanced" or "fast": sooner, but fewer small objects are found.
            arrays: Whether "arrays" holds a .npz file of at most 60 MB with every step, or null.

        Returns:
            One object: schema_version, model, picture_size, seen_size, padded_size, levels, proposals,
            instances, suppression, missing, warnings, arrays. Boxes are in pixels of what the network sees.
        """
        async with service.request("inside") as request:
            check_detail(detail)
            if not isinstance(arrays, bool):
                raise SettingsError(f"arrays: expected true or false, got {said(arrays)}.")
            path, network = await request.photo(image), await request.model(model)

            def work(job: Job) -> dict[str, Any]:
                steps = inside_file(path, network, job.stage, detail)
                facts = inside_facts(steps, network, detail)
                if not arrays:
                    return facts
                job.stage(0.8, "Writing the arrays")
                file = save(steps, new_folder(saved_bytes(steps)))
                return facts | {"arrays": FileData(path=str(file)).model_dump()}

            return await request.run(work)

    async def suggest(
        image: gr.FileData,
        box: list[float] | None = None,
        place: list[float] | None = None,
        model: str = "auto",
        detail: str = "full",
    ) -> dict:  # type: ignore[type-arg]
        """Ask what is in a box that you draw, or at a place: the model's best names, and a mask for each.

        Args:
            image: The photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 40 megapixels.
            box: Left, top, right and bottom in pixels of the photo; or give a place.
            place: x and y in pixels of the photo; or give a box.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2", "starter" or "scenes".
            detail: "full", or "balanced" or "fast", as in the call that the edit is for.

        Returns:
            One object: box, and names, best first: name, score, segmentation (COCO RLE), outlined (false: the
            model sees no outline, and the mask is the whole box), edit. Give such an edit to `/segment`,
            `/annotate` or `/export` as a member of `edits`, and the object is there.
        """
        async with service.request("suggest") as request:
            check_detail(detail)
            if (box is None) == (place is None):
                raise SettingsError("box: expected either a box or a place.")
            path, network = await request.photo(image), await request.model(model)
            result = await request.run(lambda job: request.segment(path, network, job, detail))
            if place is not None:
                idea = await idea_at_place(service, request, result, place)
            else:
                idea = await idea_of_box(service, request, result, box)
            return suggestions(idea, result)

    for endpoint in (segment, annotate, export, inside, suggest):
        # Gradio sets no limit, because its queue cannot tell visitors apart. The scheduler gives the turns.
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=None)


def suggestions(idea: Idea, result: Result) -> dict[str, Any]:
    """Returns the JSON of `/suggest`. Its edits have an id that no object of `result` has."""
    rows, free = one_for_each_name(idea, result), max([0, *result.detections.ids.tolist()]) + 1
    names = []
    for i, name in enumerate(names_of(rows, result.categories)):
        x1, y1, x2, y2 = map(float, rows.boxes[i])
        edit = Edit("add", free, name, (x1, y1, x2, y2), to_text(rows.mask_probs[i]))
        score = round(float(idea.scores[i]), 6)
        names.append(
            {
                "name": name,
                "score": score,
                "segmentation": to_rle(rows, i),
                "outlined": bool(idea.outlined[i]),
                "edit": edit.to_json(),
            }
        )
    return {"box": [round(side, 2) for side in idea.box.tolist()], "names": names}


def inside_facts(steps: Inside, model: SegmentationModel, detail: str) -> dict[str, Any]:
    """Returns the JSON of `/inside` for a client who asked for this detail, without arrays."""
    used = detail_of(model, detail)
    warning = one_detail(model.name, detail) if used != detail else ""
    if used == CLOSER:
        used, warning = FULL_DETAIL, ONE_LOOK
    return {
        "schema_version": INSIDE_SCHEMA_VERSION,
        "model": {
            "name": model.name,
            "sha256": model.sha256,
            "device": str(model.device),
            "precision": model.precision,
            "detail": used,
        },
        **to_inside_json(steps),
        "warnings": [*([warning] if warning else []), *model.notes],
        "arrays": None,
    }


def filters_of(
    score_threshold: float,
    classes: object,
    mask_threshold: float = 0.5,
    hidden: object = None,
    thresholds: Any = None,
) -> Filters:
    """Returns the filters that a client's arguments describe.

    Raises:
        SettingsError: An argument has a wrong value.
    """
    own = {} if thresholds is None else thresholds
    return Filters(score_threshold, _names(classes), mask_threshold, _ids(hidden), own)


def _names(classes: object) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise SettingsError('classes: expected a list of names such as ["person", "dog"], or null for all.')
    return tuple(classes)


def _ids(hidden: object) -> tuple[int, ...]:
    if not isinstance(hidden, list | None):
        raise SettingsError("hidden: expected a list of ids such as [2, 5], or null for none.")
    return tuple(hidden or ())


def _style(opacity: float, color_by: Any, show: object, mask_threshold: float) -> Style:
    check_fraction("opacity", opacity)
    if color_by not in ("instance", "category"):
        raise SettingsError(f'color_by: expected "instance" or "category", got {said(color_by)}.')
    shown = PARTS if show is None else show
    if not isinstance(shown, list | tuple) or not all(part in PARTS for part in shown):
        raise SettingsError(
            f"show: expected a list of {', '.join(PARTS)}, or null for all, got {said(show)}."
        )
    parts = {part: part in shown for part in PARTS}
    return Style(**parts, opacity=opacity, color_by=color_by, mask_threshold=mask_threshold)


def _check_effect(effect: str | None, color: str) -> None:
    """Checks an effect and its colour. The colour must be right even if nothing is painted with it."""
    if effect is None:
        rgb(color)
    else:
        check_effect(effect, color)


def warnings_of(models: Models, model: str, result: Result, detail: str) -> tuple[str, ...]:
    """Returns the warnings for a client who asked for this model and this detail, and got this result."""
    best = models.best
    fallback = fallback_notice(best.shortfall) if model == "auto" and best and best.shortfall else ""
    return tuple(filter(None, (fallback, detail_notice(result, detail))))


def detail_notice(result: Result, detail: str) -> str:
    """Returns a sentence for a visitor who asked for a detail that the model does not have, or nothing."""
    if result.detail == detail:
        return ""
    return one_detail(result.model.name, detail)


def one_detail(name: str, detail: str) -> str:
    """Returns a sentence that says that the model of this name does not have the detail."""
    return f"The model {name} has one detail only, so {detail!r} changed nothing."


def fallback_notice(reason: str) -> str:
    """Returns the sentences that tell a visitor that the small built-in model answers, and why."""
    return (
        f"The model's weights could not be loaded ({reason.rstrip('.')}), "
        "so the small built-in model answers. It knows the 80 kinds of object of COCO but is less accurate: "
        "it misses and mistakes more of them."
    )

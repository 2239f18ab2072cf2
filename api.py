"""API: what programs call, `/segment` and `/annotate`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder

from export import check_effect, check_format, effect_file, export_file, to_json
from images import ImageError
from inference import NAMES, ModelError
from models import Models
from result import Filters, Result, SettingsError, check_fraction, segment_file
from visualize import PARTS, Style
from weights import WeightsError

IN_FLIGHT = 4
"""Requests that are worked on at once; the network itself takes one at a time."""
EXPECTED_ERRORS = (ImageError, ModelError, SettingsError, WeightsError)
"""Errors whose message is written for the person who caused them, or whom they concern."""


def add_endpoints(models: Models) -> None:
    """Adds the endpoints to the `gr.Blocks` that is open.

    What they share stands in each docstring, since Gradio derives each schema from the function itself.
    """

    def segment(
        image: gr.FileData,
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        mask_threshold: float = 0.5,
        model: str = "auto",
        hidden: list[int] | None = None,
    ) -> dict:  # type: ignore[type-arg]  # Gradio derives the schema from the bare type
        """Find every object in a photo: name, score, box, area and mask of each, and counts.

        Args:
            image: The photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 40 megapixels.
            score_threshold: Least score of the objects returned, 0 to 1; nothing at or below 0.05 is kept.
            classes: Names of COCO categories to return, for example ["person", "dog"]; all if null.
            mask_threshold: A pixel belongs to an object if its probability is above this, 0 to 1.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2" or "scenes".
            hidden: Ids of objects to leave out, as they were numbered in an answer before.

        Returns:
            One object: schema_version, model, image_size, settings, timings_ms, counts, warnings, instances.
            Boxes and areas are in pixels of the photo; masks are COCO RLE at its size.
        """
        with sentences_for_people():
            filters, result = _segment(models, image, score_threshold, classes, mask_threshold, model, hidden)
            return to_json(result, filters, _warnings(models, model))

    def annotate(
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
    ) -> gr.FileData:
        """Draw every object found in a photo, or change the photo with an effect: a PNG of its own size.

        Args:
            image: The photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 40 megapixels.
            score_threshold: Least score of the objects drawn, 0 to 1; nothing at or below 0.05 is kept.
            classes: Names of COCO categories to draw, for example ["person", "dog"]; all if null.
            mask_threshold: A pixel belongs to an object if its probability is above this, 0 to 1.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2" or "scenes".
            hidden: Ids of objects to leave out, as they were numbered in an answer before.
            opacity: Of the masks, 0 (invisible) to 1 (plain colour).
            color_by: A colour for each "instance" or for each "category".
            show: What is drawn, of "masks", "boxes" and "labels"; all three if null.
            effect: Instead of drawing: "cut_out" (transparent background), "spotlight" (the rest grey and
                dim), "blur" or "pixelate" (the objects), "blur_background" or "color_background".
            color: The background's for "color_background", as "#rrggbb".

        Returns:
            The picture, named like the photo with "-segmented" or the effect added.
        """
        with sentences_for_people():
            style = _style(opacity, color_by, show, mask_threshold)
            if effect is not None:
                check_effect(effect, color)
            filters, result = _segment(models, image, score_threshold, classes, mask_threshold, model, hidden)
            if effect is None:
                return FileData(path=str(export_file(result, filters, style, "annotated", new_folder())))
            return FileData(path=str(effect_file(result, filters, effect, new_folder(), color)))

    def export(
        image: gr.FileData,
        format: str = "zip",
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        mask_threshold: float = 0.5,
        model: str = "auto",
        hidden: list[int] | None = None,
        edges: str = "hard",
    ) -> gr.FileData:
        """Save every object found in a photo for other programs, at the photo's own resolution.

        Args:
            image: The photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 40 megapixels.
            format: "annotated" (PNG), "coco", "yolo", "labelme", "instances" or "categories" (PNGs whose
                pixels are ids), "csv", "cutouts" (a ZIP of PNGs) or "zip" (all, and how they were made).
            score_threshold: Least score of the objects saved, 0 to 1; nothing at or below 0.05 is kept.
            classes: Names of COCO categories to save, for example ["person", "dog"]; all if null.
            mask_threshold: A pixel belongs to an object if its probability is above this, 0 to 1.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2" or "scenes".
            hidden: Ids of objects to leave out, as they were numbered in an answer before.
            edges: Of cut-outs, "hard" or "soft".

        Returns:
            The file, named like the photo with the format added.
        """
        with sentences_for_people():
            check_format(format, edges)
            filters, result = _segment(models, image, score_threshold, classes, mask_threshold, model, hidden)
            style = Style(mask_threshold=filters.mask_threshold)
            return FileData(path=str(export_file(result, filters, style, format, new_folder(), edges)))

    for endpoint in (segment, annotate, export):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=IN_FLIGHT, concurrency_id="model")


def new_folder() -> Path:
    """A new folder where Gradio serves files from."""
    Path(get_upload_folder()).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=get_upload_folder()))


@contextmanager
def sentences_for_people() -> Iterator[None]:
    """Turns the errors meant for people into Gradio's: the sentence reaches the caller, nothing else does."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        raise gr.Error(str(error), print_exception=False) from error


def _segment(
    models: Models,
    image: object,
    score_threshold: float,
    classes: object,
    mask_threshold: float,
    model: object,
    hidden: object,
) -> tuple[Filters, Result]:
    """Checks every argument before any work; Gradio passes on whatever a client sends."""
    filters = Filters(score_threshold, _names(classes), mask_threshold, _ids(hidden))
    if model not in NAMES:
        raise ModelError(f"model: expected one of {', '.join(NAMES)}, got {str(model)[:40]!r}.")
    path = _uploaded(image)
    return filters, segment_file(path, models.get(str(model)))


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
        raise SettingsError(f'color_by: expected "instance" or "category", got {str(color_by)[:40]!r}.')
    shown = PARTS if show is None else show
    if not isinstance(shown, list | tuple) or not all(part in PARTS for part in shown):
        raise SettingsError(
            f"show: expected a list of {', '.join(PARTS)}, or null for all, got {show!r:.60}."
        )
    parts = {part: part in shown for part in PARTS}
    return Style(**parts, opacity=opacity, color_by=color_by, mask_threshold=mask_threshold)


def _uploaded(image: object) -> Path:
    """The path of an uploaded file; any other path that a client names is refused."""
    path = image.get("path") if isinstance(image, dict) else getattr(image, "path", None)
    if not isinstance(path, str) or not path:
        raise ImageError("image: no picture was sent. With the Python client, use handle_file('photo.jpg').")
    folder = Path(get_upload_folder()).resolve()
    if not Path(path).resolve().is_relative_to(folder):
        raise ImageError(
            "image: expected an uploaded file. With the Python client, use handle_file('photo.jpg')."
        )
    return Path(path)


def _warnings(models: Models, model: str) -> tuple[str, ...]:
    best = models.best
    return (fallback_notice(best.shortfall),) if model == "auto" and best and best.shortfall else ()


def fallback_notice(reason: str) -> str:
    """What a visitor should know when the small built-in model stands in for the real one."""
    return (
        f"The COCO weights could not be loaded ({reason.rstrip('.')}), so a small built-in model answers, "
        "which only knows the drawn scenes in the examples."
    )

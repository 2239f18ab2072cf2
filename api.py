"""API: what programs call, `/segment` and `/annotate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from gradio.data_classes import FileData
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from export import annotated_photo, to_json
from images import ImageError
from inference import NAMES, ModelError
from models import Models
from result import Filters, Result, SettingsError, segment_file
from visualize import Style
from weights import WeightsError

IN_FLIGHT = 4
"""Requests that are worked on at once; the network itself takes one at a time."""
EXPECTED_ERRORS = (ImageError, ModelError, SettingsError, WeightsError)
"""Errors whose message is written for the person who caused them, or whom they concern."""


def add_endpoints(models: Models) -> None:
    """Adds both endpoints to the `gr.Blocks` that is open."""

    def segment(
        image: gr.FileData,
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        mask_threshold: float = 0.5,
        model: str = "auto",
    ) -> dict:  # type: ignore[type-arg]  # Gradio derives the schema from the bare type
        """Find every object in a photo: name, score, box, area and mask of each, and counts.

        Args:
            image: The photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 40 megapixels.
            score_threshold: Least score of the objects returned, 0 to 1; nothing at or below 0.05 is kept.
            classes: Names of COCO categories to return, for example ["person", "dog"]; all if null.
            mask_threshold: A pixel belongs to an object if its probability is above this, 0 to 1.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2" or "scenes".

        Returns:
            One object: schema_version, model, image_size, settings, timings_ms, counts, warnings, instances.
            Boxes and areas are in pixels of the photo; masks are COCO RLE at its size.
        """
        with sentences_for_people():
            filters, result = _segment(models, image, score_threshold, classes, mask_threshold, model)
            return to_json(result, filters, _warnings(models, model))

    def annotate(
        image: gr.FileData,
        score_threshold: float = 0.5,
        classes: list[str] | None = None,
        mask_threshold: float = 0.5,
        model: str = "auto",
    ) -> gr.FileData:
        """Draw every object found in a photo: masks, boxes and labels at its own resolution, as PNG.

        Args:
            image: The photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 40 megapixels.
            score_threshold: Least score of the objects drawn, 0 to 1; nothing at or below 0.05 is kept.
            classes: Names of COCO categories to draw, for example ["person", "dog"]; all if null.
            mask_threshold: A pixel belongs to an object if its probability is above this, 0 to 1.
            model: "auto", "resnet50_fpn", "resnet50_fpn_v2" or "scenes".

        Returns:
            The annotated picture, named like the photo with "-segmented" added.
        """
        with sentences_for_people():
            filters, result = _segment(models, image, score_threshold, classes, mask_threshold, model)
            return FileData(path=save_annotated(result, filters, Style(mask_threshold=mask_threshold)))

    for endpoint in (segment, annotate):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=IN_FLIGHT, concurrency_id="model")


def save_annotated(result: Result, filters: Filters, style: Style) -> str:
    """Writes the annotated photo where Gradio serves files from; gives its path."""
    png = annotated_photo(result, filters, style)
    path: str = save_bytes_to_cache(png, f"{result.path.stem}-segmented.png", get_upload_folder())
    return path


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
) -> tuple[Filters, Result]:
    """Checks every argument before any work; Gradio passes on whatever a client sends."""
    filters = Filters(score_threshold, _names(classes), mask_threshold)
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

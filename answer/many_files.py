"""Many files: writes what is in view in many photos as one file, a photo at a time.

From the photos only their pixels get into a file, and names that were made for them. The same photos give the
same bytes.
"""

from __future__ import annotations

import math
import platform
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from answer.data import filter_facts, image_size_facts, model_facts
from answer.files import (
    MANIFEST_VERSION,
    Format,
    versions,
    write_json,
    write_text,
    zip_entry,
)
from answer.formats import to_yolo
from answer.many import (
    Named,
    coco_pieces,
    for_validation,
    joined,
    renumbered,
    tally,
    to_counts_csv,
    yolo_yaml,
)
from answer.result import View, counts, names
from answer.settings import SettingsError, said
from photo.colours import srgb_profile
from photo.images import read_image, read_photo
from photo.strips import fit_within
from visualize import annotate

EXPORTS: dict[str, Format] = {
    "zip": Format("Everything (ZIP)", ".zip"),
    "coco": Format("COCO annotations of all photos (JSON)", "-coco.json"),
    "yolo": Format("YOLO folder, ready to train (ZIP)", "-yolo.zip"),
    "csv": Format("Counts (CSV)", "-counts.csv"),
    "sheet": Format("Contact sheet (JPEG)", "-sheet.jpg"),
}
"""The formats that `export_many` writes, in the order of the menu."""
STEM = "photos"
"""The name of the files."""
JPEG_QUALITY = 92
SHEET_COLUMNS, CELL_WIDTH, CELL_HEIGHT, CAPTION, GAP = 4, 400, 300, 34, 12
"""Of a contact sheet: the photos in a row, and the sides of its parts in pixels."""
PAPER, TEXT = (255, 255, 255), (40, 40, 40)


class Step(NamedTuple):
    """How far the work on a file is. The last step has its path.

    Args:
        share: 0 to 1.
        words: What was done.
    """

    share: float
    words: str
    path: Path | None = None


def check_many_format(format: object) -> None:
    """Raises `SettingsError` unless `export_many` knows the format."""
    if format not in tuple(EXPORTS):
        raise SettingsError(f"format: expected one of {', '.join(EXPORTS)}, got {said(format)}.")


def export_many(photos: Sequence[Named], format: str, folder: Path) -> Generator[Step, None, None]:
    """Writes what is in view in all photos as a file into `folder`. Yields after each photo.

    Photos without an answer are named in the tables and in the manifest, and are left out of the rest. If the
    generator is closed before its end, the unfinished file is deleted.

    Args:
        format: A key of `EXPORTS`.
        folder: A folder that exists.

    Raises:
        SettingsError: There is no such format, or no photo has an answer.
        ImageError: The format needs the pixels of a photo, but its file is gone.
    """
    check_many_format(format)
    if all(photo.view is None for photo in photos):
        raise SettingsError("There is nothing to save yet: none of the photos has an answer.")
    path = folder / f"{STEM}{EXPORTS[format].suffix}"
    whole = False
    try:
        with path.open("wb") as file:
            for k, words in enumerate(_WRITERS[format](photos, file), 1):
                yield Step(min(0.98, k / (1 + 2 * len(photos))), words)
        whole = True
    finally:
        if not whole:
            path.unlink(missing_ok=True)
    yield Step(1.0, "Done", path)


def picture_names(photos: Sequence[Named]) -> list[str]:
    """Returns where the picture of each photo lies in a training set, such as "images/train/a.jpg"."""
    kept = for_validation([photo.name for photo in photos if photo.view is not None])
    return [f"images/{'val' if photo.name in kept else 'train'}/{photo.name}.jpg" for photo in photos]


class Sheet:
    """A picture of many photos in rows, each with its objects, its name and its counts."""

    def __init__(self, count: int) -> None:
        columns = min(count, SHEET_COLUMNS)
        rows = math.ceil(count / SHEET_COLUMNS)
        size = GAP + columns * (CELL_WIDTH + GAP), GAP + rows * (CELL_HEIGHT + CAPTION + GAP)
        self.picture = Image.new("RGB", size, PAPER)
        self._font: Any = ImageFont.load_default(14)

    def add(self, place: int, name: str, pixels: NDArray[np.uint8] | None, view: View | None) -> None:
        """Draws a photo.

        Args:
            place: The number of the photo, from 0.
            pixels: (h, w, 3) uint8 RGB, as large as `reduced` makes it. None if it could not be looked at.
            view: What is in view in it.
        """
        row, column = divmod(place, SHEET_COLUMNS)
        x, y = GAP + column * (CELL_WIDTH + GAP), GAP + row * (CELL_HEIGHT + CAPTION + GAP)
        words = "not looked at"
        if pixels is not None and view is not None:
            height, width = pixels.shape[:2]
            drawn = drawn_on(pixels, view)
            self.picture.paste(
                Image.fromarray(drawn), (x + (CELL_WIDTH - width) // 2, y + (CELL_HEIGHT - height) // 2)
            )
            found = counts(view.shown, view.categories).items()
            words = ", ".join(view.categories.counted(kind, count) for kind, count in found) or "nothing"
        draw = ImageDraw.Draw(self.picture)
        for k, text in enumerate((name, words)):
            draw.text((x, y + CELL_HEIGHT + 2 + 16 * k), self._cut(text), TEXT, self._font)

    def save(self, file: IO[bytes]) -> None:
        """Writes the sheet as a JPEG."""
        self.picture.save(file, "JPEG", quality=JPEG_QUALITY, icc_profile=srgb_profile())

    def _cut(self, text: str) -> str:
        """Returns the beginning of a text that fits under a photo."""
        if self._font.getlength(text) <= CELL_WIDTH:
            return text
        while text and self._font.getlength(f"{text}…") > CELL_WIDTH:
            text = text[:-1]
        return f"{text}…"


def drawn_on(pixels: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """Returns a photo of any size, (h, w, 3) uint8 RGB, with the objects in view drawn on it."""
    height, width = pixels.shape[:2]
    shown, everything = (one.resized(height, width) for one in (view.shown, view.everything))
    return annotate(pixels, shown, names(shown, view.categories), view.style, everything)


def reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a photo, (H, W, 3) uint8 RGB, as large as it stands on a `Sheet`."""
    return fit_within(pixels, _longest_side(*pixels.shape[:2]))


def _longest_side(height: int, width: int) -> int:
    return max(1, int(min(CELL_WIDTH / width, CELL_HEIGHT / height) * max(height, width)))


def _write_coco(photos: Sequence[Named], file: IO[bytes], files: Sequence[str] = ()) -> Iterator[str]:
    for piece in coco_pieces(photos, files or [f"{photo.name}.jpg" for photo in photos]):
        file.write(piece.encode())
        yield "Writing the annotations"


def _write_csv(photos: Sequence[Named], file: IO[bytes]) -> Iterator[str]:
    write_text(to_counts_csv(photos), file)
    yield "Writing the counts"


def _write_sheet(photos: Sequence[Named], file: IO[bytes]) -> Iterator[str]:
    sheet = Sheet(len(photos))
    for place, photo in enumerate(photos):
        pixels = None
        if photo.view is not None:
            side = _longest_side(*photo.view.shown.image_size)
            pixels = read_photo(photo.view.result.path, side).pixels
        sheet.add(place, photo.name, pixels, photo.view)
        yield f"Drawing {photo.name}"
    sheet.save(file)


def _write_yolo(photos: Sequence[Named], file: IO[bytes]) -> Iterator[str]:
    with zipfile.ZipFile(file, "w") as archive:
        for photo, view, _ in _training_set(photos, archive):
            yield f"Writing {photo.name}" if view else ""


def _write_zip(photos: Sequence[Named], file: IO[bytes]) -> Iterator[str]:
    """Writes everything into one zip. Pictures and labels lie where YOLO looks for them."""
    files = picture_names(photos)
    sheet = Sheet(len(photos))
    with zipfile.ZipFile(file, "w") as archive:
        for place, (photo, view, pixels) in enumerate(_training_set(photos, archive)):
            if view is not None and pixels is not None:
                with archive.open(zip_entry(f"segmented/{photo.name}.jpg"), "w") as entry:
                    _write_jpeg(drawn_on(pixels, view), entry)
            sheet.add(place, photo.name, None if pixels is None else reduced(pixels), view)
            yield f"Writing {photo.name}"
        with archive.open(zip_entry(f"{STEM}{EXPORTS['sheet'].suffix}"), "w") as entry:
            sheet.save(entry)
        with archive.open(zip_entry(f"{STEM}{EXPORTS['csv'].suffix}"), "w") as entry:
            yield from _write_csv(photos, entry)
        with archive.open(zip_entry(f"{STEM}{EXPORTS['coco'].suffix}"), "w") as entry:
            yield from _write_coco(photos, entry, files)
        with archive.open(zip_entry("manifest.json"), "w") as entry:
            write_json(_manifest(photos, files, archive.namelist()), entry)


def _training_set(
    photos: Sequence[Named], archive: zipfile.ZipFile
) -> Iterator[tuple[Named, View | None, NDArray[np.uint8] | None]]:
    """Writes pictures, labels and `data.yaml`. Yields each photo, with its pixels, once it is written."""
    files = picture_names(photos)
    has_validation = any(file.startswith("images/val/") for file in files)
    categories = joined([photo.view for photo in photos if photo.view is not None])
    with archive.open(zip_entry("data.yaml"), "w") as entry:
        write_text(yolo_yaml(categories, has_validation), entry)
    for photo, file in zip(photos, files, strict=True):
        view, pixels = photo.view, None
        if view is not None:
            pixels = read_image(view.result.path)
            with archive.open(zip_entry(file), "w") as entry:
                _write_jpeg(pixels, entry)
            label = f"labels/{file.removeprefix('images/').removesuffix('.jpg')}.txt"
            with archive.open(zip_entry(label), "w") as entry:
                shown = renumbered(view, categories)
                write_text(to_yolo(shown, categories, view.filters.mask_threshold), entry)
        yield photo, view, pixels


def _write_jpeg(pixels: NDArray[np.uint8], file: IO[bytes]) -> None:
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, icc_profile=srgb_profile())


def _manifest(photos: Sequence[Named], files: Sequence[str], entries: Sequence[str]) -> dict[str, Any]:
    told = tally([photo.view for photo in photos])
    return {
        "manifest_version": MANIFEST_VERSION,
        "photos": [_facts(photo, file) for photo, file in zip(photos, files, strict=True)],
        "counts": dict(zip(told.kinds, told.sums, strict=True)),
        "versions": {"python": platform.python_version(), **versions()},
        "files": list(entries),
    }


def _facts(photo: Named, file: str) -> dict[str, Any]:
    view = photo.view
    if view is None:
        return {"name": photo.name, "error": photo.fault}
    return {
        "name": photo.name,
        "file": file,
        **image_size_facts(view.shown),
        "model": model_facts(view.result.model, view.result.detail),
        "settings": {"filters": filter_facts(view.filters), "style": asdict(view.style)},
        "edits": [change.to_json() for change in view.edits],
        "counts": counts(view.shown, view.categories),
        "notes": list(view.result.notes),
    }


_Writer = Callable[[Sequence[Named], IO[bytes]], Iterator[str]]
_WRITERS: dict[str, _Writer] = {
    "zip": _write_zip,
    "coco": _write_coco,
    "yolo": _write_yolo,
    "csv": _write_csv,
    "sheet": _write_sheet,
}

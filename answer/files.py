"""Files: writes a result as files for people and other programs, at the photo's original resolution.

A file holds only the instances in view. From the upload it takes only the pixels and the name without the
suffix. It leaves out the upload's EXIF, place, comment and folder. The same result gives the same bytes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import platform
import re
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import putchunk

from answer.data import filter_facts, image_size_facts, model_facts
from answer.formats import (
    areas,
    category_map,
    instance_map,
    palette,
    to_coco,
    to_csv,
    to_labelme,
    to_yolo,
    yolo_names,
)
from answer.progress import OnStage, ignore_stage
from answer.report import headers, table
from answer.result import View, counts, names
from answer.scale import ONE_PLANE
from answer.settings import SettingsError, check_effect, checked_edges, rgb, said
from categories import Categories
from detections import SOURCES, Detections
from photo.colours import srgb_chunk, srgb_profile
from photo.images import read_image
from visualize import Edges, Effect, annotate, apply_effect, cut_out

MANIFEST_VERSION = 1
PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "pillow", "gradio")
"""The packages whose versions are written into a manifest."""
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every file in a zip, which is the earliest time that a zip can hold.

With a fixed time, the same result gives the same bytes.
"""

MOST_OF_A_NAME = 40
"""The longest part of a kind's name that stands in a file's name, in characters."""

STORED = (".png", ".jpg", ".mp4", ".webm")

JPEG_QUALITY = 88
"""Makes a picture about as large as a photo from a camera, and keeps thin contours clean."""
PNG_HEADER = 33
"""The length of a PNG's signature and its first chunk, the header, in bytes."""


class Format(NamedTuple):
    """The title of a file format in the menu, and the end of the names of its files."""

    title: str
    suffix: str


EXPORTS: dict[str, Format] = {
    "jpeg": Format("Picture with the objects (JPEG)", "-segmented.jpg"),
    "annotated": Format("Picture with the objects (PNG, exact)", "-segmented.png"),
    "coco": Format("COCO annotations (JSON)", "-coco.json"),
    "yolo": Format("YOLO labels (TXT)", ".txt"),
    "labelme": Format("labelme polygons (JSON)", ".json"),
    "instances": Format("Object ids as pixel values, 16 bit (PNG)", "-instances.png"),
    "categories": Format("Kinds of object as pixel values, 8 bit (PNG)", "-categories.png"),
    "csv": Format("Table (CSV)", ".csv"),
    "cutouts": Format("Cut-outs without background (ZIP)", "-cutouts.zip"),
    "zip": Format("Everything (ZIP)", ".zip"),
}
"""The formats that `export_file` writes, in the order of the menu."""


def export_file(
    view: View,
    format: str,
    folder: Path,
    edges: str = "hard",
    on_stage: OnStage = ignore_stage,
) -> Path:
    """Writes the instances in view as a file into `folder`, and returns the file's path.

    The file gets the photo's name, with the format's suffix in place of the photo's suffix. A file of this
    name is replaced. An instance whose mask is empty gets no cut-out, and is left out of "coco", "yolo" and
    "labelme". The table has a row for it, and the manifest of "zip" holds the number of such instances.

    Args:
        format: A key of `EXPORTS`.
        folder: A folder that exists.
        edges: The edges of cut-outs, "hard" or "soft", as for `visualize.cut_out`.
        on_stage: Called before each stage.

    Raises:
        SettingsError: There is no such format, or there are no such edges.
        ImageError: The format needs the photo's pixels, but the photo's file is gone.
    """
    check_format(format, edges)
    export = _Export(view, checked_edges(edges), on_stage)
    return written(
        folder / f"{export.stem}{EXPORTS[format].suffix}", lambda file: _WRITERS[format](export, file)
    )


def cut_out_file(view: View, id: int, folder: Path, edges: str = "hard") -> Path:
    """Writes the instance `id`, cut out of the photo, as a PNG into `folder`, and returns the file's path.

    Args:
        folder: A folder that exists.
        edges: "hard" or "soft", as for `visualize.cut_out`.

    Raises:
        SettingsError: The instance is not in view, its mask is empty, or there are no such edges.
        ImageError: The photo's file is gone.
    """
    export = _Export(view, checked_edges(edges))
    ids = export.shown.ids.tolist()
    if id not in ids:
        raise SettingsError(f"id: expected that of an object in view, got {said(id)}.")
    picture = _cut_out(export, ids.index(id))
    if not picture.size:
        raise SettingsError(f"id: at this mask threshold object {id} has no pixel to cut out.")
    path = folder / f"{export.stem}-{_cut_out_name(export, ids.index(id))}"
    return written(path, lambda file: write_pixels(picture, file))


def effect_file(view: View, effect: str, folder: Path, color: str = "#ffffff") -> Path:
    """Writes the photo with an effect as a PNG into `folder`, and returns the file's path.

    Args:
        effect: A key of `visualize.EFFECTS`.
        folder: A folder that exists.
        color: The colour of a plain background, in a form that `rgb` reads.

    Raises:
        SettingsError: There is no such effect, or the colour cannot be read.
        ImageError: The photo's file is gone.
    """
    check_effect(effect, color)
    export, background = _Export(view), rgb(color)
    picture = apply_effect(
        export.photo,
        export.shown,
        cast(Effect, effect),
        mask_threshold=view.filters.mask_threshold,
        color=background,
    )
    path = folder / f"{export.stem}-{effect.replace('_', '-')}.png"
    return written(path, lambda file: write_pixels(picture, file))


def check_format(format: str, edges: str) -> None:
    """Raises `SettingsError` unless `export_file` knows the format and the edges."""
    if format not in tuple(EXPORTS):  # a tuple, because a client may send a value without a hash
        raise SettingsError(f"format: expected one of {', '.join(EXPORTS)}, got {said(format)}.")
    checked_edges(edges)


@dataclass(frozen=True)
class _Export:
    """A view, with all settings for writing it."""

    view: View
    edges: Edges = "hard"
    on_stage: OnStage = ignore_stage

    @property
    def stem(self) -> str:
        return self.view.result.path.stem

    @property
    def picture_name(self) -> str:
        """The photo's name in the zip, and in formats that name the photo."""
        return f"{self.stem}.png"

    @property
    def shown(self) -> Detections:
        return self.view.shown

    @property
    def categories(self) -> Categories:
        return self.view.categories

    @property
    def mask_threshold(self) -> float:
        return self.view.filters.mask_threshold

    @functools.cached_property
    def areas(self) -> list[int]:
        """The area of each instance in view, in pixels of the photo."""
        return areas(self.shown, self.mask_threshold)

    @functools.cached_property
    def photo(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB. The photo is decoded once, when it is needed for the first time."""
        self.on_stage(0.02, "Reading the photo")
        return read_image(self.view.result.path)


def _write_photo(export: _Export, file: IO[bytes]) -> None:
    write_pixels(export.photo, file)


def _write_annotated(export: _Export, file: IO[bytes]) -> None:
    model = export.view.result.model
    write_pixels(_annotated(export), file, f"Segmented by the model {model.name} ({model.origin}).")


def _write_jpeg(export: _Export, file: IO[bytes]) -> None:
    picture = Image.fromarray(_annotated(export))
    picture.save(file, "JPEG", quality=JPEG_QUALITY, icc_profile=srgb_profile())


def _annotated(export: _Export) -> NDArray[np.uint8]:
    shown, view = export.shown, export.view
    return annotate(export.photo, shown, names(shown, view.categories), view.style, view.everything)


def _write_coco(export: _Export, file: IO[bytes]) -> None:
    write_json(to_coco(export.shown, export.categories, export.picture_name, export.mask_threshold), file)


def _write_yolo(export: _Export, file: IO[bytes]) -> None:
    write_text(to_yolo(export.shown, export.categories, export.mask_threshold), file)


def _write_yolo_names(export: _Export, file: IO[bytes]) -> None:
    write_text(yolo_names(export.categories), file)


def _write_labelme(export: _Export, file: IO[bytes]) -> None:
    write_json(to_labelme(export.shown, export.categories, export.picture_name, export.mask_threshold), file)


def _write_instances(export: _Export, file: IO[bytes]) -> None:
    _write_png(Image.fromarray(instance_map(export.shown, export.mask_threshold)), file)


def _write_categories(export: _Export, file: IO[bytes]) -> None:
    picture = Image.fromarray(category_map(export.shown, export.mask_threshold))
    picture.putpalette([level for color in palette(export.categories) for level in color])
    _write_png(picture, file)


def _write_csv(export: _Export, file: IO[bytes]) -> None:
    scale = export.view.scale
    rows = table(export.shown, export.categories, export.areas, scale)
    write_text(to_csv(rows, headers(scale)), file)


def _write_cut_outs(export: _Export, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        _add_cut_outs(export, archive, "", 0.1)


def _write_zip(export: _Export, file: IO[bytes]) -> None:
    """Writes everything into one zip.

    Pictures and labels lie where YOLO looks for them. Labelme's file lies beside the picture that it names.
    """
    stem = export.stem
    pixels = hashlib.sha256(np.ascontiguousarray(export.photo).data.cast("B"))  # RGB values, row by row
    with zipfile.ZipFile(file, "w") as archive:
        entries: list[tuple[str, _Writer]] = [
            (f"images/{export.picture_name}", _write_photo),
            (f"images/{stem}{EXPORTS['labelme'].suffix}", _write_labelme),
            (f"labels/{stem}{EXPORTS['yolo'].suffix}", _write_yolo),
            ("data.yaml", _write_yolo_names),
            *(
                (f"{stem}{EXPORTS[format].suffix}", _WRITERS[format])
                for format in ("annotated", "coco", "instances", "categories", "csv")
            ),
        ]
        for k, (name, write) in enumerate(entries):
            export.on_stage(0.1 + 0.4 * k / len(entries), f"Writing {name}")
            with archive.open(zip_entry(name), "w") as entry:
                write(export, entry)
        _add_cut_outs(export, archive, "cutouts/", 0.5)
        with archive.open(zip_entry("manifest.json"), "w") as entry:
            write_json(_manifest(export, pixels.hexdigest(), archive.namelist()), entry)


_Writer = Callable[[_Export, IO[bytes]], None]
_WRITERS: dict[str, _Writer] = {
    "jpeg": _write_jpeg,
    "annotated": _write_annotated,
    "coco": _write_coco,
    "yolo": _write_yolo,
    "labelme": _write_labelme,
    "instances": _write_instances,
    "categories": _write_categories,
    "csv": _write_csv,
    "cutouts": _write_cut_outs,
    "zip": _write_zip,
}


def written(path: Path, write: Callable[[IO[bytes]], None]) -> Path:
    """Lets `write` fill the file, and returns `path`. If `write` fails, the unfinished file is deleted."""
    try:
        with path.open("wb") as file:
            write(file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _add_cut_outs(export: _Export, archive: zipfile.ZipFile, folder: str, share: float) -> None:
    """Adds the cut-out of each instance that has a pixel.

    Args:
        share: The share of the whole work that is done before, 0 to 1.
    """
    count = len(export.shown)
    for i in range(count):
        export.on_stage(share + (1 - share) * i / count, f"Cutting out {i + 1} of {count}")
        picture = _cut_out(export, i)
        if picture.size:
            with archive.open(zip_entry(f"{folder}{_cut_out_name(export, i)}"), "w") as entry:
                write_pixels(picture, entry)


def _cut_out(export: _Export, i: int) -> NDArray[np.uint8]:
    return cut_out(export.photo, export.shown, i, export.mask_threshold, export.edges)


def _cut_out_name(export: _Export, i: int) -> str:
    """Returns the name of a cut-out, such as "003-traffic-light.png" for the id 3."""
    return f"{export.shown.ids[i]:03d}-{name_in_file(names(export.shown, export.categories)[i])}.png"


def name_in_file(name: str) -> str:
    """Returns the name of a kind as a part of a file's name, such as "traffic-light".

    Whoever wrote the weights chose the name. So it may hold a slash, or what some systems refuse. Letters and
    digits of all languages stay.
    """
    return re.sub(r"[^\w-]+", "-", name).strip("-")[:MOST_OF_A_NAME] or "object"


def _manifest(export: _Export, pixels_sha256: str, files: list[str]) -> dict[str, Any]:
    """Returns everything that is needed to make the result again from the picture in the zip."""
    return {
        "manifest_version": MANIFEST_VERSION,
        "model": model_facts(export.view.result.model, export.view.result.detail),
        "image": {
            "file": f"images/{export.picture_name}",
            **image_size_facts(export.shown),
            "pixels_sha256": pixels_sha256,
        },
        "settings": {
            "filters": filter_facts(export.view.filters),
            "style": asdict(export.view.style),
            "edges": export.edges,
            "scale": {**asdict(scale), "holds": ONE_PLANE} if (scale := export.view.scale) else None,
        },
        "edits": [change.to_json() for change in export.view.edits],
        "by_a_person": {
            source: export.shown.ids[export.shown.sources == k].tolist()
            for k, source in enumerate(SOURCES)
            if source != "model"
        },
        "counts": counts(export.shown, export.categories),
        "left_out_without_pixels": export.areas.count(0),  # in COCO, YOLO and labelme, and of the cut-outs
        "versions": {"python": platform.python_version(), **versions()},
        "files": files,
    }


def versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        # One of the packages is missing if another build of OpenCV is installed.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def zip_entry(name: str) -> zipfile.ZipInfo:
    """Returns a zip's entry for a file. Pictures and clips are stored as they are: they are compressed."""
    entry = zipfile.ZipInfo(name, LONG_AGO)
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(STORED) else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16  # every user may read the unpacked file
    return entry


def write_pixels(image: NDArray[np.uint8], file: IO[bytes], description: str = "") -> None:
    """Writes `image`, RGB or RGBA, as a PNG. It holds only the pixels, `description`, and that it is sRGB.

    For a photo, OpenCV needs a third of the time of Pillow's fastest setting, and makes a smaller file.
    """
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    png = cv2.imencode(".png", cv2.cvtColor(image, order))[1].data
    file.write(png[:PNG_HEADER])
    file.write(srgb_chunk())  # must come before the pixels
    if description:  # UTF-8; the five zeros say "not compressed" and "no language"
        putchunk(file, b"iTXt", b"Description" + bytes(5) + description.encode())
    file.write(png[PNG_HEADER:])


def _write_png(picture: Image.Image, file: IO[bytes]) -> None:
    """Writes a picture whose pixels are ids. It declares no colour space, because ids are not colours."""
    picture.save(file, "PNG", compress_level=1)


def write_json(values: dict[str, Any], file: IO[bytes]) -> None:
    write_text(json.dumps(values, allow_nan=False, separators=(",", ":")), file)


def write_text(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())

"""Files: writes a clip's result into files, as `answer.files` does for a photo.

No file contains anything of the visitor's file except its pixels, its sound and its name without the suffix.
"""

from __future__ import annotations

import platform
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from answer.data import filter_facts, model_facts
from answer.files import (
    MANIFEST_VERSION,
    Format,
    name_in_file,
    versions,
    write_json,
    write_pixels,
    write_text,
    written,
    zip_entry,
)
from answer.progress import OnStage, ignore_stage
from answer.result import names
from answer.settings import SettingsError, check_effect, rgb, said
from clips import writing
from clips.between import Between
from clips.formats import coco_pieces, counts_csv, mot_pieces, tracks_csv
from clips.report import Track, most_at_once, track_table
from clips.result import ClipView
from detections import Detections
from marks import fixed_colors
from photo.clips import open_clip
from visualize import EFFECTS, Effect, annotate, apply_effect

EXPORTS: dict[str, Format] = {
    "video": Format("Clip with the objects (MP4 or WebM)", ""),
    "coco": Format("COCO annotations with tracks (JSON)", "-coco.json"),
    "mot": Format("MOTChallenge tracks (TXT)", "-mot.txt"),
    "counts": Format("Counts over time (CSV)", "-counts.csv"),
    "tracks": Format("Table of tracks (CSV)", "-tracks.csv"),
    "stills": Format("A still of each track (ZIP)", "-stills.zip"),
    "zip": Format("Everything (ZIP)", ".zip"),
}
"""The formats that `export_clip` writes, in the order of the menu."""
CLIP_EFFECTS = tuple(effect for effect in EFFECTS if effect != "cut_out")
"""The effects for clips. A clip has no transparent background."""
HIDING = ("blur", "pixelate")
"""The effects that hide objects. Between two looks they also hide where the objects were and will be."""
STILL_SIDE = 1920
"""The longest side of the frames that stills are cut from, in pixels."""
STILL_MARGIN = 0.1
"""How much of the frame a still shows around the object's box, as a share of the box's sides."""
MOST_STILLS = 500


@dataclass(frozen=True)
class _Export:
    view: ClipView
    effect: Effect | None
    color: tuple[int, int, int]
    on_stage: OnStage

    @property
    def stem(self) -> str:
        return self.view.result.path.stem


def check_clip_export(format: str, effect: str | None, color: str = "#ffffff") -> None:
    """Raises `SettingsError` unless `export_clip` knows the format, the effect and the colour."""
    if format not in tuple(EXPORTS):
        raise SettingsError(f"format: expected one of {', '.join(EXPORTS)}, got {said(format)}.")
    if effect is None:
        rgb(color)
        return
    if effect == "cut_out":
        raise SettingsError("effect: a clip has no transparent background; please use color_background.")
    check_effect(effect, color)


def export_clip(
    view: ClipView,
    format: str,
    folder: Path,
    effect: str | None = None,
    color: str = "#ffffff",
    on_stage: OnStage = ignore_stage,
) -> Path:
    """Writes what is in view as a file into `folder`, and returns the file's path.

    Args:
        format: A key of `EXPORTS`.
        folder: A folder that exists.
        effect: One of `CLIP_EFFECTS`, which the clip then shows in place of the drawn objects.
        color: The colour of a plain background, in a form that `answer.settings.rgb` reads.
        on_stage: Called before each stage, and with each frame of the clip.

    Raises:
        SettingsError: There is no such format or effect, or the colour cannot be read.
        ImageError: The format needs the clip's pixels, but the clip's file is gone.
    """
    check_clip_export(format, effect, color)
    export = _Export(view, cast(Effect | None, effect), rgb(color), on_stage)
    if format == "video":
        return _write_video(export, folder)
    path = folder / f"{export.stem}{EXPORTS[format].suffix}"
    return written(path, lambda file: _WRITERS[format](export, file))


def frame_of(
    image: NDArray[np.uint8],
    detections: Detections,
    view: ClipView,
    effect: Effect | None = None,
    color: tuple[int, int, int] = (255, 255, 255),
) -> NDArray[np.uint8]:
    """Returns a frame, (H, W, 3) uint8 RGB, with the objects drawn on it or with an effect.

    An object keeps its colour from frame to frame.
    """
    threshold = view.filters.mask_threshold
    if effect is not None:
        return apply_effect(image, detections, effect, mask_threshold=threshold, color=color)
    keys = detections.ids if view.style.color_by == "instance" else detections.class_ids
    labels = [
        f"{name} {id}" if id > 0 else name
        for name, id in zip(names(detections, view.categories), detections.ids.tolist(), strict=True)
    ]
    return annotate(image, detections, labels, view.style, colors_rgb=fixed_colors(keys))


def _write_video(export: _Export, folder: Path) -> Path:
    result = export.view.result
    end = float(result.times[-1] + result.durations[-1]) if result.looks else 0.0
    rate = writing.rate_of(result.times, result.stride, result.facts.rate)
    path = folder / f"{export.stem}-{(export.effect or 'segmented').replace('_', '-')}"
    return writing.write(
        lambda: writing.at_rate(_drawn(export, end), rate), rate, path, sound_of=result.path, seconds=end
    )


def _drawn(export: _Export, end: float) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yields every frame of the clip until `end`, also those that were not looked at, with its time."""
    between = Between(export.view)
    with open_clip(export.view.result.path, writing.longest_side(), end) as clip:
        for (frame,) in clip.frames():
            export.on_stage(min(0.98, 0.02 + 0.96 * frame.seconds / end), "Writing the clip")
            detections = between.at(frame.seconds, widely=export.effect in HIDING)
            yield frame.seconds, frame_of(frame.pixels, detections, export.view, export.effect, export.color)


def _write_coco(export: _Export, file: IO[bytes]) -> None:
    _write_pieces(coco_pieces(export.view, export.view.result.path.name), file)


def _write_mot(export: _Export, file: IO[bytes]) -> None:
    _write_pieces(mot_pieces(export.view), file)


def _write_counts(export: _Export, file: IO[bytes]) -> None:
    write_text(counts_csv(export.view), file)


def _write_tracks(export: _Export, file: IO[bytes]) -> None:
    write_text(tracks_csv(export.view), file)


def _write_stills(export: _Export, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        _add_stills(export, archive, "")


def _add_stills(export: _Export, archive: zipfile.ZipFile, folder: str) -> None:
    """Adds a picture of each track, cut from the frame in which its score is highest."""
    result = export.view.result
    wanted: dict[int, list[Track]] = {}
    for track in track_table(export.view)[:MOST_STILLS]:
        wanted.setdefault(track.best, []).append(track)
    if not wanted:
        return
    end = max(result.looks[k].seconds for k in wanted)
    numbers = {result.looks[k].number: k for k in wanted}
    with open_clip(result.path, STILL_SIDE, end + 0.001) as clip:
        for (frame,) in clip.frames():
            export.on_stage(0.05 + 0.4 * frame.seconds / max(end, 0.001), "Cutting stills")
            if frame.number not in numbers:
                continue
            look = result.looks[numbers[frame.number]]
            for track in wanted[numbers[frame.number]]:
                box = look.boxes[look.ids == track.id][0]
                name = f"{folder}{track.id:03d}-{name_in_file(track.name)}.png"
                with archive.open(zip_entry(name), "w") as picture:
                    write_pixels(_cut(frame.pixels, box, look.image_size), picture)


def _cut(image: NDArray[np.uint8], box_xyxy: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Returns the part of a frame around a box, which is in pixels of a frame of `size` (height, width)."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (box_xyxy * np.array([width / size[1], height / size[0]] * 2)).tolist()
    more_x, more_y = STILL_MARGIN * (x2 - x1), STILL_MARGIN * (y2 - y1)
    left = int(np.clip(x1 - more_x, 0, width - 1))
    top = int(np.clip(y1 - more_y, 0, height - 1))
    right = int(np.clip(np.ceil(x2 + more_x), left + 1, width))
    bottom = int(np.clip(np.ceil(y2 + more_y), top + 1, height))
    return np.ascontiguousarray(image[top:bottom, left:right])


def _write_zip(export: _Export, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for format in ("coco", "mot", "counts", "tracks"):
            with archive.open(zip_entry(f"{export.stem}{EXPORTS[format].suffix}"), "w") as one:
                _WRITERS[format](export, one)
        _add_stills(export, archive, "stills/")
        with tempfile.TemporaryDirectory(dir=Path(file.name).parent) as folder:
            video = _write_video(export, Path(folder))
            with archive.open(zip_entry(video.name), "w") as one, video.open("rb") as source:
                while piece := source.read(1 << 20):
                    one.write(piece)
        with archive.open(zip_entry("manifest.json"), "w") as one:
            write_json(_manifest(export, archive.namelist()), one)


def _manifest(export: _Export, files: Iterable[str]) -> dict[str, Any]:
    view, result = export.view, export.view.result
    return {
        "manifest_version": MANIFEST_VERSION,
        **clip_facts(view),
        "settings": {
            "filters": filter_facts(view.filters),
            "style": asdict(view.style),
            "effect": export.effect,
        },
        "most_at_once": most_at_once(view),
        "notes": list(result.notes),
        "versions": {"python": platform.python_version(), **versions()},
        "files": list(files),
    }


def clip_facts(view: ClipView) -> dict[str, Any]:
    """Returns the model and the clip of a result, as values that JSON can hold."""
    result = view.result
    height, width = result.facts.size
    return {
        "model": model_facts(result.model, result.detail),
        "clip": {
            "format": result.facts.format,
            "width": width,
            "height": height,
            "frames_per_second": round(result.facts.rate, 3),
            "stride": result.stride,
            "frames_looked_at": len(result.looks),
            "seconds": round(float(result.times[-1] + result.durations[-1]), 3) if result.looks else 0.0,
            "whole": result.is_whole,
        },
    }


def _write_pieces(pieces: Iterable[str], file: IO[bytes]) -> None:
    for piece in pieces:
        file.write(piece.encode())


_WRITERS: dict[str, Callable[[_Export, IO[bytes]], None]] = {
    "coco": _write_coco,
    "mot": _write_mot,
    "counts": _write_counts,
    "tracks": _write_tracks,
    "stills": _write_stills,
    "zip": _write_zip,
}

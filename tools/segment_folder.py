"""Segments a folder of photos and clips. Writes one COCO file for all photos, and annotated pictures.

    python tools/segment_folder.py PHOTOS OUT [--recursive] [--score-threshold 0.7] [--classes person dog]
    python tools/segment_folder.py PHOTOS OUT --server http://127.0.0.1:7860
    python tools/segment_folder.py PHOTOS OUT --server owner/space --no-pictures

The tool writes OUT/instances.json and OUT/pictures/NAME-segmented.png. Each clip (video) gets a COCO file
with tracks and an annotated clip of its own, in OUT/clips. OUT/journal.jsonl lists the finished photos and
clips. If a run was stopped or killed, the same command continues with the others. The tool repeats those that
failed or that changed since.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # to run as a script as well

from network import runtime

runtime.prepare()

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image
from tqdm import tqdm

import coco
from answer.formats import to_coco
from answer.settings import Filters, SettingsError, check_classes
from categories import Categories
from detections import Detections
from inference import NAMES, ModelError, load
from network.detail import DETAILS, FULL_DETAIL
from network.weights import WeightsError
from photo.formats import READABLE
from tools.journal import note, resume
from tools.segmenters import (
    ClipSegmenter,
    PhotoError,
    Segmenter,
    Server,
    ServerError,
    local_clip_segmenter,
    local_segmenter,
    remote_clip_segmenter,
    remote_segmenter,
)

SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in READABLE}
# Phones' HEIC photos count even if this machine cannot read them. A server may read them, and no photo is
# skipped silently.
SUFFIXES |= {".heic", ".heif"}

CLIP_SUFFIXES = {".mp4", ".m4v", ".mov", ".webm", ".avi", ".mkv"}

INSTANCES, PICTURES, CLIPS, JOURNAL = "instances.json", "pictures", "clips", "journal.jsonl"
PARTIAL, LOCK = ".partial", ".lock"
"""Other names in OUT: a folder of unfinished files, emptied after each photo, and the running tool's lock."""
OLD_SETTINGS = {"detail": FULL_DETAIL, "thresholds": {}}
"""What journals of older versions do not say."""
INTERRUPTED = 130
"""The exit code after Control-C."""


# --- The folder ---------------------------------------------------------------------------------------------


def photos_in(folder: Path, out: Path, recursive: bool) -> list[str]:
    """Returns the photos and clips in `folder` as sorted relative paths with forward slashes.

    A file is a photo if its suffix is in `SUFFIXES`, and a clip if it is in `CLIP_SUFFIXES`. Hidden files,
    hidden folders and `out` are skipped.
    """
    found = []
    for path in folder.rglob("*") if recursive else folder.iterdir():
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        known = path.suffix.lower() in SUFFIXES | CLIP_SUFFIXES
        if known and not hidden and not _is_in(path, out) and path.is_file():
            found.append(relative.as_posix())
    return sorted(found)


def _is_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


class Journal:
    """The finished photos, in a file of JSON lines.

    The first line holds the settings. Each other line holds one photo, and is written when the photo is
    finished.

    Args:
        settings: Everything that decides which instances are found.

    Raises:
        SettingsError: The file was written with other settings, or is not a journal of this tool.
    """

    def __init__(self, file: Path, settings: dict[str, Any]) -> None:
        self._file = file
        self._done: dict[str, dict[str, Any]] = {}
        try:
            before, records = resume(file, {"settings": settings})
            before = OLD_SETTINGS | before["settings"]
            self._done = {record["photo"]: record for record in records}
            told = (record["categories"] for record in self._done.values() if record.get("categories"))
            self.categories: list[dict[str, Any]] | None = next(told, None)
            """The model's categories, as a COCO file holds them. One photo's line holds them for all."""
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{file} cannot be read. {self._start_over}") from error
        settings = OLD_SETTINGS | json.loads(json.dumps(settings))  # tuples become lists, as in the file
        if before != settings:
            changed = [key for key in settings if before.get(key) != settings[key]]
            raise SettingsError(
                f"{file.parent} holds what was found with other settings ({', '.join(changed)}; there "
                f"{json.dumps({key: before.get(key) for key in changed})}). {self._start_over}"
            )

    @property
    def _start_over(self) -> str:
        return f"Name another folder, or delete {self._file} to start over."

    def add(self, photo: str, stamp: list[int], found: dict[str, Any]) -> dict[str, Any]:
        """Writes that the photo with this stamp is finished. Returns what `get` will return."""
        kept = {key: found[key] for key in ("images", "annotations")}
        record = {"photo": photo, "stamp": stamp, **kept}
        if self.categories is None and found.get("categories"):
            self.categories = record["categories"] = found["categories"]
        note(self._file, record)
        self._done[photo] = record
        return record

    def get(self, photo: str, stamp: list[int]) -> dict[str, Any] | None:
        """Returns a finished photo's images and annotations; None if the photo is unfinished or changed."""
        record = self._done.get(photo)
        return record if record and record["stamp"] == stamp else None


@dataclass
class Outcome:
    """The outcome of a run.

    Args:
        photos: The number of photos.
        done: The number of finished photos. Photos that earlier runs finished count too.
        clips: How many of the finished ones are clips.
        instances: The number of instances in the finished photos.
        failures: Why a photo failed, in a sentence, by the photo's name.
        stopped: Why the run stopped early, in a sentence. Empty if it did not.
        interrupted: Whether Control-C stopped the run.
    """

    photos: int
    done: int = 0
    clips: int = 0
    instances: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    interrupted: bool = False


def segment_folder(
    photos: Path,
    names: Sequence[str],
    out: Path,
    segment: Segmenter,
    settings: dict[str, Any],
    pictures: bool = True,
    segment_clip: ClipSegmenter | None = None,
) -> Outcome:
    """Segments each photo that is not finished yet. Then writes one COCO file for all finished photos.

    Args:
        segment_clip: Segments the clips among `names`.
        names: The photos' paths relative to `photos`, as `photos_in` returns them.
        settings: The settings for `Journal`.
        pictures: Whether a finished photo is segmented again if its annotated picture is missing.

    Raises:
        SettingsError: `Journal` refuses the settings or the file.
    """
    out.mkdir(parents=True, exist_ok=True)
    journal = Journal(out / JOURNAL, settings)
    outcome = Outcome(len(names))
    records: dict[str, dict[str, Any]] = {}
    try:
        for name in tqdm(names, unit="photo"):
            # The name keeps the photo's suffix, because a.jpg and a.png may both be there.
            picture = out / PICTURES / f"{name}-segmented.png"
            try:
                stamp = _stamp(photos / name)
                if Path(name).suffix.lower() in CLIP_SUFFIXES:
                    assert segment_clip is not None
                    if journal.get(name, stamp) is None:
                        _move(segment_clip(photos / name), out / CLIPS, name)
                        journal.add(name, stamp, {"images": [], "annotations": []})
                    outcome.clips += 1
                    continue
                record = journal.get(name, stamp)
                if record is None or (pictures and not picture.exists()):
                    found, made = segment(photos / name)
                    if made:
                        picture.parent.mkdir(parents=True, exist_ok=True)
                        made.replace(picture)
                    record = journal.add(name, stamp, found)
                records[name] = record
            except PhotoError as error:
                outcome.failures[name] = str(error)
            finally:
                _empty(out / PARTIAL)
    except ServerError as error:
        outcome.stopped = str(error)
    except KeyboardInterrupt:
        outcome.stopped, outcome.interrupted = "Stopped.", True
    whole = merged(records, journal.categories or coco.CATEGORIES.as_json())
    outcome.done, outcome.instances = len(whole["images"]) + outcome.clips, len(whole["annotations"])
    half = out / f"{INSTANCES}.part"
    half.write_text(json.dumps(whole, allow_nan=False, separators=(",", ":")) + "\n", "utf-8")
    half.replace(out / INSTANCES)
    return outcome


def merged(records: Mapping[str, dict[str, Any]], categories: list[dict[str, Any]]) -> dict[str, Any]:
    """Joins the COCO files of single photos into one. The keys of `records` are the photos' names.

    The ids of images and annotations count from 1, in the order of `records`.
    """
    nothing = np.zeros(0, np.int64)
    no_scores, no_boxes, no_masks = (np.zeros(shape, np.float32) for shape in (0, (0, 4), (0, 28, 28)))
    empty = Detections(no_boxes, no_scores, nothing, no_masks, nothing, (1, 1))
    whole = to_coco(empty, Categories(()), "") | {"categories": categories}
    whole["info"] |= {"description": f"Objects found in {len(records)} photos by Mask R-CNN"}
    whole["images"] = [
        record["images"][0] | {"id": number, "file_name": name}
        for number, (name, record) in enumerate(records.items(), start=1)
    ]
    annotations = [
        annotation | {"image_id": number}
        for number, record in enumerate(records.values(), start=1)
        for annotation in record["annotations"]
    ]
    whole["annotations"] = [each | {"id": number} for number, each in enumerate(annotations, start=1)]
    return whole


def _move(files: Sequence[Path], folder: Path, name: str) -> None:
    """Moves the files of the clip `name`: its COCO file and its annotated clip."""
    for file in files:
        # The name keeps the clip's suffix, because a.mp4 and a.mov may both be there.
        target = folder / f"{name}-{'coco' if file.suffix == '.json' else 'segmented'}{file.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)


def _stamp(photo: Path) -> list[int]:
    """Returns two numbers that change with the file: size in bytes, and time of writing in nanoseconds."""
    try:
        with photo.open("rb") as opened:
            status = os.fstat(opened.fileno())
    except OSError as error:
        raise PhotoError(f"The file cannot be opened ({error.strerror}).") from error
    return [status.st_size, status.st_mtime_ns]


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


# --- Command line -------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Segments a folder of photos. The exit code is 0, 1 after a failure, or 130 after Control-C."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="the folder of photos")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write into")
    parser.add_argument(
        "--server",
        help="address of a running app, or a Space as owner/space (default: this machine runs the model)",
    )
    parser.add_argument(
        "--score-threshold", type=float, default=0.5, help="least score of an instance (default: 0.5)"
    )
    parser.add_argument(
        "--mask-threshold",
        type=float,
        default=0.5,
        help="a mask keeps pixels with a higher probability (default: 0.5)",
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="kinds of object to keep (default: all)")
    parser.add_argument(
        "--thresholds",
        nargs="+",
        type=own_threshold,
        metavar="NAME=SCORE",
        default=[],
        help="least scores of some categories, in place of --score-threshold",
    )
    parser.add_argument("--model", choices=NAMES, default="auto")
    parser.add_argument(
        "--detail",
        choices=[*DETAILS],
        default=FULL_DETAIL,
        help="balanced and fast take less time, but find fewer small objects; closer looks at photos part by "
        "part, which finds more and takes many times as long (default: full)",
    )
    parser.add_argument("--no-pictures", action="store_true", help="write only the COCO file")
    parser.add_argument("--recursive", action="store_true", help="also segment the photos in subfolders")
    chosen = parser.parse_args(arguments)
    photos, out = chosen.photos, chosen.out
    classes = tuple(sorted(set(chosen.classes))) if chosen.classes else None
    try:
        filters = Filters(
            chosen.score_threshold, classes, chosen.mask_threshold, thresholds=dict(chosen.thresholds)
        )
    except SettingsError as error:
        parser.error(str(error))
    if not photos.is_dir():
        parser.error(f"PHOTOS: there is no folder {photos}.")
    if photos.resolve() == out.resolve() or (out.exists() and not out.is_dir()):
        parser.error("OUT: expected a folder of its own, which need not exist yet.")
    names = photos_in(photos, out, chosen.recursive)
    if not names:
        return _failed(f"There is no photo in {photos}. Photos end in {', '.join(sorted(SUFFIXES))}.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / LOCK, timeout=0):
            outcome = _run(chosen, names, filters)
    except Timeout:
        return _failed(f"Another run is writing into {out}; wait for its end, or name another folder.")
    except (PhotoError, ServerError, SettingsError, ModelError, WeightsError) as error:
        return _failed(str(error))
    except OSError as error:  # about a file in OUT; errors of photos are handled before
        return _failed(f"{out} cannot be written: {error}.")
    except KeyboardInterrupt:
        return _failed("Stopped before the first photo.", INTERRUPTED)
    return _told(outcome, out)


def own_threshold(text: str) -> tuple[str, float]:
    """Parses a category's own score threshold, such as "person=0.7"; a type for `argparse`.

    Raises:
        argparse.ArgumentTypeError: The text is none.
    """
    name, _, score = text.rpartition("=")
    try:
        return name, float(score)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=SCORE such as person=0.7, got {text!r}") from None


def _run(chosen: argparse.Namespace, names: Sequence[str], filters: Filters) -> Outcome:
    """Makes the segmenter that the options name, and segments the photos. Leaves no unfinished files."""
    out, pictures = chosen.out, not chosen.no_pictures
    folder = out / PARTIAL
    try:
        _empty(folder)
        if chosen.server:
            server = Server(chosen.server, folder)
            answering = server.model(chosen.model)
            segment = remote_segmenter(server, answering["name"], filters, folder, pictures, chosen.detail)
            clips = remote_clip_segmenter(server, answering["name"], filters, pictures, chosen.detail)
        else:
            model = load(chosen.model)
            check_classes(filters, model.categories)
            for note in model.notes:
                print(note, file=sys.stderr)
            answering = {"name": model.name, "sha256": model.sha256}
            segment = local_segmenter(model, filters, folder, pictures, chosen.detail)
            clips = local_clip_segmenter(model, filters, folder, pictures, chosen.detail)
        # The settings do not say where the model runs, because the same weights find the same instances.
        facts = {"model": answering["name"], "sha256": answering["sha256"], "detail": chosen.detail}
        settings = facts | asdict(filters)
        return segment_folder(chosen.photos, names, out, segment, settings, pictures, clips)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(outcome: Outcome, out: Path) -> int:
    """Prints the outcome of a run. Returns the exit code."""
    for name, sentence in outcome.failures.items():
        print(f"{name}: {sentence}", file=sys.stderr)
    print(
        f"{outcome.done} of {outcome.photos} photos are done, {len(outcome.failures)} failed; "
        f"{outcome.instances} objects in {out / INSTANCES}"
    )
    if outcome.stopped:
        code = INTERRUPTED if outcome.interrupted else 1
        return _failed(f"{outcome.stopped} The same command goes on from here.", code)
    return 1 if outcome.failures else 0


def _failed(sentence: str, code: int = 1) -> int:
    print(sentence, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

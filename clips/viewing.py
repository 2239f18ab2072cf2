"""Viewing: writes a clip that every browser plays, for clips that a browser cannot play itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from answer.progress import OnStage, ignore_stage
from clips import writing
from clips.writing import Image
from photo.clips import open_clip


def playable(path: Path, folder: Path, on_stage: OnStage = ignore_stage) -> Path:
    """Writes the frames of a clip's file, as they are, into `folder`, and returns the new file's path.

    Raises:
        ImageError: As `photo.clips.open_clip`.
    """
    with open_clip(path, writing.longest_side()) as clip:
        facts = clip.facts
    rate = min(facts.rate, writing.MOST_RATE)
    end = facts.seconds or 0.0

    def frames() -> Iterator[tuple[float, Image]]:
        with open_clip(path, writing.longest_side()) as clip:
            for (frame,) in clip.frames():
                on_stage(min(0.98, frame.seconds / end) if end else 0.0, "Making a copy that browsers play")
                yield frame.seconds, frame.pixels

    copy = folder / f"{path.stem}-copy"
    return writing.write(lambda: writing.at_rate(frames(), rate), rate, copy, sound_of=path, seconds=end)

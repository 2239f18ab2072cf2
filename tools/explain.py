"""Makes the pictures for the page's section "How it works", with the `scenes` model and the example photos.

    python tools/explain.py [--out assets/how]

The same code, model and examples give the same pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import coco

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # to run as a script as well

from answer.result import in_view, names
from answer.settings import Filters
from detections import Detections
from inference import SegmentationModel, load, segment
from photo.images import read_image
from visualize import Style, annotate

GAP = 10
"""Width of the transparent gap between the parts of a picture, in pixels."""
SHOWN_AT = 2
"""How much larger the pictures are than the examples. Their letters must be readable on a phone too."""
WIDTH = 1200
"""Largest width of a picture, in pixels."""
THRESHOLDS = (0.05, 0.5, 0.9)
MASK_THRESHOLDS = (0.1, 0.5, 0.95)
UMBRELLA_TWICE = (300, 120, 512, 340)
"""The part of scene 1 with the umbrella that the model finds twice: x1 y1 x2 y2 in the example's pixels."""
EYE = (60, 40, 270, 200)
"""The part of `chelsea.png` with the cat's eye: x1 y1 x2 y2 in the example's pixels."""

Picture = NDArray[np.uint8]


def scores(model: SegmentationModel) -> Picture:
    """Shows one scene with the instances that pass a low, the usual and a high score threshold."""
    scene, found = _looked_at(model, "scenes/scene-4.png")
    return _beside(
        [
            _drawn(scene, in_view(found, coco.CATEGORIES, Filters(threshold)), labels=False)
            for threshold in THRESHOLDS
        ]
    )


def mask(model: SegmentationModel) -> Picture:
    """Shows one object: its part of the photo, the network's 28x28 probabilities, and three masks."""
    scene, found = _looked_at(model, "scenes/scene-1.png")
    clock = found.select(found.ids == 2)
    x1, y1, x2, y2 = np.round(clock.boxes[0]).astype(int)
    size = (int(x2 - x1), int(y2 - y1))
    levels = (clock.mask_probs[0] * 255).astype(np.uint8)
    heat = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1]
    parts = [scene[y1:y2, x1:x2], cv2.resize(heat, size, interpolation=cv2.INTER_NEAREST)]
    for threshold in MASK_THRESHOLDS:
        style = Style(boxes=False, labels=False, opacity=0.6, mask_threshold=threshold)
        parts.append(annotate(scene, clock, [""], style)[y1:y2, x1:x2])
    return _beside(parts)


def mistakes(model: SegmentationModel) -> Picture:
    """Shows two mistakes of the model.

    It finds one object twice. It finds another object although it does not know the object's kind.
    """
    scene, found = _looked_at(model, "scenes/scene-1.png")
    twice = _drawn(scene, found.select(np.isin(found.ids, (5, 9))))
    cat, seen = _looked_at(model, "chelsea.png")
    eye = _drawn(cat, in_view(seen, coco.CATEGORIES, Filters(0.5)))
    parts = []
    for picture, corners in ((twice, UMBRELLA_TWICE), (eye, EYE)):
        x1, y1, x2, y2 = (SHOWN_AT * corner for corner in corners)
        parts.append(picture[y1:y2, x1:x2])
    height = min(part.shape[0] for part in parts)
    return _beside([_at_height(part, height) for part in parts])


def _looked_at(model: SegmentationModel, name: str) -> tuple[Picture, Detections]:
    """Returns an enlarged example, and the model's detections at the same size.

    The model sees the example before it is enlarged.
    """
    picture = read_image(ROOT / "examples" / name)
    height, width = (SHOWN_AT * side for side in picture.shape[:2])
    found = segment(model, picture).resized(height, width)
    enlarged = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(enlarged, np.uint8), found


def _drawn(picture: Picture, shown: Detections, labels: bool = True) -> Picture:
    return annotate(picture, shown, names(shown, coco.CATEGORIES), Style(labels=labels, scores=True))


def _at_height(picture: Picture, height: int) -> Picture:
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _beside(parts: Sequence[Picture]) -> Picture:
    """Returns the parts side by side in one picture, (H, W, 4) uint8. All parts must have the height H."""
    gap = np.zeros((parts[0].shape[0], GAP, 4), np.uint8)
    row = [gap]
    for part in parts:
        row += [np.dstack([part, np.full(part.shape[:2], 255, np.uint8)]), gap]
    return np.hstack(row[1:-1])


PICTURES = {"scores": scores, "mask": mask, "mistakes": mistakes}


def at_its_size(picture: Picture) -> Image.Image:
    """Returns the picture at the size that the page shows: at most `WIDTH` wide."""
    shown = Image.fromarray(picture)
    shown.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "how")
    folder = parser.parse_args(arguments).out
    folder.mkdir(parents=True, exist_ok=True)
    model = load("scenes", device="cpu")
    for name, make in PICTURES.items():
        path = folder / f"{name}.webp"
        at_its_size(make(model)).save(path, quality=80, method=6)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

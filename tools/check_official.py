"""Checks torchvision's two trained models once, as the app fetches them: to be run with a network connection.

    python tools/check_official.py
    python tools/check_official.py --coco-images val2017 --coco-annotations annotations/instances_val2017.json

Both models are fetched and looked at: the SHA-256 of their files, and what they see in the example photos (a
person, a cat, a cup). With COCO's photos, average precision on the first --limit of them is set beside the
published one. So few photos scatter: with a small network, samples of 100 of 302 photos gave 3 points more
than all of them, give or take 3. So only a figure more than 5 points below the published one counts as wrong.
The last line is the verdict, and the exit code is 0 or 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # to run as a script as well

from network import runtime

runtime.prepare()

from answer import coco
from inference import ModelError, SegmentationModel, load_model, segment
from network.architectures import ARCHITECTURES
from network.weights import WeightsError, published_digits
from photo.images import read_image
from tools.evaluate import EvaluationError, count, measure, published

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SEEN_IN = {"astronaut.png": "person", "chelsea.png": "cat", "coffee.png": "cup"}
SURE = 0.5
"""The score from which on an instance counts as seen: what a visitor is shown at first."""
TOLERANCE = 0.05
"""Of an average precision of 0 to 1."""


@dataclass(frozen=True, slots=True)
class Coco:
    """Photos with known objects."""

    images: Path
    annotations: Path
    limit: int


def problems(name: str, load: Callable[[str], SegmentationModel], on: Coco | None) -> Iterator[str]:
    """Loads and checks one model, prints what is seen, and gives a sentence part for all that is wrong."""
    try:
        model = load(name)
    except (ModelError, WeightsError) as error:
        print(f"{name}: {error}")
        yield f"{name} could not be loaded"
        return
    print(f"{name}: {model.origin}, {model.precision} on {model.device.type}")
    print(f"  SHA-256 {model.sha256}")
    digits = known_digits(name)
    if not model.origin.startswith("torchvision "):
        print("  They are not from torchvision's address, so what it should be is not known.")
    elif not model.sha256.startswith(digits):
        yield f"the weights of {name} have another SHA-256 than torchvision's, which begins with {digits}"
    for photo, wanted in SEEN_IN.items():
        found = segment(model, read_image(EXAMPLES / photo))
        scores = found.scores[found.class_ids == coco.BY_NAME[wanted].id]
        best = float(scores.max(initial=0))
        print(f"  {photo}: {wanted} {best:.2f}, {int((found.scores >= SURE).sum())} instances from {SURE} on")
        if best < SURE:
            yield f"{name} sees no {wanted} in {photo}"
    if on:
        yield from _low_figures(model, name, on)


def _low_figures(model: SegmentationModel, name: str, on: Coco) -> Iterator[str]:
    try:
        figures = measure(model, on.images, on.annotations, on.limit)
    except EvaluationError as error:
        print(f"  {error}")
        yield f"{name} could not be measured"
        return
    for kind, stated in published(name).items():
        measured = figures[kind]["AP"]
        print(
            f"  COCO: {kind} AP {100 * measured:.1f} in {figures['images']} photos, "
            f"{100 * stated:.1f} published for 5000"
        )
        if measured < stated - TOLERANCE:
            yield f"the {kind} AP of {name} is {100 * (stated - measured):.1f} points below the published one"


def known_digits(name: str) -> str:
    """The first digits of the SHA-256 of torchvision's file, which its name ends in."""
    weights = ARCHITECTURES[name].published
    assert weights is not None
    return published_digits(weights.url)


def main(
    arguments: Sequence[str] | None = None, load: Callable[[str], SegmentationModel] = load_model
) -> int:
    """Checks the published models; the last line says whether all is well, and so does the exit code."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--coco-images", type=Path, help="folder of COCO's photos, such as val2017")
    parser.add_argument("--coco-annotations", type=Path, help="such as instances_val2017.json")
    parser.add_argument("--limit", type=count, default=100, help="photos to measure on (default: 100)")
    chosen = parser.parse_args(arguments)
    if bool(chosen.coco_images) != bool(chosen.coco_annotations):
        parser.error("--coco-images and --coco-annotations go together")
    on = Coco(chosen.coco_images, chosen.coco_annotations, chosen.limit) if chosen.coco_images else None
    names = [name for name, architecture in ARCHITECTURES.items() if architecture.published]
    wrong = [problem for name in names for problem in problems(name, load, on)]
    if wrong:
        print(f"Something is wrong: {'; '.join(wrong)}.")
        return 1
    precision = ", and are as precise on COCO as published, as far as these photos tell" if on else ""
    print(f"All is well: {' and '.join(names)} see what is in the example photos{precision}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

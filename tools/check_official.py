"""Checks torchvision's two trained models, fetched as the app fetches them. Needs a network connection.

    python tools/check_official.py
    python tools/check_official.py --coco-images val2017 --coco-annotations annotations/instances_val2017.json

The tool fetches both models. It checks the SHA-256 of their files, and whether they see the person, the cat
and the cup in the example photos. With COCO's photos, the tool also measures average precision on the first
--limit photos, and compares it with the published figure. So few photos give an uncertain figure: with a
small network, samples of 100 out of 302 photos gave 3 points more than all 302 photos, give or take 3. So a
figure counts as wrong only if it is more than 5 points below the published figure. The last line printed is
the verdict. The exit code is 0 if all is well, else 1.
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

import coco
from inference import ModelError, SegmentationModel, load, segment
from marks import shown_score
from network.architectures import ARCHITECTURES
from network.weights import WeightsError, published_digits
from photo.images import read_image
from tools.evaluate import EvaluationError, count, measure, published

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SEEN_IN = {"astronaut.png": "person", "chelsea.png": "cat", "coffee.png": "cup"}
SURE = 0.5
"""Least score of an instance that counts as seen. The page starts with the same score threshold."""
TOLERANCE = 0.05
"""How far an average precision (0 to 1) may be below the published one."""


@dataclass(frozen=True, slots=True)
class Coco:
    """COCO's photos, their annotations, and the number of photos to measure."""

    images: Path
    annotations: Path
    limit: int


def problems(name: str, load: Callable[[str], SegmentationModel], on: Coco | None) -> Iterator[str]:
    """Loads one model, checks it and prints the findings. Yields a part of a sentence for each problem."""
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
        count_sure = int((found.scores >= SURE).sum())
        print(f"  {photo}: {wanted} {shown_score(best)}, {count_sure} instances from {SURE} on")
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
    """Returns the first digits of the SHA-256 of torchvision's file. The file's name ends in these digits."""
    weights = ARCHITECTURES[name].published
    assert weights is not None
    return published_digits(weights.url)


def main(arguments: Sequence[str] | None = None, load: Callable[[str], SegmentationModel] = load) -> int:
    """Checks the published models. The last line printed and the exit code say whether all is well."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--coco-images", type=Path, help="the folder of COCO's photos, such as val2017")
    parser.add_argument(
        "--coco-annotations", type=Path, help="COCO's annotation file, such as instances_val2017.json"
    )
    parser.add_argument("--limit", type=count, default=100, help="number of photos to measure (default: 100)")
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

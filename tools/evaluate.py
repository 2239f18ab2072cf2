"""Measures what the app finds against COCO: the twelve numbers for boxes and the twelve for masks.

    python tools/evaluate.py --images val2017 --annotations annotations/instances_val2017.json
    python tools/evaluate.py --images DIR --annotations FILE --model resnet50_fpn_v2 --limit 500
    PYTHONPATH=folder python tools/evaluate.py --images DIR --annotations FILE --model-factory module:function

What is measured is `inference.segment` as the app calls it: the photo reduced to at most 1024 px, 100
instances with scores above 0.05, masks pasted at the photo's own size. A factory is a function without
arguments that returns a network with torchvision's four stages whose labels are COCO's category ids; it runs
on the CPU.

Each photo's instances are written to --results as they are found. Stopped or killed, the same command goes
on with the first photo that is not in there. The last line printed is one JSON object with all figures.

pycocotools counts, since the published figures are its own. faster-coco-eval is there to save time, but
nearly all of it goes into the network.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # to run as a script as well

from network import runtime

runtime.prepare()

import torch
from torch import nn
from tqdm import tqdm

from inference import (
    DEFAULT_NAME,
    PRECISIONS,
    SCORE_FLOOR,
    WORKING_SIDE,
    ModelError,
    SegmentationModel,
    load_model,
    segment,
)
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES, COCO_LABELS
from network.weights import WeightsError
from photo.images import ImageError, read_photo
from tools.coco_results import KINDS, NAMES, CocoDataset, Result, coco_results, twelve_numbers
from tools.journal import note, resume

BUILD = Path(__file__).resolve().parent.parent / "build"
STAGES = ("transform", "backbone", "rpn", "roi_heads")
PUBLISHED_ON = "COCO-val2017"
"""Torchvision's name for the 5000 photos that its figures are of."""

Found = dict[int, dict[str, Any]]
"""By image id: one line of a results file."""
Figures = dict[str, Any]


class EvaluationError(ValueError):
    """Photos, annotations, results or a factory cannot be used; the message says why, and what would do."""


# --- The model ----------------------------------------------------------------------------------------------


def load_from_factory(factory: str, precision: str = "float32") -> SegmentationModel:
    """The network that `function()` of `factory` ("module:function") returns, made ready as the app does it.

    It runs on the CPU, and its labels are COCO's category ids. The SHA-256 is that of its state dict, or
    empty where it has none.

    Raises:
        EvaluationError: There is no such function, or it returns no network with torchvision's four stages.
    """
    module_name, _, function = factory.partition(":")
    if not (module_name and function):
        raise EvaluationError(f"The factory is {factory!r}; expected module:function.")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise EvaluationError(
            f"The module {module_name} cannot be imported ({error}). Is its folder in PYTHONPATH?"
        ) from error
    if not callable(getattr(module, function, None)):
        raise EvaluationError(f"The module {module_name} has no function {function}.")
    network = getattr(module, function)()
    missing = [stage for stage in STAGES if not hasattr(network, stage)]
    if not isinstance(network, nn.Module) or missing:
        raise EvaluationError(
            f"{factory} gives a {type(network).__name__}; expected an nn.Module with torchvision's four "
            f"stages, {', '.join(STAGES)}."
        )
    state_dict = network.state_dict()
    digest = hashlib.sha256()
    for name, tensor in state_dict.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    sha256 = digest.hexdigest() if state_dict else ""
    device = torch.device("cpu")
    network.eval().requires_grad_(False)
    accelerate(network, device, PRECISIONS[precision])
    return SegmentationModel(network, factory, COCO_LABELS, device, precision, f"factory {factory}", sha256)


def published(name: str) -> dict[str, float]:
    """AP of boxes and masks, 0 to 1, that torchvision states for its weights; {} for other networks."""
    architecture = ARCHITECTURES.get(name)
    if architecture is None or architecture.published is None:
        return {}
    metrics = architecture.published.meta["_metrics"][PUBLISHED_ON]
    return {kind: metrics[f"{kind}_map"] / 100 for kind in KINDS}


# --- Photos and what is known of them -----------------------------------------------------------------------


def read_annotations(file: Path, limit: int | None = None) -> CocoDataset:
    """The annotations in `file`, of the first `limit` images by id only.

    Raises:
        EvaluationError: Not a file of COCO instances with at least one image.
    """
    try:
        dataset = json.loads(file.read_bytes())
        images = sorted(dataset["images"], key=lambda image: image["id"])[:limit]
        ids = {image["id"] for image in images}
        annotations = [a for a in dataset["annotations"] if a["image_id"] in ids]
        categories = dataset["categories"]
    except OSError as error:
        raise EvaluationError(f"The annotations {file} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{file.name} holds no COCO instances; expected JSON with images, annotations, categories."
        ) from error
    for annotation in annotations:
        lacking = {"category_id", "bbox", "area", "segmentation"} - annotation.keys()
        if lacking:
            raise EvaluationError(
                f"An annotation of image {annotation['image_id']} in {file.name} has no {min(lacking)}."
            )
    if not images:
        raise EvaluationError(f"{file.name} names no images.")
    return {"images": images, "annotations": annotations, "categories": categories}


def check_photos(dataset: CocoDataset, folder: Path) -> None:
    """Raises EvaluationError if a photo of `dataset` is not in `folder`."""
    names = [image["file_name"] for image in dataset["images"]]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise EvaluationError(
            f"{len(missing)} of {len(names)} images are not in {folder}, the first is {missing[0]}."
        )


def look(model: SegmentationModel, path: Path, image: dict[str, Any]) -> dict[str, Any]:
    """What `model` finds in the photo at `path`, read as the app reads it: one line of a results file.

    Raises:
        EvaluationError: The photo cannot be read, or its size is not that in `image`, COCO's record of it.
    """
    try:
        photo = read_photo(path, WORKING_SIDE)
    except ImageError as error:
        raise EvaluationError(f"{path.name}: {error}") from error
    stated = (image["height"], image["width"])
    if photo.size != stated:
        raise EvaluationError(
            f"{path.name} is {photo.size[1]} x {photo.size[0]} pixels, but its annotations are for "
            f"{stated[1]} x {stated[0]}."
        )
    start = time.perf_counter()
    found = segment(model, photo.pixels).resized(*photo.size)
    seconds = time.perf_counter() - start
    return {
        "image_id": image["id"],
        "seconds": round(seconds, 4),
        "results": coco_results(found, image["id"]),
    }


# --- The results file ---------------------------------------------------------------------------------------


def heading(model: SegmentationModel, annotations: Path) -> dict[str, Any]:
    """The first line of a results file: what all the others depend on."""
    return {
        "model": model.name,
        "sha256": model.sha256,
        "precision": model.precision,
        "working_side": WORKING_SIDE,
        "score_floor": SCORE_FLOOR,
        "annotations_sha256": hashlib.sha256(annotations.read_bytes()).hexdigest(),
    }


def default_results(head: dict[str, Any]) -> Path:
    """In `build/`; another one for each heading."""
    name = head["model"].replace(":", "-")
    return BUILD / f"coco-{name}-{hashlib.sha256(json.dumps(head).encode()).hexdigest()[:8]}.jsonl"


def open_results(file: Path, head: dict[str, Any]) -> Found:
    """What an earlier run wrote to `file`; begins the file where there is none, and drops half a last line.

    Raises:
        EvaluationError: It belongs to another model or to other annotations, or is no results file.
    """
    try:
        theirs, lines = resume(file, head)
        differing = [key for key in head if theirs[key] != head[key]]
        found = {line["image_id"]: line for line in lines}
    except OSError as error:
        raise EvaluationError(f"{file} cannot be a results file ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{file} is not a results file of this tool, or damaged; name another or delete it."
        ) from error
    if differing:
        key = differing[0]
        there, here = theirs[key] or "none", head[key] or "none"
        raise EvaluationError(
            f"The results in {file} are of another run ({key}: {there} there, {here} here). "
            "Name another file with --results, or delete this one."
        )
    return found


# --- Measuring ----------------------------------------------------------------------------------------------


def measure(
    model: SegmentationModel,
    folder: Path,
    annotations: Path,
    limit: int | None = None,
    results_file: Path | None = None,
) -> Figures:
    """The twelve numbers for boxes and for masks, and what they are of; goes on where an earlier run stopped.

    Args:
        folder: Where the photos are, under the names that the annotations give.
        annotations: A file of COCO instances.
        limit: Only the first so many images by id, and what is annotated in them.
        results_file: Where instances are kept; by default one in `build/`.

    Raises:
        EvaluationError: As the functions above. What was found until then is kept.
    """
    dataset = read_annotations(annotations, limit)
    check_photos(dataset, folder)
    head = heading(model, annotations)
    file = results_file or default_results(head)
    found = open_results(file, head)
    waiting = [image for image in dataset["images"] if image["id"] not in found]
    total = len(dataset["images"])
    for image in tqdm(waiting, initial=total - len(waiting), total=total, unit="image"):
        line = found[image["id"]] = look(model, folder / image["file_name"], image)
        note(file, line)
    lines = [found[image["id"]] for image in dataset["images"]]
    results: list[Result] = [result for line in lines for result in line["results"]]
    return {
        "model": model.name,
        "sha256": model.sha256,
        "precision": model.precision,
        "images": total,
        "instances": len(results),
        "seconds_per_image": round(statistics.median(line["seconds"] for line in lines), 3),
        "published": published(model.name),
        **{kind: _rounded(twelve_numbers(dataset, results, kind)) for kind in KINDS},
    }


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {name: round(number, 4) for name, number in numbers.items()}


def table(figures: Figures) -> str:
    """The figures for people, in percent; a dash where no object has that size."""
    rows = [f"{'':10}{'boxes':>8}{'masks':>8}"]
    for name in NAMES:
        percents = (f"{100 * figures[kind][name]:.1f}" if figures[kind][name] >= 0 else "-" for kind in KINDS)
        rows.append(f"{name:10}" + "".join(f"{percent:>8}" for percent in percents))
    if figures["published"]:
        percents = (f"{100 * figures['published'][kind]:.1f}" for kind in KINDS)
        rows.append(f"{'published':10}" + "".join(f"{percent:>8}" for percent in percents))
        rows.append("(AP that torchvision states for its own weights, on all 5000 photos of val2017)")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures a model against COCO; the last line printed is all figures as JSON, 0 to 1."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the photos")
    parser.add_argument("--annotations", type=Path, required=True, help="JSON file of COCO instances")
    parser.add_argument("--limit", type=count, help="only the first so many images by id")
    parser.add_argument("--results", type=Path, help="where instances are kept (default: a file in build/)")
    models = parser.add_mutually_exclusive_group()
    models.add_argument(
        "--model", choices=[*ARCHITECTURES], default=DEFAULT_NAME, help="(default: %(default)s)"
    )
    models.add_argument("--weights", type=Path, help="a .pth or .safetensors file of one of these")
    models.add_argument("--model-factory", metavar="MODULE:FUNCTION", help="gives a network of your own")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.model_factory:
            model = load_from_factory(chosen.model_factory)
        elif chosen.weights:
            model = load_model("auto", weights=chosen.weights)
        else:
            model = load_model(chosen.model)
        figures = measure(model, chosen.images, chosen.annotations, chosen.limit, chosen.results)
    except (EvaluationError, ModelError, WeightsError) as error:
        raise SystemExit(str(error)) from error
    print(
        f"{model.name} ({model.origin}), {model.precision} on {model.device.type}: "
        f"{figures['instances']} instances in {figures['images']} photos of at most {WORKING_SIDE} px, "
        f"{figures['seconds_per_image']:.2f} s each (median)"
    )
    print(table(figures))
    print(json.dumps(figures))


def count(text: str) -> int:
    """A number of photos on the command line, 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


if __name__ == "__main__":
    main()

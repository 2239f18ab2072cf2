"""Measures the app's detections against COCO: twelve numbers for boxes and twelve for masks.

    python tools/evaluate.py --images val2017 --annotations annotations/instances_val2017.json
    python tools/evaluate.py --images DIR --annotations FILE --model resnet50_fpn_v2 --limit 500
    PYTHONPATH=folder python tools/evaluate.py --images DIR --annotations FILE --model-factory module:function

The tool calls `inference.segment` as the app does. Photos are reduced to at most 1024 px. A photo gives at
most 100 instances, with scores above 0.05. With `--detail closer`, photos may be larger and give up to 300.
Masks are pasted at the photo's own size. A model factory is a function without arguments. It returns a
network with torchvision's four stages, whose labels are COCO's category ids. Such a network runs on the CPU.

The tool writes each photo's instances to --results as soon as it has them. If a run was stopped or killed,
the same command continues with the first photo that is not in the file. The last line printed is one JSON
object with all figures.

pycocotools computes the numbers, because it also computed the published figures. faster-coco-eval would save
little time, because the network takes nearly all of the time.
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

import coco
from categories import Categories
from inference import (
    DEFAULT_NAME,
    PRECISIONS,
    SCORE_FLOOR,
    WORKING_SIDE,
    ModelError,
    SegmentationModel,
    detail_of,
    load,
    reading_side,
    segment,
)
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES, COCO_LABELS
from network.detail import DETAILS, FULL_DETAIL
from network.weights import WeightsError
from photo.errors import ImageError
from photo.images import read_photo
from tools.coco_results import KINDS, NAMES, CocoDataset, Result, coco_results, twelve_numbers
from tools.journal import note, resume

BUILD = Path(__file__).resolve().parent.parent / "build"
STAGES = ("transform", "backbone", "rpn", "roi_heads")
PUBLISHED_ON = "COCO-val2017"
"""Torchvision's name for the 5000 photos on which its figures were measured."""

Found = dict[int, dict[str, Any]]
"""The lines of a results file by image id, without the heading."""
Figures = dict[str, Any]
"""The figures that the command prints as JSON."""


class EvaluationError(ValueError):
    """Photos, annotations, results or a factory cannot be used; the message says why, and what to use."""


# --- The model ----------------------------------------------------------------------------------------------


def load_from_factory(factory: str, precision: str = "float32") -> SegmentationModel:
    """Loads the network that a function returns, and prepares it as the app does.

    The network runs on the CPU, and its labels are COCO's category ids. The model's `sha256` is the hash of
    the network's state dict, or empty if the state dict is empty.

    Args:
        factory: The function, as "module:function".

    Raises:
        EvaluationError: The function does not exist, or it does not return a network with torchvision's four
            stages, or the precision is int8, for which this function has no pictures to calibrate with.
    """
    if precision == "int8":
        raise EvaluationError(
            "A factory's network cannot run in int8; name a model or a weights file, or another precision."
        )
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
    """Returns the AP of boxes and masks that torchvision published, 0 to 1; {} for other models."""
    architecture = ARCHITECTURES.get(name)
    if architecture is None or architecture.published is None:
        return {}
    metrics = architecture.published.meta["_metrics"][PUBLISHED_ON]
    return {kind: metrics[f"{kind}_map"] / 100 for kind in KINDS}


# --- Photos and their annotations ---------------------------------------------------------------------------


def read_annotations(file: Path, limit: int | None = None) -> CocoDataset:
    """Reads the images in `file`, at most the first `limit` by id, and their annotations.

    Raises:
        EvaluationError: The file does not hold COCO instances with at least one image.
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


def annotated_ids(dataset: CocoDataset, categories: Categories, name: str) -> dict[int, int]:
    """Returns the id that the annotations give to each of the model's categories that they know, by its id.

    The names decide, because each program numbers its categories in its own way.

    Args:
        name: The name of the annotations' file, for the message.

    Raises:
        EvaluationError: The annotations and the model have no name in common.
    """
    try:
        annotated = {category["name"]: category["id"] for category in dataset["categories"]}
    except (KeyError, TypeError) as error:
        raise EvaluationError(f"{name} has a category without an id or a name.") from error
    ids = {category.id: annotated[category.name] for category in categories if category.name in annotated}
    if not ids:
        theirs, ours = (", ".join(list(known)[:3]) for known in (annotated, categories.by_name))
        raise EvaluationError(
            f"{name} and the model have no kind of object in common ({theirs} there, {ours} in the model). "
            "Expected the same names; a labels.txt beside the weights names the model's."
        )
    return ids


def check_photos(dataset: CocoDataset, folder: Path) -> None:
    """Checks that all photos of `dataset` are in `folder`.

    Raises:
        EvaluationError: A photo is missing.
    """
    names = [image["file_name"] for image in dataset["images"]]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise EvaluationError(
            f"{len(missing)} of {len(names)} images are not in {folder}, the first is {missing[0]}."
        )


def look(
    model: SegmentationModel, path: Path, image: dict[str, Any], detail: str = FULL_DETAIL
) -> dict[str, Any]:
    """Runs `model` on the photo at `path`, read as the app reads it. Returns one line of a results file.

    Args:
        image: COCO's record of the photo.

    Raises:
        EvaluationError: The photo cannot be read, or its size differs from the size in `image`.
    """
    try:
        photo = read_photo(path, reading_side(model, detail))
    except ImageError as error:
        raise EvaluationError(f"{path.name}: {error}") from error
    stated = (image["height"], image["width"])
    if photo.size != stated:
        raise EvaluationError(
            f"{path.name} is {photo.size[1]} x {photo.size[0]} pixels, but its annotations are for "
            f"{stated[1]} x {stated[0]}."
        )
    start = time.perf_counter()
    found = segment(model, photo.pixels, detail).resized(*photo.size)
    seconds = time.perf_counter() - start
    return {
        "image_id": image["id"],
        "seconds": round(seconds, 4),
        "results": coco_results(found, image["id"]),
    }


# --- The results file ---------------------------------------------------------------------------------------


def heading(model: SegmentationModel, annotations: Path, detail: str = FULL_DETAIL) -> dict[str, Any]:
    """Returns the first line of a results file. It holds everything that the other lines depend on."""
    return {
        "model": model.name,
        "sha256": model.sha256,
        "precision": model.precision,
        "detail": detail,
        "working_side": WORKING_SIDE,
        "score_floor": SCORE_FLOOR,
        "annotations_sha256": hashlib.sha256(annotations.read_bytes()).hexdigest(),
    }


def default_results(head: dict[str, Any]) -> Path:
    """Returns the default path of a results file, in `build/`. Each heading has its own path."""
    name = head["model"].replace(":", "-")
    return BUILD / f"coco-{name}-{hashlib.sha256(json.dumps(head).encode()).hexdigest()[:8]}.jsonl"


def open_results(file: Path, head: dict[str, Any]) -> Found:
    """Returns the lines that an earlier run wrote to `file`, by image id.

    Starts the file if it does not exist. Removes the last line if it is incomplete.

    Raises:
        EvaluationError: The file belongs to another model or to other annotations, or is not a results file.
    """
    try:
        theirs, lines = resume(file, head)
        theirs = {"detail": FULL_DETAIL} | theirs  # files of older versions have no detail
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
    detail: str = FULL_DETAIL,
) -> Figures:
    """Returns the twelve numbers for boxes and for masks, and facts about the model and the photos.

    Continues an earlier run that was stopped.

    Args:
        folder: The folder of photos. They have the file names that the annotations give.
        annotations: A file of COCO instances.
        limit: The number of images to measure, the first by id. Default: all.
        results_file: The file that keeps the instances. Default: a file in `build/`.
        detail: How closely the model looks, one of `network.detail.DETAILS`.

    Raises:
        EvaluationError: For the reasons of the functions above. The results file keeps the instances found so
            far.
    """
    dataset = read_annotations(annotations, limit)
    check_photos(dataset, folder)
    ids = annotated_ids(dataset, model.categories, annotations.name)
    detail = detail_of(model, detail)
    head = heading(model, annotations, detail)
    file = results_file or default_results(head)
    found = open_results(file, head)
    waiting = [image for image in dataset["images"] if image["id"] not in found]
    total = len(dataset["images"])
    for image in tqdm(waiting, initial=total - len(waiting), total=total, unit="image"):
        line = found[image["id"]] = look(model, folder / image["file_name"], image, detail)
        note(file, line)
    lines = [found[image["id"]] for image in dataset["images"]]
    results: list[Result] = [
        result | {"category_id": ids[result["category_id"]]}
        for line in lines
        for result in line["results"]
        if result["category_id"] in ids
    ]
    return {
        "model": model.name,
        "sha256": model.sha256,
        "precision": model.precision,
        "detail": detail,
        "images": total,
        "instances": sum(len(line["results"]) for line in lines),
        "seconds_per_image": round(statistics.median(line["seconds"] for line in lines), 3),
        "published": published(model.name) if model.categories == coco.CATEGORIES else {},
        **{kind: _rounded(twelve_numbers(dataset, results, kind)) for kind in KINDS},
    }


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {name: round(number, 4) for name, number in numbers.items()}


def table(figures: Figures) -> str:
    """Returns the figures as a table for people, in percent. A dash means that no object has that size."""
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
    """Measures a model against COCO. The last line printed is a JSON object with all figures, 0 to 1."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=Path, required=True, help="the folder of photos")
    parser.add_argument("--annotations", type=Path, required=True, help="a JSON file of COCO instances")
    parser.add_argument("--limit", type=count, help="measure only the first LIMIT images by id")
    parser.add_argument(
        "--results", type=Path, help="the file that keeps the instances (default: a file in build/)"
    )
    models = parser.add_mutually_exclusive_group()
    models.add_argument(
        "--model",
        choices=[*ARCHITECTURES],
        default=DEFAULT_NAME,
        help="the model to measure (default: %(default)s)",
    )
    models.add_argument(
        "--weights", type=Path, help="a .pth or .safetensors file with weights of one of these models"
    )
    models.add_argument(
        "--model-factory", metavar="MODULE:FUNCTION", help="a function that returns your own network"
    )
    parser.add_argument(
        "--detail",
        choices=[*DETAILS],
        default=FULL_DETAIL,
        help="how closely the model looks (default: full)",
    )
    parser.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="the arithmetic (default: auto; of a factory's network: float32)",
    )
    chosen = parser.parse_args(arguments)
    try:
        if chosen.model_factory:
            exact = "float32" if chosen.precision == "auto" else chosen.precision
            model = load_from_factory(chosen.model_factory, exact)
        elif chosen.weights:
            model = load("auto", weights=chosen.weights, precision=chosen.precision)
        else:
            model = load(chosen.model, precision=chosen.precision)
        if chosen.precision not in ("auto", model.precision):
            raise EvaluationError(
                f"{model.name} cannot run in {chosen.precision} here, only in {model.precision}. See the log."
            )
        figures = measure(
            model, chosen.images, chosen.annotations, chosen.limit, chosen.results, chosen.detail
        )
    except (EvaluationError, ModelError, WeightsError) as error:
        raise SystemExit(str(error)) from error
    print(
        f"{model.name} ({model.origin}), {model.precision} on {model.device.type}, "
        f"detail {figures['detail']}: "
        f"{figures['instances']} instances in {figures['images']} photos of at most {WORKING_SIDE} px, "
        f"{figures['seconds_per_image']:.2f} s each (median)"
    )
    print(table(figures))
    print(json.dumps(figures))


def count(text: str) -> int:
    """Parses a number of photos, 1 or more; a type for `argparse`.

    Raises:
        argparse.ArgumentTypeError: The number is below 1.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


if __name__ == "__main__":
    main()

"""Trains the `scenes` network on drawn scenes, and measures it on scenes with backgrounds that it never saw.

    python training/scenes/train.py train --minutes 38 --out assets/scenes.safetensors
    python training/scenes/train.py evaluate --scenes 200

Training needs only a CPU. If the run is stopped, the same command continues it from `--checkpoint`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as rle
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import MaskRCNN
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to run as a script as well

from inference import SCORE_FLOOR
from network import architectures as networks
from network.weights import find_weights
from tools.coco_results import CocoDataset, Result, coco_result, evaluated
from training.common import (
    Example,
    autocast,
    collate,
    learning_rate,
    parameter_groups,
    save_checkpoint,
    save_weights,
    start_worker,
)
from training.scenes.draw import Scene, draw_scene, to_coco

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "assets" / "scenes.safetensors"
LABEL_BY_CATEGORY = {category_id: label for label, category_id in enumerate(networks.SCENES_LABELS)}
SMALL_PX = 32
"""The target accuracy counts only objects whose box has a longest side of at least this many px."""
SEEDS_PER_RUN = 1_000_000
"""A training run with `--seed` s draws its scenes from seed s * `SEEDS_PER_RUN` on."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one training run."""

    iterations: int = 100_000
    minutes: float = math.inf
    """The run ends when it reaches `iterations` or `minutes`. The learning rate has fallen by then."""
    batch_size: int = 8
    seed: int = 0
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: int = 100
    """The number of iterations until the learning rate reaches its highest value."""
    precision: torch.dtype = torch.float32
    workers: int = 1


# --- Training -----------------------------------------------------------------------------------------------


def to_example(scene: Scene, flip: bool) -> Example:
    """Returns a scene as torchvision's models take it.

    The image is (3, H, W) float32, 0 to 1. The target has boxes, labels and masks. With `flip` both are
    mirrored left to right.
    """
    image, masks = scene.image, scene.masks
    if flip:
        image, masks = image[:, ::-1], masks[..., ::-1]
    boxes = np.array([box_of(mask) for mask in masks], np.float32)
    labels = [LABEL_BY_CATEGORY[int(category_id)] for category_id in scene.category_ids]
    target = {
        "boxes": torch.from_numpy(boxes),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": torch.from_numpy(np.ascontiguousarray(masks, np.uint8)),
    }
    return to_tensor(image), target


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """Converts an image (H, W, 3) uint8 to (3, H, W) float32, 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def box_of(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Returns the box x0, y0, x1, y1 of a mask (H, W). The mask is not empty; x1 and y1 are exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


class TrainingScenes(Dataset[Example]):
    """Draws `count` training scenes from seed `first` on.

    Every second scene is mirrored, and the letters of its stop signs are mirrored too.
    """

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        seed = self.first + index
        return to_example(draw_scene(seed, held_out=False), flip=seed % 2 == 1)


def train(options: Options, checkpoint: Path) -> MaskRCNN:
    """Trains the network to the end of the run.

    Continues from `checkpoint` if the file exists, and writes it every 100 iterations and at the end.
    """
    torch.manual_seed(options.seed)
    network = networks.scenes().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        parameter_groups(network.parameters(), options.weight_decay), lr=options.learning_rate
    )
    if options.precision != torch.float32:
        for module in (
            network.backbone,
            network.rpn.head,
            network.roi_heads.box_head,
            network.roi_heads.mask_head,
        ):
            autocast(module, options.precision, torch.device("cpu"))
    start, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        start, spent = state["iteration"], state["seconds"]
    began = time.monotonic() - spent
    progress = tqdm(_batches(options, start), initial=start, total=options.iterations, unit="step")
    smooth = math.nan
    for iteration, (images, targets) in enumerate(progress, start=start):
        seconds = time.monotonic() - began
        done = max(iteration / options.iterations, seconds / 60 / options.minutes)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(options.learning_rate, options.warm_up, iteration, done)
        loss = torch.stack(list(network(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        smooth = loss.item() if math.isnan(smooth) else 0.97 * smooth + 0.03 * loss.item()
        progress.set_postfix(loss=f"{smooth:.3f}", done=f"{done:.0%}")
        over = done >= 1
        if (iteration + 1) % 100 == 0 or iteration + 1 == options.iterations or over:
            state = {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "iteration": iteration + 1,
                "seconds": time.monotonic() - began,
            }
            save_checkpoint(checkpoint, state)
        if over:
            break
    return network.eval()


def _batches(options: Options, start: int) -> Iterable[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Returns the batches from iteration `start` to the last. Each scene is used once in the whole run."""
    if start >= options.iterations:
        return ()
    first = options.seed * SEEDS_PER_RUN + start * options.batch_size
    return DataLoader(
        TrainingScenes(first, (options.iterations - start) * options.batch_size),
        options.batch_size,
        collate_fn=collate,
        num_workers=options.workers,
        worker_init_fn=start_worker if options.workers else None,
        prefetch_factor=4 if options.workers else None,
    )


def load_network(path: Path = WEIGHTS) -> MaskRCNN:
    """Loads the trained network in float32, ready for use."""
    network = networks.scenes()
    state_dict = find_weights(networks.ARCHITECTURES["scenes"], path).state_dict
    # `find_weights` has compared names and shapes. The step counters of the batch norms may be missing.
    network.load_state_dict(state_dict, strict=False)
    return network.eval()


# --- Evaluation ---------------------------------------------------------------------------------------------


def held_out_scenes(count: int, first_seed: int = 0) -> Iterator[Scene]:
    """Draws scenes with backgrounds that training never sees. The examples have seeds above a million."""
    return (draw_scene(seed, held_out=True) for seed in range(first_seed, first_seed + count))


def detect(network: MaskRCNN, image: NDArray[np.uint8], image_id: int) -> list[Result]:
    """Returns the COCO results of one picture, computed by torchvision's own forward pass.

    A mask holds the pixels whose probability is above 0.5.
    """
    with torch.inference_mode():
        (output,) = network([to_tensor(image)])
    results = []
    for box, label, score, mask in zip(
        output["boxes"].tolist(),
        output["labels"].tolist(),
        output["scores"].tolist(),
        (output["masks"][:, 0] > 0.5).numpy(),
        strict=True,
    ):
        if score < SCORE_FLOOR:
            continue
        encoded = rle.encode(np.asfortranarray(mask, np.uint8))
        encoded["counts"] = encoded["counts"].decode("ascii")
        results.append(coco_result(image_id, networks.SCENES_LABELS[label], score, box, encoded))
    return results


def average_precision(
    truth: CocoDataset, results: list[Result], kind: str, smallest_px: int = 0
) -> tuple[float, float]:
    """Returns AP and AP at IoU 0.5 for `kind` "box" or "mask".

    Only objects whose box has a longest side of at least `smallest_px` count. pycocotools can limit only
    areas. So copies of the annotations and of the results get the square of this side as their area, and the
    area range starts at `smallest_px` squared. pycocotools ignores smaller objects and does not count them as
    errors.
    """
    sized = truth | {"annotations": [_sized(annotation) for annotation in truth["annotations"]]}
    area_ranges = {"all": (smallest_px**2, 1e10)}
    evaluation = evaluated(sized, [_sized(result) for result in results], kind, area_ranges)
    # The axes are IoU thresholds, recalls and categories. -1 means that there is no value.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return _mean(precision), _mean(precision[:1])


def _sized(annotation: dict[str, Any]) -> dict[str, Any]:
    return annotation | {"area": max(annotation["bbox"][2:]) ** 2}


def _mean(precision: NDArray[np.float64]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else 0.0


def evaluate(network: MaskRCNN, scenes: Sequence[Scene]) -> dict[str, float]:
    """Measures the network on the scenes.

    Returns the average precisions (0 to 1), the median seconds per picture, and the numbers of scenes and
    objects.
    """
    truth = to_coco(scenes, [f"{index}.png" for index in range(len(scenes))])
    results: list[Result] = []
    seconds = []
    for image_id, scene in enumerate(tqdm(scenes, unit="scene"), start=1):
        start = time.perf_counter()
        results += detect(network, scene.image, image_id)
        seconds.append(time.perf_counter() - start)
    box_32, mask_32 = (average_precision(truth, results, kind, SMALL_PX)[1] for kind in ("box", "mask"))
    box_ap, box_ap50 = average_precision(truth, results, "box")
    mask_ap, mask_ap50 = average_precision(truth, results, "mask")
    figures = {
        "box_ap50_32px": box_32,
        "mask_ap50_32px": mask_32,
        "box_ap50": box_ap50,
        "mask_ap50": mask_ap50,
        "box_ap": box_ap,
        "mask_ap": mask_ap,
        "seconds_per_image": statistics.median(seconds),
    }
    rounded = {key: round(value, 4) for key, value in figures.items()}
    return rounded | {"scenes": len(scenes), "objects": len(truth["annotations"])}


# --- Command line -------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the scenes network, or measures it. Prints the measurement as JSON in the last line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser(
        "train", help="train from scratch or continue from the checkpoint, then evaluate"
    )
    training.add_argument(
        "--iterations", type=int, default=100_000, help="length of the run in steps (default: 100000)"
    )
    training.add_argument(
        "--minutes", type=float, default=math.inf, help="end the run after this many minutes at the latest"
    )
    training.add_argument("--batch-size", type=int, default=8)
    training.add_argument(
        "--seed", type=int, default=0, help="seed of the weights and the scenes (default: 0)"
    )
    training.add_argument("--learning-rate", type=float, default=1e-3)
    training.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    training.add_argument("--checkpoint", type=Path, default=ROOT / "build" / "scenes.pt")
    training.add_argument(
        "--out", type=Path, default=WEIGHTS, help="file for the weights (default: in assets/)"
    )
    measuring = commands.add_parser("evaluate", help="measure the weights on held-out scenes")
    measuring.add_argument("--weights", type=Path, default=WEIGHTS)
    for command in (training, measuring):
        command.add_argument("--scenes", type=int, default=200, help="held-out scenes to measure on")
        command.add_argument(
            "--first-seed", type=int, default=0, help="seed of the first of these scenes (default: 0)"
        )
        command.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    if chosen.command == "train":
        options = Options(
            iterations=chosen.iterations,
            minutes=chosen.minutes,
            batch_size=chosen.batch_size,
            seed=chosen.seed,
            learning_rate=chosen.learning_rate,
            precision=getattr(torch, chosen.precision),
        )
        save_weights(train(options, chosen.checkpoint), chosen.out)
    network = load_network(chosen.out if chosen.command == "train" else chosen.weights)
    print(json.dumps(evaluate(network, list(held_out_scenes(chosen.scenes, chosen.first_seed)))))


if __name__ == "__main__":
    main()

"""Trains the `starter` network, a small Mask R-CNN that learns COCO's 80 categories from a larger one.

    python training/starter/train.py train --teacher FILE --images DIR --annotations FILE --unlabelled DIR \
        --val-annotations FILE --minutes 92 --out build/starter.safetensors
    python training/starter/train.py evaluate --weights FILE --images DIR --val-annotations FILE

If a run is stopped, the same command continues it from `--checkpoint`, with views that it has not used
before. Every two minutes the run prints the distance between student and teacher on held-out photos. At the
end the student is measured against COCO on the photos of `--val-annotations`. The run neither learns from
these photos nor makes choices by them. The last line printed is one JSON object. Its `shortfalls` say what
the network lacks to ship with the project.

`training/starter/run.py` holds the training and explains it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to run as a script as well

import torch

from inference import PRECISIONS
from network.weights import WeightsError
from tools.evaluate import BUILD, EvaluationError, count, read_annotations
from training.common import save_weights
from training.starter.bar import evaluate
from training.starter.photos import PhotoError, find_photos
from training.starter.run import Options, TrainingError, train
from training.starter.teacher import Teacher, TeacherError


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the starter network, or measures it. Prints the measurement as JSON in the last line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train or continue from the checkpoint, then evaluate")
    training.add_argument(
        "--teacher",
        type=Path,
        required=True,
        help="safetensors file as training/starter/teacher.py describes it",
    )
    training.add_argument("--annotations", type=Path, required=True, help="COCO instances to learn from")
    training.add_argument("--unlabelled", type=Path, required=True, help="folder of photos without labels")
    training.add_argument(
        "--iterations", type=count, default=1_000_000, help="length of the run in steps (default: 1000000)"
    )
    training.add_argument(
        "--minutes", type=float, default=math.inf, help="end the run after this many minutes at the latest"
    )
    training.add_argument("--batch-size", type=count, default=16, help="views in each step (default: 16)")
    training.add_argument(
        "--stages-rate",
        type=float,
        default=2e-2,
        help="learning rate while each stage learns by itself (default: 0.02)",
    )
    training.add_argument(
        "--learning-rate",
        type=float,
        default=8e-4,
        help="learning rate while the stages learn together (default: 0.0008)",
    )
    training.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        default="bfloat16",
        help="precision of most of the arithmetic (default: bfloat16)",
    )
    training.add_argument(
        "--side", type=count, default=256, help="side of the views in px, a multiple of 16 (default: 256)"
    )
    training.add_argument(
        "--stages-until",
        type=float,
        default=0.15,
        help="share of the run in which each stage learns by itself",
    )
    training.add_argument(
        "--truth-from",
        type=float,
        help="share of the run after which true objects are added (default: 0.85; on a graphics processor "
        "never, because there they changed nothing and cost time)",
    )
    training.add_argument("--begin-with", type=Path, metavar="FILE", help="weights of an earlier run")
    training.add_argument("--workers", type=int, default=1, help="processes that draw views (default: 1)")
    training.add_argument(
        "--device", choices=("cpu", "cuda"), help="where to compute (default: cuda if there is one)"
    )
    training.add_argument(
        "--seed", type=int, default=0, help="seed of the weights and the views (default: 0)"
    )
    training.add_argument("--checkpoint", type=Path, default=BUILD / "starter.pt")
    training.add_argument(
        "--out", type=Path, default=BUILD / "starter.safetensors", help="file for the weights"
    )
    measuring = commands.add_parser("evaluate", help="measure weights against COCO")
    measuring.add_argument("--weights", type=Path, required=True)
    for command in (training, measuring):
        command.add_argument("--images", type=Path, required=True, help="folder of all labelled photos")
        command.add_argument(
            "--val-annotations", type=Path, required=True, help="COCO instances to measure on"
        )
        command.add_argument("--threads", type=count, default=2, help="processor threads (default: 2)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        if chosen.command == "train":
            _train(chosen)
        print(json.dumps(evaluate(chosen.weights, chosen.images, chosen.val_annotations)))
    except (TrainingError, PhotoError, TeacherError, EvaluationError, WeightsError) as error:
        raise SystemExit(str(error)) from error


def _train(chosen: argparse.Namespace) -> None:
    """Runs the training with the chosen options, and sets the new weights as the ones to measure."""
    device = torch.device(chosen.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    on_card = device.type == "cuda"
    truth_from = (math.inf if on_card else 0.85) if chosen.truth_from is None else chosen.truth_from
    options = Options(
        iterations=chosen.iterations,
        minutes=chosen.minutes,
        batch_size=chosen.batch_size,
        seed=chosen.seed,
        stages_rate=chosen.stages_rate,
        learning_rate=chosen.learning_rate,
        precision=PRECISIONS[chosen.precision],
        workers=chosen.workers,
        side=chosen.side,
        stages_until=chosen.stages_until,
        truth_from=truth_from,
        on_device=on_card,
        begin_with=chosen.begin_with,
    )
    teacher = Teacher(chosen.teacher, device, options.precision)
    read_annotations(chosen.val_annotations)  # a bad file stops the run now and not after hours
    photos = find_photos(chosen.images, chosen.annotations, chosen.unlabelled, options.seed)
    save_weights(train(photos, teacher, options, chosen.checkpoint).network, chosen.out)
    chosen.weights = chosen.out


if __name__ == "__main__":
    main()

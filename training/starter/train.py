"""Trains the `starter` network: a small Mask R-CNN that learns COCO's 80 categories from a larger one.

    python training/starter/train.py train --teacher FILE --images DIR --annotations FILE --unlabelled DIR \
        --val-annotations FILE --minutes 92 --out build/starter.safetensors
    python training/starter/train.py evaluate --weights FILE --images DIR --val-annotations FILE

A few hundred labelled photos are far too few to learn 80 categories from. So a teacher (`training/starter/teacher.py`)
says what it thinks of random crops and mosaics of these photos and of unlabelled ones (`training/starter/views.py`): its
feature map, where it looks for objects, what it sees there, and their masks. The student (`training/starter/student.py`)
learns to say the same (Hinton et al. 2015; for detectors Chen et al. 2017). In the first part of the run each
of its stages does so by itself: it makes of the teacher's map before it the teacher's map after it (Romero et
al. 2015; block by block, Li et al. 2020). A stage is shallow and learns that in minutes, all at once. Then
they learn together. In the last part they learn from the true objects of the labelled photos as well, with
torchvision's own losses.

Stopped, the run goes on from `--checkpoint` where it was, with views that it has not seen. Every two minutes
it writes down how far the student is from the teacher on photos that nothing is learnt from. At the end the
student is measured against COCO on `--val-annotations`, which nothing here learns from or chooses by. The
last line printed is one JSON object; its `shortfalls` say what is lacking to ship the network.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import pickle  # nosec B403
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to run as a script as well

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from inference import PRECISIONS, load_model
from network.architectures import starter
from network.weights import WeightsError
from tools.evaluate import BUILD, EvaluationError, count, measure, read_annotations
from training.common import (
    Muon,
    collate,
    learning_rate,
    parameter_groups,
    save_checkpoint,
    save_weights,
    start_worker,
)
from training.starter.photos import PhotoError, Photos, find_photos
from training.starter.student import Student, total
from training.starter.teacher import Maps, Teacher, TeacherError
from training.starter.views import Batch, Pictures, View, label, together

TRUTH_SIDES = (256, 288, 320, 352)
"""Shorter sides, in px, at which the labelled photos are learnt from."""
LARGE = 96
"""Matrices with at least so many rows and columns are Muon's."""
EXAM_VIEWS, EXAM_SIDE = 96, 256
SAVE_SECONDS = 120.0
BAR = {
    "box AP": (True, 0.10),
    "mask AP": (True, 0.08),
    "megabytes": (False, 20.0),
    "seconds per image": (False, 0.6),
}
"""What a network must reach to ship with the project: whether at least or at most, and how much."""


class TrainingError(ValueError):
    """A run cannot begin or go on; the message says why, and what would do."""


# --- Training -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Options:
    """Of one training run."""

    iterations: int = 1_000_000
    minutes: float = math.inf
    """The run is over, its learning rate fallen, when either of the two is reached."""
    batch_size: int = 16
    side: int = 256
    """Of the views, in px; divides by 16."""
    stages_until: float = 0.15
    """The part of the run in which each stage of the network learns by itself."""
    truth_from: float = 0.85
    """The part of the run after which the true objects are learnt from as well."""
    truth_photos: int = 4
    """Labelled photos in each iteration then."""
    seed: int = 0
    stages_rate: float = 2e-2
    learning_rate: float = 8e-4
    """The highest, when the stages learn by themselves and after that."""
    weight_decay: float = 0.02
    warm_up: int = 50
    precision: torch.dtype = torch.bfloat16
    workers: int = 1


@dataclass(slots=True)
class Progress:
    """How far a run is; its checkpoint keeps it."""

    iteration: int = 0
    """Steps behind us."""
    since: int | None = None
    """The step since which the stages learn together; None while each learns by itself."""
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    """What was examined."""


def lessons(
    photos: Sequence[Path], teacher: Teacher, anchors: Tensor, options: Options, first: int
) -> Iterator[View]:
    """Views from number `first` on, without end: workers draw them, and the teacher is asked here."""
    pictures = Pictures(photos, options.side, options.seed, first)
    generator = torch.Generator().manual_seed(options.seed + first)
    for images in DataLoader(
        pictures,
        options.batch_size,
        num_workers=options.workers,
        worker_init_fn=start_worker if options.workers else None,
        # A fork of a process in which OpenCV has had threads waits for them forever.
        multiprocessing_context="spawn" if options.workers else None,
    ):
        yield from label(teacher, images, anchors, generator)


def train(photos: Photos, teacher: Teacher, options: Options, checkpoint: Path) -> Student:
    """Trains to the end of the run, on from `checkpoint` where there is one; writes it every two minutes.

    Raises:
        TrainingError: The teacher has other anchors, or the checkpoint cannot be gone on from.
    """
    device = teacher.device
    torch.manual_seed(options.seed)
    network = starter()
    network.transform.min_size = TRUTH_SIDES
    (anchors,) = network.rpn.anchor_generator.cell_anchors
    theirs = teacher.anchors.cpu()
    if theirs.shape != anchors.shape or (theirs - anchors).abs().max() > 1:
        raise TrainingError("The teacher's anchors are not those of networks.STARTER_ANCHORS, in order.")
    exam_options = replace(options, batch_size=EXAM_VIEWS, side=EXAM_SIDE, seed=0, workers=0)
    examination = lessons(photos.held_out, teacher, anchors, exam_options, 0)
    exam = _next(examination, EXAM_VIEWS, device)
    student = Student(network, options.precision, device).train()
    optimizers = make_optimizers(student, options)
    run = _resume(checkpoint, student, optimizers, device)
    # What goes on sees other views than before: none of a million for each time that it was saved.
    views = lessons(photos.learnt, teacher, anchors, options, 1_000_000 * len(run.history))
    if not run.iteration:
        shown = _next(views, EXAM_VIEWS, device)
        if not len(shown.masks):
            raise TrainingError(
                "The teacher sees no object in any of the first views: nothing can be learnt."
            )
        student.standardize(_maps(teacher, shown))
    truth = iter(
        DataLoader(photos.truth, options.truth_photos, sampler=_count(run.iteration), collate_fn=collate)
    )
    saved = time.monotonic()
    began = saved - run.seconds
    means: dict[str, float] = {}
    progress = tqdm(
        range(run.iteration, options.iterations),
        initial=run.iteration,
        total=options.iterations,
        unit="step",
    )
    for iteration in progress:
        done = max(iteration / options.iterations, (time.monotonic() - began) / 60 / options.minutes)
        if run.since is None and done >= options.stages_until:
            # Other losses, for which the optimizers' averages are wrong.
            run.since, optimizers = iteration, make_optimizers(student, options)
        for group in itertools.chain.from_iterable(optimizer.param_groups for optimizer in optimizers):
            group["lr"] = _rate(options, run.since, iteration, done)
        batch = _next(views, options.batch_size, device)
        losses = student.losses(batch, _maps(teacher, batch) if run.since is None else None)
        if done >= options.truth_from:
            images, targets = next(truth)
            losses["truth"] = sum(network(_to(images, device), _to(targets, device)).values())
        student.zero_grad()
        total(losses).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        for optimizer in optimizers:
            optimizer.step()
        means = {
            name: 0.98 * means.get(name, loss.item()) + 0.02 * loss.item() for name, loss in losses.items()
        }
        said = {name: f"{mean:.3f}" for name, mean in means.items()}
        progress.set_postfix(said | {"done": f"{done:.1%}"}, refresh=False)
        over = done >= 1 or iteration + 1 == options.iterations
        if over or time.monotonic() - saved > SAVE_SECONDS:
            saved = time.monotonic()
            run.iteration, run.seconds = iteration + 1, saved - began
            figures = {"iteration": run.iteration, "seconds": round(run.seconds)} | examine(student, exam)
            run.history.append(figures)
            progress.write(json.dumps(figures), file=sys.stderr)
            _save(checkpoint, student, optimizers, run)
        if over:
            break
    return student.eval()


def _next(views: Iterator[View], count: int, device: torch.device) -> Batch:
    return together(list(itertools.islice(views, count)), device)


def _maps(teacher: Teacher, batch: Batch) -> Maps:
    return teacher.stages(batch.images, batch.regions, batch.mask_boxes)


def _rate(options: Options, since: int | None, iteration: int, done: float) -> float:
    """The learning rate rises and falls while the stages learn by themselves, and once more after that."""
    if since is None:
        return learning_rate(options.stages_rate, options.warm_up, iteration, done / options.stages_until)
    rest = (done - options.stages_until) / (1 - options.stages_until)
    # Of a run that was prolonged, the second part may begin earlier than it would now.
    return learning_rate(options.learning_rate, options.warm_up, iteration - since, max(rest, 0.0))


def _save(checkpoint: Path, student: Student, optimizers: list[torch.optim.Optimizer], run: Progress) -> None:
    """Writes what `_resume` reads.

    Raises:
        TrainingError: What was examined last is not finite; the checkpoint stays as it was.
    """
    if not all(map(math.isfinite, run.history[-1].values())):
        option = "--stages-rate" if run.since is None else "--learning-rate"
        raise TrainingError(
            f"The losses are no longer finite at step {run.iteration}. A checkpoint from before that is "
            f"kept; give the same command with a smaller {option}."
        )
    state = {
        "student": student.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "run": asdict(run),
    }
    save_checkpoint(checkpoint, state)


def _resume(
    checkpoint: Path, student: Student, optimizers: list[torch.optim.Optimizer], device: torch.device
) -> Progress:
    """Where the run was; sets student and optimizers to that."""
    if not checkpoint.exists():
        return Progress()
    try:
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        student.load_state_dict(state["student"])
        for optimizer, known in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        return Progress(**state["run"])
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{checkpoint} is damaged or of another network ({type(error).__name__}); "
            "name another with --checkpoint or delete it."
        ) from error


def make_optimizers(student: Student, options: Options) -> list[torch.optim.Optimizer]:
    """Muon for the large matrices inside, AdamW for the rest: what reads pixels or gives answers, looks at
    each channel by itself, or is small."""
    inside: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, weight in student.named_parameters():
        large = (
            weight.ndim >= 2 and min(weight.shape[0], weight[0].numel()) >= LARGE and "predictor" not in name
        )
        (inside if large else rest).append(weight)
    groups = parameter_groups(rest, options.weight_decay)
    return [
        torch.optim.AdamW(groups, lr=options.learning_rate, fused=True),
        Muon(
            inside,
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            adjust_lr_fn="match_rms_adamw",  # the same learning rate for both
        ),
    ]


def examine(student: Student, exam: Batch) -> dict[str, float]:
    """The losses on views of photos that nothing is learnt from."""
    student.eval()
    with torch.inference_mode():
        losses = student.losses(exam)
    student.train()
    return {name: round(loss.item(), 4) for name, loss in losses.items()}


def _count(start: int) -> Iterator[int]:
    """Numbers from `start` on, without end; a sampler."""
    while True:
        yield start
        start += 1


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_to(item, device) for item in value]
    if isinstance(value, dict):
        return {name: _to(item, device) for name, item in value.items()}
    return value.to(device)


# --- Evaluation ---------------------------------------------------------------------------------------------


def evaluate(weights: Path, images: Path, annotations: Path) -> dict[str, Any]:
    """`tools.evaluate.measure` of the network, the size of its file, and where both fall short of `BAR`.

    Raises:
        WeightsError: The file holds no weights of this network.
    """
    model = load_model("starter", weights=weights, device="cpu", precision="float32")
    figures = measure(model, images, annotations)
    megabytes = round(weights.stat().st_size / 1e6, 1)
    ours = {
        "box AP": figures["box"]["AP"],
        "mask AP": figures["mask"]["AP"],
        "megabytes": megabytes,
        "seconds per image": figures["seconds_per_image"],
    }
    shortfalls = [
        f"{name}: {ours[name]}, expected {'at least' if least else 'at most'} {limit}"
        for name, (least, limit) in BAR.items()
        if (ours[name] < limit if least else ours[name] > limit)
    ]
    return figures | {"megabytes": megabytes, "shortfalls": shortfalls}


# --- Command line -------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the starter network, or measures it; the last line printed is the measurement as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train, or go on from the checkpoint, then evaluate")
    training.add_argument(
        "--teacher", type=Path, required=True, help="safetensors file (training/starter/teacher.py)"
    )
    training.add_argument("--annotations", type=Path, required=True, help="COCO instances to learn from")
    training.add_argument("--unlabelled", type=Path, required=True, help="folder of more photos")
    training.add_argument("--iterations", type=count, default=1_000_000, help="length of the run")
    training.add_argument("--minutes", type=float, default=math.inf, help="or this long, whichever is sooner")
    training.add_argument("--batch-size", type=count, default=16, help="views in each step (default: 16)")
    training.add_argument(
        "--stages-rate",
        type=float,
        default=2e-2,
        help="learning rate of stages by themselves (default: 0.02)",
    )
    training.add_argument(
        "--learning-rate", type=float, default=8e-4, help="of stages together (default: 0.0008)"
    )
    training.add_argument("--precision", choices=PRECISIONS, default="bfloat16", help="(default: bfloat16)")
    training.add_argument("--workers", type=int, default=1, help="processes that draw views (default: 1)")
    training.add_argument("--device", choices=("cpu", "cuda"), help="(default: cuda where there is one)")
    training.add_argument("--seed", type=int, default=0, help="of the weights and the views (default: 0)")
    training.add_argument("--checkpoint", type=Path, default=BUILD / "starter.pt")
    training.add_argument("--out", type=Path, default=BUILD / "starter.safetensors", help="the weights")
    measuring = commands.add_parser("evaluate", help="measure weights against COCO")
    measuring.add_argument("--weights", type=Path, required=True)
    for command in (training, measuring):
        command.add_argument("--images", type=Path, required=True, help="folder of all annotated photos")
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
    """Runs the training that is asked for, and names its weights as those to measure."""
    options = Options(
        iterations=chosen.iterations,
        minutes=chosen.minutes,
        batch_size=chosen.batch_size,
        seed=chosen.seed,
        stages_rate=chosen.stages_rate,
        learning_rate=chosen.learning_rate,
        precision=PRECISIONS[chosen.precision],
        workers=chosen.workers,
    )
    device = torch.device(chosen.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    teacher = Teacher(chosen.teacher, device, options.precision)
    read_annotations(chosen.val_annotations)  # known to be good before hours have passed
    photos = find_photos(chosen.images, chosen.annotations, chosen.unlabelled, options.seed)
    save_weights(train(photos, teacher, options, chosen.checkpoint).network, chosen.out)
    chosen.weights = chosen.out


if __name__ == "__main__":
    main()

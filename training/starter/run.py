"""Trains the student on the teacher's answers, from random weights or from a checkpoint.

A few hundred labelled photos are far too few to learn 80 categories from. So the student learns from a
teacher (`training/starter/teacher.py`). The teacher sees random crops and mosaics of labelled and unlabelled
photos (`training/starter/views.py`). Its answers are the feature map, the places where objects may be, their
classes and boxes, and their masks. The student (`training/starter/student.py`) learns to give the same
answers (Hinton et al. 2015; for detectors Chen et al. 2017).

A run has three parts. In the first part each stage of the student learns by itself. The stage gets the
teacher's map before it and learns to make the teacher's map after it (Romero et al. 2015; block by block, Li
et al. 2020). A stage is shallow and learns this in minutes, and all stages learn at the same time. In the
second part the stages learn together. In the last part they also learn from the true objects of the labelled
photos, with torchvision's own losses.
"""

from __future__ import annotations

import itertools
import json
import math
import pickle  # nosec B403
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from network.architectures import starter
from training.common import Muon, collate, learning_rate, parameter_groups, save_checkpoint, start_worker
from training.starter.canvas import Canvas, label_at_once
from training.starter.photos import Photos
from training.starter.student import Student, total
from training.starter.teacher import Maps, Teacher
from training.starter.views import Batch, Pictures, View, label, together

TRUTH_SIDES = (256, 288, 320, 352)
"""The shorter sides, in px, of the labelled photos when the student learns from their true objects."""
LARGE = 96
"""Muon trains the matrices that have at least this many rows and columns."""
EXAM_VIEWS, EXAM_SIDE = 96, 256
"""The number of held-out views that the student is examined on, and their side in px."""
SAVE_SECONDS = 120.0
"""The student is examined and the checkpoint is written each time this many seconds have passed."""


class TrainingError(ValueError):
    """A run cannot start or continue. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one training run."""

    iterations: int = 1_000_000
    minutes: float = math.inf
    """The run ends when it reaches `iterations` or `minutes`. The learning rate has fallen by then."""
    batch_size: int = 16
    side: int = 256
    """The side of the views in px, a multiple of 16."""
    stages_until: float = 0.15
    """In this first share of the run each stage of the network learns by itself."""
    truth_from: float = 0.85
    """After this share of the run the student learns from the true objects as well."""
    truth_photos: int = 4
    """The number of labelled photos in each iteration with true objects."""
    seed: int = 0
    stages_rate: float = 2e-2
    """The highest learning rate while the stages learn by themselves."""
    learning_rate: float = 8e-4
    """The highest learning rate while the stages learn together."""
    weight_decay: float = 0.02
    warm_up: int = 50
    precision: torch.dtype = torch.bfloat16
    workers: int = 1
    on_device: bool = False
    """Whether views are drawn and labelled on the device that trains."""
    begin_with: Path | None = None
    """Weights of an earlier run. None begins with random weights."""


@dataclass(slots=True)
class Progress:
    """The progress of a run, which its checkpoint stores."""

    iteration: int = 0
    """The number of steps that are done."""
    since: int | None = None
    """The step from which the stages learn together. None while each stage learns by itself."""
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    """The figures of each examination."""


def lessons(
    photos: Sequence[Path], teacher: Teacher, anchors: Tensor, options: Options, first: int
) -> Iterator[View]:
    """Yields labelled views from number `first` on, without end.

    The workers draw the views. The teacher labels them in this process.
    """
    pictures = Pictures(photos, options.side, options.seed, first)
    generator = torch.Generator().manual_seed(options.seed + first)
    for images in DataLoader(
        pictures,
        options.batch_size,
        num_workers=options.workers,
        worker_init_fn=start_worker if options.workers else None,
        # Not "fork": if OpenCV has had threads in this process, a forked process waits for them forever.
        multiprocessing_context="spawn" if options.workers else None,
    ):
        yield from label(teacher, images, anchors, generator)


def train(photos: Photos, teacher: Teacher, options: Options, checkpoint: Path) -> Student:
    """Trains a student to the end of the run.

    Continues from `checkpoint` if the file exists, and writes it every two minutes and at the end.

    Raises:
        TrainingError: The teacher has other anchors than the student, the teacher sees no object in the first
            views, the checkpoint cannot be used, or the losses are no longer finite.
    """
    device = teacher.device
    torch.manual_seed(options.seed)
    network = starter()
    network.transform.min_size = TRUTH_SIDES
    if options.begin_with:
        network.load_state_dict({key: value.float() for key, value in load_file(options.begin_with).items()})
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
    # A continued run must see new views. So it skips a million views for each time that it was saved.
    draw = _drawing(photos.learnt, teacher, anchors, options, 1_000_000 * len(run.history))
    first = run.iteration
    if not run.iteration:
        shown = draw(EXAM_VIEWS)
        if not len(shown.masks):
            raise TrainingError(
                "The teacher sees no object in any of the first views: nothing can be learnt."
            )
        student.standardize(_maps(teacher, shown))
    truth = iter(
        DataLoader(photos.truth, options.truth_photos, sampler=_count(run.iteration), collate_fn=collate)
    )
    started = saved = time.monotonic()
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
            # From here on the losses are others, and the optimizers' averages would be wrong for them.
            run.since, optimizers = iteration, make_optimizers(student, options)
        for group in itertools.chain.from_iterable(optimizer.param_groups for optimizer in optimizers):
            group["lr"] = _rate(options, run.since, iteration, done)
        batch = draw(options.batch_size)
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
            drawn = options.batch_size * (run.iteration - first)
            figures = {
                "iteration": run.iteration,
                "seconds": round(run.seconds),
                "views_per_second": round(drawn / (saved - started), 1),
            } | examine(student, exam)
            run.history.append(figures)
            progress.write(json.dumps(figures), file=sys.stderr)
            _save(checkpoint, student, optimizers, run)
        if over:
            break
    return student.eval()


def _drawing(
    photos: Sequence[Path], teacher: Teacher, anchors: Tensor, options: Options, first: int
) -> Callable[[int], Batch]:
    """Returns a function that draws and labels a number of views, from number `first` on."""
    if options.on_device:
        canvas = Canvas(photos, teacher.device, options.seed + first)
        return lambda count: label_at_once(
            teacher, canvas.draw(count, options.side), anchors, canvas.generator
        )
    views = lessons(photos, teacher, anchors, options, first)
    return lambda count: _next(views, count, teacher.device)


def _next(views: Iterator[View], count: int, device: torch.device) -> Batch:
    return together(list(itertools.islice(views, count)), device)


def _maps(teacher: Teacher, batch: Batch) -> Maps:
    return teacher.stages(batch.images, batch.regions, batch.mask_boxes)


def _rate(options: Options, since: int | None, iteration: int, done: float) -> float:
    """Returns the learning rate of one step.

    The learning rate rises and falls while the stages learn by themselves, and once more after that.
    """
    if since is None:
        return learning_rate(options.stages_rate, options.warm_up, iteration, done / options.stages_until)
    rest = (done - options.stages_until) / (1 - options.stages_until)
    # If a run was prolonged, its second part may have begun earlier than `stages_until` says now.
    return learning_rate(options.learning_rate, options.warm_up, iteration - since, max(rest, 0.0))


def _save(checkpoint: Path, student: Student, optimizers: list[torch.optim.Optimizer], run: Progress) -> None:
    """Writes the checkpoint that `_resume` reads.

    Raises:
        TrainingError: The last examination gave a figure that is not finite. The checkpoint is not changed.
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
    """Reads the checkpoint into the student and the optimizers, and returns the run's progress.

    Returns a new progress if there is no checkpoint.

    Raises:
        TrainingError: The checkpoint is damaged or belongs to another network.
    """
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
    """Returns AdamW for most kinds of weights and Muon for the large matrices inside the network.

    AdamW trains the layers that read pixels or give answers, the depthwise convolutions, and all small
    weights.
    """
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
            adjust_lr_fn="match_rms_adamw",  # so that both can use the same learning rate
        ),
    ]


def examine(student: Student, exam: Batch) -> dict[str, float]:
    """Returns the student's losses on the views of held-out photos."""
    student.eval()
    with torch.inference_mode():
        losses = student.losses(exam)
    student.train()
    return {name: round(loss.item(), 4) for name, loss in losses.items()}


def _count(start: int) -> Iterator[int]:
    """Yields the numbers from `start` on, without end. It serves as a sampler."""
    while True:
        yield start
        start += 1


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_to(item, device) for item in value]
    if isinstance(value, dict):
        return {name: _to(item, device) for name, item in value.items()}
    return value.to(device)

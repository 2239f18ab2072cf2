"""Tests the starter network, the student's losses, and the training from the photos to the figures.

The file is long because all its tests share the same small student, teacher and photos.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.ops import MultiScaleRoIAlign

from network.architectures import STARTER_ANCHORS, STARTER_LABELS, scenes, starter
from tests.tiny_teacher import CLASSES, write_photos, write_teacher
from tools import evaluate
from training.common import MatrixRoIAlign, Muon, learning_rate, save_weights
from training.starter import bar, train
from training.starter import run as starter_run
from training.starter.photos import Photos, find_photos
from training.starter.student import LOSS_WEIGHTS, Student, total
from training.starter.teacher import BOX_WEIGHTS, Maps, Teacher, decode
from training.starter.views import Batch, View, together

CPU = torch.device("cpu")
SIDE = 64
SHORT = starter_run.Options(iterations=2, batch_size=2, side=SIDE, truth_photos=1, warm_up=1, workers=0)


@pytest.fixture(autouse=True)
def short_exam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter_run, "EXAM_VIEWS", 2)
    monkeypatch.setattr(starter_run, "EXAM_SIDE", SIDE)
    monkeypatch.setattr(starter_run, "TRUTH_SIDES", (SIDE,))


@pytest.fixture(scope="module")
def network_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the weights file of an untrained starter, in the format of the published file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("starter") / "starter.safetensors"
    save_weights(starter(), path)
    return path


def student() -> Student:
    torch.manual_seed(0)
    return Student(starter(), torch.float32, CPU)


# --- The network --------------------------------------------------------------------------------------------


def test_the_starter_knows_the_80_categories_and_gives_masks_of_24_px(network_file: Path) -> None:
    assert len(STARTER_LABELS) == 81 and STARTER_LABELS[0] == 0 and STARTER_LABELS[-1] == 90
    network = starter().eval()
    network.roi_heads.score_thresh = 0.0
    images, _ = network.transform([torch.rand(3, 200, 300)])
    features = network.backbone(images.tensors)
    assert features["0"].shape == (1, 128, 20, 30)  # 320 x 480, stride 16
    with torch.inference_mode():
        proposals, _ = network.rpn(images, features)
        (found,), _ = network.roi_heads(features, proposals, images.image_sizes)
    assert found["masks"].shape[1:] == (1, 24, 24) and len(found["boxes"]) > 0
    assert network_file.stat().st_size <= bar.BAR["megabytes"][1] * 1e6


def test_its_anchors_have_the_stated_shapes_about_the_middle_of_each_cell() -> None:
    (cell,) = starter().rpn.anchor_generator.cell_anchors
    assert (cell[:, 2:] - cell[:, :2]).tolist() == [list(shape) for shape in STARTER_ANCHORS]
    assert ((cell[:, 2:] + cell[:, :2]) / 2 == 8).all()
    assert starter().rpn.head.cls_logits.out_channels == 15


# --- What the training tools share --------------------------------------------------------------------------


def test_pooling_by_matrices_is_torchvisions_there_and_back() -> None:
    pooler = MultiScaleRoIAlign(["0"], output_size=5, sampling_ratio=2)
    generator = torch.Generator().manual_seed(0)
    map_ = torch.randn(2, 6, 9, 12, generator=generator)
    corners = torch.rand(8, 2, generator=generator) * 170 - 8  # some reach out of the map
    boxes = torch.cat((corners, corners + torch.rand(8, 2, generator=generator) * 90), dim=1)
    regions = [boxes[:5], boxes[5:]]
    outputs, gradients = [], []
    for pool in (pooler, MatrixRoIAlign(pooler)):
        features = map_.clone().requires_grad_()
        pooled = pool({"0": features}, regions, [(144, 192)] * 2)
        (pooled * torch.arange(pooled.numel()).view_as(pooled).sin()).sum().backward()
        outputs.append(pooled.detach())
        gradients.append(features.grad)
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(gradients[1], gradients[0])
    assert MatrixRoIAlign(pooler)({"0": map_}, [boxes[:0], boxes[:0]], [(144, 192)] * 2).shape == (0, 6, 5, 5)


def test_muon_changes_a_convolution_as_it_does_the_matrix_of_it() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last))
    flat = nn.Parameter(weight.detach().permute(0, 2, 3, 1).flatten(1).clone())
    ours, theirs = Muon([weight], lr=0.1), torch.optim.Muon([flat], lr=0.1)
    for _ in range(2):
        weight.grad = torch.randn(8, 4, 3, 3)
        flat.grad = weight.grad.permute(0, 2, 3, 1).flatten(1).clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(weight.detach().permute(0, 2, 3, 1).flatten(1), flat.detach())


def test_the_learning_rate_rises_and_falls() -> None:
    assert learning_rate(2.0, 10, 4, 0.0) == pytest.approx(1.0)
    assert learning_rate(2.0, 10, 50, 0.0) == pytest.approx(2.0)
    assert learning_rate(2.0, 10, 50, 0.5) == pytest.approx(1.01)
    assert learning_rate(2.0, 10, 50, 1.5) == pytest.approx(0.02)


# --- The student --------------------------------------------------------------------------------------------


def own_answers(pupil: Student) -> Batch:
    """Returns a batch whose answers are the student's own. The boxes are the boxes of the first class."""
    network, scale = pupil.network, pupil.scales["backbone"][-1]
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    regions = [torch.tensor([[2.0, 3.0, 40.0, 50.0], [10.0, 0.0, 30.0, 64.0]])] * 2
    sizes = [(SIDE, SIDE)] * 2
    with torch.no_grad():
        features = network.backbone(pupil._normalized(images))
        (logits,), (deltas,) = network.rpn.head([features["0"]])
        heads = network.roi_heads
        scores, moves = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, regions, sizes)))
        masks = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, regions, sizes)))
    return Batch(
        images,
        features["0"] * scale.std + scale.mean,
        logits.permute(0, 2, 3, 1).sigmoid(),
        deltas.unflatten(1, (15, 4)).permute(0, 3, 4, 1, 2),
        regions,
        scores.softmax(dim=1),
        decode(torch.cat(regions), moves[:, 4:8] / torch.tensor(BOX_WEIGHTS)),
        regions,
        masks[:, 1].sigmoid(),
    )


def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn() -> None:
    pupil = student().eval()
    pupil.scales["backbone"][-1].mean += 0.5
    pupil.scales["backbone"][-1].std *= 3
    batch = own_answers(pupil)
    losses = pupil.losses(batch)
    assert losses.keys() == LOSS_WEIGHTS.keys() - {"truth", "stages"}
    for name in ("features", "proposals", "classes"):
        assert losses[name].item() == pytest.approx(0, abs=1e-5)
    # The cross-entropy of soft targets is never 0. At its minimum the gradient is 0.
    gradients = torch.autograd.grad(losses["objectness"], pupil.network.rpn.head.cls_logits.parameters())
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-6
    other = pupil.losses(replace(batch, images=batch.images.flip(3)))
    assert other["features"] > 1e-5 and other["classes"] > 1e-8


def test_what_the_teacher_is_sure_of_counts_more_than_what_it_does_not_see() -> None:
    pupil = student().eval()
    batch = own_answers(pupil)
    certain = torch.zeros(4, CLASSES)
    certain[:, 0] = 1.0
    certain[0] = torch.eye(CLASSES)[7]
    losses = pupil.losses(replace(batch, classes=certain))
    expected = -torch.log(batch.classes)[torch.arange(4), torch.tensor([7, 0, 0, 0])]
    weights = torch.tensor([1.05, 0.05, 0.05, 0.05])
    mean = (weights * expected).sum() / weights.sum()
    assert losses["classes"].item() == pytest.approx(mean.item(), rel=1e-4)


def test_a_view_without_objects_has_no_loss_of_masks() -> None:
    pupil = student().eval()
    batch = own_answers(pupil)
    none = replace(batch, mask_boxes=[torch.zeros(0, 4)] * 2, masks=torch.zeros(0, 24, 24))
    losses = pupil.losses(none)
    assert "masks" not in losses and total(losses).isfinite()


def own_maps(pupil: Student, batch: Batch) -> Maps:
    """Returns the maps that a teacher with the student's own stages would compute."""
    heads, sizes = pupil.network.roi_heads, [(SIDE, SIDE)] * 2
    maps: Maps = {}

    def through(part: str, inputs: torch.Tensor) -> torch.Tensor:
        maps[part] = []
        for stage, scale in zip(pupil.stages[part], pupil.scales[part], strict=True):
            inputs = stage(inputs)
            maps[part].append(inputs * scale.std + scale.mean)
        return inputs

    with torch.no_grad():
        level = {"0": through("backbone", pupil._normalized(batch.images))}
        through("rpn", level["0"])
        through("box", heads.box_roi_pool(level, batch.regions, sizes))
        through("mask", heads.mask_roi_pool(level, batch.mask_boxes, sizes))
    return maps


def test_stages_by_themselves_are_compared_with_the_teachers() -> None:
    pupil = student().eval()
    for scale in pupil.scales["backbone"]:
        scale.mean += 0.1
        scale.std *= 1.1
    batch = own_answers(pupil)
    maps = own_maps(pupil, batch)
    losses = pupil.losses(batch, maps)
    assert losses.keys() == LOSS_WEIGHTS.keys() - {"truth", "features"}
    assert losses["stages"].item() == pytest.approx(0, abs=1e-6)
    assert losses["classes"].item() == pytest.approx(0, abs=1e-5)
    # If one map changes, only the stage before the map and the stage after the map get a gradient.
    maps["backbone"][3] = maps["backbone"][3] + 1.0
    losses = pupil.losses(batch, maps)
    gradients = torch.autograd.grad(losses["stages"], list(pupil.stages["backbone"].parameters()))
    changed = {
        int(name.split(".")[0])
        for (name, _), gradient in zip(pupil.stages["backbone"].named_parameters(), gradients, strict=True)
        if gradient.abs().max() > 1e-4
    }
    assert changed == {3, 4}


def test_a_stage_that_gives_nothing_has_all_there_is_to_learn_before_it() -> None:
    pupil = student().eval()
    for stages in pupil.stages.values():
        for stage in stages:
            last = [*stage.children()][-1] if isinstance(stage, nn.Sequential) else stage.project
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    batch = own_answers(pupil)
    losses = pupil.losses(batch, own_maps(student().eval(), batch))
    assert losses["stages"].item() == pytest.approx(sum(map(len, pupil.stages.values())), rel=1e-3)


def test_maps_are_compared_channel_by_channel_at_the_same_scale(tmp_path: Path) -> None:
    pupil = student()
    teacher = Teacher(write_teacher(tmp_path / "teacher.safetensors"))
    photos = find_photos(**arguments(tmp_path), seed=0)
    (anchors,) = pupil.network.rpn.anchor_generator.cell_anchors
    batch = together(
        list(itertools.islice(starter_run.lessons(photos.learnt, teacher, anchors, SHORT, 0), 4)), CPU
    )
    maps = teacher.stages(batch.images, batch.regions, batch.mask_boxes)
    pupil.standardize(maps)
    scales = pupil.scales["backbone"]
    final = (maps["backbone"][11] - scales[9].mean) / scales[9].std
    torch.testing.assert_close(scales[11](maps["backbone"][11]), final)
    # A stage that adds to its input keeps the scale of its input.
    assert scales[2] is scales[4] and scales[1] is not scales[2]
    assert pupil.scales["rpn"][2] is pupil.scales["mask"][2] is scales[11]
    for part, number in (("backbone", 0), ("backbone", 9), ("box", 0), ("mask", 3)):
        scaled = pupil.scales[part][number](maps[part][number])
        channels = scaled.shape[1]
        torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(channels), atol=1e-3, rtol=0)
        torch.testing.assert_close(scaled.std(dim=(0, 2, 3)), torch.ones(channels), atol=1e-3, rtol=0)


# --- Training -----------------------------------------------------------------------------------------------


def arguments(folder: Path) -> dict[str, Path]:
    """Writes photos, and returns the arguments of `find_photos` for them."""
    known = write_photos(folder)
    return {"folder": known["images"], "annotations": known["annotations"], "unlabelled": known["unlabelled"]}


def known_photos(folder: Path) -> Photos:
    return find_photos(**arguments(folder), seed=0)


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    return Teacher(write_teacher(tmp_path / "teacher.safetensors"))


def test_the_losses_fall_and_the_true_objects_are_learnt_from_at_the_end(
    tmp_path: Path, teacher: Teacher, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = known_photos(tmp_path)
    checkpoint = tmp_path / "deep" / "run.pt"
    options = replace(SHORT, iterations=6, stages_until=0.3, truth_from=0.6, learning_rate=1e-3)
    trained = starter_run.train(photos, teacher, options, checkpoint)
    assert not trained.training
    shown = [line for line in capsys.readouterr().err.split("\r") if "done=" in line]
    assert "truth=" in shown[-1] and not any("truth=" in line for line in shown if "done=50.0%" in line)
    state = torch.load(checkpoint, weights_only=True)
    run = state["run"]
    (last,) = run["history"]
    assert run["iteration"] == last["iteration"] == 6
    assert "stages=" in shown[0] and "features=" not in shown[0]
    assert run["since"] == 2 and "features=" in next(line for line in shown if "done=33.3%" in line)
    assert "stages=" not in shown[-1]
    (anchors,) = trained.network.rpn.anchor_generator.cell_anchors
    views = starter_run.lessons(photos.held_out, teacher, anchors, SHORT, 0)
    exam = together([next(views), next(views)], CPU)
    untrained = student()
    untrained.load_state_dict(trained.state_dict() | untrained.network.state_dict(prefix="network."))
    before = starter_run.examine(untrained, exam)
    assert untrained.training
    for name in ("features", "objectness", "classes"):
        assert last[name] < before[name]


def test_a_run_goes_on_where_it_was_with_views_that_it_has_not_seen(
    tmp_path: Path, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, checkpoint = known_photos(tmp_path), tmp_path / "run.pt"
    firsts = []
    lessons = starter_run.lessons

    def noted(*arguments: Any) -> Iterator[View]:
        firsts.append(arguments[-1])
        return lessons(*arguments)

    monkeypatch.setattr(starter_run, "lessons", noted)
    monkeypatch.setattr(starter_run, "SAVE_SECONDS", 0.0)
    options = replace(SHORT, precision=torch.bfloat16)
    half = starter_run.train(photos, teacher, options, checkpoint)
    before = torch.load(checkpoint, weights_only=True)["run"]
    whole = starter_run.train(photos, teacher, replace(options, iterations=3), checkpoint)
    after = torch.load(checkpoint, weights_only=True)["run"]
    assert firsts[1::2] == [0, 2_000_000]  # every second call; the other calls are for the examination
    assert [record["iteration"] for record in after["history"]] == [1, 2, 3]
    assert after["history"][:2] == before["history"] and after["seconds"] > before["seconds"]
    for ours, theirs in zip(whole.scales["box"], half.scales["box"], strict=True):
        torch.testing.assert_close(ours.mean, theirs.mean)
    weights = [run.network.backbone.stages[1].project.weight for run in (half, whole)]
    assert 0 < (weights[1] - weights[0]).abs().max() < 0.01
    assert not list(tmp_path.glob("*.part"))


def test_the_learning_rate_falls_once_for_the_stages_and_once_for_the_whole() -> None:
    options = starter_run.Options(stages_until=0.2, stages_rate=1.0, learning_rate=0.1, warm_up=10)
    alone = [starter_run._rate(options, None, 10, done) for done in (0.0, 0.1, 0.2)]
    whole = [starter_run._rate(options, 50, 60, done) for done in (0.2, 0.6, 1.0)]
    assert alone == pytest.approx([1.0, 0.505, 0.01], rel=0.02)
    assert whole == pytest.approx([0.1, 0.0505, 0.001], rel=0.02)
    assert starter_run._rate(options, 50, 50, 0.2) == pytest.approx(0.01)  # the second part warms up again


@pytest.mark.parametrize(("until", "since"), [(0.4, 1), (1.5, None)])
def test_a_run_that_is_prolonged_goes_on_in_the_part_that_it_was_in(
    until: float, since: int | None, tmp_path: Path, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, checkpoint = known_photos(tmp_path), tmp_path / "run.pt"
    alone, made = [], []
    losses, make_optimizers = Student.losses, starter_run.make_optimizers

    def noted(pupil: Student, batch: Batch, maps: Maps | None = None) -> dict[str, torch.Tensor]:
        if pupil.training:
            alone.append(maps is not None)
        return losses(pupil, batch, maps)

    def counted(*arguments: Any) -> list[torch.optim.Optimizer]:
        made.append(arguments)
        return make_optimizers(*arguments)

    monkeypatch.setattr(Student, "losses", noted)
    monkeypatch.setattr(starter_run, "make_optimizers", counted)
    starter_run.train(photos, teacher, replace(SHORT, stages_until=until), checkpoint)
    assert alone == [True, since is None] and len(made) == (1 if since is None else 2)
    longer = replace(SHORT, iterations=4, stages_until=1.5)
    starter_run.train(photos, teacher, longer, checkpoint)
    assert alone[2:] == [since is None] * 2 and len(made) == (2 if since is None else 3)
    assert torch.load(checkpoint, weights_only=True)["run"]["since"] == since


def test_a_teacher_that_sees_nothing_is_refused(tmp_path: Path) -> None:
    blind = Teacher(write_teacher(tmp_path / "blind.safetensors", sure=False))
    with pytest.raises(starter_run.TrainingError, match="sees no object in any of the first views"):
        starter_run.train(known_photos(tmp_path), blind, SHORT, tmp_path / "run.pt")


def test_stages_compute_in_the_precision_asked_for_and_answer_in_float32() -> None:
    pupil = Student(starter(), torch.bfloat16, CPU).eval()
    stage = pupil.network.backbone.stages[3]
    inside = []
    stage.expand.register_forward_hook(lambda *_: inside.append(_[2].dtype))
    assert stage(torch.rand(1, 48, 8, 8)).dtype == torch.float32 and inside == [torch.bfloat16]


def test_a_run_can_draw_on_its_device_and_begin_with_weights_of_another_run(
    tmp_path: Path, teacher: Teacher, network_file: Path
) -> None:
    checkpoint = tmp_path / "run.pt"
    options = replace(
        SHORT,
        on_device=True,
        begin_with=network_file,
        truth_from=math.inf,
        stages_rate=1e-12,
        learning_rate=1e-12,
    )
    trained = starter_run.train(known_photos(tmp_path), teacher, options, checkpoint)
    history = torch.load(checkpoint, weights_only=True)["run"]["history"]
    assert history[-1]["views_per_second"] > 0
    before = load_file(network_file)["rpn.head.cls_logits.weight"].float()
    torch.testing.assert_close(trained.network.rpn.head.cls_logits.weight.detach(), before, atol=1e-4, rtol=0)


def test_a_run_that_is_over_is_not_begun_again(tmp_path: Path, teacher: Teacher) -> None:
    photos, checkpoint = known_photos(tmp_path), tmp_path / "run.pt"
    first = starter_run.train(photos, teacher, replace(SHORT, iterations=1), checkpoint)
    second = starter_run.train(photos, teacher, replace(SHORT, iterations=1), checkpoint)
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_time_that_is_given_ends_a_run(tmp_path: Path, teacher: Teacher) -> None:
    checkpoint = tmp_path / "run.pt"
    starter_run.train(
        known_photos(tmp_path), teacher, replace(SHORT, iterations=99, minutes=1e-9), checkpoint
    )
    assert torch.load(checkpoint, weights_only=True)["run"]["iteration"] < 3


def test_a_checkpoint_of_something_else_is_named_and_stays(tmp_path: Path, teacher: Teacher) -> None:
    photos = known_photos(tmp_path)
    text, other = tmp_path / "text.pt", tmp_path / "other.pt"
    text.write_text("no checkpoint")
    torch.save({"student": {}, "optimizers": [], "iteration": 1}, other)
    for checkpoint in (text, other):
        content = checkpoint.read_bytes()
        with pytest.raises(
            starter_run.TrainingError, match=f"{checkpoint.name} is damaged or of another network"
        ):
            starter_run.train(photos, teacher, SHORT, checkpoint)
        assert checkpoint.read_bytes() == content


def test_a_teacher_with_other_anchors_is_refused(tmp_path: Path, teacher: Teacher) -> None:
    for anchors in (teacher.anchors.flip(0), teacher.anchors[:14]):
        teacher.anchors = anchors
        with pytest.raises(
            starter_run.TrainingError, match=r"anchors are not those of networks.STARTER_ANCHORS"
        ):
            starter_run.train(known_photos(tmp_path), teacher, SHORT, tmp_path / "run.pt")


def test_losses_that_are_not_finite_end_the_run_before_the_checkpoint(
    tmp_path: Path, teacher: Teacher
) -> None:
    checkpoint = tmp_path / "run.pt"
    starter_run.train(known_photos(tmp_path), teacher, replace(SHORT, iterations=1), checkpoint)
    kept = checkpoint.read_bytes()
    teacher.weights["kind.b"] = torch.full((CLASSES,), math.nan)
    for until, message in (
        (0.15, r"no longer finite at step 2.*smaller --learning-rate"),
        (1.5, r"no longer finite at step 2.*smaller --stages-rate"),
    ):
        with pytest.raises(starter_run.TrainingError, match=message):
            options = replace(SHORT, stages_until=until)
            starter_run.train(known_photos(tmp_path), teacher, options, checkpoint)
        assert checkpoint.read_bytes() == kept


def some_lessons(photos: Photos, teacher: Teacher, workers: int = 0) -> list[View]:
    (anchors,) = starter().rpn.anchor_generator.cell_anchors
    options = replace(SHORT, workers=workers)
    return list(itertools.islice(starter_run.lessons(photos.learnt, teacher, anchors, options, 7), 3))


@pytest.mark.slow
def test_views_come_from_workers_as_from_this_process(tmp_path: Path, teacher: Teacher) -> None:
    photos = known_photos(tmp_path)
    cv2.setNumThreads(2)  # OpenCV has threads in this process now: a fork would wait for them forever
    cv2.warpAffine(np.zeros((2000, 2000), np.uint8), np.eye(2, 3), (2000, 2000))
    for ours, theirs in zip(
        some_lessons(photos, teacher), some_lessons(photos, teacher, workers=1), strict=True
    ):
        for field in fields(View):
            np.testing.assert_array_equal(getattr(ours, field.name), getattr(theirs, field.name))


# --- The commands -------------------------------------------------------------------------------------------


def run(command: str, capsys: pytest.CaptureFixture[str], *options: str | Path) -> dict[str, Any]:
    """Runs a command and returns the JSON object in the last line of its output."""
    train.main([command, "--threads", "1", *map(str, options)])
    figures: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return figures


def test_one_command_goes_from_photos_to_figures(
    tmp_path: Path, teacher: Teacher, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = arguments(tmp_path)
    monkeypatch.setattr(evaluate, "BUILD", tmp_path / "build")
    out = tmp_path / "out" / "starter.safetensors"
    common = ["--images", known["folder"], "--val-annotations", known["annotations"]]
    trained = run(
        "train", capsys, "--teacher", tmp_path / "teacher.safetensors", "--annotations", known["annotations"],
        "--unlabelled", known["unlabelled"], "--iterations", "1", "--batch-size", "1", "--workers", "0",
        "--device", "cpu", "--precision", "float32", "--checkpoint", tmp_path / "run.pt", "--out", out,
        *common,
    )  # fmt: skip
    assert trained["model"] == "starter" and trained["images"] == 4
    assert {value.dtype for value in load_file(out).values()} == {torch.float16}
    names = [shortfall.partition(":")[0] for shortfall in trained["shortfalls"]]
    assert names[:2] == ["box AP", "mask AP"] and "megabytes" not in names
    assert "expected at least 0.1" in trained["shortfalls"][0]
    again = run("evaluate", capsys, "--weights", out, *common)
    assert again["sha256"] == trained["sha256"] and again["box"] == trained["box"]


def test_a_network_that_reaches_the_bar_has_no_shortfalls(
    tmp_path: Path, network_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"box": {"AP": 0.10}, "mask": {"AP": 0.08}, "seconds_per_image": 0.6}
    monkeypatch.setattr(bar, "measure", lambda *_: figures)
    assert bar.evaluate(network_file, tmp_path, tmp_path)["shortfalls"] == []
    monkeypatch.setattr(bar, "measure", lambda *_: figures | {"seconds_per_image": 0.7})
    (shortfall,) = bar.evaluate(network_file, tmp_path, tmp_path)["shortfalls"]
    assert shortfall == "seconds per image: 0.7, expected at most 0.6"


def test_what_cannot_be_begun_is_refused_in_one_sentence(tmp_path: Path, teacher: Teacher) -> None:
    known = arguments(tmp_path)
    other = tmp_path / "scenes.safetensors"
    save_weights(scenes(), other)
    common = ["--images", known["folder"], "--val-annotations", known["annotations"]]
    training = ["train", *common, "--unlabelled", known["unlabelled"], "--annotations"]
    good = tmp_path / "teacher.safetensors"
    for command, message in (
        (["evaluate", *common, "--weights", tmp_path / "none"], "There is no weights file none"),
        (
            ["evaluate", *common, "--weights", other],
            "scenes.safetensors does not hold the weights of starter",
        ),
        ([*training, known["annotations"], "--teacher", other], "The teacher .* cannot be used"),
        ([*training, tmp_path / "none", "--teacher", good], "annotations .*none cannot be read"),
    ):
        with pytest.raises(SystemExit, match=message):
            train.main(list(map(str, command)))
    with pytest.raises(SystemExit):
        train.main(["train", "--batch-size", "0"])

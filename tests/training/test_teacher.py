"""Tests the teacher's answers, and the views of photos that the teacher labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import clip_boxes_to_image

from network.architectures import STARTER_ANCHORS, STARTER_LABELS, starter
from tests.tiny_teacher import CHANNELS, CLASSES, write_teacher
from training.starter import views
from training.starter.teacher import STAGES, STRIDE, Teacher, TeacherError, decode, encode
from training.starter.views import Pictures, View, draw_view, label, together

STANDIN = Path(__file__).resolve().parents[3] / "shared" / "standin"
SIDE = 64


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return Teacher(write_teacher(tmp_path_factory.mktemp("teacher") / "teacher.safetensors"))


@pytest.fixture(scope="module")
def anchors() -> torch.Tensor:
    (cell,) = starter().rpn.anchor_generator.cell_anchors
    assert isinstance(cell, torch.Tensor)
    return cell


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Returns four photos. Each photo has one colour, and the four colours differ."""
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (90, 60), (40 + 60 * number, 20, 20)).save(paths[-1])
    return paths


def images(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(3)).byte()


def some_boxes(count: int, seed: int) -> torch.Tensor:
    corner, size = torch.rand(2, count, 2, generator=torch.Generator().manual_seed(seed)) * 100 + 2
    return torch.cat((corner, corner + size), dim=1)


# --- The teacher --------------------------------------------------------------------------------------------


def test_boxes_are_moved_as_torchvision_moves_them_and_back() -> None:
    boxes, targets = some_boxes(20, 1), some_boxes(20, 2)
    deltas = encode(boxes, targets)
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    torch.testing.assert_close(deltas, coder.encode_single(targets, boxes))
    torch.testing.assert_close(decode(boxes, deltas), targets)
    torch.testing.assert_close(decode(boxes, deltas), coder.decode_single(deltas, boxes))


def test_a_delta_without_bounds_gives_a_box_within_bounds() -> None:
    grown = decode(torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([[0.0, 0.0, 500.0, 500.0]]))
    assert grown[0, 2] - grown[0, 0] == pytest.approx(1000, rel=1e-3)


def test_the_answers_have_the_stated_shapes(teacher: Teacher) -> None:
    features = teacher.features(images().float() / 255)
    assert features.shape == (2, CHANNELS, 4, 4)
    logits, boxes = teacher.propose(features)
    assert logits.shape == (2, 4, 4, 15) and boxes.shape == (2, 4, 4, 15, 4)
    regions = [some_boxes(3, 1), some_boxes(5, 2)]
    scores, moved = teacher.classify(features, regions)
    assert scores.shape == (8, CLASSES) and moved.shape == (8, CLASSES, 4)
    assert teacher.segment(features, regions).shape == (8, CLASSES, 24, 24)


def test_the_features_are_of_blue_green_red_up_to_255(teacher: Teacher) -> None:
    pictures = images().float() / 255
    expected = torch.nn.functional.conv2d(
        pictures.flip(1) * 255, teacher.weights["see.w"], teacher.weights["see.b"], STRIDE
    )
    torch.testing.assert_close(teacher.features(pictures), expected)


def test_where_nothing_is_moved_proposals_are_the_anchors_in_their_cells(teacher: Teacher) -> None:
    still = Teacher.__new__(Teacher)
    still.__dict__ |= teacher.__dict__
    still.weights = teacher.weights | {
        "move.w": torch.zeros(60, CHANNELS, 1, 1),
        "move.b": torch.zeros(60),
    }
    _, boxes = still.propose(torch.zeros(1, CHANNELS, 3, 5))
    middle = (boxes[0, ..., :2] + boxes[0, ..., 2:]) / 2
    assert middle[2, 4, 0].tolist() == [4 * STRIDE + 8, 2 * STRIDE + 8]
    sizes = (boxes[0, 1, 1, :, 2:] - boxes[0, 1, 1, :, :2]).tolist()
    np.testing.assert_allclose(sizes, STARTER_ANCHORS, atol=1e-4)


def test_what_is_no_teacher_is_refused_in_one_sentence(tmp_path: Path) -> None:
    text, bare = tmp_path / "text.safetensors", tmp_path / "bare.safetensors"
    text.write_text("no tensors")
    save_file({"anchor": torch.zeros(15, 4)}, bare)
    for path in (tmp_path / "none.safetensors", text, bare):
        with pytest.raises(TeacherError, match=r"cannot be used .*; expected a safetensors file"):
            Teacher(path)
    other = write_teacher(tmp_path / "other.safetensors")
    other.write_bytes(other.read_bytes().replace(b"xif2_1_int8", b"xif9_9_int8"))
    with pytest.raises(TeacherError, match="has no xif2_1_int8; expected all of"):
        Teacher(other)


def test_what_it_computes_on_the_way_ends_in_its_answers(teacher: Teacher) -> None:
    pictures, regions = images().float() / 255, [some_boxes(3, 1), some_boxes(5, 2)]
    maps = teacher.stages(pictures, regions, regions)
    assert {part: len(of_part) for part, of_part in maps.items()} == {
        part: len(names) for part, names in STAGES.items()
    }
    weights, features = teacher.weights, teacher.features(pictures)
    torch.testing.assert_close(maps["backbone"][-1], features)
    logits = torch.nn.functional.conv2d(maps["rpn"][-1], weights["where.w"], weights["where.b"])
    torch.testing.assert_close(logits.permute(0, 2, 3, 1), teacher.propose(features)[0])
    scores = maps["box"][-1].mean(dim=(2, 3)) @ weights["kind.w"].T + weights["kind.b"]
    torch.testing.assert_close(scores, teacher.classify(features, regions)[0])
    grown = torch.nn.functional.conv_transpose2d(maps["mask"][-1], weights["grow.w"], stride=2)
    masks = torch.nn.functional.conv_transpose2d(grown + grown.relu(), weights["mask.w"], stride=2)
    torch.testing.assert_close(masks, teacher.segment(features, regions))


def test_a_lower_precision_changes_the_answers_by_its_rounding(tmp_path: Path, teacher: Teacher) -> None:
    write_teacher(tmp_path / "teacher.safetensors")
    lower = Teacher(tmp_path / "teacher.safetensors", precision=torch.bfloat16)
    pictures = images().float() / 255
    features = lower.features(pictures)
    assert features.dtype == torch.float32 and not torch.equal(features, teacher.features(pictures))
    torch.testing.assert_close(features, teacher.features(pictures), atol=0.02, rtol=0.02)
    (logits, boxes), (exact, exact_boxes) = lower.propose(features), teacher.propose(features)
    torch.testing.assert_close(logits, exact, atol=0.1, rtol=0.02)
    torch.testing.assert_close(boxes, exact_boxes, atol=8, rtol=0.05)


@pytest.mark.skipif(not STANDIN.is_dir(), reason="the stand-in is not at hand")
def test_the_answers_are_those_of_the_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(STANDIN), *sys.path])
    import standin  # type: ignore[import-not-found]

    model, teacher = standin.load(), Teacher(STANDIN / "standin.safetensors")
    shapes = (teacher.anchors[:, 2:] - teacher.anchors[:, :2]).round()
    assert shapes.int().tolist() == [list(shape) for shape in STARTER_ANCHORS]
    photo = np.asarray(Image.open(next((STANDIN.parent / "photos").glob("*.jpg"))).resize((320, 320)))
    pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        (found,) = model([pixels[0]])
    features = teacher.features(pixels)
    logits, proposed = teacher.propose(features)
    order = logits.flatten().topk(3000).indices
    proposals = clip_boxes_to_image(proposed.view(-1, 4)[order], (320, 320))
    scores, boxes = teacher.classify(features, [proposals[:200]])
    probabilities = scores.softmax(dim=1)[:, 1:]
    best = int(found["scores"].argmax())
    region, kind = divmod(int(probabilities.flatten().argmax()), CLASSES - 1)
    assert STARTER_LABELS[kind + 1] == found["labels"][best]
    torch.testing.assert_close(probabilities.max(), found["scores"][best], atol=0.05, rtol=0)
    clipped = clip_boxes_to_image(boxes[region, kind + 1], (320, 320))
    torch.testing.assert_close(clipped, found["boxes"][best], atol=8, rtol=0)


# --- Views --------------------------------------------------------------------------------------------------


def test_a_view_is_of_the_side_asked_for_and_the_same_for_the_same_number(photos: list[Path]) -> None:
    pictures = Pictures(photos, SIDE, seed=1, first=5)
    later = Pictures(photos, SIDE, seed=1, first=7)
    assert pictures[2].shape == (3, SIDE, SIDE) and pictures[2].dtype == np.uint8
    np.testing.assert_array_equal(pictures[2], later[0])
    many = [pictures[i] for i in range(20)]
    assert len({view.tobytes() for view in many}) > 5


@pytest.mark.parametrize(("mosaics", "most"), [(0.0, 1), (1.0, 4)])
def test_a_view_shows_one_photo_or_four(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch, mosaics: float, most: int
) -> None:
    monkeypatch.setattr(views, "MOSAICS", mosaics)
    monkeypatch.setattr(views, "TINT", 0.0)
    drawn = [draw_view(photos, np.random.default_rng(seed), SIDE) for seed in range(30)]
    colours = [len(np.unique(view.reshape(-1, 3), axis=0)) for view in drawn]
    assert max(colours) == most


def test_a_crop_keeps_what_it_shows_in_place_or_mirrors_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "MOSAICS", 0.0)
    monkeypatch.setattr(views, "TURNED", 0.0)
    monkeypatch.setattr(views, "TINT", 0.0)
    ramp = np.broadcast_to(np.arange(240, dtype=np.uint8)[None, :, None], (60, 240, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "ramp.png")
    rising = []
    for seed in range(12):
        view = draw_view([tmp_path / "ramp.png"], np.random.default_rng(seed), SIDE).astype(int)
        steps = np.diff(view[:, :, 0], axis=1)
        assert (steps >= 0).all() or (steps <= 0).all()
        assert np.abs(view - view[:1]).max() <= 1  # rounding
        rising.append(bool(steps.sum() > 0))
    assert set(rising) == {True, False}


def test_crops_are_turned_and_in_other_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = np.zeros((90, 90, 3), np.uint8)
    halves[:, 45:] = 120
    Image.fromarray(halves).save(tmp_path / "halves.png")
    monkeypatch.setattr(views, "MOSAICS", 0.0)
    monkeypatch.setattr(views, "SMALLEST_CROP", 0.9)

    def drawn(turned: float, tint: float) -> list[np.ndarray[Any, Any]]:
        monkeypatch.setattr(views, "TURNED", turned)
        monkeypatch.setattr(views, "TINT", tint)
        return [draw_view([tmp_path / "halves.png"], np.random.default_rng(i), SIDE) for i in range(6)]

    for straight, turned in zip(drawn(0.0, 0.0), drawn(1.0, 0.0), strict=True):
        assert set(np.unique(straight[10:-10].std(axis=0).round())) == {0}  # every row is the same
        edges = np.abs(np.diff(turned.astype(int)[:, :, 0], axis=1)).argmax(axis=1)
        assert len(set(edges[10:-10].tolist())) > 1
    for plain, tinted in zip(drawn(0.0, 0.0), drawn(0.0, 0.5), strict=True):
        assert plain.max() == 120 and tinted.max() != 120 and tinted.min() == 0


def lesson(teacher: Teacher, anchors: torch.Tensor, count: int = 2) -> list[View]:
    return label(teacher, images(count), anchors, torch.Generator().manual_seed(0))


def test_a_lesson_holds_the_teachers_answers(teacher: Teacher, anchors: torch.Tensor) -> None:
    first, second = lesson(teacher, anchors)
    features = teacher.features(images().float() / 255)
    np.testing.assert_allclose(second.features, features[1].numpy(), atol=1e-2)
    logits, proposed = teacher.propose(features)
    np.testing.assert_allclose(first.objectness, logits[0].sigmoid().numpy(), atol=1e-3)
    grid = torch.tensor([2 * STRIDE, 3 * STRIDE] * 2) + anchors
    decoded = decode(grid, torch.from_numpy(first.deltas[3, 2]).float())
    torch.testing.assert_close(decoded, proposed[0, 3, 2], atol=1.0, rtol=0.01)
    most = views.BEST_PROPOSALS + views.OTHER_PROPOSALS + views.MOVED_PROPOSALS
    for view in (first, second):
        regions = torch.from_numpy(view.regions)
        assert 10 < len(regions) <= most
        assert (regions >= 0).all() and (regions <= SIDE).all()
        assert ((regions[:, 2:] - regions[:, :2]) >= 2).all()
        np.testing.assert_allclose(view.classes.astype(np.float32).sum(axis=1), 1, atol=2e-3)
        assert view.boxes.shape == view.regions.shape
        assert 1 <= len(view.masks) == len(view.mask_boxes) <= views.MASKS
        assert view.masks.shape[1:] == (24, 24)
        assert view.masks.min() >= 0 and view.masks.max() <= 1


def test_the_box_of_a_region_is_that_of_its_likeliest_object(teacher: Teacher, anchors: torch.Tensor) -> None:
    (view,) = lesson(teacher, anchors, count=1)
    features = teacher.features(images(1).float() / 255)
    _, boxes = teacher.classify(features, [torch.from_numpy(view.regions)])
    kinds = view.classes[:, 1:].argmax(axis=1) + 1
    expected = clip_boxes_to_image(boxes[torch.arange(len(kinds)), torch.from_numpy(kinds)], (SIDE, SIDE))
    np.testing.assert_allclose(view.boxes, expected.numpy(), atol=1e-3)


def test_where_the_teacher_sees_nothing_there_are_no_masks(tmp_path: Path, anchors: torch.Tensor) -> None:
    blind = Teacher(write_teacher(tmp_path / "blind.safetensors", sure=False))
    (view,) = lesson(blind, anchors, count=1)
    assert view.masks.shape == (0, 24, 24) and view.mask_boxes.shape == (0, 4)
    batch = together([view], torch.device("cpu"))
    assert batch.masks.shape == (0, 24, 24)


def test_a_batch_keeps_the_order_of_its_views(teacher: Teacher, anchors: torch.Tensor) -> None:
    first, second = lesson(teacher, anchors)
    batch = together([second, first], torch.device("cpu"))
    assert batch.images.dtype == torch.float32 and 0 <= batch.images.min() < batch.images.max() <= 1
    np.testing.assert_allclose(batch.images[1].numpy(), first.image / 255, atol=1e-6)
    np.testing.assert_array_equal(batch.regions[0].numpy(), second.regions)
    np.testing.assert_array_equal(batch.boxes[: len(second.boxes)].numpy(), second.boxes)
    assert len(batch.classes) == len(first.regions) + len(second.regions)
    assert len(batch.masks) == sum(len(boxes) for boxes in batch.mask_boxes)

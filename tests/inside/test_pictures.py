"""Tests of the pictures and sentences of each step."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from inference import SegmentationModel, look_inside, segment
from inside import steps as pictures
from inside.boxes import iou
from inside.look import STEPS, WAYS, Look, bars, can_show, draw
from inside.words import ABOUT, object_name, sentence
from inside.words import WAYS as NAMES_OF_WAYS
from network.inside import Inside
from photo.images import read_image
from tests.samples import fake_model
from tests.truth import SCENE

LOOKS = [Look(step, way) for step in STEPS for way in WAYS.get(step, ("",))]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_image(SCENE)


@pytest.fixture(scope="module")
def steps(photo: np.ndarray, scenes_model: SegmentationModel) -> Inside:
    return look_inside(scenes_model, photo)


@pytest.mark.parametrize("object", [None, 0, 5])
@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look.step} {look.way}")
def test_every_picture_has_the_size_of_the_photo_and_a_sentence(
    look: Look, object: int | None, photo: np.ndarray, steps: Inside
) -> None:
    before = photo.copy()
    look = replace(look, object=object)
    drawn = draw(photo, steps, look)
    assert drawn.shape == photo.shape and drawn.dtype == np.uint8
    assert np.array_equal(photo, before)
    assert np.array_equal(drawn, photo) == (
        (look.step == "seen" and object is None) or not can_show(steps, look)
    )
    assert sentence(photo, steps, look).endswith(".")


@pytest.mark.parametrize("size", [(10, 300), (300, 10), (1, 30), (40, 40)])
def test_pictures_of_any_shape_can_be_looked_at(
    size: tuple[int, int], scenes_model: SegmentationModel
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    steps = look_inside(scenes_model, photo)
    points = [None, (0.0, 0.0), (size[1] - 0.1, size[0] - 0.1)]
    objects = [None] if not len(steps.scores) else [None, 0]
    for look, point, object in product(LOOKS, points, objects):
        chosen = replace(look, point=point, object=object, level=99)
        assert draw(photo, steps, chosen).shape == photo.shape
        assert sentence(photo, steps, chosen)


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look.step} {look.way}")
def test_what_another_network_cannot_show_is_said(look: Look) -> None:
    photo = np.zeros((50, 80, 3), np.uint8)
    steps = look_inside(fake_model([(0.1, 0.2, 0.5, 0.6)], [18], [0.9]), photo)
    assert draw(photo, steps, replace(look, object=0)).shape == photo.shape
    assert sentence(photo, steps, replace(look, object=0)).endswith(".")
    assert can_show(steps, replace(look, object=0)) == (
        look.step in ("seen", "features", "mask") or look.way == "best"
    )


def test_the_object_has_as_many_pixels_as_its_mask_where_the_network_sees_it(
    photo: np.ndarray, steps: Inside, scenes_model: SegmentationModel
) -> None:
    found = segment(scenes_model, photo).resized(*steps.seen_hw)
    for object in range(5):
        assert pictures.seen_pixels(steps, object) == pytest.approx(found.area(object), abs=2)


def test_a_place_is_most_like_itself(photo: np.ndarray, steps: Inside) -> None:
    point = (100.0, 60.0)
    drawn = pictures.alike(photo, steps, 0, point)
    assert not np.array_equal(drawn, pictures.alike(photo, steps, 0, (300.0, 200.0)))
    row, column = pictures.cell_at(photo, steps, 0, point)
    height, width = pictures.map_size(steps.levels[0])
    assert row == int(60 / photo.shape[0] * height) and column == int(100 / photo.shape[1] * width)


@pytest.mark.parametrize("count", [0, 1, 20, 1000])
def test_as_many_proposals_are_drawn_as_were_asked_for(count: int, photo: np.ndarray, steps: Inside) -> None:
    changed = pictures.best(photo, steps, count) != pictures.best(photo, steps, 0)
    assert changed.any() == (count > 0)
    words = sentence(photo, steps, Look("proposals", "best", count=count))
    assert f"the {min(count, len(steps.proposals))} best of {len(steps.proposals)}" in words


def test_the_bars_are_the_likeliest_kinds_and_the_background(steps: Inside) -> None:
    assert steps.names is not None
    proposal = pictures.proposal_of(steps, 0)
    assert proposal is not None
    told = bars(steps, proposal)
    scores = [score for _, score in told]
    assert len(told) == 6 and told[-1][0] == "background"
    assert scores[:5] == sorted(scores[:5], reverse=True)
    assert scores[-1] == pytest.approx(steps.names.scores[proposal, 0])
    assert told[0][1] == pytest.approx(steps.scores[0])
    assert object_name(steps, 0).startswith(f"1: {told[0][0]}, ")


def test_the_journey_of_a_box_ends_at_the_object(steps: Inside) -> None:
    for object in range(len(steps.scores)):
        proposal = pictures.proposal_of(steps, object)
        assert proposal is not None
        answer, own, _ = pictures.journey(steps, proposal, int(steps.labels[object]))
        np.testing.assert_allclose(answer, steps.boxes[object], atol=1e-3)
        np.testing.assert_array_equal(own, steps.proposals[proposal])


def test_a_click_chooses_the_smallest_proposal_around_it(photo: np.ndarray, steps: Inside) -> None:
    box = steps.on_picture(steps.proposals[3])
    x, y = (box[:2] + box[2:]) / 2
    proposal = pictures.proposal_at(photo, steps, (float(x), float(y)))
    assert proposal is not None
    x1, y1, x2, y2 = steps.on_picture(steps.proposals[proposal])
    assert x1 <= x < x2 and y1 <= y < y2 and (x2 - x1) * (y2 - y1) <= np.prod(box[2:] - box[:2])
    assert pictures.proposal_at(photo, steps, (-5.0, -5.0)) is None


def test_the_networks_own_threshold_keeps_what_the_network_kept(steps: Inside) -> None:
    assert steps.pairs is not None
    np.testing.assert_array_equal(pictures.kept_at(steps.pairs, steps.pairs.threshold), steps.pairs.kept)
    fewer, more = pictures.kept_at(steps.pairs, 0.1), pictures.kept_at(steps.pairs, 0.9)
    assert len(fewer) < len(steps.pairs.kept) < len(more)


def test_what_an_object_removed_overlaps_it(steps: Inside) -> None:
    assert steps.pairs is not None
    for object in range(len(steps.scores)):
        rows, ious = pictures.removed_for(steps, object)
        np.testing.assert_allclose(iou(steps.pairs.boxes[rows], steps.boxes[object]), ious, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_the_cut_mask_is_the_mask_of_the_answer(
    threshold: float, photo: np.ndarray, steps: Inside, scenes_model: SegmentationModel
) -> None:
    mask = segment(scenes_model, photo).mask(1, threshold=threshold)
    drawn = pictures.mask_cut(photo, steps, 1, threshold)
    np.testing.assert_array_equal(drawn[mask], photo[mask])
    area = sentence(photo, steps, Look("mask", "cut", object=1, mask_threshold=threshold))
    assert area.startswith(f"{int(mask.sum()):,} pixels")


def test_every_step_and_way_has_words() -> None:
    assert tuple(ABOUT) == STEPS
    assert set(NAMES_OF_WAYS) == {way for ways in WAYS.values() for way in ways}
    for about in ABOUT.values():
        assert all(about) and "section" in about.more

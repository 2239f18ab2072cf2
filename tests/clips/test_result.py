"""Tests of `clips.result`, `clips.report` and `clips.between`: everything that follows from a result."""

from __future__ import annotations

import numpy as np
import pytest

from answer.settings import Filters
from clips.between import LOST_LOOKS, Between
from clips.report import counts_over_time, most_at_once, track_rows, track_table
from clips.result import ClipView, packed
from tests.clips.samples import look, result
from tests.samples import CAR, PERSON, random_detections

HERE, THERE = (10.0, 10.0, 20.0, 30.0), (40.0, 10.0, 50.0, 30.0)


def test_a_look_gives_back_what_was_found() -> None:
    found = random_detections(0, 7, (48, 64))
    track_ids = np.array([3, 0, 1, 0, 9, 2, 5])
    back = packed(4, 0.4, found, track_ids).detections
    assert np.array_equal(back.boxes, found.boxes) and np.array_equal(back.scores, found.scores)
    assert back.ids.tolist() == [3, -2, 1, -4, 9, 2, 5]
    assert np.abs(back.mask_probs - found.mask_probs).max() <= 1 / 510 + 1e-6
    assert np.array_equal(back.mask_probs > 0.5, found.mask_probs > 0.5)


def test_an_empty_look_has_no_instances() -> None:
    nothing = look(0, {})
    assert len(nothing) == len(nothing.detections) == 0
    assert len(Between(ClipView(result([nothing]))).at(0.0)) == 0
    assert len(Between(ClipView(result([]))).at(0.0)) == 0


def test_the_looks_stand_for_the_time_until_the_next_one() -> None:
    assert result([look(k, {}) for k in (0, 2, 8)]).durations == pytest.approx([0.2, 0.6, 0.4])
    assert result([look(0, {})]).durations == pytest.approx([0.1])
    assert len(result([]).durations) == 0


def test_filters_choose_by_score_kind_and_track_without_the_network() -> None:
    clip = result([look(0, {1: HERE, 2: THERE, 0: HERE}, scores={1: 0.9, 2: 0.6, 0: 0.3}, kinds={2: CAR})])

    def shown(filters: Filters) -> list[int]:
        view = ClipView(clip, filters)
        assert np.array_equal(view.shown(0).ids, clip.looks[0].ids[view.kept[0]])
        return view.shown(0).ids.tolist()

    assert shown(Filters(0.5)) == [1, 2]
    assert shown(Filters(0.1)) == [1, 2, -3]
    assert shown(Filters(0.5, classes=("car",))) == [2]
    assert shown(Filters(0.5, hidden=(1,))) == [2]


def test_counts_over_time_have_a_column_for_each_kind() -> None:
    looks = [look(0, {1: HERE}), look(1, {1: HERE, 2: THERE, 3: THERE}, kinds={2: CAR}), look(2, {})]
    view = ClipView(result(looks))
    counts = counts_over_time(view)
    assert {name: column.tolist() for name, column in counts.items()} == {
        "person": [1, 2, 0],
        "car": [0, 1, 0],
    }
    assert list(counts) == ["person", "car"] and most_at_once(view) == {"person": 2, "car": 1}
    assert counts_over_time(ClipView(result([]))) == {}


def test_the_table_of_tracks_says_when_each_was_seen() -> None:
    scores = [0.6, 0.95, 0.7]
    looks = [
        look(k, {7: HERE, 0: THERE}, scores={7: score}) for k, score in zip((0, 2, 3), scores, strict=True)
    ]
    looks.append(look(4, {8: HERE}, kinds={8: CAR}))
    first, second = track_table(ClipView(result(looks)))
    assert (first.id, first.name, first.class_id, first.first, first.last, first.best) == (
        7,
        "person",
        PERSON,
        0,
        2,
        1,
    )
    assert first.in_view_seconds == pytest.approx(0.4) and first.best_score == pytest.approx(0.95)
    assert (second.id, second.name, second.first_seconds) == (8, "car", 0.4)
    assert track_rows(ClipView(result(looks)))[1] == [8, "car", 0.4, 0.4, 0.1, 0.9, 0.4]
    assert track_table(ClipView(result(looks), Filters(hidden=(7, 8)))) == ()


@pytest.mark.parametrize("lost, is_there", [(1, True), (LOST_LOOKS, True), (LOST_LOOKS + 1, False)])
def test_a_track_that_is_lost_for_a_few_looks_is_interpolated(lost: int, is_there: bool) -> None:
    looks = [look(0, {1: HERE}), *(look(k, {}) for k in range(1, lost + 1)), look(lost + 1, {1: THERE})]
    found = Between(ClipView(result(looks))).at(0.1)
    assert len(found) == is_there
    if is_there:
        share = 1 / (lost + 1)
        assert found.boxes[0] == pytest.approx([10 + 30 * share, 10, 20 + 30 * share, 30])
        assert found.ids.tolist() == [1] and found.mask_probs.min() == 1


def test_a_faint_instance_of_the_same_track_fills_the_gap_as_the_model_saw_it() -> None:
    middle = (12.0, 11.0, 22.0, 31.0)
    looks = [look(0, {1: HERE}), look(1, {1: middle}, scores={1: 0.2}), look(2, {1: THERE})]
    found = Between(ClipView(result(looks))).at(0.1)
    assert found.boxes[0].tolist() == list(middle) and found.scores[0] == pytest.approx(0.2)
    assert ClipView(result(looks)).shown(1).ids.tolist() == []


def test_between_two_looks_tracks_move_and_others_stay() -> None:
    looks = [look(0, {1: HERE, 2: HERE, 0: HERE}), look(2, {1: THERE, 3: THERE, 0: THERE})]
    found = Between(ClipView(result(looks, stride=2))).at(0.1)
    boxes = dict(zip(found.ids.tolist(), found.boxes[:, 0].tolist(), strict=True))
    assert boxes.pop(1) == pytest.approx(25) and boxes.pop(2) == 10 and boxes.pop(3) == 40
    assert sorted(boxes.values()) == [10, 40] and all(id < 0 for id in boxes)


def test_what_hides_objects_also_covers_where_they_were_and_will_be() -> None:
    looks = [look(0, {1: HERE, 0: HERE}), look(2, {1: THERE})]
    between = Between(ClipView(result(looks, stride=2)))
    found = between.at(0.1, widely=True)
    lefts = sorted(found.boxes[:, 0].tolist())
    assert lefts == pytest.approx([10, 10, 10, 25, 40]) and found.ids.tolist().count(1) == 1
    assert between.at(0.0, widely=True).ids.tolist() == between.at(0.0).ids.tolist() == [1, -2]


def test_a_hidden_track_is_never_interpolated() -> None:
    looks = [look(0, {1: HERE}), look(1, {}), look(2, {1: THERE})]
    assert len(Between(ClipView(result(looks), Filters(hidden=(1,)))).at(0.1)) == 0


def test_after_the_last_look_its_instances_stay() -> None:
    assert Between(ClipView(result([look(0, {1: HERE})]))).at(9.0).ids.tolist() == [1]

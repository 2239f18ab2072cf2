"""Tests the tracker on boxes made by hand, and on a drawn clip with the `scenes` model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.tracking import follow, metrics
from detections import Detections
from inference import SegmentationModel
from tests.samples import CAR, PERSON, make_detections
from tracks import MOST_TRACKS, Options, Tracks, step

SIZE = (400, 600)


def frame(*boxes: tuple[float, float], **options: object) -> Detections:
    """Persons of 60 x 100 px with these left upper corners. All are certain."""
    options = {"scores": [0.95] * len(boxes), **options}
    return make_detections([(x, y, x + 60, y + 100) for x, y in boxes], SIZE, **options)  # type: ignore[arg-type]


def run(*frames: tuple[float, Detections], options: Options | None = None) -> list[list[int]]:
    """The track ids in each frame, (time stamp, detections)."""
    tracks, found = Tracks(), []
    for seconds, detections in frames:
        tracks, ids = step(tracks, detections, seconds, options or Options())
        found.append(ids.tolist())
    return found


def test_an_object_that_moves_keeps_its_number_and_others_get_others() -> None:
    moving = [(k / 10, frame((10 + 20 * k, 50), (500, 50 + 5 * k))) for k in range(10)]
    assert run(*moving) == [[1, 2]] * 10


def test_numbers_follow_the_objects_and_not_the_order_of_the_detections() -> None:
    assert run((0, frame((10, 50), (300, 50))), (0.1, frame((305, 50), (15, 50)))) == [[1, 2], [2, 1]]


def test_two_objects_that_pass_each_other_keep_their_numbers() -> None:
    passing = [(k / 10, frame((20 * k, 50), (500 - 20 * k, 70))) for k in range(25)]
    assert run(*passing) == [[1, 2]] * 25


def test_frames_may_be_spaced_unevenly() -> None:
    times = np.cumsum([0.03, 0.1, 0.04, 0.2, 0.033, 0.3, 0.05, 0.15])
    assert run(*((t, frame((10 + 300 * t, 50))) for t in times.tolist())) == [[1]] * 8


def test_only_differences_of_time_stamps_matter() -> None:
    far = 1.7e9
    moving = [(far + k / 8, frame((10 + 20 * k, 50))) for k in range(8)]
    assert run(*moving) == [[1]] * 8


def test_an_object_that_was_hidden_for_a_second_is_known_again_where_it_should_be_then() -> None:
    moving = [(k / 10, frame((10 + 20 * k, 50)) if k < 8 or k > 17 else frame()) for k in range(24)]
    assert run(*moving) == [[1]] * 8 + [[]] * 10 + [[1]] * 6


def test_an_object_that_stopped_while_it_was_hidden_is_known_again() -> None:
    before = [(k / 10, frame((10 + 30 * k, 50))) for k in range(8)]
    hidden = [(0.8 + k / 10, frame()) for k in range(8)]
    assert run(*before, *hidden, (1.6, frame((225, 50))))[-1] == [1]


def test_who_comes_back_late_gets_a_new_number() -> None:
    there = [(0, frame((10, 50))), (0.1, frame((10, 50)))]
    back = frame((10, 50))
    assert run(*there, (2.0, frame()), (2.05, back))[-1] == [1]
    assert run(*there, (2.1, frame()), (2.2, back))[-1] == [2]


def test_a_faint_detection_continues_a_track_and_begins_none() -> None:
    faint = frame((12, 50), (400, 50), scores=[0.2, 0.2])
    assert run((0, frame((10, 50))), (0.1, faint)) == [[1], [1, 0]]
    assert run((0, frame((10, 50))), (0.1, frame((12, 50), scores=[0.09]))) == [[1], [0]]


def test_a_certain_detection_comes_before_a_faint_one() -> None:
    both = frame((60, 50), (12, 50), scores=[0.9, 0.3])
    assert run((0, frame((30, 50))), (0.1, both))[1] == [1, 0]


def test_the_options_say_what_is_certain_enough_to_begin_a_track() -> None:
    doubtful = (0, frame((10, 50), scores=[0.5]))
    assert run(doubtful) == [[0]]
    assert run(doubtful, options=Options(begins=0.5)) == [[1]]


def test_what_flashed_up_in_one_frame_is_forgotten() -> None:
    still = (300, 200)
    frames = [
        (0, frame(still)),
        (0.1, frame(still, (10, 10))),
        (0.2, frame(still)),
        (0.3, frame(still, (10, 10))),
    ]
    assert run(*frames) == [[1], [1, 2], [1], [1, 3]]


def test_objects_of_different_kinds_never_share_a_number() -> None:
    person, car = (frame((10, 50), class_ids=[kind]) for kind in (PERSON, CAR))
    assert run((0, person), (0.1, car), (0.2, person)) == [[1], [2], [1]]


def test_pictures_of_another_size_begin_new_tracks() -> None:
    turned = make_detections([(10, 50, 70, 150)], (SIZE[1], SIZE[0]), scores=[0.9])
    assert run((0, frame((10, 50))), (0.1, turned)) == [[1], [2]]


def test_frames_without_objects_are_fine() -> None:
    assert run((0, frame()), (0.1, frame()), (0.2, frame((10, 50))), (0.3, frame())) == [[], [], [1], []]


def test_a_step_changes_nothing_that_it_was_given() -> None:
    before, _ = step(Tracks(), frame((10, 50), (300, 50)), 0)
    first, ids = step(before, frame((15, 50), (310, 60)), 0.1)
    again, ids_again = step(before, frame((15, 50), (310, 60)), 0.1)
    assert ids.tolist() == ids_again.tolist()
    np.testing.assert_array_equal(first.boxes, again.boxes)
    np.testing.assert_array_equal(before.boxes[:, 0], [40, 330])


def test_the_filter_learns_the_velocity() -> None:
    tracks = Tracks()
    for k in range(30):
        tracks, _ = step(tracks, frame((3 * k, 50)), k / 30)
    assert tracks.velocities[0] == pytest.approx([3, 0, 0, 0], abs=0.2)  # px per frame of 1/30 s
    assert tracks.boxes[0] == pytest.approx([3 * 29 + 30, 100, 60, 100], abs=1)


def test_a_clock_that_goes_back_is_refused() -> None:
    tracks, _ = step(Tracks(), frame((10, 50)), 5)
    for seconds in (4.9, float("nan")):
        with pytest.raises(ValueError, match=r"seconds: expected a number from 5\.0 on, got"):
            step(tracks, frame(), seconds)


def test_there_are_never_more_tracks_than_the_limit() -> None:
    options = Options(lost_seconds=1e9)
    tracks = Tracks()
    grid = [(x, y, x + 8, y + 8) for x in range(0, 600, 20) for y in range(0, 400, 20)]
    crowd = make_detections(grid, SIZE, scores=[0.9] * len(grid))
    assert len(crowd) > MOST_TRACKS
    tracks, ids = step(tracks, crowd, 0, options)
    assert len(tracks) == MOST_TRACKS and len(set(ids.tolist())) == len(crowd)
    tracks, ids = step(tracks, replace(crowd, class_ids=crowd.class_ids + 1), 1, options)
    assert len(tracks) == MOST_TRACKS and ids.min() > len(crowd)


def test_objects_that_cross_keep_their_numbers_in_a_drawn_clip(scenes_model: SegmentationModel) -> None:
    frames, _, _ = follow(scenes_model, 1, np.arange(0.2, 3.4, 0.2).tolist())
    result = metrics([frames])
    assert result["idf1"] >= 0.9, result

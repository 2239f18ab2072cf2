"""Tests of `clips.look`: which frames are looked at, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from clips.look import LEAST_RATE, plan, segment_clip
from detections import Detections
from photo.clips import ClipFacts
from photo.video import Frame
from tests.samples import make_detections


def facts(seconds: float | None = 60.0, rate: float = 30.0) -> ClipFacts:
    return ClipFacts((48, 64), (48, 64), rate, seconds, False, "MP4")


@pytest.mark.parametrize(
    "seconds, rate, each, stride, words",
    [
        (10.0, 10.0, 0.1, 1, "every frame, about 10 s"),
        (60.0, 30.0, 0.1, 3, "every 3rd frame, about 60 s"),
        (60.0, 30.0, 0.06, 2, "every 2nd frame, about 54 s"),
        (60.0, 60.0, 0.3, 15, "every 15th frame, about 72 s"),
        (60.0, 30.0, 4.0, 7, "every 7th frame, about 17 min"),
        (1.0, 2.0, 30.0, 1, "every frame, about 60 s"),
        (0.01, 30.0, 0.001, 1, "every frame, about 1 s"),
    ],
)
def test_a_plan_takes_as_many_frames_as_time_allows(
    seconds: float, rate: float, each: float, stride: int, words: str
) -> None:
    chosen = plan(facts(seconds, rate), each)
    assert (chosen.stride, chosen.words) == (stride, words)
    assert chosen.rate >= min(rate, LEAST_RATE) and chosen.seconds == pytest.approx(chosen.frames * each)


def test_a_stride_that_is_asked_for_is_taken() -> None:
    assert plan(facts(), 0.1, stride=21).words == "every 21st frame, about 9 s"


def test_a_clip_of_unknown_length_has_a_plan() -> None:
    assert plan(facts(None), 0.1).stride == 1


def frames(count: int) -> list[Frame]:
    return [Frame(2 * k, k / 5, np.full((24, 32, 3), k, np.uint8)) for k in range(count)]


def find(images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
    """Finds one box that moves right by a pixel from frame to frame. A frame's grey is its number."""
    xs = [float(image[0, 0, 0]) for image in images]
    return [make_detections([[x, 4, x + 8, 12]], size=(24, 32), scores=[0.9]) for x in xs]


def test_an_object_keeps_its_track_and_its_place_in_the_clips_own_pixels() -> None:
    groups = [frames(6)[:4], frames(6)[4:]]
    steps = list(segment_clip(groups, find, (48, 64)))
    assert [len(step) for step in steps] == [4, 2]
    looks = [look for step in steps for look in step]
    assert [look.ids.tolist() for look in looks] == [[1]] * 6
    assert [look.number for look in looks] == [0, 2, 4, 6, 8, 10]
    assert looks[3].boxes.tolist() == [[6, 8, 22, 24]] and looks[3].image_size == (48, 64)


def test_results_come_while_later_frames_are_not_read_yet() -> None:
    read = []

    def groups():  # type: ignore[no-untyped-def]
        for frame in frames(3):
            read.append(frame.number)
            yield [frame]

    steps = segment_clip(groups(), find, (48, 64))
    next(steps)
    assert read == [0]

"""Tests of `serving.clips`: a model looks at a clip's file step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clips.files import EXPORTS, export_clip
from clips.result import ClipResult, ClipView
from detections import Detections
from inference import DEVICE_FAILED
from photo.errors import ImageError
from serving import clips
from serving.clips import ClipResults, plan_clip_file, segment_clip_file
from serving.estimates import clip_bytes
from tests.samples import PERSON, fake_model
from tests.small_clips import moving_frames, write_clip

MODEL = fake_model([[0.1, 0.2, 0.4, 0.8]], [PERSON], [0.9])


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "a.avi")


def test_results_grow_step_by_step(clip: Path) -> None:
    steps = list(segment_clip_file(clip, MODEL, 0.1))
    assert [step.done for step in steps] == [*range(1, 13), 12]
    assert [len(step.new) for step in steps] == [1] * 12 + [0]
    assert [len(step.result.looks) for step in steps] == [*range(1, 13), 12]
    assert [step.result.is_whole for step in steps] == [False] * 12 + [True]
    last = steps[-1]
    assert last.frames == 12 and last.seconds_left == 0 and last.frames_per_second > 0
    assert last.words.startswith("12 of 12 frames, ")
    assert last.result.looks[5].boxes[0] == pytest.approx([6.4, 9.6, 25.6, 38.4], abs=0.01)
    assert {int(look.ids[0]) for look in last.result.looks} == {1}


def test_the_notes_of_a_model_belong_to_its_clips_as_well(clip: Path) -> None:
    model = replace(MODEL, notes=("The kinds have no names.",))
    assert {step.result.notes for step in segment_clip_file(clip, model, 0.1)} == {model.notes}


def test_a_plan_comes_before_the_work(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, notes = plan_clip_file(clip, 0.1)
    assert chosen.words == "every frame, about 1 s" and notes == ()
    assert plan_clip_file(clip, 30.0)[0].words == "every 2nd frame, about 3 min"


def test_a_clip_that_is_stopped_keeps_what_is_done(clip: Path) -> None:
    steps = segment_clip_file(clip, MODEL, 0.1)
    some = [next(steps) for _ in range(4)][-1]
    steps.close()
    assert len(some.result.looks) == 4 and not some.result.is_whole
    assert len(ClipView(some.result).shown(3)) == 1


def test_a_clip_that_takes_too_long_ends_with_a_note(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "MOST_SECONDS", 0.0)
    last = list(segment_clip_file(clip, MODEL, 0.1))[-1]
    assert len(last.result.looks) == 1
    assert last.result.notes == ("After 0 minutes the rest of the clip was left out.",)


def test_if_the_device_fails_the_spare_goes_on(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []

    def find(
        model: Any, images: Sequence[NDArray[np.uint8]], load_spare: Any, detail: str, run_spare: Any
    ) -> tuple[list[Detections], Any, str | None]:
        used.append(model)
        found = [Detections(*empty(), image.shape[:2]) for image in images]
        return found, spare, DEVICE_FAILED if model is MODEL else None

    spare = fake_model()
    monkeypatch.setattr(clips, "segment_many_or_fall_back", find)
    last = list(segment_clip_file(clip, MODEL, 0.1))[-1]
    assert used[0] is MODEL and all(model is spare for model in used[1:])
    assert last.result.model is spare and last.result.notes == (DEVICE_FAILED,)


def empty() -> tuple[Any, ...]:
    none = np.zeros(0, np.int64)
    scores, boxes, masks = (np.zeros(shape, np.float32) for shape in (0, (0, 4), (0, 28, 28)))
    return boxes, scores, none, masks, none


def test_a_damaged_clip_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    with pytest.raises(ImageError):
        next(segment_clip_file(tmp_path / "a.mp4", MODEL, 0.1))


@pytest.mark.parametrize("format", EXPORTS)
def test_no_file_is_larger_than_its_estimate(format: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), np.uint8)
    path = write_clip(tmp_path / "a.avi", [*noise, *moving_frames(4)])
    view = ClipView(list(segment_clip_file(path, MODEL, 0.1))[-1].result)
    assert export_clip(view, format, tmp_path).stat().st_size <= clip_bytes(view, format)


def whole(path: Path) -> ClipResult:
    return list(segment_clip_file(path, MODEL, 0.1))[-1].result


def test_a_result_is_found_again_by_the_clips_content(clip: Path, tmp_path: Path) -> None:
    kept, other = ClipResults(), tmp_path / "b.mp4"
    kept.keep(whole(clip), MODEL, "full", 0)
    clip.rename(other)
    found = kept.find(other, MODEL, "full", 0)
    assert found is not None and found.path == other and found.cached and len(found.looks) == 12
    assert kept.find(other, MODEL, "full", 2) is None
    assert kept.find(write_clip(tmp_path / "c.gif"), MODEL, "full", 0) is None


def test_only_a_few_results_are_kept_and_none_for_ever(clip: Path, tmp_path: Path) -> None:
    kept = ClipResults(most=2)
    result = whole(clip)
    for stride in range(3):
        kept.keep(result, MODEL, "full", stride)
    assert [kept.find(clip, MODEL, "full", stride) is None for stride in range(3)] == [True, False, False]
    kept.seconds = 0.0
    kept.forget()
    assert kept.find(clip, MODEL, "full", 2) is None


def test_half_a_result_and_that_of_a_spare_are_not_kept(clip: Path) -> None:
    kept = ClipResults()
    kept.keep(replace(whole(clip), is_whole=False), MODEL, "full", 0)
    kept.keep(replace(whole(clip), model=fake_model()), MODEL, "full", 0)
    assert kept.find(clip, MODEL, "full", 0) is None

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from answer.progress import ignore_stage
from answer.result import Result
from photo.errors import ImageError
from serving import results
from serving.results import Results
from serving.scheduler import Abandoned, Job
from tests.samples import fake_model, make_detections

MODEL = fake_model()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return saved(tmp_path / "mine" / "Granny.png", b"a photo")


def saved(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


class Work:
    """Finds one instance, and counts how often."""

    def __init__(self, path: Path, note: str | None = None) -> None:
        self.path, self.note, self.runs = path, note, 0

    def __call__(self) -> Result:
        self.runs += 1
        pixels = np.zeros((60, 80, 3), np.uint8)
        notes = ("about the photo", *filter(None, [self.note]))
        timings_ms = {"read": 1.0, "model": 1000.0}
        detections = make_detections([[0, 0, 9, 9]])
        return Result(self.path, pixels, detections, MODEL, timings_ms, "PNG", notes, self.note)


def get(kept: Results, path: Path, work: Callable[[], Result], **options: Any) -> Result:
    return kept.get(path, options.pop("model", MODEL), options.pop("on_stage", ignore_stage), work, **options)


def test_the_same_photo_is_looked_at_once(photo: Path) -> None:
    kept, work = Results(), Work(photo)
    first, second = get(kept, photo, work), get(kept, photo, work)
    assert work.runs == 1
    assert not first.cached and second.cached
    assert second.detections is first.detections and second.working_image is first.working_image
    assert second.timings_ms["model"] == 0 and 0 < second.timings_ms["read"] < 1000


def test_nobody_gets_the_path_of_another_visitors_file(photo: Path) -> None:
    kept, theirs = Results(), saved(photo.parents[1] / "theirs" / "secret.png", b"a photo")
    get(kept, theirs, Work(theirs))
    mine = get(kept, photo, Work(photo))
    assert mine.cached and mine.path == photo
    assert "secret" not in repr(kept._kept)


def test_nobody_can_change_what_others_get(photo: Path) -> None:
    kept = Results()
    result = get(kept, photo, Work(photo))
    with pytest.raises(ValueError, match="read-only"):
        result.working_image[:] = 1


@pytest.mark.parametrize(
    "other",
    [{"name": "other"}, {"sha256": "1" * 64}, {"precision": "bfloat16"}],
    ids=lambda other: next(iter(other)),
)
def test_another_model_or_precision_looks_for_itself(other: dict[str, str], photo: Path) -> None:
    kept, work = Results(), Work(photo)
    get(kept, photo, work)
    assert not get(kept, photo, work, model=replace(MODEL, **other)).cached


def test_another_detail_is_looked_at_for_itself(photo: Path) -> None:
    network: Any = SimpleNamespace(transform=SimpleNamespace(min_size=(800,)))
    model, kept, work = replace(MODEL, network=network), Results(), Work(photo)
    get(kept, photo, work, model=model)
    assert not get(kept, photo, work, model=model, detail="fast").cached
    assert get(kept, photo, work, model=model, detail="fast").cached
    get(kept, photo, work)
    assert get(kept, photo, work, detail="fast").cached  # by a model with one detail


def test_other_bytes_and_other_code_are_looked_at_for_themselves(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, work = Results(), Work(photo)
    get(kept, photo, work)
    assert not get(kept, saved(photo.with_name("other.png"), b"another photo"), work).cached
    assert len(results.code_version()) == 64
    monkeypatch.setattr(results, "code_version", lambda: "newer")
    assert not get(kept, photo, work).cached


def test_a_note_about_one_run_is_not_kept(photo: Path) -> None:
    kept, work = Results(), Work(photo, "The graphics processor failed.")
    assert get(kept, photo, work).notes == ("about the photo", "The graphics processor failed.")
    assert get(kept, photo, work).notes == ("about the photo",)


def test_an_error_is_not_kept(photo: Path) -> None:
    def fail() -> Result:
        raise ImageError("damaged")

    kept = Results()
    with pytest.raises(ImageError):
        get(kept, photo, fail)
    assert not get(kept, photo, Work(photo)).cached


def test_a_file_that_is_gone_is_left_to_the_work(photo: Path) -> None:
    photo.unlink()
    assert not get(Results(), photo, Work(photo)).cached


def test_a_result_goes_an_hour_after_its_last_use(photo: Path) -> None:
    now = [0.0]
    kept, work = Results(seconds=3600, clock=lambda: now[0]), Work(photo)
    get(kept, photo, work)
    now[0] = 3000.0
    assert get(kept, photo, work).cached
    now[0] = 6000.0
    kept.forget()
    assert get(kept, photo, work).cached
    now[0] = 9600.0
    kept.forget()
    assert not kept._kept
    assert not get(kept, photo, work).cached


def test_the_least_used_result_gives_way_and_the_owners_pictures_stay(tmp_path: Path) -> None:
    now = [0.0]
    kept = Results(most=2, clock=lambda: now[0])
    files = [saved(tmp_path / str(i), bytes([i])) for i in range(4)]
    works = [Work(file) for file in files]
    get(kept, files[0], works[0], lasting=True)
    get(kept, files[1], works[1])
    get(kept, files[2], works[2])
    get(kept, files[1], works[1])
    get(kept, files[3], works[3])
    now[0] = 3500.0
    assert [get(kept, file, work).cached for file, work in zip(files[:2], works, strict=False)] == [True] * 2
    assert not get(kept, files[2], works[2]).cached
    now[0] = 10_000.0
    kept.forget()
    assert get(kept, files[0], works[0]).cached and len(kept._kept) == 1


class Slow(Work):
    """Work that begins, and goes on when it is told to."""

    def __init__(self, path: Path, job: Job) -> None:
        super().__init__(path)
        self.job, self.begun, self.go = job, threading.Event(), threading.Event()

    def __call__(self) -> Result:
        self.begun.set()
        assert self.go.wait(10)
        self.job.stage(0.3, "Looking")
        return super().__call__()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


class Watched(Job):
    """A job that tells when it waits."""

    def __init__(self) -> None:
        self.waiting = threading.Event()
        super().__init__(lambda share, words: self.waiting.set())


def test_two_equal_requests_at_once_run_the_network_once(photo: Path, pool: ThreadPoolExecutor) -> None:
    kept, slow, follower = Results(), Slow(photo, Job()), Watched()
    first = pool.submit(get, kept, photo, slow)
    assert slow.begun.wait(10)
    second = pool.submit(get, kept, photo, Work(photo), on_stage=follower.stage)
    assert follower.waiting.wait(10)
    slow.go.set()
    assert not first.result(10).cached and second.result(10).cached


@pytest.mark.parametrize("stopped", ["first", "second"])
def test_a_visitor_who_stops_does_not_stop_the_other_one(
    stopped: str, photo: Path, pool: ThreadPoolExecutor
) -> None:
    kept, leader, follower = Results(), Job(), Watched()
    slow, work = Slow(photo, leader), Work(photo)
    first = pool.submit(get, kept, photo, slow, on_stage=leader.stage)
    assert slow.begun.wait(10)
    second = pool.submit(get, kept, photo, work, on_stage=follower.stage)
    assert follower.waiting.wait(10)
    if stopped == "second":
        follower.abandon()
        with pytest.raises(Abandoned):
            second.result(10)
        slow.go.set()
        assert not first.result(10).cached
    else:
        leader.abandon()
        slow.go.set()
        with pytest.raises(Abandoned):
            first.result(10)
        assert not second.result(10).cached and work.runs == 1

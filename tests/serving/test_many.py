"""The work on many photos: a turn for each, what is wrong said of each, and limits for all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.utils import get_upload_folder
from PIL import Image

from inference import SegmentationModel
from photo.errors import ImageError
from serving import service
from serving.many import ManyProgress, Sent, light, seconds_left, with_pixels, words_of
from serving.models import Models
from serving.scheduler import Scheduler, TookTooLong
from serving.service import Service, new_folder
from tests.calls import FILE_DATA
from tests.loops import in_a_loop
from tests.samples import DOG, fake_model, make_detections, make_result, random_image
from tests.serving.test_scheduler import until

MODEL = fake_model([[0.1, 0.1, 0.5, 0.5]], [DOG], [0.9])


@pytest.fixture
def alone() -> Service:
    return Service(Models(lambda: (MODEL, None)))


@pytest.fixture
def photos() -> list[Path]:
    """Three uploads."""
    folder = new_folder()
    paths = []
    for k in range(3):
        paths.append(folder / f"{k}.png")
        Image.fromarray(random_image(k, 30, 40)).save(paths[-1])
    return paths


def sent(paths: list[Path]) -> list[Sent]:
    return [Sent(path.stem, path) for path in paths]


def looked_at(alone: Service, photos: list[Sent], model: SegmentationModel = MODEL) -> list[ManyProgress]:
    async def test() -> list[ManyProgress]:
        async with alone.request("many") as request:
            return [step async for step in request.segment_many(photos, model)]

    return in_a_loop(test())


def given(alone: Service, images: object) -> tuple[list[Sent], tuple[str, ...]]:
    async def test() -> tuple[list[Sent], tuple[str, ...]]:
        async with alone.request("photos") as request:
            return await request.photos(images)

    return in_a_loop(test())


def upload(path: Path) -> dict[str, Any]:
    return {"path": str(path), "meta": FILE_DATA}


def test_each_photo_has_its_answer_and_progress_comes_with_it(alone: Service, photos: list[Path]) -> None:
    steps = looked_at(alone, sent(photos))
    assert [(step.place, step.done, step.count) for step in steps] == [(0, 1, 3), (1, 2, 3), (2, 3, 3)]
    for step, path in zip(steps, photos, strict=True):
        assert step.result is not None and step.result.path == path and not step.fault
        assert len(step.result.detections) == 1
    assert steps[-1].seconds_left == 0 and steps[0].seconds_left > 0
    assert steps[0].words.startswith("1 of 3 photos")


def test_another_visitors_photo_waits_for_one_photo_and_not_for_all(
    alone: Service, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    may_go_on = threading.Event()
    segment = service.segment_file

    def slow(path: Path, *rest: Any) -> Any:
        may_go_on.wait(10)
        order.append(path.stem)
        return segment(path, *rest)

    monkeypatch.setattr(service, "segment_file", slow)

    async def many() -> None:
        async with alone.request("many") as request:
            async for _ in request.segment_many(sent(photos), MODEL):
                pass

    async def look() -> None:
        async with alone.request("segment") as request:
            await request.run(lambda job: order.append("photo"))

    async def test() -> None:
        alone.scheduler = Scheduler(slots=1)
        first = asyncio.create_task(many())
        await until(lambda: alone.scheduler._running == 1)
        other = asyncio.create_task(look())
        await until(lambda: len(alone.scheduler._line) == 1)
        may_go_on.set()
        await asyncio.gather(first, other)

    in_a_loop(test())
    assert order.index("photo") <= 2 and order[-1] == "2"


def test_what_is_wrong_with_one_photo_is_said_of_it_and_the_others_go_on(
    alone: Service, photos: list[Path]
) -> None:
    photos[1].write_bytes(photos[1].read_bytes()[:60])
    listed = [*sent(photos), Sent("nothing", None, "There is none."), Sent("gone", photos[0].with_name("x"))]
    steps = looked_at(alone, listed)
    assert [bool(step.result) for step in steps] == [True, False, True, False, False]
    assert "damaged" in steps[1].fault and steps[3].fault == "There is none."
    assert steps[4].fault == "The picture could not be opened. Please send it again."


@pytest.mark.parametrize("error", [RuntimeError("secret"), MemoryError(), TookTooLong("It took too long.")])
def test_a_fault_in_one_photo_is_a_sentence_and_a_line_in_the_log(
    alone: Service,
    photos: list[Path],
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "requests")
    segment = service.segment_file

    def failing(path: Path, *rest: Any) -> Any:
        if path == photos[1]:
            raise error
        return segment(path, *rest)

    monkeypatch.setattr(service, "segment_file", failing)
    steps = looked_at(alone, sent(photos))
    assert [bool(step.result) for step in steps] == [True, False, True]
    assert steps[1].fault and "secret" not in steps[1].fault
    (line,) = [json.loads(record.getMessage()) for record in caplog.records if record.name == "requests"]
    assert line["outcome"] == "ok" and line["photos"] == 3
    assert line["error"].startswith(type(error).__name__)


def test_a_work_that_is_given_up_does_not_stop_the_next_photo(
    alone: Service, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    segment, may_end = service.segment_file, threading.Event()

    def slow(path: Path, *rest: Any) -> Any:
        if path == photos[0]:
            may_end.wait(10)
        return segment(path, *rest)

    monkeypatch.setattr(service, "segment_file", slow)
    alone.scheduler = Scheduler(slots=2, run_seconds=0.3)
    try:
        steps = looked_at(alone, sent(photos[:2]))
    finally:
        may_end.set()
    assert "was given up" in steps[0].fault and steps[1].result is not None


def test_pixels_are_limited_in_total(
    alone: Service, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_MANY_PIXELS", 30 * 40 + 1)
    steps = looked_at(alone, sent(photos))
    assert [bool(step.result) for step in steps] == [True, True, False]
    assert "megapixels together, which is the limit" in steps[2].fault


def test_a_photo_that_is_too_large_by_itself_is_said(
    alone: Service, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_FILE_BYTES", 100)
    assert all("at most 25 MB are taken" in step.fault for step in looked_at(alone, sent(photos)))


def test_one_visitor_may_have_two_groups_looked_at_at_once(alone: Service, photos: list[Path]) -> None:
    async def test() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                request = await stack.enter_async_context(alone.request("many"))
                steps = request.segment_many(sent(photos), MODEL)
                await stack.enter_async_context(contextlib.aclosing(steps))
                await anext(steps)
            with pytest.raises(gr.Error, match="Too many photos are being looked at"):
                async with alone.request("many") as third:
                    await anext(third.segment_many(sent(photos), MODEL))
        assert alone.many_of.total() == 0

    in_a_loop(test())


def test_the_files_are_in_use_until_the_end(alone: Service, photos: list[Path]) -> None:
    async def test() -> None:
        async with alone.request("many") as request:
            steps = request.segment_many(sent(photos), MODEL)
            await anext(steps)
            assert set(photos) <= set(alone.disk.in_use())
            await steps.aclose()

    in_a_loop(test())
    assert not set(photos) & set(alone.disk.in_use())


# ---- what a client sends ----


def test_photos_get_names_that_differ(alone: Service, photos: list[Path], tmp_path: Path) -> None:
    folder = new_folder()
    shutil.copy(photos[0], folder / "0.jpg")
    listed, notes = given(alone, [upload(photos[0]), upload(folder / "0.jpg")])
    assert [one.name for one in listed] == ["0", "0-2"] and notes == ()


def test_a_path_outside_of_the_uploads_is_said_of_its_photo(
    alone: Service, photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "secret.png").write_bytes(photos[0].read_bytes())
    listed, _ = given(alone, [upload(tmp_path / "secret.png"), upload(photos[0]), None, 7])
    assert [one.path for one in listed] == [None, photos[0], None, None]
    assert all("images: " in one.fault for one in listed if one.path is None)


def zipped(entries: dict[str, bytes]) -> Path:
    path = new_folder() / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("in_a_list", [True, False])
def test_a_zip_is_unpacked_among_the_uploads(
    alone: Service, photos: list[Path], in_a_list: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = upload(zipped({"../a.png": photos[0].read_bytes(), "b/c.png": photos[1].read_bytes()}))
    listed, notes = given(alone, [image] if in_a_list else image)
    (one,) = listed
    assert one.name == "c" and one.path is not None and one.path.read_bytes() == photos[1].read_bytes()
    assert one.path.resolve().is_relative_to(Path(get_upload_folder()).resolve())
    assert notes == ("“a.png” was left out: it has a name that points outside of the ZIP.",)


def test_nothing_is_left_of_a_zip_that_is_refused(alone: Service) -> None:
    path = zipped({"a.txt": b"text"})
    before = set(Path(get_upload_folder()).iterdir())
    with pytest.raises(gr.Error, match="There is no photo in this ZIP"):
        given(alone, [upload(path)])
    assert set(Path(get_upload_folder()).iterdir()) == before


def test_the_room_for_a_zip_is_reserved_before_it_is_unpacked(
    alone: Service, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped({"a.png": photos[0].read_bytes()})
    asked: list[int] = []
    reserve = alone.disk.reserve
    monkeypatch.setattr(
        alone.disk, "reserve", lambda size, folder: asked.append(size) or reserve(size, folder)
    )
    given(alone, [upload(path)])
    assert asked and asked[0] >= photos[0].stat().st_size


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ([], "images: no photo was sent"),
        (None, "images: no photo was sent"),
        ("a.png", "images: no picture was sent"),
        ([{"path": "x"}] * 51, "images: expected at most 50 photos, got 51"),
    ],
    ids=["none", "null", "a text", "too many"],
)
def test_what_is_no_list_of_photos_is_refused(alone: Service, images: object, sentence: str) -> None:
    with pytest.raises(gr.Error, match=sentence):
        given(alone, images)


def test_photos_that_are_too_large_together_are_refused(
    alone: Service, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_MANY_BYTES", photos[0].stat().st_size + 1)
    with pytest.raises(gr.Error, match="These photos are too large: at most 200 MB are taken together"):
        given(alone, [upload(path) for path in photos])


# ---- small things ----


def test_a_light_result_gets_its_pixels_back(photos: list[Path]) -> None:
    pixels = random_image(0, 30, 40)
    result = replace(make_result(make_detections([[1, 1, 9, 9]], (30, 40)), photos[0]), working_image=pixels)
    kept = light(result)
    assert kept.working_image.shape == pixels.shape and kept.working_image.strides == (0, 0, 0)
    assert (with_pixels(kept).working_image == pixels).all()
    photos[0].unlink()
    with pytest.raises(ImageError):
        with_pixels(kept)


def test_a_photo_is_opened_again_without_the_network(alone: Service, photos: list[Path]) -> None:
    (step,) = looked_at(alone, sent(photos[:1]))
    assert step.result is not None
    kept = light(step.result)
    alone.results = type(alone.results)()

    async def test() -> Any:
        async with alone.request("look") as request:
            return await request.look(lambda: request.reopened(kept))

    opened = in_a_loop(test())
    assert (opened.working_image == random_image(0, 30, 40)).all()
    assert opened.detections is kept.detections and opened.path == photos[0]


def test_the_time_left_follows_what_was_worked_on() -> None:
    assert seconds_left([], 2.0, 3) == 6.0
    assert seconds_left([1.0, 2.0], 9.0, 4) == 6.0
    assert words_of(3, 12, 20.4) == "3 of 12 photos, 20 s left"
    assert words_of(12, 12, 0.2) == "12 of 12 photos"

"""Tests the places of live visitors: who gets one, what is kept for it, and which model looks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import cv2
import gradio as gr
import numpy as np
import pytest

from categories import Categories
from inference import SegmentationModel
from network.weights import WeightsError
from serving import live as live_module
from serving.live import FULL, OFF, ONE_AT_A_TIME, PATIENCE, Live, Seen, Wanted, places
from serving.models import Models
from serving.service import Service
from tests.loops import in_a_loop
from tests.samples import fake_model, make_detections
from training.scenes.clips import draw_clip

WANTED = Wanted("auto", "full", 0.5)


def jpeg(image: Any) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    return [jpeg(frame.image) for frame in draw_clip(1, [0.4, 0.5, 0.6])]


@pytest.fixture
def service(scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(live_module, "FRAME_SECONDS", 60.0)  # the machine may be busy
    models = Models(lambda: (scenes_model, None))
    models.get()
    return Service(models)


async def look(
    live: Live,
    token: str,
    frame: bytes,
    wanted: Wanted = WANTED,
    answer: Callable[[Seen], Any] = lambda seen: seen,
) -> tuple[str, Any]:
    async with live._service.request("live") as request:
        return await live.look(token, frame, wanted, request, answer)


def run(live: Live, *calls: tuple[str, bytes]) -> list[tuple[str, Seen]]:
    """Sends frames one after the other. A token "" takes a new place, "=" the place of the first frame."""

    async def test() -> list[tuple[str, Seen]]:
        answers: list[tuple[str, Seen]] = []
        for token, frame in calls:
            answers.append(await look(live, answers[0][0] if token == "=" else token, frame))
        return answers

    return in_a_loop(test())


def refusal(live: Live, *calls: tuple[str, bytes]) -> str:
    with pytest.raises(gr.Error) as error:
        run(live, *calls)
    return str(error.value.message)


@pytest.mark.parametrize(("text", "most"), [(None, 2), ("5", 5), ("0", 0), ("many", 2), ("-1", 2), ("", 2)])
def test_the_owner_says_how_many_places_there_are(text: str | None, most: int) -> None:
    assert places(text) == most


def test_an_object_keeps_its_number_from_frame_to_frame(service: Service, frames: list[bytes]) -> None:
    answers = run(Live(service), ("", frames[0]), ("=", frames[1]), ("=", frames[2]))
    assert len({token for token, _ in answers}) == 1
    numbers = [
        dict(zip(seen.track_ids.tolist(), seen.detections.class_ids.tolist(), strict=True))
        for _, seen in answers
    ]
    shown = [{track: kind for track, kind in frame.items() if track} for frame in numbers]
    assert len(shown[0]) >= 4
    assert all(shown[0].items() <= frame.items() for frame in shown[1:])


def test_every_object_that_is_shown_has_a_number(service: Service, frames: list[bytes]) -> None:
    for _, seen in run(Live(service), ("", frames[0]), ("=", frames[2])):
        assert seen.track_ids[seen.detections.scores >= WANTED.score_threshold].all()


def test_nothing_of_one_visitor_reaches_another(service: Service, frames: list[bytes]) -> None:
    empty = jpeg(np.full((384, 512, 3), 90, np.uint8))
    (mine, _), (others, seen), (_, back) = run(Live(service), ("", frames[0]), ("", empty), ("=", frames[1]))
    assert mine != others
    assert not seen.track_ids.any(), "the other visitor has no objects"
    fresh = run(Live(service), ("", frames[1]))[0][1]
    assert sorted(back.track_ids[back.track_ids > 0]) == sorted(fresh.track_ids[fresh.track_ids > 0])


def test_nobody_chooses_a_token(service: Service, frames: list[bytes]) -> None:
    tokens = [run(Live(service), ("my token", frames[0]))[0][0] for _ in range(2)]
    assert len({*tokens, "my token"}) == 3 and min(map(len, tokens)) >= 20


def test_the_next_visitor_is_told_that_live_is_busy_until_a_place_is_free(
    service: Service, frames: list[bytes]
) -> None:
    live = Live(service, most=1)
    (token, _), *_ = run(live, ("", frames[0]))
    assert refusal(live, ("", frames[0])) == FULL
    run(live, (token, frames[0]))
    live.leave(token)
    live.leave("unknown")
    assert run(live, ("", frames[0]))[0][0] != token


def test_a_place_without_frames_is_free_again(
    service: Service, frames: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "requests")
    live = Live(service, most=1)
    run(live, ("", frames[0]))
    monkeypatch.setattr(live_module, "QUIET_SECONDS", -1.0)
    run(live, ("", frames[0]))
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "requests"]
    assert [(line["kind"], line["frames"]) for line in lines] == [("live", 1)], (
        "one line for a visit, and none for a frame"
    )


def test_without_places_live_is_off(service: Service, frames: list[bytes]) -> None:
    assert refusal(Live(service, most=0), ("", frames[0])) == OFF


def test_one_frame_at_a_time_is_taken(service: Service, frames: list[bytes]) -> None:
    live = Live(service)

    async def test() -> tuple[str, str]:
        token, _ = await look(live, "", frames[0])
        place = live._places[token]
        place.in_flight = True
        with pytest.raises(gr.Error) as error:
            await look(live, token, frames[1])
        return str(error.value.message), token

    assert in_a_loop(test())[0] == ONE_AT_A_TIME


def test_a_frame_is_a_picture_of_the_agreed_size(service: Service) -> None:
    live = Live(service)
    assert "picture" in refusal(live, ("", b"no picture at all"))
    large = jpeg(np.zeros((480, 641, 3), np.uint8))
    assert refusal(live, ("", large)) == "Expected a frame of at most 640 pixels a side, got 641 x 480."
    assert refusal(live, ("", b"")).startswith("This file is empty")
    assert not live._places, "a place that nobody knows of is free"


def words(service: Service, model: str = "auto", detail: str = "full", frames: int = 1) -> list[str]:
    frame = jpeg(np.full((48, 64, 3), 90, np.uint8))
    live = Live(service)

    async def test() -> list[str]:
        token, told = "", []
        for _ in range(frames):
            token, seen = await look(live, token, frame, Wanted(model, detail, 0.5))
            told.append(seen.words)
        return told

    return in_a_loop(test())


def two_models(**options: Any) -> Service:
    """A service whose "auto" is a model by hand, and whose starter is another one."""

    def load(name: str, **_: Any) -> SegmentationModel:
        if name != "starter":
            raise WeightsError(f"{name} cannot be fetched.")
        return small

    small = fake_model()
    object.__setattr__(small, "name", "starter")
    chosen = fake_model(**options)
    models = Models(lambda: (chosen, None), load)
    models.get()
    return Service(models)


def test_the_chosen_model_looks_where_it_is_quick_enough() -> None:
    assert words(two_models()) == ["Model fake."]


def test_a_model_that_is_known_to_be_slow_makes_way_for_the_starter() -> None:
    service = two_models()
    service.seconds.note(service.models.get(), "full", 0.3)
    assert words(service) == ["Model starter: fake is too slow here for live."]


def test_a_model_that_knows_other_kinds_does_not_take_the_place_of_a_slow_one() -> None:
    service = two_models()
    object.__setattr__(service.models.get(), "categories", Categories.named(["leaf"]))
    service.seconds.note(service.models.get(), "full", 0.3)
    assert words(service) == ["Model fake."]


def test_a_model_that_turns_out_to_be_slow_makes_way_after_some_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_module, "FRAME_SECONDS", 0.0)
    told = words(two_models(), frames=PATIENCE + 1)
    assert told == ["Model fake."] * PATIENCE + ["Model starter: fake is too slow here for live."]


def test_where_there_is_no_faster_model_the_slow_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "FRAME_SECONDS", 0.0)
    assert words(two_models(), "starter", frames=1) == ["Model starter: the other one is not loaded yet."]
    service = two_models()
    service.models.get("starter")
    assert words(service, "starter", frames=2 * PATIENCE + 1) == ["Model starter."] * (2 * PATIENCE + 1)


def test_less_detail_comes_before_the_starter(monkeypatch: pytest.MonkeyPatch) -> None:
    service = two_models()
    monkeypatch.setattr(
        live_module, "detail_of", lambda model, wanted: wanted if model.name == "fake" else "full"
    )
    monkeypatch.setattr(
        live_module, "segment", lambda model, image, detail: make_detections([], image.shape[:2])
    )
    service.seconds.note(service.models.get(), "full", 0.3)
    assert words(service) == ["Model fake with fast detail: more is too slow here for live."]
    service.seconds.note(service.models.get(), "fast", 0.3)
    assert words(service) == ["Model starter: fake is too slow here for live."]


def test_a_model_that_is_not_loaded_is_not_waited_for() -> None:
    assert words(two_models(), "resnet50_fpn") == ["Model starter: the other one is not loaded yet."]

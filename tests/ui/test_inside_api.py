"""Tests `/inside` as a program uses it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from inference import SegmentationModel, look_inside
from inside.data import to_json
from photo.images import read_image
from tests.truth import SCENE
from ui.api import ONE_LOOK


@pytest.fixture(scope="module")
def client(server: str) -> Client:
    return Client(server, verbose=False)


def inside(client: Client, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.predict(image=handle_file(SCENE), api_name="/inside", **arguments)
    return answer


def test_the_answer_holds_the_steps_and_how_they_were_made(
    client: Client, scenes_model: SegmentationModel
) -> None:
    answer = inside(client)
    expected = to_json(look_inside(scenes_model, read_image(SCENE)))
    assert {name: answer[name] for name in expected} == expected
    assert answer["schema_version"] == 1 and answer["arrays"] is None and answer["warnings"] == []
    assert answer["model"]["name"] == "scenes" and answer["model"]["sha256"] == scenes_model.sha256


def test_the_instances_are_those_of_segment(client: Client) -> None:
    segmented = client.predict(image=handle_file(SCENE), score_threshold=0.05, api_name="/segment")
    scores = {one["id"]: (one["category_name"], one["score"]) for one in segmented["instances"]}
    steps = {one["id"]: (one["category_name"], one["score"]) for one in inside(client)["instances"]}
    assert {id: steps[id] for id in scores} == scores


def test_the_arrays_come_as_a_file(client: Client) -> None:
    answer = inside(client, arrays=True)
    file = answer["arrays"]
    path = Path(file["path"] if isinstance(file, dict) else file)
    with np.load(path) as arrays:
        assert len(arrays["boxes"]) == len(answer["instances"])
        assert list(arrays["levels.0.features"].shape) == answer["levels"][0]["features"]


def test_a_model_with_one_detail_says_so(client: Client) -> None:
    (warning,) = inside(client, detail="fast")["warnings"]
    assert warning == "The model scenes has one detail only, so 'fast' changed nothing."


def test_looking_closer_shows_the_steps_of_the_look_at_the_whole_photo(client: Client) -> None:
    answer = inside(client, detail="closer")
    assert answer["warnings"] == [ONE_LOOK] and answer["model"]["detail"] == "full"
    assert answer["instances"] == inside(client)["instances"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"detail": "slow"}, "detail: expected one of full, balanced, fast, closer"),
        ({"model": "yolo"}, "model: expected one of"),
        ({"arrays": "yes"}, "arrays: expected true or false"),
        ({"arrays": 1}, "arrays: expected true or false"),
    ],
)
def test_a_wrong_argument_is_refused_with_a_sentence(
    arguments: dict[str, Any], words: str, client: Client
) -> None:
    with pytest.raises(AppError, match=words):
        inside(client, **arguments)


def test_only_an_upload_is_read(scenes_model: SegmentationModel) -> None:
    from serving.models import Models
    from serving.service import Service
    from ui.api import add_endpoints

    with gr.Blocks() as blocks:
        add_endpoints(Service(Models(lambda: (scenes_model, None))))
    (function,) = [one.fn for one in blocks.fns.values() if one.api_name == "inside"]
    with pytest.raises(gr.Error, match="expected an uploaded file"):
        asyncio.run(function({"path": "/etc/passwd"}))

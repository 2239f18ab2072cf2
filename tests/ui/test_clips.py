"""Tests `/segment_video` as a program uses it, through Gradio's client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from photo.clips import open_clip
from tests.small_clips import write_clip
from tests.truth import SCENE


@pytest.fixture(scope="module")
def client(server: str) -> Client:
    return Client(server, verbose=False)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera that moves over a drawn scene, 6 frames."""
    scene = np.asarray(Image.open(SCENE).convert("RGB"))
    height, width = scene.shape[0] // 2 * 2, (scene.shape[1] - 50) // 2 * 2
    frames = [np.ascontiguousarray(scene[:height, 4 * k : 4 * k + width]) for k in range(6)]
    return write_clip(tmp_path_factory.mktemp("clips") / "scene.avi", frames)


def test_a_clip_gives_its_progress_and_then_tracks_counts_and_a_file(client: Client, clip: Path) -> None:
    job = client.submit(video=handle_file(clip), stride=1, api_name="/segment_video")
    *steps, answer = list(job)
    assert steps and all(not step["done"] and step["frames"] == 6 for step in steps)
    assert [step["frames_done"] for step in steps] == sorted(step["frames_done"] for step in steps)
    assert answer["done"] and answer["clip"]["whole"] and answer["clip"]["stride"] == 1
    assert answer["times"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert answer["tracks"] and answer["most_at_once"] == {k: max(v) for k, v in answer["counts"].items()}
    followed = [track for track in answer["tracks"] if track["in_view_seconds"] > 0.55]
    assert len(followed) >= 3, "most objects keep their track while the camera moves"
    whole = json.loads(Path(answer["file"]).read_text())
    assert {each["track_id"] for each in whole["annotations"] if "track_id" in each} == {
        track["id"] for track in answer["tracks"]
    }


def test_predict_returns_the_last_answer(client: Client, clip: Path) -> None:
    answer = client.predict(video=handle_file(clip), format=None, api_name="/segment_video")
    assert answer["done"] and answer["file"] is None


def test_filters_and_effects_reach_the_file(client: Client, clip: Path) -> None:
    arguments: dict[str, Any] = {"score_threshold": 0.7, "format": "video", "effect": "pixelate", "stride": 3}
    answer = client.predict(video=handle_file(clip), api_name="/segment_video", **arguments)
    assert answer["settings"]["score_threshold"] == 0.7 and answer["clip"]["frames_looked_at"] == 2
    with open_clip(answer["file"], 1024) as opened:
        assert sum(map(len, opened.frames())) == 6


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"stride": -1}, "stride: expected a whole number"),
        ({"format": "avi"}, "format: expected one of"),
        ({"effect": "cut_out"}, "no transparent background"),
        ({"classes": ["unicorn"]}, "there is no category"),
        ({"detail": "closer"}, "detail: 'closer' is for photos. For clips and live"),
        ({"detail": "much"}, "detail: expected one of"),
        ({"model": "yolo"}, "model: expected one of"),
    ],
)
def test_a_wrong_argument_is_a_sentence(
    wrong: dict[str, Any], sentence: str, client: Client, clip: Path
) -> None:
    with pytest.raises(AppError, match=sentence):
        client.predict(video=handle_file(clip), api_name="/segment_video", **wrong)


def test_what_is_no_clip_is_a_sentence(client: Client) -> None:
    with pytest.raises(AppError, match="not a clip that can be read here"):
        client.predict(video=handle_file(SCENE), api_name="/segment_video")

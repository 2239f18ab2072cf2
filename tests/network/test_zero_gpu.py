from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

import coco
from answer.result import counts
from inference import SegmentationModel, load, segment
from network import zero_gpu
from network.weights import WeightsError
from photo.images import read_image
from serving.lease import LEASE_SECONDS
from serving.models import Models
from tests.conftest import ROOT

SCENE = ROOT / "examples" / "scenes" / "scene-1.png"


def double(number: int) -> int:
    return 2 * number


def test_off_such_a_space_a_function_stays_as_it_is() -> None:
    pytest.importorskip("spaces")
    assert zero_gpu.spaces is not None  # the real one, in the mode in which it does nothing
    assert zero_gpu.on_gpu(double) is double
    assert not zero_gpu.ACTIVE and zero_gpu.can_place()


def test_without_the_library_a_function_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "spaces", None)
        without.setenv("SPACES_ZERO_GPU", "true")  # somebody's own; nothing can be lent all the same
        importlib.reload(zero_gpu)
        assert zero_gpu.spaces is None
        assert zero_gpu.on_gpu(double) is double
        assert not zero_gpu.ACTIVE
    importlib.reload(zero_gpu)


def test_a_call_asks_for_the_time_that_its_pictures_need() -> None:
    assert zero_gpu.seconds_for(1) == 7
    assert zero_gpu.seconds_for(0) < zero_gpu.seconds_for(100) <= 30


def titled(title: str, message: str) -> Exception:
    error = Exception(message)
    error.title, error.message = title, message  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (titled("ZeroGPU quota exceeded", "You have exceeded your free ZeroGPU quota"), "used up"),
        (titled("ZeroGPU quota exceeded", "Space app has reached its GPU limit."), "used up"),
        (titled("ZeroGPU pending credits exceeded", "You have too many ZeroGPU credits"), "used up"),
        (
            titled("ZeroGPU quota exceeded", "No GPU was available after 60s."),
            "No graphics processor was free",
        ),
        (titled("ZeroGPU queue timeout", "No GPU was available after 60s. Sign up"), "was free"),
        (titled("ZeroGPU client error", "Expired ZeroGPU proxy token"), "could be borrowed"),
        (titled("ZeroGPU illegal duration", "The requested GPU duration is larger"), "could be borrowed"),
        (titled("ZeroGPU worker error", "GPU task aborted"), "taken back"),
        (titled("ZeroGPU worker error", "OutOfMemoryError"), "failed"),
        (httpx.ConnectError("refused"), "could be borrowed"),
        (RuntimeError("ZeroGPU API /schedule error: 500 (Internal Server Error)"), "could be borrowed"),
        (RuntimeError("Unexpected end of stream"), "could be borrowed"),
    ],
    ids=str,
)
def test_every_refusal_is_one_sentence_that_says_what_the_cpu_did(error: Exception, told: str) -> None:
    sentence = zero_gpu._refusal(error)
    assert sentence is not None and told in sentence and zero_gpu.SLOWER in sentence


@pytest.mark.parametrize(
    "error",
    [
        titled("ZeroGPU worker error", "TypeError"),
        titled("ZeroGPU worker error", "RuntimeError"),
        titled("Error", "Your quota is used up."),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        pickle.PicklingError("Only models that `serving.models.Models` holds"),
    ],
    ids=str,
)
def test_a_fault_of_ours_is_no_refusal(error: Exception) -> None:
    assert zero_gpu._refusal(error) is None


def test_a_model_is_pickled_as_the_one_that_is_in_memory(scenes_model: SegmentationModel) -> None:
    Models(load_named=lambda name: scenes_model).get("scenes")
    pickled = pickle.dumps(scenes_model)
    assert len(pickled) < 500
    assert pickle.loads(pickled) is scenes_model


def test_a_model_that_is_not_kept_cannot_be_pickled(scenes_model: SegmentationModel) -> None:
    stranger = SegmentationModel(
        scenes_model.network, "scenes", scenes_model.label_ids, scenes_model.device, "float32", "", ""
    )
    with pytest.raises(pickle.PicklingError, match="Models"):
        pickle.dumps(stranger)


def test_all_models_are_loaded_by_the_thread_that_asks_and_those_that_cannot_be_had_are_passed_over(
    scenes_model: SegmentationModel,
) -> None:
    asked = []

    def load_named(name: str) -> SegmentationModel:
        asked.append(name)
        if name != "scenes":
            raise WeightsError(f"no {name}")
        return scenes_model

    models = Models(lambda: (scenes_model, None), load_named)
    models.load_all()
    assert asked == ["resnet50_fpn", "resnet50_fpn_v2", "starter", "scenes"]
    assert models.ready("auto") is models.ready("scenes") is scenes_model
    assert models.ready("resnet50_fpn") is None


def test_on_such_a_space_the_network_runs_in_a_process_that_is_lent_the_processor(tmp_path: Path) -> None:
    environment = os.environ | {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": "http://127.0.0.1:9",
        "SEGMENTATION_WEIGHTS": str(ROOT / "assets" / "scenes.safetensors"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "GRADIO_TEMP_DIR": str(tmp_path / "uploads"),
        "HOME": str(tmp_path),
    }
    child = subprocess.run(
        [sys.executable, ROOT / "tests" / "network" / "zero_gpu_child.py"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    facts = json.loads(child.stdout.splitlines()[-1])
    assert facts["placed_on"] == "cuda:0"
    assert facts["placed_later_on"] == "cpu"
    assert facts["seconds"] == [zero_gpu.seconds_for(1)]  # it was lent for the first photo, and not before
    assert facts["cached"] == [False, True]
    assert facts["at_once"] == [True, True]
    devices, words = zip(*(facts["refusals"][kind] for kind in ("quota", "full", "aborted")), strict=True)
    assert devices == ("cpu",) * 3
    assert "used up" in words[0] and "signed in to Hugging Face has more" in words[0]
    assert "No graphics processor was free" in words[1] and "signed in" in words[1]
    assert "taken back too early" in words[2]
    assert facts["live_words"][0] == "Model starter on the CPU: a graphics processor was asked for."
    assert re.fullmatch(
        r"Model scenes on a graphics processor, lent for \d+ more seconds\.", facts["live_words"][1]
    )
    assert facts["live_leases"] == [LEASE_SECONDS], "one lease for many frames"
    tracks = facts["live_objects"]
    assert len(tracks[0]) >= 3 and tracks[0] == tracks[1] == tracks[2]
    assert facts["live_refused"].startswith(
        "Model starter on the CPU: The time on the graphics processor is used"
    )
    here = segment(load("scenes", device="cpu"), read_image(SCENE))
    sure = here.select(here.scores >= np.float32(0.5))
    assert facts["counts"] == [counts(sure, coco.CATEGORIES)] * 2
    np.testing.assert_allclose(facts["scores"], sure.scores, atol=1e-4)

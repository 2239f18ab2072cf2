"""Runs the app as on a ZeroGPU Space, which borrows its GPU, as far as a machine without a GPU allows.

`test_zero_gpu` runs this script with the environment of such a Space. The script has a process of its own,
because the library `spaces` changes the process for good. The library emulates "cuda", forks and pickles as
on a Space. Two parts are replaced. The broker here lends every GPU that is asked for. Nothing moves to the
GPU's memory: tensors stay where they are, and the forked process calculates on the CPU. The script prints the
answers of `/segment`, and the seconds for which a GPU was lent.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import httpx
import spaces.zero.client as client
import spaces.zero.torch as lent
import torch
from gradio_client import Client, handle_file
from spaces.zero.api import ScheduleMetadata, ScheduleResponse
from spaces.zero.torch import patching

from network import weights


class Broker:
    """Lends a GPU to everybody at once."""

    asked: list[dict[str, Any]] = []

    def schedule(self, **wish: Any) -> tuple[ScheduleResponse, ScheduleMetadata]:
        self.asked.append(wish)
        granted = ScheduleResponse(idle=True, nvidiaIndex=0, nvidiaUUID="", allowToken="")
        return granted, ScheduleMetadata()

    def __getattr__(self, name: str) -> Any:
        return lambda **arguments: httpx.codes.OK


def stay_here(callback: object = None) -> None:
    """Runs in the forked process instead of the move to the GPU."""
    for fake, original in patching.cuda_aliases.items():
        fake.data = original
    object.__setattr__(app.models.get(), "device", torch.device("cpu"))


def no_download(*arguments: object, **options: object) -> None:
    raise weights.DownloadError("not from a test")


weights.download = no_download  # type: ignore[assignment]
client.api_client = Broker  # type: ignore[assignment]
client.utils.self_cgroup_device_path = lambda: ""
lent.pack, lent.size, lent.init, lent.move = lambda: 0, lambda: 0, lambda uuid: None, stay_here

import app
from inference import load

model = app.models.get()
_, url, _ = app.launch(app.demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
photo = handle_file(ROOT / "examples" / "scenes" / "scene-1.png")
program = Client(url, verbose=False)
answers = [program.predict(image=photo, api_name="/segment") for _ in range(2)]
facts = {
    "placed_on": str(next(model.network.parameters()).device),
    "placed_later_on": ThreadPoolExecutor().submit(load, "scenes").result().device.type,
    "seconds": [wish["duration_seconds"] for wish in Broker.asked],
    "cached": [answer["cached"] for answer in answers],
    "counts": [answer["counts"] for answer in answers],
    "scores": [instance["score"] for instance in answers[0]["instances"]],
}
print(json.dumps(facts))

"""Runs the app as on a ZeroGPU Space, which borrows its GPU, as far as a machine without a GPU allows.

`test_zero_gpu` runs this script with the environment of such a Space. The script has a process of its own,
because the library `spaces` changes the process for good. The library emulates "cuda", forks and pickles as
on a Space. Two parts are replaced. The broker here lends or refuses, as it is told. Nothing moves to the
GPU's memory: tensors stay where they are, and the forked process calculates on the CPU. The script prints the
answers of `/segment`, and the seconds for which a GPU was lent.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import cv2
import httpx
import spaces.zero.client as client
import spaces.zero.torch as lent
import torch
from gradio_client import Client, handle_file
from spaces.zero.api import QuotaInfos, ScheduleMetadata, ScheduleResponse
from spaces.zero.torch import patching

from network import weights


class Broker:
    """Lends a GPU to everybody at once, or gives the answer that it is told."""

    asked: list[dict[str, Any]] = []
    answer: Any = None
    together = threading.Barrier(1)

    def schedule(self, **wish: Any) -> tuple[Any, ScheduleMetadata]:
        self.asked.append(wish)
        self.together.wait(60)
        if isinstance(self.answer, Exception):
            raise self.answer
        granted = ScheduleResponse(idle=True, nvidiaIndex=len(self.asked), nvidiaUUID="", allowToken="")
        return self.answer or granted, ScheduleMetadata()

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
from training.scenes.clips import draw_clip

model = app.models.get()
_, url, _ = app.launch(app.demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
program = Client(url, verbose=False)


def segment(number: int) -> Any:
    photo = handle_file(ROOT / "examples" / "scenes" / f"scene-{number}.png")
    return program.predict(image=photo, api_name="/segment")


def refused(number: int, answer: object) -> list[str]:
    Broker.answer = answer
    told = segment(number)
    return [told["model"]["device"], told["warnings"][-1]]


answers = [segment(1) for _ in range(2)]
seconds = [wish["duration_seconds"] for wish in Broker.asked]
Broker.together = threading.Barrier(2)  # who asks waits until another visitor asks as well
with ThreadPoolExecutor() as visitors:
    at_once = [bool(answer["counts"]) for answer in visitors.map(segment, [2, 3])]
Broker.together = threading.Barrier(1)
refusals = {
    "quota": refused(4, QuotaInfos(left=0, wait=timedelta(hours=1))),
    "full": refused(5, httpx.codes.SERVICE_UNAVAILABLE),
}
Broker.answer, lent.init = None, lambda uuid: os._exit(1)  # the broker ends the process
refusals["aborted"] = refused(6, None)
Broker.answer, lent.init = None, lambda uuid: None
frame = cv2.imencode(".jpg", next(draw_clip(1, [0.5])).image[..., ::-1])[1].tobytes()
live: list[dict[str, Any]] = []
asked = len(Broker.asked)
for _ in range(200):
    place = live[-1]["place"] if live else ""
    live.append(httpx.post(f"{url}live", params={"place": place}, content=frame, timeout=60).json())
    if len(live) > 3 and "lent for" in live[-4]["words"]:
        break
    time.sleep(0.1)
httpx.post(f"{url}live/stop", params={"place": live[-1]["place"]})
leases = [wish["duration_seconds"] for wish in Broker.asked[asked:]]
Broker.answer = QuotaInfos(left=0, wait=timedelta(hours=1))
refused_live = ""
place = ""
for _ in range(20):
    told = httpx.post(f"{url}live", params={"place": place}, content=frame, timeout=60).json()
    place, refused_live = told["place"], told["words"]
    if "used up" in refused_live:
        break
    time.sleep(0.1)
facts = {
    "live_words": [live[0]["words"], live[-1]["words"]],
    "live_objects": [[found["track"] for found in answer["objects"]] for answer in live[-3:]],
    "live_leases": leases,
    "live_refused": refused_live,
    "placed_on": str(next(model.network.parameters()).device),
    "placed_later_on": ThreadPoolExecutor().submit(load, "scenes").result().device.type,
    "seconds": seconds,
    "at_once": at_once,
    "refusals": refusals,
    "cached": [answer["cached"] for answer in answers],
    "counts": [answer["counts"] for answer in answers],
    "scores": [instance["score"] for instance in answers[0]["instances"]],
}
print(json.dumps(facts))

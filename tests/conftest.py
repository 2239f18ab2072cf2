"""What every test may rely on: no network beyond this machine, nobody's own weights, seeds."""

from __future__ import annotations

import atexit
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

# Before anything imports them: no usage reports, no look-ups, uploads in a folder that goes with the tests.
UPLOADS = tempfile.mkdtemp()
atexit.register(shutil.rmtree, UPLOADS, ignore_errors=True)
os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", GRADIO_TEMP_DIR=UPLOADS)
# Tests run side by side (pytest-xdist), and torch's threads wait actively: more than cores would only wait.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
# And no certificates, which each of a client's connections would read for 20 ms; none here is secured.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = UPLOADS

from network import runtime

runtime.prepare()

import torch

from inference import SegmentationModel, load
from network.architectures import ARCHITECTURES
from tools.random_weights import random_network

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Connections leave this machine in no test, and what lies in the user's caches plays no part."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not ipaddress.ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    def resolve(host: object, *args: object, **options: object) -> list[object]:
        if host not in (None, "", "localhost", "127.0.0.1", "0.0.0.0", "::1"):
            raise socket.gaierror(f"a test tried to look up {host}")
        return look_up(host, *args, **options)  # type: ignore[arg-type]

    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.delenv("SEGMENTATION_WEIGHTS", raising=False)
    monkeypatch.delenv("SEGMENTATION_WEIGHTS_REPO", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="session")
def scenes_model() -> SegmentationModel:
    return load("scenes", device="cpu")


@pytest.fixture(scope="session")
def v1_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from _weights_file("resnet50_fpn", tmp_path_factory)


@pytest.fixture(scope="session")
def v2_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from _weights_file("resnet50_fpn_v2", tmp_path_factory)


def _weights_file(name: str, factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Random weights under which the network behaves like a trained one; it takes seconds to find them."""
    path = factory.mktemp("weights") / f"{name}.pth"
    torch.save(random_network(ARCHITECTURES[name].build).state_dict(), path)
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def server(scenes_model: SegmentationModel) -> Iterator[str]:
    """The address of the app, running with the `scenes` model in the place of COCO's."""
    from tests.server import running  # not at the top: building the page takes a second

    with running(scenes_model) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window; tests that want it are skipped where there is none."""
    from tools.screenshot import CHROMIUM_FLAGS  # not at the top: it builds the page

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("Chromium is not installed, and REQUIRE_BROWSER asks for it")
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()

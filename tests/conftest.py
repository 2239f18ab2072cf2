"""Gives every test the same conditions: no network beyond this machine, and no weights of the user's own."""

from __future__ import annotations

import atexit
import ipaddress
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

# These settings must come before the first import of Gradio and huggingface_hub. They turn off usage reports
# and look-ups, and put uploads in a folder that is deleted after the tests.
UPLOADS = tempfile.mkdtemp()
atexit.register(shutil.rmtree, UPLOADS, ignore_errors=True)
os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", GRADIO_TEMP_DIR=UPLOADS)
# A shell starts a command with "&" so that it ignores Ctrl-C, and so would every process that a test starts.
# A test that ends one of them by Ctrl-C would then wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Tests run side by side (pytest-xdist), and torch's threads wait actively. More threads than cores would only
# slow each other down.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
# Each connection of a client would read the certificates for 20 ms. No connection here is secured, so there
# are no certificates.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = UPLOADS

from network import runtime

runtime.prepare()

import torch

from inference import SegmentationModel, load
from network.architectures import ARCHITECTURES
from tools.random_weights import random_network

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of the page first. They take longest, and one worker would do the last of them alone."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/ui/"))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Refuses connections to other machines, and hides the user's weights and torch's cache."""
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
    """Writes random weights with which the network behaves like a trained one. This takes seconds."""
    path = factory.mktemp("weights") / f"{name}.pth"
    torch.save(random_network(ARCHITECTURES[name].build).state_dict(), path)
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def server(scenes_model: SegmentationModel) -> Iterator[str]:
    """The address of the running app. It has the `scenes` model in place of the COCO model."""
    from tests.server import running  # not at the top: building the page takes a second

    with running(scenes_model) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. Without Chromium the tests that need it are skipped."""
    from tools.screenshot import CHROMIUM_FLAGS  # not at the top: the module builds the page

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("Chromium is not installed, and REQUIRE_BROWSER asks for it")
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()

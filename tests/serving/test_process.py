"""The app as a process of its own: how it begins on a machine that lacks something, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from inference import SegmentationModel
from photo.client import client
from tests import server
from tests.calls import Answer, segment_bytes
from tests.conftest import ROOT
from tests.truth import SCENE

PATIENCE_SECONDS = 90.0
"""The longest time that the app may take to open. On two free cores it takes 5 seconds."""
END_SECONDS = 12.0
"""The longest time that the app may take to end."""
RESTARTING = "The server is restarting. Please try again in a minute."
SLOW = """
import time
from serving import photos
inner = photos.segment_or_fall_back

def slow(*arguments):
    print("the work began", flush=True)
    time.sleep({seconds})
    return inner(*arguments)

photos.segment_or_fall_back = slow
import app
app.main()
"""
"""A program that runs the app with a network that needs some seconds for each photo."""
WITHOUT_HOME = """
import os, pathlib, runpy

del os.environ["HOME"]

def home(cls):
    if "HOME" not in os.environ:
        raise RuntimeError("Could not determine home directory.")
    return cls(os.environ["HOME"])

pathlib.Path.home = classmethod(home)
runpy.run_path("app.py", run_name="__main__")
"""
"""A program that runs the app as a user whom the system does not know."""
READ_ONLY = """
import runpy, tempfile
tempfile._candidate_tempdir_list = lambda: ["/proc/nothing"]
runpy.run_path("app.py", run_name="__main__")
"""
"""A program that runs the app on a system without a folder for temporary files."""


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "HOME"}
    return kept | {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "HF_HUB_OFFLINE": "1",
        "HOME": str(folder),
        "SEGMENTATION_WEIGHTS": str(ROOT / "assets" / "scenes.safetensors"),
        "https_proxy": "http://127.0.0.1:9",  # nobody listens there, so nothing leaves this machine
        **more,
    }


class App(NamedTuple):
    """A running app: its process, its address, and the files that it writes its output to."""

    process: subprocess.Popen[bytes]
    url: str
    out: Path
    err: Path

    def end(self, *signals: signal.Signals) -> float:
        """Sends the signals, waits until the app has ended, and returns the seconds that this took."""
        start = time.monotonic()
        for one in signals:
            self.process.send_signal(one)
            time.sleep(0.5)
        self.process.wait(60)
        return time.monotonic() - start


@contextmanager
def running(
    folder: Path, program: str | None = None, host: str = "127.0.0.1", **variables: str
) -> Iterator[App]:
    """Runs the app until the block ends, and yields it when its page opens."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    command = [sys.executable, *(("-c", program) if program else ("app.py",))]
    out, err = folder / "out.txt", folder / "err.txt"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--server-name", host, "--server-port", str(port)],
            cwd=ROOT,
            env=environment(folder, **variables),
            stdout=stdout,
            stderr=stderr,
        )
        app = App(process, f"http://{f'[{host}]' if ':' in host else host}:{port}/", out, err)
        try:
            wait_until(app, "HTTP URL")  # the last line that Gradio prints when the app has opened
            yield app
        finally:
            process.kill()
            process.wait()


def wait_until(app: App, words: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while words not in app.out.read_text():
        assert app.process.poll() is None and time.monotonic() < end, app.err.read_text()
        time.sleep(0.05)


def segment(url: str) -> Answer:
    with httpx.Client(timeout=60, trust_env=False) as http:
        return segment_bytes(url, "scene.png", SCENE.read_bytes(), http)


def test_the_decoding_process_starts_with_the_app_and_not_with_the_first_picture(
    scenes_model: SegmentationModel,
) -> None:
    client().stop()
    with server.running(scenes_model):
        process = client()._process
        assert process is not None and process.poll() is None


def test_sigterm_lets_the_work_that_runs_end_and_refuses_new_work(tmp_path: Path) -> None:
    with running(tmp_path, SLOW.format(seconds=3)) as app, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(segment, app.url)
        wait_until(app, "the work began")
        app.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        time.sleep(0.5)
        assert segment(app.url).sentence == RESTARTING
        app.process.send_signal(signal.SIGTERM)  # says nothing new
        answer = under_way.result(20)
        assert answer.event == "complete" and answer.data[0]["instances"]
        assert app.process.wait(20) == 0
        assert time.monotonic() - start < END_SECONDS
    assert "Traceback" not in app.err.read_text()


def test_sigterm_gives_up_work_that_takes_too_long_and_tells_its_visitor(tmp_path: Path) -> None:
    with running(tmp_path, SLOW.format(seconds=60)) as app, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(segment, app.url)
        wait_until(app, "the work began")
        assert app.end(signal.SIGTERM) < END_SECONDS
        assert app.process.returncode == 0
        assert under_way.result(20).sentence == RESTARTING


def test_a_second_ctrl_c_ends_the_app_at_once(tmp_path: Path) -> None:
    with running(tmp_path, SLOW.format(seconds=60)) as app, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(segment, app.url)
        wait_until(app, "the work began")
        assert app.end(signal.SIGINT, signal.SIGINT) < 4
        assert app.process.returncode == 130
        with pytest.raises(httpx.TransportError):
            under_way.result(20)
    assert "Traceback" not in app.err.read_text()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_the_app_listens_at_every_ipv6_address_and_ends_at_once_where_nothing_runs(tmp_path: Path) -> None:
    with running(tmp_path, host="::") as app:
        answer = httpx.get(app.url.replace("[::]", "[::1]"), timeout=60, trust_env=False)
        assert answer.status_code == 200
        assert app.end(signal.SIGTERM) < 3
        assert app.process.returncode == 0
    assert len(app.err.read_text().splitlines()) == 1


def test_the_app_opens_for_a_user_without_a_home(tmp_path: Path) -> None:
    with running(tmp_path, WITHOUT_HOME) as app:
        assert httpx.get(app.url, timeout=60, trust_env=False).status_code == 200
        (home,) = tmp_path.glob("uploads/home-*")
        assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["a file", "a link", "a folder that cannot be written", "no folder at all"])
def test_without_a_folder_for_photos_the_app_ends_with_one_sentence(kind: str, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    more: dict[str, str] = {}
    if kind == "a file":
        uploads.write_text("x")
    elif kind == "a link":
        uploads.mkdir()
        (uploads / f"photos-{os.getuid()}").symlink_to(tmp_path)
    elif kind == "a folder that cannot be written":
        more["GRADIO_TEMP_DIR"] = "/proc/nothing"
    else:
        more["GRADIO_TEMP_DIR"] = ""
    program = ("-c", READ_ONLY) if kind == "no folder at all" else ("app.py",)
    ended = subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        env=environment(tmp_path, **more),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("No folder for photos can be made") and "GRADIO_TEMP_DIR" in line


def test_a_port_that_is_in_use_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = subprocess.run(
            [sys.executable, "app.py", "--server-port", str(other.getsockname()[1])],
            cwd=ROOT,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("The app cannot be opened: Cannot find empty port")
    assert "Traceback" not in ended.stderr

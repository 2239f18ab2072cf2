from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from photo.errors import ImageError
from photo.fence import WALL_SECONDS
from photo.formats import READABLE
from photo.images import read_photo
from tests.bad_pictures import bad_pictures
from tests.calls import segment_bytes

LONGEST_SECONDS = WALL_SECONDS + 2.0
"""A decoding process ends after WALL_SECONDS. Its processor time is shorter, but tests run side by side."""
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns about parts that it skips


def read_in_a_child(*arguments: str) -> dict[str, Any]:
    """Runs `python -m tests.bad_pictures` and returns its figures. Fails if the process crashes or hangs."""
    command = [sys.executable, "-m", "tests.bad_pictures", *arguments]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert child.returncode == 0, (child.stdout + child.stderr)[-3000:]
    outcome: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    print(json.dumps(outcome))
    assert outcome["untyped"] == 0, child.stdout[-3000:]
    assert outcome["wrong"] == 0, child.stdout[-3000:]
    assert outcome["slowest_seconds"] < LONGEST_SECONDS
    assert outcome["peak_mb_over_idle"] < 600
    return outcome


def test_good_pictures_are_read_bad_ones_refused_in_a_sentence_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    seen = {True: 0, False: 0, None: 0}
    for name, content, valid in bad_pictures(seed=1, count=320):
        path.write_bytes(content)
        start = time.perf_counter()
        try:
            photo = read_photo(path)
        except ImageError as error:
            assert valid is not True, f"{name} was refused: {error}"
            assert str(error).startswith("This "), name
            assert str(error).endswith("."), name
            assert str(tmp_path) not in str(error)
        else:
            assert valid is not False, f"{name} was read"
            assert photo.pixels.dtype == np.uint8
            assert photo.pixels.shape[2:] == (3,)
            assert photo.format in READABLE.values()
        assert time.perf_counter() - start < LONGEST_SECONDS, name
        seen[valid] += 1
    assert min(seen.values()) > 20


def test_the_same_seed_gives_the_same_files_and_another_gives_others() -> None:
    first, again, other = (list(bad_pictures(seed, 250)) for seed in (2, 2, 3))
    assert first == again
    assert first[150:] != other[150:]
    assert len({case.name for case in first}) == 250


@pytest.mark.slow
def test_10_000_malformed_files_crash_nothing_and_stay_within_time_and_memory() -> None:
    outcome = read_in_a_child("--count", "10000", "--seed", "0")
    assert outcome["cases"] == 10_000
    assert outcome["read"] > 1000
    assert outcome["refused"] > 1000


def check_through(server: str, seed: int, count: int) -> None:
    """Sends pictures from a seed to the running app. Each answer must be a result or one sentence."""
    results, refusals, slowest = 0, 0, 0.0
    with httpx.Client(timeout=60) as http:
        for name, content, valid in bad_pictures(seed, count):
            start = time.perf_counter()
            answer = segment_bytes(server, name, content, http)
            slowest = max(slowest, time.perf_counter() - start)
            if answer.event == "complete":
                assert valid is not False and answer.data[0]["schema_version"] == 1, name
                results += 1
            else:
                assert valid is not True, f"{name} was refused: {answer}"
                assert answer.status in (200, 400, 413), f"{name}: {answer}"
                assert answer.sentence.startswith("This ") and answer.sentence.endswith("."), (
                    f"{name}: {answer}"
                )
                refusals += 1
    print(json.dumps({"cases": count, "results": results, "refused": refusals, "slowest_seconds": slowest}))
    assert min(results, refusals) > count / 20 and slowest < LONGEST_SECONDS


def test_pictures_from_a_seed_go_through_the_running_app(server: str) -> None:
    check_through(server, seed=4, count=60)


@pytest.mark.slow
def test_500_pictures_from_a_seed_go_through_the_running_app(server: str) -> None:
    check_through(server, seed=5, count=500)


@pytest.mark.slow
@pytest.mark.skipif("BAD_IMAGES" not in os.environ, reason="BAD_IMAGES names no folder")
def test_a_folder_of_bad_files_crashes_nothing_and_stays_within_time_and_memory() -> None:
    assert read_in_a_child("--folder", os.environ["BAD_IMAGES"])["cases"] > 0

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from images import FORMATS, ImageError, read_photo
from tests.bad_pictures import bad_pictures

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's, about what it skips


def read_in_a_child(*arguments: str) -> dict[str, Any]:
    """What `python -m tests.bad_pictures` says; a crash or a hang fails here."""
    command = [sys.executable, "-m", "tests.bad_pictures", *arguments]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert child.returncode == 0, (child.stdout + child.stderr)[-3000:]
    outcome: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    print(json.dumps(outcome))
    assert outcome["untyped"] == 0, child.stdout[-3000:]
    assert outcome["wrong"] == 0, child.stdout[-3000:]
    assert outcome["slowest_seconds"] < 5
    assert outcome["peak_mb_over_idle"] < 600
    return outcome


def test_good_pictures_are_read_bad_ones_refused_in_a_sentence_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    seen = {True: 0, False: 0, None: 0}
    for name, content, valid in bad_pictures(seed=1, count=400):
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
            assert photo.format in FORMATS.values()
        assert time.perf_counter() - start < 5, name
        seen[valid] += 1
    assert min(seen.values()) > 30


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


@pytest.mark.slow
@pytest.mark.skipif("BAD_IMAGES" not in os.environ, reason="BAD_IMAGES names no folder")
def test_a_folder_of_bad_files_crashes_nothing_and_stays_within_time_and_memory() -> None:
    assert read_in_a_child("--folder", os.environ["BAD_IMAGES"])["cases"] > 0

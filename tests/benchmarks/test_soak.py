"""Tests that the app does not leak memory, files or threads over many requests.

The tests need the packages of `benchmarks/requirements.txt`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

MOST_GROWTH_MB = 50


def soak(*options: str) -> dict[str, Any]:
    """Runs benchmarks/soak.py with these options, and returns its figures."""
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


@pytest.mark.slow
def test_300_requests_leave_nothing_behind() -> None:
    figures = soak("--requests", "300")
    assert figures["failed"] == 0, figures["faults"]
    assert figures["complaints"] == []
    assert figures["rss_growth_mb"] < MOST_GROWTH_MB
    assert figures["fds_end"] <= figures["fds_start"]
    assert figures["threads_end"] <= figures["threads_start"] + 2  # pools may grow until they are full
    assert figures["temp_bytes_after_retention"] == 0


@pytest.mark.slow
def test_a_leak_is_seen() -> None:
    figures = soak("--requests", "60", "--leak-mb", "4")
    assert figures["failed"] == 0, figures["faults"]
    assert figures["rss_growth_mb"] > MOST_GROWTH_MB

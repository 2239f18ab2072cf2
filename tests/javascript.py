"""Runs JavaScript programs in Node.js, as a reader of the page or of the README would do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def node(code: str, folder: Path) -> str:
    """Runs a program in `folder` and returns its output. Skips the test if Node.js is not installed."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    (folder / "program.mjs").write_text(code)
    run = subprocess.run(
        ["node", "program.mjs"], cwd=folder, capture_output=True, text=True, check=False, timeout=30
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def with_client(folder: Path) -> Path:
    """Makes `@gradio/client` available in `folder`, and returns `folder`.

    Skips the test if the variable NODE_MODULES does not name a folder with the package.
    """
    installed = os.environ.get("NODE_MODULES")
    if installed is None:
        pytest.skip("NODE_MODULES names no folder with @gradio/client")
    (folder / "node_modules").symlink_to(installed)
    return folder

"""JavaScript: programs for Node.js, run as a reader of the page or of the README would."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def node(code: str, folder: Path) -> str:
    """What the program prints, run in `folder`. Without Node.js the test is skipped."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    (folder / "program.mjs").write_text(code)
    run = subprocess.run(
        ["node", "program.mjs"], cwd=folder, capture_output=True, text=True, check=False, timeout=30
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def with_client(folder: Path) -> Path:
    """`folder`, where `@gradio/client` is installed now; without NODE_MODULES, which has it, a skip."""
    installed = os.environ.get("NODE_MODULES")
    if installed is None:
        pytest.skip("NODE_MODULES names no folder with @gradio/client")
    (folder / "node_modules").symlink_to(installed)
    return folder

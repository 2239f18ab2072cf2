"""Tests that the notebook runs from top to bottom, without a connection (`tests.conftest.offline`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "inside.ipynb"


@pytest.mark.parametrize("folder", [ROOT, ROOT / "docs"], ids=["project", "docs"])
def test_the_notebook_runs_from_top_to_bottom(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(ROOT))
    notebook = json.loads(NOTEBOOK.read_text())
    codes = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    space: dict[str, Any] = {}
    shown = 0
    for i, code in enumerate(codes):
        *_, last = code.splitlines()
        exec(compile(code, f"cell {i}", "exec"), space)
        if last.startswith("Image.fromarray("):
            shown += isinstance(eval(last, space), Image.Image)
    assert shown >= 6


def test_the_notebook_is_kept_without_its_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None

"""Gives the page's own scripts to tests, joined as `ui.components` joins them."""

from __future__ import annotations

from pathlib import Path

from ui.components import ASSETS, STAGE_SCRIPTS

SCRIPTS = {"stage": STAGE_SCRIPTS, "summary": ("summary",)}
"""The files of each component's script. `tests.ui.test_components` checks that no file is left out."""
PARAMETERS = "element, props, trigger, watch, upload, server"
"""What Gradio gives to the script of a component, which it makes the body of a function."""


def source(names: tuple[str, ...]) -> str:
    return "\n".join((ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in names)


def write_module(component: str, folder: Path) -> Path:
    """Writes a component's script as a module whose only export is the function that Gradio makes of it."""
    path = folder / f"{component}.js"
    body = source(SCRIPTS[component])
    path.write_text(f"export default function ({PARAMETERS}) {{\n{body}\n}}\n", encoding="utf-8")
    return path

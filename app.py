"""Opens the page and the API: `python app.py`, or as a Hugging Face Space.

Importing this module builds the page and downloads nothing.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import gradio as gr

from api import add_endpoints
from models import Models
from page import add_page

ASSETS = Path(__file__).resolve().parent / "assets"
STYLE_SHEETS = ("page.css", "objects.css", "kinds.css")
QUEUE_SIZE = 32
SESSIONS = 200
"""Browser sessions whose last result is kept; one takes 3 MB."""
FONT, FONT_MONO = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
"""The visitor's own fonts: nothing is fetched from other hosts."""
SWEEP_SECONDS, KEEP_SECONDS = 600, 3600


def create_demo(models: Models) -> gr.Blocks:
    """The page and the API around `models`."""
    with gr.Blocks(title="See every object in a photo", delete_cache=(SWEEP_SECONDS, KEEP_SECONDS)) as blocks:
        add_page(blocks, models)
        add_endpoints(models)
    return blocks.queue(max_size=QUEUE_SIZE)


def launch(blocks: gr.Blocks, **options: Any) -> Any:
    """`blocks.launch` with this project's look and limits."""
    return blocks.launch(
        theme=gr.themes.Soft(font=FONT, font_mono=FONT_MONO),
        css_paths=[ASSETS / name for name in STYLE_SHEETS],
        favicon_path=ASSETS / "favicon.svg",
        state_session_capacity=SESSIONS,
        run_history=False,
        max_file_size="25mb",
        **options,
    )


models = Models()
demo = create_demo(models)


def main() -> None:
    """Parses the flags and serves; what no flag says, Gradio's environment variables do."""
    parser = argparse.ArgumentParser(description="See every object in a photo, on a web page.")
    parser.add_argument(
        "--share", action="store_true", default=None, help="also open a public link (72 hours)"
    )
    parser.add_argument("--server-name", help="address to listen at, for example 0.0.0.0")
    parser.add_argument("--server-port", type=int, help="port to listen at (7860)")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio's own look-ups
    models.start()
    launch(demo, **vars(parser.parse_args()))


if __name__ == "__main__":
    main()

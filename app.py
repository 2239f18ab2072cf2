"""Opens the page and the API: `python app.py`, or as a Hugging Face Space.

Importing this module builds the page and downloads nothing, except on a Space that is lent its graphics
processor (`zero_gpu`), where models must be loaded by then.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from network import runtime
from serving import janitor

runtime.prepare()

# Before Gradio is imported, which reads them and writes there. A folder of our own in the one that is named,
# since the janitor deletes what lies in it; no statistics of the last 10,000 requests, made anew after each;
# and who speaks from a private network is a proxy, whose word for the visitor's address is taken.
FOLDER_NAME = f"photos-{os.getuid() if hasattr(os, 'getuid') else os.environ.get('USERNAME', '')}"
FOLDER = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
FOLDER = FOLDER if FOLDER.name == FOLDER_NAME else FOLDER / FOLDER_NAME
janitor.claim(FOLDER)
os.environ["GRADIO_TEMP_DIR"] = str(FOLDER)
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)
PRIVATE_NETWORKS = "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
os.environ.setdefault("FORWARDED_ALLOW_IPS", PRIVATE_NETWORKS)

import gradio as gr
from starlette.middleware import Middleware

from network import zero_gpu
from photo.limits import MAX_FILE_BYTES
from serving import sessions
from serving.bodies import checker
from serving.guard import Guard
from serving.models import Models
from serving.service import Service, leave_addresses_alone
from ui.agents import add_tools, show_only_tools
from ui.api import add_endpoints
from ui.page import add_page

ASSETS = Path(__file__).resolve().parent / "assets"
STYLE_SHEETS = ("page.css", "objects.css", "kinds.css")
QUEUE_SIZE = 100
"""Requests that Gradio holds beside those that the scheduler knows of."""
THREADS = 64
"""Requests at once, most of which wait in the scheduler, and so must be more than it lets wait."""
SESSIONS = 200
"""Browser sessions whose last result is kept; one takes 3 MB."""
UNREAD_SECONDS = 600.0
"""How long an answer waits to be read."""
FONT, FONT_MONO = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
"""The visitor's own fonts: nothing is fetched from other hosts."""
LIGHT = {
    "body_text_color_subdued": "*neutral_600",
    **dict.fromkeys(
        (
            "block_label_text_color", "block_title_text_color", "button_primary_background_fill",
            "checkbox_label_background_fill_selected", "color_accent", "slider_color",
        ),
        "*primary_600",
    ),
}  # fmt: skip
"""Where the theme's own colours have less contrast by day than WCAG 2.2 asks for (AA, 4.5)."""
SWEEP_SECONDS, KEEP_SECONDS = 60.0, 3600.0
KEEP_BYTES = 5 * 1024**3


def create_demo(models: Models) -> gr.Blocks:
    """The page and the API around `models`."""
    service = Service(models)
    leave_addresses_alone()
    with gr.Blocks(title="See every object in a photo") as blocks:
        add_page(blocks, service)
        add_endpoints(service)
        add_tools(service)
    return blocks.queue(max_size=QUEUE_SIZE, api_open=False)


def launch(blocks: gr.Blocks, **options: Any) -> Any:
    """`blocks.launch` with this project's look and limits."""
    unread = sessions.Unread(blocks)
    forget = functools.partial(sessions.forget, blocks, unread, KEEP_SECONDS, UNREAD_SECONDS)

    @contextlib.asynccontextmanager
    async def started(app: Any) -> AsyncIterator[None]:
        sessions.take_over(blocks, app)
        show_only_tools(blocks)
        yield

    janitor.start(FOLDER, KEEP_SECONDS, KEEP_BYTES, SWEEP_SECONDS, forget)
    return blocks.launch(
        theme=gr.themes.Soft(font=FONT, font_mono=FONT_MONO).set(**LIGHT),
        css_paths=[ASSETS / name for name in STYLE_SHEETS],
        favicon_path=ASSETS / "favicon.svg",
        state_session_capacity=SESSIONS,
        run_history=False,
        max_file_size=MAX_FILE_BYTES,
        max_threads=THREADS,
        ssr_mode=False,  # its pages would come from another server, past the guard
        app_kwargs={
            "middleware": [Middleware(Guard, check=checker(blocks), folder=FOLDER)],
            "lifespan": started,
        },
        mcp_server=True,
        **options,
    )


models = Models()
demo = create_demo(models)
if zero_gpu.ACTIVE:
    models.load_all()


def main() -> None:
    """Parses the flags and serves; what no flag says, Gradio's environment variables do."""
    parser = argparse.ArgumentParser(description="See every object in a photo, on a web page.")
    parser.add_argument(
        "--share", action="store_true", default=None, help="also open a public link (72 hours)"
    )
    parser.add_argument("--server-name", help="address to listen at, for example 0.0.0.0")
    parser.add_argument("--server-port", type=int, help="port to listen at (7860)")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for name in ("httpx", "mcp"):  # Gradio's own look-ups, and each step of an agent's call
        logging.getLogger(name).setLevel(logging.WARNING)
    lines = logging.StreamHandler()  # of JSON, and nothing before it
    logging.getLogger("requests").addHandler(lines)
    logging.getLogger("requests").propagate = False
    models.start()
    launch(demo, **vars(parser.parse_args()))


if __name__ == "__main__":
    main()

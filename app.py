"""App: opens the page and the API, by `python app.py` or as a Hugging Face Space.

Importing this module builds the page and downloads nothing. A Zero GPU Space (`network.zero_gpu`) is the
exception. There the import loads the models, because they must be in memory before the app is launched.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NoReturn

from network import runtime
from serving import janitor

runtime.prepare()

# These variables are set before Gradio is imported, because Gradio reads them and writes into the folder.
# - GRADIO_TEMP_DIR becomes a folder of our own inside the folder that it names, because the janitor deletes
#   everything in it.
# - GRADIO_ANALYTICS_CACHE_FREQUENCY turns off the statistics of the last 10,000 requests, which Gradio would
#   compute again after each request.
# - FORWARDED_ALLOW_IPS says that a client in a private network is a proxy, so the app believes the visitor's
#   address that the client forwards.
# - TMPDIR becomes the folder that GRADIO_TEMP_DIR names if the system has no temporary folder of its own.
# - HOME becomes a folder beside ours if the user has no home, because libraries look for their settings
#   there.
# - GRADIO_SERVER_NAME is taken away if it is an IPv6 address. `main` hands it over in brackets, as Gradio
#   needs it.
USER = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
FOLDER_NAME = f"photos-{USER}"
try:
    FOLDER = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    FOLDER = FOLDER if FOLDER.name == FOLDER_NAME else FOLDER / FOLDER_NAME
    janitor.claim(FOLDER)
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        os.environ["TMPDIR"] = str(FOLDER.parent)
    try:
        Path.home()
    except RuntimeError:
        janitor.claim(home := FOLDER.with_name(f"home-{USER}"))
        os.environ["HOME"] = str(home)
except OSError as error:
    sys.exit(f"No folder for photos can be made ({error}). Please name a folder in GRADIO_TEMP_DIR.")
os.environ["GRADIO_TEMP_DIR"] = str(FOLDER)
SERVER_NAME = os.environ.get("GRADIO_SERVER_NAME")
if SERVER_NAME and ":" in SERVER_NAME:
    del os.environ["GRADIO_SERVER_NAME"]
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)
PRIVATE_NETWORKS = "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
os.environ.setdefault("FORWARDED_ALLOW_IPS", PRIVATE_NETWORKS)

import gradio as gr
from gradio.tunneling import CURRENT_TUNNELS
from starlette.middleware import Middleware

from network import zero_gpu
from photo.client import client
from photo.limits import MAX_CLIP_BYTES, MAX_FILE_BYTES, MAX_MANY_BYTES
from serving import origins, sessions, tools
from serving.bodies import checker
from serving.guard import Guard
from serving.models import Models
from serving.service import Service, leave_addresses_alone
from ui.agents import add_tools, show_only_tools
from ui.api import add_endpoints
from ui.clips import add_clip_endpoint
from ui.links import EXAMPLES
from ui.live import live_routes
from ui.many_api import add_many_endpoint
from ui.page import add_page

ASSETS = Path(__file__).resolve().parent / "assets"
STYLE_SHEETS = ("page.css", "objects.css", "live.css", "many.css", "summary.css")
QUEUE_SIZE = 100
"""The number of requests that wait in Gradio's queue, in addition to the requests in the scheduler."""
THREADS = 64
"""The number of requests that Gradio handles at once.

Most of these requests wait in the scheduler. So this number must be larger than the number of requests that
may wait there.
"""
SESSIONS = 200
"""The number of browser sessions whose last result is kept. One result takes 3 MB."""
UNREAD_SECONDS = 600.0
"""The time after which an answer that nobody reads is dropped."""
FONT, FONT_MONO = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
"""The fonts of the visitor's own system, so that nothing is fetched from other hosts."""
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
"""Colours for light mode, in place of the theme's own colours.

The theme's own colours have less contrast than WCAG 2.2 demands (AA, 4.5).
"""
SWEEP_SECONDS, KEEP_SECONDS = 60.0, 3600.0
KEEP_BYTES = 5 * 1024**3
FINISH_SECONDS, GIVE_UP_SECONDS, FETCH_SECONDS = 8.0, 1.0, 1.0
"""The longest times for the end of the app: for the work that runs, for telling visitors that their work was
given up, and for clients that fetch their last answers."""
LINE_LENGTH = 500
"""The limit for a line of the libraries' logs, in characters. They repeat what clients send."""


def create_demo(models: Models) -> gr.Blocks:
    """Returns the page and the API, which use `models`."""
    service = Service(models)
    leave_addresses_alone()
    with gr.Blocks(title="See every object in a photo") as blocks:
        add_page(blocks, service)
        add_endpoints(service)
        add_clip_endpoint(service)
        add_many_endpoint(service)
        add_tools(service)
    blocks.service = service  # for `launch` and `stop`
    return blocks.queue(max_size=QUEUE_SIZE, api_open=False)


def launch(blocks: gr.Blocks, **options: Any) -> Any:
    """Launches `blocks` with this project's look and limits, and returns what `blocks.launch` returns.

    Args:
        options: More arguments of `blocks.launch`.
    """
    unread = sessions.Unread(blocks)
    disk = blocks.service.disk

    def tidy() -> None:
        sessions.forget(blocks, unread, KEEP_SECONDS, UNREAD_SECONDS)
        blocks.service.results.forget()
        blocks.service.clips.forget()
        disk.make_room()

    @contextlib.asynccontextmanager
    async def started(app: Any) -> AsyncIterator[None]:
        sessions.take_over(blocks, app)
        origins.take_over(app)
        show_only_tools(blocks)
        tools.take_over(blocks)
        yield

    guard = Middleware(
        Guard,
        check=checker(blocks),
        disk=disk,
        is_event=functools.partial(sessions.is_event, blocks),
        is_session=functools.partial(sessions.is_session, blocks),
    )
    with contextlib.suppress(OSError):  # the first picture starts it again, and its visitor is told why not
        client().start()
    janitor.start(FOLDER, KEEP_SECONDS, KEEP_BYTES, SWEEP_SECONDS, tidy)
    return blocks.launch(
        theme=gr.themes.Soft(font=FONT, font_mono=FONT_MONO).set(**LIGHT),
        css_paths=[ASSETS / name for name in STYLE_SHEETS],
        favicon_path=ASSETS / "favicon.svg",
        state_session_capacity=SESSIONS,
        run_history=False,
        max_file_size=max(MAX_FILE_BYTES, MAX_CLIP_BYTES, MAX_MANY_BYTES),  # the guard tells them apart
        max_threads=THREADS,
        ssr_mode=False,  # with SSR, another server sends the pages, and the guard is bypassed
        app_kwargs={"middleware": [guard], "lifespan": started, "routes": live_routes(blocks.service)},
        mcp_server=True,
        **options,
    )


def stop(blocks: gr.Blocks) -> None:
    """Refuses new requests, waits for the work that runs, and gives the last answers time to arrive.

    Takes at most about 10 seconds. Work that takes longer is given up.
    """
    service: Service = blocks.service
    queue = blocks._queue
    service.close()
    if not service.requests and not queue.event_ids_to_events:
        return
    if not _wait_until(lambda: not service.requests, FINISH_SECONDS):
        service.give_up()
        _wait_until(lambda: not service.requests, GIVE_UP_SECONDS)
    end = time.monotonic() + FETCH_SECONDS
    _wait_until(lambda: not queue.event_ids_to_events, FETCH_SECONDS)
    time.sleep(max(0.0, end - time.monotonic()))  # a client that has its answer may fetch a file now
    for request in list(service.requests):
        request.abandon()


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits until `condition` returns True, for at most `seconds`. Returns whether it did."""
    end = time.monotonic() + seconds
    while not (done := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return done


models = Models()
demo = create_demo(models)
if zero_gpu.ACTIVE:
    models.load_all()


def main() -> None:
    """Parses the flags and serves the app until the process is told to end.

    Gradio's environment variables set what the flags do not set.
    """
    parser = argparse.ArgumentParser(description="See every object in a photo, on a web page.")
    parser.add_argument(
        "--share", action="store_true", default=None, help="also open a public link (72 hours)"
    )
    parser.add_argument("--server-name", help="address to listen at, for example 0.0.0.0 or ::")
    parser.add_argument("--server-port", type=int, help="port to listen at (7860)")
    flags = parser.parse_args()
    _set_up_log()
    # SIGTERM and Ctrl-C both raise KeyboardInterrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        models.start()
        demo.service.look_ahead(EXAMPLES.values())
        launch(
            demo,
            share=flags.share,
            server_name=_in_brackets(flags.server_name or SERVER_NAME),
            server_port=flags.server_port,
            prevent_thread_lock=True,
        )
        while demo.server.thread.is_alive():
            time.sleep(0.1)
    except (OSError, OverflowError) as error:
        reason = str(error).partition(". ")[0].rstrip(".")
        _exit(1, f"The app cannot be opened: {reason}. Please choose another --server-name or --server-port.")
    except Exception:
        logging.getLogger("app").exception("the app cannot be opened")
        _exit(1)
    except KeyboardInterrupt:
        # A second Ctrl-C ends the app at once. A second SIGTERM says nothing new.
        signal.signal(signal.SIGINT, lambda *_: _exit(130))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        logging.getLogger("app").info("the app finishes the work that runs, and ends (Ctrl-C: at once)")
        stop(demo)
    _exit(0)


def _set_up_log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger().handlers[0].addFilter(_shorten)
    for name in ("httpx", "mcp"):  # they log Gradio's own requests and each step of an agent's call
        logging.getLogger(name).setLevel(logging.WARNING)
    lines = logging.StreamHandler()  # its lines are JSON, with nothing before it
    logging.getLogger("requests").addHandler(lines)
    logging.getLogger("requests").propagate = False


def _shorten(record: logging.LogRecord) -> bool:
    """Cuts a long line of the log. Always returns True, which keeps the line."""
    line = record.getMessage()
    if len(line) > LINE_LENGTH:
        record.msg, record.args = f"{line[:LINE_LENGTH]}…", ()
    return True


def _in_brackets(name: str | None) -> str | None:
    """Returns an IPv6 address in brackets, and every other name as it is."""
    return f"[{name}]" if name and ":" in name and not name.startswith("[") else name


def _exit(code: int, sentence: str = "") -> NoReturn:
    """Ends the process at once, whatever its threads do.

    Python would wait for threads that work, and threads of torch that are ended halfway abort the process.
    """
    with contextlib.suppress(OSError):
        if sentence:
            print(sentence, file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    for tunnel in CURRENT_TUNNELS:  # the program behind --share
        tunnel.kill()
    os._exit(code)


if __name__ == "__main__":
    main()

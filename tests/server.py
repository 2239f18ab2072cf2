"""Runs the app on a port of this machine, for tests that need a server."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from app import create_demo, launch
from inference import SegmentationModel, load
from network.weights import WeightsError
from serving.models import Models

SHORTFALL = (
    "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth could not be fetched from download.pytorch.org: no connection."
)


def free_port() -> int:
    """Returns a port that nobody listens at.

    If two test processes let Gradio look for one, both can choose the same. Gradio then starts the app once
    more at the next port, which an app with an MCP server cannot do.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def running(
    model: SegmentationModel,
    shortfall: str | None = SHORTFALL,
    results: int = 0,
    others: Mapping[str, SegmentationModel] | None = None,
) -> Iterator[str]:
    """Runs the app until the block ends, and yields its address.

    `model` takes the place of "auto". `shortfall` is the reason that the page shows for it. `results` is the
    number of results that are kept. By default none is, so the model runs for each request of a test.
    `others` are the only other models that can be had, by their names. By default they are the real ones.
    """

    def load_named(name: str, **options: Any) -> SegmentationModel:
        if others is None:
            return load(name, **options)
        if name not in others:
            raise WeightsError(f"{name}.pth could not be fetched from download.pytorch.org: no connection.")
        return others[name]

    models = Models(lambda: (model, shortfall), load_named)
    for name in others or ():
        models.get(name)
    demo = create_demo(models)
    demo.service.results.most = results
    models.start()
    _, url, _ = launch(
        demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=free_port()
    )
    try:
        yield url
    finally:
        demo.close(verbose=False)

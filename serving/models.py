"""Models: those this process serves, loaded behind the page so that the page can open first."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from inference import SegmentationModel, load_best, load_model, on_network_thread, segment
from network import zero_gpu
from network.architectures import ARCHITECTURES
from network.weights import WeightsError

RETRY_SECONDS = 30.0
"""How long a model that could not be had is not looked for again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Best:
    """What "auto" stands for at present.

    Args:
        model: The model.
        shortfall: Why it is not the one it should be; None where it is.
    """

    model: SegmentationModel
    shortfall: str | None


class Models:
    """Gives models by name; "auto" is loaded and warmed up by a thread of its own."""

    def __init__(
        self,
        load_best: Callable[[], tuple[SegmentationModel, str | None]] = load_best,
        load_named: Callable[[str], SegmentationModel] = load_model,
    ) -> None:
        self._load_best = load_best
        self._load_named = load_named
        self._lock = threading.Lock()
        self._pending: Future[Best] | None = None
        self._best: Best | None = None
        self._named: dict[str, SegmentationModel] = {}
        self._missing: dict[str, tuple[float, WeightsError]] = {}

    def start(self) -> Future[Best]:
        """Begins to load "auto", unless that was begun before. Returns at once."""
        with self._lock:
            return self._pending or self._begin()

    def load_all(self) -> None:
        """Loads every model that can be had, in this thread, and returns when that is done."""
        with self._lock:
            self._pending = pending = Future[Best]()
        self._load(pending)
        for name in ARCHITECTURES:
            with contextlib.suppress(WeightsError):  # the visitor who wants it is told
                self.get(name)

    def retry(self) -> None:
        """Tries again to load a better model than the one at hand, if there may be one. Returns at once."""
        with self._lock:
            if not self.loading and (self._best is None or self._best.shortfall):
                self._begin()

    @property
    def loading(self) -> bool:
        """Whether "auto" is being loaded now."""
        return self._pending is not None and not self._pending.done()

    @property
    def best(self) -> Best | None:
        """What "auto" stands for; None before the first was loaded."""
        return self._best

    def ready(self, name: str = "auto") -> SegmentationModel | None:
        """The model of that name if it is in memory. Returns at once."""
        if name != "auto":
            return self._named.get(name)
        return self._best.model if self._best else None

    def get(self, name: str = "auto") -> SegmentationModel:
        """The model of that name, as `inference.load_model`, after waiting for it where needed.

        Raises:
            WeightsError: For `RETRY_SECONDS` the same one, without another attempt.
        """
        if name == "auto":
            return (self._best or self.start().result()).model
        when, missing = self._missing.get(name, (0.0, None))
        if missing and time.monotonic() < when + RETRY_SECONDS:
            raise WeightsError(str(missing))
        try:
            self._named[name] = self._load_named(name)
        except WeightsError as error:
            self._missing[name] = time.monotonic(), error
            raise
        return self._named[name]

    def _begin(self) -> Future[Best]:
        self._pending = pending = Future[Best]()
        threading.Thread(target=self._load, args=(pending,), name="load-model", daemon=True).start()
        return pending

    def _load(self, pending: Future[Best]) -> None:
        try:
            best = Best(*self._load_best())
            if not zero_gpu.ACTIVE:  # where no processor is lent before the first visitor comes
                # The first run is slower than the rest.
                on_network_thread(lambda: segment(best.model, np.zeros((480, 640, 3), np.uint8)))
        except BaseException as error:
            logger.exception("no model could be loaded")
            pending.set_exception(error)
        else:
            self._best = best
            pending.set_result(best)

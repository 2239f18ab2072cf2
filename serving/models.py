"""Models: the models in memory, loaded behind the page so that the page can open first.

`Models` is the only cache of models in a process. It loads each model once, however many ask for it, and
gives the same object to everybody.
"""

from __future__ import annotations

import contextlib
import copyreg
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pickle import PicklingError  # nosec B403
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from inference import SegmentationModel, load, load_best, segment
from network import zero_gpu
from network.architectures import ARCHITECTURES
from network.weights import WeightsError
from serving.photos import on_network_thread

RETRY_SECONDS = 30.0
"""How long a model that could not be loaded is not tried again."""
AUTO = "auto"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Best:
    """What "auto" stands for at present.

    Args:
        model: The model.
        shortfall: Why it is not the model that it should be. None if it is.
    """

    model: SegmentationModel
    shortfall: str | None


class Models:
    """Gives models by name, and keeps them. "auto" is loaded and warmed up by a thread of its own.

    Args:
        load_best: Loads what "auto" stands for. By default `inference.load_best`, through this cache.
        load_named: Loads a model, as `inference.load`.
    """

    def __init__(
        self,
        load_best: Callable[[], tuple[SegmentationModel, str | None]] | None = None,
        load_named: Callable[..., SegmentationModel] = load,
    ) -> None:
        self._load_best = load_best or self._load_best_through_cache
        self._load_named = load_named
        self._lock = threading.Lock()
        self._futures: dict[str, Future[SegmentationModel]] = {}
        self._failed_at: dict[str, float] = {}
        self._best: Best | None = None
        self._on_best: Callable[[SegmentationModel], None] = lambda model: None

    def start(self, name: str = AUTO) -> Future[SegmentationModel]:
        """Begins to load a model in a thread, unless it is there or being loaded. Returns at once."""
        future, is_ours = self._claim(name)
        if is_ours:
            threading.Thread(target=self._load, args=(name, future), name="load-model", daemon=True).start()
        return future

    def get(self, name: str = AUTO) -> SegmentationModel:
        """Returns the model of that name, and waits for it if needed.

        Raises:
            ModelError, WeightsError: As `inference.load`. For `RETRY_SECONDS` the same error comes without
                another attempt.
        """
        if name == AUTO and self._best:
            return self._best.model
        future, is_ours = self._claim(name)
        if is_ours:
            self._load(name, future)
        return future.result()

    def load_all(self) -> None:
        """Loads every model that can be loaded, in this thread, and returns when they are there."""
        for name in (AUTO, *ARCHITECTURES):
            with contextlib.suppress(WeightsError):  # a visitor who wants this model is told
                self.get(name)

    def on_cpu(self, name: str) -> SegmentationModel:
        """Returns the model of that name on the CPU, as a spare for a device that failed."""
        model = self.ready(name)
        return model if model and model.device.type == "cpu" else self.get(f"{name} on cpu")

    def when_best(self, act: Callable[[SegmentationModel], None]) -> None:
        """Calls `act` in a thread of its own whenever "auto" was loaded, and now if it is in memory."""
        self._on_best = lambda model: threading.Thread(
            target=act, args=(model,), name="on-best", daemon=True
        ).start()
        if self._best:
            self._on_best(self._best.model)

    def retry(self) -> None:
        """Tries again to load a better model than the one at hand, if there may be one. Returns at once."""
        with self._lock:
            if self.loading or (self._best and not self._best.shortfall):
                return
            self._failed_at.clear()
            self._futures.pop(AUTO, None)
        self.start()

    @property
    def loading(self) -> bool:
        """Whether "auto" is being loaded now."""
        future = self._futures.get(AUTO)
        return future is not None and not future.done()

    @property
    def best(self) -> Best | None:
        """What "auto" stands for. None before the first model was loaded."""
        return self._best

    def ready(self, name: str = AUTO) -> SegmentationModel | None:
        """Returns the model of that name if it is in memory. Does not wait."""
        if name == AUTO:
            return self._best.model if self._best else None
        future = self._futures.get(name)
        return future.result() if future and future.done() and not future.exception() else None

    def _claim(self, name: str) -> tuple[Future[SegmentationModel], bool]:
        """The future of a model, and whether the caller has to load the model."""
        with self._lock:
            future = self._futures.get(name)
            failed = future is not None and future.done() and future.exception() is not None
            if future and not (failed and self._may_try_again(name)):
                return future, False
            future = self._futures[name] = Future()
            return future, True

    def _may_try_again(self, name: str) -> bool:
        return time.monotonic() >= self._failed_at.get(name, float("-inf")) + RETRY_SECONDS

    def _load(self, name: str, future: Future[SegmentationModel]) -> None:
        try:
            model = self._load_auto() if name == AUTO else self._load_one(name)
        except BaseException as error:
            if isinstance(error, WeightsError) or name == AUTO:
                self._failed_at[name] = time.monotonic()
            if name == AUTO:
                logger.exception("no model could be loaded")
            future.set_exception(error)
        else:
            _in_memory[id(model)] = model
            future.set_result(model)
            if name == AUTO:
                self._on_best(model)

    def _load_one(self, name: str) -> SegmentationModel:
        name, _, device = name.partition(" on ")
        return self._load_named(name, device=device) if device else self._load_named(name)

    def _load_auto(self) -> SegmentationModel:
        best = Best(*self._load_best())
        if not zero_gpu.ACTIVE:  # on ZeroGPU no graphics processor is lent before the first visitor comes
            # The first run is slower than the rest.
            on_network_thread(lambda: segment(best.model, np.zeros((480, 640, 3), np.uint8)))
        self._best = best
        return best.model

    def _load_best_through_cache(self) -> tuple[SegmentationModel, str | None]:
        return load_best(load=lambda name, **options: self.get(name))


_in_memory: WeakValueDictionary[int, SegmentationModel] = WeakValueDictionary()
"""The models that any `Models` of this process holds, by `id`. A process that is forked has the same ones."""


def _reduce(model: SegmentationModel) -> tuple[Any, ...]:
    """Pickles a model as its `id`, because a forked process already holds the same model (ZeroGPU)."""
    if _in_memory.get(id(model)) is not model:
        raise PicklingError("Only models that `serving.models.Models` holds can go to another process.")
    return _find, (id(model),)


def _find(key: int) -> SegmentationModel:
    return _in_memory[key]


copyreg.pickle(SegmentationModel, _reduce)

"""Results: keeps what was found in each photo, so that the network does not look at the same photo twice.

A result is found again by the content of the photo's file, and never by its name. What is kept holds no path
and no name of anybody's file: each request gets the result with the path of its own file.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from answer.progress import OnStage
from answer.result import Result
from inference import SegmentationModel, detail_of
from network.detail import FULL_DETAIL

RESULTS = 200
"""The number of results that are kept. One result takes about 3 MB."""
SECONDS = 3600.0
"""How long a result is kept after it was used last."""
POLL_SECONDS = 0.1
"""Seconds between two checks whether a request that waits for another one's result is still wanted."""
NOWHERE = Path()
ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    *("photo/*.py", "network/*.py", "inference.py", "closer.py", "matching.py", "detections.py"),
    "serving/photos.py",
)
"""The code that decides what is found in a photo."""

Key = tuple[str, ...]


@dataclass(slots=True)
class _Kept:
    result: Result
    used: float


class Results:
    """Keeps results by the content of the photo's file and by everything else that decides what is found.

    Args:
        most: The number of results that are kept. The one that was not used for the longest time goes first.
        seconds: How long a result is kept after it was used last.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, most: int = RESULTS, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.seconds = most, seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._running: dict[Key, threading.Event] = {}
        self._lasting: set[Key] = set()

    def get(
        self,
        path: Path,
        model: SegmentationModel,
        on_stage: OnStage,
        work: Callable[[], Result],
        detail: str = FULL_DETAIL,
        lasting: bool = False,
    ) -> Result:
        """Returns the result for the photo at `path`: a kept one, or what `work` returns.

        If another request works on the same photo, this one waits for its result. If the other one fails or
        is stopped, this one does the work itself. An error is not kept.

        Args:
            on_stage: Called while the request waits. What it raises ends this request alone.
            lasting: Keeps the result until the process ends. For pictures of the owner's.
        """
        start = time.perf_counter()
        try:
            key = key_of(path, model, detail)
        except OSError:  # reading the photo fails as well, with a sentence
            return work()
        if lasting:
            self._lasting.add(key)
        while True:
            with self._lock:
                kept = self._find(key)
                running = self._running.get(key)
                if kept is None and running is None:
                    ours = self._running[key] = threading.Event()
                    break
            if kept is not None:
                return kept.again(path, (time.perf_counter() - start) * 1000)
            assert running is not None
            on_stage(0.2, "Waiting for the same photo")
            running.wait(POLL_SECONDS)
        try:
            result = work()
            self._keep(key, result)
            return result
        finally:
            with self._lock:
                del self._running[key]
            ours.set()

    def holds(self, path: Path, model: SegmentationModel, detail: str = FULL_DETAIL) -> bool:
        """Returns whether the result for the photo at `path` is kept."""
        try:
            key = key_of(path, model, detail)
        except OSError:
            return False
        with self._lock:
            return self._find(key, use=False) is not None

    def forget(self) -> None:
        """Drops the results that were not used for too long. They go before the next use in any case."""
        with self._lock:
            for key in list(self._kept):
                self._find(key, use=False)

    def _find(self, key: Key, use: bool = True) -> Result | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if key not in self._lasting and self._clock() >= kept.used + self.seconds:
            del self._kept[key]
            return None
        if use:
            kept.used = self._clock()
            self._kept.move_to_end(key)
        return kept.result

    def _keep(self, key: Key, result: Result) -> None:
        kept = result.again(NOWHERE, 0.0)
        kept.working_image.flags.writeable = False  # all who ask for it share it
        with self._lock:
            self._kept[key] = _Kept(kept, self._clock())
            passing = [key for key in self._kept if key not in self._lasting]
            for key in passing[: max(0, len(passing) - self.most)]:
                del self._kept[key]


def key_of(path: Path, model: SegmentationModel, detail: str) -> Key:
    """Returns what decides what is found: the photo's bytes, the model, how it runs, and the code.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        photo = hashlib.file_digest(file, "sha256").hexdigest()
    return photo, model.name, model.sha256, model.precision, detail_of(model, detail), code_version()


@cache
def code_version() -> str:
    """Returns the SHA-256 of the sources that decide what is found in a photo."""
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()

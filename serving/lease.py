"""Lease: a graphics processor that a live visitor borrows for some seconds, on a Zero GPU Space.

A call for each frame would start a process for each frame. A lease is one call (`network.zero_gpu.on_gpu`)
whose process takes one frame after the other through a pipe. It ends after `LEASE_SECONDS`, or earlier if no
frame comes.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from contextvars import copy_context
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from detections import Detections
from inference import SegmentationModel, segment
from network.zero_gpu import NOT_LENT, START_SECONDS, NotLentError, on_gpu

LEASE_SECONDS = 20
"""The seconds to ask for, with the start of the process. A visitor's quota for a day is a few minutes."""
QUIET_SECONDS = 3.0
"""The time without a frame after which the graphics processor is given back."""
ANSWER_SECONDS = 10.0
"""The longest time for one frame."""
POLL_SECONDS = 0.1

logger = logging.getLogger(__name__)


def _serve(frames: Connection, model: SegmentationModel) -> None:
    """Finds the instances in one frame after the other, in the process that has the graphics processor."""
    end = time.monotonic() + LEASE_SECONDS - START_SECONDS
    frames.send(None)
    while (left := end - time.monotonic()) > 0 and frames.poll(min(left, QUIET_SECONDS)):
        frame = frames.recv()
        if frame is None:  # given back
            return
        frames.send(segment(model, *frame))


_serve_on_gpu = on_gpu(_serve, lambda *_: LEASE_SECONDS)


class Lease:
    """Asks for a graphics processor, in a thread, as soon as it is made.

    Args:
        model: The model that looks. It must be one that `serving.models.Models` holds.
    """

    def __init__(self, model: SegmentationModel) -> None:
        self._frames, theirs = Pipe()
        self._end: float | None = None
        self.over = False
        """Whether the graphics processor is not lent any more, or never was."""
        self.refusal: str | None = None
        """Why none was lent, in a sentence for the visitor."""
        # The visitor whose quota counts is in the context.
        threading.Thread(
            target=copy_context().run, args=(self._hold, theirs, model), name="lease", daemon=True
        ).start()

    def _hold(self, theirs: Connection, model: SegmentationModel) -> None:
        try:
            _serve_on_gpu(theirs, model)
        except NotLentError as error:
            self.refusal = str(error)
        except Exception:
            logger.exception("a lease failed")
            self.refusal = NOT_LENT
        finally:
            self.over = True
            theirs.close()

    @property
    def seconds_left(self) -> float:
        """How long frames can be looked at: 0 before the graphics processor is lent, and after the end."""
        if self._end is None and not self.over and self._frames.poll():
            self._frames.recv()
            self._end = time.monotonic() + LEASE_SECONDS - START_SECONDS
        return 0.0 if self.over or self._end is None else max(0.0, self._end - time.monotonic())

    def segment(self, image: NDArray[np.uint8], detail: str) -> Detections:
        """Finds the instances in a frame, as `inference.segment` does.

        Raises:
            NotLentError: The lease is over.
        """
        try:
            self._frames.send((image, detail))
            end = time.monotonic() + ANSWER_SECONDS
            while not self._frames.poll(POLL_SECONDS):
                if self.over or time.monotonic() > end:
                    raise NotLentError(self.refusal or NOT_LENT)
            found: Detections = self._frames.recv()
        except (OSError, EOFError) as error:
            raise NotLentError(self.refusal or NOT_LENT) from error
        return found

    def give_back(self) -> None:
        """Ends the lease. The visitor's quota counts no further."""
        with suppress(OSError):
            self._frames.send(None)

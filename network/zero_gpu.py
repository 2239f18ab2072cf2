"""Zero GPU: runs functions on Hugging Face Spaces that get a graphics processor for seconds at a time.

On such a Space, the library `spaces` forks a process for each call that needs the graphics processor. The
process can use everything that was placed on "cuda" before the app was launched. Elsewhere, or without the
library, this module has no effect. Source: https://huggingface.co/docs/hub/spaces-zerogpu.
"""

from __future__ import annotations

import functools
import math
import os
import re
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

try:
    import spaces
except ImportError:
    spaces = None

START_SECONDS = 6.0
"""Room for the start of a new process, which gets the models first. Not measured on such a Space."""
PICTURE_SECONDS = 0.2
"""The longest time for one picture. On an H200 the networks take 0.02 to 0.03 s."""
LEASES = 4
"""How many visitors may use a graphics processor at the same time."""
ACTIVE = spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
"""Whether this process runs on a Zero GPU Space."""

SLOWER = "so the CPU did this, slower."
REFUSALS = (
    (
        "No GPU was available",
        f"No graphics processor was free, {SLOWER} Who is signed in to Hugging Face waits less.",
    ),
    (
        "quota|credits|runs limit|GPU limit",
        f"The time on the graphics processor is used up for now, {SLOWER} "
        "Who is signed in to Hugging Face has more, and who has a PRO account has most.",
    ),
    ("aborted", f"The graphics processor was taken back too early, {SLOWER}"),
    ("OutOfMemoryError|AcceleratorError", f"The graphics processor failed, {SLOWER}"),
)
"""Patterns for the words of `spaces`, and the sentences for the visitor. The first match counts."""
NOT_LENT = f"No graphics processor could be borrowed, {SLOWER}"
BROKER_FAULTS = re.compile("ZeroGPU|Unexpected end of stream|queue disconnect")
"""The beginnings of plain errors that `spaces` raises about its broker."""

P = ParamSpec("P")
T = TypeVar("T")


class NotLentError(RuntimeError):
    """No graphics processor was lent, or it was taken back. The message is a sentence for the visitor."""


def seconds_for(pictures: int) -> int:
    """Returns the seconds to ask for. A call that asks for less gets a better place in the queue."""
    return math.ceil(START_SECONDS + pictures * PICTURE_SECONDS)


def on_gpu(
    function: Callable[P, T], seconds: Callable[P, int] = lambda *_, **__: seconds_for(1)
) -> Callable[P, T]:
    """Returns `function` wrapped so that it runs on the graphics processor.

    On a Zero GPU Space the arguments and the result are pickled, and a call may raise `NotLentError`.
    Elsewhere `function` runs as it is.

    Args:
        seconds: Gets the arguments of a call, and returns the longest time that it may take.
    """
    if not spaces:
        return function
    borrowing: Callable[P, T] = spaces.GPU(duration=seconds)(function)
    if not ACTIVE:
        return borrowing

    @functools.wraps(function)
    def lent(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return borrowing(*args, **kwargs)
        except Exception as error:
            if (sentence := _refusal(error)) is None:
                raise
            raise NotLentError(sentence) from error

    return lent


def _refusal(error: Exception) -> str | None:
    """Returns a sentence for the visitor if `error` is about lending. None if it is a fault of ours.

    `spaces` raises Gradio's errors, with a title. If `function` fails, their message is an error's class.
    """
    title = str(getattr(error, "title", ""))
    if title.startswith("ZeroGPU"):
        said = f"{title}: {getattr(error, 'message', '')}"
        sentence = next((words for pattern, words in REFUSALS if re.search(pattern, said)), None)
        return sentence or (None if title == "ZeroGPU worker error" else NOT_LENT)
    broken = type(error) is RuntimeError and BROKER_FAULTS.match(str(error))
    return NOT_LENT if broken or type(error).__module__.startswith("httpx") else None


def can_place() -> bool:
    """Whether this thread may place a model on "cuda".

    On a Zero GPU Space only the main thread may do so, before the app is launched.
    """
    return not ACTIVE or threading.current_thread() is threading.main_thread()

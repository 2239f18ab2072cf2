"""Zero GPU: runs functions on Hugging Face Spaces that get a graphics processor for seconds at a time.

On such a Space, the library `spaces` forks a process for each call that needs the graphics processor. The
process can use everything that was placed on "cuda" before the app was launched. Elsewhere, or without the
library, this module has no effect. Source: https://huggingface.co/docs/hub/spaces-zerogpu.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

try:
    import spaces
except ImportError:
    spaces = None

SECONDS = 10
"""The longest time that one photo may take on the graphics processor.

A call that asks for less time gets a better place in the queue.
"""
ACTIVE = spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
"""Whether this process runs on a Zero GPU Space."""

P = ParamSpec("P")
T = TypeVar("T")


def on_gpu(function: Callable[P, T]) -> Callable[P, T]:
    """Returns `function` wrapped so that it runs on the graphics processor.

    On a Zero GPU Space the arguments and the result are pickled. Elsewhere `function` runs as it is.
    """
    return spaces.GPU(duration=SECONDS)(function) if spaces else function


def can_place() -> bool:
    """Whether this thread may place a model on "cuda".

    On a Zero GPU Space only the main thread may do so, before the app is launched.
    """
    return not ACTIVE or threading.current_thread() is threading.main_thread()

"""Zero GPU: Spaces that are lent a graphics processor for seconds at a time.

There a call that wants the processor runs in a process that is forked for it, with what was placed on "cuda"
before the app was launched (https://huggingface.co/docs/hub/spaces-zerogpu). The library `spaces` does this;
everywhere else, and where it is not installed, nothing here has any effect.
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
"""How long a photo is allowed to take there. A short time gives it a better place in the line."""
ACTIVE = spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
"""Whether this process runs on such a Space."""

P = ParamSpec("P")
T = TypeVar("T")


def on_gpu(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, run with the processor that is lent. Arguments and results are pickled on the way."""
    return spaces.GPU(duration=SECONDS)(function) if spaces else function


def can_place() -> bool:
    """Whether a model may be placed on "cuda": there, by the main thread only, before the app is launched."""
    return not ACTIVE or threading.current_thread() is threading.main_thread()

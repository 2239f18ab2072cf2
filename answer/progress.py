"""Progress: how long work tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable

OnStage = Callable[[float, str], object]
"""Called before each step with the share of the work that is done, 0 to 1, and a few words for the visitor.

It may raise, which ends the work.
"""


def ignore_stage(share: float, words: str) -> None:
    """An `OnStage` that does nothing."""

"""Progress: lets a long piece of work tell its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable

OnStage = Callable[[float, str], object]
"""A function that is called before each step of the work.

The function gets the share of the work that is done, 0 to 1, and a few words for the visitor. The function
may raise an error, which ends the work.
"""


def ignore_stage(share: float, words: str) -> None:
    """Does nothing. It is the `OnStage` of callers that need no progress."""

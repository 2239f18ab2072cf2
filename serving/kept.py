"""Kept: keeps a few values for an hour, each under a token that nobody can guess.

The page gives a visitor's browser the token of the visitor's result. After a reload the browser sends the
token, and the page opens as it was.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

SECONDS = 3600.0
"""How long a value is kept after it was last used."""
MOST = 200
"""The number of values that are kept. The one that was not used for the longest time gives way."""
TOKEN_BYTES = 32

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by token. It can be used from several threads."""

    def __init__(self, seconds: float = SECONDS, most: int = MOST) -> None:
        self._seconds, self._most = seconds, most
        self._values: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, value: T, instead_of: str | None = None, token: str | None = None) -> str:
        """Keeps `value`, and returns its token.

        Args:
            instead_of: The token of a value that is dropped. A visitor has one value at a time.
            token: The value's token, if it needs no protection by being hard to guess.
        """
        token = token or secrets.token_urlsafe(TOKEN_BYTES)
        with self._lock:
            if instead_of is not None:
                self._values.pop(instead_of, None)
            self._values[token] = time.monotonic(), value
            self._drop()
        return token

    def get(self, token: object) -> T | None:
        """Returns the value of a token, or None if it is not kept (any more)."""
        with self._lock:
            self._drop()
            if not isinstance(token, str) or token not in self._values:
                return None
            _, value = self._values.pop(token)
            self._values[token] = time.monotonic(), value
            return value

    def _drop(self) -> None:
        """Drops what is too old or too much. The values are in the order of their last use."""
        now = time.monotonic()
        while self._values:
            used, _ = next(iter(self._values.values()))
            if len(self._values) <= self._most and used + self._seconds > now:
                break
            self._values.popitem(last=False)

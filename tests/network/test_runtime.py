from __future__ import annotations

import ctypes
import os
import sys

import pytest

from network import runtime


class Libc:
    """A C library that records its settings."""

    def __init__(self) -> None:
        self.told: dict[int, int] = {}

    def mallopt(self, name: int, value: int) -> int:
        self.told[name] = value
        return 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> Libc:
    libc = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("GOMP_SPINCOUNT", "MALLOC_ARENA_MAX"):
        monkeypatch.setenv(name, "")  # so that monkeypatch undoes what `prepare` sets
        monkeypatch.delenv(name)
    return libc


def test_freed_memory_is_kept_and_idle_threads_sleep(libc: Libc) -> None:
    runtime.prepare()
    assert libc.told == {-8: 1, -3: 1 << 30, -1: 1 << 30}
    assert os.environ["GOMP_SPINCOUNT"] == runtime.SPINS


def test_what_an_owner_has_set_stays(libc: Libc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    runtime.prepare()
    assert libc.told == {}
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_another_system_or_libc_is_left_alone(libc: Libc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    runtime.prepare()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    monkeypatch.setattr(sys, "platform", "darwin")
    runtime.prepare()
    assert libc.told == {}

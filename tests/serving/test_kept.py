from __future__ import annotations

import re
import threading

import pytest

from serving import kept
from serving.kept import Kept


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that `serving.kept` reads. It stands still until a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(kept.time, "monotonic", lambda: now[0])
    return now


def test_a_value_comes_back_for_its_token_and_for_no_other() -> None:
    values = Kept[str]()
    first, second = values.put("first"), values.put("second")
    assert (values.get(first), values.get(second)) == ("first", "second")
    assert values.get(first) == "first"
    for wrong in ("", first[:-1], f"{first}x", first.swapcase(), None, 7, [first], {"token": first}):
        assert values.get(wrong) is None


def test_nobody_can_guess_a_token() -> None:
    values = Kept[int](most=1000)
    tokens = [values.put(number) for number in range(1000)]
    assert len(set(tokens)) == 1000
    assert all(re.fullmatch(r"[\w-]{43}", token) for token in tokens)  # 32 random bytes
    assert len({token[:4] for token in tokens}) > 990


def test_a_value_is_kept_for_an_hour_after_it_was_last_used(clock: list[float]) -> None:
    values = Kept[str]()
    token = values.put("photo")
    for _ in range(3):
        clock[0] += 3599
        assert values.get(token) == "photo"
    clock[0] += 3600
    assert values.get(token) is None
    assert values.get(token) is None


def test_what_is_too_old_goes_when_something_else_is_kept(clock: list[float]) -> None:
    values = Kept[str](seconds=10)
    values.put("old")
    clock[0] += 10
    values.put("new")
    assert [value for _, value in values._values.values()] == ["new"]


def test_of_too_many_the_one_that_was_not_used_for_the_longest_time_goes() -> None:
    values = Kept[int](most=3)
    tokens = [values.put(number) for number in range(3)]
    assert values.get(tokens[0]) == 0
    tokens.append(values.put(3))
    assert [values.get(token) for token in tokens] == [0, None, 2, 3]


def test_a_visitor_has_one_value_at_a_time() -> None:
    values = Kept[str]()
    token = values.put("dogs")
    other = values.put("another visitor's")
    after = values.put("bus", instead_of=token)
    assert (values.get(token), values.get(after), values.get(other)) == (None, "bus", "another visitor's")
    assert values.get(values.put("ship", instead_of="a token that is not kept any more")) == "ship"


def test_many_threads_may_use_it_at_once() -> None:
    values = Kept[int](most=50)
    faults: list[BaseException] = []

    def use(first: int) -> None:
        try:
            token = None
            for number in range(first, first + 300):
                token = values.put(number, instead_of=token)
                assert values.get(token) in (number, None)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=use, args=(1000 * k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert faults == []
    assert len(values._values) == 8

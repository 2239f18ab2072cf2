from __future__ import annotations

import threading

import pytest

from serving.photos import on_network_thread


def test_networks_run_alone_in_a_thread_of_their_own() -> None:
    names: list[str] = []
    at_once = threading.Semaphore(1)

    def work() -> None:
        assert at_once.acquire(blocking=False)
        names.append(threading.current_thread().name)
        at_once.release()

    threads = [threading.Thread(target=on_network_thread, args=(work,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 8 and set(names) == {"network_0"}
    with pytest.raises(ZeroDivisionError):
        on_network_thread(lambda: 1 // 0)

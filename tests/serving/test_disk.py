"""The account of reserved room, on a disk that is made up for the test."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from serving import disk
from serving.disk import MEGABYTE, RECENT_SECONDS, SPARE_BYTES, Disk, DiskFull

SIZE = 330 * MEGABYTE
OLD = RECENT_SECONDS + 60


class FakeDisk:
    """A disk of `SIZE` bytes that holds the files below one folder and nothing else.

    The files are sparse, so they take no room on the true disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def usage(self, path: object) -> SimpleNamespace:
        used = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        return SimpleNamespace(free=SIZE - used)

    def put(self, name: str, megabytes: int, age: float = 0.0) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(megabytes * MEGABYTE)
        os.utime(path, (time.time() - age,) * 2)
        return path


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a file of a size in megabytes and an age in seconds on the made-up disk."""
    fake = FakeDisk(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", fake.usage)
    monkeypatch.setattr(disk, "PAUSE_SECONDS", 0.0)
    return fake.put


def test_what_is_reserved_cannot_be_reserved_again(put: Callable[..., Path], tmp_path: Path) -> None:
    room = Disk(tmp_path)
    first = room.reserve(SIZE - SPARE_BYTES - MEGABYTE)
    second = room.reserve(MEGABYTE)
    with pytest.raises(DiskFull) as caught:
        room.reserve(1)
    assert caught.value.errno == errno.ENOSPC
    room.release(second)
    room.release(second)
    room.reserve(MEGABYTE)
    room.release(first)
    room.reserve(200 * MEGABYTE)


def test_four_exports_of_one_photo_do_not_fill_the_disk_together(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    room, taken = Disk(tmp_path), []
    for i in range(4):
        with contextlib.suppress(DiskFull):
            taken.append(room.reserve(90 * MEGABYTE, tmp_path / str(i)))
    assert len(taken) == 2
    for reservation in taken:
        assert reservation.folder
        put(f"{reservation.folder.name}/photo.zip", 90)
    assert disk.shutil.disk_usage(tmp_path).free >= SPARE_BYTES


def test_what_a_reservation_has_used_is_not_counted_twice(put: Callable[..., Path], tmp_path: Path) -> None:
    room = Disk(tmp_path)
    room.reserve(100 * MEGABYTE, tmp_path / "a")
    put("a/half", 60)
    room.reserve(SIZE - SPARE_BYTES - 100 * MEGABYTE)
    with pytest.raises(DiskFull):
        room.reserve(1)
    put("a/more than was said", 60)
    with pytest.raises(DiskFull):
        room.reserve(1)


def test_the_oldest_files_give_way_when_room_is_needed_and_no_more_than_needed(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    files = [put(f"{age}.zip", 60, OLD + age) for age in (40, 30, 20, 10)]
    room = Disk(tmp_path)
    room.reserve(50 * MEGABYTE)
    assert [file.exists() for file in files] == [False, True, True, True]
    room.reserve(MEGABYTE)
    assert [file.exists() for file in files] == [False, False, True, True]


def test_recent_files_and_files_in_use_stay(put: Callable[..., Path], tmp_path: Path) -> None:
    recent = put("a/recent.zip", 60, RECENT_SECONDS - 60)
    photo, export, other = put("b/photo.jpg", 60, OLD), put("c/d/export.zip", 60, OLD), put("e", 60, OLD)
    in_use = [photo, tmp_path / "c"]
    room = Disk(tmp_path, lambda: in_use)
    room.reserve(20 * MEGABYTE)
    with pytest.raises(DiskFull):
        room.reserve(60 * MEGABYTE)
    assert [file.exists() for file in (recent, photo, export, other)] == [True, True, True, False]
    in_use.clear()
    room.reserve(60 * MEGABYTE)
    assert [file.exists() for file in (recent, photo, export)].count(True) == 2 and recent.exists()


def test_a_full_disk_recovers_by_itself(put: Callable[..., Path], tmp_path: Path) -> None:
    old, new = put("old", 200, OLD), put("new", 50, 0)
    room = Disk(tmp_path)
    room.make_room()
    assert not old.exists() and new.exists()
    kept = put("other", 10, OLD)
    room.make_room()
    assert kept.exists(), "there is room enough"


def test_a_flood_on_a_full_disk_does_not_search_it_again_and_again(
    put: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[object] = []
    monkeypatch.setattr(disk.janitor, "make_room", lambda *arguments: searches.append(arguments))
    monkeypatch.setattr(disk, "PAUSE_SECONDS", 60.0)
    put("new", 300)
    room = Disk(tmp_path)
    for _ in range(20):
        with pytest.raises(DiskFull):
            room.reserve(MEGABYTE)
    assert len(searches) == 1


def test_the_folder_need_not_exist(tmp_path: Path) -> None:
    Disk(tmp_path / "not" / "there").reserve(1)
    Disk(Path("not there either")).make_room()


def test_many_threads_reserve_no_more_than_there_is(put: Callable[..., Path], tmp_path: Path) -> None:
    room, taken = Disk(tmp_path), []

    def reserve() -> None:
        with contextlib.suppress(DiskFull):
            taken.append(room.reserve(10 * MEGABYTE))

    threads = [threading.Thread(target=reserve) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == (SIZE - SPARE_BYTES) // (10 * MEGABYTE)

"""The janitor with files of a known age."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving import janitor

HOUR = 3600.0
NOW = 1_000_000.0
"""Seconds since the epoch. The number is whole, so that the file system stores it exactly."""


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file into the folder `tmp_path / "kept"`, with a size in bytes and an age in seconds."""

    def put(name: str, size: int = 1, age: float = 0.0) -> Path:
        path = tmp_path / "kept" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
        for one in (path, *path.relative_to(tmp_path).parents):
            if str(one) != ".":
                os.utime(tmp_path / one, (time.time() - age,) * 2)
        return path

    return put


def test_what_is_older_than_it_may_be_goes_and_the_rest_stays(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    old, new = put("a/old.jpg", 5, HOUR + 9), put("b/new.jpg", 3, HOUR - 9)
    assert janitor.sweep(tmp_path / "kept", HOUR, 100) == 3
    assert not old.exists() and new.exists()


def test_nothing_at_all_is_left_when_the_time_is_over(put: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a/b/c/deep.png", "aborted-upload", "zip/every.zip", ".hidden"):
        put(name, 7, HOUR + 1)
    (tmp_path / "kept" / "empty").mkdir()
    os.utime(tmp_path / "kept" / "empty", (0, 0))
    assert janitor.sweep(tmp_path / "kept", HOUR, 10**9) == 0
    janitor.sweep(tmp_path / "kept", HOUR, 10**9, time.time() + HOUR + 2)
    assert [path for path in (tmp_path / "kept").rglob("*") if not path.is_dir()] == []
    janitor.sweep(tmp_path / "kept", HOUR, 10**9, time.time() + 3 * HOUR)
    assert list((tmp_path / "kept").iterdir()) == []
    assert (tmp_path / "kept").is_dir()


def test_a_folder_that_was_emptied_just_now_stays_for_whoever_is_about_to_write(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    old = put("a/old.jpg", 5, HOUR + 9)
    janitor.sweep(tmp_path / "kept", HOUR, 100)
    assert not old.exists()
    old.write_bytes(b"the same photo again")


@pytest.mark.parametrize("kind", ["an empty folder", "a file"])
@pytest.mark.parametrize(
    ("age", "stays"), [(0.0, True), (HOUR - 1, True), (HOUR, True), (HOUR + 1, False), (9 * HOUR, False)]
)
def test_an_empty_folder_and_a_file_stay_until_they_are_older_than_the_limit(
    age: float, stays: bool, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "kept" / "one"
    path.parent.mkdir()
    path.mkdir() if kind == "an empty folder" else path.touch()
    os.utime(path, (NOW - age,) * 2)
    janitor.sweep(tmp_path / "kept", HOUR, 100, NOW)
    assert path.exists() == stays


def test_a_folder_with_a_file_stays_however_old_it_is(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "a" / "photo.jpg"
    file.parent.mkdir(parents=True)
    file.touch()
    os.utime(file, (NOW, NOW))
    os.utime(file.parent, (0, 0))
    janitor.sweep(tmp_path / "kept", HOUR, 100, NOW)
    assert file.exists()


def test_over_the_size_the_oldest_go_first(put: Callable[..., Path], tmp_path: Path) -> None:
    paths = [put(f"{age}/x", 10, age) for age in (50, 40, 30, 20)]
    assert janitor.sweep(tmp_path / "kept", HOUR, 25) == 20
    assert [path.exists() for path in paths] == [False, False, True, True]


def test_room_is_made_by_the_oldest_files_and_by_no_more_than_needed(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    paths = [put(f"{age}/x", 10, age) for age in (500, 400, 300, 20)]
    assert janitor.make_room(tmp_path / "kept", 0, 60) == 0
    assert janitor.make_room(tmp_path / "kept", 11, 60, [paths[0]]) == 20
    assert [path.exists() for path in paths] == [True, False, False, True]
    assert janitor.make_room(tmp_path / "kept", 100, 60, [tmp_path / "kept" / "500"]) == 0
    assert janitor.make_room(tmp_path / "kept", 100, 60) == 10
    assert [path.exists() for path in paths] == [False, False, False, True]


def test_to_make_room_a_link_is_deleted_and_what_it_leads_to_is_not(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    put("x", 1, 500)
    (tmp_path / "kept" / "link").symlink_to(treasure)
    os.utime(tmp_path / "kept" / "link", (0, 0), follow_symlinks=False)
    janitor.make_room(tmp_path / "kept", 100, 60)
    assert treasure.read_text() == "mine" and list((tmp_path / "kept").iterdir()) == []


def test_a_file_that_is_used_again_counts_as_new(put: Callable[..., Path], tmp_path: Path) -> None:
    photo = put("a/photo.jpg", 5, HOUR + 9)
    janitor.touch(photo)
    janitor.touch(tmp_path / "gone.jpg")
    assert janitor.sweep(tmp_path / "kept", HOUR, 100) == 5


def test_a_link_is_deleted_and_what_it_leads_to_is_not(put: Callable[..., Path], tmp_path: Path) -> None:
    treasure = tmp_path / "elsewhere"
    treasure.mkdir()
    (treasure / "file").write_text("mine")
    put("x")
    (tmp_path / "kept" / "link").symlink_to(treasure)
    (tmp_path / "kept" / "file-link").symlink_to(treasure / "file")
    for hours in (2, 4):
        janitor.sweep(tmp_path / "kept", HOUR, 0, time.time() + hours * HOUR)
    assert (treasure / "file").read_text() == "mine"
    assert list((tmp_path / "kept").iterdir()) == []


def test_it_sweeps_at_once_again_and_again_and_survives_a_fault(
    put: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left_by_a_killed_process = put("a/old", 1, HOUR + 9)
    calls: list[int] = []
    three_times = threading.Event()

    def after() -> None:
        calls.append(1)
        if len(calls) == 3:
            three_times.set()
        if len(calls) == 1:
            raise ValueError("a fault")

    stop = janitor.start(tmp_path / "kept", HOUR, 100, 0.01, after)
    three_times.wait(10)
    stop()
    assert len(calls) >= 3 and not left_by_a_killed_process.exists()
    assert "could not be swept" in caplog.text


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    for name in ("new", "there"):
        janitor.claim(tmp_path / name)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_a_link_or_somebody_elses_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    with pytest.raises(PermissionError, match="GRADIO_TEMP_DIR"):
        janitor.claim(tmp_path / "link")
    monkeypatch.setattr(os, "getuid", lambda: (tmp_path / "home").stat().st_uid + 1)
    with pytest.raises(PermissionError, match="GRADIO_TEMP_DIR"):
        janitor.claim(tmp_path / "home")

"""Tests of `network.weights`. The file is long because every source of weights is imitated here."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import save_file

from network import download, weights
from network.architectures import ARCHITECTURES
from network.download import DownloadError
from network.weights import WeightsError, configured_name, find_weights, layout_of, layout_of_file
from tests.conftest import ROOT
from tests.fault_server import Answer, FaultServer
from tests.patience import wait_until
from tests.samples import old_name

SCENES = ARCHITECTURES["scenes"]
V1 = ARCHITECTURES["resnet50_fpn"]
BODY = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
WRONG = bytes(len(BODY))

Serve = Callable[..., FaultServer]
HubCache = Callable[[bytes, bytes, str], list[bool]]


@pytest.fixture
def scenes_file(tmp_path: Path) -> Path:
    """The layout of `scenes`, weights random."""
    path = tmp_path / "mine.safetensors"
    save_file(SCENES.build().state_dict(), path)
    return path


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that gives `body`, each time as the next of `answers` says."""
    servers: list[FaultServer] = []

    def start(*answers: Answer, body: bytes = BODY) -> FaultServer:
        servers.append(FaultServer(body, list(answers) or [Answer()]))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES_SECONDS", (0.0, 0.0, 0.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a download goes; what is there beforehand is up to the test."""
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept" / "file.pth"


def get(server: FaultServer, path: Path) -> None:
    download.download(f"{server.url}/file.pth", path, SHA256)


def left(folder: Path) -> list[str]:
    """The names in a folder, but for the lock: whether that stays is filelock's affair."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def pth_bytes() -> bytes:
    file = io.BytesIO()
    torch.save({"layer.weight": torch.arange(4.0)}, file)
    return file.getvalue()


def name_for(body: bytes) -> str:
    return f"network-{hashlib.sha256(body).hexdigest()[:8]}.pth"


def cache_folder(tmp_path: Path) -> Path:
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_a_published_file_is_fetched_checked_and_kept(serve: Serve, tmp_path: Path) -> None:
    body = pth_bytes()
    found = weights._published(f"{serve(body=body).url}/{name_for(body)}")
    assert found.sha256 == hashlib.sha256(body).hexdigest()
    assert found.origin == f"torchvision {name_for(body)}"
    assert torch.equal(found.state_dict["layer.weight"], torch.arange(4.0))
    assert left(cache_folder(tmp_path)) == [name_for(body)]


def test_a_kept_file_is_not_fetched_again_and_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = pth_bytes()
    cache_folder(tmp_path).mkdir(parents=True)
    (cache_folder(tmp_path) / name_for(body)).write_bytes(body)
    url = f"http://127.0.0.1:9/{name_for(body)}"
    hashed = count_hashes(monkeypatch)
    assert weights._published(url).state_dict
    assert hashed == ["file_digest"]
    assert left(cache_folder(tmp_path)) == [name_for(body)], "no lock either: the folder may be read-only"


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by a name each time a file is hashed."""
    hashed: list[str] = []

    def counting(name: str) -> Callable[..., object]:
        function = getattr(hashlib, name)
        return lambda *args: (hashed.append(name), function(*args))[1]

    for name in ("sha256", "file_digest"):
        monkeypatch.setattr(hashlib, name, counting(name))
    return hashed


def test_a_kept_file_that_was_damaged_is_set_aside_and_fetched_again(serve: Serve, tmp_path: Path) -> None:
    body = pth_bytes()
    cache_folder(tmp_path).mkdir(parents=True)
    kept = cache_folder(tmp_path) / name_for(body)
    kept.write_bytes(body[:-10])
    assert weights._published(f"{serve(body=body).url}/{name_for(body)}").state_dict
    assert kept.read_bytes() == body
    assert kept.with_suffix(".bad").read_bytes() == body[:-10]


def test_a_failed_download_is_a_weights_error_in_the_same_words(serve: Serve) -> None:
    with pytest.raises(WeightsError, match=r"network-0{8}\.pth could not be fetched .* answered 403\."):
        weights._published(f"{serve(Answer(403)).url}/network-00000000.pth")


@pytest.mark.parametrize(
    ("answer", "reason", "requests"),
    [
        (Answer(403), "the server answered 403", 1),
        (Answer(404), "the server answered 404", 1),
        (Answer(416), "the server answered 416", 1),
        (Answer(500), "the server answered 500", 4),
        (Answer(503), "the server answered 503", 4),
        (Answer(body=WRONG), "arrived damaged", 1),
        (Answer(body=b""), "arrived damaged", 1),
        (Answer(body=BODY + b"more"), "arrived damaged", 1),
        (Answer(length=0, ends_after=1000), "arrived damaged", 1),
        (Answer(302, location="ftp://127.0.0.1/file"), "an address that is not safe", 1),
        (Answer(302, location="file:///etc/passwd"), "the server answered 302", 1),
        (Answer(302, location="http://["), "what is no address", 1),
        (Answer(302, location="/again"), "the server answered 302", 5),
    ],
)
def test_a_failed_download_says_why_and_leaves_no_file(
    answer: Answer, reason: str, requests: int, serve: Serve, path: Path
) -> None:
    server = serve(answer)
    with pytest.raises(DownloadError, match=reason) as caught:
        get(server, path)
    assert left(path.parent) == []
    assert len(server.ranges) == requests
    assert str(path.parent) not in str(caught.value)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_connection_that_breaks_off_again_and_again_is_given_up_and_gone_on_with_the_next_time(
    end: str, serve: Serve, path: Path
) -> None:
    server = serve(Answer(ends_after=1000, end=end))
    with pytest.raises(DownloadError, match="the connection broke off"):
        get(server, path)
    assert len(server.ranges) == 4
    assert left(path.parent) == ["file.pth.part"]
    kept = part_of(path).stat().st_size
    assert kept == 4000 or end == "reset"  # a reset may overtake what was sent before it
    server.answers = [Answer()]
    get(server, path)
    assert server.ranges[4:] == [f"bytes={kept}-" if kept else None]
    assert path.read_bytes() == BODY
    assert left(path.parent) == ["file.pth"]


@pytest.mark.parametrize(
    "answers",
    [
        (Answer(ends_after=1000),),
        (Answer(ends_after=1000, end="reset"),),
        (Answer(ends_after=0, end="reset"),),
        (Answer(500), Answer(503), Answer(500)),
        (Answer(ends_after=1000), Answer(502), Answer(ends_after=1000)),
        (Answer(ends_after=1000), Answer(ranges=False)),
        (Answer(302, location="/elsewhere"),),
    ],
)
def test_a_server_that_recovers_is_asked_again_within_the_call(
    answers: tuple[Answer, ...], serve: Serve, path: Path
) -> None:
    get(serve(*answers, Answer()), path)
    assert path.read_bytes() == BODY
    assert left(path.parent) == ["file.pth"]


def test_only_what_is_lacking_is_asked_for(serve: Serve, path: Path) -> None:
    server = serve(Answer(ends_after=1000), Answer(ends_after=500), Answer())
    get(server, path)
    assert server.ranges == [None, "bytes=1000-", "bytes=1500-"]
    assert server.sent == len(BODY)


@pytest.mark.parametrize(
    ("part", "answer", "ranges"),
    [
        (BODY[:1000], Answer(), ["bytes=1000-"]),
        (BODY[:1000], Answer(ranges=False), ["bytes=1000-"]),
        (BODY[:1000], Answer(content_range="bytes 0-9/10"), ["bytes=1000-", None]),
        (BODY[:1000], Answer(content_range="nonsense"), ["bytes=1000-", None]),
        (BODY + b"more", Answer(), ["bytes=300004-", None]),
        (WRONG, Answer(), ["bytes=300000-", None]),
        (WRONG[:1000], Answer(), ["bytes=1000-", None]),
        (b"", Answer(), [None]),
        (BODY, Answer(403), []),
    ],
    ids=[
        "goes on",
        "no ranges: anew",
        "another range: anew",
        "no range stated: anew",
        "too long: anew",
        "whole but wrong: anew",
        "wrong: once more from the start",
        "empty",
        "whole: not asked for",
    ],
)
def test_a_download_that_was_killed_goes_on(
    part: bytes, answer: Answer, ranges: list[str | None], serve: Serve, path: Path
) -> None:
    part_of(path).write_bytes(part)
    server = serve(answer)
    get(server, path)
    assert path.read_bytes() == BODY
    assert left(path.parent) == ["file.pth"]
    assert server.ranges == ranges


def test_a_file_of_two_wrong_halves_is_fetched_once_more_only(serve: Serve, path: Path) -> None:
    part_of(path).write_bytes(WRONG[:1000])
    server = serve(Answer(body=WRONG))
    with pytest.raises(DownloadError, match="arrived damaged"):
        get(server, path)
    assert server.ranges == ["bytes=1000-", None]
    assert left(path.parent) == []


def test_a_range_is_asked_for_beyond_a_redirect_too(serve: Serve, path: Path) -> None:
    part_of(path).write_bytes(BODY[:1000])
    server = serve(Answer(302, location="/elsewhere", ranges=False), Answer())
    get(server, path)
    assert server.ranges == ["bytes=1000-", "bytes=1000-"]


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ("http", "http", True),
        ("http", "https", True),
        ("https", "https", True),
        ("https", "http", False),
        ("https", "ftp", False),
        ("http", "file", False),
    ],
)
def test_a_redirect_never_leaves_https(before: str, after: str, allowed: bool) -> None:
    def follow() -> object:
        request = Request(f"{before}://127.0.0.1/a")
        return download._Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, f"{after}://h/b")

    if allowed:
        assert follow()
    else:
        with pytest.raises(OSError, match="not safe"):
            follow()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/file", "data:,hello"])
def test_only_http_addresses_are_fetched(url: str, path: Path) -> None:
    with pytest.raises(DownloadError, match="neither http nor https"):
        download.download(url, path, SHA256)


def test_a_server_that_accepts_and_says_nothing_is_left_in_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(DownloadError, match="the server did not answer in time"),
    ):
        download.download(f"http://127.0.0.1:{server.getsockname()[1]}/file.pth", path, SHA256)
    assert left(path.parent) == []


@pytest.mark.parametrize(
    "answer", [Answer(ends_after=1000, end="hang"), Answer(piece=10, pause=0.01)], ids=["hangs", "trickles"]
)
def test_a_server_that_stalls_is_left_in_time_and_asked_for_the_rest(
    answer: Answer, serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(download, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(download, "PAUSES_SECONDS", (0.0,))
    with pytest.raises(DownloadError, match="the server did not answer in time"):
        get(serve(answer), path)
    kept = part_of(path).stat().st_size
    assert 0 < kept < len(BODY)
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 20.0)
    server = serve()
    get(server, path)
    assert server.ranges == [f"bytes={kept}-"]
    assert path.read_bytes() == BODY


def test_a_server_that_is_slow_but_steady_is_waited_for(
    serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "STALL_SECONDS", 0.05)
    monkeypatch.setattr(download, "STALL_BYTES", 1)
    server = serve(Answer(piece=30_000, pause=0.02))
    get(server, path)
    assert server.ranges == [None]


@pytest.mark.parametrize("length", [None, 0], ids=["stated", "unstated"])
@pytest.mark.parametrize("kept", [0, 800])
def test_more_than_any_weights_file_has_is_refused_before_it_fills_the_disk(
    kept: int, length: int | None, serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_of(path).write_bytes(BODY[:kept])
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    with pytest.raises(DownloadError, match="the server sends more than"):
        get(serve(Answer(length=length)), path)
    assert left(path.parent) == []


def test_a_full_disk_is_said_and_the_part_removed(
    serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match="the disk is full; free some space and try again"):
        get(serve(), path)
    assert left(path.parent) == []


def test_a_folder_that_cannot_be_used_is_said_without_its_name(path: Path) -> None:
    path.write_bytes(b"a file where a folder should be")
    with pytest.raises(DownloadError, match=r"the cache folder cannot be used \(") as caught:
        download.download("http://127.0.0.1:9/inner.pth", path / "inner.pth", SHA256)
    assert str(path) not in str(caught.value)


def test_a_file_is_on_the_disk_before_it_has_its_name(
    serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def recorded_sync(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').resolve().name}")
        sync(descriptor)

    def recorded_replace(self: Path, target: Path) -> Path:
        steps.append(f"{self.name} becomes {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    get(serve(), path)
    assert steps == ["sync file.pth.part", "file.pth.part becomes file.pth", "sync kept"]


def test_a_hash_too_short_to_tell_files_apart_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="8 digits"):
        download.download("http://127.0.0.1:9/file.pth", path, "")


def test_another_process_is_waited_for_so_long_and_no_longer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LOCK_SECONDS", 0.1)
    with path.with_name("file.pth.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match=r"another process has been at it .*; try again later"):
            download.download("http://127.0.0.1:9/file.pth", path, SHA256)


def child(server: FaultServer, path: Path, *options: str) -> subprocess.Popen[str]:
    """A process that has begun to download."""
    arguments = [f"{server.url}/file.pth", str(path), SHA256, *options]
    command = [sys.executable, "-m", "tests.download_child", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str], kill: bool = False) -> int:
    if kill:
        process.kill()
    with process:  # closes the pipe
        return process.wait(30)


@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_a_process_killed_at_any_moment_leaves_nothing_wrong_under_the_name(
    kills: int, serve: Serve, path: Path
) -> None:
    server = serve(Answer(piece=10_000, pause=0.01))  # 0.3 s in all
    moments = random.Random(kills)
    finished = 0
    for _ in range(kills):
        missing = len(BODY) - (part_of(path).stat().st_size if part_of(path).exists() else 0)
        moment = server.sent + moments.randint(0, missing)
        process = child(server, path)
        server.wait_until_sent(moment)
        end(process, kill=True)
        assert set(left(path.parent)) <= {"file.pth", "file.pth.part"}
        if path.exists():
            assert path.read_bytes() == BODY
            path.unlink()
            finished += 1
    assert finished < kills, "no kill came while there was something to kill"
    assert any(server.ranges), "no download went on from where another was killed"
    assert end(child(server, path)) == 0
    assert path.read_bytes() == BODY
    assert left(path.parent) == ["file.pth"]


def test_a_process_killed_before_each_of_its_steps_leaves_nothing_wrong_and_the_next_one_ends_well(
    serve: Serve, path: Path
) -> None:
    states = []
    for step in range(100):
        path.write_bytes(WRONG)  # so that setting it aside is one of the steps
        server = serve()
        code = end(child(server, path, str(step)))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert not path.exists() or path.read_bytes() in (WRONG, BODY)
        states.append(tuple(left(path.parent)))
        get(server, path)
        assert path.read_bytes() == BODY
        assert left(path.parent) == ["file.bad", "file.pth"]
        assert server.ranges in ([None], [None, None])
        path.with_suffix(".bad").unlink()
    assert {
        ("file.pth",),
        ("file.bad",),
        ("file.bad", "file.pth.part"),
        ("file.bad", "file.pth"),
    } <= set(states), "a kill between each two of them"


@pytest.mark.parametrize("races", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_two_processes_at_once_end_with_one_download_and_the_right_file(
    races: int, serve: Serve, path: Path
) -> None:
    for _ in range(races):
        server = serve(Answer(piece=30_000, pause=0.02))
        both = [child(server, path), child(server, path)]
        assert [end(process) for process in both] == [0, 0]
        assert path.read_bytes() == BODY
        assert server.ranges == [None]
        assert left(path.parent) == ["file.pth"]
        path.unlink()


def test_a_process_that_waits_goes_on_when_the_other_is_killed(serve: Serve, path: Path) -> None:
    server = serve(Answer(ends_after=100_000, end="hang"), Answer())
    first, second = child(server, path), child(server, path)
    wait_until(lambda: part_of(path).exists() and part_of(path).stat().st_size)
    end(first, kill=True)
    assert end(second) == 0
    assert path.read_bytes() == BODY
    assert [asked is None for asked in server.ranges] == [True, False]


def test_no_connection_is_said_in_these_words() -> None:
    with pytest.raises(WeightsError, match=r"from download\.pytorch\.org: no connection"):
        find_weights(V1)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "was-here",))

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"layer.weight": Evil()}))
    with pytest.raises(WeightsError, match="not a readable"):
        find_weights(V1, path)
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors", "empty.pth", "empty.safetensors"])
def test_what_is_no_weights_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("hello" if name.startswith("text") else "")
    with pytest.raises(WeightsError, match=r"not a readable \.pth or \.safetensors file"):
        find_weights(V1, tmp_path / name)


def test_a_missing_file_is_named_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights file gone\.pth") as caught:
        find_weights(V1, tmp_path / "gone.pth")
    assert str(tmp_path) not in str(caught.value)


def test_a_checkpoint_that_wraps_its_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"layer.weight": torch.zeros(1)}, "epoch": 3}, tmp_path / "training.pth")
    with pytest.raises(WeightsError, match="does not hold a state dict"):
        find_weights(V1, tmp_path / "training.pth")


def test_a_state_dict_of_no_network_of_ours_names_those_there_are() -> None:
    with pytest.raises(WeightsError, match=r"1 tensors that fit none of our networks\. .*resnet50_fpn_v2"):
        layout_of({"layer.weight": torch.zeros(1)})


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_a_layout_is_recognised_with_or_without_step_counters(name: str) -> None:
    with torch.device("meta"):
        state_dict = ARCHITECTURES[name].build().state_dict()
    assert layout_of(state_dict) == name
    bare = {key: value for key, value in state_dict.items() if "num_batches_tracked" not in key}
    assert layout_of(bare) == name


def test_a_file_with_the_names_of_2019_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    """Such names has the file that torchvision publishes as COCO_V1."""
    old = {old_name(key): value for key, value in SCENES.build().state_dict().items()}
    assert "roi_heads.mask_head.mask_fcn2.weight" in old and "rpn.head.conv.bias" in old
    torch.save(old, tmp_path / "old.pth")
    read = find_weights(SCENES, tmp_path / "old.pth").state_dict
    assert layout_of_file(tmp_path / "old.pth") == "scenes"
    theirs = SCENES.build()
    theirs.load_state_dict(old)
    for key, value in theirs.state_dict().items():
        assert torch.equal(read[key], value), key


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_old_name_becomes_todays_and_todays_stay(name: str) -> None:
    with torch.device("meta"):
        names = list(ARCHITECTURES[name].build().state_dict())
    assert [weights._todays_name(old_name(key)) for key in names] == names
    assert [weights._todays_name(key) for key in names] == names


def test_half_precision_weights_are_read_as_float32(scenes_file: Path, tmp_path: Path) -> None:
    halves = {key: value.half() for key, value in find_weights(SCENES, scenes_file).state_dict.items()}
    save_file(halves, tmp_path / "half.safetensors")
    read = find_weights(SCENES, tmp_path / "half.safetensors").state_dict
    assert {value.dtype for key, value in read.items() if "num_batches" not in key} == {torch.float32}


def test_the_environment_names_a_file(scenes_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured_name() is None
    monkeypatch.setenv("SEGMENTATION_WEIGHTS", str(scenes_file))
    assert configured_name() == "scenes"


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_the_layout_of_a_file_is_told_without_hashing_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, state_dict = tmp_path / "mine.pth", SCENES.build().state_dict()
    if kind == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state_dict, path)
    else:
        torch.save(state_dict, path, _use_new_zipfile_serialization=kind == "zip")
    hashed = count_hashes(monkeypatch)
    assert layout_of_file(path) == "scenes"
    assert hashed == []
    sha256 = find_weights(SCENES, path).sha256
    assert hashed == ["file_digest"]
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_environments_file_for_another_network_is_passed_over(
    scenes_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENTATION_WEIGHTS", str(scenes_file))
    with pytest.raises(WeightsError, match="no connection"):
        find_weights(V1)


def test_a_missing_file_in_the_environment_is_an_error_and_nothing_else_is_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEGMENTATION_WEIGHTS", str(tmp_path / "gone.pth"))
    monkeypatch.setattr(weights, "_published", lambda url: pytest.fail("went on"))
    with pytest.raises(WeightsError, match=r"gone\.pth"):
        find_weights(V1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("someone/weights", ("someone/weights", "maskrcnn_resnet50_fpn.safetensors", None)),
        ("someone/weights@v1.0", ("someone/weights", "maskrcnn_resnet50_fpn.safetensors", "v1.0")),
        ("someone/weights:a/b.pth", ("someone/weights", "a/b.pth", None)),
        ("someone/weights@main:b.pth", ("someone/weights", "b.pth", "main")),
    ],
)
def test_a_hub_repository_is_asked_cache_first(
    value: str, expected: tuple[str, str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[tuple[str, str, str | None], bool]] = []
    fetched = tmp_path / "fetched.pth"
    fetched.write_bytes(pth_bytes())

    def hub(repo: str, name: str, *, revision: str | None, local_files_only: bool = False) -> str:
        calls.append(((repo, name, revision), local_files_only))
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        return str(fetched)

    monkeypatch.setattr(weights, "hf_hub_download", hub)
    found = weights._from_hub(value, V1)
    assert calls == [(expected, True), (expected, False)]
    assert found.sha256 == hashlib.sha256(pth_bytes()).hexdigest()
    assert found.origin == f"Hugging Face Hub {value}"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    """A cache with the blob `first` and a Hub that has `then`; lists of each call whether it was forced."""

    def cache(first: bytes, then: bytes, blob_name: str) -> list[bool]:
        blob, link = tmp_path / "blobs" / blob_name, tmp_path / "snapshots" / "main" / "a.pth"
        stored = tmp_path / "store" / ("f" * 64)  # the cache may keep blobs in a store, by another hash
        for file in (blob, link, stored):
            file.parent.mkdir(parents=True)
        stored.write_bytes(first)
        blob.symlink_to(f"../store/{stored.name}")
        link.symlink_to(f"../../blobs/{blob_name}")
        forced: list[bool] = []

        def hub(*args: object, force_download: bool = False, **options: object) -> str:
            forced.append(force_download)
            if force_download:
                stored.write_bytes(then)
            return str(link)

        monkeypatch.setattr(weights, "hf_hub_download", hub)
        return forced

    return cache


def test_a_hub_file_is_compared_with_the_hash_that_its_blob_is_named_by(hub_cache: HubCache) -> None:
    body = pth_bytes()
    forced = hub_cache(body, b"", hashlib.sha256(body).hexdigest())
    assert weights._from_hub("someone/weights:a.pth", V1).state_dict
    assert forced == [False]


def test_a_hub_file_that_was_damaged_is_fetched_again(
    hub_cache: HubCache, caplog: pytest.LogCaptureFixture
) -> None:
    body = pth_bytes()
    forced = hub_cache(body[:-1], body, hashlib.sha256(body).hexdigest())
    assert weights._from_hub("someone/weights:a.pth", V1).state_dict
    assert forced == [False, True]
    assert "a.pth of the Hub's cache was damaged" in caplog.text


def test_a_hub_file_that_stays_damaged_is_refused(hub_cache: HubCache) -> None:
    body = pth_bytes()
    forced = hub_cache(body[:-1], body[:-2], hashlib.sha256(body).hexdigest())
    with pytest.raises(WeightsError, match=r"Hugging Face Hub someone/weights:a\.pth is damaged"):
        weights._from_hub("someone/weights:a.pth", V1)
    assert forced == [False, True]


def test_a_hub_file_outside_lfs_has_no_hash_to_compare_with(hub_cache: HubCache) -> None:
    forced = hub_cache(pth_bytes(), b"", "0" * 40)
    assert weights._from_hub("someone/weights:a.pth", V1).sha256
    assert forced == [False]


def test_a_hub_repository_that_fails_leaves_torchvisions_address(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SEGMENTATION_WEIGHTS_REPO", "someone/gone")
    with pytest.raises(WeightsError, match=r"Hub repository someone/gone.*download\.pytorch\.org"):
        find_weights(V1)
    assert "someone/gone" in caplog.text


def test_a_malformed_repository_name_is_answered_with_the_form() -> None:
    with pytest.raises(WeightsError, match=r"expected owner/name\[@revision\]\[:filename\]"):
        weights._from_hub("no-owner", V1)


def test_a_refused_repository_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> str:
        raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)

    monkeypatch.setattr(weights, "hf_hub_download", refuse)
    with pytest.raises(WeightsError, match="could not be fetched from the Hub repository someone/secret"):
        weights._from_hub("someone/secret", V1)


@pytest.mark.parametrize(
    "change", [lambda body: bytes(len(body)), lambda body: body[:-1], lambda body: body + b" ", None]
)
def test_shipped_weights_that_are_not_those_the_code_names_ask_for_a_new_installation(
    change: Callable[[bytes], bytes] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if change:
        shipped = (weights.BUNDLED / "scenes.safetensors").read_bytes()
        (tmp_path / "scenes.safetensors").write_bytes(change(shipped))
    monkeypatch.setattr(weights, "BUNDLED", tmp_path)
    with pytest.raises(WeightsError, match="is missing or damaged; install the project again"):
        find_weights(SCENES)


@pytest.mark.parametrize("name", weights.BUNDLED_SHA256)
def test_the_shipped_weights_are_those_the_code_names_and_fit_their_network(name: str) -> None:
    found = find_weights(ARCHITECTURES[name])
    assert found.sha256 == weights.BUNDLED_SHA256[name]
    assert layout_of(found.state_dict) == name


def test_a_file_that_lacks_a_tensor_names_it(tmp_path: Path) -> None:
    state_dict = SCENES.build().state_dict()
    state_dict.pop("roi_heads.box_head.fc6.weight")
    save_file(state_dict, tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match=r"1 tensors differ, first roi_heads\.box_head\.fc6\.weight"):
        find_weights(SCENES, tmp_path / "mine.safetensors")


def test_a_configured_file_for_another_network_is_neither_hashed_nor_built_again(
    scenes_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENTATION_WEIGHTS", str(scenes_file))
    layout_of_file(scenes_file)
    hashed = count_hashes(monkeypatch)
    monkeypatch.setattr(weights, "_read", lambda *arguments: pytest.fail("the file was read"))
    monkeypatch.setattr(weights, "_published", lambda url: "the published weights")
    assert find_weights(V1) == "the published weights"  # type: ignore[comparison-overlap]
    assert hashed == []

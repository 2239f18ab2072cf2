from __future__ import annotations

import hashlib
import io
import pickle
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import save_file

import weights
from networks import ARCHITECTURES
from weights import WeightsError, configured_name, find_weights, layout_of

SCENES = ARCHITECTURES["scenes"]
V1 = ARCHITECTURES["resnet50_fpn"]


@pytest.fixture
def scenes_file(tmp_path: Path) -> Path:
    """The layout of `scenes`, weights random."""
    path = tmp_path / "mine.safetensors"
    save_file(SCENES.build().state_dict(), path)
    return path


@pytest.fixture
def serve() -> Iterator[Callable[[int, bytes], str]]:
    """Starts a server on this machine that gives one answer to everything; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: bytes, stated_length: int | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(stated_length or len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Says nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def pth_bytes() -> bytes:
    file = io.BytesIO()
    torch.save({"layer.weight": torch.arange(4.0)}, file)
    return file.getvalue()


def name_for(body: bytes) -> str:
    return f"network-{hashlib.sha256(body).hexdigest()[:8]}.pth"


def cache_folder(tmp_path: Path) -> Path:
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_a_published_file_is_fetched_checked_and_kept(serve: Callable[..., str], tmp_path: Path) -> None:
    body = pth_bytes()
    url = f"{serve(200, body)}/{name_for(body)}"
    found = weights._published(url)
    assert found.sha256 == hashlib.sha256(body).hexdigest()
    assert found.origin == f"torchvision {name_for(body)}"
    assert torch.equal(found.state_dict["layer.weight"], torch.arange(4.0))
    assert [path.name for path in cache_folder(tmp_path).iterdir()] == [name_for(body)]


def test_a_kept_file_is_not_fetched_again(tmp_path: Path) -> None:
    body = pth_bytes()
    cache_folder(tmp_path).mkdir(parents=True)
    (cache_folder(tmp_path) / name_for(body)).write_bytes(body)
    assert weights._published(f"http://127.0.0.1:9/{name_for(body)}").state_dict


def test_a_kept_file_that_was_damaged_is_set_aside_and_fetched_again(
    serve: Callable[..., str], tmp_path: Path
) -> None:
    body = pth_bytes()
    cache_folder(tmp_path).mkdir(parents=True)
    kept = cache_folder(tmp_path) / name_for(body)
    kept.write_bytes(body[:-10])
    assert weights._published(f"{serve(200, body)}/{name_for(body)}").state_dict
    assert kept.read_bytes() == body
    assert kept.with_suffix(".bad").read_bytes() == body[:-10]


@pytest.mark.parametrize(
    ("status", "change", "reason"),
    [
        (200, lambda body: body[:-1], "arrived damaged"),
        (200, lambda body: b"", "arrived damaged"),
        (403, lambda body: body, "the server answered 403"),
        (500, lambda body: body, "the server answered 500"),
    ],
)
def test_a_failed_download_says_why_and_leaves_no_file(
    status: int, change: Callable[[bytes], bytes], reason: str, serve: Callable[..., str], tmp_path: Path
) -> None:
    body = pth_bytes()
    with pytest.raises(WeightsError, match=reason):
        weights._published(f"{serve(status, change(body))}/{name_for(body)}")
    assert list(cache_folder(tmp_path).iterdir()) == []


def test_a_download_cut_short_leaves_no_file(serve: Callable[..., str], tmp_path: Path) -> None:
    body = pth_bytes()
    with pytest.raises(WeightsError, match="arrived damaged"):
        weights._published(f"{serve(200, body[:-9], len(body))}/{name_for(body)}")
    assert list(cache_folder(tmp_path).iterdir()) == []


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


def test_half_precision_weights_are_read_as_float32(scenes_file: Path, tmp_path: Path) -> None:
    halves = {key: value.half() for key, value in find_weights(SCENES, scenes_file).state_dict.items()}
    save_file(halves, tmp_path / "half.safetensors")
    read = find_weights(SCENES, tmp_path / "half.safetensors").state_dict
    assert {value.dtype for key, value in read.items() if "num_batches" not in key} == {torch.float32}


def test_the_environment_names_a_file(scenes_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured_name() is None
    monkeypatch.setenv("SEGMENTATION_WEIGHTS", str(scenes_file))
    assert configured_name() == "scenes"


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

    def hub(repo: str, name: str, *, revision: str | None, local_files_only: bool = False) -> str:
        calls.append(((repo, name, revision), local_files_only))
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        return str(tmp_path / "fetched.safetensors")

    monkeypatch.setattr(weights, "hf_hub_download", hub)
    path, origin = weights._from_hub(value, V1)
    assert calls == [(expected, True), (expected, False)]
    assert (path.name, origin) == ("fetched.safetensors", f"Hugging Face Hub {value}")


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


def test_shipped_weights_that_no_longer_fit_their_network_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state_dict = SCENES.build().state_dict()
    state_dict.pop("roi_heads.box_head.fc6.weight")
    save_file(state_dict, tmp_path / "scenes.safetensors")
    monkeypatch.setattr(weights, "BUNDLED", tmp_path)
    with pytest.raises(WeightsError, match=r"1 tensors differ, first roi_heads\.box_head\.fc6\.weight"):
        find_weights(SCENES)

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import torch
import yaml
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from safetensors import safe_open
from torchvision.ops import FrozenBatchNorm2d

from network import weights
from network.architectures import ARCHITECTURES, Architecture
from network.calibration import digest_of, read_ranges
from network.weights import WeightsError, find_weights
from tests.fake_hub import FakeHub, answer
from tests.samples import old_name
from tools import publish_weights
from tools.hub import HubError
from tools.own_weights import load_own
from tools.publish_weights import publish, repository, to_safetensors, unset_variables_and_load

TENSORS = {"b.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(1), "steps": torch.tensor(3)}
METADATA = {"format": "pt", "source": "x.pth", "licence": "BSD-3-Clause", "more": "é"}
REPO = "me/weights"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Architecture, Path]:
    """Pretends that torchvision publishes a small network as a .pth file with old names. Returns both."""
    torch.manual_seed(0)
    state_dict = ARCHITECTURES["scenes"].build().state_dict()
    path = tmp_path / "mine.pth"
    torch.save({old_name(name): value for name, value in state_dict.items()}, path)
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    entry: Any = SimpleNamespace(
        url=f"http://127.0.0.1:9/small-{digits}.pth",
        meta={"_metrics": {"COCO-val2017": {"box_map": 1.5, "mask_map": 2.5}}},
    )
    architecture = dataclasses.replace(ARCHITECTURES["scenes"], published=entry)
    monkeypatch.setitem(ARCHITECTURES, "scenes", architecture)
    return architecture, path


def header(content: bytes) -> bytes:
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


# --- The file -----------------------------------------------------------------------------------------------


def test_the_file_gives_back_every_tensor_and_the_metadata(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(to_safetensors(TENSORS, METADATA))
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == METADATA
        assert set(file.keys()) == TENSORS.keys()
        for name, value in TENSORS.items():
            assert file.get_tensor(name).dtype == value.dtype
            assert torch.equal(file.get_tensor(name), value)


def test_the_file_is_the_same_each_time_and_in_whatever_order_things_are_given() -> None:
    turned = to_safetensors(dict(reversed(TENSORS.items())), dict(reversed(METADATA.items())))
    assert {to_safetensors(TENSORS, METADATA) for _ in range(20)} == {turned}


@pytest.mark.parametrize("length", range(8))
def test_the_tensors_begin_at_a_multiple_of_8_whatever_the_metadata(length: int) -> None:
    content = to_safetensors(TENSORS, {"text": "x" * length})
    assert len(header(content)) % 8 == 0
    assert json.loads(header(content))["__metadata__"] == {"text": "x" * length}


def test_a_transposed_tensor_is_written_as_it_is_seen() -> None:
    turned = TENSORS["b.weight"].T
    assert torch.equal(safetensors.torch.load(to_safetensors({"a": turned}, {}))["a"], turned)


# --- The source ---------------------------------------------------------------------------------------------


def test_old_names_become_todays_and_the_numbers_stay(source: tuple[Architecture, Path]) -> None:
    architecture, path = source
    before = torch.load(path, weights_only=True)
    after = unset_variables_and_load(architecture, path).state_dict
    assert {old_name(name) for name in after} == before.keys()
    assert all(torch.equal(value, before[old_name(name)]) for name, value in after.items())


def test_a_file_that_torchvision_did_not_publish_is_refused(
    source: tuple[Architecture, Path], tmp_path: Path
) -> None:
    torch.save(ARCHITECTURES["scenes"].build().state_dict(), tmp_path / "other.pth")
    with pytest.raises(
        WeightsError, match=r"file other\.pth is not the one that torchvision publishes as small-"
    ):
        unset_variables_and_load(source[0], tmp_path / "other.pth")


def test_torchvisions_own_file_is_taken_whatever_the_environment_names(
    source: tuple[Architecture, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture, path = source
    monkeypatch.setenv("SEGMENTATION_WEIGHTS", str(weights.BUNDLED / "scenes.safetensors"))
    monkeypatch.setenv("SEGMENTATION_WEIGHTS_REPO", "someone/else")
    assert architecture.published is not None
    kept = Path(torch.hub.get_dir()) / "checkpoints" / architecture.published.url.rpartition("/")[2]
    kept.parent.mkdir(parents=True)
    kept.write_bytes(path.read_bytes())
    assert unset_variables_and_load(architecture).origin == f"torchvision {kept.name}"


# --- The repository -----------------------------------------------------------------------------------------


def test_what_is_published_is_found_by_the_app_with_equal_tensors(
    source: tuple[Architecture, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    architecture, path = source
    found = unset_variables_and_load(architecture, path)
    hub = FakeHub()
    publish(hub, REPO, repository(REPO, architecture, found))
    monkeypatch.setenv("SEGMENTATION_WEIGHTS_REPO", REPO)
    monkeypatch.setattr(weights, "hf_hub_download", hub.download(tmp_path / "cache"))
    loaded = find_weights(architecture)
    assert loaded.origin == "Hugging Face Hub me/weights"
    assert loaded.sha256 == hashlib.sha256(hub.repos[REPO]["maskrcnn_scenes.safetensors"]).hexdigest()
    assert loaded.state_dict.keys() == found.state_dict.keys()
    assert all(torch.equal(loaded.state_dict[name], value) for name, value in found.state_dict.items())


def test_with_photos_the_file_brings_the_ranges_for_int8(
    source: tuple[Architecture, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    hub = FakeHub()
    monkeypatch.setattr(publish_weights, "sign_in", lambda: hub)
    command = [REPO, "--network", "scenes", "--file", str(source[1]), "--calibrate", str(photos)]
    with pytest.raises(SystemExit, match="no pictures to calibrate with in the folder photos"):
        publish_weights.main(command)
    assert not hub.repos
    monkeypatch.setattr(publish_weights, "calibrate", lambda network, pictures: {"a": (0.0, len(pictures))})
    Image.new("RGB", (40, 30), "grey").save(photos / "grey.png")
    publish_weights.main(command)
    (tmp_path / "sent.safetensors").write_bytes(hub.repos[REPO]["maskrcnn_scenes.safetensors"])
    sent = find_weights(source[0], tmp_path / "sent.safetensors")
    assert sent.ranges is not None
    assert read_ranges(sent.ranges, digest_of(sent.state_dict), ["a"]) == {"a": (0.0, 2.0)}  # and its middle


def test_the_file_says_where_its_numbers_are_from(source: tuple[Architecture, Path]) -> None:
    architecture, path = source
    files = repository(REPO, architecture, unset_variables_and_load(architecture, path))
    content = files["maskrcnn_scenes.safetensors"]
    metadata = json.loads(header(content))["__metadata__"]
    assert metadata["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert re.fullmatch(r"small-[0-9a-f]{8}\.pth", metadata["source"])
    assert "BSD-3-Clause" in metadata["licence"] and "COCO" in metadata["licence"]


def test_a_new_repository_gets_one_commit_beside_the_hubs_own_files() -> None:
    hub = FakeHub()
    publish(hub, REPO, {"a.safetensors": b"1", "README.md": b"2"}, private=True)
    assert hub.calls[:2] == [
        ("create_repo", REPO, {"private": True, "exist_ok": True}),
        ("update_repo_settings", REPO, {"private": True}),
    ]
    assert hub.asked()[2:] == ["create_commit"]
    assert hub.repos[REPO] == {
        ".gitattributes": b"*.png filter=lfs",
        "a.safetensors": b"1",
        "README.md": b"2",
    }


def test_other_files_of_an_existing_repository_stay() -> None:
    hub = FakeHub(**{REPO: {"other.bin": b"x"}})
    publish(hub, REPO, {"README.md": b"2"})
    assert hub.repos[REPO] == {"other.bin": b"x", "README.md": b"2"}
    assert hub.asked() == ["create_repo", "create_commit"]


@pytest.mark.parametrize(
    ("method", "status", "sentence"),
    [
        ("create_repo", 403, r"me/weights could not be created: the token may not do that"),
        ("create_commit", 401, r"could not be sent to me/weights: the Hub does not accept the token"),
    ],
)
def test_a_refusal_is_one_sentence(
    method: str, status: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise HfHubHTTPError("no", response=answer(status))

    hub = FakeHub()
    monkeypatch.setattr(hub, method, refuse)
    with pytest.raises(HubError, match=sentence):
        publish(hub, REPO, {"README.md": b""})


# --- The card -----------------------------------------------------------------------------------------------


def card_of(name: str) -> str:
    return publish_weights.model_card(REPO, ARCHITECTURES[name], "5" * 64, "a" * 64)


@pytest.mark.parametrize(
    ("name", "accuracy"),
    [
        ("resnet50_fpn", "box AP 37.9, mask AP 34.6"),
        ("resnet50_fpn_v2", "box AP 47.4, mask AP 41.8"),
    ],
)
def test_the_card_names_files_hashes_accuracy_licence_and_limits(name: str, accuracy: str) -> None:
    card = card_of(name)
    matter = yaml.safe_load(card.split("---\n", 2)[1])
    assert matter["license"] == "bsd-3-clause"
    assert matter["pipeline_tag"] == "image-segmentation"
    assert "instance-segmentation" in matter["tags"]
    for expected in (
        f"`maskrcnn_{name}.safetensors` (this repository) | `{'a' * 64}`",
        f"| `{'5' * 64}` |",
        str(ARCHITECTURES[name].published.url),  # type: ignore[union-attr]
        "SEGMENTATION_WEIGHTS_REPO=me/weights python app.py",
        accuracy,
        "BSD-3-Clause",
        "CC BY 4.0",
        "Known failings",
        "over-confident",
        "finding out who somebody is",
    ):
        assert expected in card, expected
    assert "{" not in card.replace("{'", "")


@pytest.mark.parametrize("name", publish_weights.LOADING)
def test_the_cards_python_builds_the_network_that_the_app_builds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        expected = ARCHITECTURES[name].build()
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *names: asked.append(names))
    monkeypatch.setattr(safetensors.torch, "load_file", lambda path: dict(expected.state_dict()))
    (code,) = re.findall(r"```python\n(.*?)```", card_of(name), re.DOTALL)
    names: dict[str, Any] = {}
    with torch.device("meta"):
        exec(code, names)
    assert asked == [(REPO, f"maskrcnn_{name}.safetensors")]
    assert str(names["model"].backbone) == str(expected.backbone)
    assert not names["model"].training
    epsilons = [
        {module.eps for module in network.modules() if isinstance(module, FrozenBatchNorm2d)}
        for network in (names["model"], expected)
    ]
    assert epsilons[0] == epsilons[1] == ({0.0} if name == "resnet50_fpn" else set())


def test_every_network_that_torchvision_publishes_has_its_python() -> None:
    have_files = [name for name, architecture in ARCHITECTURES.items() if architecture.published]
    assert list(publish_weights.LOADING) == have_files


# --- The command --------------------------------------------------------------------------------------------


def test_the_command_publishes_and_says_what_to_do_next(
    source: tuple[Architecture, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = FakeHub()
    monkeypatch.setattr(publish_weights, "sign_in", lambda: hub)
    publish_weights.main([REPO, "--network", "scenes", "--file", str(source[1])])
    assert {"maskrcnn_scenes.safetensors", "README.md"} <= hub.repos[REPO].keys()
    said = capsys.readouterr().out
    assert hashlib.sha256(hub.repos[REPO]["maskrcnn_scenes.safetensors"]).hexdigest() in said
    assert "SEGMENTATION_WEIGHTS_REPO=me/weights python app.py" in said
    assert "deploy.py owner/name --weights-repo me/weights" in said


def test_a_dry_run_shows_the_card_and_wants_no_token(
    source: tuple[Architecture, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish_weights, "sign_in", lambda: pytest.fail("asked for a token"))
    publish_weights.main([REPO, "--network", "scenes", "--file", str(source[1]), "--dry-run"])
    said = capsys.readouterr().out
    assert "maskrcnn_scenes.safetensors  SHA-256" in said
    assert "license: bsd-3-clause" in said
    assert "Nothing was sent" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no token for the Hub"),
        (["--dry-run"], r"could not be fetched from download\.pytorch\.org: no connection"),
        (["--dry-run", "--file", "gone.pth"], r"no weights file gone\.pth"),
    ],
)
def test_what_cannot_be_done_ends_the_command_with_one_sentence(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.hub.get_token", lambda: None)
    with pytest.raises(SystemExit, match=sentence):
        publish_weights.main([REPO, *arguments])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["my.pth", "more.pth", REPO], "expected at most one file and the repository's name, got 3 names"),
        ([REPO, "--labels", "labels.txt"], "--labels needs your own file"),
        (["my.pth", REPO, "--file", "theirs.pth"], "--file is a copy of torchvision's file"),
        (["my.pth"], "my.pth"),
    ],
)
def test_wrong_arguments_for_an_own_file_are_told(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        publish_weights.main(arguments)
    assert sentence in capsys.readouterr().err


def test_an_own_file_keeps_its_numbers_and_gets_names(tmp_path: Path) -> None:
    state_dict = ARCHITECTURES["scenes"].build(3).state_dict()
    torch.save(state_dict, tmp_path / "my.pth")
    (tmp_path / "labels.txt").write_text("wrong")  # the names that the command names come first
    (tmp_path / "names.txt").write_text("leaf\nrust")
    architecture, own = load_own(tmp_path / "my.pth", tmp_path / "names.txt")
    files = publish_weights.own_repository(REPO, architecture, own)
    (tmp_path / "sent.safetensors").write_bytes(files["maskrcnn_scenes.safetensors"])
    sent = find_weights(architecture, tmp_path / "sent.safetensors")
    assert sent.labels == ("leaf", "rust")
    assert all(torch.equal(sent.state_dict[name], value) for name, value in state_dict.items())


def test_wrong_names_end_the_command_with_one_sentence(tmp_path: Path) -> None:
    torch.save(ARCHITECTURES["scenes"].build(3).state_dict(), tmp_path / "my.pth")
    (tmp_path / "names.txt").write_text("leaf")
    command = [str(tmp_path / "my.pth"), REPO, "--labels", str(tmp_path / "names.txt"), "--dry-run"]
    with pytest.raises(
        SystemExit, match=r"^names\.txt holds 1 name, but the network knows 2 kinds of object\."
    ):
        publish_weights.main(command)


def test_an_own_file_without_names_is_published_and_this_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(ARCHITECTURES["scenes"].build(3).state_dict(), tmp_path / "my.pth")
    publish_weights.main([str(tmp_path / "my.pth"), REPO, "--dry-run"])
    said = capsys.readouterr().out
    assert "No names: the app will say class 1 to class 2. --labels names them." in said


@pytest.mark.parametrize("name", publish_weights.LOADING)
def test_the_python_on_an_own_card_builds_a_network_that_the_app_recognises(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        expected = ARCHITECTURES[name].build(4)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *names: names)
    monkeypatch.setattr(safetensors.torch, "load_file", lambda path: dict(expected.state_dict()))
    names: dict[str, Any] = {}
    with torch.device("meta"):
        exec(publish_weights.loading_code(REPO, ARCHITECTURES[name], 4), names)
    assert weights.layout_of(names["model"].state_dict()) == name

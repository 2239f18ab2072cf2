"""Tests of `tools.deploy`. The file is long because its tests share one checkout and one imitated Hub."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import huggingface_hub.constants
import pytest
import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from packaging.requirements import Requirement

from network import weights
from network.architectures import ARCHITECTURES
from tests.conftest import ROOT
from tests.fake_hub import COMMIT, FakeHub, answer, committed, hub_server
from tools import deploy
from tools.deploy import Settings, WeightsRepo
from tools.hub import HubError

README = (
    '---\ntitle: Été 🔍\nsdk: gradio\nsdk_version: 6.31.0\npython_version: "3.12"\n---\n\n# Text\n\n---\n'
)
FILES = {"README.md": README.encode(), "app.py": b"print()", "examples/a.png": b"\x89PNG"}
SPACE = "me/objects"
PATIENCE_SECONDS = 60.0
"""How long a copy of the Space may take to open its page. On two free cores it takes 5 seconds."""

Checkout = Callable[..., Path]


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a project with one commit. The command uses it as its own checkout."""
    for name, content in {
        **FILES,
        ".gitignore": b"*.log\n",
        ".ci/run": b"",
        "tests/test_app.py": b"",
        "tools/tool.py": b"",
        "training/starter/train.py": b"",
        "benchmarks/a/b.py": b"",
        "pyproject.toml": b"",
        "requirements-dev.txt": b"",
        "docs/picture.png": b"\x89PNG",
    }.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    root = tmp_path / "project"
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    monkeypatch.setattr(deploy, "ROOT", root)
    return root


def run(monkeypatch: pytest.MonkeyPatch, client: object, *arguments: str) -> None:
    monkeypatch.setattr(deploy, "sign_in", lambda: client)
    deploy.main([SPACE, *arguments])


# --- The files ----------------------------------------------------------------------------------------------


def reached(module: str, seen: set[str]) -> set[str]:
    """Returns the project's files that `module` needs: its own file and all files that it imports."""
    path = f"{module.replace('.', '/')}.py"
    if path in seen or not (ROOT / path).is_file():
        return seen
    seen.add(path)
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                reached(alias.name, seen)
        elif isinstance(node, ast.ImportFrom) and node.module:
            reached(node.module, seen)
            for alias in node.names:
                reached(f"{node.module}.{alias.name}", seen)
    return seen


def test_everything_that_the_app_imports_belongs_on_the_space() -> None:
    needed = reached("app", set())
    assert {"app.py", "network/weights.py", "ui/page.py"} <= needed
    assert [path for path in needed if not deploy.belongs(path)] == []


@pytest.mark.parametrize("folder", ["assets", "examples", "docs"])
def test_every_file_of_these_folders_belongs_on_the_space(folder: str) -> None:
    files = [str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert files
    assert all(map(deploy.belongs, files))


def test_what_the_readme_shows_and_links_to_belongs_on_the_space() -> None:
    text = (ROOT / "README.md").read_text()
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    links -= {""}
    thumbnail = str(deploy.front_matter(ROOT / "README.md").get("thumbnail", "README.md"))
    assert "docs/screenshot.png" in links
    for path in {*links, thumbnail, "README.md", "LICENSE", "requirements.txt"}:
        assert (ROOT / path).is_file() and deploy.belongs(path), path


@pytest.mark.parametrize(
    "path",
    [
        ".ci/run",
        ".gitignore",
        "tests/test_app.py",
        "tools/deploy.py",
        "training/common.py",
        "training/starter/train.py",
        "benchmarks/a/b.py",
        "pyproject.toml",
        "requirements-dev.txt",
    ],
)
def test_what_only_developers_need_stays_away(path: str) -> None:
    assert not deploy.belongs(path)


def test_the_files_of_a_checkout_are_those_that_git_tracks(checkout: Path) -> None:
    (checkout / "secret.log").write_text("ignored")
    (checkout / "notes.txt").write_text("untracked")
    assert deploy.space_files(checkout) == ["README.md", "app.py", "docs/picture.png", "examples/a.png"]


def test_a_name_with_other_letters_and_spaces_is_kept_as_it_is(checkout: Path) -> None:
    (checkout / "examples" / "Übung 1.png").write_bytes(b"")
    git(checkout, "add", ".")
    assert "examples/Übung 1.png" in deploy.space_files(checkout)


def test_a_folder_that_is_no_git_checkout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(HubError, match="is not a git checkout"):
        deploy.space_files(tmp_path)


def test_a_machine_without_git_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HubError, match="git is not installed"):
        deploy.space_files(tmp_path)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def opens(url: str) -> bool:
    """Returns whether the page answers 200; False if nobody listens or answers yet."""
    try:
        return httpx.get(url, timeout=PATIENCE_SECONDS, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_the_files_of_the_space_are_enough_to_open_the_page(tmp_path: Path) -> None:
    try:
        names = deploy.space_files(ROOT)
    except HubError as error:
        pytest.skip(str(error))
    space = tmp_path / "space"
    for name in names:
        (space / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, space / name)
    environment = os.environ | {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(tmp_path / "uploads"),
        "HF_HUB_OFFLINE": "1",
        "SEGMENTATION_WEIGHTS": str(space / "assets" / "scenes.safetensors"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "https_proxy": "http://127.0.0.1:9",  # nobody listens there, so nothing leaves this machine
    }
    environment.pop("PYTHONPATH", None)  # else the modules of this checkout could help
    port = free_port()
    command = [sys.executable, "app.py", "--server-name", "127.0.0.1", "--server-port", str(port)]
    with subprocess.Popen(
        command, cwd=space, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as app:
        too_late = threading.Timer(PATIENCE_SECONDS, app.kill)  # which ends the output
        too_late.start()
        try:
            assert app.stdout is not None
            lines = []
            for line in app.stdout:
                lines.append(line)
                if "HTTP URL" in line:  # in the last line that Gradio prints when the app has opened
                    break
            page_opens = opens(f"http://127.0.0.1:{port}/")
        finally:
            too_late.cancel()
            app.kill()
    assert page_opens, "".join(lines)


# --- The README ---------------------------------------------------------------------------------------------


def matter_of(readme: bytes) -> dict[str, object]:
    matter: dict[str, object] = yaml.safe_load(readme.decode().split("---\n", 2)[1])
    return matter


def space_readme(tmp_path: Path, text: str, weights_repo: WeightsRepo | None = None) -> bytes:
    (tmp_path / "README.md").write_text(text)
    sent = deploy.space_readme(tmp_path / "README.md", SPACE, weights_repo)
    assert (tmp_path / "README.md").read_text() == text, "the local file is not changed"
    return sent


def test_a_readme_without_anything_to_add_is_sent_byte_for_byte(tmp_path: Path) -> None:
    assert space_readme(tmp_path, README) == README.encode()


@pytest.mark.parametrize(
    ("revision", "preload"),
    [
        (None, "me/weights maskrcnn_resnet50_fpn.safetensors"),
        (COMMIT, f"me/weights maskrcnn_resnet50_fpn.safetensors {COMMIT}"),
    ],
)
def test_the_weights_repository_is_named_and_preloaded(
    revision: str | None, preload: str, tmp_path: Path
) -> None:
    sent = space_readme(tmp_path, README, WeightsRepo("me/weights", revision))
    expected = {"models": ["me/weights"], "preload_from_hub": [preload]}
    assert matter_of(sent) == {**matter_of(README.encode()), **expected}
    assert sent.decode().endswith("---\n\n# Text\n\n---\n")
    assert "Été 🔍" in sent.decode()


def test_a_private_weights_repository_is_not_preloaded(tmp_path: Path) -> None:
    sent = space_readme(tmp_path, README, WeightsRepo("me/weights", private=True))
    assert matter_of(sent)["models"] == ["me/weights"]
    assert "preload_from_hub" not in matter_of(sent)


@pytest.mark.parametrize("path", ["docs/thumbnail.png", "./docs/thumbnail.png"])
def test_a_relative_thumbnail_becomes_an_address_on_the_space(path: str, tmp_path: Path) -> None:
    sent = space_readme(tmp_path, README.replace("sdk: ", f"thumbnail: {path}\nsdk: "))
    address = "https://huggingface.co/spaces/me/objects/resolve/main/docs/thumbnail.png"
    assert matter_of(sent)["thumbnail"] == address


def test_a_thumbnail_elsewhere_stays(tmp_path: Path) -> None:
    text = README.replace("sdk: ", "thumbnail: https://example.com/a.png\nsdk: ")
    assert space_readme(tmp_path, text) == text.encode()


@pytest.mark.parametrize("text", ["", "# Text\n", "---\n---\n# Text\n"])
def test_a_readme_without_settings_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="does not begin with the Space's settings"):
        space_readme(tmp_path, text)


def test_the_names_are_those_that_the_app_reads() -> None:
    assert deploy.REPO_VARIABLE == weights.REPO_VARIABLE
    assert f"maskrcnn_{next(iter(ARCHITECTURES))}.safetensors" == deploy.WEIGHTS_FILE


# --- The Space ----------------------------------------------------------------------------------------------


def test_a_new_space_is_created_with_its_settings_and_gets_exactly_the_files() -> None:
    hub = FakeHub()
    settings = Settings(hardware="t4-small", private=True, weights=WeightsRepo("me/weights", "v1"))
    assert deploy.deploy(hub, SPACE, FILES, settings, "Deploy") == []
    assert hub.asked() == ["space_info", "create_repo", "create_commit"]
    assert hub.calls[1][2] == {
        "repo_type": "space",
        "space_sdk": "gradio",
        "space_hardware": "t4-small",
        "private": True,
        "space_variables": [{"key": "SEGMENTATION_WEIGHTS_REPO", "value": "me/weights@v1"}],
    }
    assert hub.calls[2] == ("create_commit", SPACE, "space", "Deploy")
    assert hub.repos[SPACE] == {".gitattributes": b"*.png filter=lfs", **FILES}


def test_settings_that_are_not_named_are_left_to_the_hub() -> None:
    hub = FakeHub()
    deploy.deploy(hub, SPACE, FILES, Settings(), "Deploy")
    assert hub.calls[1][2] == {"repo_type": "space", "space_sdk": "gradio"}


def test_an_existing_space_loses_what_no_longer_belongs_in_the_same_commit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = {".gitattributes": b"x", "app.py": b"old", "old.py": b"", "examples/gone.png": b""}
    hub = FakeHub(**{SPACE: there})
    assert deploy.deploy(hub, SPACE, FILES, Settings(), "Deploy") == ["old.py", "examples/gone.png"]
    assert hub.asked() == ["space_info", "create_commit"]
    assert hub.repos[SPACE] == {".gitattributes": b"x", **FILES}
    assert "deleting old.py" in capsys.readouterr().out


def test_an_existing_space_gets_its_settings_before_its_files() -> None:
    hub = FakeHub(**{SPACE: {}})
    settings = Settings(hardware="t4-small", private=True, weights=WeightsRepo("me/weights"))
    deploy.deploy(hub, SPACE, FILES, settings, "Deploy")
    assert hub.calls[1:] == [
        ("update_repo_settings", SPACE, {"private": True, "repo_type": "space"}),
        ("add_space_variable", SPACE, "SEGMENTATION_WEIGHTS_REPO", "me/weights"),
        ("request_space_hardware", SPACE, "t4-small"),
        ("create_commit", SPACE, "space", "Deploy"),
    ]


MOUNTED = WeightsRepo("me/weights", COMMIT, private=True, mounted=True)


def test_a_mounted_repository_is_read_where_it_lies_and_not_preloaded(tmp_path: Path) -> None:
    new, there = FakeHub(), FakeHub(**{SPACE: {}})
    for hub in (new, there):
        deploy.deploy(hub, SPACE, FILES, Settings(weights=MOUNTED), "Deploy")
    volume = {
        "type": "model", "source": "me/weights", "mountPath": "/weights", "revision": COMMIT, "readOnly": True
    }  # fmt: skip
    created = new.calls[1][2]
    assert [one.to_dict() for one in created["space_volumes"]] == [volume]
    file = "/weights/maskrcnn_resnet50_fpn.safetensors"
    assert created["space_variables"] == [{"key": "SEGMENTATION_WEIGHTS", "value": file}]
    assert there.calls[1:3] == [
        ("add_space_variable", SPACE, "SEGMENTATION_WEIGHTS", file),
        ("set_space_volumes", SPACE, [volume]),
    ]
    assert "preload_from_hub" not in matter_of(space_readme(tmp_path, README, MOUNTED))


def test_the_space_gets_a_torch_that_zero_gpu_supports() -> None:
    text = (ROOT / "requirements.txt").read_text()
    pinned = deploy.space_requirements(text)
    assert "\ntorch==2.11.0\ntorchvision==0.26.0\n" in pinned
    changed = set(pinned.splitlines()) ^ set(text.splitlines())
    assert len(changed) == 4
    for line in text.splitlines():
        if line.startswith("torch"):
            wanted = Requirement(line)
            assert deploy.PINS[wanted.name] in wanted.specifier


@pytest.mark.parametrize(
    ("hardware", "status", "why"),
    [
        ("zero-a10g", 402, "a free account can host two .* a PRO account can host ten"),
        ("zero-a10g", 403, "older than 30 days.*; or the token may not do that"),
        ("cpu-basic", 402, "needs a paid plan; a free account can use --hardware zero-a10g"),
        ("a100-large", 402, "paid by the hour"),
        ("zero-a10g", 401, "does not accept the token"),
        ("zero-a10g", 429, "too many requests"),
    ],
)
def test_a_refusal_says_what_each_kind_of_account_can_host(hardware: str, status: int, why: str) -> None:
    assert re.search(why, deploy.reasons_of(hardware)[status])


def test_a_space_of_another_kind_is_left_alone() -> None:
    hub = FakeHub(**{SPACE: {"Dockerfile": b""}})
    hub.sdk = "docker"
    with pytest.raises(HubError, match=r"me/objects is a Space of the kind docker, not gradio"):
        deploy.deploy(hub, SPACE, FILES, Settings(), "Deploy")
    assert hub.asked() == ["space_info"]
    assert hub.repos[SPACE] == {"Dockerfile": b""}


@pytest.mark.parametrize("exists", [False, True])
def test_hardware_that_must_be_paid_is_said_and_nothing_is_sent(
    exists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise HfHubHTTPError("402", response=answer(402), server_message="Add a payment method")

    hub = FakeHub(**({SPACE: {}} if exists else {}))
    monkeypatch.setattr(hub, "create_repo", refuse)
    monkeypatch.setattr(hub, "request_space_hardware", refuse)
    with pytest.raises(
        HubError,
        match=r"t4-small.*: this hardware is paid by the hour .*zero-a10g is free .*payment method\)",
    ):
        deploy.deploy(hub, SPACE, FILES, Settings(hardware="t4-small"), "Deploy")
    assert "create_commit" not in hub.asked()


def test_a_refused_token_is_not_taken_for_a_space_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise RepositoryNotFoundError("401", response=answer(401))

    hub = FakeHub()
    monkeypatch.setattr(hub, "space_info", refuse)
    with pytest.raises(HubError, match="does not accept the token"):
        deploy.deploy(hub, SPACE, FILES, Settings(), "Deploy")
    assert hub.asked() == []


def test_a_revision_of_the_weights_becomes_the_commit_that_it_is_now() -> None:
    hub = FakeHub(**{"me/weights": {deploy.WEIGHTS_FILE: b""}})
    assert deploy.check_weights(hub, WeightsRepo("me/weights", "v1")) == WeightsRepo("me/weights", COMMIT)
    assert hub.calls == [("model_info", "me/weights", "v1")]
    assert deploy.check_weights(hub, WeightsRepo("me/weights")) == WeightsRepo("me/weights")
    hub.private = True
    assert deploy.check_weights(hub, WeightsRepo("me/weights")).private


def test_a_weights_repository_without_the_file_or_that_is_not_there_is_refused() -> None:
    hub = FakeHub(**{"me/weights": {"model.bin": b""}})
    with pytest.raises(HubError, match=r"me/weights holds no maskrcnn_resnet50_fpn\.safetensors"):
        deploy.check_weights(hub, WeightsRepo("me/weights"))
    with pytest.raises(HubError, match=r"me/gone@v1 could not be looked at: it is not there"):
        deploy.check_weights(hub, WeightsRepo("me/gone", "v1"))


def test_the_weights_file_may_be_one_of_another_layout() -> None:
    hub = FakeHub(**{"me/weights": {"README.md": b"", "maskrcnn_resnet50_fpn_v2.safetensors": b""}})
    found = deploy.check_weights(hub, WeightsRepo("me/weights", "v1"))
    assert found.variables == {
        "SEGMENTATION_WEIGHTS_REPO": f"me/weights@{COMMIT}:maskrcnn_resnet50_fpn_v2.safetensors"
    }
    assert found.preload == f"me/weights maskrcnn_resnet50_fpn_v2.safetensors {COMMIT}"
    mounted = dataclasses.replace(found, mounted=True)
    assert mounted.variables == {"SEGMENTATION_WEIGHTS": "/weights/maskrcnn_resnet50_fpn_v2.safetensors"}
    hub.repos["me/weights"]["maskrcnn_scenes.safetensors"] = b""
    with pytest.raises(HubError, match=r"holds no maskrcnn_resnet50_fpn\.safetensors, and several others"):
        deploy.check_weights(hub, WeightsRepo("me/weights"))


# --- The command --------------------------------------------------------------------------------------------


def test_the_command_sends_the_checkout_and_says_what_to_do_next(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = FakeHub(**{"me/weights": {deploy.WEIGHTS_FILE: b""}})
    run(monkeypatch, hub, "--weights-repo", "me/weights@v1")
    assert hub.asked() == ["model_info", "space_info", "create_repo", "create_commit"]
    assert hub.calls[2][2]["space_variables"][0]["value"] == f"me/weights@{COMMIT}"
    assert re.fullmatch("Deploy [0-9a-f]{7,}", hub.calls[-1][-1])
    sent = hub.repos[SPACE]
    assert sorted(sent) == [".gitattributes", "README.md", "app.py", "docs/picture.png", "examples/a.png"]
    assert matter_of(sent["README.md"])["models"] == ["me/weights"]
    said = capsys.readouterr().out
    assert "https://huggingface.co/spaces/me/objects is being built" in said
    assert "https://huggingface.co/spaces/me/objects?logs=build" in said
    assert "HF_TOKEN" not in said


def test_a_private_weights_repository_asks_for_a_secret(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = FakeHub(**{"me/weights": {deploy.WEIGHTS_FILE: b""}})
    hub.private = True
    run(monkeypatch, hub, "--weights-repo", "me/weights")
    assert "me/weights is private: give the Space a secret HF_TOKEN" in capsys.readouterr().out


def test_a_space_keeps_the_hardware_that_its_owner_chose(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README.md only suggests hardware for new Spaces."""
    (checkout / "README.md").write_text(README.replace("sdk: ", "suggested_hardware: cpu-upgrade\nsdk: "))
    git(checkout, "commit", "-qam", "hardware")
    hub = FakeHub(**{SPACE: {}})
    run(monkeypatch, hub)
    assert hub.asked() == ["space_info", "create_commit"]


def test_suggested_hardware_is_asked_for_unless_another_is_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "README.md").write_text(README.replace("sdk: ", "suggested_hardware: cpu-upgrade\nsdk: "))
    git(checkout, "commit", "-qam", "hardware")
    for arguments, hardware in ([], "cpu-upgrade"), (["--hardware", "t4-small"], "t4-small"):
        hub = FakeHub()
        run(monkeypatch, hub, *arguments)
        assert hub.calls[1][2]["space_hardware"] == hardware


def test_what_is_not_committed_is_named_and_refused(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "app.py").write_text("changed")
    (checkout / "new.py").write_text("not added")
    hub = FakeHub()
    with pytest.raises(SystemExit, match=r"Not committed: app\.py, new\.py; commit, or .*--allow-dirty"):
        run(monkeypatch, hub)
    assert hub.asked() == []


def test_changes_to_what_is_not_sent_do_not_matter(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "tests" / "test_app.py").write_text("changed")
    (checkout / "tests" / "test_new.py").write_text("new")
    hub = FakeHub()
    run(monkeypatch, hub)
    assert "create_commit" in hub.asked()


def test_what_git_tracks_is_sent_as_it_is_where_that_is_allowed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "app.py").write_text("changed")
    (checkout / "examples" / "a.png").unlink()
    (checkout / "new.py").write_text("not added")
    hub = FakeHub()
    run(monkeypatch, hub, "--allow-dirty")
    assert hub.repos[SPACE]["app.py"] == b"changed"
    assert not {"examples/a.png", "new.py"} & hub.repos[SPACE].keys()
    assert hub.calls[-1][-1].endswith(" with changes")
    assert "Not known to git, and so not sent: new.py." in capsys.readouterr().out


def test_a_dry_run_shows_files_and_settings_and_wants_no_token(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deploy, "sign_in", lambda: pytest.fail("asked for a token"))
    (checkout / "app.py").write_text("changed")
    deploy.main([SPACE, "--dry-run", "--weights-repo", "me/weights@v1", "--hardware", "t4-small"])
    said = capsys.readouterr().out
    for expected in (
        "  7  app.py  (not committed)",
        "4 files, 0.0 MB",
        "Hardware: t4-small",
        "SEGMENTATION_WEIGHTS_REPO: me/weights@v1",
        "- me/weights maskrcnn_resnet50_fpn.safetensors v1",
        "Nothing was sent",
    ):
        assert expected in said
    assert "tests/" not in said


def test_the_files_can_be_written_into_a_folder(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "requirements.txt").write_text("torch>=2.8,<3\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "torch")
    run(monkeypatch, None, "--folder", str(tmp_path / "space"))
    written = {str(path.relative_to(tmp_path / "space")) for path in (tmp_path / "space").rglob("*.*")}
    assert written == {"README.md", "app.py", "docs/picture.png", "examples/a.png", "requirements.txt"}
    assert (tmp_path / "space" / "requirements.txt").read_text() == "torch==2.11.0\n"


@pytest.mark.parametrize("arguments", [["--mount"], ["--hardware", "warp-drive"]])
def test_options_that_make_no_sense_end_the_command_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        deploy.main([SPACE, *arguments])
    assert caught.value.code == 2


def test_a_readme_for_another_kind_of_space_is_refused(checkout: Path) -> None:
    (checkout / "README.md").write_text(README.replace("sdk: gradio", "sdk: docker"))
    with pytest.raises(SystemExit, match=r"README\.md says sdk: docker"):
        deploy.main([SPACE, "--dry-run"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["objects", "--dry-run"],
        [SPACE, "--weights-repo", "weights"],
        [SPACE, "--weights-repo", "me/weights@"],
        [SPACE, "--weights-repo", "me/weights:file"],
        [SPACE, "--weights-repo", "me/weights@a b"],
    ],
)
def test_a_bad_name_ends_the_command_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        deploy.main(arguments)
    assert caught.value.code == 2
    assert "error: argument" in capsys.readouterr().err


# --- With the real client -----------------------------------------------------------------------------------


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the Hub's client send requests. They still do not leave this machine."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def test_the_real_client_creates_a_space_and_sends_one_commit(online: None) -> None:
    with hub_server() as server:
        deploy.deploy(HfApi(endpoint=server.url, token="hf_x"), SPACE, FILES, Settings(), "Deploy")
    assert [request for request in server.asked if "validate-yaml" not in request] == [
        "GET /api/spaces/me/objects",
        "POST /api/repos/create",
        "GET /api/spaces/me/objects/tree/main",
        "POST /api/spaces/me/objects/preupload/main",
        "POST /api/spaces/me/objects/commit/main",
    ]
    assert committed(server) == {**FILES, "old.py": None}


def test_the_real_client_updates_a_space(online: None) -> None:
    settings = Settings(hardware="t4-small", private=True, weights=WeightsRepo("me/weights"))
    with hub_server() as server:
        server.exists = True
        deploy.deploy(HfApi(endpoint=server.url, token="hf_x"), SPACE, FILES, settings, "Deploy")
    assert [request.rpartition("/")[2] for request in server.asked[1:4]] == [
        "settings",
        "variables",
        "hardware",
    ]
    assert committed(server) == {**FILES, "old.py": None}


@pytest.mark.parametrize(
    ("path", "status", "message", "sentence"),
    [
        (
            "GET .*objects$",
            401,
            "Invalid credentials in Authorization header",
            "could not be looked at: .*token",
        ),
        ("repos/create", 403, "You don't have the rights", "could not be created: .*the rights"),
        (
            "repos/create",
            402,
            "Subscribe to PRO",
            "could not be created: .*needs a paid plan.*zero-a10g .*Subscribe to PRO",
        ),
        ("repos/create", 401, "Invalid username or password.", "could not be created: .*accept the token"),
        ("commit/main", 403, "Forbidden", "files could not be sent to me/objects: .*may not do that"),
        ("commit/main", 500, "Oops", "files could not be sent to me/objects: .*has a fault"),
    ],
)
def test_what_the_hub_refuses_to_the_real_client_is_one_sentence(
    path: str, status: int, message: str, sentence: str, online: None
) -> None:
    with hub_server() as server:
        server.fails = {path: (status, message)}
        with pytest.raises(HubError, match=sentence) as caught:
            deploy.deploy(HfApi(endpoint=server.url, token="hf_x"), SPACE, FILES, Settings(), "Deploy")
    assert "\n" not in str(caught.value)

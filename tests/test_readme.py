"""Tests that the README's examples run as they are written. Only the address and the photo are replaced."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from inference import load_best
from network import weights
from network.architectures import ARCHITECTURES
from tests.conftest import ROOT
from tests.fake_hub import FakeHub
from tests.javascript import node, with_client
from tests.small_clips import moving_frames, write_clip
from tests.truth import SCENE
from tools import deploy, publish_weights

README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:7860"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for _, code in BLOCKS for line in code.splitlines() if line.startswith("python ")]


def block(language: str, word: str = "") -> str:
    """Returns the only example in this language that contains `word`."""
    (code,) = [code for name, code in BLOCKS if name == language and word in code]
    return code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's working folder, with a photo in it."""
    shutil.copy(SCENE, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def counts(server: str) -> dict[str, int]:
    """The counts that the examples should print. The examples ask for scores of at least 0.7."""
    client = Client(server, verbose=False)
    answer = client.predict(image=handle_file(SCENE), score_threshold=0.7, api_name="/segment")
    assert len(answer["counts"]) > 2
    found: dict[str, int] = answer["counts"]
    return found


def here(code: str, server: str) -> str:
    assert ADDRESS in code
    return code.replace(ADDRESS, server.rstrip("/"))


def test_every_example_is_of_a_kind_that_is_run_here() -> None:
    assert [name for name, _ in BLOCKS].count("python") == 6
    assert {name for name, _ in BLOCKS} == {"sh", "python", "javascript", "json", "markdown", "html"}


def test_the_example_for_python(
    server: str, folder: Path, counts: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    exec(here(block("python", "bbox_xyxy"), server), {})
    assert str(counts) in capsys.readouterr().out


def test_the_example_for_looking_closer(
    server: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(here(block("python", "closer"), server), {})
    assert "closer {'" in capsys.readouterr().out


def test_the_example_for_corrections(server: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(here(block("python", "suggest"), server), {})

    printed = capsys.readouterr().out
    assert "teapot person None" in printed
    assert "kettle edited None" in printed


def test_the_example_for_many_photos(
    server: str, folder: Path, counts: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "second.jpg").write_text("no picture")
    exec(here(block("python", "segment_many"), server), {})
    out = capsys.readouterr().out
    assert "1 of 2 photos" in out and "photos-yolo.zip" in out
    assert f"photo {counts}" in out and "second This file is not a picture" in out


def test_the_example_for_clips(server: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(folder / "clip.mp4", moving_frames(3))
    exec(here(block("python", "segment_video"), server), {})
    out = capsys.readouterr().out
    assert "3 of 3 frames, 0.0 s left" in out and "clip-blur." in out


def test_five_commands_lead_from_a_trained_network_to_a_space(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(block("python", "state_dict"), {"model": ARCHITECTURES["scenes"].build(4)})
    names, app, login, publishing, deploying = block("sh", "labels.txt").splitlines()
    subprocess.run(["sh", "-c", names], check=True)
    variable, value = app.removesuffix(" python app.py").split("=")
    with monkeypatch.context() as patch:
        patch.setenv(variable, value)
        model, shortfall = load_best(device="cpu")
    assert ([*model.categories.by_name], shortfall) == (["leaf", "rust", "mildew"], None)
    assert login == "hf auth login"
    hub = FakeHub()
    for tool, command, more in ((publish_weights, publishing, []), (deploy, deploying, ["--allow-dirty"])):
        monkeypatch.setattr(tool, "sign_in", lambda: hub)
        tool.main([*command.split()[2:], *more])
    assert hub.repos["owner/weights"].keys() >= {"README.md", "maskrcnn_scenes.safetensors"}
    (variables,) = [
        call[2]["space_variables"] for call in hub.calls if call[:2] == ("create_repo", "owner/name")
    ]
    assert variables[0]["key"] == "SEGMENTATION_WEIGHTS_REPO"
    monkeypatch.setenv("SEGMENTATION_WEIGHTS_REPO", variables[0]["value"])
    monkeypatch.setattr(weights, "hf_hub_download", hub.download(folder / "cache"))
    model, shortfall = load_best(device="cpu")
    assert ([*model.categories.by_name], shortfall) == (["leaf", "rust", "mildew"], None)


def test_the_example_for_javascript(server: str, folder: Path, counts: dict[str, int]) -> None:
    out = node(here(block("javascript"), server), with_client(folder))
    for name, count in counts.items():
        assert re.search(rf"\b{name}'?: {count}\b", out)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_example_for_curl(server: str, folder: Path, counts: dict[str, int]) -> None:
    code = here(block("sh", "curl"), server)
    run = subprocess.run(["sh", "-c", code], capture_output=True, text=True, check=True, timeout=30)
    (data,) = re.findall(r"^event: complete\ndata: (.*)$", run.stdout, re.MULTILINE)
    assert json.loads(data)[0]["counts"] == counts


def test_the_example_for_agents(server: str) -> None:
    (entry,) = json.loads(here(block("json"), server))["mcpServers"].values()

    async def tools() -> list[str]:
        async with (
            streamable_http_client(entry["url"]) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return [tool.name for tool in (await session.list_tools()).tools]

    offered = asyncio.run(tools())
    assert offered and all(f"`{name}`" in README for name in offered)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_a_script_that_knows_its_options(command: str) -> None:
    _, script, *arguments = command.partition("#")[0].split()
    code = (ROOT / script).read_text()
    for option in (word for word in arguments if word.startswith("--")):
        assert f'"{option}"' in code, option


@pytest.mark.parametrize("option", ["--no-pictures", "--private", "--hardware", "--coco-images", "--weights"])
def test_an_option_that_the_text_names_is_known_to_a_script(option: str) -> None:
    assert f"`{option}" in README
    assert any(f'"{option}"' in path.read_text() for path in (ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/model_card.md", "docs/starter.md", "assets/starter.md"]
)
def test_every_link_to_a_file_of_ours_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    assert links
    for link in links:
        assert (ROOT / page).parent.joinpath(link).exists(), link

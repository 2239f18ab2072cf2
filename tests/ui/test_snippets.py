from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio.utils import get_upload_folder
from PIL import Image

import coco
from answer.data import to_json
from answer.result import Result, View, counts, in_view
from answer.settings import Filters
from detections import Detections
from inference import SegmentationModel
from serving.models import Models
from serving.photos import segment_file
from serving.service import Service
from tests.javascript import node, with_client
from tests.loops import in_a_loop
from tests.samples import annotated_photo, fake_model, make_detections
from tests.truth import SCENE
from ui import api
from ui.snippets import to_curl, to_javascript, to_python
from visualize import Style

ADDRESS = "http://127.0.0.1:7860"
NO_DETECTIONS = make_detections([])
AWKWARD = [
    "two words.png",
    "it's.png",
    'a "b".png',
    "'\"'.png",
    "$HOME.png",
    "`id`.png",
    "$(id).png",
    "a, b; c & d.png",
    "back\\slash\\.png",
    "two\nlines.png",
    "*?[a].png",
    "{image} %s.png",
    "FILE.png",
    "-f.png",
    "#1!.png",
    "ü熊.png",
]
"""Names of files that a shell or Python could misread."""
FAKE_CURL = """#!/bin/sh
for argument in "$@"; do printf '%s\\0' "$argument"; done >> "$ASKED"
printf '\\0' >> "$ASKED"
case "$*" in
*/upload) echo '["/up & loads/a photo.png"]' ;;
*/call/v2/segment) echo '{"event_id":"7f"}' ;;
esac
"""


FAKE_CLIENT = """
const note = (...what) => console.log(JSON.stringify(what, (_, value) =>
  value instanceof File ? { path: value.name, size: value.size } : value));
export class Client {
  static async connect(address) { note(address); return new Client(); }
  async predict(name, settings) { note(name, settings); return { data: [{ counts: {}, url: "" }] }; }
}
"""


def make_result(name: str = "photo.png", detections: Detections = NO_DETECTIONS) -> Result:
    model = replace(fake_model(), name="scenes")
    picture = np.zeros((6, 8, 3), np.uint8)
    return Result(Path("folder") / name, picture, detections, model, {"model": 1.0})


def python_asks(code: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, dict[str, Any]]]:
    """Runs a Python program with a fake Gradio client.

    Returns the address that the program connects to, and the arguments of its calls by endpoint.
    """
    asked: dict[str, dict[str, Any]] = {}
    addresses = []

    class Client:
        def __init__(self, address: str) -> None:
            addresses.append(address)

        def predict(self, *, api_name: str, **arguments: Any) -> dict[str, Any]:
            asked[api_name] = arguments
            return {"counts": {}}

    library: Any = ModuleType("gradio_client")
    library.Client, library.handle_file = Client, lambda name: {"path": name}
    monkeypatch.setitem(sys.modules, "gradio_client", library)
    exec(compile(code, "snippet.py", "exec"), {})
    (address,) = addresses
    return address, asked


def curl_asks(code: str, tmp_path: Path, shell: str = "bash") -> list[list[str]]:
    """Runs shell commands with a fake curl that answers like the app. Returns the arguments of each call."""
    curl, asked = tmp_path / "bin" / "curl", tmp_path / "asked"
    curl.parent.mkdir()
    curl.write_text(FAKE_CURL)
    curl.chmod(0o755)
    environment = os.environ | {"PATH": f"{curl.parent}:{os.environ['PATH']}", "ASKED": str(asked)}
    run = subprocess.run([shell, "-c", code], env=environment, capture_output=True, check=True, cwd=tmp_path)
    assert run.stderr == b""
    return [call.split("\0") for call in asked.read_text("utf-8").removesuffix("\0\0").split("\0\0")]


def javascript_asks(code: str, tmp_path: Path, photo: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Runs a JavaScript program with a fake Gradio client, and returns the same as `python_asks`."""
    folder = tmp_path / "js"
    client = folder / "node_modules" / "@gradio" / "client"
    client.mkdir(parents=True)
    (client / "package.json").write_text('{"type": "module", "main": "index.js"}')
    (client / "index.js").write_text(FAKE_CLIENT)
    (folder / photo).write_bytes(b"12345")
    asked = [json.loads(line) for line in node(code, folder).splitlines() if line.startswith("[")]
    (address,), *calls = asked
    return address, dict(calls)


def after(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


@pytest.fixture(scope="module")
def endpoints() -> dict[str, Callable[..., Any]]:
    """The functions behind the endpoints, by the endpoints' names. Each model is a fake with its name."""
    with gr.Blocks() as blocks:
        api.add_endpoints(Service(Models(load_named=lambda name: replace(fake_model(), name=name))))
    return {f"/{function.api_name}": function.fn for function in blocks.fns.values()}


SETTINGS = [
    (Filters(), Style()),
    (Filters(0.3), Style()),
    (Filters(0.1 + 0.2), Style(opacity=0.1 + 0.2)),
    (Filters(1), Style(opacity=0)),
    (Filters(0, ("dog", "hot dog")), Style()),
    (Filters(classes=()), Style(masks=False, boxes=False, labels=False)),
    (Filters(hidden=(5, 2)), Style(color_by="category")),
    (Filters(mask_threshold=0.65), Style(labels=False, mask_threshold=0.65)),
    (Filters(0.05, ("cat",), 0.95, (1,)), Style(True, False, True, 1, "category", 0.95)),
]


@pytest.mark.parametrize(("filters", "style"), SETTINGS)
def test_the_calls_ask_the_endpoints_for_exactly_what_is_on_the_screen(
    filters: Filters,
    style: Style,
    endpoints: dict[str, Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    seen: list[Any] = []

    def segment_file(path: Path, model: SegmentationModel, *rest: object) -> Result:
        return replace(make_result(), path=path, model=model)

    def note(view: View, *rest: Any, **options: Any) -> Path:
        found = view.result.path.name, view.result.model.name
        seen.append((found, view.filters, view.style, *rest[:1]))
        return Path("picture.png")

    monkeypatch.setattr("serving.service.segment_file", segment_file)
    monkeypatch.setattr(api, "to_json", lambda view, warnings: note(view))
    monkeypatch.setattr(api, "export_file", note)
    _, asked = python_asks(to_python(ADDRESS, View(make_result(), filters, style)), monkeypatch)
    body = json.loads(after(curl_asks(to_curl(ADDRESS, View(make_result(), filters)), tmp_path)[1], "-d"))
    uploaded = {"path": str(Path(get_upload_folder()) / "photo.png")}
    for name, arguments in (*asked.items(), ("/segment", body)):
        in_a_loop(endpoints[name](**arguments | {"image": uploaded}))
    found = ("photo.png", "scenes")
    assert seen == [
        (found, filters, Style()),
        (found, filters, style, "annotated"),
        (found, filters, Style()),
    ]


@pytest.mark.parametrize(
    ("filters", "style", "settings", "look"),
    [
        (Filters(), Style(), {}, {}),
        (Filters(0.3), Style(), {"score_threshold": 0.3}, {}),
        (Filters(classes=("cat",)), Style(), {"classes": ["cat"]}, {}),
        (Filters(classes=()), Style(), {"classes": []}, {}),
        (Filters(mask_threshold=0.7), Style(mask_threshold=0.7), {"mask_threshold": 0.7}, {}),
        (Filters(hidden=(3, 1)), Style(), {"hidden": [3, 1]}, {}),
        (Filters(), Style(opacity=0.2), {}, {"opacity": 0.2}),
        (Filters(), Style(color_by="category"), {}, {"color_by": "category"}),
        (Filters(), Style(boxes=False), {}, {"show": ["masks", "labels"]}),
        (Filters(), Style(masks=False, boxes=False, labels=False), {}, {"show": []}),
    ],
)
def test_only_what_is_not_so_by_default_is_said(
    filters: Filters,
    style: Style,
    settings: dict[str, Any],
    look: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    _, asked = python_asks(to_python(ADDRESS, View(make_result(), filters, style)), monkeypatch)
    said = {"image": {"path": "photo.png"}, "model": "scenes"} | settings
    assert asked == {"/segment": said, "/annotate": said | look}
    body = json.loads(after(curl_asks(to_curl(ADDRESS, View(make_result(), filters)), tmp_path)[1], "-d"))
    assert {name: value for name, value in body.items() if name != "image"} == {"model": "scenes"} | settings


@pytest.mark.parametrize("name", [name for name in AWKWARD if name != "back\\slash\\.png"])
def test_javascript_asks_what_python_asks(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    filters, style = SETTINGS[AWKWARD.index(name) % len(SETTINGS)]
    code = to_javascript(ADDRESS, View(make_result(name), filters, style))
    address, asked = javascript_asks(code, tmp_path, name)
    expected = python_asks(to_python(ADDRESS, View(make_result(name), filters, style)), monkeypatch)
    for arguments in asked.values():
        assert arguments["image"].pop("size") == 5
    assert (address, asked) == expected


@pytest.mark.parametrize("name", AWKWARD)
def test_python_sends_the_file_of_that_name_and_reads_nothing_else_into_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = python_asks(to_python(ADDRESS, View(make_result(name))), monkeypatch)
    assert address == ADDRESS
    assert [arguments["image"] for arguments in asked.values()] == [{"path": name}] * 2


@pytest.mark.parametrize("shell", ["bash", "sh"])
@pytest.mark.parametrize("name", AWKWARD)
def test_a_shell_sends_the_file_of_that_name_and_reads_nothing_else_into_it(
    name: str, shell: str, tmp_path: Path
) -> None:
    upload, begin, wait = curl_asks(to_curl(ADDRESS, View(make_result(name), Filters(0.3))), tmp_path, shell)
    # The name is in quotes, so that curl does not end it at a comma or a semicolon.
    quoted = re.fullmatch(r'files=@"((?:[^"\\]|\\.)*)"', after(upload, "-F"))
    assert quoted and re.sub(r"\\(.)", r"\1", quoted[1]) == name
    assert json.loads(after(begin, "-d")) == {
        "image": {"path": "/up & loads/a photo.png", "meta": {"_type": "gradio.FileData"}},
        "model": "scenes",
        "score_threshold": 0.3,
    }
    assert [call[-1] for call in (upload, begin, wait)] == [
        f"{ADDRESS}/gradio_api/upload",
        f"{ADDRESS}/gradio_api/call/v2/segment",
        f"{ADDRESS}/gradio_api/call/segment/7f",
    ]


@pytest.mark.parametrize("address", ["https://example.org/a/b", "http://x/$(id)'s `id` \"&"])
def test_the_address_is_the_one_given(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert python_asks(to_python(address, View(make_result())), monkeypatch)[0] == address
    for call in curl_asks(to_curl(address, View(make_result())), tmp_path):
        assert call[-1].startswith(f"{address}/gradio_api/")


def test_only_the_name_of_the_file_is_told_not_its_folder_here() -> None:
    result = make_result()
    for code in (to_python(ADDRESS, View(result)), to_curl(ADDRESS, View(result))):
        assert "photo.png" in code
        assert "folder" not in code


def photographed(tmp_path: Path, model: SegmentationModel) -> tuple[Result, Filters]:
    """Returns the result of a drawn scene with an awkward name, and filters that leave out some instances."""
    photo = tmp_path / "it's a, b; c & d.png"
    shutil.copy(SCENE, photo)
    result = segment_file(photo, model)
    kind, *_ = counts(result.detections, coco.CATEGORIES)
    classes = tuple(name for name in counts(result.detections, coco.CATEGORIES) if name != kind)
    filters = Filters(
        0.1 + 0.2,
        classes,
        0.6,
        (int(in_view(result.detections, coco.CATEGORIES, Filters(0.3, classes)).ids[0]),),
    )
    assert 0 < len(in_view(result.detections, coco.CATEGORIES, filters)) < len(result.detections) - 1
    return result, filters


def test_the_program_for_python_gives_what_is_on_the_screen(
    server: str,
    scenes_model: SegmentationModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result, filters = photographed(tmp_path, scenes_model)
    style = Style(boxes=False, opacity=0.8, color_by="category", mask_threshold=filters.mask_threshold)
    monkeypatch.chdir(tmp_path)
    exec(compile(to_python(server, View(result, filters, style)), "snippet.py", "exec"), {})
    *_, counted, picture = capsys.readouterr().out.splitlines()
    assert ast.literal_eval(counted) == counts(
        in_view(result.detections, coco.CATEGORIES, filters), coco.CATEGORIES
    )
    (tmp_path / "expected.png").write_bytes(annotated_photo(result, filters, style))
    with Image.open(picture) as answer, Image.open(tmp_path / "expected.png") as expected:
        np.testing.assert_array_equal(np.asarray(answer), np.asarray(expected))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_commands_for_the_shell_give_what_is_on_the_screen(
    shell: str, server: str, scenes_model: SegmentationModel, tmp_path: Path
) -> None:
    result, filters = photographed(tmp_path, scenes_model)
    code = to_curl(server.rstrip("/"), View(result, filters))
    run = subprocess.run([shell, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    events = dict(re.findall(r"^event: (\w+)\ndata: (.*)$", run.stdout, re.MULTILINE))
    (answer,) = json.loads(events["complete"])
    expected = to_json(View(result, filters))
    assert answer["settings"] == expected["settings"]
    assert answer["instances"] == expected["instances"]


def test_the_program_for_javascript_gives_what_is_on_the_screen(
    server: str, scenes_model: SegmentationModel, tmp_path: Path
) -> None:
    result, filters = photographed(tmp_path, scenes_model)
    style = Style(boxes=False, opacity=0.8)
    out = node(to_javascript(server.rstrip("/"), View(result, filters, style)), with_client(tmp_path))
    for name, count in counts(in_view(result.detections, coco.CATEGORIES, filters), coco.CATEGORIES).items():
        assert re.search(rf"['\"]?{name}['\"]?: {count}\b", out)
    assert out.splitlines()[-1].endswith("-segmented.png")

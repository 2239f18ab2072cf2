"""A network that was fine-tuned on three kinds of object, published, and used end to end."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import torch
import yaml
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Page

from inference import SegmentationModel, load, load_best
from network import eight_bit, weights
from network.calibration import digest_of, names_of, read_ranges
from photo.images import read_image
from serving.models import Models
from serving.service import Service
from tests.fake_hub import FakeHub
from tests.patience import expect
from tests.server import running
from tests.small_clips import write_clip
from tests.truth import SCENES, share_found, truth
from tests.tuned import KINDS, LABELS, fine_tuned
from tests.ui.visitor import chip, kind, masks, open_kinds, rows, upload
from tools import evaluate, publish_weights, segment_folder
from ui.layout import title_of
from ui.links import to_link
from ui.page import Page as FindingPage

SCENE = SCENES[3]
"""It shows two stop signs."""
NAMES = [*KINDS.values()]
CATEGORIES = [{"id": id, "name": name, "supercategory": "object"} for id, name in enumerate(NAMES, start=1)]
SIGN = KINDS["stop sign"]


class Own(NamedTuple):
    """Our own model, the repository that holds it, and the address of an app that runs it."""

    model: SegmentationModel
    files: dict[str, bytes]
    address: str


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    folder, hub = tmp_path_factory.mktemp("own"), FakeHub()
    torch.save(fine_tuned().state_dict(), folder / "my.pth")
    (folder / "labels.txt").write_text("\n".join(["__background__", *NAMES]) + "\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish_weights, "sign_in", lambda: hub)
        command = [str(folder / "my.pth"), "me/signs", "--labels", str(folder / "labels.txt")]
        publish_weights.main([*command, "--calibrate", str(SCENE.parent)])
        patch.setattr(weights, "hf_hub_download", hub.download(folder / "cache"))
        patch.setenv("SEGMENTATION_WEIGHTS_REPO", "me/signs:maskrcnn_scenes.safetensors")
        model, shortfall = load_best(device="cpu")
        assert shortfall is None
    with running(model, None) as address:
        # Live does not wait for a model that is being loaded.
        Client(address, verbose=False).predict(image=handle_file(SCENE), api_name="/segment")
        yield Own(model, hub.repos["me/signs"], address)


@pytest.fixture
def client(own: Own) -> Client:
    return Client(own.address, verbose=False)


def own_truth(scene: Path) -> list[dict[str, Any]]:
    """The objects of the three kinds in a scene, with our own labels."""
    return [
        annotation | {"category_id": LABELS[annotation["category_id"]]}
        for annotation in truth(scene)
        if annotation["category_id"] in LABELS
    ]


def test_the_app_loads_the_model_with_its_own_kinds(own: Own) -> None:
    assert own.model.origin == "Hugging Face Hub me/signs:maskrcnn_scenes.safetensors"
    assert own.model.categories.as_json() == CATEGORIES
    assert own.model.label_ids == (0, 1, 2, 3)


def test_the_card_names_the_kinds_and_how_to_use_the_file(own: Own) -> None:
    card = own.files["README.md"].decode()
    assert "\n".join(["````text", *NAMES, "````"]) in card
    assert "SEGMENTATION_WEIGHTS_REPO=me/signs:maskrcnn_scenes.safetensors python app.py" in card
    assert "{" not in card


def test_the_ranges_for_8_bits_are_measured_and_fit(own: Own, tmp_path: Path) -> None:
    file = tmp_path / "my.safetensors"
    file.write_bytes(own.files["maskrcnn_scenes.safetensors"])
    found = weights.find_weights(weights.ARCHITECTURES["scenes"], file)
    names = names_of(weights.ARCHITECTURES["scenes"].build(found.classes))
    assert found.ranges is not None
    assert read_ranges(found.ranges, digest_of(found.state_dict), names).keys() == set(names)
    if eight_bit.able():
        model, _ = load_best(file, device="cpu", precision="int8")
        assert (model.precision, model.categories) == ("int8", own.model.categories)


def test_the_answer_has_the_names_and_the_ids_of_the_file(client: Client) -> None:
    answer = client.predict(image=handle_file(SCENE), api_name="/segment")
    assert set(answer["counts"]) <= set(NAMES)
    for instance in answer["instances"]:
        assert instance["category_name"] == NAMES[instance["category_id"] - 1]
    ours = {label: id for id, label in LABELS.items()}
    told = [found | {"category_id": ours[found["category_id"]]} for found in answer["instances"]]
    signs = [a["category_id"] for a in told].count(ours[1])
    assert signs == [a["category_id"] for a in own_truth(SCENE)].count(1)
    assert answer["warnings"] == []
    assert 0 < share_found(SCENE, told) <= 1


def test_only_the_kinds_of_the_file_can_be_asked_for(client: Client) -> None:
    answer = client.predict(image=handle_file(SCENE), classes=[SIGN], api_name="/segment")
    assert set(answer["counts"]) == {SIGN}
    with pytest.raises(
        AppError, match="there is no category 'person'; there are Stop, rot, <b>Drachen</b>, "
    ):
        client.predict(image=handle_file(SCENE), classes=["person"], api_name="/segment")


def test_every_file_has_the_names_and_none_leaves_its_folder(client: Client, tmp_path: Path) -> None:
    path = client.predict(image=handle_file(SCENE), format="zip", api_name="/export")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        stem = SCENE.stem
        coco, labelme = (
            json.loads(archive.read(f"{name}.json")) for name in (f"{stem}-coco", f"images/{stem}")
        )
        assert coco["categories"] == CATEGORIES
        assert {shape["label"] for shape in labelme["shapes"]} <= set(NAMES)
        assert [*yaml.safe_load(archive.read("data.yaml"))["names"].values()] == NAMES
        assert {line.split()[0] for line in archive.read(f"labels/{stem}.txt").decode().splitlines()} <= set(
            "012"
        )
    cutouts = [name for name in names if name.startswith("cutouts/")]
    assert any(name.endswith("-Stop-rot.png") for name in cutouts)
    assert all(name.count("/") == 1 and ".." not in name and "<" not in name for name in cutouts)


def test_a_clip_is_followed_with_the_names_of_the_file(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "signs.mp4", [read_image(SCENE)] * 3)
    job = client.submit(
        video=handle_file(clip), score_threshold=0.8, format="coco", api_name="/segment_video"
    )
    answer = job.result()
    assert answer["most_at_once"][SIGN] == 2
    assert {track["category_name"] for track in answer["tracks"]} <= set(NAMES)
    assert json.loads(Path(answer["file"]).read_text())["categories"] == CATEGORIES


def test_live_names_the_kinds_of_the_file(own: Own) -> None:
    query = {"score_threshold": 0.3, "without": "Stop%2C rot"}
    headers = {"origin": own.address.rstrip("/"), "content-type": "image/png"}
    answer = httpx.post(f"{own.address}live", params=query, headers=headers, content=SCENE.read_bytes())
    assert answer.status_code == 200, answer.text
    names = {found["name"] for found in answer.json()["objects"]}
    assert names and names <= set(NAMES) - {SIGN}


def test_a_box_that_is_drawn_gets_a_name_of_the_file(client: Client) -> None:
    left, top, width, height = next(a["bbox"] for a in own_truth(SCENE) if a["category_id"] == LABELS[13])
    box = [left, top, left + width, top + height]
    told = client.predict(image=handle_file(SCENE), box=box, api_name="/suggest")
    assert told["names"][0]["name"] == SIGN


def test_an_agent_is_told_the_kinds(client: Client, own: Own) -> None:
    told = json.loads(client.predict(image=handle_file(SCENE), api_name="/detect_objects"))
    assert told["kinds"] == NAMES
    assert told["counts"][SIGN] == 2


def test_the_page_shows_names_as_text_and_filters_by_them(own: Own, open_page: Callable[..., Page]) -> None:
    page = open_page(at=own.address)
    upload(page, SCENE)
    expect(page.locator("#summary")).to_contain_text("Model scenes")
    expect(chip(page, SIGN)).to_contain_text(f"2 x {SIGN}")
    assert {row[1] for row in rows(page)} <= set(NAMES)
    assert page.locator("#summary b, #picture b, .objects-details b").count() == 0
    everything = masks(page).count()
    open_kinds(page)
    kind(page, SIGN).uncheck()
    expect(masks(page)).to_have_count(everything - 2)


def test_a_link_holds_names_of_the_file(own: Own, open_page: Callable[..., Page]) -> None:
    link = to_link(own.address.rstrip("/"), SCENE, {"without": [SIGN]})
    page = open_page(at=own.address, query=link.removeprefix(own.address))
    expect(page.locator("#summary")).to_contain_text("Model scenes")
    open_kinds(page)
    expect(kind(page, SIGN)).not_to_be_checked()
    expect(kind(page, KINDS["clock"])).to_be_checked()


def test_the_list_of_models_counts_no_kinds_where_the_owner_names_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenes = weights.ARCHITECTURES["scenes"]
    assert title_of(scenes) == "Drawn scenes (10 kinds of object, built in)"
    monkeypatch.setenv("SEGMENTATION_WEIGHTS", "my.pth")
    assert title_of(scenes) == "Drawn scenes (built in)"


def test_the_steps_inside_show_names_as_text(own: Own, open_page: Callable[..., Page]) -> None:
    page = open_page(at=own.address, query="?example=none&tab=inside&step=4")
    upload(page, SCENES[2])
    told = page.locator("#inside-sentence")
    expect(told).to_contain_text("Proposal")
    kite = page.locator("#inside-object input")
    kite.click()
    page.locator("[role=option]", has_text=f": {KINDS['kite']}, ").first.click()
    expect(told).to_contain_text(KINDS["kite"])
    assert told.locator("b").count() == 0


def test_the_folder_tool_says_that_names_are_missing(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(SCENE.read_bytes())
    unnamed = dataclasses.replace(own.model, notes=("The weights come without names.",))
    monkeypatch.setattr(segment_folder, "load", lambda name: unnamed)
    assert segment_folder.main([str(tmp_path / "photos"), str(tmp_path / "out"), "--no-pictures"]) == 0
    assert "The weights come without names." in capsys.readouterr().err


def test_a_small_model_that_knows_other_kinds_gives_no_quick_look(own: Own) -> None:
    small, page = load("starter", device="cpu"), object.__new__(FindingPage)
    page._service = Service(Models(lambda: (own.model, None), lambda name: small))
    assert page._small_model(5.0, own.model.categories) is None
    assert page._small_model(5.0, small.categories) is small


def test_a_folder_is_segmented_with_the_kinds_of_the_file(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(SCENE.read_bytes())
    monkeypatch.setattr(segment_folder, "load", lambda name: own.model)
    out = tmp_path / "out"
    for _ in range(2):  # the second run finds all photos finished
        assert (
            segment_folder.main([str(tmp_path / "photos"), str(out), "--classes", SIGN, "--no-pictures"]) == 0
        )
        found = json.loads((out / "instances.json").read_text("utf-8"))
        assert found["categories"] == CATEGORIES
        assert [annotation["category_id"] for annotation in found["annotations"]] == [1, 1]


def test_the_model_is_measured_on_annotations_whose_ids_differ(own: Own, tmp_path: Path) -> None:
    moved = {1: 17, 2: 0, 3: 5}
    scene = json.loads(SCENE.with_suffix(".json").read_text())
    scene["annotations"] = [a | {"category_id": moved[a["category_id"]]} for a in own_truth(SCENE)]
    scene["categories"] = [{"id": moved[id], "name": name} for id, name in enumerate(NAMES, start=1)]
    (tmp_path / "truth.json").write_text(json.dumps(scene))
    figures = evaluate.measure(
        own.model, SCENE.parent, tmp_path / "truth.json", results_file=tmp_path / "results.jsonl"
    )
    assert figures["box"]["AP50"] == 1.0 and figures["published"] == {}
    scene["categories"] = [{"id": 1, "name": "person"}]
    (tmp_path / "truth.json").write_text(json.dumps(scene))
    with pytest.raises(evaluate.EvaluationError, match="have no kind of object in common"):
        evaluate.measure(own.model, SCENE.parent, tmp_path / "truth.json", results_file=tmp_path / "r.jsonl")

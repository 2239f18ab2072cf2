"""Tests the API as a program uses it: through Gradio's client and, in one test, over plain HTTP."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from pycocotools import mask as coco_mask

from answer.files import EXPORTS
from inference import SegmentationModel
from marks import PALETTE
from serving import photos
from tests.conftest import ROOT
from tests.server import SHORTFALL, running
from tests.truth import SCENE, SCENES, share_found
from ui.agents import TOOLS
from visualize import EFFECTS


@pytest.fixture(scope="module")
def client(server: str) -> Client:
    return Client(server, verbose=False)


def segment(client: Client, file: Path = SCENE, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.predict(image=handle_file(file), api_name="/segment", **arguments)
    return answer


FILTERS = {
    "score_threshold": 0.5,
    "classes": None,
    "mask_threshold": 0.5,
    "model": "auto",
    "hidden": None,
}
LOOK = {"opacity": 0.5, "color_by": "instance", "show": None, "effect": None, "color": "#ffffff"}
DETAIL = {"detail": "full"}
EDITS = {"edits": None}
OWN = {"thresholds": None}
PARAMETERS = {
    "/segment": FILTERS | DETAIL | EDITS | OWN,
    "/annotate": FILTERS | LOOK | DETAIL | EDITS | OWN,
    "/export": {"format": "zip"} | FILTERS | {"edges": "hard"} | DETAIL | EDITS | OWN,
    "/suggest": {"box": None, "place": None, "model": "auto", "detail": "full"},
    "/inside": {"model": "auto", "detail": "full", "arrays": False},
    "/segment_many": {name: value for name, value in FILTERS.items() if name != "hidden"}
    | DETAIL
    | {"format": None}
    | OWN,
    "/segment_video": FILTERS
    | DETAIL
    | {"stride": 0, "format": "coco", "effect": None, "color": "#ffffff"}
    | OWN,
}
"""The parameters of each endpoint beside the image, with their defaults."""
OF_AGENTS: dict[str, Any] = {
    f"/{name}": {"score_threshold": 0.5, "classes": None, "detail": "full"} for name in TOOLS
}
"""The same for the endpoints that language models call. `test_agents` tests these endpoints."""


def test_the_endpoints_have_typed_parameters_and_defaults(client: Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    expected = PARAMETERS | OF_AGENTS
    assert endpoints.keys() == expected.keys()
    for name, endpoint in endpoints.items():
        image, *others = endpoint["parameters"]
        what = "video" if name in ("/segment_video", "/track_objects") else "image"
        what = "images" if name == "/segment_many" else what
        assert image["parameter_name"] == what and not image["parameter_has_default"]
        assert {p["parameter_name"]: p["parameter_default"] for p in others} == expected[name]
        assert endpoint["description"]


@pytest.mark.parametrize("scene", SCENES, ids=lambda path: path.stem)
def test_what_was_drawn_is_found(scene: Path, client: Client) -> None:
    assert share_found(scene, segment(client, scene, score_threshold=0.3)["instances"]) >= 0.7


def test_the_answer_says_what_was_done_with_what(client: Client, scenes_model: SegmentationModel) -> None:
    answer = segment(client, score_threshold=0.6, classes=None)
    assert json.loads(json.dumps(answer)) == answer
    assert answer["schema_version"] == 1 and answer["cached"] is False
    assert answer["model"] == {
        "name": "scenes",
        "weights": "scenes.safetensors, shipped with the project",
        "sha256": scenes_model.sha256,
        "device": "cpu",
        "precision": "float32",
        "detail": "full",
    }
    with Image.open(SCENE) as image:
        assert answer["image_size"] == {"width": image.width, "height": image.height}
    assert answer["settings"] == {
        "score_threshold": 0.6,
        "classes": None,
        "mask_threshold": 0.5,
        "hidden": [],
        "thresholds": {},
    }
    assert set(answer["timings_ms"]) == {"read", "model"} and min(answer["timings_ms"].values()) > 0
    assert sum(answer["counts"].values()) == len(answer["instances"]) > 0


def test_the_same_photo_again_answers_without_the_network(
    scenes_model: SegmentationModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, runs = photos.segment_or_fall_back, []

    def counted(*arguments: Any) -> Any:
        runs.append(1)
        return real(*arguments)

    monkeypatch.setattr(photos, "segment_or_fall_back", counted)
    again = shutil.copy(SCENE, tmp_path / "again.png")
    with running(scenes_model, results=9) as url:
        client = Client(url, verbose=False)
        first, second = segment(client), segment(client, again, mask_threshold=0.6)
        drawn = client.predict(image=handle_file(again), api_name="/annotate")
        saved = client.predict(image=handle_file(again), format="coco", api_name="/export")
    assert len(runs) == 1
    assert not first["cached"] and second["cached"]
    assert second["timings_ms"]["model"] == 0 and second["counts"] == first["counts"]
    assert Path(drawn).name.startswith("again-")  # and not the name of the first visitor's file
    assert json.loads(Path(saved).read_text())["images"][0]["file_name"] == "again.png"


def test_a_kind_may_have_a_score_threshold_of_its_own(client: Client) -> None:
    everything = segment(client, score_threshold=0.05)["instances"]
    name = everything[0]["category_name"]
    answer = segment(client, score_threshold=0.6, thresholds={name: 0.99})
    assert [instance["id"] for instance in answer["instances"]] == [
        instance["id"]
        for instance in everything
        if instance["score"] >= (0.99 if instance["category_name"] == name else 0.6)
    ]
    assert answer["settings"]["thresholds"] == {name: 0.99}


def test_a_model_with_one_detail_says_so(client: Client) -> None:
    answer = segment(client, detail="fast")
    assert answer["model"]["detail"] == "full"
    assert answer["warnings"][-1] == "The model scenes has one detail only, so 'fast' changed nothing."


def test_an_instances_numbers_agree_with_its_mask(client: Client) -> None:
    answer = segment(client)
    size = [answer["image_size"]["height"], answer["image_size"]["width"]]
    for instance in answer["instances"]:
        mask = coco_mask.decode(instance["segmentation"])
        assert list(mask.shape) == size
        assert mask.sum() == instance["area"] > 0
        x1, y1, x2, y2 = instance["bbox_xyxy"]
        assert np.allclose(instance["bbox_xywh"], [x1, y1, x2 - x1, y2 - y1], atol=0.011)
        ys, xs = np.nonzero(mask)
        assert x1 - 8 <= xs.min() and xs.max() <= x2 + 8 and y1 - 8 <= ys.min() and ys.max() <= y2 + 8


def test_filters_keep_the_same_instances_and_drop_the_others(client: Client) -> None:
    everything = segment(client, score_threshold=0.05)["instances"]
    sure = segment(client, score_threshold=0.9)["instances"]
    assert sure == [instance for instance in everything if instance["score"] >= 0.9] != everything
    kind = sure[0]["category_name"]
    of_kind = segment(client, score_threshold=0.9, classes=[kind])["instances"]
    assert of_kind == [instance for instance in sure if instance["category_name"] == kind]
    assert segment(client, classes=["zebra"])["instances"] == []
    assert segment(client, classes=[])["instances"] == []


def test_hidden_objects_are_left_out_and_the_others_keep_their_ids(client: Client) -> None:
    everything = segment(client)["instances"]
    hidden = [everything[0]["id"], everything[2]["id"]]
    answer = segment(client, hidden=hidden)
    assert answer["instances"] == [i for i in everything if i["id"] not in hidden]
    assert answer["settings"]["hidden"] == hidden
    assert sum(answer["counts"].values()) == len(everything) - 2


def test_a_higher_mask_threshold_gives_smaller_masks(client: Client) -> None:
    loose, strict = (segment(client, mask_threshold=t)["instances"] for t in (0.2, 0.8))
    assert [i["bbox_xyxy"] for i in loose] == [i["bbox_xyxy"] for i in strict]
    assert all(a["area"] > b["area"] for a, b in zip(loose, strict, strict=True))


def test_the_stand_in_for_the_coco_model_is_said_in_every_answer(client: Client) -> None:
    (warning,) = segment(client)["warnings"]
    assert SHORTFALL.rstrip(".") in warning and "is less accurate" in warning
    assert segment(client, model="scenes")["warnings"] == []


def test_the_right_model_needs_no_warning(scenes_model: SegmentationModel) -> None:
    with running(scenes_model, shortfall=None) as url:
        assert segment(Client(url, verbose=False))["warnings"] == []


def test_annotate_gives_the_picture_in_its_own_size_and_name(client: Client) -> None:
    path = Path(client.predict(image=handle_file(SCENE), api_name="/annotate"))
    assert path.name == f"{SCENE.stem}-segmented.png"
    with Image.open(path) as annotated, Image.open(SCENE) as original:
        assert (annotated.format, annotated.size) == ("PNG", original.size)
        assert set(annotated.info) == {"srgb", "Description"}  # no metadata of the uploaded photo
        assert "the model scenes (scenes.safetensors" in annotated.info["Description"]
        changed = (np.asarray(annotated) != np.asarray(original)).any(axis=2)
    answer = segment(client)
    masks = np.any([coco_mask.decode(i["segmentation"]) for i in answer["instances"]], axis=0)
    assert changed[masks].mean() > 0.9
    assert changed[~masks].mean() < 0.2


def test_a_picture_of_any_name_is_read_by_its_content(client: Client, tmp_path: Path) -> None:
    strange = tmp_path / "photo.txt"
    strange.write_bytes(SCENE.read_bytes())
    assert segment(client, strange)["counts"] == segment(client)["counts"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score_threshold": 1.5}, "score_threshold: expected a number from 0 to 1, got 1.5"),
        ({"score_threshold": -0.1}, "score_threshold: expected a number from 0 to 1, got -0.1"),
        ({"score_threshold": "high"}, "score_threshold: expected a number from 0 to 1, got 'high'"),
        ({"score_threshold": True}, "score_threshold: expected a number from 0 to 1, got True"),
        ({"score_threshold": None}, "score_threshold: expected a number from 0 to 1, got None"),
        ({"mask_threshold": 2}, "mask_threshold: expected a number from 0 to 1, got 2"),
        ({"classes": ["preson"]}, "there is no category 'preson'; did you mean person?"),
        ({"classes": "person"}, "classes: expected a list of names"),
        ({"classes": [3]}, "classes: expected a list of names"),
        ({"hidden": 3}, "hidden: expected a list of ids such as [2, 5], or null for none"),
        ({"thresholds": {"preson": 0.5}}, "thresholds: there is no category 'preson'; did you mean person?"),
        ({"thresholds": {"person": 2}}, "thresholds: expected numbers from 0 to 1, got 2"),
        ({"thresholds": [0.5]}, "thresholds: expected scores by names such as"),
        ({"hidden": ["3"]}, "hidden: expected ids of instances such as [2, 5], got ['3']"),
        (
            {"model": "yolo"},
            "model: expected one of auto, resnet50_fpn, resnet50_fpn_v2, starter, scenes, got 'yolo'",
        ),
        ({"model": "resnet50_fpn"}, "could not be fetched from download.pytorch.org: no connection"),
    ],
    ids=str,
)
@pytest.mark.parametrize("endpoint", [name for name in PARAMETERS if "hidden" in PARAMETERS[name]])
def test_a_wrong_argument_gets_one_sentence(
    endpoint: str, arguments: dict[str, Any], message: str, client: Client
) -> None:
    what = "video" if endpoint == "/segment_video" else "image"
    with pytest.raises(AppError) as caught:
        client.predict(api_name=endpoint, **{what: handle_file(SCENE)}, **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and str(ROOT) not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/annotate", {"opacity": 1.1}, "opacity: expected a number from 0 to 1, got 1.1"),
        ("/annotate", {"opacity": "1"}, "opacity: expected a number from 0 to 1, got '1'"),
        ("/annotate", {"color_by": "size"}, 'color_by: expected "instance" or "category", got \'size\''),
        ("/annotate", {"show": "masks"}, "show: expected a list of masks, boxes, labels, or null for all"),
        ("/annotate", {"show": ["box"]}, "show: expected a list of masks, boxes, labels, or null for all"),
        ("/annotate", {"effect": "swirl"}, "effect: expected one of cut_out, spotlight, blur, pixelate"),
        ("/annotate", {"effect": "blur", "color": "red; x"}, 'color: expected one such as "#ff8000"'),
        ("/export", {"format": "exe"}, "format: expected one of jpeg, annotated, coco, yolo, labelme"),
        ("/export", {"format": ["zip"]}, "format: expected one of jpeg, annotated, coco, yolo, labelme"),
        ("/export", {"edges": "round"}, "edges: expected one of hard, soft, got 'round'"),
        ("/export", {"edges": {}}, "edges: expected one of hard, soft, got {}"),
    ],
    ids=str,
)
def test_a_wrong_wish_for_the_file_gets_one_sentence_before_any_work(
    endpoint: str,
    arguments: dict[str, Any],
    message: str,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.service.segment_file", lambda *arguments: pytest.fail("the model ran"))
    what = "video" if endpoint == "/segment_video" else "image"
    with pytest.raises(AppError) as caught:
        client.predict(api_name=endpoint, **{what: handle_file(SCENE)}, **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_gives_the_photo_in_its_own_size(effect: str, client: Client) -> None:
    path = Path(client.predict(image=handle_file(SCENE), effect=effect, api_name="/annotate"))
    assert path.name == f"{SCENE.stem}-{effect.replace('_', '-')}.png"
    with Image.open(path) as changed, Image.open(SCENE) as original:
        assert (changed.format, changed.size) == ("PNG", original.size)
        assert changed.mode == ("RGBA" if effect == "cut_out" else "RGB")
        pixels, before = np.asarray(changed)[..., :3], np.asarray(original.convert("RGB"))
    masks = np.any([coco_mask.decode(i["segmentation"]) for i in segment(client)["instances"]], axis=0)
    inside, outside = (pixels != before)[masks].any(), (pixels != before)[~masks].any()
    assert (inside, outside) == ((True, False) if effect in ("blur", "pixelate") else (False, True))


def test_the_color_of_a_plain_background_is_as_asked(client: Client) -> None:
    path = client.predict(
        image=handle_file(SCENE), effect="color_background", color="#102030", hidden=[], api_name="/annotate"
    )
    masks = np.any([coco_mask.decode(i["segmentation"]) for i in segment(client)["instances"]], axis=0)
    with Image.open(path) as picture:
        assert (np.asarray(picture)[~masks] == (16, 32, 48)).all()


def test_the_look_of_the_annotated_picture_is_as_asked(client: Client) -> None:
    path = client.predict(
        image=handle_file(SCENE), show=["masks"], opacity=1, color_by="category", api_name="/annotate"
    )
    colors = {tuple(color) for color in np.asarray(Image.open(path))[:, :, :3].reshape(-1, 3).tolist()}
    kinds = {i["category_id"] for i in segment(client)["instances"]}
    assert len(colors & {tuple(bytes.fromhex(color[1:])) for color in PALETTE}) == len(kinds)
    nothing = client.predict(image=handle_file(SCENE), show=[], api_name="/annotate")
    np.testing.assert_array_equal(
        np.asarray(Image.open(nothing)), np.asarray(Image.open(SCENE).convert("RGB"))
    )


@pytest.mark.parametrize("format", EXPORTS)
def test_every_format_is_given_as_a_file_named_like_the_photo(format: str, client: Client) -> None:
    path = Path(client.predict(image=handle_file(SCENE), format=format, api_name="/export"))
    assert path.name == f"{SCENE.stem}{EXPORTS[format].suffix}"
    assert path.stat().st_size > 0


def test_an_export_holds_the_objects_that_segment_answers(client: Client) -> None:
    wanted = {"score_threshold": 0.7, "hidden": [1]}
    path = client.predict(image=handle_file(SCENE), format="coco", api_name="/export", **wanted)
    annotations = json.loads(Path(path).read_text())["annotations"]
    expected = segment(client, **wanted)["instances"]
    assert [a["segmentation"] for a in annotations] == [i["segmentation"] for i in expected] != []


@pytest.mark.parametrize(
    "image",
    [None, "text", 7, [], {}, {"path": None}, {"path": 7}, {"url": 7}],
    ids=str,
)
def test_no_image_is_answered_with_how_to_send_one(image: object, client: Client) -> None:
    with pytest.raises(AppError, match="no picture was sent"):
        client.predict(image=image, api_name="/segment")


def test_a_file_of_the_server_is_not_opened(client: Client) -> None:
    for path in (str(SCENE), "/etc/passwd", "../../etc/passwd"):
        with pytest.raises(AppError) as caught:
            client.predict(image={"path": path}, api_name="/segment")
        assert "expected an uploaded file" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jpg", b"", "This file is empty"),
        ("text.jpg", b"no picture", "not a picture that can be read here"),
        (
            "document.jpg",
            b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n",
            "a PDF or an SVG must be saved",
        ),
        ("cut.png", SCENE.read_bytes()[:2000], "damaged or incomplete"),
    ],
)
def test_what_is_no_picture_is_answered_plainly(
    name: str, content: bytes, message: str, client: Client, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AppError, match=message):
        segment(client, tmp_path / name)


def test_not_a_number_by_bare_http_is_refused_and_the_app_goes_on(server: str, client: Client) -> None:
    body = json.dumps({"data": [None, float("nan"), None, 0.5, "auto", None]}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server}gradio_api/call/segment", body, headers)
    try:
        with urllib.request.urlopen(request) as response:
            event = json.load(response)["event_id"]
        with urllib.request.urlopen(f"{server}gradio_api/call/segment/{event}") as response:
            assert b"score_threshold: expected a number from 0 to 1" in response.read()
    except urllib.error.HTTPError as error:
        assert error.code in (400, 422)  # Gradio or our guard may refuse the call earlier
    assert segment(client)["instances"]


def test_what_the_page_does_is_no_public_endpoint(server: str) -> None:
    with urllib.request.urlopen(f"{server}gradio_api/info") as response:
        assert json.load(response)["named_endpoints"].keys() == (PARAMETERS | OF_AGENTS).keys()

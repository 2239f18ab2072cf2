"""Tests that a program gets a result or one sentence for every argument, and never a fault of the server.

The endpoints check the arguments that Gradio accepts. `serving.bodies` refuses the requests on which Gradio
itself would fail, before Gradio sees them.

The file is long because one table of arguments drives every test.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

import coco
from answer.edits import MAX_EDITS
from answer.files import EXPORTS
from answer.settings import MAX_HIDDEN, MAX_ID, Filters, SettingsError, check_classes, said
from inference import NAMES, SegmentationModel
from photo.errors import ImageError
from serving import service
from serving.bodies import fault_in, fault_in_event
from serving.models import Models
from serving.service import Service, new_folder
from tests.conftest import ROOT, UPLOADS
from tests.loops import in_a_loop
from tests.samples import fake_model
from tests.truth import SCENE
from ui import api
from ui.agents import TOOLS
from ui.api import add_endpoints
from visualize import EFFECTS, PARTS, Style

FILE_DATA = {"_type": "gradio.FileData"}
LONGEST = 300
"""The largest number of characters in a refusal."""
TAKEN = "The arguments were taken."


def examples(count: int) -> settings:
    """Returns settings for `count` examples, the same examples in each run."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# ---- the rules for arguments, written a second time ----


def is_fraction(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # type: ignore[operator]


def one_of(names: Any) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in names


def is_none_or_list_of(fits: Callable[[object], bool], longest: float = math.inf) -> Callable[[object], bool]:
    return lambda value: (
        value is None or (isinstance(value, list) and len(value) <= longest and all(map(fits, value)))
    )


def is_rename(value: object) -> bool:
    """Whether a value is an edit that fits every result of at least three objects."""
    if not isinstance(value, dict) or value.keys() != {"do", "id", "name"}:
        return False
    name = value["name"]
    fits = isinstance(name, str) and 0 < len(name) <= 100 and name.isprintable() and name == name.strip()
    return fits and value["do"] == "rename" and type(value["id"]) is int and 1 <= value["id"] <= 3


def is_color(value: object) -> bool:
    if not isinstance(value, str):
        return False
    if re.fullmatch("#[0-9a-fA-F]{6}", value):
        return True
    number = r"[0-9]{1,3}(\.[0-9]{1,20})?"
    if not re.fullmatch(rf"rgba?\({number}, *{number}, *{number}(, *{number})?\)", value):
        return False
    return all(round(float(level)) <= 255 for level in value.partition("(")[2][:-1].split(",")[:3])


FILTERS: dict[str, Callable[[object], bool]] = {
    "score_threshold": is_fraction,
    "classes": is_none_or_list_of(one_of(coco.BY_NAME), len(coco.BY_NAME)),
    "mask_threshold": is_fraction,
    "model": one_of(NAMES),
    "hidden": is_none_or_list_of(lambda id: type(id) is int and 1 <= id <= MAX_ID, MAX_HIDDEN),  # type: ignore[operator]
}
DETAIL = {"detail": one_of(("full", "balanced", "fast", "closer"))}
EDITS = {"edits": is_none_or_list_of(is_rename, MAX_EDITS)}
OWN: dict[str, Callable[[object], bool]] = {
    "thresholds": lambda value: (
        value is None
        or (
            (isinstance(value, dict) and all(name in coco.CATEGORIES.by_name for name in value))
            and all(map(is_fraction, value.values()))
        )
    ),
}
ARGUMENTS = {
    "segment": FILTERS | DETAIL | EDITS | OWN,
    "annotate": FILTERS
    | {
        "opacity": is_fraction,
        "color_by": one_of(("instance", "category")),
        "show": is_none_or_list_of(one_of(PARTS)),
        "effect": lambda value: value is None or one_of(EFFECTS)(value),
        "color": is_color,
    }
    | DETAIL
    | EDITS
    | OWN,
    "export": {"format": one_of(EXPORTS)}
    | FILTERS
    | {"edges": one_of(("hard", "soft"))}
    | DETAIL
    | EDITS
    | OWN,
    "inside": {"model": FILTERS["model"]} | DETAIL | {"arrays": lambda value: isinstance(value, bool)},
}
"""The arguments of each endpoint beside the image, in their order, with a check of each value."""

GOOD: dict[str, st.SearchStrategy[Any]] = {
    "score_threshold": st.floats(0, 1) | st.integers(0, 1),
    "classes": st.none() | st.lists(st.sampled_from(sorted(coco.BY_NAME)), max_size=5),
    "mask_threshold": st.floats(0, 1),
    "model": st.sampled_from(["auto", "scenes"]),
    "hidden": st.none() | st.lists(st.integers(1, MAX_ID), max_size=5),
    "opacity": st.floats(0, 1),
    "color_by": st.sampled_from(["instance", "category"]),
    "show": st.none() | st.lists(st.sampled_from(PARTS), max_size=5),
    "effect": st.none() | st.sampled_from(sorted(EFFECTS)),
    "color": st.from_regex(r"#[0-9a-fA-F]{6}", fullmatch=True) | st.just("rgba(1, 22.5, 255, 0.3)"),
    "edits": st.none()
    | st.lists(
        st.fixed_dictionaries(
            {"do": st.just("rename"), "id": st.integers(1, 3), "name": st.sampled_from(["cat", "tea pot"])}
        ),
        max_size=3,
    ),
    "format": st.sampled_from(sorted(EXPORTS)),
    "edges": st.sampled_from(["hard", "soft"]),
    "thresholds": st.none()
    | st.dictionaries(st.sampled_from(sorted(coco.CATEGORIES.by_name)), st.floats(0, 1), max_size=3),
    "detail": st.sampled_from(["full", "balanced", "fast", "closer"]),
    "arrays": st.booleans(),
}
"""Values that the endpoints accept, for each argument."""

DEEP = json.loads("[" * 300 + "]" * 300)
WEIRD: list[Any] = [
    None, True, False, -1, 2, -0.5, math.nan, math.inf, -math.inf, 10**30, -(10**400), 10**4299, 5e-324,
    "", "0.5",
    "nan", "x" * 900_000, "\0", "\ud800", "\udfff" * 40, "\U000e0001" * 60, "\n\r\t", "<script>",
    "é" * 1000,
    "\u0661\u0662", "#ffffff\n", "rgb(" + "9" * 5000 + ",1,1)", "rgb(\u0661,2,3)",
    "rgb(" + "1" * 200_000, [], {}, [None], [True],
    [1.0], [math.nan], [-1], [0], [10**30], [10**400], [[1]], [{}], ["\ud800"], ["x" * 900_000],
    ["person"] * 81,
    ["person"] * 50_000, ["persom"] * 50, list(range(1, 50_000)), ["masks", ["boxes"]], ["masks", {}],
    {"a": {"b": 1}},
    DEEP, [DEEP], {"path": "/etc/passwd", "meta": FILE_DATA}, [{"path": "data:,x", "meta": FILE_DATA}],
    {"path": "\0", "meta": []}, {"path": "http://127.0.0.1/", "meta": FILE_DATA},
    {"__type__": "update", "value": 1},
]  # fmt: skip
"""Values that no sensible program sends."""

characters = st.characters()  # lone surrogates too
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(characters, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(characters, max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
anything = st.sampled_from(WEIRD) | json_values


def good_calls(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={key: GOOD[key] for key in ARGUMENTS[name]})


def any_calls(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Returns arguments of which some are right and some are wrong."""
    return st.fixed_dictionaries({}, optional={key: GOOD[key] | anything for key in ARGUMENTS[name]})


calls = st.sampled_from(sorted(ARGUMENTS)).flatmap(
    lambda name: st.tuples(st.just(name), any_calls(name) | st.builds(with_one, good_calls(name), one(name)))
)


def one(name: str) -> st.SearchStrategy[tuple[str, Any]]:
    return st.tuples(st.sampled_from(sorted(ARGUMENTS[name])), anything)


def with_one(arguments: dict[str, Any], other: tuple[str, Any]) -> dict[str, Any]:
    return arguments | dict([other])


def wrong(name: str, arguments: dict[str, Any]) -> list[str]:
    """Returns the names of the wrong arguments."""
    return [key for key, value in arguments.items() if not ARGUMENTS[name][key](value)]


def assert_plain(sentence: object) -> str:
    """Checks that `sentence` is one plain sentence for a person, and returns it."""
    assert isinstance(sentence, str)
    assert re.fullmatch(r"[^\n\r\x00]{10,}[.?…]", sentence), sentence[:LONGEST]
    assert len(sentence) <= LONGEST, len(sentence)
    for sign in ("Traceback", "Error", "Something went wrong", str(ROOT), UPLOADS, "/etc", ".py"):
        assert sign not in sentence, sentence
    return sentence


# ---- the endpoints themselves ----


@pytest.fixture(scope="module")
def endpoints() -> dict[str, Callable[..., Any]]:
    """The functions of the four endpoints, with models that are loaded already."""
    models = Models(lambda: (fake_model(), None), lambda name: fake_model())
    models.start().result()
    with gr.Blocks() as blocks:
        add_endpoints(Service(models))
    return {str(function.api_name): function.fn for function in blocks.fns.values()}


@pytest.fixture(scope="module")
def photo() -> dict[str, Any]:
    """An uploaded photo, as the endpoints get it."""
    path = new_folder() / "photo.png"
    path.write_bytes(SCENE.read_bytes())
    return {"path": str(path), "meta": FILE_DATA}


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the work on a photo by the message that all arguments were taken."""

    def segment_file(*args: object) -> None:
        raise ImageError(TAKEN)

    monkeypatch.setattr(service, "segment_file", segment_file)
    monkeypatch.setattr(api, "inside_file", segment_file)


def answer(endpoint: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """Returns the sentence with which an endpoint refuses the arguments."""
    with pytest.raises(gr.Error) as caught:
        in_a_loop(endpoint(**arguments))
    return assert_plain(caught.value.message)


def check(name: str, arguments: dict[str, Any], endpoint: Callable[..., Any], photo: dict[str, Any]) -> None:
    sentence, faults = answer(endpoint, {"image": photo} | arguments), wrong(name, arguments)
    if not faults:
        assert sentence == TAKEN
    else:
        assert sentence.partition(":")[0] in faults


@pytest.mark.parametrize("name", ARGUMENTS)
def test_each_weird_value_of_each_argument_is_refused_by_name_before_any_work(
    name: str, endpoints: dict[str, Callable[..., Any]], photo: dict[str, Any], no_work: None
) -> None:
    for key in ARGUMENTS[name]:
        for value in WEIRD:
            check(name, {key: value}, endpoints[name], photo)


@examples(300)
@given(call=calls)
def test_any_arguments_are_taken_if_they_fit_and_else_refused_in_a_sentence(
    call: tuple[str, dict[str, Any]],
    endpoints: dict[str, Callable[..., Any]],
    photo: dict[str, Any],
    no_work: None,
) -> None:
    check(*call, endpoints[call[0]], photo)


@pytest.mark.slow
@examples(20_000)
@given(call=calls)
def test_any_of_many_arguments_are_taken_or_refused(
    call: tuple[str, dict[str, Any]],
    endpoints: dict[str, Callable[..., Any]],
    photo: dict[str, Any],
    no_work: None,
) -> None:
    check(*call, endpoints[call[0]], photo)


@examples(100)
@given(call=st.sampled_from(sorted(ARGUMENTS)).flatmap(lambda n: st.tuples(st.just(n), good_calls(n))))
def test_no_arguments_that_fit_are_refused(
    call: tuple[str, dict[str, Any]],
    endpoints: dict[str, Callable[..., Any]],
    photo: dict[str, Any],
    no_work: None,
) -> None:
    assert answer(endpoints[call[0]], {"image": photo} | call[1]) == TAKEN


def test_a_refusal_says_the_range_or_the_nearest_names() -> None:
    for arguments, words in (
        ({"score_threshold": math.nan}, "score_threshold: expected a number from 0 to 1, got nan."),
        ({"mask_threshold": True}, "mask_threshold: expected a number from 0 to 1, got True."),
        ({"hidden": (0,)}, f"hidden: expected ids from 1 to {MAX_ID}, got 0."),
        ({"hidden": (True,)}, "hidden: expected ids of instances such as [2, 5], got [True]."),
        ({"hidden": (1,) * 1001}, f"hidden: expected at most {MAX_HIDDEN} ids, got 1001."),
        ({"classes": ("dogg",)}, "classes: there is no category 'dogg'; did you mean dog?"),
        ({"classes": ("dog",) * 81}, "classes: expected at most 80 names, got 81."),
    ):
        with pytest.raises(SettingsError) as caught:
            check_classes(Filters(**arguments), coco.CATEGORIES)
        assert str(caught.value).partition(" or ")[0] == words.partition(" or ")[0]


def test_what_came_is_repeated_in_few_characters_and_objects_are_not_spelled_out() -> None:
    assert said("yolo") == "'yolo'" and said([2, "a"]) == "[2, 'a']" and said(None) == "None"
    assert said({"path": "/srv/photos/x"}) == said([{"path": 1}])[1:-1] == "{…}"
    for value in WEIRD:
        assert len(said(value)) <= 60


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_a_style_is_checked_wherever_it_comes_from(value: float) -> None:
    for name in ("opacity", "mask_threshold"):
        with pytest.raises(ValueError, match=f"{name}: expected a number from 0 to 1, got {value}"):
            Style(**{name: value})
    with pytest.raises(ValueError, match="color_by: expected"):
        Style(color_by="size")  # type: ignore[arg-type]


# ---- the check before Gradio (`serving.bodies`) ----

KNOWN = {name: ["image", *arguments] for name, arguments in ARGUMENTS.items()}


@examples(300)
@given(
    name=st.sampled_from([*ARGUMENTS, "nothing"]),
    named=st.booleans(),
    body=st.dictionaries(st.sampled_from(["image", "data", "hidden", "model"]) | st.text(), anything),
)
def test_the_door_lets_in_or_says_why_not(name: str, named: bool, body: dict[str, Any]) -> None:
    sentence = fault_in(KNOWN, name, named, body)
    if sentence is None:
        assert set(body) <= set(KNOWN[name]) if named else len(body["data"]) == len(KNOWN[name])
    else:
        assert_plain(sentence)


@pytest.mark.parametrize(
    "file",
    [
        *({"path": path} for path in ("/etc/passwd", "app.py", "\0", "a" * 100_000, "", "..", "data:,x", "file:///x")),
        {"path": "", "url": 7}, {"path": "", "size": "a"},
        {"path": "", "orig_name": [1]}, {"path": "", "is_stream": "x"}, {"path": "", "meta": []},
        {"path": "", "meta": "gradio.FileData"}, {"path": "", "meta": None},
    ],
    ids=lambda file: str(file)[:40],
)  # fmt: skip
def test_a_file_that_is_none_is_told_at_the_door(file: dict[str, Any], photo: dict[str, Any]) -> None:
    file = {"meta": FILE_DATA} | file
    if file["path"] == "":
        file["path"] = photo["path"] if len(file) > 2 or file["meta"] != FILE_DATA else ""
    for image in (file, [file], {"a": [file]}):
        assert assert_plain(fault_in(KNOWN, "segment", True, {"image": image})).startswith("image: expected")
        assert fault_in_event({4: 1}, {"fn_index": 4, "data": [image]})
    assert fault_in(KNOWN, "segment", True, {"image": photo}) is None
    assert fault_in(KNOWN, "segment", True, {"image": {"path": "https://example.org/a.jpg"} | photo}) is None


def test_files_stand_for_the_image_and_for_nothing_else(photo: dict[str, Any]) -> None:
    body = {"image": photo, "classes": [{"path": "http://127.0.0.1/", "meta": FILE_DATA}]}
    assert fault_in(KNOWN, "segment", True, body) == "classes: expected no file here."
    data = [photo, 0.5, None, 0.5, photo, None, "full", None, None]
    assert fault_in(KNOWN, "segment", False, {"data": data}) == "model: expected no file here."


@pytest.mark.parametrize(
    "body",
    [
        *({"fn_index": number, "data": []} for number in (None, -1, 99, True, 0.0, "0", [], 10**30)),
        *({"fn_index": 0, "data": data} for data in (None, [], [1, 2, 3], "ab", {})),
    ],
    ids=str,
)
def test_a_function_of_the_page_is_called_by_its_number_with_all_its_values(body: dict[str, Any]) -> None:
    assert_plain(fault_in_event({0: 2, 1: 0}, body))
    assert fault_in_event({0: 2, 1: 0}, {"fn_index": 0, "data": [1, None]}) is None


# ---- the running server ----


class Answer(NamedTuple):
    """The HTTP status, the event ("complete" or "error") if the status is 200, and the answer's data."""

    status: int
    event: str
    data: Any

    @property
    def sentence(self) -> str | None:
        """The sentence of a refusal, or None for a result."""
        if self.event == "complete":
            return None
        return assert_plain(self.data["detail" if self.status != 200 else "error"])


class Caller(NamedTuple):
    """Calls the endpoints over HTTP."""

    http: httpx.Client
    photo: dict[str, Any]

    def __call__(self, name: str, arguments: dict[str, Any] | list[Any], **more: Any) -> Answer:
        """Sends arguments by name, or by position over the older route."""
        version = "v2/" if isinstance(arguments, dict) else ""
        body = arguments if isinstance(arguments, dict) else {"data": arguments} | more
        return self.post(f"call/{version}{name}", json.dumps(body).encode())

    def post(self, path: str, content: bytes) -> Answer:
        joined = self.http.post(path, content=content, headers={"Content-Type": "application/json"})
        assert joined.status_code < 500, joined.text[:LONGEST]
        if joined.status_code != 200:
            return Answer(joined.status_code, "", joined.json())
        told = self.http.get(f"{path}/{joined.json()['event_id']}")
        assert told.status_code == 200
        event, data = re.findall(r"^event: (complete|error)\ndata: (.*)$", told.text, re.MULTILINE)[-1]
        return Answer(200, event, json.loads(data))


@pytest.fixture(scope="module")
def caller(server: str) -> Iterator[Caller]:
    with httpx.Client(base_url=f"{server}gradio_api/", timeout=20) as http:
        uploaded = http.post("upload", files={"files": ("scene.png", SCENE.read_bytes())})
        yield Caller(http, {"path": uploaded.json()[0], "meta": FILE_DATA})


@pytest.fixture
def model_runs(monkeypatch: pytest.MonkeyPatch, caller: Caller) -> Iterator[list[object]]:
    """Notes each run of the model. Only the first run is real; later runs return its result."""
    runs: list[object] = []

    def once(real: Callable[..., Any]) -> Callable[..., Any]:
        results: list[Any] = []

        def run(*args: Any) -> Any:
            runs.append(args)
            if not results:
                results.append(real(*args))
            return results[0]

        return run

    monkeypatch.setattr(service, "segment_file", once(service.segment_file))
    monkeypatch.setattr(api, "inside_file", once(api.inside_file))
    yield runs


def check_over_http(
    name: str, arguments: dict[str, Any], by_name: bool, caller: Caller, model_runs: list[object]
) -> None:
    values: dict[str, Any] = {"image": caller.photo} | arguments
    before, faults = len(model_runs), wrong(name, arguments)
    if not by_name:
        default = dict.fromkeys(KNOWN[name]) | DEFAULTS
        values = {key: values.get(key, default[key]) for key in KNOWN[name]}
    answer = caller(name, values if by_name else list(values.values()))
    sentence = answer.sentence
    if faults:
        assert sentence is not None
        assert len(model_runs) == before, "a refusal costs nothing"
    elif arguments.get("model") in ("resnet50_fpn", "resnet50_fpn_v2"):
        assert sentence is not None and "could not be fetched" in sentence
    else:
        assert sentence is None and len(model_runs) == before + 1
        assert json.dumps(answer.data, allow_nan=False)


DEFAULTS = {
    "score_threshold": 0.5, "mask_threshold": 0.5, "model": "auto", "opacity": 0.5, "color_by": "instance",
    "color": "#ffffff", "format": "coco", "edges": "hard", "detail": "full",
    "arrays": False,
}  # fmt: skip


@examples(80)
@given(call=calls, by_name=st.booleans())
@example(call=("segment", {}), by_name=True)
@example(call=("annotate", {}), by_name=False)
@example(call=("export", {"format": "coco"}), by_name=True)
def test_any_arguments_get_a_result_or_a_sentence_from_the_server(
    call: tuple[str, dict[str, Any]], by_name: bool, caller: Caller, model_runs: list[object]
) -> None:
    check_over_http(*call, by_name, caller, model_runs)


@pytest.mark.slow
@examples(3000)
@given(call=calls, by_name=st.booleans())
def test_any_of_many_arguments_get_a_result_or_a_sentence_from_the_server(
    call: tuple[str, dict[str, Any]], by_name: bool, caller: Caller, model_runs: list[object]
) -> None:
    check_over_http(*call, by_name, caller, model_runs)


@examples(15)
@given(call=st.sampled_from(sorted(ARGUMENTS)).flatmap(lambda n: st.tuples(st.just(n), good_calls(n))))
def test_arguments_that_fit_get_a_result_from_the_server(
    call: tuple[str, dict[str, Any]], caller: Caller, model_runs: list[object]
) -> None:
    assert caller(call[0], {"image": caller.photo} | call[1]).sentence is None


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_weird_value_of_any_argument_is_refused_by_the_server(
    name: str, caller: Caller, model_runs: list[object]
) -> None:
    for i, value in enumerate(WEIRD):
        keys = [key for key in ARGUMENTS[name] if wrong(name, {key: value})]
        if keys:  # one argument for each value: another test tries all pairs without a server
            check_over_http(name, {keys[i % len(keys)]: value}, bool(i % 2), caller, model_runs)
    assert model_runs == []


@examples(60)
@given(
    image=anything | st.fixed_dictionaries({"path": anything}, optional={"meta": anything, "url": anything})
)
def test_any_image_that_is_none_gets_a_sentence(image: Any, caller: Caller, model_runs: list[object]) -> None:
    for arguments in ({"image": image}, [image, 0.5, None, 0.5, "auto", None]):
        assert caller("segment", arguments).sentence is not None
    assert model_runs == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"7", b"null", b"\xff", b'"image"', b"{}", b'{"image": "\xff"}',
        b'{"data": 7}', b'{"data": []}',
        b'{"image": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"image": null, "hidden": [' + b"1" * 5000 + b"]}",
        b'{"image": null, "\\ud800": 1}', b'{"image": null, "": 1}',
        b'{"image": null, "' + b"k" * 900_000 + b'": 1}',
        b'{"image": null, "score_threshold": 1e999}', b'{"image": null, "image": 1}',
        '{"image": null}'.encode("utf-16"),
        b'{"data": [null, 0.5, null, 0.5, "auto", null], "session_hash": "\\ud800"}',
        b'{"data": [null, 0.5, null, 0.5, "auto", null], "fn_index": 99999, "batched": true}',
    ],
    ids=lambda body: repr(body[:40]),
)  # fmt: skip
@pytest.mark.parametrize("path", ["call/segment", "call/v2/segment", "call/nothing", "call/v2/nothing"])
def test_any_body_gets_a_sentence(path: str, body: bytes, caller: Caller) -> None:
    assert caller.post(path, body).sentence is not None


LONE = '"\\ud800"'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *(
            (path, f'{{"data": [], "session_hash": "s", "fn_index": {number}}}')
            for path in ("queue/join", "run/predict")
            for number in ("99999", "-1", "1e99", "null", "true", '"x"', "[]", "1" + "0" * 30, "0")
        ),
        ("queue/join", f'{{"data": [1, 2, 3, 4], "session_hash": {LONE}, "fn_index": 0}}'),
        ("cancel", f'{{"session_hash": {LONE}}}'), ("reset", f'{{"event_id": {LONE}, "x": 1}}'),
        ("cancel", "{}"), ("reset", "{}"), ("queue/join", "{}"), ("run/predict", "{}"),
        ("cancel", '{"session_hash": [], "fn_index": [], "event_id": []}'),
    ],
)  # fmt: skip
def test_what_only_the_page_sends_is_no_fault_either(path: str, body: str, caller: Caller) -> None:
    refused = caller.http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert 400 <= refused.status_code < 500


@pytest.mark.parametrize(
    "path",
    [
        "?page=x", "?page=", "?deep_link=../../etc", "?__theme=x", "config?page=x",
        "static/" + "a" * 1000, "static/%00",
        "assets/" + "a" * 1000, "assets/%00", "pwa_icon/7", "pwa_icon/0",
        "pwa_icon/99999999999999999999", "static/img",
        "static/%2e%2e/%2e%2e/x", "gradio_api/info?all_endpoints=x", "gradio_api/file=%00",
        "gradio_api/file=" + "a/" * 5000,
        "gradio_api/file=%ED%A0%80", "gradio_api/file=.", "gradio_api/queue/data",
        "gradio_api/queue/data?session_hash=%00",
        "gradio_api/call/segment/x", "gradio_api/call/v2/nothing/x", "gradio_api/upload_progress",
    ],
    ids=lambda path: path[:40],
)  # fmt: skip
def test_no_address_that_can_be_read_is_a_fault(path: str, server: str) -> None:
    assert read(server + path)[0] < 500


def read(address: str) -> tuple[int, str]:
    """Returns the status and the text."""
    response = httpx.get(address, timeout=20)
    return response.status_code, response.text


@pytest.mark.parametrize(
    "disposition", ['name="files"', 'name=""', "name=files; filename*=x", 'filename="a"', ""]
)
@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=b", "multipart/form-data; charset=utf-16; boundary=b"]
)
def test_no_upload_without_a_file_is_a_fault(kind: str, disposition: str, caller: Caller) -> None:
    part = f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\nx\r\n--b--\r\n"
    for path in ("upload", "upload?upload_id=x"):
        answer = caller.http.post(path, content=part.encode(), headers={"Content-Type": kind})
        assert answer.status_code < 500


@pytest.mark.parametrize(
    "name", ["..", ".", "/", "a" * 5000, "\0", "%00", "\u202egnp.exe", "con", " ", "a/../b", "é" * 300]
)
def test_no_name_of_an_upload_is_a_fault(name: str, caller: Caller) -> None:
    answer = caller.http.post("upload", files={"files": (name, SCENE.read_bytes())})
    assert answer.status_code < 500
    if answer.status_code == 200:
        image = {"path": answer.json()[0], "meta": FILE_DATA}
        sentence = caller("export", {"image": image, "format": "csv"}).sentence
        assert sentence is None or "could not be opened" in sentence


@pytest.mark.parametrize(
    "range",
    [
        "bytes=-5,-6", "bytes=" + ",".join(["0-1"] * 2000), "bytes=5-1", "bytes=-", "bytes=a-b", "=",
        "bytes=0-" + "9" * 99,
    ],
    ids=lambda range: range[:20],
)  # fmt: skip
def test_no_part_of_a_file_that_is_asked_for_is_a_fault(range: str, caller: Caller) -> None:
    answer = caller.http.get(f"file={caller.photo['path']}", headers={"Range": range})
    assert answer.status_code < 500


# ---- the server's own schema ----

load_all_checks()


@pytest.fixture(scope="module")
def operations(server: str) -> list[Any]:
    schema = schemathesis.openapi.from_url(f"{server}gradio_api/openapi.json")
    found = [result.ok() for result in schema.get_all_operations()]
    assert len(found) == 1 + 2 * len([*ARGUMENTS, "segment_video", "segment_many", "suggest", *TOOLS])
    return found


def check_against_schema(operations: list[Any], count: int) -> None:
    """Checks that no call is a fault of the server.

    An answer with status 200 must match the schema, and every other answer must be a sentence.
    """
    for operation in operations:
        # No text in an address has a wrong type, so a GET has no wrong cases.
        for mode in GenerationMode if operation.method == "post" else [GenerationMode.POSITIVE]:

            @examples(count)
            @given(case=operation.as_strategy(generation_mode=mode))
            def conforms(case: Any) -> None:
                response = case.call(timeout=20)
                checks = [not_a_server_error]
                if response.status_code == 200:
                    checks += [content_type_conformance, response_schema_conformance]
                case.validate_response(response, checks=checks)
                if response.status_code != 200:
                    text = response.text
                    assert_plain(json.loads(text)["detail"] if text.startswith("{") else text)

            conforms()


def test_the_server_does_as_its_schema_says(operations: list[Any]) -> None:
    check_against_schema(operations, 10)


@pytest.mark.slow
def test_the_server_does_as_its_schema_says_many_times(operations: list[Any]) -> None:
    check_against_schema(operations, 500)


def test_an_event_that_there_is_not_is_no_fault(server: str) -> None:
    for name in ARGUMENTS:
        for version in ("", "v2/"):
            status, text = read(f"{server}gradio_api/call/{version}{name}/nothing")
            assert status == 404 and "There is no call with this id" in json.loads(text)["detail"]


def test_an_answer_is_fetched_once_and_then_there_is_none(caller: Caller) -> None:
    joined = caller.http.post("call/v2/segment", json={"image": caller.photo}).json()
    path = f"call/segment/{joined['event_id']}"
    assert "event: complete" in caller.http.get(path).text
    assert caller.http.get(path).status_code == 404


LONG = "x" * 900_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("queue/join", {"trigger_id": LONG}),
        ("queue/join", {"batched": LONG}),
        ("queue/join", {"session_hash": ["s"], "x": LONG}),
        ("queue/join", {"event_data": LONG}),
        ("cancel", {"session_hash": ["s"], "x": LONG}),
        ("cancel", {"fn_index": LONG}),
        ("reset", {"event_id": ["s"], "x": LONG}),
        ("call/v2/segment", {"image": {"path": LONG, "meta": FILE_DATA}}),
        ("call/v2/segment", {"image": {"path": f"http://{LONG}", "meta": FILE_DATA}}),
        ("call/v2/segment", {"image": None, LONG: 1}),
        ("call/v2/" + "s" * 1500, {"image": None}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_no_refusal_repeats_what_was_sent_at_length(path: str, body: dict[str, Any], caller: Caller) -> None:
    if path == "queue/join":
        config = caller.http.get(caller.http.base_url.join("/config")).json()
        function = next(d for d in config["dependencies"] if d["api_name"] == "segment")
        data = [None] * len(function["inputs"])
        body = {"fn_index": function["id"], "data": data, "session_hash": "s"} | body
    answer = caller.http.post(path, json=body)
    assert answer.status_code == 200 if "event_data" in body else 400 <= answer.status_code < 500
    assert len(answer.text) <= 2 * LONGEST


def test_a_long_text_in_a_control_of_the_page_is_refused_before_its_error_repeats_it(caller: Caller) -> None:
    config = caller.http.get(caller.http.base_url.join("/config")).json()
    private = [d for d in config["dependencies"] if d["api_visibility"] != "public" and d["inputs"]]
    assert private
    for function in private:
        for text in (LONG, [LONG], {"a": {"b": [LONG]}}):
            data = [text] + [None] * (len(function["inputs"]) - 1)
            body = {"fn_index": function["id"], "data": data, "session_hash": "s"}
            answer = caller.http.post("queue/join", json=body)
            assert answer.status_code == 400
            assert answer.json()["detail"] == "data: expected texts of at most 2000 characters."


def test_the_schema_names_every_endpoint_and_argument(server: str, scenes_model: SegmentationModel) -> None:
    paths = httpx.get(f"{server}gradio_api/openapi.json").json()["paths"]
    for name, arguments in KNOWN.items():
        content = paths[f"/gradio_api/call/v2/{name}"]["post"]["requestBody"]["content"]
        assert list(content["application/json"]["schema"]["properties"]) == arguments

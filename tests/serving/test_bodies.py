"""The check of a call's JSON, with endpoints and functions made up for the test."""

from __future__ import annotations

from typing import Any

import pytest

from serving.bodies import fault_in, fault_in_event

ENDPOINTS = {"segment": ["image", "model"], "many": ["images", "model"], "clip": ["video"]}
COUNTS = {4: 2, 5: 0}
PICTURE = {"url": "https://example.org/cat.jpg"}
UPLOAD = {"path": "https://example.org/cat.jpg", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    "data",
    [None, 7, "ab", {"a": 1, "b": 2}, [], [PICTURE], [PICTURE, "auto", 1]],
    ids=["nothing", "a number", "a text", "an object", "no values", "a value too few", "a value too many"],
)
def test_values_without_names_are_a_list_with_one_value_for_each_argument(data: Any) -> None:
    sentence = fault_in(ENDPOINTS, "segment", False, {"data": data})
    assert sentence == "data: expected a list of 2 values (image, model)."


def test_a_list_with_one_value_for_each_argument_is_taken() -> None:
    assert fault_in(ENDPOINTS, "segment", False, {"data": [PICTURE, "auto"]}) is None


@pytest.mark.parametrize(
    "data",
    [None, 7, "ab", {"a": 1, "b": 2}, [], [1], [1, 2, 3]],
    ids=["nothing", "a number", "a text", "an object", "no values", "a value too few", "a value too many"],
)
def test_the_values_of_a_function_of_the_page_are_a_list_of_its_length(data: Any) -> None:
    sentence = fault_in_event(COUNTS, {"fn_index": 4, "data": data})
    assert sentence == "data: expected a list of 2 values."


def test_a_list_of_the_functions_length_is_taken() -> None:
    assert fault_in_event(COUNTS, {"fn_index": 4, "data": [1, None]}) is None
    assert fault_in_event(COUNTS, {"fn_index": 5, "data": []}) is None


@pytest.mark.parametrize("text", ["x" * 2001, ["x" * 2001], {"a": [{"b": "x" * 2001}]}])
def test_a_function_of_the_page_alone_takes_no_long_text(text: Any) -> None:
    body = {"fn_index": 4, "data": [text, 1]}
    sentence = fault_in_event(COUNTS, body, private={4})
    assert sentence == "data: expected texts of at most 2000 characters."
    assert fault_in_event(COUNTS, body, private={5}) is None
    assert fault_in_event(COUNTS, {"fn_index": 4, "data": ["x" * 2000, 1]}, private={4}) is None


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("data:image/png;base64,iVBORw0KGgo", 'expected the data URL as {"url": "data:…"}, without a path.'),
        ("iVBORw0KGgoAAAANSUhEUgAAAAkAAAAJCAIAAABv85FHAAAA", "expected the data URL as"),
        ("https://example.org/".ljust(2001, "x"), "expected an address of at most 2000 characters."),
        ("x" * 100_000, "expected an uploaded file."),
    ],
    ids=lambda value: value[:20],
)
def test_a_file_that_gradio_cannot_open_is_refused_in_few_words(path: str, words: str) -> None:
    image = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for sentence in (
        fault_in(ENDPOINTS, "segment", True, {"image": image}),
        fault_in_event(COUNTS, {"fn_index": 4, "data": [image, 1]}),
    ):
        assert sentence and words in sentence and len(sentence) < 150


@pytest.mark.parametrize("number", [None, 3, -1, "4", 4.0, True], ids=repr)
def test_a_function_is_named_by_one_of_the_numbers_that_the_page_has(number: Any) -> None:
    counts = {**COUNTS, 1: 0}  # True == 1 and 4.0 == 4, so a look-up alone would find both
    sentence = fault_in_event(counts, {"fn_index": number, "data": [1, 2]})
    assert sentence == f"fn_index: there is no function {number!r}."


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("segment", {"model": "auto"}, "image: no picture was sent."),
        ("clip", {}, "video: no clip was sent."),
        ("many", {}, "images: no photo was sent."),
        ("many", {"images": [PICTURE], "model": UPLOAD}, "model: expected no file here."),
        ("many", {"images": [UPLOAD] * 51}, "images: expected 50 files at most."),
        ("segment", {"image": [UPLOAD] * 2}, "image: expected one file at most."),
    ],
)
def test_what_is_wrong_with_the_files_of_a_call_is_said(
    name: str, body: dict[str, Any], sentence: str
) -> None:
    assert fault_in(ENDPOINTS, name, True, body) == sentence


def test_each_endpoint_takes_its_own_kind_of_file() -> None:
    assert fault_in(ENDPOINTS, "clip", True, {"video": PICTURE}) is None
    assert fault_in(ENDPOINTS, "many", True, {"images": [UPLOAD] * 50}) is None


def test_only_functions_for_many_photos_take_many_files() -> None:
    body = {"fn_index": 4, "data": [[UPLOAD] * 2, 1]}
    assert fault_in_event(COUNTS, body) == "data: expected one file at most."
    assert fault_in_event(COUNTS, body, of_many={4}) is None

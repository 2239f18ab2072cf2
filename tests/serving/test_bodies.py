"""The check of a call's JSON, with endpoints and functions made up for the test."""

from __future__ import annotations

from typing import Any

import pytest

from serving.bodies import fault_in, fault_in_event

ENDPOINTS = {"segment": ["image", "model"]}
COUNTS = {4: 2, 5: 0}
PICTURE = {"url": "https://example.org/cat.jpg"}


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


@pytest.mark.parametrize("number", [None, 3, -1, "4", 4.0, True], ids=repr)
def test_a_function_is_named_by_one_of_the_numbers_that_the_page_has(number: Any) -> None:
    counts = {**COUNTS, 1: 0}  # True == 1 and 4.0 == 4, so a look-up alone would find both
    sentence = fault_in_event(counts, {"fn_index": number, "data": [1, 2]})
    assert sentence == f"fn_index: there is no function {number!r}."

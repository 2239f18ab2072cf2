"""Bodies: checks the JSON of a call before Gradio matches the JSON to a function.

Each check returns a sentence that says what is wrong, or None. Without the checks, Gradio would answer a call
that matches no function with an empty message or with a server error.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Container, Iterator
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder, is_in_or_equal, is_static_file

from answer.settings import said
from photo.fetch import ADDRESS_LENGTH, is_bare_picture
from photo.limits import MAX_PHOTOS

TEXT_LENGTH = 2000
"""The limit for a text that the page sends, in characters. Errors of Gradio's components repeat it."""


FILE_ARGUMENTS = {"image": "picture", "video": "clip", "images": "photo"}
"""The arguments of endpoints that hold files, and what the files are."""


def checker(blocks: gr.Blocks) -> Callable[[str | None, bool, Any], str | None]:
    """Returns the check that `guard.Guard` calls before it passes the JSON of a call on to Gradio."""
    endpoints, counts = parameters(blocks), inputs(blocks)
    private = {id for id, function in blocks.fns.items() if function.api_visibility != "public"}
    of_many = private | {
        id
        for id, function in blocks.fns.items()
        if id not in private and "images" in endpoints[str(function.api_name)]
    }

    def check(name: str | None, named: bool, body: dict[str, Any]) -> str | None:
        if name is None:
            return fault_in_event(counts, body, private, of_many)
        return fault_in(endpoints, name, named, body)

    return check


def parameters(blocks: gr.Blocks) -> dict[str, list[str]]:
    """Returns the names of the arguments of each public endpoint, in order."""
    public = [function for function in blocks.fns.values() if function.api_visibility == "public"]
    return {str(function.api_name): list(inspect.signature(function.fn).parameters) for function in public}


def fault_in(endpoints: dict[str, list[str]], name: str, named: bool, body: dict[str, Any]) -> str | None:
    """Returns a sentence that says what is wrong with the JSON of an endpoint's call, or None.

    Args:
        endpoints: The names of the arguments of each endpoint, from `parameters`.
        name: The endpoint's name.
        named: True if `body` holds the arguments by name, as in version 2 of Gradio's route. False if `body`
            holds a list of the arguments as "data".
        body: The JSON object of the call.
    """
    if name not in endpoints:
        return f"There is no endpoint {said(name)}. Expected one of: {', '.join(endpoints)}."
    known = endpoints[name]
    if not named:
        data = body.get("data")
        if not isinstance(data, list) or len(data) != len(known):
            return f"data: expected a list of {len(known)} values ({', '.join(known)})."
        body = dict(zip(known, data, strict=True))
    for key in body:
        if key not in known:
            near = difflib.get_close_matches(key[:40], known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"expected some of: {', '.join(known)}."
            return f"There is no argument {said(key)}; {hint}"
    files = next((name for name in FILE_ARGUMENTS if name in known), "image")
    if files not in body:
        return f"{files}: no {FILE_ARGUMENTS[files]} was sent."
    for key, value in body.items():
        if key != files and any(map(_says_it_is_a_file, _objects(value))):
            return f"{key}: expected no file here."
    return _fault_in_files(files, body[files], MAX_PHOTOS if files == "images" else 1)


def inputs(blocks: gr.Blocks) -> dict[int, int]:
    """Returns how many values each function of the page and the API takes, by the function's number."""
    return {id: len(function.inputs) for id, function in blocks.fns.items()}


def fault_in_event(
    counts: dict[int, int],
    body: dict[str, Any],
    private: Container[int] = (),
    of_many: Container[int] = (),
) -> str | None:
    """Returns a sentence or None as `fault_in` does, for a call that names the function by its number.

    Gradio's page and its Python client send such calls.

    Args:
        counts: The number of values of each function, from `inputs`.
        body: The JSON object of the call.
        private: The numbers of the functions that only the page calls, without pictures in their values.
        of_many: The numbers of the functions that take many photos at once.
    """
    number, data = body.get("fn_index"), body.get("data")
    if type(number) is not int or number not in counts:
        return f"fn_index: there is no function {said(number)}."
    if not isinstance(data, list) or len(data) != counts[number]:
        return f"data: expected a list of {counts[number]} values."
    if number in private and any(isinstance(part, str) and len(part) > TEXT_LENGTH for part in _parts(data)):
        return f"data: expected texts of at most {TEXT_LENGTH} characters."
    return _fault_in_files("data", data, MAX_PHOTOS if number in of_many else 1)


def _fault_in_files(name: str, value: object, most: int) -> str | None:
    """Returns a sentence that says what is wrong with the files in `value`, or None. At most `most` may come.

    Gradio would answer a wrong file with an empty message.
    """
    files = [found for found in _objects(value) if _says_it_is_a_file(found)]
    if len(files) > most:
        return f"{name}: expected {'one file' if most == 1 else f'{most} files'} at most."
    for found in files:
        try:
            path = FileData.model_validate(found).path
        except ValueError:  # pydantic's ValidationError is a ValueError
            return f'{name}: expected a file such as {{"path": "…", "meta": {{"_type": "gradio.FileData"}}}}.'
        if path.startswith("data:") or is_bare_picture(path):
            return f'{name}: expected the data URL as {{"url": "data:…"}}, without a path.'
        if re.match("https?://", path):
            if len(path) > ADDRESS_LENGTH:
                return f"{name}: expected an address of at most {ADDRESS_LENGTH} characters."
        elif not _may_be_named(path):
            return f"{name}: expected an uploaded file. With the Python client, use handle_file('photo.jpg')."
    return None


def _objects(value: object) -> Iterator[dict[str, Any]]:
    """Yields every JSON object in a JSON value, at any depth."""
    return (part for part in _parts(value) if isinstance(part, dict))


def _parts(value: object) -> Iterator[object]:
    """Yields a JSON value and every value in it, at any depth. Uses a loop, because recursion has a limit."""
    left = [value]
    while left:
        part = left.pop()
        yield part
        if isinstance(part, dict):
            left += part.values()
        elif isinstance(part, list):
            left += part


def _says_it_is_a_file(found: dict[str, Any]) -> bool:
    """Returns whether Gradio takes a JSON object for a file, or fails while it checks the object."""
    if not isinstance(found.get("path"), str) or "meta" not in found:
        return False
    meta = found["meta"]
    return not isinstance(meta, dict) or meta.get("_type") == "gradio.FileData"


def _may_be_named(path: str) -> bool:
    """Returns whether Gradio opens the file for a client: an uploaded file, or an example of the page."""
    try:
        return bool(is_in_or_equal(path, get_upload_folder()) or is_static_file(path))
    except (ValueError, OSError):  # no file can have this name
        return False

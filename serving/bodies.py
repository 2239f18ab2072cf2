"""Bodies: what may stand in the JSON of a call, said before Gradio matches it to a function.

Gradio answers what it cannot match with no word at all, or with an error of the server's.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder, is_in_or_equal, is_static_file

from answer.settings import said


def checker(blocks: gr.Blocks) -> Callable[[str | None, bool, Any], str | None]:
    """What `guard.Guard` asks whether the JSON of a call may go on to Gradio; None if nothing is wrong."""
    endpoints, counts = parameters(blocks), inputs(blocks)

    def check(name: str | None, named: bool, body: dict[str, Any]) -> str | None:
        return fault_in_event(counts, body) if name is None else fault_in(endpoints, name, named, body)

    return check


def parameters(blocks: gr.Blocks) -> dict[str, list[str]]:
    """The names of the arguments of each endpoint, in order."""
    public = [function for function in blocks.fns.values() if function.api_visibility == "public"]
    return {str(function.api_name): list(inspect.signature(function.fn).parameters) for function in public}


def fault_in(endpoints: dict[str, list[str]], name: str, named: bool, body: dict[str, Any]) -> str | None:
    """What is wrong with the JSON of a call, before Gradio matches it to arguments; None if nothing is.

    Args:
        endpoints: As `parameters` gives them.
        name: Of the endpoint.
        named: Whether `body` holds the arguments by name, as in version 2 of Gradio's route, or a list of
            them as "data".
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
    if "image" not in body:
        return "image: no picture was sent."
    for key, value in body.items():
        if key != "image" and any(map(_says_it_is_a_file, _objects(value))):
            return f"{key}: expected no file here."
    return _fault_in_files("image", body["image"])


def inputs(blocks: gr.Blocks) -> dict[int, int]:
    """How many values each function of the page and the API takes, by Gradio's number of the function."""
    return {id: len(function.inputs) for id, function in blocks.fns.items()}


def fault_in_event(counts: dict[int, int], body: dict[str, Any]) -> str | None:
    """As `fault_in`, for what Gradio's page and its Python client send: a function by its number.

    Args:
        counts: As `inputs` gives them.
    """
    number, data = body.get("fn_index"), body.get("data")
    if type(number) is not int or number not in counts:
        return f"fn_index: there is no function {said(number)}."
    if not isinstance(data, list) or len(data) != counts[number]:
        return f"data: expected a list of {counts[number]} values."
    return _fault_in_files("data", data)


def _fault_in_files(name: str, value: object) -> str | None:
    """What is wrong with what says that it is a file, which Gradio would answer with no word at all."""
    files = [found for found in _objects(value) if _says_it_is_a_file(found)]
    if len(files) > 1:
        return f"{name}: expected one file at most."
    for found in files:
        try:
            path = FileData.model_validate(found).path
        except ValueError:  # pydantic's is one
            return f'{name}: expected a file such as {{"path": "…", "meta": {{"_type": "gradio.FileData"}}}}.'
        if path.startswith("data:"):
            return f'{name}: expected the data URL as {{"url": "data:…"}}, without a path.'
        if not re.match("https?://", path) and not _may_be_named(path):
            return f"{name}: expected an uploaded file. With the Python client, use handle_file('photo.jpg')."
    return None


def _objects(value: object) -> Iterator[dict[str, Any]]:
    """Every JSON object in a JSON value, however deep; loops, since recursion has an end."""
    left = [value]
    while left:
        match left.pop():
            case dict() as found:
                yield found
                left += found.values()
            case list() as found:
                left += found


def _says_it_is_a_file(found: dict[str, Any]) -> bool:
    """Whether Gradio takes a JSON object for a file, or stumbles where it asks whether it is one."""
    if not isinstance(found.get("path"), str) or "meta" not in found:
        return False
    meta = found["meta"]
    return not isinstance(meta, dict) or meta.get("_type") == "gradio.FileData"


def _may_be_named(path: str) -> bool:
    """Whether Gradio opens that file for a client: an upload, or an example of the page."""
    try:
        return bool(is_in_or_equal(path, get_upload_folder()) or is_static_file(path))
    except (ValueError, OSError):  # no name that a file can have
        return False

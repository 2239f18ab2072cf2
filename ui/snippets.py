"""Snippets: writes programs that get the same result as the page, in Python, JavaScript and for the shell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from answer.result import View
from answer.settings import Filters
from clips.result import ClipView
from visualize import PARTS, Style


def to_python(address: str, view: View) -> str:
    """Returns a program for the Gradio client that gets the instances in view and the annotated picture.

    Args:
        address: The app's address, for example "http://127.0.0.1:7860".
    """
    settings = "".join(f"    {name}={value!r},\n" for name, value in _settings(view).items())
    look = "".join(f"{name}={value!r}, " for name, value in _look(view.style).items())
    return (
        "from gradio_client import Client, handle_file\n\n"
        f"client = Client({address!r})\n"
        f"settings = dict(\n    image=handle_file({view.result.path.name!r}),\n{settings})\n"
        'answer = client.predict(**settings, api_name="/segment")\n'
        'print(answer["counts"])\n'
        f'picture = client.predict(**settings, {look}api_name="/annotate")\n'
        "print(picture)\n"
    )


def to_javascript(address: str, view: View) -> str:
    """Returns the same program as `to_python`, for Node.js.

    The program is a module (`.mjs`). It runs in a folder where the JavaScript client is installed.
    """
    settings = "".join(f"  {key}: {json.dumps(value)},\n" for key, value in _settings(view).items())
    look = "".join(f", {key}: {json.dumps(value)}" for key, value in _look(view.style).items())
    name = json.dumps(view.result.path.name)
    return (
        'import { readFile } from "node:fs/promises";\n'
        'import { Client } from "@gradio/client";\n\n'
        f"const app = await Client.connect({json.dumps(address)});\n"
        f"const image = new File([await readFile({name})], {name});\n"
        f"const settings = {{\n  image,\n{settings}}};\n"
        'const { data: [answer] } = await app.predict("/segment", settings);\n'
        "console.log(answer.counts);\n"
        f'const {{ data: [picture] }} = await app.predict("/annotate", {{ ...settings{look} }});\n'
        "console.log(picture.url);\n"
        "process.exit(); // the client keeps its connection open\n"
    )


def to_curl(address: str, view: View | ClipView) -> str:
    """Returns commands for the shell that upload the photo or clip, start the work and wait for the answer.

    Of a clip, they print the progress as well.
    """
    argument, endpoint = ("video", "segment_video") if isinstance(view, ClipView) else ("image", "segment")
    photo = _curl_file(view.result.path.name)
    settings = json.dumps(_settings(view))
    before, after = (
        f'{{"{argument}": {{"path": "',
        '", "meta": {"_type": "gradio.FileData"}}, ' + settings[1:],
    )
    return (
        f"ADDRESS={shlex.quote(address)}/gradio_api\n"
        f'FILE=$(curl -s -F {photo} "$ADDRESS/upload" | cut -d \'"\' -f 2)\n'
        f'BODY={shlex.quote(before)}"$FILE"{shlex.quote(after)}\n'
        "EVENT=$(curl -s -H 'Content-Type: application/json' -d \"$BODY\" "
        f'"$ADDRESS/call/v2/{endpoint}" | cut -d \'"\' -f 4)\n'
        f'curl -sN "$ADDRESS/call/{endpoint}/$EVENT"\n'
    )


def clip_to_python(address: str, view: ClipView) -> str:
    """Returns a program for the Gradio client that gets the objects in view in a clip, and all files."""
    settings = "".join(f"    {name}={value!r},\n" for name, value in _settings(view).items())
    return (
        "from gradio_client import Client, handle_file\n\n"
        f"client = Client({address!r})\n"
        "answer = client.predict(\n"
        f"    video=handle_file({view.result.path.name!r}),\n{settings}"
        '    format="zip",\n    api_name="/segment_video",\n)\n'
        'print(answer["most_at_once"])\n'
        'print(answer["file"])\n'
    )


def clip_to_javascript(address: str, view: ClipView) -> str:
    """Returns the same program as `clip_to_python`, for Node.js. It prints the progress as well."""
    settings = "".join(f"  {key}: {json.dumps(value)},\n" for key, value in _settings(view).items())
    name = json.dumps(view.result.path.name)
    return (
        'import { readFile } from "node:fs/promises";\n'
        'import { Client } from "@gradio/client";\n\n'
        f"const app = await Client.connect({json.dumps(address)});\n"
        f"const video = new File([await readFile({name})], {name});\n"
        f'const work = app.submit("/segment_video", {{\n  video,\n{settings}  format: "zip",\n}});\n'
        "for await (const message of work) {\n"
        '  if (message.type !== "data") continue;\n'
        "  const [answer] = message.data;\n"
        "  console.log(answer.done ? [answer.most_at_once, answer.file.url] : answer.frames_done);\n"
        "  if (answer.done) process.exit(); // the client keeps its connection open\n"
        "}\n"
    )


def many_to_python(address: str, view: View, files: Sequence[str]) -> str:
    """Returns a program for the Gradio client that gets what is in view in many photos, and all files.

    Args:
        view: Of one of the photos. Its filters are taken, without what is hidden by hand.
        files: The names of the photos' files, or of the ZIP.
    """
    settings = "".join(f"    {name}={value!r},\n" for name, value in _settings_of_many(view).items())
    names = "".join(f"    {name!r},\n" for name in files)
    return (
        "from gradio_client import Client, handle_file\n\n"
        f"client = Client({address!r})\n"
        f"files = [\n{names}]\n"
        "answer = client.predict(\n"
        f"    images=[handle_file(file) for file in files],\n{settings}"
        '    format="zip",\n    api_name="/segment_many",\n)\n'
        'print(answer["counts"])\n'
        'print(answer["file"])\n'
    )


def many_to_javascript(address: str, view: View, files: Sequence[str]) -> str:
    """Returns the same program as `many_to_python`, for Node.js."""
    settings = "".join(f"  {key}: {json.dumps(value)},\n" for key, value in _settings_of_many(view).items())
    return (
        'import { readFile } from "node:fs/promises";\n'
        'import { Client } from "@gradio/client";\n\n'
        f"const app = await Client.connect({json.dumps(address)});\n"
        f"const names = {json.dumps(list(files), indent=2)};\n"
        "const read = async (name) => new File([await readFile(name)], name);\n"
        "const images = await Promise.all(names.map(read));\n"
        f'const work = app.submit("/segment_many", {{\n  images,\n{settings}  format: "zip",\n}});\n'
        "for await (const message of work) {\n"
        '  if (message.type !== "data") continue;\n'
        "  const [answer] = message.data;\n"
        "  console.log(answer.done ? [answer.counts, answer.file.url] : answer.photos_done);\n"
        "  if (answer.done) process.exit(); // the client keeps its connection open\n"
        "}\n"
    )


def many_to_curl(address: str, view: View, files: Sequence[str]) -> str:
    """Returns commands for the shell that upload the photos one by one, and wait for the answer."""
    settings = json.dumps(_settings_of_many(view) | {"format": "zip"})
    photos = " ".join(_curl_file(name) for name in files)
    return (
        f"ADDRESS={shlex.quote(address)}/gradio_api\n"
        "IMAGES=\n"
        f"for PHOTO in {photos}; do\n"
        '  FILE=$(curl -s -F "$PHOTO" "$ADDRESS/upload" | cut -d \'"\' -f 2)\n'
        '  IMAGES="$IMAGES, {\\"path\\": \\"$FILE\\", \\"meta\\": {\\"_type\\": \\"gradio.FileData\\"}}"\n'
        "done\n"
        f'BODY=\'{{"images": [\'"${{IMAGES#, }}"{shlex.quote("], " + settings[1:])}\n'
        "EVENT=$(curl -s -H 'Content-Type: application/json' -d \"$BODY\" "
        '"$ADDRESS/call/v2/segment_many" | cut -d \'"\' -f 4)\n'
        'curl -sN "$ADDRESS/call/segment_many/$EVENT"\n'
    )


def _curl_file(name: str) -> str:
    """Returns the argument with which curl uploads a file, quoted for the shell."""
    name = name.replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'files=@"{name}"')  # without the quotes, curl would end the name at , or ;


def _settings_of_many(view: View) -> dict[str, Any]:
    return {name: value for name, value in _settings(view).items() if name != "hidden"}


def _settings(view: View | ClipView) -> dict[str, Any]:
    """Returns the arguments that the endpoints share. Filters with their default value are left out."""
    default = Filters()
    settings: dict[str, Any] = {"model": view.result.model.name}
    for name in ("score_threshold", "classes", "mask_threshold", "hidden", "thresholds"):
        value = getattr(view.filters, name)
        if value != getattr(default, name):
            settings[name] = list(value) if isinstance(value, tuple) else value
    if isinstance(view, View) and view.edits:
        settings["edits"] = [change.to_json() for change in view.edits]
    return settings


def _look(style: Style) -> dict[str, Any]:
    """Returns the arguments of `/annotate` for the look of the picture. Default values are left out."""
    default = Style()
    look = {name: getattr(style, name) for name in ("opacity", "color_by")}
    look = {name: value for name, value in look.items() if value != getattr(default, name)}
    shown = [part for part in PARTS if getattr(style, part)]
    return look if len(shown) == len(PARTS) else look | {"show": shown}

"""Journal: a file of JSON lines that lets a long run go on where it was stopped or killed.

The first line is a heading, on which all others depend; a record is a line that is written when it is done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def resume(file: Path, heading: Record) -> tuple[Any, list[Any]]:
    """The heading and the records that are in `file`; begins it with `heading` where there is none.

    Half a last line is cut off if the heading in the file is the same; what is of another run stays as it is.

    Raises:
        OSError: It cannot be read or written.
        ValueError: It is no file of JSON lines.
    """
    first = _line(heading)
    content = file.read_bytes() if file.exists() else b""
    if first.startswith(content):  # new, or killed in the first line
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(first)
        return json.loads(first), []
    whole, _, half = content.rpartition(b"\n")
    before, *records = map(json.loads, whole.split(b"\n"))
    if half and before == json.loads(first):
        with file.open("r+b") as opened:
            opened.truncate(len(whole) + 1)
    return before, records


def note(file: Path, record: Record) -> None:
    """Adds a record; what is written outlives this process."""
    with file.open("ab") as opened:
        opened.write(_line(record))


def _line(value: Record) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode() + b"\n"

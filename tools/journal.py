"""Lets a long run continue where it was stopped or killed. Keeps the finished work in a file of JSON lines.

The first line is the heading. It describes the run, and all other lines depend on it. Each other line is a
record. The run writes a record as soon as a piece of work is finished.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def resume(file: Path, heading: Record) -> tuple[Any, list[Any]]:
    """Returns the heading and the records in `file`. Starts the file with `heading` if it does not exist.

    An incomplete last line is cut off if the file's heading equals `heading`. The file of another run stays
    unchanged.

    Raises:
        OSError: The file cannot be read or written.
        ValueError: The file does not hold JSON lines.
    """
    first = _line(heading)
    content = file.read_bytes() if file.exists() else b""
    if first.startswith(content):  # the file is new, or the run was killed while it wrote the heading
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
    """Appends a record. The record stays in the file even if this process is killed afterwards."""
    with file.open("ab") as opened:
        opened.write(_line(record))


def _line(value: Record) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode() + b"\n"

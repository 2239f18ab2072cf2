"""Labels: reads the names of the kinds that a weights file was trained for.

The names are in the metadata of a `.safetensors` file under `KEY`, as a JSON list, or in a text file beside
the weights, one name in each line. They come from whoever wrote the files, so they are checked here, once.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from categories import LONGEST_NAME, is_printed

KEY = "labels"
BESIDE = "labels.txt"
"""The name of the text file beside the weights."""
FEWEST_CLASSES, MOST_CLASSES = 2, 201
"""The smallest and the largest number of classes of a network, with the background."""
MOST_BYTES = 1_000_000
"""The size of a text file that is read."""
BACKGROUNDS = ("__background__", "background")
"""The names of label 0, which is no kind of object. A list may begin with one of them."""
FORM = (
    "Expected one name for each kind of object, without the background "
    f"(a first name such as {BACKGROUNDS[0]} is left out)."
)


class LabelsError(ValueError):
    """The names cannot be used; the message says why, and what would be right."""


def read_labels(path: Path) -> list[str]:
    """Returns the names in a text file, one from each line. Empty lines at the end are left out.

    Raises:
        LabelsError: The file cannot be read, or it is no text in UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise LabelsError(f"{path.name} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise LabelsError(f"{path.name} is no text in UTF-8. Expected one name in each line.") from error
    if len(content) > MOST_BYTES:
        raise LabelsError(
            f"{path.name} is larger than {MOST_BYTES // 1000} kB. Expected one name in each line."
        )
    return [line.strip("\r") for line in text.rstrip().split("\n")] if text.strip() else []


def from_json(text: str) -> list[str]:
    """Returns the names in the JSON of a file's metadata.

    Raises:
        LabelsError: It is no JSON list of texts.
    """
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LabelsError(f'The metadata "{KEY}" is damaged. Expected a JSON list of names.')
    return names


def as_json(names: Sequence[str]) -> str:
    """Returns names as a file's metadata holds them."""
    return json.dumps(list(names), ensure_ascii=False)


def checked(names: Sequence[str], classes: int, source: str) -> tuple[str, ...]:
    """Returns the names of a network's labels 1, 2, 3 and so on, in Unicode's composed form (NFC).

    Args:
        names: A name for each label from 1. A name of the background may come before them.
        classes: The number of the network's classes, with the background.
        source: Where the names come from, for the message.

    Raises:
        LabelsError: There are too few or too many names, or a name is empty, too long or repeated, or holds a
            character that is not printed.
    """
    kinds = classes - 1
    if len(names) == classes and names[0].strip().lower() in BACKGROUNDS:
        names = names[1:]
    if len(names) != kinds:
        raise LabelsError(
            f"{source} holds {_number(len(names), 'name')}, but the network knows "
            f"{_number(kinds, 'kind')} of object. {FORM}"
        )
    cleaned: list[str] = []
    for number, name in enumerate(names, start=1):
        name = unicodedata.normalize("NFC", name.strip())
        if not name:
            raise LabelsError(f"{source} has no name for label {number}. {FORM}")
        if len(name) > LONGEST_NAME:
            raise LabelsError(
                f"{source} has a name of {len(name):,} characters for label {number}. "
                f"Expected at most {LONGEST_NAME}."
            )
        if not is_printed(name):
            raise LabelsError(
                f"{source} has a character that is not printed in the name of label {number}. "
                "Expected letters, digits, signs and spaces."
            )
        if name in cleaned:
            raise LabelsError(
                f"{source} gives the labels {cleaned.index(name) + 1} and {number} the same name. "
                "Expected names that differ."
            )
        cleaned.append(name)
    return tuple(cleaned)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

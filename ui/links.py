"""Links: how the page looks at a photo, as the query of its address, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl, quote, urlencode

from answer import coco
from answer.settings import MASK_RANGE, OTHER_THRESHOLD, SCORE_RANGE, SettingsError, rgb
from inference import NAMES
from visualize import EFFECTS, PARTS, ColorBy

TABS = ("Objects", "Effects", "Compare")
LONGEST = 2000
"""Characters of a query that are looked at."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: what holds if the link is silent, and how its text is read.

    `read` raises `ValueError` (as `SettingsError` is one) for what it cannot be.
    """

    default: Any
    read: Callable[[str], Any]


def read_query(query: str) -> tuple[dict[str, Any], list[str]]:
    """The settings that a query names, all others by default, and the names of those that cannot be read.

    Args:
        query: Without its question mark. What is not among `SETTINGS` is passed over.
    """
    values = {name: setting.default for name, setting in SETTINGS.items()}
    faults = []
    for name, text in parse_qsl(query[:LONGEST], keep_blank_values=True):
        if name in SETTINGS:
            try:
                values[name] = SETTINGS[name].read(text)
            except ValueError:
                faults.append(name)
    return values, faults


def to_link(address: str, photo: Path, values: Mapping[str, Any]) -> str:
    """The shortest address from whose query `read_query` reads these values, and the photo if an example.

    Args:
        address: Of the app, without a slash at the end.
        values: By the names in `SETTINGS`.
    """
    names = {path: name for name, path in EXAMPLES.items()}
    told = {"example": names.get(photo.resolve()), **values}
    changed = {
        name: _text(told[name])
        for name, setting in SETTINGS.items()
        if name in told and told[name] != setting.default
    }
    return f"{address}/?{urlencode(changed, safe=',', quote_via=quote)}".rstrip("?")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _number(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        number = float(text)
        if not least <= number <= most:
            raise SettingsError(f"expected a number from {least} to {most}, got {text}.")
        return number

    return read


def _one_of(known: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise SettingsError(f"expected one of {', '.join(known)}, got {text}.")
        return text

    return read


def _some_of(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    one = _one_of(known)
    return lambda text: [one(name) for name in text.split(",") if name]


def _color(text: str) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb(text))


PICTURES = Path(__file__).resolve().parent.parent / "examples"
EXAMPLES = {
    path.stem: path for path in sorted(PICTURES.glob("*.png")) + sorted(PICTURES.glob("scenes/*.png"))
}
"""Pictures that a link can open, by name."""
SETTINGS = {
    "example": Setting(None, _one_of(tuple(EXAMPLES))),
    "model": Setting("auto", _one_of(NAMES)),
    "score_threshold": Setting(0.5, _number(*SCORE_RANGE)),
    "mask_threshold": Setting(0.5, _number(*MASK_RANGE)),
    "without": Setting([], _some_of(tuple(coco.BY_NAME))),
    "show": Setting(list(PARTS), _some_of(PARTS)),
    "opacity": Setting(0.5, _number(0, 1)),
    "color_by": Setting("instance", _one_of(get_args(ColorBy))),
    "tab": Setting("Objects", _one_of(TABS)),
    "effect": Setting("spotlight", _one_of(tuple(EFFECTS))),
    "color": Setting("#ffffff", _color),
    "other_threshold": Setting(OTHER_THRESHOLD, _number(*SCORE_RANGE)),
}
"""All that a link can say, by name; the names are those of the API's arguments where it has one."""

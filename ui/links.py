"""Links: writes the settings of the page as the query of an address, and reads them back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl, quote, unquote, urlencode

from answer.settings import MASK_RANGE, MAX_CLASSES, SCORE_RANGE, SettingsError, rgb
from categories import LONGEST_NAME
from inference import NAMES
from inside.look import STEPS
from marks import ColorBy
from network.detail import DETAILS
from ui.choices import OTHER_SHOWS, TABS, Choices
from visualize import EFFECTS, PARTS

LONGEST = 2000
"""The number of characters of a query that are read. The rest is ignored."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a link.

    Args:
        default: The value if the link does not name the setting.
        read: Turns the text in the link into the value. It raises a `ValueError`, such as `SettingsError`, if
            the text is not a valid value.
    """

    default: Any
    read: Callable[[str], Any]


def read_query(query: str) -> tuple[dict[str, Any], list[str]]:
    """Returns all settings, and the names of the settings that cannot be read.

    A setting has its default if the query does not name the setting, or if its text cannot be read.

    Args:
        query: The query, without its question mark. Names that are not in `SETTINGS` are ignored.
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
    """Returns the shortest address from whose query `read_query` reads these values.

    Args:
        address: The app's address, without a slash at the end.
        photo: The photo's file. The link names the photo only if the photo is one of `EXAMPLES`.
        values: The values by their names in `SETTINGS`.
    """
    names = {path: name for name, path in EXAMPLES.items()}
    told = {"example": names.get(photo.resolve()), **values}
    changed = {
        name: _text(told[name])
        for name, setting in SETTINGS.items()
        if name in told and told[name] != setting.default
    }
    return f"{address}/?{urlencode(changed, safe=',:', quote_via=quote)}".rstrip("?")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(item.replace("%", "%25").replace(",", "%2C") for item in value)
    if isinstance(value, dict):
        names = ((name.replace("%", "%25").replace(",", "%2C"), score) for name, score in value.items())
        return ",".join(f"{name}:{score:.10g}" for name, score in names)
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


def _names(text: str) -> list[str]:
    """Reads the names of kinds. Which kinds there are depends on the model, so other names do no harm."""
    names = [unquote(name) for name in text.split(",") if name]
    if len(names) > MAX_CLASSES or any(len(name) > LONGEST_NAME for name in names):
        raise SettingsError(f"expected at most {MAX_CLASSES} names of at most {LONGEST_NAME} characters.")
    return names


def _thresholds(text: str) -> dict[str, float]:
    """Reads scores by the names of kinds, such as "person:0.7,dog:0.3"."""
    read = _number(*SCORE_RANGE)
    pairs = [pair.rpartition(":") for pair in text.split(",") if pair]
    _names(",".join(name for name, _, _ in pairs))
    return {unquote(name): read(score) for name, _, score in pairs}


def _tab(text: str) -> str:
    """Reads the name of a tab, in small letters too."""
    return _one_of(TABS)({name.lower(): name for name in TABS}.get(text.lower(), text))


def _step(text: str) -> int:
    return int(_one_of(tuple(map(str, range(1, len(STEPS) + 1))))(text))


def _color(text: str) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb(text))


PICTURES = Path(__file__).resolve().parent.parent / "examples"
PHOTOS = {
    "bicycles": "bicycles.jpg",
    "dogs": "dogs.jpg",
    "traffic": "traffic.jpg",
    "coffee": "coffee.png",
    "rickshaw": "rickshaw.jpg",
    "chelsea": "chelsea.png",
    "bus": "bus.jpg",
    "ship": "ship.jpg",
}
"""The examples that the page offers, by name. The first one is shown when the page opens."""
EXAMPLES = {name: PICTURES / file for name, file in PHOTOS.items()} | {
    path.stem: path for path in sorted([*PICTURES.glob("*.*g"), *PICTURES.glob("scenes/*.png")])
}
"""The pictures that a link can open, by name."""
NO_EXAMPLE = "none"
"""The name that a link gives in place of an example's, to open an empty page."""
FRESH = Choices()
SETTINGS = {
    "example": Setting(None, _one_of((*EXAMPLES, NO_EXAMPLE))),
    "model": Setting(FRESH.model, _one_of(NAMES)),
    "detail": Setting(FRESH.detail, _one_of(tuple(DETAILS))),
    "score_threshold": Setting(FRESH.score_threshold, _number(*SCORE_RANGE)),
    "mask_threshold": Setting(FRESH.mask_threshold, _number(*MASK_RANGE)),
    "without": Setting(list(FRESH.without), _names),
    "thresholds": Setting(dict(FRESH.thresholds), _thresholds),
    "show": Setting(list(FRESH.show), _some_of(PARTS)),
    "opacity": Setting(FRESH.opacity, _number(0, 1)),
    "color_by": Setting(FRESH.color_by, _one_of(get_args(ColorBy))),
    "tab": Setting(FRESH.tab, _tab),
    "step": Setting(FRESH.step, _step),
    "effect": Setting(FRESH.effect, _one_of(tuple(EFFECTS))),
    "color": Setting(FRESH.color, _color),
    "other_threshold": Setting(FRESH.other_threshold, _number(*SCORE_RANGE)),
    "other_show": Setting(FRESH.other_show, _one_of(tuple(OTHER_SHOWS))),
}
"""The settings that a link can hold, by name. A setting that the API also has is named as in the API."""

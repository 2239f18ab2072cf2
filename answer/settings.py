"""Settings: checks the values that a visitor or a program may set.

`Filters` says which instances count and where their masks end. `visualize.Style` says how they are drawn.
Every value comes from outside. So each check raises `SettingsError` with a sentence that says what was
expected and what came.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args

from categories import Categories
from inference import SCORE_FLOOR
from network.detail import CLOSER, DETAILS
from visualize import EFFECTS, Edges

SCORE_RANGE = (SCORE_FLOOR, 1.0)
"""The lowest and the highest score threshold that a control or a link offers."""
MASK_RANGE = (0.05, 0.95)
"""The lowest and the highest mask threshold that a control or a link offers."""
OTHER_THRESHOLD = 0.3
"""The score threshold of the right side of a comparison until the visitor changes it."""


class SettingsError(ValueError):
    """A setting has a wrong value. The message says what was expected and what came."""


MAX_ID = 1_000_000
"""The highest id that is accepted. Real ids are far lower: a photo has a hundred instances at most."""
MAX_HIDDEN = 1000
"""The largest number of instances that may be hidden by hand."""
MAX_CLASSES = 1000
"""The largest number of names that a filter may hold. No model knows so many."""
LISTED = 8
"""The largest number of names that a sentence lists."""
SAID = 60
"""The largest number of characters of a wrong value that a sentence repeats."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The rules that decide which instances count, and where their masks end.

    Args:
        score_threshold: The lowest score that counts, 0 to 1. The model keeps no instance with a score of
            0.05 or lower.
        classes: The names of the categories that count. None means all categories. Whether the model knows
            these names is for `check_classes` to say.
        mask_threshold: A pixel belongs to a mask if its probability is above this threshold, 0 to 1.
        hidden: The ids of instances that do not count, whatever their scores are. For example, a visitor
            hides wrong instances.
        thresholds: The lowest score that counts for some categories, by their names. It takes the place of
            `score_threshold`.

    Raises:
        SettingsError: A value has a wrong type or is out of range.
    """

    score_threshold: float = 0.5
    classes: tuple[str, ...] | None = None
    mask_threshold: float = 0.5
    hidden: tuple[int, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fraction("score_threshold", self.score_threshold)
        check_fraction("mask_threshold", self.mask_threshold)
        if self.classes is not None:
            _check_names(self.classes)
        if len(self.hidden) > MAX_HIDDEN:
            raise SettingsError(f"hidden: expected at most {MAX_HIDDEN} ids, got {len(self.hidden)}.")
        for id in self.hidden:
            if type(id) is not int:
                raise SettingsError(f"hidden: expected ids of instances such as [2, 5], got {said([id])}.")
            if not 1 <= id <= MAX_ID:
                raise SettingsError(f"hidden: expected ids from 1 to {MAX_ID}, got {said(id)}.")
        _check_thresholds(self.thresholds)

    def everything(self) -> Filters:
        """Returns filters that differ only in this: all scores count."""
        return replace(self, score_threshold=0, thresholds={})


def check_fraction(name: str, value: object) -> None:
    """Raises `SettingsError` unless `value` is a number from 0 to 1."""
    if not _is_fraction(value):
        raise SettingsError(f"{name}: expected a number from 0 to 1, got {said(value)}.")


def _is_fraction(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and 0 <= value <= 1


def said(value: object) -> str:
    """Returns `value` as text for a sentence: on one line, and short even if a megabyte came.

    Objects are not spelled out. Some objects stand for files, and Gradio writes paths of this server into
    them.
    """
    text = _short.repr(value)
    return text if len(text) <= SAID else text[: SAID - 1] + "…"


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring, self.maxlong, self.maxlist, self.maxlevel = 40, 40, 3, 2

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        return "{…}" if x else "{}"

    def repr_instance(self, x: object, level: int) -> str:
        return repr(x) if isinstance(x, bool | float | None) else "{…}"


_short = _Short()


def check_classes(filters: Filters, categories: Categories) -> None:
    """Raises `SettingsError` unless the names that `filters` hold are names of `categories`."""
    for setting, names in (("classes", filters.classes or ()), ("thresholds", filters.thresholds)):
        _check_known(setting, names, categories)


def _check_known(setting: str, names: Collection[str], categories: Categories) -> None:
    if len(names) > len(categories):
        raise SettingsError(f"{setting}: expected at most {len(categories)} names, got {len(names)}.")
    for name in names:
        if name not in categories.by_name:
            near = difflib.get_close_matches(name[:SAID], categories.by_name, n=3)
            known = [name[:SAID] for name in categories.by_name][:LISTED]
            more = f" and {len(categories) - LISTED} more" if len(categories) > LISTED else ""
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}{more}."
            raise SettingsError(f"{setting}: there is no category {said(name)}; {hint}")


def _check_names(classes: tuple[str, ...]) -> None:
    if len(classes) > MAX_CLASSES:
        raise SettingsError(f"classes: expected at most {MAX_CLASSES} names, got {len(classes)}.")
    for name in classes:
        if not isinstance(name, str):
            raise SettingsError(f'classes: expected names such as ["person", "dog"], got {said([name])}.')


def _check_thresholds(thresholds: object) -> None:
    if not isinstance(thresholds, Mapping):
        raise SettingsError(
            f'thresholds: expected scores by names such as {{"person": 0.7}}, got {said(thresholds)}.'
        )
    if len(thresholds) > MAX_CLASSES:
        raise SettingsError(f"thresholds: expected at most {MAX_CLASSES} names, got {len(thresholds)}.")
    for name, score in thresholds.items():
        if not isinstance(name, str):
            raise SettingsError(f"thresholds: expected names such as person, got {said(name)}.")
        if not _is_fraction(score):
            came = said(score) if isinstance(score, int | float) else "something else"
            raise SettingsError(f"thresholds: expected numbers from 0 to 1, got {came}.")


def check_detail(detail: object) -> None:
    """Raises `SettingsError` unless `inference.segment` knows the detail."""
    if detail not in tuple(DETAILS):
        raise SettingsError(f"detail: expected one of {', '.join(DETAILS)}, got {said(detail)}.")


def check_clip_detail(detail: object) -> None:
    """Raises `SettingsError` unless `inference.segment_many` knows the detail: for clips and live."""
    check_detail(detail)
    if detail == CLOSER:
        others = ", ".join(name for name in DETAILS if name != CLOSER)
        raise SettingsError(f"detail: {CLOSER!r} is for photos. For clips and live, choose one of {others}.")


def check_effect(effect: str, color: str) -> None:
    """Raises `SettingsError` unless `files.effect_file` knows the effect and can read the colour."""
    if effect not in tuple(EFFECTS):
        raise SettingsError(f"effect: expected one of {', '.join(EFFECTS)}, got {said(effect)}.")
    rgb(color)


def checked_edges(edges: str) -> Edges:
    """Returns `edges`, which a client sent, if `visualize.cut_out` knows them.

    Raises:
        SettingsError: There are no such edges.
    """
    if edges not in get_args(Edges):
        raise SettingsError(f"edges: expected one of {', '.join(get_args(Edges))}, got {said(edges)}.")
    return cast(Edges, edges)


def rgb(color: str) -> tuple[int, int, int]:
    """Returns red, green and blue, 0 to 255, of a colour such as "#ff8000" or "rgba(255, 128, 0, 1)".

    Raises:
        SettingsError: The colour is written in another way, or a level is above 255.
    """
    number = r"([0-9]{1,3}(?:\.[0-9]{1,20})?)"
    levels: list[int] = []
    if re.fullmatch("#[0-9a-fA-F]{6}", str(color)):
        levels = [*bytes.fromhex(color[1:])]
    elif match := re.fullmatch(rf"rgba?\({number}, *{number}, *{number}(?:, *{number})?\)", str(color)):
        levels = [round(float(level)) for level in match.groups()[:3]]
    if not levels or max(levels) > 255:
        raise SettingsError(f'color: expected one such as "#ff8000", got {said(color)}.')
    red, green, blue = levels
    return red, green, blue

"""Choices: everything that a visitor has set on the page, as one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from answer.edits import Edit
from answer.result import Result, View, counts
from answer.scale import scale_of
from answer.settings import OTHER_THRESHOLD, Filters
from categories import Categories
from marks import ColorBy
from network.detail import FULL_DETAIL
from visualize import PARTS, Style

SAME = "same"
"""The choice of the other model in a comparison that means the same model."""
OTHER_SHOWS = {"right": "What the right side finds", "difference": "The difference"}
"""What a comparison draws on the right side of the line, and its name for people."""
TABS = ("Objects", "Effects", "Compare", "Inside", "Download", "Code", "How it works")


@dataclass(frozen=True, slots=True)
class Choices:
    """What a visitor has set. The defaults are those of a fresh page.

    Args:
        model, detail: "auto" or the name of the model that looks at photos, and one of
            `network.detail.DETAILS`.
        score_threshold, mask_threshold, hidden: As for `answer.settings.Filters`.
        without: The names of the kinds that the visitor does not want to see, in this photo or in the next.
        edits: What the visitor has changed in this photo.
        show: The parts that are drawn, of `visualize.PARTS`.
        opacity, color_by: As for `visualize.Style`.
        tab: The tab that is open, of `TABS`.
        effect, color: A key of `visualize.EFFECTS`, and the colour of a plain background.
        other_model, other_threshold: The right side of a comparison.
        other_show: What is drawn there, a key of `OTHER_SHOWS`.
        thresholds: As for `Filters`, also of kinds that this model does not know.
        scale: A line of known length in this photo (`answer.scale.scale_of`), or None.
        step: The number of the step in the tab "Inside", from 1.
    """

    model: str = "auto"
    detail: str = FULL_DETAIL
    score_threshold: float = 0.5
    mask_threshold: float = 0.5
    without: tuple[str, ...] = ()
    hidden: tuple[int, ...] = ()
    edits: tuple[Edit, ...] = ()
    show: tuple[str, ...] = PARTS
    opacity: float = 0.5
    color_by: ColorBy = "instance"
    tab: str = "Objects"
    effect: str = "spotlight"
    color: str = "#ffffff"
    other_model: str = SAME
    other_threshold: float = OTHER_THRESHOLD
    other_show: str = "right"
    step: int = 1
    thresholds: Mapping[str, float] = field(default_factory=dict)
    scale: Mapping[str, Any] | None = None

    @property
    def least_score(self) -> float:
        """The lowest score that counts for any kind."""
        return min(self.score_threshold, *self.thresholds.values(), 1.0)

    def view(self, result: Result) -> View:
        """Returns a result as the visitor wants to see it.

        Raises:
            SettingsError: The visitor's browser sent something that the page never sends.
        """
        plain = View(result, edits=self.edits)
        filters = self.filters(counts(plain.everything, plain.categories), plain.categories)
        scale = scale_of(self.scale, result.detections.image_size)
        return View(result, filters, self.style(), self.edits, scale)

    def filters(self, found: Iterable[str], categories: Categories) -> Filters:
        """Returns the filters for a result.

        Args:
            found: The names of the kinds in the result.
            categories: The kinds that filters know.

        Raises:
            SettingsError: The visitor's browser sent something that the page never sends.
        """
        offered = [name for name in found if name in categories.by_name]
        classes = tuple(name for name in offered if name not in self.without)
        return Filters(
            self.score_threshold,
            None if len(classes) == len(offered) else classes,
            self.mask_threshold,
            self.hidden,
            {name: score for name, score in self.thresholds.items() if name in categories.by_name},
        )

    def style(self) -> Style:
        """Returns how the visitor wants objects to be drawn. Raises `SettingsError` as `filters` does."""
        parts = {part: part in self.show for part in PARTS}
        return Style(
            **parts, opacity=self.opacity, color_by=self.color_by, mask_threshold=self.mask_threshold
        )

    def of_summary(self) -> dict[str, Any]:
        """Returns the value of the summary (`ui.components.summary_panel`) for what is set."""
        return {"unticked": list(self.without), "thresholds": dict(self.thresholds)}

    def linked(self) -> dict[str, Any]:
        """Returns what a link to the page holds, by the names of `ui.links.SETTINGS`.

        The instances that are hidden or changed by hand are left out, because they belong to this photo only.
        """
        names = (
            *("model", "detail", "score_threshold", "mask_threshold", "opacity", "color_by"),
            *("tab", "step", "effect", "color", "other_threshold", "other_show"),
        )
        lists: dict[str, Any] = {"thresholds": dict(self.thresholds)}
        lists |= {"without": list(self.without), "show": [part for part in PARTS if part in self.show]}
        return lists | {name: getattr(self, name) for name in names}

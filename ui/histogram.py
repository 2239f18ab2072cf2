"""Histogram: draws how many instances have which score, and which of them the threshold hides, as SVG."""

from __future__ import annotations

import numpy as np

from answer.report import hidden_by_threshold
from answer.result import View, in_view
from inference import SCORE_FLOOR

BINS = 19
WIDTH, HEIGHT = 200, 36
"""The size of the drawing in its own units. The page stretches the drawing to the width of the slider."""


def histogram(view: View) -> str:
    """Returns HTML with bars for the scores from the score floor to 1, and a line for the threshold.

    The bars count the instances that pass all other filters. If one bar holds hidden and shown instances, the
    hidden instances are at the bottom. The words of `report.hidden_by_threshold` stand below the drawing.
    """
    threshold = view.filters.score_threshold
    counted = in_view(view.everything, view.categories, view.filters.everything())
    counted = counted.select(counted.sources == 0)  # what a person added or changed has no score
    scores, passing = counted.scores, np.isin(counted.ids, view.shown.ids)
    hidden, shown = (np.histogram(scores[part], BINS, (SCORE_FLOOR, 1))[0] for part in (~passing, passing))
    unit = HEIGHT / max(1, (hidden + shown).max())
    bars = _bars("hidden", hidden * unit, np.zeros(BINS)) + _bars("shown", shown * unit, hidden * unit)
    words = hidden_by_threshold(view)
    x = max(0.0, (threshold - SCORE_FLOOR) / (1 - SCORE_FLOOR)) * WIDTH
    return (
        '<figure class="histogram">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="How many objects have which score: {words}.">'
        f'{bars}<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/></svg>'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _bars(kind: str, heights: np.ndarray, bases: np.ndarray) -> str:
    """Returns a rectangle for each bin that is not empty. Each rectangle begins at the height `bases`."""
    width = WIDTH / BINS
    return "".join(
        f'<rect class="{kind}" x="{i * width + 0.5:.1f}" y="{HEIGHT - base - height:.1f}" '
        f'width="{width - 1:.1f}" height="{height:.1f}"/>'
        for i, (height, base) in enumerate(zip(heights, bases, strict=True))
        if height
    )

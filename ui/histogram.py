"""Histogram: how many instances have which score, and which of them the threshold hides, as SVG."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from answer.report import hidden_by_threshold
from answer.result import view
from answer.settings import Filters
from detections import Detections
from inference import SCORE_FLOOR

BINS = 19
WIDTH, HEIGHT = 200, 36
"""Of the drawing, in its own units; the page stretches it to the width of the slider."""


def histogram(detections: Detections, filters: Filters) -> str:
    """Bars for the scores of what else `filters` lets pass, score floor to 1; a line for the threshold.

    What the threshold hides stands below what it shows where both fall in one bar; the words of
    `report.hidden_by_threshold` follow.
    """
    scores = view(detections, replace(filters, score_threshold=0)).scores
    passing = scores >= np.float32(filters.score_threshold)
    hidden, shown = (np.histogram(scores[part], BINS, (SCORE_FLOOR, 1))[0] for part in (~passing, passing))
    unit = HEIGHT / max(1, (hidden + shown).max())
    bars = _bars("hidden", hidden * unit, np.zeros(BINS)) + _bars("shown", shown * unit, hidden * unit)
    words = hidden_by_threshold(detections, filters)
    x = max(0.0, (filters.score_threshold - SCORE_FLOOR) / (1 - SCORE_FLOOR)) * WIDTH
    return (
        '<figure class="histogram">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="How many objects have which score: {words}.">'
        f'{bars}<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/></svg>'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _bars(kind: str, heights: np.ndarray, bases: np.ndarray) -> str:
    """A rectangle for each bin that is not empty, on top of what stands there already."""
    width = WIDTH / BINS
    return "".join(
        f'<rect class="{kind}" x="{i * width + 0.5:.1f}" y="{HEIGHT - base - height:.1f}" '
        f'width="{width - 1:.1f}" height="{height:.1f}"/>'
        for i, (height, base) in enumerate(zip(heights, bases, strict=True))
        if height
    )

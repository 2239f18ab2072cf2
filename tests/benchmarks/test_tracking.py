"""Tests the measures of tracking on matches made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tracking import Compared, hota, irregular, metrics


def frames(found: list[list[int]], common: float = 1.0) -> list[Compared]:
    """One frame for each list of track ids. Object k is found as the k-th id."""
    return [
        Compared(np.arange(1, len(ids) + 1), np.array(ids, np.int64), common * np.eye(len(ids)))
        for ids in found
    ]


def test_a_perfect_tracker_has_full_marks() -> None:
    assert metrics([frames([[7, 8]] * 4)]) == {"idf1": 1, "mota": 1, "hota": 1, "switches": 0}


def test_a_number_that_changes_half_way_halves_the_association() -> None:
    result = metrics([frames([[1]] * 4 + [[2]] * 4)])
    assert result["idf1"] == 0.5 and result["switches"] == 1 and result["mota"] == 0.875
    assert result["hota"] == pytest.approx(
        0.5**0.5, abs=1e-4
    )  # all found, and each pair shares 4 of 8 frames


def test_boxes_that_fit_badly_count_for_the_low_thresholds_only() -> None:
    assert hota(frames([[1]] * 4, common=0.5)) == pytest.approx(10 / 19)  # 0.05 to 0.5 of 0.05 to 0.95


def test_clips_share_no_numbers() -> None:
    assert metrics([frames([[1]] * 4), frames([[2]] * 4)])["idf1"] == 1


def test_time_stamps_are_uneven_and_rise() -> None:
    gaps = np.diff(irregular(20, 10, seed=0))
    assert 0.049 < gaps.min() < gaps.max() < 0.151 and gaps.mean() == pytest.approx(0.1, rel=0.1)

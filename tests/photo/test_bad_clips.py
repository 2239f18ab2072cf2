"""Tests that damaged clips end in a result or in one sentence. `tests.bad_clips` reads many more of them."""

from __future__ import annotations

from tests.bad_clips import BadClip, bombs, damaged_clips, read_all


def test_damaged_clips_end_in_a_result_or_in_a_sentence() -> None:
    found = read_all(damaged_clips(seed=1, count=64))
    assert found["errors"] == 0 and found["read"] + found["refused"] == 64
    assert found["read"] > 10 and found["refused"] > 10
    assert found["peak_mb_of_a_child"] < 1000


def test_bombs_end_in_a_result_or_in_a_sentence() -> None:
    some = (bomb for bomb in bombs() if bomb.name != "200000-frames.gif")  # takes seconds
    assert read_all(some)["errors"] == 0


def test_a_frame_of_a_gif_that_grows_is_damage() -> None:
    gif = next(clip.content for clip in damaged_clips(seed=0, count=238) if clip.name == "00237-numbers.gif")
    assert read_all(iter([BadClip("a.gif", gif)]))["errors"] == 0

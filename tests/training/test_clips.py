"""Tests the drawn clips."""

from __future__ import annotations

import numpy as np

from training.scenes.clips import CLIP_SIZE, draw_clip
from training.scenes.draw import CATEGORY_IDS


def test_a_frame_depends_on_the_seed_and_its_time_only() -> None:
    alone, among, other = (
        list(draw_clip(seed, times))[-1] for seed, times in ((4, [1.2]), (4, [0, 0.5, 1.2]), (5, [1.2]))
    )
    np.testing.assert_array_equal(alone.image, among.image)
    np.testing.assert_array_equal(alone.masks, among.masks)
    assert (alone.image != other.image).any()


def test_frames_have_the_stated_shapes_and_masks_that_do_not_overlap() -> None:
    for frame in draw_clip(0, [0, 1, 2]):
        assert frame.image.shape == (*CLIP_SIZE, 3) and frame.image.dtype == np.uint8
        assert frame.masks.shape == (len(frame.ids), *CLIP_SIZE) and frame.masks.any(axis=(1, 2)).all()
        assert frame.masks.sum(axis=0).max() == 1
        assert len(frame.category_ids) == len(frame.visible) == len(set(frame.ids.tolist()))
        assert set(frame.category_ids.tolist()) <= set(CATEGORY_IDS)


def test_objects_cross_leave_the_picture_and_come_back() -> None:
    frames = list(draw_clip(0, np.arange(0, 4, 0.2).tolist()))
    present = [7 in frame.ids for frame in frames]
    assert present[0] and not all(present) and present[-1]
    for left, right in ((3, 4), (5, 6)):
        places = [
            {
                id: float(np.argwhere(mask)[:, 1].mean())
                for id, mask in zip(frame.ids.tolist(), frame.masks, strict=True)
            }
            for frame in frames
        ]
        order = [place[left] < place[right] for place in places if left in place and right in place]
        assert order[0] and not all(order), "the pair never crosses"

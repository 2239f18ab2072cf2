"""Between: says where the instances in view are at any time, also between two looks.

A track that is lost for a few looks stays in view: its box and its mask are interpolated. So no single frame
shows what an effect should hide. This promises nothing for objects that the model never found.
"""

from __future__ import annotations

import bisect
import functools

import numpy as np
from numpy.typing import NDArray

from clips.result import ClipView
from detections import Detections

LOST_LOOKS = 5
"""A track that is lost for more looks is not interpolated."""
EPSILON = 1e-6
"""Two times in seconds that differ by less are the same."""
APART = 1000
"""What is taken from the ids of instances without a track, so that those of two looks differ."""


class Between:
    """The instances in view at any time of a clip.

    Args:
        view: The view. Instances below its threshold fill the gaps of tracks that are in view around them.
        lost: The number of looks for which a track may be lost.
    """

    def __init__(self, view: ClipView, lost: int = LOST_LOOKS) -> None:
        self._view, self._lost = view, lost
        self._times = view.result.times.tolist()
        self._seen: dict[int, list[int]] = {}
        for k, (look, keep) in enumerate(zip(view.result.looks, view.kept, strict=True)):
            for id in look.ids[keep & (look.ids > 0)].tolist():
                self._seen.setdefault(id, []).append(k)
        self._all = functools.lru_cache(maxsize=2 * lost + 4)(lambda k: view.result.looks[k].detections)
        self._shown = functools.lru_cache(maxsize=4)(view.shown)

    def at(self, seconds: float, widely: bool = False) -> Detections:
        """Returns the instances at a time, highest score first, with the ids of their tracks.

        At the time of a look, these are the instances in view and those that are lost there. Between two
        looks, a track that is in view in only one of them stays where it is there.

        Args:
            widely: Between two looks, the instances of both are there as well, with ids below 0. An effect
                that hides objects then also hides one that did not move evenly.
        """
        k = bisect.bisect_right(self._times, seconds + EPSILON) - 1
        if k < 0:
            return self._shown(0) if self._times else _nothing(self._view)
        if seconds - self._times[k] <= EPSILON:
            return self._at_look(k)
        return self._inside(k, seconds, widely)

    def _at_look(self, k: int) -> Detections:
        shown = self._shown(k)
        parts = [shown]
        everything = self._all(k)
        there = set(shown.ids.tolist())
        for id, i, j in self._around(k, k):
            if id in there or i == k or j == k:
                continue
            (row,) = np.flatnonzero(everything.ids == id)[:1] if id in everything.ids else (None,)
            if row is not None:
                parts.append(everything.select(np.array([row])))
            else:
                parts.append(self._mixed(id, i, j, self._times[k]))
        return _joined(parts)

    def _inside(self, k: int, seconds: float, widely: bool) -> Detections:
        if k + 1 == len(self._times):
            return self._at_look(k)
        before, after = self._shown(k), self._shown(k + 1)
        moving = self._around(k, k + 1)
        parts = [self._mixed(id, i, j, seconds) for id, i, j in moving]
        ids = [id for id, _, _ in moving]
        parts.append(before.select(~np.isin(before.ids, ids)))
        others = after.select(~np.isin(after.ids, [*ids, *before.ids[before.ids > 0].tolist()]))
        parts.append(_renamed(others, np.where(others.ids > 0, others.ids, others.ids - APART)))
        if widely:
            for times, part in ((2, before), (3, after)):
                parts.append(_renamed(part, -times * APART - np.arange(len(part))))
        return _joined(parts)

    def _around(self, first: int, second: int) -> list[tuple[int, int, int]]:
        """Returns (id, i, j): tracks in view in looks i <= first and j >= second, and never between them."""
        found = []
        for id, seen in self._seen.items():
            at = bisect.bisect_right(seen, first)
            if not at:
                continue
            i = seen[at - 1]
            at = bisect.bisect_left(seen, second)
            if at < len(seen) and seen[at] - i - 1 <= self._lost:
                found.append((id, i, seen[at]))
        return found

    def _mixed(self, id: int, i: int, j: int, seconds: float) -> Detections:
        """Returns the instance of a track between the looks i and j, with the lower score of both."""
        one, other = (self._all(k).select(self._all(k).ids == id) for k in (i, j))
        if i == j:
            return one
        share = np.float32((seconds - self._times[i]) / (self._times[j] - self._times[i]))
        masks = one.mask_probs * (1 - share) + other.mask_probs * share
        return Detections(
            one.boxes * (1 - share) + other.boxes * share,
            np.minimum(one.scores, other.scores),
            one.class_ids,
            masks.clip(0, 1),
            one.ids,
            one.image_size,
        )


def _joined(parts: list[Detections]) -> Detections:
    """Joins detections of one image, highest score first."""
    parts = [part for part in parts if len(part)] or parts[:1]
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")

    def all_of(name: str) -> NDArray[np.float32]:
        joined: NDArray[np.float32] = np.concatenate([getattr(part, name) for part in parts])[order]
        return joined

    ids: NDArray[np.int64] = np.concatenate([part.ids for part in parts])[order]
    class_ids: NDArray[np.int64] = np.concatenate([part.class_ids for part in parts])[order]
    return Detections(
        all_of("boxes"), all_of("scores"), class_ids, all_of("mask_probs"), ids, parts[0].image_size
    )


def _renamed(detections: Detections, ids: NDArray[np.int64]) -> Detections:
    boxes, scores, class_ids = detections.boxes, detections.scores, detections.class_ids
    return Detections(boxes, scores, class_ids, detections.mask_probs, ids, detections.image_size)


def _nothing(view: ClipView) -> Detections:
    none = np.zeros(0, np.int64)
    scores, boxes, masks = (np.zeros(shape, np.float32) for shape in (0, (0, 4), (0, 1, 1)))
    return Detections(boxes, scores, none, masks, none, view.result.facts.size)

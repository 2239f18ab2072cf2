"""Draws clips: scenes whose objects move, cross, leave the picture and come back, with exact ids.

The clips are the truth for the tracker (`tracks`), and stand in for a camera in tests. A clip is a pure
function of its seed and its time stamps. The frame at a time is the same whichever other frames are drawn:

    for frame in draw_clip(seed=3, times=[0.0, 0.1, 0.25]):
        ...  # frame.image, frame.masks, frame.ids
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.scenes.backdrops import HELD_OUT_BACKDROPS
from training.scenes.draw import CATEGORY_IDS, compose, overlap
from training.scenes.drawings import draw_object
from training.scenes.paint import Bytes, Floats, pick
from training.scenes.shapes import Patch

CLIP_SIZE = (384, 512)
"""The height and the width of a clip in px."""
CROSSING_SECONDS = 3.0
"""How long a crossing object takes from one side of the picture to the other."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a clip and its exact instances. Objects without a visible pixel are not in it."""

    seconds: float
    image: Bytes
    """The picture, (H, W, 3) RGB."""
    ids: NDArray[np.int64]
    """The number of each object, (N,), the same in every frame of the clip."""
    category_ids: NDArray[np.int64]
    """The COCO category id of each object, (N,)."""
    masks: NDArray[np.bool_]
    """The visible pixels of each object, (N, H, W). No two masks overlap."""
    visible: Floats
    """The visible share of each object's own pixels, (N,), 0 to 1. Pixels outside the picture are hidden."""


@dataclass(frozen=True, slots=True, eq=False)
class _Mover:
    """An object and its way: a straight line there, or there and back, with a slow sway."""

    category_id: int
    patch: Patch
    start_xy: NDArray[np.float64]
    velocity_xy: NDArray[np.float64]
    """In px per second."""
    turns_after: float
    """Seconds until the object turns round. Then it goes back as it came, and so on."""
    sway_px: float
    phase: float

    def corner(self, seconds: float) -> tuple[int, int]:
        """Returns the top left corner (row, column) of the patch."""
        way = self.turns_after - abs(seconds % (2 * self.turns_after) - self.turns_after)
        x, y = self.start_xy + way * self.velocity_xy
        y += self.sway_px * np.sin(2 * seconds + self.phase)
        height, width = self.patch.alpha.shape
        return round(y - height / 2), round(x - width / 2)


def draw_clip(seed: int, times: Sequence[float]) -> Iterator[Frame]:
    """Draws the frames of clip number `seed` at `times`, in seconds from its start.

    Two pairs of objects of one category cross, one object leaves the picture for about a second and comes
    back, and two objects sway where they are. The background is of a family that training never sees.
    """
    rng = np.random.default_rng([seed, 2])
    height, width = CLIP_SIZE
    backdrop = HELD_OUT_BACKDROPS[pick(rng, sorted(HELD_OUT_BACKDROPS))](rng, height, width)
    movers = _movers(rng, height, width)
    for seconds in times:
        yield _frame(backdrop.astype(np.float32), movers, seconds)


def _movers(rng: Generator, height: int, width: int) -> list[_Mover]:
    """Returns the seven objects of a clip, the lowest first."""
    kinds = rng.permutation(np.array(CATEGORY_IDS))[:5].tolist()

    def mover(kind: int, x: float, y: float, speed_x: float, turns_after: float) -> _Mover:
        patch = draw_object(rng, kind, int(rng.integers(70, 120)))
        start, velocity = np.array([x * width, y * height]), np.array([speed_x * width, 0.0])
        return _Mover(kind, patch, start, velocity, turns_after, rng.uniform(3, 10), rng.uniform(0, 6.3))

    movers = [mover(kinds[0], 0.2, 0.15, 0, 1), mover(kinds[1], 0.75, 0.85, 0, 1)]
    for kind, lane in ((kinds[2], 0.35), (kinds[3], 0.65)):
        speed = rng.uniform(0.8, 1.2) / CROSSING_SECONDS
        for x, direction in ((0.0, 1), (1.0, -1)):
            y = lane + rng.uniform(-0.06, 0.06)
            movers.append(mover(kind, x, y, direction * speed, 1 / speed))
    movers.append(mover(kinds[4], 0.7, 0.5, 0.7 / CROSSING_SECONDS, 2.0))
    return movers


def _frame(image: Floats, movers: Sequence[_Mover], seconds: float) -> Frame:
    height, width = image.shape[:2]
    owner = np.full((height, width), -1, np.int16)  # the topmost object of every pixel
    own_px = np.array([mover.patch.mask.sum() for mover in movers])
    for number, mover in enumerate(movers):
        y, x = mover.corner(seconds)
        h, w = mover.patch.alpha.shape[:2]
        if -h < y < height and -w < x < width:  # otherwise it is outside of the picture
            compose(image, mover.patch, (y, x), shadow=0.2)
            window, part = overlap((y, x), (h, w), owner.shape)
            owner[window][mover.patch.mask[part]] = number
    numbers = np.unique(owner[owner >= 0]).astype(np.int64)
    masks: NDArray[np.bool_] = owner == numbers[:, np.newaxis, np.newaxis]
    return Frame(
        seconds=seconds,
        image=np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8),
        ids=numbers + 1,
        category_ids=np.array([movers[number].category_id for number in numbers], np.int64),
        masks=masks,
        visible=(masks.sum(axis=(1, 2)) / own_px[numbers]).astype(np.float32),
    )

"""Look: what of a run is looked at, and the picture of it."""

from __future__ import annotations

from dataclasses import dataclass

from inside import steps as pictures
from inside.canvas import Picture
from inside.steps import Point
from network.inside import Inside

STEPS = ("seen", "features", "proposals", "names", "once", "mask")
"""The six steps, in the order in which the network takes them."""
WAYS = {
    "features": ("colours", "strengths", "alike"),
    "proposals": ("best", "objectness", "anchors"),
    "mask": ("grid", "pasted", "cut"),
}
"""The pictures of a step that has several, the first one first."""
POINTED = ("alike", "anchors")
"""The ways that are about one point of the photo."""
MOST_PROPOSALS = 1000


@dataclass(frozen=True, slots=True)
class Look:
    """What is looked at.

    Args:
        step: One of `STEPS`.
        way: One of the step's `WAYS`. "" is the first of them.
        object: The row of the object that is meant, from 0. None if there is none.
        point: x and y of a point, in pixels of the photo as the model received it. None is the middle of the
            object, or of the photo.
        level: The index of the level of the pyramid.
        count: The number of proposals.
        overlap: The threshold of overlap. None is the network's own.
        mask_threshold: A pixel belongs to a mask if its probability is above this.
    """

    step: str = STEPS[0]
    way: str = ""
    object: int | None = None
    point: Point | None = None
    level: int = 0
    count: int = 100
    overlap: float | None = None
    mask_threshold: float = 0.5

    def the_way(self) -> str:
        """Returns the way that is meant, or "" if the step has one picture only."""
        ways = WAYS.get(self.step, ("",))
        return self.way if self.way in ways else ways[0]

    def the_point(self, steps: Inside) -> Point:
        """Returns the point that is meant."""
        if self.point is not None:
            return self.point
        height, width = steps.picture_hw
        if self.object is None:
            return width / 2, height / 2
        x1, y1, x2, y2 = steps.on_picture(steps.boxes[self.object]).tolist()
        return (x1 + x2) / 2, (y1 + y2) / 2

    def the_level(self, steps: Inside) -> int:
        """Returns the level that is meant: the nearest one that is there and can be shown."""
        level = min(max(self.level, 0), len(steps.levels) - 1)
        if self.step == "features":
            shown = [i for i, one in enumerate(steps.levels) if one.features is not None]
            level = min(shown, key=lambda i: abs(i - level), default=level)
        return level

    def the_proposal(self, photo: Picture, steps: Inside) -> tuple[int, int] | None:
        """Returns the proposal that is meant, and the label that moves it.

        It is the proposal at the point, or the object's. None if there is neither.
        """
        if steps.names is None or not len(steps.proposals):
            return None
        if self.point is not None:
            proposal = pictures.proposal_at(photo, steps, self.point)
        elif self.object is not None:
            return int(pictures.proposal_of(steps, self.object) or 0), int(steps.labels[self.object])
        else:
            proposal = 0
        if proposal is None:
            return None
        return proposal, pictures.likeliest(steps, proposal)[0][0]


def can_show(steps: Inside, look: Look) -> bool:
    """Whether the network, and what was found, allow this look."""
    if look.step == "features":
        return any(level.features is not None for level in steps.levels)
    if look.step == "proposals" and look.the_way() != "best":
        return steps.candidates is not None
    if look.step == "names":
        return steps.names is not None and len(steps.proposals) > 0
    if look.step == "once":
        return steps.pairs is not None and look.object is not None
    return look.step != "mask" or look.object is not None


def draw(photo: Picture, steps: Inside, look: Look) -> Picture:
    """Returns the picture of a look. Without anything to show, it is the photo.

    Args:
        photo: (H, W, 3) uint8 RGB, the photo as the model received it.
    """
    if not can_show(steps, look):
        return photo
    way, level, object = look.the_way(), look.the_level(steps), look.object
    match look.step, way:
        case "seen", _:
            return pictures.seen(photo, steps, object)
        case "features", "strengths":
            return pictures.strengths(photo, steps, level)
        case "features", "alike":
            return pictures.alike(photo, steps, level, look.the_point(steps))
        case "features", _:
            return pictures.components(photo, steps, level)
        case "proposals", "anchors":
            return pictures.anchors(photo, steps, level, look.the_point(steps))
        case "proposals", "objectness":
            return pictures.objectness(photo, steps, level)
        case "proposals", _:
            return pictures.best(photo, steps, look.count)
        case "names", _:
            chosen = look.the_proposal(photo, steps)
            if chosen is None:
                return photo
            return pictures.named(photo, steps, *chosen, bars(steps, chosen[0]))
    assert object is not None
    if look.step == "once":
        assert steps.pairs is not None
        if look.overlap is None or look.overlap == steps.pairs.threshold:
            return pictures.once(photo, steps, object)
        return pictures.once_at(photo, steps, look.overlap)
    if way == "cut":
        return pictures.mask_cut(photo, steps, object, look.mask_threshold)
    return (pictures.mask_grid if way == "grid" else pictures.mask_pasted)(photo, steps, object)


def bars(steps: Inside, proposal: int) -> list[tuple[str, float]]:
    """Returns the names of the likeliest kinds of a proposal with their scores, the background at the end."""
    return [(name_of(steps, label), score) for label, score in pictures.likeliest(steps, proposal)]


def name_of(steps: Inside, label: int) -> str:
    """Returns the name of one of the network's labels."""
    return steps.label_names[label]

"""Words: says what each step is, at two depths, and what its picture shows now."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from inside import steps as pictures
from inside.boxes import areas
from inside.canvas import Picture
from inside.look import Look, bars, can_show, name_of
from marks import shown_score
from network.inside import NO_NAMES, Inside


class About(NamedTuple):
    """What is said about a step.

    Args:
        title: Its name.
        lead: One sentence for everyone.
        more: Sentences for students, in Markdown, with the terms and the papers' sections.
        attempt: Something to try.
    """

    title: str
    lead: str
    more: str
    attempt: str


ABOUT = {
    "seen": About(
        "What the network sees",
        "The photo is resized before the network looks at it.",
        "The network resizes each photo so that its shorter side has a fixed length, and pads it until "
        "its sides are multiples of 32. COCO calls an object *small* if its mask has fewer than 32 x 32 "
        "pixels. A small object covers only a few cells of the finest feature map, so little is left of "
        "it to recognise (Lin et al. 2017, section 1).",
        "Choose the smallest object. Would you recognise it from so few pixels?",
    ),
    "features": About(
        "Features",
        "The network turns the photo into maps: each cell describes a part of the photo with many numbers.",
        "The *feature pyramid* has levels of different cell sizes: fine cells for small objects, coarse "
        "cells for large ones (Lin et al. 2017, section 3). *Strength* is the length of a cell's vector."
        " *Colours* are the first three *principal components* of a level as red, green and blue. "
        "*Alike* is the *cosine similarity* to the cell at the point, after the mean of all cells was "
        "taken away.",
        "Choose “Alike” and click an eye, a wheel or a leaf. What else lights up?",
    ),
    "proposals": About(
        "Proposals",
        "A small network guesses where there is anything at all, whatever it may be.",
        "At each cell there are *anchors*: boxes of fixed sizes and shapes. The *region proposal "
        "network* gives each anchor an *objectness* and four numbers that move and resize it (Ren et al."
        " 2015, section 3.1). The best boxes of each level stay, without the ones that overlap better "
        "ones. They are the *proposals*.",
        "Show the 20 best proposals, then 1000. Which object gets its first box last?",
    ),
    "names": About(
        "Names",
        "For each proposal the network weighs all kinds it knows, and moves the box to fit.",
        "*RoIAlign* cuts a grid of features of the same size out of the pyramid for each proposal (He et"
        " al. 2017, section 3). Two layers turn the grid into a *logit* for each kind and for the "
        "background, and a *softmax* turns the logits into scores that add up to 1. Each kind has four "
        "*deltas* of its own, which move the box once more.",
        "Click a place where nothing was found. What does the network take it for?",
    ),
    "once": About(
        "Once only",
        "Many boxes mean the same object: the best one stays, and removes those that overlap it too much.",
        "*Non-maximum suppression* goes through the boxes of one kind from the highest score to the "
        "lowest. A box that stays removes all later ones whose *IoU* with it (their shared area divided "
        "by the area of both) is above the threshold (He et al. 2017, section 3.1). Torchvision's "
        "threshold is 0.5.",
        "Lower the threshold until the second of two neighbours disappears. Why that one?",
    ),
    "mask": About(
        "Mask",
        "At the end, each box is divided into a small grid, and each square gets a probability.",
        "The *mask head* is a small network of convolutions. It gives a grid of probabilities for each "
        "kind, and only the grid of the object's own kind counts, so kinds do not compete for pixels (He"
        " et al. 2017, section 3). The grid is resized to the box, and each pixel above the threshold "
        "belongs to the mask.",
        "Lower the threshold. Where does the mask flow over the edge first?",
    ),
}
"""What is said about each step, by its name in `look.STEPS`."""
WAYS = {
    "colours": "Colours",
    "strengths": "Strength",
    "alike": "Alike",
    "best": "Best boxes",
    "objectness": "Objectness",
    "anchors": "Anchors",
    "grid": "Grid",
    "pasted": "On the photo",
    "cut": "Above the threshold",
}
"""The names of the ways of `look.WAYS`."""
NOT_HERE = {
    "features": "The feature maps of this network take too much memory to be kept.",
    "proposals": "This network has no anchors, so only its best proposals can be shown.",
    "names": "The network proposed nothing, so there are no scores.",
    "once": "No object was found, so no other box was left out for it.",
    "mask": "No object was found, so there is no mask.",
}
"""What is said if a step cannot be shown."""


def sentence(photo: Picture, steps: Inside, look: Look) -> str:
    """Returns a sentence or two with the numbers of the picture that `look.draw` gives.

    Args:
        photo: (H, W, 3) uint8 RGB, the photo as the model received it.
    """
    if not can_show(steps, look):
        if look.step in ("names", "once") and steps.names is None:
            return NO_NAMES
        return NOT_HERE[look.step]
    return {
        "seen": _seen,
        "features": _features,
        "proposals": _proposals,
        "names": _names,
        "once": _once,
        "mask": _mask,
    }[look.step](photo, steps, look)


def object_name(steps: Inside, object: int) -> str:
    """Returns an object's kind and score in words, such as "1: dog, 0.98"."""
    return f"{object + 1}: {_kind(steps, object)}, {shown_score(steps.scores[object])}"


def _kind(steps: Inside, object: int) -> str:
    return name_of(steps, int(steps.labels[object]))


def _seen(photo: Picture, steps: Inside, look: Look) -> str:
    height, width = steps.seen_hw
    words = f"The network sees this photo at {width} x {height} pixels."
    if look.object is None:
        return words
    pixels = pictures.seen_pixels(steps, look.object, look.mask_threshold)
    size = "small" if pixels < pictures.SMALL_AREA else "large" if pixels > pictures.LARGE_AREA else "medium"
    share = f"{100 * pixels / (height * width):.2g} percent"
    return f"{words} The {_kind(steps, look.object)} has {pixels:,} of them, {share}: for COCO it is {size}."


def _features(photo: Picture, steps: Inside, look: Look) -> str:
    level = steps.levels[look.the_level(steps)]
    assert level.features is not None
    channels, height, width = level.features.shape
    words = f"This map has {width} x {height} cells with {channels} numbers each."
    meaning = {
        "colours": "Places of the same colour look alike to the network.",
        "strengths": "Bright places have strong features.",
        "alike": "Bright places look to the network like the place under the cross.",
    }
    return f"{words} {meaning[look.the_way()]}"


def _proposals(photo: Picture, steps: Inside, look: Look) -> str:
    way = look.the_way()
    if way == "best":
        count = min(look.count, len(steps.proposals))
        words = f"These are the {count:,} best of {len(steps.proposals):,} proposals."
        if steps.candidates is None or not count:
            return words
        worst = steps.candidates.scores[steps.candidates.kept[count - 1]]
        return f"{words} The objectness of the last one is {shown_score(worst)}."
    level = steps.levels[look.the_level(steps)]
    assert level.objectness is not None
    height, width, each = level.objectness.shape
    if way == "objectness":
        return f"Bright cells of these {width} x {height} probably hold something."
    return (
        f"Each cell of this level has {each} anchors, so the level has {width * height * each:,}. "
        "The orange one looks most like an object."
    )


def _names(photo: Picture, steps: Inside, look: Look) -> str:
    chosen = look.the_proposal(photo, steps)
    if chosen is None:
        return "There is no proposal at this place."
    scores = ", ".join(f"{name} {shown_score(score)}" for name, score in bars(steps, chosen[0]))
    moved, own = pictures.journey(steps, *chosen)[:2]
    shift = np.hypot(*((moved[:2] + moved[2:] - own[:2] - own[2:]) / 2))
    grown = np.sqrt(areas(moved[np.newaxis])[0] / max(areas(own[np.newaxis])[0], 1e-6))
    return (
        f"Proposal {chosen[0] + 1} of {len(steps.proposals):,}: {scores}. "
        f"Its box moved by {shift:.0f} {'pixel' if round(shift) == 1 else 'pixels'}, "
        f"and its sides changed to {100 * grown:.0f} percent."
    )


def _once(photo: Picture, steps: Inside, look: Look) -> str:
    pairs, object = steps.pairs, look.object
    assert pairs is not None and object is not None
    if look.overlap is None or look.overlap == pairs.threshold:
        count = len(pictures.removed_for(steps, object)[0])
        boxes = f"{count} box{'' if count == 1 else 'es'}"
        return (
            f"The {_kind(steps, object)} removed {boxes} of the same kind that overlap it by more than "
            f"{pairs.threshold:g}."
        )
    kept = pictures.kept_at(pairs, look.overlap)
    new, lost = np.setdiff1d(kept, pairs.kept), np.setdiff1d(pairs.kept, kept)
    return (
        f"At {look.overlap:g} there would be {len(kept)} objects instead of {len(pairs.kept)}: "
        f"{len(new)} new (red), {len(lost)} lost (white, crossed out)."
    )


def _mask(photo: Picture, steps: Inside, look: Look) -> str:
    assert look.object is not None
    probs = steps.mask_probs[look.object]
    if look.the_way() == "grid":
        down, across = probs.shape
        return f"The mask of the {_kind(steps, look.object)} has {across} x {down} probabilities."
    if look.the_way() == "pasted":
        return "The same probabilities, resized to the photo. Bright pixels surely belong to the object."
    height, width = photo.shape[:2]
    area = pictures.instance(steps, look.object).resized(height, width).area(0, look.mask_threshold)
    return f"{area:,} pixels have a probability above {look.mask_threshold:g}."

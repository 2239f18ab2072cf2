"""Ideas: a network says of a box what it says of its own instances, and names what is at a place."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from inference import SegmentationModel, load, look_at_box, look_at_place, look_inside, segment
from network.ideas import MOST_NAMES, NoIdeasError
from network.inside import Inside
from photo.images import read_image
from tests.truth import SCENE

PICTURE = read_image(SCENE)
Looked = tuple[SegmentationModel, Inside]


@pytest.fixture(scope="module", params=["scenes", "starter"])
def looked(request: pytest.FixtureRequest) -> Looked:
    model = load(request.param, device="cpu")
    return model, look_inside(model, PICTURE)


def test_the_box_of_an_instance_gets_its_name_and_its_mask(looked: Looked) -> None:
    model, steps = looked
    found = segment(model, PICTURE)
    for i in range(3):
        label = int(steps.labels[i])

        idea = look_at_box(model, steps, found.boxes[i], label)

        assert idea.labels[0] == label
        assert len(idea.labels) == len(set(idea.labels.tolist())) == MOST_NAMES
        assert idea.labels[idea.scores.argmax()] == label  # it is the best name of its own box as well
        assert np.array_equal(idea.box, found.boxes[i])
        # The features are kept in float16, so a probability may differ a little.
        assert np.abs(idea.mask_probs[0] - found.mask_probs[i]).max() < 2e-3
        assert 0 not in idea.labels  # the background is no name


def test_names_without_a_wish_come_in_the_order_of_their_scores(looked: Looked) -> None:
    model, steps = looked

    idea = look_at_box(model, steps, segment(model, PICTURE).boxes[0])

    assert idea.scores.tolist() == sorted(idea.scores.tolist(), reverse=True)
    assert idea.scores.max() <= 1


def test_a_place_in_an_object_gives_this_object(looked: Looked) -> None:
    model, steps = looked
    found = segment(model, PICTURE)
    mask = found.mask(0)
    y, x = (int(np.median(places)) for places in np.nonzero(mask))
    assert mask[y, x]

    idea = look_at_place(model, steps, x, y)

    assert idea.labels[0] == steps.labels[0]
    assert np.abs(idea.box - found.boxes[0]).max() < 12


def test_a_place_outside_of_all_proposals_gets_a_sentence(looked: Looked) -> None:
    model, steps = looked

    with pytest.raises(NoIdeasError, match="no idea what is here"):
        look_at_place(model, steps, -500.0, -500.0)


def test_heads_of_another_kind_find_the_object_as_well() -> None:
    model = load("scenes", device="cpu")
    steps, found = look_inside(model, PICTURE), segment(model, PICTURE)
    model.network.roi_heads = Other(model.network.roi_heads)

    idea = look_at_box(model, steps, found.boxes[0])
    assert idea.labels.tolist() == [int(steps.labels[0])]
    assert np.abs(idea.box - found.boxes[0]).max() < 6
    assert np.abs(idea.mask_probs[0] - found.mask_probs[0]).mean() < 0.1

    y, x = (int(np.median(places)) for places in np.nonzero(found.mask(0)))
    assert look_at_place(model, steps, x, y).labels.tolist() == [int(steps.labels[0])]
    with pytest.raises(NoIdeasError, match="no object in this box"):
        look_at_box(model, steps, np.array([0, 0, 3, 3], np.float32))


class Other(nn.Module):
    """Heads whose parts nobody knows."""

    def __init__(self, heads: nn.Module) -> None:
        super().__init__()
        self.heads_inside = heads

    def forward(self, *arguments: object) -> object:
        return self.heads_inside(*arguments)

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from answer.result import Result
from detections import Detections
from tests.samples import CAR, CAT, DOG, PERSON, fake_model, make_detections, random_image
from ui.choices import Choices
from ui.sides import BOTH, ONLY_LEFT, ONLY_RIGHT, before_and_after, side_by_side
from visualize import EFFECTS, apply_effect

PETS = make_detections(
    [[4, 4, 30, 30], [40, 4, 70, 30], [4, 34, 30, 56]], class_ids=[CAT, DOG, CAT], scores=[0.9, 0.6, 0.4]
)


def make_result(detections: Detections = PETS, model: str = "left") -> Result:
    found_by: Any = fake_model()
    object.__setattr__(found_by, "name", model)
    picture = random_image(1, *detections.image_size)[::10, ::10].repeat(10, 0).repeat(10, 1)
    return Result(Path("photo.png"), picture, detections, found_by, {"read": 1.0, "model": 1.0})


def shown(side: dict[str, Any]) -> NDArray[np.uint8]:
    """Returns the picture of a side, as the page shows it."""
    with Image.open(side["picture"]["path"]) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_stands_on_the_right_of_the_plain_photo(effect: Any) -> None:
    choices = Choices(effect=effect, color="#336699", mask_threshold=0.4)
    view = choices.view(make_result())
    side = before_and_after(view, choices)
    assert side["plain"] is True
    after = apply_effect(
        view.result.working_image, view.shown, effect, mask_threshold=0.4, color=(0x33, 0x66, 0x99)
    )
    picture = shown(side).astype(int)
    assert picture.shape == (*after.shape[:2], 3)
    inside = np.s_[10:24, 10:24]  # of an instance, away from its edge
    assert np.abs(picture[inside] - after[inside][..., :3]).mean() < 8


def test_what_is_transparent_is_chequered() -> None:
    choices = Choices(effect="cut_out", score_threshold=1)  # nothing is in view, so all is transparent
    picture = shown(before_and_after(choices.view(make_result()), choices)).astype(int)
    assert set((picture[6::12, 6::12] // 10).ravel().tolist()) == {20, 24}
    assert np.abs(picture[6, 6] - picture[18, 18]).max() <= 2
    assert np.abs(picture[6, 6] - picture[6, 18]).min() > 20


def test_a_comparison_says_what_each_side_shows() -> None:
    choices = Choices(other_threshold=0.3)
    _, words = side_by_side(choices.view(make_result()), None, choices)
    assert words.splitlines()[:2] == [
        "**Left:** 2 objects, model left, threshold 0.50.  ",
        "**Right:** 3 objects, model left, threshold 0.30.",
    ]


def test_the_right_side_is_the_same_photo_with_what_the_other_threshold_shows() -> None:
    for threshold, differs in ((0.95, False), (0.8, True)):
        choices = Choices(other_threshold=threshold)
        side, _ = side_by_side(choices.view(make_result()), None, choices)
        assert "plain" not in side
        far = np.abs(shown(side).astype(int) - make_result().working_image).mean() > 12
        assert far == differs


def test_a_comparison_hides_by_hand_on_both_sides_and_knows_the_other_models_kinds() -> None:
    found = make_result(make_detections([[0, 0, 9, 9]] * 3, class_ids=[PERSON, DOG, DOG]))
    other = make_result(make_detections([[0, 0, 9, 9]] * 2, class_ids=[PERSON, CAR]), "right")
    choices = Choices(without=("person",), hidden=(2,), other_threshold=0.3)
    _, same = side_by_side(choices.view(found), None, choices)
    assert "**Left:** 1 object, model left" in same and "**Right:** 1 object, model left" in same
    _, different = side_by_side(choices.view(found), other, choices)
    assert "**Left:** 1 object, model left" in different and "**Right:** 1 object, model right" in different


def test_a_comparison_says_what_both_sides_and_what_only_one_side_finds() -> None:
    choices = Choices(other_threshold=0.3)
    _, words = side_by_side(choices.view(make_result()), None, choices)
    assert words.splitlines()[3:] == [
        "Both: 2 objects, 1 cat, 1 dog.  ",
        "Only left: nothing.  ",
        "Only right: 1 object, 1 cat.",
    ]


def test_the_difference_is_drawn_in_three_colours() -> None:
    other = make_result(make_detections([[4, 4, 30, 30], [40, 34, 70, 56]], class_ids=[CAT, CAR]), "right")
    choices = Choices(other_show="difference", opacity=1, show=("masks",))
    side, words = side_by_side(choices.view(make_result()), other, choices)
    assert "orange is only left" in words
    picture = shown(side).astype(int)
    for (y, x), color in (((15, 15), BOTH), ((15, 50), ONLY_LEFT), ((45, 50), ONLY_RIGHT)):
        assert np.abs(picture[y, x] - color).max() < 12

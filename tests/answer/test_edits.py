"""Edits: a list of changes makes the same detections again, and wrong changes get a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from answer.edits import MAX_EDITS, Edit, edit, edited, from_text, read_edits, to_text
from answer.settings import SettingsError
from tests.samples import CAT, DOG, PERSON, make_detections, random_detections

BOX = [1, 2, 30, 40]
CLASSES = {"person": PERSON, "cat": CAT, "dog": DOG, "teapot": 91}
MASK = to_text(np.full((28, 28), 0.9, np.float32))


def test_an_added_object_stands_behind_the_others_and_changes_none_of_them() -> None:
    before = random_detections(1, 5, (60, 80))
    change = Edit("add", 9, "teapot", (10.0, 20.0, 30.0, 40.0), MASK)

    after = edit(before, change, CLASSES)

    assert after.ids.tolist() == [*before.ids.tolist(), 9]
    assert after.source(5) == "person"
    assert after.class_ids[5] == 91
    assert after.boxes[5].tolist() == [10, 20, 30, 40]
    assert after.mask(5)[25, 15]
    assert not after.mask(5)[45, 15]
    for i in range(5):
        assert after.source(i) == "model"
        assert np.array_equal(after.mask(i), before.mask(i))
        assert np.array_equal(after.boxes[i], before.boxes[i])


def test_an_object_can_be_added_where_nothing_was_found() -> None:
    after = edit(make_detections([]), Edit("add", 1, "cat", (0.0, 0.0, 20.0, 20.0), MASK), CLASSES)

    assert after.class_ids.tolist() == [CAT]
    assert after.area(0) == pytest.approx(400, abs=80)


def test_a_renamed_and_reshaped_object_keeps_its_id_its_place_and_its_score() -> None:
    before = make_detections([[0, 0, 10, 10], [20, 20, 40, 40]], class_ids=[CAT, CAT])

    after = edited(
        before,
        [Edit("rename", 1, "dog"), Edit("reshape", 1, box=(5.0, 5.0, 15.0, 25.0), mask=MASK)],
        CLASSES,
    )

    assert after.ids.tolist() == before.ids.tolist()
    assert after.class_ids.tolist() == [DOG, CAT]
    assert after.boxes[0].tolist() == [5, 5, 15, 25]
    assert [after.source(i) for i in range(2)] == ["edited", "model"]
    assert np.array_equal(after.scores, before.scores)
    assert after.mask(0)[20, 10]


def test_a_renamed_object_of_a_person_stays_a_persons() -> None:
    edits = [Edit("add", 7, "cat", (0.0, 0.0, 20.0, 20.0), MASK), Edit("rename", 7, "dog")]

    assert edited(make_detections([]), edits, CLASSES).source(0) == "person"


def test_undo_is_a_shorter_list_and_the_list_is_data() -> None:
    before = random_detections(2, 3, (60, 80))
    edits = [Edit("rename", 2, "dog"), Edit("add", 4, "cat", (1.0, 2.0, 30.0, 40.0), MASK)]

    sent = [change.to_json() for change in edits]

    assert list(read_edits(sent)) == edits
    again = edited(before, read_edits(sent), CLASSES)
    assert again.class_ids.tolist() == edited(before, edits, CLASSES).class_ids.tolist()
    assert edited(before, read_edits(sent[:0]), CLASSES) is before


def test_a_box_is_cut_at_the_borders_of_the_photo() -> None:
    after = edit(make_detections([]), Edit("add", 1, "cat", (-5.0, 40.0, 20.0, 90.0), MASK), CLASSES)

    assert after.boxes[0].tolist() == [0, 40, 20, 60]


def test_what_an_edit_does_not_need_is_left_out() -> None:
    reshape = {"do": "reshape", "id": 1, "name": ["x"], "box": BOX, "mask": MASK}
    rename = {"do": "rename", "id": 1, "name": "cat", "box": "x", "mask": 7}

    first, second = read_edits([reshape, rename])

    assert first.name == ""
    assert (second.box, second.mask) == (None, "")


def test_a_masks_text_keeps_which_pixels_belong() -> None:
    mask = np.random.default_rng(0).random((28, 28), np.float32)

    again = from_text(to_text(mask))

    assert np.abs(again - mask).max() <= 1 / 510 + 1e-6
    assert np.array_equal(again > 0.5, mask > 0.5)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("rename", "expected a list"),
        ([7], "expected edits such as"),
        ([{"do": "paint", "id": 1}], "do must be one of add, reshape, rename"),
        ([{"do": ["add"], "id": 1}], "do must be one of"),
        ([{"do": "rename", "id": "3", "name": "cat"}], "expected ids from 1"),
        ([{"do": "rename", "id": True, "name": "cat"}], "expected ids from 1"),
        ([{"do": "rename", "id": 3, "name": ""}], "expected a word"),
        ([{"do": "rename", "id": 3, "name": "a\nb"}], "expected a word"),
        ([{"do": "rename", "id": 3, "name": "x" * 10_000}], "at most 100 characters, got 10000"),
        (
            [{"do": "add", "id": 3, "name": "cat", "box": [1, 2, 3], "mask": MASK}],
            "left, top, right and bottom",
        ),
        ([{"do": "add", "id": 3, "name": "cat", "box": [1, 2, float("nan"), 4], "mask": MASK}], "left, top"),
        ([{"do": "add", "id": 3, "name": "cat", "box": [30, 2, 1, 40], "mask": MASK}], "has no area"),
        ([{"do": "add", "id": 3, "name": "cat", "box": [0, 0, 10**400, 9], "mask": MASK}], "left, top"),
        ([{"do": "add", "id": 3, "name": "cat", "box": BOX}], "mask: expected the text"),
        ([{"do": "add", "id": 3, "name": "cat", "box": BOX, "mask": "AAAA"}], "mask: expected the text"),
        (
            [{"do": "add", "id": 3, "name": "cat", "box": BOX, "mask": MASK, "score": 1}],
            "expected edits such",
        ),
        ([{"do": "rename", "id": 3, "name": "cat"}] * (MAX_EDITS + 1), f"at most {MAX_EDITS}"),
        ([{"do": "rename", "id": 3, "name": f"a{i}"} for i in range(60)], "different names, got 60"),
    ],
)
def test_wrong_edits_get_a_sentence(sent: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_edits(sent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Edit("rename", 8, "cat"), "no object with the id 8"),
        (Edit("add", 1, "cat", (1.0, 2.0, 30.0, 40.0), MASK), "the id 1 belongs to another object"),
        (
            Edit("add", 8, "cat", (100.0, 2.0, 130.0, 40.0), MASK),
            "lies outside of the photo, which has 80 x 60",
        ),
    ],
)
def test_edits_that_do_not_fit_the_photo_get_a_sentence(change: Edit, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        edit(make_detections([[0, 0, 10, 10]]), change, CLASSES)


def test_a_mask_that_unpacks_to_gigabytes_is_refused() -> None:
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(1_000_000), 9)).decode()

    with pytest.raises(SettingsError, match="mask"):
        from_text(bomb)

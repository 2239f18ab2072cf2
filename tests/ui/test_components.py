from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.samples import random_image
from ui import components
from ui.components import as_markdown, picture_file, said


def test_a_picture_for_the_page_declares_srgb_in_less_than_a_kilobyte() -> None:
    pixels = random_image(3, 60, 80)
    path = Path(picture_file(pixels))
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("JPEG", (80, 60))
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        decoded = np.asarray(picture)
    assert str(profile.profile.profile_description).startswith("sRGB")
    untagged = io.BytesIO()
    Image.fromarray(pixels).save(untagged, "JPEG", quality=components.JPEG_QUALITY, subsampling=0)
    assert 0 < path.stat().st_size - len(untagged.getvalue()) < 1000
    np.testing.assert_array_equal(decoded, np.asarray(Image.open(untagged)))


def test_the_same_picture_has_the_same_path() -> None:
    path = picture_file(random_image(4, 60, 80))
    assert picture_file(random_image(4, 60, 80)) == path
    assert picture_file(random_image(5, 60, 80)) != path


def test_each_thing_that_is_said_differs_from_the_one_before_even_if_the_words_do_not() -> None:
    first, second = said("error", "No.", 3), said("error", "No.", 3)
    assert first != second
    assert {key: first[key] for key in ("kind", "words", "number", "seconds")} == {
        "kind": "error",
        "words": "No.",
        "number": 3,
        "seconds": None,
    }


def test_the_scripts_of_the_stage_are_all_there_and_start_comes_last() -> None:
    files = {path.stem for path in components.ASSETS.glob("*.js")}
    assert files == {*components.STAGE_SCRIPTS, "summary"}
    assert len(components.STAGE_SCRIPTS) == len(set(components.STAGE_SCRIPTS))
    assert (components.STAGE_SCRIPTS[0], components.STAGE_SCRIPTS[-1]) == ("objects", "start")


@pytest.mark.parametrize(
    ("sent", "read"),
    [(0.3, 0.3), (7, 1), (-1, 0.05), (math.nan, 0.05), (None, 0.05), ("", 0.05), (True, 1)],
)
def test_a_slider_takes_what_is_half_typed_for_the_nearest_number(sent: object, read: float) -> None:
    assert components.ForgivingSlider(0.05, 1).preprocess(sent) == read


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("A dog, 0.98 (1 of 2).", "A dog, 0.98 (1 of 2)."),
        ("<b>x</b>", r"\<b\>x\</b\>"),
        ("![a](http://b) & `c` $$d$$", r"\!\[a\](http://b) \& \`c\` \$\$d\$\$"),
    ],
)
def test_markdown_shows_a_name_as_it_is(text: str, markdown: str) -> None:
    assert as_markdown(text) == markdown

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from inference import SegmentationModel
from tests.conftest import ROOT
from tools.explain import PICTURES, WIDTH, at_its_size

TEXT = (ROOT / "assets" / "how.html").read_text()


@pytest.mark.parametrize("name", PICTURES)
def test_each_picture_is_shown_at_its_size_and_told_to_those_who_cannot_see_it(name: str) -> None:
    (tag,) = re.findall(rf"<img[^>]*/{name}\.webp[^>]*>", TEXT)
    with Image.open(ROOT / "assets" / "how" / f"{name}.webp") as picture:
        assert f'width="{picture.width}" height="{picture.height}"' in tag
        assert picture.width <= WIDTH
    alt = re.search(r'alt="([^"]+)"', tag)
    assert alt and len(alt[1]) > 80


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_are_what_the_script_makes_now(name: str, scenes_model: SegmentationModel) -> None:
    made = at_its_size(PICTURES[name](scenes_model))
    with Image.open(ROOT / "assets" / "how" / f"{name}.webp") as kept:
        assert kept.size == made.size
        differing = np.asarray(kept.convert("RGBA"), int) - np.asarray(made, int)
    differing *= np.asarray(made, int)[..., 3:] > 0  # ignores the gaps, because they are transparent
    assert np.abs(differing).mean() < 8, "run tools/explain.py again"

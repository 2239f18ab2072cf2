from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from tests.samples import random_image
from ui import components
from ui.components import picture_file


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

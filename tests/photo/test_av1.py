from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from photo.av1 import sequence_sizes
from tests.samples import random_image


def avif(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "AVIF", **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (40, 30), (257, 64), (1000, 1)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0", "4:0:0"])
def test_an_honest_pictures_size_is_its_own(size: tuple[int, int], subsampling: str) -> None:
    content = avif(Image.new("RGB", size), subsampling=subsampling)
    assert list(sequence_sizes(content)) == [size]


def test_transparency_is_a_picture_of_its_own() -> None:
    assert list(sequence_sizes(avif(Image.fromarray(random_image(0, 30, 40)).convert("RGBA")))) == [(40, 30)]
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8)
    assert list(sequence_sizes(avif(Image.fromarray(noise)))) == [(40, 30)] * 2


def test_an_animations_first_frames_count() -> None:
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    sizes = list(sequence_sizes(avif(frames[0], save_all=True, append_images=frames[1:])))
    assert sizes and set(sizes) == {(40, 30)}


def test_the_stream_counts_and_not_what_the_container_says() -> None:
    content = avif(Image.new("RGB", (300, 200)))
    true, lie = (b"ispe\0\0\0\0" + struct.pack(">II", *size) for size in ((300, 200), (3, 2)))
    assert true in content
    assert list(sequence_sizes(content.replace(true, lie))) == [(300, 200)]


def test_what_is_malformed_ends_with_one_of_the_stated_errors() -> None:
    content = avif(Image.fromarray(random_image(1, 30, 40)).convert("RGBA"))
    chance = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(content[: chance.integers(1, 2 * len(content))])
        for at in chance.integers(0, len(damaged), 3):
            damaged[at] = chance.integers(256)
        try:
            sizes = list(sequence_sizes(bytes(damaged)))
        except (ValueError, struct.error, IndexError):
            continue
        assert all(side > 0 for size in sizes for side in size)

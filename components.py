"""Components: two of Gradio's own, made to hand over files as we want them.

Both keep their parent's place in the page's JavaScript (`is_template`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.annotated_image import AnnotatedImageData, Annotation
from gradio.data_classes import FileData, ImageData
from gradio.processing_utils import save_bytes_to_cache
from numpy.typing import NDArray
from PIL import Image

JPEG_QUALITY = 92


class PhotoInput(gr.Image):
    """An image input that gives the path of the file as it was sent; `images.read_image` decodes it.

    Gradio's own would decode and rewrite some files before any limit of ours has seen them.
    """

    is_template = True

    def preprocess(self, payload: ImageData | None) -> str | None:
        return payload.path if payload else None


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One mask over a picture: (H, W) bool, its label, its colour as (3,) uint8 RGB."""

    mask: NDArray[np.bool_]
    label: str
    color: NDArray[np.uint8]


class LayeredImage(gr.AnnotatedImage):
    """A picture under one layer for each instance, sent as small files.

    Gradio's own makes a four-channel float picture for each mask; a palette of two entries is about
    twenty times faster to make and to send.
    """

    is_template = True

    def postprocess(self, value: Any) -> AnnotatedImageData | None:
        """Takes (picture (H, W, 3) uint8 RGB, layers, opacity 0 to 1) or None."""
        if value is None:
            return None
        picture, layers, opacity = value
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return AnnotatedImageData(
            image=self._file(file, "picture.jpg"),
            annotations=[
                Annotation(image=self._file(_to_png(layer, opacity), "mask.png"), label=layer.label)
                for layer in layers
            ],
        )

    def _file(self, file: io.BytesIO, name: str) -> FileData:
        # The folder is named by a hash of the content, so that an unchanged layer keeps its address.
        return FileData(path=save_bytes_to_cache(file.getvalue(), name, self.GRADIO_CACHE))


def _to_png(layer: Layer, opacity: float) -> io.BytesIO:
    """A one-bit palette PNG: entry 0 clear, entry 1 the colour at `opacity`."""
    image = Image.fromarray(layer.mask.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, *layer.color.tolist()])
    file = io.BytesIO()
    image.save(file, "PNG", bits=1, transparency=bytes([0, round(opacity * 255)]), compress_level=1)
    return file

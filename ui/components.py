"""Components: makes the parts of the page that Gradio does not have.

`PhotoInput` and `ForgivingSlider` change how two of Gradio's components read their values. The picture and
the class filter are `gr.HTML` components. Each of them has a template, a script and a style sheet in
`assets/`.
"""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.data_classes import ImageData
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from numpy.typing import NDArray
from PIL import Image

from photo.colours import srgb_profile

ASSETS = Path(__file__).resolve().parent.parent / "assets"
JPEG_QUALITY = 92
PROFILE_DATE = slice(24, 36)
"""The bytes of an ICC profile that hold its date (ICC.1:2022, 7.2.1)."""
LONG_AGO = struct.pack(">6H", 1980, 1, 1, 0, 0, 0)


class PhotoInput(gr.Image):
    """An image input that gives the path of the file as it was sent.

    `photo.images.read_image` decodes the file later. Gradio's own image input would decode and rewrite some
    files before our limits have checked them. `is_template` lets the page's JavaScript treat this class as
    its parent class.
    """

    is_template = True

    def preprocess(self, payload: ImageData | None) -> str | None:
        return payload.path if payload else None


class ForgivingSlider(gr.Slider):
    """A slider whose number field may be empty for a moment, while the visitor types another number.

    A number out of range counts as the nearest number in the range. A value that is empty or no number counts
    as the minimum. Gradio's own slider would answer with an error.
    """

    is_template = True

    def preprocess(self, payload: object) -> float:
        number = float(payload) if isinstance(payload, int | float) else math.nan
        if math.isnan(number):
            number = self.minimum
        kept: float = super().preprocess(min(max(number, self.minimum), self.maximum))
        return kept


def objects_picture(**options: Any) -> gr.HTML:
    """Returns the picture whose objects react to the pointer, with its table.

    `gr.update(scene=…, look=…)` sets what the picture shows (`ui.overlay`). The value is {"hidden": [id, …]},
    the instances that the visitor has hidden. The event `input` says that the value changed. The event
    `cut_out` asks for the file of one instance; the event's data holds the instance's "id".
    """
    return _scripted("objects", value={"hidden": []}, scene={}, look={}, **options)


def kind_filter(**options: Any) -> gr.HTML:
    """Returns the class filter. `gr.update(groups=report.kinds(…))` sets the categories that it offers.

    The value is {"unticked": [name, …]}. The filter remembers a name even while it does not offer the name.
    """
    return _scripted("kinds", value={"unticked": []}, groups=[], **options)


def picture_file(picture: NDArray[np.uint8]) -> str:
    """Writes a picture, (H, W, 3) uint8 RGB, as a JPEG that Gradio serves, and returns the JPEG's path.

    The same picture always gets the same path. The JPEG declares sRGB, which takes 606 bytes.
    """
    profile = bytearray(srgb_profile())
    profile[PROFILE_DATE] = LONG_AGO  # LittleCMS writes the time when it made the profile
    file = io.BytesIO()
    Image.fromarray(picture).save(
        file, "JPEG", quality=JPEG_QUALITY, subsampling=0, icc_profile=bytes(profile)
    )
    path: str = save_bytes_to_cache(file.getvalue(), "picture.jpg", get_upload_folder())
    return path


def _scripted(name: str, **options: Any) -> gr.HTML:
    return gr.HTML(
        html_template=(ASSETS / f"{name}.html").read_text(encoding="utf-8"),
        js_on_load=(ASSETS / f"{name}.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        **options,
    )

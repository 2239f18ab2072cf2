"""Components: what the page shows that Gradio has not, and its image input made to give the file itself.

The picture and the class filter are `gr.HTML` with a template, a script and a style sheet each in `assets/`.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.data_classes import ImageData
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from numpy.typing import NDArray
from PIL import Image

ASSETS = Path(__file__).resolve().parent.parent / "assets"
JPEG_QUALITY = 92


class PhotoInput(gr.Image):
    """An image input that gives the path of the file as it was sent; `images.read_image` decodes it.

    Gradio's own would decode and rewrite some files before any limit of ours has seen them. It keeps its
    parent's place in the page's JavaScript (`is_template`).
    """

    is_template = True

    def preprocess(self, payload: ImageData | None) -> str | None:
        return payload.path if payload else None


class ForgivingSlider(gr.Slider):
    """A slider whose number field may be emptied on the way to another number.

    What is empty, out of range or no number counts as the nearest value that there is; Gradio's own would
    answer with an error.
    """

    is_template = True

    def preprocess(self, payload: object) -> float:
        number = float(payload) if isinstance(payload, int | float) else math.nan
        if math.isnan(number):
            number = self.minimum
        kept: float = super().preprocess(min(max(number, self.minimum), self.maximum))
        return kept


def objects_picture(**options: Any) -> gr.HTML:
    """The picture that can be pointed at, with its table. `gr.update(scene=…, look=…)` says what it shows.

    Its value is {"hidden": [id, …]}, the instances that the visitor has put away; `input` says that it
    changed, `cut_out` asks for the file of one instance ("id" in the event's data).
    """
    return _scripted("objects", value={"hidden": []}, scene={}, look={}, **options)


def kind_filter(**options: Any) -> gr.HTML:
    """The class filter. `gr.update(groups=report.kinds(…))` says what it offers.

    Its value is {"unticked": [name, …]}, which it remembers also while none is there to be ticked.
    """
    return _scripted("kinds", value={"unticked": []}, groups=[], **options)


def picture_file(picture: NDArray[np.uint8]) -> str:
    """Path of a JPEG of a picture, (H, W, 3) uint8 RGB, that Gradio serves; the same has the same path."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    path: str = save_bytes_to_cache(file.getvalue(), "picture.jpg", get_upload_folder())
    return path


def _scripted(name: str, **options: Any) -> gr.HTML:
    return gr.HTML(
        html_template=(ASSETS / f"{name}.html").read_text(encoding="utf-8"),
        js_on_load=(ASSETS / f"{name}.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        **options,
    )

"""Components: makes the parts of the page that Gradio does not have.

`ForgivingSlider` changes how Gradio's slider reads its value. The stage and the class filter are `gr.HTML`
components. Each of them has a template, a script and a style sheet in
`assets/`.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from numpy.typing import NDArray
from PIL import Image

from photo.colours import srgb_profile

ASSETS = Path(__file__).resolve().parent.parent / "assets"
STAGE_SCRIPTS = ("objects", "zoom", "stage", "start")
"""The files of the stage's script, in this order. They share one function scope."""
JPEG_QUALITY = 92


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


def stage(examples: Mapping[str, Path], **options: Any) -> gr.HTML:
    """Returns the stage: where a photo is dropped, and where its objects appear and react to the pointer.

    `gr.update(scene=…, look=…)` sets what the stage shows (`ui.overlay`). `gr.update(said=…)` sets what it
    says of the photo that was sent last, as `said` returns it.

    The value is {"hidden": [id, …], "photo": source}. `hidden` holds the instances that the visitor has
    hidden. The event `input` says that it changed. `photo` is an upload, {"url": address}, {"example": name}
    or None. The event `photo` asks to look at it. The event `cut_out` asks for the file of one instance; the
    event's data holds the instance's "id".

    Args:
        examples: Their pictures by name.
    """
    parts = [(ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in STAGE_SCRIPTS]
    return gr.HTML(
        html_template=(ASSETS / "objects.html").read_text(encoding="utf-8"),
        js_on_load="\n".join(parts),
        apply_default_css=False,
        padding=False,
        value={"hidden": [], "photo": None},
        scene={},
        look={},
        said={},
        examples=[{"name": name, "url": f"/gradio_api/file={path}"} for name, path in examples.items()],
        **options,
    )


def said(kind: str, words: str = "") -> dict[str, Any]:
    """Returns what the stage says: kind "error", "stopped" or "waiting". Each answer is another one."""
    return {"kind": kind, "words": words, "number": time.monotonic_ns()}


def kind_filter(**options: Any) -> gr.HTML:
    """Returns the class filter. `gr.update(groups=report.kinds(…))` sets the categories that it offers.

    The value is {"unticked": [name, …]}. The filter remembers a name even while it does not offer the name.
    """
    return gr.HTML(
        html_template=(ASSETS / "kinds.html").read_text(encoding="utf-8"),
        js_on_load=(ASSETS / "kinds.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        value={"unticked": []},
        groups=[],
        **options,
    )


def picture_file(picture: NDArray[np.uint8]) -> str:
    """Writes a picture, (H, W, 3) uint8 RGB, as a JPEG that Gradio serves, and returns the JPEG's path.

    The same picture always gets the same path. The JPEG declares sRGB, which takes 606 bytes.
    """
    file = io.BytesIO()
    Image.fromarray(picture).save(
        file, "JPEG", quality=JPEG_QUALITY, subsampling=0, icc_profile=srgb_profile()
    )
    path: str = save_bytes_to_cache(file.getvalue(), "picture.jpg", get_upload_folder())
    return path

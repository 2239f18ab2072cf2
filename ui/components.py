"""Components: makes the parts of the page that Gradio does not have.

`ForgivingSlider` changes how Gradio's slider reads its value. The stage and the summary are `gr.HTML`
components. Each of them has a template, a script and a style sheet in `assets/`.
"""

from __future__ import annotations

import io
import math
import re
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
from photo.limits import MAX_CLIP_BYTES, MAX_MANY_BYTES, MAX_PHOTOS
from visualize import PARTS

ASSETS = Path(__file__).resolve().parent.parent / "assets"
STAGE_SCRIPTS = (
    *("objects", "labels", "table", "zoom", "edits", "split", "ruler"),
    *("film", "many", "stage", "live", "keys", "start"),
)
"""The files of the stage's script, in this order. They share one function scope."""
EMPTY_STAGE: dict[str, Any] = {
    **{"photo": None, "number": 0, "hidden": [], "edits": [], "show": list(PARTS), "scale": None}
}
"""The value of a stage without a photo."""
JPEG_QUALITY = 92


def as_markdown(text: str) -> str:
    """Returns a plain text for `gr.Markdown`, which shows each of its characters as it is.

    The names of kinds come from the weights, so they may hold anything.
    """
    return re.sub(r"([\\`*_{}\[\]<>#|!~$&])", r"\\\1", text)


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

    The server sets properties with `gr.update`: `scene` and `look` (`ui.overlay`), `said` (`said`), `second`
    (another picture of the same photo, on the right side of a line that can be dragged), `ideas`
    (`ui.correcting`), and `opened` (what the page shows when it opens). For a clip: `clip_scene` and
    `clip_look` (`ui.film`), and `playable`, a copy that every browser plays. For many photos: `gallery` and
    `tally` (`ui.many`).

    The value is {"photo": source, "number": n, "hidden": [id, …], "edits": [edit, …], "show": [part, …]}.
    `photo` is an upload, {"annotated": upload, "annotations": path} (`answer.opened`), {"url": address},
    {"example": name}, {"kept": token}, {"many": token, "photo": n} or None. Each photo that is sent has
    another number. `hidden` holds the instances that the visitor has hidden, `edits` what the
    visitor has changed (`answer.edits`), and `show` the parts that are drawn. `scale` is None, or a line of
    known length in the photo (`answer.scale.scale_of`).

    The event `photo` asks to look at the photo, or at the clip ({"clip": upload}). `unplayable` asks for a
    copy of the clip. `find_many` asks to look at many photos ({"photos": [upload, …]}), and `many_again` at
    some of them again; the event's data says "which". `stop` and `stop_many` give up. `input` says that
    `hidden` or `show` has changed, `corrected` that `edits` has, and `measured` that `scale` has. `prepare`
    says that a correction begins, and `ask` asks what is in a box or at a place (`ui.correcting`). `cut_out`
    asks for the file of one instance; the event's data holds its "id".

    Args:
        examples: Their pictures by name.
    """
    parts = [(ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in STAGE_SCRIPTS]
    return gr.HTML(
        html_template=(ASSETS / "objects.html").read_text(encoding="utf-8"),
        js_on_load="\n".join(parts),
        apply_default_css=False,
        padding=False,
        value=EMPTY_STAGE,
        scene={},
        look={},
        said={},
        ideas={},
        second={},
        opened={},
        clip_scene={},
        clip_look={},
        playable={},
        gallery={},
        tally={},
        most_photos=MAX_PHOTOS,
        most_many_bytes=MAX_MANY_BYTES,
        most_clip_bytes=MAX_CLIP_BYTES,
        examples=[{"name": name, "path": path.as_posix()} for name, path in examples.items()],
        **options,
    )


def said(
    kind: str, words: str = "", number: int | None = None, seconds: float | None = None
) -> dict[str, Any]:
    """Returns what the stage says of a photo. Each answer is another one.

    Args:
        kind: "working", "error" or "stopped".
        number: The photo's number. None means the last photo.
        seconds: How long the step is expected to take.
    """
    told = {"kind": kind, "words": words, "number": number, "seconds": seconds}
    return told | {"moment": time.monotonic_ns()}


def summary_panel(**options: Any) -> gr.HTML:
    """Returns the summary: a chip for each kind, sentences, and a checkbox for each kind.

    `gr.update(told=…)` sets what it shows (`ui.overlay.summary`). The value is {"unticked": [name, …],
    "thresholds": {name: score}}. `thresholds` holds the kinds that have a score threshold of their own. The
    panel remembers a name even while the photo has no object of this kind. The event `input` says that the
    value changed. The event `reset` asks for filters that show something.
    """
    return gr.HTML(
        html_template=(ASSETS / "summary.html").read_text(encoding="utf-8"),
        js_on_load=(ASSETS / "summary.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        padding=False,
        value={"unticked": [], "thresholds": {}},
        told={},
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

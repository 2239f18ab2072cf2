"""Measures what looking closer gains: AP by the size of the objects, on photos that are enlarged.

    python benchmarks/closer.py --images ../shared/data/coco/images --annotations ../shared/data/coco/val.json
    PYTHONPATH=folder python benchmarks/closer.py ... --model-factory module:function

COCO's photos are small, so nearly all of them is seen at its full size in one look. Enlarged photos stand for
larger ones: they need parts. Their objects are blurred, which is harder than a sharp large photo. Sizes are
COCO's: "small" is below 32 x 32 pixels of the enlarged photo, "large" is 96 x 96 or more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

runtime.prepare()

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from inference import load
from network.detail import CLOSER, FULL_DETAIL
from tools.coco_results import KINDS
from tools.evaluate import load_from_factory, measure, read_annotations

SIZES = ("AP", "AP_small", "AP_medium", "AP_large")


def enlarge(images: Path, annotations: Path, times: int, folder: Path, limit: int | None) -> Path:
    """Writes enlarged photos and their annotations into `folder`. Returns the annotations' file."""
    dataset = read_annotations(annotations, limit)
    for image in dataset["images"]:
        with Image.open(images / image["file_name"]) as photo:
            size = image["width"], image["height"] = photo.width * times, photo.height * times
            large = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        large.save(folder / image["file_name"], quality=95)
    for annotation in dataset["annotations"]:
        annotation["bbox"] = [times * number for number in annotation["bbox"]]
        annotation["area"] *= times**2
        annotation["segmentation"] = _enlarged(annotation["segmentation"], times)
    file = folder / "annotations.json"
    file.write_text(json.dumps(dataset))
    return file


def _enlarged(segmentation: Any, times: int) -> Any:
    """Enlarges a mask, which is a list of polygons or in RLE."""
    if isinstance(segmentation, list):
        return [[times * number for number in polygon] for polygon in segmentation]
    if isinstance(segmentation["counts"], list):
        segmentation = rle.frPyObjects(segmentation, *segmentation["size"])
    mask = rle.decode(segmentation).repeat(times, 0).repeat(times, 1)
    packed = rle.encode(np.asfortranarray(mask))
    return packed | {"counts": packed["counts"].decode()}


def main() -> None:
    """Measures full detail and closer. The last line printed is one JSON object."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--times", type=int, default=2, help="how much larger the photos are made")
    parser.add_argument("--limit", type=int, help="measure only the first LIMIT photos")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--model-factory", metavar="MODULE:FUNCTION")
    chosen = parser.parse_args()
    model = load_from_factory(chosen.model_factory) if chosen.model_factory else load(chosen.model)
    found: dict[str, Any] = {"model": model.name, "times": chosen.times}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        annotations = enlarge(chosen.images, chosen.annotations, chosen.times, folder, chosen.limit)
        for detail in (FULL_DETAIL, CLOSER):
            figures = measure(model, folder, annotations, None, folder / f"{detail}.jsonl", detail)
            found[detail] = {kind: {size: figures[kind][size] for size in SIZES} for kind in KINDS}
            found[detail] |= {name: figures[name] for name in ("images", "instances", "seconds_per_image")}
    print(f"{'':16}" + "".join(f"{size:>11}" for size in SIZES))
    for detail in (FULL_DETAIL, CLOSER):
        for kind in KINDS:
            row = "".join(f"{100 * found[detail][kind][size]:11.1f}" for size in SIZES)
            print(f"{detail + ', ' + kind:16}{row}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Draws random scenes of ten COCO categories, with exact instance masks.

The scenes train and test the `scenes` network (`network/architectures.py`). So the project works end to end
without downloaded weights or photographs. Every scene is a pure function of its seed:

    scene = draw_scene(seed=7, held_out=True)

The command writes scenes as PNG files and their instances in COCO's format:

    python training/scenes/draw.py --count 20 --seed 0 --held-out --out build/scenes
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pycocotools import mask as rle
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to run as a script as well

import coco
from network.architectures import SCENES_LABELS
from training.scenes.backdrops import HELD_OUT_BACKDROPS, TRAINING_BACKDROPS, slope
from training.scenes.drawings import draw_object
from training.scenes.paint import Bytes, Floats, chance, pick
from training.scenes.shapes import Patch

CATEGORY_IDS = SCENES_LABELS[1:]
TRAINING_MIX = (
    *CATEGORY_IDS,
    *(coco.BY_NAME[name].id for name in ("umbrella", "kite", "bottle", "bottle", "banana")),
)
"""The training part draws each object's category from this list.

The slender objects are the hardest to learn. So the list holds them more often.
"""
SIZE_RANGE_PX = (16, 250)
"""The smallest and the largest object in px, by the longest side of the box of its visible pixels."""
OBJECT_RANGE = (3, 12)
"""The smallest and the largest number of objects in a scene."""
MIN_VISIBLE = 0.4
"""At least this share of each object's own pixels is visible."""
SCENE_SIZES = ((384, 512), (384, 512), (512, 384), (384, 384), (448, 448), (384, 640))
"""The possible sizes (height, width) of a scene in px. One entry is picked, and all are equally likely."""
EXAMPLE_SEEDS = (1_000_057, 1_000_018, 1_000_053, 1_000_009, 1_000_022, 1_000_033)
"""Seeds of the held-out scenes in `examples/scenes/`. Training and evaluation use seeds below a million."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A drawn picture and its exact instances."""

    image: Bytes
    """The picture, (H, W, 3) RGB."""
    masks: NDArray[np.bool_]
    """The visible pixels of each object, (N, H, W). No two masks overlap."""
    category_ids: NDArray[np.int64]
    """The COCO category id of each object, (N,)."""
    visible: Floats
    """The visible share of each object's own pixels, (N,), `MIN_VISIBLE` to 1."""
    backdrop: str
    """The family of the background: a key of `TRAINING_BACKDROPS` or `HELD_OUT_BACKDROPS`."""


def draw_scene(seed: int, held_out: bool) -> Scene:
    """Draws scene number `seed` of the training part or of the held-out part.

    The two parts have different families of backgrounds. The same arguments always give the same scene.
    """
    rng = np.random.default_rng([seed, int(held_out)])
    backdrops = HELD_OUT_BACKDROPS if held_out else TRAINING_BACKDROPS
    name = pick(rng, sorted(backdrops))
    height, width = pick(rng, SCENE_SIZES)
    image = backdrops[name](rng, height, width).astype(np.float32)
    owner = np.full((height, width), -1, np.int16)  # the topmost object of every pixel
    own_px: list[int] = []
    category_ids: list[int] = []
    wanted = int(rng.integers(OBJECT_RANGE[0], OBJECT_RANGE[1] + 1))
    largest = min(SIZE_RANGE_PX[1], 0.6 * min(height, width))
    attempt = 0
    while len(own_px) < wanted and (attempt < 3 * wanted or len(own_px) < OBJECT_RANGE[0]):
        attempt += 1
        ceiling = largest * 0.9 ** max(0, attempt - wanted // 2)  # a full scene still has room for small ones
        size = int(np.exp(rng.uniform(np.log(SIZE_RANGE_PX[0] + 3), np.log(max(ceiling, 40)))))
        category_id = pick(rng, CATEGORY_IDS if held_out else TRAINING_MIX)
        patch = draw_object(rng, category_id, size)
        corner = _find_place(rng, owner, own_px, patch)
        if corner is not None:
            compose(image, patch, corner, shadow=rng.uniform(0, 0.45))
            window, part = overlap(corner, patch.alpha.shape, owner.shape)
            owner[window][patch.mask[part]] = len(own_px)
            own_px.append(int(patch.mask.sum()))
            category_ids.append(category_id)
    masks: NDArray[np.bool_] = owner[None] == np.arange(len(own_px), dtype=np.int16)[:, None, None]
    visible = masks.sum(axis=(1, 2)) / np.array(own_px)
    return Scene(
        image=_photographed(rng, image),
        masks=masks,
        category_ids=np.array(category_ids, np.int64),
        visible=visible.astype(np.float32),
        backdrop=name,
    )


Window = tuple[slice, slice]


def overlap(
    corner: tuple[int, int], patch: tuple[int, ...], canvas: tuple[int, ...]
) -> tuple[Window, Window]:
    """Returns the area that a patch and the canvas share, as slices of the canvas and as slices of the patch.

    The top left of the patch is at `corner` (row, column) of the canvas.
    """
    (y, x), (h, w), (height, width) = corner, patch[:2], canvas[:2]
    rows, columns = slice(max(y, 0), min(y + h, height)), slice(max(x, 0), min(x + w, width))
    return (rows, columns), (slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x))


def _longest_side(mask: NDArray[np.bool_]) -> int:
    """Returns the longest side of the box around a mask in px, or 0 for an empty mask."""
    sides = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    return max((int(side[-1] - side[0] + 1) for side in sides if len(side)), default=0)


def _find_place(
    rng: Generator, owner: NDArray[np.int16], own_px: Sequence[int], patch: Patch
) -> tuple[int, int] | None:
    """Returns a corner (row, column) for the patch where it and all other objects stay visible enough.

    More than half of the patches must cover a part of another object. The other patches must not cover any
    object. Returns None if no such corner was found.
    """
    mask = patch.mask
    (height, width), (h, w) = owner.shape, mask.shape
    taken = np.argwhere(owner >= 0)
    covering = len(taken) > 0 and chance(rng, 0.58)
    reach = 0.25 if chance(rng, 0.1) else 0.0  # the share of the patch that may lie outside the picture
    for _ in range(12):
        if covering:
            row, column = taken[rng.integers(len(taken))] - (rng.integers(h), rng.integers(w))
            y = int(np.clip(row, -reach * h, height - h + reach * h))
            x = int(np.clip(column, -reach * w, width - w + reach * w))
        else:
            y = int(rng.integers(int(-reach * h), height - h + int(reach * h) + 1))
            x = int(rng.integers(int(-reach * w), width - w + int(reach * w) + 1))
        window, part = overlap((y, x), mask.shape, owner.shape)
        seen = mask[part]
        if seen.sum() < MIN_VISIBLE * mask.sum() or _longest_side(seen) < SIZE_RANGE_PX[0]:
            continue
        under = np.unique(owner[window][seen])
        under = under[under >= 0]
        if bool(len(under)) != covering:
            continue
        after = owner.copy()
        after[window][seen] = -1
        left = [after == index for index in under]
        enough = [
            visible.sum() >= MIN_VISIBLE * own_px[index] and _longest_side(visible) >= SIZE_RANGE_PX[0]
            for index, visible in zip(under, left, strict=True)
        ]
        if all(enough):
            return y, x
    return None


def compose(image: Floats, patch: Patch, corner: tuple[int, int], shadow: float) -> None:
    """Draws a soft shadow (0: none, 1: black) and then the patch into the image."""
    side = max(patch.alpha.shape)
    margin = side // 8 + 2
    blurred = cv2.GaussianBlur(np.pad(patch.alpha, margin), (0, 0), side / 28 + 0.6)
    below = (corner[0] - margin + side // 20 + 1, corner[1] - margin + side // 30)
    window, part = overlap(below, blurred.shape, image.shape)
    image[window] *= 1 - np.float32(shadow) * blurred[part][..., None]
    window, part = overlap(corner, patch.alpha.shape, image.shape)
    image[window] = image[window] * (1 - patch.alpha[part][..., None]) + patch.rgb[part]


def _photographed(rng: Generator, image: Floats) -> Bytes:
    """Adds mild faults of a camera to the image (H, W, 3): uneven light, a colour cast, blur and noise."""
    height, width = image.shape[:2]
    if chance(rng, 0.6):
        image *= (1 + rng.uniform(0, 0.3) * (slope(rng, height, width) - np.float32(0.5)))[..., None]
    image *= rng.uniform(0.88, 1.08) * rng.uniform(0.96, 1.04, 3).astype(np.float32)
    if chance(rng, 0.35):
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.1)), np.float32)
    if chance(rng, 0.5):
        image += rng.standard_normal((height, width, 1), np.float32) * np.float32(rng.uniform(1, 9))
    picture: Bytes = np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8)
    return picture


# --- Files --------------------------------------------------------------------------------------------------


def to_coco(scenes: Iterable[Scene], file_names: Iterable[str]) -> dict[str, Any]:
    """Returns the scenes as one dictionary in COCO's instances format.

    Masks are compressed RLE. All ids start at 1.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (scene, file_name) in enumerate(zip(scenes, file_names, strict=True), start=1):
        height, width = scene.image.shape[:2]
        images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for mask, category_id in zip(scene.masks, scene.category_ids, strict=True):
            encoded = rle.encode(np.asfortranarray(mask, np.uint8))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(category_id),
                    "segmentation": {"size": [height, width], "counts": encoded["counts"].decode("ascii")},
                    "area": float(rle.area(encoded)),
                    "bbox": [float(side) for side in rle.toBbox(encoded)],
                    "iscrowd": 0,
                }
            )
    categories = [coco.BY_ID[category_id].as_json() for category_id in CATEGORY_IDS]
    return {"images": images, "categories": categories, "annotations": annotations}


def write_scene(path: Path, scene: Scene) -> None:
    """Writes the scene's picture as PNG."""
    cv2.imwrite(str(path), np.ascontiguousarray(scene.image[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def write_instances(path: Path, seeds: Sequence[int], held_out: bool, instances: dict[str, Any]) -> None:
    """Writes a COCO dictionary as JSON, with the seeds that draw the same scenes again."""
    info = {"description": "drawn by training/scenes/draw.py", "seeds": list(seeds), "held_out": held_out}
    path.write_text(json.dumps({"info": info, **instances}, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes scenes as PNG files with their COCO instances."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=20, help="number of scenes (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first scene (default: 0)")
    parser.add_argument(
        "--held-out", action="store_true", help="use the backgrounds that training never sees"
    )
    parser.add_argument(
        "--examples", action="store_true", help="write the project's examples, with one JSON file for each"
    )
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    held_out = options.held_out or options.examples
    seeds = EXAMPLE_SEEDS if options.examples else range(options.seed, options.seed + options.count)
    names = [f"scene-{i}.png" for i in range(1, len(seeds) + 1)]
    if not options.examples:
        names = [f"scene-{seed:06d}.png" for seed in seeds]
    scenes = []
    for seed, name in zip(tqdm(seeds, unit="scene"), names, strict=True):
        scene = draw_scene(seed, held_out)
        write_scene(options.out / name, scene)
        if options.examples:
            write_instances(
                (options.out / name).with_suffix(".json"), [seed], held_out, to_coco([scene], [name])
            )
        scenes.append(scene)
    if not options.examples:
        write_instances(options.out / "instances.json", seeds, held_out, to_coco(scenes, names))


if __name__ == "__main__":
    main()

"""Measures a starter network and compares it with the bar, the figures that it must reach to ship.

`tools/evaluate.py` measures the network as the app runs it. The size of the weights file counts as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference import load
from tools.evaluate import measure

BAR = {
    "box AP": (True, 0.10),
    "mask AP": (True, 0.08),
    "megabytes": (False, 20.0),
    "seconds per image": (False, 0.6),
}
"""What a network must reach to ship with the project.

For each figure, True means "at least" and False means "at most". The number is the limit.
"""


def evaluate(weights: Path, images: Path, annotations: Path) -> dict[str, Any]:
    """Measures a starter network on photos with COCO annotations, and compares the figures with `BAR`.

    Args:
        weights: The file of the network's weights.
        images: The folder of the photos.
        annotations: A file of COCO instances.

    Returns:
        The figures of `tools.evaluate.measure`. In addition "megabytes" is the size of the file, and
        "shortfalls" holds a sentence for each figure that does not reach the bar.

    Raises:
        WeightsError: The file holds no weights of this network.
    """
    model = load("starter", weights=weights, device="cpu", precision="float32")
    figures = measure(model, images, annotations)
    megabytes = round(weights.stat().st_size / 1e6, 1)
    ours = {
        "box AP": figures["box"]["AP"],
        "mask AP": figures["mask"]["AP"],
        "megabytes": megabytes,
        "seconds per image": figures["seconds_per_image"],
    }
    shortfalls = [
        f"{name}: {ours[name]}, expected {'at least' if least else 'at most'} {limit}"
        for name, (least, limit) in BAR.items()
        if (ours[name] < limit if least else ours[name] > limit)
    ]
    return figures | {"megabytes": megabytes, "shortfalls": shortfalls}

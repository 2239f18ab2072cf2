"""Own weights: makes the model repository of a network that somebody fine-tuned, for the Hugging Face Hub."""

from __future__ import annotations

import hashlib
from pathlib import Path

from network import labels
from network.architectures import ARCHITECTURES, Architecture
from network.weights import RANGES_KEY, REPO_VARIABLE, Weights, WeightsError, find_weights, layout_of_file

CARD = """\
---
library_name: torchvision
pipeline_tag: image-segmentation
tags:
- mask-r-cnn
- instance-segmentation
- object-detection
- torchvision
---

# {title} with kinds of object of its own

This is a Mask R-CNN in the layout `{layout}`, trained by the owner of this repository. It finds the objects
in a photo and gives each object a category, a score, a box and a mask. The file holds no pickle, so loading
the file runs no code.

| file | SHA-256 |
| --- | --- |
| `{file}` | `{sha256}` |

## Kinds of object

Label 0 is the background. The other labels, from 1 to {kinds}:

````text
{names}
````

## Use it

{loading}With the demo "See every object in a photo":

```sh
{variable}={where} python app.py
```

## What is not known

The tool that made this page has measured nothing. How accurate the model is, on which photos it was trained
and under which licence it may be used is for its owner to say.
"""
WITH_TORCHVISION = """\
With torchvision:

```python
{code}model.eval()  # takes a list of photos, (3, H, W) float32 in 0 to 1
```

"""


def load_own(file: Path, names: Path | None = None) -> tuple[Architecture, Weights]:
    """Returns the network whose layout a file has, and its weights with the names of their labels.

    Args:
        names: A text file with one name in each line. By default the names come from the weights' metadata
            or from `labels.txt` beside them, if there are any.

    Raises:
        WeightsError: The weights or the names cannot be used.
    """
    architecture = ARCHITECTURES[layout_of_file(file)]
    weights = find_weights(architecture, file, named=names is None)
    if names is None:
        return architecture, weights
    try:
        found = labels.checked(labels.read_labels(names), weights.classes, names.name)
    except labels.LabelsError as error:
        raise WeightsError(str(error)) from error
    return architecture, weights.with_labels(found)


def own_metadata(weights: Weights, ranges: str | None = None) -> dict[str, str]:
    """Returns the metadata for the weights' file: the names, and the ranges for int8 if there are any."""
    metadata = {"format": "pt", "source_sha256": weights.sha256}
    if weights.labels is not None:
        metadata[labels.KEY] = labels.as_json(weights.labels)
    if ranges is not None:
        metadata[RANGES_KEY] = ranges
    return metadata


def own_card(repo: str, architecture: Architecture, weights: Weights, content: bytes, code: str) -> str:
    """Returns the model repository's README.md.

    Args:
        content: The file with the weights, as it is published.
        code: Python that loads it with torchvision, or "" if torchvision does not know the layout.
    """
    names = weights.labels or tuple(f"class {label}" for label in range(1, weights.classes))
    return CARD.format(
        title=architecture.title.partition(" (")[0],
        layout=architecture.name,
        file=file_name(architecture),
        sha256=hashlib.sha256(content).hexdigest(),
        kinds=len(names),
        names="\n".join(names),
        loading=WITH_TORCHVISION.format(code=code) if code else "",
        variable=REPO_VARIABLE,
        where=named_in(repo, architecture),
    )


def file_name(architecture: Architecture) -> str:
    """Returns the name of the file that `network/weights.py` looks for in a repository."""
    return f"maskrcnn_{architecture.name}.safetensors"


def named_in(repo: str, architecture: Architecture) -> str:
    """Returns how `SEGMENTATION_WEIGHTS_REPO` names the weights, so that "auto" is this network."""
    first = next(iter(ARCHITECTURES.values()))
    return repo if architecture.name == first.name else f"{repo}:{file_name(architecture)}"

"""Publishes torchvision's trained weights, or your own, on the Hugging Face Hub as .safetensors.

    python tools/publish_weights.py owner/name --dry-run
    python tools/publish_weights.py owner/name --network resnet50_fpn_v2 --file maskrcnn_resnet50_fpn_v2.pth
    python tools/publish_weights.py my.pth owner/name --labels labels.txt

The tool fetches torchvision's file as the app does, or reads a copy of the file (`--file`). The uploaded file
holds the same numbers. The file is the same, byte for byte, each time. With `--calibrate PHOTOS`, the file's
metadata also holds the ranges that the app needs to run the network in int8, measured on the photos of that
folder. Without them, each app measures them on its example photos. The tool also uploads a model card.
With a file of your own (torchvision's V1 or V2 with 2 to 201 classes), the layout is recognised, and the
metadata holds the names of its kinds of object: from `--labels`, or from `labels.txt` beside the file.

The card describes one network, so give each network its own repository. The app loads the weights with
SEGMENTATION_WEIGHTS_REPO=owner/name. A Space loads them with `tools/deploy.py --weights-repo owner/name`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd
from safetensors.torch import save

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # to run as a script as well

from inference import built, calibration_pictures
from network.architectures import ARCHITECTURES, TRAINED_EPSILON, Architecture
from network.calibration import CalibrationError, as_json, calibrate, digest_of
from network.weights import (
    FILE_VARIABLE,
    RANGES_KEY,
    REPO_VARIABLE,
    StateDict,
    Weights,
    WeightsError,
    find_weights,
    published_digits,
)
from tools.hub import ADDRESS, Client, HubError, plainly, repo_id, sign_in
from tools.own_weights import file_name, load_own, named_in, own_card, own_metadata

LICENCE = "BSD-3-Clause, as torchvision; trained on COCO (annotations CC BY 4.0, photos with their own terms)"
OFFICIAL = "Torchvision's weights as safetensors"
"""The message of the commit."""
LOADING = {
    "resnet50_fpn": """\
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

model = MaskRCNN(resnet_fpn_backbone(backbone_name="resnet50", weights=None), num_classes={classes})
for module in model.modules():
    if isinstance(module, FrozenBatchNorm2d):
        module.eps = {epsilon}  # the value used when these weights were made
model.load_state_dict(load_file(hf_hub_download("{repo}", "{file}")))
""",
    "resnet50_fpn_v2": """\
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2

model = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes={classes})
model.load_state_dict(load_file(hf_hub_download("{repo}", "{file}")))
""",
}
"""Python code that loads the new file with torchvision, by the network's name.

The code for `resnet50_fpn` does not call `maskrcnn_resnet50_fpn`: without weights, that function builds other
batch norms than the trained network has.
"""
CARD = """\
---
license: bsd-3-clause
library_name: torchvision
pipeline_tag: image-segmentation
tags:
- mask-r-cnn
- instance-segmentation
- object-detection
- torchvision
- coco
---

# {title}: torchvision's weights as safetensors

These are the trained weights that torchvision publishes as `{source}`. The numbers are the same. Their names
are the names that torchvision's layers have today. The file holds no pickle, so loading the file runs no
code. Mask R-CNN finds the objects in a photo and gives each object a category, a score, a box and a mask.
This model knows the 80 categories of COCO.

| | SHA-256 |
| --- | --- |
| `{file}` (this repository) | `{sha256}` |
| `{source}` ([torchvision]({url})) | `{source_sha256}` |

## Use it

With torchvision:

```python
{loading}model.eval()  # takes a list of photos, (3, H, W) float32 in 0 to 1
```

With the demo "See every object in a photo":

```sh
{variable}={repo} python app.py
```

## Accuracy

Torchvision publishes these figures for COCO val2017: box AP {box_ap}, mask AP {mask_ap}. They were not
measured again.

## Intended use, and what it is not for

The model is for demos, for teaching, and for sorting and counting everyday objects in photos if somebody
looks at the result. It is not for finding out who somebody is, and not for watching people. Do not use it
where safety depends on the result (traffic, medicine, weapons, machines).

Known failings:

- The model knows 80 kinds of object. It misses every other object, or takes it for one of the 80 kinds.
- COCO's photos were collected on Flickr, and show mostly Western homes, streets and food. The model may find
  the same objects less often where they look different.
- Nearly a third of the objects in COCO are persons. Many other kinds are rare. Accuracy differs between
  kinds. The model may find people less often if people like them are rare in such photos. This was not
  measured here.
- The model often misses or joins small objects, objects in crowds, and objects that cover each other.
- The model is over-confident. A score of 0.9 does not mean that nine of ten such detections are right, least
  of all in photos unlike COCO's.
- The model was not trained on drawings, on satellite or medical pictures, or on photos taken at night.

## Licence

Torchvision's licence is BSD-3-Clause, and this repository keeps it. The weights were trained on
[COCO](https://cocodataset.org/#termsofuse). COCO's annotations are under CC BY 4.0. COCO's photos have their
own terms: each photographer chose the terms on Flickr. Please judge yourself whether they allow your use.
"""


def unset_variables_and_load(architecture: Architecture, file: Path | None = None) -> Weights:
    """Unsets the environment variables that name other weights, then returns torchvision's weights.

    SEGMENTATION_WEIGHTS and SEGMENTATION_WEIGHTS_REPO stay unset in this process, because `find_weights`
    would prefer their weights to torchvision's.

    Args:
        file: A copy of torchvision's file. By default the file is fetched.

    Raises:
        WeightsError: The weights cannot be read or fetched, or the file is not the one that torchvision
            publishes.
    """
    for variable in (FILE_VARIABLE, REPO_VARIABLE):
        os.environ.pop(variable, None)
    weights = find_weights(architecture, file)
    source = _source(architecture)
    digits = published_digits(source)
    if not weights.sha256.startswith(digits):
        raise WeightsError(
            f"The {weights.origin} is not the one that torchvision publishes as {source}: "
            f"its SHA-256 begins with {weights.sha256[: len(digits)]}."
        )
    return weights


def to_safetensors(state_dict: StateDict, metadata: Mapping[str, str]) -> bytes:
    """Returns the tensors as a .safetensors file. The same tensors and metadata give the same bytes.

    The safetensors library writes metadata in an order that changes from run to run. So this function inserts
    the metadata itself, sorted by name. The file begins with the length of its JSON header (8 bytes,
    little-endian). Spaces pad the header to a multiple of 8 bytes.
    """
    body: bytes = save({name: tensor.contiguous() for name, tensor in state_dict.items()})
    length = int.from_bytes(body[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(body[8 : 8 + length])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body[8 + length :]


def ranges_on(folder: Path, architecture: Architecture, weights: Weights) -> str:
    """Returns the ranges for int8, measured on the photos of `folder`, as the weights' metadata holds them.

    Raises:
        CalibrationError: The folder holds no photo, or the network finds nothing in its photos.
    """
    ranges = calibrate(built(architecture, weights), calibration_pictures(folder))
    return as_json(ranges, digest_of(weights.state_dict))


def repository(
    repo: str, architecture: Architecture, weights: Weights, ranges: str | None = None
) -> dict[str, bytes]:
    """Returns the files of the model repository by name: the weights and the model card.

    Args:
        ranges: As `ranges_on` gives them, for the weights' metadata.
    """
    metadata = {
        "format": "pt",
        "licence": LICENCE,
        "source": _source(architecture),
        "source_sha256": weights.sha256,
    }
    if ranges is not None:
        metadata[RANGES_KEY] = ranges
    content = to_safetensors(weights.state_dict, metadata)
    card = model_card(repo, architecture, weights.sha256, hashlib.sha256(content).hexdigest())
    return {file_name(architecture): content, "README.md": card.encode()}


def model_card(repo: str, architecture: Architecture, source_sha256: str, sha256: str) -> str:
    """Returns the model repository's README.md. At its top are the settings that the Hub reads."""
    assert architecture.published is not None
    accuracy = architecture.published.meta["_metrics"]["COCO-val2017"]
    loading = loading_code(repo, architecture, len(architecture.label_ids))
    return CARD.format(
        title=architecture.title.partition(" (")[0],
        file=file_name(architecture),
        sha256=sha256,
        source=_source(architecture),
        source_sha256=source_sha256,
        url=architecture.published.url,
        loading=loading,
        variable=REPO_VARIABLE,
        repo=repo,
        box_ap=accuracy["box_map"],
        mask_ap=accuracy["mask_map"],
    )


def own_repository(
    repo: str, architecture: Architecture, weights: Weights, ranges: str | None = None
) -> dict[str, bytes]:
    """As `repository`, for weights of the owner (`tools.own_weights.load_own`)."""
    content = to_safetensors(weights.state_dict, own_metadata(weights, ranges))
    code = loading_code(repo, architecture, weights.classes, weights.has_trained_norms)
    card = own_card(repo, architecture, weights, content, code)
    return {file_name(architecture): content, "README.md": card.encode()}


def loading_code(repo: str, architecture: Architecture, classes: int, has_trained_norms: bool = False) -> str:
    """Returns Python that loads the published file with torchvision, or "" for a network of ours."""
    code = LOADING.get(architecture.name, "")
    epsilon = TRAINED_EPSILON if has_trained_norms else 0.0
    return code.format(repo=repo, file=file_name(architecture), classes=classes, epsilon=epsilon)


def publish(
    client: Client, repo: str, files: Mapping[str, bytes], private: bool = False, message: str = OFFICIAL
) -> None:
    """Sends `files` to the model repository in one commit. Creates the repository if it does not exist.

    Raises:
        HubError: The Hub cannot be reached or refuses.
    """
    with plainly(f"The repository {repo} could not be created"):
        client.create_repo(repo, private=private or None, exist_ok=True)
    if private:
        with plainly(f"{repo} could not be made private"):
            client.update_repo_settings(repo, private=True)
    with plainly(f"The files could not be sent to {repo}"):
        additions = [CommitOperationAdd(name, content) for name, content in files.items()]
        client.create_commit(repo, additions, commit_message=message)


def _source(architecture: Architecture) -> str:
    assert architecture.published is not None
    return str(architecture.published.url).rpartition("/")[2]


def main(arguments: Sequence[str] | None = None) -> None:
    names = [name for name, architecture in ARCHITECTURES.items() if architecture.published]
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [my.pth] owner/name [options]",
    )
    parser.add_argument(
        "what", nargs="+", metavar="my.pth owner/name", help="your own file, if any; the repository's name"
    )
    parser.add_argument(
        "--labels", type=Path, help="a text file with the name of each kind of object of your own file"
    )
    parser.add_argument("--file", type=Path, help="a copy of torchvision's file, if you have one")
    parser.add_argument(
        "--network", choices=names, default=names[0], help=f"the network to publish (default: {names[0]})"
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="PHOTOS",
        help="a folder of photos to find the ranges for int8 on",
    )
    parser.add_argument(
        "--private", action="store_true", help="hide the repository from everybody but its owner"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be sent, without asking the Hub"
    )
    chosen = parser.parse_args(arguments)
    *own, repo = chosen.what
    if len(own) > 1:
        parser.error(f"expected at most one file and the repository's name, got {len(chosen.what)} names.")
    if chosen.labels and not own:
        parser.error("--labels needs your own file: my.pth owner/name --labels labels.txt.")
    if own and chosen.file:
        parser.error("--file is a copy of torchvision's file; it does not go together with your own file.")
    try:
        repo = repo_id(repo)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    try:
        client = None if chosen.dry_run else sign_in()
        if own:
            architecture, weights = load_own(Path(own[0]), chosen.labels)
            make, message = own_repository, f"{weights.classes - 1} kinds of object"
        else:
            architecture = ARCHITECTURES[chosen.network]
            weights = unset_variables_and_load(architecture, chosen.file)
            make, message = repository, OFFICIAL
        ranges = ranges_on(chosen.calibrate, architecture, weights) if chosen.calibrate else None
        files = make(repo, architecture, weights, ranges)
        if own and weights.labels is None:
            print(f"No names: the app will say class 1 to class {weights.classes - 1}. --labels names them.")
        for name, content in files.items():
            print(f"{len(content):>12,}  {name}  SHA-256 {hashlib.sha256(content).hexdigest()}")
        if client is None:
            print(files["README.md"].decode(), "Nothing was sent (--dry-run).", sep="\n")
            return
        print(f"Sending them to {repo} …")
        publish(client, repo, files, chosen.private, message)
    except (CalibrationError, HubError, WeightsError) as error:
        raise SystemExit(str(error)) from error
    print(f"{ADDRESS}/{repo}")
    where = named_in(repo, architecture) if own else repo
    print(f"For the app here: {REPO_VARIABLE}={where} python app.py")
    print(f"For a Space: python tools/deploy.py owner/name --weights-repo {repo}")


if __name__ == "__main__":
    main()

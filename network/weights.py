"""Weights: which file a network's trained weights are in, where it comes from, and what it holds.

In this order: a file that the caller names, the file or Hugging Face Hub repository that the environment
names (`SEGMENTATION_WEIGHTS`, `SEGMENTATION_WEIGHTS_REPO`), torchvision's own address. A network whose
weights ship with the project needs none of them.

Every file is hashed each time it is loaded, and must be the one that was meant wherever we can know which
that is: not so for a file that the caller or the environment names, whose hash is only reported.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import pickle  # nosec B403
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

from network.architectures import ARCHITECTURES, Architecture
from network.download import DownloadError, download

FILE_VARIABLE = "SEGMENTATION_WEIGHTS"
REPO_VARIABLE = "SEGMENTATION_WEIGHTS_REPO"
RANGES_KEY = "int8_ranges"
"""Under which a `.safetensors` file's metadata may hold ranges for 8-bit layers."""
BUNDLED = Path(__file__).resolve().parent.parent / "assets"
BUNDLED_SHA256 = {
    "starter": "d56bc7b1a4d48ca3aa3d52bf8c24409b0f7bcd1a6cf37a39d87f4194979d65a5",
    "scenes": "29104e27bfb28d8563506d88d273e8d81a94eca57852eb4566a8f98cd1b3145e",
}
"""By name of the network; `tools/train_*.py` make other files, whose hashes then belong here."""

StateDict: TypeAlias = dict[str, Tensor]
logger = logging.getLogger(__name__)


class WeightsError(RuntimeError):
    """No usable weights; the message says what was tried, why it failed, and what would work."""


class _DamagedError(WeightsError):
    """The file is missing, or is not the one that was meant: another copy may do."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Trained weights, read and checked.

    Args:
        state_dict: In torchvision's layout, float32 on the CPU.
        origin: Where the file came from, for people ("torchvision maskrcnn_….pth", "file x.pth").
        sha256: Of the file, 64 hexadecimal digits.
        ranges: The ranges for 8-bit layers that the file's metadata holds (`network.calibration`), not
            checked; None if it holds none.
    """

    state_dict: StateDict
    origin: str
    sha256: str
    ranges: str | None = None


def find_weights(architecture: Architecture, file: str | os.PathLike[str] | None = None) -> Weights:
    """The weights of `architecture`: from `file` if given, else from the first source that has them.

    A file that the environment names may hold the weights of another of our networks; then it is passed
    over here, and serves when that network is asked for.

    Raises:
        WeightsError: None could be had, or a file that was named is missing, damaged or of no known layout.
    """
    if file is not None:
        return _read_for(architecture, Path(file), f"file {Path(file).name}")
    if architecture.published is None:
        return _bundled(architecture)
    if (configured := _configured(architecture)) is not None:
        return configured
    reasons: list[str] = []
    repo = os.environ.get(REPO_VARIABLE)
    if repo:
        try:
            weights = _from_hub(repo, architecture)
            if layout_of(weights.state_dict) == architecture.name:
                return weights
        except WeightsError as error:
            logger.warning("%s", error)
            reasons.append(str(error))
    try:
        return _published(architecture.published.url)
    except WeightsError as error:
        raise WeightsError(" ".join([*reasons, str(error)])) from error


def configured_name() -> str | None:
    """The name of the network whose weights are in `SEGMENTATION_WEIGHTS`; None where it is not set.

    Raises:
        WeightsError: The file is missing, damaged or of no known layout.
    """
    file = os.environ.get(FILE_VARIABLE)
    return layout_of_file(file) if file else None


def layout_of_file(file: str | os.PathLike[str]) -> str:
    """The name of the network whose weights are in `file`; raises as `layout_of` and for a bad file.

    Only names and shapes are read where the format allows that, so this costs next to nothing.
    """
    path = Path(file)
    _must_exist(path)
    return layout_of(_tensors(path, path.suffix, f"file {path.name}"))


def layout_of(state_dict: StateDict) -> str:
    """The name of the network that `state_dict` fits.

    Raises:
        WeightsError: It fits none.
    """
    shapes = _shapes(state_dict)
    for architecture in ARCHITECTURES.values():
        if shapes == _expected_shapes(architecture):
            return architecture.name
    raise WeightsError(
        f"The file holds {len(shapes)} tensors that fit none of our networks. "
        f"Expected torchvision's state dict of one of: {', '.join(ARCHITECTURES)}."
    )


def published_digits(url: str) -> str:
    """The first digits of the SHA-256 of a file that torchvision publishes, in which its name ends."""
    digits = re.search(r"-([0-9a-f]{8,64})\.pth$", url)
    if digits is None:
        raise ValueError(f"expected a name that ends in digits of the file's SHA-256, got {url}")
    return digits[1]


def _bundled(architecture: Architecture) -> Weights:
    path = BUNDLED / f"{architecture.name}.safetensors"
    try:
        return _read(path, f"{path.name}, shipped with the project", BUNDLED_SHA256[architecture.name])
    except _DamagedError as error:
        raise WeightsError(
            f"{path.name}, which ships with the project, is missing or damaged; install the project again."
        ) from error


def _read_for(architecture: Architecture, path: Path, origin: str) -> Weights:
    """Reads a file that must hold the weights of this network."""
    weights = _read(path, origin)
    shapes, expected = _shapes(weights.state_dict), _expected_shapes(architecture)
    if shapes == expected:
        return weights
    differing = sorted(key for key in shapes.keys() | expected.keys() if shapes.get(key) != expected.get(key))
    key = differing[0]
    raise WeightsError(
        f"The {weights.origin} does not hold the weights of {architecture.name}: {len(differing)} tensors "
        f"differ, first {key} (expected {expected.get(key, 'none')}, found {shapes.get(key, 'none')}). "
        f"Expected torchvision's state dict of {architecture.name}."
    )


def _shapes(state_dict: StateDict) -> dict[str, tuple[int, ...]]:
    # The step counters of batch norms serve training only; published files have or lack them.
    return {
        key: tuple(value.shape)
        for key, value in state_dict.items()
        if not key.endswith("num_batches_tracked")
    }


def _expected_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    return _shapes_of(architecture.build)


@functools.cache
def _shapes_of(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return _shapes(build().state_dict())


def _configured(architecture: Architecture) -> Weights | None:
    """The weights in the file that the environment names, if they belong to this network.

    The names and shapes of the tensors tell whose weights they are. So a file for another network is neither
    read whole nor hashed.
    """
    file = os.environ.get(FILE_VARIABLE)
    if not file or layout_of_file(file) != architecture.name:
        return None
    return _read(Path(file), f"file {Path(file).name}")


def _from_hub(repo: str, architecture: Architecture) -> Weights:
    """The file of a repository written `owner/name[@revision][:filename]`; the local cache comes first."""
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([^:]+))?(?::(.+))?", repo)
    if match is None:
        raise WeightsError(f"{REPO_VARIABLE} is {repo!r}; expected owner/name[@revision][:filename].")
    repo_id, revision, filename = match.groups()
    filename = filename or f"maskrcnn_{architecture.name}.safetensors"
    origin = f"Hugging Face Hub {repo}"
    try:
        try:
            path = Path(hf_hub_download(repo_id, filename, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            path = Path(hf_hub_download(repo_id, filename, revision=revision))
        try:
            return _read(path, origin, _blob_sha256(path))
        except _DamagedError:
            logger.warning("%s of the Hub's cache was damaged; fetching it again", filename)
            path = Path(hf_hub_download(repo_id, filename, revision=revision, force_download=True))
            return _read(path, origin, _blob_sha256(path))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WeightsError(f"{filename} could not be fetched from the Hub repository {repo_id}.") from error


def _blob_sha256(path: Path) -> str:
    """What the Hub's cache says that a file's hash is; empty where it does not say.

    The cache links a file to a blob, and names that by the SHA-256 of what is in LFS (by git's shorter hash
    otherwise). One step only: the blob may itself be a link to a store that is named by another hash.
    """
    blob = path.readlink().name if path.is_symlink() else ""
    return blob if re.fullmatch("[0-9a-f]{64}", blob) else ""


def _published(url: str) -> Weights:
    """Torchvision's file: from the folder where torchvision itself keeps it, else from its address."""
    name = url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    origin = f"torchvision {name}"
    digits = published_digits(url)
    try:
        return _read(path, origin, digits)
    except _DamagedError:
        try:
            download(url, path, digits)
        except DownloadError as error:
            raise WeightsError(str(error)) from error
    return _read(path, origin, digits)


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise _DamagedError(f"There is no weights file {path.name} where it was named.")


def _read(path: Path, origin: str, sha256: str = "") -> Weights:
    """Reads a file whose hash begins with `sha256`. It is opened once: what is hashed is what is loaded."""
    _must_exist(path)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if not found.startswith(sha256):
                raise _DamagedError(
                    f"The {origin} is damaged (SHA-256 {found}, not {sha256}); try again later."
                )
            file.seek(0)
            tensors = _tensors(file, path.suffix, origin)
            ranges = _metadata(file).get(RANGES_KEY) if path.suffix == ".safetensors" else None
    except OSError as error:
        raise _DamagedError(f"The {origin} cannot be read ({error.strerror}).") from error
    state_dict = {
        key: value.float() if value.is_floating_point() else value for key, value in tensors.items()
    }
    return Weights(state_dict, origin, found, ranges)


def _metadata(file: BinaryIO) -> dict[str, str]:
    """Returns the metadata of a `.safetensors` file that could be loaded."""
    file.seek(0)
    header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata: dict[str, str] = header.get("__metadata__", {})
    return metadata


def _tensors(source: Path | BinaryIO, suffix: str, origin: str) -> StateDict:
    """What a `.safetensors` file holds, or a `.pth` file without running what a pickle may hold.

    A path is mapped where its format allows: no more of the file is read than is looked at.
    """
    try:
        if suffix == ".safetensors":
            loaded = load_file(source) if isinstance(source, Path) else load(source.read())
        else:
            mapped = isinstance(source, Path) and zipfile.is_zipfile(source)  # as since PyTorch 1.6
            loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
    ) as error:
        raise WeightsError(f"The {origin} is not a readable .pth or .safetensors file.") from error
    if not (isinstance(loaded, dict) and loaded and all(isinstance(v, Tensor) for v in loaded.values())):
        raise WeightsError(f"The {origin} does not hold a state dict (names of tensors to tensors).")
    return {_todays_name(str(key)): value for key, value in loaded.items()}


def _todays_name(key: str) -> str:
    """The name that torchvision gives a tensor today; its own COCO_V1 file, of 2019, has some older ones.

    `FeaturePyramidNetwork`, `RPNHead` and `MaskRCNNHeads` there rename them when they are loaded (in
    `_load_from_state_dict`), but names are compared here before.
    """
    key = re.sub(r"(\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", key)
    key = re.sub(r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", key)
    return re.sub(r"\.mask_fcn(\d+)\.(weight|bias)$", lambda found: f".{int(found[1]) - 1}.0.{found[2]}", key)

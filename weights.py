"""Weights: which file a network's trained weights are in, where it comes from, and what it holds.

In this order: a file that the caller names, the file or Hugging Face Hub repository that the environment
names (`SEGMENTATION_WEIGHTS`, `SEGMENTATION_WEIGHTS_REPO`), torchvision's own address. A network whose
weights ship with the project needs none of them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from networks import ARCHITECTURES, Architecture

FILE_VARIABLE = "SEGMENTATION_WEIGHTS"
REPO_VARIABLE = "SEGMENTATION_WEIGHTS_REPO"
BUNDLED = Path(__file__).resolve().parent / "assets"
TIMEOUT_SECONDS = 20.0
CHUNK_BYTES = 1 << 20

StateDict: TypeAlias = dict[str, Tensor]
logger = logging.getLogger(__name__)


class WeightsError(RuntimeError):
    """No usable weights; the message says what was tried, why it failed, and what would work."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Trained weights, read and checked.

    Args:
        state_dict: In torchvision's layout, float32 on the CPU.
        origin: Where the file came from, for people ("torchvision maskrcnn_….pth", "file x.pth").
        sha256: Of the file, 64 hexadecimal digits.
    """

    state_dict: StateDict
    origin: str
    sha256: str


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
        bundled = BUNDLED / f"{architecture.name}.safetensors"
        return _read_for(architecture, bundled, f"{bundled.name}, shipped with the project")
    reasons: list[str] = []
    for weights in _configured(architecture, reasons):
        if layout_of(weights.state_dict) == architecture.name:
            return weights
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
    """The name of the network whose weights are in `file`; raises as `layout_of` and for a bad file."""
    return layout_of(_read(Path(file), f"file {Path(file).name}").state_dict)


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
    with torch.device("meta"):
        return _shapes(architecture.build().state_dict())


def _configured(architecture: Architecture, reasons: list[str]) -> Iterator[Weights]:
    """What the environment names. A named file must do; a repository that fails adds to `reasons`."""
    file = os.environ.get(FILE_VARIABLE)
    if file:
        yield _read(Path(file), f"file {Path(file).name}")
    repo = os.environ.get(REPO_VARIABLE)
    if repo:
        try:
            path, origin = _from_hub(repo, architecture)
            yield _read(path, origin)
        except WeightsError as error:
            logger.warning("%s", error)
            reasons.append(str(error))


def _from_hub(repo: str, architecture: Architecture) -> tuple[Path, str]:
    """The file of a repository written `owner/name[@revision][:filename]`; the local cache comes first."""
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([^:]+))?(?::(.+))?", repo)
    if match is None:
        raise WeightsError(f"{REPO_VARIABLE} is {repo!r}; expected owner/name[@revision][:filename].")
    repo_id, revision, filename = match.groups()
    filename = filename or f"maskrcnn_{architecture.name}.safetensors"
    try:
        try:
            path = hf_hub_download(repo_id, filename, revision=revision, local_files_only=True)
        except LocalEntryNotFoundError:
            path = hf_hub_download(repo_id, filename, revision=revision)
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WeightsError(f"{filename} could not be fetched from the Hub repository {repo_id}.") from error
    return Path(path), f"Hugging Face Hub {repo}"


def _published(url: str) -> Weights:
    """Torchvision's file: from the folder where torchvision itself keeps it, else from its address."""
    name = url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    origin = f"torchvision {name}"
    if path.exists() and not _fits_name(path):
        path.replace(path.with_suffix(".bad"))
        logger.warning("%s was damaged and has been set aside; fetching it again", name)
    if not path.exists():
        _download(url, path)
    return _read(path, origin)


def _download(url: str, path: Path) -> None:
    """Fetches `url` to `path`, which appears only once it is complete and its hash is right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / path.name
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, partial.open("wb") as file:
                total = int(response.headers.get("Content-Length", 0)) or None
                with tqdm(total=total, unit="B", unit_scale=True, desc=path.name) as bar:
                    while chunk := response.read(CHUNK_BYTES):
                        file.write(chunk)
                        bar.update(len(chunk))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:  # urllib's errors and time-outs are OSErrors too
            host = urllib.parse.urlsplit(url).hostname
            raise WeightsError(f"{path.name} could not be fetched from {host}: {_reason(error)}.") from error
        if not _fits_name(partial):
            raise WeightsError(f"{path.name} arrived damaged: its hash is not the one in its name.")
        partial.replace(path)


def _reason(error: OSError) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code}"
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, (urllib.error.URLError, ConnectionError)):
        return "no connection"
    return error.strerror or type(error).__name__


def _fits_name(path: Path) -> bool:
    """Torchvision's names end in the first digits of the file's SHA-256: `…-bf2d0c1e.pth`."""
    digits = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
    return digits is not None and _sha256(path).startswith(digits[1])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, origin: str) -> Weights:
    """Reads a `.safetensors` file, or a `.pth` file without running what a pickle may hold."""
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path.name} where it was named.")
    try:
        if path.suffix == ".safetensors":
            loaded = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
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
    state_dict = {key: value.float() if value.is_floating_point() else value for key, value in loaded.items()}
    return Weights(state_dict, origin, _sha256(path))

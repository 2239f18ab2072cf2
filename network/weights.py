"""Weights: which file a network's trained weights are in, where it comes from, and what it holds.

In this order: a file that the caller names, the file or Hugging Face Hub repository that the environment
names (`SEGMENTATION_WEIGHTS`, `SEGMENTATION_WEIGHTS_REPO`), torchvision's own address. A network whose
weights ship with the project needs none of them.

Every file is hashed each time it is loaded, and must be the one that was meant wherever we can know which
that is: not so for a file that the caller or the environment names, whose hash is only reported.

A file may know other kinds of object than ours. The shapes of its last layers tell how many, and
`network.labels` reads their names.
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeAlias

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

from network import labels
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

LAST_LAYERS = tuple(
    f"roi_heads.{name}.weight"
    for name in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits")
)
"""The tensors whose number of rows depends on the number of classes: once, four times, once."""
INSTEAD = (
    "The owner's weights could not be had from the Hugging Face Hub, so torchvision's COCO weights answer."
)

StateDict: TypeAlias = dict[str, Tensor]
logger = logging.getLogger(__name__)


class WeightsError(RuntimeError):
    """No usable weights; the message says what was tried, why it failed, and what would work."""


class _NotThereError(WeightsError):
    """The repository has no file for this network: its owner did not mean this one."""


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
        labels: The names of the labels from 1, checked by `network.labels`; None where there are none.
        note: Why these are not the weights that the owner named, for visitors; None if they are.
    """

    state_dict: StateDict
    origin: str
    sha256: str
    ranges: str | None = None
    labels: tuple[str, ...] | None = None
    note: str | None = None

    @property
    def classes(self) -> int:
        """The number of classes that the network tells apart, with the background."""
        return classes_of(_shapes(self.state_dict))

    def with_labels(self, labels: tuple[str, ...]) -> Weights:
        """Returns these weights with other names, which `network.labels` has checked."""
        return replace(self, labels=labels)

    @property
    def has_trained_norms(self) -> bool:
        """Whether the backbone's batch norms counted their steps. Frozen ones, as in V1, do not."""
        return any(re.match(r"backbone\.body\..*num_batches_tracked$", key) for key in self.state_dict)


def find_weights(
    architecture: Architecture, file: str | os.PathLike[str] | None = None, *, named: bool = True
) -> Weights:
    """The weights of `architecture`: from `file` if given, else from the first source that has them.

    A file that the environment names may hold the weights of another of our networks; then it is passed
    over here, and serves when that network is asked for.

    Args:
        named: Whether the labels of `file` may be in a file beside it.

    Raises:
        WeightsError: None could be had, or a file that was named is missing, damaged or of no known layout.
    """
    if file is not None:
        return _read_for(architecture, Path(file), f"file {Path(file).name}", named)
    if (configured := _configured(architecture)) is not None:
        return configured
    repo = os.environ.get(REPO_VARIABLE)
    if architecture.published is None:
        if repo and named_file(repo) and _hub_layout(repo) == architecture.name:
            return _from_hub(repo, architecture)
        return _bundled(architecture)
    reasons: list[str] = []
    note: str | None = None
    if repo:
        try:
            weights = _from_hub(repo, architecture)
            if layout_of(weights.state_dict) == architecture.name:
                return weights
        except WeightsError as error:
            logger.warning("%s", error)
            reasons.append(str(error))
            note = None if isinstance(error, _NotThereError) else INSTEAD
    try:
        weights = _published(architecture.published.url)
    except WeightsError as error:
        raise WeightsError(" ".join([*reasons, str(error)])) from error
    return replace(weights, note=note) if note else weights


def configured_name() -> str | None:
    """The name of the network whose weights the environment names; None where it names none.

    A repository counts if `SEGMENTATION_WEIGHTS_REPO` also names the file in it. If the Hub cannot be
    reached, the answer is None as well.

    Raises:
        WeightsError: The file is missing, damaged or of no known layout.
    """
    file, repo = os.environ.get(FILE_VARIABLE), os.environ.get(REPO_VARIABLE)
    if file:
        return layout_of_file(file)
    return _hub_layout(repo) if repo and named_file(repo) else None


def named_file(repo: str) -> str | None:
    """The file that `SEGMENTATION_WEIGHTS_REPO` names in the repository; None if it names none.

    Raises:
        WeightsError: The variable has another form.
    """
    return _parts(repo)[2]


def layout_of_file(file: str | os.PathLike[str]) -> str:
    """The name of the network whose weights are in `file`; raises as `layout_of` and for a bad file.

    Only names and shapes are read where the format allows that, so this costs next to nothing.
    """
    path = Path(file)
    _must_exist(path)
    return layout_of(_tensors(path, path.suffix, f"file {path.name}"))


def layout_of(state_dict: StateDict) -> str:
    """The name of the network that `state_dict` fits, whatever the number of its classes.

    Raises:
        WeightsError: It fits none, or its number of classes is not one of a network of ours (`classes_of`).
    """
    shapes = _shapes(state_dict)
    if all(name in shapes for name in LAST_LAYERS):
        classes = classes_of(shapes)
        for architecture in ARCHITECTURES.values():
            if shapes == _expected_shapes(architecture, classes):
                return architecture.name
    raise WeightsError(
        f"The file holds {len(shapes)} tensors that fit none of our networks. "
        f"Expected torchvision's state dict of one of: {', '.join(ARCHITECTURES)}."
    )


def classes_of(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The number of classes that a network tells apart, with the background, from its tensors' shapes.

    Raises:
        WeightsError: The last layers disagree, or the number is too small or too large.
    """
    scores, boxes, masks = (shapes[name][0] if shapes[name] else 0 for name in LAST_LAYERS)
    if boxes != 4 * scores or masks != scores:
        raise WeightsError(
            f"The heads of the file's network disagree: there are scores for {scores} classes, boxes for "
            f"{boxes / 4:g} and masks for {masks}. Expected the same number; torchvision's tutorial replaces "
            "both box_predictor and mask_predictor."
        )
    if not labels.FEWEST_CLASSES <= scores <= labels.MOST_CLASSES:
        raise WeightsError(
            f"The file's network tells {scores} class{'' if scores == 1 else 'es'} apart. Expected "
            f"{labels.FEWEST_CLASSES} to {labels.MOST_CLASSES}: the background, and 1 to "
            f"{labels.MOST_CLASSES - 1} kinds of object."
        )
    return scores


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


def _read_for(architecture: Architecture, path: Path, origin: str, named: bool) -> Weights:
    """Reads a file that must hold the weights of this network."""
    weights = _read(path, origin, named=named)
    shapes = _shapes(weights.state_dict)
    known = all(name in shapes for name in LAST_LAYERS)
    expected = _expected_shapes(architecture, classes_of(shapes) if known else len(architecture.label_ids))
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


def _expected_shapes(architecture: Architecture, classes: int) -> dict[str, tuple[int, ...]]:
    return _shapes_of(architecture.build, classes)


@functools.lru_cache(64)
def _shapes_of(build: Callable[..., nn.Module], classes: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return _shapes(build(classes).state_dict())


def _configured(architecture: Architecture) -> Weights | None:
    """The weights in the file that the environment names, if they belong to this network.

    The names and shapes of the tensors tell whose weights they are. So a file for another network is neither
    read whole nor hashed.
    """
    file = os.environ.get(FILE_VARIABLE)
    if not file or layout_of_file(file) != architecture.name:
        return None
    return _read(Path(file), f"file {Path(file).name}", named=True)


def _parts(repo: str) -> tuple[str, str | None, str | None]:
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([^:]+))?(?::(.+))?", repo)
    if match is None:
        raise WeightsError(f"{REPO_VARIABLE} is {repo!r}; expected owner/name[@revision][:filename].")
    repo_id, revision, filename = match.groups()
    return repo_id, revision, filename


def _hub_layout(repo: str) -> str | None:
    """The name of the network whose weights are in the repository's file; None if the file is not had."""
    repo_id, revision, filename = _parts(repo)
    assert filename is not None
    try:
        path = _cached_or_fetched(repo_id, filename, revision)
        try:
            return layout_of_file(path)
        except WeightsError:  # the cache may be damaged
            return layout_of_file(hf_hub_download(repo_id, filename, revision=revision, force_download=True))
    except (HfHubHTTPError, OSError, ValueError) as error:
        logger.warning("%s could not be fetched from the Hub repository %s: %s", filename, repo_id, error)
        return None


def _cached_or_fetched(repo_id: str, filename: str, revision: str | None) -> Path:
    try:
        return Path(hf_hub_download(repo_id, filename, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return Path(hf_hub_download(repo_id, filename, revision=revision))


def _from_hub(repo: str, architecture: Architecture) -> Weights:
    """The file of a repository written `owner/name[@revision][:filename]`; the local cache comes first."""
    repo_id, revision, filename = _parts(repo)
    filename = filename or f"maskrcnn_{architecture.name}.safetensors"
    origin = f"Hugging Face Hub {repo}"
    try:
        path = _cached_or_fetched(repo_id, filename, revision)
        try:
            return _read(path, origin, _blob_sha256(path))
        except _DamagedError:
            logger.warning("%s of the Hub's cache was damaged; fetching it again", filename)
            path = Path(hf_hub_download(repo_id, filename, revision=revision, force_download=True))
            return _read(path, origin, _blob_sha256(path))
    except (HfHubHTTPError, OSError, ValueError) as error:
        absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
        kind = _NotThereError if absent else WeightsError
        raise kind(f"{filename} could not be fetched from the Hub repository {repo_id}.") from error


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


def _read(path: Path, origin: str, sha256: str = "", named: bool = False) -> Weights:
    """Reads a file whose hash begins with `sha256`. It is opened once: what is hashed is what is loaded.

    Args:
        named: Whether the owner named this file, so that its labels may be in a file beside it.
    """
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
            metadata = _metadata(file) if path.suffix == ".safetensors" else {}
    except OSError as error:
        raise _DamagedError(f"The {origin} cannot be read ({error.strerror}).") from error
    state_dict = {
        key: value.float() if value.is_floating_point() else value for key, value in tensors.items()
    }
    names = _labels(metadata, path.with_name(labels.BESIDE) if named else None, state_dict, origin)
    return Weights(state_dict, origin, found, metadata.get(RANGES_KEY), names)


def _labels(
    metadata: Mapping[str, str], beside: Path | None, state_dict: StateDict, origin: str
) -> tuple[str, ...] | None:
    """Returns the names of the labels from 1, from the metadata or the file `beside`, if any."""
    try:
        if labels.KEY in metadata:
            names, source = labels.from_json(metadata[labels.KEY]), f'The metadata "{labels.KEY}"'
        elif beside is not None and beside.is_file():
            names, source = labels.read_labels(beside), labels.BESIDE
        else:
            return None
        shapes = _shapes(state_dict)
        if not all(name in shapes for name in LAST_LAYERS):
            return None  # no network of ours, which is said elsewhere
        return labels.checked(names, classes_of(shapes), source)
    except labels.LabelsError as error:
        raise WeightsError(f"The names for the {origin} cannot be used. {error}") from error


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

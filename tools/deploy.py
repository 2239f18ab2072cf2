"""Creates a Hugging Face Space from this checkout, or updates an existing Space.

    python tools/deploy.py owner/name --dry-run
    python tools/deploy.py owner/name --private --hardware cpu-upgrade
    python tools/deploy.py owner/name --weights-repo owner/weights@v1.0 --mount
    python tools/deploy.py owner/name --folder space

The tool needs git and huggingface_hub, but not torch. It sends the files that git tracks, except the files
that only developers need. The Space's settings are at the top of README.md. The tool deletes all other files
on the Space (the Space's history keeps them). A setting that no option names stays as it is on the Space.
A new Space gets ZeroGPU, which free accounts can host.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import subprocess  # nosec B404
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    SpaceHardware,
    Volume,
    metadata_load,
    metadata_save,
)
from huggingface_hub.errors import RepositoryNotFoundError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # to run as a script as well

from tools.hub import ADDRESS, REASONS, Client, HubError, plainly, repo_id, sign_in

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = (
    ".*",
    "tests/*",
    "benchmarks/*",
    "tools/*",
    "training/*",
    "pyproject.toml",
    "requirements-dev.txt",
    "Dockerfile",
    "CHANGELOG.md",
)
"""Patterns of files that git tracks but a Space does not need. A star also matches slashes."""
KEPT = (".gitattributes",)
"""Files that the Hub puts into each repository and needs there."""
REPO_VARIABLE = "SEGMENTATION_WEIGHTS_REPO"  # as in network/weights.py, which imports torch
FILE_VARIABLE = "SEGMENTATION_WEIGHTS"
WEIGHTS_FILE = "maskrcnn_resnet50_fpn.safetensors"
WEIGHTS_FILES = "maskrcnn_*.safetensors"
MOUNT = "/weights"
"""The folder of the Space in which a mounted repository lies."""
ZERO = SpaceHardware.ZERO_A10G.value
"""The Hub's name of ZeroGPU, whatever its cards are today."""
PINS = {"torch": "2.11.0", "torchvision": "0.26.0"}
"""The newest releases that ZeroGPU supports (https://huggingface.co/docs/hub/spaces-zerogpu).

pip would take newer ones.
"""
OF_ZERO = (
    "a free account can host two Spaces on ZeroGPU if its e-mail address is verified and it is older than "
    "30 days, a PRO account can host ten, and an organization needs a Team or Enterprise plan"
)
OF_CPU = f"a Gradio Space on a CPU needs a paid plan; a free account can use --hardware {ZERO}"
OF_PAID = f"this hardware is paid by the hour and needs a payment method; --hardware {ZERO} is free"


@dataclass(frozen=True, slots=True)
class WeightsRepo:
    """The repository on the Hub from which a Space loads its weights."""

    name: str
    """The repository's name, as owner/name."""
    revision: str | None = None
    """A branch, a tag or a commit; None for the newest commit of the main branch."""
    private: bool = False
    mounted: bool = False
    """Whether the Hub mounts the repository into the Space, so that nothing is downloaded."""
    file: str = WEIGHTS_FILE
    """The name of the file with the weights."""

    @property
    def variables(self) -> dict[str, str]:
        """The variables that tell the app where its weights are."""
        if self.mounted:
            return {FILE_VARIABLE: f"{MOUNT}/{self.file}"}
        return {REPO_VARIABLE: self.variable}

    @property
    def volumes(self) -> list[Volume]:
        """What the Hub mounts into the Space."""
        if not self.mounted:
            return []
        return [
            Volume(type="model", source=self.name, mount_path=MOUNT, revision=self.revision, read_only=True)
        ]

    @property
    def variable(self) -> str:
        """The value of SEGMENTATION_WEIGHTS_REPO, as `network/weights.py` reads it."""
        where = f"{self.name}@{self.revision}" if self.revision else self.name
        return where if self.file == WEIGHTS_FILE else f"{where}:{self.file}"

    @property
    def preload(self) -> str:
        """The entry in `preload_from_hub`, as the Hub reads it."""
        return " ".join(filter(None, (self.name, self.file, self.revision)))


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that the Hub gets together with a Space's files."""

    sdk: str = "gradio"
    hardware: str | None = None
    """None keeps the hardware of an existing Space; a new Space gets `suggested`."""
    suggested: str | None = None
    """The hardware that README.md suggests for a new Space."""
    private: bool = False
    """False keeps an existing Space as it is; a new Space is then public."""
    weights: WeightsRepo | None = None


# --- The files ----------------------------------------------------------------------------------------------


def space_files(root: Path) -> list[str]:
    """Returns the paths of the files that belong on the Space, relative to `root`.

    Raises:
        HubError: `root` is not a git checkout, or git is not installed.
    """
    return [path for path in _git(root, "ls-files", "-z") if belongs(path) and (root / path).is_file()]


def uncommitted(root: Path) -> list[str]:
    """Returns the Space's files that differ from the last commit, and files that git does not know yet."""
    changed = _git(root, "diff", "--name-only", "--relative", "-z", "HEAD")
    new = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return [path for path in (*changed, *new) if belongs(path)]


def belongs(path: str) -> bool:
    """Returns whether a tracked file belongs on the Space. `path` is relative to the checkout."""
    return not any(fnmatchcase(path, pattern) for pattern in LEFT_OUT)


def _git(root: Path, *arguments: str) -> list[str]:
    """Runs git and returns its output, split at the NUL characters."""
    try:
        run = subprocess.run(  # nosec B603 B607
            ["git", *arguments], cwd=root, capture_output=True, encoding="utf-8", check=False
        )
    except FileNotFoundError as error:
        raise HubError(
            "git is not installed, and only git knows which files belong to the project."
        ) from error
    if run.returncode:
        said = (run.stderr.splitlines() or [""])[0]
        raise HubError(
            f"{root.name} is not a git checkout with a commit, and only git knows which files belong to the "
            f"project; clone it ({said})."
        )
    return [piece for piece in run.stdout.split("\0") if piece]


def space_readme(readme: Path, space: str, weights: WeightsRepo | None) -> bytes:
    """Returns README.md for the Space: its settings name the weights and the thumbnail's full address."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "README.md"
        copy.write_bytes(readme.read_bytes())
        matter = front_matter(copy)
        if weights:
            matter["models"] = [weights.name]
            if not (weights.private or weights.mounted):  # the Hub builds the Space without a token
                matter["preload_from_hub"] = [weights.preload]
        thumbnail = matter.get("thumbnail")
        if thumbnail and "://" not in thumbnail:
            matter["thumbnail"] = f"{ADDRESS}/spaces/{space}/resolve/main/{thumbnail.removeprefix('./')}"
        if matter != front_matter(readme):
            metadata_save(copy, matter)
        return copy.read_bytes()


def space_requirements(text: str) -> str:
    """Returns requirements.txt for the Space: each library in `PINS` has one version in place of a range."""
    for name, version in PINS.items():
        text = re.sub(rf"^{name}[<>=~!].*$", f"{name}=={version}", text, flags=re.MULTILINE)
    return text


def reasons_of(hardware: str | None) -> dict[int, str]:
    """Returns why the Hub may refuse to run a Space on this hardware, by the HTTP status of its answer."""
    if hardware == ZERO:
        why = OF_ZERO
    else:
        why = OF_CPU if hardware in (None, SpaceHardware.CPU_BASIC.value) else OF_PAID
    return REASONS | {402: why, 403: f"{why}; or {REASONS[403]}"}


def front_matter(readme: Path) -> dict[str, Any]:
    """Returns the settings at the top of a README.md.

    Raises:
        HubError: The file has no settings.
    """
    matter = metadata_load(readme)
    if not matter:
        raise HubError("README.md does not begin with the Space's settings between two lines of ---.")
    return matter


# --- The Space ----------------------------------------------------------------------------------------------


def check_weights(client: Client, weights: WeightsRepo) -> WeightsRepo:
    """Looks up `weights` on the Hub. Returns them with `private` and `file` filled in.

    A revision becomes the commit that it names now. The file is `WEIGHTS_FILE`, or the only file whose name
    is like those that `tools/publish_weights.py` gives.

    Raises:
        HubError: The repository, the revision or the weights file does not exist.
    """
    with plainly(f"The weights' repository {weights.variable} could not be looked at"):
        found = client.model_info(weights.name, revision=weights.revision)
    names = [file.rfilename for file in found.siblings or ()]
    files = [WEIGHTS_FILE] if WEIGHTS_FILE in names else [n for n in names if fnmatchcase(n, WEIGHTS_FILES)]
    if len(files) != 1:
        raise HubError(
            f"{weights.variable} holds no {WEIGHTS_FILE}{', and several others' if files else ''}; "
            "`python tools/publish_weights.py` makes a repository that does."
        )
    revision = found.sha if weights.revision else None
    return dataclasses.replace(weights, revision=revision, private=bool(found.private), file=files[0])


def deploy(
    client: Client, space: str, files: Mapping[str, bytes], settings: Settings, message: str
) -> list[str]:
    """Creates the Space or changes its settings, then sends `files` in one commit.

    The commit also deletes the Space's other files. Returns the paths of the deleted files.

    Raises:
        HubError: The Hub cannot be reached or refuses, or the Space has another SDK.
    """
    with plainly(f"The Space {space} could not be looked at"):
        info = _space_info(client, space)
    if info is None:
        _create(client, space, settings)
    elif info.sdk not in (settings.sdk, None):
        raise HubError(f"{space} is a Space of the kind {info.sdk}, not {settings.sdk}; choose another name.")
    else:
        print(f"{space} is there already.")
        _update(client, space, settings)
    with plainly(f"The files could not be sent to {space}"):
        there = client.list_repo_files(space, repo_type="space")
        deleted = [path for path in there if path not in files and path not in KEPT]
        for path in deleted:
            print(f"  deleting {path}")
        print(f"Sending {_amount(files)} …")
        additions = [CommitOperationAdd(path, content) for path, content in files.items()]
        deletions = [CommitOperationDelete(path) for path in deleted]
        client.create_commit(space, [*additions, *deletions], commit_message=message, repo_type="space")
    return deleted


def _space_info(client: Client, space: str) -> Any | None:
    try:
        return client.space_info(space)
    except RepositoryNotFoundError as error:
        if error.response.status_code != 404:  # a refused token raises the same error
            raise
        return None


def _create(client: Client, space: str, settings: Settings) -> None:
    hardware = settings.hardware or settings.suggested
    on = f" on {hardware}" if hardware else ""
    print(f"Creating {space}{on} …")
    named = settings.weights.variables if settings.weights else {}
    variables = [{"key": key, "value": value} for key, value in named.items()]
    with plainly(f"The Space {space} could not be created{on}", reasons_of(hardware)):
        client.create_repo(
            space,
            private=settings.private or None,
            repo_type="space",
            space_sdk=settings.sdk,
            space_hardware=hardware,
            space_variables=variables or None,
            space_volumes=(settings.weights.volumes or None) if settings.weights else None,
        )


def _update(client: Client, space: str, settings: Settings) -> None:
    if settings.private:
        with plainly(f"{space} could not be made private"):
            client.update_repo_settings(space, private=True, repo_type="space")
    if settings.weights:
        for key, value in settings.weights.variables.items():
            with plainly(f"{key} could not be set on {space}"):
                client.add_space_variable(space, key, value)
        if settings.weights.volumes:
            with plainly(f"{settings.weights.name} could not be mounted into {space}"):
                client.set_space_volumes(space, settings.weights.volumes)
    if settings.hardware:
        refused = f"{space} could not be given the hardware {settings.hardware}"
        with plainly(refused, reasons_of(settings.hardware)):
            client.request_space_hardware(space, settings.hardware)


def _amount(files: Mapping[str, bytes]) -> str:
    return f"{len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB"


# --- The command --------------------------------------------------------------------------------------------


def weights_repo(text: str) -> WeightsRepo:
    """Parses owner/name or owner/name@revision; a type for `argparse`.

    Raises:
        argparse.ArgumentTypeError: `text` has another form, or the Hub does not allow the name.
    """
    name, at, revision = text.partition("@")
    if (at and not revision) or set(revision) & set(": "):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form owner/name or owner/name@revision")
    return WeightsRepo(repo_id(name), revision or None)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("space", type=repo_id, metavar="owner/name", help="the Space's name")
    parser.add_argument(
        "--hardware",
        choices=[hardware.value for hardware in SpaceHardware],
        metavar="NAME",
        help=f"the Space's hardware, such as {ZERO} (ZeroGPU), cpu-basic or t4-small (default for a new "
        f"Space: README.md's suggestion, {ZERO})",
    )
    parser.add_argument("--private", action="store_true", help="hide the Space from everybody but its owner")
    parser.add_argument(
        "--weights-repo",
        type=weights_repo,
        metavar="owner/name[@revision]",
        help="the repository with the Space's weights (see tools/publish_weights.py); the Hub downloads them "
        "while it builds the Space, if the repository is public",
    )
    parser.add_argument(
        "--mount",
        action="store_true",
        help="mount the repository with the weights into the Space: nothing is downloaded when the Space "
        "wakes, and the repository may be private",
    )
    parser.add_argument(
        "--folder", type=Path, help="write the Space's files into this folder, without asking the Hub"
    )
    parser.add_argument("--allow-dirty", action="store_true", help="also send changes that are not committed")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be sent, without asking the Hub"
    )
    chosen = parser.parse_args(arguments)
    if chosen.mount and not chosen.weights_repo:
        parser.error("--mount needs --weights-repo, which says what is mounted.")
    try:
        _run(chosen)
    except HubError as error:
        raise SystemExit(str(error)) from error


def _run(chosen: argparse.Namespace) -> None:
    names = space_files(ROOT)
    changed = uncommitted(ROOT)
    if changed and not (chosen.allow_dirty or chosen.dry_run):
        raise HubError(
            f"Not committed: {', '.join(changed)}; commit, or send what git tracks as it is by --allow-dirty."
        )
    unknown = [path for path in changed if path not in names and (ROOT / path).exists()]
    if unknown:
        print(f"Not known to git, and so not sent: {', '.join(unknown)}.")
    matter = front_matter(ROOT / "README.md")
    client = None if chosen.dry_run or chosen.folder else sign_in()
    weights: WeightsRepo | None = chosen.weights_repo
    if client and weights:
        weights = check_weights(client, weights)
    if weights:
        weights = dataclasses.replace(weights, mounted=chosen.mount)
    settings = Settings(
        matter.get("sdk", ""), chosen.hardware, matter.get("suggested_hardware"), chosen.private, weights
    )
    if settings.sdk != "gradio":
        raise HubError(f"README.md says sdk: {settings.sdk or 'nothing'}; this app needs sdk: gradio.")
    files = {name: (ROOT / name).read_bytes() for name in names}
    files["README.md"] = space_readme(ROOT / "README.md", chosen.space, weights)
    if "requirements.txt" in files:
        files["requirements.txt"] = space_requirements(files["requirements.txt"].decode()).encode()
    if chosen.folder:
        for name, content in files.items():
            (chosen.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (chosen.folder / name).write_bytes(content)
        print(f"{_amount(files)} are in {chosen.folder}. Nothing was sent.")
        return
    if client is None:
        _show(chosen.space, files, settings, changed)
        return
    commit = _git(ROOT, "rev-parse", "--short", "HEAD")[0].strip()
    deploy(client, chosen.space, files, settings, f"Deploy {commit}{' with changes' if changed else ''}")
    address = f"{ADDRESS}/spaces/{chosen.space}"
    print(f"{address} is being built. Its log: {address}?logs=build, and then {address}?logs=container")
    if weights and weights.private and not weights.mounted:
        print(f"{weights.name} is private: give the Space a secret HF_TOKEN to read it ({address}/settings).")


def _show(space: str, files: Mapping[str, bytes], settings: Settings, changed: Sequence[str]) -> None:
    """Prints the files that would be sent, and the settings."""
    for name, content in files.items():
        print(f"{len(content):>10,}  {name}{'  (not committed)' if name in changed else ''}")
    print(f"{_amount(files)}; everything else on the Space would be deleted")
    print(f"Space: {space}, {settings.sdk}, {'private' if settings.private else 'public, or as it is'}")
    new = settings.suggested or "cpu-basic"
    print(f"Hardware: {settings.hardware or f'{new} if it is new, else as it is'}")
    named = settings.weights.variables if settings.weights else {REPO_VARIABLE: "as it is"}
    for key, value in named.items():
        print(f"{key}: {value}")
    if settings.weights and settings.weights.mounted:
        print(f"Mounted: {settings.weights.variable} at {MOUNT}")
    print(f"Pinned: {', '.join(f'{name} {version}' for name, version in PINS.items())}")
    print(files["README.md"].decode().split("---\n", 2)[1], end="")
    print("Nothing was sent (--dry-run).")


if __name__ == "__main__":
    main()

"""The rules that the files keep among themselves."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT

WITH_TORCH = {"triton"}
"""What torch brings along on Linux. Without it, torch's operators do the same work."""
OPTIONAL = {"pillow_heif", "spaces"}
"""Libraries that the app uses where they are installed; the tests have them all."""
HEAVY = {"torch": {"torch", "torchvision"}, "gradio": {"gradio"}}
"""Libraries that only some rooms may import, by their name in the table."""


class Room(NamedTuple):
    """One row of the table in docs/design.md."""

    name: str
    imports: set[str]
    libraries: set[str]


def rooms() -> list[Room]:
    """The table of rooms in docs/design.md, from top to bottom."""
    text = (ROOT / "docs" / "design.md").read_text().partition("## Rooms")[2]
    rows = re.findall(r"^\| `(\w+)/?` \|[^|]*\|([^|]*)\|([^|]*)\|$", text, re.MULTILINE)
    return [
        Room(name, set(re.findall(r"\w+", imports)), set(re.findall(r"\w+", libraries)))
        for name, imports, libraries in rows
    ]


ROOMS = rooms()


def modules(room: str) -> list[Path]:
    """The Python files of a room."""
    return sorted((ROOT / room).rglob("*.py")) or [ROOT / f"{room}.py"]


def imports(path: Path) -> set[str]:
    """The dotted names of everything that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def packages(room: str) -> set[str]:
    """The top-level names of everything that a room imports."""
    return {name.partition(".")[0] for path in modules(room) for name in imports(path)}


def test_the_table_of_rooms_names_every_module_that_the_app_is_made_of() -> None:
    apart = {"tests", "benchmarks", "tools", "training"}
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {room.name for room in ROOMS} == (folders | {path.stem for path in ROOT.glob("*.py")}) - apart


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_imports_what_the_table_says_and_nothing_below_it(room: Room) -> None:
    names = [other.name for other in ROOMS]
    assert packages(room.name) & set(names) - {room.name} == room.imports, "or change docs/design.md"
    assert room.imports <= set(names[: names.index(room.name)])
    assert not packages(room.name) & {"tests", "benchmarks", "tools", "training"}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_heavy_libraries_stay_in_their_rooms(room: Room) -> None:
    found = packages(room.name)
    assert {name for name, parts in HEAVY.items() if parts & found} == room.libraries


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_no_imports_go_in_a_circle_inside_a_room(room: Room) -> None:
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules(room.name)}
    left = {name: imports(path) & paths.keys() - {name} for name, path in paths.items()}
    while free := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


@pytest.mark.parametrize(
    "folder", sorted(ROOT.glob("*/__init__.py")) + sorted(ROOT.glob("training/*/__init__.py"))
)
def test_a_folder_begins_with_a_docstring_and_nothing_else(folder: Path) -> None:
    body = ast.parse(folder.read_text()).body
    if folder.parent.name in ("tests", "benchmarks"):
        assert body == []
        return
    assert len(body) == 1 and ast.get_docstring(ast.parse(folder.read_text()))


def front_matter() -> dict[str, str]:
    _, block, _ = (ROOT / "README.md").read_text().split("---\n", 2)
    matter: dict[str, str] = yaml.safe_load(block)
    return matter


def requirements() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {requirement.name: requirement for requirement in wanted}


def development_requirements() -> list[str]:
    return (ROOT / "requirements-dev.txt").read_text().splitlines()


def test_the_spaces_gradio_is_the_pinned_one() -> None:
    assert str(requirements()["gradio"].specifier) == f"=={front_matter()['sdk_version']}"


def test_the_space_starts_a_file_that_is_there() -> None:
    matter = front_matter()
    assert matter["sdk"] == "gradio"
    assert (ROOT / matter["app_file"]).is_file()
    assert len(matter["short_description"]) <= 60  # the hub refuses longer ones
    assert (ROOT / matter["thumbnail"]).is_file()
    assert matter["suggested_hardware"] == "zero-a10g" and matter["license"] == "apache-2.0"
    assert {"instance-segmentation", "mask-r-cnn", "coco"} <= set(matter["tags"])
    assert "models" not in matter, "tools/deploy.py names the repository that the owner's weights are in"


def test_the_spaces_python_is_admitted_by_every_requirement() -> None:
    python = front_matter()["python_version"]
    for name in requirements():
        wanted = importlib.metadata.metadata(name)["Requires-Python"]
        assert f"{python}.0" in SpecifierSet(wanted or ""), name


def test_torch_is_a_range_that_admits_what_gpu_spaces_offer() -> None:
    for version in ("2.8.0", "2.9.1", "2.11.0"):
        assert version in requirements()["torch"].specifier
    assert "0.23.0" in requirements()["torchvision"].specifier


def test_every_library_we_import_is_required_by_name() -> None:
    package_of = {"cv2": "opencv-python-headless", "PIL": "pillow", "python_multipart": "python-multipart"}
    names = {room.name for room in ROOMS}
    libraries = set().union(*map(packages, names)) - names - sys.stdlib_module_names - WITH_TORCH
    assert {package_of.get(name, name) for name in libraries} - OPTIONAL <= requirements().keys()
    wanted = [Requirement(line) for line in development_requirements() if not line.startswith(("-r", "#"))]
    assert {requirement.name.replace("-", "_") for requirement in wanted} >= OPTIONAL


def test_the_readme_gives_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "pip install -r requirements.txt && python app.py" in readme
    assert "pip install -r requirements-dev.txt && pytest" in readme
    assert "pip install -q -r requirements-dev.txt && pytest" in (ROOT / ".ci" / "run").read_text()


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    folder = re.compile(rb"(?<![\w./:])/(?:home|root|work|Users)/\w+")
    binary = (".png", ".webp", ".safetensors")
    naming = [
        name
        for name in tracked_files()
        if not name.endswith(binary) and folder.search((ROOT / name).read_bytes())
    ]
    assert naming == []


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["bandit", "-q", "-c", "pyproject.toml", "-r", "."],
    ],
    ids=" ".join,
)
def test_the_code_passes(command: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr

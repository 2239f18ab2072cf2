"""The rules that the files keep among themselves."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT

MAY_IMPORT = {
    "detections": set(),
    "outlines": set(),
    "coco": set(),
    "av1": set(),
    "images": {"av1"},
    "runtime": set(),
    "zero_gpu": set(),
    "networks": set(),
    "winograd": set(),
    "roi_align": set(),
    "download": set(),
    "scheduler": set(),
    "janitor": set(),
    "guard": set(),
    "fetch": {"images"},
    "visualize": {"detections"},
    "weights": {"download", "networks"},
    "acceleration": {"roi_align", "winograd"},
    "inference": {"acceleration", "detections", "images", "networks", "weights", "zero_gpu"},
    "result": {"coco", "detections", "images", "inference"},
    "report": {"coco", "detections", "inference", "result"},
    "histogram": {"detections", "inference", "report", "result"},
    "formats": {"coco", "detections", "outlines", "report", "result"},
    "export": {"detections", "formats", "images", "report", "result", "visualize"},
    "scene": {"detections", "formats", "inference", "outlines", "report", "result", "visualize"},
    "snippets": {"result", "visualize"},
    "links": {"coco", "export", "inference", "result", "visualize"},
    "models": {"inference", "networks", "weights", "zero_gpu"},
    "sessions": {"result"},
    "bodies": {"result"},
    "service": {
        "fetch", "images", "inference", "janitor", "models", "result", "scheduler", "sessions", "weights",
    },
    "api": {"export", "models", "result", "scheduler", "service", "visualize"},
    "components": set(),
    "agents": {"api", "components", "export", "report", "result", "service", "visualize"},
    "controls": {"coco", "components", "detections", "inference", "result", "visualize"},
    "panels": {
        "components", "export", "inference", "links", "networks", "report", "result", "snippets", "visualize",
    },
    "page": {
        "api", "components", "controls", "export", "histogram", "images", "links", "models", "networks",
        "panels", "report", "result", "scene", "scheduler", "service",
    },
    "app": {
        "agents", "api", "bodies", "guard", "janitor", "models", "page", "runtime", "service", "sessions",
        "zero_gpu",
    },
}  # fmt: skip
"""Which of our modules each of them may import. Every line names only lines above it."""
MAY_IMPORT_GRADIO = {
    "agents", "app", "api", "bodies", "components", "controls", "page", "panels", "service", "sessions",
}  # fmt: skip
MAY_IMPORT_TORCH = {"acceleration", "inference", "networks", "roi_align", "weights", "winograd"}

OPTIONAL = {"pillow_heif", "spaces"}
"""Libraries that the app uses where they are installed; the tests have them all."""

MODULES = sorted(path.stem for path in ROOT.glob("*.py"))


def imports(module: str) -> set[str]:
    """The top-level names of everything that a module imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    assert imports(module) & set(MODULES) == MAY_IMPORT[module], "or change the table and docs/design.md"
    above = list(MAY_IMPORT)[: list(MAY_IMPORT).index(module)]
    assert MAY_IMPORT[module] <= set(above)


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_rooms(module: str) -> None:
    found = imports(module)
    assert ("gradio" in found) == (module in MAY_IMPORT_GRADIO)
    assert bool({"torch", "torchvision"} & found) == (module in MAY_IMPORT_TORCH)


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
    assert matter["suggested_hardware"] == "cpu-basic" and matter["license"] == "apache-2.0"
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
    libraries = set().union(*(imports(module) for module in MODULES)) - set(MODULES) - sys.stdlib_module_names
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

"""Tests the files around the app: the container and the workflows. Nothing is built and nothing is sent."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tools.deploy import LEFT_OUT, PINS

DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def instructions(name: str) -> list[str]:
    whole = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return re.findall(rf"^{name} (.*)$", whole, re.MULTILINE)


def test_the_container_has_the_versions_that_a_space_has() -> None:
    (install,) = [run for run in instructions("RUN") if "torch==" in run]
    for name, version in PINS.items():
        assert f"{name}=={version}" in install
    assert "${TORCH}" in install and "TORCH=cpu" in instructions("ARG")
    matter = yaml.safe_load((ROOT / "README.md").read_text().split("---\n", 2)[1])
    assert f"PYTHON={matter['python_version']}" in instructions("ARG")


def test_the_app_runs_as_a_user_without_rights_and_writes_into_one_folder() -> None:
    assert instructions("USER")[-1].startswith("1000")
    (lines,) = instructions("ENV")
    folders = dict(pair.split("=") for pair in lines.split())
    for name in ("HOME", "TMPDIR", "GRADIO_TEMP_DIR", "HF_HOME", "TORCH_HOME"):
        assert folders[name].startswith("/data")
    assert instructions("VOLUME") == ["/data"]


def test_the_container_says_whether_it_is_healthy_at_the_port_that_it_opens() -> None:
    (port,) = instructions("EXPOSE")
    (check,) = instructions("HEALTHCHECK")
    assert f"127.0.0.1:{port}/" in check and port == "7860"
    assert instructions("CMD") == ['["python", "app.py"]']


@pytest.mark.parametrize("pattern", LEFT_OUT)
def test_the_container_lacks_what_a_space_lacks(pattern: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert pattern.removesuffix("/*") in ignored
    assert not any(fnmatchcase(name, one) for name in ("app.py", "assets", "README.md") for one in ignored)


def steps(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_nothing_else_and_writes_no_input_into_a_shell(path: Any) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("${{" in step.get("run", "") for step in steps(workflow))


def test_the_tests_run_by_the_readmes_command() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    assert "pip install -q -r requirements-dev.txt && pytest" in [step.get("run") for step in steps(workflow)]


def test_a_space_gets_the_files_of_deploy_by_a_fixed_version_of_hub_sync() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "space.yml").read_text())
    (write,) = [step["run"] for step in steps(workflow) if "deploy.py" in step.get("run", "")]
    (sync,) = [step for step in steps(workflow) if "hub-sync" in step.get("uses", "")]
    assert re.fullmatch(r"huggingface/hub-sync@[0-9a-f]{40}", sync["uses"])
    assert write.endswith(f"--folder {sync['with']['subdirectory']}")

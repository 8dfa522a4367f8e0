"""The composite action, the workflows and the committed baseline, as far as they run off GitHub.

The steps of ``action.yml`` are run by bash, in the order and with the environment that GitHub would
give them, on a small project with a metric of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from support.paths import REPOSITORY, TESTS
from support.prose import blocks

from pmbench.analysis.baseline import read

PROJECT = TESTS / "example_project"
BIN = Path(sys.executable).parent
_PLACE = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


ACTION = loaded(REPOSITORY / "action.yml")
STEPS = ACTION["runs"]["steps"]


@dataclass(frozen=True)
class Job:
    """What came of running the action's steps."""

    code: int  # of the first step that failed, else 0
    output: str
    summary: str


INSTALL, MEASURE, COMPARE = NAMES = [step["name"] for step in STEPS if "run" in step]


def act(project: Path, inputs: dict[str, str], names: Collection[str] = NAMES) -> Job:
    """Run the ``run`` steps of these names of the action in a project."""
    given = {name: str(spec.get("default", "")) for name, spec in ACTION["inputs"].items()}
    assert set(inputs) <= set(given)
    values = {f"inputs.{name}": value for name, value in {**given, **inputs}.items()}
    values["github.action_path"] = str(REPOSITORY)
    summary = project / "summary.md"
    around = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(summary),
        "COLUMNS": "100",
    }
    code, output = 0, ""
    for step in STEPS:
        if step.get("name") not in names or (code and "!cancelled()" not in step.get("if", "")):
            continue
        own = {
            name: _PLACE.sub(lambda place: values[place[1]], text)
            for name, text in step["env"].items()
        }
        assert not _PLACE.search(step["run"])  # inputs are data, and no part of a script
        bash = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
        ended = subprocess.run(
            bash, cwd=project, env={**around, **own}, capture_output=True, text=True
        )
        code, output = code or ended.returncode, output + ended.stdout + ended.stderr
    return Job(code, output, summary.read_text() if summary.exists() else "")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT, tmp_path / "project"))


@pytest.fixture
def inputs(project: Path) -> dict[str, str]:
    """Return what the project's own workflow gives to the action, and the pmbench that is here."""
    steps = loaded(project / ".github" / "workflows" / "metric.yml")["jobs"]["scores"]["steps"]
    (step,) = [step for step in steps if step.get("uses") == "./pmbench"]
    # the index is a variable of the repository, and empty where there is none of that name
    assert step["with"].pop("torch-index-url") == "${{ vars.TORCH_INDEX }}"
    return {**step["with"], "pmbench": "pmbench"}


def test_the_example_passes_as_it_is_and_fails_once_its_metric_is_another(
    project: Path, inputs: dict[str, str]
) -> None:
    job = act(project, inputs)
    assert job.code == 0, job.output
    assert "passed: 2 same" in job.output
    assert "### pmbench check: passed: 2 same" in job.summary
    assert (project / "pmbench-check.xml").exists()

    source = project / "my_metric.py"
    source.write_text(source.read_text().replace("FINE = 0.25", "FINE = 0.26"))
    job = act(project, inputs, [MEASURE, COMPARE])  # installed it is
    assert job.code == 1
    assert "failed: 2 changed, of 2 compared with pmbench-baseline.json" in job.output
    assert "failed: 2 changed" in job.summary
    root = ElementTree.parse(project / "pmbench-check.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("2", "2")
    lenient = {**inputs, "fail-on-changed": "false"}
    assert act(project, lenient, [COMPARE]).code == 0


def test_a_metric_that_cannot_be_measured_fails_the_job(
    project: Path, inputs: dict[str, str]
) -> None:
    (project / "my_metric.py").write_text("import nothing_of_that_name\n")
    job = act(project, inputs, [MEASURE, COMPARE])
    assert job.code == 1
    assert "not run: my-metric: needs the module nothing_of_that_name" in job.output
    assert "no runs in pmbench-results; make some with `pmbench eval`" in job.output


@pytest.mark.slow
def test_what_cannot_be_installed_ends_the_job(project: Path, inputs: dict[str, str]) -> None:
    job = act(project, {**inputs, "requirements": "-r needs.txt"})
    assert job.code == 1
    assert "needs.txt" in job.output
    assert "passed" not in job.output
    assert job.summary == ""
    (project / "needs.txt").write_text("numpy\npillow\n")  # which are here
    words = {"requirements": "-r needs.txt scipy", "torch-index-url": "http://127.0.0.1:9/simple"}
    assert act(project, {**inputs, **words}, [INSTALL]).code == 0


def test_the_commands_for_other_machines_of_ci_pass(project: Path) -> None:
    script = loaded(project / ".gitlab-ci.yml")["scores"]["script"]
    commands = [line for line in script if not line.startswith("pip install ")]
    assert len(commands) == len(script) - 2
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    for command in commands:
        ended = subprocess.run(
            ["bash", "-c", command], cwd=project, env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
    assert "passed: 2 same" in ended.stdout
    assert (project / "pmbench-check.xml").exists()


def test_the_documentation_shows_the_files_of_the_example() -> None:
    page = REPOSITORY / "docs" / "ci.md"
    shown = [block.code for block in blocks(page) if block.language == "yaml"]
    files = (".github/workflows/metric.yml", ".gitlab-ci.yml")
    assert shown == [(PROJECT / name).read_text(encoding="utf-8") for name in files]
    named = re.findall(r"^\| `([\w-]+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) == set(ACTION["inputs"])


def test_the_action_is_complete_and_its_example_short() -> None:
    used = set(re.findall(r"inputs\.([\w-]+)", (REPOSITORY / "action.yml").read_text()))
    assert used == set(ACTION["inputs"])
    assert all(spec["description"] for spec in ACTION["inputs"].values())
    assert ACTION["runs"]["using"] == "composite"
    assert all(step.get("shell") == "bash" for step in STEPS if "run" in step)
    assert next(step.get("uses", "") for step in STEPS).startswith("actions/setup-python@")
    lines = (PROJECT / ".github" / "workflows" / "metric.yml").read_text().splitlines()
    assert len(lines) <= 12


JOBS = loaded(REPOSITORY / ".github" / "workflows" / "tests.yml")["jobs"]


def test_the_workflows_run_what_a_newcomer_types() -> None:
    runs = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    assert "make test" in runs
    assert any(run.startswith("make regress ") and "$GITHUB_STEP_SUMMARY" in run for run in runs)
    rules = (REPOSITORY / "Makefile").read_text()
    assert re.search(r"^test: .*\bregress\b", rules, re.MULTILINE)


def test_every_python_that_is_declared_is_tried_and_both_ends_of_the_versions() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = [line.rpartition(" ")[2] for line in project["classifiers"] if ":: 3." in line]
    assert project["requires-python"] == f">={declared[0]}"
    assert JOBS["tests"]["strategy"]["matrix"]["python-version"] == declared
    lowest, newest = JOBS["versions"]["strategy"]["matrix"]["include"]
    assert lowest == {"which": "lowest", "python-version": declared[0]}
    assert newest == {"which": "newest", "python-version": declared[-1]}
    rules = (REPOSITORY / "Makefile").read_text()
    for name in ("lowest", "newest"):
        assert re.search(rf"^{name}:(.|\n\t)+ demo regress quick$", rules, re.MULTILINE)


def test_make_lowest_installs_the_lowest_version_of_each_dependency() -> None:
    words = [sys.executable, REPOSITORY / "tools" / "lowest.py"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    versions = dict(line.split("==") for line in done.stdout.splitlines())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    bounds = dict(line.split(">=") for line in project["dependencies"])
    assert {name: versions[name] for name in bounds} == bounds  # each has one
    assert versions["pytest-xdist"] == "3.5"  # of an extra


def test_the_committed_baseline_is_of_what_make_regress_measures() -> None:
    path = TESTS / "baselines" / "ladder.json"
    rules = (REPOSITORY / "Makefile").read_text().replace("$\\\n", "")
    line = re.search(r"^REGRESSED := (.+)$", rules, re.MULTILINE)
    assert line is not None
    measured = {(d, m) for d in ("ladder-2afc", "ladder-jnd") for m in line[1].split(",")}
    assert {(entry.dataset, entry.metric) for entry in read(path).runs} == measured
    assert path.stat().st_size < 500_000

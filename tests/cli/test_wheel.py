"""What is distributed: the wheel holds all that it needs, the sdist all that the tests need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.paths import REPOSITORY


def test_a_wheel_runs_the_main_job_from_any_directory(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(REPOSITORY)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = tmp_path.glob("pmbench-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    names = zipfile.ZipFile(wheel).namelist()
    assert "pmbench/data_manifests/weights.toml" in names
    assert "pmbench/data/ladder-2afc.h5" in names
    assert "pmbench/data/references.bib" in names
    assert "pmbench/golden/bapps_sample.json" in names
    assert "pmbench/reporting/site/templates/index.html.j2" in names
    assert "pmbench/reporting/site/assets/report.css" in names
    assert not [name for name in names if name.startswith(("tests/", "tools/"))]

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "100"}
    run = [sys.executable, "-m", "pmbench", "eval", "-m", "l2", "-d", "ladder-jnd"]
    told = subprocess.run(
        run, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True
    )
    assert "synthetic, no human votes" in told.stdout
    where = "import pmbench; print(pmbench.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=elsewhere, env=environment, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    assert found.startswith(str(site))


def sdist(folder: Path) -> Path:
    """Build the sdist; return the folder that it unpacks to."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (archive,) = folder.glob("pmbench-*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def test_an_sdist_is_the_whole_checkout(tmp_path: Path) -> None:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("needs the git checkout")
    unpacked = sdist(tmp_path)
    git = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    tracked = git.stdout.rstrip("\0").split("\0")
    assert "tests/example_project/.github/workflows/metric.yml" in tracked
    assert [name for name in tracked if not (unpacked / name).is_file()] == []


@pytest.mark.slow
def test_the_tests_of_an_sdist_collect(tmp_path: Path) -> None:
    unpacked = sdist(tmp_path)
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"]
    done = subprocess.run(
        collect, cwd=unpacked, env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    files = {line.partition(":")[0] for line in done.stdout.splitlines() if line}
    assert len(files) == len(list(unpacked.glob("tests/**/test_*.py")))

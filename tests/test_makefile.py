"""The Makefile before it installs anything: what it says of room, and what it would run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.disk import file_size_limit, mounted
from support.paths import REPOSITORY

INDEX = "https://packages.example/cpu"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if shutil.which("make") is None:
        pytest.skip("needs make")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # without what a make that runs these tests has set
    environment = {
        name: value for name, value in os.environ.items() if "MAKE" not in name and name != "VENV"
    }
    return subprocess.run(
        ["make", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ([], "6.3 GB of disk and 3 GB of downloads"),
        ([f"TORCH_INDEX={INDEX}"], "1.5 GB of disk and 0.4 GB of downloads"),
    ],
)
def test_a_disk_that_is_too_small_is_told_before_anything_is_installed(
    checkout: Path, words: list[str], size: str
) -> None:
    with mounted(checkout / "small", "size=100m"):
        ended = make(checkout, "demo", "VENV=small/venv", *words)
        assert ended.returncode == 2
        assert ended.stdout == (
            f"Installing into small/venv takes {size}; 0.1 GB are free there.\n"
            "make room, set VENV=/another/place, or take a smaller torch: see TORCH_INDEX in the "
            "Makefile\n"
        )
        assert list((checkout / "small" / "venv").iterdir()) == []


def test_an_environment_without_pip_is_made_anew(checkout: Path) -> None:
    with file_size_limit(10_000):  # such as where Debian's python3-venv is missing
        for _ in range(2):
            ended = make(checkout, ".venv/bin/python", f"PYTHON={sys.executable}")
            assert ended.returncode == 2
            assert ended.stdout.count(" -m venv .venv") == 1
    assert not (checkout / ".venv" / "bin" / "pip").exists()


def test_torch_is_taken_from_the_index_that_was_named(checkout: Path) -> None:
    def installs(*words: str) -> list[str]:
        lines = make(checkout, "--dry-run", "test", *words).stdout.splitlines()
        return [line.partition("|| echo -qq) ")[2] for line in lines if "pip install" in line]

    assert installs() == [" -e '.[dev]'"]
    assert installs(f"TORCH_INDEX={INDEX}", "PIP_OPTIONS=--no-cache-dir") == [
        f"--no-cache-dir --index-url '{INDEX}' torch torchvision",
        "--no-cache-dir -e '.[dev]'",
    ]

"""What a shell completes, asked for by a real one, and without imports that take long."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pmbench.cli import completion
from pmbench.datasets import manifest
from pmbench.metrics import registered
from pmbench.metrics.external.entry_points import GROUP
from pmbench.utils import paths

Complete = Callable[[str], list[str]]


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """What bash offers after a line has been typed."""
    program = tmp_path / "bin" / "pmbench"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom pmbench.cli import main\nmain()\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(paths.PACKAGE.parent))
    # which leaves the shell's name to an argument, as none is above a test
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")

    def offered(line: str) -> list[str]:
        words = line.split(" ")
        script = (
            'eval "$(pmbench --show-completion bash)"\n'
            f"COMP_WORDS=({' '.join(words)}) COMP_CWORD={len(words) - 1}\n"
            '_pmbench_completion pmbench\nprintf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return done.stdout.split()

    return offered


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("pmbench eval -m mmdpp", ["mmdpp", "mmdppp"]),
        ("pmbench speed --metric al", ["all"]),
        ("pmbench eval -m lpips-alex,ss", ["lpips-alex,ssim"]),
        ("pmbench check -m l2 -d ladder-", ["ladder-2afc", "ladder-jnd"]),
        ("pmbench leaderboard -d bapps-j", ["bapps-jnd-val"]),
        ("pmbench score d.csv --protocol j", ["jnd"]),
        ("pmbench download ladder-j", ["ladder-jnd"]),
        ("pmbench show lpips-squeeze-", ["lpips-squeeze-v0.0", "lpips-squeeze-watson"]),
    ],
)
def test_a_shell_completes_names(complete: Complete, line: str, names: list[str]) -> None:
    if line.startswith("pmbench speed"):
        names = [*names, *(name for name in registered() if name.startswith("al"))]
    assert sorted(complete(line)) == sorted(names)


def test_the_names_are_those_that_there_are() -> None:
    """A new metric has its name in ``pmbench/data/metrics.txt``."""
    own = (paths.DATA / "metrics.txt").read_text().split()
    assert own == sorted(name for name, one in registered().items() if one.family != "broken")
    assert {*completion.metric_names()} >= {*own}
    assert {*completion.dataset_names()} == {*manifest.datasets(), *manifest.groups()}
    assert completion.PLUGINS == GROUP


def test_own_manifests_have_names_too_and_damaged_ones_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text('name = "faces"\ngroups = ["people"]\n')
    (tmp_path / "damaged.toml").write_bytes(b"name = \xff")
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(tmp_path))
    names = completion.dataset_names()
    assert {"faces", "people", "ladder"} <= {*names}
    assert "damaged" not in names


def test_a_user_who_waits_for_names_waits_for_no_heavy_import() -> None:
    environment = {"COMP_WORDS": "pmbench eval -m ss", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from pmbench.cli import app\n"
         "app(prog_name='pmbench')"],
        env={**os.environ, **environment, "_PMBENCH_COMPLETE": "complete_bash"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["ssim"]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"torch", "numpy", "pandas", "scipy", "h5py"}

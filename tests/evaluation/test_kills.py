"""kill -9 at any moment: the same command, run again, comes to the same bits and leaves no rubbish.

Each command is a real process that gets a real SIGKILL: at random moments, before every single
change of a file, and where a file has just appeared.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.forked import ForkServer, Running
from support.http_server import Server, serving
from support.kills import (
    Download,
    Eval,
    Pack,
    Scene,
    Shown,
    Survival,
    baseline,
    digest,
    export,
    report,
)  # fmt: skip
from support.paths import REPOSITORY

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

FEW, MANY = 3, 100


def after(seconds: float) -> Callable[[Running], None]:
    """Return a wait of so long since the command was started (or until it ends)."""

    def wait(running: Running) -> None:
        while running.running() and time.monotonic() < running.started + seconds:
            time.sleep(0.001)

    return wait


def when(folder: Path, pattern: str) -> Callable[[Running], None]:
    """Return a wait until a file appears (or the command ends)."""

    def wait(running: Running) -> None:
        while running.running() and not any(folder.glob(pattern)):
            time.sleep(0.0005)

    return wait


def at_random_moments(survival: Survival, count: int, seed: int) -> None:
    moments = np.random.default_rng(seed)
    while survival.tally.kills < count:
        survival.kill(after(moments.uniform(0, survival.duration)))
    survival.finish()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def scenes(parent: ForkServer, tmp_path: Path, server: Server) -> dict[str, Callable[[], Scene]]:
    return {
        "eval": lambda: Eval(parent, tmp_path, ()),
        "pack": lambda: Pack(parent, tmp_path),
        "download": lambda: Download(parent, tmp_path, server=server),
    }


# --- a few of each, each time ---------------------------------------------------------------------

# seldom are those hit by chance that matter most: what has just appeared when the kill comes
EVENTS = {
    "eval": ("made/*/l1/distances.h5", "made/*/mmdpp/journal.bin", "made/leaderboard.csv"),
    "pack": ("made/packs/*.lock", "made/packs/*.tmp", "made/packs/*.h5"),
    "download": ("made/downloads/toy/*/*.part", "made/downloads/toy/*/*.gz", "made/packs/*.h5"),
}


@pytest.mark.parametrize("what", EVENTS)
def test_a_few_kills(what: str, parent: ForkServer, tmp_path: Path, server: Server) -> None:
    scene = scenes(parent, tmp_path, server)[what]()
    if isinstance(scene, Eval):
        scene = Eval(parent, tmp_path, (), limit=2, metrics=("l1", "mmdpp"))
    survival = Survival(scene)
    for pattern in EVENTS[what]:
        while not survival.kill(when(tmp_path, pattern)):
            pass  # it was quicker than the eye
    survival.finish()
    print(f"{what}: {survival.tally}")  # noqa: T201
    assert survival.tally.kills == FEW
    assert survival.tally.reused > 0


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("what", EVENTS)
def test_kills_at_random_moments(
    what: str, parent: ForkServer, tmp_path: Path, server: Server
) -> None:
    survival = Survival(scenes(parent, tmp_path, server)[what](), runs=2)
    at_random_moments(survival, MANY, seed=5)
    print(f"{what}: {survival.tally}")  # noqa: T201
    assert survival.tally.kills == MANY
    assert survival.tally.reused > 0
    assert len(survival.tally.phases) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("what", EVENTS)
def test_a_kill_before_every_single_change_of_a_file(
    what: str, parent: ForkServer, tmp_path: Path, server: Server
) -> None:
    scene = scenes(parent, tmp_path, server)[what]()
    if isinstance(scene, Eval):
        scene = Eval(parent, tmp_path, (), limit=1, metrics=("l1", "ssim"))
    Survival(scene).kill_before_every_change(what)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "stride"), [(report, 6), (baseline, 1), (export, 1)])
def test_what_is_made_of_runs_is_whole_or_not_there(
    make: Callable[[ForkServer, Path], Shown], stride: int, parent: ForkServer, tmp_path: Path
) -> None:
    survival = Survival(make(parent, tmp_path))
    step = 0
    while survival.kill(step):
        whole = {name for name in survival.scene.names() if ".tmp" not in name}
        assert whole in (set(), survival.names)
        step += stride
        if step % (2 * stride) == 0:  # else the next one finds what two killed ones have left
            survival.finish()
    print(f"{make.__name__}: {survival.tally}")  # noqa: T201
    assert survival.tally.kills > 1


@pytest.mark.slow
def test_kills_of_the_command_as_a_shell_starts_it(tmp_path: Path) -> None:
    """The same without the warm parent, whose children have everything imported."""
    words = ("eval", "-m", "l1,mmdpp", "-d", "ladder-2afc", "--batch-size", "1", "--limit", "8")
    environment = {
        **os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1",
        "PMBENCH_HOME": str(tmp_path / "home"), "PMBENCH_OFFLINE": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "pmbench", *words, "--results"]

    def run(results: str, seconds: float | None) -> int:
        with subprocess.Popen(
            [*command, results], env=environment, cwd=tmp_path,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait()

    started = time.monotonic()
    assert run("undisturbed", None) == 0
    duration = time.monotonic() - started
    moments = np.random.default_rng(7)
    kills = 0
    while kills < 10:
        killed = run("killed", moments.uniform(0.3, 1) * duration) == -signal.SIGKILL
        kills += killed
        if not killed or kills == 10:
            assert killed is False or run("killed", None) == 0
            for name in ("l1", "mmdpp"):
                parts = [f"{folder}/ladder-2afc@first8/{name}/distances.h5"
                         for folder in ("killed", "undisturbed")]  # fmt: skip
                assert digest(tmp_path / parts[0]) == digest(tmp_path / parts[1])
            assert not list((tmp_path / "killed").rglob("*.tmp"))
            shutil.rmtree(tmp_path / "killed")

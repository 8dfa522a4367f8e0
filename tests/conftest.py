"""Fixtures that every test file may use."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import pmbench
from support.forked import ForkServer, start_fork_server
from support.measured import EVAL
from support.paths import SHARED


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's settings and cache from tests, and from fixtures that many tests share."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PMBENCH_")]:
            if not name.startswith("PMBENCH_REQUIRE_"):
                patch.delenv(name)
        patch.setenv("PMBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_collection_of_what_stays() -> None:
    """Let no garbage collection go through the modules, which takes 0.2 s; evaluations ask for it.

    What a test makes is collected as ever.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test a cache directory of its own, and none of another test's settings.

    Options such as --manifests speak to the rest of the process through its environment.
    """
    folder = tmp_path / "pmbench-home"
    monkeypatch.setenv("PMBENCH_HOME", str(folder))
    yield folder
    for name in [name for name in os.environ if name.startswith("PMBENCH_")]:
        if not name.startswith("PMBENCH_REQUIRE_"):
            del os.environ[name]


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without a network, on a terminal of 80 columns."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference material, or skip; under PMBENCH_REQUIRE_SHARED=1, fail."""
    if not SHARED.is_dir():
        if os.environ.get("PMBENCH_REQUIRE_SHARED"):
            pytest.fail(f"PMBENCH_REQUIRE_SHARED is set and {SHARED} does not exist")
        pytest.skip(f"needs the reference material in {SHARED}")
    return SHARED


@pytest.fixture
def reference_weights(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point PMBENCH_WEIGHTS at the reference trunks."""
    monkeypatch.setenv("PMBENCH_WEIGHTS", str(shared / "weights"))
    return shared / "weights"


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Return a process that has imported pmbench, and forks others that run a command."""
    environment = {"PMBENCH_OFFLINE": "1", "COLUMNS": "200", "NO_PROXY": "127.0.0.1"}
    with start_fork_server(tmp_path_factory.mktemp("streams"), environment) as server:
        yield server


@pytest.fixture(scope="session")
def measured_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results of two metrics on 54 triplets, to be copied."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pmbench(*EVAL)
    return folder / "results"


@pytest.fixture
def results_on_disk(
    measured_results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Work in a folder with results of two metrics; the cache lies there too."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(measured_results, "results")
    return Path("results")


@pytest.fixture
def forget_networks() -> None:
    """Let no network be remembered from another test."""
    from pmbench.metrics.external import net  # torch, which many tests do without

    net.trunk.cache_clear()

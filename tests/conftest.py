"""Fixtures that every test file may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from warm import Warm, warm

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's settings and cache from tests, and from fixtures that many tests share."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PMBENCH_")]:
            if not name.startswith("PMBENCH_REQUIRE_"):
                patch.delenv(name)
        patch.setenv("PMBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a cache directory of its own, and none of another test's settings.

    Options such as --manifests speak to the rest of the process through its environment.
    """
    for name in [name for name in os.environ if name.startswith("PMBENCH_")]:
        if not name.startswith("PMBENCH_REQUIRE_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "pmbench-home"
    monkeypatch.setenv("PMBENCH_HOME", str(folder))
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
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Return a process that has imported pmbench, and forks others that run a command."""
    environment = {"PMBENCH_OFFLINE": "1", "COLUMNS": "200", "NO_PROXY": "127.0.0.1"}
    with warm(tmp_path_factory.mktemp("streams"), environment) as found:
        yield found

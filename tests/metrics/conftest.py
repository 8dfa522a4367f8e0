"""What tests of users' metrics work in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pmbench.metrics.external import entry_points


@pytest.fixture
def import_folder(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder, with sentences on one line; forget what a test imports from it."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield empty_folder
    for name in set(sys.modules) - before:
        if str(empty_folder.parent) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    entry_points._plugins.cache_clear()


@pytest.fixture(params=[1, 4], ids=["one thread", "four threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)

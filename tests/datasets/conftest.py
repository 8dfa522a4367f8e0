"""A way to give ``download`` a file, which nothing may escape from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.factories import manifest

from pmbench.datasets.download import DownloadOptions, download
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import resize_for
from pmbench.utils.progress import Silent


@pytest.fixture
def give(tmp_path: Path, home: Path) -> Iterator[Callable[..., Pack]]:
    """Return a way to give ``download`` a file, and see that nothing lies where it should not."""
    (tmp_path / "in").mkdir()
    entry = manifest(tmp_path / "in", source={"url": "http://127.0.0.1/toy.tar"})
    path = tmp_path / "in" / "toy.tar"

    def given(data: bytes | Path) -> Pack:
        if isinstance(data, bytes):
            path.write_bytes(data)
        source = str(path if isinstance(data, bytes) else data)
        return download(entry, resize_for(entry, None), DownloadOptions(source=source), Silent())

    before = _everything(tmp_path)
    yield given
    new = {name for name in _everything(tmp_path) - before if "pmbench-home" not in name}
    assert {Path(name).name for name in new if not name.startswith(str(tmp_path / "in"))} == set()
    packs = {path.name for path in (home / "packs").glob("*")}
    assert packs <= {"toy.none.h5", "toy.none.lock"}
    if "toy.none.h5" in packs:
        Pack.open(home / "packs" / "toy.none.h5")


def _everything(folder: Path) -> set[str]:
    """Return what lies in a folder, and beside it."""
    return {str(path) for path in (*folder.rglob("*"), *folder.parent.iterdir())}

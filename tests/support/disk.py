"""Disks that are full or read-only, and what is said of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

resource = pytest.importorskip("resource")  # what limits are set with is not on Windows
NO_ROOM = (
    "No space left on device; make room (`pmbench cache clean --dry-run` says what can go), and "
    "run the same command again"
)
TOO_LONG = (
    "File too large; the system allows no longer file there: raise the limit (`ulimit -f`), or "
    "name another with --results, -o or PMBENCH_HOME, and run the same command again"
)
FORBIDDEN = (
    "; expected a place that you may read and write: change its permissions, or name another with "
    "--results, -o or PMBENCH_HOME"
)
IN_THE_WAY = (
    "; expected a folder: move what is there out of the way, or name another with --results, -o or "
    "PMBENCH_HOME"
)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Make the system refuse to write files longer than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system in memory, or skip where that is not allowed."""
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    try:
        allowed = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def drafts_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".tmp", ".spool")]

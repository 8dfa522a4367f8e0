"""A disk whose power can be cut: what the system has not put on it by then is lost.

It is an ext4 file system in a file, mounted for itself. The system can be told to leave it at once,
with all that waits in memory; the next mount finds what a machine finds after a power cut.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN


class Cut(IntEnum):
    """What was not synced and is lost; the system decides at any moment, so both can happen."""

    BYTES = 1  # names have just been written, what stands in the files has not
    ALL = 2  # neither has


def cut_power(folder: Path, cut: Cut) -> None:
    """Cut the power of the disk that holds ``folder``."""
    import fcntl  # not on Windows

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, _SHUTDOWN, struct.pack("I", cut))
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Disk:
    """A mounted disk, and what is lost when its power is cut."""

    folder: Path
    image: Path
    lost: Cut

    def cut(self) -> None:
        """Cut the power now, and start again."""
        cut_power(self.folder, self.lost)
        self.restart()

    def sync(self) -> None:
        """Put on the disk what waits in memory."""
        _run("sync", "--file-system", self.folder)

    def restart(self) -> None:
        """Mount it after a power cut."""
        _run("umount", self.folder)
        self.mount()

    def mount(self) -> None:
        # without the option, ext4 guesses which files want a sync; other file systems do not
        _run("mount", "-o", "loop,noauto_da_alloc", self.image, self.folder)


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)


@contextmanager
def mounted_disk(folder: Path, lost: Cut) -> Iterator[Disk]:
    """Mount a new disk at ``folder``, or skip where that is not allowed."""
    disk = Disk(folder, folder.with_suffix(".img"), lost)
    folder.mkdir()
    with disk.image.open("wb") as file:
        file.truncate(64 << 20)
    try:
        _run("mkfs.ext4", "-q", disk.image)
        disk.mount()
    except (FileNotFoundError, subprocess.CalledProcessError):
        import pytest  # slow, and no concern of those who cut

        pytest.skip("may not mount a file system")
    try:
        yield disk
    finally:
        _run("umount", folder)

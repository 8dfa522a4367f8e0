"""Locks: what one process does to a file, no other does at the same time.

The system frees the lock of a killed process at once; what stays is an empty shell of a file, in
which the last holder's name stands. That another process holds it, only the lock itself says.
"""

from __future__ import annotations

import errno
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout


class BusyError(Exception):
    """Another process holds the lock; the message says which, as far as that is known."""


@contextmanager
def exclusive(
    lock: Path, patience: float = 0, tell: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold a lock, and wait for it so many seconds, at most (-1: as long as it takes).

    ``tell`` is told who holds it before the waiting begins. Raises BusyError where it is still held
    after that.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    file = FileLock(lock)
    try:
        file.acquire(timeout=0)
    except Timeout as error:
        if not patience:
            raise BusyError(_holder(lock)) from error
        if tell is not None:
            tell(_holder(lock))
        try:
            file.acquire(timeout=patience, poll_interval=0.1)
        except Timeout:
            raise BusyError(_holder(lock)) from error
    try:
        with suppress(OSError):  # a full disk: the lock holds without a name in it
            lock.write_text(_we(), encoding="utf-8")
        yield
    finally:
        file.release()


def _we() -> str:
    now = datetime.now(UTC).isoformat(" ", timespec="seconds")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return f"process {os.getpid()} on {platform.node()} since {now}, `{command}`"


def _holder(lock: Path) -> str:
    """Return who holds a lock, in words."""
    with suppress(OSError, ValueError):
        said = lock.read_text(encoding="utf-8").strip()
        if said.startswith("process ") and said.isprintable():
            return f"another pmbench ({said})"
    return "another pmbench"


def is_free(lock: Path) -> bool:
    """Return whether nobody holds a lock, without making one."""
    if not lock.is_file() or lock.is_symlink():
        return True
    file = FileLock(lock)
    try:
        file.acquire(timeout=0)
    except Timeout:
        return False
    except OSError:  # where nothing can be written, nobody does
        return True
    file.release()
    return True


def is_read(path: Path) -> bool:
    """Return whether a process has an HDF5 file open, as far as the system tells."""
    if sys.platform == "win32":  # which does not remove what is open
        return False
    import fcntl

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    return False

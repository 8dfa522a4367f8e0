"""Files that are either whole or absent, and what to say where the system refuses to write one."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pmbench.utils.errors import PmbenchError

_DRAFT = re.compile(r".+\.(?P<host>[0-9a-f]{4})-(?P<pid>\d+)-[0-9a-f]{6}\.tmp", re.DOTALL)
_FORGOTTEN = 24 * 3600  # seconds; whatever its name says, nobody writes a draft that is older
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}
_ELSEWHERE = "name another with --results, -o or PMBENCH_HOME"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it takes the place of ``path`` at the end.

    Several processes and threads may write the same path: each has a draft of its own, and the
    last one wins. What a killed process left is removed. After an exception nothing is left,
    ``path`` is as it was. Raises PmbenchError where the system refuses to write it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in stale_drafts(path):
        left.unlink(missing_ok=True)
    draft = draft_beside(path)
    try:
        with writing(path, draft):
            yield draft
            publish(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def publish(draft: Path, path: Path) -> None:
    """Give a whole file its name, on disk too: after a power cut no name may stand for less."""
    sync(draft)  # the bytes must be on disk before the name is
    draft.replace(path)
    sync_names(path.parent)


def sync(path: Path) -> None:
    """Put the bytes of a file, or of all files in a folder, on disk."""
    if path.is_dir():
        for inside in path.iterdir():
            sync(inside)
        sync_names(path)
    else:
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def sync_names(folder: Path) -> None:
    """Put the names in a folder on disk, where the system knows such a thing."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# --- drafts ---------------------------------------------------------------------------------------


def draft_beside(path: Path) -> Path:
    """Return a name for a draft of ``path`` that no process and no thread has beside it."""
    return path.with_name(f"{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(3)}.tmp")


def stale_drafts(path: Path) -> list[Path]:
    """Return the drafts of ``path`` that nobody will finish."""
    return [
        result
        for result in path.parent.glob(f"{glob.escape(path.name)}.*.tmp")
        if target_of(result) == path.name and is_stale(result)
    ]


def target_of(draft: Path) -> str:
    """Return the name of the file that ``draft`` is to become, "" where it is no draft."""
    return draft.name.rsplit(".", 2)[0] if _DRAFT.fullmatch(draft.name) else ""


def is_stale(draft: Path) -> bool:
    """Return whether nobody writes a draft any more.

    Its process is gone, or it is a day old: a number may meanwhile be another process's, and of
    another machine, or of another container, nothing is known here.
    """
    result = _DRAFT.fullmatch(draft.name)
    if result is not None and result["host"] == _host() and not _alive(int(result["pid"])):
        return True
    try:
        return time.time() - draft.lstat().st_mtime > _FORGOTTEN
    except OSError:  # it has just become what it was to be
        return False


def _host() -> str:
    return hashlib.blake2b(platform.node().encode(), digest_size=2).hexdigest()


def _alive(pid: int) -> bool:
    """Return whether a process of that number runs (also if nobody can tell)."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


# --- what the system refuses ----------------------------------------------------------------------


@contextmanager
def writing(path: Path, draft: Path | None = None) -> Iterator[None]:
    """Raise PmbenchError, which names ``path``, where the system refuses to write it.

    Writing fails without a word about which file; an error that names one other than ``path``, and
    neither its draft nor what is in that, is about that one, and passes.
    """
    try:
        yield
    except OSError as error:
        named = None if error.filename is None else Path(os.fsdecode(error.filename))
        known = (None, path, draft)
        if isinstance(error, BrokenPipeError) or not (
            named in known or (named is not None and draft is not None and draft in named.parents)
        ):
            raise
        raise PmbenchError(refusal(error, path)) from error


def refusal(error: OSError, path: Path | str) -> str:
    """Return a sentence about what the system refuses to do with ``path``, and what to do then."""
    message = f"{path}: {error.strerror or error}"
    if error.errno in _FULL:
        return (
            f"{message}; make room (`pmbench cache clean --dry-run` says what can go), and run the "
            "same command again"
        )
    if error.errno == errno.EFBIG:
        return (
            f"{message}; the system allows no longer file there: raise the limit (`ulimit -f`), or "
            f"{_ELSEWHERE}, and run the same command again"
        )
    if error.errno in _FORBIDDEN:
        return (
            f"{message}; expected a place that you may read and write: change its permissions, or "
            f"{_ELSEWHERE}"
        )
    if error.errno in _NO_FOLDER:
        return f"{message}; expected a folder: move what is there out of the way, or {_ELSEWHERE}"
    return message


def no_room(error: OSError) -> bool:
    """Return whether the system refuses to write since there is no room."""
    return error.errno in {*_FULL, errno.EFBIG}


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to ``path``, whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

"""URL + checksum -> a verified file, from a mirror or its official place.

While a file is incomplete it is called ``NAME.part``, and whole ``NAME.unverified``; the name NAME
stands for a whole, verified file only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import publish, sha256_of
from pmbench.utils.http import RetryPolicy, state_of, transfer
from pmbench.utils.locks import BusyError, exclusive
from pmbench.utils.progress import Reporter

_USUAL = RetryPolicy()
_AN_HOUR = 3600  # seconds
_NAME = re.compile(r"[\w .,;=@%+!~()'&$#\[\]-]{1,180}", re.ASCII)  # what any file system takes


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch, and how to know it."""

    url: str
    sha256: str | None = None
    sha256_prefix: str | None = None
    origin: str = ""  # who gives the checksum, where it is not the file's authors
    accept: bool = False  # go on where the checksum differs
    options: bool = True  # whether the user has --sha256 and --accept-checksum to say so
    size: float | None = None  # bytes, about; a file of more than twice as many is another

    @property
    def name(self) -> str:
        """The file's name, as in the URL."""
        name = re.split("[?#]", self.url)[0].rpartition("/")[2]
        return name if name.strip(".") and _NAME.fullmatch(name) else "download"

    def matches(self, digest: str) -> bool:
        """Return whether a file of this SHA-256 is the wanted one."""
        if self.sha256 is not None:
            return digest == self.sha256
        return digest.startswith(self.sha256_prefix or "")


def fetch(
    wanted: RemoteFile, folder: Path, reporter: Reporter, policy: RetryPolicy = _USUAL
) -> Path:
    """Return the path of the verified file in ``folder``, fetching what is missing of it.

    A mirror (PMBENCH_MIRROR, a URL under which the files lie by name) is asked first. Proxies and
    certificates are taken from the environment as httpx does. Raises PmbenchError where the file
    cannot be had, is not what was expected, or PMBENCH_OFFLINE forbids to ask.
    """
    path = folder / wanted.name
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(path, reporter):
        if path.exists():
            return path
        aside = path.with_name(path.name + ".unverified")
        if not aside.exists() or not (wanted.accept or wanted.matches(sha256_of(aside))):
            aside.unlink(missing_ok=True)
            _download(wanted, path, reporter, policy)
        return _verified(wanted, path, reporter)


def _download(wanted: RemoteFile, path: Path, reporter: Reporter, policy: RetryPolicy) -> None:
    """Leave the whole, unverified file at ``NAME.unverified``."""
    if os.environ.get("PMBENCH_OFFLINE", "0") not in ("", "0"):
        raise PmbenchError(
            f"{wanted.name} is not in {path.parent} and PMBENCH_OFFLINE is set; "
            f"fetch {wanted.url} where there is a network and put it there"
        )
    mirror = os.environ.get("PMBENCH_MIRROR")
    mirrored = [f"{mirror.rstrip('/')}/{wanted.name}"] if mirror else []
    refusals: list[str] = []
    largest = None if wanted.size is None else 2 * wanted.size
    part = path.with_name(path.name + ".part")
    for url in [*mirrored, wanted.url]:
        try:
            transfer(url, part, largest, reporter, policy)
        except PmbenchError as error:
            refusals.append(str(error))
        else:
            publish(part, path.with_name(path.name + ".unverified"))
            state_of(part).unlink(missing_ok=True)
            return
    raise PmbenchError("; ".join(refusals))


def _verified(wanted: RemoteFile, path: Path, reporter: Reporter) -> Path:
    """Give ``NAME.unverified`` its name if its checksum is right, or knowingly accepted."""
    aside = path.with_name(path.name + ".unverified")
    digest = sha256_of(aside)
    if not wanted.matches(digest):
        message = (
            f"{wanted.name}: the checksum differs: expected sha256 "
            f"{wanted.sha256 or (wanted.sha256_prefix or '') + '…'}, got {digest}"
        )
        if not wanted.accept:
            origin = (
                f" The expected one comes from {wanted.origin}, so it may be the one that is wrong."
                if wanted.origin
                else ""
            )
            known = (
                f"; if you know this file to be right, give --sha256 {digest}, or "
                "--accept-checksum to go on with whatever came"
            )
            raise PmbenchError(
                f"{message}.{origin} Run it again to fetch anew{known if wanted.options else ''}"
            )
        reporter.note(f"{message}; going on, as asked")
    # of a run that was killed when the part had just become whole
    state_of(path.with_name(path.name + ".part")).unlink(missing_ok=True)
    publish(aside, path)
    return path


@contextmanager
def _only_one(path: Path, reporter: Reporter) -> Iterator[None]:
    """Keep a second process from fetching the same file at the same time."""
    with ExitStack() as stack:
        try:
            message = f"{path.name}: waiting, since it is fetched by"
            lock = exclusive(
                lock_of(path), _AN_HOUR, lambda holder: reporter.note(f"{message} {holder}")
            )
            stack.enter_context(lock)
        except BusyError as error:
            raise PmbenchError(
                f"{error} has been fetching {path.name} for an hour; end it, or wait for it"
            ) from error
        yield


def lock_of(path: Path) -> Path:
    """Return the lock that whoever fetches a file holds."""
    return path.with_name(path.name + ".lock")

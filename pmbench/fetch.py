"""URL + checksum -> a verified file, resumed and retried.

While a file is incomplete it is called ``NAME.part``, with ``NAME.part.json`` saying which version
of which URL it is a part of; the name NAME stands for a whole, verified file only.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from pmbench import __version__
from pmbench.errors import PmbenchError
from pmbench.files import sha256_of, write_text
from pmbench.reporting import Reporter, Task

_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT = 60.0  # seconds; a server's Retry-After beyond this is a refusal
_ELSEWHERE = "check the URL and the network, or name another place with --mirror or --from"


@dataclass(frozen=True)
class Patience:
    """How long to go on: tries without progress, first wait, silence that counts as a failure."""

    tries: int = 4
    wait: float = 0.5  # seconds, doubled from try to try
    silence: float = 30.0  # seconds


@dataclass(frozen=True)
class Wanted:
    """A file to fetch, and how to know it."""

    url: str
    sha256: str | None = None
    sha256_prefix: str | None = None
    origin: str = ""  # who gives the checksum, where it is not the file's authors
    accept: bool = False  # go on where the checksum differs

    @property
    def name(self) -> str:
        """The file's name, as in the URL."""
        name = re.split("[?#]", self.url)[0].rpartition("/")[2]
        return name if name.strip(".") else "download"

    def matches(self, digest: str) -> bool:
        """Return whether a file of this SHA-256 is the wanted one."""
        if self.sha256 is not None:
            return digest == self.sha256
        return digest.startswith(self.sha256_prefix or "")


class _TryAgainError(Exception):
    """A passing fault; ``after`` is what the server asks to wait, in seconds."""

    def __init__(self, what: str, after: float | None = None) -> None:
        super().__init__(what)
        self.after = after


def fetch(
    wanted: Wanted, folder: Path, reporter: Reporter, patience: Patience = Patience()
) -> Path:
    """Return the path of the verified file in ``folder``, fetching what is missing of it.

    A mirror (PMBENCH_MIRROR, a URL under which the files lie by name) is asked first. Proxies and
    certificates are taken from the environment as httpx does. Raises PmbenchError where the file
    cannot be had, is not what was expected, or PMBENCH_OFFLINE forbids to ask.
    """
    path = folder / wanted.name
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(path):
        if path.exists():
            return path
        aside = path.with_name(path.name + ".unverified")
        if not aside.exists() or not (wanted.accept or wanted.matches(sha256_of(aside))):
            aside.unlink(missing_ok=True)
            _download(wanted, path, reporter, patience)
        return _verified(wanted, path, reporter)


def _download(wanted: Wanted, path: Path, reporter: Reporter, patience: Patience) -> None:
    """Leave the whole, unverified file at ``NAME.unverified``."""
    if os.environ.get("PMBENCH_OFFLINE", "0") not in ("", "0"):
        raise PmbenchError(
            f"{wanted.name} is not in {path.parent} and PMBENCH_OFFLINE is set; "
            f"fetch {wanted.url} where there is a network and put it there"
        )
    mirror = os.environ.get("PMBENCH_MIRROR")
    mirrored = [f"{mirror.rstrip('/')}/{wanted.name}"] if mirror else []
    refusals: list[str] = []
    for url in [*mirrored, wanted.url]:
        try:
            _patiently(url, path, reporter, patience)
        except PmbenchError as error:
            refusals.append(str(error))
        else:
            part = path.with_name(path.name + ".part")
            _state(part).unlink(missing_ok=True)
            part.replace(path.with_name(path.name + ".unverified"))
            return
    raise PmbenchError("; ".join(refusals))


def _patiently(url: str, path: Path, reporter: Reporter, patience: Patience) -> None:
    """Fetch ``url`` to ``NAME.part``, resuming and retrying."""
    part = path.with_name(path.name + ".part")
    timeout = httpx.Timeout(patience.silence)
    headers = {"User-Agent": f"pmbench/{__version__}", "Accept-Encoding": "identity"}
    furthest, tries, wait = _kept(part, url), 0, patience.wait
    with (
        httpx.Client(timeout=timeout, headers=headers, follow_redirects=True) as client,
        reporter.task(f"fetching {path.name}", None, "B") as task,
    ):
        while True:
            try:
                _once(client, url, part, task)
                break
            except _TryAgainError as error:
                fault, asked = str(error), error.after
            except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
                raise PmbenchError(f"{url} cannot be fetched: {error}; check the URL") from error
            except httpx.TransportError as error:
                fault, asked = str(error) or type(error).__name__, None
            if _length(part) > furthest:  # progress: the connection is bad, not gone
                furthest, tries, wait = _length(part), 0, patience.wait
            tries += 1
            if tries >= patience.tries or (asked or 0) > _LONGEST_WAIT:
                kept = _kept(part, url)
                advice = f"{kept:,} bytes are kept, run it again to go on" if kept else _ELSEWHERE
                raise PmbenchError(
                    f"{url} cannot be fetched: {fault} "
                    f"(tried {tries} times without progress); {advice}"
                )
            task.describe(f"waiting for {path.name}: {fault}")
            time.sleep(wait if asked is None else asked)
            wait *= 2
    if _is_page(part):
        part.unlink()
        raise _page(url, "the file begins like HTML")


def _once(client: httpx.Client, url: str, part: Path, task: Task) -> None:
    """Ask once for what is missing of ``part``, and append it."""
    have, version = _kept(part, url), _version_of(part, url)
    headers = {"Range": f"bytes={have}-", "If-Range": version} if have and version else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code in _RETRIED:
            asked = _asked(response)
            request = f" and asks to wait {asked:,.0f} s" if asked else ""
            raise _TryAgainError(f"the server answered {response.status_code}{request}", asked)
        if response.status_code == 416:
            if have and response.headers.get("Content-Range") == f"bytes */{have}":
                return  # a killed run had fetched all of it
            part.unlink(missing_ok=True)
            raise _TryAgainError("the server has fewer bytes than were kept; starting anew")
        if response.status_code not in (200, 206):
            raise PmbenchError(
                f"{url} cannot be fetched: the server answered {response.status_code}; {_ELSEWHERE}"
            )
        if response.status_code == 200:
            have = 0
        elif response.headers.get("Content-Range", "").split("-")[0].strip() != f"bytes {have}":
            part.unlink(missing_ok=True)
            raise _TryAgainError("the server sent another range than was asked for; starting anew")
        if have == 0:
            _refuse_page(response, url)
            part.unlink(missing_ok=True)  # first: it is no part of the version written here
            write_text(_state(part), json.dumps({"url": url, "version": _version(response)}))
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        task.describe(
            f"fetching {part.name.removesuffix('.part')}" + f" (resumed at {have:,} B)" * (have > 0)
        )
        task.expect(total, have)
        with part.open("ab" if have else "wb") as file:
            for block in response.iter_raw():
                file.write(block)
                task.advance(len(block))
    if total is not None and _length(part) != total:
        raise _TryAgainError(f"got {_length(part):,} of {total:,} bytes")


def _verified(wanted: Wanted, path: Path, reporter: Reporter) -> Path:
    """Give ``NAME.unverified`` its name if its checksum is right, or knowingly accepted."""
    aside = path.with_name(path.name + ".unverified")
    digest = sha256_of(aside)
    if not wanted.matches(digest):
        told = (
            f"{wanted.name}: the checksum differs: expected sha256 "
            f"{wanted.sha256 or (wanted.sha256_prefix or '') + '…'}, got {digest}"
        )
        if not wanted.accept:
            origin = (
                f" The expected one comes from {wanted.origin}, so it may be the one that is wrong."
                if wanted.origin
                else ""
            )
            raise PmbenchError(
                f"{told}.{origin} Run it again to fetch anew; if you know this file to be right, "
                f"give --sha256 {digest}, or --accept-checksum to go on with whatever came"
            )
        reporter.note(f"{told}; going on, as asked")
    aside.replace(path)
    return path


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Keep a second process from fetching the same file at the same time."""
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire(timeout=3600)
    except Timeout as error:
        raise PmbenchError(
            f"another pmbench has been fetching {path.name} for an hour; "
            f"if there is none, delete {lock.lock_file}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _refuse_page(response: httpx.Response, url: str) -> None:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise _page(url, kind)


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(256).lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _page(url: str, sign: str) -> PmbenchError:
    return PmbenchError(
        f"{url} answered with a web page ({sign}) instead of the file; open it in a browser "
        "to see what it says, or name another place with --mirror or --from"
    )


def _version(response: httpx.Response) -> str | None:
    """Return what identifies this version of the file: a strong ETag or the date."""
    etag: str | None = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    date: str | None = response.headers.get("Last-Modified")
    return date


def _state(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _kept(part: Path, url: str) -> int:
    """Return how many bytes of the file at ``url`` are at hand and can be added to."""
    return _length(part) if _version_of(part, url) else 0


def _version_of(part: Path, url: str) -> str | None:
    """Return the version that the part at hand belongs to, or None where it cannot be resumed."""
    try:
        content = json.loads(_state(part).read_text())
        return str(content["version"]) if content["url"] == url and content["version"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _asked(response: httpx.Response) -> float | None:
    """Return the server's Retry-After, in seconds."""
    value = response.headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

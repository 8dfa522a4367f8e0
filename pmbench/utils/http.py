"""One URL -> ``NAME.part``: resumed, retried, and bounded in time and in bytes.

``NAME.part.json`` says which version of which URL the part is of: only that is added to. Headers
are foreign text: whatever stands in them, it is read or refused with a sentence.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import write_text, writing
from pmbench.utils.http_client import open_client, untrusted_certificate
from pmbench.utils.progress import Reporter, Task

_COMPRESSED = (".gz", ".tgz", ".z")
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT = 60.0  # seconds; a server's Retry-After beyond this is a refusal
ELSEWHERE = "name another place with --mirror or --from"
_RESERVE = 256 * 2**20  # bytes of a disk that a download leaves free, or 5 % of a small one
_DISK_CHECK = 16 * 2**20  # bytes after which the disk is looked at again


@dataclass(frozen=True)
class RetryPolicy:
    """How long to go on: tries without progress, first wait, and what counts as a failure.

    A window of time that brings less than ``slowest`` ends a try; as many bytes as it should have
    brought are progress.
    """

    tries: int = 4
    wait: float = 0.5  # seconds, doubled from try to try
    silence: float = 30.0  # seconds
    window: float = 60.0  # seconds
    slowest: float = 1000.0  # bytes a second: a third of the slowest mobile line's

    @property
    def step(self) -> float:
        """Bytes that count as progress."""
        return self.slowest * self.window


@dataclass(frozen=True)
class _Goal:
    """What is fetched, where to, and how many bytes it may have."""

    url: str
    part: Path
    largest: float | None

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.part.name.removesuffix(".part")


class _TryAgainError(Exception):
    """A passing fault; ``after`` is what the server asks to wait, in seconds."""

    def __init__(self, what: str, after: float | None = None) -> None:
        super().__init__(what)
        self.after = after


def transfer(
    url: str, part: Path, largest: float | None, reporter: Reporter, policy: RetryPolicy
) -> None:
    """Fetch the whole of ``url`` to ``part``.

    Raises PmbenchError where it cannot be had, is a web page, does not fit on the disk, or has more
    than ``largest`` bytes.
    """
    goal = _Goal(url, part, largest)
    furthest, tries, wait = _kept(part, url), 0, policy.wait
    with (
        open_client(policy.silence) as client,
        reporter.task(f"fetching {goal.name}", None, "B") as task,
    ):
        while True:
            try:
                _try(client, goal, task, policy)
                break
            except _TryAgainError as error:
                fault, asked = str(error), error.after
            if _length(part) >= furthest + policy.step:  # the connection is bad, not gone
                furthest, tries, wait = _length(part), 0, policy.wait
            tries += 1
            if tries >= policy.tries or (asked or 0) > _LONGEST_WAIT:
                kept = _kept(part, url)
                advice = f"{kept:,} bytes are kept, run it again to go on"
                raise PmbenchError(
                    f"{url} cannot be fetched: {fault} (tried {tries} times without progress); "
                    + (advice if kept else f"check the URL and the network, or {ELSEWHERE}")
                )
            task.describe(f"waiting for {goal.name}: {fault}")
            time.sleep(wait if asked is None else asked)
            wait *= 2
    if is_page(part):
        part.unlink()
        raise _a_page(url, "the file begins like HTML")


def is_page(path: Path) -> bool:
    """Return whether a file begins like a web page."""
    with path.open("rb") as file:
        start = file.read(256).lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _try(client: httpx.Client, goal: _Goal, task: Task, policy: RetryPolicy) -> None:
    """Ask once for what is missing of the part, and append it; a fault of the network may pass."""
    have, kept = _kept(goal.part, goal.url), _version_of(goal.part, goal.url)
    headers = {"Range": f"bytes={have}-", "If-Range": kept} if have and kept else {}
    try:
        with client.stream("GET", goal.url, headers=headers) as answer:
            if answer.status_code == 416 and have:
                if answer.headers.get("Content-Range") == f"bytes */{have}":
                    return  # a killed run had fetched all of it
                goal.part.unlink()
                raise _TryAgainError("the server has fewer bytes than were kept; starting anew")
            start = _check_answer(answer, goal, have, kept)
            total = _total_length(answer)
            task.describe(f"fetching {goal.name}" + f" (resumed at {start:,} B)" * (start > 0))
            task.expect(total, start)
            _append(answer, goal, start, task, policy)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
        raise PmbenchError(f"{goal.url} cannot be fetched: {error}; check the URL") from error
    except httpx.TransportError as error:
        if (why := untrusted_certificate(error)) is not None:
            raise PmbenchError(f"{goal.url} cannot be fetched: {why}") from error
        raise _TryAgainError(str(error) or type(error).__name__) from error
    if total is not None and _length(goal.part) != total:
        raise _TryAgainError(f"got {_length(goal.part):,} of {total:,} bytes")


# --- the answer -----------------------------------------------------------------------------------


def _check_answer(answer: httpx.Response, goal: _Goal, have: int, kept: str | None) -> int:
    """Return at which byte of the file the answer's body begins: at ``have``, or at 0.

    A body from 0 begins the part anew. Raises PmbenchError or _TryAgainError for what is not the
    file.
    """
    _refuse_downgrade(answer, goal.url)
    if answer.status_code in _RETRIED:
        asked = _retry_after(answer)
        request = f" and asks to wait {asked:,.0f} s" if asked else ""
        raise _TryAgainError(f"the server answered {answer.status_code}{request}", asked)
    if answer.status_code not in (200, 206):
        raise PmbenchError(
            f"{goal.url} cannot be fetched: the server answered {answer.status_code}; "
            f"check the URL and the network, or {ELSEWHERE}"
        )
    start = 0
    if answer.status_code == 206:
        content_range = _content_range(answer)
        start = int(content_range[1]) if content_range else -1
    if start not in (0, have):
        goal.part.unlink(missing_ok=True)
        raise _TryAgainError("the server sent another range than was asked for; starting anew")
    if start and _is_other_version(answer, kept):
        goal.part.unlink(missing_ok=True)
        raise _TryAgainError("the file changed on the server; starting anew")
    if start == 0:
        _check_content(answer, goal.url)
        goal.part.unlink(missing_ok=True)  # first: it is no part of the version written here
        state = {"url": goal.url, "version": _version(answer)}
        write_text(state_of(goal.part), json.dumps(state))
    return start


def _check_content(answer: httpx.Response, url: str) -> None:
    """Raise PmbenchError for a web page, and for what is not byte by byte what lies at the URL."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise _a_page(url, kind)
    coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    path = httpx.URL(url).path.lower()
    # many servers call a .gz file's own compression that of the transfer
    if coding not in ("", "identity") and not (
        coding.endswith("gzip") and path.endswith(_COMPRESSED)
    ):
        raise PmbenchError(
            f"{url} answered with the file in another form (Content-Encoding: {coding}), which was "
            f"not asked for and has another checksum; {ELSEWHERE}"
        )


def _refuse_downgrade(answer: httpx.Response, url: str) -> None:
    """Raise PmbenchError where a redirect led from https to http, which anybody may alter."""
    hops = [each.url for each in (*answer.history, answer)]
    plain = [hop for hop in hops if hop.scheme == "http"]
    if plain and hops[0].scheme == "https":
        raise PmbenchError(
            f"{url} leads to {plain[0]}, which is not encrypted, so anybody on the way may alter "
            f"what comes; {ELSEWHERE}"
        )


def _a_page(url: str, sign: str) -> PmbenchError:
    """Return the error for a web page in place of a file; ``sign`` is what shows it."""
    return PmbenchError(
        f"{url} answered with a web page ({sign}) instead of the file; open it in a browser "
        f"to see what it says, or {ELSEWHERE}"
    )


def _version(answer: httpx.Response) -> str | None:
    """Return what identifies this version of the file: a strong ETag or the date."""
    etag: str | None = answer.headers.get("ETag")
    if etag and not etag.startswith("W/") and _can_be_sent(etag):
        return etag
    date: str | None = answer.headers.get("Last-Modified")
    return date if date and _can_be_sent(date) else None


def _is_other_version(answer: httpx.Response, kept: str | None) -> bool:
    """Return whether an answer says that it is of another version than the one that is kept."""
    version = _version(answer)
    if version is None or kept is None or version.startswith('"') != kept.startswith('"'):
        return False  # a date is no ETag: some servers leave one of them out
    return version != kept


def _can_be_sent(text: str) -> bool:
    """Return whether a text may be the value of a header."""
    return text.isascii() and text.isprintable() and text == text.strip() != ""


def _total_length(answer: httpx.Response) -> int | None:
    """Return how many bytes the whole file has, or None where the answer does not say."""
    if answer.status_code != 206:
        length = answer.headers.get("Content-Length", "")
        return int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    content_range = _content_range(answer)
    return int(content_range[2]) if content_range and content_range[2] != "*" else None


def _content_range(answer: httpx.Response) -> re.Match[str] | None:
    value = answer.headers.get("Content-Range", "")
    return re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", value.strip())


def _retry_after(answer: httpx.Response) -> float | None:
    """Return the server's Retry-After, in seconds."""
    value = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]+", value):
        return min(float(value), 1e9)  # for ever
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):  # also a date that no clock shows
        return None


# --- the body -------------------------------------------------------------------------------------


def _append(
    answer: httpx.Response, goal: _Goal, have: int, task: Task, policy: RetryPolicy
) -> None:
    """Write what comes, unless it is too slow, or more than there may be or the disk can hold."""
    total = _total_length(answer) or 0
    _refuse_more(total, goal)
    _refuse_too_full(max(total - have, 0), goal)
    received = checked = before = 0
    end = time.monotonic() + policy.window
    with writing(goal.part), goal.part.open("ab" if have else "wb") as file:
        for block in answer.iter_raw():
            file.write(block)
            received += len(block)
            task.advance(len(block))
            _refuse_more(have + received, goal)
            if received - checked >= _DISK_CHECK:
                checked = received
                _refuse_too_full(0, goal)
            if time.monotonic() >= end:
                if received - before < policy.step:
                    raise _TryAgainError(
                        f"fewer than {policy.step:,.0f} bytes came in {policy.window:g} s, and so "
                        "slow a server may never end"
                    )
                before, end = received, time.monotonic() + policy.window


def _refuse_more(length: int, goal: _Goal) -> None:
    if goal.largest is not None and length > goal.largest:
        goal.part.unlink(missing_ok=True)
        raise PmbenchError(
            f"{goal.url} sends {length:,} bytes or more, expected at most {goal.largest:,.0f}, "
            f"twice what is said of the file; {ELSEWHERE}, or correct the size in the manifest"
        )


def _refuse_too_full(coming: int, goal: _Goal) -> None:
    folder = goal.part.parent
    disk = shutil.disk_usage(folder)
    if disk.free - coming < min(_RESERVE, disk.total // 20):
        raise PmbenchError(
            f"{goal.url} does not fit: {coming:,} bytes are still to come, and {folder} has "
            f"{disk.free:,} free; make room, or name a folder on another disk with PMBENCH_HOME"
        )


# --- the part at hand -----------------------------------------------------------------------------


def state_of(part: Path) -> Path:
    """Return where it stands what a part is a part of."""
    return part.with_name(part.name + ".json")


def _kept(part: Path, url: str) -> int:
    """Return how many bytes of the file at ``url`` are at hand and can be added to."""
    return _length(part) if _version_of(part, url) else 0


def _version_of(part: Path, url: str) -> str | None:
    """Return the version that the part at hand belongs to, or None where it cannot be resumed."""
    try:
        content = json.loads(state_of(part).read_text(encoding="utf-8"))
        version = content["version"] if content["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return version if isinstance(version, str) and _can_be_sent(version) else None


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

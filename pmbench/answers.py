"""What a server's answer says: which version of a file, how much of it, when to ask again.

Headers are foreign text: whatever stands in them, these functions return, or raise PmbenchError.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from pmbench.errors import PmbenchError

_PACKED = (".gz", ".tgz", ".z")


def refuse_what_is_not_the_file(answer: httpx.Response, url: str) -> None:
    """Raise PmbenchError for a web page, and for what is not byte by byte what lies at the URL."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise a_page(url, kind)
    coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    path = httpx.URL(url).path.lower()
    # many servers call a .gz file's own compression that of the transfer
    if coding not in ("", "identity") and not (coding[-4:] == "gzip" and path.endswith(_PACKED)):
        raise PmbenchError(
            f"{url} answered with the file in another form (Content-Encoding: {coding}), which was "
            "not asked for and has another checksum; name another place with --mirror or --from"
        )


def refuse_downgrade(answer: httpx.Response, url: str) -> None:
    """Raise PmbenchError where a redirect led from https to http, which anybody may alter."""
    hops = [each.url for each in (*answer.history, answer)]
    plain = [hop for hop in hops if hop.scheme == "http"]
    if plain and hops[0].scheme == "https":
        raise PmbenchError(
            f"{url} leads to {plain[0]}, which is not encrypted, so anybody on the way may alter "
            "what comes; name another place with --mirror or --from"
        )


def is_page(path: Path) -> bool:
    """Return whether a file begins like a web page."""
    with path.open("rb") as file:
        start = file.read(256).lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def a_page(url: str, sign: str) -> PmbenchError:
    """Return the error for a web page in place of a file; ``sign`` is what shows it."""
    return PmbenchError(
        f"{url} answered with a web page ({sign}) instead of the file; open it in a browser "
        "to see what it says, or name another place with --mirror or --from"
    )


def version(answer: httpx.Response) -> str | None:
    """Return what identifies this version of the file: a strong ETag or the date."""
    etag: str | None = answer.headers.get("ETag")
    if etag and not etag.startswith("W/") and can_be_sent(etag):
        return etag
    date: str | None = answer.headers.get("Last-Modified")
    return date if date and can_be_sent(date) else None


def is_of_another(answer: httpx.Response, kept: str | None) -> bool:
    """Return whether an answer says that it is of another version than the one that is kept."""
    told = version(answer)
    if told is None or kept is None or told.startswith('"') != kept.startswith('"'):
        return False  # a date is no ETag: some servers leave one of them out
    return told != kept


def can_be_sent(text: str) -> bool:
    """Return whether a text may be the value of a header."""
    return text.isascii() and text.isprintable() and text == text.strip() != ""


def starts_at(answer: httpx.Response) -> int | None:
    """Return at which byte of the file a 206 begins, or None where it does not say."""
    found = _range(answer)
    return int(found[1]) if found else None


def whole_length(answer: httpx.Response) -> int | None:
    """Return how many bytes the whole file has, or None where the answer does not say."""
    if answer.status_code != 206:
        length = answer.headers.get("Content-Length", "")
        return int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    found = _range(answer)
    return int(found[2]) if found and found[2] != "*" else None


def _range(answer: httpx.Response) -> re.Match[str] | None:
    told = answer.headers.get("Content-Range", "")
    return re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", told.strip())


def asked_to_wait(answer: httpx.Response) -> float | None:
    """Return the server's Retry-After, in seconds."""
    value = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]+", value):
        return min(float(value), 1e9)  # for ever
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):  # also a date that no clock shows
        return None

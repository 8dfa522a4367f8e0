"""A server that is slow, endless or wrong, and a file that changes meanwhile."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.factories import manifest
from support.http_server import (
    Behaviour,
    Server,
    chunked,
    cut,
    drip,
    endless,
    etag,
    fine,
    first_part_of_the_range,
    headed,
    ignoring_range,
    status,
)
from support.transfers import DATA, DIGEST, HURRIED, OTHER, REST, fetch_data, names, refusal

from pmbench.datasets.download import DownloadOptions, download
from pmbench.datasets.resize import resize_for
from pmbench.utils import http
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent
from pmbench.utils.verified_download import RemoteFile

pytestmark = pytest.mark.usefixtures("no_proxies")

# --- slow, and endless ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(drip(20, 0.05), id="the body"),
        pytest.param(chunked(drip(20, 0.05)), id="a body of unknown length"),
    ],
)
def test_a_server_that_drips_for_ever_is_left(
    server: Server, wanted: RemoteFile, tmp_path: Path, behaviour: Behaviour
) -> None:
    server.behaviours = [behaviour] * 100
    start = time.monotonic()
    told = refusal(wanted, tmp_path, HURRIED)
    assert time.monotonic() - start < 20
    assert (
        f"{wanted.url} cannot be fetched: fewer than 2,500 bytes came in 0.25 s, and so slow a "
        "server may never end (tried 3 times without progress); "
    ) in told
    assert len(server.requests) == 3
    server.behaviours.clear()
    assert fetch_data(wanted, tmp_path) == DATA


def test_a_drip_without_a_length_is_not_taken_for_the_whole(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    """Where the connection's end is the file's end, ours must not be taken for it."""
    server.behaviours = [headed(drip(20, 0.05), Content_Length=None)] * 3
    assert "so slow a server may never end" in refusal(
        replace(wanted, sha256=None), tmp_path, HURRIED
    )


def test_an_honest_slow_line_is_waited_for(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [drip(20_000, 0.1)]  # three windows
    assert fetch_data(wanted, tmp_path, replace(HURRIED, window=0.5, slowest=2000)) == DATA
    assert server.ranges == [None]


def test_crumbs_are_no_progress(server: Server, wanted: RemoteFile, tmp_path: Path) -> None:
    """A server that breaks off after a few bytes each time would be asked 300,000 times."""
    server.behaviours = [cut(1)] * 100
    told = refusal(wanted, tmp_path)
    assert "got 3 of 300,000 bytes (tried 3 times without progress)" in told or (
        "peer closed connection" in told
    )
    assert "3 bytes are kept, run it again to go on" in told
    assert len(server.requests) == 3


@pytest.mark.parametrize("behaviour", [endless, fine])
def test_more_bytes_than_there_may_be_are_refused(
    server: Server, wanted: RemoteFile, tmp_path: Path, behaviour: Behaviour
) -> None:
    server.behaviours = [behaviour]
    told = refusal(replace(wanted, size=100_000), tmp_path)
    assert f"{wanted.url} sends " in told
    assert (
        "bytes or more, expected at most 200,000, twice what is said of the file; name another "
        "place with --mirror or --from, or correct the size in the manifest"
    ) in told
    assert "data.bin.part" not in names(tmp_path)
    assert fetch_data(replace(wanted, size=200_000), tmp_path) == DATA


def test_a_manifests_size_is_the_bound_of_its_download(server: Server, tmp_path: Path) -> None:
    url = server.add("/toy.tar.gz", DATA)
    entry = manifest(tmp_path, source={"url": url, "gigabytes": 0.0001})
    with pytest.raises(PmbenchError, match="sends 300,000 bytes or more, expected at most 200,000"):
        download(entry, resize_for(entry, None), DownloadOptions(), Silent())


def test_what_does_not_fit_on_the_disk_is_not_begun(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [headed(fine, Content_Length=str(10**17))]
    told = refusal(wanted, tmp_path)
    assert f"{wanted.url} does not fit: {10**17:,} bytes are still to come, and " in told
    assert re.search(
        rf"and {tmp_path} has [0-9,]+ free; make room, or name a folder on another disk with "
        "PMBENCH_HOME",
        told,
    )
    assert fetch_data(wanted, tmp_path) == DATA


def test_an_endless_body_of_which_nothing_is_known_does_not_fill_the_disk(
    server: Server, wanted: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path).free
    used = shutil.disk_usage
    asked = []

    def filling(path: Path) -> object:
        """The real disk, on which somebody else writes a great deal at the same time."""
        asked.append(path)
        return used(path)._replace(free=free if len(asked) < 3 else 0)

    monkeypatch.setattr(http.shutil, "disk_usage", filling)
    monkeypatch.setattr(http, "_DISK_CHECK", 1_000_000)
    server.behaviours = [endless]
    told = refusal(wanted, tmp_path)
    assert "does not fit: 0 bytes are still to come" in told
    assert len(asked) == 3


# --- lengths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["many", "-5", "3.5", "0x10", "99" * 20])
def test_a_length_that_is_none_is_told(
    server: Server, wanted: RemoteFile, tmp_path: Path, length: str
) -> None:
    server.behaviours = [headed(fine, Content_Length=length)] * 3
    told = refusal(wanted, tmp_path)
    assert f"{wanted.url} cannot be fetched: " in told
    assert "Content-Length (tried 3 times without progress); check the URL" in told
    assert fetch_data(wanted, tmp_path) == DATA


def test_a_length_that_is_too_short_cuts_the_file_which_its_checksum_tells(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [headed(fine, Content_Length="299999")]
    cut_digest = hashlib.sha256(DATA[:-1]).hexdigest()
    assert f"expected sha256 {DIGEST}, got {cut_digest}" in refusal(wanted, tmp_path)
    assert fetch_data(wanted, tmp_path) == DATA


def test_a_part_of_the_range_that_was_asked_for_is_not_the_end(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [cut(100_000), first_part_of_the_range(80_000)]
    assert fetch_data(replace(wanted, sha256=None), tmp_path) == DATA
    assert server.ranges == [None, REST, "bytes=180000-"]


@pytest.mark.parametrize(
    ("behaviours", "ranges"),
    [
        pytest.param([chunked(fine)], [None], id="whole"),
        pytest.param([chunked(cut(100_000))], [None, REST], id="cut"),
        pytest.param([cut(100_000), chunked(fine)], [None, REST], id="the rest"),
        pytest.param(
            [cut(100_000), chunked(cut(80_000))], [None, REST, "bytes=180000-"], id="the rest, cut"
        ),
    ],
)
def test_chunks_are_put_together(
    server: Server,
    wanted: RemoteFile,
    tmp_path: Path,
    behaviours: list[Behaviour],
    ranges: list[str | None],
) -> None:
    server.behaviours = behaviours
    assert fetch_data(replace(wanted, sha256=None), tmp_path) == DATA
    assert server.ranges == ranges


# --- compression ----------------------------------------------------------------------------------


def test_a_gz_file_that_is_called_compressed_is_taken_as_it_is(
    server: Server, tmp_path: Path
) -> None:
    packed = gzip.compress(DATA)
    url = server.add("/data.tar.gz", packed)
    server.behaviours = [headed(fine, Content_Encoding="x-gzip")]
    assert (
        fetch_data(RemoteFile(url, sha256=hashlib.sha256(packed).hexdigest()), tmp_path) == packed
    )


@pytest.mark.parametrize("coding", ["gzip", "br", "aws-chunked"])
def test_a_file_that_is_sent_compressed_is_refused(
    server: Server, wanted: RemoteFile, tmp_path: Path, coding: str
) -> None:
    server.behaviours = [headed(fine, Content_Encoding=coding)]
    told = refusal(wanted, tmp_path)
    assert (
        f"{wanted.url} answered with the file in another form (Content-Encoding: {coding})" in told
    )
    assert "which was not asked for and has another checksum; name another place with" in told


# --- versions -------------------------------------------------------------------------------------

DATE = formatdate(0, usegmt=True)
LATER = formatdate(1e9, usegmt=True)


@pytest.mark.parametrize(
    ("first", "second", "ranges"),
    [
        pytest.param({"ETag": 'W/"1"'}, {}, [None, None], id="a weak ETag is none"),
        pytest.param(
            {"ETag": 'W/"1"', "Last-Modified": DATE},
            {"ETag": 'W/"1"', "Last-Modified": LATER},
            [None, REST],
            id="a weak ETag and another date",
        ),
        pytest.param(
            {"ETag": None, "Last-Modified": DATE},
            {"ETag": None, "Last-Modified": LATER},
            [None, REST],
            id="a date alone",
        ),
        pytest.param({"ETag": '"ü"'}, {}, [None, None], id="an ETag that cannot be sent back"),
    ],
)
def test_a_file_that_changed_between_two_tries_is_fetched_anew(
    server: Server,
    tmp_path: Path,
    first: dict[str, str | None],
    second: dict[str, str | None],
    ranges: list[str | None],
) -> None:
    wanted = RemoteFile(server.add("/data.bin", DATA), sha256=hashlib.sha256(OTHER).hexdigest())
    changed: Behaviour = lambda request, data: ignoring_range(request, OTHER)  # noqa: E731
    server.behaviours = [headed(cut(100_000), **first), headed(changed, **second)]
    assert fetch_data(wanted, tmp_path) == OTHER
    assert server.ranges == ranges
    asked = [request.if_range for request in server.requests]
    assert asked == [None, DATE if REST in ranges else None]


def of(data: bytes) -> Behaviour:
    """Serve other bytes, as a server does that knows ranges, and not If-Range."""
    return lambda request, _: fine(replace(request, if_range=None), data)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({}, {}, id="another ETag"),
        pytest.param(
            {"ETag": None, "Last-Modified": DATE},
            {"ETag": None, "Last-Modified": LATER},
            id="another date",
        ),
    ],
)
def test_the_rest_of_another_version_is_not_added(
    server: Server, tmp_path: Path, first: dict[str, str | None], second: dict[str, str | None]
) -> None:
    wanted = RemoteFile(server.add("/data.bin", OTHER))  # no checksum that would tell
    beginning: Behaviour = lambda request, _: cut(100_000)(request, DATA)  # noqa: E731
    server.behaviours = [headed(beginning, **first), headed(of(OTHER), **second)]
    assert fetch_data(wanted, tmp_path) == OTHER
    assert server.ranges == [None, REST, None]


@pytest.mark.parametrize("told", [{"ETag": None}, {"ETag": None, "Last-Modified": DATE}])
def test_a_rest_that_does_not_say_its_version_is_added(
    server: Server, wanted: RemoteFile, tmp_path: Path, told: dict[str, str | None]
) -> None:
    server.behaviours = [cut(100_000), headed(fine, **told)]
    assert fetch_data(wanted, tmp_path) == DATA
    assert server.ranges == [None, REST]


def test_a_part_that_is_longer_than_the_file_is_thrown_away(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    (tmp_path / "data.bin.part").write_bytes(DATA + DATA)
    state = {"url": wanted.url, "version": etag(DATA)}
    (tmp_path / "data.bin.part.json").write_text(json.dumps(state))
    assert fetch_data(wanted, tmp_path) == DATA
    assert server.ranges == ["bytes=600000-", None]
    assert names(tmp_path) == {"data.bin"}


def test_a_part_of_another_url_is_not_added_to(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    elsewhere = RemoteFile(server.add("/other/data.bin", OTHER))
    server.behaviours = [cut(100_000), status(500), status(500)]
    refusal(elsewhere, tmp_path)
    assert len((tmp_path / "data.bin.part").read_bytes()) == 100_000
    server.requests.clear()
    assert fetch_data(wanted, tmp_path) == DATA
    assert server.ranges == [None]


@pytest.mark.parametrize(
    "version", ["a\r\nRange: bytes=0-", "ü", "", " x", "a\x00b", 7, None, ["x"], {"a": 1}]
)
def test_a_damaged_note_beside_a_part_costs_only_the_part(
    server: Server, wanted: RemoteFile, tmp_path: Path, version: object
) -> None:
    (tmp_path / "data.bin.part").write_bytes(DATA[:100_000])
    state = json.dumps({"url": wanted.url, "version": version})
    (tmp_path / "data.bin.part.json").write_text(state)
    assert fetch_data(wanted, tmp_path) == DATA
    assert server.ranges == [None]


@pytest.mark.parametrize("state", [b"\xff\xfe", b"[" * 100_000, b"{}", b"null", b"1" * 5000])
def test_a_note_that_is_no_json_costs_only_the_part(
    server: Server, wanted: RemoteFile, tmp_path: Path, state: bytes
) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"what")
    (tmp_path / "data.bin.part.json").write_bytes(state)
    assert fetch_data(wanted, tmp_path) == DATA


def test_a_resumed_file_of_another_content_is_told_by_its_checksum(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    (tmp_path / "data.bin.part").write_bytes(OTHER[:100_000])
    state = {"url": wanted.url, "version": etag(DATA)}
    (tmp_path / "data.bin.part.json").write_text(json.dumps(state))
    mixed = hashlib.sha256(OTHER[:100_000] + DATA[100_000:]).hexdigest()
    assert f"expected sha256 {DIGEST}, got {mixed}" in refusal(wanted, tmp_path)
    assert fetch_data(wanted, tmp_path) == DATA
    assert server.ranges == [REST, None]


# --- when to ask again ----------------------------------------------------------------------------


@pytest.mark.parametrize("until", ["a date", "for ever"])
def test_a_wait_that_is_too_long_is_refused_at_once(
    server: Server, wanted: RemoteFile, tmp_path: Path, until: str
) -> None:
    value, said = {  # a date is one of now, not of when tests were collected
        "a date": (formatdate(time.time() + 7600, usegmt=True), "asks to wait 7,"),
        "for ever": ("9" * 400, "asks to wait 1,000,000,000 s"),
    }[until]
    server.behaviours = [status(429, Retry_After=value)]
    assert f"the server answered 429 and {said}" in refusal(wanted, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["soon", "-5", "1.5", "²", "", "Mon, 99 Foo 0000 99:99:99 GMT"])
def test_a_wait_that_is_none_is_passed_over(
    server: Server, wanted: RemoteFile, tmp_path: Path, value: str
) -> None:
    server.behaviours = [status(503, Retry_After=value)]
    assert fetch_data(wanted, tmp_path) == DATA
    assert len(server.requests) == 2


@settings(max_examples=100, deadline=None)
@given(
    value=st.text(st.characters(codec="latin-1"))
    | st.from_regex(r"\A[A-Z][a-z]{2}, [0-9: a-zA-Z+-]{0,30}\Z")
    | st.from_regex(r"\Abytes [0-9*]{0,30}-[0-9*]{0,30}/[0-9*]{0,30}\Z")
)
def test_whatever_headers_say_is_understood_or_passed_over(value: str) -> None:
    raw = [(name, value.encode("latin-1")) for name in (
        b"Retry-After", b"Content-Range", b"Content-Length", b"ETag", b"Last-Modified",
    )]  # fmt: skip
    for number in (200, 206, 503):
        answer = httpx.Response(number, headers=raw)
        assert (http._retry_after(answer) or 0) >= 0
        assert (http._total_length(answer) or 0) >= 0
        version = http._version(answer)
        assert version is None or version.encode("ascii")

"""Fetching, from a real server that misbehaves."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from support.http_server import (
    PAGE,
    Behaviour,
    Server,
    corrupt,
    cut,
    etag,
    ignoring_range,
    other_version,
    page,
    redirect,
    serving,
    silent,
    status,
    too_long,
    without_version,
    wrong_range,
)

from pmbench.utils.errors import PmbenchError
from pmbench.utils.http import RetryPolicy
from pmbench.utils.progress import Silent
from pmbench.utils.verified_download import RemoteFile, fetch

DATA = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
PATIENCE = RetryPolicy(tries=3, wait=0.01, silence=2)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server


@pytest.fixture
def wanted(server: Server) -> RemoteFile:
    return RemoteFile(server.add("/files/data.bin", DATA), sha256=DIGEST)


def get(wanted: RemoteFile, folder: Path, reporter: Silent | None = None) -> bytes:
    path = fetch(wanted, folder, reporter or Silent(), PATIENCE)
    assert path == folder / wanted.name
    return path.read_bytes()


def refused(wanted: RemoteFile, folder: Path, reporter: Silent | None = None) -> str:
    """Fail to fetch, leaving nothing under the final name; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        fetch(wanted, folder, reporter or Silent(), PATIENCE)
    assert not (folder / wanted.name).exists()
    return str(caught.value)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_whole_file_arrives_and_leaves_nothing_beside_it(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    assert get(wanted, folder) == DATA
    assert names(folder) <= {"data.bin", "data.bin.lock"}
    assert server.ranges == [None]


def test_a_file_that_is_there_is_not_asked_for_again(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    get(wanted, tmp_path)
    server.requests.clear()
    assert get(wanted, tmp_path) == DATA
    assert server.requests == []


REST = "bytes=100000-"


@pytest.mark.parametrize(
    ("behaviours", "ranges"),
    [
        pytest.param([cut(100_000)], [None, REST], id="cut"),
        pytest.param([cut(0)], [None, None], id="cut before the first byte"),
        pytest.param([cut(100_000), cut(50_000), cut(50_000), cut(50_000)], [None, REST,
            "bytes=150000-", "bytes=200000-", "bytes=250000-"],
            id="cut more often than tries, but with progress"),
        pytest.param([status(500)] * 2, [None] * 3, id="500 twice"),
        pytest.param([cut(100_000), status(503)], [None, REST, REST], id="503 at the resume"),
        pytest.param([status(429, Retry_After="0")] * 2, [None] * 3, id="429"),
        pytest.param([cut(100_000), ignoring_range], [None, REST], id="Range ignored"),
        pytest.param([cut(100_000), wrong_range], [None, REST, None], id="another range sent"),
        pytest.param([cut(100_000), status(416)], [None, REST, None], id="416"),
        pytest.param([without_version(cut(100_000))], [None, None], id="cut, without a version"),
        pytest.param([too_long(by=1000)], [None, "bytes=300000-"], id="Content-Length too long"),
        pytest.param([redirect("/files/data.bin")], [None, None], id="redirect"),
    ],
)  # fmt: skip
def test_a_passing_fault_is_overcome_and_only_the_rest_asked_for(
    server: Server,
    wanted: RemoteFile,
    tmp_path: Path,
    behaviours: list[Behaviour],
    ranges: list[str | None],
) -> None:
    server.behaviours = list(behaviours)
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == ranges
    assert {r.if_range for r in server.requests if r.range} <= {etag(DATA)}
    assert names(tmp_path) <= {"data.bin", "data.bin.lock"}


def test_a_silent_server_is_left_and_asked_for_the_rest(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [silent(after=100_000, seconds=1.0)]
    path = fetch(wanted, tmp_path, Silent(), replace(PATIENCE, silence=0.2))
    assert path.read_bytes() == DATA
    assert server.ranges == [None, REST]


def test_a_server_may_ask_for_a_wait(server: Server, wanted: RemoteFile, tmp_path: Path) -> None:
    server.behaviours = [status(429, Retry_After="1")]
    start = time.monotonic()
    assert get(wanted, tmp_path) == DATA
    assert 1 <= time.monotonic() - start < 2


def test_a_wait_may_be_asked_for_as_a_date(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [status(503, Retry_After=formatdate(time.time() - 5, usegmt=True))]
    assert get(wanted, tmp_path) == DATA


def test_a_server_that_asks_for_a_long_wait_is_not_waited_for(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [status(429, Retry_After="3600")]
    message = refused(wanted, tmp_path)
    assert "the server answered 429 and asks to wait 3,600 s" in message
    assert len(server.requests) == 1


def test_a_second_run_goes_on_where_the_first_gave_up(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [cut(100_000), status(500), status(500)]
    message = refused(wanted, tmp_path)
    assert f"{wanted.url} cannot be fetched: the server answered 500 (tried 3 times" in message
    assert "100,000 bytes are kept, run it again to go on" in message
    server.requests.clear()
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == [REST]
    assert names(tmp_path) <= {"data.bin", "data.bin.lock"}


def test_a_run_that_was_killed_at_the_last_byte_is_not_fetched_again(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    (tmp_path / "data.bin.part").write_bytes(DATA)
    state = {"url": wanted.url, "version": etag(DATA)}
    (tmp_path / "data.bin.part.json").write_text(json.dumps(state))
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == ["bytes=300000-"]


@pytest.mark.parametrize("state", ["", "[]", '{"url": "x"}', '{"url": null, "version": 1}'])
def test_a_part_of_unknown_origin_is_not_added_to(
    server: Server, wanted: RemoteFile, tmp_path: Path, state: str
) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"something else")
    (tmp_path / "data.bin.part.json").write_text(state)
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == [None]


def test_a_file_that_changed_between_two_tries_is_fetched_anew(
    server: Server, tmp_path: Path
) -> None:
    new = DATA[::-1]
    url = server.add("/data.bin", DATA)
    wanted = RemoteFile(url, sha256=hashlib.sha256(new).hexdigest())
    server.behaviours = [cut(100_000), other_version(new)]
    assert get(wanted, tmp_path) == new
    assert server.ranges == [None, REST]


def test_a_server_that_always_promises_too_much_is_given_up(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [without_version(too_long(by=1000))] * 20
    assert "(tried 3 times without progress)" in refused(wanted, tmp_path)
    assert len(server.requests) == 3


def test_a_corrupted_file_is_refused_and_fetched_anew_by_the_next_run(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [corrupt]
    message = refused(wanted, tmp_path)
    assert f"data.bin: the checksum differs: expected sha256 {DIGEST}, got " in message
    assert (
        "Run it again to fetch anew; if you know this file to be right, give --sha256 " in message
    )
    assert "--accept-checksum" in message
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == [None, None]
    assert names(tmp_path) <= {"data.bin", "data.bin.lock"}


def test_whoever_gave_a_differing_checksum_is_named(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [corrupt]
    message = refused(replace(wanted, origin="a third party"), tmp_path)
    assert "comes from a third party, so it may be the one that is wrong" in message


@pytest.mark.parametrize("change", [{"accept": True}, {"sha256": hashlib.sha256(b"").hexdigest()}])
def test_a_refused_file_is_taken_without_fetching_it_again_once_the_user_says_so(
    server: Server, wanted: RemoteFile, tmp_path: Path, change: dict[str, object]
) -> None:
    server.files["/files/data.bin"] = b""
    refused(wanted, tmp_path)
    assert get(replace(wanted, **change), tmp_path) == b""
    assert len(server.requests) == 1


def test_an_accepted_file_is_noted_with_both_checksums(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    other = DATA[::-1]
    server.files["/files/data.bin"] = other
    reporter = Silent()
    assert get(replace(wanted, accept=True), tmp_path, reporter) == other
    (note,) = reporter.notes
    assert DIGEST in note
    assert hashlib.sha256(other).hexdigest() in note
    assert note.endswith("going on, as asked")


def test_the_beginning_of_a_checksum_suffices(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    right = replace(wanted, sha256=None, sha256_prefix=DIGEST[:8])
    wrong = replace(right, sha256_prefix="00000000")
    assert "expected sha256 00000000…, got " + DIGEST in refused(wrong, tmp_path)
    assert get(right, tmp_path) == DATA


def test_without_a_checksum_whatever_comes_whole_is_taken(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    assert get(replace(wanted, sha256=None), tmp_path) == DATA


@pytest.mark.parametrize(
    ("kind", "sign"),
    [
        ("text/html", "text/html"),
        ("text/html; charset=utf-8", "text/html"),
        ("application/octet-stream", "the file begins like HTML"),
    ],
)
def test_a_web_page_is_not_taken_for_the_file(
    server: Server, wanted: RemoteFile, tmp_path: Path, kind: str, sign: str
) -> None:
    server.behaviours = [page(kind)]
    message = refused(replace(wanted, accept=True), tmp_path)
    assert f"{wanted.url} answered with a web page ({sign}) instead of the file" in message
    assert "open it in a browser" in message
    assert "--mirror or --from" in message
    assert not [path for path in tmp_path.iterdir() if path.read_bytes() == PAGE]
    assert get(wanted, tmp_path) == DATA


def test_a_web_page_in_the_middle_leaves_the_part_as_it_was(
    server: Server, wanted: RemoteFile, tmp_path: Path
) -> None:
    server.behaviours = [cut(100_000), page("text/html")]
    assert "web page" in refused(wanted, tmp_path)
    server.requests.clear()
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == [REST]


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        (status(404), "the server answered 404; check the URL and the network"),
        (status(403), "the server answered 403; check the URL"),
        (redirect("/files/data.bin"), "Exceeded maximum allowed redirects.; check the URL"),
    ],
)
def test_a_lasting_fault_is_told_at_once(
    server: Server, wanted: RemoteFile, tmp_path: Path, behaviour: Behaviour, sentence: str
) -> None:
    server.behaviours = [behaviour] * 100
    message = refused(wanted, tmp_path)
    assert f"{wanted.url} cannot be fetched: {sentence}" in message


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/data.bin", "http://host:port/data.bin", "data.bin"]
)
def test_what_is_no_url_is_told_at_once(tmp_path: Path, url: str) -> None:
    start = time.monotonic()
    with pytest.raises(PmbenchError) as caught:
        fetch(RemoteFile(url), tmp_path, Silent(), replace(PATIENCE, wait=60))
    assert str(caught.value).startswith(f"{url} cannot be fetched: ")
    assert str(caught.value).endswith("; check the URL")
    assert time.monotonic() - start < 5


def test_a_refused_connection_is_tried_again_and_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/data.bin"
        message = refused(RemoteFile(url, sha256=DIGEST), tmp_path)
    assert f"{url} cannot be fetched: " in message
    assert "refused (tried 3 times without progress); check the URL and the network" in message


def test_offline_nothing_is_asked_and_the_place_for_the_file_is_named(
    server: Server, wanted: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    message = refused(wanted, tmp_path)
    assert f"data.bin is not in {tmp_path} and PMBENCH_OFFLINE is set" in message
    assert f"fetch {wanted.url} where there is a network and put it there" in message
    assert server.requests == []
    (tmp_path / "data.bin").write_bytes(DATA)
    assert get(wanted, tmp_path) == DATA


def test_a_mirror_is_asked_first(
    server: Server, wanted: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("/mirror/data.bin", DATA)
    monkeypatch.setenv("PMBENCH_MIRROR", f"{server.url}/mirror/")
    assert get(wanted, tmp_path) == DATA
    assert [request.path for request in server.requests] == ["/mirror/data.bin"]


@pytest.mark.parametrize(
    "behaviours",
    [
        [status(404)],
        [status(500)] * 3,
        [page("text/html")],
        [page("application/octet-stream")],
        [cut(100_000), status(500), status(500)],
    ],
)
def test_the_official_place_is_asked_where_the_mirror_fails(
    server: Server,
    wanted: RemoteFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behaviours: list[Behaviour],
) -> None:
    server.add("/mirror/data.bin", DATA)
    monkeypatch.setenv("PMBENCH_MIRROR", f"{server.url}/mirror")
    server.behaviours = list(behaviours)
    assert get(wanted, tmp_path) == DATA
    assert server.requests[0].path == "/mirror/data.bin"
    assert (server.requests[-1].path, server.ranges[-1]) == ("/files/data.bin", None)
    assert names(tmp_path) <= {"data.bin", "data.bin.lock"}


def test_where_mirror_and_official_place_fail_both_are_told(
    server: Server, wanted: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMBENCH_MIRROR", f"{server.url}/mirror")
    server.behaviours = [status(404), status(410)]
    message = refused(wanted, tmp_path)
    assert f"{server.url}/mirror/data.bin cannot be fetched: the server answered 404" in message
    assert f"{wanted.url} cannot be fetched: the server answered 410" in message


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/a/data.tar.gz", "data.tar.gz"),
        ("https://host/a/data.tar.gz?download=1#top", "data.tar.gz"),
        ("https://host/a/..", "download"),
        ("https://host/a/?id=3", "download"),
    ],
)
def test_a_file_is_called_as_in_its_url(url: str, name: str) -> None:
    assert RemoteFile(url).name == name


def test_two_at_a_time_fetch_once(server: Server, wanted: RemoteFile, tmp_path: Path) -> None:
    server.behaviours = [silent(after=100_000, seconds=0.2)]
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(get, wanted, tmp_path) for _ in range(2)]
        assert [one.result() for one in both] == [DATA, DATA]
    assert len(server.requests) == 1

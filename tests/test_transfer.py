"""A server that is slow, endless, wrong or somebody else; proxies and certificates."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import httpx
import numpy as np
import pytest
from http_server import (
    Behaviour,
    Server,
    chunked,
    cut,
    drip,
    dripping_headers,
    endless,
    etag,
    fine,
    first_part_of_the_range,
    headed,
    ignoring_range,
    proxying,
    redirect,
    serving,
    status,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from making import manifest

from pmbench.datasets.download import Choices, download
from pmbench.datasets.resize import resize_for
from pmbench.utils import http as answers
from pmbench.utils import http as transfer
from pmbench.utils.errors import PmbenchError
from pmbench.utils.fetch import Wanted, fetch
from pmbench.utils.http import Patience
from pmbench.utils.progress import Silent

DATA = np.random.default_rng(0).bytes(300_000)
OTHER = DATA[::-1]
DIGEST = hashlib.sha256(DATA).hexdigest()
PATIENCE = Patience(tries=3, wait=0.01, silence=2)
HURRIED = replace(PATIENCE, window=0.25, slowest=10_000)
REST = "bytes=100000-"
SETTINGS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def wanted(server: Server) -> Wanted:
    return Wanted(server.add("/files/data.bin", DATA), sha256=DIGEST)


def get(wanted: Wanted, folder: Path, patience: Patience = PATIENCE) -> bytes:
    return fetch(wanted, folder, Silent(), patience).read_bytes()


def refused(wanted: Wanted, folder: Path, patience: Patience = PATIENCE) -> str:
    """Fail to fetch, leaving nothing under the final name; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        get(wanted, folder, patience)
    assert not (folder / wanted.name).exists()
    return str(caught.value)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"data.bin.lock"}


# --- slow, and endless ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(drip(20, 0.05), id="the body"),
        pytest.param(chunked(drip(20, 0.05)), id="a body of unknown length"),
        pytest.param(dripping_headers, id="the headers"),
    ],
)
def test_a_server_that_drips_for_ever_is_left(
    server: Server, wanted: Wanted, tmp_path: Path, behaviour: Behaviour
) -> None:
    server.behaviours = [behaviour] * 100
    start = time.monotonic()
    told = refused(wanted, tmp_path, HURRIED)
    assert time.monotonic() - start < 20
    assert (
        f"{wanted.url} cannot be fetched: fewer than 2,500 bytes came in 0.25 s, and so slow a "
        "server may never end (tried 3 times without progress); "
    ) in told
    assert len(server.requests) == 3
    server.behaviours.clear()
    assert get(wanted, tmp_path) == DATA


def test_a_drip_without_a_length_is_not_taken_for_the_whole(
    server: Server, wanted: Wanted, tmp_path: Path
) -> None:
    """Where the connection's end is the file's end, ours must not be taken for it."""
    server.behaviours = [headed(drip(20, 0.05), Content_Length=None)] * 3
    assert "so slow a server may never end" in refused(
        replace(wanted, sha256=None), tmp_path, HURRIED
    )


def test_a_handshake_that_drips_is_left(tmp_path: Path) -> None:
    """A greeting that announces 16 kB comes byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def answer() -> None:
            while not over.is_set():
                listening.settimeout(0.1)
                try:
                    there, _ = listening.accept()
                except TimeoutError:
                    continue
                with there:
                    for byte in b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + b"\x03" * 200:
                        try:
                            there.sendall(bytes([byte]))
                        except OSError:
                            break
                        time.sleep(0.05)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            url = f"https://127.0.0.1:{listening.getsockname()[1]}/data.bin"
            start = time.monotonic()
            told = refused(Wanted(url), tmp_path, replace(HURRIED, tries=2))
        finally:
            over.set()
            thread.join()
    assert time.monotonic() - start < 20
    assert "so slow a server may never end (tried 2 times without progress)" in told


def test_an_honest_slow_line_is_waited_for(server: Server, wanted: Wanted, tmp_path: Path) -> None:
    server.behaviours = [drip(20_000, 0.1)]  # three windows
    assert get(wanted, tmp_path, replace(HURRIED, window=0.5, slowest=2000)) == DATA
    assert server.ranges == [None]


def test_crumbs_are_no_progress(server: Server, wanted: Wanted, tmp_path: Path) -> None:
    """A server that breaks off after a few bytes each time would be asked 300,000 times."""
    server.behaviours = [cut(1)] * 100
    told = refused(wanted, tmp_path)
    assert "got 3 of 300,000 bytes (tried 3 times without progress)" in told or (
        "peer closed connection" in told
    )
    assert "3 bytes are kept, run it again to go on" in told
    assert len(server.requests) == 3


@pytest.mark.parametrize("behaviour", [endless, fine])
def test_more_bytes_than_there_may_be_are_refused(
    server: Server, wanted: Wanted, tmp_path: Path, behaviour: Behaviour
) -> None:
    server.behaviours = [behaviour]
    told = refused(replace(wanted, size=100_000), tmp_path)
    assert f"{wanted.url} sends " in told
    assert (
        "bytes or more, expected at most 200,000, twice what is said of the file; name another "
        "place with --mirror or --from, or correct the size in the manifest"
    ) in told
    assert "data.bin.part" not in names(tmp_path)
    assert get(replace(wanted, size=200_000), tmp_path) == DATA


def test_a_manifests_size_is_the_bound_of_its_download(server: Server, tmp_path: Path) -> None:
    url = server.add("/toy.tar.gz", DATA)
    entry = manifest(tmp_path, source={"url": url, "gigabytes": 0.0001})
    with pytest.raises(PmbenchError, match="sends 300,000 bytes or more, expected at most 200,000"):
        download(entry, resize_for(entry, None), Choices(), Silent())


def test_what_does_not_fit_on_the_disk_is_not_begun(
    server: Server, wanted: Wanted, tmp_path: Path
) -> None:
    server.behaviours = [headed(fine, Content_Length=str(10**17))]
    told = refused(wanted, tmp_path)
    assert f"{wanted.url} does not fit: {10**17:,} bytes are still to come, and " in told
    assert re.search(
        rf"and {tmp_path} has [0-9,]+ free; make room, or name a folder on another disk with "
        "PMBENCH_HOME",
        told,
    )
    assert get(wanted, tmp_path) == DATA


def test_an_endless_body_of_which_nothing_is_known_does_not_fill_the_disk(
    server: Server, wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path).free
    used = shutil.disk_usage
    asked = []

    def filling(path: Path) -> object:
        """The real disk, on which somebody else writes a great deal at the same time."""
        asked.append(path)
        return used(path)._replace(free=free if len(asked) < 3 else 0)

    monkeypatch.setattr(transfer.shutil, "disk_usage", filling)
    monkeypatch.setattr(transfer, "_LOOKED_AFTER", 1_000_000)
    server.behaviours = [endless]
    told = refused(wanted, tmp_path)
    assert "does not fit: 0 bytes are still to come" in told
    assert len(asked) == 3


# --- lengths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["many", "-5", "3.5", "0x10", "99" * 20])
def test_a_length_that_is_none_is_told(
    server: Server, wanted: Wanted, tmp_path: Path, length: str
) -> None:
    server.behaviours = [headed(fine, Content_Length=length)] * 3
    told = refused(wanted, tmp_path)
    assert f"{wanted.url} cannot be fetched: " in told
    assert "Content-Length (tried 3 times without progress); check the URL" in told
    assert get(wanted, tmp_path) == DATA


def test_a_length_that_is_too_short_cuts_the_file_which_its_checksum_tells(
    server: Server, wanted: Wanted, tmp_path: Path
) -> None:
    server.behaviours = [headed(fine, Content_Length="299999")]
    cut_digest = hashlib.sha256(DATA[:-1]).hexdigest()
    assert f"expected sha256 {DIGEST}, got {cut_digest}" in refused(wanted, tmp_path)
    assert get(wanted, tmp_path) == DATA


def test_a_part_of_the_range_that_was_asked_for_is_not_the_end(
    server: Server, wanted: Wanted, tmp_path: Path
) -> None:
    server.behaviours = [cut(100_000), first_part_of_the_range(80_000)]
    assert get(replace(wanted, sha256=None), tmp_path) == DATA
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
    wanted: Wanted,
    tmp_path: Path,
    behaviours: list[Behaviour],
    ranges: list[str | None],
) -> None:
    server.behaviours = behaviours
    assert get(replace(wanted, sha256=None), tmp_path) == DATA
    assert server.ranges == ranges


# --- compression ----------------------------------------------------------------------------------


def test_a_gz_file_that_is_called_compressed_is_taken_as_it_is(
    server: Server, tmp_path: Path
) -> None:
    packed = gzip.compress(DATA)
    url = server.add("/data.tar.gz", packed)
    server.behaviours = [headed(fine, Content_Encoding="x-gzip")]
    assert get(Wanted(url, sha256=hashlib.sha256(packed).hexdigest()), tmp_path) == packed


@pytest.mark.parametrize("coding", ["gzip", "br", "aws-chunked"])
def test_a_file_that_is_sent_compressed_is_refused(
    server: Server, wanted: Wanted, tmp_path: Path, coding: str
) -> None:
    server.behaviours = [headed(fine, Content_Encoding=coding)]
    told = refused(wanted, tmp_path)
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
    wanted = Wanted(server.add("/data.bin", DATA), sha256=hashlib.sha256(OTHER).hexdigest())
    changed: Behaviour = lambda request, data: ignoring_range(request, OTHER)  # noqa: E731
    server.behaviours = [headed(cut(100_000), **first), headed(changed, **second)]
    assert get(wanted, tmp_path) == OTHER
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
    wanted = Wanted(server.add("/data.bin", OTHER))  # no checksum that would tell
    beginning: Behaviour = lambda request, _: cut(100_000)(request, DATA)  # noqa: E731
    server.behaviours = [headed(beginning, **first), headed(of(OTHER), **second)]
    assert get(wanted, tmp_path) == OTHER
    assert server.ranges == [None, REST, None]


@pytest.mark.parametrize("told", [{"ETag": None}, {"ETag": None, "Last-Modified": DATE}])
def test_a_rest_that_does_not_say_its_version_is_added(
    server: Server, wanted: Wanted, tmp_path: Path, told: dict[str, str | None]
) -> None:
    server.behaviours = [cut(100_000), headed(fine, **told)]
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == [None, REST]


def test_a_part_that_is_longer_than_the_file_is_thrown_away(
    server: Server, wanted: Wanted, tmp_path: Path
) -> None:
    (tmp_path / "data.bin.part").write_bytes(DATA + DATA)
    state = {"url": wanted.url, "version": etag(DATA)}
    (tmp_path / "data.bin.part.json").write_text(json.dumps(state))
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == ["bytes=600000-", None]
    assert names(tmp_path) == {"data.bin"}


def test_a_part_of_another_url_is_not_added_to(
    server: Server, wanted: Wanted, tmp_path: Path
) -> None:
    elsewhere = Wanted(server.add("/other/data.bin", OTHER))
    server.behaviours = [cut(100_000), status(500), status(500)]
    refused(elsewhere, tmp_path)
    assert len((tmp_path / "data.bin.part").read_bytes()) == 100_000
    server.requests.clear()
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == [None]


@pytest.mark.parametrize(
    "version", ["a\r\nRange: bytes=0-", "ü", "", " x", "a\x00b", 7, None, ["x"], {"a": 1}]
)
def test_a_damaged_note_beside_a_part_costs_only_the_part(
    server: Server, wanted: Wanted, tmp_path: Path, version: object
) -> None:
    (tmp_path / "data.bin.part").write_bytes(DATA[:100_000])
    state = json.dumps({"url": wanted.url, "version": version})
    (tmp_path / "data.bin.part.json").write_text(state)
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == [None]


@pytest.mark.parametrize("state", [b"\xff\xfe", b"[" * 100_000, b"{}", b"null", b"1" * 5000])
def test_a_note_that_is_no_json_costs_only_the_part(
    server: Server, wanted: Wanted, tmp_path: Path, state: bytes
) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"what")
    (tmp_path / "data.bin.part.json").write_bytes(state)
    assert get(wanted, tmp_path) == DATA


def test_a_resumed_file_of_another_content_is_told_by_its_checksum(
    server: Server, wanted: Wanted, tmp_path: Path
) -> None:
    (tmp_path / "data.bin.part").write_bytes(OTHER[:100_000])
    state = {"url": wanted.url, "version": etag(DATA)}
    (tmp_path / "data.bin.part.json").write_text(json.dumps(state))
    mixed = hashlib.sha256(OTHER[:100_000] + DATA[100_000:]).hexdigest()
    assert f"expected sha256 {DIGEST}, got {mixed}" in refused(wanted, tmp_path)
    assert get(wanted, tmp_path) == DATA
    assert server.ranges == [REST, None]


# --- when to ask again ----------------------------------------------------------------------------


@pytest.mark.parametrize("until", ["a date", "for ever"])
def test_a_wait_that_is_too_long_is_refused_at_once(
    server: Server, wanted: Wanted, tmp_path: Path, until: str
) -> None:
    value, said = {  # a date is one of now, not of when tests were collected
        "a date": (formatdate(time.time() + 7600, usegmt=True), "asks to wait 7,"),
        "for ever": ("9" * 400, "asks to wait 1,000,000,000 s"),
    }[until]
    server.behaviours = [status(429, Retry_After=value)]
    assert f"the server answered 429 and {said}" in refused(wanted, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["soon", "-5", "1.5", "²", "", "Mon, 99 Foo 0000 99:99:99 GMT"])
def test_a_wait_that_is_none_is_passed_over(
    server: Server, wanted: Wanted, tmp_path: Path, value: str
) -> None:
    server.behaviours = [status(503, Retry_After=value)]
    assert get(wanted, tmp_path) == DATA
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
        assert (answers.asked_to_wait(answer) or 0) >= 0
        assert (answers.starts_at(answer) or 0) >= 0
        assert (answers.whole_length(answer) or 0) >= 0
        found = answers.version(answer)
        assert found is None or found.encode("ascii")


# --- elsewhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("file:///etc/hostname", "an unsupported protocol 'file://'.; check the URL"),
        ("ftp://127.0.0.1/data.bin", "an unsupported protocol 'ftp://'.; check the URL"),
        ("http://[", "(tried 3 times without progress); check the URL"),
    ],
)
def test_a_redirect_to_what_is_no_web_address_is_told(
    server: Server, wanted: Wanted, tmp_path: Path, to: str, said: str
) -> None:
    server.behaviours = [redirect(to)] * 3
    told = refused(wanted, tmp_path)
    assert f"{wanted.url} cannot be fetched: " in told
    assert said in told


def test_a_loop_over_two_addresses_ends(server: Server, wanted: Wanted, tmp_path: Path) -> None:
    server.add("/other", DATA)
    server.behaviours = [redirect("/other"), redirect("/files/data.bin")] * 50
    assert "Exceeded maximum allowed redirects.; check the URL" in refused(wanted, tmp_path)
    assert len(server.requests) <= 22


def test_an_unknown_host_is_told(tmp_path: Path) -> None:
    told = refused(Wanted("http://no-such-host.invalid/data.bin"), tmp_path)
    assert told.startswith("http://no-such-host.invalid/data.bin cannot be fetched: ")
    assert "(tried 3 times without progress); check the URL and the network" in told


@pytest.mark.parametrize(
    "url",
    ["https://host/" + "a" * 300, "https://host/a\x00b", "https://host/a\\..\\b", "https://h/ü"],
)
def test_a_name_that_a_file_system_may_not_take_is_not_used(url: str) -> None:
    assert Wanted(url).name == "download"


# --- proxies --------------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_used(
    server: Server, wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert get(wanted, tmp_path) == DATA
    assert [request.path for request in proxy.requests] == [wanted.url]
    assert len(server.requests) == 1


def test_no_proxy_goes_round_it(
    server: Server, wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert get(wanted, tmp_path) == DATA
    assert proxy.requests == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "gopher://127.0.0.1:1"),
        ("SSL_CERT_FILE", "/no/such/file.pem"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_settings_that_cannot_be_used_are_told(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    told = refused(wanted, tmp_path)
    assert told.startswith(
        "the environment's settings for proxies or certificates cannot be used ("
    )
    assert told.endswith(
        "; check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
    )


# --- certificates ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and key for 127.0.0.1 that nobody vouches for, named as in SSL_CERT_DIR."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl")
    folder = tmp_path_factory.mktemp("certificate")
    made = [folder / "key.pem", folder / "certificate.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", str(made[0]), "-out", str(made[1]), "-days", "2",
         "-subj", "/CN=pmbench test", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    hashed = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(made[1])],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    both = folder / f"{hashed.stdout.strip()}.0"
    both.write_bytes(made[1].read_bytes() + made[0].read_bytes())
    return both


@contextmanager
def secure(certificate: Path) -> Iterator[tuple[Server, Wanted]]:
    with serving(certificate) as server:
        yield server, Wanted(server.add("/files/data.bin", DATA), sha256=DIGEST)


def test_an_untrusted_certificate_is_refused_at_once(certificate: Path, tmp_path: Path) -> None:
    with secure(certificate) as (server, wanted):
        told = refused(wanted, tmp_path, replace(PATIENCE, wait=3))
    assert told == (
        f"{wanted.url} cannot be fetched: its certificate is not trusted (self-signed certificate);"
        " check the URL, and where it is your network's own certificate, name the file that holds "
        "it: SSL_CERT_FILE=FILE.pem"
    )
    assert server.requests == []


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_certificate_that_the_user_names_is_trusted(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(certificate if name == "SSL_CERT_FILE" else certificate.parent))
    with secure(certificate) as (server, wanted):
        server.behaviours = [cut(100_000)]
        assert get(wanted, tmp_path) == DATA
    assert server.ranges == [None, REST]


def test_a_certificate_for_another_host_is_refused(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secure(certificate) as (_, wanted):
        told = refused(replace(wanted, url=wanted.url.replace("127.0.0.1", "localhost")), tmp_path)
    assert "its certificate is not trusted (Hostname mismatch" in told


def test_a_redirect_to_what_is_not_encrypted_is_refused(
    server: Server,
    wanted: Wanted,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secure(certificate) as (safe, there):
        safe.behaviours = [redirect(wanted.url)]
        told = refused(there, tmp_path)
    assert (
        f"{there.url} leads to {wanted.url}, which is not encrypted, so anybody on the way may "
        "alter what comes; name another place with --mirror or --from"
    ) in told
    assert names(tmp_path) == set()


def test_a_drip_over_tls_is_left_too(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secure(certificate) as (server, wanted):
        server.files["/files/data.bin"] = DATA[:20_000]
        server.behaviours = [drip(20, 0.05)] * 3
        start = time.monotonic()
        told = refused(wanted, tmp_path, HURRIED)
    assert time.monotonic() - start < 20
    assert "so slow a server may never end (tried 3 times without progress)" in told


def test_https_goes_through_a_proxy_too(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secure(certificate) as (server, wanted), proxying() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert get(wanted, tmp_path) == DATA
    assert [request.path for request in proxy.requests] == [server.url.removeprefix("https://")]

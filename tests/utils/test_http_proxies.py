"""Proxies, certificates, and a server that sends elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.http_server import Server, cut, drip, proxying, redirect, serving
from support.transfers import DATA, DIGEST, HURRIED, PATIENCE, REST, fetch_data, names, refusal

from pmbench.utils.verified_download import RemoteFile

pytestmark = pytest.mark.usefixtures("no_proxies")

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
    server: Server, wanted: RemoteFile, tmp_path: Path, to: str, said: str
) -> None:
    server.behaviours = [redirect(to)] * 3
    told = refusal(wanted, tmp_path)
    assert f"{wanted.url} cannot be fetched: " in told
    assert said in told


def test_a_loop_over_two_addresses_ends(server: Server, wanted: RemoteFile, tmp_path: Path) -> None:
    server.add("/other", DATA)
    server.behaviours = [redirect("/other"), redirect("/files/data.bin")] * 50
    assert "Exceeded maximum allowed redirects.; check the URL" in refusal(wanted, tmp_path)
    assert len(server.requests) <= 22


def test_an_unknown_host_is_told(tmp_path: Path) -> None:
    told = refusal(RemoteFile("http://no-such-host.invalid/data.bin"), tmp_path)
    assert told.startswith("http://no-such-host.invalid/data.bin cannot be fetched: ")
    assert "(tried 3 times without progress); check the URL and the network" in told


@pytest.mark.parametrize(
    "url",
    ["https://host/" + "a" * 300, "https://host/a\x00b", "https://host/a\\..\\b", "https://h/ü"],
)
def test_a_name_that_a_file_system_may_not_take_is_not_used(url: str) -> None:
    assert RemoteFile(url).name == "download"


# --- proxies --------------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_used(
    server: Server, wanted: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert fetch_data(wanted, tmp_path) == DATA
    assert [request.path for request in proxy.requests] == [wanted.url]
    assert len(server.requests) == 1


def test_no_proxy_goes_round_it(
    server: Server, wanted: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert fetch_data(wanted, tmp_path) == DATA
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
    wanted: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    told = refusal(wanted, tmp_path)
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
def secure(certificate: Path) -> Iterator[tuple[Server, RemoteFile]]:
    with serving(certificate) as server:
        yield server, RemoteFile(server.add("/files/data.bin", DATA), sha256=DIGEST)


def test_an_untrusted_certificate_is_refused_at_once(certificate: Path, tmp_path: Path) -> None:
    with secure(certificate) as (server, wanted):
        told = refusal(wanted, tmp_path, replace(PATIENCE, wait=3))
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
        assert fetch_data(wanted, tmp_path) == DATA
    assert server.ranges == [None, REST]


def test_a_certificate_for_another_host_is_refused(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secure(certificate) as (_, wanted):
        told = refusal(replace(wanted, url=wanted.url.replace("127.0.0.1", "localhost")), tmp_path)
    assert "its certificate is not trusted (Hostname mismatch" in told


def test_a_redirect_to_what_is_not_encrypted_is_refused(
    server: Server,
    wanted: RemoteFile,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secure(certificate) as (safe, there):
        safe.behaviours = [redirect(wanted.url)]
        told = refusal(there, tmp_path)
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
        told = refusal(wanted, tmp_path, HURRIED)
    assert time.monotonic() - start < 20
    assert "so slow a server may never end (tried 3 times without progress)" in told


def test_https_goes_through_a_proxy_too(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secure(certificate) as (server, wanted), proxying() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert fetch_data(wanted, tmp_path) == DATA
    assert [request.path for request in proxy.requests] == [server.url.removeprefix("https://")]

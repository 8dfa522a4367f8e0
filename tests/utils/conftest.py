"""What tests of the disk work in, and a server to fetch from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.http_server import Server, serving
from support.transfers import DATA, DIGEST

from pmbench.utils.verified_download import RemoteFile


@pytest.fixture
def disk_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, in which the cache will lie too."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


SETTINGS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the user's proxies and certificates out of it."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server(no_proxies: None) -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def wanted(server: Server) -> RemoteFile:
    return RemoteFile(server.add("/files/data.bin", DATA), sha256=DIGEST)

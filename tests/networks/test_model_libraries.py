"""timm's hub: asked once, and never without need."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save
from support.networks import CPU, extractor, failure, metric

from pmbench.metrics.external import net
from pmbench.metrics.loading import load_metrics
from pmbench.utils.progress import Silent

pytestmark = pytest.mark.usefixtures("forget_networks")

WAYS_OUT = (
    "put test_resnet.r160_in1k.safetensors into a folder and name it with --weights or "
    "PMBENCH_WEIGHTS, or add ?random=0 for a network that has learned nothing"
)
_COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    """The part of the hub that its client asks for one file."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        self.asked.append(f"{self.command} {self.path}")
        data = self.files.get(self.path, b"")
        self.send_response(200 if data else 404)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{len(data):040d}"')
        self.send_header("X-Repo-Commit", _COMMIT)
        if not data:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        return data

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[_Hub]]:
    """Point the hub's client at a server of ours, with a cache of its own."""
    handler = type("Handler", (_Hub,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    _point_hub_at(f"http://127.0.0.1:{server.server_port}", monkeypatch, tmp_path)
    try:
        yield handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _point_hub_at(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


FILE = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


def test_timms_weights_come_from_the_hub_and_then_from_its_cache(hub: type[_Hub]) -> None:
    torch.manual_seed(31)
    tensors = timm.create_model("test_resnet", pretrained=False).state_dict()
    hub.files[FILE] = save(tensors)
    for name in ("test_resnet", "test_resnet.r160_in1k"):
        state = extractor(f"net:timm/{name}@layer1").state_dict()
        for key, value in state.items():
            assert torch.equal(value, tensors[key.removeprefix("network.")]), key
        assert f"GET {FILE}" in hub.asked or not hub.asked
        hub.asked.clear()
    net.trunk.cache_clear()
    extractor("net:timm/test_resnet@layer1")
    assert hub.asked == []


def test_a_hub_without_the_file_is_a_sentence(hub: type[_Hub]) -> None:
    sentence = failure("net:timm/test_resnet")
    assert sentence.startswith("timm cannot load the weights of test_resnet.r160_in1k (")
    assert "404" in sentence
    assert sentence.endswith(f"; {WAYS_OUT}")
    assert "\n" not in sentence


def test_without_a_network_timms_weights_are_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:  # a port where nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        _point_hub_at(url, monkeypatch, tmp_path)
        chosen = [metric("net:timm/test_resnet"), metric("net:timm/test_vit")]
        start = time.perf_counter()
        loaded, failures = load_metrics(chosen, CPU, Silent())
        # the hub's own client would wait for more than half a minute
        assert time.perf_counter() - start < 5
    assert not loaded
    assert failures["net:timm/test_resnet"] == (
        "the weights of timm/test_resnet.r160_in1k are not on this machine and cannot be fetched "
        f"({url}: [Errno 111] Connection refused); {WAYS_OUT}"
    )
    assert failures["net:timm/test_vit"].startswith("the weights of timm/test_vit.r160_in1k are")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("HTTPS_PROXY", "foo://bar", "Unknown scheme for proxy URL URL('foo://bar')"),
        ("ALL_PROXY", "socks5://127.0.0.1:1", "Using SOCKS proxy, but the 'socksio' package is"),
        ("SSL_CERT_FILE", "/nowhere.pem", "[Errno 2] No such file or directory"),
        ("SSL_CERT_FILE", __file__, "[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate"),
    ],
)
def test_settings_for_the_network_that_make_no_sense_are_named(
    hub: type[_Hub], monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)
    sentence = failure("net:timm/test_resnet")
    assert sentence.startswith(
        "the weights of timm/test_resnet.r160_in1k are not on this machine and cannot be fetched "
        f"(the environment's settings for proxies or certificates cannot be used ({why}"
    )
    assert sentence.endswith(
        "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR); "
        f"{WAYS_OUT}"
    )


def test_offline_nobody_is_asked(hub: type[_Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    assert failure("net:timm/test_resnet") == (
        "the weights of timm/test_resnet.r160_in1k are not on this machine and PMBENCH_OFFLINE is "
        f"set; {WAYS_OUT}"
    )
    assert hub.asked == []


def test_a_network_of_timms_that_nobody_trained_says_so() -> None:
    assert failure("net:timm/coatnet_0_224") == (
        "timm has no trained weights of coatnet_0_224; put coatnet_0_224.safetensors into a folder "
        "and name it with --weights or PMBENCH_WEIGHTS, or add ?random=0 for a network that has "
        "learned nothing"
    )

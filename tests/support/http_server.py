"""A real HTTP server on 127.0.0.1 that serves bytes, and misbehaves when told to; and a proxy.

``behaviours`` is a list: each request takes the first of it and is answered so; with none left the
server behaves. ``requests`` records what was asked.
"""

from __future__ import annotations

import hashlib
import itertools
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

PAGE = b"\n<!DOCTYPE html>\n<html><body>Please accept the terms of use.</body></html>\n"


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    path: str
    range: str | None = None
    if_range: str | None = None


@dataclass(frozen=True)
class Answer:
    """What the server sends: only ``stop`` bytes of the body, the last of them after ``pause``.

    With ``piece`` it sends so many bytes at a time, a pause between any two of them; ``endless`` is
    the body again and again.
    """

    status: int
    body: bytes
    headers: dict[str, str | None] = field(default_factory=dict)  # None: not even the usual one
    stop: int | None = None
    pause: float = 0.0
    piece: int = 0
    chunked: bool = False
    endless: bool = False


Behaviour = Callable[[Request, bytes], Answer]


# --- behaviours -----------------------------------------------------------------------------------


def fine(request: Request, data: bytes) -> Answer:
    """Answer as HTTP says, with an ETag and with the rest of the file where it is asked for."""
    headers = {"ETag": etag(data), "Content-Type": "application/octet-stream"}
    start = int((request.range or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if request.range is None or request.if_range not in (None, etag(data)):
        return Answer(200, data, headers)
    if start >= len(data):
        return Answer(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
    content_range = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return Answer(206, data[start:], headers | {"Content-Range": content_range})


def cut(after: int) -> Behaviour:
    """Break the connection off after so many bytes of the body."""
    return lambda request, data: replace(fine(request, data), stop=after)


def silent(after: int, seconds: float) -> Behaviour:
    """Say nothing for so long after so many bytes of the body."""
    return lambda request, data: replace(fine(request, data), stop=after, pause=seconds)


def drip(piece: int, pause: float) -> Behaviour:
    """Send a little, and after a pause a little more."""
    return lambda request, data: replace(fine(request, data), piece=piece, pause=pause)


def chunked(behaviour: Behaviour) -> Behaviour:
    """Do the same, without saying how long the body is."""
    return lambda request, data: replace(behaviour(request, data), chunked=True)


def endless(request: Request, data: bytes) -> Answer:
    """Send the file again and again, for as long as somebody listens."""
    return replace(fine(request, data), chunked=True, endless=True)


def headed(behaviour: Behaviour, **headers: str | None) -> Behaviour:
    """Do the same with other headers; ``ETag=None`` leaves one out."""
    extra = {name.replace("_", "-"): value for name, value in headers.items()}

    def behave(request: Request, data: bytes) -> Answer:
        answer = behaviour(request, data)
        return replace(answer, headers=answer.headers | extra)

    return behave


def first_part_of_the_range(length: int) -> Behaviour:
    """Send so many bytes of the range that was asked for, which HTTP allows."""

    def behave(request: Request, data: bytes) -> Answer:
        answer = fine(request, data)
        start = len(data) - len(answer.body)
        extra = {"Content-Range": f"bytes {start}-{start + length - 1}/{len(data)}"}
        return replace(answer, body=answer.body[:length], headers=answer.headers | extra)

    return behave


def corrupt(request: Request, data: bytes) -> Answer:
    """Send the right number of bytes, one of them wrong."""
    answer = fine(request, data)
    body = bytearray(answer.body)
    body[len(body) // 2] ^= 1
    return replace(answer, body=bytes(body))


def page(kind: str) -> Behaviour:
    """Answer with a web page, called ``kind``."""
    return lambda request, data: Answer(200, PAGE, {"Content-Type": kind})


def status(number: int, **headers: str) -> Behaviour:
    """Answer with a bare status; ``Retry_After="1"`` becomes the header Retry-After."""
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, data: Answer(number, b"", extra)


def redirect(to: str) -> Behaviour:
    """Send the client elsewhere."""
    return status(302, Location=to)


def ignoring_range(request: Request, data: bytes) -> Answer:
    """Send everything, whatever was asked for."""
    return fine(replace(request, range=None), data)


def wrong_range(request: Request, data: bytes) -> Answer:
    """Send another range than the one that was asked for."""
    extra = {"Content-Range": f"bytes 1-{len(data) - 1}/{len(data)}"}
    return replace(fine(replace(request, range=None), data[1:]), status=206, headers=extra)


def too_long(by: int) -> Behaviour:
    """Promise more bytes than there are."""

    def behave(request: Request, data: bytes) -> Answer:
        answer = fine(request, data)
        promised = str(len(answer.body) + by)
        return replace(answer, headers=answer.headers | {"Content-Length": promised})

    return behave


def other_version(data: bytes) -> Behaviour:
    """Serve other bytes under the same name, with an ETag of their own."""
    return lambda request, old: fine(request, data)


def without_version(behaviour: Behaviour) -> Behaviour:
    """Do the same, but give nothing by which to tell versions apart."""

    def behave(request: Request, data: bytes) -> Answer:
        answer = behaviour(request, data)
        return replace(answer, headers={k: v for k, v in answer.headers.items() if k != "ETag"})

    return behave


def etag(data: bytes) -> str:
    """Return the strong ETag of a file."""
    return f'"{hashlib.sha256(data).hexdigest()[:16]}"'


# --- the server -----------------------------------------------------------------------------------


@dataclass
class Server:
    """A running server: put files in, push behaviours, read the requests."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)  # by path, "/data.bin"
    behaviours: list[Behaviour] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def add(self, path: str, data: bytes) -> str:
        """Serve bytes under a path; return the URL."""
        self.files[path] = data
        return self.url + path

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of each request."""
        return [request.range for request in self.requests]


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    """Run a server in a thread until the end of the block; with a certificate and key, over TLS."""
    http = _Quiet(("127.0.0.1", 0), _Handler)
    http.public = Server(f"http{'s' * bool(certificate)}://127.0.0.1:{http.server_port}")
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    with _running(http):
        yield http.public


@contextmanager
def proxying() -> Iterator[Server]:
    """Run a proxy in a thread until the end of the block; its requests are those for others."""
    http = _Quiet(("127.0.0.1", 0), _Proxy)
    http.public = Server(f"http://127.0.0.1:{http.server_port}")
    with _running(http):
        yield http.public


@contextmanager
def _running(http: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Quiet(ThreadingHTTPServer):
    public: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        # clients may hang up
        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Quiet

    def do_GET(self) -> None:
        public = self.server.public
        request = Request(self.path, self.headers["Range"], self.headers["If-Range"])
        public.requests.append(request)
        behave = public.behaviours.pop(0) if public.behaviours else fine
        data = public.files.get(self.path)
        self._send(Answer(404, b"") if data is None else behave(request, data))

    def _send(self, answer: Answer) -> None:
        if answer.chunked:
            self.protocol_version = "HTTP/1.1"
        self.send_response(answer.status)
        self.close_connection = True
        length = {"Transfer-Encoding": "chunked"} if answer.chunked else {}
        length = length or {"Content-Length": str(len(answer.body))}
        for name, value in ({"Connection": "close"} | length | answer.headers).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self._send_body(answer)

    def _send_body(self, answer: Answer) -> None:
        pieces = _pieces(answer)
        for i, piece in enumerate(itertools.cycle(pieces) if answer.endless else pieces):
            if i:
                time.sleep(answer.pause)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
        if answer.chunked and answer.stop is None:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _pieces(answer: Answer) -> list[bytes]:
    body, size = answer.body, answer.piece
    if size:
        return [body[i : i + size] for i in range(0, len(body), size)]
    return [body[: answer.stop], body[answer.stop :]] if answer.pause else [body[: answer.stop]]


class _Proxy(BaseHTTPRequestHandler):
    """Passes on requests for http URLs, and opens tunnels for https."""

    server: _Quiet

    def do_GET(self) -> None:
        self.server.public.requests.append(Request(self.path))
        answer = httpx.get(self.path, trust_env=False)
        self.send_response(answer.status_code)
        for name in ("Content-Length", "ETag"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.end_headers()
        self.wfile.write(answer.content)

    def do_CONNECT(self) -> None:
        self.server.public.requests.append(Request(self.path))
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            other = {there: self.connection, self.connection: there}
            while True:
                for ready in select.select(list(other), [], [])[0]:
                    if not (data := ready.recv(65536)):
                        return
                    other[ready].sendall(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass

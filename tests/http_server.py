"""A real HTTP server on 127.0.0.1 that serves bytes, and misbehaves when told to.

``behaviours`` is a list: each request takes the first of it and is answered so; with none left the
server behaves. ``requests`` records what was asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE = b"\n<!DOCTYPE html>\n<html><body>Please accept the terms of use.</body></html>\n"


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    path: str
    range: str | None = None
    if_range: str | None = None


@dataclass(frozen=True)
class Answer:
    """What the server sends: only ``stop`` bytes of the body, the last of them after ``pause``."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    stop: int | None = None
    pause: float = 0.0


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
    told = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return Answer(206, data[start:], headers | {"Content-Range": told})


def cut(after: int) -> Behaviour:
    """Break the connection off after so many bytes of the body."""
    return lambda request, data: replace(fine(request, data), stop=after)


def silent(after: int, seconds: float) -> Behaviour:
    """Say nothing for so long after so many bytes of the body."""
    return lambda request, data: replace(fine(request, data), stop=after, pause=seconds)


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
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, data: Answer(number, b"", told)


def redirect(to: str) -> Behaviour:
    """Send the client elsewhere."""
    return status(302, Location=to)


def ignoring_range(request: Request, data: bytes) -> Answer:
    """Send everything, whatever was asked for."""
    return fine(replace(request, range=None), data)


def wrong_range(request: Request, data: bytes) -> Answer:
    """Send another range than the one that was asked for."""
    told = {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
    return replace(fine(replace(request, range=None), data), status=206, headers=told)


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
def serving() -> Iterator[Server]:
    """Run a server in a thread until the end of the block."""
    http = _Quiet(("127.0.0.1", 0), _Handler)
    http.told = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield http.told
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Quiet(ThreadingHTTPServer):
    told: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients may hang up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Quiet

    def do_GET(self) -> None:
        told = self.server.told
        request = Request(self.path, self.headers["Range"], self.headers["If-Range"])
        told.requests.append(request)
        behave = told.behaviours.pop(0) if told.behaviours else fine
        data = told.files.get(self.path)
        self._send(Answer(404, b"") if data is None else behave(request, data))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = {"Content-Length": str(len(answer.body))} | answer.headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: answer.stop])
        if answer.pause:
            time.sleep(answer.pause)
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer.body[answer.stop :])

    def log_message(self, format: str, *args: Any) -> None:
        pass

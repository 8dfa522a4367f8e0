"""A bound on how slow a server may be: silence is one thing, a byte now and then another.

A timeout ends a connection on which nothing comes. One on which a little comes for ever, in the
headers, the handshake or the body, is ended here, by how much came in each window of time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any


class Pace:
    """While it is entered, shuts connections that bring fewer than ``least`` bytes a window.

    ``seen`` is to be the "trace" of each request, and ``came`` grows with what is received;
    afterwards ``too_slow`` says whether the end of the connection was its doing.
    """

    def __init__(self, window: float, least: float) -> None:
        self.came = 0  # bytes
        self.too_slow = False
        self._window, self._least = window, least
        self._connections: list[socket.socket] = []
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="pace", daemon=True)

    def __enter__(self) -> Pace:
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._watcher.join()
        for connection in self._connections:
            connection.close()

    def seen(self, event: str, info: Mapping[str, Any]) -> None:
        """Be told by httpx what it did, and remember each connection that it opened."""
        if not event.endswith("connect_tcp.complete"):
            return
        # a twin: the socket itself is given up to whoever speaks TLS on it
        self._connections.append(info["return_value"].get_extra_info("socket").dup())
        if self.too_slow:
            self._shut()

    def _watch(self) -> None:
        before = 0
        while not self._over.wait(self._window):
            if self.came - before < self._least:
                self.too_slow = True
                self._shut()
                return
            before = self.came

    def _shut(self) -> None:
        for connection in self._connections:
            with contextlib.suppress(OSError):  # it is gone already
                connection.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it

"""Short commands, several at a time; none outlives the block that started it."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from pmbench.errors import PmbenchError

_MOST_OUTPUT = 1 << 20  # bytes
_MOST_COMPLAINT = 1 << 16


@dataclass(frozen=True)
class Finished:
    """What came of a process: its exit code, or minus the signal that ended it; what it said."""

    code: int
    output: str
    complaint: str  # the end of stderr


class Processes:
    """Starts processes from any thread, and kills what still runs when the block is left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._closed = True
            for process in self._running:
                if process.returncode is None:
                    _kill(process)

    def run(self, words: list[str], seconds: float) -> Finished:
        """Run a command to its end. Raises PmbenchError where it cannot be started or takes longer.

        It then is killed with all the processes that it started.
        """
        try:
            # a session of its own, so that what it starts can be killed with it
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise PmbenchError(
                f"{words[0]} cannot be started: {error.strerror}; a script needs a first line such "
                "as #!/bin/sh, and a program must be made for this machine"
            ) from error
        with self._lock:
            self._running.add(process)
            if self._closed:
                _kill(process)
        try:
            return _followed(process, words[0], seconds)
        finally:
            with self._lock:
                if process.returncode is None:
                    _kill(process)
                self._running.discard(process)
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def _followed(process: subprocess.Popen[bytes], program: str, seconds: float) -> Finished:
    """Read what a process says until it ends, in bounded memory."""
    output: list[bytes] = []
    complaint: deque[bytes] = deque(maxlen=_MOST_COMPLAINT // 4096)
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            left = end - time.monotonic()
            for key, _ in selector.select(max(left, 0)):
                data = os.read(key.fd, 4096)
                if not data:
                    selector.unregister(key.fileobj)
                (output if key.fileobj is process.stdout else complaint).append(data)
            if left <= 0:
                raise _overdue(program, seconds)
            if sum(map(len, output)) > _MOST_OUTPUT:
                raise PmbenchError(
                    f"{program} printed more than a megabyte; expected one number; mend it"
                )
    try:
        code = process.wait(max(end - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise _overdue(program, seconds) from None
    said, complained = (b"".join(parts).decode(errors="replace") for parts in (output, complaint))
    return Finished(code, said, complained)


def _overdue(program: str, seconds: float) -> PmbenchError:
    return PmbenchError(
        f"{program} had not ended after {seconds:g} seconds; mend it, or give it more time: "
        "cmd?timeout=SECONDS:…"
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)

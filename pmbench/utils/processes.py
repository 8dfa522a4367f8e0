"""Programs run to their end, in bounded time and with bounded output."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

from pmbench.utils.errors import PmbenchError

_LONGEST_OUTPUT = 1 << 20  # bytes
_LONGEST_COMPLAINT = 1 << 16  # bytes
_OFTEN = 0.05  # seconds between two looks at how much a process has printed


@dataclass(frozen=True)
class Completed:
    """A process that has ended: its exit code, or minus the signal that ended it; its output."""

    code: int
    output: str
    complaint: str  # the end of stderr


class Processes:
    """Runs programs from any thread, and kills what still runs when the block is left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        _open.add(self)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill all that runs, and whatever is started from now on."""
        with self._lock:
            self._closed = True
            for process in self._running:
                _kill(process)

    def run(self, words: list[str], seconds: float) -> Completed:
        """Run a command without a shell, and return what it printed.

        What it started and left behind is killed with it. Raises PmbenchError where it cannot be
        started, takes longer than ``seconds`` or prints more than a megabyte.
        """
        # files, since a process left behind would hold a pipe open
        with TemporaryFile() as output, TemporaryFile() as complaint:
            process = _start(words, output, complaint)
            with self._lock:
                self._running.add(process)
                if self._closed:
                    _kill(process)
            try:
                _wait(process, words[0], seconds, output)
            finally:
                _kill(process)
                process.wait()
                with self._lock:
                    self._running.discard(process)
            _refuse_long(output, words[0])
            texts = (_end_of(output, _LONGEST_OUTPUT), _end_of(complaint, _LONGEST_COMPLAINT))
            return Completed(process.returncode, *texts)


# those whose block is not left yet
_open: weakref.WeakSet[Processes] = weakref.WeakSet()


def kill_all() -> None:
    """Kill what runs in any block: pmbench is about to exit without leaving it."""
    for processes in list(_open):
        processes.kill()


def _start(words: list[str], output: IO[bytes], complaint: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaint,
            start_new_session=True,  # so that what it starts can be killed with it
        )
    except OSError as error:
        hint = "a script needs a first line such as #!/bin/sh, and a program must be made for this"
        raise PmbenchError(
            f"{words[0]} cannot be started: {error.strerror}; "
            + (f"{hint} machine" if os.path.exists(words[0]) else "it was there; put it back")  # noqa: PTH110
        ) from error


def _wait(
    process: subprocess.Popen[bytes], program: str, seconds: float, output: IO[bytes]
) -> None:
    """Wait until a process has ended. Raises PmbenchError where that takes or prints too much."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        with suppress(subprocess.TimeoutExpired):
            process.wait(min(left, _OFTEN))
            return
        _refuse_long(output, program)
    raise PmbenchError(
        f"{program} had not ended after {seconds:g} seconds; mend it, or give it more time: "
        "cmd?timeout=SECONDS:…"
    )


def _refuse_long(output: IO[bytes], program: str) -> None:
    if os.fstat(output.fileno()).st_size > _LONGEST_OUTPUT:
        raise PmbenchError(f"{program} printed more than a megabyte; expected one number; mend it")


def _end_of(file: IO[bytes], size: int) -> str:
    """Return the last bytes of a file as text."""
    file.seek(max(os.fstat(file.fileno()).st_size - size, 0))
    return file.read().decode(errors="replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it started: a group keeps its number while one of it runs."""
    with suppress(ProcessLookupError, PermissionError):  # all have ended by themselves
        os.killpg(process.pid, signal.SIGKILL)

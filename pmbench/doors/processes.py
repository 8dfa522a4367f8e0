"""Short commands, several at a time; none outlives the block that started it."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from pmbench.errors import PmbenchError

_BLOCK = 4096  # bytes that are read at once
_MOST_OUTPUT = 1 << 20  # bytes
_MOST_COMPLAINT = 1 << 16
_OFTEN = 0.05  # seconds between two looks whether it has ended


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

    def run(self, words: list[str], seconds: float) -> Finished:
        """Run a command to its end. Raises PmbenchError where it cannot be started or takes longer.

        It then is killed with all the processes that it started.
        """
        process = _started(words)
        with self._lock:
            self._running.add(process)
            if self._closed:
                _kill(process)
        try:
            said = _followed(process, words[0], seconds)
        finally:
            with self._lock:
                _kill(process)  # also what it started and left; it keeps its number until wait()
                self._running.discard(process)
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        output, complaint = (part.decode(errors="replace") for part in said)
        return Finished(process.returncode, output, complaint)


def _started(words: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that what it starts can be killed with it
        )
    except OSError as error:
        hint = "a script needs a first line such as #!/bin/sh, and a program must be made for this"
        raise PmbenchError(
            f"{words[0]} cannot be started: {error.strerror}; "
            + (f"{hint} machine" if os.path.exists(words[0]) else "it was there; put it back")  # noqa: PTH110
        ) from error


def _followed(
    process: subprocess.Popen[bytes], program: str, seconds: float
) -> tuple[bytearray, bytes]:
    """Return what a process wrote to stdout, and the end of stderr, in bounded memory.

    It then has ended, but not been waited for. What it started and left behind, which may hold its
    pipes open, is not waited for.
    """
    output = bytearray()
    complaint: deque[bytes] = deque(maxlen=_MOST_COMPLAINT // _BLOCK)
    end = time.monotonic() + seconds
    ended, pause = False, 0.0005
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() or not ended:
            left = end - time.monotonic()
            if selector.get_map():
                ready = selector.select(0 if ended else max(min(left, _OFTEN), 0))
            else:  # both pipes are closed: it ends now, or computes on in silence
                ready, pause = [], min(2 * pause, _OFTEN)
                time.sleep(max(min(pause, left), 0))
            for key, _ in ready:
                data = os.read(key.fd, _BLOCK)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    output += data
                else:
                    complaint.append(data)
            if ended and not ready:  # all is read; another process holds the pipes open
                break
            if left <= 0:
                raise _overdue(program, seconds)
            if len(output) > _MOST_OUTPUT:
                raise PmbenchError(
                    f"{program} printed more than a megabyte; expected one number; mend it"
                )
            ended = ended or _has_ended(process)
    return output, b"".join(complaint)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a process has ended, and let it keep its number."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _overdue(program: str, seconds: float) -> PmbenchError:
    return PmbenchError(
        f"{program} had not ended after {seconds:g} seconds; mend it, or give it more time: "
        "cmd?timeout=SECONDS:…"
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was not waited for yet, and those that it started."""
    with suppress(ProcessLookupError, PermissionError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)


# those whose block is not left yet
_open: weakref.WeakSet[Processes] = weakref.WeakSet()


def kill_all() -> None:
    """Kill what runs in any block: pmbench is about to exit without leaving it."""
    for processes in list(_open):
        processes.kill()

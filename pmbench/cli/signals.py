"""Ctrl-C and its kin: the first ends a command in good order, the second at once.

Python forgets a Ctrl-C that falls into a destructor or into somebody's bare except, knows nothing
of SIGTERM and SIGHUP, and hears none of them while C code computes. Here the first is remembered,
and a thread listens for the second. What a metric left running does not hold up the end of the
process.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from pmbench.utils.processes import kill_all

_PATIENCE = 1.0  # seconds for threads that are about to end


def exit_process(code: int) -> None:
    """Exit with ``code``; threads and processes of other people's code are said and left behind.

    Python would wait for them for ever.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")  # loaded where it is used
    children = multiprocessing.active_children() if multiprocessing else []
    threads = [
        t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()
    ]
    for thread in threads:
        thread.join(_PATIENCE / len(threads))
    left = [t.name for t in threads if t.is_alive()] + [child.name for child in children]
    if not left:
        sys.exit(code)
    message = f"not waiting for what a metric left running: {', '.join(left)}"
    print(message, file=sys.stderr)  # noqa: T201
    for child in children:
        child.kill()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# what ends a command -> how the process handles it if nobody said how
_DEFAULT: dict[int, Callable[[int, FrameType | None], object] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
_TOGETHER = 0.3  # seconds: `timeout`, shells and wrappers send the same signal twice
_STOP = b"\0"  # no signal has this number


class _State:
    """What came, and what an interrupted command may promise."""

    number = 0  # the number of the first signal; 0: none
    then = ""  # what the same command does, run again
    hearing: tuple[int, ...] = ()  # the signals that are ours meanwhile


@contextmanager
def handle_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first signal that ends; at one that comes later, exit at once.

    A signal that the process is to ignore (``nohup``, a job in the background) stays ignored.
    """
    in_main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    handled = tuple(n for n, usual in _DEFAULT.items() if in_main and signal.getsignal(n) == usual)
    if not handled:
        yield
        return
    _State.number, _State.then, _State.hearing = 0, "begin anew", handled
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reading,), name="signals", daemon=True)
    watcher.start()
    for number in handled:
        signal.signal(number, _first)
    try:
        yield
    finally:
        _let_be(handled)
        signal.set_wakeup_fd(before)
        os.write(writing, _STOP)
        watcher.join()
        os.close(reading)
        os.close(writing)


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt where a signal came, and the work goes on nevertheless."""
    if _State.number:
        raise KeyboardInterrupt


def promise_resume() -> None:
    """Say that from now on the same command, run again, goes on where it is interrupted."""
    _State.then = "go on where it stopped"


def received_signal() -> int:
    """Return the number of the signal that ends the command, 0 where none came."""
    return _State.number


def closing_message() -> str:
    """Return the line about what ended the command, and how to go on."""
    name = signal.Signals(_State.number).name
    what = "interrupted" if name == "SIGINT" else f"ended by {name}"
    return f"{what}; run the same command again to {_State.then or 'begin anew'}"


def _first(number: int, frame: FrameType | None) -> None:
    if not _State.number:
        _State.number = number
        raise KeyboardInterrupt


def _watch(reading: int) -> None:
    """Exit at once when a signal comes well after the first; C code does not keep it waiting."""
    first = None
    while (data := os.read(reading, 1)) not in (b"", _STOP):
        if data[0] in _DEFAULT:
            now = time.monotonic()
            first = first or now
            if now - first > _TOGETHER:
                _exit_at_once(data[0])


def _exit_at_once(number: int) -> None:
    kill_all()
    _State.number = _State.number or number  # C code may not have let it be handled
    with suppress(OSError):  # the terminal may be gone
        os.write(2, f"{closing_message()}\n".encode())
    os._exit(128 + number)


def _let_be(numbers: tuple[int, ...]) -> None:
    """Handle signals again as if nobody had said how."""
    for number in numbers:
        signal.signal(number, _DEFAULT[number])
    _State.hearing = ()


def _in_a_child() -> None:
    """A process that somebody's code forks off is not ours: it ends as it would without us."""
    if _State.hearing:
        signal.set_wakeup_fd(-1)
        _let_be(_State.hearing)


os.register_at_fork(after_in_child=_in_a_child)

"""Ctrl-C, remembered: Python forgets one that falls into a destructor or a bare except."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_came = False


@contextmanager
def remembered() -> Iterator[None]:
    """Remember a Ctrl-C that comes meanwhile; one that the process is to ignore stays ignored."""
    global _came
    _came = False
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    if before is not signal.default_int_handler or not in_main:
        yield
        return
    signal.signal(signal.SIGINT, _remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def raise_forgotten() -> None:
    """Raise KeyboardInterrupt where one came, and the work goes on nevertheless."""
    if _came:
        raise KeyboardInterrupt


def _remember(signum: int, frame: FrameType | None) -> None:
    global _came
    _came = True
    raise KeyboardInterrupt

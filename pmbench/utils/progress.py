"""How long work tells whoever is watching; the library prints bars at most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: float = 1) -> None:
        """Say that ``amount`` more units are done."""

    def describe(self, text: str) -> None:
        """Replace the words beside the bar."""

    def expect(self, total: float | None, done: float = 0) -> None:
        """Say how many units there are in all, now that it is known, and how many are done."""


class Reporter(Protocol):
    """Receives progress and remarks. The command line draws them; tests collect them."""

    def task(self, what: str, total: float | None, unit: str) -> AbstractContextManager[Task]:
        """Open a task of ``total`` units (None: unknown), ``unit`` such as "items" or "B"."""

    def note(self, text: str) -> None:
        """Tell a fact that the user should know, once, in one line."""


class _Unseen:
    def advance(self, amount: float = 1) -> None:
        pass

    def describe(self, text: str) -> None:
        pass

    def expect(self, total: float | None, done: float = 0) -> None:
        pass


class Silent:
    """A Reporter that shows nothing and keeps the notes in a list."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def task(self, what: str, total: float | None, unit: str) -> Iterator[Task]:
        yield _Unseen()

    def note(self, text: str) -> None:
        self.notes.append(text)


class TqdmReporter(Silent):
    """A Reporter for Python programs and notebooks: a bar of tqdm on stderr, or below the cell.

    Where neither a terminal nor a notebook is there, as in a log, it shows nothing.
    """

    @contextmanager
    def task(self, what: str, total: float | None, unit: str) -> Iterator[Task]:
        """Draw a bar while the task is open."""
        from tqdm.auto import tqdm  # in time for a download, and not for every import

        with tqdm(
            desc=what, total=total, unit=unit, unit_scale=unit == "B", leave=False, disable=None
        ) as bar:
            yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, amount: float = 1) -> None:
        self._bar.update(amount)

    def describe(self, text: str) -> None:
        self._bar.set_description(text)

    def expect(self, total: float | None, done: float = 0) -> None:
        self._bar.reset(total)
        self._bar.initial = self._bar.n = self._bar.last_print_n = done  # no part of the rate
        self._bar.refresh()

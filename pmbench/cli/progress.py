"""A Reporter that draws progress bars on a terminal, and writes remarks in any case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)  # fmt: skip
from rich.progress import Task as RichTask
from rich.text import Text

from pmbench.utils.progress import Task
from pmbench.utils.text import printable


class RichReporter:
    """Draws on ``console`` (stderr), nothing but remarks where that is no terminal.

    ``at_step`` is called at each step forward, and may raise.
    """

    def __init__(self, console: Console, at_step: Callable[[], None] = lambda: None) -> None:
        self._console, self._at_step = console, at_step
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> RichReporter:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._progress.disable:  # rich before 14.3 would write an empty line
            self._progress.stop()

    @contextmanager
    def task(self, what: str, total: float | None, unit: str) -> Iterator[Task]:
        """Draw a bar while the task is open."""
        number = self._progress.add_task(what, total=total, unit=unit)
        try:
            yield _Drawn(self._progress, number, self._at_step)
        finally:
            self._progress.remove_task(number)

    def note(self, text: str) -> None:
        """Write one line, unwrapped."""
        self._console.print(printable(text), style="yellow", soft_wrap=True, markup=False)


class _Drawn:
    def __init__(self, progress: Progress, number: TaskID, at_step: Callable[[], None]) -> None:
        self._progress, self._number, self._at_step = progress, number, at_step

    def advance(self, amount: float = 1) -> None:
        self._at_step()
        self._progress.advance(self._number, amount)

    def describe(self, text: str) -> None:
        self._progress.update(self._number, description=text)

    def expect(self, total: float | None, done: float = 0) -> None:
        self._progress.update(self._number, total=total, completed=done)


class _Rate(ProgressColumn):
    """ "1,234/36,344 items, 410/s", or the same in megabytes."""

    def render(self, task: RichTask) -> Text:
        unit = str(task.fields["unit"])
        scale, unit = (1e6, "MB") if unit == "B" else (1.0, unit)
        done = f"{task.completed / scale:,.0f}"
        if task.total is not None:
            done += f"/{task.total / scale:,.0f}"
        speed = f", {task.speed / scale:,.3g}/s" if task.speed else ""
        return Text(f"{done} {unit}{speed}")

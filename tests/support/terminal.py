"""What a terminal shows of a table."""

from __future__ import annotations

import io
import re

from rich.console import Console, RenderableType

from pmbench.analysis.leaderboard_rows import Board
from pmbench.reporting import to_rich


def terminal_lines(what: RenderableType, width: int) -> list[str]:
    """Return what a terminal of that width shows, line by line."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(what)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def bold_numbers(board: Board, width: int) -> list[str]:
    """Return the numbers that are drawn bold, without their intervals."""
    segments = Console(width=width).render(to_rich(board, width))
    texts = [s.text.strip() for s in segments if s.style is not None and s.style.bold]
    return [text for text in texts if re.fullmatch(r"-?\d+\.\d+\*?", text)]

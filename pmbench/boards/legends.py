"""What stands above and below a board in words: marks, and what its signs mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pmbench.boards.board import Row
from pmbench.protocols import Protocol, Statistic
from pmbench.quantities import RELIABLE

UNRELIABLE = f"~ interval of fewer than {RELIABLE} independent items: unreliable"


def legend(protocol: Protocol, rows: Sequence[Row], statistic: Statistic) -> list[str]:
    """Return what the signs of measured rows mean, and why numbers are missing or in part."""
    lines = ["macro: plain mean of the sub-datasets"]
    lines[0] += "; 95 % bootstrap intervals" if statistic.interval else "; has no intervals"
    cells = [cell for row in rows for cell in row.cells.values()]
    if any(cell.unreliable and not math.isnan(cell.low) for cell in cells):
        lines.append(UNRELIABLE)
    of_columns = [c for row in rows for name, c in row.cells.items() if "+" not in name]
    if statistic.interval and any(
        math.isnan(c.low) and not math.isnan(c.value) for c in of_columns
    ):
        lines.append("no interval where all items are of one cluster: there is nothing to draw")
    if any(row.standing for row in rows):
        lines.append(
            "rank: places it may have, by paired tests (Holm-corrected, 5 %); those from 1 on "
            "cannot be told apart from the best"
        )
    shown = {row.name for row in rows}
    lines += [f"{human.name}: {human.title}" for human in protocol.humans if human.name in shown]
    if any(cell.part for cell in cells):
        lines.append("* over a part of the items only; the reasons:")
    by_note: dict[str, list[str]] = {}
    for row in rows:
        if note := row.cells["macro"].note:  # says what the notes of the other columns say
            by_note.setdefault(note, []).append(row.name)
    return lines + [f"{', '.join(names)}: {note}" for note, names in by_note.items()]


def cost_legend(rows: Sequence[Row]) -> list[str]:
    """Return what the columns of cost are."""
    costs = [(row.peak_memory_mb, row.parameters_count, row.weights_mb) for row in rows]
    if not any(cost is not None for of_row in costs for cost in of_row):
        return ["memory, parameters and weights: older runs do not say; measure them again"]
    return [
        "peak MB: most memory of the process that measured it, which may have measured other "
        "metrics too; params, weights: of the metric alone"
    ]

"""What stands above and below a board in words: marks, and what its signs mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pmbench.analysis.leaderboard_rows import Row
from pmbench.scoring.protocols import Protocol, Statistic

OVERALL = {
    "macro": "macro: plain mean of the sub-datasets",
    "pooled": "pooled: over all items at once",
}


def unreliable(statistic: Statistic) -> str:
    """Return what the mark of an interval says."""
    return f"~ interval of fewer than {statistic.reliable} independent items: unreliable"


def legend(
    protocol: Protocol, statistic: Statistic, rows: Sequence[Row], assumption: str = ""
) -> list[str]:
    """Return what the signs of measured rows mean, and why numbers are missing or in part.

    ``assumption`` says which items count as independent.
    """
    lines = [
        f"{OVERALL[protocol.overall]}; 95 % intervals",
        *[assumption] * bool(assumption),
    ]
    cells = [cell for row in rows for cell in row.cells.values()]
    if any(cell.unreliable and not math.isnan(cell.low) for cell in cells):
        lines.append(unreliable(statistic))
    of_columns = [c for row in rows for name, c in row.cells.items() if "+" not in name]
    if any(math.isnan(c.low) and not math.isnan(c.value) for c in of_columns):
        lines.append("no interval where all items, or all that decide, are of one cluster")
    if any(row.rank_range for row in rows):
        lines.append(
            "rank: range of ranks by paired tests (Holm-corrected, 5 %); those from 1 on "
            "cannot be told apart from the best"
        )
    lines += _without_rank(rows)
    shown = {row.name for row in rows}
    lines += [f"{human.name}: {human.title}" for human in protocol.humans if human.name in shown]
    if shown >= {"human-fresh", "human-majority"} and all(
        row.score.value == 1 for row in rows if row.kind == "human"
    ):
        lines.append("people agreed on every item: the rows about them say nothing here")
    if any(cell.part for cell in cells):
        lines.append("* over a part of the items only; the reasons:")
    by_note: dict[str, list[str]] = {}
    for row in rows:
        if note := row.score.note:  # says what the notes of the other columns say
            by_note.setdefault(note, []).append(row.name)
    return lines + [f"{', '.join(names)}: {note}" for note, names in by_note.items()]


def _without_rank(rows: Sequence[Row]) -> list[str]:
    """Return why metrics have no rank though they have a score over everything."""
    metrics = [row for row in rows if row.kind == "metric" and not row.other_setup]
    whole = [row for row in metrics if not math.isnan(row.score.value) and not row.score.part]
    without = [row.name for row in whole if row.rank_range is None]
    if len(whole) < 2 or not without:
        return []
    of = "" if len(without) == len(whole) else f" for {', '.join(without)}"
    return [f"no rank{of}: too few independent items to say how much of a difference is chance"]


def cost_legend(rows: Sequence[Row], timed_on: str = "") -> list[str]:
    """Return what the columns of cost are; ``timed_on`` is what the times of ``speed`` are of."""
    if timed_on:
        return [
            f"ms/pair, peak MB: of the metric alone, forward, {timed_on}; "
            "params, weights: of the metric"
        ]
    costs = [(row.peak_memory_mb, row.parameters_count, row.weights_mb) for row in rows]
    if not any(cost is not None for of_row in costs for cost in of_row):
        return ["memory, parameters and weights: older runs do not say; measure them again"]
    return [
        "peak MB: most memory of the process that measured it, which may have measured other "
        "metrics too; params, weights: of the metric alone"
    ]

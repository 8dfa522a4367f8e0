"""Comparisons with other people's numbers (``pmbench verify``) -> a terminal, Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from pmbench.reporting.tables import Row, StyledCell, Table

if TYPE_CHECKING:
    from pmbench.evaluation.verify import Comparison  # would import torch

_STYLES = {"agrees": "green", "differs": "bold red", "failed": "bold red", "not run": "dim"}


def to_rich(comparisons: Sequence[Comparison]) -> RenderableType:
    """Return a table with a line for each comparison, and below it why some did not run."""
    reasons = {str(one.tolerance): one.tolerance.reason for one in comparisons}
    legend = [f"{tolerance}: {reason}" for tolerance, reason in reasons.items()]
    return Group(
        _table(comparisons).to_rich() if comparisons else Text("nothing to compare"),
        Text("\n".join(["difference: relative, of one distance", *legend]), style="dim"),
        *(Text(line, style="yellow") for line in _failures(comparisons)),
    )


def to_markdown(comparisons: Sequence[Comparison]) -> str:
    """Return the same as GitHub-flavoured Markdown."""
    return (
        "\n".join(
            [
                _table(comparisons).to_markdown(),
                "",
                *(f"- {line}" for line in _failures(comparisons)),
            ]
        ).rstrip()
        + "\n"
    )


def _table(comparisons: Sequence[Comparison]) -> Table:
    head = ["metric", "referee", "n", "largest\ndifference", "tolerance", "verdict"]
    rows: list[Row] = [
        [
            StyledCell(one.metric, mark="`"),
            one.referee + (": " if "/" in one.version else " ") + one.version,
            *([f"{one.n:,}", f"{one.largest:.1e}"] if one.n else ["", ""]),
            str(one.tolerance),
            StyledCell(one.verdict, _STYLES[one.verdict]),
        ]
        for one in comparisons
    ]
    return Table(head, rows, "lprrpl", max_widths={head.index("tolerance"): 17})


def _failures(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a line for each reason why comparisons have no verdict."""
    metrics: dict[tuple[str, str], list[str]] = {}
    for one in comparisons:
        if one.reason:
            metrics.setdefault((one.verdict, one.reason), []).append(one.metric)
    return [
        f"{verdict}: {', '.join(dict.fromkeys(names))}: {reason}"
        for (verdict, reason), names in metrics.items()
    ]

"""How fast metrics are -> a table for a terminal: a line for each metric at each size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from pmbench.render.cells import many
from pmbench.tables import bare_table
from pmbench.timings import BACKWARD, FORWARD, Machine, Timing

_SPREAD = "\nlow–high"
_HEADS = (
    "metric", "size", "pairs\n/s", "ms\n/pair", _SPREAD, "peak\nMB", "as a loss\nms/pair",
    _SPREAD, "peak\nMB", "\nparams",
)  # fmt: skip
_ROOMY = 110  # characters of a terminal that has room for everything


def speeds_to_rich(machine: Machine, timings: Sequence[Timing], width: int) -> RenderableType:
    """Return the times of one machine, and below them what is missing and why.

    A terminal of few columns has no room for how far the turns spread.
    """
    table = bare_table()
    shown = [i for i, head in enumerate(_HEADS) if width >= _ROOMY or head != _SPREAD]
    for i in shown:
        name = _HEADS[i] == "metric"
        table.add_column(
            _HEADS[i],
            justify="left" if name else "right",
            overflow="fold" if name else "ellipsis",
            no_wrap=not name,
        )
    lines: dict[tuple[str, int], dict[str, Timing]] = {}
    for one in timings:
        lines.setdefault((one.metric, one.size), {})[one.direction] = one
    for (metric, size), both in lines.items():
        forward, loss = both.get(FORWARD), both.get(BACKWARD)
        pairs = forward.pairs_per_second if forward else math.nan
        count = forward.parameters if forward else -1
        cells = (
            metric, str(size), _number(pairs), *_cells(forward), *_cells(loss),
            many(count) if count >= 0 else "",
        )  # fmt: skip
        table.add_row(*(Text(cells[i]) for i in shown))
    spread = ", and fastest to slowest," * (width >= _ROOMY)
    legend = [
        f"measured on {machine}",
        f"median{spread} of the turns; as a loss: with the gradient in the distorted image",
        "peak MB: what weights, packages and intermediates of the metric alone add",
    ]
    return Group(
        table if lines else Text("nothing was measured"),
        Text("\n".join(legend), style="dim"),
        *(Text(line, style="yellow") for line in _remarks(timings)),
    )


def _cells(one: Timing | None) -> tuple[str, str, str]:
    if one is None or one.status != "measured":
        return "–", "", ""
    return _number(one.ms), f"{_number(one.low)}–{_number(one.high)}", _number(one.memory_mb)


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _remarks(timings: Iterable[Timing]) -> list[str]:
    """Return each remark once, with the metrics and the cells it is about."""
    found: dict[str, dict[str, list[str]]] = {}
    for one in timings:
        if one.note:
            cell = f"{one.size}{' as a loss' * (one.direction == BACKWARD)}"
            found.setdefault(one.note, {}).setdefault(one.metric, []).append(cell)
    return [
        "; ".join(f"{metric} ({', '.join(cells)})" for metric, cells in metrics.items())
        + f": {note}"
        for note, metrics in found.items()
    ]

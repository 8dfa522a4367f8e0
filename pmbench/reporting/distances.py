"""Distances of pairs of images (``pmbench distance``) -> tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from rich.console import Group, RenderableType
from rich.text import Text

from pmbench.reporting.columns import in_lines
from pmbench.reporting.tables import GAP, Table, split_columns, text_width

_DIGITS = 11  # of a number's longest form, such as 1.23457e-05


def to_rich(
    pairs: Sequence[str],
    distances: Mapping[str, Sequence[float]],
    higher: Collection[str],
    width: int,
) -> RenderableType:
    """Return the distances of pairs by metric, NaN where there is none.

    One pair stands in lines, a metric each. Several stand in a line each, with a mean below, and
    as many metrics beside one another as fit; the others are in further tables. ``higher`` are
    the metrics of which more is better.
    """
    columns = {f"{name} ↑" if name in higher else name: v for name, v in distances.items()}
    several, missing = len(pairs) > 1, any(map(math.isnan, chain(*distances.values())))
    parts: list[RenderableType] = []
    if several:
        for table in _tables(pairs, columns, width):
            parts += [table.to_rich(), Text()]
    elif pairs:
        rows = [[name, _number(value)] for name, (value,) in columns.items()]
        parts.append(Table(["metric", "distance"], rows, "lr").to_rich())
    if several and missing:
        parts.append(Text("* mean of the pairs that have a distance", style="dim"))
    if any(name in higher for name in distances):
        parts.append(Text("↑ larger is more alike; of the others, smaller", style="dim"))
    return Group(*parts)


def _tables(
    pairs: Sequence[str], columns: Mapping[str, Sequence[float]], width: int
) -> list[Table]:
    first = min(text_width("pair", *pairs), width // 2)
    room = max(width - first - GAP, _DIGITS)
    heads = ["\n".join(in_lines(name, room)).rjust(_DIGITS) for name in columns]
    values, tables = list(columns.values()), []
    for group in split_columns(list(map(text_width, heads)), width - first):
        rows = [[pair, *(_number(values[k][i]) for k in group)] for i, pair in enumerate(pairs)]
        rows.append(["mean", *(_mean(values[k]) for k in group)])
        head = ["pair", *(heads[k] for k in group)]
        tables.append(Table(head, rows, bold=[len(pairs)], max_widths={0: first}))
    return tables


def _mean(values: Sequence[float]) -> str:
    """Return the mean of what is known, with a mark where that is not all."""
    known = [value for value in values if not math.isnan(value)]
    mean = _number(sum(known) / len(known) if known else math.nan)
    return mean + "*" * (0 < len(known) < len(values))


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.6g}"

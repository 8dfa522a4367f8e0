"""What tables share; comparisons with referees, and distances -> text. Nothing is printed here."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pmbench.evaluation.verify import Comparison  # would import torch

GAP = 2  # blanks between columns


def escaped(text: str, code: bool = False) -> str:
    """Return a text of which Markdown makes nothing else: no emphasis, links, tables, HTML, lists.

    With ``code`` what stands between backticks stays code.
    """
    if not code:
        return re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", text)
    parts = text.split("`")
    return "`".join(part if i % 2 else escaped(part) for i, part in enumerate(parts))


def bare_table(gap: int = GAP) -> Table:
    """Return a table without lines but the one below its head; ``gap`` blanks between columns."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, gap - 1, 0, 0))


# --- parity ---------------------------------------------------------------------------------------


def parity_to_rich(found: Sequence[Comparison]) -> RenderableType:
    """Return comparisons with referees, a line each, and below them why some did not run."""
    drawn = bare_table()
    drawn.add_column("metric", no_wrap=True)
    drawn.add_column("referee", overflow="fold")
    drawn.add_column("n", justify="right", no_wrap=True)
    drawn.add_column("largest\ndifference", justify="right", no_wrap=True)
    drawn.add_column("tolerance", overflow="fold", max_width=17)
    drawn.add_column("verdict", no_wrap=True)
    styles = {"agrees": "green", "differs": "bold red", "failed": "bold red", "not run": "dim"}
    for one in found:
        drawn.add_row(
            Text(one.metric),
            Text(_referee(one)),
            f"{one.n:,}" if one.n else "",
            f"{one.largest:.1e}" if one.n else "",
            str(one.tolerance),
            Text(one.verdict, style=styles[one.verdict]),
        )
    reasons = {str(one.tolerance): one.tolerance.reason for one in found}
    legend = [f"{tolerance}: {reason}" for tolerance, reason in reasons.items()]
    return Group(
        drawn if found else Text("nothing to compare"),
        Text("\n".join(["difference: relative, of one distance", *legend]), style="dim"),
        *(Text(line, style="yellow") for line in _not_compared(found)),
    )


def parity_to_markdown(found: Sequence[Comparison]) -> str:
    """Return comparisons with referees as a GitHub-flavoured table."""
    lines = [
        "| metric | referee | n | largest difference | tolerance | verdict |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    for one in found:
        n, largest = (f"{one.n:,}", f"{one.largest:.1e}") if one.n else ("", "")
        cells = [f"`{one.metric}`", _referee(one), n, largest, str(one.tolerance), one.verdict]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"- {line}" for line in _not_compared(found))]
    return "\n".join(lines).rstrip() + "\n"


def _referee(one: Comparison) -> str:
    return f"{one.referee}: {one.version}" if "/" in one.version else f"{one.referee} {one.version}"


def _not_compared(found: Sequence[Comparison]) -> list[str]:
    """Return a line for each reason why comparisons have no verdict."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for one in found:
        if one.reason:
            by_reason.setdefault((one.verdict, one.reason), []).append(one.metric)
    return [
        f"{verdict}: {', '.join(dict.fromkeys(names))}: {reason}"
        for (verdict, reason), names in by_reason.items()
    ]


# --- distances ------------------------------------------------------------------------------------


def distances_to_rich(
    pairs: Sequence[str],
    columns: Mapping[str, Sequence[float]],
    higher: Collection[str],
    width: int,
) -> RenderableType:
    """Return the distances of pairs of pictures: ``columns`` by metric, NaN where there is none.

    One pair stands in lines, a metric each. Several stand in a line each, with a mean below, and
    as many metrics beside one another as fit; the others are in further tables. ``higher`` are
    the metrics of which more is better.
    """
    named = {f"{name} ↑" if name in higher else name: v for name, v in columns.items()}
    parts: list[RenderableType] = []
    if len(pairs) == 1:
        parts.append(_one_pair(named))
    rest = list(named) if len(pairs) > 1 else []
    room_of_names = min(max(map(len, ["pair", *pairs])), width // 2)
    while rest:
        room, shown = width - room_of_names, 0
        while shown < len(rest) and room >= (needed := GAP + max(len(rest[shown]), _DIGITS)):
            room, shown = room - needed, shown + 1
        names, rest = rest[: max(shown, 1)], rest[max(shown, 1) :]
        parts += [_many_pairs(pairs, {name: named[name] for name in names}, room_of_names), Text()]
    if any(map(math.isnan, chain.from_iterable(columns.values()))) and len(pairs) > 1:
        parts.append(Text("* mean of the pairs that have a distance", style="dim"))
    if any(name in higher for name in columns):
        parts.append(Text("↑ larger is more alike; of the others, smaller", style="dim"))
    return Group(*parts)


_DIGITS = 11  # of a number's longest form, such as 1.23457e-05


def _one_pair(columns: Mapping[str, Sequence[float]]) -> Table:
    drawn = bare_table()
    drawn.add_column("metric", no_wrap=True)
    drawn.add_column("distance", justify="right", no_wrap=True)
    for name, (value,) in columns.items():
        drawn.add_row(Text(name), _number(value))
    return drawn


def _many_pairs(pairs: Sequence[str], columns: Mapping[str, Sequence[float]], room: int) -> Table:
    drawn = bare_table()
    drawn.add_column("pair", width=room, overflow="fold")
    for name in columns:
        drawn.add_column(name, justify="right", no_wrap=True, min_width=_DIGITS)
    for i, pair in enumerate(pairs):
        drawn.add_row(Text(pair), *(_number(values[i]) for values in columns.values()))
    drawn.add_row(Text("mean"), *map(_mean, columns.values()), style="bold")
    return drawn


def _mean(values: Sequence[float]) -> str:
    """Return the mean of what is known, with a mark where that is not all."""
    known = [value for value in values if not math.isnan(value)]
    mean = _number(sum(known) / len(known) if known else math.nan)
    return mean + "*" * (0 < len(known) < len(values))


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.6g}"

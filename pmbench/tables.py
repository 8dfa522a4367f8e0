"""Cards, comparisons and distances -> text for a terminal. Nothing is printed here."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pmbench.verify import Comparison  # would import torch

Card = dict[str, Any]


# --- metrics --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """A column of the list of metrics: shown on terminals of at least ``from_width`` columns."""

    name: str
    header: str
    text: Callable[[Card], str]
    from_width: int = 0
    most: int = 40  # wider texts are folded
    right: bool = False


_COLUMNS = [
    _Column("metric", "metric", lambda card: str(card["metric"])),
    _Column("direction", "", lambda card: "↑" if card["better"] == "higher" else "↓"),
    _Column("smallest side", "min", lambda card: _min_size(card), right=True),
    _Column("weights", "weights", lambda card: _weights(card), right=True),
    _Column("paper", "paper", lambda card: str(card["short_paper"]) or "–", 110, 24),
    _Column("symmetry", "symmetric", lambda card: "yes" if card["symmetric"] else "no", 160),
    _Column("licence", "licence", lambda card: str(card["licence"]) or "–", 160, 20),
    _Column("parameters", "parameters", lambda card: _parameters(card) or "–", 160, 32),
]
_GAP = 2


def catalogue_to_rich(cards: Sequence[Card], width: int) -> RenderableType:
    """Return the list of metrics, family by family, with the columns that fit into ``width``."""
    shown = [column for column in _COLUMNS if column.from_width <= width]
    drawn = bare_table()
    widths = []
    for column in shown:
        longest = max(len(text) for text in [column.header, *map(column.text, cards)])
        widths.append(min(longest, column.most))
        drawn.add_column(
            column.header,
            justify="right" if column.right else "left",
            no_wrap=column.name == "metric",
            overflow="fold",
            width=widths[-1],
        )
    drawn.add_column("what it is", overflow="fold")
    drawn.columns.insert(1, drawn.columns.pop())
    drawn.columns[1].width = max(width - sum(widths) - _GAP * len(widths), 16)
    for family, members in groupby(cards, key=lambda card: str(card["family"])):
        drawn.add_row(Text(family, style="bold"))
        for install, some in groupby(members, key=lambda card: card["install"]):
            for card in some:
                first, *others = (Text(column.text(card)) for column in shown)
                style = "dim" if install else ""
                drawn.add_row(first, Text(str(card["title"])), *others, style=style)
            if install:
                drawn.add_row("", Text(f"not installed; {install}", style="dim"))
        drawn.add_row()
    return Group(drawn, Text("\n".join(_legend(cards, shown)), style="dim"))


def _legend(cards: Sequence[Card], shown: Sequence[_Column]) -> list[str]:
    count = f"{len(cards)} metrics" if len(cards) != 1 else "1 metric"
    absent = sum(card["install"] is not None for card in cards)
    hidden = [column.name for column in _COLUMNS if column not in shown]
    return [
        f"{count}, {absent} of them not installed" if absent else count,
        "↓ smaller is more alike, ↑ larger is more alike",
        "min: smallest side in pixels; (×8): sides are multiples of 8",
        "weights: on this machine, or what is to be fetched; –: its package sees to them",
        f"{', '.join([*hidden, 'code and more'])}:",
        "pmbench show METRIC, or --json",
    ]


def bare_table(gap: int = _GAP) -> Table:
    """Return a table without lines but the one below its head; ``gap`` blanks between columns."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, gap - 1, 0, 0))


def _min_size(card: Card) -> str:
    multiple = card["multiple_of"]
    return f"{card['min_size']}" + (f" (×{multiple})" if multiple > 1 else "")


def _weights(card: Card) -> str:
    """Return whether a metric's weights are here, or how many megabytes would be fetched."""
    absent = [file for file in card["weights"] if file["place"] is None]
    if not card["weights"]:
        return "–" if card["extra"] else "none"
    if not absent:
        return "here"
    sizes = [file["megabytes"] for file in absent]
    return f"{sum(sizes):,.0f} MB" if None not in sizes else "to fetch"


def _parameters(card: Card) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in card["parameters"].items()
    )


def card_to_rich(card: Card) -> RenderableType:
    """Return one metric's whole card. Print it with ``soft_wrap``: URLs are longer than lines."""
    yes = {True: "yes", False: "no"}
    smallest = f"{card['min_size']} pixel" + "s" * (card["min_size"] > 1)
    if card["multiple_of"] > 1:
        smallest += f", in multiples of {card['multiple_of']}"
    lines = [
        ("family", card["family"]),
        ("paper", card["paper"]),
        ("code", card["code"]),
        ("licence", card["licence"] or "not stated"),
        ("better", card["better"]),
        ("symmetric", yes[card["symmetric"]]),
        ("differentiable", yes[card["differentiable"]]),
        ("smallest side", smallest),
        ("tolerance", f"{card['tolerance']:g}, relative, between machines"),
        ("version", card["version"]),
        ("parameters", _parameters(card)),
        ("install", card["install"]),
        ("numbers", None if card["numbers"] is None else _numbers(card["numbers"])),
        ("signature", card["signature"]),
        ("not loaded", card["not_loaded"]),
    ]
    grid = _grid()
    for label, value in lines:
        if value not in (None, ""):
            grid.add_row(Text(label, style="dim"), Text(str(value)))
    parts: list[RenderableType] = [
        Text.assemble((card["metric"], "bold"), f"  {card['title']}"), Text(), grid
    ]  # fmt: skip
    for file in card["weights"]:
        parts += [Text(), Text.assemble(("weights ", "dim"), file["name"])]
        for label, value in [
            ("place", file["place"] or "not on this machine"),
            ("size", "" if file["megabytes"] is None else f"{file['megabytes']:,.4g} MB"),
            ("from", file["url"] or f"the package {file['package']}"),
            ("licence", file["licence"]),
        ]:
            if value:  # on one line, since places are copied whole
                parts.append(Text.assemble((f"  {label:<{_LABEL - 2}}  ", "dim"), value))
    return Group(*parts)


_LABEL = 14  # columns


def _grid() -> Table:
    grid = Table.grid(padding=(0, _GAP))
    grid.add_column(no_wrap=True, min_width=_LABEL)
    grid.add_column(overflow="fold")
    return grid


def _numbers(count: int) -> str:
    return f"{count:,} in its networks and filters" if count else "none but its parameters"


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
        while shown < len(rest) and room >= (needed := _GAP + max(len(rest[shown]), _DIGITS)):
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

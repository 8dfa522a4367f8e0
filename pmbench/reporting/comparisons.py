"""Comparisons -> text: a terminal table, Markdown, records for machines. Prints nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pmbench.analysis.alignment import Drift
from pmbench.analysis.comparison import About, Duel, Field, Line
from pmbench.analysis.correlation import Relation
from pmbench.analysis.drift import Drifts
from pmbench.analysis.paired import ALPHA, Difference
from pmbench.analysis.ranking import Standing
from pmbench.analysis.verdicts import number, p_number, verdict
from pmbench.reporting.tables import GAP, bare_table, escaped
from pmbench.scoring.intervals import RELIABLE

Comparison = Duel | Field | Drifts
_STARS = ((0.001, "***"), (0.01, "**"), (ALPHA, "*"))


@dataclass(frozen=True)
class _Grid:
    """A table as texts: a head, rows, and which of these are printed bold."""

    head: list[str]  # the first column is of names, the others of numbers
    rows: list[list[str]]
    bold: frozenset[int] = frozenset()

    @property
    def width(self) -> int:
        """How wide its texts are, without gaps."""
        columns = zip(self.head, *self.rows, strict=True)
        return sum(max(len(line) for cell in c for line in cell.split("\n")) for c in columns)

    def fits(self, width: int, gap: int) -> bool:
        """Say whether it can be drawn so wide."""
        return self.width + gap * (len(self.head) - 1) <= width


def to_rich(found: Comparison, width: int) -> RenderableType:
    """Return a comparison for a terminal of ``width`` columns."""
    about = found.about
    heading = Text.assemble((about.dataset, "bold"), f"  {about.title}")
    for mark in about.marks:
        heading.append(f"\n{mark}", style="bold yellow")
    legend = Text("\n".join(_legend(found)), style="dim")
    if isinstance(found, Duel):
        return Group(heading, *_duel_parts(found, width), legend)
    if isinstance(found, Field):
        return Group(heading, *_field_parts(found, width), legend)
    return Group(heading, Text(), _drawn(_drifts(found), width), legend)


def to_markdown(found: Comparison) -> str:
    """Return a comparison as GitHub-flavoured text."""
    about = found.about
    lines = [f"### {about.dataset}: {about.title}", ""]
    for mark in about.marks:
        lines += [f"**{mark}**", ""]
    if isinstance(found, Duel):
        lines += [f"A: `{found.a}`, B: `{found.b}`, {about.statistic.title}", ""]
        lines += [*_markdown(_lines(found)), "", f"**{_verdict(found)}**"]
    elif isinstance(found, Field):
        lines += _markdown(_list(found))
        if len(found.names) > 2:
            lines += ["", *_markdown(_matrix(found))]
    else:
        lines += _markdown(_drifts(found))
    lines += ["", *(f"- {escaped(line)}" for line in _legend(found))]
    return "\n".join(lines) + "\n"


def records(found: Comparison) -> list[dict[str, Any]]:
    """Return a comparison as rows of numbers, on the statistic's own scale.

    One for each place of two metrics, or for each pair of many in macro. What there is not is NaN.
    """
    if isinstance(found, Drifts):
        return [row for duel in found.duels for row in records(duel)]
    common = {"dataset": found.about.dataset, "statistic": found.about.statistic.name}
    if isinstance(found, Duel):
        return [
            common
            | asdict(line.difference)
            | {"score_a": line.score_a, "score_b": line.score_b, "p_holm": math.nan}
            | {"wins_a": line.wins.a, "wins_b": line.wins.b, "ties": line.wins.ties}
            for line in found.lines
        ]
    at = {name: i for i, name in enumerate(found.names)}
    return [
        common
        | asdict(one)
        | {"score_a": found.scores[at[a]], "score_b": found.scores[at[b]]}
        | {"p_holm": float(found.p[at[a], at[b]])}
        for (a, b), one in found.differences.items()
    ]


def documents(found: Sequence[Comparison], related: Mapping[str, Relation | str]) -> dict[str, Any]:
    """Return all of comparisons, for JSON; None where there is no number."""
    single = [d for one in found for d in (one.duels if isinstance(one, Drifts) else [one])]
    relations = {
        group: {"reason": one} if isinstance(one, str) else asdict(one) | {"n": one.n}
        for group, one in related.items()
    }
    return dict(_plain({"comparisons": [_document(one) for one in single], "relations": relations}))


def _document(found: Duel | Field) -> dict[str, Any]:
    about = found.about
    facts: dict[str, Any] = {
        "dataset": about.dataset,
        "marks": about.marks,
        "statistic": about.statistic.name,
        "signature": about.signature,
        "bootstrap": asdict(about.how),
        "told": found.told,
        "differences": records(found),
    }
    if isinstance(found, Duel):
        drift = None if found.drift is None else asdict(found.drift)
        return facts | {"verdict": _verdict(found), "drift": drift}
    metrics = [
        {"name": name, "score": score, **_standing(found, name)}
        for name, score in zip(found.names, found.scores, strict=True)
    ]
    return facts | {"metrics": metrics}


def _standing(found: Field, name: str) -> dict[str, Any]:
    if its := found.standings.get(name):
        return asdict(its)
    return dict.fromkeys(one.name for one in fields(Standing))


# --- runs of the same metrics ---------------------------------------------------------------------


def _drifts(found: Drifts) -> _Grid:
    head = ["metric", "score", "other\nscore", "difference", "p", "largest\ndrift", "moved"]
    return _Grid(head, [_drift_row(duel, duel.drift) for duel in found.duels if duel.drift])


def _drift_row(duel: Duel, drift: Drift) -> list[str]:
    line = next(line for line in duel.lines if line.place == "macro")
    score, other = (_score(value, duel.about) for value in (line.score_a, line.score_b))
    difference = number(line.difference.value, duel.about.statistic, sign=True)
    p = p_number(line.difference.p)
    largest = f"{drift.largest:.1e}" if drift.moved else "none"
    return [duel.a, score, other, difference, p, largest, f"{drift.moved:,}"]


# --- two metrics ----------------------------------------------------------------------------------


def _duel_parts(found: Duel, width: int) -> list[RenderableType]:
    names = Text.assemble("\nA ", (found.a, "bold"), "\nB ", (found.b, "bold"))
    return [names, Text(), _drawn(_lines(found), width), Text(f"\n{_verdict(found)}\n", "bold")]


def _lines(found: Duel) -> _Grid:
    head = ["", "A", "B", "A-B", "95 %\ninterval", "p", "n", "A\nwins", "B\nwins", "ties"]
    rows = [_line(line, found.about) for line in found.lines]
    return _Grid(head, rows, frozenset(i for i, row in enumerate(rows) if row[0] == "macro"))


def _line(line: Line, about: About) -> list[str]:
    wins = line.wins
    return [
        line.place,
        _score(line.score_a, about),
        _score(line.score_b, about),
        *_difference(line.difference, about),
        p_number(line.difference.p),
        f"{line.difference.n:,}",
        *(f"{count:,}" for count in (wins.a, wins.b, wins.ties)),
    ]


def _verdict(found: Duel) -> str:
    told = verdict(found.macro, found.about.statistic, found.about.unit)
    drift = found.drift
    if drift is None:
        return told
    if drift.moved == 0:
        return f"{told}; all distances are the same to the last bit"
    return (
        f"{told}; {drift.moved:,} of {drift.of:,} distances moved, by up to {drift.largest:.1e} of "
        f"what they were (item {drift.item})"
    )


# --- many metrics ---------------------------------------------------------------------------------


def _field_parts(found: Field, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(), _drawn(_list(found), width)]
    matrix = _matrix(found)
    if len(found.names) < 3:
        return parts
    if matrix.fits(width, 1):
        return [*parts, Text(), _drawn(matrix, width), Text()]
    told = "all pairs: --format csv, or name fewer metrics to see them as a matrix"
    return [*parts, Text(f"\n{told}", style="yellow")]


def _list(found: Field) -> _Grid:
    """Return each metric against the best one."""
    title = found.about.statistic.title
    head = ["", f"{title}\nmacro", "rank", "letters", "to the\nbest", "95 %\ninterval", "p (Holm)"]
    best, rows = found.names[0], []
    for i, name in enumerate(found.names):
        its = found.standings.get(name)
        place = [_rank(its), its.letters] if its else ["", ""]
        row = [f"{i + 1} {name}", _score(found.scores[i], found.about), *place]
        if i == 0:
            rows.append([*row, "", "", ""])
            continue
        to_best = _turned(found.differences[best, name])
        rows.append([*row, *_difference(to_best, found.about), p_number(found.p[0, i])])
    return _Grid(head, rows)


def _rank(its: Standing) -> str:
    return f"{its.low}–{its.high}" if its.low < its.high else f"{its.low}"


def _matrix(found: Field) -> _Grid:
    """Return by how much each metric is better than each below it, with stars for Holm's p."""
    k = len(found.names)
    head = ["better by", *(str(j + 1) for j in range(1, k))]
    rows = []
    for i, a in enumerate(found.names):
        cells = [""] * i
        for j in range(i + 1, k):
            by = number(found.differences[a, found.names[j]].value, found.about.statistic)
            cells.append(by + next((stars for p, stars in _STARS if found.p[i, j] < p), ""))
        rows.append([f"{i + 1} {a}", *cells[max(i - k + 1, 0) :]][:k])
    return _Grid(head, rows)


def _turned(one: Difference) -> Difference:
    """Return the same difference, seen from b."""
    return replace(one, a=one.b, b=one.a, value=-one.value, low=-one.high, high=-one.low, z=-one.z)


# --- what both share ------------------------------------------------------------------------------


def _difference(one: Difference, about: About) -> list[str]:
    """Return a difference and its interval, which is marked where it is unreliable."""
    value = "n/a" if math.isnan(one.value) else number(one.value, about.statistic, sign=True)
    if math.isnan(one.low):
        return [value, ""]
    low, high = (number(end, about.statistic) for end in (one.low, one.high))
    return [value, f"{low} to {high}" + "~" * (one.independent < RELIABLE)]


def _score(value: float, about: About) -> str:
    if math.isnan(value):
        return "n/a"
    return f"{100 * value:.1f}" if about.statistic.percent else f"{value:.3f}"


def _legend(found: Comparison) -> list[str]:
    about = found.about
    lines = [f"{about.statistic.title}; macro: plain mean of the sub-datasets", _test_legend(about)]
    if isinstance(found, Drifts):
        told = list(dict.fromkeys(line for duel in found.duels for line in duel.told))
        lines.append(
            f"other score: of the run in {found.where}; largest drift: of one distance, relative "
            "to the other run's, if not below a tenth of the median one, else to that tenth; "
            "moved: distances not the same to the last bit"
        )
        return [*lines, *told, f"signature: {about.signature}"]
    if isinstance(found, Duel):
        lines.append(_wins_legend(about))
        shown = [line.difference for line in found.lines]
    else:
        shown = list(found.differences.values())
        lines.append(
            "p (Holm): corrected for all pairs, which the intervals are not; rank: places it may "
            "have at 5 %; metrics that share a letter cannot be told apart"
        )
        if len(found.names) > 2:
            lines.append("* p < 0.05, ** p < 0.01, *** p < 0.001, all by Holm")
    if any(one.independent < RELIABLE and not math.isnan(one.low) for one in shown):
        lines.append(f"~ unreliable: of fewer than {RELIABLE} independent {about.unit}")
    return [*lines, *found.told, f"signature: {about.signature}"]


def _test_legend(about: About) -> str:
    scale = "points" if about.statistic.percent else "correlations"
    return (
        f"differences in {scale}; intervals: paired bootstrap, {about.how.count:,} resamples, seed "
        f"{about.how.seed}; p: paired, stratified z, two-sided (Student's t)"
    )


def _wins_legend(about: About) -> str:
    if about.protocol.statistics[0].items is not None:
        return f"wins: {about.unit} on which more people agree with it than with the other"
    return (
        f"wins: {about.unit} of which its rank by distance is nearer to that by votes, within the "
        "sub-dataset (the score itself is no mean over items)"
    )


def _drawn(grid: _Grid, width: int) -> Table:
    """Return a grid as a table, as wide apart as there is room for."""
    table = bare_table(GAP if grid.fits(width, GAP) else 1)
    table.add_column(Text(grid.head[0]), overflow="fold")
    for title in grid.head[1:]:
        table.add_column(Text(title), justify="right", no_wrap=True)
    for i, row in enumerate(grid.rows):
        table.add_row(*map(Text, row), style="bold" if i in grid.bold else "")
    return table


def _markdown(grid: _Grid) -> list[str]:
    head = [cell.replace("\n", " ") for cell in grid.head]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for i, row in enumerate(grid.rows):
        cells = [escaped(cell) for cell in row]
        bold = (f"**{cell}**" if cell and i in grid.bold else cell for cell in cells)
        lines.append("| " + " | ".join(bold) + " |")
    return lines


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, with None for what is no finite number."""
    if isinstance(value, Mapping):
        return {key: _plain(its) for key, its in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(its) for its in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

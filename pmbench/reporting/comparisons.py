"""Comparisons -> text: a terminal table, Markdown, records for machines. Prints nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from pmbench.analysis.alignment import Drift
from pmbench.analysis.comparison import About, Line, MultiComparison, PairComparison
from pmbench.analysis.correlation import ProtocolCorrelation
from pmbench.analysis.difference_text import number, p_number, verdict
from pmbench.analysis.drift import DriftComparison
from pmbench.analysis.legends import OVERALL
from pmbench.analysis.paired import ALPHA, RELIABLE, Difference
from pmbench.analysis.ranking import RankRange
from pmbench.reporting.columns import rank_text, score_text
from pmbench.reporting.tables import GAP, Table, escape_markdown

Comparison = PairComparison | MultiComparison | DriftComparison
_STARS = ((0.001, "***"), (0.01, "**"), (ALPHA, "*"))
_ADVICE = "all pairs: --format csv, or name fewer metrics to see them as a matrix"


def to_rich(comparison: Comparison, width: int) -> RenderableType:
    """Return a comparison for a terminal of ``width`` columns."""
    about = comparison.about
    heading = Text.assemble((about.dataset, "bold"), f"  {about.title}")
    for mark in about.warnings:
        heading.append(f"\n{mark}", style="bold yellow")
    parts: list[RenderableType] = [heading]
    if isinstance(comparison, PairComparison):
        parts.append(Text.assemble("\nA ", (comparison.a, "bold"), "\nB ", (comparison.b, "bold")))
    for i, table in enumerate(_tables(comparison)):
        if i and not table.fits(width, gap=1):
            parts.append(Text(f"\n{_ADVICE}", style="yellow"))
            break
        parts += [Text(), table.to_rich(GAP if table.fits(width) else 1), *[Text()] * (i > 0)]
    if isinstance(comparison, PairComparison):
        parts.append(Text(f"\n{_verdict(comparison)}\n", "bold"))
    return Group(*parts, Text("\n".join(_legend(comparison)), style="dim"))


def to_markdown(comparison: Comparison) -> str:
    """Return a comparison as GitHub-flavoured text."""
    about = comparison.about
    lines = [f"### {about.dataset}: {about.title}\n", *(f"**{mark}**\n" for mark in about.warnings)]
    if isinstance(comparison, PairComparison):
        lines.append(f"A: `{comparison.a}`, B: `{comparison.b}`, {about.statistic.title}\n")
    lines += [f"{table.to_markdown()}\n" for table in _tables(comparison)]
    if isinstance(comparison, PairComparison):
        lines.append(f"**{_verdict(comparison)}**\n")
    lines += [f"- {escape_markdown(line)}" for line in _legend(comparison)]
    return "\n".join(lines) + "\n"


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a comparison as rows of numbers, on the statistic's own scale.

    One for each place of two metrics, or for each pair of many over all. What there is not is NaN.
    """
    if isinstance(comparison, DriftComparison):
        return [row for duel in comparison.pairs for row in records(duel)]
    common = {"dataset": comparison.about.dataset, "statistic": comparison.about.statistic.name}
    if isinstance(comparison, PairComparison):
        return [
            common
            | asdict(line.difference)
            | {"score_a": line.score_a, "score_b": line.score_b, "p_holm": math.nan}
            | {"wins_a": line.wins.a, "wins_b": line.wins.b, "ties": line.wins.ties}
            for line in comparison.lines
        ]
    index = {name: i for i, name in enumerate(comparison.names)}
    return [
        common
        | asdict(difference)
        | {"score_a": comparison.scores[index[a]], "score_b": comparison.scores[index[b]]}
        | {"p_holm": float(comparison.p[index[a], index[b]])}
        for (a, b), difference in comparison.differences.items()
    ]


def documents(
    comparisons: Sequence[Comparison], relations: Mapping[str, ProtocolCorrelation | str]
) -> dict[str, Any]:
    """Return all of comparisons, for JSON; None where there is no number."""
    single = [
        d for one in comparisons for d in (one.pairs if isinstance(one, DriftComparison) else [one])
    ]
    related = {
        group: {"reason": one} if isinstance(one, str) else asdict(one) | {"n": one.n}
        for group, one in relations.items()
    }
    return dict(_finite({"comparisons": [_document(one) for one in single], "relations": related}))


def _document(comparison: PairComparison | MultiComparison) -> dict[str, Any]:
    about = comparison.about
    document: dict[str, Any] = {
        "dataset": about.dataset,
        "warnings": about.warnings,
        "marks": about.warnings,  # the word of 0.1
        "statistic": about.statistic.name,
        "signature": about.signature,
        "bootstrap": asdict(about.resampling),
        "messages": comparison.messages,
        "told": comparison.messages,  # the word of 0.1
        "differences": records(comparison),
    }
    if isinstance(comparison, PairComparison):
        drift = None if comparison.drift is None else asdict(comparison.drift)
        return document | {"verdict": _verdict(comparison), "drift": drift}
    unknown = dict.fromkeys(one.name for one in fields(RankRange))
    metrics = []
    for name, score in zip(comparison.names, comparison.scores, strict=True):
        rank_range = comparison.rank_ranges.get(name)
        metrics.append(
            {"name": name, "score": score} | (asdict(rank_range) if rank_range else unknown)
        )
    return document | {"metrics": metrics}


def _finite(value: Any) -> Any:
    """Return a value as JSON has it, with None for what is no finite number."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- tables ---------------------------------------------------------------------------------------


def _tables(comparison: Comparison) -> list[Table]:
    """Return the table of a comparison, and of more than two metrics that of all pairs."""
    if isinstance(comparison, DriftComparison):
        return [_drifts(comparison)]
    if isinstance(comparison, PairComparison):
        return [_places(comparison)]
    return [_ranking(comparison), *[_matrix(comparison)] * (len(comparison.names) > 2)]


def _drifts(drifts: DriftComparison) -> Table:
    """Return runs beside others of the same metrics."""
    head = ["metric", "score", "other\nscore", "difference", "p", "largest\ndrift", "moved"]
    return Table(head, [_drift_row(duel, duel.drift) for duel in drifts.pairs if duel.drift])


def _drift_row(duel: PairComparison, drift: Drift) -> list[str]:
    about, overall = duel.about, duel.about.protocol.overall
    line = next(line for line in duel.lines if line.place == overall)
    return [
        duel.a,
        _score(line.score_a, about),
        _score(line.score_b, about),
        number(line.difference.value, about.statistic, sign=True),
        p_number(line.difference.p),
        f"{drift.largest:.1e}" if drift.moved else "none",
        f"{drift.moved:,}",
    ]


def _places(duel: PairComparison) -> Table:
    """Return two metrics place by place."""
    head = ["", "A", "B", "A-B", "95 %\ninterval", "p", "n", "A\nwins", "B\nwins", "ties"]
    rows = [_place_row(line, duel.about) for line in duel.lines]
    bold = [i for i, line in enumerate(duel.lines) if line.place == duel.about.protocol.overall]
    return Table(head, rows, bold=bold)


def _place_row(line: Line, about: About) -> list[str]:
    return [
        line.place,
        _score(line.score_a, about),
        _score(line.score_b, about),
        *_difference(line.difference, about),
        p_number(line.difference.p),
        *(f"{n:,}" for n in (line.difference.n, line.wins.a, line.wins.b, line.wins.ties)),
    ]


def _ranking(field: MultiComparison) -> Table:
    """Return each metric against the best one."""
    title = f"{field.about.statistic.title}\n{field.about.protocol.overall}"
    head = ["", title, "rank", "letters", "to the\nbest", "95 %\ninterval", "p (Holm)"]
    best, rows = field.names[0], []
    for i, name in enumerate(field.names):
        rank_range = field.rank_ranges.get(name)
        row = [f"{i + 1} {name}", _score(field.scores[i], field.about)]
        row += [rank_text(rank_range), rank_range.letters] if rank_range else ["", ""]
        if i == 0:
            row += ["", "", ""]
        else:
            to_best = _reverse(field.differences[best, name])
            row += [*_difference(to_best, field.about), p_number(field.p[0, i])]
        rows.append(row)
    return Table(head, rows)


def _reverse(one: Difference) -> Difference:
    """Return the same difference, seen from b."""
    return replace(one, a=one.b, b=one.a, value=-one.value, low=-one.high, high=-one.low, z=-one.z)


def _matrix(field: MultiComparison) -> Table:
    """Return by how much each metric is better than each below it, with stars for Holm's p."""
    k = len(field.names)
    rows = []
    for i, a in enumerate(field.names):
        cells = [""] * i
        for j in range(i + 1, k):
            by = number(field.differences[a, field.names[j]].value, field.about.statistic)
            cells.append(by + next((stars for p, stars in _STARS if field.p[i, j] < p), ""))
        rows.append([f"{i + 1} {a}", *cells])
    return Table(["better by", *(str(j + 1) for j in range(1, k))], rows)


def _difference(difference: Difference, about: About) -> list[str]:
    """Return a difference and its interval, which is marked where it is unreliable."""
    value, statistic = difference.value, about.statistic
    text = "n/a" if math.isnan(value) else number(value, statistic, sign=True)
    if math.isnan(difference.low):
        return [text, ""]
    low, high = (number(end, statistic) for end in (difference.low, difference.high))
    return [text, f"{low} to {high}" + "~" * (difference.independent < RELIABLE)]


def _score(value: float, about: About) -> str:
    return score_text(value, about.statistic.percent)


# --- sentences ------------------------------------------------------------------------------------


def _verdict(duel: PairComparison) -> str:
    sentence, drift = verdict(duel.overall, duel.about.statistic, duel.about.unit), duel.drift
    if drift is None:
        return sentence
    if drift.moved == 0:
        return f"{sentence}; all distances are the same to the last bit"
    return (
        f"{sentence}; {drift.moved:,} of {drift.of:,} distances moved, by up to "
        f"{drift.largest:.1e} of what they were (item {drift.item})"
    )


def _legend(comparison: Comparison) -> list[str]:
    about = comparison.about
    lines = [f"{about.statistic.title}; {OVERALL[about.protocol.overall]}", _test_legend(about)]
    lines += [about.clusters] * bool(about.clusters)
    if isinstance(comparison, DriftComparison):
        messages = list(dict.fromkeys(line for duel in comparison.pairs for line in duel.messages))
        lines.append(
            f"other score: of the run in {comparison.where}; largest drift: of one distance, "
            "relative to the other run's, if not below a tenth of the median one, else to that "
            "tenth; moved: distances not the same to the last bit"
        )
        return [*lines, *messages, f"signature: {about.signature}"]
    if isinstance(comparison, PairComparison):
        lines.append(_wins_legend(about))
        differences = [line.difference for line in comparison.lines]
    else:
        differences = list(comparison.differences.values())
        lines.append(
            "p (Holm): corrected for all pairs, which the intervals are not; rank: range of ranks "
            "at 5 %; metrics that share a letter cannot be told apart"
        )
        if len(comparison.names) > 2:
            lines.append("* p < 0.05, ** p < 0.01, *** p < 0.001, all by Holm")
    if any(one.independent < RELIABLE and not math.isnan(one.low) for one in differences):
        lines.append(f"~ unreliable: of fewer than {RELIABLE} independent {about.unit}")
    return [*lines, *comparison.messages, f"signature: {about.signature}"]


def _test_legend(about: About) -> str:
    scale = "points" if about.statistic.percent else "correlations"
    return (
        f"differences in {scale}; p and 95 % intervals: paired, stratified, two-sided "
        "(Student's t; signs of clusters turned where these are few and of unlike sizes)"
    )


def _wins_legend(about: About) -> str:
    if about.protocol.main.items is not None:
        return f"wins: {about.unit} on which more people agree with it than with the other"
    return (
        f"wins: {about.unit} of which its rank by distance is nearer to that by votes, within the "
        "sub-dataset (the score itself is no mean over items)"
    )

"""Findings of a check -> a terminal's table, Markdown, JUnit, JSON. Nothing is printed here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pmbench.analysis.regression import Change, Finding, Findings, Reproduction
from pmbench.reporting.tables import bare_table, escaped

_STYLES = {
    "worse": "bold red", "changed": "yellow", "missing": "bold red", "not comparable": "bold red",
    "differs": "bold red", "better": "bold green", "new": "cyan", "same": "green",
    "reproduced": "green", "not run": "dim", "not checked": "dim",
}  # fmt: skip
_UNEVENTFUL = ("same", "reproduced")
_NOT_COMPARED = ("not run", "not checked")
_HEADS = {
    Change: ("metric", "before", "now", "change", "moved", "verdict"),
    Reproduction: ("metric", "published", "measured", "furthest off", "±", "verdict"),
}
_MEANINGS = {
    Change: (
        "before, now: macro score in percent; change: in points, with its paired 95 % interval; "
        "moved: largest relative move of a distance"
    ),
    Reproduction: (
        "published, measured: score in percent, macro where the paper has it; furthest off: "
        "measured minus published, in points; ±: points allowed, besides 0.05 for rounding"
    ),
}


# --- a terminal -----------------------------------------------------------------------------------


def to_rich(findings: Findings) -> RenderableType:
    """Return a table for each dataset, what is to be said of its rows, and what it comes to."""
    parts: list[RenderableType] = []
    for dataset, found in _by_dataset(_compared(findings)):
        parts += [Text(dataset, style="bold"), Text(), _table(found)]
        parts += [_sentence(one) for one in found if one.told]
        parts.append(Text())
    kinds = dict.fromkeys(type(one) for one in findings.found)
    parts += [Text(_MEANINGS[kind], style="dim") for kind in kinds]
    first, *others = findings.told
    parts.append(Text(first, style="bold red" if findings.failed else "bold green"))
    return Group(*parts, *map(Text, others))


def _table(found: Sequence[Finding]) -> Table:
    table = bare_table()
    name, *middle, verdict = _HEADS[type(found[0])]
    table.add_column(name, overflow="fold")
    for head in middle:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column(verdict, no_wrap=True)
    for one in found:
        cells = [Text(cell, justify="right") for cell in _cells(one, "\n")]
        table.add_row(Text(one.label), *cells, Text(one.verdict, style=_STYLES[one.verdict]))
    return table


def _sentence(one: Finding) -> Text:
    return Text.assemble((f"{one.verdict}: {one.label}: ", _STYLES[one.verdict]), one.told)


def _compared(findings: Findings) -> list[Finding]:
    """Return what belongs into a table; what was not compared stands in a line below it."""
    return [one for one in findings.found if one.verdict not in _NOT_COMPARED]


def _by_dataset(found: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    names = dict.fromkeys(one.dataset for one in found)
    return [(name, [one for one in found if one.dataset == name]) for name in names]


def _cells(one: Finding, between: str) -> list[str]:
    """Return the texts between a row's name and its verdict; ``between`` parts number and place."""
    if isinstance(one, Change):
        change = "" if one.change is None else f"{one.change:+.2f}" if one.change else "0"
        if one.change and one.low is not None:
            change += f"{between}({one.low:+.2f} to {one.high:+.2f})"
        return [_score(one.before), _score(one.now), change, _moved(one.moved)]
    published, measured = one.published or {}, one.measured or {}
    shown = "macro" if "macro" in published else next(iter(published), "")
    place = f"{between}{shown}" if shown not in ("", "macro") else ""
    off = "" if one.difference is None else f"{one.difference:+.2f}{between}{one.worst}"
    allowed = "" if one.tolerance is None else f"{one.tolerance:g}"
    return [f"{_score(published.get(shown))}{place}", _score(measured.get(shown)), off, allowed]


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _moved(value: float | None) -> str:
    if not value:
        return "" if value is None else "0"
    return "∞" if math.isinf(value) else f"{value:.1e}"


# --- Markdown, as for a summary of a CI job -------------------------------------------------------


def to_markdown(findings: Findings) -> str:
    """Return GitHub-flavoured Markdown: what is to be seen first, the rest folded away."""
    first, *others = findings.told
    lines = [f"### pmbench check: {escaped(first, code=True)}", ""]
    for dataset, found in _by_dataset(_compared(findings)):
        eventful = [one for one in found if one.verdict not in _UNEVENTFUL]
        quiet = [one for one in found if one.verdict in _UNEVENTFUL]
        lines += [f"**{escaped(dataset, code=True)}**", ""]
        lines += _markdown_table(eventful)
        lines += [
            f"- **{one.verdict}**: `{one.label}`: {escaped(one.told, code=True)}"
            for one in eventful
        ]
        lines += [""] * bool(eventful)
        if quiet:
            title = f"{len(quiet):,} {quiet[0].verdict}"
            lines += ["<details>", f"<summary>{title}</summary>", "", *_markdown_table(quiet)]
            lines += ["</details>", ""]
    lines += [f"- {escaped(line, code=True)}" for line in others]
    kinds = dict.fromkeys(type(one) for one in findings.found)
    lines += [f"- {_MEANINGS[kind]}" for kind in kinds]
    return "\n".join(lines) + "\n"


def _markdown_table(found: Sequence[Finding]) -> list[str]:
    if not found:
        return []
    head = _HEADS[type(found[0])]
    rows = [
        [f"`{one.label.replace('|', '¦')}`", *_cells(one, " "), _emphasised(one)] for one in found
    ]
    rule = ["---", *["---:"] * (len(head) - 2), "---"]
    return ["| " + " | ".join(row) + " |" for row in ([*head], rule, *rows)] + [""]


def _emphasised(one: Finding) -> str:
    return f"**{one.verdict}**" if one.fails else one.verdict


# --- JUnit and JSON -------------------------------------------------------------------------------


def to_junit(findings: Findings) -> str:
    """Return JUnit's XML: a suite for each dataset, a case for each metric."""
    suites = ElementTree.Element("testsuites", name="pmbench check")
    for dataset, found in _by_dataset(findings.found):
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=_printable(dataset),
            tests=str(len(found)),
            failures=str(sum(one.fails for one in found)),
            errors="0",
            skipped=str(sum(one.verdict in _NOT_COMPARED for one in found)),
        )
        for one in found:
            _add_case(suite, one)
    for count in ("tests", "failures", "errors", "skipped"):
        suites.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ElementTree.indent(suites)
    text = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _add_case(suite: ElementTree.Element, one: Finding) -> None:
    facts = {"classname": _printable(one.dataset), "name": _printable(one.label)}
    case = ElementTree.SubElement(suite, "testcase", facts)
    said = _printable(one.told)
    if one.fails:
        failure = ElementTree.SubElement(
            case, "failure", type=one.verdict, message=f"{one.verdict}: {said}"
        )
        numbers = zip(_HEADS[type(one)][1:-1], _cells(one, " "), strict=True)
        failure.text = ", ".join(f"{head} {cell}" for head, cell in numbers if cell)
    elif one.verdict in _NOT_COMPARED:
        ElementTree.SubElement(case, "skipped", message=f"{one.verdict}: {said}")
    elif one.verdict not in _UNEVENTFUL or said:
        ElementTree.SubElement(case, "system-out").text = f"{one.verdict}: {said}"


def _printable(text: str) -> str:
    """Return text without the characters that XML does not allow."""
    return re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


def to_json(findings: Findings) -> str:
    """Return everything; what is not known, or infinite, is null."""
    return json.dumps(
        {
            "against": findings.against,
            "failed": findings.failed,
            "told": findings.told,
            "found": [_plain(asdict(one)) for one in findings.found],
        },
        indent=1,
        ensure_ascii=False,
        allow_nan=False,
    )


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    infinite = [name for name, v in record.items() if isinstance(v, float) and math.isinf(v)]
    return record | dict.fromkeys(infinite)

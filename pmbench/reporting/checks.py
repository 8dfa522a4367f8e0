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
from rich.text import Text

from pmbench.analysis.check_results import Change, Finding, Findings, Reproduction
from pmbench.reporting.tables import Row, StyledCell, Table, escape_markdown
from pmbench.results.store import by_dataset

_STYLES = {
    "worse": "bold red", "changed": "yellow", "missing": "bold red", "not comparable": "bold red",
    "stale": "bold red", "differs": "bold red", "better": "bold green", "new": "cyan",
    "same": "green", "reproduced": "green", "not run": "dim", "not checked": "dim",
}  # fmt: skip
_UNEVENTFUL = ("same", "reproduced")
_NOT_COMPARED = ("not run", "not checked")
_HEADS = {
    Change: ("metric", "before", "now", "change", "moved", "verdict"),
    Reproduction: ("metric", "published", "measured", "furthest off", "±", "verdict"),
}
_MEANINGS = {
    Change: (
        "before, now: overall score in percent; change: in points, with its paired 95 % interval; "
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
    for dataset, some in by_dataset(_compared(findings)).items():
        parts += [Text(dataset, style="bold"), Text(), _table(some).to_rich()]
        parts += [_sentence(finding) for finding in some if finding.message]
        parts.append(Text())
    parts += [Text(line, style="dim") for line in _legend(findings)]
    first, *others = findings.messages
    parts.append(Text(first, style="bold red" if findings.failed else "bold green"))
    return Group(*parts, *map(Text, others))


def _sentence(finding: Finding) -> Text:
    start = f"{finding.verdict}: {finding.label}: "
    return Text.assemble((start, _STYLES[finding.verdict]), finding.message)


def _legend(findings: Findings) -> list[str]:
    return [_MEANINGS[kind] for kind in dict.fromkeys(map(type, findings.findings))]


def _compared(findings: Findings) -> list[Finding]:
    """Return what belongs into a table; what was not compared stands in a line below it."""
    return [finding for finding in findings.findings if finding.verdict not in _NOT_COMPARED]


def _table(findings: Sequence[Finding]) -> Table:
    rows: list[Row] = [
        [
            StyledCell(finding.label, mark="`"),
            *_numbers(finding),
            StyledCell(finding.verdict, _STYLES[finding.verdict], "**" * finding.fails),
        ]
        for finding in findings
    ]
    return Table(_HEADS[type(findings[0])], rows, "prrrrl")


def _numbers(finding: Finding) -> list[str]:
    """Return the texts between a row's name and its verdict, of one line or two."""
    if isinstance(finding, Change):
        change = finding.change
        text = "" if change is None else f"{change:+.2f}" if change else "0"
        if change and finding.low is not None:
            text += f"\n({finding.low:+.2f} to {finding.high:+.2f})"
        return [_score(finding.before), _score(finding.now), text, _moved(finding.moved)]
    published, measured = finding.published or {}, finding.measured or {}
    place = "macro" if "macro" in published else next(iter(published), "")
    below = f"\n{place}" if place not in ("", "macro") else ""
    off = "" if finding.difference is None else f"{finding.difference:+.2f}\n{finding.worst}"
    allowed = "" if finding.tolerance is None else f"{finding.tolerance:g}"
    return [_score(published.get(place)) + below, _score(measured.get(place)), off, allowed]


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _moved(value: float | None) -> str:
    if not value:
        return "" if value is None else "0"
    return "∞" if math.isinf(value) else f"{value:.1e}"


# --- Markdown, as for a summary of a CI job -------------------------------------------------------


def to_markdown(findings: Findings) -> str:
    """Return GitHub-flavoured Markdown: what is to be seen first, the rest folded away."""
    first, *others = findings.messages
    lines = [f"### pmbench check: {escape_markdown(first, code=True)}", ""]
    for dataset, some in by_dataset(_compared(findings)).items():
        eventful = [finding for finding in some if finding.verdict not in _UNEVENTFUL]
        quiet = [finding for finding in some if finding.verdict in _UNEVENTFUL]
        lines += [f"**{escape_markdown(dataset, code=True)}**", ""]
        if eventful:
            lines += [_table(eventful).to_markdown(), "", *map(_bullet, eventful), ""]
        if quiet:
            lines += ["<details>", f"<summary>{len(quiet):,} {quiet[0].verdict}</summary>", ""]
            lines += [_table(quiet).to_markdown(), "", "</details>", ""]
    lines += [f"- {escape_markdown(line, code=True)}" for line in others]
    lines += [f"- {line}" for line in _legend(findings)]
    return "\n".join(lines) + "\n"


def _bullet(finding: Finding) -> str:
    message = escape_markdown(finding.message, code=True)
    return f"- **{finding.verdict}**: `{finding.label}`: {message}"


# --- JUnit and JSON -------------------------------------------------------------------------------


def to_junit(findings: Findings) -> str:
    """Return JUnit's XML: a suite for each dataset, a case for each metric."""
    suites = ElementTree.Element("testsuites", name="pmbench check")
    for dataset, some in by_dataset(findings.findings).items():
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=_printable(dataset),
            tests=str(len(some)),
            failures=str(sum(finding.fails for finding in some)),
            errors="0",
            skipped=str(sum(finding.verdict in _NOT_COMPARED for finding in some)),
        )
        for finding in some:
            _add_case(suite, finding)
    for count in ("tests", "failures", "errors", "skipped"):
        suites.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ElementTree.indent(suites)
    text = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _add_case(suite: ElementTree.Element, finding: Finding) -> None:
    names = {"classname": _printable(finding.dataset), "name": _printable(finding.label)}
    case = ElementTree.SubElement(suite, "testcase", names)
    message = f"{finding.verdict}: {_printable(finding.message)}"
    if finding.fails:
        failure = ElementTree.SubElement(case, "failure", type=finding.verdict, message=message)
        numbers = zip(_HEADS[type(finding)][1:-1], _numbers(finding), strict=True)
        cells = [f"{head} {cell}".replace("\n", " ") for head, cell in numbers if cell]
        failure.text = ", ".join(cells)
    elif finding.verdict in _NOT_COMPARED:
        ElementTree.SubElement(case, "skipped", message=message)
    elif finding.verdict not in _UNEVENTFUL or finding.message:
        ElementTree.SubElement(case, "system-out").text = message


def _printable(text: str) -> str:
    """Return text without the characters that XML does not allow."""
    return re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


def to_json(findings: Findings) -> str:
    """Return everything; what is not known, or infinite, is null."""
    records = [_record(finding) for finding in findings.findings]
    return json.dumps(
        {
            "against": findings.against,
            "failed": findings.failed,
            "messages": findings.messages,
            "findings": records,
            # the words of 0.1
            "told": findings.messages,
            "found": records,
        },
        indent=1,
        ensure_ascii=False,
        allow_nan=False,
    )


def _record(finding: Finding) -> dict[str, Any]:
    record = asdict(finding)
    infinite = [name for name, v in record.items() if isinstance(v, float) and math.isinf(v)]
    return record | dict.fromkeys(infinite) | {"told": finding.message}  # the word of 0.1

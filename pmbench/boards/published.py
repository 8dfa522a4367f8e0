"""What papers report, as rows below the measured ones that they are the same as."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pmbench import manifest
from pmbench.boards.board import Cell, Row
from pmbench.comparing.way import in_latest_way
from pmbench.manifest import Published
from pmbench.runs import Run

Entries = tuple[Published, ...]


def reported(runs: Sequence[Run], main: bool) -> tuple[Entries, str]:
    """Return what papers report on the runs' dataset, or why that is not shown.

    ``main``: the statistic is the protocol's main one.
    """
    latest = in_latest_way(runs)  # others have no published row beside them
    entry = manifest.datasets().get(str(latest[0].info["dataset"]["name"]))
    if entry is None or not entry.published:
        return (), "published: nobody has published scores on this dataset, as far as known here"
    if not main:
        return (), "published: not shown, since papers report no other statistic than the main one"
    if runs[0].dataset != entry.name or any(run.info["dataset"]["partial"] for run in latest):
        return (
            (),
            "published: not shown beside a partial dataset, or in another resize mode or precision",
        )
    return entry.published, ""


def unions(entries: Entries) -> list[str]:
    """Return the places that pool several sub-datasets, such as "traditional+cnn"."""
    return list(dict.fromkeys(place for e in entries for place in e.scores if "+" in place))


def published_rows(entries: Entries, measured: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """Return a row for each entry that has a score in one of ``columns``.

    Where its counterpart is among the ``measured`` rows it belongs to that, and each of its numbers
    says how far the measured one is above it.
    """
    usual = {row.name: row for row in measured if not row.other_protocol}
    number = {source: i for i, source in enumerate(sources(entries), start=1)}
    rows = []
    for entry in entries:
        ours = usual.get(entry.metric or entry.human or "")
        cells = {
            place: _cell(entry, score / 100, ours.cells.get(place) if ours else None)
            for place, score in entry.scores.items()
            if place in columns
        }
        if cells:
            rows.append(
                Row(
                    name=f"{entry.label} [{number[entry.source]}]",
                    kind="published",
                    cells=cells,
                    family=ours.family if ours else "published",
                    beside=ours.name if ours else "",
                )
            )
    return rows


def _cell(entry: Published, score: float, ours: Cell | None) -> Cell:
    note = "; ".join(filter(None, [entry.source, entry.note]))
    if ours is None or math.isnan(ours.value):
        return Cell(score, note=note)
    difference = ours.value - score
    return Cell(score, note=note, difference=difference, off=not entry.allows(100 * difference))


def sources(entries: Entries) -> list[str]:
    """Return where the entries are from, each once."""
    return list(dict.fromkeys(entry.source for entry in entries))


def published_legend(entries: Entries, rows: Sequence[Row]) -> list[str]:
    """Return what the rows' marks mean, and why those that are off may be so."""
    lines = [f"[{i}] published: {source}" for i, source in enumerate(sources(entries), start=1)]
    if any(row.beside for row in rows):
        lines.append(
            "↳ published for the row above, and how far the number measured here is above it"
        )
    off = {row.name for row in rows for cell in row.cells.values() if cell.off}
    if off:
        lines[-1] += "; ! farther apart than expected"
    number = {source: i for i, source in enumerate(sources(entries), start=1)}
    by_note: dict[str, list[str]] = {}
    for entry in entries:
        name = f"{entry.label} [{number[entry.source]}]"
        if entry.note and name in off:
            by_note.setdefault(entry.note, []).append(name)
    return lines + [f"{', '.join(names)}: {note}" for note, names in by_note.items()]

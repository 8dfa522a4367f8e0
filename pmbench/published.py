"""What papers report, as rows beside measured ones."""

from __future__ import annotations

import pandas as pd

from pmbench import manifest
from pmbench.board import Cell, Row
from pmbench.protocols import PROTOCOLS
from pmbench.runs import Run


def published_rows(runs: list[Run], columns: list[str], main: bool) -> tuple[list[Row], str]:
    """Return the dataset's published rows, or why they are not shown."""
    entry = manifest.datasets().get(str(runs[0].info["dataset"]["name"]))
    if entry is None or not entry.published:
        return [], "published: nobody has published scores on this dataset, as far as known here"
    if not main:
        return [], "published: not shown, since papers report no other statistic than the main one"
    if runs[0].dataset != entry.name or any(run.info["dataset"]["partial"] for run in runs):
        return [], "published: not shown beside a partial dataset or another resize mode"
    rows = []
    for published in entry.published:
        name = " ".join(filter(None, [published.metric, f"[{published.label}]"]))
        cells = {c: Cell(v / 100) for c, v in published.scores.items() if c in columns}
        rows.append(Row(name=name, kind="published", cells=cells, family="published"))
    return rows, ""


def published_table(runs: list[Run]) -> pd.DataFrame:
    """Return the published scores of the runs' datasets as tidy rows; their source is the note."""
    records = []
    for name in dict.fromkeys(run.dataset for run in runs):
        its_runs = [run for run in runs if run.dataset == name]
        main = PROTOCOLS[str(its_runs[0].info["dataset"]["protocol"])].statistics[0].name
        subs = [str(sub) for sub in its_runs[0].info["dataset"]["sub_datasets"]]
        rows, _ = published_rows(its_runs, ["macro", *subs], main=True)
        entry = manifest.datasets().get(name)
        sources = [published.source for published in entry.published] if entry else []
        for row, source in zip(rows, sources, strict=False):
            records += [
                {
                    "dataset": name, "kind": "published", "name": row.name, "statistic": main,
                    "sub_dataset": place, "value": cell.value, "note": source,
                    "partial": False, "human_votes": True, "signature": "",
                }
                for place, cell in row.cells.items()
            ]  # fmt: skip
    return pd.DataFrame(records)


def published_legend(rows: list[Row], runs: list[Run]) -> list[str]:
    entry = manifest.datasets()[str(runs[0].info["dataset"]["name"])]
    sources = dict.fromkeys(published.source for published in entry.published)
    return [f"[…]: published, {'; '.join(sources)}"] if rows else []

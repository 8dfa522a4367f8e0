"""The scores of one set of distances -> a table for a terminal."""

from __future__ import annotations

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from pmbench.boards.board import Cell
from pmbench.boards.legends import UNRELIABLE
from pmbench.protocols import Protocol
from pmbench.render.cells import interval, number
from pmbench.tables import bare_table

_SHORT = {"hard_majority": "hard\nmaj.", "srcc": "SRCC", "krcc": "KRCC", "plcc": "PLCC"}


def scores_to_rich(table: pd.DataFrame, protocol: Protocol) -> RenderableType:
    """Return the scores of one set of distances: a row a sub-dataset, a column a statistic."""
    cells = {
        (str(r["name"] if r["kind"] == "human" else r["statistic"]), str(r["sub_dataset"])): r
        for r in table.to_dict("records")
    }
    main = protocol.statistics[0]
    columns = [(s.name, _SHORT.get(s.name, s.title), s.percent) for s in protocol.statistics]
    columns += [
        (h.name, h.name.replace("-", "\n").replace("majority", "maj."), main.percent)
        for h in protocol.humans
    ]
    drawn = bare_table(gap=1)
    drawn.add_column("sub-dataset", overflow="fold")  # a long name gives way to the numbers
    for _, title, _ in columns:
        drawn.add_column(title, justify="right", no_wrap=True)
    drawn.add_column("n", justify="right", no_wrap=True)
    for place in dict.fromkeys(str(name) for name in table["sub_dataset"]):
        row = []
        for key, _, percent in columns:
            record = cells[key, place]
            cell = Cell(
                float(record["value"]),
                float(record["low"]),
                float(record["high"]),
                unreliable=bool(record["unreliable"]),
            )
            drawn_from = interval(cell, percent) if key == main.name else ""
            row.append(number(cell, percent) + f" ({drawn_from})" * bool(drawn_from))
        drawn.add_row(Text(place), *row, f"{cells[main.name, place]['n']:,}")
    legend = [
        "in brackets: 95 % bootstrap interval",
        "SRCC, KRCC, PLCC: Spearman, Kendall, Pearson",
    ]
    if table.loc[table["statistic"] == main.name, "unreliable"].any():
        legend.insert(1, UNRELIABLE)
    legend += [f"{h.name}: {h.title}" for h in protocol.humans]
    legend += [
        f"{key}: {cells[key, 'macro']['note']}"
        for key, _, _ in columns
        if cells[key, "macro"]["note"]
    ]
    return Group(drawn, Text("\n".join(legend), style="dim"))

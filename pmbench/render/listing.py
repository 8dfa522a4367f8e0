"""Plain tables -> a table for a terminal, or JSON."""

from __future__ import annotations

import json
from numbers import Integral

import pandas as pd
from rich.console import RenderableType
from rich.text import Text

from pmbench.tables import bare_table


def to_json(table: pd.DataFrame) -> str:
    """Return a tidy table as JSON: a list of records, null where there is no number."""
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return json.dumps(records, indent=1, ensure_ascii=False)


def listing_to_rich(table: pd.DataFrame) -> RenderableType:
    """Return a plain table, a column a field."""
    drawn = bare_table()
    for i, column in enumerate(table.columns):
        drawn.add_column(str(column).replace("_", " "), no_wrap=i == 0, overflow="fold")
    for row in table.itertuples(index=False):
        drawn.add_row(
            *(
                Text("" if pd.isna(v) else f"{v:,}" if isinstance(v, Integral) else str(v))
                for v in row
            )
        )
    return drawn if len(table) else Text("none")

"""What an evaluation would take -> a table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from pmbench.tables import bare_table

if TYPE_CHECKING:
    from pmbench.forecast import Forecast  # would import torch


def forecast_to_rich(dataset: str, forecast: Forecast) -> RenderableType:
    """Return what an evaluation would take."""
    table = bare_table()
    table.add_column("metric")
    table.add_column("alone", justify="right")
    for name, seconds in forecast.seconds.items():
        table.add_row(name, _duration(seconds))
    table.add_row("all in one pass", _duration(forecast.together), style="bold")
    memory = f", {forecast.peak_memory_mb:,.0f} MB at its peak" if forecast.peak_memory_mb else ""
    again = forecast.computed - forecast.images
    passes = "each network passes over each image once" + f", over {again:,} again" * (again > 0)
    head = (
        f"{dataset}: {forecast.items:,} items, {forecast.images:,} different images in "
        f"{forecast.batches:,} batches; {passes}; "
        f"{forecast.pair_evaluations:,} distances{memory}"
    )
    probe = f"from a probe of {forecast.probe_items} items; reading and scoring not included"
    return Group(Text(head), Text(), table, Text(probe, style="dim"))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""What metrics cost, as ``pmbench speed`` has measured it: times of one machine, which is named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pmbench.analysis.board import Row
from pmbench.results.run import Run
from pmbench.results.signature import in_latest_way, precision
from pmbench.results.timings import Speeds, Timing, of_one_machine, read
from pmbench.utils.errors import PmbenchError


@dataclass(frozen=True)
class Costs:
    """Times of metrics by name, all of one size on one machine; none where none is known."""

    times: Mapping[str, Timing]
    timed_on: str = ""
    told: tuple[str, ...] = ()  # why a file of times is left out


def costs_of(runs: Sequence[Run]) -> Costs:
    """Return the times of the metrics as they were run, from the folders that the runs lie in."""
    speeds: list[Speeds] = []
    told: list[str] = []
    for folder in dict.fromkeys(run.folder.parent.parent for run in runs):
        try:
            speeds.append(read(folder))
        except PmbenchError as error:  # the scores do not depend on it
            told.append(f"left out: {error}")
    counted = in_latest_way(runs)
    signatures = {run.metric: run.signature.partition(" || ")[2] for run in counted}
    found = of_one_machine(speeds, signatures, precision(counted[0]))
    if found is None:
        return Costs({}, told=tuple(told))
    machine, times = found
    size = next(iter(times.values())).size
    return Costs(times, f"{size}×{size}, {machine}", tuple(told))


def with_costs(rows: Sequence[Row], costs: Costs) -> list[Row]:
    """Return rows with the times, and memories of metrics alone; as they are where none is known.

    A metric whose time that machine does not know has none: numbers of machines are not mixed.
    """
    if not costs.times:
        return list(rows)
    return [_with_cost(row, costs.times.get(row.name)) for row in rows]


def _with_cost(row: Row, time: Timing | None) -> Row:
    if time is None or row.kind != "metric" or row.other_protocol:
        return replace(row, ms=None, peak_memory_mb=None)
    memory = None if math.isnan(time.memory_mb) else time.memory_mb
    return replace(row, ms=time.ms, peak_memory_mb=memory)

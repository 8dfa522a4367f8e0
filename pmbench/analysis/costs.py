"""What metrics cost, as ``pmbench speed`` has measured it: times of one machine, which is named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pmbench.analysis.leaderboard_rows import Row
from pmbench.results.run import Run
from pmbench.results.signature import Signature, in_latest_setup, precision
from pmbench.results.timings import Speeds, Timing, of_one_machine, read
from pmbench.utils import paths
from pmbench.utils.errors import PmbenchError


@dataclass(frozen=True)
class Costs:
    """Times of metrics by name, all of one size on one machine; none where none is known."""

    times: Mapping[str, Timing]
    timed_on: str = ""
    messages: tuple[str, ...] = ()  # why a file of times is left out


def costs_of(runs: Sequence[Run]) -> Costs:
    """Return the times of the metrics as they were run, from the folders that the runs lie in."""
    speeds: list[Speeds] = []
    messages: list[str] = []
    for folder in dict.fromkeys(run.folder.parent.parent for run in runs):
        try:
            speeds.append(read(folder))
        except PmbenchError as error:  # the scores do not depend on it
            messages.append(f"left out: {error}")
    counted = in_latest_setup(runs)
    signatures = {run.metric: Signature.parse(run.signature).metric for run in counted}
    result = of_one_machine(speeds, signatures, precision(counted[0]))
    if result is None:
        return Costs({}, messages=tuple(messages))
    machine, times = result
    size = next(iter(times.values())).size
    return Costs(times, f"{size}×{size}, {machine}", tuple(messages))


def with_costs(rows: Sequence[Row], costs: Costs) -> list[Row]:
    """Return rows with the times, and memories of metrics alone; as they are where none is known.

    A metric whose time that machine does not know has none: numbers of machines are not mixed.
    """
    if not costs.times:
        return list(rows)
    return [_with_cost(row, costs.times.get(row.name)) for row in rows]


def with_shipped_times(rows: Sequence[Row]) -> tuple[list[Row], str]:
    """Return published rows with the cost of the same metric, as measured once for pmbench.

    And the size and the machine that the times are of.
    """
    ((machine, timings),) = read(paths.DATA).items()
    times = {one.metric: one for one in timings}
    size = timings[0].size
    priced = [
        replace(row, ms=time.ms, parameters_count=time.parameters)
        if (time := times.get(row.counterpart))
        else row
        for row in rows
    ]
    return priced, f"{size}×{size}, {machine}"


def _with_cost(row: Row, time: Timing | None) -> Row:
    if time is None or row.kind != "metric" or row.other_setup:
        return replace(row, ms=None, peak_memory_mb=None)
    memory = None if math.isnan(time.memory_mb) else time.memory_mb
    return replace(row, ms=time.ms, peak_memory_mb=memory)

"""How runs were measured, and on what: what must be known before any number is compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pmbench.results.run import Run

SYNTHETIC = "synthetic, no human votes"
# the parts of a signature that all runs of one table share, in their order
PARTS = ("version of pmbench", "items", "resize mode", "scoring", "overall score", "precision")


def way(run: Run) -> str:
    """Return how and on what a run was measured: the protocol part of its signature."""
    return run.signature.partition(" || ")[0]


def precision(run: Run) -> str:
    """Return what networks computed in: one of devices.PRECISIONS."""
    return way(run).rpartition("|")[2]


def latest_way(runs: Sequence[Run]) -> str:
    """Return the protocol part of the latest signature.

    What was measured last is what there is now; older runs may be of items that have changed.
    """
    ways = Counter(way(run) for run in runs)
    last: dict[str, str] = {}
    for run in runs:
        last[way(run)] = max(last.get(way(run), ""), str(run.info.get("finished", "")))
    return max(ways, key=lambda one: (last[one], ways[one]))


def in_latest_way(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that were measured in the way that counts, in their order."""
    latest = latest_way(runs)
    return [run for run in runs if way(run) == latest]


def marks(runs: Sequence[Run], unit: str) -> list[str]:
    """Return what must be known before any number of the runs is believed.

    Runs that were measured in another way than the latest have a mark of their own, and no say.
    """
    latest = [run.info["dataset"] for run in in_latest_way(runs)]
    found = [] if latest[0]["human_votes"] else [SYNTHETIC]
    if partial := [about for about in latest if about["partial"]]:
        least = min(partial, key=lambda its: int(its["items"]))
        found.append(
            f"partial: {least['items']:,} of {least['of']:,} {unit}, "
            "not comparable with published scores"
        )
    return found

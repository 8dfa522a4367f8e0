"""Signatures, built and taken apart; and how and on what runs were measured, which they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmbench import __version__
from pmbench.results.run import DEFAULT_PRECISION, Run, Subset
from pmbench.scoring.protocols import Protocol

if TYPE_CHECKING:
    from pmbench.datasets.pack import Pack

SYNTHETIC = "synthetic, no human votes"
# the parts of a signature that all runs of one table share, in their order
PARTS = ("version of pmbench", "items", "resize mode", "scoring", "overall score", "precision")


@dataclass(frozen=True)
class Signature:
    """A run's signature, taken apart: ``SETUP || METRIC``."""

    setup: str  # how and on what it was measured: the PARTS, joined by |
    metric: str  # name#digest

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Return the parts of a signature."""
        setup, _, metric = text.partition(" || ")
        return cls(setup, metric)

    def __str__(self) -> str:
        return f"{self.setup} || {self.metric}"

    @property
    def digest(self) -> str:
        """The digest of everything that defines the metric."""
        return self.metric.rpartition("#")[2]

    @property
    def pmbench(self) -> str:
        """The version that measured: "pmbench:0.1"."""
        return self.setup.split("|")[0]

    @property
    def overall(self) -> str:
        """The score over the whole dataset that counts: "macro" or "pooled"."""
        parts = self.setup.split("|")
        return parts[-2] if len(parts) > 1 else ""

    @property
    def precision(self) -> str:
        """What networks computed in: one of devices.PRECISIONS."""
        return self.setup.rpartition("|")[2]


def build_setup(
    pack: Pack,
    chosen: int,
    subset: Subset,
    protocol: Protocol,
    precision: str = DEFAULT_PRECISION,
) -> str:
    """Return the part of the signature that all metrics of one table share."""
    whole = pack.expected or len(pack)
    count = str(chosen) if chosen == whole else f"{chosen}of{whole}"
    items = ":".join(filter(None, [str(pack.attributes["dataset"]), subset.label, count]))
    version = ".".join(__version__.split(".")[:2])
    resize = pack.attributes["resize"]
    scoring = f"{protocol.convention}|{protocol.overall}"
    return f"pmbench:{version}|{items}#{pack.digest[:8]}|{resize}|{scoring}|{precision}"


def setup_of(run: Run) -> str:
    """Return how and on what a run was measured: the first part of its signature."""
    return Signature.parse(run.signature).setup


def differing_parts(one: str, other: str) -> list[tuple[str, str, str]]:
    """Return the parts, of ``PARTS``, in which two ways to measure differ, and both values."""
    named = zip(PARTS, one.split("|"), other.split("|"), strict=False)
    return [(part, a, b) for part, a, b in named if a != b]


def precision(run: Run) -> str:
    """Return what networks computed in: one of devices.PRECISIONS."""
    return Signature.parse(run.signature).precision


def latest_setup(runs: Sequence[Run]) -> str:
    """Return the setup in which the latest run was measured.

    What was measured last is what there is now; older runs may be of items that have changed.
    """
    counts = Counter(setup_of(run) for run in runs)
    last: dict[str, str] = {}
    for run in runs:
        last[setup_of(run)] = max(last.get(setup_of(run), ""), run.info.finished)
    return max(counts, key=lambda setup: (last[setup], counts[setup]))


def metrics_by_setup(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the names of the runs' metrics by how and on what they were measured."""
    metrics: dict[str, list[str]] = {}
    for run in runs:
        metrics.setdefault(setup_of(run), []).append(run.metric)
    return metrics


def in_latest_setup(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that were measured in the way that counts, in their order."""
    latest = latest_setup(runs)
    return [run for run in runs if setup_of(run) == latest]


def dataset_warnings(runs: Sequence[Run], unit: str) -> list[str]:
    """Return what must be known before any number of the runs is believed.

    Runs that were measured in another way than the latest have a mark of their own, and no say.
    """
    latest = [run.info.dataset for run in in_latest_setup(runs)]
    result = [] if latest[0].human_votes else [SYNTHETIC]
    if partial := [info for info in latest if info.partial]:
        least = min(partial, key=lambda info: info.items)
        result.append(
            f"partial: {least.items:,} of {least.of:,} {unit}, not comparable with published scores"
        )
    return result

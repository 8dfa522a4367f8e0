"""Pairs of pictures × metrics -> a table of distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pmbench.loading import Loaded
from pmbench.pairs.distances import distances_of
from pmbench.pairs.pairing import Pair
from pmbench.pairs.pictures import ROLES, Resizing, Size, open_pairs
from pmbench.protocols import Protocol
from pmbench.reporting import Reporter

_PAIR = Protocol(
    "pair", "pairs of pictures", ROLES, (ROLES,), vote="", convention="", statistics=(), humans=()
)


@dataclass(frozen=True)
class Column:
    """What one metric says of every pair: (n,) in its own direction, NaN where there is a reason.

    ``undefined`` are pairs on whose size the metric is not defined, ``failed`` those on which it
    failed or whose pictures cannot be read, each with the reason.
    """

    values: NDArray[np.float64]
    undefined: dict[int, str]
    failed: dict[int, str]


@dataclass(frozen=True)
class Compared:
    """Pairs, the size at which each was measured (None: it could not be read), and distances."""

    pairs: list[Pair]
    sizes: list[Size | None]
    columns: dict[str, Column]


def compare(
    pairs: Sequence[Pair],
    how: Resizing | None,
    metrics: list[Loaded],
    device: torch.device,
    reporter: Reporter,
) -> Compared:
    """Return the distance of every pair under every metric; what fails, fails alone.

    Raises PmbenchError where pictures of a pair differ in size and ``how`` is None, and where no
    pair can be read.
    """
    opened = open_pairs(pairs, how)
    pack, places = opened.pack, opened.places
    found = distances_of(pack, _PAIR, np.arange(len(pack)), metrics, device, reporter)
    columns = {}
    for name, distances in found.items():
        values = np.full(len(pairs), np.nan)
        values[places] = distances.values[:, 0]
        undefined = {places[row]: why for row, why in distances.undefined.items()}
        failed = {places[row]: why for row, why in distances.failed.items()} | opened.unreadable
        columns[name] = Column(values, undefined, failed)
    sizes: list[Size | None] = [None] * len(pairs)
    for place, size in zip(places, pack.size, strict=True):
        height, width = pack.sizes[size]
        sizes[place] = (width, height)
    return Compared(list(pairs), sizes, columns)

"""Which items are measured together.

Items that share an image belong in one batch, so that the image is computed once in the whole run.
The plan is a pure function of the pack and two bounds: a run that was interrupted records the
bounds and continues with the same batches, and so with bit-identical distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pmbench.datasets.pack import Pack

Index = NDArray[np.int64]

_USUAL, _MOST = 1 << 18, 1 << 22  # pixels of a batch; beyond the second a GPU gains nothing
_MEMORY = 1 << 14  # bytes for a pixel, twice what all metrics together were seen to take


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch may be. A batch always holds at least one item."""

    pixels: int | None = _USUAL  # of all its different images: 64 images of 64×64; None: any
    items: int | None = None

    # Items that share images stay together up to this many times ``pixels``; beyond, they are cut
    # and what they share is computed again.
    stretch: ClassVar[int] = 8


def limits_for(items: int | None, free: int | None) -> BatchLimits:
    """Return how large batches may be, where a user asks for ``items`` in each, or for none.

    That many they hold, however large the images. Otherwise ``free`` decides, the bytes of memory
    that a GPU has to spare; None for a CPU, whose caches want few images at a time.
    """
    if items is not None:
        return BatchLimits(pixels=None, items=items)
    return BatchLimits(pixels=min(_MOST, max(_USUAL, (free or 0) // _MEMORY)))


@dataclass(frozen=True)
class Batch:
    """Items of one image size, and which different images they use.

    ``images`` are rows of the pack's images of that size; ``place`` (items, roles) says where in
    ``images`` each role's image stands.
    """

    items: Index
    size: int
    images: Index
    place: Index
    number: int = 0  # its place in the plan


def plan(pack: Pack, chosen: Index, limits: BatchLimits) -> list[Batch]:
    """Return batches that cover the items ``chosen`` of the pack, each once."""
    parts: list[tuple[Index, int]] = []
    for size, (height, width) in enumerate(pack.sizes):
        items = chosen[pack.size[chosen] == size]
        room = math.inf if limits.pixels is None else limits.pixels // (height * width)
        groups = _fill(_components(pack.rows[items]), pack.rows[items], room, limits.items)
        parts += [(items[group], size) for group in groups]
    return [_batch(pack, *part, number) for number, part in enumerate(parts)]


def halves(pack: Pack, batch: Batch) -> list[Batch]:
    """Return two batches of the items of one, each with the images that it needs."""
    middle = len(batch.items) // 2
    parts = batch.items[:middle], batch.items[middle:]
    return [_batch(pack, part, batch.size, batch.number) for part in parts]


def _batch(pack: Pack, items: Index, size: int, number: int) -> Batch:
    # role by role, so that without shared images each role is one slice of the batch
    by_role = pack.rows[items].T.ravel()
    wanted, first, inverse = np.unique(by_role, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    place = rank[inverse].reshape(pack.rows.shape[1], len(items)).T
    return Batch(items, size, wanted[order], place, number)


def _components(rows: Index) -> list[Index]:
    """Return groups of row numbers that are connected by shared images, by first appearance."""
    n, roles = rows.shape
    if n == 0:
        return []
    _, images = np.unique(rows, return_inverse=True)
    images = images.reshape(n, roles)
    edges = (np.repeat(np.arange(n), roles), n + images.ravel())
    graph = coo_array((np.ones(n * roles, np.int8), edges), shape=(n + images.max() + 1,) * 2)
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label[:n], kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(label[:n][order])) + 1)
    return sorted(groups, key=lambda group: int(group[0]))


def _fill(groups: list[Index], rows: Index, room: float, most: int | None) -> list[Index]:
    """Put groups together while their images fit into ``room``; a larger group is cut."""
    filled: list[list[int]] = []
    batch: list[int] = []
    images: set[int] = set()

    def fits(more: list[int], wanted: set[int]) -> bool:
        return len(images | wanted) <= room and (most is None or len(batch) + len(more) <= most)

    for group in groups:
        members = group.tolist()
        wanted = set(rows[group].ravel().tolist())
        whole = len(wanted) <= BatchLimits.stretch * room and (most is None or len(members) <= most)
        for part in [members] if whole else [[member] for member in members]:
            wanted = set(rows[part].ravel().tolist())
            if batch and not fits(part, wanted):
                filled.append(batch)
                batch, images = [], set()
            batch.extend(part)
            images |= wanted
    if batch:
        filled.append(batch)
    return [np.array(members, np.int64) for members in filled]

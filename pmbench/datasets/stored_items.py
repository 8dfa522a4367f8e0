"""Items as packs and runs store them: columns of an HDF5 group -> ``Items``."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np
from numpy.typing import NDArray

from pmbench.scoring.items import Items
from pmbench.scoring.protocols import Judgement
from pmbench.utils.hdf5 import column
from pmbench.utils.text import check_all_printable


def read_items(group: h5py.Group, sub_names: Sequence[str], judgement: Judgement) -> Items:
    """Return the items whose columns stand in a group of an HDF5 file.

    Raises TypeError, ValueError or KeyError where they are not what items are made of.
    """
    names = column(group, "id", "text", (None,))
    n = len(names)
    items = Items(
        id=names,
        sub=column(group, "sub", "iu", (n,)),
        sub_names=tuple(sub_names),
        p=column(group, "p", "f", (n,)),
        votes=column(group, "votes", "iu", (n,)),
        cluster=column(group, "cluster", "iu", (n,)),
        further=column(group, "further", "iu", (n, None)) if "further" in group else None,
    )
    check_all_printable([*sub_names, *names])
    if n == 0:
        raise ValueError("there are no items")
    if len(set(zip(items.sub.tolist(), names, strict=True))) < n:
        raise ValueError("an item is there twice")
    within("sub", items.sub, len(items.sub_names))
    if not judgement.contains(items.p):
        raise ValueError(f"p: expected {judgement.range}")
    if items.votes.min() < 0:
        raise ValueError("votes: expected counts of people")
    return items


def within(name: str, index: NDArray[np.int64], length: int) -> None:
    """Raise ValueError where a column points to what is not there."""
    if len(index) and not (index.min() >= 0 and index.max() < length):
        worst = index.max() if index.max() >= length else index.min()
        raise ValueError(f"{name} points to number {worst} of {length}")

"""The file of a run's distances: items, votes and distances, all that scoring needs.

Layout (HDF5, format 1): the columns ``id``, ``sub``, ``p``, ``votes`` and ``cluster`` of the items
and ``sub_names``, as in a pack, ``further`` (items, k) where items are in more than one cluster,
and ``distances`` (items, pairs) float64, NaN where the metric is not defined. An earlier version
kept ``sub_names`` as an attribute.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pmbench.datasets.stored_items import read_items, within
from pmbench.results.schema import MEASURE_AGAIN, DatasetInfo
from pmbench.scoring.items import Items
from pmbench.scoring.protocols import PROTOCOLS, Judgement
from pmbench.utils.hdf5 import column, dataset, reading_hdf5, writing_hdf5

FORMAT = 1
DISTANCES = "distances.h5"
_COLUMNS = ("sub", "p", "votes", "cluster")


def write_distances(path: Path, items: Items, distances: NDArray[np.float64]) -> None:
    """Write items, votes and distances (n, pairs), whole or not at all."""
    with writing_hdf5(path) as file:
        file.attrs["format"] = FORMAT
        file["sub_names"] = list(items.sub_names)
        file["id"] = list(items.id)
        for name in _COLUMNS:
            file[name] = getattr(items, name)
        if items.further is not None:
            file["further"] = items.further
        file["distances"] = np.asarray(distances, np.float64)


def read_distances(path: Path, judgement: Judgement) -> tuple[Items, NDArray[np.float64]]:
    """Return what ``write_distances`` wrote. Raises PmbenchError where the file is damaged."""
    with _readable(path) as file:
        items = read_items(file, _sub_names(file), judgement)
        return items, _finite(column(file, "distances", "f", (len(items), None)))


def read_numbers(
    path: Path,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return sub-datasets (n,), votes p (n,) and distances (n, pairs): all but the slow ids.

    Raises PmbenchError where the file is damaged.
    """
    with _readable(path) as file:
        sub = column(file, "sub", "iu", (None,))
        within("sub", sub, len(_sub_names(file)))
        p = column(file, "p", "f", (len(sub),))
        return sub, p, _finite(column(file, "distances", "f", (len(sub), None)))


def check_distances(path: Path, info: DatasetInfo) -> None:
    """Raise PmbenchError unless a file has distances as ``run.json`` says; none is read."""
    with _readable(path) as file:
        names, n = _sub_names(file), info.items
        if names != info.sub_datasets:
            raise ValueError(f"of the sub-datasets {', '.join(names)}")
        dataset(file, "id", "text", (n,))
        for name in _COLUMNS:
            dataset(file, name, "f" if name == "p" else "iu", (n,))
        dataset(file, "distances", "f", (n, len(PROTOCOLS[info.protocol].pairs)))


def _sub_names(file: h5py.File) -> tuple[str, ...]:
    if "sub_names" in file.attrs:
        return tuple(str(name) for name in np.atleast_1d(file.attrs["sub_names"]))
    return tuple(column(file, "sub_names", "text", (None,)))


def _finite(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    if np.isinf(distances).any():
        raise ValueError("a distance is infinite")
    return distances


def _readable(path: Path) -> AbstractContextManager[h5py.File]:
    return reading_hdf5(path, "the distances of a run", MEASURE_AGAIN)

"""The items of a pack or a run: what they are called, where they belong, and what people said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Items:
    """The items of a pack or a run, as columns of length n.

    Items that share a cluster are not independent (see ``clusters``). Mostly an item is in one
    cluster; ``further`` are others that it is in too, numbered as ``cluster`` is.
    """

    id: NDArray[np.object_]  # str
    sub: NDArray[np.int64]  # index into sub_names
    sub_names: tuple[str, ...]
    p: NDArray[np.float64]  # what people said: see the protocol's judgement
    votes: NDArray[np.int32]
    cluster: NDArray[np.int64]
    further: NDArray[np.int64] | None = None  # (n, k), -1 for none

    def __len__(self) -> int:
        return len(self.id)

    def take(self, index: NDArray[np.int64]) -> Items:
        """Return the items at ``index``."""
        return Items(
            self.id[index], self.sub[index], self.sub_names, self.p[index], self.votes[index],
            self.cluster[index], None if self.further is None else self.further[index],
        )  # fmt: skip

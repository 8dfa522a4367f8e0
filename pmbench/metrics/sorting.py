"""Rows of numbers sorted in place, by NumPy and faster than NumPy where it is slow.

With AVX-512, NumPy sorts up to 512 numbers by a fixed network of comparisons, and cuts longer rows
by an instruction that some processors (AMD's Zen 4) take very long for. There, a row is dealt to as
many hands as keep each below 512, as cards are, and each hand is sorted; put together again as it
was dealt, the row is nearly sorted, since hands of an image's values are alike. Two more rounds
of short sorts, the second half a length further, mend what is within their reach. Whether all is
sorted is looked at; a row that is not is sorted in the common way.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]

_SHORT = 512  # the longest row that NumPy's network sorts
_LENGTHS = range(2 * _SHORT + 1, 16 * _SHORT + 1)  # that are worth it: measured on Zen 4
_AT_ONCE = 1 << 18  # numbers: 1 MB, a core's cache


def sort_rows(rows: Rows) -> None:
    """Sort each row of a table (rows, n), or of several (tables, rows, n), in place."""
    n = rows.shape[-1]
    if n not in _LENGTHS or rows.dtype != np.float32 or not _dealing_pays():
        rows.sort(axis=-1)
        return
    if rows.ndim > 2:
        for table in rows:
            sort_rows(table)
        return
    some = max(1, _AT_ONCE // n)
    for start in range(0, len(rows), some):
        deal_and_sort(rows[start : start + some])


def deal_and_sort(rows: Rows) -> None:
    """Sort each row of a table (rows, n) in place, n > 512, by dealing."""
    count, n = rows.shape
    hands = -(-n // _SHORT)
    padded = -(-n // hands) * hands
    work = rows
    if padded > n or not rows.flags.c_contiguous:
        work = np.full((count, padded), np.inf, np.float32)
        work[:, :n] = rows
    work.reshape(count, -1, hands).sort(axis=1)
    for first in (0, _SHORT // 2):
        for start in range(first, padded, _SHORT):
            work[:, start : start + _SHORT].sort(axis=-1)
    wrong = ~(work[:, 1:] >= work[:, :-1]).all(axis=1)  # also where a number is none
    work[wrong] = np.sort(work[wrong], axis=-1)
    if work is not rows:
        rows[:] = work[:, :n]


@functools.cache
def _dealing_pays() -> bool:
    """Return whether it is the faster way on this machine; both sort alike.

    Tried once, on the values of a smooth image with noise, in about 10 ms.
    """
    y, x = np.mgrid[:64, :64] / 64
    noise = np.random.default_rng(0).standard_normal((16, 64 * 64))
    values = (np.sin(3 * x + 2 * y).ravel() + 0.1 * noise).astype(np.float32)

    def seconds(sort: Callable[[Rows], None]) -> float:
        rows, start = values.copy(), time.perf_counter()
        sort(rows)
        return time.perf_counter() - start

    def whole(rows: Rows) -> None:
        rows.sort(axis=-1)

    common, dealt = (min(seconds(sort) for _ in range(5)) for sort in (whole, deal_and_sort))
    return dealt < 0.8 * common

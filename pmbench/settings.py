"""Settings that all code in a process shares: what a metric changes of them is put back.

Otherwise the numbers of one metric, or where results go, would depend on which metric ran before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch


def _put_device(name: str) -> None:
    # "cpu" as a default is no device at all: another default costs time at each call
    torch.set_default_device(None if name == "cpu" else name)


def _put_arguments(words: list[str]) -> None:
    sys.argv[:] = words


def _folder() -> str | None:
    with suppress(OSError):  # somebody has removed it
        return os.getcwd()  # noqa: PTH109  called for every batch
    return None


def _put_folder(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _cudnn() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32


def _put_cudnn(flags: tuple[bool, bool, bool]) -> None:
    cudnn = torch.backends.cudnn
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = flags


# what a sentence calls it -> how it is read, and how it is set
_SHARED: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (lambda: str(torch.get_default_device()), _put_device),
    "whether torch records gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "whether torch is deterministic": (
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms,
    ),
    "torch's matmul precision": (
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision,
    ),
    "the settings of cuDNN": (_cudnn, _put_cudnn),
    "how numpy treats floating-point errors": (np.geterr, lambda how: np.seterr(**how)),
    "the current folder": (_folder, _put_folder),
    "sys.argv": (lambda: list(sys.argv), _put_arguments),
}  # fmt: skip


@contextmanager
def put_back() -> Iterator[list[str]]:
    """Put shared settings back at the end; the list then says which were changed meanwhile."""
    before = {what: read() for what, (read, _) in _SHARED.items()}
    changed: list[str] = []
    try:
        yield changed
    finally:
        for what, (read, put) in _SHARED.items():
            if read() != before[what]:
                put(before[what])
                changed.append(what)

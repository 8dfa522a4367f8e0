"""Settings that all code in a process shares: what a metric changes of them is put back.

Otherwise the numbers of one metric, or where results go, would depend on which metric ran before.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import reduce
from typing import Any

import numpy as np
import torch


def _device() -> torch.device:
    try:
        return torch.get_default_device()
    except AttributeError:  # torch 2.7 and 2.8, once a default has been taken back
        return torch.device("cpu")


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


# where torch keeps how float32 is rounded; "" stands for all of them
_ROUNDING = (
    "", "cuda.matmul", "cudnn", "cudnn.conv", "cudnn.rnn", "mkldnn", "mkldnn.conv", "mkldnn.rnn",
    "mkldnn.matmul",
)  # fmt: skip
# asked once: where torch has only the older setting, a metric may make an attribute of that name
_HAS_KINDS = hasattr(torch.backends, "fp32_precision")


def _rounding() -> tuple[str | None, list[str]]:
    """Return how torch rounds in float32: as its older setting says, and each kind of operation.

    The older one raises where the others say more than it has words for.
    """
    try:
        older: str | None = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = None
    return older, [kind.fp32_precision for kind in _kinds()]


def _put_rounding(results: tuple[str | None, list[str]]) -> None:
    older, precisions = results
    if older is not None:
        torch.set_float32_matmul_precision(older)
    for kind, precision in zip(_kinds(), precisions, strict=True):
        kind.fp32_precision = precision


def _kinds() -> list[Any]:
    """Return what has a rounding of its own, the general one first: to set it sets the others."""
    if not _HAS_KINDS:
        return [_Tf32()]
    return [reduce(getattr, filter(None, name.split(".")), torch.backends) for name in _ROUNDING]


class _Tf32:
    """cuDNN's rounding, as an older torch has it."""

    @property
    def fp32_precision(self) -> bool:
        return torch.backends.cudnn.allow_tf32

    @fp32_precision.setter
    def fp32_precision(self, allowed: bool) -> None:
        torch.backends.cudnn.allow_tf32 = allowed


def _flushes() -> bool:
    """Return whether this thread takes the smallest numbers for zero, which torch does not tell."""
    return bool(_SMALLEST * _ONE == 0)


_SMALLEST, _ONE = np.float32(1e-40), np.float32(1)


def _cudnn() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.deterministic, cudnn.benchmark


def _put_cudnn(flags: tuple[bool, bool, bool]) -> None:
    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.deterministic, cudnn.benchmark = flags


def _put_mkldnn(enabled: bool) -> None:
    torch.backends.mkldnn.enabled = enabled  # type: ignore[assignment]


def _autocast() -> tuple[bool, bool]:
    return torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")


def _put_autocast(enabled: tuple[bool, bool]) -> None:
    for device, on in zip(("cpu", "cuda"), enabled, strict=True):
        torch.set_autocast_enabled(device, on)


# what a sentence calls it -> how it is read, and how it is set
_SHARED: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (lambda: str(_device()), _put_device),
    "whether torch records gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "whether torch is deterministic": (
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms,
    ),
    "how torch rounds float32": (_rounding, _put_rounding),
    "whether the smallest numbers are zero": (_flushes, torch.set_flush_denormal),
    "the settings of cuDNN": (_cudnn, _put_cudnn),
    "whether oneDNN computes": (lambda: torch.backends.mkldnn.enabled, _put_mkldnn),
    "torch's autocast": (_autocast, _put_autocast),
    "how numpy treats floating-point errors": (np.geterr, lambda how: np.seterr(**how)),
    "the current folder": (_folder, _put_folder),
    "sys.argv": (lambda: list(sys.argv), _put_arguments),
}  # fmt: skip


_dtype_lock = threading.Lock()
_dtypes: list[torch.dtype] = []  # the default when each thread asked for float32, the first's first


@contextmanager
def _float32() -> Iterator[None]:
    """Let the default dtype be float32, until the last thread that wants it is done."""
    with _dtype_lock:
        _dtypes.append(torch.get_default_dtype())
        if torch.get_default_dtype() != torch.float32:
            torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        with _dtype_lock:
            before = _dtypes.pop()
            if not _dtypes and torch.get_default_dtype() != before:
                torch.set_default_dtype(before)


@contextmanager
def usual_defaults(device: str = "cpu") -> Iterator[None]:
    """Let new tensors be float32 and on the CPU meanwhile, and autocast change nothing.

    A program may have set torch to anything else, and a metric is what it is everywhere. ``device``
    is the kind of the one that is computed on. Torch has one default dtype for all threads.
    """
    with ExitStack() as stack:
        stack.enter_context(_float32())
        if _device().type != "cpu":  # a mode costs time at each call
            stack.enter_context(torch.device("cpu"))
        for kind in {"cpu", device}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def preserve_global_state() -> Iterator[list[str]]:
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

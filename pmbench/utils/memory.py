"""Memory: kept for what comes next; and when it runs out, how that is told and mended."""

from __future__ import annotations

import ctypes
import functools
import gc
import sys

import torch

# what torch says of memory where it raises no error of its own: its allocator on Linux and Windows,
# Apple's GPUs, NVIDIA's libraries, and oneDNN, which gives no reason
_WORDS = (
    "can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED",
    "could not create a primitive",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory was not enough."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep what it frees, up to a GB: the next batch needs as much again.

    glibc gives large pieces back at once, and the system hands out new ones page by page, zeroed:
    to fill 60 MB of new memory takes five times as long as to fill old (measured on two cores),
    and ``lpips-squeeze`` twice as long. A setting of the whole process, and no more than a wish.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        # an older glibc takes no more than 32 MB, and without the first the second does harm:
        # either ends the thresholds' growing by themselves
        if mallopt and (mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_THRESHOLD, 1 << 25)):
            mallopt(_TRIM_THRESHOLD, 1 << 30)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them


def free_bytes(device: torch.device) -> int | None:
    """Return how much memory a GPU has to spare, None on other devices."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def free_memory(device: torch.device) -> None:
    """Give back what nobody needs any more."""
    gc.collect()  # a failed computation's tensors may be held by a circle of frames
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)  # what is freed lies in pieces between what is used, where nothing large fits in

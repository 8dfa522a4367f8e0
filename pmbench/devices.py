"""Where to compute, and how exactly."""

from __future__ import annotations

import torch

from pmbench.errors import PmbenchError


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is a GPU where there is one.

    Raises PmbenchError for a device that torch does not know or this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    kind = name.partition(":")[0]
    if kind not in there:
        raise PmbenchError(f"unknown device '{name}'; expected auto, cpu, cuda, cuda:N or mps")
    if not there[kind]:
        raise PmbenchError(f"torch finds no {kind} on this machine; choose the device cpu or auto")
    try:
        torch.zeros(1, device=name)
    except RuntimeError as error:
        raise PmbenchError(f"the device '{name}' cannot be used: {error}") from error
    return torch.device(name)


def be_exact() -> None:
    """Compute in float32 throughout, the same way every time."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True

"""Where to compute, and how exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from pmbench.utils.errors import PmbenchError, unknown

# what networks compute in; everything else (preprocessing, heads, formulas) stays in float32, but
# for tf32, which is a setting of torch's for all matrix products and convolutions
PRECISIONS = {
    "fp32": torch.float32,
    "tf32": torch.float32,  # as torch sees it: a GPU's matrix units round the factors to 10 bits
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
_networks: ContextVar[torch.dtype] = ContextVar("networks", default=torch.float32)


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


def check_precision(precision: str, device: torch.device) -> None:
    """Raise PmbenchError unless ``precision`` is one of PRECISIONS, and the device has it."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision == "tf32" and device.type != "cuda":
        raise PmbenchError(
            f"--precision tf32 is a rounding of NVIDIA's GPUs, and the device is {device.type}; "
            "choose bf16, or leave --precision out"
        )


@contextmanager
def network_precision(precision: str = "fp32") -> Iterator[None]:
    """Compute the same way every time meanwhile, and networks in ``precision`` (of PRECISIONS).

    A network runs ``in_network_dtype``.
    """
    use_exact_arithmetic()
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    token = _networks.set(PRECISIONS[precision])
    try:
        yield
    finally:
        _networks.reset(token)
        use_exact_arithmetic()


def use_exact_arithmetic() -> None:
    """Compute in float32 throughout, the same way every time."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def network_dtype() -> torch.dtype:
    """Return what networks compute in: float32, or 16 bits inside ``network_precision``."""
    return _networks.get()


@contextmanager
def in_network_dtype(device: torch.device) -> Iterator[None]:
    """Let torch compute what follows in ``network_dtype``.

    What comes out may be of that dtype.
    """
    if (dtype := network_dtype()) == torch.float32:  # which torch's meta device must not be asked
        yield
        return
    with torch.autocast(device.type, dtype):
        yield

"""Whether torch follows what is computed of a tensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def is_tracked(*tensors: Tensor) -> bool:
    """Return whether anything follows what is computed of one of the tensors.

    That is a gradient, a forward-mode derivative, a transform of ``torch.func`` (``grad``, ``jvp``,
    ``vmap`` …), or a subclass of Tensor. It then sees only torch's own operations that give a new
    tensor: not NumPy, and not what is written into a tensor that was there before.
    """
    return any(_follows(tensor) for tensor in tensors)


def _follows(tensor: Tensor) -> bool:
    return (
        (tensor.requires_grad and torch.is_grad_enabled())
        or type(tensor) not in (Tensor, nn.Parameter)
        or torch.func.debug_unwrap(tensor, recurse=False) is not tensor
        or forward_ad.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]
    )

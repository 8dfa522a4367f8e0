"""Whether torch follows what is computed of a tensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def is_tracked(*tensors: Tensor) -> bool:
    """Return whether anything follows what is computed of one of the tensors.

    It then sees only torch's own operations that give a new tensor: not NumPy, and not what is
    written into a tensor that was there before.
    """
    recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return recorded or is_transformed(*tensors)


def is_transformed(*tensors: Tensor) -> bool:
    """Return whether something else than a gradient in backward mode follows one of the tensors.

    That is a derivative in forward mode, a transform of ``torch.func`` (``grad``, ``jvp``, ``vmap``
    …), a trace, or a subclass of Tensor.
    """
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return bool(tracing) or any(
        type(tensor) not in (Tensor, nn.Parameter)
        or torch.func.debug_unwrap(tensor, recurse=False) is not tensor
        or forward_ad.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]
        for tensor in tensors
    )

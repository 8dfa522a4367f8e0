"""Convolutions of frozen networks, with their filters kept as the processor wants them.

On a CPU oneDNN rearranges the filters at every call, and a ReLU reads and writes the output once
more. Here the filters are rearranged once for pictures of one size, the ReLU is a part of the
convolution, and what computes in fewer bits (``devices.network_precision``) casts them once. In
float32 not a bit of the output changes, but for a pass of a single image, which differs by
rounding. On two cores: VGG-16 at 4 images a pass 20 % faster, at 12 10 %, AlexNet at 64 5 %. Where
a gradient is asked for, or torch comes without oneDNN, this is the ordinary convolution.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmbench.utils.devices import network_dtype

_POINTWISE, _REORDER = "_convolution_pointwise", "_reorder_convolution_weight"


class Convolution(nn.Conv2d):
    """A frozen convolution that has the tensors of another one, and perhaps ends in a ReLU."""

    def __init__(self, of: nn.Conv2d, relu: bool) -> None:
        super().__init__(
            of.in_channels,
            of.out_channels,
            of.kernel_size,  # type: ignore[arg-type]
            of.stride,  # type: ignore[arg-type]
            of.padding,  # type: ignore[arg-type]
            of.dilation,  # type: ignore[arg-type]
            of.groups,
            of.bias is not None,
        )
        self.weight, self.bias = of.weight, of.bias
        self.relu = relu
        # no buffers: they are the same filters, and the state tells what a metric is
        self._ready: dict[tuple[torch.dtype, bool], tuple[object, Tensor, Tensor | None]] = {}

    def reset_parameters(self) -> None:
        """Draw nothing only to be overwritten."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, channels, h, w) in ``devices.network_dtype``, or in the input's double."""
        if (dtype := network_dtype()) != torch.float32:
            input = input.to(dtype)
        derivable = input.requires_grad and torch.is_grad_enabled()
        packed = not derivable and _packs(input.device.type, input.dtype)
        weight, bias = self._filters(input, packed)
        if packed:
            after = "relu" if self.relu else "none"
            pointwise = getattr(torch.ops.mkldnn, _POINTWISE)
            result: Tensor = pointwise(input, weight, bias, *self._how(), after, [], "")
            return result
        result = self._conv_forward(input, weight, bias)
        return F.relu(result, inplace=not derivable) if self.relu else result

    def _filters(self, input: Tensor, packed: bool) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias in the input's dtype, rearranged if so wanted."""
        if not packed and input.dtype == self.weight.dtype:
            return self.weight, self.bias
        writes = 0 if self.weight.is_inference() else self.weight._version
        # arranged for one size, a small picture's filters make others 20 times slower
        size = input.shape[2:] if packed else None
        key, version = (input.dtype, packed), (self.weight.data_ptr(), writes, size)
        known = self._ready.get(key)
        if known is None or known[0] != version:
            # made in inference mode they could not be used where a gradient is asked for
            with torch.inference_mode(False):
                weight, bias = (
                    None if values is None else values.detach().to(input.dtype)
                    for values in (self.weight, self.bias)
                )
            assert weight is not None
            if packed:
                weight = getattr(torch.ops.mkldnn, _REORDER)(weight, *self._how(), input.shape)
            known = self._ready[key] = (version, weight, bias)
        return known[1], known[2]

    def _how(self) -> tuple[Any, ...]:
        return self.padding, self.stride, self.dilation, self.groups


def prepared(network: nn.Module, seen: tuple[nn.Module, ...]) -> None:
    """Put ``Convolution`` in the place of a network's convolutions, with the ReLU right behind it.

    Somebody looks at the outputs of ``seen``, which therefore keep their ReLU apart. Children of a
    module are taken to run in their order.
    """
    children = [*network.named_children(), ("", None)]
    for (name, child), (next_name, following) in itertools.pairwise(children):
        assert child is not None
        if not isinstance(child, nn.Conv2d):
            prepared(child, seen)
            continue
        relu = isinstance(following, nn.ReLU) and child not in seen
        setattr(network, name, Convolution(child, relu))
        if relu:
            setattr(network, next_name, nn.Identity())


@functools.cache
def _packs(device: str, dtype: torch.dtype) -> bool:
    """Return whether filters of that dtype can be arranged beforehand.

    The operators are torch's own affair and may change with it, so they are tried once.
    """
    if device != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in (_POINTWISE, _REORDER)):
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return dtype in (torch.float32, torch.bfloat16) and _as_usual(dtype)


def _as_usual(dtype: torch.dtype) -> bool:
    """Return whether torch's operators give here what an ordinary convolution does."""
    image = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8).to(dtype)
    filters = torch.linspace(-1, 1, 4 * 3 * 3 * 3).view(4, 3, 3, 3).to(dtype)
    bias, how = torch.zeros(4, dtype=dtype), ((1, 1), (1, 1), (1, 1), 1)
    try:
        arranged = getattr(torch.ops.mkldnn, _REORDER)(filters, *how, image.shape)
        result = getattr(torch.ops.mkldnn, _POINTWISE)(image, arranged, bias, *how, "relu", [], "")
    except (RuntimeError, TypeError):
        return False
    usual = F.conv2d(image, filters, bias, padding=1).relu()
    rounding = 8 * torch.finfo(dtype).eps
    return result.shape == usual.shape and torch.allclose(result, usual, rounding, rounding)

"""Networks run without numbers, to see what they do.

A network on torch's "meta" device computes shapes only, so passes on two image sizes tell, without
a weight: which outputs have positions, where in their shape these are, at what stride, and which
tensors have been used by the time that a module is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pmbench.networks.hooked import Layout, Tap, first_of

IMAGES = 2  # a first dimension of 1 might be anything

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """The last call of a module in a pass: shapes of the first input and output, and its end."""

    inputs: Shape | None
    output: Shape | None
    ended: int
    times: int  # how often it was called


@dataclass(frozen=True)
class Pass:
    """One run: each module's last call, in the order of their ends, and each tensor's first use."""

    calls: dict[str, Call]
    used: dict[str, int]

    def output(self, module: str) -> Shape | None:
        """Return the shape of a module's output, or None where it has none."""
        return self.calls[module].output if module in self.calls else None


class _Watch(TorchFunctionMode):
    """Note when each tensor of a network is first used, by a clock that is set from outside."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        everything = [
            *network.named_parameters(remove_duplicate=False),
            *network.named_buffers(remove_duplicate=False),
        ]
        self.names: dict[int, list[str]] = {}
        for name, tensor in everything:
            self.names.setdefault(id(tensor), []).append(name)
        self.used: dict[str, int] = {}
        self.clock = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        for tensor in _tensors([*args, *(kwargs or {}).values()]):
            for name in self.names.get(id(tensor), ()):
                self.used.setdefault(name, self.clock)
        return func(*args, **(kwargs or {}))


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def observe(network: nn.Module, run: str, side: int) -> Pass:
    """Run a network on the meta device once on square images, and return what it did.

    ``run`` is the name of the method to call. Raises whatever the network raises.
    """
    calls: dict[str, Call] = {}
    watch = _Watch(network)

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            times = calls.pop(name).times if name in calls else 0  # popped: the last call's place
            calls[name] = Call(_shape(inputs), _shape(output), watch.clock, times + 1)
            watch.clock += 1

        return hook

    handles = [m.register_forward_hook(note(name)) for name, m in network.named_modules() if name]
    try:
        with torch.no_grad(), watch:
            getattr(network, run)(torch.empty(IMAGES, 3, side, side, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    return Pass(calls, watch.used)


def _shape(value: Any) -> Shape | None:
    value = first_of(value)
    return tuple(value.shape) if isinstance(value, Tensor) else None


def positions(name: str, shapes: list[Shape | None], sides: list[int]) -> Tap | None:
    """Return how to read an output of these shapes on images of these sides, or None.

    The dimensions that grow with the image are the positions; on one size alone, equal sides are.
    """
    known = [shape for shape in shapes if shape and shape[0] == IMAGES]
    if len(known) < len(sides) or len({len(shape) for shape in known}) != 1:
        return None
    first, last = known[0], known[-1]
    if len(known) == 1:
        grown = _alike(first)
    else:
        grown = [i for i in range(len(first)) if first[i] != last[i]]
    kind = _LAYOUTS.get((len(first), *grown))
    if kind is None:
        return None
    layout, channel = kind
    lengths = [shape[grown[0]] for shape in known]
    if layout in ("NCHW", "NHWC"):
        if any(shape[grown[0]] != shape[grown[1]] for shape in known):
            return None
        found = _grid(lengths, sides)
        return None if found is None else Tap(name, layout, first[channel], found)
    found = _grid_of_tokens(lengths, sides)
    if found is None:
        return None
    prefix = lengths[0] - round(sides[0] / found) ** 2
    return Tap(name, layout, first[channel], found, prefix)


# (dimensions, those of the positions) -> layout, the dimension of the channels
_LAYOUTS: dict[Shape, tuple[Layout, int]] = {
    (4, 2, 3): ("NCHW", 1),
    (4, 1, 2): ("NHWC", 3),
    (3, 1): ("NLC", 2),
    (3, 2): ("NCL", 1),
}


def _alike(shape: Shape) -> list[int]:
    """Return the dimensions that may be positions, judged by one size."""
    if len(shape) == 4:
        return [2, 3] if shape[2] == shape[3] else [1, 2]
    return [1]


def _grid(rows: list[int], sides: list[int]) -> int | None:
    """Return the stride of so many rows on images of these sides, or None where it is none.

    An attention map has a row for each token: it grows faster than the image.
    """
    more = rows[-1] - rows[0]
    if rows[0] < 2 or more < 0:
        return None
    stride = round((sides[-1] - sides[0]) / more if more else sides[0] / rows[0])
    # convolutions without padding lose a few rows
    return stride if stride and abs(rows[0] * stride - sides[0]) < 0.4 * sides[0] else None


def _grid_of_tokens(lengths: list[int], sides: list[int]) -> int | None:
    """Return the stride of a sequence of L = prefix + (side / stride)² tokens, or None."""
    more = lengths[-1] - lengths[0]
    if lengths[0] < 4:
        return None
    if len(lengths) == 1:
        stride = round(sides[0] / math.isqrt(lengths[0]))
    elif more > 0:
        stride = round(math.sqrt((sides[-1] ** 2 - sides[0] ** 2) / more))
    else:
        return None
    prefixes = {
        length - round(side / stride) ** 2 if stride else -1
        for length, side in zip(lengths, sides, strict=True)
    }
    return stride if len(prefixes) == 1 and min(prefixes) >= 0 else None

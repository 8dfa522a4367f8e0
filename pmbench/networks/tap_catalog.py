"""What a network offers as a feature extractor: its taps, the usual ones, and the sizes it takes.

A network is run without numbers to see what it does: on torch's "meta" device it computes shapes
only, so passes on two image sizes tell, without a weight, which outputs have positions, where in
their shape these are, at what stride, and which tensors have been used by the time that a module is
done.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pmbench.networks.backbones import Form, Preprocessing
from pmbench.networks.feature_extractor import FeatureExtractor, Layout, Tap, first_of

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
        result = _grid(lengths, sides)
        return None if result is None else Tap(name, layout, first[channel], result)
    result = _grid_of_tokens(lengths, sides)
    if result is None:
        return None
    prefix = lengths[0] - round(sides[0] / result) ** 2
    return Tap(name, layout, first[channel], result, prefix)


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


_STEP = 448  # pixels from the first size to the second: a multiple of the usual strides and windows
_DEPTHS = 4  # taps in a network of one stride
_PER_PASS = 2**22  # values of the largest map in one pass: what stays in the cache


@dataclass(frozen=True)
class TapCatalog:
    """What a network offers. ``taps`` are in the order in which the network computes them."""

    network: nn.Module  # on the meta device
    run: str
    side: int  # of the images that it is made for
    passes: tuple[Pass, ...]
    modules: tuple[str, ...]  # all, by name
    taps: dict[str, Tap]  # module -> how to read it, where its output has positions
    by_stride: dict[int, Tap]  # the last one at each stride, outermost modules only
    default: tuple[Tap, ...]

    def needed(self, taps: Iterable[Tap]) -> frozenset[str]:
        """Return the names of the tensors that are used until the last of the taps is known."""
        modules = [tap.module for tap in taps]
        return frozenset(
            name
            for run in self.passes
            for name, when in run.used.items()
            if when <= max(run.calls[module].ended for module in modules)
        )

    def trunk(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        taps: Iterable[Tap],
        form: Form = "unit",
    ) -> FeatureExtractor:
        """Return ``network``, one of this kind, as a feature trunk."""
        taps = tuple(taps)
        calls = self.passes[0].calls
        last = max(calls[tap.module].ended for tap in taps)
        largest = max(
            math.prod(call.output)
            for call in calls.values()
            if call.output is not None and call.ended <= last
        )
        times = sum(calls[tap.module].times for tap in taps)
        per_pass = _PER_PASS * IMAGES * self.side**2 // largest
        return FeatureExtractor(network, self.run, preprocessing, taps, times, per_pass, form)


def examine(network: nn.Module, run: str, side: int, heads: tuple[str, ...] = ()) -> TapCatalog:
    """Return what a network on the meta device offers, tried on images of ``side`` and more.

    ``heads`` are modules that are no default taps. Raises whatever the network raises on ``side``.
    """
    network.eval()
    sides = [side]
    passes = [observe(network, run, side)]
    for more in (_STEP, side):
        try:
            passes.append(observe(network, run, side + more))
        except Exception:  # noqa: BLE001  a network of one size only is told by its one pass
            continue
        sides.append(side + more)
        break
    calls = passes[0].calls
    results = {name: positions(name, [one.output(name) for one in passes], sides) for name in calls}
    taps = {name: tap for name, tap in results.items() if tap is not None}
    by_stride = _by_stride(network, passes, sides, taps, heads)
    default = tuple(sorted(by_stride.values(), key=lambda tap: calls[tap.module].ended))
    if len(by_stride) == 1:
        default = _spread(network, calls, [tap for tap in taps.values() if tap.stride in by_stride])
    modules = tuple(name for name, _ in network.named_modules() if name)
    return TapCatalog(network, run, side, tuple(passes), modules, taps, by_stride, default)


def sizes(offer: TapCatalog, trunk: FeatureExtractor) -> tuple[int, int]:
    """Return the smallest side that a trunk of ``offer.network`` takes, and what sides divide by.

    Both are the side that the network is made for where it takes no other.
    """
    side = offer.side
    if len(offer.passes) == 1:
        return side, side
    divisors = [m for m in range(1, side) if side % m == 0]
    multiple = next((m for m in divisors if _takes(trunk, side + m, side)), side)
    refused, taken = 0, side // multiple  # in multiples
    if _takes(trunk, multiple, multiple):
        return multiple, multiple
    while taken - refused > 1:
        middle = (refused + taken) // 2
        if _takes(trunk, middle * multiple, middle * multiple):
            taken = middle
        else:
            refused = middle
    return taken * multiple, multiple


def _takes(trunk: FeatureExtractor, height: int, width: int) -> bool:
    pixels = torch.empty(IMAGES, 3, height, width, device="meta")
    try:
        return all(feature.numel() for feature in trunk(pixels))
    except Exception:  # noqa: BLE001  foreign code refuses a size with any exception
        return False


def _by_stride(
    network: nn.Module,
    passes: list[Pass],
    sides: list[int],
    taps: dict[str, Tap],
    heads: tuple[str, ...],
) -> dict[int, Tap]:
    """Return the last tap of each stride at which something with weights computes, by stride.

    Only the outermost modules that do not jump over a stride are looked at: what is computed at a
    block's entrance, on its way to the next stride, is no stage's result.
    """
    calls = passes[0].calls

    def incoming(name: str) -> int | None:
        tap = positions(name, [run.calls[name].inputs for run in passes], sides)
        return None if tap is None else tap.stride

    def outermost(parent: nn.Module, prefix: str) -> list[str]:
        results = []
        for child, module in parent.named_children():
            name = prefix + child
            if name in heads:
                continue
            if name in taps and (incoming(name) or taps[name].stride) * 2 >= taps[name].stride:
                results.append(name)
            else:
                inner = outermost(module, f"{name}.")
                results += inner or ([name] if name in taps else [])
        return results

    results = sorted(outermost(network, ""), key=lambda name: calls[name].ended)
    learned = {
        taps[name].stride
        for name in results
        if any(True for _ in network.get_submodule(name).parameters())
    }
    last = {taps[name].stride: taps[name] for name in results}
    return {stride: last[stride] for stride in sorted(last) if stride in learned}


def _spread(network: nn.Module, calls: dict[str, Call], taps: list[Tap]) -> tuple[Tap, ...]:
    """Return evenly spread ones of a row of like blocks, the last of them included.

    Of several rows the outermost counts that is long enough: blocks, not what is in them.
    """
    rows: dict[tuple[str, type], list[Tap]] = {}
    for tap in taps:
        block = network.get_submodule(tap.module)
        if any(True for _ in block.parameters()):
            rows.setdefault((re.sub(r"\d+", "#", tap.module), type(block)), []).append(tap)

    def rank(kind: tuple[str, type]) -> tuple[int, int, int]:
        ended = max(calls[tap.module].ended for tap in rows[kind])
        return min(_DEPTHS, len(rows[kind])), -kind[0].count("."), ended

    row = sorted(rows[max(rows, key=rank)], key=lambda tap: calls[tap.module].ended)
    count = min(_DEPTHS, len(row))
    return tuple(row[(i + 1) * len(row) // count - 1] for i in range(count))

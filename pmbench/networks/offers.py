"""What a network offers as a feature trunk: its taps, the usual ones, and the sizes it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from pmbench.backbones import Preprocessing
from pmbench.networks.hooked import Hooked, Tap
from pmbench.networks.probing import IMAGES, Call, Pass, observe, positions

_STEP = 448  # pixels from the first size to the second: a multiple of the usual strides and windows
_DEPTHS = 4  # taps in a network of one stride
_PER_PASS = 2**22  # values of the largest map in one pass: what stays in the cache


@dataclass(frozen=True)
class Offer:
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
        self, network: nn.Module, preprocessing: Preprocessing, taps: Iterable[Tap]
    ) -> Hooked:
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
        return Hooked(network, self.run, preprocessing, taps, times, per_pass)


def examine(network: nn.Module, run: str, side: int, heads: tuple[str, ...] = ()) -> Offer:
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
    found = {name: positions(name, [one.output(name) for one in passes], sides) for name in calls}
    taps = {name: tap for name, tap in found.items() if tap is not None}
    by_stride = _by_stride(network, passes, sides, taps, heads)
    default = tuple(sorted(by_stride.values(), key=lambda tap: calls[tap.module].ended))
    if len(by_stride) == 1:
        default = _spread(network, calls, [tap for tap in taps.values() if tap.stride in by_stride])
    modules = tuple(name for name, _ in network.named_modules() if name)
    return Offer(network, run, side, tuple(passes), modules, taps, by_stride, default)


def sizes(offer: Offer, trunk: Hooked) -> tuple[int, int]:
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


def _takes(trunk: Hooked, height: int, width: int) -> bool:
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
        found = []
        for child, module in parent.named_children():
            name = prefix + child
            if name in heads:
                continue
            if name in taps and (incoming(name) or taps[name].stride) * 2 >= taps[name].stride:
                found.append(name)
            else:
                inner = outermost(module, f"{name}.")
                found += inner or ([name] if name in taps else [])
        return found

    found = sorted(outermost(network, ""), key=lambda name: calls[name].ended)
    learned = {
        taps[name].stride
        for name in found
        if any(True for _ in network.get_submodule(name).parameters())
    }
    last = {taps[name].stride: taps[name] for name in found}
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

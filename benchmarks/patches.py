"""Distances between sets of patches beside straightforward torch: the formula, a call a pair.

The straightforward side has the images in memory as floats, and shares nothing between its two
calls d(ref, p0) and d(ref, p1). For random features it computes as many pairs at a time as is
fastest here, and draws filters at each call, as the authors do; for sliced Wasserstein distances it
goes pair by pair, with directions drawn once. pmbench's side is its loop over a pack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.inputs import Setting, loop, ready
from benchmarks.turns import Measured, Row, Run, at_least, in_turn, times_as_fast

Distance = Callable[[Tensor, Tensor], Tensor]  # two (N, 3, H, W) in [0, 1] -> (N,)
_BATCHES = (1, 8, 50)  # pairs


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row for MMD++ and each sliced Wasserstein distance."""
    yield _row(setting, "mmdpp", 100, mmdpp, _BATCHES)
    for patch in (3, 7):
        yield _row(setting, f"patch-swd-{patch}", 12, SlicedWasserstein(patch), (1,))
        yield _row(setting, f"window-swd-{patch}", 12, SlicedWasserstein(patch, 32, 16), (1,))


def _row(
    setting: Setting, name: str, usual: int, distance: Distance, batches: tuple[int, ...]
) -> Row:
    count = setting.count(usual)
    return Row(
        f"patches/{name}",
        f"{name}: loop over a pack, {count} triplets",
        "straightforward torch",
        at_least(5.0),
        lambda: _measure(setting, name, distance, batches, count),
    )


def _measure(
    setting: Setting, name: str, distance: Distance, batches: tuple[int, ...], count: int
) -> Measured:
    pack, metrics = setting.pack, ready([name])
    roles = [
        torch.from_numpy(pack.images(0, column)).permute(0, 3, 1, 2).contiguous().float() / 255
        for column in pack.rows[:count].T
    ]
    runs = {str(size): _straightforward(distance, roles, size) for size in batches}
    seconds = in_turn(runs, 2 if len(runs) > 1 else 0)
    best = min(runs, key=lambda size: min(seconds[size], default=0.0))
    found = times_as_fast(runs[best], lambda: loop(pack, metrics, count), setting.turns)
    usual, ours = (1000 * min(found.sides[side]) / count for side in ("against", "what"))
    note = f"{usual:.1f} and {ours:.1f} ms a triplet at best; straightforward by {best} pairs"
    return Measured(found.values, found.sides, (note,))


def _straightforward(distance: Distance, roles: list[Tensor], size: int) -> Run:
    def run() -> None:
        with torch.inference_mode():
            for ref, p0, p1 in zip(*(torch.split(role, size) for role in roles), strict=True):
                distance(ref, p0)
                distance(ref, p1)

    return run


def mmdpp(x: Tensor, y: Tensor) -> Tensor:
    """Return MMD++, with filters of its own."""
    x, y = 2 * x - 1, 2 * y - 1
    filters = torch.randn(512, 3, 3, 3) / (0.06 * 3**2)
    filters = filters - filters.mean(dim=(2, 3), keepdim=True)
    phases = 2 * torch.pi * torch.rand(512, 1, 1)

    def features(images: Tensor) -> Tensor:
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        return F.avg_pool2d(torch.cos(F.conv2d(padded, filters) + phases), 32, stride=16)

    mmd = (features(x) - features(y)).square().mean(dim=(1, 2, 3))
    squared = (x - y).square()
    of_patches = 9 * F.avg_pool2d(squared.sum(dim=1, keepdim=True), 3, stride=1, padding=1)
    local = (1 - torch.exp(-of_patches / (2 * (0.1 * 9) ** 2))).mean(dim=(1, 2, 3))
    return 0.001 * squared.mean(dim=(1, 2, 3)) + 0.05 * local + mmd


class SlicedWasserstein:
    """The sliced Wasserstein distance of patches, in all windows of one size, or the image."""

    def __init__(self, patch: int, window: int | None = None, stride: int = 1) -> None:
        drawn = torch.randn(256, 3 * patch**2, generator=torch.Generator().manual_seed(0))
        drawn = drawn / drawn.std(dim=1, keepdim=True)
        self.directions = drawn.view(256, 3, patch, patch)
        self.window, self.stride = window, stride

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distances: (N,)."""
        return (self._sorted(x) - self._sorted(y)).abs().flatten(1).mean(dim=1)

    def _sorted(self, images: Tensor) -> Tensor:
        maps = F.conv2d(2 * images - 1, self.directions)
        if self.window is None:
            return maps.flatten(2).sort(dim=2).values
        side = self.window - self.directions.shape[-1] + 1
        windows = maps.unfold(2, side, self.stride).unfold(3, side, self.stride)
        return windows.flatten(4).sort(dim=4).values

"""Images: pixels that remember what was computed from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T", Tensor, tuple[Tensor, ...])


class Images:
    """N images of one size.

    ``pixels`` are float32 sRGB in [0, 1], (N, 3, H, W). Images that belong to one batch share what
    is derived from them: ``ref.derive(net)`` computes ``net`` for the whole batch, and
    ``p0.derive(net)``, or another metric that asks for the same ``net``, gets its part of it.
    """

    def __init__(self, pixels: Tensor) -> None:
        self._batch = _Batch(pixels)
        self._place: slice | Tensor = slice(None)

    def pick(self, place: Tensor) -> Images:
        """Return the images at ``place`` (a 1-d integer tensor) as a view of this batch."""
        picked = object.__new__(Images)
        picked._batch = self._batch
        start, count = (int(place[0]), len(place)) if len(place) else (0, 0)
        neighbours = torch.equal(place, torch.arange(start, start + count, device=place.device))
        picked._place = (
            slice(start, start + count) if neighbours else place
        )  # a slice copies nothing
        return picked

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def pixels(self) -> Tensor:
        """Float32 sRGB in [0, 1], (N, 3, H, W)."""
        return self._batch.pixels[self._place]

    def derive(self, fn: Callable[[Tensor], T]) -> T:
        """Return ``fn(pixels)``, computed once however many metrics ask.

        ``fn`` maps pixels (M, 3, H, W) to a tensor, or a tuple of tensors, of first dimension M,
        image by image. What counts as the same is the object ``fn``, so make it once: a lambda
        made at every call is a new one every time.
        """
        whole = self._batch.derive(fn)
        if isinstance(whole, Tensor):
            return whole[self._place]
        return tuple(part[self._place] for part in whole)

    def let_go(self, done: Collection[nn.Module]) -> None:
        """Forget what these networks derived for the whole batch.

        Features are many times larger than the images they are of.
        """
        self._batch.let_go(done)

    def mended(self) -> bool:
        """Return whether somebody changed the batch's pixels since they came, and change them back.

        The first call keeps a copy to compare with.
        """
        return self._batch.mended()

    def open_account(self) -> None:
        """Begin to count what another metric's derivations spare the one that is asked next."""
        self._batch.paid.clear()
        self._batch.seconds_saved = 0.0

    @property
    def seconds_saved(self) -> float:
        """Seconds that were not spent since ``open_account``: to report a metric's own speed."""
        return self._batch.seconds_saved


class _Batch:
    """The images of one batch, with what was derived from them and how long that took."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self.seconds_saved = 0.0
        self._as_they_came: Tensor | None = None
        self.paid: set[Callable[[Tensor], Any]] = set()
        self._derived: dict[Callable[[Tensor], Any], tuple[Any, float]] = {}

    def derive(self, fn: Callable[[Tensor], T]) -> T:
        if fn not in self._derived:
            start = _now(self.pixels.device)
            value = fn(self.pixels)
            self._derived[fn] = (value, _now(self.pixels.device) - start)
            self.paid.add(fn)
            return value
        known: T
        known, seconds = self._derived[fn]
        if fn not in self.paid:
            self.seconds_saved += seconds
            self.paid.add(fn)
        return known

    def let_go(self, done: Collection[nn.Module]) -> None:
        for fn in list(self._derived):
            if fn in done:
                del self._derived[fn]

    def mended(self) -> bool:
        if self._as_they_came is None:
            self._as_they_came = self.pixels.clone()
        if torch.equal(self.pixels, self._as_they_came):
            return False
        self.pixels.copy_(self._as_they_came)
        self._derived.clear()  # perhaps of changed pixels
        return True


def _now(device: torch.device) -> float:
    """Return the time in seconds, once the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

"""Images: pixels that remember what was computed from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T", Tensor, tuple[Tensor, ...])
_COMPARED = 64  # images at a time


class Images:
    """N images of one size.

    ``pixels`` are float32 sRGB in [0, 1], (N, 3, H, W). Images that belong to one batch share what
    is derived from them: ``ref.derive(net)`` computes ``net`` for the whole batch, and
    ``p0.derive(net)``, or another metric that asks for the same ``net``, gets its part of it.
    """

    def __init__(self, pixels: Tensor) -> None:
        self._batch = _Batch(pixels)
        self._place: slice | Tensor = slice(None)
        self._repeats = 1

    @classmethod
    def of_bytes(cls, stored: Tensor) -> Images:
        """Return images as a pack has them: uint8 sRGB (N, H, W, 3).

        ``restore_if_modified`` works on them.
        """
        # a tensor made in inference mode would not count who writes into it
        with torch.inference_mode(False):
            images = cls(_floats(stored))
        images._batch.set_stored(stored)
        return images

    def pick(self, place: Tensor) -> Images:
        """Return the images at ``place`` (a 1-d integer tensor) as a view of this batch.

        A ``place`` on the CPU spares a GPU from being asked what stands in it.
        """
        picked = object.__new__(Images)
        picked._batch, picked._repeats = self._batch, 1
        start, count = (int(place[0]), len(place)) if len(place) else (0, 0)
        neighbours = torch.equal(place, torch.arange(start, start + count, device=place.device))
        if neighbours:
            picked._place = slice(start, start + count)  # which copies nothing
        else:
            picked._place = place.to(self._batch.pixels.device)
        return picked

    def repeat(self, count: int) -> Images:
        """Return the one image of this batch ``count`` times. Nothing is copied."""
        repeated = object.__new__(Images)
        repeated._batch, repeated._place, repeated._repeats = self._batch, slice(0, 1), count
        return repeated

    def __len__(self) -> int:
        return len(self.pixels)

    def _of(self, whole: Tensor) -> Tensor:
        """Return these images' part of what was computed of the batch."""
        part = whole[self._place]
        return part if self._repeats == 1 else part.expand(self._repeats, *part.shape[1:])

    @property
    def pixels(self) -> Tensor:
        """Float32 sRGB in [0, 1], (N, 3, H, W)."""
        return self._of(self._batch.pixels)

    def derive(self, fn: Callable[[Tensor], T]) -> T:
        """Return ``fn(pixels)``, computed once however many metrics ask.

        ``fn`` maps pixels (M, 3, H, W) to a tensor, or a tuple of tensors, of first dimension M,
        image by image. What counts as the same is the object ``fn``, so make it once: a lambda
        made at every call is a new one every time.
        """
        whole = self._batch.derive(fn)
        if isinstance(whole, Tensor):
            return self._of(whole)
        return tuple(map(self._of, whole))

    def release(self, done: Collection[nn.Module]) -> None:
        """Forget what these networks derived for the whole batch.

        Features are many times larger than the images they are of.
        """
        self._batch.release(done)

    def release_requested(self) -> None:
        """Forget the features that somebody was given since ``start_timing``.

        They may have been written into, and nobody counts who writes into what was made in
        inference mode. Whole numbers stay: they name files that programs read.
        """
        self._batch.release({fn for fn in self._batch.paid if self._batch.has_features(fn)})

    def restore_if_modified(self, closely: bool) -> bool:
        """Return whether somebody wrote into the batch's pixels since it was asked, and mend them.

        Torch counts what it writes itself, which costs nothing to know. What is written past it,
        through ``.numpy()`` or a pointer, only a comparison finds: ``closely``.
        """
        return self._batch.restore_if_modified(closely)

    def start_timing(self) -> None:
        """Begin to count what another metric's derivations spare the one that is asked next."""
        self._batch.paid.clear()
        self._batch.spared.clear()

    @property
    def seconds_saved(self) -> float:
        """Seconds that were not spent since ``start_timing``: to report a metric's own speed."""
        return sum(took.seconds for took in self._batch.spared)


def portions(pixels: Tensor, n: int, size: int) -> Iterator[Images]:
    """Yield images, ``size`` at a time; a single one stands for ``n``, and is derived of once."""
    if len(pixels) == n:
        yield from map(Images, torch.split(pixels, size))
        return
    single = Images(pixels)
    for start in range(0, n, size):
        yield single.repeat(min(size, n - start))


class Portions:
    """The same portions for every size that is asked for.

    What is derived of a portion is kept as long as this object is: targets of a loss are images
    that many others are compared with.
    """

    def __init__(self, pixels: Tensor, n: int) -> None:
        self.pixels, self.n = pixels, n
        self._by_size: dict[int, list[Images]] = {}

    def of(self, size: int) -> list[Images]:
        """Return all ``n`` images, ``size`` at a time and fewer in the last portion."""
        if size not in self._by_size:
            self._by_size[size] = list(portions(self.pixels, self.n, size))
        return self._by_size[size]


class _Batch:
    """The images of one batch, with what was derived from them and how long that took."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self.stored: Tensor | None = None
        self._writes = 0
        self.derived: dict[Callable[[Tensor], Any], tuple[Any, _Timer]] = {}
        self.paid: set[Callable[[Tensor], Any]] = set()
        self.spared: list[_Timer] = []

    def set_stored(self, stored: Tensor) -> None:
        self.stored, self._writes = stored, self.pixels._version

    def derive(self, fn: Callable[[Tensor], T]) -> T:
        if fn not in self.derived:
            took = _Timer(self.pixels.device)
            value = fn(self.pixels)
            took.ends()
            self.derived[fn] = (value, took)
            self.paid.add(fn)
            return value
        known: T
        known, took = self.derived[fn]
        if fn not in self.paid:
            self.spared.append(took)
            self.paid.add(fn)
        return known

    def release(self, done: Collection[Callable[[Tensor], Any]]) -> None:
        for fn in list(self.derived):
            if fn in done:
                del self.derived[fn]

    def has_features(self, fn: Callable[[Tensor], Any]) -> bool:
        value, _ = self.derived.get(fn, ((), None))
        taps = value if isinstance(value, tuple) else (value,)
        return any(tap.is_floating_point() for tap in taps)

    def restore_if_modified(self, closely: bool) -> bool:
        assert self.stored is not None
        if self.pixels._version == self._writes and (not closely or self._is_as_stored()):
            return False
        self.pixels.copy_(self.stored.permute(0, 3, 1, 2)).div_(255)
        self._writes = self.pixels._version
        self.derived.clear()  # perhaps of changed pixels
        return True

    def _is_as_stored(self) -> bool:
        assert self.stored is not None
        some = (torch.split(tensor, _COMPARED) for tensor in (self.pixels, self.stored))
        return all(torch.equal(a, _floats(b)) for a, b in zip(*some, strict=True))


def _floats(stored: Tensor) -> Tensor:
    """Return uint8 (N, H, W, 3) as pixels (N, 3, H, W), float32 in [0, 1]."""
    return stored.permute(0, 3, 1, 2).to(torch.float32).div_(255)


class _Timer:
    """How long something takes from now on; on a GPU only who asks waits for it.

    A GPU does later what it is told, so it notes both times itself: to wait for it here would leave
    it idle.
    """

    def __init__(self, device: torch.device) -> None:
        self._events: tuple[torch.Event, torch.Event] | None = None
        self._seconds = -time.perf_counter()
        if device.type == "cuda":
            self._stream = torch.cuda.current_stream(device)
            begin, end = (torch.Event(device, enable_timing=True) for _ in range(2))
            self._events = begin, end
            begin.record(self._stream)

    def ends(self) -> None:
        self._seconds += time.perf_counter()
        if self._events is not None:
            self._events[1].record(self._stream)

    @property
    def seconds(self) -> float:
        if self._events is None:
            return self._seconds
        self._events[1].synchronize()
        return float(self._events[0].elapsed_time(self._events[1])) / 1000

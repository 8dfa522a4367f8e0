"""Images on their way to the device: the next batch is read while the current one is computed.

One thread reads, since HDF5 lets in one at a time, and it is at most one batch ahead. What goes
wrong there is raised where that batch is asked for.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from pmbench.datasets.pack import Pack
from pmbench.evaluation.batching import Batch


class Prefetcher:
    """The images of batches, on the device. To be closed, which waits for the thread."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        self._pack, self._device = pack, device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._reader = ThreadPoolExecutor(1, "images")
        self._ahead: tuple[Batch, Future[_Sent]] | None = None

    def images(self, batch: Batch, following: Batch | None) -> Tensor:
        """Return the images of a batch: uint8 (N, H, W, 3); begin to read the ``following`` one."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] is batch:
            reading = ahead[1]
        else:
            reading = self._reader.submit(self._read, batch)
        images = reading.result().received()
        if following is not None:
            self._ahead = following, self._reader.submit(self._read, following)
        return images

    def _read(self, batch: Batch) -> _Sent:
        stored = torch.from_numpy(self._pack.images(batch.size, batch.images))
        return _send(stored, self._device, self._stream)

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *exc: object) -> None:
        self._ahead = None
        self._reader.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Sent:
    """A tensor that is on the device, or will be there once ``arrival`` is past."""

    tensor: Tensor
    arrival: torch.cuda.Event | None = None

    def received(self) -> Tensor:
        """Return the tensor; what is computed with it waits for it, and nobody else does."""
        if self.arrival is not None:
            now = torch.cuda.current_stream(self.tensor.device)
            now.wait_event(self.arrival)
            self.tensor.record_stream(now)  # made on another stream, which must not reuse it yet
        return self.tensor


def _send(tensor: Tensor, device: torch.device, stream: torch.cuda.Stream | None) -> _Sent:
    """Send a tensor on its way to a device; to a GPU on a stream beside what it computes."""
    if stream is None:
        return _Sent(tensor.to(device))
    with torch.cuda.stream(stream):
        return _Sent(tensor.pin_memory().to(device, non_blocking=True), stream.record_event())

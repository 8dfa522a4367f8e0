"""Metrics × pack -> distances: the only loop over data.

``measure`` is the loop. Around it: loading metrics so that one that cannot be loaded does not stop
the others, moving batches to the device, and checking what comes back.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pmbench import weights
from pmbench.batches import Batch
from pmbench.errors import PmbenchError
from pmbench.files import sha256_of
from pmbench.images import Images
from pmbench.metrics import Distance, Metric
from pmbench.pack import Pack
from pmbench.protocols import Protocol
from pmbench.reporting import Reporter


@dataclass(frozen=True)
class Loaded:
    """A metric that is ready to be called, and the digest of everything that defines it."""

    metric: Metric
    distance: Distance
    digest: str
    source: str = ""  # digest of the file that holds the formula

    @property
    def signature(self) -> str:
        """The metric's part of a signature."""
        return f"{self.metric.name}#{self.digest[:8]}"


class Sink(Interface):
    """Where distances go, batch by batch."""

    def waiting(self, number: int) -> list[Loaded]:
        """Return the metrics that batch ``number`` has still to be measured with."""

    def put(self, number: int, results: dict[str, Result | PmbenchError]) -> None:
        """Take the results of one batch, by metric name."""


@dataclass(frozen=True)
class Result:
    """One metric on one batch: distances (items, pairs), and the seconds it would take alone."""

    distances: NDArray[np.float64]
    seconds: float


def measure(
    pack: Pack, protocol: Protocol, batches: Iterable[Batch], device: torch.device, sink: Sink
) -> None:
    """Measure every batch with every metric that waits for it, and hand the results on."""
    with torch.inference_mode():
        for number, batch in enumerate(batches):
            metrics = sink.waiting(number)
            if metrics:
                images = on_device(pack, protocol, batch, device)
                results = {
                    m.metric.name: _attempt(m, images, protocol, pack, batch) for m in metrics
                }
                sink.put(number, results)


def on_device(
    pack: Pack, protocol: Protocol, batch: Batch, device: torch.device
) -> dict[str, Images]:
    """Return the images of a batch by role; they share one ``Images``, each image once."""
    stored = torch.from_numpy(pack.images(batch.size, batch.images)).to(device)
    everything = Images(stored.permute(0, 3, 1, 2).to(torch.float32) / 255)
    places = torch.from_numpy(batch.place).to(device)
    return {role: everything.pick(places[:, i]) for i, role in enumerate(protocol.roles)}


def _attempt(
    loaded: Loaded, images: dict[str, Images], protocol: Protocol, pack: Pack, batch: Batch
) -> Result | PmbenchError:
    """Return one metric's distances, or what is wrong with them: it must not stop the others."""
    metric = loaded.metric
    if metric.undefined_on(*pack.sizes[batch.size]):
        return Result(np.full((len(batch.items), len(protocol.pairs)), np.nan), 0.0)
    anyone = images[protocol.roles[0]]
    anyone.open_account()
    start = time.perf_counter()
    columns = []
    for a, b in protocol.pairs:
        try:
            value = loaded.distance(images[a], images[b])
        except Exception as error:  # noqa: BLE001  a metric is foreign code and fails alone
            return PmbenchError(
                f"{metric.name} failed on the batch of item {pack.items.id[batch.items[0]]}: "
                f"{type(error).__name__}: {error}"
            )
        if (wrong := _wrong(value, len(batch.items))) is not None:
            return PmbenchError(f"{metric.name}: {wrong}")
        column = value.detach().cpu().double().numpy()
        if len(bad := np.flatnonzero(~np.isfinite(column))):
            item = pack.items.id[batch.items[bad[0]]]
            return PmbenchError(
                f"{metric.name}: the distance of {a} and {b} of item {item} is {column[bad[0]]}; "
                "expected a finite number; mend the metric, or say in its `min_size` where it is "
                "not defined"
            )
        columns.append(-column if metric.higher_is_better else column)
    alone = time.perf_counter() - start + anyone.seconds_saved
    return Result(np.stack(columns, axis=1), alone)


def _wrong(value: object, n: int) -> str | None:
    """Return what is wrong with a metric's output, or None."""
    if not isinstance(value, Tensor):
        return f"expected a tensor of shape ({n},), got {type(value).__name__}"
    if value.shape != (n,) or not value.is_floating_point():
        return (
            f"expected floating-point numbers of shape ({n},), one a pair, "
            f"got {value.dtype} of shape {tuple(value.shape)}"
        )
    return None


def load_metrics(
    metrics: list[Metric], device: torch.device, reporter: Reporter
) -> tuple[list[Loaded], dict[str, str]]:
    """Return the metrics that could be loaded, and for the others why not, by name."""
    loaded, failures = [], {}
    for metric in metrics:
        try:
            weights.ensure(metric.weights, reporter)
            distance = metric.load(device)
        except PmbenchError as error:
            failures[metric.name] = str(error)
        except Exception as error:  # noqa: BLE001  a metric is foreign code and fails alone
            failures[metric.name] = f"cannot be loaded: {type(error).__name__}: {error}"
        else:
            loaded.append(
                Loaded(metric, distance, digest_of(metric, distance), source_of(distance))
            )
    return loaded, failures


def digest_of(metric: Metric, distance: Distance) -> str:
    """Return a digest of a metric's name, version, parameters and tensors."""
    tensors = distance.state_dict() if isinstance(distance, nn.Module) else {}
    facts = f"{metric.name}\0{metric.version}\0{sorted(metric.parameters.items())}\0"
    return weights.digest({facts: torch.zeros(0), **tensors})


def source_of(distance: Distance) -> str:
    """Return a digest of the source file that holds a distance, "" where there is none.

    It is no part of the signature, since a comment does not change a number; but a run made by
    another source is not taken for a run of this one.
    """
    try:
        file = inspect.getsourcefile(distance if inspect.isroutine(distance) else type(distance))
    except (TypeError, OSError):
        return ""
    return sha256_of(Path(file)) if file and Path(file).exists() else ""


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is a GPU where there is one.

    Raises PmbenchError for a device that torch does not know or this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    kind = name.partition(":")[0]
    if kind not in there:
        raise PmbenchError(f"unknown device '{name}'; expected auto, cpu, cuda, cuda:N or mps")
    if not there[kind]:
        raise PmbenchError(f"torch finds no {kind} on this machine; use --device cpu")
    try:
        torch.zeros(1, device=name)
    except RuntimeError as error:
        raise PmbenchError(f"the device '{name}' cannot be used: {error}") from error
    return torch.device(name)


def be_exact() -> None:
    """Compute in float32 throughout, the same way every time."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True

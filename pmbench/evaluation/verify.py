"""Our metrics beside other people's implementations: do the numbers agree?

The authors' golden numbers are compared on the BAPPS triplets they were made of, which are the
user's; installed packages on images of the built-in ladder.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pmbench.datasets import manifest
from pmbench.datasets.archive import files
from pmbench.datasets.download import pack_for
from pmbench.datasets.image_file import decode
from pmbench.datasets.image_pack import Size, pack_of
from pmbench.datasets.layouts import layout_for
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import Pixels, resize_for
from pmbench.evaluation import reference_implementations
from pmbench.evaluation.pair_distances import Distances, measure_items
from pmbench.evaluation.reference_values import (
    GOLDEN,
    PACKAGES,
    Array,
    Package,
    Tolerance,
    golden_numbers,
)
from pmbench.metrics import Metric
from pmbench.metrics.loading import LoadedMetric, load_metrics
from pmbench.networks import weights
from pmbench.scoring.protocols import TWO_AFC
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Reporter

Verdict = Literal["agrees", "differs", "failed", "not run"]
_BAPPS, _LADDER = "bapps-2afc-val", "ladder-2afc"
_EVERY = 17  # of the ladder's items: from each kind of distortion, and between all its rungs
AUTHORS = "authors"  # the referee whose numbers are on file


@dataclass(frozen=True)
class Comparison:
    """One metric beside one referee: how many distances, and the largest relative difference."""

    metric: str
    referee: str  # "authors" or a package
    version: str  # of the package, or the key of the golden numbers
    tolerance: Tolerance
    verdict: Verdict
    n: int = 0
    largest: float = float("nan")
    reason: str = ""  # of "failed" and "not run"
    signature: str = ""  # of the metric, where it could be loaded


def has_referee(metric: Metric) -> bool:
    """Return whether anybody else's numbers are known for a metric."""
    names = {golden.metric for golden in GOLDEN.values()} | {peer.metric for peer in PACKAGES}
    return metric.name in names


def verify(
    metrics: list[Metric], triplets: Path | None, device: torch.device, reporter: Reporter
) -> Iterator[Comparison]:
    """Compare metrics with all that is known about each, and yield what came of it.

    ``triplets`` is a folder or tar archive in the official layout of BAPPS; None: the pack of
    `pmbench download`. Raises PmbenchError where ``triplets`` holds none of them.
    """
    given = None if triplets is None else read_triplets(triplets)
    judged = [metric for metric in metrics if has_referee(metric)]
    loaded, failures = load_metrics(judged, device, reporter)
    signatures = {one.metric.name: one.signature for one in loaded}
    for result in chain(
        _beside_authors(judged, loaded, failures, given, device, reporter),
        _beside_packages(judged, loaded, failures, device, reporter),
    ):
        yield replace(result, signature=signatures.get(result.metric, ""))


# --- the authors' numbers -------------------------------------------------------------------------


def _beside_authors(
    judged: list[Metric],
    loaded: list[LoadedMetric],
    failures: dict[str, str],
    given: Pack | None,
    device: torch.device,
    reporter: Reporter,
) -> Iterator[Comparison]:
    names = {metric.name for metric in judged}
    entries = {key: entry for key, entry in GOLDEN.items() if entry.metric in names}
    ready = [one for one in loaded if one.metric.name in {e.metric for e in entries.values()}]
    pack, lacking = given, ""
    if pack is None and entries:
        pack, lacking = _downloaded(reporter)
    known = golden_numbers()
    results: dict[str, Distances] = {}
    which: NDArray[np.int64] = np.zeros(0, np.int64)
    if pack is not None and entries:
        number = {str(item): i for i, item in enumerate(pack.items.id)}
        which = np.array([i for i, item in enumerate(known.triplets) if item in number])
        items = np.array([number[known.triplets[i]] for i in which])
        results = measure_items(pack, TWO_AFC, items, ready, device, reporter)
    for key, entry in entries.items():
        idle = Comparison(entry.metric, AUTHORS, key, entry.tolerance, "not run")
        if why := failures.get(entry.metric) or lacking:
            yield replace(idle, reason=why)
        else:
            distances = results[entry.metric]
            yield _judged(
                idle, distances, entry.expected(distances.values), known.values[key][which]
            )


def _downloaded(reporter: Reporter) -> tuple[Pack | None, str]:
    """Return the pack that holds the triplets, or why there is none."""
    entry = manifest.datasets()[_BAPPS]
    way = f"get them with `pmbench download {_BAPPS}`, or name a copy with --triplets"
    try:
        pack = pack_for(entry, resize_for(entry, None), reporter)
    except PmbenchError as error:
        return None, str(error)
    if pack is None:
        return None, f"needs the BAPPS validation triplets; {way}"
    if not set(golden_numbers().triplets) & set(pack.items.id):
        return None, f"{pack.path} holds none of the triplets that the numbers are of; {way}"
    return pack, ""


@dataclass(frozen=True, eq=False)
class _Held:
    """An image in memory."""

    pixels: Pixels

    @property
    def size(self) -> Size:
        height, width, _ = self.pixels.shape
        return width, height

    def read(self) -> Pixels:
        return self.pixels


def read_triplets(source: Path) -> Pack:
    """Return the triplets of the golden numbers from a folder or archive in BAPPS' layout.

    Raises PmbenchError where there is none of them.
    """
    if not source.exists():
        raise PmbenchError(f"--triplets: {source} does not exist; expected a folder or an archive")
    entry = manifest.datasets()[_BAPPS]
    resize = resize_for(entry, None)
    wanted = set(golden_numbers().triplets)
    layout = layout_for(entry, source, TWO_AFC)
    images: dict[str, _Held] = {}
    for file in files(source):
        name = layout.take(file.path, file.read)
        if name is not None and f"{file.path.parts[-3]}/{file.path.stem}" in wanted:
            images[name] = _Held(decode(file.read(), resize, name, entry.raw_pixels))
    rows = [row for row in layout.rows() if row.item in wanted]
    if not rows:
        raise PmbenchError(
            f"--triplets: {source} holds none of the {len(wanted)} triplets that the authors' "
            "numbers are of; expected the layout of BAPPS, such as val/cnn/ref/000563.png"
        )
    of_rows = [[images[name] for name in row.images] for row in rows]
    return pack_of([row.item for row in rows], of_rows, TWO_AFC.roles)


# --- packages -------------------------------------------------------------------------------------


def _beside_packages(
    judged: list[Metric],
    loaded: list[LoadedMetric],
    failures: dict[str, str],
    device: torch.device,
    reporter: Reporter,
) -> Iterator[Comparison]:
    names = {metric.name for metric in judged}
    entries = [entry for entry in PACKAGES if entry.metric in names]
    if not entries:
        return
    ladder = manifest.datasets()[_LADDER]
    pack = pack_for(ladder, resize_for(ladder, None), reporter)
    assert pack is not None  # it comes with pmbench
    items = np.arange(0, len(pack), _EVERY)
    ready = [one for one in loaded if one.metric.name in {e.metric for e in entries}]
    result = measure_items(pack, TWO_AFC, items, ready, device, reporter)
    with reporter.task("referees", len(entries), "packages") as task:
        for entry in entries:
            task.describe(f"{entry.package}: {entry.metric}")
            idle = Comparison(entry.metric, entry.package, "", entry.tolerance, "not run")
            try:
                idle = replace(idle, version=version(entry.package))
                if entry.metric in failures:
                    raise PmbenchError(failures[entry.metric])
                expected = _asked(entry, pack, items, reporter)
            except PackageNotFoundError:
                yield replace(idle, reason=f"the package {entry.package} is not installed")
            except PmbenchError as error:
                yield replace(idle, reason=str(error))
            else:
                distances = result[entry.metric]
                yield _judged(idle, distances, distances.values, expected)
            task.advance()


def _asked(entry: Package, pack: Pack, items: NDArray[np.int64], reporter: Reporter) -> Array:
    """Return what a package says: (items, 2). Raises PmbenchError where it says nothing."""
    weights.ensure(entry.weights, reporter)
    ref, p0, p1 = (_doubles(pack, pack.rows[items, role]) for role in range(3))
    try:
        # what a package prints, warns of and draws is its own affair
        with (
            warnings.catch_warnings(),
            redirect_stdout(sys.stderr),
            torch.random.fork_rng(devices=[]),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")
            make = getattr(reference_implementations, entry.function)
            peer: reference_implementations.Peer = make(*entry.arguments)
            both = torch.stack([peer(ref, p0), peer(ref, p1)], dim=1)
    except PmbenchError:
        raise
    except Exception as error:
        raise PmbenchError(
            f"the package {entry.package} failed: {type(error).__name__}: {error}"
        ) from error
    return both.double().numpy()


def _doubles(pack: Pack, rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(pack.images(0, rows)).permute(0, 3, 1, 2).double() / 255


def _judged(idle: Comparison, distances: Distances, values: Array, expected: Array) -> Comparison:
    """Return the verdict on distances (items, pairs); ``values`` are ours on their scale."""
    if distances.failed:
        return replace(idle, verdict="failed", reason=next(iter(distances.failed.values())))
    if distances.undefined:
        return replace(idle, reason=next(iter(distances.undefined.values())))
    differences = np.abs(values / expected - 1).ravel()
    agree = idle.tolerance.holds(differences)
    return replace(
        idle,
        verdict="agrees" if agree else "differs",
        n=len(differences),
        largest=float(differences.max()),
    )

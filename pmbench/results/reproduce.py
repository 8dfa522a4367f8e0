"""A run -> the command lines that repeat it, on this machine or on another.

They are made of what stands in ``run.json``, not of the command that was typed: that one may have
measured more, and relied on what was on that machine. Words are quoted as a POSIX shell reads them.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pmbench.datasets import manifest
from pmbench.datasets.manifest import Manifest
from pmbench.results.run import DEFAULT_PRECISION, Run
from pmbench.results.signature import precision
from pmbench.scoring.bootstrap import DEFAULT_RESAMPLING
from pmbench.utils.errors import PmbenchError

FOLDER = "repeated"  # where the commands put their results, so that nothing old is kept


@dataclass(frozen=True)
class Recipe:
    """How to repeat a run: what must be there first, the command lines, and what must come out."""

    needs: list[str]
    download: str  # the command that gets the dataset, "" where there is none
    command: str
    check: str  # the command that shows what came out
    signature: str
    distances: str  # digest
    slack: str  # when the distances may differ, and by how much


def recipe(run: Run) -> Recipe:
    """Return how to repeat a run. Raises PmbenchError where its distances cannot be read."""
    download = _download(run)
    show = ["show", f"{run.dataset}/{run.metric}", "--results", FOLDER]
    return Recipe(
        needs=_needs(run),
        download=_line(download) if download else "",
        command=_line(_import(run) if run.imported else _eval(run)),
        check=_line(show),
        signature=run.signature,
        distances=digest_of_distances(run),
        slack=_slack(run),
    )


def _line(words: list[str]) -> str:
    return shlex.join(["pmbench", *words])


def digest_of_distances(run: Run) -> str:
    """Return the SHA-256 of a run's distances, to the last bit."""
    _, distances = run.distances()
    return hashlib.sha256(distances.astype("<f8").tobytes()).hexdigest()


def _slack(run: Run) -> str:
    if run.imported:
        return "those of the file"
    environment, tolerance = run.info.environment, run.info.metric.tolerance
    by = "" if tolerance is None else f" by up to {tolerance:g} (relative)"
    torch, device, threads = (
        "unknown" if value is None else value
        for value in (environment.torch, environment.device, environment.threads)
    )
    return (
        f"to the last bit with torch {torch} on the same device ({device}) with "
        f"OMP_NUM_THREADS={threads}; elsewhere they may differ{by}"
    )


# --- what must be there first ---------------------------------------------------------------------


def _needs(run: Run) -> list[str]:
    metric, dataset = run.info.metric, run.info.dataset
    needs = [f"pmbench {run.info.pmbench}"]
    if metric.package:
        needs.append(f"the package {metric.package}")
    if metric.address:
        needs.append(_behind(metric.address))
    if run.imported:
        source = run.info.environment
        needs.append(f"the file {source.imported}, sha256 {source.sha256}")
    for name, file in metric.weights.items():
        needs.append(f"the weights {name} ({file}), fetched or in a folder given with --weights")
    if metric.address is None and not run.imported:  # recorded by an earlier version
        needs.append(f"{run.metric} under this name: if it is your own, NAME=ADDRESS gives it one")
    if (own := _own_manifest(run)) is not None:
        needs.append(f"the manifest {own} and the files it names (pack {dataset.pack_digest})")
    if "--from" in _download(run):
        digest = f", sha256 {dataset.source_sha256}" if dataset.source_sha256 else ""
        needs.append(f"{Path(dataset.source).name} in this folder{digest}")
    return needs


def _behind(address: str) -> str:
    """Return what must be there for an address to mean the same."""
    if re.match(r"([^=/:?]+=)?(net|pyiqa|torchmetrics)[?:]", address):
        return f"the library of {address}"
    return f"what {address} names, unchanged, and from this folder"


def _own_manifest(run: Run) -> Path | None:
    """Return the manifest of a dataset that does not come with pmbench."""
    place = run.info.dataset.manifest
    return Path(place) if place else None


def _manifest(run: Run) -> Manifest | None:
    """Return the manifest of the run's dataset, as it is now; None where it is not at hand."""
    if (own := _own_manifest(run)) is None:
        return manifest.datasets().get(run.info.dataset.name)
    with suppress(PmbenchError):  # gone, or broken since
        return manifest.load(own)
    return None


# --- the words of the commands --------------------------------------------------------------------


def _download(run: Run) -> list[str]:
    """Return the command that gets the dataset as it was, or nothing where there is none."""
    dataset = run.info.dataset
    entry = _manifest(run)
    if entry is None or entry.source is None or entry.source.url is None:
        return []
    file, digest = Path(dataset.source).name, dataset.source_sha256
    partial = dataset.pack_partial
    if partial is None:  # a run of an earlier version
        partial = dataset.partial and _limit(run) is None
    words = ["download", entry.name]
    known = entry.source.sha256 in (None, digest)
    if file != Path(entry.source.url).name or not (digest and known):
        words += ["--from", file]
        if digest and not known and not partial:
            words += ["--sha256", digest]
    return [*words, *["--partial"] * bool(partial), *_resize(run), *_manifests(run)]


def _eval(run: Run) -> list[str]:
    metric, limit = run.info.metric, _limit(run)
    batch = None if run.info.batches is None else run.info.batches.items
    words = ["eval", "--metric", metric.address or run.metric, *_dataset(run)]
    if limit is not None:
        words += ["--limit", limit]
    if batch is not None:
        words += ["--batch-size", str(batch)]
    words += ["--precision", precision(run)] * (precision(run) != DEFAULT_PRECISION)
    if (bootstrap := run.info.bootstrap) is not None:
        words += ["--resamples", str(bootstrap.resamples)] * (
            bootstrap.resamples != DEFAULT_RESAMPLING.count
        )
        words += ["--seed", str(bootstrap.seed)] * (bootstrap.seed != DEFAULT_RESAMPLING.seed)
    return [*words, *_device(run), "--results", FOLDER]


def _import(run: Run) -> list[str]:
    words = ["import", str(run.info.environment.imported), "--name", run.metric]
    higher = ["--higher-is-better"] * run.info.metric.higher_is_better
    return [*words, *higher, *_dataset(run), "--results", FOLDER]


def _dataset(run: Run) -> list[str]:
    return ["--dataset", run.info.dataset.name, *_resize(run), *_manifests(run)]


def _resize(run: Run) -> list[str]:
    mode = re.match("legacy|exact", run.info.dataset.resize)
    return ["--resize", mode[0]] if mode else []


def _manifests(run: Run) -> list[str]:
    own = _own_manifest(run)
    return [] if own is None else ["--manifests", str(own.parent)]


def _limit(run: Run) -> str | None:
    """Return how many items of each sub-dataset were measured, or None for every one."""
    first = re.fullmatch(r"first(\d+)", run.info.dataset.selection)
    return first[1] if first else None


def _device(run: Run) -> list[str]:
    """Return the option for such a device; of a GPU only its name is known, of others nothing."""
    if (device := run.info.environment.device) is None:
        return []
    kind = device.partition(",")[0]
    return ["--device", kind if kind in ("cpu", "mps") else "cuda"]

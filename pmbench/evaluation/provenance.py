"""Where a run's numbers come from: its record, for measured and for imported runs alike."""

from __future__ import annotations

import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import PIL
import torch

from pmbench import __version__
from pmbench.datasets.pack import Pack
from pmbench.evaluation.config import EvalConfig
from pmbench.metrics import Metric
from pmbench.metrics.loading import LoadedMetric, model_size, package_version
from pmbench.networks import weights
from pmbench.results.schema import (
    FORMAT,
    Batches,
    DatasetInfo,
    Environment,
    MetricInfo,
    Rate,
    RunInfo,
)
from pmbench.scoring.clusters import assumption
from pmbench.utils.files import sha256_of
from pmbench.utils.system import cores
from pmbench.utils.text import printable


class Measurement(TypedDict):
    """The fields of a run's record that say how measuring went."""

    started: str
    finished: str
    seconds: float | None
    items_per_second: float | None
    rate: Rate
    peak_memory_mb: float | None
    batches: Batches | None
    measured_together: tuple[str, ...]


def run_info(
    config: EvalConfig,
    metric_signature: str,
    metric: MetricInfo,
    environment: Environment,
    **measurement: Unpack[Measurement],
) -> RunInfo:
    """Return the record of a run, measured or imported.

    ``metric_signature`` is the metric's part of the signature: name#digest.
    """
    return RunInfo(
        format=FORMAT,
        pmbench=__version__,
        signature=config.signature(metric_signature),
        dataset=dataset_info(config),
        metric=metric,
        environment=environment,
        command=printable(shlex.join(["pmbench", *sys.argv[1:]])),
        **measurement,
    )


def now() -> str:
    """Return the time, UTC, as it stands in a run's record."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def dataset_info(config: EvalConfig) -> DatasetInfo:
    """Return what is measured: which items, of which files, in which form."""
    manifest, pack, n = config.manifest, config.pack, len(config.chosen)
    return DatasetInfo(
        name=manifest.name,
        title=manifest.title,
        protocol=manifest.protocol,
        human_votes=manifest.human_votes,
        resize=str(pack.attributes["resize"]),
        selection=config.subset.label or "every item",
        items=n,
        of=len(pack) if pack.expected is None else pack.expected,
        partial=pack.partial or n < len(pack),
        pack_partial=pack.partial,
        source=str(pack.attributes["source"]),
        source_sha256=str(pack.attributes["sha256"]),
        pack_digest=pack.digest,
        sub_datasets=pack.items.sub_names,
        short_names=dict(manifest.short_names),
        manifest="" if manifest.comes_with_pmbench else printable(str(manifest.file)),
        citation=manifest.citation,
        clusters=assumption(
            pack.items.take(config.chosen), config.protocol.unit, pack.has_clusters
        ),
    )


def metric_info(loaded: LoadedMetric, pack: Pack) -> MetricInfo:
    """Return what a pack is measured with."""
    metric, held = loaded.metric, model_size(loaded.distance)
    return MetricInfo(
        name=metric.name,
        title=metric.title,
        family=metric.family,
        paper=metric.paper,
        code=metric.code,
        licence=metric.licence,
        higher_is_better=metric.higher_is_better,
        symmetric=metric.symmetric,
        version=metric.version,
        parameters=dict(metric.parameters),
        digest=loaded.digest,
        source=loaded.source,
        source_files=dict(loaded.source_files),
        weights={name: _file_digest(name) for name in metric.weights},
        parameters_count=None if held is None else held.numbers,
        weights_mb=None if held is None else round(held.bytes / 1e6, 3),
        tolerance=metric.tolerance,
        address=printable(metric.address),
        package=metric.package or package_version(metric),
        undefined_on=refused_sizes(metric, pack),
    )


def imported_metric_info(name: str, file: Path, higher_is_better: bool, digest: str) -> MetricInfo:
    """Return what is known of a metric whose distances came in a file."""
    return MetricInfo(
        name=name,
        title=f"imported from {printable(file.name)}",
        family="imported",
        paper="",
        code="",
        licence="",
        higher_is_better=higher_is_better,
        symmetric=False,
        version=1,
        parameters={},
        digest=digest,
        source="",
        source_files={},
        weights={},
        parameters_count=None,
        weights_mb=None,
        tolerance=Metric.tolerance,
        address="",
        package="",
        undefined_on={},
    )


def refused_sizes(metric: Metric, pack: Pack) -> dict[str, str]:
    """Return why the metric is not defined on some of the pack's sizes, by "WxH"."""
    reasons = {f"{w}×{h}": metric.undefined_on(h, w) for h, w in pack.sizes}
    return {size: why for size, why in reasons.items() if why is not None}


@lru_cache
def _file_digest(name: str) -> str:
    path = weights.find(name)
    return f"{path.name} sha256:{sha256_of(path)}" if path else ""


def environment(device: torch.device) -> Environment:
    """Return what may make another machine's distances differ in their last digits."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return Environment(
        python=platform.python_version(),
        torch=str(torch.__version__),
        torchvision=version("torchvision"),
        numpy=np.__version__,
        pillow=PIL.__version__,
        platform=platform.platform(),
        processor=processor(),
        device=gpu or f"{device.type}, {cores()} cores, {platform.machine()}",
        threads=torch.get_num_threads(),
    )


def imported_environment(file: Path) -> Environment:
    """Return where distances are from that were computed elsewhere."""
    return Environment(device="imported", imported=printable(file.name), sha256=sha256_of(file))


def processor() -> str:
    """Return the model of the CPU, as far as the system names it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Let a GPU's peak of memory begin anew; that of a process cannot."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the largest memory so far, in MB (10⁶ bytes).

    On a GPU it is what torch has allocated there since ``reset_peak_memory``; else the whole
    process's, with torch itself, all metrics and what was done before. None where the system does
    not tell (Windows).
    """
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    if (message := re.search(r"^VmHWM:\s+(\d+) kB", _status(), re.MULTILINE)) is not None:
        return round(int(message[1]) * 1024 / 1e6, 1)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _status() -> str:
    """Return what Linux tells of this process, "" elsewhere.

    The peak that ``getrusage`` gives is at least that of the process it was started by.
    """
    path = Path("/proc/self/status")
    return path.read_text(encoding="utf-8") if path.exists() else ""

"""Where a number comes from: what stands in ``run.json`` beside the signature."""

from __future__ import annotations

import platform
import re
import sys
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from pmbench.datasets.manifest import Manifest
from pmbench.datasets.pack import Pack
from pmbench.metrics import Metric
from pmbench.metrics.loading import Loaded, held_by, package_of
from pmbench.networks import weights
from pmbench.results.run import Selection
from pmbench.utils.files import sha256_of
from pmbench.utils.system import cores


def of_dataset(manifest: Manifest, pack: Pack, selection: Selection, items: int) -> dict[str, Any]:
    """Return what was measured: which items, of which files, in which form."""
    return {
        "name": manifest.name,
        "title": manifest.title,
        "protocol": manifest.protocol,
        "human_votes": manifest.human_votes,
        "resize": pack.attributes["resize"],
        "selection": selection.label or "every item",
        "items": items,
        "of": len(pack) if pack.expected is None else pack.expected,
        "partial": pack.partial or items < len(pack),
        "pack_partial": pack.partial,
        "source": pack.attributes["source"],
        "source_sha256": pack.attributes["sha256"],
        "pack_digest": pack.digest,
        "sub_datasets": list(pack.items.sub_names),
        "short_names": dict(manifest.short_names),
        "manifest": "" if manifest.comes_with_pmbench else str(manifest.file),
        "citation": manifest.citation,
    }


def of_metric(loaded: Loaded, pack: Pack) -> dict[str, Any]:
    """Return what it was measured with.

    ``parameters_count`` (numbers in its networks and filters) and ``weights_mb`` (10⁶ bytes in
    memory) are None where nobody can tell; ``address`` is what it was asked for by where that is
    no registered name.
    """
    metric, held = loaded.metric, held_by(loaded.distance)
    return {
        "name": metric.name,
        "title": metric.title,
        "family": metric.family,
        "paper": metric.paper,
        "code": metric.code,
        "licence": metric.licence,
        "higher_is_better": metric.higher_is_better,
        "symmetric": metric.symmetric,
        "version": metric.version,
        "parameters": dict(metric.parameters),
        "digest": loaded.digest,
        "source": loaded.source,
        "weights": {name: _file_digest(name) for name in metric.weights},
        "parameters_count": None if held is None else held.numbers,
        "weights_mb": None if held is None else round(held.bytes / 1e6, 3),
        "tolerance": metric.tolerance,
        "address": metric.address,
        "package": metric.package or package_of(metric),
        "undefined_on": refused_sizes(metric, pack),
    }


def refused_sizes(metric: Metric, pack: Pack) -> dict[str, str]:
    """Return why the metric is not defined on some of the pack's sizes, by "WxH"."""
    reasons = {f"{w}×{h}": metric.undefined_on(h, w) for h, w in pack.sizes}
    return {size: why for size, why in reasons.items() if why is not None}


@lru_cache
def _file_digest(name: str) -> str:
    path = weights.find(name)
    return f"{path.name} sha256:{sha256_of(path)}" if path else ""


def environment(device: torch.device) -> dict[str, Any]:
    """Return what may make another machine's distances differ in their last digits."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
        "processor": processor(),
        "device": gpu or f"{device.type}, {cores()} cores, {platform.machine()}",
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """Return the model of the CPU, as far as the system names it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def forget_peak(device: torch.device) -> None:
    """Let a GPU's peak of memory begin anew; that of a process cannot."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the largest memory so far, in MB (10⁶ bytes).

    On a GPU it is what torch has allocated there since ``forget_peak``; else the whole process's,
    with torch itself, all metrics and what was done before. None where the system does not tell
    (Windows).
    """
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    if (told := re.search(r"^VmHWM:\s+(\d+) kB", _status(), re.MULTILINE)) is not None:
        return round(int(told[1]) * 1024 / 1e6, 1)
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

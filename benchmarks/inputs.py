"""What is measured: triplets in BAPPS' layout made from the built-in patches, and a pack of them.

They are made once, below the folder of ``Setting``, and found there by the next run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.processes import Ended, ended
from pmbench.datasets.download import pack_for
from pmbench.datasets.manifest import datasets, load
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import resize_for
from pmbench.evaluation.batching import BatchLimits, plan
from pmbench.evaluation.loop import measure
from pmbench.metrics import Metric, registered
from pmbench.metrics.loading import LoadedMetric, load_metrics
from pmbench.scoring.protocols import TWO_AFC
from pmbench.utils.progress import Silent

ROLES = ("ref", "p0", "p1")
CPU = torch.device("cpu")
MANIFEST = """\
name = "made"
title = "Made"
protocol = "2afc"
source = { path = "." }
votes_per_item = 5
[folders]
root = "val"
votes = "judge"
roles = { ref = "ref", p0 = "p0", p1 = "p1" }
[enlarged]
factor = 4
patch = 64
"""


@dataclass(frozen=True)
class Setting:
    """What all rows share: where the inputs are, how many there are, how often to measure."""

    folder: Path
    triplets: int = 2000
    turns: int = 5
    part: float = 1.0  # of the triplets that a row takes, where less will do

    @property
    def trained(self) -> bool:
        """Whether networks have their trained weights; else random ones, which are as fast."""
        return bool(os.environ.get("PMBENCH_WEIGHTS"))

    def count(self, usual: int) -> int:
        """Return how many triplets a row takes that would take so many."""
        return min(self.triplets, max(3, round(usual * self.part)))

    def named(self, trained: str, random: str) -> str:
        """Return the name of a metric with trained weights, or of its like without."""
        return trained if self.trained else random

    @cached_property
    def root(self) -> Path:
        """The folder with the triplets (``val/made/<role>/*.png``) and their manifest."""
        root = self.folder / f"triplets-{self.triplets}"
        if not root.exists():
            draft = self.folder / f"triplets-{self.triplets}.tmp"
            shutil.rmtree(draft, ignore_errors=True)
            make_triplets(draft, self.triplets)
            (draft / "made.toml").write_text(MANIFEST)
            draft.rename(root)
        return root

    @cached_property
    def pack(self) -> Pack:
        """The pack of the triplets, their images 64×64 as the papers made them."""
        manifest = load(self.root / "made.toml")
        pack = pack_for(manifest, resize_for(manifest, "legacy"), Silent())
        assert pack is not None
        return pack

    def evaluate(self, metric: str, count: int, results: Path) -> Ended:
        """Run `pmbench eval` of a metric on the first triplets, anew, in a process of its own."""
        assert self.pack is not None
        command = [sys.executable, "-m", "pmbench", "eval", "-m", metric, "-d", "made", "--fresh"]
        limit = ["--limit", str(count)] if count < self.triplets else []
        return ended(
            [*command, "--results", str(results), *limit],
            {**os.environ, "PMBENCH_MANIFESTS": str(self.root)},
        )


def make_triplets(root: Path, count: int) -> None:
    """Write triplets in the layout of BAPPS, each with images of its own."""
    ladder = datasets()["ladder-2afc"]
    pack = pack_for(ladder, resize_for(ladder, None), Silent())
    assert pack is not None
    patches = pack.images(0, np.unique(pack.rows))
    at = np.rint(np.arange(256) * 63 / 255).astype(int)
    random = np.random.default_rng(0)
    for role in (*ROLES, "judge"):
        (root / "val" / "made" / role).mkdir(parents=True)
    for i in range(count):
        for role in ROLES:
            patch = patches[random.integers(len(patches))].copy()
            patch[0, 0] = random.integers(0, 256, 3)  # no two images alike: nothing to share
            Image.fromarray(patch[at][:, at]).save(root / "val" / "made" / role / f"{i:06}.png")
        np.save(root / "val" / "made" / "judge" / f"{i:06}.npy", np.array([0.6], np.float32))


def ready(metrics: Sequence[str | Metric]) -> list[LoadedMetric]:
    """Return metrics, or those of these names, ready to be called. Raises where one is not."""
    entries = [registered()[one] if isinstance(one, str) else one for one in metrics]
    loaded, failures = load_metrics(entries, CPU, Silent())
    if failures:
        raise RuntimeError("; ".join(f"{name}: {why}" for name, why in failures.items()))
    return loaded


def loop(pack: Pack, metrics: Sequence[LoadedMetric], count: int) -> None:
    """Run pmbench's loop over the first triplets of a pack. Raises what went wrong."""
    batches = plan(pack, np.arange(count), BatchLimits())
    for _, results in measure(pack, TWO_AFC, batches, lambda batch: metrics, CPU):
        for result in results.values():
            if isinstance(result, Exception):
                raise result

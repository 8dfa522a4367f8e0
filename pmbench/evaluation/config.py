"""One dataset, as it is measured: which items, in which form, and where its runs go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmbench.datasets import manifest
from pmbench.datasets.download import pack_for
from pmbench.datasets.manifest import Manifest
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import resize_for
from pmbench.results.run import (
    DEFAULT_PRECISION,
    Subset,
    folder_name,
    metric_folder,
)
from pmbench.results.signature import Signature, build_setup
from pmbench.scoring.bootstrap import DEFAULT_RESAMPLING, Resampling
from pmbench.scoring.protocols import PROTOCOLS, Protocol
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Reporter


@dataclass(frozen=True)
class EvalConfig:
    """One dataset, as it is to be measured."""

    manifest: Manifest
    pack: Pack
    subset: Subset
    results: Path
    resampling: Resampling = DEFAULT_RESAMPLING  # how its intervals are drawn
    precision: str = DEFAULT_PRECISION  # of networks: one of devices.PRECISIONS

    @property
    def protocol(self) -> Protocol:
        """How the dataset is scored."""
        return PROTOCOLS[self.manifest.protocol]

    @property
    def chosen(self) -> NDArray[np.int64]:
        """The items that are measured, as indices into the pack."""
        return self.subset.index(self.pack)

    @property
    def folder_name(self) -> str:
        """The dataset's name, with an @ and what is not as usual about it."""
        usual = resize_for(self.manifest, None).label
        resize = str(self.pack.attributes["resize"])
        return folder_name(self.manifest.name, resize, usual, self.subset, self.precision)

    def folder(self, metric: str) -> Path:
        """Return where the run of a metric is, or will be."""
        return self.results / self.folder_name / metric_folder(metric)

    def signature(self, metric: str) -> str:
        """Return the line that names everything a run's numbers depend on.

        ``metric`` is the metric's part of it: name#digest.
        """
        setup = build_setup(self.pack, len(self.chosen), self.subset, self.protocol, self.precision)
        return str(Signature(setup, metric))


def load_configs(
    names: Sequence[str],
    resize: str | None,
    subset: Subset,
    results: Path,
    reporter: Reporter,
    **options: Any,
) -> list[EvalConfig]:
    """Return what is to be measured, for each dataset or group named; see ``find_packs``.

    ``options`` are further fields of ``EvalConfig``. Raises PmbenchError where a dataset that is
    named has not been downloaded.
    """
    packs = find_packs(names, resize, reporter)
    if missing := [entry.name for entry, pack in packs if pack is None]:
        command = _download_command(missing, resize)
        raise PmbenchError(f"{', '.join(missing)}: not on this machine; get it with `{command}`")
    return [
        EvalConfig(entry, pack, subset, results, **options)
        for entry, pack in packs
        if pack is not None
    ]


def find_packs(
    names: Sequence[str], resize: str | None, reporter: Reporter
) -> list[tuple[Manifest, Pack | None]]:
    """Return each dataset named, itself or by its group, with its pack; None: to be downloaded.

    Without a name: BAPPS where it is on this machine, else the built-in ladder. Raises PmbenchError
    for an unknown name.
    """

    def packed(entries: Sequence[Manifest], mode: str | None) -> list[tuple[Manifest, Pack | None]]:
        return [(entry, pack_for(entry, resize_for(entry, mode), reporter)) for entry in entries]

    chosen = packed(manifest.resolve([*names] or ["bapps"]), resize)
    missing = [entry.name for entry, pack in chosen if pack is None]
    if names or not missing:
        return chosen
    command = _download_command(missing, resize)
    if len(missing) == len(chosen):
        if resize is not None:
            raise PmbenchError(
                "BAPPS is not on this machine, and only it has resize modes; get it with "
                f"`{command}`"
            )
        reporter.note(
            "BAPPS is not on this machine; using the built-in ladder (synthetic, no human votes). "
            "Get BAPPS (1.3 GB) with `pmbench download`"
        )
        return packed(manifest.resolve(["ladder"]), None)
    reporter.note(f"{', '.join(missing)} left out: not on this machine; get it with `{command}`")
    return [(entry, pack) for entry, pack in chosen if pack is not None]


def _download_command(missing: Sequence[str], resize: str | None) -> str:
    return f"pmbench download {' '.join(missing)}" + f" --resize {resize}" * (resize is not None)

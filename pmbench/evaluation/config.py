"""One dataset, as it is measured: which items, in which form, and where its runs go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmbench.datasets.manifest import Manifest
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import resize_for
from pmbench.results.run import (
    USUAL_PRECISION,
    Selection,
    folder_name,
    metric_folder,
    protocol_signature,
)
from pmbench.scoring.bootstrap import USUAL, Resampling
from pmbench.scoring.protocols import PROTOCOLS, Protocol
from pmbench.utils.errors import PmbenchError
from pmbench.utils.locks import BusyError, alone

LOCK = ".lock"


@dataclass(frozen=True)
class Job:
    """One dataset, as it is to be measured."""

    manifest: Manifest
    pack: Pack
    selection: Selection
    results: Path
    how: Resampling = USUAL  # how its intervals are drawn
    precision: str = USUAL_PRECISION  # of networks: one of devices.PRECISIONS

    @property
    def protocol(self) -> Protocol:
        """How the dataset is scored."""
        return PROTOCOLS[self.manifest.protocol]

    @property
    def chosen(self) -> NDArray[np.int64]:
        """The items that are measured, as indices into the pack."""
        return self.selection.index(self.pack)

    @property
    def folder_name(self) -> str:
        """The dataset's name, with an @ and what is not as usual about it."""
        usual = resize_for(self.manifest, None).label
        resize = str(self.pack.attributes["resize"])
        return folder_name(self.manifest.name, resize, usual, self.selection, self.precision)

    def folder(self, metric: str) -> Path:
        """Return where the run of a metric is, or will be."""
        return self.results / self.folder_name / metric_folder(metric)

    def signature(self, metric: str) -> str:
        """Return the line that names everything a run's numbers depend on.

        ``metric`` is the metric's part of it: name#digest.
        """
        shared = protocol_signature(
            self.pack, len(self.chosen), self.selection, self.protocol, self.precision
        )
        return f"{shared} || {metric}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second process from measuring the same thing into the same folder."""
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(folder / LOCK))
        except BusyError as error:
            raise PmbenchError(
                f"{error} is measuring into {folder}; wait for it, or choose another folder with "
                "--results"
            ) from error
        yield

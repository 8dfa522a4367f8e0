"""What there is: datasets and runs, as tables. Metrics have cards."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pmbench.datasets import manifest
from pmbench.datasets.download import pack_path
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import resize_for
from pmbench.results.store import find_runs


def datasets() -> pd.DataFrame:
    """Return every known dataset: name, groups, protocol, size, and which packs are here."""
    rows = []
    for entry in manifest.datasets().values():
        modes = ["legacy", "exact"] if entry.enlarged else [None]
        places = {mode: pack_path(entry, resize_for(entry, mode)) for mode in modes}
        here = [_state(path, mode) for mode, path in places.items() if path.exists()]
        rows.append(
            {
                "dataset": entry.name,
                "group": ", ".join(entry.groups),
                "title": entry.title,
                "protocol": entry.protocol,
                "items": entry.expected,
                "votes": "human" if entry.human_votes else "synthetic",
                "here": ", ".join(here) or ("at eval" if entry.local_source else "no"),
            }
        )
    return pd.DataFrame(rows).astype({"items": "Int64"})


def _state(path: Path, mode: str | None) -> str:
    pack = Pack.open(path)
    return f"{mode}: {pack.described_size}" if mode else pack.described_size


def runs(results: Path) -> pd.DataFrame:
    """Return every complete run: dataset, metric, items, when, on what, and its signature."""
    return pd.DataFrame(
        [
            {
                "dataset": run.dataset,
                "metric": run.metric,
                "items": run.info.dataset.items,
                "of": run.info.dataset.of,
                "finished": run.info.finished,
                "device": run.info.environment.device or "",
                "signature": run.signature,
            }
            for run in find_runs(results)
        ],
        columns=["dataset", "metric", "items", "of", "finished", "device", "signature"],
    )

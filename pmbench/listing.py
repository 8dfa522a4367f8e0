"""What there is: metrics, datasets and runs, as tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pmbench import manifest
from pmbench.download import pack_path
from pmbench.pack import Pack
from pmbench.resize import resize_for
from pmbench.runs import find


def metrics() -> pd.DataFrame:
    """Return every registered metric: name, title, direction, smallest size, weights, paper."""
    from pmbench import weights
    from pmbench.metrics import registered

    def state(names: tuple[str, ...]) -> str:
        absent = [name for name in names if weights.find(name) is None]
        return (
            "none needed" if not names else f"to fetch: {', '.join(absent)}" if absent else "here"
        )

    return pd.DataFrame(
        [
            {
                "metric": m.name,
                "title": m.title,
                "better": "higher" if m.higher_is_better else "lower",
                "min_size": m.min_size,
                "weights": state(m.weights),
                "licence": m.licence,
                "paper": m.paper,
            }
            for m in registered().values()
        ]
    )


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
    size = f"{len(pack):,} of {pack.expected:,}" if pack.partial else f"{len(pack):,} items"
    return f"{mode}: {size}" if mode else size


def runs(results: Path) -> pd.DataFrame:
    """Return every complete run: dataset, metric, items, when, on what, and its signature."""
    return pd.DataFrame(
        [
            {
                "dataset": run.dataset,
                "metric": run.metric,
                "items": run.info["dataset"]["items"],
                "finished": run.info["finished"],
                "device": run.info["environment"]["device"],
                "signature": run.signature,
            }
            for run in find(results)
        ],
        columns=["dataset", "metric", "items", "finished", "device", "signature"],
    )

"""What a shell completes: names of metrics, datasets and protocols.

They are had without the imports that would make a user wait: a file has the names of pmbench's own
metrics, and manifests are read as plain TOML.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path

from pmbench.utils import paths

PLUGINS = "pmbench.metrics"  # the group of entry points


def metric_names() -> list[str]:
    """Return the names of pmbench's own metrics, and of the entry points of plug-ins."""
    own = (paths.DATA / "metrics.txt").read_text(encoding="utf-8").split()
    return [*own, *(entry.name for entry in entry_points(group=PLUGINS))]


def dataset_names() -> list[str]:
    """Return the names of all known datasets and groups; a manifest that is none has none."""
    others = os.environ.get("PMBENCH_MANIFESTS", "").split(os.pathsep)
    names: dict[str, None] = {}
    for folder in [paths.manifests() / "datasets", *map(Path, filter(None, others))]:
        for file in sorted(folder.expanduser().glob("*.toml")):
            try:
                content = tomllib.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            groups = content.get("groups", [])
            names |= dict.fromkeys(map(str, [content.get("name", file.stem), *groups]))
    return list(names)


def complete(*names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return a function that completes a name, or the last one of several with commas between."""

    def candidates(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        known = [name for some in names for name in some()]
        return [before + comma + name for name in known if name.startswith(last)]

    return candidates


def _protocol_names() -> Iterable[str]:
    from pmbench.scoring.protocols import PROTOCOLS  # and NumPy with it

    return PROTOCOLS


complete_metrics = complete(lambda: ["all"], metric_names)
complete_datasets = complete(dataset_names)
complete_protocols = complete(_protocol_names)

"""Metrics of installed packages: the entry points in the group ``pmbench.metrics``."""

from __future__ import annotations

from collections.abc import Collection

from pmbench.metrics import Metric


def installed(taken: Collection[str]) -> list[Metric]:
    """Return the metrics of installed plug-ins; ``taken`` are names they must not have."""
    return []

"""How many processors there are for this process."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many processors this process may use, which a container or `taskset` may limit."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1

"""Results of two metrics on a part of the built-in ladder."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def run_files(results: Path) -> dict[str, Any]:
    """Return what a run's folder says, but for times and speed."""
    contents: dict[str, Any] = {}
    for path in sorted(results.glob("*/*/distances.h5")):
        place = str(path.parent.relative_to(results))
        contents[place] = (path.read_bytes(), (path.parent / "scores.csv").read_bytes())
    return contents


EVAL = (
    "eval", "-m", "grad,l1", "-d", "ladder-2afc", "--limit", "9", "--batch-size", "20",
    "--resamples", "4000",
)  # fmt: skip
RUNS = Path("results/ladder-2afc@first9")

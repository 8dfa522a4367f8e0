"""Memory does not grow with the number of items."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# of each kind of intermediate one: features of several trunks, sorted projections, cosines, float64
METRICS = "lpips-alex,lpips-vgg,vgg-loss,net-squeeze,mmdpp,window-swd-3,watson-dft,dists,dssim,fsim"


def peak(results: Path, weights: Path, *words: str) -> float:
    """Return the largest memory of an evaluation, in MB."""
    command = [sys.executable, "-m", "pmbench", "eval", "-m", METRICS, "-d", "ladder-2afc", *words]
    environment = {**os.environ, "PMBENCH_WEIGHTS": str(weights)}
    subprocess.run(
        [*command, "--results", str(results)], env=environment, check=True, capture_output=True
    )
    infos = [json.loads(path.read_text()) for path in results.glob("*/*/run.json")]
    assert len(infos) == len(METRICS.split(","))
    return max(float(info["peak_memory_mb"]) for info in infos)


@pytest.mark.slow
def test_three_times_the_items_take_no_more_memory(tmp_path: Path, shared: Path) -> None:
    few = peak(tmp_path / "few", shared / "weights", "--limit", "12")  # more than one full batch
    many = peak(tmp_path / "many", shared / "weights")
    assert many <= 1.05 * few, f"{few:.0f} MB for 72 items, {many:.0f} MB for 216"

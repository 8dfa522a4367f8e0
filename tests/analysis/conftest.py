"""Results that several tests of boards read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.boards import everywhere, run_2afc, run_jnd


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three metrics on a part of BAPPS, two on a synthetic dataset."""
    counts = {
        "traditional": 16, "cnn": 16, "superres": 16, "deblur": 16, "color": 15, "frameinterp": 15,
    }  # fmt: skip
    part: dict[str, Any] = {"counts": counts, "of": 36344, "partial": True}
    way = "pmbench:0.1|bapps-2afc-val:94of36344#d3b01234|legacy64|soft|macro|fp32"
    for metric, right, speed in (("mmdpp", 12, 800.0), ("lpips-alex", 15, 90.0), ("l2", 6, 4000.0)):
        run_2afc(tmp_path, metric, everywhere(right), way=way, speed=speed, **part)
    run_jnd(tmp_path, "mmdpp", [1, 2, 1, 2])
    run_jnd(tmp_path, "l2", [1, 2, 2, 1])
    return tmp_path


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """Metrics whose orders by score, by a sub-dataset, by name and by speed all differ."""
    run_2afc(tmp_path, "d", everywhere(4) | {"cnn": 1}, speed=10)
    run_2afc(tmp_path, "c", everywhere(3) | {"cnn": 3}, speed=30)
    run_2afc(tmp_path, "a", everywhere(2) | {"cnn": 4}, speed=20)
    run_2afc(tmp_path, "b", everywhere(1), undefined_on=("cnn",), speed=40)
    return tmp_path

"""A board that several tests show."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.boards import WAY, everywhere, run_2afc


@pytest.fixture
def bapps(tmp_path: Path) -> Path:
    """Metrics with names of all lengths on a whole BAPPS, one not defined everywhere, one †."""
    for k, metric in enumerate(
        ("mmdpp", "lpips-squeeze", "net-alex-random", "watson-dft-color-deviance", "l2-lab")
    ):
        run_2afc(tmp_path, metric, everywhere(k % 4 + 1), speed=10.0 ** (k - 1))
    run_2afc(tmp_path, "large-images-only", everywhere(4), undefined_on=("cnn",))
    run_2afc(tmp_path, "odd", everywhere(4), way=WAY.replace("legacy64", "exact4"))
    return tmp_path

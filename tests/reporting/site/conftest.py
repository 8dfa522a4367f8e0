"""Results that a report is written of."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.site import differences, items_of, save_run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three metrics on six triplets of a dataset that has no manifest here."""
    items = items_of([1.0, 0.8, 0.6, 0.0, 0.2, 0.4], subs=2)
    folder = tmp_path / "results"
    save_run(folder, "good", differences(3, 2, 1, -3, -2, -1), items)
    save_run(folder, "bad", differences(-3, -2, 1, 3, 2, -1), items)
    save_run(folder, "<odd/name>", differences(3, -2, 1, 3, -2, 1), items)
    return folder

"""What is installed, not the checkout: the wheel holds all that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from support.paths import REPOSITORY


def test_a_wheel_runs_the_main_job_from_any_directory(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(REPOSITORY)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = tmp_path.glob("pmbench-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    names = zipfile.ZipFile(wheel).namelist()
    assert "pmbench/data_manifests/weights.toml" in names
    assert "pmbench/data/ladder-2afc.h5" in names
    assert "pmbench/data/references.bib" in names
    assert "pmbench/golden/bapps_sample.json" in names
    assert "pmbench/reporting/site/templates/index.html.j2" in names
    assert "pmbench/reporting/site/assets/report.css" in names
    assert not [name for name in names if name.startswith(("tests/", "tools/"))]

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "100"}
    run = [sys.executable, "-m", "pmbench", "eval", "-m", "l2", "-d", "ladder-jnd"]
    told = subprocess.run(
        run, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True
    )
    assert "synthetic, no human votes" in told.stdout
    where = "import pmbench; print(pmbench.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=elsewhere, env=environment, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    assert found.startswith(str(site))

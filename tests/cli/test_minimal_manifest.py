"""Every command on data whose manifest leaves out what it may: counts, votes, checksum, licence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.cli import one_line, pmbench
from support.factories import FOLDERS, Files, enlarged, manifest, npy, picture, png, tar, triplets

JND_ITEMS = 3  # of each sub-dataset


def jnd_archive(folder: Path) -> Path:
    """Write an archive as the authors' own is made: its members begin with ``jnd/val/``."""
    files: Files = {}
    for s, sub_dataset in enumerate(("cnn", "traditional")):
        for i in range(JND_ITEMS):
            place = f"jnd/val/{sub_dataset}"
            for r, role in enumerate(("p0", "p1")):
                pixels = enlarged(picture(100 * s + 10 * i + r, 64, 64), 4)
                files[f"{place}/{role}/{i:06d}.png"] = png(pixels)
            files[f"{place}/same/{i:06d}.npy"] = npy(np.float32([i / 3]))
    path = folder / "jnd.tar.gz"
    path.write_bytes(tar(files))
    return path


def use_every_command(dataset: str, options: list[str]) -> None:
    """Run every command that reads what a manifest says of a dataset."""
    pmbench("eval", "-m", "l1,l2,ssim", "-d", dataset, "--dry-run", *options)
    pmbench("eval", "-m", "l1,l2,ssim", "-d", dataset, *options)
    pmbench("list", "datasets", *options)
    pmbench("list", "runs", *options)
    for form in ("table", "md", "csv", "json", "latex", "html"):
        pmbench("leaderboard", "--format", form, "--published", "--pooled", "--cost", *options)
    for form in ([], ["--json"]):
        pmbench("compare", "l1", "l2", *form)
        pmbench("show", f"{dataset}/ssim", *form, *options)
    pmbench("export", "l1", "-o", "d.csv")
    table = pd.read_csv("d.csv").drop(columns=["votes"])
    table.to_csv("e.csv", index=False)
    pmbench("import", "e.csv", "-d", dataset, "--name", "mine", *options)
    pmbench("baseline", "-o", "b.json")
    pmbench("check", "--baseline", "b.json", "--junit", "j.xml", "--summary", "s.md")
    pmbench("cite", *options)
    pmbench("report", "-o", "report", *options)
    pmbench("cache", "info", "--verify", *options)


@pytest.mark.parametrize("partial", [pytest.param(False, marks=pytest.mark.slow), True])
def test_bapps_jnd_which_names_no_counts(empty_folder: Path, partial: bool) -> None:
    archive = jnd_archive(empty_folder)
    words = ["download", "bapps-jnd-val", "--from", archive, *["--partial"] * partial]
    result = pmbench(*words)
    size = "6 items, partial" if partial else "6 items"
    assert one_line(result.stdout).startswith(f"bapps-jnd-val: {size}, ")
    assert (
        "bapps-jnd-val: nobody publishes how many items there are; here are cnn 3, traditional 3, "
        "and papers say about 4.8k pairs a sub-dataset"
    ) in one_line(result.stderr)
    use_every_command("bapps-jnd-val", [])
    records = json.loads(pmbench("leaderboard", "--format", "json").stdout)
    assert {record["partial"] for record in records} == {partial}
    listed = one_line(pmbench("list", "datasets", columns=200).stdout)
    assert f"legacy: {size}" in listed
    assert ("partial" in pmbench("leaderboard").stdout) == partial


def test_a_manifest_that_says_nothing_that_it_need_not(empty_folder: Path) -> None:
    for path, data in triplets({"a": 3, "b": 3}).items():
        (empty_folder / path).parent.mkdir(parents=True, exist_ok=True)
        (empty_folder / path).write_bytes(data)
    folder = empty_folder / "manifests"
    source = {"path": ".."}
    manifest(folder, name="bare", source=source, folders=FOLDERS, votes_per_item=5)
    use_every_command("bare", ["--manifests", str(folder)])
    stdout = pmbench("download", "bare", "--manifests", folder).stdout
    assert one_line(stdout).startswith("bare: 6 items, ")

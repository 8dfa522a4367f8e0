"""The baseline as a file: what is kept, and how damage is told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.baselines import distances, items, run_of
from support.factories import with_info
from support.refusals import message_of

from pmbench.analysis.baseline import Stored, read, run_scores, write
from pmbench.utils.errors import PmbenchError


def test_distances_are_kept_to_the_bit() -> None:
    short = np.array([[0.1, np.nan], [1e-30, 3.0]], np.float32).astype(np.float64)
    kept = Stored.of(short)
    assert kept.dtype == "float32"
    np.testing.assert_array_equal(kept.array(), short)
    exact = short + 1e-12
    kept = Stored.of(exact)
    assert kept.dtype == "float64"
    np.testing.assert_array_equal(kept.array(), exact)


def test_a_baseline_is_text_that_can_be_read_in_a_diff(empty_folder: Path) -> None:
    runs = [run_of(empty_folder / "r", distances(20), items(), name) for name in ("b", "a")]
    write(empty_folder / "b.json", runs)
    lines = (empty_folder / "b.json").read_text().splitlines()
    assert lines[:2] == ["{", ' "pmbench_baseline": 1,']
    assert '    "macro": 66.6667,' in lines
    assert '   "n": 60,' in lines
    assert sum('"zlib"' in line for line in lines) == 2
    known = read(empty_folder / "b.json")
    assert [entry.metric for entry in known.runs] == ["a", "b"]
    assert known.runs[0].scores == dict.fromkeys(("one", "two", "macro", "pooled"), 66.6667)
    np.testing.assert_array_equal(known.runs[0].distances.array(), distances(20))
    earlier = (empty_folder / "b.json").read_bytes()
    write(empty_folder / "b.json", runs[::-1])
    assert (empty_folder / "b.json").read_bytes() == earlier


def changed(empty_folder: Path, *path: str | int, to: Any) -> Path:
    """Write a baseline of which one thing is another; ``to`` Ellipsis removes it."""
    write(empty_folder / "b.json", [run_of(empty_folder / "r", distances(20), items())])
    content = json.loads((empty_folder / "b.json").read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if to is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    (empty_folder / "b.json").write_text(json.dumps(content))
    return empty_folder / "b.json"


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (["pmbench_baseline"], ..., "key 'pmbench_baseline': no such key, so this is some other "),
        (["pmbench_baseline"], 2, "key 'pmbench_baseline': a baseline of format 2, written by pm"),
        (["runs", 0, "signature"], ..., "key 'runs.0.signature': Field required"),
        (["runs", 0, "signature"], "l2", "key 'runs.0.signature': String should match pattern"),
        (["runs", 0, "n"], "many", "key 'runs.0.n': Input should be a valid integer"),
        (["runs", 0, "tolerance"], -1, "key 'runs.0.tolerance': Input should be greater than or "),
        (["runs", 0, "scores", "macro"], "x", "key 'runs.0.scores.macro': Input should be a valid"),
        (["runs", 0, "statistic"], "2afd",
         "key 'runs.0.statistic': unknown statistic '2afd'; did "),
        (["runs", 0, "statistic"], "\ud800",
         "expected the JSON text of a baseline, and it is not valid ('\\ud800' has characters"),
        (["runs", 0, "colour"], 1, "key 'runs.0.colour': no such key here"),
        (["runs"], {}, "key 'runs': Input should be a valid tuple"),
        (["runs", 0, "distances", "dtype"], "int8", "key 'runs.0.distances.dtype': Input should"),
        (["runs", 0, "distances", "zlib"], "§", "key 'runs.0.distances': expected base64 of zlib"),
        (["runs", 0, "distances", "zlib"], "AAAA", "key 'runs.0.distances': expected base64 of"),
        (["runs", 0, "distances", "shape"], [60, 1], "key 'runs.0.distances': expected float32 nu"),
        (["runs", 0, "distances", "shape"], [60, 3], "key 'runs.0.distances': expected float32 nu"),
        (["runs", 0, "distances", "shape"], [0, 2], "key 'runs.0.distances': a shape of (0, 2); e"),
        (["runs", 0, "distances", "shape"], [2**62, 2], "key 'runs.0.distances': a shape of (461"),
    ],
)  # fmt: skip
def test_a_damaged_baseline_is_told_by_file_and_key(
    empty_folder: Path, path: list[str | int], to: Any, said: str
) -> None:
    file = changed(empty_folder, *path, to=to)
    assert message_of(read, file).startswith(f"{file}: {said}")


def test_infinite_distances_and_runs_that_stand_there_twice_are_damage(empty_folder: Path) -> None:
    file = changed(empty_folder, "runs", 0, "n", to=60)
    content = json.loads(file.read_text())
    content["runs"] *= 2
    file.write_text(json.dumps(content))
    with pytest.raises(PmbenchError, match="the whole file: mine on toy stands in it twice"):
        read(file)
    with pytest.raises(ValueError, match="expected finite distances, or NaN where the metric is"):
        Stored.of(np.array([[np.inf]]))


def test_a_byte_order_mark_is_read_over(empty_folder: Path) -> None:
    write(empty_folder / "b.json", [run_of(empty_folder / "r", distances(20), items())])
    (empty_folder / "b.json").write_bytes(b"\xef\xbb\xbf" + (empty_folder / "b.json").read_bytes())
    assert [entry.metric for entry in read(empty_folder / "b.json").runs] == ["mine"]


def test_two_runs_of_one_name_are_refused_and_the_good_file_stays(empty_folder: Path) -> None:
    run = run_of(empty_folder / "r", distances(20), items())
    write(empty_folder / "b.json", [run])
    good = (empty_folder / "b.json").read_bytes()
    copy = replace(run, folder=run.folder.with_name("mine-old"))
    shutil.copytree(run.folder, copy.folder)
    assert message_of(write, empty_folder / "b.json", [run, copy]) == (
        f"{run.folder} and {copy.folder} are both runs of mine on toy, and a baseline holds one; "
        "move the one that is not meant out of the results"
    )
    assert (empty_folder / "b.json").read_bytes() == good


def test_a_run_that_does_not_know_its_device_has_a_block_too(empty_folder: Path) -> None:
    run = run_of(empty_folder / "r", distances(20), items())
    run = with_info(run, environment={"device": None})
    assert run_scores(run).made_with == "torch 2.9, an unknown device"


def test_a_truncated_line_of_distances_is_damage(empty_folder: Path) -> None:
    packed = Stored.of(np.random.default_rng(0).random((60, 2))).zlib
    file = changed(empty_folder, "runs", 0, "distances", "zlib", to=packed[:-8])
    with pytest.raises(PmbenchError, match=r"key 'runs.0.distances'"):
        read(file)


def test_a_newer_baseline_says_which_pmbench_wrote_it(empty_folder: Path) -> None:
    file = changed(empty_folder, "pmbench_baseline", to=7)
    content = json.loads(file.read_text()) | {"pmbench": "3.1.4"}
    file.write_text(json.dumps(content))
    assert message_of(read, file) == (
        f"{file}: key 'pmbench_baseline': a baseline of format 7, written by pmbench 3.1.4; this "
        "pmbench 0.1.0 reads format 1; install that version, or write one with `pmbench baseline "
        "-o FILE`"
    )

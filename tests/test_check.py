"""Runs against a baseline: the file, each verdict, and what is printed and written of them."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from making import whole_facts
from numpy.typing import NDArray
from test_cli import one_line, pmbench

from pmbench.analysis.baseline import Measured, Stored, entry_of, measured, read, write
from pmbench.analysis.regression import Change, Findings, Rules, check, compare, relative_moves
from pmbench.datasets.pack import Items
from pmbench.reporting.checks import to_junit, to_markdown
from pmbench.results.run import Run, save
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.protocols import JND, TWO_AFC, Protocol
from pmbench.scoring.scores import human_rows, score
from pmbench.utils.errors import PmbenchError

WAY = "pmbench:0.1|toy:60#0123abcd|none|soft|macro|fp32"
# everybody prefers p1, so that an item is right where d1 < d0
RIGHT, WRONG = (2.0, 1.0), (1.0, 2.0)
EACH = 30  # items in each of two sub-datasets


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, on a terminal of 80 columns."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return folder


def items(cluster: NDArray[np.int64] | None = None) -> Items:
    n = 2 * EACH
    return Items(
        id=np.array([f"{i:02}" for i in range(n)], object),
        sub=np.repeat([0, 1], EACH),
        sub_names=("one", "two"),
        p=np.ones(n),
        votes=np.full(n, 5, np.int32),
        cluster=np.arange(n) if cluster is None else cluster,
    )


def distances(right: int) -> NDArray[np.float64]:
    """Return distances (60, 2) with so many items of each sub-dataset right: the first ones."""
    return np.array(([RIGHT] * right + [WRONG] * (EACH - right)) * 2)


def toy(right: int = 20, **changes: Any) -> Measured:
    made = Measured(
        dataset="toy",
        metric="mine",
        signature=f"{WAY} || mine#11111111",
        tolerance=1e-5,
        made_with="torch 2.9, cpu, 2 cores",
        protocol=TWO_AFC,
        items=items(),
        distances=distances(right),
    )
    return replace(made, **changes)


def judged(before: Measured, now: Measured, tolerance: float = 0.1) -> Change:
    return compare(entry_of(before), now, Rules(tolerance))


# --- how far distances moved ----------------------------------------------------------------------


def test_moves_are_relative_to_what_a_distance_was() -> None:
    moves = relative_moves(np.array([[1.0, 2.0], [-4.0, 2.0]]), np.array([[1.1, 2.0], [-4.2, 1.0]]))
    assert moves == pytest.approx(np.array([[0.1, 0], [0.05, 0.5]]))


def test_tiny_distances_are_measured_by_a_tenth_of_the_typical_one() -> None:
    before = np.array([[2.0], [2.0], [0.0], [1e-9]])  # median 1: (0 + 1e-9, 2, 2) -> 1.0000000005
    moves = relative_moves(before, before + np.array([[0.0], [0.0], [1e-8], [-1e-9]]))
    assert moves[:, 0] == pytest.approx([0, 0, 1e-7, 1e-8])


def test_a_distance_that_comes_or_goes_moved_infinitely_and_zeros_did_not_move() -> None:
    before = np.array([[np.nan], [np.nan], [0.0]])
    assert relative_moves(before, np.array([[np.nan], [1.0], [0.0]]))[:, 0].tolist() == [
        0,
        math.inf,
        0,
    ]
    assert relative_moves(np.zeros((2, 1)), np.zeros((2, 1))).tolist() == [[0], [0]]
    assert relative_moves(np.zeros((1, 1)), np.ones((1, 1))).tolist() == [[math.inf]]


# --- the verdicts ---------------------------------------------------------------------------------


def test_worse_and_better_need_a_change_beyond_the_tolerance_with_a_sure_interval() -> None:
    found = judged(toy(20), toy(10))
    assert (found.verdict, found.fails) == ("worse", True)
    assert (found.before, found.now) == (pytest.approx(66.6667), pytest.approx(100 / 3))
    assert found.change == pytest.approx(-100 / 3)
    assert found.low is not None
    assert found.high is not None
    # a third of the items lost: ±1.96·√(⅓·⅔/60) is ±11.9 points
    assert found.low == pytest.approx(-45.3, abs=2)
    assert found.high == pytest.approx(-21.4, abs=2)
    assert found.told.startswith("by 33.33 points (95 % interval -4")
    assert "40 of 120 distances moved by more than 1e-05, by up to 1.0e+00" in found.told
    better = judged(toy(10), toy(20))
    assert (better.verdict, better.fails) == ("better", False)
    assert better.change == pytest.approx(100 / 3)


def test_a_sure_change_within_the_tolerance_is_no_more_than_changed() -> None:
    found = judged(toy(20), toy(10), tolerance=40)
    assert (found.verdict, found.fails) == ("changed", True)
    assert found.told.startswith("40 of 120 distances moved")


def test_a_change_beyond_the_tolerance_that_one_item_makes_is_no_more_than_changed() -> None:
    now = distances(20)
    now[0] = WRONG
    found = judged(toy(20), toy(distances=now))
    assert found.change == pytest.approx(-100 / 60)
    assert found.high == 0  # more than 2.5 % of the resamples are without that item
    assert found.verdict == "changed"
    assert "2 of 120 distances moved by more than 1e-05, by up to 1.0e+00 (item 00)" in found.told


def test_without_independent_items_there_is_no_interval_and_nothing_is_sure() -> None:
    alone = items(cluster=np.zeros(2 * EACH, np.int64))
    found = judged(toy(20, items=alone), toy(10, items=alone))
    assert found.change == pytest.approx(-100 / 3)
    assert (found.low, found.high, found.verdict) == (None, None, "changed")
    people = replace(alone, p=np.tile([1.0, 0.0], EACH))
    ranked = toy(protocol=JND, items=people, distances=np.tile([[1.0], [2.0]], (EACH, 1)))
    found = judged(ranked, replace(ranked, distances=-ranked.distances))
    assert (found.low, found.high, found.verdict) == (None, None, "changed")


def test_what_rounding_does_to_ties_is_no_change() -> None:
    even = np.ones((2 * EACH, 2))
    tipped = even.copy()
    tipped[:, 1] -= 1e-6  # every item is right now, which scored a half before
    found = judged(toy(distances=even), toy(distances=tipped))
    assert found.change == pytest.approx(50)
    assert (found.verdict, found.fails, found.moved) == ("same", False, pytest.approx(1e-6))
    further = even.copy()
    further[:, 1] -= 2e-5
    assert judged(toy(distances=even), toy(distances=further)).verdict == "better"


def test_the_declared_tolerance_says_what_has_changed() -> None:
    now = distances(20) * (1 + 5e-4)
    assert judged(toy(), toy(distances=now)).verdict == "changed"
    assert judged(toy(), toy(distances=now, tolerance=1e-3)).verdict == "same"
    # the block's where the run says nothing, and 1e-5 where neither does
    kept = judged(toy(tolerance=1e-3), toy(distances=now, tolerance=None))
    assert (kept.verdict, kept.allowed) == ("same", 1e-3)
    usual = judged(toy(tolerance=None), toy(distances=now, tolerance=None))
    assert (usual.verdict, usual.allowed) == ("changed", 1e-5)


def test_a_wide_tolerance_of_distances_hides_no_score() -> None:
    wide = 5.0  # as where the phase of nothing is noise
    assert judged(toy(20, tolerance=wide), toy(10, tolerance=wide)).verdict == "worse"


def test_nothing_moved_is_the_same_and_a_new_signature_of_the_metric_is_told() -> None:
    found = judged(toy(), toy())
    assert (found.verdict, found.change, found.moved, found.told) == ("same", 0, 0, "")
    found = judged(toy(), toy(signature=f"{WAY} || mine#22222222", made_with="torch 3, cpu"))
    assert (found.verdict, found.fails) == ("same", False)
    assert found.told == "another signature of the metric: mine#11111111, now mine#22222222"


def test_another_environment_is_told_where_something_changed() -> None:
    now = toy(10, made_with="torch 3.0, cpu", signature=f"{WAY.replace('0.1', '0.2')} || mine#1")
    told = judged(toy(20, signature=f"{WAY} || mine#1"), now).told
    assert "the baseline was made by pmbench:0.1" in told
    assert "the baseline was made with torch 2.9, cpu, 2 cores; now torch 3.0, cpu" in told


@pytest.mark.parametrize(
    ("part", "other", "said"),
    [
        ("toy:60#0123abcd", "toy:60#99999999", "items (toy:60#0123abcd, now toy:60#99999999)"),
        ("none", "exact4", "resize mode (none, now exact4)"),
        ("soft", "hard", "scoring (soft, now hard)"),
        ("fp32", "fp16", "precision (fp32, now fp16)"),
    ],
)
def test_other_items_or_another_way_are_not_compared(part: str, other: str, said: str) -> None:
    now = toy(signature=f"{WAY.replace(part, other)} || mine#11111111")
    found = judged(toy(), now)
    assert (found.verdict, found.fails, found.change) == ("not comparable", True, None)
    assert found.told == (
        f"the baseline differs in {said}; measure on the same data in the same way, or accept "
        "what is new with `pmbench baseline`"
    )


def test_items_of_other_ids_are_not_compared_whatever_the_signature_says() -> None:
    strange = replace(items(), id=np.array([f"x{i:02}" for i in range(60)], object))
    assert "differs in items (their ids)" in judged(toy(), toy(items=strange)).told


def test_a_metric_that_lost_items_or_its_score_is_worse_whatever_is_allowed() -> None:
    known = entry_of(toy(20))
    now = distances(20)
    now[3] = np.nan
    nowhere = np.full((60, 2), np.nan)
    for d, said in (
        (now, "the metric is undefined on 1 item on which it was defined"),
        (
            nowhere,
            "the metric is undefined on 60 items on which it was defined, so that it has no score "
            "any more",
        ),
    ):
        found = check("b", [known], [toy(distances=d)], Rules(allow_changed=True), "ACCEPT")
        assert found.failed
        (one,) = found.found
        assert isinstance(one, Change)
        assert (one.verdict, one.told, one.moved) == ("worse", said, math.inf)
        assert found.told[0] == "failed: 1 worse, of 1 compared with b"
        assert "--allow-changed" not in " ".join(found.told)
    assert (one.before, one.now) == (pytest.approx(66.6667), None)
    traded = distances(20)
    traded[0] = np.nan
    assert judged(toy(distances=traded), toy(distances=now)).verdict == "worse"


def test_a_metric_that_is_defined_on_more_items_has_changed() -> None:
    fewer = distances(20)
    fewer[3] = np.nan
    found = judged(toy(distances=fewer), toy(20))
    assert (found.verdict, found.moved) == ("changed", math.inf)
    assert "the metric is now defined on other items than before (1 differ)" in found.told
    nowhere = toy(distances=np.full((60, 2), np.nan))
    found = judged(nowhere, nowhere)
    assert (found.verdict, found.change, found.now) == ("same", None, None)


def test_the_order_of_the_items_is_of_no_consequence(here: Path) -> None:
    order = np.random.default_rng(0).permutation(60)
    d = distances(20) * np.linspace(1, 2, 60)[:, None]
    kept = run_of(here / "a", d, items())
    shuffled = run_of(here / "b", d[order], items().take(order))
    found = compare(entry_of(measured(kept)), measured(shuffled), Rules())
    assert (found.verdict, found.moved) == ("same", 0)


def test_jnd_is_judged_by_its_mean_average_precision() -> None:
    people = replace(items(), p=np.tile([1.0, 0.0], EACH))
    ranked = np.tile([[1.0], [2.0]], (EACH, 1))  # who said the same is ranked first
    before = toy(protocol=JND, items=people, distances=ranked)
    assert before.scores()["macro"] == 1
    assert judged(before, replace(before, distances=-ranked)).verdict == "worse"


def test_scores_that_do_not_follow_from_the_distances_are_told() -> None:
    entry = entry_of(toy(20))
    told = (
        "the baseline's scores do not follow from its distances (macro: {}, from the distances "
        "{}): it was edited, or pmbench:0.1 scored in another way; write it anew with "
        "`pmbench baseline`"
    )
    raised = entry.model_copy(update={"scores": entry.scores | {"macro": 66.6669}})
    found = compare(raised, toy(20), Rules(allow_changed=True))
    assert (found.verdict, found.fails) == ("not comparable", True)
    assert found.told == told.format("66.6669", "66.6667")
    without = {place: value for place, value in entry.scores.items() if place != "macro"}
    found = compare(entry.model_copy(update={"scores": without}), toy(20), Rules())
    assert found.told == told.format("none", "66.6667")
    # of rounding to four decimals nothing is told
    near = entry.model_copy(update={"scores": entry.scores | {"macro": 66.66675}})
    assert compare(near, toy(20), Rules()).verdict == "same"


def test_another_statistic_is_not_compared() -> None:
    other = entry_of(toy()).model_copy(update={"statistic": "map"})
    found = compare(other, toy(), Rules())
    assert (found.verdict, found.fails) == ("not comparable", True)
    assert "the baseline differs in statistic (map, now 2afc); measure on" in found.told


def test_all_together_and_what_to_do() -> None:
    gone, fresh = toy(metric="gone"), toy(metric="fresh")
    known = [entry_of(toy(20)), entry_of(gone)]
    found = check("b.json", known, [toy(10), fresh], Rules(), "pmbench baseline -o b.json")
    assert [(one.name, one.verdict) for one in found.found] == [
        ("fresh", "new"),
        ("gone", "missing"),
        ("mine", "worse"),
    ]
    assert found.failed
    assert found.told == (
        "failed: 1 missing, 1 worse, of 3 compared with b.json",
        "if that is as intended, accept it: `pmbench baseline -o b.json`",
    )
    by_name = {one.name: one for one in found.found}
    assert by_name["gone"].told == (
        "it is in b.json, and there is no run of it; did it fail, or was it left out?"
    )
    assert by_name["fresh"].told == "it is not in b.json yet"


def test_what_passes_is_said_too() -> None:
    found = check("b.json", [entry_of(toy())], [toy(), toy(metric="x")], Rules(), "ACCEPT")
    assert not found.failed
    assert found.told == ("passed: 1 same, 1 new", "`ACCEPT` makes that the baseline")


def test_changed_alone_fails_unless_allowed() -> None:
    now = toy(distances=distances(20) * 1.01)
    known = [entry_of(toy())]
    found = check("b.json", known, [now], Rules(), "ACCEPT")
    assert found.told == (
        "failed: 1 changed, of 1 compared with b.json",
        "no score is surely worse for it; --allow-changed lets that pass",
        "if that is as intended, accept it: `ACCEPT`",
    )
    found = check("b.json", known, [now], Rules(allow_changed=True), "ACCEPT")
    assert not found.failed
    assert found.told[:2] == (
        "passed: 1 changed",
        "changed distances pass, as --allow-changed says",
    )
    worse = check("b.json", known, [toy(5)], Rules(allow_changed=True), "ACCEPT")
    assert worse.failed


# --- the file -------------------------------------------------------------------------------------


def run_of(
    results: Path,
    d: NDArray[np.float64],
    its: Items,
    metric: str = "mine",
    dataset: str = "toy",
    way: str = WAY,
    protocol: Protocol = TWO_AFC,
    facts: dict[str, Any] | None = None,
) -> Run:
    """Write a run of known distances."""
    about = {
        "name": dataset.partition("@")[0],
        "title": "Toy",
        "protocol": protocol.name,
        "human_votes": True,
        "resize": "none",
        "items": len(its),
        "of": len(its),
        "partial": False,
        "sub_datasets": list(its.sub_names),
        "short_names": {},
        **(facts or {}),
    }
    info = {
        "signature": f"{way} || {metric}#11111111",
        "dataset": about,
        "metric": {"name": metric, "tolerance": 1e-5},
        "environment": {"torch": "2.9", "device": "cpu, 2 cores"},
        "items_per_second": 1.0,
    }
    why = "too small" if np.isnan(d).any() else ""
    table = score(protocol, metric, its, d, undefined=why, how=Resampling(20)).table
    table = pd.concat([table, human_rows(protocol, its, Resampling(20))], ignore_index=True)
    return save(results / dataset / metric, whole_facts(info), its, d, table)


def test_distances_are_kept_to_the_bit() -> None:
    short = np.array([[0.1, np.nan], [1e-30, 3.0]], np.float32).astype(np.float64)
    kept = Stored.of(short)
    assert kept.dtype == "float32"
    np.testing.assert_array_equal(kept.array(), short)
    exact = short + 1e-12
    kept = Stored.of(exact)
    assert kept.dtype == "float64"
    np.testing.assert_array_equal(kept.array(), exact)


def test_a_baseline_is_text_that_can_be_read_in_a_diff(here: Path) -> None:
    runs = [run_of(here / "r", distances(20), items(), name) for name in ("b", "a")]
    write(here / "b.json", runs)
    lines = (here / "b.json").read_text().splitlines()
    assert lines[:2] == ["{", ' "pmbench_baseline": 1,']
    assert '    "macro": 66.6667,' in lines
    assert '   "n": 60,' in lines
    assert sum('"zlib"' in line for line in lines) == 2
    known = read(here / "b.json")
    assert [entry.metric for entry in known.runs] == ["a", "b"]
    assert known.runs[0].scores == dict.fromkeys(("one", "two", "macro", "pooled"), 66.6667)
    np.testing.assert_array_equal(known.runs[0].distances.array(), distances(20))
    earlier = (here / "b.json").read_bytes()
    write(here / "b.json", runs[::-1])
    assert (here / "b.json").read_bytes() == earlier


def changed(here: Path, *path: str | int, to: Any) -> Path:
    """Write a baseline of which one thing is another; ``to`` Ellipsis removes it."""
    write(here / "b.json", [run_of(here / "r", distances(20), items())])
    content = json.loads((here / "b.json").read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if to is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    (here / "b.json").write_text(json.dumps(content))
    return here / "b.json"


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
        (
            ["runs", 0, "statistic"],
            "2afd",
            "key 'runs.0.statistic': unknown statistic '2afd'; did ",
        ),
        (
            ["runs", 0, "statistic"],
            "\ud800",
            "key 'runs.0.statistic': unknown statistic '\\ud800'; ",
        ),
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
)
def test_a_damaged_baseline_is_told_by_file_and_key(
    here: Path, path: list[str | int], to: Any, said: str
) -> None:
    file = changed(here, *path, to=to)
    with pytest.raises(PmbenchError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: {said}")


def test_infinite_distances_and_runs_that_stand_there_twice_are_damage(here: Path) -> None:
    file = changed(here, "runs", 0, "n", to=60)
    content = json.loads(file.read_text())
    content["runs"] *= 2
    file.write_text(json.dumps(content))
    with pytest.raises(PmbenchError, match="the whole file: mine on toy stands in it twice"):
        read(file)
    with pytest.raises(ValueError, match="expected finite distances, or NaN where the metric is"):
        Stored.of(np.array([[np.inf]]))


def test_a_byte_order_mark_is_read_over(here: Path) -> None:
    write(here / "b.json", [run_of(here / "r", distances(20), items())])
    (here / "b.json").write_bytes(b"\xef\xbb\xbf" + (here / "b.json").read_bytes())
    assert [entry.metric for entry in read(here / "b.json").runs] == ["mine"]


def test_two_runs_of_one_name_are_refused_and_the_good_file_stays(here: Path) -> None:
    run = run_of(here / "r", distances(20), items())
    write(here / "b.json", [run])
    good = (here / "b.json").read_bytes()
    copy = replace(run, folder=run.folder.with_name("mine-old"))
    shutil.copytree(run.folder, copy.folder)
    with pytest.raises(PmbenchError) as caught:
        write(here / "b.json", [run, copy])
    assert str(caught.value) == (
        f"{run.folder} and {copy.folder} are both runs of mine on toy, and a baseline holds one; "
        "move the one that is not meant out of the results"
    )
    assert (here / "b.json").read_bytes() == good


def test_a_run_that_does_not_know_its_device_has_a_block_too(here: Path) -> None:
    run = run_of(here / "r", distances(20), items())
    del run.info["environment"]["device"]
    assert measured(run).made_with == "torch 2.9, an unknown device"


def test_a_truncated_line_of_distances_is_damage(here: Path) -> None:
    packed = Stored.of(np.random.default_rng(0).random((60, 2))).zlib
    file = changed(here, "runs", 0, "distances", "zlib", to=packed[:-8])
    with pytest.raises(PmbenchError, match=r"key 'runs.0.distances'"):
        read(file)


def test_a_newer_baseline_says_which_pmbench_wrote_it(here: Path) -> None:
    file = changed(here, "pmbench_baseline", to=7)
    content = json.loads(file.read_text()) | {"pmbench": "3.1.4"}
    file.write_text(json.dumps(content))
    with pytest.raises(PmbenchError) as caught:
        read(file)
    assert str(caught.value) == (
        f"{file}: key 'pmbench_baseline': a baseline of format 7, written by pmbench 3.1.4; this "
        "pmbench 0.1.0 reads format 1; install that version, or write one with `pmbench baseline "
        "-o FILE`"
    )


# --- the command line -----------------------------------------------------------------------------


def made(here: Path) -> None:
    """Measure two metrics, and make them the baseline."""
    run_of(here / "results", distances(20), items(), "mine")
    run_of(here / "results", distances(25), items(), "other")
    told = pmbench("baseline", "-o", "b.json").stdout
    assert told.startswith("b.json: 2 runs, ")


def test_what_did_not_change_passes(here: Path) -> None:
    made(here)
    told = pmbench("check", "--baseline", "b.json").stdout
    assert "passed: 2 same" in told
    assert told.splitlines()[2].split() == ["metric", "before", "now", "change", "moved", "verdict"]
    assert told.splitlines()[4].split() == ["mine", "66.67", "66.67", "0", "0", "same"]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_a_terminal(
    here: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    made(here)
    run_of(here / "results", distances(10), items(), "mine")
    long = "torchmetrics-structural-similarity-of-many-scales-in-a-name-that-is-too-long"
    run_of(here / "results", distances(10), items(), long)
    monkeypatch.setenv("COLUMNS", str(columns))
    told = pmbench("check", "--baseline", "b.json", code=1).stdout
    assert max(map(len, told.splitlines())) <= columns
    row = next(line for line in told.splitlines() if line.startswith("mine"))
    assert row.split() == ["mine", "66.67", "33.33", "-33.33", "1.0e+00", "worse"]
    below = told.splitlines()[told.splitlines().index(row) + 1].split()
    assert below[1] == "to"
    said = one_line(told)
    assert "worse: mine: by 33.33 points (95 % interval " in said
    assert "failed: 1 worse, of 3 compared with b.json" in said
    assert "if that is as intended, accept it: `pmbench baseline -o b.json`" in said
    assert "before, now: macro score in percent; change: in points, with its paired 95 %" in said
    assert long[:20] in said.replace(" ", "")


def test_a_chosen_metric_or_dataset_alone_is_checked(here: Path) -> None:
    made(here)
    run_of(here / "results", distances(10), items(), "mine")
    assert "passed: 1 same" in pmbench("check", "--baseline", "b.json", "-m", "other").stdout
    pmbench("check", "--baseline", "b.json", "-m", "mine,other", code=1)
    pmbench("check", "--baseline", "b.json", "-d", "toy", code=1)
    run_of(here / "results", distances(10), items(), "mine", dataset="toy@first30")
    assert "new" in pmbench("check", "--baseline", "b.json", "-d", "toy", code=1).stdout
    assert refused("--baseline", "b.json", "-d", "ladder") == (
        "nothing to compare: neither b.json nor results holds these metrics on these datasets; "
        "leave out --metric or --dataset to compare everything"
    )


def test_a_baseline_of_a_part_says_what_is_no_longer_in_it(here: Path) -> None:
    made(here)
    result = pmbench("baseline", "-o", "b.json", "-m", "other")
    assert one_line(result.stderr) == "no longer in b.json: mine on toy"
    assert [entry.metric for entry in read(here / "b.json").runs] == ["other"]
    (here / "b.json").write_text('{"pmbench_baseline": 1')  # cut off
    assert pmbench("baseline", "-o", "b.json").stderr == ""


def test_the_summary_is_appended_and_folds_what_is_the_same_away(here: Path) -> None:
    made(here)
    run_of(here / "results", distances(10), items(), "mine")
    (here / "summary.md").write_text("# before\n")
    pmbench("check", "--baseline", "b.json", "--summary", "summary.md", code=1)
    lines = (here / "summary.md").read_text().splitlines()
    assert lines[0] == "# before"
    assert lines[1] == "### pmbench check: failed: 1 worse, of 2 compared with b.json"
    assert "| metric | before | now | change | moved | verdict |" in lines
    (row,) = [line for line in lines if line.startswith("| `mine`")]
    assert row.startswith("| `mine` | 66.67 | 33.33 | -33.33 (-")
    assert row.endswith("| 1.0e+00 | **worse** |")
    assert "<summary>1 same</summary>" in lines
    assert "- if that is as intended, accept it: `pmbench baseline -o b.json`" in lines


@pytest.mark.parametrize("option", ["--summary", "--junit"])
def test_a_file_that_cannot_be_written_does_not_lose_the_result(here: Path, option: str) -> None:
    made(here)
    run_of(here / "results", distances(10), items(), "mine")
    result = pmbench("check", "--baseline", "b.json", option, "", code=2)
    assert "failed: 1 worse, of 2 compared with b.json" in result.stdout
    assert one_line(result.stderr) == (
        f"{option} '.': expected the name of a file, got a folder or an empty name; is a variable "
        "unset, such as GITHUB_STEP_SUMMARY outside of GitHub's jobs?"
    )


def test_markdown_makes_nothing_else_of_names() -> None:
    strange = replace(judged(toy(), toy(10)), name="cmd|x", told="by *much* in a_b_c, see `a_b`")
    text = to_markdown(Findings("b", (strange,), ("failed: <b>",), True))
    assert "`cmd¦x`" in text
    assert r"by \*much\* in a\_b\_c, see `a_b`" in text
    assert r"failed: \<b\>" in text


def test_junit_is_read_back(here: Path) -> None:
    made(here)
    run_of(here / "results", distances(10), items(), "mine")
    run_of(here / "results", distances(10), items(), "fresh & <new>")
    pmbench("check", "--baseline", "b.json", "--junit", "out/check.xml", code=1)
    root = ElementTree.parse(here / "out" / "check.xml").getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    assert suite.attrib == {
        "name": "toy", "tests": "3", "failures": "1", "errors": "0", "skipped": "0",
    }  # fmt: skip
    cases = {case.attrib["name"]: case for case in suite}
    assert list(cases) == ["fresh & <new>", "mine", "other"]
    assert {case.attrib["classname"] for case in suite} == {"toy"}
    (failure,) = cases["mine"]
    assert failure.attrib["type"] == "worse"
    assert failure.attrib["message"].startswith("worse: by 33.33 points (95 % interval ")
    assert failure.text is not None
    assert failure.text.startswith("before 66.67, now 33.33, change -33.33 (-")
    assert len(cases["other"]) == 0
    assert cases["fresh & <new>"][0].text == "new: it is not in b.json yet"


def test_junit_has_no_character_that_xml_forbids() -> None:
    strange = replace(judged(toy(), toy(10)), name="bell\a", told="\x00 and \ud800")
    text = to_junit(Findings("b", (strange,), ("failed",), True))
    (case,) = ElementTree.fromstring(text.encode()).iter("testcase")
    assert case.attrib["name"] == "bell?"
    assert case[0].attrib["message"] == "worse: ? and ?"


def test_json_says_everything(here: Path) -> None:
    made(here)
    run_of(here / "results", distances(10), items(), "mine")
    content = json.loads(pmbench("check", "--baseline", "b.json", "--json", code=1).stdout)
    assert content["failed"] is True
    assert content["against"] == "b.json"
    first, second = content["found"]
    assert (first["name"], first["verdict"], first["fails"]) == ("mine", "worse", True)
    assert first["change"] == pytest.approx(-100 / 3)
    assert first["allowed"] == 1e-5
    assert (second["name"], second["verdict"], second["told"]) == ("other", "same", "")
    run_of(here / "results", undefined(), items(), "mine")
    content = json.loads(pmbench("check", "--baseline", "b.json", "--json", code=1).stdout)
    assert content["found"][0]["moved"] is None  # infinite


def undefined() -> NDArray[np.float64]:
    d = distances(20)
    d[0] = np.nan
    return d


def refused(*words: str | Path) -> str:
    return one_line(pmbench("check", *words, code=2).stderr)


def test_what_is_asked_wrongly_is_answered_in_a_sentence(here: Path) -> None:
    assert refused() == (
        "pmbench check needs one thing to compare with: --baseline FILE, or --published"
    )
    assert refused("--baseline", "b.json", "--published").startswith("pmbench check needs one")
    assert refused("--baseline", "b.json") == (
        "b.json: there is no such baseline; write one with `pmbench baseline -o FILE`"
    )
    (here / "b.json").write_text("scores: 3")
    assert refused("--baseline", "b.json").startswith(
        "b.json: expected the JSON text of a baseline, and it is not valid (Expecting value"
    )
    (here / "b.json").write_bytes(b"\xff\xfe")
    assert "expected the JSON text of a baseline" in refused("--baseline", "b.json")
    (here / "b.json").write_text("[]")
    assert "key 'pmbench_baseline': no such key, so this is some other JSON" in refused(
        "--baseline", "b.json"
    )
    for wrong in ("-0.1", "nan", "inf"):
        assert refused("--baseline", "b.json", "--tolerance", wrong) == (
            f"--tolerance {wrong}: expected points of a percent score, 0 or more"
        )
    assert refused("--published", "--tolerance", "1") == (
        "--tolerance and --allow-changed go with --baseline; published scores have tolerances of "
        "their own, in the dataset's manifest"
    )
    assert refused("--published", "--allow-changed").startswith("--tolerance and --allow-changed")


def test_without_runs_there_is_nothing_to_check(here: Path) -> None:
    made(here)
    assert refused("--baseline", "b.json", "--results", "elsewhere") == (
        "no runs in elsewhere; make some with `pmbench eval`, or name another folder with --results"
    )
    assert one_line(pmbench("baseline", "-o", "c.json", "--results", "x", code=2).stderr) == (
        "no runs in x; make some with `pmbench eval`, or name another folder with --results"
    )
    assert not (here / "c.json").exists()


def test_unknown_names_are_answered_with_close_ones(here: Path) -> None:
    made(here)
    assert refused("--baseline", "b.json", "-m", "othr") == (
        "unknown metric 'othr'; did you mean other?"
    )
    assert refused("--baseline", "b.json", "-d", "toyy") == (
        "unknown dataset 'toyy'; did you mean toy?"
    )
    assert one_line(pmbench("baseline", "-o", "c", "-m", "min", code=2).stderr) == (
        "unknown metric 'min'; did you mean mine?"
    )
    told = one_line(pmbench("baseline", "-o", "c", "-d", "ladder", code=2).stderr)
    assert told == (
        "no run in results is of these metrics on these datasets; there are toy/mine, toy/other"
    )


def test_a_damaged_run_is_told_and_missing(here: Path) -> None:
    made(here)
    (here / "results" / "toy" / "mine" / "run.json").write_text("{}")
    result = pmbench("check", "--baseline", "b.json", code=1)
    assert "left out: results/toy/mine/run.json: expected a run" in one_line(result.stderr)
    assert "failed: 1 missing" in result.stdout


def test_the_check_itself_needs_no_torch(here: Path) -> None:
    made(here)
    code = (
        "import sys; from pmbench.cli import app\n"
        "try: app(['check', '--baseline', 'b.json'])\n"
        "except SystemExit as ended: print(ended.code, 'torch' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
    assert told.splitlines()[-1] == "0 False"


def test_a_file_that_is_no_baseline_is_not_replaced(here: Path) -> None:
    run_of(here / "results", distances(20), items(), "mine")
    (here / "mine.py").write_text("the only copy")
    told = pmbench("baseline", "-o", "mine.py", code=2).stderr
    assert one_line(told) == (
        "mine.py is there, and is no baseline; it is left as it is: name another file with -o, or "
        "delete it"
    )
    assert (here / "mine.py").read_text() == "the only copy"

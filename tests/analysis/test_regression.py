"""Runs against a baseline: how far distances moved, and each verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.baselines import (
    EACH,
    WAY,
    WRONG,
    change_between,
    distances,
    items,
    measurement,
    run_of,
)

from pmbench.analysis.baseline import run_scores, to_entry
from pmbench.analysis.regression import Change, Rules, check, compare, relative_changes
from pmbench.scoring.protocols import JND

# --- how far distances moved ----------------------------------------------------------------------


def test_moves_are_relative_to_what_a_distance_was() -> None:
    moves = relative_changes(
        np.array([[1.0, 2.0], [-4.0, 2.0]]), np.array([[1.1, 2.0], [-4.2, 1.0]])
    )
    assert moves == pytest.approx(np.array([[0.1, 0], [0.05, 0.5]]))


def test_tiny_distances_are_measured_by_a_tenth_of_the_typical_one() -> None:
    before = np.array([[2.0], [2.0], [0.0], [1e-9]])  # median 1: (0 + 1e-9, 2, 2) -> 1.0000000005
    moves = relative_changes(before, before + np.array([[0.0], [0.0], [1e-8], [-1e-9]]))
    assert moves[:, 0] == pytest.approx([0, 0, 1e-7, 1e-8])


def test_a_distance_that_comes_or_goes_moved_infinitely_and_zeros_did_not_move() -> None:
    before = np.array([[np.nan], [np.nan], [0.0]])
    assert relative_changes(before, np.array([[np.nan], [1.0], [0.0]]))[:, 0].tolist() == [
        0, math.inf, 0,
    ]  # fmt: skip
    assert relative_changes(np.zeros((2, 1)), np.zeros((2, 1))).tolist() == [[0], [0]]
    assert relative_changes(np.zeros((1, 1)), np.ones((1, 1))).tolist() == [[math.inf]]


# --- the verdicts ---------------------------------------------------------------------------------


def test_worse_and_better_need_a_change_beyond_the_tolerance_with_a_sure_interval() -> None:
    result = change_between(measurement(20), measurement(10))
    assert (result.verdict, result.fails) == ("worse", True)
    assert (result.before, result.now) == (pytest.approx(66.6667), pytest.approx(100 / 3))
    assert result.change == pytest.approx(-100 / 3)
    assert result.low is not None
    assert result.high is not None
    # a third of the items lost: ±1.96·√(⅓·⅔/60) is ±11.9 points
    assert result.low == pytest.approx(-45.3, abs=2)
    assert result.high == pytest.approx(-21.4, abs=2)
    assert result.message.startswith("by 33.33 points (95 % interval 2")
    assert "40 of 120 distances moved by more than 1e-05, by up to 1.0e+00" in result.message
    better = change_between(measurement(10), measurement(20))
    assert (better.verdict, better.fails) == ("better", False)
    assert better.change == pytest.approx(100 / 3)


def test_a_sure_change_within_the_tolerance_is_no_more_than_changed() -> None:
    result = change_between(measurement(20), measurement(10), tolerance=40)
    assert (result.verdict, result.fails) == ("changed", True)
    assert result.message.startswith("40 of 120 distances moved")


def test_a_change_beyond_the_tolerance_that_one_item_makes_is_no_more_than_changed() -> None:
    now = distances(20)
    now[0] = WRONG
    result = change_between(measurement(20), measurement(distances=now))
    assert result.change == pytest.approx(-100 / 60)
    assert result.low < 0 < result.high  # one item: z is 1
    assert result.verdict == "changed"
    assert (
        "2 of 120 distances moved by more than 1e-05, by up to 1.0e+00 (item 00)" in result.message
    )


def test_without_independent_items_there_is_no_interval_and_nothing_is_sure() -> None:
    alone = items(cluster=np.zeros(2 * EACH, np.int64))
    result = change_between(measurement(20, items=alone), measurement(10, items=alone))
    assert result.change == pytest.approx(-100 / 3)
    assert (result.low, result.high, result.verdict) == (None, None, "changed")
    people = replace(alone, p=np.tile([1.0, 0.0], EACH))
    ranked = measurement(protocol=JND, items=people, distances=np.tile([[1.0], [2.0]], (EACH, 1)))
    result = change_between(ranked, replace(ranked, distances=-ranked.distances))
    assert (result.low, result.high, result.verdict) == (None, None, "changed")


def test_what_rounding_does_to_ties_is_no_change() -> None:
    even = np.ones((2 * EACH, 2))
    tipped = even.copy()
    tipped[:, 1] -= 1e-6  # every item is right now, which scored a half before
    result = change_between(measurement(distances=even), measurement(distances=tipped))
    assert result.change == pytest.approx(50)
    assert (result.verdict, result.fails, result.moved) == ("same", False, pytest.approx(1e-6))
    further = even.copy()
    further[:, 1] -= 2e-5
    assert (
        change_between(measurement(distances=even), measurement(distances=further)).verdict
        == "better"
    )


def test_the_declared_tolerance_says_what_has_changed() -> None:
    now = distances(20) * (1 + 5e-4)
    assert change_between(measurement(), measurement(distances=now)).verdict == "changed"
    assert (
        change_between(measurement(), measurement(distances=now, tolerance=1e-3)).verdict == "same"
    )
    # the block's where the run says nothing, and 1e-5 where neither does
    kept = change_between(measurement(tolerance=1e-3), measurement(distances=now, tolerance=None))
    assert (kept.verdict, kept.allowed) == ("same", 1e-3)
    usual = change_between(measurement(tolerance=None), measurement(distances=now, tolerance=None))
    assert (usual.verdict, usual.allowed) == ("changed", 1e-5)


def test_a_wide_tolerance_of_distances_hides_no_score() -> None:
    wide = 5.0  # as where the phase of nothing is noise
    assert (
        change_between(measurement(20, tolerance=wide), measurement(10, tolerance=wide)).verdict
        == "worse"
    )


def test_nothing_moved_is_the_same_and_a_new_signature_of_the_metric_is_told() -> None:
    result = change_between(measurement(), measurement())
    assert (result.verdict, result.change, result.moved, result.message) == ("same", 0, 0, "")
    result = change_between(
        measurement(), measurement(signature=f"{WAY} || mine#22222222", made_with="torch 3, cpu")
    )
    assert (result.verdict, result.fails) == ("same", False)
    assert result.message == "another signature of the metric: mine#11111111, now mine#22222222"


def test_another_environment_is_told_where_something_changed() -> None:
    now = measurement(
        10, made_with="torch 3.0, cpu", signature=f"{WAY.replace('0.1', '0.2')} || mine#1"
    )
    message = change_between(measurement(20, signature=f"{WAY} || mine#1"), now).message
    assert "the baseline was made by pmbench:0.1" in message
    assert "the baseline was made with torch 2.9, cpu, 2 cores; now torch 3.0, cpu" in message


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
    now = measurement(signature=f"{WAY.replace(part, other)} || mine#11111111")
    result = change_between(measurement(), now)
    assert (result.verdict, result.fails, result.change) == ("not comparable", True, None)
    assert result.message == (
        f"the baseline differs in {said}; measure on the same data in the same way, or accept "
        "what is new with `pmbench baseline`"
    )


def test_a_signature_of_one_part_is_not_compared() -> None:
    result = change_between(measurement(signature="x || mine#11111111"), measurement())
    assert (result.verdict, result.fails) == ("not comparable", True)


def test_items_of_other_ids_are_not_compared_whatever_the_signature_says() -> None:
    strange = replace(items(), id=np.array([f"x{i:02}" for i in range(60)], object))
    assert (
        "differs in items (their ids)"
        in change_between(measurement(), measurement(items=strange)).message
    )


def test_a_metric_that_lost_items_or_its_score_is_worse_whatever_is_allowed() -> None:
    known = to_entry(measurement(20))
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
        result = check(
            "b", [known], [measurement(distances=d)], Rules(allow_changed=True), "ACCEPT"
        )
        assert result.failed
        (one,) = result.findings
        assert isinstance(one, Change)
        assert (one.verdict, one.message, one.moved) == ("worse", said, math.inf)
        assert result.messages[0] == "failed: 1 worse, of 1 compared with b"
        assert "--allow-changed" not in " ".join(result.messages)
    assert (one.before, one.now) == (pytest.approx(66.6667), None)
    traded = distances(20)
    traded[0] = np.nan
    assert (
        change_between(measurement(distances=traded), measurement(distances=now)).verdict == "worse"
    )


def test_a_metric_that_is_defined_on_more_items_has_changed() -> None:
    fewer = distances(20)
    fewer[3] = np.nan
    result = change_between(measurement(distances=fewer), measurement(20))
    assert (result.verdict, result.moved) == ("changed", math.inf)
    assert "the metric is now defined on other items than before (1 differ)" in result.message
    nowhere = measurement(distances=np.full((60, 2), np.nan))
    result = change_between(nowhere, nowhere)
    assert (result.verdict, result.change, result.now) == ("same", None, None)


def test_the_order_of_the_items_is_of_no_consequence(empty_folder: Path) -> None:
    order = np.random.default_rng(0).permutation(60)
    d = distances(20) * np.linspace(1, 2, 60)[:, None]
    kept = run_of(empty_folder / "a", d, items())
    shuffled = run_of(empty_folder / "b", d[order], items().take(order))
    result = compare(to_entry(run_scores(kept)), run_scores(shuffled), Rules())
    assert (result.verdict, result.moved) == ("same", 0)


def test_jnd_is_judged_by_its_mean_average_precision() -> None:
    people = replace(items(), p=np.tile([1.0, 0.0], EACH))
    ranked = np.tile([[1.0], [2.0]], (EACH, 1))  # who said the same is ranked first
    before = measurement(protocol=JND, items=people, distances=ranked)
    assert before.scores()["macro"] == 1
    assert change_between(before, replace(before, distances=-ranked)).verdict == "worse"


def test_scores_that_do_not_follow_from_the_distances_are_told() -> None:
    entry = to_entry(measurement(20))
    message = (
        "the baseline's scores do not follow from its distances (macro: {}, from the distances "
        "{}): it was edited, or pmbench:0.1 scored in another way; write it anew with "
        "`pmbench baseline`"
    )
    raised = entry.model_copy(update={"scores": entry.scores | {"macro": 66.6669}})
    result = compare(raised, measurement(20), Rules(allow_changed=True))
    assert (result.verdict, result.fails) == ("not comparable", True)
    assert result.message == message.format("66.6669", "66.6667")
    without = {place: value for place, value in entry.scores.items() if place != "macro"}
    result = compare(entry.model_copy(update={"scores": without}), measurement(20), Rules())
    assert result.message == message.format("none", "66.6667")
    # of rounding to four decimals nothing is told
    near = entry.model_copy(update={"scores": entry.scores | {"macro": 66.66675}})
    assert compare(near, measurement(20), Rules()).verdict == "same"


def test_another_statistic_is_not_compared() -> None:
    other = to_entry(measurement()).model_copy(update={"statistic": "map"})
    result = compare(other, measurement(), Rules())
    assert (result.verdict, result.fails) == ("not comparable", True)
    assert "the baseline differs in statistic (map, now 2afc); measure on" in result.message


def test_all_together_and_what_to_do() -> None:
    gone, fresh = measurement(metric="gone"), measurement(metric="fresh")
    known = [to_entry(measurement(20)), to_entry(gone)]
    result = check("b.json", known, [measurement(10), fresh], Rules(), "pmbench baseline -o b.json")
    assert [(one.name, one.verdict) for one in result.findings] == [
        ("fresh", "new"),
        ("gone", "missing"),
        ("mine", "worse"),
    ]
    assert result.failed
    assert result.messages == (
        "failed: 1 missing, 1 worse, of 3 compared with b.json",
        "if that is as intended, accept it: `pmbench baseline -o b.json`",
    )
    by_name = {one.name: one for one in result.findings}
    assert by_name["gone"].message == (
        "it is in b.json, and there is no run of it; did it fail, or was it left out?"
    )
    assert by_name["fresh"].message == "it is not in b.json yet"


def test_what_passes_is_said_too() -> None:
    result = check(
        "b.json",
        [to_entry(measurement())],
        [measurement(), measurement(metric="x")],
        Rules(),
        "ACCEPT",
    )
    assert not result.failed
    assert result.messages == ("passed: 1 same, 1 new", "`ACCEPT` makes that the baseline")


def test_changed_alone_fails_unless_allowed() -> None:
    now = measurement(distances=distances(20) * 1.01)
    known = [to_entry(measurement())]
    result = check("b.json", known, [now], Rules(), "ACCEPT")
    assert result.messages == (
        "failed: 1 changed, of 1 compared with b.json",
        "no score is surely worse for it; --allow-changed lets that pass",
        "if that is as intended, accept it: `ACCEPT`",
    )
    result = check("b.json", known, [now], Rules(allow_changed=True), "ACCEPT")
    assert not result.failed
    assert result.messages[:2] == (
        "passed: 1 changed",
        "changed distances pass, as --allow-changed says",
    )
    worse = check("b.json", known, [measurement(5)], Rules(allow_changed=True), "ACCEPT")
    assert worse.failed

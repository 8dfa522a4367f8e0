"""Holm's correction, rank ranges and letters; standings of runs."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.factories import run_info
from support.refusals import message_of
from support.votes import items_of, jnd_distances, jnd_items, many_items, noisy_distances

from pmbench.analysis.alignment import overall_scores
from pmbench.analysis.paired import difference, pairwise
from pmbench.analysis.ranking import RankRange, holm, letter_display, rank_ranges, ranked
from pmbench.datasets.pack import Items
from pmbench.results.run import Run, save
from pmbench.scoring import joint_scores as joint_module
from pmbench.scoring.bootstrap import DEFAULT_RESAMPLING, Resampling
from pmbench.scoring.joint_scores import JointScores, joint
from pmbench.scoring.protocols import JND, TWO_AFC, Protocol
from pmbench.scoring.scores import score
from pmbench.scoring.statistics import Array

MAIN = TWO_AFC.statistics[0]
HOW = Resampling(count=200)


def symmetric(k: int, pairs: dict[tuple[int, int], float], rest: float = 0.0) -> Array:
    made = np.full((k, k), rest)
    for (i, j), value in pairs.items():
        made[i, j] = made[j, i] = value
    return made


def display(k: int, *apart: tuple[int, int]) -> list[str]:
    return letter_display(symmetric(k, dict.fromkeys(apart, 1.0)).astype(bool))


def shared_letters(letters: list[str], i: int, j: int) -> set[str]:
    one, other = (set(re.findall(r"[a-z]\d*", letters[x])) for x in (i, j))
    return one & other


# --- Holm -----------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .035 .2 .5, times 6 5 4 3 2 1, never less than the one before
    p = symmetric(
        4, {(0, 1): 0.01, (0, 2): 0.035, (0, 3): 0.03, (1, 2): 0.005, (1, 3): 0.5, (2, 3): 0.2}, 1.0
    )
    adjusted = holm(p)
    assert adjusted[1, 2] == pytest.approx(0.03)
    assert adjusted[0, 1] == pytest.approx(0.05)
    assert adjusted[0, 3] == adjusted[0, 2] == pytest.approx(0.12)
    assert adjusted[2, 3] == pytest.approx(0.4)
    assert adjusted[1, 3] == pytest.approx(0.5)
    assert (adjusted == adjusted.T).all()
    assert (np.diag(adjusted) == 1).all()


def test_holm_of_one_pair_changes_nothing_and_unknown_p_stays_so() -> None:
    assert holm(symmetric(2, {(0, 1): 0.04}, 1.0))[0, 1] == pytest.approx(0.04)
    assert np.isnan(holm(symmetric(2, {(0, 1): np.nan}, 1.0))[0, 1])
    # of three pairs, of which one is unknown
    adjusted = holm(symmetric(3, {(0, 1): 0.01, (0, 2): np.nan, (1, 2): 0.6}, 1.0))
    assert adjusted[0, 1] == 0.03
    assert np.isnan(adjusted[[0, 2], [2, 0]]).all()


# --- letters --------------------------------------------------------------------------------------


def test_letters_by_hand() -> None:
    assert display(1) == ["a"]
    assert display(3) == ["a", "a", "a"]
    assert display(3, (0, 1), (0, 2), (1, 2)) == ["a", "b", "c"]
    assert display(3, (0, 2)) == ["a", "ab", "b"]  # the middle one is like both
    assert display(4, (0, 2), (0, 3), (1, 3)) == ["a", "ab", "bc", "c"]
    assert display(4, (0, 1), (2, 3)) == ["ab", "cd", "ac", "bd"]
    # the worst is not told from the best, since it varies more
    assert display(4, (0, 2), (1, 2), (0, 1)) == ["a", "b", "c", "abc"]


def test_letters_that_say_nothing_new_are_taken_away() -> None:
    # Piepho's second phase: without it the second group, which adds one pair, names five
    letters = display(6, (0, 4), (1, 5), (0, 5))
    assert sum(map(len, letters)) <= 10
    for i, j in combinations(range(6), 2):
        assert bool(shared_letters(letters, i, j)) == ((i, j) not in {(0, 4), (1, 5), (0, 5)})


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 12), st.data())
def test_metrics_share_a_letter_if_and_only_if_they_are_not_told_apart(
    k: int, data: st.DataObject
) -> None:
    pairs = list(combinations(range(k), 2))
    apart = {pair for pair in pairs if data.draw(st.booleans())}
    letters = display(k, *apart)
    assert all(letters)
    for i, j in pairs:
        assert bool(shared_letters(letters, i, j)) == ((i, j) not in apart)
    assert letters[0].startswith("a")


def test_letters_go_on_after_z() -> None:
    k = 60
    letters = display(k, *combinations(range(k), 2))
    assert letters[:2] + letters[25:28] + letters[52:53] == ["a", "b", "z", "a1", "b1", "a2"]
    assert len(set(letters)) == k


def test_letters_of_many_unrelated_pairs_take_no_exponential_time() -> None:
    k = 80
    begun = time.perf_counter()
    display(k, *((2 * i, 2 * i + 1) for i in range(k // 2)))  # 2^40 largest groups
    assert time.perf_counter() - begun < 5


# --- ranks ----------------------------------------------------------------------------------------


def scores_of(
    names: Sequence[str], values: Sequence[float] | Array, covariance: Array, freedom: float = 1e9
) -> JointScores:
    return JointScores(
        tuple(names), "macro", np.array(values), covariance, freedom, n=1000, independent=1000
    )


def test_rank_ranges_by_hand() -> None:
    # sd of a difference is .014; .9 and .89 are alike, .8 is worse than both, .79 is like .8
    result = ranked(scores_of(["w", "x", "y", "z"], [0.8, 0.9, 0.79, 0.89], 1e-4 * np.eye(4)))
    assert result == {
        "x": RankRange(low=1, high=2, letters="a"),
        "z": RankRange(low=1, high=2, letters="a"),
        "w": RankRange(low=3, high=4, letters="b"),
        "y": RankRange(low=3, high=4, letters="b"),
    }


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 9), st.integers(0, 10**6))
def test_a_rank_is_within_its_range(k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, root = rng.random(k), rng.normal(size=(k, k)) / 10
    names = [f"m{i}" for i in range(k)]
    result = ranked(scores_of(names, scores, root @ root.T))
    for rank, i in enumerate(np.argsort(-scores), start=1):
        one = result[f"m{i}"]
        assert 1 <= one.low <= rank <= one.high <= k
    assert result[f"m{np.argmax(scores)}"].may_be_best


def test_pairwise_p_are_those_of_the_differences() -> None:
    items = many_items()
    distances = {f"m{k}": noisy_distances(items, 0.3 + 0.1 * k, k) for k in range(4)}
    result = joint(TWO_AFC, MAIN, items, distances, HOW)
    z, p = pairwise(result["macro"])
    for a, b in combinations(range(4), 2):
        one = difference(result["macro"], f"m{a}", f"m{b}")
        assert (z[a, b], p[a, b]) == (pytest.approx(one.z), pytest.approx(one.p))


# --- of runs --------------------------------------------------------------------------------------


def saved(
    results: Path, name: str, items: Items, d: Array, protocol: Protocol = TWO_AFC, **how: Any
) -> Run:
    """Save a run, with draws if ``how`` says how, and as one of a way to measure."""
    undefined = "too small" if np.isnan(d).any() else ""
    made = score(
        protocol, name, items, d, undefined=undefined, resampling=how.get("resampling", HOW)
    )
    info = {
        "signature": f"{how.get('way', 'pmbench:0.1|toy:9#01|none|soft|macro|fp32')} || {name}#1",
        "metric": {"name": name},
        "dataset": {
            "name": "toy",
            "title": "Toy",
            "protocol": protocol.name,
            "clusters": how.get("clusters", ""),
        },
    }
    draws = made.draws if how.get("draws", True) else None
    return save(results / "toy" / name, run_info(info), items, d, made.table, draws)


def test_standings_are_those_of_the_joint_scores(tmp_path: Path) -> None:
    items = many_items()
    distances = {f"m{k}": noisy_distances(items, 0.2 + 0.3 * k, k) for k in range(6)}
    runs = [saved(tmp_path, name, items, d) for name, d in distances.items()]
    for name in ("2afc", "hard_majority", "srcc", "plcc"):
        statistic = TWO_AFC.statistic(name)
        expected = ranked(joint(TWO_AFC, statistic, items, distances, HOW)["macro"])
        assert rank_ranges(runs, statistic) == expected
    assert len({one.letters for one in expected.values()}) > 1


def test_jnd_standings_come_from_the_draws_beside_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_module, "_MOST", 0)  # clusters that need no resamples
    items = jnd_items()
    runs = [
        saved(
            tmp_path,
            f"m{k}",
            items,
            jnd_distances(items, 0.2 + 0.6 * k, k),
            JND,
            resampling=DEFAULT_RESAMPLING,
        )
        for k in range(4)
    ]
    asked: list[int] = []
    whole = joint_module.resampled

    def counting(items: Items, estimands: Any, resampling: Resampling) -> Any:
        asked.append(resampling.count)
        return whole(items, estimands, resampling)

    monkeypatch.setattr(joint_module, "resampled", counting)
    stored = rank_ranges(runs, JND.statistics[0])
    assert asked == []
    assert stored["m0"].letters == "a"
    assert stored["m3"].low > 1
    for run in runs:
        (run.folder / "draws.npz").unlink()
    assert rank_ranges(runs, JND.statistics[0]) == stored  # drawn anew, by as many as ever
    assert asked[-1] == 1000


def test_draws_made_in_different_ways_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_module, "_MOST", 0)  # clusters that are left out one by one
    items = jnd_items()
    a, b = jnd_distances(items, 0.5, 1), jnd_distances(items, 0.6, 2)
    runs = [
        saved(tmp_path, "a", items, a, JND, resampling=Resampling(200, 0)),
        saved(tmp_path, "b", items, b, JND, resampling=Resampling(200, 1)),
    ]
    result = joint(JND, JND.main, items, {"a": a, "b": b})["macro"]
    np.testing.assert_allclose(overall_scores(runs, JND.main).covariance, result.covariance)
    # those of the first run alone would do for itself
    alone = overall_scores(runs[:1], JND.main).covariance
    assert alone == pytest.approx(result.covariance[:1, :1], rel=0.5)
    assert alone != pytest.approx(result.covariance[:1, :1], rel=1e-9)


def test_runs_that_know_of_shared_pictures_tell_those_that_do_not(tmp_path: Path) -> None:
    items = many_items()
    of_pictures = replace(items, cluster=np.arange(len(items)) // 4)
    a, b = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.9, 2)
    old = saved(tmp_path, "old", items, a)
    new = saved(tmp_path, "new", of_pictures, b, clusters="triplets with the same reference")
    for runs in ([old, new], [new, old]):
        scores = overall_scores(runs, MAIN)
        assert scores.names == tuple(run.metric for run in runs)
        assert scores.independent == pytest.approx(20, abs=2)


def test_resamples_of_other_clusters_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_module, "_MOST", 0)  # clusters that are left out one by one
    items = many_items()
    of_pictures = replace(items, cluster=np.arange(len(items)) // 4)
    a, b = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.3, 1) + 1e-3
    old = saved(tmp_path, "old", items, a)
    new = saved(tmp_path, "new", of_pictures, b, clusters="triplets with the same reference")
    (one, both), _ = overall_scores([old, new], TWO_AFC.statistic("srcc")).covariance
    assert both == pytest.approx(one)  # almost the same distances, drawn together


def test_items_in_another_order_are_matched_by_their_ids(tmp_path: Path) -> None:
    items = many_items()
    a, b = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.9, 2)
    straight = [saved(tmp_path / "1", "a", items, a), saved(tmp_path / "1", "b", items, b)]
    order = np.random.default_rng(0).permutation(len(items))
    turned = saved(tmp_path / "2", "b", items.take(order), b[order])
    assert rank_ranges([straight[0], turned], MAIN) == rank_ranges(straight, MAIN)
    assert rank_ranges([turned, straight[0]], MAIN) == rank_ranges(straight, MAIN)


@pytest.mark.parametrize("most", [0, 1000])
def test_where_nobody_can_be_judged_nobody_has_a_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(joint_module, "_MOST", most)
    unknown = "a sub-dataset is of one cluster"
    assert ranked(scores_of("ab", [0.9, 0.1], np.full((2, 2), np.nan))) == {}
    assert ranked(scores_of("ab", [0.9, 0.1], np.eye(2), freedom=0)) == {}
    items = jnd_items(60)
    alone = items_of([*items.sub.tolist(), 2], np.append(items.p, 1.0))  # of mAP 1
    runs = [
        saved(tmp_path, f"m{k}", alone, jnd_distances(alone, 0.2 + k, k), JND) for k in range(3)
    ]
    drawn = overall_scores(runs, JND.main)
    assert (drawn.independent, drawn.unknown) == (1, unknown)
    assert rank_ranges(runs, JND.statistics[0]) == {}  # from what lies beside the runs
    for run in runs:
        (run.folder / "draws.npz").unlink()
    assert rank_ranges(runs, JND.statistics[0]) == {}  # and drawn anew
    # a correlation, which a single pair does not have, is not of its sub-dataset
    assert set(rank_ranges(runs, JND.statistic("srcc"))) == {"m0", "m1", "m2"}


def test_a_sub_dataset_of_one_item_does_not_hide_who_is_better(tmp_path: Path) -> None:
    items = many_items(200)
    alone = items_of([*items.sub.tolist(), 3], np.append(items.p, 1.0))
    good, bad = noisy_distances(alone, 0.05, 1), noisy_distances(alone, 50.0, 2)
    result = rank_ranges([saved(tmp_path, "bad", alone, bad), saved(tmp_path, "good", alone, good)],
                      MAIN)  # fmt: skip
    assert set(result) == {"good", "bad"}
    assert result["good"].low == 1


def test_draws_that_cannot_be_read_are_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_module, "_MOST", 0)
    items = jnd_items()
    runs = [
        saved(
            tmp_path,
            f"m{k}",
            items,
            jnd_distances(items, 0.2 + k, k),
            JND,
            resampling=DEFAULT_RESAMPLING,
        )
        for k in range(3)
    ]
    whole = rank_ranges(runs, JND.statistics[0])
    path = runs[1].folder / "draws.npz"
    path.write_bytes(path.read_bytes()[:300])
    assert rank_ranges(runs, JND.statistics[0]) == whole


def test_metrics_without_a_whole_score_are_left_out(tmp_path: Path) -> None:
    items = many_items()
    part, still = noisy_distances(items, 0.3, 3), noisy_distances(items, 0.3, 4)
    part[:5] = np.nan
    still[items.sub == 2] = 0.5
    runs = [
        saved(tmp_path, "a", items, noisy_distances(items, 0.3, 1)),
        saved(tmp_path, "b", items, noisy_distances(items, 0.3, 2)),
        saved(tmp_path, "part", items, part),
        saved(tmp_path, "still", items, still),
    ]
    assert set(rank_ranges(runs, MAIN)) == {"a", "b", "still"}
    assert set(rank_ranges(runs, TWO_AFC.statistic("srcc"))) == {"a", "b"}  # no ranks to correlate
    assert rank_ranges(runs[1:3], MAIN) == {}
    assert rank_ranges(runs[:1], MAIN) == {}
    assert rank_ranges([], MAIN) == {}


def test_runs_of_different_ways_are_refused(tmp_path: Path) -> None:
    items = many_items()
    d = noisy_distances(items, 0.3, 1)
    runs = [
        saved(tmp_path, "a", items, d),
        saved(tmp_path, "b", items, d, way="pmbench:0.1|toy:9#02|exact4|soft|macro|fp32"),
    ]
    assert message_of(rank_ranges, runs, MAIN) == (
        "toy/a and toy/b cannot be compared: they differ in items (toy:9#01 and toy:9#02), resize "
        "mode (none and exact4); run `pmbench eval` again for the older one, with the same options"
    )


def test_runs_of_one_signature_and_other_items_are_refused(tmp_path: Path) -> None:
    items = many_items()
    d = noisy_distances(items, 0.3, 1)
    runs = [saved(tmp_path, "a", items, d)]
    fewer = np.arange(len(items) - 1)
    runs.append(saved(tmp_path, "b", items.take(fewer), d[fewer]))
    assert message_of(rank_ranges, runs, MAIN) == (
        f"{tmp_path}/toy/a and {tmp_path}/toy/b have the same signature but not the same items; "
        "one of them was changed by hand; delete it and run `pmbench eval` again"
    )


def test_sixty_runs_of_the_whole_of_bapps_are_ranked_in_a_moment(tmp_path: Path) -> None:
    items = many_items(36344 // 6, subs=6)
    scores = pd.DataFrame()
    runs = []
    for k in range(60):
        run = saved(tmp_path, f"m{k}", items.take(np.arange(9)), np.zeros((9, 2)))
        runs.append(
            save(run.folder, run.info, items, noisy_distances(items, 0.5 + 0.01 * k, k), scores)
        )
    begun = time.process_time()
    result = rank_ranges(runs, MAIN)
    assert time.process_time() - begun < 3  # 0.4 s where nothing else runs
    assert len(result) == 60
    assert result["m0"].may_be_best
    assert not result["m59"].may_be_best

"""The protocols as whole: what they compare, the golden scores of real BAPPS, human rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.refusals import message_of

from pmbench.datasets.pack import Items
from pmbench.results import csv_io
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.protocols import JND, PROTOCOLS, TWO_AFC, HumanBaseline
from pmbench.scoring.scores import human_rows, score
from pmbench.scoring.statistics import Array, average_precision, ones

SUB_DATASETS = ("traditional", "cnn", "superres", "deblur", "color", "frameinterp")
STATISTICS = ("2afc", "hard_majority", "srcc", "krcc", "plcc")
HUMANS = {
    "human-paper": "self_agreement p^2+(1-p)^2",
    "human-fresh": "fresh human",
    "human-majority": "majority (upper bound)",
}


# --- what they are --------------------------------------------------------------------------------


def test_there_are_two_protocols_known_by_their_names() -> None:
    assert PROTOCOLS == {"2afc": TWO_AFC, "jnd": JND}


def test_2afc_compares_each_candidate_with_the_reference() -> None:
    assert TWO_AFC.roles == ("ref", "p0", "p1")
    assert TWO_AFC.pairs == (("ref", "p0"), ("ref", "p1"))
    assert TWO_AFC.judgement.name == "p"
    assert (TWO_AFC.columns, TWO_AFC.convention) == (("d0", "d1"), "soft")


def test_jnd_takes_p0_as_the_reference() -> None:
    assert JND.roles == ("p0", "p1")
    assert JND.pairs == (("p0", "p1"),)
    assert (JND.judgement.name, JND.columns, JND.convention) == ("same", ("d",), "voc-ap")


def test_the_main_statistic_comes_first() -> None:
    assert [s.name for s in TWO_AFC.statistics] == list(STATISTICS)
    assert [s.name for s in JND.statistics] == ["map", "srcc", "krcc", "plcc"]


def test_shares_are_percentages_and_correlations_are_not() -> None:
    for protocol in PROTOCOLS.values():
        for s in protocol.statistics:
            assert s.percent == (s.name not in ("srcc", "krcc", "plcc"))
            assert protocol.statistic(s.name) is s


def test_the_human_rows_are_named_so_that_only_the_last_is_a_ceiling() -> None:
    titles = {h.name: h.title for h in TWO_AFC.humans}
    assert titles == {
        "human-paper": "Human, the paper's row: p²+(1-p)²",
        "human-fresh": "Human, one person against the others",
        "human-majority": "Upper bound: always with the majority",
    }
    assert [h.title for h in JND.humans] == ["Upper bound: ranked by the votes themselves"]


# --- scores of a set of items ---------------------------------------------------------------------


def test_2afc_by_hand() -> None:
    # p0, p1, p1 chosen, then neither; people: 0.2, 0.8, 0.5, 1.0 for p1
    distances = np.array([[1, 2], [4, 1], [3, 1], [2, 2.0]])
    result = TWO_AFC.score(distances, np.array([0.2, 0.8, 0.5, 1.0]))
    assert result["2afc"] == pytest.approx((0.8 + 0.8 + 0.5 + 0.5) / 4, abs=1e-15)
    assert result["hard_majority"] == pytest.approx((1 + 1 + 0.5) / 3, abs=1e-15)  # p = ½ is out
    # d0 - d1 = -1, 3, 2, 0 has the ranks 1 4 3 2, p the ranks 1 3 2 4: sum of squares 6 of n = 4
    assert result["srcc"] == pytest.approx(1 - 6 * 6 / (4 * 15), abs=1e-15)
    assert result["krcc"] == pytest.approx((4 - 2) / 6, abs=1e-15)
    x, y = np.array([-2, 2, 1, -1.0]), np.array([-0.425, 0.175, -0.125, 0.375])
    assert result["plcc"] == pytest.approx((x * y).sum() / np.sqrt(10 * (y * y).sum()), abs=1e-15)


def test_jnd_by_hand() -> None:
    # hits 0, 1, 5/3; precision 0, 1/2, 5/9; the envelope is 5/9 throughout
    result = JND.score(np.array([[1], [2], [3.0]]), np.array([0, 1, 2 / 3]))
    assert result["map"] == pytest.approx(5 / 9, abs=1e-15)
    # 1 - same = 1, 0, 1/3 has the ranks 3 1 2 against 1 2 3: sum of squares 6 of n = 3
    assert result["srcc"] == pytest.approx(1 - 6 * 6 / (3 * 8), abs=1e-15)
    assert result["krcc"] == pytest.approx((1 - 2) / 3, abs=1e-15)


def test_perfect_distances_score_exactly_one() -> None:
    p = np.array([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    result = TWO_AFC.score(np.stack([p, 1 - p], axis=1), p)
    assert (result["hard_majority"], result["srcc"]) == (1, 1)
    assert (result["krcc"], result["plcc"]) == pytest.approx((1, 1), abs=3e-16, rel=0)
    unanimous = np.array([0, 1.0, 1, 0])
    result = TWO_AFC.score(np.stack([unanimous, 1 - unanimous], axis=1), unanimous)
    assert result == pytest.approx(dict.fromkeys(STATISTICS, 1), abs=3e-16, rel=0)
    assert result["2afc"] == result["hard_majority"] == 1
    result = JND.score(unanimous[:, None], 1 - unanimous)
    assert result == pytest.approx(dict.fromkeys(result, 1), abs=3e-16, rel=0)
    assert result["map"] == 1


def test_a_similarity_taken_for_a_distance_is_told_by_its_sign() -> None:
    rng = np.random.default_rng(0)
    p = rng.integers(0, 6, 200) / 5
    distances = rng.random((200, 2)) + np.stack([p, 1 - p], axis=1)
    right, wrong = TWO_AFC.score(distances, p), TWO_AFC.score(-distances, p)
    assert right["2afc"] > 0.7
    for name in ("2afc", "hard_majority"):  # there are no ties
        assert wrong[name] == pytest.approx(1 - right[name], abs=1e-12)
    for name in ("srcc", "krcc", "plcc"):
        assert right[name] > 0.4
        assert wrong[name] == pytest.approx(-right[name], abs=1e-12)


def test_a_jnd_metric_correlates_positively_where_it_finds_the_differences() -> None:
    same = np.array([1, 1, 2 / 3, 1 / 3, 0])
    right, wrong = (JND.score(sign * np.arange(5.0)[:, None], same) for sign in (1, -1))
    for name in ("srcc", "krcc", "plcc"):
        assert right[name] > 0.9
        assert wrong[name] == pytest.approx(-right[name], abs=1e-12)
    assert wrong["map"] < right["map"]


def test_what_is_undefined_is_nan_and_not_a_number_made_up() -> None:
    nobody = JND.score(np.array([[1.0], [2.0]]), np.array([0.0, 0.0]))
    assert all(np.isnan(value) for value in nobody.values())
    divided = TWO_AFC.score(np.array([[1, 2], [2, 1.0]]), np.array([0.5, 0.5]))
    assert divided["2afc"] == 0.5
    assert all(np.isnan(divided[name]) for name in STATISTICS[1:])


@pytest.mark.parametrize("protocol", [TWO_AFC, JND])
def test_every_statistic_of_no_items_is_undefined(protocol: Any) -> None:
    result = protocol.score(np.zeros((0, len(protocol.pairs))), np.zeros(0))
    assert list(result) == [s.name for s in protocol.statistics]
    assert all(np.isnan(value) for value in result.values())


def test_distances_of_another_shape_are_refused() -> None:
    assert message_of(TWO_AFC.score, np.zeros((3, 1)), np.zeros(3)) == (
        "distances of shape (3, 1) do not fit the protocol 2afc: "
        "expected (3, 2), a row an item and a column a pair"
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_distance_that_is_no_finite_number_is_refused_with_its_row(bad: float) -> None:
    distances = np.array([[1, 2], [3, 4], [5, bad]])
    assert message_of(TWO_AFC.score, distances, np.zeros(3)) == (
        f"the distance in row 2 is [5.0, {bad}]; expected finite numbers; "
        "leave the item out or mend the metric"
    )


# --- golden: all of the BAPPS validation judgements -----------------------------------------------


@pytest.fixture(scope="module")
def bapps(shared: Path) -> tuple[Items, Array]:
    return csv_io.read_csv(shared / "judgements" / "bapps_2afc_val.csv.gz", "2afc", False)


@pytest.fixture(scope="module")
def expected(shared: Path) -> Any:
    return json.loads((shared / "judgements" / "expected_scores.json").read_text())


@pytest.fixture(scope="module")
def table(bapps: tuple[Items, Array]) -> pd.DataFrame:
    """The tidy scores, indexed by (name or statistic, sub-dataset)."""
    few = Resampling(2)  # only values are looked at here, not intervals
    scores = score(TWO_AFC, "st", *bapps, resampling=few)
    made = pd.concat([scores.table, human_rows(TWO_AFC, bapps[0], few)])
    made["key"] = made["statistic"].where(made["kind"] == "metric", made["name"])
    return made.set_index(["key", "sub_dataset"])


@pytest.mark.parametrize("place", [*SUB_DATASETS, "pooled"])
def test_the_scores_of_real_bapps_judgements(
    bapps: tuple[Items, Array], expected: Any, place: str
) -> None:
    items, distances = bapps
    of = items.sub == items.sub_names.index(place) if place != "pooled" else np.full(len(items), 1)
    of = of.astype(bool)
    wanted = dict(expected["expected"][place])
    assert of.sum() == wanted.pop("n")
    assert TWO_AFC.score(distances[of], items.p[of]) == pytest.approx(wanted, abs=1e-12, rel=0)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_macro_scores_of_real_bapps_judgements(
    table: pd.DataFrame, expected: Any, statistic: str
) -> None:
    for place in (*SUB_DATASETS, "macro", "pooled"):
        wanted = expected["expected"][place][statistic]
        assert table.loc[(statistic, place), "value"] == pytest.approx(wanted, abs=1e-12, rel=0)
    assert (table.loc[statistic, "note"] == "").all()


@pytest.mark.parametrize("name", HUMANS)
def test_the_human_rows_of_real_bapps_judgements(
    table: pd.DataFrame, expected: Any, name: str
) -> None:
    for place in (*SUB_DATASETS, "macro", "pooled"):
        wanted = expected["human"][place][HUMANS[name]]
        assert table.loc[(name, place), "value"] == pytest.approx(wanted, abs=1e-12, rel=0)


# --- human rows -----------------------------------------------------------------------------------


def human(name: str, protocol: Any = TWO_AFC) -> HumanBaseline:
    return next(h for h in protocol.humans if h.name == name)


def test_human_rows_are_means_over_items() -> None:
    # 4 of 5, 2 of 5, 5 of 5 votes
    p, n, w = np.array([0.8, 0.4, 1]), np.array([5, 5, 5.0]), ones(3)
    assert human("human-paper").value(p, n, w)[0] == pytest.approx((0.68 + 0.52 + 1) / 3, abs=1e-15)
    assert human("human-fresh").value(p, n, w)[0] == pytest.approx((0.6 + 0.4 + 1) / 3, abs=1e-15)
    assert human("human-majority").value(p, n, w)[0] == pytest.approx(
        (0.8 + 0.6 + 1) / 3, abs=1e-15
    )


def test_one_vote_an_item_says_nothing_about_a_fresh_human() -> None:
    one = np.array([1.0, 1.0])
    assert np.isnan(human("human-fresh").value(np.array([0.0, 1.0]), one, ones(2))[0])
    assert human("human-majority").value(np.array([0.0, 1.0]), one, ones(2))[0] == 1


def test_the_jnd_ceiling_by_hand() -> None:
    # ranked 1, 1/2, 1/2 one by one: precision 1, 3/4, 2/3; (1 + 3/8 + 1/3)/2
    p = np.array([0.5, 1, 0.5])
    result = human("human-majority", JND).value(p, np.full(3, 2.0), ones(3))[0]
    assert result == pytest.approx((1 + 3 / 8 + 1 / 3) / 2, abs=1e-15)


SHARES = st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0])


@given(st.lists(st.tuples(SHARES, st.integers(0, 6).map(float)), min_size=1, max_size=8))
def test_no_ranking_beats_the_jnd_ceiling(made: list[tuple[float, float]]) -> None:
    same, d = (np.array(column) for column in zip(*made, strict=True))
    assume(same.sum() > 0)
    ceiling = human("human-majority", JND).value(same, np.full(len(d), 3.0), ones(len(d)))[0]
    assert average_precision(d, same, ones(len(d)))[0] <= ceiling + 1e-12

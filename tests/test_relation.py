"""2AFC against JND over metrics."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from making import whole_facts
from scipy import stats
from test_paired import many, noisy
from test_ranking import jnd_distances, jnd_items

from pmbench.analysis.correlation import Relation, relation, relation_of
from pmbench.results.run import Run, save
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.scores import score
from pmbench.utils.errors import PmbenchError

NAMES = "abcdefgh"


def scores(seed: int, n: int = 8) -> dict[str, float]:
    return dict(zip(NAMES, np.random.default_rng(seed).random(n).tolist(), strict=False))


def test_correlations_and_interval_are_those_of_scipy() -> None:
    x, y = scores(1), scores(2)
    found = relation(x, y)
    referee = stats.pearsonr(list(x.values()), list(y.values()))
    interval = referee.confidence_interval(0.95)
    assert found.pearson == pytest.approx(referee.statistic)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert found.spearman == pytest.approx(
        stats.spearmanr(list(x.values()), list(y.values())).statistic
    )
    assert found.n == 8
    assert dict(zip(found.metrics, found.two_afc, strict=True)) == x
    assert dict(zip(found.metrics, found.jnd, strict=True)) == y


def test_a_relation_may_be_negative_or_perfect() -> None:
    x = scores(1)
    assert relation(x, {name: -value for name, value in x.items()}).pearson == pytest.approx(-1)
    perfect = relation(x, x)
    assert perfect.low <= perfect.pearson <= perfect.high <= 1
    assert perfect.low > 0.999


def test_only_metrics_with_both_scores_count() -> None:
    x, y = scores(1), scores(2)
    x["a"] = math.nan
    del y["b"]
    y["other"] = 0.5
    found = relation(x, y)
    assert found.metrics == tuple("cdefgh")
    assert found.pearson == relation({k: x[k] for k in "cdefgh"}, y).pearson


def test_fewer_than_four_metrics_are_too_few() -> None:
    with pytest.raises(PmbenchError) as caught:
        relation(scores(1, 3), scores(2))
    assert str(caught.value) == (
        "the relation of 2AFC and JND needs 4 metrics that have both scores; there are 3"
    )
    with pytest.raises(PmbenchError, match=r"there is 1$"):
        relation(scores(1, 1), scores(2))
    assert relation(scores(1, 4), scores(2)).n == 4


def test_scores_that_are_all_the_same_have_no_relation() -> None:
    with pytest.raises(PmbenchError) as caught:
        relation(scores(1), dict.fromkeys(NAMES, 1.0))
    assert str(caught.value) == (
        "the relation of 2AFC and JND is undefined: all metrics have the same score in one"
    )


# --- of runs --------------------------------------------------------------------------------------


def saved(results: Path, dataset: str, k: int) -> Run:
    """Save a run of metric k on one of the ladder's datasets."""
    protocol = JND if "jnd" in dataset else TWO_AFC
    items = jnd_items() if protocol is JND else many(30)
    d = jnd_distances(items, 0.3 * k, k) if protocol is JND else noisy(items, 0.3 * k, k)
    table = score(protocol, f"m{k}", items, d).table
    info = {
        "signature": "way || m",
        "metric": {"name": f"m{k}"},
        "dataset": {
            "name": dataset.partition("@")[0],
            "protocol": protocol.name,
            "sub_datasets": list(items.sub_names),
        },
    }
    return save(results / dataset / f"m{k}", whole_facts(info), items, d, table)


def test_the_relation_of_runs_is_that_of_their_macro_scores(tmp_path: Path) -> None:
    runs = [saved(tmp_path, name, k) for name in ("ladder-2afc", "ladder-jnd") for k in range(5)]
    found = relation_of(runs)["ladder"]
    assert isinstance(found, Relation)
    assert found.metrics == ("m0", "m1", "m2", "m3", "m4")
    table = runs[3].scores()
    macro = table[(table["statistic"] == "2afc") & (table["sub_dataset"] == "macro")]
    assert found.two_afc[3] == macro["value"].item()
    assert found.pearson > 0.8


def test_variants_are_not_mixed_and_groups_without_both_are_left_out(tmp_path: Path) -> None:
    runs = [saved(tmp_path, name, k) for name in ("ladder-2afc", "ladder-jnd") for k in range(4)]
    variant = [
        saved(tmp_path, name, k) for name in ("ladder-2afc@first4", "ladder-jnd@first4")
        for k in range(3)
    ]  # fmt: skip
    found = relation_of([*runs, *variant, saved(tmp_path, "bapps-2afc-val", 0)])
    assert set(found) == {"ladder", "ladder@first4"}
    assert isinstance(found["ladder"], Relation)
    assert found["ladder@first4"] == (
        "the relation of 2AFC and JND needs 4 metrics that have both scores; there are 3"
    )
    assert relation_of([]) == {}


def test_a_run_whose_scores_are_damaged_leaves_its_group_without_a_relation(tmp_path: Path) -> None:
    runs = [saved(tmp_path, name, k) for name in ("ladder-2afc", "ladder-jnd") for k in range(4)]
    path = runs[2].folder / "scores.csv"
    path.unlink()
    assert str(relation_of(runs)["ladder"]).startswith(f"{path}: expected the scores of a run")

"""2AFC against JND over metrics."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.boards import run_2afc, run_jnd
from support.factories import run_info
from support.refusals import message_of
from support.votes import jnd_distances, jnd_items, many_items, noisy_distances

from pmbench.analysis.correlation import ProtocolCorrelation, correlate_protocols, correlate_runs
from pmbench.analysis.leaderboard import relations
from pmbench.analysis.leaderboard_rows import View
from pmbench.results.run import Run, save
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.scores import score
from pmbench.utils.errors import PmbenchError

NAMES = "abcdefgh"


def scores(seed: int, n: int = 8) -> dict[str, float]:
    return dict(zip(NAMES, np.random.default_rng(seed).random(n).tolist(), strict=False))


def correlate(
    x: dict[str, float], y: dict[str, float], families: str = NAMES
) -> ProtocolCorrelation:
    """Return the relation of metrics of a family each, unless these are named."""
    return correlate_protocols(x, y, dict(zip(NAMES, families, strict=True)))


def test_correlations_are_those_of_scipy() -> None:
    x, y = scores(1), scores(2)
    result = correlate(x, y)
    referee = stats.pearsonr(list(x.values()), list(y.values()))
    assert result.pearson == pytest.approx(referee.statistic)
    assert result.low < result.pearson < result.high
    assert result.spearman == pytest.approx(
        stats.spearmanr(list(x.values()), list(y.values())).statistic
    )
    assert (result.n, result.families) == (8, 8)
    assert dict(zip(result.metrics, result.two_afc, strict=True)) == x
    assert dict(zip(result.metrics, result.jnd, strict=True)) == y


def test_families_are_resampled_whole() -> None:
    rng = np.random.default_rng(0)
    center = rng.normal(size=(20, 2)) @ [[1, 0.8], [0, 0.6]]
    names = [f"m{i}" for i in range(80)]
    points = np.repeat(center, 4, axis=0) + 0.1 * rng.normal(size=(80, 2))
    x, y = (dict(zip(names, column, strict=True)) for column in points.T)
    widths = []
    for family in (np.arange(80), np.arange(80) // 4):
        result = correlate_protocols(x, y, dict(zip(names, family.astype(str), strict=True)))
        assert result.families == len(set(family.tolist()))
        widths.append(math.atanh(result.high) - math.atanh(result.low))
    # four times as many families are known twice as well
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.25)
    # and those of 80 are about Fisher's: 2 · 1.96 / √77
    assert widths[0] == pytest.approx(0.447, rel=0.25)


@pytest.mark.parametrize(("families", "count"), [("aabbccdd", 4), ("aaaaabcd", 4), ("aaaabcde", 5)])
def test_few_families_have_no_interval(families: str, count: int) -> None:
    result = correlate(scores(1), scores(2), families)
    assert math.isnan(result.low)
    assert result.certainty == f"no interval: too few families of metrics ({count})"
    assert not math.isnan(correlate(scores(1), scores(2), "abcdefgg").low)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[4] * 12, [1] * 12, [20, 10, 8, 6, 6, 5, 4, 3, 2, 2, 2, 1, 1]])
def test_how_often_the_interval_holds_the_true_correlation(sizes: list[int]) -> None:
    rng, held = np.random.default_rng(0), 0
    family = np.repeat(np.arange(len(sizes)), sizes)
    names = [f"m{i}" for i in range(len(family))]
    mixing = np.array([[1, 0.8], [0, 0.6]])  # a correlation of .8
    for _ in range(1000):
        of_families = rng.normal(size=(len(sizes), 2)) @ mixing
        own = rng.normal(size=(len(family), 2)) @ mixing
        points = math.sqrt(0.8) * of_families[family] + math.sqrt(0.2) * own
        x, y = (dict(zip(names, column, strict=True)) for column in points.T)
        result = correlate_protocols(x, y, dict(zip(names, family.astype(str), strict=True)))
        held += result.low <= 0.8 <= result.high
    assert 0.925 <= held / 1000 <= 0.985  # Fisher's interval: 56 to 72 % where families are large


def test_a_relation_may_be_negative_or_perfect() -> None:
    x = scores(1)
    assert correlate(x, {name: -value for name, value in x.items()}).pearson == pytest.approx(-1)
    perfect = correlate(x, x)
    assert perfect.low <= perfect.pearson <= perfect.high <= 1
    assert perfect.low > 0.999


def test_only_metrics_with_both_scores_count() -> None:
    x, y = scores(1), scores(2)
    x["a"] = math.nan
    del y["b"]
    y["other"] = 0.5
    result = correlate(x, y)
    assert result.metrics == tuple("cdefgh")
    assert result.pearson == correlate({k: x[k] for k in "cdefgh"}, y).pearson


def test_fewer_than_four_metrics_are_too_few() -> None:
    assert message_of(correlate, scores(1, 3), scores(2)) == (
        "the relation of 2AFC and JND needs 4 metrics that have both scores; there are 3"
    )
    with pytest.raises(PmbenchError, match=r"there is 1$"):
        correlate(scores(1, 1), scores(2))
    assert correlate(scores(1, 4), scores(2)).n == 4


def test_scores_that_are_all_the_same_have_no_relation() -> None:
    assert message_of(correlate, scores(1), dict.fromkeys(NAMES, 1.0)) == (
        "the relation of 2AFC and JND is undefined: all metrics have the same score in one"
    )


# --- of runs --------------------------------------------------------------------------------------


def saved(results: Path, dataset: str, k: int) -> Run:
    """Save a run of metric k on one of the ladder's datasets."""
    protocol = JND if "jnd" in dataset else TWO_AFC
    items = jnd_items() if protocol is JND else many_items(30)
    d = jnd_distances(items, 0.3 * k, k) if protocol is JND else noisy_distances(items, 0.3 * k, k)
    table = score(protocol, f"m{k}", items, d).table
    info = {
        "signature": "way || m",
        "metric": {"name": f"m{k}"},
        "dataset": {"name": dataset.partition("@")[0], "protocol": protocol.name,
            "sub_datasets": list(items.sub_names)},
    }  # fmt: skip
    return save(results / dataset / f"m{k}", run_info(info), items, d, table)


def test_the_relation_of_runs_is_that_of_their_macro_scores(tmp_path: Path) -> None:
    runs = [saved(tmp_path, name, k) for name in ("ladder-2afc", "ladder-jnd") for k in range(5)]
    result = correlate_runs(runs)["ladder"]
    assert isinstance(result, ProtocolCorrelation)
    assert result.metrics == ("m0", "m1", "m2", "m3", "m4")
    table = runs[3].scores()
    macro = table[(table["statistic"] == "2afc") & (table["sub_dataset"] == "macro")]
    assert result.two_afc[3] == macro["value"].item()
    assert result.pearson > 0.8


def test_variants_are_not_mixed_and_groups_without_both_are_left_out(tmp_path: Path) -> None:
    runs = [saved(tmp_path, name, k) for name in ("ladder-2afc", "ladder-jnd") for k in range(4)]
    variant = [
        saved(tmp_path, name, k) for name in ("ladder-2afc@first4", "ladder-jnd@first4")
        for k in range(3)
    ]  # fmt: skip
    result = correlate_runs([*runs, *variant, saved(tmp_path, "bapps-2afc-val", 0)])
    assert set(result) == {"ladder", "ladder@first4"}
    assert isinstance(result["ladder"], ProtocolCorrelation)
    assert result["ladder@first4"] == (
        "the relation of 2AFC and JND needs 4 metrics that have both scores; there are 3"
    )
    assert correlate_runs([]) == {}


def test_a_run_whose_scores_are_damaged_leaves_its_group_without_a_relation(tmp_path: Path) -> None:
    runs = [saved(tmp_path, name, k) for name in ("ladder-2afc", "ladder-jnd") for k in range(4)]
    path = runs[2].folder / "scores.csv"
    path.unlink()
    assert str(correlate_runs(runs)["ladder"]).startswith(f"{path}: expected the scores of a run")


# --- of boards ------------------------------------------------------------------------------------


def test_how_2afc_and_jnd_go_together_is_told_where_both_are_shown(tmp_path: Path) -> None:
    for k, metric in enumerate("abcd"):
        run_2afc(
            tmp_path, metric, {"noise": k, "blur": k}, {"noise": 4, "blur": 4}, name="ladder-2afc"
        )
        run_jnd(tmp_path, metric, [1, 2, 1, 2] if k else [2, 1, 2, 1])
    (line,) = relations(tmp_path, View())
    # 2AFC 0.2, 0.35, 0.5, 0.65; JND 0.5, 1, 1, 1
    r = np.corrcoef([0, 1, 2, 3], [0.5, 1, 1, 1])[0, 1]
    assert line.startswith(f"2AFC and JND over 4 metrics of ladder: Pearson {r:.3f} (")
    assert line.endswith(f"), Spearman {3 / math.sqrt(15):.3f}")
    assert relations(tmp_path, View("ladder")) == [line]
    assert relations(tmp_path, View("ladder-jnd")) == []
    assert relations(tmp_path, View(statistic="srcc")) == []
    assert relations(tmp_path, View("ladder-jnd", statistic="map")) == []


def test_too_few_metrics_say_nothing_of_how_protocols_go_together(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", {"noise": 1}, {"noise": 4}, name="ladder-2afc")
    run_jnd(tmp_path, "a", [1, 2, 1, 2])
    assert relations(tmp_path, View()) == []

"""`pmbench compare`: two metrics, many, and one with an earlier run of it."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from support.cli import one_line, pmbench
from support.factories import run_info, update_digests, with_info
from support.refusals import message_of
from support.votes import items_of, jnd_items, many_items, noisy_distances

from pmbench.analysis.comparison import MultiComparison, PairComparison, compare_pair, compare_runs
from pmbench.analysis.drift import drift
from pmbench.datasets.pack import Items
from pmbench.reporting.comparisons import documents, to_markdown
from pmbench.results.run import Run, open_run, save
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.protocols import JND, TWO_AFC, Protocol
from pmbench.scoring.scores import score
from pmbench.scoring.statistics import Array

FEW = Resampling(count=50)
WAY = "pmbench:0.1|toy:1#01234567|none|soft|macro|fp32"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measure five metrics on the built-in data."""
    folder = tmp_path_factory.mktemp("ladder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PMBENCH_HOME", str(folder / "home"))
        patch.chdir(folder)
        pmbench("eval", "-m", "l1,l2,psnr,ssim,grad", "-d", "ladder")
    return folder / "results"


@pytest.fixture
def results(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with results of the built-in data, on a terminal of 80 columns."""
    shutil.copytree(measured, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "results"


def saved(
    folder: Path, name: str, items: Items, d: Array, protocol: Protocol = TWO_AFC, way: str = WAY
) -> Run:
    undefined = "too small" if np.isnan(d).any() else ""
    made = score(protocol, name, items, d, undefined=undefined, resampling=FEW)
    info: dict[str, Any] = {
        "signature": f"{way} || {name}#1",
        "metric": {"name": name},
        "finished": "2026",
        "dataset": {
            "name": "toy", "title": "Toy", "protocol": protocol.name, "partial": False,
            "human_votes": True, "items": len(items), "of": len(items),
            "sub_datasets": list(items.sub_names), "short_names": {},
        },
        "items_per_second": 1.0,
    }  # fmt: skip
    return save(folder / "toy" / name, run_info(info), items, d, made.table, made.draws)


def toys(folder: Path, count: int = 3) -> list[Run]:
    items = many_items()
    noises = [0.2 + 0.4 * k for k in range(count)]
    return [
        saved(folder, f"m{k}", items, noisy_distances(items, noise, k))
        for k, noise in enumerate(noises)
    ]


def as_csv(*words: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(pmbench("compare", *words, "--format", "csv").stdout))


# --- two metrics ----------------------------------------------------------------------------------


def test_two_metrics_on_the_built_in_data(results: Path) -> None:
    result = pmbench("compare", "grad", "l2")
    text = result.stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "A grad\nB l2\n" in text
    assert text.count("synthetic, no human votes") == 2
    kinds = ("noise", "blur", "compression", "photometric", "warp", "color")
    for place in (*kinds, "macro", "pooled"):
        assert len(re.findall(rf"^{place} ", text, re.MULTILINE)) == 2
    assert "l2 is better than grad by 3.70 points" in one_line(text)
    assert "a sub-dataset counts as 6 independent triplets only, fewer than" in one_line(text)
    assert "p and 95 % intervals: paired, stratified, two-sided (Student's t; " in one_line(text)
    assert (
        "triplets of one cluster, as the data name it, count as dependent (6 clusters)"
        in one_line(text)
    )
    assert "ladder-2afc:216#" in text  # the signature
    assert "2AFC against JND" not in text


def test_the_numbers_are_those_of_the_leaderboard_in_every_format(results: Path) -> None:
    differences = as_csv("ssim", "l2", "-d", "ladder-2afc").set_index("place")
    for side, name in (("a", "ssim"), ("b", "l2")):
        run = open_run(results / "ladder-2afc" / name)
        assert run is not None
        table = run.scores()
        mine = table[(table["kind"] == "metric") & (table["statistic"] == "2afc")]
        expected = mine.set_index("sub_dataset")["value"]
        assert differences[f"score_{side}"].to_dict() == pytest.approx(expected.to_dict())
        assert differences["n"].to_dict() == mine.set_index("sub_dataset")["n"].to_dict()
    gaps = differences["score_a"] - differences["score_b"]
    assert differences["value"].to_dict() == pytest.approx(gaps.to_dict())
    wins = differences[["wins_a", "wins_b", "ties"]].sum(axis=1)
    assert (wins == differences["n"]).all()
    words = ("compare", "grad", "l2", "-d", "ladder-2afc")
    document = json.loads(pmbench(*words, "--resamples", "100", "--seed", "3", "--json").stdout)
    (one,) = document["comparisons"]
    assert one["bootstrap"] == {"count": 100, "seed": 3}
    assert one["verdict"].startswith("l2 is better than grad by 3.70 points, 95 % interval ")
    assert [row["place"] for row in one["differences"]][-2:] == ["macro", "pooled"]
    assert one["signature"].startswith("pmbench:")
    assert document["relations"] == {}
    text = pmbench(*words, "--format", "md").stdout
    assert "### ladder-2afc: Ladder 2AFC" in text
    assert "| | A | B | A-B |" in text.replace("|  |", "| |")
    assert re.search(r"^\| \*\*macro\*\* \| \*\*93\.1\*\* \| \*\*96\.8\*\* \|", text, re.MULTILINE)
    assert "**l2 is better than grad" in text
    assert "- \\~ unreliable: of fewer than 20 independent triplets" in text


def test_wins_are_counted_by_item(tmp_path: Path) -> None:
    items = items_of([0] * 5, np.array([1.0, 1.0, 0.0, 0.6, 0.5]))
    right, left = [0.0, 1.0], [1.0, 0.0]  # the nearer one is p0, p1
    a = np.array([left, left, left, right, right])
    b = np.array([left, right, right, left, left])
    runs = [saved(tmp_path, "a", items, a), saved(tmp_path, "b", items, b)]
    # 1: both right; 2: a; 3: b; 4: b, with the majority; 5: people are divided
    wins = compare_pair(*runs, TWO_AFC.statistics[0], FEW).lines[0].wins
    assert (wins.a, wins.b, wins.ties) == (1, 2, 2)
    # a majority of nobody does not count
    by_majority = compare_runs(runs, "hard_majority", FEW)
    assert isinstance(by_majority, PairComparison)
    wins = by_majority.lines[0].wins
    assert (wins.a, wins.b, wins.ties) == (1, 2, 1)


def test_jnd_wins_are_by_rank(tmp_path: Path) -> None:
    # ranks of 1-same: 1 2 3 4 5; of a's distances: 1 2 3 5 4; of b's: 2 1 3 5 4
    items = items_of([0] * 5, np.array([1.0, 0.75, 0.5, 0.25, 0.0]))
    a, b = (np.array([row], float).T for row in ([1, 2, 3, 5, 4], [2, 1, 3, 5, 4]))
    runs = (saved(tmp_path, name, items, d, JND) for name, d in (("a", a), ("b", b)))
    comparison = compare_pair(*runs, JND.statistics[0], FEW)
    wins = comparison.lines[0].wins
    assert (wins.a, wins.b, wins.ties) == (2, 0, 3)
    assert "wins: pairs of which its rank by distance is nearer" in to_markdown(comparison)


def test_a_comparison_is_on_the_items_that_both_have(tmp_path: Path) -> None:
    items = many_items()
    a, b = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.4, 2)
    for count, verb in ((1, "is"), (10, "are")):
        b[:count] = np.nan
        runs = (saved(tmp_path, name, items, d) for name, d in (("a", a), ("b", b)))
        comparison = compare_pair(*runs, TWO_AFC.statistics[0], FEW)
        assert comparison.overall.n == len(items) - count
        sentence = f"{count} of {len(items)} triplets {verb} left out, on which not both metrics"
        assert comparison.messages == [f"{sentence} are defined"]
        assert f"- {sentence}" in to_markdown(comparison)


def test_correlations_are_compared_too(results: Path) -> None:
    text = pmbench("compare", "ssim", "l2", "-d", "ladder-2afc", "--statistic", "srcc").stdout
    assert "Spearman; macro" in text
    assert "differences in correlations" in text
    assert "points" not in text


# --- many metrics ---------------------------------------------------------------------------------


def test_all_runs(results: Path) -> None:
    result = pmbench("compare")
    text = result.stdout
    assert max(map(len, text.splitlines())) <= 80
    assert text.index("ladder-2afc") < text.index("ladder-jnd")
    for name in ("l1", "l2", "psnr", "ssim", "grad"):
        assert len(re.findall(rf"^\d {name} ", text, re.MULTILINE)) == 4  # a list and a matrix
    assert re.search(r"^1 \S+ +96\.8 +1–\d +\w+ *$", text, re.MULTILINE)
    assert "better by" in text
    assert "ladder: 2AFC against JND over 5 metrics: Pearson " in text
    assert result.stderr == ""


def test_the_matrix_has_every_pair_and_stars_for_holms_p(tmp_path: Path) -> None:
    ranking = compare_runs(toys(tmp_path), None, FEW)
    assert isinstance(ranking, MultiComparison)
    assert ranking.names == ["m0", "m1", "m2"]
    assert set(ranking.differences) == {("m0", "m1"), ("m0", "m2"), ("m1", "m2")}
    text = to_markdown(ranking)
    (row,) = re.findall(r"^\| 1 m0 \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
    assert row[1].endswith("\\*\\*\\*")
    largest = ranking.differences["m0", "m2"]
    assert float(row[1].rstrip("\\*")) == pytest.approx(100 * largest.value, abs=0.005)
    assert ranking.p[0, 2] >= largest.p
    without = to_markdown(replace(ranking, p=np.ones((3, 3))))
    assert "\\*" not in without.split("better by")[1].split("- 2")[0]
    assert ranking.rank_ranges["m0"].low == 1


def test_many_metrics_fall_back_to_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys(tmp_path / "results", 14)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    text = pmbench("compare", "--resamples", "100").stdout
    assert "all pairs: --format csv, or name fewer metrics to see them as a matrix" in text
    assert "better by" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert len(re.findall(r"^\d+ m\d+ ", text, re.MULTILINE)) == 14
    assert len(as_csv("--resamples", "100")) == 14 * 13 / 2
    monkeypatch.setenv("COLUMNS", "200")
    assert "better by" in pmbench("compare", "--resamples", "100").stdout


def test_what_is_not_whole_or_was_measured_otherwise_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys(tmp_path / "results")
    items = many_items()
    part = noisy_distances(items, 0.3, 1)
    part[0] = np.nan
    saved(tmp_path / "results", "part", items, part)
    older = WAY.replace("01234567", "76543210")
    saved(tmp_path / "results", "older", items, noisy_distances(items, 0.3, 1), way=older)
    monkeypatch.chdir(tmp_path)
    text = one_line(pmbench("compare", "--resamples", "100").stdout)
    assert f"older is left out: it was measured as {older}" in text
    assert "left out, without a score on all triplets: part" in text
    assert "part" in pmbench("compare", "m0", "part", "--resamples", "100").stdout  # named, it is
    refused = one_line(pmbench("compare", "m0", "older", code=2).stderr)
    assert refused == (
        "toy/m0 and toy/older cannot be compared: they differ in items (toy:1#01234567 and "
        "toy:1#76543210); run `pmbench eval` again for the older one, with the same options"
    )


def test_too_few_are_left(tmp_path: Path) -> None:
    items = many_items()
    whole, part = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.3, 1)
    part[0] = np.nan
    runs = [saved(tmp_path, "a", items, whole)]
    runs += [saved(tmp_path, name, items, part) for name in "bc"]
    assert message_of(compare_runs, runs, None, FEW) == (
        "toy: 1 of 3 runs has a 2afc score on the same triplets, and a comparison needs two; "
        "measure more with `pmbench eval` (left out, without a score on all triplets: b, c)"
    )


def test_one_new_run_in_another_way_says_why_the_others_do_not_count(tmp_path: Path) -> None:
    runs = toys(tmp_path)
    items = many_items()
    newer = WAY.replace("0.1", "0.2")
    new = saved(tmp_path, "new", items, noisy_distances(items, 0.3, 1), way=newer)
    new = with_info(new, finished="2027")
    assert message_of(compare_runs, [*runs, new], None, FEW).endswith(
        "toy: 1 of 4 runs has a 2afc score on the same triplets, and a comparison needs two; "
        "measure more with `pmbench eval` (m0, m1, m2 are left out: they were measured as "
        f"{WAY})"
    )


def test_a_dataset_that_cannot_be_compared_does_not_hide_the_others(
    results: Path, tmp_path: Path
) -> None:
    shutil.copytree(results, tmp_path / "old")
    for name in ("ssim", "l2"):
        folder = results / "ladder-jnd" / name
        info = json.loads((folder / "run.json").read_text())
        info["signature"] = info["signature"].replace("|none|", f"|{name}|")
        (folder / "run.json").write_text(json.dumps(info))
    result = pmbench("compare", "ssim", "l2")
    assert "A ssim\nB l2\n" in result.stdout
    assert "ladder-jnd" not in result.stdout
    reason = "ladder-jnd/ssim and ladder-jnd/l2 cannot be compared: they differ in resize mode"
    assert f"ladder-jnd: left out, {reason}" in one_line(result.stderr)
    refused = pmbench("compare", "ssim", "l2", "-d", "ladder-jnd", code=2)
    assert one_line(refused.stderr).startswith(reason)
    # so it is beside another folder, metric by metric
    result = pmbench("compare", "--against", "old")
    assert len(re.findall(r"^l2 ", result.stdout, re.MULTILINE)) == 1
    assert len(re.findall(r"^l1 ", result.stdout, re.MULTILINE)) == 2
    assert "ladder-jnd/l2: left out, ladder-jnd/l2 and" in one_line(result.stderr)
    refused = pmbench("compare", "l2", "--against", "old", "-d", "ladder-jnd", code=2)
    assert "ladder-jnd/l2: left out, " in one_line(refused.stderr)


def test_damaged_draws_are_drawn_anew(results: Path) -> None:
    whole = pmbench("compare", "-d", "ladder-jnd").stdout
    path = results / "ladder-jnd" / "ssim" / "draws.npz"
    path.write_bytes(path.read_bytes()[:200])
    assert pmbench("compare", "-d", "ladder-jnd").stdout == whole


def three_jnd_runs(folder: Path, items: Items) -> list[Run]:
    rng = np.random.default_rng(0)
    distances = [(1 - items.p + k * rng.random(len(items)))[:, None] for k in range(3)]
    return [saved(folder, f"m{k}", items, d, JND) for k, d in enumerate(distances)]


def test_a_sub_dataset_of_one_pair_leaves_nobody_ranked(tmp_path: Path) -> None:
    items = jnd_items()
    alone = items_of([*items.sub.tolist(), 2], np.append(items.p, 1.0))
    ranking = compare_runs(three_jnd_runs(tmp_path, alone), None, FEW)
    assert isinstance(ranking, MultiComparison)
    assert ranking.rank_ranges == {}
    why = "no rank and no p: a sub-dataset is of one cluster"
    assert ranking.messages == [why]
    text = to_markdown(ranking)
    assert f"- {why}" in text
    assert re.search(r"^\| 2 m1 \| [\d.]+ \|  \|  \| -[\d.]+ \| .* \| n/a \|$", text, re.MULTILINE)
    (document,) = documents([ranking], {})["comparisons"]
    assert document["metrics"][0] | {"score": 0} == {
        "name": "m0", "score": 0, "low": None, "high": None, "letters": None
    }  # fmt: skip
    assert document["differences"][0]["p_holm"] is None


def test_a_difference_that_few_items_all_show_leaves_nobody_ranked(tmp_path: Path) -> None:
    items = items_of([0] * 4, np.ones(4))
    right, wrong = np.tile([1.0, 0.0], (4, 1)), np.tile([0.0, 1.0], (4, 1))
    mixed = np.array([[1.0, 0.0], [0.0, 1.0]] * 2)
    metrics = {"right": right, "wrong": wrong, "mixed": mixed}
    ranking = compare_runs([saved(tmp_path, n, items, d) for n, d in metrics.items()], None, FEW)
    assert isinstance(ranking, MultiComparison)
    assert ranking.rank_ranges == {}
    assert ranking.messages == [
        "no rank: a difference has no p, since it is the same in all clusters, and these are too "
        "few"
    ]


def test_stored_draws_and_new_ones_give_the_same(tmp_path: Path) -> None:
    runs = three_jnd_runs(tmp_path, jnd_items())
    stored = compare_runs(runs, None, FEW)
    for run in runs:
        (run.folder / "draws.npz").unlink()
    anew = compare_runs(runs, None, FEW)
    assert isinstance(stored, MultiComparison)
    assert isinstance(anew, MultiComparison)
    for pair, one in stored.differences.items():
        other = anew.differences[pair]
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-6)
        assert one.p == pytest.approx(other.p, rel=1e-3)


# --- one metric and an earlier run of it ----------------------------------------------------------


def drifting(results: Path, name: str, by: float) -> None:
    """Move one distance of a run by a share of itself, and call its precision another one."""
    folder = results / "ladder-2afc" / name
    with h5py.File(folder / "distances.h5", "r+") as file:
        distances = file["distances"][:]
        distances[7, 1] *= 1 + by
        file["distances"][...] = distances
    info = json.loads((folder / "run.json").read_text())
    info["signature"] = info["signature"].replace("|fp32", "|bf16")
    (folder / "run.json").write_text(json.dumps(info))
    update_digests(folder)


def test_a_run_beside_an_earlier_one(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "old")
    drifting(tmp_path / "old", "ssim", -0.001)
    result = pmbench("compare", "ssim", "--against", "old", "-d", "ladder-2afc")
    text = one_line(result.stdout)
    assert "A ssim B ssim (old)" in text
    assert "; 1 of 432 distances moved, by up to 1.0e-03 of what they were (item " in text
    text = one_line(pmbench("compare", "l2", "--against", "old", "-d", "ladder-2afc").stdout)
    assert "no difference at all" in text
    assert "; all distances are the same to the last bit" in text


def test_all_runs_beside_earlier_ones(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "ladder-2afc", tmp_path / "old" / "ladder-2afc")
    drifting(tmp_path / "old", "ssim", 0.25)
    shutil.rmtree(tmp_path / "old" / "ladder-2afc" / "grad")
    result = pmbench("compare", "--against", "old")
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert lines["ssim"][-2:] == ["2.0e-01", "1"]  # of the other one
    assert lines["l1"][-2:] == ["none", "0"]
    assert "grad" not in lines
    assert result.stderr.splitlines() == [
        "ladder-2afc: left out, no run in old: grad",
        "ladder-jnd: left out, no runs of it in old",
    ]
    document = json.loads(pmbench("compare", "--against", "old", "--json").stdout)
    moved = {one["differences"][0]["a"]: one["drift"]["moved"] for one in document["comparisons"]}
    assert moved == {"l1": 0, "l2": 0, "psnr": 0, "ssim": 1}
    assert "| ssim | " in pmbench("compare", "--against", "old", "--format", "md").stdout
    assert len(as_csv("--against", "old")) == 4 * 8


def test_drift_where_a_distance_is_zero_or_missing(tmp_path: Path) -> None:
    items = items_of([0] * 3, np.ones(3))
    ours, theirs = np.ones((3, 2)), np.ones((3, 2))
    ours[0] = theirs[0] = 0.0
    theirs[1, 0] = 0.8
    a, b = saved(tmp_path / "a", "m", items, ours), saved(tmp_path / "b", "m", items, theirs)
    moved = drift(a, b)
    assert moved.largest == pytest.approx(0.25)  # of what it was
    assert (moved.item, moved.moved, moved.of) == ("item 1", 1, 6)
    theirs[2] = np.nan
    assert drift(a, saved(tmp_path / "c", "m", items, theirs)).largest == np.inf
    ours[2] = np.nan
    undefined = saved(tmp_path / "d", "m", items, ours)
    assert drift(undefined, saved(tmp_path / "e", "m", items, theirs)).moved == 1


# --- what is meant, what is refused ---------------------------------------------------------------


def test_datasets_are_meant_by_names_too(results: Path) -> None:
    assert as_csv("ladder-2afc/ssim", "l2")["dataset"].unique() == ["ladder-2afc"]
    assert set(as_csv("ssim", "l2", "-d", "ladder")["dataset"]) == {"ladder-2afc", "ladder-jnd"}
    shutil.rmtree(results / "ladder-jnd" / "ssim")
    result = pmbench("compare", "ssim", "l2")
    assert "ladder-jnd" not in result.stdout
    assert one_line(result.stderr) == "ladder-jnd: left out, no run of ssim there"


def test_a_statistic_of_one_protocol_leaves_out_the_other(results: Path) -> None:
    result = pmbench("compare", "ssim", "l2", "--statistic", "map")
    assert "ladder-2afc" not in result.stdout
    assert one_line(result.stderr) == "ladder-2afc: left out, it has no map"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ssim", "l3"], "unknown run 'l3'; did you mean l2 or l1?"),
        (["ladder-2afc/ssim", "ladder-jnd/sim"], "unknown run 'ladder-jnd/sim'; did you mean"),
        (["ladder-2afc/ssim", "ladder-jnd/ssim"],
         "ladder-2afc/ssim and ladder-jnd/ssim have no dataset in common (ladder-2afc/ssim on "
         "ladder-2afc; ladder-jnd/ssim on ladder-jnd); scores on different items cannot be "
         "compared; measure them on the same one with `pmbench eval`"),
        (["ssim", "ssim"],
         "ssim and ssim name one run twice; name different metrics, or compare it with another "
         "folder of results by --against"),
        (["ssim", "ladder-2afc/ssim"], "ssim and ladder-2afc/ssim name one run twice;"),
        (["ssim"],
         "'ssim' alone cannot be compared; name another metric, or none to compare all runs, or "
         "another folder of results with --against"),
        (["ssim", "l2", "--resamples", "1"], "--resamples 1: expected 100 to 10,000; "),
        (["ssim", "l2", "--seed", "-1"], "--seed -1: expected a whole number from 0 to "),
        (["ssim", "l2", "--statistic", "auc"], "unknown statistic 'auc'; "),
        (["ssim", "l2", "-d", "lader"], "unknown dataset"),
        (["--results", "nowhere"],
         "no runs in nowhere; make some with `pmbench eval`, or name another folder with "
         "--results"),
        (["ssim", "--against", "nowhere"],
         "nowhere: there is no such folder; expected a folder of results, such as one that an "
         "earlier `pmbench eval --results` has written"),
        (["ssim", "--against", "."],
         ". has no run of the same metrics on the same datasets; name a folder of "
         "results, such as one that an earlier `pmbench eval --results` has written"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(results: Path, words: list[str], sentence: str) -> None:
    result = pmbench("compare", *words, code=2)
    assert sentence in one_line(result.stderr)
    assert result.stdout == ""


def test_one_run_has_nothing_to_be_compared_with(results: Path) -> None:
    for name in ("l1", "l2", "psnr", "grad"):
        shutil.rmtree(results / "ladder-jnd" / name)
    result = pmbench("compare")
    assert one_line(result.stderr) == "ladder-jnd: one run only, nothing to compare"
    refused = pmbench("compare", "-d", "ladder-jnd", code=2)
    assert one_line(refused.stderr) == (
        "there is one run only on ladder-jnd; a comparison needs two; measure another metric with "
        "`pmbench eval`"
    )

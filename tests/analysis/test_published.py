"""Published scores: beside what is measured on a board, and as what a run is checked against."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from support.baselines import EACH, RIGHT, WAY, WRONG, items, run_of
from support.boards import (
    cell_value,
    everywhere,
    only_board,
    row_names,
    row_of,
    rows_of,
    run_2afc,
    run_jnd,
)
from support.cli import one_line, pmbench
from support.factories import FOLDERS, toml

from pmbench.analysis.leaderboard import boards
from pmbench.analysis.leaderboard_rows import Cell, Row, View
from pmbench.analysis.published import published_rows
from pmbench.datasets import manifest
from pmbench.metrics.selection import catalogue
from pmbench.results.csv_io import read_csv
from pmbench.utils.errors import PmbenchError

# --- on a board -----------------------------------------------------------------------------------


def test_published_scores_stand_below_the_measured_ones_with_the_difference(tmp_path: Path) -> None:
    run_2afc(tmp_path, "lpips-alex", everywhere(3) | {"cnn": 4})
    board = only_board(tmp_path, published=True)
    published = rows_of(board, "published")
    assert len(published) == 23 + 19 + 33
    alex = published["Alex-lin [1]"]
    assert alex.beside == "lpips-alex"
    order = [row.name for row in board.rows]
    assert order.index("Alex-lin [1]") == order.index("lpips-alex") + 1
    assert {c: cell.value for c, cell in alex.cells.items()} == pytest.approx(
        {
            "traditional": 0.739, "cnn": 0.834, "superres": 0.715, "deblur": 0.612,
            "color": 0.653, "frameinterp": 0.632, "macro": 0.698,
        }
    )  # fmt: skip
    # measured here: 65 everywhere and 80 in cnn
    assert {c: cell.difference for c, cell in alex.cells.items()} == pytest.approx(
        {
            "traditional": -0.089, "cnn": -0.034, "superres": -0.065, "deblur": 0.038,
            "color": -0.003, "frameinterp": 0.018, "macro": 0.675 - 0.698,
        }
    )  # fmt: skip
    assert all(cell.off for cell in alex.cells.values())  # it may be 0.2 points off
    assert (alex.n, alex.of, alex.speed, alex.rank_range) == (None, None, None, None)
    assert math.isnan(alex.cells["macro"].low)
    others = [row for row in published.values() if row.name not in ("Alex-lin [1]",)]
    assert {row.beside for row in others} == {"", "human-paper"}


def test_without_any_run_papers_stand_alone(tmp_path: Path) -> None:
    board = only_board(tmp_path / "nowhere", published=True)
    assert board.warnings == ["scores that papers report; none is measured here"]
    families = [row.family for row in board.rows]
    assert families == sorted(families)
    assert Counter(families) == {
        "[1] Zhang et al. 2018": 23,
        "[2] Czolbe et al. 2020": 19,
        "[3] PerceptualLossExperiments": 33,
    }
    for family in set(families):
        cells = [row.cells for row in board.rows if row.family == family]
        scores = [(one.get("macro") or one["traditional+cnn"]).value for one in cells]
        assert scores == sorted(scores, reverse=True)
    rows = {row.name: row for row in board.rows}
    assert rows["VGG-tune [1]"].trained_on == "ImageNet, BAPPS"
    assert rows["Human [1]"].trained_on == ""
    assert rows["Watson-fft [2]"].counterpart == "watson-dft"
    assert list(rows["MMD++ [3]"].cells) == ["traditional+cnn"]
    assert (board.columns[0], board.columns[-1]) == ("macro", "traditional+cnn")


def test_papers_alone_are_sorted_and_of_their_main_statistic(tmp_path: Path) -> None:
    board = only_board(tmp_path, published=True, sort="color")
    first = [row.cells["color"].value for row in board.rows if row.family.startswith("[1]")]
    assert first == sorted(first, reverse=True)
    assert not only_board(tmp_path, published=True, grouped=False).grouped
    with pytest.raises(
        PmbenchError, match="unknown column to sort by 'colour'; did you mean color"
    ):
        boards(tmp_path, View(published=True, sort="colour"))
    with pytest.raises(PmbenchError, match="no runs in "):
        boards(tmp_path, View(published=True, statistic="srcc"))


def test_papers_of_a_dataset_of_ones_own_may_score_what_they_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"label": "A", "source": "Somebody 2020", "scores": {"pooled": 70.0}},
        {"label": "A", "source": "Somebody else", "metric": "mine", "scores": {"macro": 60.0}},
    ]
    entry = {
        "name": "toy", "title": "Toy", "protocol": "2afc", "votes_per_item": 5,
        "source": {"path": "data"}, "folders": FOLDERS, "published": rows,
    }  # fmt: skip
    (tmp_path / "toy.toml").write_text(toml(entry))
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(tmp_path))
    board = only_board(tmp_path / "nowhere", published=True, dataset="toy")
    assert [(row.name, row.family, list(row.cells)) for row in board.rows] == [
        ("A [2]", "[2] Somebody else", ["macro"]), ("A [1]", "[1] Somebody 2020", ["pooled"]),
    ]  # fmt: skip
    assert board.columns == ["macro", "pooled"]
    assert not any("ms/pair" in line for line in board.legend)


def test_datasets_that_only_papers_measured_are_shown_beside_runs_on_others(tmp_path: Path) -> None:
    run_jnd(tmp_path, "l2", [1, 2, 2, 1])
    shown = boards(tmp_path, View(published=True))
    assert [(board.dataset, board.measured) for board in shown] == [
        ("ladder-jnd", True), ("bapps-2afc-val", False),
    ]  # fmt: skip
    assert [board.dataset for board in boards(tmp_path, View())] == ["ladder-jnd"]


def test_what_papers_report_has_the_cost_of_the_metric_here(tmp_path: Path) -> None:
    board = only_board(tmp_path / "nowhere", published=True)
    here = {row.counterpart: row for row in board.rows if row.counterpart in catalogue()}
    # the weights of that one are at its authors' only
    assert {name for name, row in here.items() if row.ms is None} == {"watson-vgg"}
    assert here["lpips-alex"].parameters_count == 2_470_848
    assert here["l2"].ms < here["lpips-alex"].ms < here["lpips-vgg"].ms
    assert all(row.ms is None for row in board.rows if row.counterpart not in here)
    assert re.search(r"ms/pair: forward, 64×64, .+, \d threads on \d cores", board.legend[-1])


def test_what_papers_report_is_shown_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stdout = pmbench("leaderboard", "--published").stdout
    assert "scores that papers report; none is measured here" in stdout
    assert re.search(r"Alex-lin \[1\] +lpips-alex +ImageNet, BAPPS +69.8\n", stdout)
    line = r"| *Alex-lin \[1\]* | lpips-alex | ImageNet, BAPPS | 69.8 | 73.9 |"
    assert line in pmbench("leaderboard", "--published", "--format", "md").stdout
    for form in ("html", "latex", "csv", "json"):
        assert "Alex-lin" in pmbench("leaderboard", "--published", "--format", form).stdout
    assert one_line(pmbench("leaderboard", "--published", "-d", "ladder", code=2).stderr) == (
        "no runs on ladder-2afc or ladder-jnd in results; make some with `pmbench eval`, name "
        "another folder with --results, or see what papers report with --published"
    )


def test_what_papers_report_of_people_stands_below_the_same_people(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", everywhere(3))
    board = only_board(tmp_path, published=True)
    order = [row.name for row in board.rows]
    first = order.index("human-paper")
    assert order[first + 1 : first + 3] == ["Human [1]", "Human [2]"]
    assert row_of(board, "Human [1]").family == "people"
    # 0.8² + 0.2² here
    assert row_of(board, "Human [2]").cells["cnn"].difference == pytest.approx(0.68 - 0.8435)


def test_sub_datasets_that_a_paper_pools_are_pooled_for_comparison(tmp_path: Path) -> None:
    counts = {"traditional": 4, "cnn": 8, "superres": 4}
    run_2afc(tmp_path, "mmdpp", {"traditional": 4, "cnn": 2}, counts)
    run_2afc(tmp_path, "l2", {"cnn": 8}, counts, undefined_on=("traditional",))
    board = only_board(tmp_path, published=True)
    assert board.columns[-1] == "traditional+cnn"
    # (4·0.8 + 2·0.8 + 6·0.2)/12, not the mean of the two; l2 has the items of cnn only
    assert cell_value(board, "mmdpp", "traditional+cnn") == pytest.approx(6 / 12)
    assert cell_value(board, "l2", "traditional+cnn") == pytest.approx(0.8)
    cell = row_of(board, "MMD++ [3]").cells["traditional+cnn"]
    assert (cell.value, cell.difference) == pytest.approx((0.74, 0.5 - 0.74))
    assert [r.name for r in board.rows if r.beside == "l2"] == ["L2 [2]", "L2 [3]"]
    assert "traditional+cnn" not in only_board(tmp_path).columns


def test_a_difference_within_the_tolerance_is_not_off(tmp_path: Path) -> None:
    ours = Row("l2-lab", "metric", {"macro": Cell(0.634), "cnn": Cell(0.7806), "deblur": Cell(0.5)})
    (entry,) = (e for e in manifest.datasets()["bapps-2afc-val"].published if e.metric == "l2-lab")
    (row,) = published_rows((entry,), [ours], ["macro", "cnn", "deblur"])
    # the paper says 63.2, 77.8 and 58.2, and is the same to 0.2 points and half its last digit
    assert {c: cell.off for c, cell in row.cells.items()} == {
        "macro": False, "cnn": True, "deblur": True,
    }  # fmt: skip
    assert published_rows((entry,), [ours], ["color+cnn"]) == []


def test_a_row_that_is_not_comparable_has_no_published_one_below(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", everywhere(3))
    run_2afc(tmp_path, "mmdpp", everywhere(3))
    run_2afc(tmp_path, "lpips-alex", everywhere(3), way="other")
    board = only_board(tmp_path, published=True)
    assert row_of(board, "lpips-alex").other_setup
    assert row_of(board, "Alex-lin [1]").beside == ""


def test_the_legend_names_the_sources_and_why_a_number_may_be_off(tmp_path: Path) -> None:
    run_2afc(tmp_path, "dssim", everywhere(3))
    told = only_board(tmp_path, published=True).legend
    start = told.index("[1] published: Zhang et al. 2018, arXiv 1801.03924v2, Table 5")
    assert told[start + 1].startswith("[2] published: Czolbe et al. 2020")
    assert told[start + 2].startswith("[3] published: PerceptualLossExperiments")
    assert told[start + 3] == (
        "↳ published for the row above, and how far the number measured here is above it; "
        "! farther apart than expected"
    )
    assert "SSIM [1]: the paper does not say which colour space its SSIM works in" in told
    assert not any("mixed input ranges" in line for line in told)  # of none that is shown


def test_published_scores_are_shown_on_request_only(tmp_path: Path) -> None:
    run_2afc(tmp_path, "lpips-alex", everywhere(3))
    board = only_board(tmp_path)
    assert row_names(board, "published") == []
    assert not any("published" in line for line in board.legend)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ({"of": 36344, "partial": True}, "partial dataset, or in another resize mode or precision"),
        (
            {"folder": "bapps-2afc-val@exact4"},
            "partial dataset, or in another resize mode or precision",
        ),
        (
            {"folder": "bapps-2afc-val@first4"},
            "partial dataset, or in another resize mode or precision",
        ),
    ],
)
def test_published_scores_are_not_shown_beside_what_they_do_not_compare_with(
    tmp_path: Path, case: dict[str, Any], why: str
) -> None:
    run_2afc(tmp_path, "lpips-alex", everywhere(3), **case)
    board = only_board(tmp_path, published=True)
    assert row_names(board, "published") == []
    assert board.legend[-1] == f"published: not shown beside a {why}"


def test_one_partial_run_keeps_published_scores_away(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(3))
    run_2afc(tmp_path, "b", everywhere(3), of=36344, partial=True)
    assert row_names(only_board(tmp_path, published=True), "published") == []


def test_published_scores_are_of_the_main_statistic(tmp_path: Path) -> None:
    run_2afc(tmp_path, "lpips-alex", everywhere(3))
    board = only_board(tmp_path, published=True, statistic="srcc")
    assert row_names(board, "published") == []
    assert board.legend[-1] == (
        "published: not shown, since papers report no other statistic than the main one"
    )


@pytest.mark.parametrize("name", ["ladder-jnd", "unheard-of"])
def test_where_nobody_published_scores_that_is_said(tmp_path: Path, name: str) -> None:
    run_jnd(tmp_path, "l2", [1, 2, 1, 2], name=name)
    board = only_board(tmp_path, published=True, dataset=name)
    assert row_names(board, None) == ["l2"]
    assert board.legend[-1] == (
        "published: nobody has published scores on this dataset, as far as known here"
    )


# --- what a run is checked against ----------------------------------------------------------------

PAPER = "Somebody 2020, Table 1"


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """Declare a dataset with published scores: of two metrics, of people, and of a stranger."""
    (tmp_path / "data").mkdir()
    rows = [
        {"label": "Best", "source": PAPER, "metric": "mine", "tolerance": 0.2,
         "scores": {"one": 66.7, "two": 33.3, "macro": 50.0}},
        {"label": "Both", "source": PAPER, "metric": "mine", "tolerance": 0.2,
         "scores": {"one+two": 50.0}},
        {"label": "Other", "source": PAPER, "metric": "other", "tolerance": 1.0,
         "note": "drawn anew", "scores": {"macro": 60.0}},
        {"label": "Human", "source": PAPER, "human": "human-paper", "tolerance": 0.0,
         "scores": {"macro": 100.0}},
        {"label": "Stranger", "source": PAPER, "scores": {"macro": 12.0}},
    ]  # fmt: skip
    content = {
        "name": "toy",
        "title": "Toy",
        "protocol": "2afc",
        "sub_datasets": {"one": EACH, "two": EACH},
        "source": {"path": "."},
        "folders": FOLDERS,
        "published": rows,
    }
    (tmp_path / "data" / "toy.toml").write_text(toml(content))
    return tmp_path / "data"


def distances(one: int, two: int) -> NDArray[np.float64]:
    """Return distances of which so many are right in each sub-dataset."""
    return np.array([d for r in (one, two) for d in [RIGHT] * r + [WRONG] * (EACH - r)])


def published(manifests: Path, *options: str, code: int = 0) -> Any:
    words = ["check", "--published", "-d", "toy", "--manifests", manifests, *options]
    return pmbench(*words, code=code)


def findings(manifests: Path, *options: str, code: int = 0) -> dict[str, dict[str, Any]]:
    told = published(manifests, "--json", *options, code=code).stdout
    return {one["paper"]: one for one in json.loads(told)["found"]}


def test_what_is_within_the_tolerance_and_rounding_is_reproduced(
    empty_folder: Path, manifests: Path
) -> None:
    run_of(empty_folder / "results", distances(20, 10), items(), "mine")
    rows = findings(manifests)
    assert {paper: row["verdict"] for paper, row in rows.items()} == {
        "Best": "reproduced",
        "Both": "reproduced",
        "Other": "not run",
        "Human": "reproduced",
        "Stranger": "not checked",
    }
    best = rows["Best"]
    assert best["measured"] == pytest.approx({"one": 200 / 3, "two": 100 / 3, "macro": 50})
    assert abs(best["difference"]) == pytest.approx(1 / 30)  # 66.7 is 66.67, and 33.3 is 33.33
    assert best["tolerance"] == 0.2
    assert rows["Both"]["measured"] == {"one+two": pytest.approx(50)}
    assert rows["Human"]["measured"] == {"macro": 100}
    told = one_line(published(manifests).stdout)
    assert "mine [1: Best] 50.00 50.00" in told
    assert "passed: 3 published rows reproduced" in told
    assert "not run, 1 of toy: `pmbench eval -m other -d toy`" in told
    assert "not checked, pmbench has no counterpart of it: Stranger" in told
    assert f"[1] {PAPER}" in told


def test_rounding_of_the_paper_is_accounted_for(empty_folder: Path, manifests: Path) -> None:
    toml_file = manifests / "toy.toml"
    run_of(empty_folder / "results", distances(20, 10), items(), "mine")
    for paper, verdict in ((50.25, "reproduced"), (50.26, "differs"), (49.74, "differs")):
        text = toml_file.read_text()
        toml_file.write_text(text.replace('"one+two" = 50.0', f'"one+two" = {paper}'))
        datasets_anew()
        code = 0 if verdict == "reproduced" else 1
        assert findings(manifests, code=code)["Both"]["verdict"] == verdict
        toml_file.write_text(text)


def datasets_anew() -> None:
    """Forget the manifests that were read."""
    manifest._all.cache_clear()


def test_what_differs_says_where_and_by_how_much(empty_folder: Path, manifests: Path) -> None:
    run_of(empty_folder / "results", distances(20, 10), items(), "mine")
    run_of(empty_folder / "results", distances(20, 17), items(), "other")  # 61.67
    row = findings(manifests, code=1)["Other"]
    assert row["verdict"] == "differs"
    assert row["told"] == (
        "+1.67 points in macro (61.67, published 60); ±1 is allowed, and 0.05 for rounding; "
        "drawn anew"
    )
    told = published(manifests, "--junit", "check.xml", "--summary", "summary.md", code=1).stdout
    assert max(map(len, told.splitlines())) <= 80
    assert "differs: other [1: Other]: +1.67 points in macro (61.67" in one_line(told)
    assert (
        "failed: 1 of 4 published rows not reproduced; `pmbench verify` says whether the distances "
        "are the authors'"
    ) in one_line(told)
    (suite,) = ElementTree.parse(empty_folder / "check.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "1", "1")
    cases = {case.get("name"): case for case in suite}
    failure = cases["other [1: Other]"][0]
    assert (failure.tag, failure.get("type")) == ("failure", "differs")
    assert cases["Stranger [1: Stranger]"][0].get("message") == (
        "not checked: pmbench has no counterpart of it"
    )
    summary = (empty_folder / "summary.md").read_text()
    assert summary.startswith("### pmbench check: failed: 1 of 4 published rows not reproduced")
    assert "| `other [1: Other]` | 60.00 | 61.67 | +1.67 macro | 1 | **differs** |" in summary
    assert "<summary>3 reproduced</summary>" in summary


def test_nothing_compared_is_no_success(empty_folder: Path, manifests: Path) -> None:
    run_of(empty_folder / "results", distances(20, 10), items(), "mine")
    told = published(manifests, "-m", "other", code=1).stdout
    assert "failed: nothing could be compared" in told
    assert "passed: 2 published rows reproduced" in published(manifests, "-m", "mine").stdout


def refused(manifests: Path, *options: str) -> str:
    return one_line(published(manifests, *options, code=2).stderr)


def test_a_part_another_resize_mode_or_precision_is_refused(
    empty_folder: Path, manifests: Path
) -> None:
    few = {"items": 10, "of": 60, "partial": True}
    run_of(
        empty_folder / "results",
        distances(20, 10)[:10],
        items().take(np.arange(10)),
        "mine",
        facts=few,
    )
    partial = (
        "toy: partial, 10 of 60 items, and published scores are of all; get the whole with "
        "`pmbench download toy` and measure it without --limit"
    )
    assert refused(manifests) == partial
    run_of(
        empty_folder / "results", distances(20, 10), items(), "other", "toy@exact4",
        facts={"resize": "exact4"},
    )  # fmt: skip
    resized = (
        "toy@exact4: measured with another resize mode (exact4) than the papers used, so published "
        "scores do not apply; measure toy without --resize"
    )
    assert refused(manifests) == f"{partial}; {resized}"
    run_of(
        empty_folder / "results", distances(20, 10), items(), "third", "toy@bf16",
        way=WAY.replace("|fp32", "|bf16"),
    )  # fmt: skip
    rough = (
        "toy@bf16: measured with networks in bf16, and papers have measured in float32, so "
        "published scores do not apply; measure toy without --precision"
    )
    assert refused(manifests) == f"{partial}; {rough}; {resized}"
    # beside whole runs they are left out, and that is said
    run_of(empty_folder / "results", distances(20, 10), items(), "mine")
    assert resized in one_line(published(manifests).stdout)
    assert findings(manifests)["Other"]["verdict"] == "not run"


def test_a_metric_that_is_not_defined_on_all_items_is_not_compared(
    empty_folder: Path, manifests: Path
) -> None:
    d = distances(20, 10)
    d[:5] = np.nan
    run_of(empty_folder / "results", d, items(), "mine")
    row = findings(manifests, "-m", "mine", code=1)["Best"]
    assert (row["verdict"], row["told"]) == (
        "not checked",
        "the run has no score over all items in one, macro",
    )


def test_without_published_scores_or_runs_there_is_nothing_to_compare(
    empty_folder: Path, manifests: Path
) -> None:
    assert refused(manifests) == (
        "no runs in results; make some with `pmbench eval`, or name another folder with --results"
    )
    run_of(empty_folder / "results", distances(20, 10), items(), "mine", "elsewhere")
    assert refused(manifests) == (
        "no runs on toy in results; make some with `pmbench eval`, or name another folder with "
        "--results"
    )
    assert one_line(pmbench("check", "--published", "-d", "ladder", code=2).stderr) == (
        "nobody has published scores on ladder-2afc, ladder-jnd, as far as known here; name a "
        "dataset such as bapps-2afc-val with --dataset"
    )
    assert refused(manifests, "-m", "min") == "unknown metric 'min'; did you mean mine?"


def test_real_judgements_at_full_size(empty_folder: Path, shared: Path) -> None:
    """36,344 judgements with distances of one metric, held against the row of another one."""
    its, d = read_csv(shared / "judgements" / "bapps_2afc_val.csv.gz", "2afc", False)
    expected = json.loads((shared / "judgements" / "expected_scores.json").read_text())["expected"]
    facts = {"resize": "legacy64"}
    run_of(empty_folder / "results", d, its, "lpips-alex", "bapps-2afc-val", facts=facts)
    result = pmbench("check", "--published", "-m", "lpips-alex", "--json", code=1)
    (row,) = json.loads(result.stdout)["found"]
    assert row["measured"]["traditional"] == pytest.approx(100 * expected["traditional"]["2afc"])
    assert row["verdict"] == "differs"
    assert row["worst"] == "traditional"
    people = json.loads(pmbench("check", "--published", "-m", "human-paper", "--json").stdout)
    assert {one["verdict"] for one in people["found"]} == {"reproduced"}

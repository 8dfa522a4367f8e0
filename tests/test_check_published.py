"""Runs against what papers report, on a toy dataset with published scores of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from making import FOLDERS, toml
from numpy.typing import NDArray
from test_check import EACH, RIGHT, WAY, WRONG, items, run_of
from test_cli import one_line, pmbench

from pmbench.datasets import manifest
from pmbench.results.csv_io import read_csv

PAPER = "Somebody 2020, Table 1"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, on a terminal of 80 columns."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return folder


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


def found(manifests: Path, *options: str, code: int = 0) -> dict[str, dict[str, Any]]:
    told = published(manifests, "--json", *options, code=code).stdout
    return {one["paper"]: one for one in json.loads(told)["found"]}


def test_what_is_within_the_tolerance_and_rounding_is_reproduced(
    here: Path, manifests: Path
) -> None:
    run_of(here / "results", distances(20, 10), items(), "mine")
    rows = found(manifests)
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


def test_rounding_of_the_paper_is_accounted_for(here: Path, manifests: Path) -> None:
    toml_file = manifests / "toy.toml"
    run_of(here / "results", distances(20, 10), items(), "mine")
    for paper, verdict in ((50.25, "reproduced"), (50.26, "differs"), (49.74, "differs")):
        text = toml_file.read_text()
        toml_file.write_text(text.replace('"one+two" = 50.0', f'"one+two" = {paper}'))
        datasets_anew()
        code = 0 if verdict == "reproduced" else 1
        assert found(manifests, code=code)["Both"]["verdict"] == verdict
        toml_file.write_text(text)


def datasets_anew() -> None:
    """Forget the manifests that were read."""
    manifest._all.cache_clear()


def test_what_differs_says_where_and_by_how_much(here: Path, manifests: Path) -> None:
    run_of(here / "results", distances(20, 10), items(), "mine")
    run_of(here / "results", distances(20, 17), items(), "other")  # 61.67
    row = found(manifests, code=1)["Other"]
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
    (suite,) = ElementTree.parse(here / "check.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "1", "1")
    cases = {case.get("name"): case for case in suite}
    failure = cases["other [1: Other]"][0]
    assert (failure.tag, failure.get("type")) == ("failure", "differs")
    assert cases["Stranger [1: Stranger]"][0].get("message") == (
        "not checked: pmbench has no counterpart of it"
    )
    summary = (here / "summary.md").read_text()
    assert summary.startswith("### pmbench check: failed: 1 of 4 published rows not reproduced")
    assert "| `other [1: Other]` | 60.00 | 61.67 | +1.67 macro | 1 | **differs** |" in summary
    assert "<summary>3 reproduced</summary>" in summary


def test_nothing_compared_is_no_success(here: Path, manifests: Path) -> None:
    run_of(here / "results", distances(20, 10), items(), "mine")
    told = published(manifests, "-m", "other", code=1).stdout
    assert "failed: nothing could be compared" in told
    assert "passed: 2 published rows reproduced" in published(manifests, "-m", "mine").stdout


def refused(manifests: Path, *options: str) -> str:
    return one_line(published(manifests, *options, code=2).stderr)


def test_a_part_another_resize_mode_or_precision_is_refused(here: Path, manifests: Path) -> None:
    few = {"items": 10, "of": 60, "partial": True}
    run_of(here / "results", distances(20, 10)[:10], items().take(np.arange(10)), "mine", facts=few)
    partial = (
        "toy: partial, 10 of 60 items, and published scores are of all; get the whole with "
        "`pmbench download toy` and measure it without --limit"
    )
    assert refused(manifests) == partial
    run_of(
        here / "results", distances(20, 10), items(), "other", "toy@exact4",
        facts={"resize": "exact4"},
    )  # fmt: skip
    resized = (
        "toy@exact4: measured with another resize mode (exact4) than the papers used, so published "
        "scores do not apply; measure toy without --resize"
    )
    assert refused(manifests) == f"{partial}; {resized}"
    run_of(
        here / "results", distances(20, 10), items(), "third", "toy@bf16",
        way=WAY.replace("|fp32", "|bf16"),
    )  # fmt: skip
    rough = (
        "toy@bf16: measured with networks in bf16, and papers have measured in float32, so "
        "published scores do not apply; measure toy without --precision"
    )
    assert refused(manifests) == f"{partial}; {rough}; {resized}"
    # beside whole runs they are left out, and that is said
    run_of(here / "results", distances(20, 10), items(), "mine")
    assert resized in one_line(published(manifests).stdout)
    assert found(manifests)["Other"]["verdict"] == "not run"


def test_a_metric_that_is_not_defined_on_all_items_is_not_compared(
    here: Path, manifests: Path
) -> None:
    d = distances(20, 10)
    d[:5] = np.nan
    run_of(here / "results", d, items(), "mine")
    row = found(manifests, "-m", "mine", code=1)["Best"]
    assert (row["verdict"], row["told"]) == (
        "not checked",
        "the run has no score over all items in one, macro",
    )


def test_without_published_scores_or_runs_there_is_nothing_to_compare(
    here: Path, manifests: Path
) -> None:
    assert refused(manifests) == (
        "no runs in results; make some with `pmbench eval`, or name another folder with --results"
    )
    run_of(here / "results", distances(20, 10), items(), "mine", "elsewhere")
    assert refused(manifests) == (
        "no runs on toy in results; make some with `pmbench eval`, or name another folder with "
        "--results"
    )
    assert one_line(pmbench("check", "--published", "-d", "ladder", code=2).stderr) == (
        "nobody has published scores on ladder-2afc, ladder-jnd, as far as known here; name a "
        "dataset such as bapps-2afc-val with --dataset"
    )
    assert refused(manifests, "-m", "min") == "unknown metric 'min'; did you mean mine?"


def test_real_judgements_at_full_size(here: Path, shared: Path) -> None:
    """36,344 judgements with distances of one metric, held against the row of another one."""
    its, d = read_csv(shared / "judgements" / "bapps_2afc_val.csv.gz", "2afc", False)
    expected = json.loads((shared / "judgements" / "expected_scores.json").read_text())["expected"]
    facts = {"resize": "legacy64"}
    run_of(here / "results", d, its, "lpips-alex", "bapps-2afc-val", facts=facts)
    result = pmbench("check", "--published", "-m", "lpips-alex", "--json", code=1)
    (row,) = json.loads(result.stdout)["found"]
    assert row["measured"]["traditional"] == pytest.approx(100 * expected["traditional"]["2afc"])
    assert row["verdict"] == "differs"
    assert row["worst"] == "traditional"
    people = json.loads(pmbench("check", "--published", "-m", "human-paper", "--json").stdout)
    assert {one["verdict"] for one in people["found"]} == {"reproduced"}

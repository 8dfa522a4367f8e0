"""``pmbench check`` and ``pmbench baseline`` as a user types them: what is printed and written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from support.baselines import change_between, distances, items, measurement, run_of
from support.cli import one_line, pmbench

from pmbench.analysis.baseline import read
from pmbench.analysis.regression import Findings
from pmbench.analysis.reproduction import check_published
from pmbench.datasets.manifest import Published, datasets
from pmbench.reporting.checks import to_junit, to_markdown
from pmbench.results.run import open_run

pytestmark = pytest.mark.usefixtures("empty_folder")


def write_baseline(empty_folder: Path) -> None:
    """Measure two metrics, and make them the baseline."""
    run_of(empty_folder / "results", distances(20), items(), "mine")
    run_of(empty_folder / "results", distances(25), items(), "other")
    told = pmbench("baseline", "-o", "b.json").stdout
    assert told.startswith("b.json: 2 runs, ")


def test_what_did_not_change_passes(empty_folder: Path) -> None:
    write_baseline(empty_folder)
    told = pmbench("check", "--baseline", "b.json").stdout
    assert "passed: 2 same" in told
    assert told.splitlines()[2].split() == ["metric", "before", "now", "change", "moved", "verdict"]
    assert told.splitlines()[4].split() == ["mine", "66.67", "66.67", "0", "0", "same"]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_a_terminal(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    write_baseline(empty_folder)
    run_of(empty_folder / "results", distances(10), items(), "mine")
    long = "torchmetrics-structural-similarity-of-many-scales-in-a-name-that-is-too-long"
    run_of(empty_folder / "results", distances(10), items(), long)
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
    assert "before, now: overall score in percent; change: in points, with its paired 95 %" in said
    assert long[:20] in said.replace(" ", "")


def test_a_chosen_metric_or_dataset_alone_is_checked(empty_folder: Path) -> None:
    write_baseline(empty_folder)
    run_of(empty_folder / "results", distances(10), items(), "mine")
    assert "passed: 1 same" in pmbench("check", "--baseline", "b.json", "-m", "other").stdout
    pmbench("check", "--baseline", "b.json", "-m", "mine,other", code=1)
    pmbench("check", "--baseline", "b.json", "-d", "toy", code=1)
    run_of(empty_folder / "results", distances(10), items(), "mine", dataset="toy@first30")
    assert "new" in pmbench("check", "--baseline", "b.json", "-d", "toy", code=1).stdout
    assert refused("--baseline", "b.json", "-d", "ladder") == (
        "nothing to compare: neither b.json nor results holds these metrics on these datasets; "
        "leave out --metric or --dataset to compare everything"
    )


def test_a_baseline_of_a_part_says_what_is_no_longer_in_it(empty_folder: Path) -> None:
    write_baseline(empty_folder)
    result = pmbench("baseline", "-o", "b.json", "-m", "other")
    assert one_line(result.stderr) == "no longer in b.json: mine on toy"
    assert [entry.metric for entry in read(empty_folder / "b.json").runs] == ["other"]
    (empty_folder / "b.json").write_text('{"pmbench_baseline": 1')  # cut off
    assert pmbench("baseline", "-o", "b.json").stderr == ""


def test_the_summary_is_appended_and_folds_what_is_the_same_away(empty_folder: Path) -> None:
    write_baseline(empty_folder)
    run_of(empty_folder / "results", distances(10), items(), "mine")
    (empty_folder / "summary.md").write_text("# before\n")
    pmbench("check", "--baseline", "b.json", "--summary", "summary.md", code=1)
    lines = (empty_folder / "summary.md").read_text().splitlines()
    assert lines[0] == "# before"
    assert lines[1] == "### pmbench check: failed: 1 worse, of 2 compared with b.json"
    assert "| metric | before | now | change | moved | verdict |" in lines
    (row,) = [line for line in lines if line.startswith("| `mine`")]
    assert row.startswith("| `mine` | 66.67 | 33.33 | -33.33 (-")
    assert row.endswith("| 1.0e+00 | **worse** |")
    assert "<summary>1 same</summary>" in lines
    assert "- if that is as intended, accept it: `pmbench baseline -o b.json`" in lines


@pytest.mark.parametrize("option", ["--summary", "--junit"])
def test_a_file_that_cannot_be_written_does_not_lose_the_result(
    empty_folder: Path, option: str
) -> None:
    write_baseline(empty_folder)
    run_of(empty_folder / "results", distances(10), items(), "mine")
    result = pmbench("check", "--baseline", "b.json", option, "", code=2)
    assert "failed: 1 worse, of 2 compared with b.json" in result.stdout
    assert one_line(result.stderr) == (
        f"{option} '.': expected the name of a file, got a folder or an empty name; is a variable "
        "unset, such as GITHUB_STEP_SUMMARY outside of GitHub's jobs?"
    )


def test_markdown_makes_nothing_else_of_names() -> None:
    strange = replace(
        change_between(measurement(), measurement(10)),
        name="cmd|x",
        message="by *much* in a_b_c, see `a_b`",
    )
    text = to_markdown(Findings("b", (strange,), ("failed: <b>",), True))
    assert "`cmd¦x`" in text
    assert r"by \*much\* in a\_b\_c, see `a_b`" in text
    assert r"failed: \<b\>" in text


def test_junit_is_read_back(empty_folder: Path) -> None:
    write_baseline(empty_folder)
    run_of(empty_folder / "results", distances(10), items(), "mine")
    run_of(empty_folder / "results", distances(10), items(), "fresh & <new>")
    pmbench("check", "--baseline", "b.json", "--junit", "out/check.xml", code=1)
    root = ElementTree.parse(empty_folder / "out" / "check.xml").getroot()
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
    strange = replace(
        change_between(measurement(), measurement(10)), name="bell\a", message="\x00 and \ud800"
    )
    text = to_junit(Findings("b", (strange,), ("failed",), True))
    (case,) = ElementTree.fromstring(text.encode()).iter("testcase")
    assert case.attrib["name"] == "bell?"
    assert case[0].attrib["message"] == "worse: ? and ?"


def test_json_says_everything(empty_folder: Path) -> None:
    write_baseline(empty_folder)
    run_of(empty_folder / "results", distances(10), items(), "mine")
    content = json.loads(pmbench("check", "--baseline", "b.json", "--json", code=1).stdout)
    assert content["failed"] is True
    assert content["against"] == "b.json"
    first, second = content["found"]
    assert (first["name"], first["verdict"], first["fails"]) == ("mine", "worse", True)
    assert first["change"] == pytest.approx(-100 / 3)
    assert first["allowed"] == 1e-5
    assert (second["name"], second["verdict"], second["told"]) == ("other", "same", "")
    run_of(empty_folder / "results", undefined(), items(), "mine")
    content = json.loads(pmbench("check", "--baseline", "b.json", "--json", code=1).stdout)
    assert content["found"][0]["moved"] is None  # infinite


def undefined() -> NDArray[np.float64]:
    d = distances(20)
    d[0] = np.nan
    return d


def refused(*words: str | Path) -> str:
    return one_line(pmbench("check", *words, code=2).stderr)


def test_what_is_asked_wrongly_is_answered_in_a_sentence(empty_folder: Path) -> None:
    assert refused() == (
        "pmbench check needs one thing to compare with: --baseline FILE, or --published"
    )
    assert refused("--baseline", "b.json", "--published").startswith("pmbench check needs one")
    assert refused("--baseline", "b.json") == (
        "b.json: there is no such baseline; write one with `pmbench baseline -o FILE`"
    )
    (empty_folder / "b.json").write_text("scores: 3")
    assert refused("--baseline", "b.json").startswith(
        "b.json: expected the JSON text of a baseline, and it is not valid (Expecting value"
    )
    (empty_folder / "b.json").write_bytes(b"\xff\xfe")
    assert "expected the JSON text of a baseline" in refused("--baseline", "b.json")
    (empty_folder / "b.json").write_text("[]")
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


def test_without_runs_there_is_nothing_to_check(empty_folder: Path) -> None:
    write_baseline(empty_folder)
    assert refused("--baseline", "b.json", "--results", "elsewhere") == (
        "no runs in elsewhere; make some with `pmbench eval`, or name another folder with --results"
    )
    assert one_line(pmbench("baseline", "-o", "c.json", "--results", "x", code=2).stderr) == (
        "no runs in x; make some with `pmbench eval`, or name another folder with --results"
    )
    assert not (empty_folder / "c.json").exists()


def test_unknown_names_are_answered_with_close_ones(empty_folder: Path) -> None:
    write_baseline(empty_folder)
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


def test_a_damaged_run_is_told_and_missing(empty_folder: Path) -> None:
    write_baseline(empty_folder)
    (empty_folder / "results" / "toy" / "mine" / "run.json").write_text("{}")
    result = pmbench("check", "--baseline", "b.json", code=1)
    assert "left out: results/toy/mine/run.json: expected a run" in one_line(result.stderr)
    assert "failed: 1 missing" in result.stdout


def test_the_check_itself_needs_no_torch(empty_folder: Path) -> None:
    write_baseline(empty_folder)
    code = (
        "import sys; from pmbench.cli import app\n"
        "try: app(['check', '--baseline', 'b.json'])\n"
        "except SystemExit as ended: print(ended.code, 'torch' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
    assert told.splitlines()[-1] == "0 False"


def test_a_file_that_is_no_baseline_is_not_replaced(empty_folder: Path) -> None:
    run_of(empty_folder / "results", distances(20), items(), "mine")
    (empty_folder / "mine.py").write_text("the only copy")
    told = pmbench("baseline", "-o", "mine.py", code=2).stderr
    assert one_line(told) == (
        "mine.py is there, and is no baseline; it is left as it is: name another file with -o, or "
        "delete it"
    )
    assert (empty_folder / "mine.py").read_text() == "the only copy"


# --- code that was edited -------------------------------------------------------------------------

FORMULA = """
from helpers import mean

def f(x, y):
    return mean((x - y).abs())
"""
HELPERS = "def mean(x):\n    return x.mean(dim=(1, 2, 3))\n"


@pytest.fixture
def measured(empty_folder: Path) -> None:
    """Measure a metric of two files, and make it the baseline."""
    Path("mine.py").write_text(FORMULA)
    Path("helpers.py").write_text(HELPERS)
    pmbench("eval", "-m", "mine=./mine.py:f", "-d", "ladder-jnd")
    pmbench("baseline", "-o", "b.json")


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("file", ["mine.py", "helpers.py"])
def test_code_that_was_edited_after_it_was_measured_fails(empty_folder: Path, file: str) -> None:
    assert "passed: 1 same" in pmbench("check", "--baseline", "b.json").stdout
    text = Path(file).read_text()
    Path(file).write_text(f'"""Only words."""\n{text}  # and more of them\n')
    assert "passed: 1 same" in pmbench("check", "--baseline", "b.json").stdout
    Path(file).write_text(f"{text}\nmore = 1\n")
    output = pmbench("check", "--baseline", "b.json", "--json", code=1).stdout
    sentence = (
        f"its code is not what was measured (edited or removed since: {empty_folder / file}); "
        "measure it again with `pmbench eval`, or let it pass with --allow-stale"
    )
    (finding,) = json.loads(output)["findings"]
    assert (finding["verdict"], finding["message"]) == ("stale", sentence)
    assert json.loads(output)["messages"] == [
        "failed: 1 stale, of 1 compared with b.json",
        "measure what is stale again, with `pmbench eval`",
    ]
    output = pmbench("check", "--baseline", "b.json", "--allow-stale").stdout
    assert "passed: 1 same" in output
    assert one_line(pmbench("baseline", "-o", "b.json").stderr) == f"ladder-jnd/mine: {sentence}"
    pmbench("eval", "-m", "mine=./mine.py:f", "-d", "ladder-jnd")
    assert "passed: 1 same" in pmbench("check", "--baseline", "b.json").stdout


@pytest.mark.usefixtures("measured")
def test_code_that_is_on_another_machine_is_no_matter_and_a_broken_file_is(
    empty_folder: Path,
) -> None:
    Path("mine.py").write_text("def f(x, y:\n")
    stale = "edited or removed since: "
    assert stale in one_line(pmbench("check", "--baseline", "b.json", code=1).stdout)
    Path("mine.py").unlink()
    assert stale in one_line(pmbench("check", "--baseline", "b.json", code=1).stdout)
    run = Path("results/ladder-jnd/mine/run.json")
    elsewhere = run.read_text().replace(str(empty_folder), "/home/another/folder")
    run.write_text(elsewhere)
    assert "passed: 1 same" in pmbench("check", "--baseline", "b.json").stdout


def test_published_scores_are_not_reproduced_by_other_code(empty_folder: Path) -> None:
    pmbench("eval", "-m", "l2", "-d", "ladder-jnd")
    path = Path("results/ladder-jnd/l2/run.json")
    content = json.loads(path.read_text())
    files = content["metric"]["source_files"]
    assert set(files) >= {"pmbench/metrics/builtin/pixel.py", "pmbench/metrics/images.py"}
    published = [{"label": "L2", "source": "Paper", "metric": "l2", "scores": {"pooled": 50.0}}]
    entry = datasets()["ladder-jnd"]
    rows = [Published.model_validate(row) for row in published]
    run = open_run(path.parent)
    assert run is not None
    known = [entry.model_copy(update={"published": tuple(rows)})]
    assert check_published(known, [run], [], Path("results")).findings[0].verdict == "differs"
    content["metric"]["source_files"] = files | {"pmbench/metrics/builtin/gone.py": "0"}
    path.write_text(json.dumps(content))
    run = open_run(path.parent)
    assert run is not None
    result = check_published(known, [run], [], Path("results"))
    (finding,) = result.findings
    assert (finding.verdict, finding.fails, result.failed) == ("stale", True, True)
    assert "(edited or removed since: pmbench/metrics/builtin/gone.py)" in finding.message
    assert result.messages[0] == "failed: 1 published rows whose metric has other code now"
    lenient = check_published(known, [run], [], Path("results"), allow_stale=True)
    assert lenient.findings[0].verdict == "differs"

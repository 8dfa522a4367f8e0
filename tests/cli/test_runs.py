"""``pmbench runs``, and the choice of metrics in tables and reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.boards import everywhere, run_2afc
from support.cli import one_line, pmbench
from support.runs import save_run

from pmbench.analysis.leaderboard import boards
from pmbench.analysis.leaderboard_rows import View
from pmbench.results.run import LOCK_FILE
from pmbench.results.store import find_runs
from pmbench.utils.locks import exclusive

pytestmark = pytest.mark.usefixtures("empty_folder")
RESULTS = Path("results")


def names() -> list[str]:
    return [f"{run.dataset}/{run.metric}" for run in find_runs(RESULTS)]


@pytest.fixture
def four(empty_folder: Path) -> None:
    """Two metrics on two datasets."""
    for dataset in ("one", "two"):
        for metric in ("net:a/b", "mine"):
            save_run(RESULTS, dataset, metric, folder=metric.replace(":", "_").replace("/", "_"))


@pytest.mark.usefixtures("four")
def test_runs_of_a_metric_are_removed_on_all_datasets_or_on_one() -> None:
    whole = names()
    output = pmbench("runs", "remove", "mine", "--dry-run").stdout
    assert output == "would remove results/one/mine\nwould remove results/two/mine\n"
    assert names() == whole
    assert pmbench("runs", "remove", "mine", "-d", "two").stdout == "removed results/two/mine\n"
    assert names() == ["one/mine", "one/net:a/b", "two/net:a/b"]
    assert not Path("results/two/mine").exists()
    pmbench("runs", "remove", "one/net:a/b", "one/mine")
    assert names() == ["two/net:a/b"]
    table = Path("results/leaderboard.md").read_text()
    assert "net:a/b" in table
    assert "mine" not in table
    assert "net:a/b" in pmbench("runs", "list").stdout
    pmbench("runs", "remove", "net:a/b")
    assert not list(RESULTS.glob("leaderboard.*"))


@pytest.mark.usefixtures("four")
def test_what_is_not_pmbenchs_stays() -> None:
    Path("results/one/mine/notes.txt").write_text("mine")
    result = pmbench("runs", "remove", "one/mine")
    assert result.stdout == "removed results/one/mine\n"
    assert result.stderr == "left in results/one/mine: notes.txt\n"
    assert [path.name for path in Path("results/one/mine").iterdir()] == ["notes.txt"]


@pytest.mark.usefixtures("four")
def test_a_run_that_cannot_be_read_is_called_as_its_folder() -> None:
    Path("results/one/mine/run.json").write_text("{")
    pmbench("runs", "remove", "one/mine")
    assert names() == ["one/net:a/b", "two/mine", "two/net:a/b"]


@pytest.mark.usefixtures("four")
def test_a_run_under_way_and_unknown_names_are_refused() -> None:
    with exclusive(Path("results/one/mine") / LOCK_FILE):
        message = one_line(pmbench("runs", "remove", "one/mine", code=2).stderr)
    assert message.startswith("another pmbench (process ")
    assert message.endswith(
        " is measuring into results/one/mine; wait for it, or choose another folder with --results"
    )
    assert one_line(pmbench("runs", "remove", "mime", code=2).stderr) == (
        "unknown run 'mime'; did you mean mine?"
    )
    assert pmbench("runs", "remove", "mine", "-d", "six", code=2).stderr == (
        "no runs in results on six\n"
    )
    assert len(names()) == 4


@pytest.fixture
def board(empty_folder: Path) -> None:
    for name, right in (("a", 5), ("b", 4), ("c", 1)):
        run_2afc(RESULTS, name, everywhere(right))


@pytest.mark.usefixtures("board")
def test_a_leaderboard_of_some_metrics_ranks_them_among_themselves() -> None:
    (whole,) = boards(RESULTS, View())
    (some,) = boards(RESULTS, View(metrics=("b", "c")))
    place = {row.name: row.rank_range for row in whole.rows if row.kind == "metric"}
    among = {row.name: row.rank_range for row in some.rows if row.kind == "metric"}
    assert set(place) == {"a", "b", "c"}
    assert set(among) == {"b", "c"}
    assert (place["c"].high, among["c"].high) == (3, 2)
    output = pmbench("leaderboard", "-m", "b,c").stdout
    assert [line.split()[0] for line in output.splitlines() if line[:2] in ("a ", "b ", "c ")] == [
        "b", "c",
    ]  # fmt: skip
    lines = pmbench("leaderboard", "-m", "c", "--format", "csv").stdout.splitlines()
    assert {line.split(",")[2] for line in lines[1:] if ",metric," in line} == {"c"}
    assert one_line(pmbench("leaderboard", "-m", "d", code=2).stderr).startswith("unknown run 'd'")


@pytest.mark.usefixtures("board")
def test_a_report_of_some_metrics_has_pages_of_these() -> None:
    pmbench("report", "-m", "b", "-m", "c")
    assert sorted(path.name for path in Path("report/metrics").iterdir()) == ["b.html", "c.html"]
    message = one_line(pmbench("report", "-m", "nobody", code=2).stderr)
    assert message.startswith("unknown run 'nobody'; ")


def test_published_rows_of_the_chosen_metrics_only() -> None:
    output = pmbench("leaderboard", "--published", "-d", "bapps-2afc-val", "-m", "ssim").stdout
    assert "SSIM [2]" in output
    assert "Alex-lin" not in output

"""``pmbench leaderboard`` as a user types it: what the options do, and what is said where."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from support.boards import WAY, everywhere, run_2afc, run_jnd
from support.cli import one_line, pmbench
from support.latex import compiled


@pytest.fixture(autouse=True)
def _two_runs(empty_folder: Path) -> None:
    for metric, right in (("a", 3), ("b", 2)):
        run_2afc(Path("results"), metric, everywhere(right))


def test_every_format_is_written_to_a_file_as_to_a_pipe(empty_folder: Path) -> None:
    for form, mark in (
        ("md", "| a | "), ("csv", ",a,2afc,macro,"), ("json", '"name": "a"'),
        ("latex", "\\bottomrule"), ("html", "</html>"),
    ):  # fmt: skip
        told = pmbench("leaderboard", "--format", form).stdout
        assert mark in told
        pmbench("leaderboard", "--format", form, "-o", f"out.{form}")
        assert (empty_folder / f"out.{form}").read_text(encoding="utf-8") == told


def test_latex_of_several_boards_has_the_relation_in_a_comment(empty_folder: Path) -> None:
    for k, metric in enumerate("abcd"):
        counts = {"noise": 4, "blur": 4}
        run_2afc(empty_folder / "ladder", metric, {"noise": k}, counts, name="ladder-2afc")
        run_jnd(empty_folder / "ladder", metric, [1, 2, 1, 2] if k else [2, 1, 2, 1])
    words = ["leaderboard", "--results", "ladder", "--format"]
    line = "2AFC and JND over 4 metrics of ladder: Pearson "
    assert f"\n% {line}" in pmbench(*words, "latex").stdout
    assert f"\n{line}" in pmbench(*words, "md").stdout
    assert f"<p>{line}" in pmbench(*words, "html").stdout
    assert line in one_line(pmbench(*words, "table").stdout)


def test_latex_compiles(empty_folder: Path) -> None:
    run_jnd(empty_folder / "results", "a", [1, 2, 1, 2])
    pmbench("leaderboard", "--published", "--cost", "-o", "table.tex")
    output = compiled([Path("table.tex").read_text(encoding="utf-8")], empty_folder)
    assert not re.findall(r"(?:Overfull|Underfull|Warning).*", output)


def test_intervals_are_left_out_on_request() -> None:
    assert re.search(r"\d–~?\d", pmbench("leaderboard").stdout)
    for form in ("table", "md", "latex", "html"):
        told = pmbench("leaderboard", "--no-intervals", "--format", form).stdout
        scores = "\n".join(line for line in told.splitlines() if "rank" not in line)
        assert not re.search(r"\d\d\.\d(–|--)\d\d\.\d", scores), form


def test_strict_is_a_mistake_of_the_user_where_rows_are_mixed(empty_folder: Path) -> None:
    assert pmbench("leaderboard", "--strict").stdout == pmbench("leaderboard").stdout
    run_2afc(empty_folder / "results", "c", everywhere(1), way=WAY.replace("legacy64", "exact4"))
    for form in ("table", "md", "csv", "json", "latex", "html"):
        refused = pmbench("leaderboard", "--strict", "--format", form, code=2)
        assert "mixes rows that were measured in different ways" in one_line(refused.stderr)
        assert refused.stdout == ""
    assert "c †" in pmbench("leaderboard").stdout


@pytest.mark.parametrize("option", ["--merge", "--results"])
def test_folders_are_read_as_one(empty_folder: Path, option: str) -> None:
    for folder, metric, right in (("x", "a", 3), ("y", "a", 3), ("y", "only", 1)):
        run_2afc(empty_folder / folder, metric, everywhere(right))
    result = pmbench("leaderboard", option, "x", option, "y", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["name"] for row in rows if row["kind"] == "metric"} == {"a", "only"}
    assert {row["results"] for row in rows if row["name"] == "only"} == {"y"}
    assert "measured in y and in x with the same scores" in one_line(
        result.stderr
    ) or "measured in x and in y with the same scores" in one_line(result.stderr)
    assert "same scores" not in result.stdout
    gone = pmbench("leaderboard", option, "x", option, "gone", code=2)
    assert "gone: expected a folder of results to merge" in one_line(gone.stderr)


def test_a_damaged_run_of_any_folder_is_told(empty_folder: Path) -> None:
    run_2afc(empty_folder / "x", "a", everywhere(3))
    broken = run_2afc(empty_folder / "y", "b", everywhere(3))
    (broken.folder / "run.json").write_text("{")
    for form in ("table", "md"):
        result = pmbench("leaderboard", "--merge", "x", "--merge", "y", "--format", form)
        assert "left out: y/bapps-2afc-val/b/run.json: expected a run" in one_line(result.stderr)
        assert "left out" not in result.stdout


def test_sort_orders_csv_and_json_too() -> None:
    for sort, order in (("macro", ["a", "b"]), ("name", ["a", "b"]), ("speed", ["a", "b"])):
        records = json.loads(pmbench("leaderboard", "--sort", sort, "--format", "json").stdout)
        metrics = [r["name"] for r in records if r["kind"] == "metric"]
        assert list(dict.fromkeys(metrics)) == order
    run_2afc(Path("results"), "b", everywhere(4))
    records = json.loads(pmbench("leaderboard", "--format", "json").stdout)
    assert next(r["name"] for r in records if r["kind"] == "metric") == "b"
    wrong = pmbench("leaderboard", "--sort", "macroo", "--format", "csv", code=2)
    assert "unknown column to sort by 'macroo'; did you mean macro" in one_line(wrong.stderr)


def test_no_runs_is_said_in_every_format() -> None:
    for form in ("table", "md", "csv", "json", "latex", "html"):
        told = pmbench("leaderboard", "--results", "nowhere", "--format", form, code=2)
        assert "no runs in nowhere; make some with `pmbench eval`" in one_line(told.stderr)


def test_a_board_at_80_columns_is_never_wider(empty_folder: Path) -> None:
    for words in ([], ["--published"], ["--cost"], ["--intervals"], ["--pooled", "--published"]):
        told = pmbench("leaderboard", *words).stdout
        assert max(map(len, told.splitlines())) <= 80
        assert "…" not in told


@pytest.mark.parametrize(
    ("file", "what"), [("scores.csv", "expected the "), ("distances.h5", "not what pmbench wrote ")]
)
def test_commands_go_on_without_a_damaged_run_and_tells_of_it(
    empty_folder: Path, file: str, what: str
) -> None:
    for metric, right in (("c", 1), ("d", 2)):
        run_2afc(empty_folder / "results", metric, everywhere(right))
    path = empty_folder / "results" / "bapps-2afc-val" / "c" / file
    path.write_bytes(path.read_bytes()[:700])
    for words in (
        ["leaderboard"],
        ["leaderboard", "--format", "json"],
        ["compare"],
        ["list", "runs"],
    ):
        result = pmbench(*words)
        told = one_line(result.stderr)
        assert f"left out: results/bapps-2afc-val/c/{file}: {what}" in told, words
        assert "a damaged" not in result.stdout


def test_a_folder_of_damaged_runs_only_is_said_with_the_reasons() -> None:
    for metric in "ab":
        Path(f"results/bapps-2afc-val/{metric}/run.json").write_text("{")
    for words in (
        ["leaderboard"], ["leaderboard", "--format", "csv"], ["compare"], ["cite"], ["report"],
        ["compare", "-d", "bapps"], ["check", "--published", "-d", "bapps-2afc-val"],
        ["baseline", "-o", "new.json"],
    ):  # fmt: skip
        said = one_line(pmbench(*words, code=2).stderr)
        for metric in "ab":
            why = f"left out: results/bapps-2afc-val/{metric}/run.json: expected a run"
            assert said.count(why) == 1, words
        assert " in results: 2 are left out (`pmbench list runs` says why); make some with" in said
    shutil.rmtree("results/bapps-2afc-val/b")
    said = one_line(pmbench("export", "a", "-o", "a.csv", code=2).stderr)
    assert said.startswith("no runs in results: 1 is left out (`pmbench list runs` says why); make")
    # what is damaged is another dataset's
    said = one_line(pmbench("leaderboard", "-d", "bapps-jnd-val", code=2).stderr)
    assert "no runs on bapps-jnd-val in results; make some" in said


def test_a_copy_of_a_run_changes_nothing_and_is_told(empty_folder: Path) -> None:
    before = pmbench("leaderboard").stdout
    folder = empty_folder / "results" / "bapps-2afc-val"
    shutil.copytree(folder / "a", folder / "a-old")
    result = pmbench("leaderboard")
    assert result.stdout == before
    assert "left out: results/bapps-2afc-val/a-old: another run of a" in one_line(result.stderr)


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("a.md", "| a | "), ("a.csv", ",a,2afc,macro,"), ("a.json", '"name": "a"'),
        ("a.tex", "\\bottomrule"), ("a.HTML", "</html>"), ("a.txt", "metric"),
    ],
)  # fmt: skip
def test_a_file_is_written_in_the_format_that_it_is_called_after(name: str, mark: str) -> None:
    done = pmbench("leaderboard", "-o", name)
    assert mark in Path(name).read_text(encoding="utf-8")
    assert done.stderr.startswith(f"{name}: ")


def test_a_file_of_an_unknown_ending_is_asked_about() -> None:
    assert one_line(pmbench("leaderboard", "-o", "a.doc", code=2).stderr) == (
        "a.doc: which format is that? Expected a name that ends in .md, .csv, .json, .tex, .html "
        "or .txt; or say it with --format"
    )
    assert not Path("a.doc").exists()

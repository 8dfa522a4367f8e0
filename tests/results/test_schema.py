"""What a run says of itself is checked before anyone relies on it."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import pytest
from support.cli import pmbench
from support.factories import update_digests
from support.measured import EVAL, RUNS
from support.refusals import message_of
from support.runs import DISTANCES_OF, names, remove_digests, save_run, toy_info

from pmbench.analysis.citations import used_in
from pmbench.reporting.run_card import run_to_rich
from pmbench.results.reproduce import recipe
from pmbench.results.run import open_run
from pmbench.results.store import damaged_runs, find_runs, flawed_runs
from pmbench.utils.errors import PmbenchError

# --- damaged --------------------------------------------------------------------------------------

WHOLE = toy_info("mine").to_dict()


def changed(*place: str, to: Any = ...) -> str:
    """Return a run.json with one value changed, or left out."""
    info = json.loads(json.dumps(WHOLE))
    inner = info
    for key in place[:-1]:
        inner = inner[key]
    inner.pop(place[-1], None)
    return json.dumps(info | {} if to is ... else (inner.update({place[-1]: to}), info)[1])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the whole file: Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ("{}", "key 'format': Field required"),
        ("[]", "the whole file: Input should be an object, got '[]'"),
        ('{"format": 2}', "key 'format': Input should be 1, got '2'"),
        ('{"format": 1}', "key 'pmbench': Field required"),
        (changed("signature", to=""),
         "key 'signature': String should have at least 1 character, got ''"),
        (changed("metric", "name", to=""),
         "key 'metric.name': String should have at least 1 character, got ''"),
        (changed("metric", "name"), "key 'metric.name': Field required"),
        (changed("metric", to=[]), "key 'metric': Input should be an object, got '[]'"),
        (changed("dataset"), "key 'dataset': Field required"),
        (changed("dataset", "title"), "key 'dataset.title': Field required"),
        (changed("dataset", "items", to="12"),
         "key 'dataset.items': Input should be a valid integer, got '12'"),
        (changed("dataset", "of", to=True),
         "key 'dataset.of': Input should be a valid integer, got 'True'"),
        (changed("dataset", "human_votes", to=1),
         "key 'dataset.human_votes': Input should be a valid boolean, got '1'"),
        (changed("dataset", "sub_datasets", to="a"),
         "key 'dataset.sub_datasets': Input should be a valid array, got 'a'"),
        (changed("dataset", "sub_datasets", to=["a", 3]),
         "key 'dataset.sub_datasets.1': Input should be a valid string, got '3'"),
        (changed("dataset", "sub_datasets", to=[]),
         "key 'dataset.sub_datasets': Tuple should have at least 1 item after validation, not "
         "0, got '[]'"),
        (changed("dataset", "of", to=11), "key 'dataset': 12 items of 11"),
        (changed("dataset", "items", to=0),
         "key 'dataset.items': Input should be greater than or equal to 1, got '0'"),
        (changed("dataset", "protocol", to="3afc"),
         "key 'dataset.protocol': unknown protocol '3afc'"),
        (changed("dataset", "short_names", to=None),
         "key 'dataset.short_names': Input should be an object, got 'None'"),
        (changed("items_per_second", to="x"),
         "key 'items_per_second': Input should be a valid number, got 'x'"),
        (changed("seconds", to=float("nan")),
         "key 'seconds': Input should be a finite number, got 'nan'"),
        (changed("environment"), "key 'environment': Field required"),
        (changed("environment", to={"torch": ["2"]}),
         """key 'environment.torch': Input should be a valid string, got '['2']'"""),
        (changed("environment", to={"imported": "d.csv"}),
         "key 'environment': imported from a file without sha256"),
        (changed("measured_together", to=None),
         "key 'measured_together': Input should be a valid array, got 'None'"),
        (changed("batches", to={"pixels": 1}), "key 'batches.items': Field required"),
        (changed("batches", to=3), "key 'batches': Input should be an object, got '3'"),
        (changed("batches", to=None), "the whole file: no batches, and not imported"),
        (changed("bootstrap", to={"resamples": 1000}), "key 'bootstrap.seed': Field required"),
        (changed("metric", "paper"), "key 'metric.paper': Field required"),
        (changed("metric", "weights", to={"a": 1}),
         "key 'metric.weights.a': Input should be a valid string, got '1'"),
        (changed("metric", "tolerance", to="1e-5"),
         "key 'metric.tolerance': Input should be a valid number, got '1e-5'"),
        (changed("metric", "parameters_count", to=5),
         "key 'metric': parameters_count without weights_mb"),
        (changed("files", to={"scores.csv": 1}),
         "key 'files.scores.csv': Input should be a valid string, got '1'"),
        (r'{"title": "\ud800"}',
         "the whole file: Invalid JSON: unexpected end of hex escape at line 1 column 18"),
        ("[" * 100_000,
         "the whole file: Invalid JSON: recursion limit exceeded at line 1 column 202"),
    ],
)  # fmt: skip
def test_a_damaged_run_json_is_said(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "toy" / "mine" / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(PmbenchError) as error:
        open_run(path.parent)
    assert str(error.value) == (
        f"{path}: expected a run written by pmbench ({why}); "
        "delete its folder and run `pmbench eval` again"
    )
    assert find_runs(tmp_path) == []  # one damaged run does not hide the others
    assert damaged_runs(tmp_path) == [str(error.value)]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:600])


def _without_votes(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["votes"]


def _without_names(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["sub_names"]


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda path: path.write_text("no"), _cut, _without_votes, _without_names],
)
def test_damaged_distances_are_said(tmp_path: Path, damage: Any) -> None:
    path = save_run(tmp_path).folder / "distances.h5"
    remove_digests(path.parent)
    run = open_run(path.parent)
    assert run is not None
    damage(path)
    message = message_of(run.distances)
    assert message.startswith(
        f"{path}: expected the distances of a run, got a file that is none or is damaged ("
    )
    assert message.endswith("); delete its folder and run `pmbench eval` again")
    assert find_runs(tmp_path) == []
    assert [line.partition(" (")[0] for line in damaged_runs(tmp_path)] == [
        message.partition(" (")[0]
    ]


def test_a_damaged_run_is_found_again_when_it_is_mended(tmp_path: Path) -> None:
    path = save_run(tmp_path).folder / "distances.h5"
    whole = path.read_bytes()
    assert len(find_runs(tmp_path)) == 1
    path.write_bytes(whole[:600])
    assert (len(find_runs(tmp_path)), len(damaged_runs(tmp_path))) == (0, 1)
    path.write_bytes(whole)
    assert (len(find_runs(tmp_path)), damaged_runs(tmp_path)) == (1, [])


def _lines(lines: slice) -> Any:
    return lambda text: "".join(text.splitlines(keepends=True)[lines])


def _cell(column: str, value: str, row: int = 3) -> Any:
    def changed(text: str) -> str:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        table.loc[row, column] = value
        return str(table.to_csv(index=False))

    return changed


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda text: text[:-8], "its last line is cut off"),
        (_lines(slice(1)), "no rows of 2afc, one; expected one"),
        (_lines(slice(1, None)), "no column kind"),
        (_lines(slice(3)), "no rows of 2afc, macro; expected one"),
        (_lines(slice(9)), "no rows of srcc, one; expected one"),  # where a statistic ends
        (_lines(slice(-1)), "no rows of human-majority, pooled; expected one"),
        (lambda text: text + text.splitlines()[1] + "\n", "2 rows of 2afc, one; expected one"),
        (_cell("value", "0.7o"), "value is '0.7o', expected a number"),
        (_cell("n", ""), "n is '', expected a number"),
        (_cell("of", "nan"), "n and of: expected whole numbers in every row"),
        (_cell("n", "1.5"), "n and of: expected whole numbers in every row"),
        (_cell("unreliable", "Tr"), "unreliable: expected True or False in every row"),
        (_cell("name", "min"), "several metrics, mine and min"),
        (_cell("kind", "metr"), "no rows of 2afc, pooled; expected one"),
        (lambda text: text.replace(",mine,2afc,macro,0", ",mine,2afc,macro,0,"), "Error tok"),
    ],
)
def test_damaged_scores_are_said_and_the_run_is_left_out(
    tmp_path: Path, damage: Any, why: str
) -> None:
    run = save_run(tmp_path)
    save_run(tmp_path, metric="yours")
    path = run.folder / "scores.csv"
    again = "; run the same `pmbench eval` again, which scores the kept distances anew"
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    message = message_of(run.scores)
    assert message.startswith(f"{path}: expected the scores of a run ({why}")
    assert message.endswith(f"){again}")
    assert names(find_runs(tmp_path)) == ["toy/yours"]
    assert damaged_runs(tmp_path) == [message]


def test_missing_or_empty_scores_are_said(tmp_path: Path) -> None:
    run = save_run(tmp_path)
    path = run.folder / "scores.csv"
    path.write_text("")
    assert message_of(run.scores) == (
        f"{path}: expected the scores of a run (No columns to parse from file); "
        "run the same `pmbench eval` again, which scores the kept distances anew"
    )
    path.unlink()
    with pytest.raises(PmbenchError, match=r"expected the scores of a run .*No such file"):
        run.scores()


# --- edited by hand -------------------------------------------------------------------------------


def keys_of(info: dict[str, Any]) -> list[tuple[str, ...]]:
    result: list[tuple[str, ...]] = [(key,) for key in info]
    for key, value in info.items():
        if isinstance(value, dict) and key not in ("environment", "files"):
            result += [(key, inner) for inner in value]
    return result


@pytest.mark.parametrize(
    "to",
    [
        ...,
        *(pytest.param(value, marks=pytest.mark.slow) for value in (None, "x", [], {}, [1],
            {"a": 1}, -1, 0, 1.5, True, "", float("nan"))),
    ],
)  # fmt: skip
def test_every_fact_of_a_run_is_checked_before_anyone_relies_on_it(
    results_on_disk: Path, to: Any
) -> None:
    from rich.console import Console

    from pmbench.analysis.baseline import run_scores as as_baseline

    console, folder = Console(file=io.StringIO()), RUNS / "l1"
    whole = (folder / "run.json").read_text()
    left_out = 0
    for place in keys_of(json.loads(whole)):
        info = json.loads(whole)
        inner = info if len(place) == 1 else info[place[0]]
        if to is ...:
            del inner[place[-1]]
        else:
            inner[place[-1]] = to
        (folder / "run.json").write_text(json.dumps(info))
        try:
            run = open_run(folder)
        except PmbenchError:
            left_out += 1
            continue
        assert run is not None
        made = recipe(run)
        console.print(run_to_rich(run.info, made))
        used_in([run])
        as_baseline(run)
        run.scores()
    assert left_out > (20 if to is ... else 30)


def test_a_leaderboard_goes_on_with_the_sound_runs(results_on_disk: Path) -> None:
    info = json.loads((RUNS / "l1" / "run.json").read_text())
    del info["environment"]
    (RUNS / "l1" / "run.json").write_text(json.dumps(info))
    message = (
        f"left out: {RUNS}/l1/run.json: expected a run written by pmbench (key "
        "'environment': Field required); delete its folder and run `pmbench eval` again\n"
    )
    for words in (
        ("leaderboard",), ("cite", "-o", "c.bib"), ("baseline", "-o", "b.json"), ("list", "runs"),
    ):  # fmt: skip
        result = pmbench(*words)
        assert message in result.stderr
        assert "l1 " not in result.stdout
    refused = pmbench("show", f"{RUNS.name}/l1", code=2)
    assert refused.stderr.startswith(message)
    assert "unknown run 'l1'" in refused.stderr
    assert "l1" not in json.dumps(json.loads(Path("b.json").read_text())["runs"])


def test_a_number_changed_by_hand_is_noticed(results_on_disk: Path) -> None:
    path = RUNS / "grad" / "scores.csv"
    text = path.read_text()
    value = text.splitlines()[1].split(",")[4]
    path.write_text(text.replace(value, "0.99", 1))
    (message,) = damaged_runs(results_on_disk)
    assert re.fullmatch(
        re.escape(f"{path}: not what pmbench wrote (expected sha256 ")
        + r"[0-9a-f]{8}…, got [0-9a-f]{8}…\); run the same `pmbench eval` again, which scores the "
        "kept distances anew",
        message,
    )
    assert f"left out: {message}" in pmbench("leaderboard").stderr
    result = pmbench(*EVAL)
    assert (
        f"ladder-2afc: scoring grad anew, since its scores are damaged ({message})" in result.stderr
    )
    assert path.read_text() == text
    assert damaged_runs(results_on_disk) == []


def test_damaged_draws_are_told_and_do_not_hide_the_run(results_on_disk: Path) -> None:
    path = RUNS / "grad" / "draws.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    assert [run.metric for run in find_runs(results_on_disk)] == ["grad", "l1"]
    assert damaged_runs(results_on_disk) == []
    (message,) = flawed_runs(results_on_disk)
    assert message.startswith(f"{path}: not what pmbench wrote (expected sha256 ")
    assert pmbench("leaderboard").stderr == f"{message}\n"
    pmbench(*EVAL)
    assert path.read_bytes() == whole
    assert flawed_runs(results_on_disk) == []


def test_distances_that_are_not_those_of_the_facts_are_told(results_on_disk: Path) -> None:
    shutil.copy(RUNS / "l1" / "distances.h5", RUNS / "grad")
    (message,) = damaged_runs(results_on_disk)
    assert message.startswith(f"{RUNS}/grad/distances.h5: not what pmbench wrote (expected sha256 ")
    for change, why in (
        (lambda info: info["dataset"].update(items=53), "id is of shape (54,), expected 53"),
        (
            lambda info: info["dataset"].update(sub_datasets=["one"]),
            "of the sub-datasets noise, blur, ",
        ),
    ):
        info = json.loads((RUNS / "l1" / "run.json").read_text())
        change(info)
        (RUNS / "grad" / "run.json").write_text(json.dumps(info))
        update_digests(RUNS / "grad")
        path = RUNS / "grad" / "distances.h5"
        run = open_run(RUNS / "grad")
        assert run is not None
        assert message_of(run.check_distances).startswith(f"{path}: {DISTANCES_OF} ({why}")

"""Distances from elsewhere become runs: complete or refused, and the same scores as measured."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.cli import one_line, pmbench
from support.factories import manifest, packed, triplets, write_tree

from pmbench.evaluation.config import EvalConfig
from pmbench.evaluation.import_distances import import_distances
from pmbench.results.run import CHECKPOINT_FILE, Run, Subset, metric_folder, open_run
from pmbench.utils.errors import PmbenchError


@pytest.fixture(autouse=True)
def _wide(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


# --- from the ladder, by the command line ---------------------------------------------------------


def scores(dataset: str, name: str) -> pd.DataFrame:
    run = open_run(Path("results") / dataset / metric_folder(name))
    assert run is not None
    return run.scores().query("kind == 'metric'").drop(columns="name")


# a similarity and a distance
@pytest.mark.parametrize(("dataset", "metric"), [("ladder-2afc", "l2"), ("ladder-jnd", "psnr")])
def test_an_exported_run_comes_back_with_the_same_scores(dataset: str, metric: str) -> None:
    pmbench("eval", "-m", metric, "-d", dataset)
    pmbench("export", metric, "-o", "d.csv.gz")
    output = pmbench("import", "d.csv.gz", "-d", dataset, "--name", "again").stdout
    assert re.search(rf"^again: \d+ items of {dataset}, results/{dataset}/again$", output, re.M)
    assert re.search(r"^again +\d+\.\d", output, re.M)  # in the leaderboard
    pd.testing.assert_frame_equal(
        scores(dataset, metric), scores(dataset, "again"), check_exact=True
    )
    board = pd.read_csv("results/leaderboard.csv")
    ways = board["signature"].str.partition(" || ")
    assert ways[0].nunique() == 1  # comparable
    assert set(ways[2].str.partition("#")[0]) == {metric, "again"}
    assert board.query("name == 'again'")["items_per_second"].isna().all()
    listed = {r["metric"]: r for r in json.loads(pmbench("list", "runs", "--json").stdout)}
    assert listed["again"]["device"] == "imported"
    pmbench("export", "again", "-o", "e.csv.gz")
    assert Path("d.csv.gz").read_bytes() == Path("e.csv.gz").read_bytes()


def test_similarities_are_turned(empty_folder: Path) -> None:
    pmbench("eval", "-m", "psnr", "-d", "ladder-jnd")
    pmbench("export", "psnr", "-o", "d.csv")
    table = pd.read_csv("d.csv", dtype={"d": str})  # pandas before 3.1 misses the last digit
    table["d"] = -table["d"].astype(float)
    table.to_csv("similarities.csv", index=False)
    words = ("-d", "ladder-jnd", "--name", "again")
    pmbench("import", "similarities.csv", *words, "--higher-is-better")
    pd.testing.assert_frame_equal(
        scores("ladder-jnd", "psnr"), scores("ladder-jnd", "again"), check_exact=True
    )


@pytest.fixture
def exported(empty_folder: Path) -> Path:
    """Return a file of distances of the ladder."""
    pmbench("eval", "-m", "l2", "-d", "ladder-jnd")
    pmbench("export", "l2", "-o", "d.csv")
    return empty_folder / "d.csv"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("l2", "'l2' is the name of a registered metric; choose another name"),
        ("human-majority", "'human-majority' cannot name a metric, since it means something else; "
         "choose another name"),
        ("My metric", "'My metric' cannot name a metric; expected lower-case letters, digits and "
         "any of ._+-, the first a letter or a digit"),
    ],
)  # fmt: skip
def test_a_name_that_is_taken_or_impossible_is_refused(
    exported: Path, name: str, sentence: str
) -> None:
    message = pmbench("import", exported, "-d", "ladder-jnd", "--name", name, code=2).stderr
    assert message == f"{sentence}\n"


def test_a_dataset_is_one_and_here(exported: Path) -> None:
    words = ("import", exported, "--name", "mine")
    assert pmbench(*words, "-d", "ladder", code=2).stderr == (
        "--dataset ladder is a group; name one of it: ladder-2afc or ladder-jnd\n"
    )
    assert pmbench(*words, "-d", "bapps-2afc-val", code=2).stderr == (
        "bapps-2afc-val: not on this machine; get it with `pmbench download bapps-2afc-val`\n"
    )
    message = pmbench(*words, "-d", "ladder-jnd", "--resize", "exact", code=2).stderr
    assert message.startswith("--resize exact does not fit ladder-jnd: its manifest declares no")


def test_another_run_of_that_name_is_replaced_only_on_demand(exported: Path) -> None:
    words = ("import", exported, "-d", "ladder-jnd", "--name", "mine")
    pmbench(*words)
    pmbench(*words)  # the same distances
    table = pd.read_csv(exported)
    table["d"] += 1
    table.to_csv(exported, index=False)
    assert pmbench(*words, code=2).stderr == (
        "results/ladder-jnd/mine: other distances were imported under this name; choose another "
        "--name, or replace that run with --replace\n"
    )
    pmbench(*words, "--replace")
    Path("own.py").write_text("def f(x, y): return (x - y).abs().mean(dim=(1, 2, 3))\n")
    measure = ("eval", "-m", "mine=./own.py:f", "-d", "ladder-jnd")
    assert (
        "not run: mine: results/ladder-jnd/mine holds distances that were imported under this "
        "name; measure under another one, NAME=ADDRESS, or replace them with --fresh"
    ) in pmbench_failing(*measure)
    pmbench(*measure, "--fresh")
    assert pmbench(*words, code=2).stderr == (
        "results/ladder-jnd/mine: a metric was measured under this name; choose another "
        "--name, or replace that run with --replace\n"
    )
    pmbench(*words, "--replace")


def pmbench_failing(*words: str) -> str:
    """Run a command in which a metric fails; return its stdout on one line."""
    return one_line(pmbench(*words, code=1).stdout)


def test_the_run_says_where_it_comes_from(exported: Path) -> None:
    pmbench("import", exported, "-d", "ladder-jnd", "--name", "mine", "--higher-is-better")
    info = json.loads(Path("results/ladder-jnd/mine/run.json").read_text())
    digest = hashlib.sha256(exported.read_bytes()).hexdigest()
    assert info["environment"] == {"device": "imported", "imported": "d.csv", "sha256": digest}
    assert info["metric"]["higher_is_better"] is True
    assert info["metric"]["title"] == "imported from d.csv"
    assert info["signature"].endswith(f" || mine#{info['metric']['digest'][:8]}")
    measured = json.loads(Path("results/ladder-jnd/l2/run.json").read_text())
    assert info["dataset"] == measured["dataset"]
    assert info.keys() == measured.keys()  # whatever reads runs reads this one
    assert info["metric"].keys() == measured["metric"].keys()


# --- joined with a dataset ------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path) -> EvalConfig:
    """Return a dataset of cnn/000000 to cnn/000002 and blur/000000, 5 votes each."""
    write_tree(tmp_path / "data" / "files", triplets({"cnn": 3, "blur": 1}))
    entry = manifest(tmp_path / "data", source={"path": "files"})
    return EvalConfig(entry, packed(entry), Subset(), tmp_path / "results")


ROWS = {"blur/000000": (7, 8), "cnn/000000": (1, 2), "cnn/000001": (3, 4), "cnn/000002": (5, 6)}


def imported(job: EvalConfig, text: str, name: str = "mine", replace: bool = False) -> Run:
    path = Path("d.csv")
    path.write_text(text)
    return import_distances(job, name, path, False, replace)


def stored(run: Run) -> dict[str, tuple[float, ...]]:
    items, distances = run.distances()
    return {item: tuple(row) for item, row in zip(items.id, distances.tolist(), strict=True)}


def refusal(job: EvalConfig, text: str) -> str:
    """Return the sentence with which a file is refused, without its name; nothing is written."""
    with pytest.raises(PmbenchError) as caught:
        imported(job, text)
    assert open_run(job.folder("mine")) is None
    message = str(caught.value)
    assert message.startswith("d.csv: ")
    return message.removeprefix("d.csv: ")


WHOLE = "item,d0,d1\nblur/000000,7,8\ncnn/000000,1,2\ncnn/000001,3,4\ncnn/000002,5,6\n"


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        "d1,id,d0\n6,cnn/000002,5\n2,cnn/000000,1\n8,blur/000000,7\n4,cnn/000001,3\n",
        "split,id,d0,d1\nblur,000000,7,8\ncnn,000000,1,2\ncnn,000001,3,4\ncnn,000002,5,6\n",
        "ID;D1;D0 \nblur/000000;8,0;7\ncnn/000000;2;1,0\ncnn/000001;4;3\ncnn/000002;6;5\n",
        # ambiguous ids in full, the others as they are in their folder
        "item,d0,d1\nblur/000000,7,8\ncnn/000000,1,2\n000001,3,4\n000002,5,6\n",
        "item,sub_dataset,d0,d1\nblur/000000,blur,7,8\n000000,cnn,1,2\n000001,cnn,3,4\n"
        "cnn/000002,cnn,5,6\n",
    ],
)
def test_rows_are_joined_by_item_in_any_order(job: EvalConfig, text: str) -> None:
    run = imported(job, text)
    assert stored(run) == ROWS
    items, _ = run.distances()
    assert items.votes.tolist() == [5] * 4
    assert dict(zip(items.id, items.p, strict=True)) == dict(
        zip(job.pack.items.id, job.pack.items.p, strict=True)
    )


def test_the_signature_is_of_the_distances_not_of_the_file(job: EvalConfig) -> None:
    first = imported(job, WHOLE).signature
    shuffled = "\n".join([WHOLE.splitlines()[0], *reversed(WHOLE.splitlines()[1:])])
    assert imported(job, shuffled.replace(",7,", ",7.0,")).signature == first
    changed = imported(job, WHOLE.replace(",7,", ",7.5,"), replace=True).signature
    assert changed != first
    assert changed.partition(" || ")[0] == first.partition(" || ")[0]


def test_an_interrupted_import_leaves_the_checkpoint_of_an_interrupted_run(
    job: EvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = job.folder("mine") / CHECKPOINT_FILE
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"batches")

    def interrupted(*words: object) -> Run:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pmbench.evaluation.import_distances.save_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            imported(job, WHOLE)
    assert checkpoint.read_bytes() == b"batches"
    imported(job, WHOLE)
    assert not checkpoint.exists()


def test_zero_has_no_sign(job: EvalConfig) -> None:
    first = imported(job, WHOLE.replace(",7,", ",0,")).signature
    assert imported(job, WHOLE.replace(",7,", ",-0.0,")).signature == first


def test_missing_items_are_named(job: EvalConfig) -> None:
    rows = WHOLE.splitlines(keepends=True)
    assert refusal(job, "".join(rows[:-1])) == (
        "no row for item cnn/000002 of the 4 in toy; complete the file, since a score on a part "
        "is none of the dataset"
    )
    assert refusal(job, "".join(rows[:2])) == (
        "no row for items cnn/000000, cnn/000001, cnn/000002 (3 items) of the 4 in toy; complete "
        "the file, since a score on a part is none of the dataset"
    )


def test_unknown_items_are_named(job: EvalConfig) -> None:
    assert refusal(job, WHOLE + "cnn/000003,1,1\n") == (
        "toy has no item cnn/000003; expected ids such as blur/000000; correct or remove the rows"
    )
    stripped = "split,id,d0,d1\nblur,0,7,8\ncnn,0,1,2\ncnn,1,3,4\ncnn,2,5,6\n"
    assert refusal(job, stripped) == (  # as a table of numbers leaves them
        "toy has no items 0 of blur, 0 of cnn, 1 of cnn, … (4 items); expected ids such as "
        "blur/000000; correct or remove the rows"
    )
    wrong = "split,id,d0,d1\ncnn,blur/000000,7,8\n"
    assert refusal(job, wrong) == (
        "toy has no item blur/000000 of cnn; expected ids such as blur/000000; correct or remove "
        "the rows"
    )


def test_ids_that_two_items_have_are_asked_about(job: EvalConfig) -> None:
    assert refusal(job, "item,d0,d1\n000000,7,8\n") == (
        "000000 may be blur/000000 or cnn/000000; add a column sub_dataset"
    )


def test_items_with_two_rows_are_named(job: EvalConfig) -> None:
    assert refusal(job, WHOLE + "cnn/000001,3,4\n000001,3,4\nblur/000000,7,8\n") == (
        "more than one row for items blur/000000, cnn/000001 (2 items); keep one of each"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            WHOLE.replace(",8", ",nan"),
            "line 2: column 'd1' is 'nan'; expected a finite number",
        ),
        ("item,d0\nblur/000000,7\n", "no column 'd1'; the protocol 2afc needs item, d0, d1; found "
         "item, d0"),
        ("d0,d1\n7,8\n", "no column 'item'; the protocol 2afc needs item, d0, d1; found d0, d1"),
        ("item,d0,d1\n", "no rows; expected one for each item"),
        ("", "no column 'item'; the protocol 2afc needs item, d0, d1; found nothing"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused(job: EvalConfig, text: str, sentence: str) -> None:
    assert refusal(job, text) == sentence


def voted(job: EvalConfig, column: str, values: list[object]) -> str:
    lines = WHOLE.splitlines()
    return "\n".join([f"{lines[0]},{column}", *map("{},{}".format, lines[1:], values)])


def test_votes_in_the_file_must_be_those_of_the_dataset(job: EvalConfig) -> None:
    shares = job.pack.items.p  # of five people each
    assert shares.tolist() == [0.2, 0, 0.2, 0.4]
    imported(job, voted(job, "p", [0.2, 0.004, 0.2, 0.396]))  # rounded
    imported(job, voted(job, "votes", [5] * 4))
    assert refusal_after(job, voted(job, "judge", [0.8, 1, 0.8, 0.6])) == (
        "line 2: column 'p' is 0.8 for item blur/000000, but 0.2 in toy; is it about other items, "
        "or are p0 and p1 swapped? if neither, leave the column out"
    )
    assert refusal_after(job, voted(job, "votes", [5, 5, 2, 5])) == (
        "line 4: column 'votes' is 2 for item cnn/000001, but 5 in toy; is it about other items, "
        "or are p0 and p1 swapped? if neither, leave the column out"
    )
    assert refusal_after(job, voted(job, "p", [0.2, "", 0.2, 0.4])) == (
        "line 3: column 'p' is ''; expected a finite number"
    )


def refusal_after(job: EvalConfig, text: str) -> str:
    """Return the sentence with which a file is refused where there is a run already."""
    before = imported(job, WHOLE).info
    with pytest.raises(PmbenchError) as caught:
        imported(job, text, replace=True)
    run = open_run(job.folder("mine"))
    assert run is not None
    assert run.info == before  # left as it was
    return str(caught.value).removeprefix("d.csv: ")


def test_a_hand_worked_score(job: EvalConfig) -> None:
    """Votes 0.2 and 0, 0.2, 0.4; in every item p0 is closer but in cnn/000001, where they tie."""
    run = imported(job, WHOLE.replace("cnn/000001,3,4", "cnn/000001,3,3"))
    main = run.scores().query("kind == 'metric' and statistic == '2afc'")
    value = main.set_index("sub_dataset")["value"]
    assert value["blur"] == pytest.approx(0.8)
    assert value["cnn"] == pytest.approx((1 + 0.5 + 0.6) / 3)
    assert value["macro"] == pytest.approx((0.8 + 0.7) / 2)
    assert np.isfinite(value["pooled"])

"""The command line, as a user types it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.cli import one_line, pmbench
from support.golden import GOLDEN, PAIRS

pytestmark = pytest.mark.usefixtures("empty_folder")


# --- the main job on the built-in data ------------------------------------------------------------


def test_the_main_job_runs_with_nothing_downloaded(empty_folder: Path) -> None:
    result = pmbench("eval", "--metric", "l1", "--limit", "9")
    assert "BAPPS is not on this machine; using the built-in ladder" in result.stderr
    assert "`pmbench download`" in result.stderr
    for text in ("ladder-2afc", "ladder-jnd", "synthetic, no human votes", "2AFC", "JND mAP"):
        assert text in result.stdout
    assert len(re.findall(r"\bl1\b", result.stdout)) == 2
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "human-" not in result.stdout  # nobody voted
    for name in ("distances.h5", "run.json", "scores.csv"):
        assert (empty_folder / "results" / "ladder-2afc@first9" / "l1" / name).exists()
    assert "| l1 |" in (empty_folder / "results" / "leaderboard.md").read_text()
    board = pd.read_csv(empty_folder / "results" / "leaderboard.csv")
    assert {"2afc", "map", "srcc", "krcc", "plcc"} <= set(board["statistic"])


def test_a_second_eval_keeps_what_is_there() -> None:
    pmbench("eval", "-m", "l2", "-d", "ladder-2afc")
    result = pmbench("eval", "-m", "l2,l1", "-d", "ladder-2afc")
    assert "ladder-2afc: kept as measured before: l2 (--fresh measures anew)" in one_line(
        result.stderr
    )
    fresh = pmbench("eval", "-m", "l2", "-d", "ladder-2afc", "--fresh")
    assert "kept" not in fresh.stderr


def test_a_batch_holds_as_many_items_as_a_user_wants() -> None:
    words = ("eval", "-m", "l1", "-d", "ladder-2afc", "--resamples", "100", "--fresh")
    for size, line in (
        ("auto", "3, of up to 262,144 pixels"),
        ("512", "1, of up to 512 items"),
    ):
        pmbench(*words, "--batch-size", size)
        card = pmbench("show", "ladder-2afc/l1", columns=200).stdout
        assert re.search(rf"^\s*batches\s+{line}\s*$", card, re.MULTILINE), card
    assert "--batch-size 512" in card  # how to repeat it


def test_resamples_and_seed_are_the_users_choice(empty_folder: Path) -> None:
    pmbench("eval", "-m", "l2", "-d", "ladder-2afc", "--resamples", "200", "--seed", "3")
    info = json.loads((empty_folder / "results" / "ladder-2afc" / "l2" / "run.json").read_text())
    assert info["bootstrap"] == {"resamples": 200, "seed": 3}
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"d0": rng.random(1200), "d1": rng.random(1200)})
    table["p"] = (table["d1"] < table["d0"] + 0.3).astype(int)
    table.to_csv("d.csv", index=False)

    def scored(statistic: str, *options: str) -> list[float]:
        words = ("score", "d.csv", "--protocol", "2afc", "--json", *options)
        table = pd.DataFrame(json.loads(pmbench(*words).stdout))
        rows = table[(table["statistic"] == statistic) & (table["sub_dataset"] == "macro")]
        return rows[["value", "low", "high"]].iloc[0].tolist()

    same = scored("plcc")
    for options in (["--resamples", "200"], ["--seed", "3"]):
        value, low, high = scored("plcc", *options)
        assert value == same[0]
        assert (low, high) != tuple(same[1:])
    # what is a mean needs no resamples
    assert scored("2afc", "--seed", "3") == scored("2afc")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "the weights 'alexnet' are not on this machine"),
        (("--weights", "/nowhere"), "the weights folder /nowhere does not exist"),
    ],
)
def test_metrics_without_their_weights_do_not_stop_the_others(
    options: tuple[str, ...], reason: str
) -> None:
    words = ("eval", "-m", "lpips-alex,net-alex,l2", "-d", "ladder-jnd", "--limit", "1")
    output = one_line(pmbench(*words, *options, code=1).stdout)
    assert "l2" in output
    assert f"not run: lpips-alex, net-alex: {reason}" in output
    assert output.count("not run:") == 1


def test_a_plan_measures_and_fetches_nothing(empty_folder: Path, home: Path) -> None:
    words = ("eval", "-m", "l2,fsim,lpips-vgg,vgg-loss-l2", "-d", "ladder-2afc,bapps")
    output = one_line(pmbench(*words, "--dry-run").stdout)
    assert "ladder-2afc: 216 items" in output
    assert re.search(r"different images in \d+ batches", output)
    assert "bapps-2afc-val: 36,344 items, as its manifest says" in output
    assert "not on this machine (1.1 GB); get it with `pmbench download bapps-2afc-val`" in output
    assert "in one pass" in output
    assert "to be fetched: vgg16, 528 MB: for lpips-vgg, vgg-loss-l2" in output
    assert "unknown: vgg-loss-l2: not tried, since its weights are not here" in output
    assert one_line(pmbench("eval", "-m", "l1", "-d", "ladder-jnd", "--plan").stdout)
    assert not (empty_folder / "results").exists()
    assert not (home / "weights").exists()
    assert not (home / "downloads").exists()


def test_a_plan_says_which_metrics_do_not_run(empty_folder: Path) -> None:
    (empty_folder / "mine.py").write_text("def wrong(x, y):\n    return x\n")
    words = ("eval", "-m", "l1,wrong=./mine.py:wrong", "-d", "ladder-jnd", "--dry-run")
    output = one_line(pmbench(*words, code=1).stdout)
    assert "not run: wrong: expected floating-point numbers of shape (8,)" in output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["eval", "-m", "lpips-alexx"], "unknown metric 'lpips-alexx'; did you mean lpips-alex"),
        (["eval", "-m", "l2", "-d", "bapps-2afc-vall"], "unknown dataset 'bapps-2afc-vall'; did"),
        (["eval", "-m", "l2", "-d", "bapps"], "not on this machine; get it with `pmbench download"),
        (["eval", "-m", "l2", "--resamples", "99"],
         "--resamples 99: expected 100 to 10,000; an end of a 95 % interval rests on the "
         "outermost 2.5 % of the resamples, and more than 10,000 hardly move it"),
        (["eval", "-m", "l2", "--resamples", "10001"], "--resamples 10001: expected 100 to 10,000"),
        (["eval", "-m", "l2", "--seed", "-1"],
         "--seed -1: expected a whole number from 0 to 4,294,967,295"),
        (["score", "x.csv", "--protocol", "2afc", "--resamples", "0"], "--resamples 0: expected"),
        (["score", "x.csv", "--protocol", "2afc", "--seed", "4294967296"], "--seed 4294967296: ex"),
        (["eval", "-m", "l2", "--batch-size", "0"], "--batch-size 0: expected auto or a whole"),
        (["eval", "-m", "l2", "--device", "gpu"], "unknown device 'gpu'; expected auto, cpu"),
        (["eval", "-m", "l2", "-d", "ladder", "--resize", "exact"],
         "--resize exact does not fit ladder-2afc: its manifest declares no enlargement"),
        (["eval", "-m", "l2", "--manifests", "/nowhere"], "the manifests folder /nowhere does not"),
        (["eval", "-m", "l2", "--manifests", __file__], "test_cli.py is a file; name a folder"),
        (["eval", "-m", "l2", "--batch-size", "²"], "--batch-size ²: expected auto or a whole"),
        (["eval", "mmdpp"],
         "'mmdpp' has no option in front of it; did you mean `pmbench eval -m mmdpp`?"),
        (["eval", "-m", "l1", "ssim", "l2"], "did you mean `pmbench eval -m l1,ssim,l2`?"),
        (["eval", "--fresh", "-m", "l1", "ladder"], "did you mean `pmbench eval … -d ladder`?"),
        (["speed", "ladder"], "did you mean `pmbench speed -m ladder`?"),
        (["check", "./mine.py:a b"], "did you mean `pmbench check -m './mine.py:a b'`?"),
        (["baseline", "l1"], "did you mean `pmbench baseline -m l1`?"),
        (["metric"], "there is no command 'metric'; did you mean `pmbench list metrics`?"),
        (["datasets", "x"], "did you mean `pmbench list datasets`?"),
        (["eval", "-m", ","], "--metric names no metric; `pmbench list metrics` says what there"),
        (["eval", "-m", "l2", "--resize", "exact"],
         "BAPPS is not on this machine, and only it has"),
        (["download", "bapps-2afc-val", "--sha256", "abc"], "expected 64 hexadecimal digits"),
        (["download", "--sha256", "0" * 64], "expected 64 hexadecimal digits, for one dataset"),
        (["eval", "-m", "l2", "-d", "ladder", "--results", "/dev/null"], "/dev/null"),
        (["leaderboard"], "no runs in results; make some with `pmbench eval`"),
        (["export", "l2", "-o", "x.csv"], "no runs in results; make one with `pmbench eval`"),
        (["download", "nothing"], "unknown dataset, group or metric 'nothing'"),
        (["download", "bapps", "--from", "x"], "--from names the files of one dataset, but 2 were"),
        (["download", "bapps-2afc-val", "--from", "x.tar.gz"], "x.tar.gz does not exist"),
        (["score", "x.csv", "--protocol", "mos"], "unknown protocol 'mos'"),
        (["score", "x.csv", "--protocol", "jnd"], "expected a CSV file with the columns item, sub"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_sentence_and_exit_code_2(words: list[str], sentence: str) -> None:
    result = pmbench(*words, code=2)
    assert sentence in one_line(result.stderr)
    assert result.stdout == ""


def test_usage_errors_version_and_help() -> None:
    assert "No such command" in pmbench("evaluate", code=2).stderr
    assert "--metric" in pmbench("eval", code=2).stderr
    assert re.fullmatch(r"pmbench \d+\.\d+\.\d+\n", pmbench("--version").stdout)
    for command in ("download", "eval", "leaderboard", "list", "export", "score"):
        assert "Examples" in pmbench(command, "--help").stdout


def test_help_loads_no_torch_or_pandas_and_a_leaderboard_no_torch(empty_folder: Path) -> None:
    pmbench("eval", "-m", "l2", "-d", "ladder-jnd", "--limit", "1")
    code = (
        "import sys; from typer.testing import CliRunner; from pmbench.cli import app\n"
        "assert not {'torch', 'pandas', 'h5py'} & set(sys.modules)\n"
        "result = CliRunner().invoke(app, ['leaderboard'])\n"
        "assert 'l2' in result.output, result.output\n"
        "sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- lists, leaderboards, files -------------------------------------------------------------------


def test_lists() -> None:
    metrics = json.loads(pmbench("list", "metrics", "--json").stdout)
    assert {"mmdpp", "lpips-vgg", "psnr"} <= {m["metric"] for m in metrics}
    assert {m["metric"]: m["better"] for m in metrics}["psnr"] == "higher"
    datasets = json.loads(pmbench("list", "datasets", "--json").stdout)
    by_name = {d["dataset"]: d for d in datasets}
    assert by_name["bapps-2afc-val"]["items"] == 36344
    assert by_name["bapps-jnd-val"]["items"] is None
    assert by_name["ladder-2afc"]["here"] == "216 items"
    assert json.loads(pmbench("list", "runs", "--json").stdout) == []
    assert pmbench("list", "runs").stdout == "none\n"
    pmbench("eval", "-m", "l2", "-d", "ladder-jnd")
    (run,) = json.loads(pmbench("list", "runs", "--json").stdout)
    assert run["signature"].startswith("pmbench:0.1|ladder-jnd:108#")
    assert "ladder-2afc" in pmbench("list", "datasets").stdout
    assert "mmdpp" in pmbench("list").stdout
    assert pmbench("download", "--list").stdout == pmbench("list", "datasets").stdout


def test_a_leaderboard_in_every_format(empty_folder: Path) -> None:
    pmbench("eval", "-m", "l2,l1,grad", "-d", "ladder")
    assert "| grad |" in pmbench("leaderboard", "--format", "md").stdout
    records = json.loads(pmbench("leaderboard", "--format", "json").stdout)
    assert {r["name"] for r in records} == {"l2", "l1", "grad"}
    assert all(r["signature"] and r["n"] for r in records)
    rows = list(csv.DictReader(io.StringIO(pmbench("leaderboard", "--format", "csv").stdout)))
    assert len(rows) == len(records)
    pmbench("leaderboard", "-o", "board.txt")
    assert "ladder-jnd" in (empty_folder / "board.txt").read_text()
    only = pmbench("leaderboard", "-d", "ladder-2afc", "--statistic", "srcc", "--sort", "name")
    assert "Spearman" in only.stdout
    assert "ladder-jnd" not in only.stdout
    assert only.stdout.index("grad") < only.stdout.index("l1")
    wrong = pmbench("leaderboard", "--sort", "macroo", code=2)
    assert "unknown column to sort by 'macroo'; did you mean macro" in one_line(wrong.stderr)
    wrong = pmbench("leaderboard", "--statistic", "srccc", code=2)
    assert "unknown statistic 'srccc'; did you mean srcc" in one_line(wrong.stderr)


def test_published_rows_are_in_every_format(shared: Path, empty_folder: Path) -> None:
    pmbench("download", "bapps-2afc-val", "--from", shared / "bapps_sample", "--partial")
    pmbench("eval", "-m", "l2-lab", "-d", "bapps-2afc-val")
    path = empty_folder / "results" / "bapps-2afc-val" / "l2-lab" / "run.json"
    info = json.loads(path.read_text())
    info["dataset"]["partial"] = False  # as if it were all of BAPPS
    path.write_text(json.dumps(info))
    records = json.loads(pmbench("leaderboard", "--published", "--format", "json").stdout)
    published = [r for r in records if r["kind"] == "published"]
    assert {(r["name"], r["sub_dataset"]): r["value"] for r in published}[
        "Alex-lin [1]", "macro"
    ] == pytest.approx(0.698)
    assert {r["same_as"] for r in published if r["name"] == "L2 [1]"} == {"l2-lab"}
    assert all("Table 5" in r["note"] for r in published if r["name"].endswith("[1]"))
    for form in ("table", "md", "latex", "html"):
        assert "Alex-lin" in pmbench("leaderboard", "--published", "--format", form).stdout


def test_a_damaged_run_is_told_and_left_out(empty_folder: Path) -> None:
    pmbench("eval", "-m", "l2,l1", "-d", "ladder-jnd")
    (empty_folder / "results" / "ladder-jnd" / "l2" / "run.json").write_text("{")
    result = pmbench("leaderboard")
    assert "left out: results/ladder-jnd/l2/run.json: expected a run" in one_line(result.stderr)
    assert "l1" in result.stdout


def test_export_and_score_give_back_the_scores_of_eval() -> None:
    pmbench("eval", "-m", "grad", "-d", "ladder")
    exported = pmbench("export", "grad", "-d", "ladder-2afc", "-o", "d.csv.gz")
    assert "d.csv.gz: 216 items of ladder-2afc/grad" in exported.stdout
    scored = pd.DataFrame(
        json.loads(pmbench("score", "d.csv.gz", "--protocol", "2afc", "--json").stdout)
    )
    board = pd.read_csv("results/leaderboard.csv", dtype=str)  # numbers miss a digit before 3.1
    keys = ["statistic", "sub_dataset"]
    board = board[(board["dataset"] == "ladder-2afc") & (board["kind"] == "metric")]
    both = scored[scored["kind"] == "metric"].merge(board, on=keys, suffixes=("", "_eval"))
    assert len(both) == len(board) > 0
    for column in ("value", "low", "high", "n"):
        np.testing.assert_array_equal(
            both[column].astype(float), both[f"{column}_eval"].astype(float)
        )
    assert pmbench("export", "grad", "-o", "x y.csv", code=2).stderr == (
        "'grad' was run on several datasets; say which of ladder-2afc/grad, ladder-jnd/grad, as in "
        "`pmbench export -o 'x y.csv' ladder-2afc/grad`\n"
    )
    pmbench("export", "ladder-jnd/grad", "-o", "j.csv")
    assert Path("j.csv").read_text().startswith("item,sub_dataset,votes,same,d,cluster\n")
    assert "JND mAP" in pmbench("score", "j.csv", "--protocol", "jnd").stdout


# --- real input -----------------------------------------------------------------------------------


@pytest.fixture
def sample(shared: Path) -> Path:
    archive = shared / "twoafc_val_sample.tar.gz"
    result = pmbench("download", "bapps-2afc-val", "--from", archive, "--partial")
    assert "bapps-2afc-val: 94 of 36,344 items, partial" in one_line(result.stdout)
    assert "the checksum differs" in one_line(result.stderr)
    return archive


# every metric is compared with its authors' numbers in test_golden
CHOSEN = ("l2-lab", "lpips-alex", "net-squeeze")


def test_real_triplets_real_weights_the_authors_distances(
    sample: Path, shared: Path, empty_folder: Path
) -> None:
    words = ("eval", "--metric", ",".join(CHOSEN), "--dataset", "bapps-2afc-val", "--weights")
    result = pmbench(*words, shared / "weights")
    assert "partial: 94 of 36,344 triplets" in result.stdout
    ids = [f"{triplet}" for triplet in GOLDEN["triplets"]]
    for key, (name, tolerance) in PAIRS.items():
        if name not in CHOSEN:
            continue
        pmbench("export", name, "-o", "d.csv")
        ours = pd.read_csv("d.csv").set_index("item").loc[ids, ["d0", "d1"]].to_numpy()
        theirs = np.array([GOLDEN["values"][key]["d0"], GOLDEN["values"][key]["d1"]]).T
        assert np.abs(ours / theirs - 1).max() <= tolerance, name
    records = json.loads(pmbench("leaderboard", "--format", "json").stdout)
    value = {
        r["sub_dataset"]: r["value"]
        for r in records
        if (r["name"], r["statistic"]) == ("lpips-alex", "2afc")
    }
    assert value["macro"] == pytest.approx(0.7586, abs=5e-5)
    assert value["pooled"] == pytest.approx(73 / 94, abs=1e-12)
    l2_lab = [r for r in records if (r["name"], r["statistic"]) == ("l2-lab", "2afc")]
    assert {r["sub_dataset"]: r["value"] for r in l2_lab}["pooled"] == pytest.approx(44 / 94)
    assert all(r["partial"] for r in records)
    published = pmbench("leaderboard", "--published")
    assert "published: not shown beside a partial dataset" in one_line(published.stdout)
    assert "Alex-lin" not in published.stdout


def test_the_default_is_bapps_once_a_part_of_it_is_there(sample: Path) -> None:
    result = pmbench("eval", "-m", "l2")
    assert "bapps-jnd-val left out: not on this machine" in one_line(result.stderr)
    assert "bapps-2afc-val" in result.stdout
    assert "ladder" not in result.stdout


def test_a_users_own_dataset_needs_one_manifest_and_no_code(
    shared: Path, empty_folder: Path
) -> None:
    """CSV of paths and vote counts, images of two sizes."""
    from PIL import Image

    mine = empty_folder / "mine"
    (mine / "pictures").mkdir(parents=True)
    rows = ["name,photo,left,right"]
    for i, (size, folder) in enumerate([(64, "cnn"), (48, "color"), (64, "deblur"), (48, "cnn")]):
        item = sorted((shared / "bapps_sample" / "2afc" / "val" / folder / "ref").iterdir())[i]
        for role in ("ref", "p0", "p1"):
            picture = Image.open(item.parent.parent / role / item.name).convert("RGB")
            picture.resize((size, size)).save(mine / "pictures" / f"{i}_{role}.bmp")
        rows.append(f"{i},{folder},{i + 1},{4 - i}")
    (mine / "votes.csv").write_text("\n".join(rows) + "\n")
    (mine / "mine.toml").write_text(
        """
        name = "mine"
        title = "My images"
        protocol = "2afc"
        source = { path = "." }
        [table]
        file = "votes.csv"
        item = "{name}"
        vote_counts = ["left", "right"]
        cluster = "photo"
        [table.roles]
        ref = "pictures/{name}_ref.bmp"
        p0 = "pictures/{name}_p0.bmp"
        p1 = "pictures/{name}_p1.bmp"
        """
    )
    result = pmbench("eval", "-m", "ssim", "-d", "mine", "--manifests", mine)
    assert "My images" in result.stdout
    assert "human-fresh" in result.stdout
    pmbench("export", "mine/ssim", "-o", "d.csv")
    table = pd.read_csv("d.csv")
    assert table["votes"].tolist() == [5, 5, 5, 5]
    assert table["p"].tolist() == [0.8, 0.6, 0.4, 0.2]
    assert table["cluster"].nunique() == 3


def test_a_changed_pack_is_measured_anew(sample: Path, shared: Path, tmp_path: Path) -> None:
    pmbench("eval", "-m", "l2", "-d", "bapps-2afc-val")
    before = json.loads(Path("results/bapps-2afc-val/l2/run.json").read_text())["signature"]
    tree = tmp_path / "tree"
    shutil.copytree(shared / "bapps_sample", tree)
    for path in tree.rglob("000563.*"):
        path.unlink()
    pmbench("download", "bapps-2afc-val", "--from", tree, "--partial")
    result = pmbench("eval", "-m", "l2", "-d", "bapps-2afc-val")
    assert "kept" not in result.stderr
    after = json.loads(Path("results/bapps-2afc-val/l2/run.json").read_text())["signature"]
    assert before != after
    assert "93of36344" in after


# --- a reader that has had enough -----------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("list", "datasets"),
        pytest.param(("list", "metrics", "--json"), marks=pytest.mark.slow),
        pytest.param(("show", "l1", "--json"), marks=pytest.mark.slow),
        ("eval", "-m", "l1", "-d", "ladder", "--limit", "2", "--resamples", "100"),
    ],
)
def test_a_command_whose_reader_has_gone_ends_as_others_do(
    empty_folder: Path, words: tuple[str, ...]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as if `head` had ended before the first line
    with os.fdopen(writing, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "pmbench", *words],
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 128 + signal.SIGPIPE
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if words[0] == "eval":  # what it was for is done
        assert {path.parts[1] for path in Path("results").glob("*/l1/run.json")} == {
            "ladder-2afc@first2", "ladder-jnd@first2"
        }  # fmt: skip


def test_a_reader_may_have_had_enough_of_a_command_that_is_done() -> None:
    script = f"{sys.executable} -m pmbench list datasets | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] in ("0", "141")
    assert done.stderr == ""

"""``pmbench show RUN``: what it prints repeats the run, wherever it is typed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.cli import pmbench
from support.factories import FOLDERS, manifest, tar, triplets, with_info, write_tree

from pmbench.results.reproduce import Recipe, digest_of_distances, recipe
from pmbench.results.run import Run, open_run
from pmbench.results.store import find_runs

pytestmark = pytest.mark.usefixtures("empty_folder")

LADDER = ("-d", "ladder-2afc", "--limit", "2")


def run_of(metric: str, results: str = "results") -> Run:
    (run,) = [run for run in find_runs(Path(results)) if run.metric == metric]
    return run


def commands(told: str) -> list[list[str]]:
    """Return the command lines in what `pmbench show` printed, as a shell reads them."""
    lines = told.partition("to repeat it\n")[2].splitlines()
    return [shlex.split(line) for line in lines if not line.startswith("#")]


def repeated(name: str) -> Run:
    """Type what `pmbench show` prints, and return the run that comes of it."""
    before = run_of(name)
    output = pmbench("show", f"{before.dataset}/{name}").stdout
    for first, *words in commands(output):
        assert first == "pmbench"
        pmbench(*words)
    again = run_of(name, "repeated")
    assert again.folder != before.folder
    assert again.signature == before.signature
    assert f"\nsignature       {before.signature}\n" in output
    assert f"\n#   signature  {before.signature}\n" in output
    assert f"\n#   distances  sha256 {digest_of_distances(again)}\n" in output
    assert np.array_equal(before.distances()[1], again.distances()[1])
    return again


def test_the_command_that_is_printed_repeats_the_run_to_the_last_bit() -> None:
    pmbench("eval", "-m", "l1,mmdpp", *LADDER, "--batch-size", "3")
    again = repeated("mmdpp")
    assert again.info.batches == run_of("mmdpp").info.batches
    assert again.dataset == "ladder-2afc@first2"
    assert recipe(again).command == (
        "pmbench eval --metric mmdpp --dataset ladder-2afc --limit 2 --batch-size 3 "
        "--device cpu --results repeated"
    )


def test_the_intervals_are_drawn_as_they_were() -> None:
    pmbench("eval", "-m", "l1", *LADDER, "--resamples", "200", "--seed", "7")
    assert "--resamples 200 --seed 7 " in recipe(run_of("l1")).command
    again = repeated("l1")
    pd.testing.assert_frame_equal(again.scores(), run_of("l1").scores())
    output = pmbench("show", "ladder-2afc/l1").stdout
    assert "intervals       200 resamples, seed 7" in output.splitlines()


def test_the_check_that_is_printed_shows_the_same_signature_and_digest() -> None:
    pmbench("eval", "-m", "l2", *LADDER)
    again = recipe(repeated("l2"))
    output = pmbench(*shlex.split(again.check)[1:]).stdout
    assert f"signature       {again.signature}" in output.splitlines()
    assert f"distances       sha256 {again.distances}" in output.splitlines()


def test_a_run_says_everything_that_is_needed() -> None:
    pmbench("eval", "-m", "l1,mmdpp", *LADDER)
    run = run_of("mmdpp")
    output = pmbench("show", "mmdpp", "--dataset", "ladder-2afc").stdout
    assert output == pmbench("show", "ladder-2afc@first2/mmdpp").stdout
    info = run.info
    for label, value in [
        ("items", "12 of 216, the first 2 of each sub-dataset"),
        ("partial", "yes"),
        ("digest", info.dataset.pack_digest),
        ("digest", info.metric.digest),
        ("settings", "patch 3, s 0.06, r 512, rbf_patch 3, rbf_s 0.1"),
        ("parameters", "14,336, 0.057 MB"),
        ("tolerance", "1e-05, relative, between machines"),
        ("torch", info.environment.torch),
        ("threads", str(info.environment.threads)),
        ("finished", info.finished),
        ("together with", "l1"),
        ("command", info.command),
        ("code", "https://github.com/ariel415el/PerceptualLossExperiments"),
    ]:
        assert f"{label:<14}  {value}" in output.splitlines()


def test_the_json_of_a_run_is_its_run_json() -> None:
    pmbench("eval", "-m", "l1", *LADDER)
    output = json.loads(pmbench("show", "ladder-2afc/l1", "--json").stdout)
    assert output == json.loads((run_of("l1").folder / "run.json").read_text())


def test_showing_a_run_loads_no_torch() -> None:
    pmbench("eval", "-m", "l1", *LADDER)
    code = (
        "import sys; from pmbench.cli import app; "
        "app(['show', 'ladder-2afc/l1'], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


# --- a name that may be a metric or a run ---------------------------------------------------------


def test_a_name_alone_is_the_metric_and_its_card_lists_the_runs() -> None:
    assert "runs  " not in pmbench("show", "l1").stdout
    pmbench("eval", "-m", "l1", *LADDER)
    output = " ".join(pmbench("show", "l1").stdout.split())
    assert output.startswith("l1 mean absolute difference")
    assert output.endswith(
        "runs ladder-2afc@first2/l1; how to repeat one: pmbench show ladder-2afc@first2/l1"
    )
    assert json.loads(pmbench("show", "l1", "--json").stdout)["runs"] == ["ladder-2afc@first2/l1"]


def test_a_name_that_only_a_run_has_is_the_run() -> None:
    Path("gone.py").write_text("def far(x, y):\n    return (x - y).abs().amax((1, 2, 3))\n")
    pmbench("eval", "-m", "own=./gone.py:far,./gone.py:far", *LADDER)
    assert pmbench("show", "own").stdout.startswith("own on ladder-2afc")
    # a run's name that is an address as well is the metric while the address leads somewhere
    assert pmbench("show", "gone:far").stdout.startswith("gone:far  gone:far\n")
    Path("gone.py").unlink()
    sys.modules.pop("gone", None)
    assert pmbench("show", "gone:far").stdout.startswith("gone:far on ladder-2afc")
    pmbench("eval", "-m", "l1", "-d", "ladder-jnd", "--limit", "1")
    shutil.copytree(run_of("own").folder, "results/ladder-2afc@first3/own")
    assert pmbench("show", "own", code=2).stderr == (
        "'own' was run on several datasets; say which of ladder-2afc@first2/own, "
        "ladder-2afc@first3/own, as in `pmbench show ladder-2afc@first2/own`\n"
    )


def test_an_unknown_name_is_answered_with_metrics_and_runs() -> None:
    assert pmbench("show", "l1", "-d", "ladder-2afc", code=2).stderr == (
        "no runs on ladder-2afc in results; make one with `pmbench eval`, or name another folder "
        "with --results\n"
    )
    assert pmbench("show", "ladder-jnd/l1", code=2).stderr.startswith("no runs in results; ")
    pmbench("eval", "-m", "own=./mine.py:far,l1", *LADDER, code=2)
    Path("mine.py").write_text("def far(x, y):\n    return (x - y).abs().amax((1, 2, 3))\n")
    pmbench("eval", "-m", "zebra=./mine.py:far", *LADDER)
    assert pmbench("show", "zebr", code=2).stderr == (
        "unknown metric or run 'zebr'; did you mean zebra?\n"
    )
    assert pmbench("show", "LPIPS-Alex", code=2).stderr.startswith(
        "unknown metric or run 'LPIPS-Alex'; did you mean lpips-alex or"
    )
    assert pmbench("show", "ladder-2afc/zebr", code=2).stderr == (
        "unknown run 'zebr'; did you mean zebra?\n"
    )
    message = pmbench("show", "qqqq", code=2).stderr
    assert re.fullmatch(
        r"unknown metric or run 'qqqq'; \d+ are known; `pmbench list metrics` and "
        r"`pmbench list runs` show them\.\n",
        message,
    )


def test_a_damaged_run_is_told() -> None:
    pmbench("eval", "-m", "l1,l2", *LADDER)
    (run_of("l1").folder / "run.json").write_text("{")
    message = pmbench("show", "ladder-2afc/l1", code=2).stderr
    assert "left out: " in message
    assert "unknown run 'l1'; did you mean l2?" in message


def test_what_a_run_does_not_say_of_its_machine_is_unknown_and_asks_for_nothing() -> None:
    pmbench("eval", "-m", "l1", *LADDER)
    nothing = dict.fromkeys(("torch", "device", "threads"))
    steps = recipe(with_info(run_of("l1"), environment=nothing))
    assert steps.command == (
        "pmbench eval --metric l1 --dataset ladder-2afc --limit 2 --results repeated"
    )
    assert steps.slack.startswith(
        "to the last bit with torch unknown on the same device (unknown) with "
        "OMP_NUM_THREADS=unknown"
    )


# --- metrics and datasets of one's own ------------------------------------------------------------


def test_what_came_through_a_door_has_its_address_in_the_command() -> None:
    Path("my metrics").mkdir()
    Path("my metrics/mine.py").write_text(
        "from pmbench.metrics import metric\n"
        "@metric('one', title='')\n"
        "def one(x, y):\n    return (x.pixels - y.pixels).abs().amax((1, 2, 3))\n"
        "@metric('two', title='')\n"
        "def two(x, y):\n    return (x.pixels - y.pixels).square().amax((1, 2, 3))\n"
        "def plain(x, y):\n    return 1 - (x - y).abs().amax((1, 2, 3))\n"
    )
    Path("prog").write_text('#!/bin/sh\ncmp -l "$1" "$2" 2>/dev/null | wc -l\n')
    Path("prog").chmod(0o755)
    addresses = {
        "one": "./my metrics/mine.py:one",
        "two": "./my metrics/mine.py:two",
        "mine:plain": "./my metrics/mine.py:plain?better=higher",
        "named": "named=cmd?jobs=2:./prog {ref} {dist}",
    }
    words = ["./my metrics/mine.py", addresses["mine:plain"], addresses["named"]]
    pmbench("eval", *[word for text in words for word in ("-m", text)], *LADDER)
    for name, address in addresses.items():
        assert run_of(name).info.metric.address == address
        assert recipe(run_of(name)).needs[1] == (
            f"what {address} names, unchanged, and from this folder"
        )
        shutil.rmtree("repeated", ignore_errors=True)
        repeated(name)
    about = run_of("named").info.metric
    assert (about.parameters_count, about.weights_mb) == (None, None)  # nobody can tell


def test_a_network_by_address_repeats() -> None:
    address = "net:torchvision/alexnet@features.1?random=3"
    pmbench("eval", "-m", address, *LADDER)
    assert repeated(address).info.metric.address == address
    assert "the library of net:torchvision/alexnet" in recipe(run_of(address)).needs[1]
    # 64 filters 3×11×11 with biases, and a weight for each channel
    assert run_of(address).info.metric.parameters_count == 64 * (3 * 121 + 1) + 64


def test_an_imported_run_repeats() -> None:
    pmbench("eval", "-m", "psnr", "-d", "ladder-jnd")
    pmbench("export", "psnr", "-o", "smaller is better.csv")
    pmbench("import", "smaller is better.csv", "-d", "ladder-jnd", "--name", "mine")
    again = repeated("mine")
    assert recipe(again).command == (
        "pmbench import 'smaller is better.csv' --name mine --dataset ladder-jnd --results repeated"
    )
    digest = again.info.environment.sha256
    assert recipe(again).needs[1] == f"the file smaller is better.csv, sha256 {digest}"
    assert "those of the file" in recipe(again).slack
    text = Path("smaller is better.csv").read_text()
    Path("turned.csv").write_text(text.replace(",-", ","))
    pmbench("import", "turned.csv", "-d", "ladder-jnd", "--name", "up", "--higher-is-better")
    assert "--higher-is-better" in recipe(run_of("up")).command
    shutil.rmtree("repeated")
    repeated("up")


def test_a_dataset_of_ones_own_names_its_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "my manifests"
    write_tree(folder / "data", triplets({"a": 3, "b": 2}))
    manifest(folder, source={"path": "data"})
    pmbench("eval", "-m", "l1", "-d", "toy", "--manifests", folder)
    steps = recipe(run_of("l1"))
    assert steps.command == (
        f"pmbench eval --metric l1 --dataset toy --manifests '{folder}' --device cpu "
        "--results repeated"
    )
    assert steps.download == ""
    digest = run_of("l1").info.dataset.pack_digest
    own = folder / "toy.toml"
    assert steps.needs[1] == f"the manifest {own} and the files it names (pack {digest})"
    repeated("l1")


def test_a_dataset_that_is_downloaded_is_got_as_it_was_got(tmp_path: Path, home: Path) -> None:
    """A manifest with a URL, which is never asked: the files are here."""
    folder = tmp_path / "manifests"
    source = {"url": "https://example.org/toy.tar.gz"}
    manifest(folder, source=source, sub_datasets={"a": 3, "b": 2}, folders=FOLDERS)
    Path("part.tar.gz").write_bytes(tar(triplets({"a": 2, "b": 2})))
    message = download("--from", "part.tar.gz", "--partial", "--manifests", folder)
    assert message.download == (
        f"pmbench download toy --from part.tar.gz --partial --manifests {folder}"
    )
    digest = run_of("l1").info.dataset.source_sha256
    assert message.needs[-1] == f"part.tar.gz in this folder, sha256 {digest}"
    shutil.rmtree(home)
    repeated("l1")
    # the whole, under the name that it has at its URL
    Path("toy.tar.gz").write_bytes(tar(triplets({"a": 3, "b": 2})))
    message = download("--from", "toy.tar.gz", "--manifests", folder)
    assert message.download == f"pmbench download toy --manifests {folder}"
    # a file that is not the manifest's
    folder = tmp_path / "others"
    source["sha256"] = "0" * 64
    manifest(folder, source=source, sub_datasets={"a": 3, "b": 2}, folders=FOLDERS)
    message = download("--from", "toy.tar.gz", "--accept-checksum", "--manifests", folder)
    digest = run_of("l1").info.dataset.source_sha256
    assert message.download == (
        f"pmbench download toy --from toy.tar.gz --sha256 {digest} --manifests {folder}"
    )


def download(*options: str | Path) -> Recipe:
    """Download, measure anew, and return how to repeat it."""
    shutil.rmtree("results", ignore_errors=True)
    pmbench("download", "toy", *options)
    pmbench("eval", "-m", "l1", "-d", "toy", "--manifests", options[-1])
    return recipe(run_of("l1"))


def test_resize_modes_and_gpus_are_in_the_command(tmp_path: Path) -> None:
    pmbench("eval", "-m", "l1", *LADDER)
    run = with_info(
        run_of("l1"), dataset={"resize": "exact4"}, environment={"device": "NVIDIA H200"}
    )
    assert recipe(run).command == (
        "pmbench eval --metric l1 --dataset ladder-2afc --resize exact --limit 2 "
        "--device cuda --results repeated"
    )
    run = with_info(run, environment={"device": "mps, 8 cores, arm64"})
    assert "--device mps" in recipe(run).command


def test_a_run_of_an_earlier_version_is_shown_too() -> None:
    pmbench("eval", "-m", "l1", *LADDER)
    path = run_of("l1").folder / "run.json"
    info = json.loads(path.read_text())
    for key in ("address", "package", "parameters_count", "weights_mb", "tolerance"):
        del info["metric"][key]
    for key in ("manifest", "citation", "pack_partial"):
        del info["dataset"][key]
    info.pop("bootstrap", None)
    path.write_text(json.dumps(info))
    run = open_run(path.parent)
    assert run is not None
    assert recipe(run).needs[1] == (
        "l1 under this name: if it is your own, NAME=ADDRESS gives it one"
    )
    repeated("l1")


def test_the_packages_behind_a_metric_are_named() -> None:
    pytest.importorskip("piq")
    pmbench("eval", "-m", "gmsd", *LADDER)
    assert recipe(run_of("gmsd")).needs[1] == f"the package piq {version('piq')}"

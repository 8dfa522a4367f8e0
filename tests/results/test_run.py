"""Runs on disk: what is written is read back, and what is meant is found."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.factories import update_digests
from support.refusals import message_of
from support.runs import SIGNATURE, names, remove_digests, save_run, toy, toy_info

from pmbench import __version__
from pmbench.datasets.pack import Pack
from pmbench.results.distances import read_distances, write_distances
from pmbench.results.run import Subset, folder_name, metric_folder, open_run, save
from pmbench.results.schema import Bootstrap
from pmbench.results.signature import build_setup
from pmbench.results.store import damaged_runs, find_run, find_runs
from pmbench.scoring import joint_scores
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.items import Items
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.scores import score

# --- there and back -------------------------------------------------------------------------------


def test_a_saved_run_is_opened_as_it_was(tmp_path: Path) -> None:
    items, distances = toy()
    scores = score(TWO_AFC, "mine", items, distances).table
    scores.loc[0, ["value", "low"]] = np.nan
    scores.loc[0, "note"] = "without zwei, größer: nan"
    made = save(tmp_path / "toy@first6" / "mine", toy_info(more=1), items, distances, scores)
    run = open_run(tmp_path / "toy@first6" / "mine")
    assert run is not None
    assert (run.folder, run.dataset, run.metric) == (made.folder, "toy@first6", "mine")
    assert run.signature == made.signature == SIGNATURE
    files = {
        name: hashlib.sha256((run.folder / name).read_bytes()).hexdigest()
        for name in ("distances.h5", "scores.csv")
    }
    assert run.info == toy_info(more=1, files=files)
    back, d = run.distances()
    assert (d == distances).all()
    for name in ("id", "sub", "p", "votes", "cluster"):
        assert getattr(back, name).tolist() == getattr(items, name).tolist()
        assert getattr(back, name).dtype == getattr(items, name).dtype
    assert back.sub_names == items.sub_names
    pd.testing.assert_frame_equal(run.scores(), scores, check_dtype=False, check_exact=True)


def test_distances_on_which_the_metric_is_not_defined_stay_nan(tmp_path: Path) -> None:
    items, distances = toy()
    distances[3] = np.nan
    write_distances(tmp_path / "d.h5", items, distances)
    np.testing.assert_array_equal(
        read_distances(tmp_path / "d.h5", TWO_AFC.judgement)[1], distances
    )


def test_what_intervals_are_made_of_is_kept_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_scores, "_MOST", 0)  # clusters that need no resamples
    items, distances = toy()
    scores = score(TWO_AFC, "mine", items, distances, resampling=Resampling(50, seed=7))
    scores.draws.values["srcc"][0, 3] = np.nan  # undefined in that resample
    folder = tmp_path / "toy" / "mine"
    run = save(folder, toy_info(), items, distances, scores.table, scores.draws)
    assert run.info.bootstrap == Bootstrap(resamples=50, seed=7)
    back = run.draws()
    assert back is not None
    assert back.resampling == Resampling(50, seed=7)
    assert back.places == ("one", "zwei, größer", "macro", "pooled")
    assert list(back.values) == ["srcc", "krcc", "plcc"]
    for name, values in scores.draws.values.items():
        assert back.values[name].dtype == np.float64
        np.testing.assert_allclose(back.values[name], values, rtol=6e-8, atol=0)


def test_a_run_without_kept_draws_has_none(tmp_path: Path) -> None:
    run = save_run(tmp_path)
    files = {"distances.h5", "run.json", "scores.csv", "draws.npz"}
    assert {path.name for path in run.folder.iterdir()} == files
    assert run.draws() is not None
    items, distances = run.distances()
    again = save(run.folder, toy_info(), items, distances, run.scores())
    assert again.draws() is None  # and not those of the run before
    assert again.info.bootstrap is None
    assert "bootstrap" not in json.loads((again.folder / "run.json").read_text())


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "other"])
def test_damaged_draws_are_said(tmp_path: Path, damage: str) -> None:
    path = save_run(tmp_path).folder / "draws.npz"
    remove_digests(path.parent)
    whole = path.read_bytes()
    if damage == "other":
        np.savez(path, resampling=np.array([20, 0]), places=["a"], **{"values/2afc": [1.0]})
    else:
        path.write_bytes({"cut": whole[:-100], "text": b"not draws", "empty": b""}[damage])
    run = open_run(path.parent)
    assert run is not None
    message = message_of(run.draws)
    assert message.startswith(
        f"{path}: expected the resampled scores of a run, got a file that is none or is damaged ("
    )
    assert message.endswith("); delete it, and `pmbench eval` makes it anew from the distances")


def test_scores_of_an_earlier_version_say_nothing_of_reliability(tmp_path: Path) -> None:
    run = save_run(tmp_path)
    path = run.folder / "scores.csv"
    pd.read_csv(path).drop(columns="unreliable").to_csv(path, index=False)
    update_digests(run.folder)
    again = open_run(run.folder)
    assert again is not None
    assert not again.scores()["unreliable"].any()


def test_run_json_comes_last_so_that_a_broken_off_run_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_run(tmp_path).folder

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pmbench.results.run.write_distances", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_run(tmp_path)
    assert names(find_runs(tmp_path)) == ["toy/mine"]  # nothing has begun to take its place
    items, distances = toy()
    with pytest.raises(KeyboardInterrupt):
        save(
            folder,
            toy_info(signature="x || mine#1"),
            items,
            distances,
            find_runs(tmp_path)[0].scores(),
        )
    assert open_run(folder) is None  # not the old facts beside new distances
    assert find_runs(tmp_path) == []


def test_a_folder_without_run_json_is_no_run(tmp_path: Path) -> None:
    assert open_run(tmp_path) is None
    (tmp_path / "toy" / "mine").mkdir(parents=True)
    (tmp_path / "toy" / "mine" / "journal.bin").write_bytes(b"begun")
    assert find_runs(tmp_path) == []


# --- finding --------------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for dataset, metric in (
        ("toy", "mine"),
        ("toy", "yours"),
        ("toy@first6", "mine"),
        ("toy2", "mine"),
        ("toy2", "hers"),
    ):
        save_run(tmp_path, dataset, metric)
    return tmp_path


def test_all_runs_are_found_sorted_by_folder(results: Path) -> None:
    assert names(find_runs(results)) == [
        "toy/mine", "toy/yours", "toy2/hers", "toy2/mine", "toy@first6/mine",
    ]  # fmt: skip


def test_a_copy_of_a_run_beside_it_does_not_count_and_is_told(results: Path) -> None:
    for copy in ("a-copy", "mine-old"):  # before and behind it
        shutil.copytree(results / "toy" / "mine", results / "toy" / copy)
    assert [run.folder.name for run in find_runs(results, "toy", variants=False)] == [
        "mine",
        "yours",
    ]
    assert damaged_runs(results) == [
        f"{results}/toy/{copy}: another run of mine on toy, of which that in {results}/toy/mine "
        "counts; delete one of them, or move it to other results"
        for copy in ("a-copy", "mine-old")
    ]
    assert find_run(results, "mine", "toy").folder.name == "mine"


def test_of_two_runs_in_folders_of_other_names_the_latest_counts(tmp_path: Path) -> None:
    for folder, finished in (("x", "2026-02"), ("y", "2026-03"), ("z", "2026-01")):
        path = save_run(tmp_path, folder=folder).folder / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"finished": finished}))
    assert [run.folder.name for run in find_runs(tmp_path)] == ["y"]
    assert len(damaged_runs(tmp_path)) == 2


def test_a_dataset_stands_for_its_variants_and_a_variant_for_itself(results: Path) -> None:
    assert names(find_runs(results, "toy")) == ["toy/mine", "toy/yours", "toy@first6/mine"]
    assert names(find_runs(results, "toy@first6")) == ["toy@first6/mine"]
    assert names(find_runs(results, "toy2")) == ["toy2/hers", "toy2/mine"]
    assert find_runs(results, "to") == []
    assert find_runs(results / "nowhere") == []


@pytest.mark.parametrize(
    ("name", "dataset", "meant"),
    [
        ("yours", None, "toy/yours"),
        ("hers", "toy2", "toy2/hers"),
        ("toy2/mine", None, "toy2/mine"),
        ("toy2/mine", "toy", "toy2/mine"),  # the fuller name counts
        ("mine", "toy@first6", "toy@first6/mine"),
        ("toy@first6/mine", None, "toy@first6/mine"),
        ("toy/mine", None, "toy/mine"),  # not its variant
        ("mine", "toy", "toy/mine"),
    ],
)
def test_a_run_is_picked_by_name(results: Path, name: str, dataset: str | None, meant: str) -> None:
    assert names([find_run(results, name, dataset)]) == [meant]


def test_the_only_variant_is_meant_where_there_is_no_other(tmp_path: Path) -> None:
    save_run(tmp_path, "toy@first6", "mine")
    assert names([find_run(tmp_path, "mine", "toy")]) == ["toy@first6/mine"]


def test_a_name_that_several_runs_have_is_answered_with_all_of_them(results: Path) -> None:
    assert message_of(find_run, results, "mine", None) == (
        "'mine' was run on several datasets; say which of toy/mine, toy2/mine, toy@first6/mine, "
        "as in `pmbench show toy/mine`"
    )


def test_an_unknown_run_is_answered_with_close_names(results: Path) -> None:
    message = message_of(find_run, results, "yuors", None)
    assert message == "unknown run 'yuors'; did you mean yours?"
    message = message_of(find_run, results, "toy2/psnr", None)
    assert message == "unknown run 'psnr'; known are: hers, mine."
    assert message_of(find_run, results, "toys/yours", None) == (
        "unknown run 'toys/yours'; did you mean toy/yours or yours or toy2/hers?"
    )


def test_a_metric_may_have_a_slash_in_its_name(results: Path) -> None:
    name = "net:timm/resnet50"
    save_run(results, "toy", name, metric_folder(name))
    assert names([find_run(results, name, None)]) == [f"toy/{name}"]
    assert names([find_run(results, name, "toy")]) == [f"toy/{name}"]
    assert names([find_run(results, f"toy/{name}", None)]) == [f"toy/{name}"]
    assert names(find_runs(results, "toy"))[1] == f"toy/{name}"
    assert message_of(find_run, results, "net:timm/resnet51", None).startswith(
        f"unknown run 'net:timm/resnet51'; did you mean {name}"
    )
    message = message_of(find_run, results, "toy/net:timm/resnet51", None)
    assert message == f"unknown run 'net:timm/resnet51'; did you mean {name}?"


@pytest.mark.parametrize(
    "name", ["lpips-alex-v0.0", "mmdpp", "a", "1", "x_y+z", "a" * 80, "contra", "com10"]
)
def test_a_plain_name_is_its_folder(name: str) -> None:
    assert metric_folder(name) == name


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("net:timm/resnet50", "net_timm_resnet50"),
        ("cmd:my_metric", "cmd_my_metric"),
        ("SSIM", "ssim"),  # would be "ssim" where case does not count
        ("con", "con"),  # cannot be a file on Windows
        ("nul.v2", "nul.v2"),
        ("end.", "end"),  # Windows drops the point
        ("../up", "up"),
        ("größe", "gr_e"),
        ("距離", "metric"),
        ("a" * 81, "a" * 60),
    ],
)
def test_another_name_is_readable_safe_and_told_apart(name: str, folder: str) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    assert metric_folder(name) == f"{folder}~{digest}"


NAMES = st.text(max_size=120).filter(lambda name: name.isprintable())


@settings(max_examples=30, deadline=None)
@given(NAMES, NAMES)
def test_folders_of_different_names_differ_whatever_the_case(one: str, other: str) -> None:
    if one != other:
        assert metric_folder(one).lower() != metric_folder(other).lower()
    for folder in map(metric_folder, (one, other)):
        assert re.fullmatch(r"[a-z0-9][a-z0-9._+~-]*", folder)
        assert len(folder) <= 80


def test_no_runs_at_all_is_said_with_what_to_do(results: Path) -> None:
    nowhere = results / "nowhere"
    message = "; make one with `pmbench eval`, or name another folder with --results"
    for name, dataset, what in (
        ("mine", None, f"no runs in {nowhere}"),
        ("mine", "toy", f"no runs on toy in {nowhere}"),
        ("toy/mine", None, f"no runs in {nowhere}"),
    ):
        assert message_of(find_run, nowhere, name, dataset) == what + message


# --- names and signatures -------------------------------------------------------------------------


def pack(sub: list[int], expected: int | None = None, resize: str = "legacy64") -> Pack:
    n = len(sub)
    items = Items(
        np.array([str(i) for i in range(n)], object), np.array(sub), ("a", "b", "c"),
        np.zeros(n), np.ones(n, np.int32), np.arange(n),
    )  # fmt: skip
    attributes = {
        "dataset": "bapps-2afc-val",
        "resize": resize,
        "expected": -1 if expected is None else expected,
        "digest": "d3b0123456789",
    }
    return Pack(Path("x.h5"), items, np.zeros((n, 3), int), np.zeros(n, int), (), attributes)


def test_a_selection_takes_the_first_items_of_each_sub_dataset_in_the_packs_order() -> None:
    mixed = pack([0, 1, 0, 0, 1, 2])
    assert Subset().index(mixed).tolist() == [0, 1, 2, 3, 4, 5]
    assert Subset(1).index(mixed).tolist() == [0, 1, 5]
    assert Subset(2).index(mixed).tolist() == [0, 1, 2, 4, 5]
    assert Subset(99).index(mixed).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_selection_is_called_by_its_limit() -> None:
    assert (Subset().label, Subset(10).label) == ("", "first10")


@pytest.mark.parametrize(
    ("resize", "limit", "name"),
    [
        ("legacy64", None, "bapps"),
        ("exact4", None, "bapps@exact4"),
        ("legacy64", 10, "bapps@first10"),
        ("exact4", 10, "bapps@exact4,first10"),
    ],
)
def test_a_folder_names_what_is_not_as_usual(resize: str, limit: int | None, name: str) -> None:
    assert folder_name("bapps", resize, "legacy64", Subset(limit)) == name


@pytest.mark.parametrize(
    ("expected", "limit", "items"),
    [
        (6, None, "6"),  # the whole dataset
        (None, None, "6"),  # as far as anybody knows
        (36344, None, "6of36344"),  # a part of it
        (6, 1, "first1:3of6"),
        (36344, 1, "first1:3of36344"),
    ],
)
def test_the_protocol_signature_names_every_choice(
    expected: int | None, limit: int | None, items: str
) -> None:
    mixed, selection = pack([0, 1, 0, 0, 1, 2], expected), Subset(limit)
    version = ".".join(__version__.split(".")[:2])
    assert build_setup(mixed, len(selection.index(mixed)), selection, TWO_AFC) == (
        f"pmbench:{version}|bapps-2afc-val:{items}#d3b01234|legacy64|soft|macro|fp32"
    )


def test_the_protocol_signature_is_that_of_the_design() -> None:
    result = build_setup(pack([0], 1, "exact4"), 1, Subset(), JND)
    shape = r"pmbench:\d+\.\d+\|bapps-2afc-val:1#[0-9a-f]{8}\|exact4\|voc-ap\|macro\|fp32"
    assert re.fullmatch(shape, result)


def test_run_json_can_be_read_by_people(tmp_path: Path) -> None:
    text = (save_run(tmp_path).folder / "run.json").read_text()
    assert text.startswith('{\n "format": 1,\n')
    assert text.endswith("}\n")
    assert json.loads(text)["metric"]["name"] == "mine"

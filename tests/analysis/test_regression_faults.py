"""Faults planted into real metrics are found by the check, and nothing else is.

Every fault is a change to the code of a metric that a person might make. Some of them the metric's
signature does not show, since no parameter and no tensor of it is another one.
"""

from __future__ import annotations

import inspect
import json
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.cli import pmbench
from support.evaluations import CPU, job

from pmbench.analysis.baseline import RunScores, to_entry
from pmbench.analysis.regression import Rules, compare
from pmbench.evaluation.batching import BatchLimits, plan
from pmbench.evaluation.evaluator import EvalConfig, evaluate
from pmbench.evaluation.loop import Result, measure
from pmbench.metrics import Distance, registered
from pmbench.metrics.builtin import mmd, ssim
from pmbench.metrics.builtin.lpips import FeatureDistance
from pmbench.metrics.loading import LoadedMetric, load_metric, load_metrics
from pmbench.networks.backbones import (
    ARCHITECTURES,
    LPIPS,
    LPIPS_UNSIGNED,
    Backbone,
    Initialization,
    Preprocessing,
    features_of,
    frozen,
)
from pmbench.results.store import find_runs
from pmbench.scoring.bootstrap import Resampling
from pmbench.utils.progress import Silent

SOUND = ("l2", "ssim", "mmdpp", "net-alex-random")


@pytest.fixture(autouse=True)
def _wide(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


LIMIT = 9  # items of each kind of distortion
JND = f"ladder-jnd@first{LIMIT}"


def run(results: Path, metrics: list[LoadedMetric]) -> None:
    """Evaluate metrics on a part of the built-in ladder, anew."""
    for name in ("ladder-2afc", "ladder-jnd"):
        config = replace(job(name, results, LIMIT), resampling=Resampling(100))
        assert not evaluate(config, metrics, CPU, BatchLimits(), True, Silent()).failures


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with runs of the metrics as they are, and the baseline of them."""
    folder = tmp_path_factory.mktemp("sound")
    loaded, failures = load_metrics([registered()[name] for name in SOUND], CPU, Silent())
    assert not failures
    run(folder / "results", loaded)
    pmbench("baseline", "-o", folder / "baseline.json", "--results", folder / "results")
    return folder


@pytest.fixture
def results(sound: Path, empty_folder: Path) -> Path:
    """Return runs of sound metrics, which are the baseline in ``baseline.json`` too."""
    shutil.copytree(sound, empty_folder, dirs_exist_ok=True)
    return empty_folder / "results"


def verdicts(code: int, *options: str) -> dict[tuple[str, str], str]:
    """Return the check's verdicts by dataset and metric; its exit code is ``code``."""
    output = pmbench("check", "--baseline", "baseline.json", "--json", *options, code=code).stdout
    return {(one["dataset"], one["name"]): one["verdict"] for one in json.loads(output)["found"]}


def of_metric(verdicts: dict[tuple[str, str], str], name: str) -> set[str]:
    """Return one metric's verdicts; those of all others must be that nothing changed."""
    assert {verdict for (_, other), verdict in verdicts.items() if other != name} == {"same"}
    return {verdict for (_, other), verdict in verdicts.items() if other == name}


def test_nothing_is_found_where_nothing_changed(results: Path) -> None:
    checked = verdicts(0, "--tolerance", "0")
    assert len(checked) == 2 * len(SOUND)
    assert set(checked.values()) == {"same"}


# --- a constant changed by 1 % --------------------------------------------------------------------


def edited(function: Any, old: str, new: str) -> Any:
    """Return a function of a module with one piece of its source replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1
    names = dict(function.__globals__)
    exec(source.replace(old, new), names)
    return names[function.__name__]


@pytest.mark.parametrize(
    ("place", "name", "metric", "old", "new"),
    [
        (ssim, "ssim_map", "ssim", "0.01 * peak", "0.0101 * peak"),
        (ssim, "ssim_map", "ssim", "0.03 * peak", "0.0303 * peak"),
        (mmd.MmdPlusPlus, "terms", "mmdpp", "0.05 * patch", "0.0505 * patch"),
        (mmd.MmdPlusPlus, "terms", "mmdpp", "0.001 * l2", "0.00101 * l2"),
    ],
)
def test_a_constant_that_is_1_percent_off_is_found(
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: object,
    name: str,
    metric: str,
    old: str,
    new: str,
) -> None:
    monkeypatch.setattr(place, name, edited(getattr(place, name), old, new))
    loaded = load_metric(registered()[metric], CPU, Silent())
    (was,) = [one for one in find_runs(results, JND) if one.metric == metric]
    assert was.signature.endswith(loaded.signature)  # which says nothing of the fault
    run(results, [loaded])
    assert of_metric(verdicts(1), metric) == {"changed"}
    assert of_metric(verdicts(0, "--allow-changed"), metric) == {"changed"}


# --- a network used in another way ----------------------------------------------------------------


def on_alexnet(
    taps: tuple[int, ...] = ARCHITECTURES["alexnet"].taps,
    preprocessing: Preprocessing = LPIPS,
    seed: int = 0,
) -> Distance:
    """Return what ``net-alex-random`` computes, with a fault if one is given."""
    features = features_of("alexnet", Initialization("torchvision", seed))
    net = frozen(Backbone(features, taps, preprocessing, "relu", 100 * 64 * 64), CPU)
    return FeatureDistance(net, [torch.ones(c) for c in ARCHITECTURES["alexnet"].channels])


def planted(name: str, distance: Distance) -> LoadedMetric:
    """Return a distance under the name and the card of a registered metric."""
    return load_metric(replace(registered()[name], load=lambda device: distance), CPU, Silent())


def test_the_same_network_used_in_the_same_way_is_the_same(results: Path) -> None:
    run(results, [planted("net-alex-random", on_alexnet())])
    assert of_metric(verdicts(0), "net-alex-random") == {"same"}


@pytest.mark.parametrize(
    "fault",
    [
        {"taps": (0, 3, 6, 8, 10)},  # the convolutions instead of the ReLUs behind them
        {"taps": (1, 5, 7, 9, 11)},  # one of them, behind the pooling
        {"preprocessing": LPIPS_UNSIGNED},  # [0, 1] for [-1, 1]
        {"seed": 1},
    ],
    ids=["taps shifted by one layer", "one tap shifted", "[0,1] for [-1,1]", "another seed"],
)
def test_a_network_used_in_another_way_is_found(results: Path, fault: dict[str, Any]) -> None:
    run(results, [planted("net-alex-random", on_alexnet(**fault))])
    checked = of_metric(verdicts(1), "net-alex-random")
    assert checked <= {"changed", "worse", "better"}
    assert checked & {"changed", "worse"}


def test_another_seed_of_random_filters_is_found(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = np.random.default_rng
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "default_rng", lambda seed: usual(seed + 1))
        loaded = load_metric(registered()["mmdpp"], CPU, Silent())
    run(results, [loaded])
    assert of_metric(verdicts(1), "mmdpp") <= {"changed", "worse"}


# --- direction, and what is not there -------------------------------------------------------------


def test_a_flipped_sign_is_worse(results: Path) -> None:
    run(results, [load_metric(replace(registered()["l2"], higher_is_better=True), CPU, Silent())])
    for options in ((), ("--allow-changed",)):
        found = verdicts(1, *options)
        assert found.pop((JND, "l2")) == "worse"
        # all triplets of three photographs are wrong now, which three coins may be too
        assert of_metric(found, "l2") == {"changed"}


def test_a_removed_metric_is_missing(results: Path) -> None:
    shutil.rmtree(results / JND / "mmdpp")
    checked = verdicts(1)
    assert checked.pop((JND, "mmdpp")) == "missing"
    assert set(checked.values()) == {"same"}
    verdicts(1, "--allow-changed")


def test_an_added_metric_is_new(results: Path) -> None:
    run(results, [planted("l1", registered()["l1"].load(CPU))])
    assert of_metric(verdicts(0), "l1") == {"new"}


# --- nothing is found by mistake ------------------------------------------------------------------

FAST = (
    "l1", "l2", "lap1", "ssim", "patch-rbf-3", "mmdpp", "watson-dct-initial", "net-alex-random",
    "net-squeeze-random", "alex-loss-1-random",
)  # fmt: skip


def measured_anew(
    config: EvalConfig, metrics: list[LoadedMetric], batch: int, threads: int
) -> list[RunScores]:
    """Measure in batches of so many items, on so many threads."""
    torch.set_num_threads(threads)
    batches = plan(config.pack, config.chosen, BatchLimits(items=batch))
    values: dict[str, list[NDArray[np.float64]]] = {}
    for _, results in measure(config.pack, config.protocol, batches, lambda batch: metrics, CPU):
        for name, result in results.items():
            assert isinstance(result, Result), result
            values.setdefault(name, []).append(result.distances)
    order = np.argsort(np.concatenate([b.items for b in batches]))
    return [
        RunScores(
            dataset=config.folder_name,
            metric=loaded.metric.name,
            signature=config.signature(loaded.signature),
            tolerance=loaded.metric.tolerance,
            made_with=f"{threads} threads, {batch} items at once",
            protocol=config.protocol,
            items=config.pack.items.take(config.chosen),
            distances=np.concatenate(values[loaded.metric.name])[order],
        )
        for loaded in metrics
    ]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def rerun(config: EvalConfig, names: tuple[str, ...], ways: list[tuple[int, int]]) -> float:
    """Measure in each way (items at once, threads); return the largest move of a distance."""
    loaded, failures = load_metrics([registered()[name] for name in names], CPU, Silent())
    assert not failures
    known = {scores.metric: to_entry(scores) for scores in measured_anew(config, loaded, 64, 2)}
    furthest = 0.0
    for batch, count in ways:
        for scores in measured_anew(config, loaded, batch, count):
            change = compare(known[scores.metric], scores, Rules(tolerance=0))
            assert change.verdict == "same", (batch, count, change)
            assert change.moved is not None
            furthest = max(furthest, change.moved)
    return furthest


@pytest.mark.usefixtures("threads")
def test_no_false_alarm_in_a_few_reruns(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path, limit=1)
    # 0 would prove nothing
    assert rerun(config, FAST, [(1, 1), (4, 3)]) > 0


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_no_false_alarm_in_100_reruns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ways = list(
        zip(rng.integers(1, 25, 100).tolist(), rng.integers(1, 5, 100).tolist(), strict=True)
    )
    furthest = rerun(job("ladder-2afc", tmp_path, limit=4), FAST, ways)
    assert 0 < furthest < 1e-5

"""What an evaluation would take: from recorded times, a few pairs, or a manifest alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from support.evaluations import CPU, job

from pmbench.datasets.manifest import datasets
from pmbench.evaluation import estimate
from pmbench.evaluation.batching import BatchLimits
from pmbench.evaluation.estimate import CostEstimate, Workload, estimate_cost, estimate_speed
from pmbench.evaluation.speed import machine
from pmbench.evaluation.speed_worker import Cell, Trial
from pmbench.metrics import Metric, registered
from pmbench.metrics.selection import select_metrics
from pmbench.results import timings
from pmbench.results.run import Subset
from pmbench.results.timings import BACKWARD, FORWARD, Machine, Timing

HERE = machine(CPU, "fp32")
WORK = Workload("toy", 100, 2, 200, {(64, 64): 90, (128, 128): 10})


def known(metric: str, ms: float, size: int = 64, **more: object) -> Timing:
    return replace(Timing(metric, f"{metric}#1", size, FORWARD, "measured", ms=ms), **more)  # type: ignore[arg-type]


def named(*names: str) -> list[Metric]:
    return select_metrics(list(names)).metrics


def of(metrics: list[Metric], results: Path, *works: Workload) -> CostEstimate:
    return estimate_cost(metrics, list(works or [WORK]), HERE, CPU, results)


@pytest.fixture
def no_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_PROBING", -1.0)


# --- how much there is to do ----------------------------------------------------------------------


def test_a_pack_says_how_much_there_is_to_do(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path)
    work = estimate.workload(config.manifest, config.pack, Subset(), BatchLimits(pixels=45 * 4096))
    assert (work.items, work.pairs, work.sizes) == (216, 2, {(64, 64): 216})
    assert (work.images, work.passes) == (192, 192)
    assert work.batches is not None
    assert work.batches > 3
    few = estimate.workload(config.manifest, config.pack, Subset(2), BatchLimits())
    assert (few.items, few.batches) == (12, 1)


def test_without_a_pack_the_manifest_says_it() -> None:
    bapps = datasets()["bapps-2afc-val"]
    work = estimate.workload(bapps, None, Subset(), BatchLimits())
    assert (work.items, work.pairs, work.passes) == (36344, 2, 3 * 36344)
    assert (work.sizes, work.batches, work.gigabytes) == ({(64, 64): 36344}, None, 1.1)
    assert estimate.workload(bapps, None, Subset(10), BatchLimits()).items == 60


def test_of_a_dataset_of_unknown_extent_a_thousand_items_are_counted() -> None:
    jnd = estimate.workload(datasets()["bapps-jnd-val"], None, Subset(), BatchLimits())
    assert (jnd.items, jnd.counted, jnd.passes) == (None, 1000, 2000)
    other = datasets()["bapps-jnd-val"].model_copy(update={"enlarged": None})
    assert estimate.workload(other, None, Subset(), BatchLimits()).sizes == {}
    sized = other.model_copy(update={"size": 96})
    assert estimate.workload(sized, None, Subset(), BatchLimits()).sizes == {(96, 96): 1000}


# --- how long it takes ----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_probes")
def test_recorded_times_are_scaled_by_pixels_from_the_nearest_size(tmp_path: Path) -> None:
    timings.add(
        tmp_path, HERE,
        [known("l1", 1), known("ssim", 1), known("ssim", 8, 256), known("grad", 1, status="failed"),
         known("psnr", 1, direction=BACKWARD)],
    )  # fmt: skip
    forecast = of(named("l1", "ssim", "grad", "psnr"), tmp_path)
    assert forecast.seconds["l1"]["toy"] == pytest.approx(2 * (90 * 0.001 + 10 * 0.004))
    wide = replace(WORK, sizes={(256, 128): 100})  # half of 256×256
    assert of(named("ssim"), tmp_path, wide).seconds["ssim"]["toy"] == pytest.approx(200 * 0.004)
    assert [forecast.times[name].origin for name in ("l1", "ssim", "grad", "psnr")] == [
        "recorded", "recorded", "unknown", "unknown"
    ]  # fmt: skip
    assert forecast.times["psnr"].note.startswith("not tried, since ")
    assert math.isnan(forecast.seconds["psnr"]["toy"])


@pytest.mark.usefixtures("no_probes")
def test_times_that_pmbench_brings_along_are_not_said_to_be_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timings.add(tmp_path / "data", HERE, [known("l1", 1)])
    monkeypatch.setattr("pmbench.utils.paths.DATA", tmp_path / "data")
    forecast = of(named("l1"), tmp_path / "results")
    assert (forecast.times["l1"].origin, forecast.elsewhere) == ("elsewhere", HERE)


@pytest.mark.usefixtures("no_probes")
def test_times_of_another_machine_are_said_to_be_so(tmp_path: Path) -> None:
    other, gpu = replace(HERE, processor="Slow 1000"), replace(HERE, device="cuda")
    rough = replace(HERE, precision="bf16")
    names = ("fsim", "gmsd", "vsi")  # of which pmbench brings no time along
    timings.add(tmp_path, other, [known(name, 2) for name in names])
    for strange in (gpu, rough):
        timings.add(tmp_path, strange, [known(name, 9) for name in (*names, "grad")])
    timings.add(tmp_path, HERE, [known("vsi", 1)])
    forecast = of(named(*names, "grad"), tmp_path)
    assert forecast.elsewhere == other
    origins = [forecast.times[name].origin for name in (*names, "grad")]
    assert origins == ["elsewhere", "elsewhere", "recorded", "unknown"]
    assert forecast.seconds["fsim"]["toy"] == pytest.approx(2 * forecast.seconds["vsi"]["toy"])


def test_a_metric_without_a_time_is_tried_and_one_that_fails_does_so_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import time\n"
        "def slow(x, y):\n    time.sleep(0.02)\n    return (x - y).mean((1, 2, 3))\n"
        "def wrong(x, y):\n    raise ValueError('no such thing')\n"
    )
    mine = [f"{name}={tmp_path}/mine.py:{name}" for name in ("slow", "wrong")]
    forecast = of(named(*mine, "iw-ssim"), tmp_path / "results")
    assert forecast.times["slow"].origin == "probed"
    # a call of eight pairs takes 20 ms and more
    assert forecast.seconds["slow"]["toy"] > 2 * 90 * 0.02 / 8
    assert forecast.failures == {"wrong": "failed: ValueError: no such thing (in mine.py, line 6)"}
    assert "wrong" not in forecast.seconds
    assert forecast.times["iw-ssim"].origin == "undefined"
    assert forecast.times["iw-ssim"].note == "needs at least 161 pixels a side, got 64×64"
    assert forecast.seconds["iw-ssim"]["toy"] == 0
    assert not (tmp_path / "results").exists()


def test_what_would_be_fetched_is_not_tried_and_stands_there_once(
    tmp_path: Path, home: Path
) -> None:
    names = ("lpips-vgg", "net-vgg", "vgg-loss-l2", "watson-dct")
    forecast = of(named(*names), tmp_path)
    assert [(file.name, file.megabytes, file.metrics) for file in forecast.missing] == [
        ("vgg16", 528, ["lpips-vgg", "net-vgg", "vgg-loss-l2"]),
        ("watson-dct", 0.005, ["watson-dct"]),
    ]
    assert forecast.times["vgg-loss-l2"].origin == "unknown"
    assert forecast.times["vgg-loss-l2"].note == "not tried, since its weights are not here"
    assert forecast.times["net-vgg"].origin == "elsewhere"  # a time that pmbench brings along
    assert not any(home.rglob("*.pth"))


def test_a_package_that_fetches_its_weights_itself_is_not_tried(tmp_path: Path) -> None:
    forecast = of([replace(registered()["l1"], name="mine", extra="timm")], tmp_path)
    assert forecast.times["mine"].note == "not tried, since timm fetches weights by itself"


@pytest.mark.usefixtures("no_probes")
def test_a_network_passes_over_an_image_once_and_metrics_may_share_it(tmp_path: Path) -> None:
    few = replace(WORK, passes=100, sizes={(64, 64): 100})  # of 400 images of pairs
    timings.add(tmp_path, HERE, [known("lpips-vgg", 40), known("net-vgg", 30), known("l1", 1)])
    forecast = of(named("lpips-vgg", "net-vgg", "l1", "fsim"), tmp_path, few)
    assert forecast.seconds["net-vgg"]["toy"] == pytest.approx(200 * 0.03 / 4)
    assert forecast.together["toy"] == pytest.approx((2 + 0.2, 2 + 1.5 + 0.2))
    assert all(map(math.isnan, of(named("fsim"), tmp_path, few).together["toy"]))


@pytest.mark.usefixtures("no_probes")
def test_pictures_of_unknown_size_take_an_unknown_time(tmp_path: Path) -> None:
    timings.add(tmp_path, HERE, [known("l1", 1)])
    forecast = of(named("l1"), tmp_path, replace(WORK, sizes={}))
    assert math.isnan(forecast.seconds["l1"]["toy"])


# --- pmbench speed --------------------------------------------------------------------------------


def test_measuring_speed_takes_its_turns_but_no_longer_than_it_may(tmp_path: Path) -> None:
    cells = (Cell(64, FORWARD), Cell(64, BACKWARD))
    trial = Trial("", cells, batch=10, seconds=5.0)
    timings.add(tmp_path, HERE, [known("l1", 10), known("ssim", 0.1), known("grad", 2000)])
    other: Machine = replace(HERE, processor="Slow 1000")
    timings.add(tmp_path, other, [known("fsim", 10), known("l1", 99)])

    def seconds(*names: str) -> float:
        return estimate_speed(named(*names), trial, HERE, tmp_path).seconds - 4 * len(names)

    assert seconds("l1") == pytest.approx(9 * 0.1 + 9 * 0.3)  # calls of 10 pairs
    assert seconds("ssim") == pytest.approx(2 * 9 * 0.05)  # shorter calls are repeated
    assert seconds("grad") == pytest.approx(20 + 60)  # one call, however long
    assert seconds("gmsd") == pytest.approx(5 + 5)
    forecast = estimate_speed(named("l1", "fsim", "gmsd"), trial, HERE, tmp_path)
    assert (forecast.elsewhere, forecast.unknown) == (1, 1)

"""``pmbench speed``: how fast metrics are on this machine, and what they cost as a loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import (
    CHECK_FAILED,
    AsJson,
    BatchSize,
    MetricCommand,
    ResultsOption,
    Weights,
    app,
    batch_limits,
    console,
    progress_reporter,
    set_env_default,
    split,
)  # fmt: skip
from pmbench.cli.completion import complete_metrics
from pmbench.utils.errors import PmbenchError

if TYPE_CHECKING:
    from pmbench.evaluation.speed_worker import Trial
    from pmbench.metrics import Metric
    from pmbench.results.timings import Machine, Timing
    from pmbench.utils.progress import Reporter

_SIDES = (64, 256, 512)


@app.command(cls=MetricCommand)
def speed(
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            help="Metric, address, or all (default); commas, repeat.",
            autocompletion=complete_metrics,
        ),
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="Pixels a side; repeat, or use commas [64,256,512].")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    batch_size: BatchSize = "auto",
    precision: Annotated[
        str, typer.Option(help="Of networks: fp32, bf16, fp16, or tf32 on a GPU.")
    ] = "fp32",
    seconds: Annotated[
        float, typer.Option(min=0, help="For a metric at a size; no turn begins after that.")
    ] = 5.0,
    results: ResultsOption = Path("results"),
    as_json: AsJson = False,
    weights: Weights = None,
) -> None:
    """Measure how fast metrics are: pairs a second, memory, and as a loss with its gradient.

    Each metric is measured in a process of its own, so that the memory is its own too. The numbers
    go to speed.csv in the folder of results. `pmbench leaderboard --cost` takes them from there.
    Times of different machines are kept apart. Without --metric it measures all: some ten minutes.

    Examples:

    `pmbench speed -m lpips-alex,lpips-vgg,mmdpp`

    `pmbench speed -m all --size 64 --seconds 1`

    `pmbench speed -m lpips-vgg --device cuda --precision bf16 --batch-size 64`

    `pmbench speed -m ./mine.py:distance --size 64,96 --json`
    """
    import json
    from dataclasses import replace

    from pmbench.evaluation.estimate import estimate_speed
    from pmbench.evaluation.speed import machine
    from pmbench.evaluation.speed_worker import Cell, Trial
    from pmbench.metrics.selection import select_metrics
    from pmbench.reporting import speed_forecast, speeds_to_rich
    from pmbench.results.timings import BACKWARD, FORWARD, as_records
    from pmbench.utils.devices import check_precision, choose_device

    set_env_default("PMBENCH_WEIGHTS", weights)
    sides = _sides(split(size))
    choice = select_metrics(split(metric) or ["all"])
    where = choose_device(device)
    check_precision(precision, where)
    here = machine(where, precision)
    cells = tuple(Cell(side, way) for way in (FORWARD, BACKWARD) for side in sides)
    limits = batch_limits(batch_size, where)
    blank = Trial("", cells, str(where), precision, limits.items, seconds)
    if limits.pixels is not None:
        blank = replace(blank, pixels=limits.pixels // 2)  # which two images share
    with progress_reporter() as reporter:
        for name, why in choice.left_out.items():
            reporter.note(f"left out: {name}: {why}")
        reporter.note(speed_forecast(estimate_speed(choice.metrics, blank, here, results), seconds))
        result = _measured(choice.metrics, blank, here, results, reporter)
    if as_json:
        typer.echo(json.dumps(as_records(here, result), indent=1))
    else:
        terminal = console()
        terminal.print(speeds_to_rich(here, result, terminal.width))
    if any(one.status == "failed" for one in result):
        raise typer.Exit(CHECK_FAILED)


def _sides(texts: list[str]) -> list[int]:
    if bad := [text for text in texts if not (text.isascii() and text.isdigit() and int(text))]:
        raise PmbenchError(f"--size {bad[0]}: expected a whole number of pixels from 1")
    return sorted({int(text) for text in texts} or _SIDES)


def _measured(
    metrics: list[Metric], blank: Trial, here: Machine, results: Path, reporter: Reporter
) -> list[Timing]:
    """Measure the metrics one after another, and keep the times of each as soon as it is done."""
    from dataclasses import asdict, replace

    from pmbench.evaluation.speed import timings as in_a_process
    from pmbench.networks import weights
    from pmbench.results import timings
    from pmbench.results.timings import Timing

    result: list[Timing] = []
    cells = float(len(metrics) * len(blank.cells))
    with weights.ask_once(), reporter.task("measuring", cells, "cells") as task:
        for metric in metrics:
            task.describe(metric.name)
            measured: list[Timing] = []
            try:
                weights.ensure(metric.weights, reporter)
            except PmbenchError as error:
                empty = Timing(metric.name, "", 0, "", "failed", note=str(error))
                measured = [replace(empty, **asdict(cell)) for cell in blank.cells]
                task.advance(len(measured))
            else:
                trial = replace(blank, metric=metric.address or metric.name)
                for timing in in_a_process(trial, metric.name):
                    measured.append(timing)
                    task.advance()
            timings.add(results, here, measured)
            result += measured
    return result

"""``pmbench eval``: measure, score, and show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import (
    CHECK_FAILED,
    BatchSize,
    Datasets,
    Manifests,
    MetricCommand,
    Resamples,
    ResultsOption,
    Seed,
    Weights,
    app,
    batch_limits,
    check_resampling,
    console,
    progress_reporter,
    set_env_default,
    split,
)  # fmt: skip
from pmbench.cli.completion import complete_metrics
from pmbench.cli.leaderboard import print_boards
from pmbench.cli.signals import promise_resume
from pmbench.utils.errors import PmbenchError

if TYPE_CHECKING:
    import torch

    from pmbench.evaluation.batching import BatchLimits
    from pmbench.evaluation.config import EvalConfig
    from pmbench.evaluation.runner import EvalResult
    from pmbench.metrics import Metric
    from pmbench.metrics.loading import LoadedMetric
    from pmbench.utils.progress import Reporter


@app.command("eval", cls=MetricCommand)
def evaluate(
    metric: Annotated[
        list[str],
        typer.Option(
            "--metric",
            "-m",
            help="Metric, address, or all; repeat, or use commas.",
            autocompletion=complete_metrics,
        ),
    ],
    dataset: Datasets = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    resize: Annotated[
        str | None, typer.Option(help="legacy (default, as in the papers) or exact.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(help="Of networks: fp32; bf16 or fp16, faster and rougher; tf32 on NVIDIA."),
    ] = "fp32",
    batch_size: BatchSize = "auto",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N items of each sub-dataset.")
    ] = None,
    results: ResultsOption = Path("results"),
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Keep what is done, or measure anew.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, and run nothing.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", hidden=True)] = False,  # the name of 0.1
    resamples: Resamples = 1000,
    seed: Seed = 0,
    weights: Weights = None,
    manifests: Manifests = None,
) -> None:
    """Measure metrics on datasets, score them, and show the leaderboard.

    Without --dataset: BAPPS if it has been downloaded, else the built-in ladder.

    A metric of your own is given by its address. It is a function (x, y) -> (N,) on RGB batches in
    [0, 1]. Or it is a program that is given two PNG files and prints a number. NAME=ADDRESS gives
    it a name.

    Examples:

    `pmbench eval --metric mmdpp`

    `pmbench eval -m lpips-alex,lpips-vgg -d bapps-2afc-val --device cuda`

    `pmbench eval -m all --dry-run`

    `pmbench eval -m lpips-vgg --precision bf16` (then `pmbench compare --precision bf16`)

    `pmbench eval -m mmdpp --resamples 10000 --seed 1` (kept distances are only scored anew)

    `pmbench eval -m ./mine.py:distance,package.module:name,ssim`

    `pmbench eval -m "mine=cmd?timeout=5:./my_metric {ref} {dist}"`
    """
    from pmbench.evaluation.config import load_configs
    from pmbench.evaluation.evaluator import evaluate as run
    from pmbench.metrics.loading import load_metrics
    from pmbench.metrics.selection import select_metrics
    from pmbench.results.run import Subset
    from pmbench.utils.devices import check_precision, choose_device, use_exact_arithmetic

    dry_run = dry_run or plan
    set_env_default("PMBENCH_WEIGHTS", weights)
    set_env_default("PMBENCH_MANIFESTS", manifests)
    choice = select_metrics(split(metric))
    if not choice.metrics:
        raise PmbenchError("--metric names no metric; `pmbench list metrics` says what there is")
    resampling = check_resampling(resamples, seed)
    where = choose_device(device)
    limits = batch_limits(batch_size, where)
    check_precision(precision, where)
    use_exact_arithmetic()
    if not dry_run and resume:  # --fresh begins anew each time
        promise_resume()
    with progress_reporter() as reporter:
        for why, names in _by_reason(choice.left_out):
            reporter.note(f"left out: {names}: {why}")
        configs = load_configs(
            split(dataset), resize, Subset(limit), results, reporter,
            resampling=resampling, precision=precision,
        )  # fmt: skip
        ready = _with_weights(choice.metrics) if dry_run else choice.metrics
        loaded, failures = load_metrics(ready, where, reporter)
        for config in configs if loaded else []:
            if dry_run:
                failures |= _print_estimate(config, loaded, where, limits)
                continue
            result = run(config, loaded, where, limits, not resume, reporter)
            failures |= result.failures
            _note_reuse(config, result, reporter)
    if not dry_run:
        try:
            show_results(results, configs)
        except PmbenchError:
            _say_failures(failures)
            raise
    _tell_failures(failures)


def _print_estimate(
    config: EvalConfig, metrics: list[LoadedMetric], device: torch.device, limits: BatchLimits
) -> dict[str, str]:
    """Print what an evaluation would take; return the metrics that failed, and why."""
    from pmbench.evaluation.estimate import estimate_cost
    from pmbench.reporting import estimate_to_rich
    from pmbench.utils.devices import network_precision

    with network_precision(config.precision):
        estimate = estimate_cost(config, metrics, device, limits)
    console().print(estimate_to_rich(config.manifest.name, estimate))
    return estimate.failures


def _with_weights(metrics: list[Metric]) -> list[Metric]:
    """Return the metrics whose weights are here, and say what would be fetched for the others."""
    from pmbench.networks import weights
    from pmbench.networks.manifest import weight_files

    ready = []
    for metric in metrics:
        absent = [name for name in metric.weights if weights.find(name) is None]
        if absent:
            sizes = ", ".join(
                f"{name} ({weight_files()[name].megabytes or 0:g} MB)" for name in absent
            )
            typer.echo(f"{metric.name}: not probed; would first fetch {sizes}")
        else:
            ready.append(metric)
    return ready


def _note_reuse(config: EvalConfig, result: EvalResult, reporter: Reporter) -> None:
    """Say which metrics were measured before, wholly or in part."""
    name = config.manifest.name
    if result.reused:
        kept = ", ".join(result.reused)
        reporter.note(f"{name}: kept as measured before: {kept} (--fresh measures anew)")
    if result.upgraded:
        reporter.note(
            f"{name}: of these, measured by an earlier pmbench: {', '.join(result.upgraded)}; "
            "from now on a change of code, but not of a comment, has them measured anew"
        )
    if result.resumed:
        done = ", ".join(f"{metric} after batch {n}" for metric, n in result.resumed.items())
        reporter.note(f"{name}: went on where it was left: {done}")


def show_results(results: Path, configs: list[EvalConfig]) -> None:
    """Bring the leaderboard's files up to date, and print the boards of these datasets."""
    from pmbench.analysis.leaderboard_rows import View
    from pmbench.reporting.leaderboard import write_leaderboards
    from pmbench.results.store import find_runs

    write_leaderboards(results)
    for config in configs:
        if find_runs(results, config.folder_name, variants=False):
            print_boards(results, View(dataset=config.folder_name, variants=False))


def _tell_failures(failures: dict[str, str]) -> None:
    """Say which metrics did not run, and exit non-zero if there are any."""
    _say_failures(failures)
    if failures:
        raise typer.Exit(CHECK_FAILED)


def _say_failures(failures: dict[str, str]) -> None:
    """Say which metrics did not run, each reason once."""
    # a sentence about a measurement begins with the metric's name, which stands here already
    plain = {
        name: why.removeprefix(name).removeprefix(":").lstrip() if _is_about(why, name) else why
        for name, why in failures.items()
    }
    for why, names in _by_reason(plain):
        typer.secho(f"not run: {names}: {why}", fg="red")


def _is_about(why: str, name: str) -> bool:
    return why.startswith((f"{name}: ", f"{name} failed"))


def _by_reason(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return each reason once, with the names it is of."""
    results: dict[str, list[str]] = {}
    for name, why in reasons.items():
        results.setdefault(why, []).append(name)
    return [(why, ", ".join(names)) for why, names in results.items()]

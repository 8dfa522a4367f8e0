"""``pmbench eval``: measure, score, and show."""

from __future__ import annotations

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
    by_reason,
    check_resampling,
    console,
    print_failures,
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

    from pmbench.evaluation.config import EvalConfig
    from pmbench.evaluation.estimate import Workload
    from pmbench.evaluation.runner import EvalResult
    from pmbench.metrics import Metric
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
        bool, typer.Option("--dry-run", help="Say what it would take; nothing is fetched or kept.")
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
    from pmbench.evaluation.config import find_packs, load_configs
    from pmbench.evaluation.estimate import workload
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
        for why, names in by_reason(choice.left_out).items():
            reporter.note(f"left out: {', '.join(names)}: {why}")
        if dry_run:
            packs = find_packs(split(dataset), resize, reporter)
            workloads = [workload(*one, Subset(limit), limits) for one in packs]
            _tell_estimate(choice.metrics, workloads, where, precision, results)
            return
        configs = load_configs(
            split(dataset), resize, Subset(limit), results, reporter,
            resampling=resampling, precision=precision,
        )  # fmt: skip
        loaded, failures = load_metrics(choice.metrics, where, reporter)
        for config in configs if loaded else []:
            result = run(config, loaded, where, limits, not resume, reporter)
            failures |= result.failures
            _note_reuse(config, result, reporter)
    try:
        show_results(results, configs)
    except PmbenchError:
        print_failures(failures)
        raise
    _tell_failures(failures)


def _tell_estimate(
    metrics: list[Metric],
    workloads: list[Workload],
    device: torch.device,
    precision: str,
    results: Path,
) -> None:
    """Print what an evaluation would take."""
    from pmbench.evaluation.estimate import estimate_cost
    from pmbench.evaluation.speed import machine
    from pmbench.reporting import estimate_to_rich

    here = machine(device, precision)
    ready = [metric for metric in metrics if metric.not_installed() is None]
    estimate = estimate_cost(ready, workloads, here, device, results)
    console().print(estimate_to_rich(estimate))
    lacking = {metric.name: why for metric in metrics if (why := metric.not_installed())}
    _tell_failures(lacking | estimate.failures)


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
    print_failures(failures)
    if failures:
        raise typer.Exit(CHECK_FAILED)

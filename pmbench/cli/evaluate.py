"""``pmbench eval``: measure, score, and show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import (
    CHECK_FAILED,
    Datasets,
    Manifests,
    Resamples,
    Results,
    Seed,
    Weights,
    app,
    console,
    let_speak,
    reporting,
    resampling,
    split,
)  # fmt: skip
from pmbench.cli.leaderboard import Format, print_boards, written
from pmbench.cli.signals import promise_to_go_on
from pmbench.utils.errors import PmbenchError

if TYPE_CHECKING:
    from pmbench.datasets.manifest import Manifest
    from pmbench.datasets.pack import Pack
    from pmbench.evaluation.evaluator import Job, Outcome
    from pmbench.metrics import Metric
    from pmbench.results.run import Selection
    from pmbench.utils.progress import Reporter


@app.command("eval")
def evaluate(
    metric: Annotated[
        list[str],
        typer.Option("--metric", "-m", help="Metric, address, or all; repeat, or use commas."),
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
    batch_size: Annotated[
        str, typer.Option(help="Items in a batch, or auto (bounded in pixels).")
    ] = "auto",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N items of each sub-dataset.")
    ] = None,
    results: Results = Path("results"),
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Keep what is done, or measure anew.")
    ] = True,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what it would take, and run nothing.")
    ] = False,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    weights: Weights = None,
    manifests: Manifests = None,
) -> None:
    """Measure metrics on datasets, score them, and show the leaderboard.

    Without --dataset: BAPPS if it has been downloaded, else the built-in ladder.

    A metric of your own has an address: Python code, a function (x, y) -> (N,) on RGB batches in
    [0, 1], or a program that is given two PNG files and prints a number. NAME=ADDRESS names it.

    Examples:

    `pmbench eval --metric mmdpp`

    `pmbench eval -m lpips-alex,lpips-vgg -d bapps-2afc-val --device cuda`

    `pmbench eval -m all --plan`

    `pmbench eval -m lpips-vgg --precision bf16` (then `pmbench compare --precision bf16`)

    `pmbench eval -m mmdpp --resamples 10000 --seed 1` (kept distances are only scored anew)

    `pmbench eval -m ./mine.py:distance,package.module:name,ssim`

    `pmbench eval -m "mine=cmd?timeout=5:./my_metric {ref} {dist}"`
    """
    from pmbench.evaluation.batching import Bounds
    from pmbench.evaluation.estimate import forecast
    from pmbench.evaluation.evaluator import evaluate as run
    from pmbench.metrics.loading import load_metrics
    from pmbench.metrics.selection import choose
    from pmbench.reporting import forecast_to_rich
    from pmbench.results.run import Selection
    from pmbench.utils.devices import be_exact, check_precision, choose_device, computing

    let_speak("PMBENCH_WEIGHTS", weights)
    let_speak("PMBENCH_MANIFESTS", manifests)
    choice = choose(split(metric))
    chosen = choice.metrics
    if not chosen:
        raise PmbenchError("--metric names no metric; `pmbench list metrics` says what there is")
    bounds = Bounds(items=_items_in_a_batch(batch_size))
    how = resampling(resamples, seed)
    where = choose_device(device)
    check_precision(precision, where)
    be_exact()
    if not plan and resume:  # --fresh begins anew each time
        promise_to_go_on()
    with reporting() as reporter:
        for why, names in _by_reason(choice.left_out):
            reporter.note(f"left out: {names}: {why}")
        jobs = jobs_for(split(dataset), resize, Selection(limit), results, reporter)
        jobs = [replace(job, how=how, precision=precision) for job in jobs]
        if plan:
            chosen = _with_weights(chosen)
        loaded, failures = load_metrics(chosen, where, reporter)
        for job in jobs if loaded else []:
            if plan:
                with computing(precision):
                    told = forecast(job, loaded, where, bounds)
                console().print(forecast_to_rich(job.manifest.name, told))
                failures |= told.failures
                continue
            outcome = run(job, loaded, where, bounds, not resume, reporter)
            failures |= outcome.failures
            _tell(job, outcome, reporter)
    if not plan:
        try:
            show_results(results, jobs)
        except PmbenchError:
            _say_failures(failures)
            raise
    _tell_failures(failures)


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


def _items_in_a_batch(text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise PmbenchError(f"--batch-size {text}: expected auto or a whole number from 1")
    return int(text)


def jobs_for(
    names: list[str], resize: str | None, selection: Selection, results: Path, reporter: Reporter
) -> list[Job]:
    """Return what is to be measured; by default BAPPS where it is there, else the ladder."""
    from pmbench.datasets import manifest
    from pmbench.datasets.download import pack_for
    from pmbench.datasets.resize import resize_for
    from pmbench.evaluation.evaluator import Job

    def packed(entries: list[Manifest], mode: str | None) -> list[tuple[Manifest, Pack | None]]:
        return [(entry, pack_for(entry, resize_for(entry, mode), reporter)) for entry in entries]

    found = packed(manifest.resolve(names or ["bapps"]), resize)
    missing = [entry.name for entry, pack in found if pack is None]
    way = f"pmbench download {' '.join(missing)}" + f" --resize {resize}" * (resize is not None)
    if missing and names:
        raise PmbenchError(f"{', '.join(missing)}: not on this machine; get it with `{way}`")
    if len(missing) == len(found):
        if resize is not None:
            raise PmbenchError(
                f"BAPPS is not on this machine, and only it has resize modes; get it with `{way}`"
            )
        reporter.note(
            "BAPPS is not on this machine; using the built-in ladder (synthetic, no human votes). "
            "Get BAPPS (1.3 GB) with `pmbench download`"
        )
        found = packed(manifest.resolve(["ladder"]), None)
    elif missing:
        reporter.note(f"{', '.join(missing)} left out: not on this machine; get it with `{way}`")
    return [Job(entry, pack, selection, results) for entry, pack in found if pack is not None]


def _tell(job: Job, outcome: Outcome, reporter: Reporter) -> None:
    name = job.manifest.name
    if outcome.reused:
        kept = ", ".join(outcome.reused)
        reporter.note(f"{name}: kept as measured before: {kept} (--fresh measures anew)")
    if outcome.resumed:
        done = ", ".join(f"{metric} after batch {n}" for metric, n in outcome.resumed.items())
        reporter.note(f"{name}: went on where it was left: {done}")


def show_results(results: Path, jobs: list[Job]) -> None:
    """Bring ``leaderboard.csv`` and ``.md`` up to date, and print the boards of this evaluation."""
    from pmbench.analysis.board import View
    from pmbench.evaluation.config import LOCK
    from pmbench.results.store import find
    from pmbench.utils.files import write_text
    from pmbench.utils.locks import alone

    if not find(results):
        return
    with alone(results / LOCK, -1):  # of two that end at once, the last one shows both
        write_text(results / "leaderboard.csv", written(results, View(), Format.csv))
        write_text(results / "leaderboard.md", written(results, View(), Format.md))
    for job in jobs:
        if find(results, job.folder_name, variants=False):
            print_boards(results, View(dataset=job.folder_name, variants=False))


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
    found: dict[str, list[str]] = {}
    for name, why in reasons.items():
        found.setdefault(why, []).append(name)
    return [(why, ", ".join(names)) for why, names in found.items()]

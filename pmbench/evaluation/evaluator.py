"""One evaluation: datasets × metrics -> complete run folders, resumed where they were left.

Every metric has its own checkpoint, so metrics that were interrupted at different batches go on
together, and a metric that fails takes no other with it.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch

from pmbench import __version__
from pmbench.evaluation import provenance
from pmbench.evaluation.batching import BatchLimits
from pmbench.evaluation.checkpoint import read_header
from pmbench.evaluation.config import EvalConfig
from pmbench.evaluation.determinism import check_determinism
from pmbench.evaluation.runner import EvalContext, EvalResult, run_group, save_run
from pmbench.metrics.loading import SOURCE_KIND, LoadedMetric
from pmbench.results.run import CHECKPOINT_FILE, LOCK_FILE, Run, locked, open_run
from pmbench.results.signature import Signature
from pmbench.scoring.scores import human_rows
from pmbench.utils.devices import network_precision
from pmbench.utils.errors import PmbenchError
from pmbench.utils.locks import exclusive
from pmbench.utils.progress import Reporter

__all__ = ["EvalConfig", "EvalResult", "evaluate"]


def evaluate(
    config: EvalConfig,
    metrics: list[LoadedMetric],
    device: torch.device,
    limits: BatchLimits,
    fresh: bool,
    reporter: Reporter,
) -> EvalResult:
    """Measure and score what is not there yet; return all runs, the earlier ones included.

    ``fresh`` measures everything anew. Otherwise a complete run with the same signature and source
    is kept, and an interrupted one goes on with the batches it began with.
    """
    context = EvalContext(config, device, reporter, provenance.environment(device), EvalResult())
    pending: dict[BatchLimits, list[LoadedMetric]] = {}
    with ExitStack() as locks:
        for loaded in _lock_metrics(context, metrics, locks):
            name, folder = loaded.metric.name, config.folder(loaded.metric.name)
            try:
                if fresh:
                    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
                elif (run := _reusable_run(context, loaded, folder)) is not None:
                    context.result.runs.append(run)
                    context.result.reused.append(name)
                    continue
            except PmbenchError as error:
                context.result.failures[name] = str(error)
                continue
            _warn_of_slowness(context, loaded)
            pending.setdefault(_resume_limits(context, loaded, limits), []).append(loaded)
        for batch_limits, group in pending.items():
            if deterministic := _deterministic(context, group, batch_limits):
                run_group(context, deterministic, batch_limits)
    return context.result


def _lock_metrics(
    context: EvalContext, metrics: list[LoadedMetric], locks: ExitStack
) -> list[LoadedMetric]:
    """Return the metrics that no other process measures, locked; the others have failed.

    One process at a time takes locks. Two that take them metric by metric would each get some, and
    both fail.
    """
    config, free = context.config, []
    with exclusive(config.results / config.folder_name / LOCK_FILE, -1):
        for loaded in metrics:
            try:
                locks.enter_context(locked(config.folder(loaded.metric.name)))
            except PmbenchError as error:
                context.result.failures[loaded.metric.name] = str(error)
            else:
                free.append(loaded)
    return free


def _warn_of_slowness(context: EvalContext, loaded: LoadedMetric) -> None:
    """Say before starting that a metric will take long, if so."""
    metric, pairs = loaded.metric, len(context.config.chosen) * len(context.config.protocol.pairs)
    if (minutes := metric.seconds * pairs / 60) >= 5:
        context.note(
            f"{metric.name} takes about {metric.seconds:g} s for a "
            f"pair of 64×64 on two CPU cores: {_rounded(minutes)} for {pairs:,} pairs"
        )


def _rounded(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.0f} hours"


def _reusable_run(context: EvalContext, loaded: LoadedMetric, folder: Path) -> Run | None:
    """Return the complete run that need not be measured again, scored as this version does.

    Raises PmbenchError where the folder holds imported distances.
    """
    config, name = context.config, loaded.metric.name
    if (run := open_run(folder)) is None:
        return None
    if run.imported:
        raise PmbenchError(
            f"{folder} holds distances that were imported under this name; measure under another "
            "one, NAME=ADDRESS, or replace them with --fresh"
        )
    if (reason := _why_stale(config, run, loaded)) is not None:
        context.note(reason)
        return None
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)  # of a run killed when it was complete
    dataset = provenance.dataset_info(config)
    if upgraded := _is_of_earlier_source(run, loaded):
        context.result.upgraded.append(name)
    if (damage := run.damage()) != "":
        context.note(f"scoring {name} anew, since its scores are damaged ({damage})")
    elif (
        not upgraded
        and (run.info.dataset, run.info.pmbench) == (dataset, __version__)
        and ((samples := run.draws()) is not None and samples.resampling == config.resampling)
    ):
        return run
    _, distances = run.distances()
    metric = provenance.metric_info(loaded, config.pack)
    now = {"pmbench": __version__, "dataset": dataset, "metric": metric}
    human = human_rows(config.protocol, config.pack.items.take(config.chosen), config.resampling)
    return save_run(config, run.info.model_copy(update=now), distances, human)


def _why_stale(config: EvalConfig, run: Run, loaded: LoadedMetric) -> str | None:
    """Return why a complete run must be measured anew, or None where its distances count."""
    name = loaded.metric.name
    if run.signature != (now := config.signature(loaded.signature)):
        before, files = run.info.metric.source_files, loaded.source_files
        edited = sorted(file for file in {*before, *files} if before.get(file) != files.get(file))
        if Signature.parse(run.signature).setup != Signature.parse(now).setup:
            why = "measured on other items or in another way"
        elif before and edited:
            why = f"made with other code ({', '.join(edited[:3])}{', …' * (len(edited) > 3)})"
        else:
            why = "of another metric of that name, or of other weights or parameters"
        return f"replacing a run of {name} that was {why}: {run.signature}"
    if run.info.metric.source != loaded.source and not _is_of_earlier_source(run, loaded):
        return f"the source of {name} changed; measuring it anew"
    try:
        run.check_distances()
    except PmbenchError as error:
        return f"measuring {name} anew, since its distances are damaged ({error})"
    return None


def _is_of_earlier_source(run: Run, loaded: LoadedMetric) -> bool:
    """Say whether a run has no source, or a digest of whole files, as earlier versions wrote."""
    return bool(loaded.source) and not run.info.metric.source.startswith(SOURCE_KIND)


def _resume_limits(context: EvalContext, loaded: LoadedMetric, limits: BatchLimits) -> BatchLimits:
    """Return the limits that an interrupted run began with, or ``limits`` where none can go on."""
    path = context.config.folder(loaded.metric.name) / CHECKPOINT_FILE
    if not path.exists():
        return limits
    header = read_header(path)
    now = context.header(loaded, header.limits if header else limits)
    if header == now:
        return now.limits
    if header is None:
        why = "cannot be read"
    else:
        before = header.environment
        others = [name for name, value in now.environment.items() if before.get(name) != value]
        what = f"another {' and '.join(others)}" if others else "other items or another metric"
        why = f"was made with {what}"
    context.note(
        f"what there was of an interrupted run of {loaded.metric.name} {why}; beginning anew"
    )
    return limits


def _deterministic(
    context: EvalContext, group: list[LoadedMetric], limits: BatchLimits
) -> list[LoadedMetric]:
    """Return the metrics whose distances can be had again; the others have failed."""
    config, failures = context.config, context.result.failures
    with network_precision(config.precision):
        for loaded in group:
            why = check_determinism(
                loaded, config.pack, config.protocol, config.chosen, limits, context.device
            )
            if why is not None:
                failures[loaded.metric.name] = why
    return [loaded for loaded in group if loaded.metric.name not in failures]

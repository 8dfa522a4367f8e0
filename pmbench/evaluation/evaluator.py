"""One evaluation: datasets × metrics -> complete run folders, resumed where they were left.

Every metric has its own journal, so metrics that were interrupted at different batches go on
together, and a metric that fails takes no other with it.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch

from pmbench import __version__
from pmbench.evaluation import provenance
from pmbench.evaluation.batching import Bounds
from pmbench.evaluation.checkpoint import head_of
from pmbench.evaluation.config import Job, locked
from pmbench.evaluation.determinism import doubt
from pmbench.evaluation.runner import MEASURED, Outcome, Session, run_group, save_run
from pmbench.metrics.loading import SOURCE_KIND, Loaded
from pmbench.results.run import JOURNAL, Run, open_run
from pmbench.scoring.scores import human_rows
from pmbench.utils.devices import computing
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Reporter

__all__ = ["Job", "Outcome", "evaluate"]


def evaluate(
    job: Job,
    metrics: list[Loaded],
    device: torch.device,
    bounds: Bounds,
    fresh: bool,
    reporter: Reporter,
) -> Outcome:
    """Measure and score what is not there yet; return all runs, the earlier ones included.

    ``fresh`` measures everything anew. Otherwise a complete run with the same signature and source
    is kept, and an interrupted one goes on with the batches it began with.
    """
    session = Session(job, device, reporter, provenance.environment(device), Outcome())
    to_do: dict[Bounds, list[Loaded]] = {}
    with ExitStack() as locks:
        for loaded in metrics:
            name, folder = loaded.metric.name, job.folder(loaded.metric.name)
            try:
                locks.enter_context(locked(folder))
                if fresh:
                    (folder / JOURNAL).unlink(missing_ok=True)
                elif (run := _kept(session, loaded, folder)) is not None:
                    session.outcome.runs.append(run)
                    session.outcome.reused.append(name)
                    continue
            except PmbenchError as error:
                session.outcome.failures[name] = str(error)
                continue
            _warn_of_slowness(session, loaded)
            to_do.setdefault(_bounds(session, loaded, bounds), []).append(loaded)
        for its_bounds, group in to_do.items():
            if trusted := _trusted(session, group, its_bounds):
                run_group(session, trusted, its_bounds)
    return session.outcome


def _warn_of_slowness(session: Session, loaded: Loaded) -> None:
    """Say before starting that a metric will take long, if so."""
    metric, pairs = loaded.metric, len(session.job.chosen) * len(session.job.protocol.pairs)
    if (minutes := metric.seconds * pairs / 60) >= 5:
        session.reporter.note(
            f"{session.job.manifest.name}: {metric.name} takes about {metric.seconds:g} s for a "
            f"pair of 64×64 on two CPU cores: {_rounded(minutes)} for {pairs:,} pairs"
        )


def _rounded(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.0f} hours"


def _kept(session: Session, loaded: Loaded, folder: Path) -> Run | None:
    """Return the complete run that need not be measured again, scored as this version does."""
    job = session.job
    run = open_run(folder)
    if run is not None and run.imported:
        raise PmbenchError(
            f"{folder} holds distances that were imported under this name; measure under another "
            "one, NAME=ADDRESS, or replace them with --fresh"
        )
    if run is None:
        return None
    if run.signature != job.signature(loaded.signature):
        session.reporter.note(
            f"{job.manifest.name}: replacing a run of {loaded.metric.name} that was measured on "
            f"other items or with another metric of that name ({run.signature})"
        )
        return None
    source = str(run.info["metric"].get("source", ""))
    # earlier versions wrote a digest of whole files, comments and all, or none
    earlier = bool(loaded.source) and not source.startswith(SOURCE_KIND)
    if source != loaded.source and not earlier:
        session.reporter.note(
            f"{job.manifest.name}: the source of {loaded.metric.name} changed; measuring it anew"
        )
        return None
    try:
        run.check_distances()
    except PmbenchError as error:
        session.reporter.note(
            f"{job.manifest.name}: measuring {loaded.metric.name} anew, since its distances are "
            f"damaged ({error})"
        )
        return None
    (folder / JOURNAL).unlink(missing_ok=True)  # of a run killed when it was complete
    about = provenance.of_dataset(job.manifest, job.pack, job.selection, len(job.chosen))
    same = run.info["dataset"] == about and run.info["pmbench"] == __version__ and not earlier
    if earlier:
        session.reporter.note(
            f"{job.manifest.name}: keeping a run of {loaded.metric.name} that an earlier pmbench "
            "made; from now on it is measured anew only where code changes, not comments"
        )
    if damage := run.damage():
        session.reporter.note(
            f"{job.manifest.name}: scoring {loaded.metric.name} anew, since its scores are damaged "
            f"({damage})"
        )
    elif same and (draws := run.draws()) is not None and draws.how == job.how:
        return run
    _, distances = run.distances()
    facts = {name: run.info[name] for name in MEASURED if name in run.info}
    humans = human_rows(job.protocol, job.pack.items.take(job.chosen), job.how)
    return save_run(job, loaded, distances, humans, facts)


def _bounds(session: Session, loaded: Loaded, bounds: Bounds) -> Bounds:
    """Return the bounds that an interrupted run began with, or ``bounds`` where none can go on."""
    path = session.job.folder(loaded.metric.name) / JOURNAL
    if not path.exists():
        return bounds
    head = head_of(path)
    now = session.head(loaded, head.bounds if head else bounds)
    if head == now:
        return now.bounds
    if head is None:
        why = "cannot be read"
    else:
        kept, wanted = head.environment, now.environment
        others = [name for name, value in wanted.items() if kept.get(name) != value]
        what = f"another {' and '.join(others)}" if others else "other items or another metric"
        why = f"was made with {what}"
    session.reporter.note(
        f"{session.job.manifest.name}: what there was of an interrupted run of "
        f"{loaded.metric.name} {why}; beginning anew"
    )
    return bounds


def _trusted(session: Session, group: list[Loaded], bounds: Bounds) -> list[Loaded]:
    """Return the metrics whose distances can be had again; the others have failed."""
    job, failures = session.job, session.outcome.failures
    with computing(job.precision):
        for loaded in group:
            why = doubt(loaded, job.pack, job.protocol, job.chosen, bounds, session.device)
            if why is not None:
                failures[loaded.metric.name] = why
    return [loaded for loaded in group if loaded.metric.name not in failures]

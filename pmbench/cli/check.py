"""``pmbench baseline`` and ``pmbench check``: were scores or distances moved, and by how much?"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import (
    CHECK_FAILED,
    AsJson,
    Datasets,
    Manifests,
    MetricCommand,
    MetricNames,
    ResultsOption,
    app,
    console,
    print_warning,
    set_env_default,
    split,
)  # fmt: skip
from pmbench.cli.leaderboard import tell_damaged
from pmbench.utils.errors import PmbenchError, unknown

if TYPE_CHECKING:
    from pmbench.analysis.check_results import Findings
    from pmbench.analysis.regression import Rules
    from pmbench.results.run import Run


@dataclass(frozen=True)
class _Chosen:
    """What --metric and --dataset ask for; empty: everything."""

    metrics: tuple[str, ...]
    datasets: tuple[str, ...]

    def holds(self, dataset: str, metric: str) -> bool:
        plain = dataset.partition("@")[0]  # a dataset's name stands for its variants too
        of_dataset = not self.datasets or dataset in self.datasets or plain in self.datasets
        return of_dataset and (not self.metrics or metric in self.metrics)


def _chosen(
    metric: list[str] | None,
    dataset: list[str] | None,
    metrics: Collection[str],
    datasets: Collection[str],
) -> _Chosen:
    """Return what was asked for, groups resolved. Raises PmbenchError for what is not known."""
    from pmbench.datasets import manifest

    groups = manifest.groups()
    plain = {name.partition("@")[0] for name in datasets}
    wanted: list[str] = []
    for name in split(dataset):
        if name in groups:
            wanted += [member.name for member in groups[name]]
        elif name in datasets or name in plain:
            wanted.append(name)
        else:
            raise unknown("dataset", name, [*datasets, *groups])
    for name in (names := split(metric)):
        if name not in metrics:
            raise unknown("metric", name, metrics)
    return _Chosen(tuple(names), tuple(wanted))


def _runs(results: Path) -> list[Run]:
    """Return all runs. Raises PmbenchError where there are none."""
    from pmbench.results.store import find_runs, no_runs

    tell_damaged(results)
    if not (runs := find_runs(results)):
        raise no_runs([results])
    return runs


@app.command(cls=MetricCommand)
def baseline(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write (JSON).")],
    metric: MetricNames = None,
    dataset: Datasets = None,
    results: ResultsOption = Path("results"),
) -> None:
    """Write the scores and distances of runs into a file, for `pmbench check --baseline`.

    The file is text and made to be committed. Its diff shows what a change of the code does to a
    score. A file that is there is replaced.

    Examples:

    `pmbench baseline -o baseline.json`

    `pmbench baseline -o tests/ladder.json -d ladder -m mmdpp,ssim`
    """
    from pmbench.analysis.baseline import write
    from pmbench.analysis.regression import stale_message
    from pmbench.utils.source_code import edited_files

    runs = _runs(results)
    chosen = _chosen(metric, dataset, {run.metric for run in runs}, {run.dataset for run in runs})
    kept = [run for run in runs if chosen.holds(run.dataset, run.metric)]
    if not kept:
        raise PmbenchError(
            f"no run in {results} is of these metrics on these datasets; there are "
            + ", ".join(f"{run.dataset}/{run.metric}" for run in runs)
        )
    for run in kept:
        if edited := edited_files(run.info.metric.source_files):
            print_warning(f"{run.dataset}/{run.metric}: {stale_message(edited)}")
    before = _stands_in(output)
    write(output, kept)
    if gone := sorted(before - {(run.dataset, run.metric) for run in kept}):
        names = ", ".join(f"{name} on {where}" for where, name in gone)
        print_warning(f"no longer in {output}: {names}")
    size = output.stat().st_size / 1000
    typer.echo(f"{output}: {len(kept):,} run{'s' * (len(kept) != 1)}, {size:,.0f} kB")


def _stands_in(path: Path) -> set[tuple[str, str]]:
    """Return what a baseline that is to be replaced holds; nothing where it cannot be read."""
    from pmbench.analysis.baseline import read

    try:
        return {(entry.dataset, entry.metric) for entry in read(path).runs}
    except PmbenchError:  # what is damaged, or not there, is replaced
        return set()


@app.command(cls=MetricCommand)
def check(
    against: Annotated[
        Path | None,
        typer.Option("--baseline", help="Compare with this file (see `pmbench baseline`)."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Compare with what papers report.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Points by which a score may change; 0.1 by default.", metavar="POINTS"),
    ] = None,
    allow_changed: Annotated[
        bool, typer.Option("--allow-changed", help="Distances may change, if scores are no worse.")
    ] = False,
    allow_stale: Annotated[
        bool,
        typer.Option("--allow-stale", help="The metric's code may be other than the run's."),
    ] = False,
    metric: MetricNames = None,
    dataset: Datasets = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML.")] = None,
    summary: Annotated[
        Path | None,
        typer.Option(help='Also append Markdown, as to "$GITHUB_STEP_SUMMARY".'),
    ] = None,
    as_json: AsJson = False,
    results: ResultsOption = Path("results"),
    manifests: Manifests = None,
) -> None:
    """Compare the runs there are with a baseline, or with published scores.

    Each metric gets a verdict. The exit code is 1 if one of these five is among them:

    - *worse*: the score fell by more than the tolerance, and the paired 95 % interval of the change
      excludes zero. Or the metric is undefined on items on which it was defined.
    - *changed*: a distance moved by more than another machine may cause.
    - *missing*: there is no run of the metric.
    - *not comparable*: it was measured on other items or in another way.
    - *stale*: the code of the metric was edited after it was measured.

    A metric that is *better*, *new* or the *same* passes.

    With --published, a row of a paper is *reproduced* if all its scores are within a tolerance.
    The dataset's manifest states it. So an installation is tested against the papers' numbers.

    Examples:

    `pmbench check --baseline baseline.json`

    `pmbench check --baseline baseline.json --junit check.xml --summary "$GITHUB_STEP_SUMMARY"`

    `pmbench check --published --metric lpips-alex,net-vgg`
    """
    from pmbench.analysis.regression import TOLERANCE, Rules
    from pmbench.reporting.checks import to_json, to_junit, to_markdown, to_rich
    from pmbench.utils.files import write_text

    set_env_default("PMBENCH_MANIFESTS", manifests)
    if (against is None) == (not published):
        raise PmbenchError(
            "pmbench check needs one thing to compare with: --baseline FILE, or --published"
        )
    if published and (tolerance is not None or allow_changed):
        raise PmbenchError(
            "--tolerance and --allow-changed go with --baseline; published scores have tolerances "
            "of their own, in the dataset's manifest"
        )
    if against is None:
        result = _against_papers(metric, dataset, results, allow_stale)
    else:
        rules = Rules(TOLERANCE if tolerance is None else tolerance, allow_changed, allow_stale)
        result = _against_baseline(against, metric, dataset, results, rules)
    if as_json:  # before the files, which may fail: the result must not be lost with them
        typer.echo(to_json(result))
    else:
        console().print(to_rich(result))
    if junit is not None:
        write_text(_file("--junit", junit), to_junit(result))
    if summary is not None:
        with _file("--summary", summary).open("a", encoding="utf-8") as file:
            file.write(to_markdown(result) + "\n")
    if result.failed:
        raise typer.Exit(CHECK_FAILED)


def _file(option: str, path: Path) -> Path:
    """Return the path of a file to write. Raises PmbenchError for a folder, or for no name."""
    if path.is_dir():  # the empty name is that of the current folder
        raise PmbenchError(
            f"{option} '{path}': expected the name of a file, got a folder or an empty name; is a "
            "variable unset, such as GITHUB_STEP_SUMMARY outside of GitHub's jobs?"
        )
    return path


def _against_baseline(
    path: Path, metric: list[str] | None, dataset: list[str] | None, results: Path, rules: Rules
) -> Findings:
    from pmbench.analysis.baseline import read, run_scores
    from pmbench.analysis.regression import check as compare

    known, runs = read(path).runs, _runs(results)
    chosen = _chosen(
        metric,
        dataset,
        {entry.metric for entry in known} | {run.metric for run in runs},
        {entry.dataset for entry in known} | {run.dataset for run in runs},
    )
    entries = [entry for entry in known if chosen.holds(entry.dataset, entry.metric)]
    current = [run for run in runs if chosen.holds(run.dataset, run.metric)]
    if not (entries or current):
        raise PmbenchError(
            f"nothing to compare: neither {path} nor {results} holds these metrics on these "
            "datasets; leave out --metric or --dataset to compare everything"
        )
    where = "" if results == Path("results") else f" --results {shlex.quote(str(results))}"
    accept = f"pmbench baseline -o {shlex.quote(str(path))}{where}"
    return compare(str(path), entries, [run_scores(run) for run in current], rules, accept)


def _against_papers(
    metric: list[str] | None, dataset: list[str] | None, results: Path, allow_stale: bool
) -> Findings:
    from pmbench.analysis.reproduction import check_published
    from pmbench.datasets import manifest

    entries, runs = list(manifest.datasets().values()), _runs(results)
    in_papers = {row.metric or row.human or "" for entry in entries for row in entry.published}
    chosen = _chosen(
        metric,
        dataset,
        (in_papers | {run.metric for run in runs}) - {""},
        [entry.name for entry in entries],
    )
    asked = [entry for entry in entries if entry.name in (chosen.datasets or [entry.name])]
    return check_published(asked, runs, chosen.metrics, results, allow_stale)

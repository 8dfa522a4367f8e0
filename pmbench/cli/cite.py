"""``pmbench cite``: the papers behind a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import Datasets, Manifests, ResultsOption, app, set_env_default, split
from pmbench.cli.completion import complete_metrics
from pmbench.cli.leaderboard import tell_damaged

if TYPE_CHECKING:
    from pmbench.analysis.citations import Used
    from pmbench.results.run import Run


@app.command()
def cite(
    metrics: Annotated[
        list[str] | None,
        typer.Argument(
            help="Metrics; without any, those of all runs.", autocompletion=complete_metrics
        ),
    ] = None,
    dataset: Datasets = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to a file, such as CITATION.bib.")
    ] = None,
    results: ResultsOption = Path("results"),
    manifests: Manifests = None,
) -> None:
    """Write BibTeX for the metrics and datasets of a table, and for pmbench.

    Metrics and datasets that are named need no run. A metric that has no paper, or whose paper
    pmbench has no entry for, is named in a comment.

    Examples:

    `pmbench cite -o CITATION.bib` (everything in results/)

    `pmbench cite --dataset bapps-2afc-val`

    `pmbench cite lpips-alex mmdpp`
    """
    from pmbench.analysis.citations import cite, not_known, to_bibtex, used_in, used_of
    from pmbench.datasets.manifest import resolve
    from pmbench.results.store import find_runs, no_runs
    from pmbench.utils.files import write_text

    set_env_default("PMBENCH_MANIFESTS", manifests)
    asked, datasets = split(metrics), resolve(split(dataset))
    names = {entry.name for entry in datasets}
    tell_damaged(results)
    runs = find_runs(results)
    if asked:
        runs = [run for run in runs if run.metric in asked]
        used = used_of(datasets) + _metrics(asked, runs)
    else:
        runs = [run for run in runs if not names or run.info.dataset.name in names]
        used = used_of(datasets) + used_in(runs)
    if not used:
        raise no_runs([results], (), "name metrics: pmbench cite lpips-alex")
    result = cite(used, [run.info.pmbench for run in runs])
    if output is None:
        typer.echo(to_bibtex(result), nl=False)
        return
    write_text(output, to_bibtex(result))
    typer.echo(f"{output}: {', '.join(['pmbench', *result.entries])}")
    for sentence in not_known(result):
        typer.echo(sentence)


def _metrics(names: list[str], runs: list[Run]) -> list[Used]:
    """Return the metrics of those names, of which no run need be there."""
    from pmbench.analysis.citations import Used

    measured = {run.metric: run.info.metric.paper for run in runs}
    used = [Used(name, measured[name]) for name in names if name in measured]
    if others := [name for name in names if name not in measured]:
        from pmbench.metrics.selection import catalogue, select_metrics

        chosen = select_metrics([name for name in others if name != "all"]).metrics
        every = list(catalogue().values()) if "all" in others else []  # also what is not installed
        used += [Used(metric.name, metric.paper) for metric in [*chosen, *every]]
    return used

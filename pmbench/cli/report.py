"""``pmbench report``: everything that was measured, as pages that work offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pmbench.cli.common import (
    Datasets,
    Manifests,
    MetricCommand,
    MetricNames,
    ResultsOption,
    app,
    progress_reporter,
    set_env_default,
    split,
)
from pmbench.cli.leaderboard import tell_damaged


@app.command(cls=MetricCommand)
def report(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the report.")] = Path(
        "report"
    ),
    dataset: Datasets = None,
    metric: MetricNames = None,
    examples: Annotated[
        int, typer.Option(min=1, max=100, help="Items under each heading of the gallery.")
    ] = 6,
    gallery: Annotated[bool, typer.Option(help="With images of items.")] = True,
    title: Annotated[
        str, typer.Option(help="What the first page is called.")
    ] = "Perceptual metrics against people",
    results: ResultsOption = Path("results"),
    manifests: Manifests = None,
) -> None:
    """Write a site of all runs: which metric to use, charts, a gallery, a page for each metric.

    It needs no network: open index.html in a browser. An earlier report in the folder is replaced.

    Examples:

    `pmbench report -o report/`

    `pmbench report --dataset bapps-2afc-val --examples 12 --title "BAPPS, March"`

    `pmbench report --no-gallery`
    """
    from pmbench.reporting.site.build import Options, check_place, write
    from pmbench.reporting.site.sections import sections

    set_env_default("PMBENCH_MANIFESTS", manifests)
    check_place(output)  # before any work is done
    tell_damaged(results)
    result = sections(results, split(dataset), split(metric))
    with progress_reporter() as reporter:
        made = write(output, result, Options(title, examples, gallery), reporter)
    counts = {"dataset": made.datasets, "metric": made.metrics, "image": made.images}
    message = ", ".join(f"{n:,} {noun}" + "s" * (n != 1) for noun, n in counts.items())
    typer.echo(f"{made.index}: {message}; the first page has {made.megabytes:.2f} MB")

"""``pmbench runs``: what lies in a folder of results, and how some of it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pmbench.cli.catalog import What, list_
from pmbench.cli.common import ResultsOption, app, print_warning
from pmbench.cli.leaderboard import Dataset

runs = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List the runs there are, and remove some.",
)
app.add_typer(runs, name="runs")


@runs.command("list")
def list_runs(results: ResultsOption = Path("results")) -> None:
    """List the runs, as `pmbench list runs` does."""
    list_(What.runs, results=results)


@runs.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="METRIC, or DATASET/METRIC; one or more.")],
    dataset: Dataset = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    results: ResultsOption = Path("results"),
) -> None:
    """Remove runs, such as those of a metric that was only tried.

    A metric's name stands for its runs on all datasets. Files that pmbench has not written stay.

    Examples:

    `pmbench runs remove mine --dry-run`

    `pmbench runs remove mine other -d bapps-2afc-val`

    `pmbench runs remove ladder-jnd/mine`
    """
    from pmbench.reporting.leaderboard import write_leaderboards
    from pmbench.results.run import locked
    from pmbench.results.run import remove as remove_run
    from pmbench.results.store import run_folders

    folders = dict.fromkeys(
        folder for name in names for folder in run_folders(results, name, dataset)
    )
    for folder in folders:
        if dry_run:
            typer.echo(f"would remove {folder}")
            continue
        with locked(folder):
            left = remove_run(folder)
        typer.echo(f"removed {folder}")
        if left:
            print_warning(f"left in {folder}: {', '.join(path.name for path in left)}")
        write_leaderboards(results)  # each time, since the next one may be in use

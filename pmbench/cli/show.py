"""``pmbench leaderboard``: what was measured, in the form one needs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import Manifests, Results, app, console, let_speak

if TYPE_CHECKING:
    from pmbench.board import View


class Format(StrEnum):
    """How a leaderboard is written."""

    table = "table"
    md = "md"
    csv = "csv"
    json = "json"


Dataset = Annotated[str | None, typer.Option("--dataset", "-d", help="Dataset or group.")]


@app.command()
def leaderboard(
    dataset: Dataset = None,
    form: Annotated[
        Format, typer.Option("--format", help="csv, json: every score, tidy.")
    ] = Format.table,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file.")] = None,
    sort: Annotated[
        str, typer.Option(help="macro, pooled, a sub-dataset, name or speed.")
    ] = "macro",
    statistic: Annotated[
        str | None, typer.Option(help="2afc, hard_majority, map, srcc, krcc or plcc.")
    ] = None,
    pooled: Annotated[bool, typer.Option("--pooled", help="Also over all items.")] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Also what papers report, marked.")
    ] = False,
    grouped: Annotated[
        bool | None,
        typer.Option("--group/--flat", help="By family; by default where there are many metrics."),
    ] = None,
    results: Results = Path("results"),
    manifests: Manifests = None,
) -> None:
    """Show the scores of all runs.

    Examples:

    `pmbench leaderboard`

    `pmbench leaderboard -d bapps-2afc-val --published --sort cnn`

    `pmbench leaderboard --format md -o leaderboard.md`
    """
    from pmbench.board import View
    from pmbench.files import write_text

    let_speak("PMBENCH_MANIFESTS", manifests)
    view = View(dataset, statistic, pooled, published, sort, grouped)
    if output is not None:
        write_text(output, written(results, view, form))
    elif form is Format.table:
        print_boards(results, view)
    else:
        typer.echo(written(results, view, form), nl=False)


def print_boards(results: Path, view: View) -> None:
    """Print a board for each dataset, as wide as the terminal is."""
    from pmbench.leaderboard import boards
    from pmbench.render import to_rich

    terminal = console()
    tell_damaged(results)
    for board in boards(results, view):
        terminal.print(to_rich(board, terminal.width))
        terminal.print()


def tell_damaged(results: Path) -> None:
    """Say which runs are left out because they cannot be read."""
    from pmbench.runs import damaged

    for sentence in damaged(results):
        typer.secho(f"left out: {sentence}", fg="yellow", err=True)


def written(results: Path, view: View, form: Format) -> str:
    """Return the leaderboard as text for a file or a pipe."""
    from pmbench import render
    from pmbench.leaderboard import boards, tidy

    made = boards(results, view)  # also refuses what the view gets wrong
    if form is Format.md:
        return "\n".join(render.to_markdown(board) for board in made)
    if form is Format.table:
        return "\n".join(render.to_plain(board) for board in made)
    table = tidy(results, view)
    return str(table.to_csv(index=False)) if form is Format.csv else render.to_json(table) + "\n"

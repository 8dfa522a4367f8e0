"""``pmbench leaderboard``, ``export`` and ``score``: what was measured, in the form one needs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import AsJson, Manifests, Results, app, console, let_speak
from pmbench.errors import unknown

if TYPE_CHECKING:
    from pmbench.leaderboard import View


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
    results: Results = Path("results"),
    manifests: Manifests = None,
) -> None:
    """Show the scores of all runs.

    Examples:

    `pmbench leaderboard`

    `pmbench leaderboard -d bapps-2afc-val --published --sort cnn`

    `pmbench leaderboard --format md -o leaderboard.md`
    """
    from pmbench.files import write_text
    from pmbench.leaderboard import View

    let_speak("PMBENCH_MANIFESTS", manifests)
    view = View(dataset, statistic, pooled, published, sort)
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


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run: METRIC, or DATASET/METRIC.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file, or .csv.gz.")],
    dataset: Dataset = None,
    results: Results = Path("results"),
) -> None:
    """Write a run's distances: item, sub-dataset, votes, and a column per distance.

    Smaller means more alike, whatever the metric's own direction.

    Examples:

    `pmbench export mmdpp -d ladder-2afc -o mmdpp.csv`

    `pmbench export bapps-2afc-val/lpips-alex -o distances.csv.gz`
    """
    from pmbench import exchange, runs

    meant = runs.pick(results, run, dataset)
    items, distances = meant.distances()
    exchange.write_csv(output, str(meant.info["dataset"]["protocol"]), items, distances)
    typer.echo(f"{output}: {len(items):,} items of {meant.dataset}/{meant.metric}")


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help="CSV (or .csv.gz) of distances and votes.")],
    protocol: Annotated[str, typer.Option(help="2afc or jnd.")],
    higher_is_better: Annotated[
        bool, typer.Option("--higher-is-better", help="The numbers are similarities.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score a file of distances made anywhere, with or without images.

    Columns: item, sub_dataset, votes, p, d0, d1 for 2afc (p: the share that prefers p1);
    item, sub_dataset, votes, same, d for jnd.

    Examples:

    `pmbench score distances.csv --protocol 2afc`

    `pmbench score distances.csv.gz --protocol jnd --json`
    """
    from pmbench import exchange
    from pmbench.protocols import PROTOCOLS
    from pmbench.render import scores_to_rich, to_json

    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    items, distances = exchange.read_csv(file, protocol, higher_is_better)
    table = exchange.score_table(file.name.partition(".")[0], protocol, items, distances)
    if as_json:
        typer.echo(to_json(table))
    else:
        terminal = console()
        terminal.print(scores_to_rich(table, PROTOCOLS[protocol]))

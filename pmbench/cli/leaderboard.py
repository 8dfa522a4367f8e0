"""``pmbench leaderboard``: what was measured, in the form one needs."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import (
    Manifests,
    MetricCommand,
    MetricNames,
    app,
    console,
    print_warning,
    set_env_default,
    split,
)
from pmbench.cli.completion import complete_datasets
from pmbench.utils.errors import PmbenchError

if TYPE_CHECKING:
    from pmbench.analysis.leaderboard_rows import View


class Format(StrEnum):
    """How a leaderboard is written."""

    table = "table"
    md = "md"
    csv = "csv"
    json = "json"
    latex = "latex"
    html = "html"


Dataset = Annotated[
    str | None,
    typer.Option("--dataset", "-d", help="Dataset or group.", autocompletion=complete_datasets),
]
Folders = Annotated[
    list[Path] | None,
    typer.Option(
        "--results",
        "--merge",
        help="Folder of the runs [default: results]; repeated, all are read as one.",
    ),
]


@app.command(cls=MetricCommand)
def leaderboard(
    dataset: Dataset = None,
    metric: MetricNames = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="csv, json: every score, tidy. By default what -o ends in, or a table."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file.")] = None,
    sort: Annotated[
        str,
        typer.Option(
            help="macro, pooled, a sub-dataset, name or speed; by default the overall score."
        ),
    ] = "",
    statistic: Annotated[
        str | None, typer.Option(help="2afc, hard_majority, map, srcc, krcc or plcc.")
    ] = None,
    pooled: Annotated[bool, typer.Option("--pooled", help="Also over all items.")] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Also what papers report, and how far it is off.")
    ] = False,
    grouped: Annotated[
        bool | None,
        typer.Option("--group/--flat", help="By family; by default where there are many metrics."),
    ] = None,
    intervals: Annotated[
        bool | None,
        typer.Option(help="Of every score, or of none; by default where there is room."),
    ] = None,
    cost: Annotated[bool, typer.Option("--cost", help="Also memory, parameters, weights.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse rows that were measured in different ways.")
    ] = False,
    results: Folders = None,
    manifests: Manifests = None,
) -> None:
    """Show the scores of all runs.

    Examples:

    `pmbench leaderboard`

    `pmbench leaderboard -d bapps-2afc-val --published --sort cnn`

    `pmbench leaderboard -m lpips-alex,ssim,mmdpp` (ranks are among these)

    `pmbench leaderboard -o leaderboard.md`

    `pmbench leaderboard --no-intervals -o table.tex`

    `pmbench leaderboard --merge laptop/results --merge server/results --strict`
    """
    from pmbench.analysis.leaderboard_rows import View
    from pmbench.reporting.leaderboard import render_leaderboard
    from pmbench.utils.files import write_text

    set_env_default("PMBENCH_MANIFESTS", manifests)
    folders = results or [Path("results")]
    view = View(
        dataset, statistic, pooled, published, sort, grouped,
        intervals=intervals, cost=cost, strict=strict, metrics=tuple(split(metric)),
    )  # fmt: skip
    form = form or (_meant(output) if output is not None else Format.table)
    if output is None and form is Format.table:
        print_boards(folders, view)
        return
    _tell_left_out(folders)
    text = render_leaderboard(folders, view, form.value)
    _tell_merged(folders, view)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_text(output, text)
    typer.echo(f"{output}: {form.value}", err=True)


def _meant(output: Path) -> Format:
    """Return the format that a file is called after."""
    endings = {form.value: form for form in Format} | {
        "tex": Format.latex, "htm": Format.html, "txt": Format.table, "": Format.table
    }  # fmt: skip
    ending = output.suffix.removeprefix(".").lower()
    if ending not in endings:
        raise PmbenchError(
            f"{output}: which format is that? Expected a name that ends in .md, .csv, .json, .tex, "
            ".html or .txt; or say it with --format"
        )
    return endings[ending]


def print_boards(results: Path | Sequence[Path], view: View) -> None:
    """Print a board for each dataset, as wide as the terminal is."""
    from pmbench.analysis.leaderboard import boards, relations
    from pmbench.reporting import to_rich

    terminal = console()
    _tell_left_out(results)
    made = boards(results, view)
    _tell_merged(results, view)
    for board in made:
        terminal.print(to_rich(board, terminal.width))
        terminal.print()
    for line in relations(results, view):
        terminal.print(line, markup=False)


def _tell_left_out(results: Path | Sequence[Path]) -> None:
    """Say which runs are left out, since they cannot be read or are there twice."""
    from pmbench.results.merging import folders

    for folder in folders(results):
        tell_damaged(folder)


def _tell_merged(results: Path | Sequence[Path], view: View) -> None:
    """Say what had to be decided between several folders."""
    from pmbench.results.merging import merge_runs

    for sentence in merge_runs(results, view.dataset, view.variants).messages:
        print_warning(sentence)


def tell_damaged(results: Path) -> None:
    """Say which runs are left out because they cannot be read, and what else is wrong with some."""
    from pmbench.results.store import damaged_runs, flawed_runs

    for sentence in [*(f"left out: {why}" for why in damaged_runs(results)), *flawed_runs(results)]:
        print_warning(sentence)

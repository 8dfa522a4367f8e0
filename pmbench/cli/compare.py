"""``pmbench compare``: which metrics can be told apart, and by how much they differ."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import (
    AsJson,
    Manifests,
    Resamples,
    ResultsOption,
    Seed,
    app,
    check_resampling,
    console,
    print_warning,
    set_env_default,
)
from pmbench.cli.leaderboard import Dataset, tell_damaged
from pmbench.utils.errors import PmbenchError

if TYPE_CHECKING:
    from pmbench.analysis.correlation import ProtocolCorrelation
    from pmbench.reporting.comparisons import Comparison


class Form(StrEnum):
    """How a comparison is written."""

    table = "table"
    md = "md"
    csv = "csv"
    json = "json"


@app.command()
def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="METRIC or DATASET/METRIC, two or more; none: all runs."),
    ] = None,
    dataset: Dataset = None,
    statistic: Annotated[
        str | None, typer.Option(help="2afc, hard_majority, map, srcc, krcc or plcc.")
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option("--against", help="Compare each metric with its run in that folder."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Compare each metric's run in it, such as bf16, with that in float32."),
    ] = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    form: Annotated[
        Form, typer.Option("--format", help="csv, json: every difference.")
    ] = Form.table,
    as_json: AsJson = False,
    results: ResultsOption = Path("results"),
    manifests: Manifests = None,
) -> None:
    """Compare metrics on the same items: who is better, by how much, and whether that is certain.

    Of two metrics it shows scores, differences, p, and how many items each wins. Of more it shows
    each against the best, ranks, and a matrix of all pairs, corrected for their number. Without
    names it compares all runs.

    Examples:

    `pmbench compare lpips-alex ssim`

    `pmbench compare lpips-alex lpips-vgg mmdpp ssim -d bapps-2afc-val`

    `pmbench compare -d bapps --format csv > differences.csv`

    `pmbench compare lpips-alex --against results-of-last-year`

    `pmbench compare lpips-vgg --precision bf16`
    """
    from pmbench.analysis.comparison import compare_datasets
    from pmbench.analysis.correlation import correlate_runs
    from pmbench.analysis.drift import compared_with, in_folder, in_usual_precision, measured_in
    from pmbench.analysis.leaderboard import datasets_in_view, runs_in_view
    from pmbench.analysis.leaderboard_rows import View
    from pmbench.analysis.run_selection import select_runs, with_statistic
    from pmbench.results.store import no_runs

    set_env_default("PMBENCH_MANIFESTS", manifests)
    resampling = check_resampling(resamples, seed)
    tell_damaged(results)
    runs = runs_in_view(results, View(dataset))
    if not runs:
        raise no_runs([results], datasets_in_view(View(dataset)))
    if precision is not None:
        if other is not None:
            raise PmbenchError("--precision and --against are two comparisons; ask for one of them")
        runs = measured_in(runs, precision)
    paired = other is not None or precision is not None  # each metric with itself
    fewest = 1 if paired else 2
    meant = with_statistic(select_runs(runs, names or [], fewest), statistic)
    result: Sequence[Comparison]
    if other is not None:
        tell_damaged(other)
        others = in_folder(other, meant.by_dataset)
        result, left_out = compared_with(others, meant.by_dataset, statistic, resampling)
    elif precision is not None:
        others = in_usual_precision(results, meant.by_dataset)
        result, left_out = compared_with(others, meant.by_dataset, statistic, resampling)
    else:
        result, left_out = compare_datasets(meant.by_dataset, statistic, resampling)
    for sentence in [*meant.messages, *left_out]:
        print_warning(sentence)
    every = not names and not paired and statistic is None
    _show(result, correlate_runs(runs) if every else {}, Form.json if as_json else form)


def _show(
    results: Sequence[Comparison], related: dict[str, ProtocolCorrelation | str], form: Form
) -> None:
    import json

    import pandas as pd

    from pmbench.analysis.difference_text import relation_in_words
    from pmbench.reporting.comparisons import documents, records, to_markdown, to_rich

    words = [f"{group}: {relation_in_words(one)}" for group, one in related.items()]
    if form is Form.csv:
        table = pd.DataFrame([row for one in results for row in records(one)])
        typer.echo(table.to_csv(index=False), nl=False)
    elif form is Form.json:
        typer.echo(json.dumps(documents(results, related), indent=1, ensure_ascii=False))
    elif form is Form.md:
        typer.echo("\n".join([*map(to_markdown, results), *words]))
    else:
        terminal = console()
        for one in results:
            terminal.print(to_rich(one, terminal.width))
            terminal.print()
        for line in words:
            terminal.print(line, markup=False)

"""``pmbench export``, ``import`` and ``score``: distances as CSV, out of pmbench and into it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

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
    progress_reporter,
    set_env_default,
)  # fmt: skip
from pmbench.cli.completion import complete_datasets, complete_protocols
from pmbench.cli.evaluate import show_results
from pmbench.cli.leaderboard import Dataset
from pmbench.utils.errors import PmbenchError, unknown
from pmbench.utils.text import one_line

HigherIsBetter = Annotated[
    bool, typer.Option("--higher-is-better", help="The numbers are similarities.")
]


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run: METRIC, or DATASET/METRIC.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file, or .csv.gz.")],
    dataset: Dataset = None,
    results: ResultsOption = Path("results"),
) -> None:
    """Write a run's distances: item, sub-dataset, votes, and a column per distance.

    Smaller means more alike, whatever the metric's own direction.

    Examples:

    `pmbench export mmdpp -d ladder-2afc -o mmdpp.csv`

    `pmbench export bapps-2afc-val/lpips-alex -o distances.csv.gz`
    """
    from pmbench.results import csv_io
    from pmbench.results.store import find_run

    meant = find_run(results, run, dataset, f"export -o {shlex.quote(str(output))}")
    items, distances = meant.distances()
    csv_io.write_csv(output, meant.info.dataset.protocol, items, distances)
    typer.echo(f"{output}: {len(items):,} items of {meant.dataset}/{meant.metric}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV (or .csv.gz) of distances.")],
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", "-d", help="Dataset they are of.", autocompletion=complete_datasets
        ),
    ],
    name: Annotated[str, typer.Option(help="What the metric is called from now on.")],
    higher_is_better: HigherIsBetter = False,
    resize: Annotated[
        str | None, typer.Option(help="How its images were resized: legacy (default) or exact.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where there is another run of that name.")
    ] = False,
    results: ResultsOption = Path("results"),
    manifests: Manifests = None,
) -> None:
    """Make a run of distances that were computed elsewhere, such as with MATLAB.

    Columns: item, d0, d1 for 2afc, and item, d for jnd. The file has one row for each item of the
    dataset. Where an item's id alone is ambiguous, it also has sub_dataset. The votes are those of
    the dataset. `pmbench export` shows the ids.

    Examples:

    `pmbench import fsim.csv --dataset bapps-2afc-val --name fsim-matlab --higher-is-better`

    `pmbench import distances.csv.gz -d ladder-jnd --name mine`
    """
    from pmbench.evaluation.config import load_configs
    from pmbench.evaluation.import_distances import import_distances
    from pmbench.metrics.selection import catalogue, check_name
    from pmbench.results.run import Subset

    set_env_default("PMBENCH_MANIFESTS", manifests)
    check_name(name, catalogue())
    with progress_reporter() as reporter:
        configs = load_configs([dataset], resize, Subset(), results, reporter)
    if len(configs) > 1:
        members = " or ".join(config.manifest.name for config in configs)
        raise PmbenchError(f"--dataset {dataset} is a group; name one of it: {members}")
    run = import_distances(configs[0], name, file, higher_is_better, replace)
    show_results(results, configs)
    typer.echo(f"{name}: {run.info.dataset.items:,} items of {run.dataset}, {run.folder}")


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help="CSV (or .csv.gz) of distances and votes.")],
    protocol: Annotated[str, typer.Option(help="2afc or jnd.", autocompletion=complete_protocols)],
    higher_is_better: HigherIsBetter = False,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Score a file of distances made anywhere, with or without images.

    Columns for 2afc: item, sub_dataset, votes, p, d0, d1, where p is the share that prefers p1.
    Columns for jnd: item, sub_dataset, votes, same, d. Items that are not independent share a name
    in a column cluster; without it all count as independent.

    Examples:

    `pmbench score distances.csv --protocol 2afc`

    `pmbench score distances.csv.gz --protocol jnd --json`

    `pmbench score distances.csv --protocol 2afc --resamples 10000 --seed 1`
    """
    from pmbench.reporting import scores_to_rich, to_json
    from pmbench.results import csv_io
    from pmbench.scoring.clusters import assumption
    from pmbench.scoring.protocols import PROTOCOLS

    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    resampling = check_resampling(resamples, seed)
    items, distances = csv_io.read_csv(file, protocol, higher_is_better)
    name = one_line(file.name.partition(".")[0])
    table = csv_io.score_table(name, protocol, items, distances, resampling)
    if as_json:
        typer.echo(to_json(table))
    else:
        terminal = console()
        kind = PROTOCOLS[protocol]
        assumed = assumption(items, kind.unit, has_clusters=True)
        terminal.print(scores_to_rich(table, kind, assumed))

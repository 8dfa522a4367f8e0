"""``pmbench list`` and ``pmbench show``: what there is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import (
    AsJson,
    Manifests,
    ResultsOption,
    Weights,
    app,
    console,
    set_env_default,
)
from pmbench.cli.completion import complete_datasets, complete_metrics
from pmbench.cli.leaderboard import tell_damaged
from pmbench.utils.errors import PmbenchError, unknown

if TYPE_CHECKING:
    from pmbench.metrics import Metric
    from pmbench.results.run import Run


class What(StrEnum):
    """What can be listed."""

    metrics = "metrics"
    datasets = "datasets"
    runs = "runs"


@app.command("list")
def list_(
    what: Annotated[What, typer.Argument(help="What to list.")] = What.metrics,
    text: Annotated[
        str, typer.Argument(help="Only metrics with this in name, family, title or paper.")
    ] = "",
    as_json: AsJson = False,
    results: ResultsOption = Path("results"),
    manifests: Manifests = None,
    weights: Weights = None,
) -> None:
    """List the metrics, the known datasets, or the runs that are there.

    A wide terminal shows more of each metric. `pmbench show METRIC` and --json show everything.

    Examples:

    `pmbench list metrics`

    `pmbench list metrics watson`

    `pmbench list datasets`

    `pmbench list runs --json`
    """
    set_env_default("PMBENCH_MANIFESTS", manifests)
    set_env_default("PMBENCH_WEIGHTS", weights)
    if what is What.metrics:
        _list_metrics(text, as_json)
        return
    if text:
        raise PmbenchError(f"'{text}' can only narrow down metrics: pmbench list metrics {text}")
    from pmbench.analysis import listing
    from pmbench.reporting import listing_to_rich, to_json

    if what is What.runs:
        tell_damaged(results)
    table = listing.runs(results) if what is What.runs else listing.datasets()
    if as_json:
        typer.echo(to_json(table))
        return
    terminal = console()
    if what is What.runs:  # a signature is copied whole, so it stands on a line of its own
        shown = table.drop(columns=["device", "signature"])
        terminal.print(listing_to_rich(shown, terminal.width))
        for signature in table["signature"]:
            terminal.print(signature, soft_wrap=True, markup=False)
        return
    terminal.print(listing_to_rich(table, terminal.width))
    terminal.print("get one with `pmbench download NAME`", soft_wrap=True)


def _list_metrics(text: str, as_json: bool) -> None:
    from pmbench.metrics.cards import cards
    from pmbench.reporting.metric_cards import catalogue_to_rich

    result = cards(text)
    if as_json:
        typer.echo(_json(result))
    else:
        terminal = console()
        terminal.print(catalogue_to_rich(result, terminal.width))


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A metric: its name or address. A run: DATASET/METRIC.",
            metavar="NAME",
            autocompletion=complete_metrics,
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            help="Show the run on this dataset.",
            autocompletion=complete_datasets,
        ),
    ] = None,
    as_json: AsJson = False,
    results: ResultsOption = Path("results"),
    manifests: Manifests = None,
    weights: Weights = None,
) -> None:
    """Show all that is known about one metric, or about one run and how to repeat it.

    A name alone is the metric's; its card lists the runs there are. Nothing is fetched.

    Examples:

    `pmbench show lpips-vgg`

    `pmbench show ./mine.py:distance --json`

    `pmbench show bapps-2afc-val/lpips-vgg` (a run; or: `show lpips-vgg -d bapps-2afc-val`)
    """
    from pmbench.results.store import find_run, find_runs

    set_env_default("PMBENCH_MANIFESTS", manifests)
    set_env_default("PMBENCH_WEIGHTS", weights)
    if name == "all":
        raise PmbenchError("'all' is every metric; name one, or see `pmbench list metrics`")
    runs = find_runs(results)
    if dataset is not None or _begins_with_a_dataset(name, runs):
        tell_damaged(results)
        _show_run(find_run(results, name, dataset), as_json)
        return
    metrics = _metrics(name, runs)
    if not metrics:
        _show_run(find_run(results, name, None), as_json)
        return
    _show_cards(metrics, runs, as_json)


def _begins_with_a_dataset(name: str, runs: list[Run]) -> bool:
    from pmbench.datasets import manifest

    first, slash, _ = name.partition("/")
    there = {run.dataset for run in runs} | {run.dataset.partition("@")[0] for run in runs}
    return bool(slash) and (first in there or first.partition("@")[0] in manifest.datasets())


def _metrics(name: str, runs: list[Run]) -> list[Metric]:
    """Return the metrics of a name or address; none where only runs are called so.

    Raises PmbenchError where nothing is called so.
    """
    from pmbench.metrics import registered
    from pmbench.metrics.selection import catalogue, is_address, select_metrics

    measured = {run.metric for run in runs}
    if name in registered() or is_address(name) or name in (known := catalogue()):
        result = select_metrics([name]).metrics
        # what a run is called may look like an address that leads nowhere from here
        gone = name in measured and all(metric.family == "broken" for metric in result)
        return [] if gone else result
    if name in measured:
        return []
    places = {f"{run.dataset}/{run.metric}" for run in runs}
    raise unknown("metric or run", name, [*known, *measured, *places])


def _show_cards(metrics: list[Metric], runs: list[Run], as_json: bool) -> None:
    from pmbench.metrics.cards import full_card
    from pmbench.reporting.metric_cards import card_to_rich

    places: dict[str, list[str]] = {}
    for run in runs:
        places.setdefault(run.metric, []).append(f"{run.dataset}/{run.metric}")
    results = [full_card(metric, places.get(metric.name, ())) for metric in metrics]
    if as_json:
        typer.echo(_json(results[0] if len(results) == 1 else results))
        return
    terminal = console()
    for i, card in enumerate(results):  # a file may register several
        if i:
            terminal.print()
        terminal.print(card_to_rich(card), soft_wrap=True)


def _show_run(run: Run, as_json: bool) -> None:
    from pmbench.reporting.run_card import run_to_rich
    from pmbench.results.reproduce import recipe

    if as_json:
        typer.echo(_json(run.info.to_dict()))
    else:
        console().print(run_to_rich(run.info, recipe(run)), soft_wrap=True)


def _json(value: object) -> str:
    import json

    return json.dumps(value, indent=1, ensure_ascii=False)

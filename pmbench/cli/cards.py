"""``pmbench list`` and ``pmbench show``: what there is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pmbench.cli.common import AsJson, Manifests, Results, Weights, app, console, let_speak
from pmbench.errors import PmbenchError


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
    results: Results = Path("results"),
    manifests: Manifests = None,
    weights: Weights = None,
) -> None:
    """List the metrics, the known datasets, or the runs that are there.

    A wide terminal shows more of each metric, `pmbench show METRIC` and --json everything.

    Examples:

    `pmbench list metrics`

    `pmbench list metrics watson`

    `pmbench list datasets`

    `pmbench list runs --json`
    """
    let_speak("PMBENCH_MANIFESTS", manifests)
    let_speak("PMBENCH_WEIGHTS", weights)
    if what is What.metrics:
        _list_metrics(text, as_json)
        return
    if text:
        raise PmbenchError(f"'{text}' can only narrow down metrics: pmbench list metrics {text}")
    from pmbench import listing
    from pmbench.render import listing_to_rich, to_json

    table = listing.runs(results) if what is What.runs else listing.datasets()
    if as_json:
        typer.echo(to_json(table))
        return
    terminal = console()
    if what is What.runs:  # a signature is copied whole, so it stands on a line of its own
        terminal.print(listing_to_rich(table.drop(columns=["device", "signature"])))
        for signature in table["signature"]:
            terminal.print(signature, soft_wrap=True, markup=False)
        return
    terminal.print(listing_to_rich(table))
    terminal.print("get one with `pmbench download NAME`", soft_wrap=True)


def _list_metrics(text: str, as_json: bool) -> None:
    from pmbench.cards import cards
    from pmbench.catalogue import catalogue_to_rich

    found = cards(text)
    if as_json:
        typer.echo(_json(found))
    else:
        terminal = console()
        terminal.print(catalogue_to_rich(found, terminal.width))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A metric: its name or address.", metavar="METRIC")],
    as_json: AsJson = False,
    weights: Weights = None,
) -> None:
    """Show all that is known about one metric. Nothing is fetched.

    Examples:

    `pmbench show lpips-vgg`

    `pmbench show ./mine.py:distance --json`
    """
    from pmbench.cards import whole_card
    from pmbench.catalogue import card_to_rich
    from pmbench.choosing import choose

    let_speak("PMBENCH_WEIGHTS", weights)
    if name == "all":
        raise PmbenchError("'all' is every metric; name one, or see `pmbench list metrics`")
    found = [whole_card(metric) for metric in choose([name]).metrics]
    if as_json:
        typer.echo(_json(found[0] if len(found) == 1 else found))
        return
    terminal = console()
    for i, card in enumerate(found):  # a file may register several
        if i:
            terminal.print()
        terminal.print(card_to_rich(card), soft_wrap=True)


def _json(value: object) -> str:
    import json

    return json.dumps(value, indent=1, ensure_ascii=False)

"""``pmbench download``: getting datasets and weights."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.catalog import What, list_
from pmbench.cli.common import Manifests, app, progress_reporter, set_env_default, split
from pmbench.cli.completion import complete, dataset_names, metric_names
from pmbench.cli.signals import promise_resume
from pmbench.utils.errors import PmbenchError, unknown

if TYPE_CHECKING:
    from pmbench.utils.progress import Reporter


@app.command()
def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Datasets, groups, metrics (their weights), or all.",
            autocompletion=complete(dataset_names, metric_names),
        ),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Show what there is, and where.")] = False,
    source: Annotated[
        str | None, typer.Option("--from", help="Archive, folder or URL instead of the official.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Checksum that you know.")] = None,
    accept_checksum: Annotated[
        bool, typer.Option("--accept-checksum", help="Go on where the checksum differs.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Go on with fewer items; results are marked.")
    ] = False,
    resize: Annotated[str | None, typer.Option(help="legacy (default) or exact.")] = None,
    mirror: Annotated[
        str | None, typer.Option(help="URL under which the files lie by name (PMBENCH_MIRROR).")
    ] = None,
    manifests: Manifests = None,
) -> None:
    """Fetch datasets and pack them, or fetch the weights of metrics; verified and resumable.

    Examples:

    `pmbench download` (BAPPS, both validation sets)

    `pmbench download bapps-2afc-val --from twoafc_val.tar.gz`

    `pmbench download lpips-vgg` (weights)
    """
    from pmbench.datasets import manifest
    from pmbench.datasets.download import DownloadOptions
    from pmbench.datasets.download import download as fetch_and_pack
    from pmbench.datasets.resize import resize_for

    set_env_default("PMBENCH_MANIFESTS", manifests)
    set_env_default("PMBENCH_MIRROR", mirror)
    if listing:
        list_(What.datasets)
        return
    known = {*manifest.datasets(), *manifest.groups()}
    wanted = split(names) or ["bapps"]
    datasets = manifest.resolve([name for name in wanted if name in known])
    if source is not None and len(datasets) != 1:
        raise PmbenchError(
            f"--from names the files of one dataset, but {len(datasets)} were asked for; "
            "name one: pmbench download bapps-2afc-val --from …"
        )
    if sha256 is not None and (len(datasets) != 1 or not re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        raise PmbenchError(
            f"--sha256 {sha256}: expected 64 hexadecimal digits, for one dataset; "
            "`sha256sum FILE` prints them"
        )
    choices = DownloadOptions(source, sha256.lower() if sha256 else None, accept_checksum, partial)
    promise_resume()
    with progress_reporter() as reporter:
        _download_weights([name for name in wanted if name not in known], known, reporter)
        for entry in datasets:
            pack = fetch_and_pack(entry, resize_for(entry, resize), choices, reporter)
            typer.echo(f"{entry.name}: {pack.described_size}, {pack.path}")
            if pack.expected is None and entry.published_size:
                counts = Counter(pack.items.sub_names[sub] for sub in pack.items.sub)
                parts = ", ".join(f"{name} {count:,}" for name, count in counts.items())
                reporter.note(
                    f"{entry.name}: nobody publishes how many items there are; here are {parts}, "
                    f"and papers say {entry.published_size}"
                )


def _download_weights(names: list[str], others: set[str], reporter: Reporter) -> None:
    if not names:
        return
    from pmbench.metrics.selection import catalogue, select_metrics
    from pmbench.networks import weights

    known = {"all", *others, *catalogue()}
    for name in names:
        if name not in known and not set(name) & set(":/="):  # which an address has
            raise unknown("dataset, group or metric", name, known)
    choice = select_metrics(names)
    for entry in choice.metrics:
        weights.ensure(entry.weights, reporter)
        places = ", ".join(str(weights.find(file)) for file in entry.weights)
        typer.echo(f"{entry.name}: {places or 'needs no weights'}")
    for name, why in choice.left_out.items():
        reporter.note(f"{name}: {why}")

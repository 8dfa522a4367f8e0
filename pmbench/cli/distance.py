"""``pmbench distance``: how far apart images are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import (
    CHECK_FAILED,
    AsJson,
    Weights,
    app,
    console,
    print_failures,
    progress_reporter,
    set_env_default,
    split,
    without_name,
)  # fmt: skip
from pmbench.cli.completion import complete_metrics
from pmbench.utils.errors import PmbenchError
from pmbench.utils.text import one_line, printable

if TYPE_CHECKING:
    from pmbench.evaluation.difference_maps import Maps
    from pmbench.evaluation.pair_distances import PairDistances


@app.command()
def distance(
    ref: Annotated[Path, typer.Argument(help="An image, a folder, or a CSV of pairs.")],
    metric: Annotated[
        list[str],
        typer.Option(
            "--metric",
            "-m",
            help="Metric, or all; repeat, or separate by commas.",
            autocompletion=complete_metrics,
        ),
    ],
    dist: Annotated[
        Path | None, typer.Argument(help="The distorted image or folder; nothing for a CSV.")
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(help="WIDTHxHEIGHT, or smaller: both get the size of the smaller one."),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option("--map", help="Folder for maps of where they differ, .png and .npy."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="A line a pair.")] = False,
    as_json: AsJson = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    weights: Weights = None,
) -> None:
    """Measure how far apart two images are, or the pairs of two folders or of a CSV.

    Images of two folders belong together if they have the same name, or the same but for its
    ending. Otherwise two patterns say so: "gt/{id}_gt.png" "out/{id}_pred.png". A CSV has the
    columns ref and dist. Numbers are in the metric's own direction: more is better for a
    similarity.

    Examples:

    `pmbench distance photo.png photo.jpg --metric lpips-alex,ssim`

    `pmbench distance originals compressed -m mmdpp --resize smaller`

    `pmbench distance "{id}_gt.png" "{id}_pred.png" -m lpips-vgg --map maps`

    `pmbench distance pairs.csv -m lpips-vgg --csv > distances.csv`
    """
    from pmbench.datasets import image_pairs as pairing
    from pmbench.datasets.image_pack import parse_resizing
    from pmbench.evaluation.difference_maps import write_maps
    from pmbench.evaluation.pair_distances import measure_pairs
    from pmbench.metrics.loading import load_metrics
    from pmbench.metrics.selection import select_metrics
    from pmbench.utils.devices import choose_device, use_exact_arithmetic

    set_env_default("PMBENCH_WEIGHTS", weights)
    if as_csv and as_json:
        raise PmbenchError("--csv and --json exclude each other")
    if maps is not None and maps.exists() and not maps.is_dir():
        raise PmbenchError(f"--map: {maps} is a file; expected a folder, which need not exist")
    choice = select_metrics(split(metric))
    if not choice.metrics:
        raise PmbenchError("--metric names no metric; `pmbench list metrics` says what there is")
    resizing = None if resize is None else parse_resizing(resize)
    where = choose_device(device)
    use_exact_arithmetic()
    with progress_reporter() as reporter:
        result = pairing.find_pairs(ref, dist)
        for sentence in result.left_out:
            reporter.note(f"left out: {sentence}")
        loaded, not_run = load_metrics(choice.metrics, where, reporter)
        written = {}
        if maps is not None and loaded:
            written = write_maps(result.pairs, resizing, loaded, where, maps, reporter)
        compared = measure_pairs(result.pairs, resizing, loaded, where, reporter)
    higher = [one.metric.name for one in loaded if one.metric.higher_is_better]
    signatures = {one.metric.name: one.signature for one in loaded}
    if as_json:
        typer.echo(_json(compared, higher, signatures, not_run, result.left_out, written))
    elif as_csv:
        typer.echo(_csv(compared), nl=False)
    elif loaded:
        _print_table(compared, higher, signatures)
    for line in _about_maps(written):
        typer.echo(printable(line), err=as_csv or as_json)
    remarks = []
    if without := [name for name in compared.columns if written and name not in written]:
        remarks.append(f"no map: {', '.join(without)}")
    failures = _failures_of_maps(written, compared)
    for line in [*_reasons(compared), *failures, *remarks]:
        typer.secho(printable(line), fg="yellow", err=as_csv or as_json)
    print_failures({**choice.left_out, **not_run}, "yellow", err=as_csv or as_json)
    if not_run or failures or any(column.failed for column in compared.columns.values()):
        raise typer.Exit(CHECK_FAILED)


def _print_table(
    compared: PairDistances, higher: Sequence[str], signatures: Mapping[str, str]
) -> None:
    from pmbench.reporting.distances import to_rich

    terminal = console()
    columns = {name: column.values.tolist() for name, column in compared.columns.items()}
    names = [one_line(pair.name) for pair in compared.pairs]
    terminal.print(to_rich(names, columns, higher, terminal.width))
    terminal.print(f"signatures: {', '.join(signatures.values())}", style="dim", markup=False)


def _csv(compared: PairDistances) -> str:
    import csv
    import io

    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(["ref", "dist", *compared.columns])
    for i, pair in enumerate(compared.pairs):
        values = [float(column.values[i]) for column in compared.columns.values()]
        cells = ["" if math.isnan(value) else repr(value) for value in values]
        lines.writerow([pair.ref, pair.dist, *cells])
    return out.getvalue()


def _json(
    compared: PairDistances,
    higher: Sequence[str],
    signatures: Mapping[str, str],
    not_run: Mapping[str, str],
    left_out: Sequence[str],
    written: Mapping[str, Maps],
) -> str:
    import json

    pairs = []
    for i, pair in enumerate(compared.pairs):
        size, known, why = compared.sizes[i], {}, {}
        for name, column in compared.columns.items():
            value = float(column.values[i])
            known[name] = None if math.isnan(value) else value
            if reason := column.undefined.get(i) or column.failed.get(i):
                why[name] = reason
        record: dict[str, object] = {"ref": str(pair.ref), "dist": str(pair.dist)}
        record |= {"width": size[0], "height": size[1]} if size else {}
        pairs.append(record | {"distances": known, "not_available": why})
    better = {name: "higher" if name in higher else "lower" for name in compared.columns}
    whole: dict[str, object] = {"better": better, "signatures": dict(signatures), "pairs": pairs}
    whole |= {"not_run": dict(not_run), "left_out": list(left_out)}
    for i, record in enumerate(pairs):
        if files := {name: str(m.files[i]) for name, m in written.items() if i in m.files}:
            record["maps"] = files
    if written:
        ends = {name: {"black": m.black, "white": m.white} for name, m in written.items()}
        whole["maps"] = ends
    return json.dumps(whole, indent=1, ensure_ascii=False)


def _about_maps(written: Mapping[str, Maps]) -> list[str]:
    """Return a line for each metric that has maps: how many, and what is black and white."""
    return [
        f"{len(maps.files):,} map{'s' * (len(maps.files) > 1)} in "
        f"{next(iter(maps.files.values())).parent}: {name}, "
        f"black is {maps.black:.4g} and white {maps.white:.4g}"
        for name, maps in written.items()
        if maps.files
    ]


def _failures_of_maps(written: Mapping[str, Maps], compared: PairDistances) -> list[str]:
    """Return a line for each map that is missing though the distance is there."""
    return [
        f"no map: {name}: {compared.pairs[i].name}: {why}"
        for name, maps in written.items()
        for i, why in maps.failed.items()
        if not math.isnan(compared.columns[name].values[i])
    ]


def _reasons(compared: PairDistances) -> list[str]:
    """Return a line for each reason why a metric says nothing of some pairs."""
    by_reason: dict[str, dict[str, list[str]]] = {}
    for name, column in compared.columns.items():
        for i, why in (column.undefined | column.failed).items():
            why = without_name(why, name)
            by_reason.setdefault(why, {}).setdefault(name, []).append(compared.pairs[i].name)
    lines = []
    for why, by_metric in by_reason.items():
        pairs = next(iter(by_metric.values()))
        some = f" (on {len(pairs):,} of {len(compared.pairs):,} pairs)"
        lines.append(f"n/a: {', '.join(by_metric)}: {why}{some * (len(compared.pairs) > 1)}")
    return lines

"""``pmbench verify``: are our numbers those of other implementations?"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmbench.cli.common import (
    CHECK_FAILED,
    AsJson,
    Weights,
    app,
    console,
    progress_reporter,
    set_env_default,
    split,
)  # fmt: skip
from pmbench.cli.completion import complete_metrics

if TYPE_CHECKING:
    from pmbench.evaluation.verify import Comparison


class Form(StrEnum):
    """How comparisons are written."""

    table = "table"
    md = "md"


@app.command()
def verify(
    metrics: Annotated[
        list[str] | None,
        typer.Argument(
            help="Metrics; without any, all.", metavar="METRIC…", autocompletion=complete_metrics
        ),
    ] = None,
    triplets: Annotated[
        Path | None,
        typer.Option(help="BAPPS triplets as a folder or archive, instead of the download."),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="md: a Markdown table.")] = Form.table,
    as_json: AsJson = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    weights: Weights = None,
) -> None:
    """Compare metrics with their authors' numbers and with other packages.

    The authors' numbers are of BAPPS triplets (`pmbench download bapps-2afc-val`). Those of the
    installed packages are of images that come with pmbench. The exit code is 1 where numbers
    differ, a metric fails, or nothing could be compared.

    Examples:

    `pmbench verify`

    `pmbench verify ssim lpips-alex`

    `pmbench verify --format md > parity.md`
    """
    from pmbench.evaluation.verify import has_referee
    from pmbench.evaluation.verify import verify as compare
    from pmbench.metrics.selection import catalogue, select_metrics
    from pmbench.reporting.verification import to_markdown, to_rich
    from pmbench.utils.devices import choose_device, use_exact_arithmetic

    set_env_default("PMBENCH_WEIGHTS", weights)
    names = split(metrics)
    chosen = select_metrics(names).metrics if names else list(catalogue().values())
    where = choose_device(device)
    use_exact_arithmetic()
    with progress_reporter() as reporter:
        result = list(compare(chosen, triplets, where, reporter))
        unknown = [metric.name for metric in chosen if not has_referee(metric)]
        if unknown:
            reporter.note(f"no referee is known for {', '.join(unknown)}")
    if as_json:
        typer.echo(_json(result))
    elif form is Form.md:
        typer.echo(to_markdown(result), nl=False)
    else:
        console().print(to_rich(result))
    verdicts = {one.verdict for one in result}
    if "agrees" not in verdicts or verdicts & {"differs", "failed"}:
        raise typer.Exit(CHECK_FAILED)


def _json(results: Sequence[Comparison]) -> str:
    import json
    from dataclasses import asdict

    records = []
    for one in results:
        record = asdict(one)
        tolerance = record.pop("tolerance")
        records.append(
            record
            | {
                "largest": one.largest if one.n else None,
                "tolerance": tolerance["bounds"],
                "tolerance_reason": tolerance["reason"],
            }
        )
    return json.dumps(records, indent=1, ensure_ascii=False)

"""A run -> text for a terminal: everything that is needed to believe it, and to repeat it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from pmbench.reporting.metric_cards import LABEL, settings_text
from pmbench.results.reproduce import Recipe
from pmbench.results.schema import Batches, Bootstrap, DatasetInfo, MetricInfo, RunInfo


def run_to_rich(info: RunInfo, recipe: Recipe) -> RenderableType:
    """Return a run: what was measured, with what, where and when, and how to repeat it.

    Print it with ``soft_wrap``: what can be copied stands on one line.
    """
    dataset, metric = info.dataset, info.metric
    environment = info.environment.model_dump(exclude_unset=True)
    parts: list[RenderableType] = [
        Text.assemble((f"{metric.name} on {dataset.name}", "bold"), f"  {metric.title}")
    ]
    sections: list[tuple[str, list[tuple[str, object]]]] = [
        ("", [("signature", info.signature), ("distances", f"sha256 {recipe.distances}")]),
        ("dataset", _dataset_lines(dataset)),
        ("metric", _metric_lines(metric)),
        ("environment", list(environment.items())),
        ("measured", _measurement_lines(info)),
    ]
    for heading, lines in sections:
        parts += [Text(), *[Text(heading, style="bold")] * bool(heading)]
        for label, value in lines:
            if value not in (None, "", {}):
                parts.append(Text.assemble((f"{label:<{LABEL}}  ", "dim"), str(value)))
    return Group(*parts, Text(), Text("to repeat it", style="bold"), *map(Text, _steps(recipe)))


def _dataset_lines(dataset: DatasetInfo) -> list[tuple[str, object]]:
    which = ", all that was there" if dataset.pack_partial else ""
    if (first := dataset.selection.removeprefix("first")) != dataset.selection:
        which = f", the first {first} of each sub-dataset"
    return [
        ("title", f"{dataset.title} ({dataset.protocol})"),
        ("items", f"{dataset.items:,} of {dataset.of:,}{which}"),
        ("partial", "yes" if dataset.partial else "no"),
        ("resize", dataset.resize),
        ("digest", dataset.pack_digest),
        ("source", dataset.source),
        ("sha256", dataset.source_sha256),
        ("manifest", dataset.manifest),
        ("citation", dataset.citation),
    ]


def _metric_lines(metric: MetricInfo) -> list[tuple[str, object]]:
    tolerance, count = metric.tolerance, metric.parameters_count
    return [
        ("address", metric.address),
        ("package", metric.package),
        ("version", metric.version),
        ("digest", metric.digest),
        ("settings", settings_text(metric.parameters)),
        *[("weights", f"{name}: {file}") for name, file in metric.weights.items()],
        ("parameters", None if count is None else f"{count:,}, {metric.weights_mb:g} MB"),
        ("better", "higher" if metric.higher_is_better else "lower"),
        ("tolerance", None if tolerance is None else f"{tolerance:g}, relative, between machines"),
        *[("undefined on", f"{size}: {why}") for size, why in metric.undefined_on.items()],
        ("paper", metric.paper),
        ("code", metric.code),
        ("licence", metric.licence),
    ]


def _measurement_lines(info: RunInfo) -> list[tuple[str, object]]:
    batches, memory = info.batches, info.peak_memory_mb
    together = [name for name in info.measured_together if name != info.metric.name]
    return [
        ("pmbench", info.pmbench),
        ("started", info.started),
        ("finished", info.finished),
        ("alone", None if info.seconds is None else f"{info.seconds:,.4g} s"),
        ("items/s", info.items_per_second),
        ("peak memory", None if memory is None else f"{memory:,.0f} MB"),
        ("batches", None if batches is None else _batches(batches)),
        ("together with", ", ".join(together)),
        ("intervals", _intervals(info.bootstrap)),
        ("command", info.command),
    ]


def _intervals(bootstrap: Bootstrap | None) -> str | None:
    if bootstrap is None:  # of an earlier version: 1,000 resamples, without a word
        return None
    return f"{bootstrap.resamples:,} resamples, seed {bootstrap.seed}"


def _batches(batches: Batches) -> str:
    limits = {"pixels": batches.pixels, "items": batches.items}
    most = ", and ".join(f"{most:,} {unit}" for unit, most in limits.items() if most is not None)
    return f"{batches.count:,}, of up to {most}"


def _steps(recipe: Recipe) -> list[str]:
    """Return what may be pasted into a shell as it is; what is not a command is a comment."""
    lines = [f"# needs {need}" for need in recipe.needs]
    if recipe.download:
        lines += ["# unless the dataset is there already:", recipe.download]
    return [
        *lines,
        recipe.command,
        f"# then `{recipe.check}` must say",
        f"#   signature  {recipe.signature}",
        f"#   distances  sha256 {recipe.distances}",
        f"#   ({recipe.slack})",
    ]

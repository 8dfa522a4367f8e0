"""A run -> text for a terminal: everything that is needed to believe it, and to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from pmbench.reporting.metric_cards import LABEL, numbers_text, parameters_text
from pmbench.results.reproduce import Recipe

Facts = Mapping[str, Any]


def run_to_rich(info: Facts, recipe: Recipe) -> RenderableType:
    """Return a run: what was measured, with what, where and when, and how to repeat it.

    ``info`` is its run.json; one of an earlier version may lack facts. Print it with
    ``soft_wrap``: what can be copied stands on one line.
    """
    about, metric = info["dataset"], info["metric"]
    parts: list[RenderableType] = [
        Text.assemble((f"{metric['name']} on {about['name']}", "bold"), f"  {metric['title']}")
    ]
    for heading, lines in [
        ("", [("signature", info["signature"]), ("distances", f"sha256 {recipe.distances}")]),
        ("dataset", _dataset_lines(about)),
        ("metric", _metric_lines(metric)),
        ("environment", list(info["environment"].items())),
        ("measured", _measurement_lines(info)),
    ]:
        parts += [Text(), *[Text(heading, style="bold")] * bool(heading)]
        for label, value in lines:
            if value not in (None, "", {}):
                parts.append(Text.assemble((f"{label:<{LABEL}}  ", "dim"), str(value)))
    return Group(*parts, Text(), Text("to repeat it", style="bold"), *map(Text, _steps(recipe)))


def _dataset_lines(about: Facts) -> list[tuple[str, object]]:
    which = ", all that was there" if about.get("pack_partial") else ""
    if (first := str(about["selection"]).removeprefix("first")) != about["selection"]:
        which = f", the first {first} of each sub-dataset"
    return [
        ("title", f"{about['title']} ({about['protocol']})"),
        ("items", f"{about['items']:,} of {about['of']:,}{which}"),
        ("partial", "yes" if about["partial"] else "no"),
        ("resize", about["resize"]),
        ("digest", about["pack_digest"]),
        ("source", about["source"]),
        ("sha256", about["source_sha256"]),
        ("manifest", about.get("manifest")),
        ("citation", about.get("citation")),
    ]


def _metric_lines(metric: Facts) -> list[tuple[str, object]]:
    tolerance, count = metric.get("tolerance"), metric.get("parameters_count")
    return [
        ("address", metric.get("address")),
        ("package", metric.get("package")),
        ("version", metric["version"]),
        ("digest", metric["digest"]),
        ("parameters", parameters_text(metric)),
        *[("weights", f"{name}: {file}") for name, file in metric["weights"].items()],
        (
            "numbers",
            None if count is None else f"{numbers_text(count)}, {metric['weights_mb']:g} MB",
        ),
        ("better", "higher" if metric["higher_is_better"] else "lower"),
        ("tolerance", None if tolerance is None else f"{tolerance:g}, relative, between machines"),
        *[("undefined on", f"{size}: {why}") for size, why in metric["undefined_on"].items()],
        ("paper", metric["paper"]),
        ("code", metric["code"]),
        ("licence", metric["licence"]),
    ]


def _measurement_lines(info: Facts) -> list[tuple[str, object]]:
    batches, memory = info["batches"], info["peak_memory_mb"]
    together = [name for name in info["measured_together"] if name != info["metric"]["name"]]
    return [
        ("pmbench", info["pmbench"]),
        ("started", info["started"]),
        ("finished", info["finished"]),
        ("alone", None if info["seconds"] is None else f"{info['seconds']:,.4g} s"),
        ("items/s", info["items_per_second"]),
        ("peak memory", None if memory is None else f"{memory:,.0f} MB"),
        ("batches", None if batches is None else _batches(batches)),
        ("together with", ", ".join(together)),
        ("intervals", _intervals(info)),
        ("command", info["command"]),
    ]


def _intervals(info: Facts) -> str | None:
    how = info.get("bootstrap")  # of an earlier version: 1,000 resamples, without a word
    return None if how is None else f"{how['resamples']:,} resamples, seed {how['seed']}"


def _batches(batches: Facts) -> str:
    items = "" if batches["items"] is None else f", and {batches['items']:,} items"
    return f"{batches['count']:,}, of up to {batches['pixels']:,} pixels{items}"


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

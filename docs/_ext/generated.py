"""What pages take from the program itself: the metrics, their weights, and the commands.

``<!-- generated: NAME -->`` in a page stands for what the function of that name here returns, as
Markdown. Formulas become MathML, which browsers draw without a script.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import EnumMeta
from itertools import groupby
from typing import Any

import typer
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from pmbench.cli import app as command_line
from pmbench.metrics import Metric, registered
from pmbench.metrics.cards import card, short_paper
from pmbench.networks.manifest import weight_files

# --- metrics --------------------------------------------------------------------------------------

_HEAD = (
    "metric", "what it is", "better", "smallest side", "symmetric", "gradient", "weights",
    "licence", "extra", "paper",
)  # fmt: skip


def metrics() -> str:
    """Return the registered metrics: for each family a heading and a table."""
    parts = []
    for family, members in groupby(registered().values(), key=lambda metric: metric.family):
        rows = [_metric(metric) for metric in members]
        parts.append(f"### {family}\n\n{_table(_HEAD, rows)}")
    return "\n\n".join(parts)


def _metric(metric: Metric) -> list[str]:
    known = card(metric)
    side = str(known["min_size"])
    if known["multiple_of"] > 1:
        side += f", ×{known['multiple_of']}"
    return [
        f"`{metric.name}`",
        known["title"],
        "↑" if known["better"] == "higher" else "↓",
        side,
        "yes" if known["symmetric"] else "no",
        "yes" if known["differentiable"] else "no",
        ", ".join(f"`{name}`" for name in metric.weights) or "–",
        known["licence"] or "–",
        f"`{known['extra']}`" if known["extra"] else "–",
        short_paper(metric.paper) or "–",
    ]


def papers() -> str:
    """Return the papers that metrics name, as a list."""
    names: dict[str, list[str]] = {}
    for metric in registered().values():
        if metric.paper:
            names.setdefault(metric.paper, []).append(f"`{metric.name}`")
    return "\n".join(f"- {paper} ({_few(names[paper])})" for paper in sorted(names))


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{names[0]} and {len(names) - 1} others"


def weights() -> str:
    """Return the weight files as a table."""
    rows = [
        [
            f"`{name}`",
            f"{entry.megabytes:g} MB" if entry.megabytes else "under 1 MB",
            f"<{entry.url}>" if entry.url else f"the package `{entry.package}`",
            entry.licence,
        ]
        for name, entry in weight_files().items()
    ]
    return _table(("weights", "size", "from", "licence"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "| --- " * len(cells[0]) + "|", *lines[1:]])


# --- commands -------------------------------------------------------------------------------------


def commands() -> str:
    """Return every command: what it does, its examples, its arguments and its options."""
    root: Any = typer.main.get_command(command_line)
    return "\n\n".join(_command(name, command) for name, command in _walk(root, "pmbench"))


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands that do something, by their whole names."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for word in sorted(inner or ()):
        yield from _walk(inner[word], f"{name} {word}")


def _command(name: str, command: Any) -> str:
    text, _, examples = str(command.help).partition("\n\nExamples:\n\n")
    parts = [f"## {name}", f"```{{program}} {name}\n```", text]
    if examples:
        parts += ["**Examples**", "\n".join(f"- {one}" for one in examples.strip().split("\n\n"))]
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    if arguments := [one for one in shown if not one.opts[0].startswith("-")]:
        lines = [f"- `{_value(one)}`: {one.help}" for one in arguments]
        parts += ["**Arguments**", "\n".join(lines)]
    options = [one for one in shown if one.opts[0].startswith("-")]
    return "\n\n".join([*parts, *map(_option, options)])


def _option(one: Any) -> str:
    is_flag = bool(one.secondary_opts) or isinstance(one.default, bool)
    names = ", ".join([*one.opts, *one.secondary_opts])
    facts = [str(one.help)]
    if choices := _choices(one):
        facts.append(f"One of: {', '.join(f'`{choice}`' for choice in choices)}.")
    default = getattr(one.default, "value", one.default)
    if one.required:
        facts.append("Required.")
    elif not is_flag and default not in (None, ""):
        facts.append(f"Default: `{default}`.")
    return f"```{{option}} {names}{'' if is_flag else ' ' + _value(one)}\n{' '.join(facts)}\n```"


def _value(one: Any) -> str:
    name = str(one.metavar or one.name).upper()
    return f"{name}…" if one.nargs == -1 and not name.endswith("…") else name


def _choices(one: Any) -> list[str]:
    of_typer = getattr(getattr(one, "type_descriptor", None), "annotation", None)
    if isinstance(of_typer, EnumMeta):
        return [str(member.value) for member in of_typer]  # type: ignore[attr-defined]
    return [str(choice) for choice in getattr(getattr(one, "type", None), "choices", ())]


# --- Sphinx ---------------------------------------------------------------------------------------

GENERATED: dict[str, Callable[[], str]] = {
    "metrics": metrics, "papers": papers, "weights": weights, "commands": commands
}  # fmt: skip


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put into a page what it is to take from the program."""
    for name, text in GENERATED.items():
        if (mark := f"<!-- generated: {name} -->") in source[0]:
            source[0] = source[0].replace(mark, text())


def _inline_math(writer: HTML5Translator, node: nodes.math) -> None:
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _math_block(writer: HTML5Translator, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Add this to a build."""
    app.connect("source-read", fill)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

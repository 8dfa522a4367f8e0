"""What pages take from the program itself: the metrics, their weights, and the commands.

``<!-- generated: NAME -->`` in a page stands for what the function of that name here returns, as
Markdown. Formulas become HTML, which needs neither a script nor a font for mathematics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr
from enum import EnumMeta
from io import StringIO
from itertools import groupby
from typing import Any

import typer
from docutils import nodes
from docutils.utils.math import math2html
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

from pmbench.analysis.published import published_boards
from pmbench.cli import app as command_line
from pmbench.metrics import registered
from pmbench.metrics.cards import Card, card
from pmbench.networks.manifest import weight_files
from pmbench.reporting import to_markdown
from pmbench.reporting.columns import columns_of

# --- metrics --------------------------------------------------------------------------------------

_COLUMNS: dict[str, Callable[[Card], str]] = {
    "metric": lambda card: f"`{card['metric']}`",
    "what it is": lambda card: str(card["title"]),
    "better": lambda card: "↑" if card["better"] == "higher" else "↓",
    "smallest side": lambda card: _side(card),
    "symmetric": lambda card: "yes" if card["symmetric"] else "no",
    "gradient": lambda card: "yes" if card["differentiable"] else "no",
    "map": lambda card: "yes" if card["has_map"] else "no",
    "weights; licence": lambda card: _weights_and_licence(card),
    "extra": lambda card: f"`{card['extra']}`" if card["extra"] else "",
    "paper": lambda card: str(card["short_paper"]),
}


def metrics() -> str:
    """Return the registered metrics: for each family a heading and a table."""
    parts = []
    for family, members in groupby(registered().values(), key=lambda metric: metric.family):
        cards = [card(metric) for metric in members]
        rows = {head: [text(one) for one in cards] for head, text in _COLUMNS.items()}
        told = {head: cells for head, cells in rows.items() if any(cells)}  # in this family
        parts.append(f"### {family}\n\n{_table(told, zip(*told.values(), strict=True))}")
    return "\n\n".join(parts)


def _side(card: Card) -> str:
    return f"{card['min_size']}" + (f", ×{card['multiple_of']}" if card["multiple_of"] > 1 else "")


def _weights_and_licence(card: Card) -> str:
    files = ", ".join(f"`{file['name']}`" for file in card["weights"])
    return "; ".join(filter(None, [files, card["licence"]]))


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


# --- what papers report ---------------------------------------------------------------------------


def published() -> str:
    """Return what papers report, a table for each dataset."""
    return "\n\n".join(
        to_markdown(board).replace("### ", "## ") for board in published_boards(None)
    )


def published_here() -> str:
    """Return the rows of papers' tables that pmbench has the metric of, as the README's table."""
    (board,) = published_boards("bapps-2afc-val")
    rows = []
    for i, row in enumerate(board.rows):
        if row.counterpart and "macro" in row.cells:
            facts = {column.key: column.texts[i].main for column in columns_of(board)}
            rows.append(
                [
                    row.name,
                    f"`{row.counterpart}`" if row.trained_on else "",
                    *(facts[key] for key in ("trained_on", "macro", "ms", "parameters")),
                ]
            )
    return _table(("in the paper", "in pmbench", "trained on", "2AFC", "ms/pair", "params"), rows)


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
    head = names if is_flag else f"{names} {_value(one)}"
    return f"```{{option}} {head}\n{' '.join(facts)}\n```"


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
    "metrics": metrics,
    "papers": papers,
    "weights": weights,
    "published": published,
    "commands": commands,
}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put into a page what it is to take from the program."""
    for name, text in GENERATED.items():
        if (mark := f"<!-- generated: {name} -->") in source[0]:
            source[0] = source[0].replace(mark, text())


def find_once(app: Sphinx, page: nodes.document) -> None:
    """Keep options, which a search finds as such, from being found as words of the index too."""
    for entry in list(page.findall(addnodes.index)):
        entry["entries"] = []


def _inline_math(writer: HTML5Translator, node: nodes.math) -> None:
    writer.body.append(f'<span class="formula">{_html(node.astext(), alone=False)}</span>')
    raise nodes.SkipNode


def _math_block(writer: HTML5Translator, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{_html(node.astext(), alone=True)}</div>')
    raise nodes.SkipNode


def _html(formula: str, alone: bool) -> str:
    math2html.DocumentParameters.displaymode = alone
    with redirect_stderr(StringIO()):  # where it says what it does not know
        result = str(math2html.math2html(formula))
    if "unknown" in result:
        logging.getLogger(__name__).warning("a formula cannot be drawn: %s", formula)
    return result


def setup(app: Sphinx) -> dict[str, bool]:
    """Add this to a build."""
    app.connect("source-read", fill)
    app.connect("doctree-read", find_once)
    app.add_html_math_renderer("html", (_inline_math, None), (_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

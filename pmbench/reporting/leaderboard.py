"""The leaderboard of a folder of results as text, and the two files of it that are kept current."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pmbench.analysis.export import scores_table
from pmbench.analysis.leaderboard import boards, relations
from pmbench.analysis.leaderboard_rows import Board, View
from pmbench.reporting.html import to_html
from pmbench.reporting.latex import to_latex
from pmbench.reporting.listings import to_json
from pmbench.reporting.markdown import to_markdown
from pmbench.reporting.terminal import to_plain
from pmbench.results.merging import ResultFolders
from pmbench.results.run import LOCK_FILE
from pmbench.results.store import find_runs
from pmbench.utils.files import write_text
from pmbench.utils.locks import exclusive

# format -> the writer of one board, and how a remark below the boards is written
_WRITERS: dict[str, tuple[Callable[[Board], str], str]] = {
    "md": (to_markdown, "{}\n"),
    "table": (to_plain, "{}\n"),
    "latex": (to_latex, "% {}\n"),
}


def render_leaderboard(results: ResultFolders, view: View, form: str) -> str:
    """Return the leaderboard as table, md, csv, json, latex or html.

    csv and json hold every score of every run. Raises PmbenchError as ``boards`` does.
    """
    if form in ("csv", "json"):
        table = scores_table(results, view)
        return str(table.to_csv(index=False)) if form == "csv" else to_json(table) + "\n"
    tables, remarks = boards(results, view), relations(results, view)
    if form == "html":
        return to_html(tables, remarks)
    write, remark = _WRITERS[form]
    return "\n".join([*map(write, tables), *map(remark.format, remarks)])


def write_leaderboards(results: Path) -> None:
    """Bring ``leaderboard.csv`` and ``leaderboard.md`` in a folder of results up to date.

    Where there is no run, there are none of them.
    """
    if not find_runs(results):
        for form in ("csv", "md"):
            (results / f"leaderboard.{form}").unlink(missing_ok=True)
        return
    with exclusive(results / LOCK_FILE, -1):  # of two that end at once, the last one shows both
        for form in ("csv", "md"):
            write_text(results / f"leaderboard.{form}", render_leaderboard(results, View(), form))

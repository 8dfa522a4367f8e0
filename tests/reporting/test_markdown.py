"""Boards as Markdown, CSV and JSON: every number stands in its place."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from support.boards import WAY, everywhere, only_board, run_2afc

from pmbench.analysis.export import scores_table
from pmbench.analysis.leaderboard_rows import View
from pmbench.reporting import to_json, to_markdown

# --- Markdown -------------------------------------------------------------------------------------


def cells_of(line: str) -> list[str]:
    """Return the cells of a line of a Markdown table."""
    assert line.startswith("| ")
    assert line.endswith(" |")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.mark.parametrize("view", [{}, {"pooled": True, "published": True}, {"statistic": "srcc"}])
def test_markdown_is_a_well_formed_table(bapps: Path, view: dict[str, Any]) -> None:
    board = only_board(bapps, **view)
    lines = to_markdown(board).split("\n")
    assert lines[0] == "### bapps-2afc-val: BAPPS 2AFC, validation"
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    assert lines[start - 1] == ""  # else it is no table
    table = [cells_of(line) for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(board.rows)
    ranked = any(row.rank_range for row in board.rows)
    assert {len(row) for row in table} == {1 + len(board.columns) + ranked + 2}
    assert table[1] == ["---"] + ["---:"] * (len(table[0]) - 1)
    end = start + len(table)
    assert all(line.startswith("|") for line in lines[start:end])
    assert lines[end] == ""
    told = [unescaped(line) for line in lines[end + 1 :]]
    bold = ["- bold: best of its column"] * any("**" in cell for row in table[2:] for cell in row)
    assert told == [
        f"- {board.legend[0]}",
        *bold,
        *(f"- {line}" for line in board.legend[1:]),
        f"- `signature: {board.signature}`",
        "",
    ]


def unescaped(text: str) -> str:
    """Return what a line of Markdown shows."""
    return re.sub(r"\\(.)", r"\1", text)


def test_markdown_says_what_the_board_says(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(4) | {"cnn": 3}, speed=12.3)
    run_2afc(tmp_path, "b", everywhere(1) | {"cnn": 4}, speed=0.5)
    board = only_board(tmp_path)
    head, _, *rows = (cells_of(x) for x in to_markdown(board).split("\n") if x.startswith("|"))
    assert head == [
        "metric", "2AFC macro", "rank", "traditional", "cnn", "superres", "deblur", "color",
        "frameinterp", "n triplets", "items/s",
    ]  # fmt: skip
    by_name = {row[0]: row[1:] for row in rows}
    # (5·80 + 65)/6 = 77.5 and (5·35 + 80)/6 = 42.5; the best in bold
    assert re.fullmatch(r"\*\*77\.5 \(\\~\d\d\.\d–\d\d\.\d\)\*\*", by_name["a"][0])
    assert by_name["a"][1:] == ["**1**", "**80.0**", "65.0", *["**80.0**"] * 4, "24", "12"]
    assert re.fullmatch(r"42\.5 \(\\~\d\d\.\d–\d\d\.\d\)", by_name["b"][0])
    assert by_name["b"][1:] == ["2", "35.0", "**80.0**", *["35.0"] * 4, "24", "0.5"]
    assert by_name["*human-majority*"] == [
        r"80.0 (\~80.0–80.0)", "", *["80.0"] * 6, "24", "",
    ]  # fmt: skip


def test_markdown_has_the_marks(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(4), of=36344, partial=True)
    lines = to_markdown(only_board(tmp_path)).split("\n")
    mark = "**partial: 24 of 36,344 triplets, not comparable with published scores**"
    assert lines[1:5] == ["", mark, "", lines[4]]
    assert lines[4].startswith("| metric |")


def test_markdown_escapes_what_would_be_markup(tmp_path: Path) -> None:
    run_2afc(tmp_path, "part", everywhere(4), undefined_on=("cnn",))
    text = to_markdown(only_board(tmp_path, published=True))
    assert r"| part | 80.0\* (\~80.0–80.0) | 80.0 | n/a |" in text
    assert r"| *Alex-lin \[1\]* | 69.8 | 73.9 |" in text
    assert r"- \* over a part of the items only; the reasons:" in text
    run_2afc(tmp_path / "pipes", "l2", {"a|b": 2}, {"a|b": 2, "c": 2}, name="mine")
    table = [
        x for x in to_markdown(only_board(tmp_path / "pipes")).split("\n") if x.startswith("|")
    ]
    assert {len(cells_of(line)) for line in table} == {6}
    assert r"a\|b" in table[0]


@pytest.mark.parametrize("name", ["a|b", "_x_ *y*", "[z](u)", "~~s~~", "<b>&amp;", "`c`", "↳ \\"])
def test_markdown_shows_any_name_as_it_is(tmp_path: Path, name: str) -> None:
    run_2afc(tmp_path, "plain", everywhere(2))
    board = only_board(tmp_path)
    rows = [replace(row, name=name) if row.name == "plain" else row for row in board.rows]
    text = to_markdown(replace(board, rows=rows, title=name, warnings=[name], legend=[name]))
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    shown = ["".join(c.content for c in t.children or ()) for t in tokens if t.type == "inline"]
    assert shown.count(name) == 3  # the mark, the row, the legend
    assert f"bapps-2afc-val: {name}" in shown
    table = [t.type for t in tokens if t.type in ("th_open", "td_open", "tr_open")]
    assert len(table) == (len(board.rows) + 1) * (1 + 1 + len(board.columns) + 2)


# --- CSV and JSON ---------------------------------------------------------------------------------


def test_json_is_the_tidy_table_with_null_for_no_number(tmp_path: Path) -> None:
    run_2afc(tmp_path, "big", everywhere(4), undefined_on=("cnn",), speed=12.5)
    table = scores_table(tmp_path, View())
    records = json.loads(to_json(table))
    assert len(records) == len(table)
    found = [r for r in records if (r["name"], r["statistic"]) == ("big", "2afc")]
    cnn = next(r for r in found if r["sub_dataset"] == "cnn")
    assert cnn == {
        "dataset": "bapps-2afc-val",
        "kind": "metric",
        "name": "big",
        "statistic": "2afc",
        "sub_dataset": "cnn",
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "of": 4,
        "note": "not defined on 4 items: 63×63: needs at least 64 pixels a side; no items left",
        "unreliable": False,
        "family": "other",
        "partial": False,
        "human_votes": True,
        "items_per_second": 12.5,
        "peak_memory_mb": None,
        "parameters_count": None,
        "weights_mb": None,
        "signature": f"{WAY} || big#1f9c0000",
        "rank_low": None,
        "rank_high": None,
        "letters": "",
    }
    macro = next(r for r in found if r["sub_dataset"] == "macro")
    assert (macro["value"], macro["n"], macro["of"]) == (pytest.approx(0.8), 20, 24)
    assert "×" in to_json(table)  # as it is, not escaped
    assert "NaN" not in to_json(table)


def test_csv_has_the_documented_columns_with_n_and_signature(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(3))
    table = pd.read_csv(io.StringIO(str(scores_table(tmp_path, View()).to_csv(index=False))))
    assert list(table.columns) == [
        "dataset", "kind", "name", "statistic", "sub_dataset", "value", "low", "high", "n", "of",
        "note", "unreliable", "family", "partial", "human_votes", "items_per_second",
        "peak_memory_mb", "parameters_count", "weights_mb", "signature",
        "rank_low", "rank_high", "letters",
    ]  # fmt: skip
    table = table[table["kind"] == "metric"]
    row = table[(table["statistic"] == "2afc") & (table["sub_dataset"] == "macro")].iloc[0]
    assert (row["value"], row["n"]) == (pytest.approx(0.65), 24)
    assert row["signature"] == f"{WAY} || a#1f9c0000"

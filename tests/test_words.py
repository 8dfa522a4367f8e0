"""The words of the interface are those of the field, and one thing has one name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import REPOSITORY

# what to avoid -> what to say
AVOID = {
    r"pictures?": "image",
    r"parts? (most \w+ )?with": "disagrees with",
    r"duels?": "disagreement",
    r"decided by [\d{]": "margin",
    r"numbers in its networks": "parameters",
    r"places it may have": "rank range",
    r"people (said|chose|were evenly divided)": "raters",
}
_AVOIDED = re.compile(rf"(?<![\w./-])(?:{'|'.join(AVOID)})(?![\w/(=-]|\.\w)", re.IGNORECASE)
_CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)", re.DOTALL)
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
SOURCES = sorted((REPOSITORY / "pmbench").rglob("*.py"))
TEMPLATES = sorted((REPOSITORY / "pmbench").rglob("*.j2"))


def sentences(source: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that a user may read: with a blank, and no docstring."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
        and "cli" not in source.parts  # of which they are the help
    }  # fmt: skip
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and " " in node.value and id(node) not in docstrings:
            yield node.lineno, node.value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_use_the_words_of_the_field(page: Path) -> None:
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    assert _AVOIDED.findall(text) == []


def test_messages_and_help_use_the_words_of_the_field() -> None:
    slips = [
        f"{source.relative_to(REPOSITORY)}:{line}: {word[0]}"
        for source in SOURCES
        for line, text in sentences(source)
        if (word := _AVOIDED.search(text))
    ]
    assert slips == []


def test_the_report_uses_the_words_of_the_field() -> None:
    for template in TEMPLATES:
        text = re.sub(r"\{[{%].*?[}%]\}|<[^>]*>", "", template.read_text(encoding="utf-8"))
        assert _AVOIDED.findall(text) == [], template.name


def test_a_slip_is_noticed() -> None:
    for text in (
        "two pictures",
        "A duel of metrics",
        "It parts with people",
        "rank: places it may have",
    ):
        assert _AVOIDED.search(text), text
    for text in ("two images", "pictures/a.png", "image_pack", "a part of the items"):
        assert not _AVOIDED.search(text), text

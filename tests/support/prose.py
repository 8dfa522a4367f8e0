"""Markdown, taken apart: its code blocks, its links, and its sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,})(?P<language>\{?[\w-]*\}?)(?P<rest>[^\n]*)$")
_MARK = re.compile(r"^<!-- (?P<what>not run|file|fails): ?(?P<rest>.+?) -->$")
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
# a full stop, question mark or exclamation mark that ends a sentence
_END = re.compile(r"(?<=[.?!])[)\"”*_]*\s+(?=[\"“(]*(?:[A-Z0-9$]|\*\w))")
_ABBREVIATIONS = re.compile(r"\b(?:et al|e\.g|i\.e|vs|Fig|No|St)\.\s")


@dataclass(frozen=True)
class Block:
    """A fenced block of code, and what the comment on the line before says of it."""

    page: Path
    line: int  # of its fence, from 1
    language: str
    code: str
    mark: str = ""  # "not run", "file" or "fails"
    reason: str = ""  # why, or the file's name, or the exit code

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    i = 0
    while i < len(lines):
        fence = _FENCE.match(lines[i])
        if fence is None:
            i += 1
            continue
        end = next(j for j in range(i + 1, len(lines)) if lines[j].rstrip() == fence["fence"])
        mark = _MARK.match(lines[i - 1].strip()) if i else None
        found.append(
            Block(
                page, i + 1, fence["language"], "\n".join(lines[i + 1 : end]) + "\n",
                *((mark["what"], mark["rest"]) if mark else ()),
            )
        )  # fmt: skip
        i = end + 1
    return found


def links(page: Path) -> list[str]:
    """Return where the links and images of a page lead."""
    return _LINK.findall(_without_code(page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Return what the headings of a page, and of a page that it includes, can be linked by."""
    text = page.read_text(encoding="utf-8")
    if included := re.search(r"```\{include\} (\S+)", text):
        text += (page.parent / included[1]).read_text(encoding="utf-8")
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


def sentences(markdown: str) -> list[str]:
    """Return the sentences of a text; code spans are a word, and tables and code are left out.

    A paragraph, a heading and a point of a list end a sentence, and so does what starts with a
    capital letter behind a full stop.
    """
    text = re.sub(r"<!--.*?-->", "\n\n", _without_code(markdown), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("|")]
    text = "\n".join(lines)
    text = re.sub(r"!?\[((?:[^\]\[]|\[[^\]]*\])*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\n\s*(?:[-*]|\d+\.|#+)\s", "\n\n", "\n" + text)
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        flat = " ".join(paragraph.split())
        flat = _ABBREVIATIONS.sub(lambda match: match[0].replace(". ", " "), flat)
        found += [part for part in _END.split(flat) if re.search(r"\w", part)]
    return found


def words(sentence: str) -> int:
    """Return how many words a sentence has: what holds a letter or a digit, between spaces."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def _without_code(markdown: str) -> str:
    """Return a text without blocks of code and formulas, and with one word for each code span."""
    text = re.sub(r"^(`{3,}|~{3,}).*?^\1\s*$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^\$\$.*?\$\$$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "Code", text, flags=re.DOTALL)

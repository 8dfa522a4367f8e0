"""The README and the documentation: their code runs, their links lead somewhere, their sentences
are short, and what they take from the program is all there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from support.cli import pmbench
from support.paths import REPOSITORY
from support.prose import anchors, blocks, links, sentences, words
from support.shell import Shell, shell

from pmbench.cli import app
from pmbench.metrics import collect_registrations, registered

DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
LONGEST = 25  # words of a sentence
RUN = ("python", "sh")
WITH_CODE = [page for page in PAGES if any(block.language in RUN for block in blocks(page))]


# --- code -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Return a shell in which pmbench starts at once."""
    with shell(tmp_path_factory.mktemp("shell")) as started:
        yield started


@pytest.fixture
def folder(empty_folder: Path) -> Path:
    """Work in a folder with two images, and two folders of images."""
    for name, colour in (("a.png", 90), ("b.png", 100)):
        Image.new("RGB", (64, 64), (colour, colour, 90)).save(name)
    for name, ending in (("originals", "png"), ("compressed", "jpg")):
        Path(name).mkdir()
        for i in range(2):
            Image.linear_gradient("L").rotate(90 * i).convert("RGB").save(f"{name}/{i}.{ending}")
    return empty_folder


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path, folder: Path, bash: Shell) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}  # of the page's Python
    with collect_registrations():  # which other tests must not see
        for block in blocks(page):
            if block.mark == "file":
                Path(block.reason).parent.mkdir(parents=True, exist_ok=True)
                Path(block.reason).write_text(block.code, encoding="utf-8")
            elif block.mark == "not run":
                assert len(block.reason) > 8, f"{block}: say why it is not run"
            elif block.language == "python":
                exec(compile(block.code, str(block), "exec"), names)
            elif block.language == "sh":
                done = bash.run(block.code)
                assert done.returncode == 0, f"{block}\n{block.code}{done.stdout}\n{done.stderr}"
                assert "Traceback" not in done.stderr, f"{block}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_has_a_language_that_is_run_or_is_none(page: Path) -> None:
    known = {*RUN, "", "toml", "yaml"}
    for block in blocks(page):
        assert block.language in known or block.language.startswith("{"), block
        if block.language in ("", "toml", "yaml"):
            assert block.mark in ("", "file"), f"{block}: nobody runs that"


# --- links and generated parts --------------------------------------------------------------------


@pytest.mark.parametrize(
    "page", [*PAGES, REPOSITORY / "CONTRIBUTING.md"], ids=lambda page: page.stem
)
def test_a_relative_link_leads_to_a_file(page: Path) -> None:
    for link in links(page):
        place, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / place).resolve() if place else page
        assert target.is_file(), f"{page.name}: {link}"
        if anchor:  # of a page that includes another file, the headings are that file's
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    named = {line for block in re.findall(r"```\{toctree\}(.*?)```", index, re.S)
             for line in block.split()}  # fmt: skip
    assert {page.stem for page in DOCS.glob("*.md")} - {"index"} <= named


@pytest.fixture(scope="module")
def generated() -> Any:
    """Return the module that makes parts of pages."""
    pytest.importorskip("sphinx")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "_ext"))
        return import_module("generated")


def test_every_registered_metric_is_in_the_reference(generated: Any) -> None:
    text = generated.metrics()
    assert [name for name in registered() if f"| `{name}` |" not in text] == []


def test_every_command_and_option_is_in_the_reference(generated: Any) -> None:
    text = generated.commands()
    for name, command in commands():
        assert f"## {name}\n" in text or hasattr(command, "commands")
        for option in command.params:
            if not getattr(option, "hidden", False) and hasattr(command, "callback"):
                assert all(one in text for one in option.opts if name != "pmbench"), option.opts


def test_pages_ask_only_for_what_can_be_generated(generated: Any) -> None:
    asked = [
        name for page in DOCS.glob("*.md")
        for name in re.findall(r"<!-- generated: (.+?) -->", page.read_text(encoding="utf-8"))
    ]  # fmt: skip
    assert sorted(asked) == sorted(generated.GENERATED)


def test_the_readme_has_the_published_scores_of_the_metrics_here(generated: Any) -> None:
    text = README.read_text(encoding="utf-8")
    begin, end = "<!-- published -->\n", "\n<!-- /published -->"
    # python -c 'import sys; sys.path.append("docs/_ext"); import generated; print(…)'
    assert text[text.index(begin) + len(begin) : text.index(end)] == generated.published_here()


# --- prose ----------------------------------------------------------------------------------------


def commands() -> list[tuple[str, Any]]:
    """Return every command, by its whole name."""
    found, waiting = [], [("pmbench", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        found.append((name, command))
        inner = getattr(command, "commands", {})
        waiting += [(f"{name} {word}", one) for word, one in inner.items()]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_sentence_of_a_page_is_long(page: Path) -> None:
    assert too_long(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda one: str(one)[:24])
def test_no_sentence_of_help_is_long(name: str, command: Any) -> None:
    for text in (command.help, *(getattr(one, "help", None) for one in command.params)):
        assert too_long(text or "") == [], name
    assert len(pmbench(*name.split()[1:], "--help").stdout) > 100


def too_long(text: str) -> list[str]:
    """Return the sentences that have too many words."""
    return [one for one in sentences(text) if words(one) > LONGEST]


def test_a_long_sentence_is_noticed() -> None:
    short, long = "word " * 24 + "end.", "word " * 25 + "end."
    assert too_long(f"{short} {long.capitalize()}\n`a b` {short[5:]}") == [long.capitalize()]
    assert too_long("- " + "word " * 20 + "\n- " + "word " * 20) == []


def test_the_readme_is_short_and_says_first_what_a_newcomer_types() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 150
    assert any(line.startswith("make demo") for line in lines[:25])
    assert any(line.startswith("make test") for line in lines[:25])

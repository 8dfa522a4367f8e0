"""``pmbench cite``: every paper behind a table, once, and nothing that nobody knows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.cli import pmbench
from support.latex import PDFLATEX, need_latex, run_latex

from pmbench.analysis.citations import Used, cite, references, to_bibtex
from pmbench.datasets.manifest import datasets
from pmbench.metrics import registered
from pmbench.metrics.external.net import resolve

pytestmark = pytest.mark.usefixtures("empty_folder")

LADDER = ("-d", "ladder-2afc", "--limit", "1")


def keys(bibtex: str) -> list[str]:
    return re.findall(r"^@\w+\{([^,]+),$", bibtex, re.MULTILINE)


def comments(bibtex: str) -> set[str]:
    """Return the lines of comments."""
    return {line for line in bibtex.splitlines() if line.startswith("% ")}


# --- the entries ----------------------------------------------------------------------------------


def papers() -> set[str]:
    """Return every paper that a metric or a dataset of pmbench names."""
    metrics = [*registered().values(), resolve("net:", "torchvision/alexnet", {"random": "0"})]
    named = {metric.paper for metric in metrics} | {one.citation for one in datasets().values()}
    return named - {""}


@pytest.mark.parametrize("paper", sorted(papers()))
def test_every_paper_that_is_named_has_an_entry(paper: str) -> None:
    assert cite([Used("it", paper)]).keys["it"]


def test_every_entry_and_every_name_of_a_paper_is_used() -> None:
    assert {name for names, _ in references().values() for name in names} == papers()


@pytest.mark.parametrize("key", list(references()))
def test_an_entry_has_what_it_needs_and_its_braces_close(key: str) -> None:
    _, text = references()[key]
    assert text.isascii()
    assert re.fullmatch(r"[a-z]+(19|20)\d\d[a-z]+", key)
    first, *lines, last = text.splitlines()
    assert re.fullmatch(rf"@(article|inproceedings)\{{{key},", first)
    assert last == "}"
    fields = {}
    for i, line in enumerate(lines):
        found = re.fullmatch(r"  ([a-z]+) += \{(.*)\}(,?)", line)
        assert found is not None, line
        assert bool(found[3]) == (i < len(lines) - 1)  # BibTeX stops where a comma lacks
        depth = 0
        for letter in found[2]:
            depth += {"{": 1, "}": -1}.get(letter, 0)
            assert depth >= 0
        assert depth == 0
        assert found[1] not in fields
        fields[found[1]] = found[2]
    where = "journal" if first.startswith("@article") else "booktitle"
    assert {"author", "title", "year", where} <= set(fields)
    assert set(fields) <= {
        "author", "title", "year", where, "volume", "number", "pages", "doi", "eprint",
        "archiveprefix",
    }  # fmt: skip
    assert fields["year"] in key
    assert all("," in name for name in fields["author"].split(" and "))  # Surname, Name
    surname = fields["author"].partition(",")[0].lower().replace(" ", "")
    assert key.startswith(re.sub(r"[^a-z]", "", surname))
    assert ("eprint" in fields) == (fields.get("archiveprefix") == "arXiv")


def test_the_years_are_those_that_the_metrics_name() -> None:
    printed_later = {"ding2022image": "2020"}
    for key, (names, _) in references().items():
        year = printed_later.get(key) or re.findall(r"\d{4}", key)[0]
        assert all(year in name for name in names), key


# --- the command ----------------------------------------------------------------------------------


def test_metrics_and_datasets_by_name_need_no_runs() -> None:
    told = pmbench("cite", "lpips-alex", "mmdpp,mmdppp", "dssim", "l1", "-d", "bapps").stdout
    assert keys(told) == [
        "pmbench", "amir2021understanding", "wang2004image", "zhang2018unreasonable",
    ]  # fmt: skip
    assert {
        "% amir2021understanding: mmdpp, mmdppp",
        "% wang2004image: dssim",
        "% zhang2018unreasonable: bapps-2afc-val, bapps-jnd-val, lpips-alex, dssim",
        "% no reference known for: l1",
    } <= comments(told)
    assert keys(pmbench("cite", "-d", "bapps-2afc-train").stdout) == [
        "pmbench", "zhang2018unreasonable",
    ]  # fmt: skip


def test_without_names_it_is_all_that_was_run() -> None:
    assert pmbench("cite", code=2).stderr == (
        "no runs in results; make some with `pmbench eval`, name another folder with --results, "
        "or name metrics: pmbench cite lpips-alex\n"
    )
    pmbench("eval", "-m", "ssim,mmdpp,l1", *LADDER)
    pmbench("eval", "-m", "lap1", "-d", "ladder-jnd", "--limit", "1")
    told = pmbench("cite").stdout
    assert keys(told) == [
        "pmbench", "amir2021understanding", "bojanowski2018optimizing", "wang2004image",
    ]  # fmt: skip
    assert "% no reference known for: ladder-2afc, ladder-jnd, l1" in comments(told)
    assert keys(pmbench("cite", "-d", "ladder-jnd").stdout) == [
        "pmbench", "bojanowski2018optimizing",
    ]  # fmt: skip
    told = pmbench("cite", "-o", "CITATION.bib").stdout
    assert told == (
        "CITATION.bib: pmbench, amir2021understanding, bojanowski2018optimizing, wang2004image\n"
        "no reference known for: ladder-2afc, ladder-jnd, l1\n"
    )
    assert Path("CITATION.bib").read_text() == pmbench("cite").stdout


def test_a_run_is_cited_by_what_it_was_measured_with(empty_folder: Path) -> None:
    """Of a metric that is not registered, what stands in its run counts."""
    Path("mine.py").write_text(
        "from pmbench.metrics import metric\n"
        "@metric('mine@home', title='', paper='Doe: Images {and} more, 2031')\n"
        "def one(x, y):\n    return (x.pixels - y.pixels).abs().amax((1, 2, 3))\n"
    )
    pmbench("eval", "-m", "./mine.py", *LADDER)
    Path("mine.py").unlink()
    for words in ([], ["mine@home"]):
        told = pmbench("cite", *words).stdout
        assert (
            "% no BibTeX entry known for: mine(at)home (Doe: Images {and} more, 2031)"
            in comments(told)
        )
        assert told.count("@") == 1  # BibTeX would read an entry behind another one
    assert pmbench("cite", "thine", code=2).stderr.startswith("unknown metric 'thine'; ")


def test_versions_are_those_of_the_runs() -> None:
    pmbench("eval", "-m", "l1,l2", *LADDER)
    assert "  version   = {0.1.0}\n" in pmbench("cite").stdout
    path = Path("results/ladder-2afc@first1/l1/run.json")
    info = json.loads(path.read_text()) | {"pmbench": "0.3.0"}
    del info["dataset"]["citation"]  # nor did it say whose the dataset is
    path.write_text(json.dumps(info))
    assert "  version   = {0.1.0, 0.3.0}\n" in pmbench("cite").stdout


def test_all_is_every_metric_installed_or_not() -> None:
    told = pmbench("cite", "all").stdout
    named = {name for line in comments(told) for name in re.split(r"[:,] ?", line[2:])[1:]}
    assert {name.strip() for name in named} >= set(registered())


# --- in a paper -----------------------------------------------------------------------------------

PAPER = r"""
\documentclass{article}
\begin{document}
\nocite{*}
Text\cite{zhang2018unreasonable,mantiuk2024colorvideovdp,pmbench}.
\bibliographystyle{plain}
\bibliography{CITATION}
\end{document}
"""


def test_latex_and_bibtex_take_it(empty_folder: Path) -> None:
    need_latex()
    everything = [Used(key, names[0]) for key, (names, _) in references().items()]
    bibtex = to_bibtex(cite([*everything, Used("net@home", "Doe 2031"), Used("l1", "")]))
    Path("CITATION.bib").write_text(bibtex)
    Path("paper.tex").write_text(PAPER)
    run_latex(empty_folder, *PDFLATEX)
    assert "Warning" not in run_latex(empty_folder, "bibtex", "paper")
    for _ in range(2):
        run_latex(empty_folder, *PDFLATEX)
    assert Path("paper.bbl").read_text().count(r"\bibitem") == len(references()) + 1
    log = Path("paper.log").read_text()
    assert "undefined" not in log
    assert Path("paper.pdf").stat().st_size > 10_000

"""LaTeX, where it is installed: what people paste into a paper is compiled by it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PDFLATEX = ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex")


def need_latex() -> None:
    """Skip the test where there is no LaTeX; under PMBENCH_REQUIRE_LATEX=1, fail."""
    missing = [name for name in ("pdflatex", "bibtex") if shutil.which(name) is None]
    if missing and os.environ.get("PMBENCH_REQUIRE_LATEX"):
        pytest.fail(f"PMBENCH_REQUIRE_LATEX is set and there is no {missing[0]}")
    if missing:
        pytest.skip("needs LaTeX, such as Debian's package texlive-latex-recommended")


def run_latex(folder: Path, *command: str) -> str:
    """Run a command of LaTeX on ``paper.tex`` in a folder; return what it said."""
    ended = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    output = ended.stdout.decode(errors="replace")
    assert ended.returncode == 0, output[-2000:]
    return output


def compiled(tables: list[str], folder: Path) -> str:
    """Compile tables in a minimal article that loads what they ask for; return what LaTeX said.

    Skips the test where there is no LaTeX.
    """
    need_latex()
    packages = dict.fromkeys(p for t in tables for p in re.findall(r"\\usepackage\{(\w+)\}", t))
    text = "".join(
        [
            "\\documentclass[a4paper]{article}\n",
            *(f"\\usepackage{{{package}}}\n" for package in packages),
            "\\begin{document}\n",
            *tables,
            "\\end{document}\n",
        ]
    )
    (folder / "paper.tex").write_text(text, encoding="utf-8")
    run_latex(folder, *PDFLATEX)
    return run_latex(folder, *PDFLATEX)  # long tables learn their widths in the first pass

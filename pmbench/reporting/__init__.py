"""Analyses and results -> text: a terminal, Markdown, LaTeX, HTML, and the static site (``site``).

Nothing is printed here. May import analysis, results and all below; never torch.
"""

from pmbench.reporting.html import to_html
from pmbench.reporting.latex import to_latex
from pmbench.reporting.listings import (
    estimate_to_rich,
    listing_to_rich,
    scores_to_rich,
    speed_forecast,
    speeds_to_rich,
    to_json,
)
from pmbench.reporting.markdown import to_markdown
from pmbench.reporting.terminal import to_plain, to_rich

__all__ = [
    "estimate_to_rich",
    "listing_to_rich",
    "scores_to_rich",
    "speed_forecast",
    "speeds_to_rich",
    "to_html",
    "to_json",
    "to_latex",
    "to_markdown",
    "to_plain",
    "to_rich",
]

"""Boards and other tables -> text: for a terminal, Markdown, LaTeX or HTML. Nothing is printed."""

from pmbench.render.forecast import forecast_to_rich
from pmbench.render.html import to_html
from pmbench.render.latex import to_latex
from pmbench.render.listing import listing_to_rich, to_json
from pmbench.render.markdown import to_markdown
from pmbench.render.scores import scores_to_rich
from pmbench.render.speeds import speeds_to_rich
from pmbench.render.terminal import to_plain, to_rich

__all__ = [
    "forecast_to_rich",
    "listing_to_rich",
    "scores_to_rich",
    "speeds_to_rich",
    "to_html",
    "to_json",
    "to_latex",
    "to_markdown",
    "to_plain",
    "to_rich",
]

"""Values -> HTML, by the templates beside this file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from pmbench import __version__
from pmbench.reporting.site.charts import Figure
from pmbench.reporting.site.gallery import Disagreement, ExampleSection
from pmbench.reporting.site.metric_page import Page
from pmbench.reporting.site.table import Table


@dataclass(frozen=True)
class DatasetSection:
    """One dataset on the index page."""

    name: str
    title: str
    warning: str
    in_short: list[str]
    table: Table
    figures: list[Figure]
    not_shown: list[str]
    legend: list[str]
    signature: str
    unit: str

    @property
    def papers(self) -> bool:
        """Whether the table has rows of papers."""
        return any(
            line.kind == "published"
            for line in (*self.table.people, *self.table.metrics, *self.table.published)
        )


@dataclass(frozen=True)
class GallerySection:
    """One dataset in the gallery."""

    name: str
    title: str
    hardest: ExampleSection | None
    metrics: list[tuple[str, list[str]]]  # name, and how many items its page is about
    duels: list[Disagreement]
    why_no_images: str
    judged: bool


@dataclass(frozen=True)
class Site:
    """What all pages share."""

    title: str
    addresses: dict[str, str]  # of metrics' pages, from the top of the site
    gallery: bool
    until: str  # when the last run was finished
    protocols: list[tuple[str, str]]  # the main statistic of each, and how it is made
    overall: list[str]  # which overall scores are shown: "macro", "pooled"


def index(site: Site, shown: list[DatasetSection], relations: list[tuple[str, Figure | str]],
          humans: list[tuple[str, str]]) -> str:  # fmt: skip
    """Return the first page."""
    return _render(
        "index.html.j2", site, "", shown=shown, relations=relations, humans=humans,
        protocols=site.protocols, overall=site.overall, common=_common_legend(shown),
    )  # fmt: skip


def _common_legend(sections: list[DatasetSection]) -> list[str]:
    """Return the lines of legend that are the same for all of several tables."""
    first, *others = (section.legend for section in sections)
    return [line for line in first if others and all(line in legend for legend in others)]


def gallery(site: Site, walls: list[GallerySection]) -> str:
    """Return the page of images."""
    return _render("gallery.html.j2", site, "", walls=walls)


def metric(site: Site, page: Page, before: str, after: str) -> str:
    """Return a metric's page; ``before`` and ``after`` are the names of its neighbours, or ""."""
    return _render("metric.html.j2", site, "../", page=page, before=before, after=after)


def _render(template: str, site: Site, root: str, **values: Any) -> str:
    shared = {"site": site, "root": root, "version": __version__}
    return _templates().get_template(template).render(**shared, **values)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("pmbench.reporting.site", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["prose"] = _prose
    made.filters["linked"] = _linked
    return made


@pass_context
def _prose(context: Context, text: str) -> Markup:
    """Return a sentence as HTML: what stands between backticks becomes a link to its page."""
    addresses: dict[str, str] = context["site"].addresses
    parts = []
    for i, part in enumerate(text.split("`")):
        if i % 2 == 0:
            parts.append(escape(part))
        elif part in addresses:
            form = Markup('<a class="name" href="{}{}">{}</a>')
            parts.append(form.format(context["root"], addresses[part], part))
        else:
            parts.append(Markup("<code>{}</code>").format(part))
    return Markup("").join(parts)


def _linked(text: str) -> Markup:
    """Return a fact as HTML: one that is a web address leads there."""
    if text.startswith(("https://", "http://")) and " " not in text:
        return Markup('<a href="{0}">{0}</a>').format(text)
    return escape(text)

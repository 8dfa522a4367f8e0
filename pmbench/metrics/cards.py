"""What is known of a metric, as a card: plain values for tables and JSON."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from pmbench.metrics import Metric
from pmbench.metrics.loading import load_metric, model_size
from pmbench.metrics.selection import catalogue
from pmbench.networks import weights
from pmbench.networks.manifest import weight_files
from pmbench.utils.errors import PmbenchError, closest
from pmbench.utils.progress import Silent

Card = dict[str, Any]


def cards(text: str = "") -> list[Card]:
    """Return a card for each metric of the catalogue that has ``text`` in it, by family.

    Looked at are name, family, title and paper, in upper or lower case. Raises PmbenchError where
    no metric has it.
    """
    known = catalogue()
    results = [metric for metric in known.values() if text.casefold() in _words(metric)]
    if not results:
        close = closest(text, known)
        hint = f"did you mean {' or '.join(close)}?" if close else "try fewer letters"
        raise PmbenchError(f"no metric has '{text}' in its name, family, title or paper; {hint}")
    families = list(dict.fromkeys(metric.family for metric in results))
    # within a family, those that lack the same package stand together at its end
    results.sort(key=lambda metric: (families.index(metric.family), metric.not_installed() or ""))
    return [card(metric) for metric in results]


def _words(metric: Metric) -> str:
    return "\n".join((metric.name, metric.family, metric.title, metric.paper)).casefold()


def card(metric: Metric) -> Card:
    """Return what a metric says of itself, and where its weights are."""
    lacking = metric.not_installed()
    return {
        "metric": metric.name,
        "family": metric.family,
        "title": metric.title,
        "paper": metric.paper,
        "short_paper": short_paper(metric.paper),
        "code": metric.code,
        "better": "higher" if metric.higher_is_better else "lower",
        "symmetric": metric.symmetric,
        "differentiable": metric.differentiable,
        "has_map": metric.has_map,
        "space": metric.space,
        "min_size": metric.min_size,
        "multiple_of": metric.multiple_of,
        "tolerance": metric.tolerance,
        "version": metric.version,
        "parameters": dict(metric.parameters),
        "weights": [_weight_file(name) for name in metric.weights],
        "licence": metric.licence,
        "extra": metric.extra or None,
        "not_installed": lacking,
        "install": f"pip install 'pmbench[{metric.extra}]'" if lacking else None,
    }


def _weight_file(name: str) -> Card:
    entry, place = weight_files()[name], weights.find(name)
    size = entry.megabytes if place is None else round(place.stat().st_size / 1e6, 3)
    return {
        "name": name,
        "place": None if place is None else str(place),
        "megabytes": size,
        "url": entry.url,
        "package": entry.package,
        "licence": entry.licence,
    }


def short_paper(paper: str) -> str:
    """Return authors and year: "Zhang et al.: The Unreasonable …, CVPR 2018", Zhang et al. 2018."""
    year = re.search(r"\b(?:19|20)\d\d\b", paper)
    if year is None:
        return paper
    before = paper[: year.start()]
    if ":" not in before:
        return paper[: year.end()]
    authors = before.partition(":")[0].split(", ")
    who = f"{authors[0]} et al." if len(authors) > 2 else " & ".join(authors)
    return f"{who} {year[0]}"


def full_card(metric: Metric, runs: Sequence[str] = ()) -> Card:
    """Return a metric's card, with what is known only once it is loaded.

    Nothing is fetched: ``numbers`` (in its networks and filters) and ``signature`` are None where
    something would have to be, and ``not_loaded`` says what. ``runs`` are the metric's runs, as
    DATASET/METRIC.
    """
    facts: Card = {"numbers": None, "signature": None, "not_loaded": None}
    facts["runs"] = list(runs)
    absent = [name for name in metric.weights if weights.find(name) is None]
    if absent and not metric.not_installed():
        facts["not_loaded"] = (
            f"the weights {', '.join(absent)} are not on this machine; "
            f"`pmbench download {metric.name}` fetches them"
        )
        return card(metric) | facts
    try:
        with _no_network():
            loaded = load_metric(metric, torch.device("cpu"), Silent())
    except PmbenchError as error:
        facts["not_loaded"] = str(error)
    else:
        held = model_size(loaded.distance)
        facts["numbers"] = None if held is None else held.numbers
        facts["signature"] = loaded.signature
    return card(metric) | facts


@contextmanager
def _no_network() -> Iterator[None]:
    """Let whatever other people's code would fetch fail at once."""

    def refused(*args: object, **options: object) -> Any:
        raise OSError("it would have to be fetched, and `pmbench show` fetches nothing")

    before = socket.getaddrinfo
    socket.getaddrinfo = refused
    try:
        yield
    finally:
        socket.getaddrinfo = before

"""What was used in a table -> the papers to cite, as BibTeX.

``data/references.bib`` holds the entries; above each stands how the metrics' cards and the
manifests call its paper. What has no entry is named, never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pmbench import __version__
from pmbench.datasets import manifest
from pmbench.datasets.manifest import Manifest
from pmbench.results.run import Run

OWN_KEY = "pmbench"


@dataclass(frozen=True)
class Used:
    """A metric or a dataset that stands in a table, and what it says of its paper ("": nothing)."""

    name: str
    paper: str


@dataclass(frozen=True)
class Citations:
    """Entries by key, the keys for each name, and the names for which there are none."""

    entries: dict[str, str]
    keys: dict[str, tuple[str, ...]]
    unknown: list[Used]
    versions: tuple[str, ...]  # of pmbench


def cite(used: Iterable[Used], versions: Iterable[str] = ()) -> Citations:
    """Return what to cite for metrics and datasets, each entry once.

    ``versions`` are those of pmbench that measured them; without any it is this one.
    """
    known = references()
    keys: dict[str, tuple[str, ...]] = {}
    unknown: list[Used] = []
    for one in dict.fromkeys(used):
        if result := tuple(key for key, (papers, _) in known.items() if one.paper in papers):
            keys[one.name] = result
        else:
            unknown.append(one)
    named = {key for result in keys.values() for key in result}
    entries = {key: text for key, (_, text) in known.items() if key in named}
    return Citations(entries, keys, unknown, tuple(sorted({*versions} or {__version__})))


def used_in(runs: Sequence[Run]) -> list[Used]:
    """Return the datasets and the metrics of runs, each once."""
    datasets = [_dataset(run) for run in runs]
    metrics = [Used(run.metric, run.info.metric.paper) for run in runs]
    return list(dict.fromkeys(datasets + metrics))


def used_of(datasets: Iterable[Manifest]) -> list[Used]:
    """Return datasets of which nothing need have been measured."""
    return [Used(entry.name, entry.citation) for entry in datasets]


def _dataset(run: Run) -> Used:
    dataset = run.info.dataset
    citation = dataset.citation
    if citation is None:  # a run of an earlier version
        entry = manifest.datasets().get(dataset.name)
        citation = entry.citation if entry else ""
    return Used(dataset.name, citation)


@cache
def references() -> dict[str, tuple[tuple[str, ...], str]]:
    """Return each entry of ``references.bib`` by key: what its paper is called, and its text."""
    text = resources.files("pmbench").joinpath("data/references.bib").read_text(encoding="utf-8")
    results = {}
    for block in text.split("\n\n"):
        lines = block.strip().splitlines()
        papers = tuple(line.removeprefix("% ") for line in lines if line.startswith("% "))
        entry = [line for line in lines if not line.startswith("%")]
        if entry:
            key = entry[0].partition("{")[2].rstrip(",")
            results[key] = (papers, "\n".join(entry))
    return results


def to_bibtex(citations: Citations) -> str:
    """Return a BibTeX file: what each entry is cited for, what has none, and the entries."""
    lines = ["% What to cite for these metrics and datasets; written by pmbench.", "%"]
    for entry in citations.entries:
        names = [_safe(name) for name, keys in citations.keys.items() if entry in keys]
        lines.append(f"% {entry}: {', '.join(names)}")
    lines += [f"% {_safe(sentence)}" for sentence in not_known(citations)]
    return "\n\n".join(["\n".join(lines), _own(citations), *citations.entries.values()]) + "\n"


def not_known(citations: Citations) -> list[str]:
    """Return sentences about what has no entry."""
    silent = [one.name for one in citations.unknown if not one.paper]
    named = [f"{one.name} ({one.paper})" for one in citations.unknown if one.paper]
    lines = [f"no reference known for: {', '.join(silent)}"] if silent else []
    return lines + [f"no BibTeX entry known for: {one}" for one in named]


def _safe(text: str) -> str:
    """Return text that may stand outside of entries, where BibTeX reads on behind an @."""
    return " ".join(text.replace("@", "(at)").split())


def _own(citations: Citations) -> str:
    return (
        f"@misc{{{OWN_KEY},\n"
        "  author    = {{The pmbench maintainers}},\n"
        "  title     = {pmbench: which perceptual image metric agrees with people},\n"
        f"  version   = {{{', '.join(citations.versions)}}}\n"
        "}"
    )

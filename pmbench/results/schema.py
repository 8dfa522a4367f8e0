"""Whether what a run's files say can be worked with: facts and scores that later code relies on.

A file that was cut off, or edited by hand, is found here and not where it would break something.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pmbench.scoring.protocols import PROTOCOLS
from pmbench.scoring.scores import COLUMNS

FORMAT = 1
_NUMBERS = ("value", "low", "high", "n", "of")


@dataclass(frozen=True)
class _Kind:
    """What a value of ``run.json`` may be; ``of`` is what a list or a mapping holds."""

    told: str
    types: tuple[type, ...]
    of: _Kind | None = None

    def takes(self, value: object) -> bool:
        """Return whether a value, as JSON gives it, is of this kind."""
        if type(value) not in self.types:
            return False
        if isinstance(value, float):
            return math.isfinite(value)
        if isinstance(value, str):
            return _is_text(value)
        if isinstance(value, dict):
            if not all(map(_is_text, value)):
                return False
            value = list(value.values())
        return not isinstance(value, list) or self.of is None or all(map(self.of.takes, value))


def _is_text(value: str) -> bool:
    """Return whether a text can be printed; JSON can name half a character."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


_TEXT = _Kind("text", (str,))
_FLAG = _Kind("true or false", (bool,))
_WHOLE = _Kind("a whole number", (int,))
_NUMBER = _Kind("a number", (int, float, type(None)))
_COUNT = _Kind("a whole number or null", (int, type(None)))
_TEXTS = _Kind("a list of texts", (list,), _TEXT)
_NAMED = _Kind("a mapping of texts", (dict,), _TEXT)
_FACTS = _Kind("a mapping", (dict,), _Kind("", (str, bool, int, float, type(None))))
_SHAPES = _Kind("a mapping", (dict,))

_OF_THE_RUN = {
    "signature": _TEXT, "pmbench": _TEXT, "dataset": _SHAPES, "metric": _SHAPES,
    "environment": _FACTS, "command": _TEXT, "started": _TEXT, "finished": _TEXT,
    "seconds": _NUMBER, "items_per_second": _NUMBER, "peak_memory_mb": _NUMBER,
    "measured_together": _TEXTS,
}  # fmt: skip
_OF_THE_DATASET = {
    "name": _TEXT, "title": _TEXT, "protocol": _TEXT, "human_votes": _FLAG, "resize": _TEXT,
    "selection": _TEXT, "items": _WHOLE, "of": _WHOLE, "partial": _FLAG, "source": _TEXT,
    "source_sha256": _TEXT, "pack_digest": _TEXT, "sub_datasets": _TEXTS, "short_names": _NAMED,
}  # fmt: skip
_OF_THE_METRIC = {
    "name": _TEXT, "title": _TEXT, "paper": _TEXT, "code": _TEXT, "licence": _TEXT,
    "higher_is_better": _FLAG, "symmetric": _FLAG, "version": _WHOLE, "parameters": _SHAPES,
    "digest": _TEXT, "weights": _NAMED, "undefined_on": _NAMED,
}  # fmt: skip
_OF_BATCHES = {"pixels": _WHOLE, "items": _COUNT, "count": _WHOLE}
_OF_THE_BOOTSTRAP = {"resamples": _WHOLE, "seed": _WHOLE}
# what earlier versions did not write: it may be missing, but not be something else
_LATER = {
    "run": {"files": _NAMED, "rate": _FACTS},
    "dataset": {"pack_partial": _FLAG, "manifest": _TEXT, "citation": _TEXT},
    "metric": {
        "parameters_count": _COUNT, "weights_mb": _NUMBER, "tolerance": _NUMBER, "address": _TEXT,
        "package": _TEXT, "family": _TEXT, "source": _TEXT,
    },
}  # fmt: skip


def check_facts(info: Any) -> None:
    """Raise ValueError, KeyError or TypeError where ``run.json`` lacks what some reader needs.

    Whoever reads a run after this takes what is here for granted.
    """
    if info["format"] != FORMAT:
        raise ValueError(f"format {info['format']}, expected {FORMAT}")
    _check("the run", info, _OF_THE_RUN, _LATER["run"])
    about, metric = info["dataset"], info["metric"]
    _check("the dataset", about, _OF_THE_DATASET, _LATER["dataset"])
    _check("the metric", metric, _OF_THE_METRIC, _LATER["metric"])
    imported = bool(info["environment"].get("imported"))
    if not (imported and info["batches"] is None):
        _check("batches", info["batches"], _OF_BATCHES)
    if "bootstrap" in info:
        _check("bootstrap", info["bootstrap"], _OF_THE_BOOTSTRAP)
    if not info["signature"] or not metric["name"]:
        raise ValueError("no signature or no name")
    if about["protocol"] not in PROTOCOLS:
        raise ValueError(f"unknown protocol '{about['protocol']}'")
    if not about["sub_datasets"] or not 0 < about["items"] <= about["of"]:
        raise ValueError("no sub-datasets, no items, or more items than there are")
    if metric.get("parameters_count") is not None and metric.get("weights_mb") is None:
        raise ValueError("parameters_count without weights_mb")
    if imported and "sha256" not in info["environment"]:
        raise ValueError("imported from a file without sha256")


def _check(
    whose: str, facts: Any, kinds: Mapping[str, _Kind], later: Mapping[str, _Kind] | None = None
) -> None:
    """Raise ValueError, KeyError or TypeError unless facts are there and of their kinds."""
    if not isinstance(facts, dict):
        raise ValueError(f"{whose} is {json.dumps(facts)}, expected a mapping")  # noqa: TRY004
    if missing := [key for key in kinds if key not in facts]:
        raise KeyError(f"{missing[0]} of {whose}")
    for key, kind in {**kinds, **(later or {})}.items():
        if key in facts and not kind.takes(facts[key]):
            raise ValueError(f"{key} of {whose} is {_shown(facts[key])}, expected {kind.told}")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def check_scores(table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """Raise ValueError unless a table has each score of a run once, and numbers where they belong.

    ``about`` is what ``run.json`` says of the dataset.
    """
    # a run written before there was the last column says nothing about its intervals
    if missing := [name for name in COLUMNS if name not in table and name != "unreliable"]:
        raise ValueError(f"no column {missing[0]}")
    for name in _NUMBERS:
        if pd.api.types.is_numeric_dtype(table[name]):
            continue
        bad = pd.to_numeric(table[name], errors="coerce").isna() & table[name].notna()
        if bad.any():
            raise ValueError(f"{name} is '{table[name][bad].iloc[0]}', expected a number")
    counts = table[["n", "of"]].to_numpy(float)
    if (counts % 1 != 0).any():  # as with NaN
        raise ValueError("n and of: expected whole numbers in every row")
    if "unreliable" in table and len(table) and table["unreliable"].dtype != bool:
        raise ValueError("unreliable: expected True or False in every row")
    _check_rows(table, about)


def _check_rows(table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """Raise ValueError unless every statistic, and every row about people, has every place."""
    protocol = PROTOCOLS[about["protocol"]]
    if len(names := table["name"][table["kind"] == "metric"].unique()) > 1:
        raise ValueError(f"several metrics, {' and '.join(map(str, names))}")
    wanted = [("metric", statistic.name) for statistic in protocol.statistics]
    if (table["kind"] == "human").any():
        wanted += [("human", human.name) for human in protocol.humans]
    people = table["kind"] == "human"  # who are told apart by name, and have one statistic
    what = table["statistic"].where(~people, table["name"])
    found = Counter(zip(table["kind"], what, table["sub_dataset"], strict=True))
    for kind, name in wanted:
        for place in (*about["sub_datasets"], "macro", "pooled"):
            if (times := found[kind, name, place]) != 1:
                raise ValueError(f"{times or 'no'} rows of {name}, {place}; expected one")

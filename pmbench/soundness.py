"""Whether what a run's files say can be worked with: facts and scores that later code relies on.

A file that was cut off, or edited by hand, is found here and not where it would break something.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from pmbench.protocols import PROTOCOLS
from pmbench.scores import COLUMNS

FORMAT = 1
_KINDS: dict[type, str] = {
    str: "text", bool: "true or false", int: "a whole number", list: "a list", dict: "a mapping",
}  # fmt: skip
_OF_THE_DATASET: dict[str, type] = {
    "name": str, "title": str, "protocol": str, "human_votes": bool, "items": int, "of": int,
    "partial": bool, "sub_datasets": list, "short_names": dict,
}  # fmt: skip
_NUMBERS = ("value", "low", "high", "n", "of")


def check_facts(info: Any) -> None:
    """Raise ValueError, KeyError or TypeError where ``run.json`` lacks what boards are made of."""
    if info["format"] != FORMAT:
        raise ValueError(f"format {info['format']}, expected {FORMAT}")
    if not info["signature"] or not info["metric"]["name"]:
        raise ValueError("no signature or no name")
    about = info["dataset"]
    for key, kind in _OF_THE_DATASET.items():
        if type(about[key]) is not kind:
            raise ValueError(
                f"{key} of the dataset is {json.dumps(about[key])}, expected {_KINDS[kind]}"
            )
    if about["protocol"] not in PROTOCOLS:
        raise ValueError(f"unknown protocol '{about['protocol']}'")
    if type(speed := info["items_per_second"]) not in (int, float, type(None)):
        raise ValueError(f"items_per_second is {json.dumps(speed)}, expected a number")


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

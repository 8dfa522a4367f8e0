"""The names that a user may give to metrics: registered ones, and addresses of external ones.

``NAME=ADDRESS`` gives an external metric a name of its own.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from pmbench.metrics import Metric, registered
from pmbench.metrics.external.adapters import RESERVED
from pmbench.utils.errors import PmbenchError, unknown

# the scheme of an address -> the module of pmbench.metrics.external that opens it
_ADAPTERS = {
    "net": "net",
    "pyiqa": "pyiqa",
    "torchmetrics": "torchmetrics",
    "cmd": "command",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*")
_NAMED = re.compile(r"([^=/:?]+)=(.+)", re.DOTALL)
_ADDRESS = re.compile(rf"({'|'.join(_ADAPTERS)})(?:\?([^:]*))?:(.+)", re.DOTALL)
_PYTHON = re.compile(r"(.+\.py(?::[\w.+-]+)?|[A-Za-z_][\w.]*:[\w.+-]+)(?:\?(.*))?")


@dataclass(frozen=True)
class MetricSelection:
    """The metrics that were asked for, and those that "all" left out, each with the reason."""

    metrics: list[Metric]
    left_out: Mapping[str, str]


def catalogue() -> dict[str, Metric]:
    """Return every metric that has a name: pmbench's own, and those of installed plug-ins."""
    from pmbench.metrics.external import entry_points

    known = registered()
    for entry in entry_points.installed(known):
        known[entry.name] = entry
    return known


def select_metrics(names: list[str]) -> MetricSelection:
    """Return the metrics of those names and addresses, each once.

    "all" is every metric of the catalogue whose package is installed. Raises PmbenchError for a
    name that is neither known nor an address, and where one name is given to two metrics.
    """
    known = registered()
    if not known.keys() >= set(names):  # plug-ins may take long to import
        known = catalogue()
    chosen: dict[str, Metric] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if name in known:
            _add(chosen, known[name])
        elif name != "all":
            for entry in _resolve(name, known):
                _add(chosen, entry)
        else:
            for entry in known.values():
                if (lacking := entry.not_installed()) is not None:
                    left_out[entry.name] = lacking
                else:
                    _add(chosen, entry)
    return MetricSelection(
        list(chosen.values()), {k: v for k, v in left_out.items() if k not in chosen}
    )


def is_address(text: str) -> bool:
    """Return whether a text has the form of an address, with or without a name in front."""
    named = _NAMED.fullmatch(text)
    address = named[2] if named else text
    return bool(_ADDRESS.fullmatch(address) or _PYTHON.fullmatch(address))


def check_name(name: str, known: Collection[str]) -> None:
    """Raise PmbenchError for a name that a user may not give to a metric."""
    if not _NAME.fullmatch(name):
        raise PmbenchError(
            f"'{name}' cannot name a metric; expected lower-case letters, digits and any of ._+-, "
            "the first a letter or a digit"
        )
    if name in RESERVED:
        raise PmbenchError(
            f"'{name}' cannot name a metric, since it means something else; choose another name"
        )
    if name in known:
        raise PmbenchError(f"'{name}' is the name of a registered metric; choose another name")


def _add(chosen: dict[str, Metric], entry: Metric) -> None:
    if chosen.setdefault(entry.name, entry) != entry:
        raise PmbenchError(
            f"two metrics are called '{entry.name}'; name one of them with NAME=ADDRESS"
        )


def _resolve(text: str, known: Mapping[str, Metric]) -> list[Metric]:
    """Return the metrics behind an address."""
    name, address = None, text
    if named := _NAMED.fullmatch(text):
        name, address = named.groups()
        check_name(name, known)
    if address in known:
        raise PmbenchError(
            f"{text}: '{address}' is a metric's name already; NAME=ADDRESS is for addresses, such "
            "as ./mine.py:name"
        )
    if parts := _ADDRESS.fullmatch(address):
        scheme, query, rest = parts.groups()
        adapter = importlib.import_module(f"pmbench.metrics.external.{_ADAPTERS[scheme]}")
        results = [adapter.resolve(name or text, rest, _options(query or "", text))]
    elif parts := _PYTHON.fullmatch(address):
        from pmbench.metrics.external import python_file

        place, query = parts.groups()
        results = python_file.resolve(name, place, _options(query or "", text))
    else:
        raise unknown("metric", address, known)
    several = len(results) > 1  # the metrics of a file, of which each has an address of its own
    results = [replace(one, address=f"{text}:{one.name}" if several else text) for one in results]
    for entry in results:
        if known.get(entry.name, entry) != entry:
            raise PmbenchError(
                f"{text}: its metric is called '{entry.name}', which is the name of a registered "
                "metric; give it another with NAME=ADDRESS"
            )
    return results


def _options(query: str, text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in query.split("&") if part]
    if bad := [key for key, equals, value in pairs if not (key and equals and value)]:
        raise PmbenchError(f"{text}: expected options as ?key=value&key=value, got '{bad[0]}'")
    return {key: value for key, _, value in pairs}

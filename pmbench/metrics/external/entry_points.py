"""Metrics of installed packages: the entry points in the group ``pmbench.metrics``.

An entry point is a ``Metric``, several in a list, a callable (x, y) -> (N,) on float RGB tensors in
[0, 1], which is then called as the entry point is, or a module that registers metrics.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache, reduce
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from pmbench.metrics import Metric, failing_metric
from pmbench.metrics.external.adapters import metrics_of, registered_by, run_import, why_not
from pmbench.utils.errors import PmbenchError

GROUP = "pmbench.metrics"


@dataclass(frozen=True)
class _Plugin:
    """What an entry point is, or why it cannot be used."""

    name: str
    package: str
    version: str
    metrics: tuple[Metric, ...] = ()
    why_not: str = ""


def installed(taken: Collection[str]) -> list[Metric]:
    """Return the metrics of installed plug-ins; ``taken`` are names they must not have.

    One that is broken, or brings a name that is taken, is a metric that says so when it is loaded.
    """
    admitted: dict[str, Metric] = {}
    package: dict[str, str] = {}
    for plugin in _plugins():
        new = [m for m in plugin.metrics if admitted.get(m.name) is not m]  # else brought before
        free = [m for m in new if m.name not in taken and m.name not in admitted]
        admitted |= {m.name: m for m in free}
        package |= {m.name: f"{plugin.package} {plugin.version}" for m in free}
        why = plugin.why_not
        if len(free) < len(new):
            names = ", ".join(f"'{m.name}'" for m in new if admitted.get(m.name) is not m)
            why = f"brings a metric called {names}, which is taken; rename it"
        if why:
            known = {*taken, *admitted}
            name = f"{plugin.package}:{plugin.name}" if plugin.name in known else plugin.name
            message = f"{why} (from the package {plugin.package} {plugin.version})"
            admitted[name] = failing_metric(name, message)
    return [replace(m, package=package.get(name, "")) for name, m in admitted.items()]


@cache
def _plugins() -> tuple[_Plugin, ...]:
    """Return every entry point of the group; the order does not depend on the path."""
    result = entry_points(group=GROUP)
    return tuple(sorted(map(_opened, result), key=lambda plugin: (plugin.package, plugin.name)))


def _opened(entry: EntryPoint) -> _Plugin:
    package = entry.dist.name if entry.dist else "unknown"
    version = entry.dist.version if entry.dist else ""
    if entry.pattern.match(entry.value) is None:
        why = f"its entry point is '{entry.value}'; expected 'package.module:name'; mend it"
        return _Plugin(entry.name, package, version, why_not=why)
    try:
        metrics = _metrics(entry, run_import(lambda: _value(entry)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  foreign code fails alone
        return _Plugin(entry.name, package, version, why_not=why_not(error))
    return _Plugin(entry.name, package, version, tuple(metrics))


def _value(entry: EntryPoint) -> object:
    module = importlib.import_module(entry.module)
    names = entry.attr.split(".") if entry.attr else []
    try:
        return reduce(getattr, names, module)
    except AttributeError as error:
        raise PmbenchError(
            f"its entry point is '{entry.value}', but {entry.module} has no such name; mend it"
        ) from error


def _metrics(entry: EntryPoint, value: object) -> list[Metric]:
    if not isinstance(value, ModuleType):
        file = sys.modules[entry.module].__file__
        return metrics_of(value, entry.name, [Path(file)] if file else [])
    if result := registered_by(value.__name__):
        return metrics_of(result, entry.name)
    raise PmbenchError(
        f"its entry point is the module {value.__name__}, which registers no metric; "
        "expected functions under @metric(…) in it"
    )

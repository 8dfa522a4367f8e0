"""A metric in Python code that is not a plug-in: ``package.module:name`` or ``./mine.py:name``.

The name is that of an object in the module, or of a metric that the module registers; a file
without a name stands for all metrics that it registers. What an object may be says
``adapters.metrics_of``. The metric of a plain callable is called ``module:name`` (``mine:name`` for
a file, wherever it lies). ``?better=higher`` after it says that its numbers are similarities.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import os
import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from pmbench.metrics import Metric, failing_metric, metric_of_function
from pmbench.metrics.external.adapters import (
    digest_of_files,
    metrics_of,
    registered_by,
    run_import,
    why_not,
)
from pmbench.utils.errors import PmbenchError, unknown

_INSTALLED = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")}
_IN_FILE = re.compile(r"(.+\.py)(?::([^:/]+))?", re.DOTALL)
_beside: set[str] = set()  # modules that came from the folder of the last address


@dataclass(frozen=True)
class _Opened:
    """A module, and the files that it was read from."""

    module: ModuleType
    files: tuple[Path, ...]
    digest: str


_known: dict[tuple[str, Path], _Opened] = {}


def resolve(name: str | None, address: str, options: Mapping[str, str]) -> list[Metric]:
    """Return the metrics at an address; ``name`` is what the only one will be called instead.

    Code that cannot be imported, or an object that is no metric, is one that says so when it is
    loaded. Raises PmbenchError for a file that does not exist, or a name that is not in it.
    """
    in_file = _IN_FILE.fullmatch(address)
    is_file = in_file is not None
    place, wanted = (in_file[1], in_file[2] or "") if in_file else address.split(":")
    higher, tolerance = _direction(address, options), _tolerance(address, options)
    if is_file and not os.path.isfile(place):  # noqa: PTH113  also for what is no path
        raise PmbenchError(f"{address}: there is no file {place}; expected a Python file")
    own_name = f"{Path(place).stem if is_file else place}:{wanted}" if wanted else Path(place).name
    try:
        if is_file:
            file = Path(place).resolve()
            # not its bare name: a file called lpips.py must not stand for the package
            module_name = f"{file.stem}@{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"
            opened = _opened(file, module_name, file.parent)
        else:
            opened = _opened(None, place, Path.cwd())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  foreign code fails alone
        return [failing_metric(name or own_name, _why_not(error, place))]
    value = _value(opened.module, wanted, place)
    try:
        results = metrics_of(value, own_name, opened.files, higher)
    except PmbenchError as error:  # it fails alone
        return [failing_metric(name or own_name, f"{address} {error}")]
    if tolerance is not None:
        results = [replace(entry, tolerance=tolerance) for entry in results]
    if is_file:  # nobody keeps versions of it
        source = {"source": opened.digest}
        results = [replace(entry, parameters={**source, **entry.parameters}) for entry in results]
    if name is None:
        return results
    if len(results) > 1:
        names = ", ".join(entry.name for entry in results)
        raise PmbenchError(
            f"{name}={address}: {address} holds several metrics ({names}), which cannot all be "
            f"called {name}; name one of them"
        )
    return [replace(results[0], name=name)]


def _direction(address: str, options: Mapping[str, str]) -> bool | None:
    known = ("better", "tolerance")
    if strange := [key for key in options if key not in known]:
        raise unknown(f"option of {address}", strange[0], known)
    better = options.get("better")
    if better not in (None, "higher", "lower"):
        raise PmbenchError(f"{address}: better={better}; expected better=higher or better=lower")
    return None if better is None else better == "higher"


def _tolerance(address: str, options: Mapping[str, str]) -> float | None:
    """Return by how much, relatively, another machine may move a distance; None: nobody says."""
    text = options.get("tolerance")
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise PmbenchError(
            f"{address}: tolerance={text}; expected a relative change of a distance that another "
            "machine may cause, from 0 to below 1, such as tolerance=1e-4"
        )
    return value


def _value(module: ModuleType, wanted: str, place: str) -> object:
    """Return what a module holds under a name, or all that it registers."""
    by_name = {entry.name: entry for entry in registered_by(module.__name__)}
    known = [*_nameable(module), *by_name]
    if not known:
        raise PmbenchError(
            f"{place} holds no metric; expected a function of two batches of images, or one under "
            "@metric(…)"
        )
    if wanted:
        if hasattr(module, wanted):
            return getattr(module, wanted)
        if wanted in by_name:
            return by_name[wanted]
        raise unknown(f"name in {place}:", wanted, known)
    if not by_name:
        raise PmbenchError(
            f"{place} registers no metric with @metric(…); name a function in it, such as "
            f"{place}:{known[0]}"
        )
    return list(by_name.values())


def _nameable(module: ModuleType) -> list[str]:
    """Return the names in a module that may be metrics."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            isinstance(value, Metric)
            or metric_of_function(value) is not None
            or (callable(value) and getattr(value, "__module__", "") == module.__name__)
        )
    ]


def _why_not(error: BaseException, place: str) -> str:
    missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    if missing and f"{place}.".startswith(f"{missing}."):
        return (
            f"there is no module {missing}, installed or in this folder; install it, or give the "
            "path of a file, ./mine.py:name"
        )
    return why_not(error)


def _opened(file: Path | None, name: str, folder: Path) -> _Opened:
    """Import a file, or the module of a name, as ``python FILE`` or ``python -m NAME`` would.

    Modules in ``folder`` can be imported, and come first. It is done once in a process, and again
    after a file has changed.
    """
    known = _known.get((name, folder))
    if known is None or digest_of_files(known.files) != known.digest:
        known = _known[name, folder] = _open(file, name, folder)
    return known


def _open(file: Path | None, name: str, folder: Path) -> _Opened:
    # what another address imported from its folder is forgotten: two versions of one metric may
    # each have a helpers.py beside them
    for other in [*_beside, *([name] if file else [])]:
        sys.modules.pop(other, None)
    _beside.clear()
    importlib.invalidate_caches()
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        module = run_import(lambda: _run(file, name) if file else importlib.import_module(name))
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:  # for imports inside of functions
            sys.path.append(str(folder))
        new = set(sys.modules) - before - {name if file else ""}
        _beside.update(other for other in new if _lies_in(folder, other))
    places = [getattr(sys.modules[other], "__file__", None) for other in sorted(_beside)]
    own = [file or getattr(module, "__file__", None)]
    files = tuple(Path(place) for place in own + places if place)
    return _Opened(module, files, digest_of_files(files))


def _run(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # not by the spec's loader: its bytecode cache does not see a second edit within a second
        exec(compile(path.read_bytes(), path, "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _lies_in(folder: Path, name: str) -> bool:
    """Return whether a module, or the package it is in, lies in a folder of the user's."""
    file = getattr(sys.modules.get(name.partition(".")[0]), "__file__", None)
    if file is None or folder in _INSTALLED:
        return False
    place = Path(file)
    return folder == (place.parent.parent if place.stem == "__init__" else place.parent)

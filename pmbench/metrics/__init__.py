"""The registry of metrics. Every module of this folder is found by itself.

A metric sees two batches of images and returns one number per pair. Adding one takes a file here
with a function under ``@metric(...)``; a metric with weights or filters gives ``Metric`` a loader
that returns an ``nn.Module``, whose state then stands in the signature of every score.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pmbench.errors import PmbenchError, unknown
from pmbench.images import Images

Distance = Callable[[Images, Images], Tensor]  # reference, distorted -> (N,)


@dataclass(frozen=True)
class Metric:
    """What a metric is, apart from how it is computed.

    ``name`` is an identity: a changed computation needs another name, or at least a new
    ``version``, which stands in the signature together with ``parameters`` and the tensors used.
    """

    name: str
    load: Callable[[torch.device], Distance]  # weights checked, eval mode, ready to call
    title: str
    paper: str = ""
    code: str = ""
    higher_is_better: bool = False
    symmetric: bool = True
    differentiable: bool = True
    min_size: int = 1  # smallest side in pixels on which it is defined
    multiple_of: int = 1  # sides must be multiples of this
    tolerance: float = 1e-5  # relative change of a distance that another machine may cause
    weights: tuple[str, ...] = ()  # names in weights.toml
    licence: str = ""
    version: int = 1
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)

    def undefined_on(self, height: int, width: int) -> str | None:
        """Return why the metric is not defined on images of that size, or None where it is."""
        if min(height, width) < self.min_size:
            return f"needs at least {self.min_size} pixels a side, got {width}×{height}"
        if height % self.multiple_of or width % self.multiple_of:
            return f"needs sides that are multiples of {self.multiple_of}, got {width}×{height}"
        return None


_registry: dict[str, Metric] = {}


def register(entry: Metric) -> Metric:
    """Add a metric. Raises PmbenchError where its name is taken."""
    if entry.name in _registry:
        raise PmbenchError(f"two metrics are called '{entry.name}'; choose another name")
    _registry[entry.name] = entry
    return entry


def metric(name: str, *, title: str, **card: object) -> Callable[[Distance], Distance]:
    """Register a function ``(reference, distorted) -> (N,)`` that needs nothing to be loaded.

    ``card`` are fields of ``Metric``.
    """

    def add(function: Distance) -> Distance:
        register(Metric(name=name, load=lambda device: function, title=title, **card))  # type: ignore[arg-type]
        return function

    return add


def registered() -> dict[str, Metric]:
    """Return every metric by name, in the order of the files and of the names in them."""
    for module in pkgutil.iter_modules(__path__):
        try:
            importlib.import_module(f"{__name__}.{module.name}")
        except PmbenchError:
            raise
        except Exception as error:
            raise PmbenchError(
                f"the metric file {module.name}.py in {__path__[0]} cannot be imported: "
                f"{type(error).__name__}: {error}; mend or remove it"
            ) from error
    return dict(_registry)


def choose(names: list[str]) -> list[Metric]:
    """Return the metrics of those names, each once; "all" is every registered one."""
    known = registered()
    chosen: dict[str, Metric] = {}
    for name in names:
        if name == "all":
            chosen.update(known)
        elif name in known:
            chosen[name] = known[name]
        else:
            raise unknown("metric", name, known)
    return list(chosen.values())

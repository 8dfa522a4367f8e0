"""``Metric`` and the registry of metrics; every module of ``builtin`` is imported by itself.

A metric sees two batches of images and returns one number per pair. Adding one takes a file in
``builtin`` with a function under ``@metric(...)``; a metric with weights or filters gives
``Metric`` a loader that returns an ``nn.Module``, whose state then stands in the signature of every
score.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from pmbench.metrics import builtin
from pmbench.metrics.global_state import usual_defaults
from pmbench.metrics.images import Images
from pmbench.utils.errors import PmbenchError
from pmbench.utils.text import one_line

Distance = Callable[[Images, Images], Tensor]  # reference, distorted -> (N,)

# what `pip install 'pmbench[…]'` brings -> the module that tells whether it is there
EXTRAS = {
    "piq": "piq",
    "flip": "flip_evaluator",
    "cvvdp": "pycvvdp",
    "timm": "timm",
    "pyiqa": "pyiqa",
    "torchmetrics": "torchmetrics",
    "dreamsim": "dreamsim",
    "stlpips": "stlpips_pytorch",
}


@dataclass(frozen=True)
class Metric:
    """What a metric is, apart from how it is computed.

    ``name`` is an identity: a changed computation needs another name, or at least a new
    ``version``, which stands in the signature together with ``parameters`` and the tensors used.
    """

    #: lower case, an identity
    name: str
    #: returns the distance, ready to call on a device: weights checked, in eval mode
    load: Callable[[torch.device], Distance]
    #: what it is, in a line
    title: str
    #: what it is listed with
    family: str = "other"
    #: where it was defined
    paper: str = ""
    #: its authors' code
    code: str = ""
    #: whether its numbers are similarities
    higher_is_better: bool = False
    #: whether the order of the two images does not matter
    symmetric: bool = True
    #: whether it has a gradient in both images
    differentiable: bool = True
    #: whether it says where two images differ: a method ``map(x, y)`` of what is loaded, (N, H, W)
    has_map: bool = False
    #: "l2" or "l1": it is Σ (a - b)² or Σ abs(a - b) of two vectors, (N, D), which a method
    #: ``embed(images)`` of what is loaded returns
    space: Literal["", "l1", "l2"] = ""
    #: smallest side in pixels on which it is defined
    min_size: int = 1
    #: sides must be multiples of this
    multiple_of: int = 1
    #: relative change of a distance that another machine may cause
    tolerance: float = 1e-5
    #: names in weights.toml
    weights: tuple[str, ...] = ()
    #: of its weights, or of the package that computes it
    licence: str = ""
    #: stands in the signature: a changed computation needs another one
    version: int = 1
    #: stand in the signature
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    #: of EXTRAS: the optional package that it needs
    extra: str = ""
    #: of a 64×64 pair on two CPU cores, where it is worth a warning
    seconds: float = 0.0
    # who brought it, which changes nothing about what it is: the address that it was asked for by,
    # and the package of a plug-in, "name version"
    address: str = field(default="", compare=False)
    package: str = field(default="", compare=False)
    #: pixels of a role's images in one call, where intermediates are many times larger; None: any
    pixels_at_once: int | None = None

    @property
    def external(self) -> bool:
        """Whether somebody else brought it; tests hold what comes with pmbench to its laws."""
        return bool(self.address or self.package)

    def undefined_on(self, height: int, width: int) -> str | None:
        """Return why the metric is not defined on images of that size, or None where it is."""
        if min(height, width) < self.min_size:
            return f"needs at least {self.min_size} pixels a side, got {width}×{height}"
        if height % self.multiple_of or width % self.multiple_of:
            return f"needs sides that are multiples of {self.multiple_of}, got {width}×{height}"
        return None

    def portion(self, height: int, width: int, n: int) -> int:
        """Return how many of n pairs of that size it takes in one call, at least one."""
        if self.pixels_at_once is None:
            return max(1, n)
        return max(1, self.pixels_at_once // (height * width))

    def not_installed(self) -> str | None:
        """Return what to install before the metric can be used, or None where nothing lacks."""
        if not self.extra or importlib.util.find_spec(EXTRAS[self.extra]) is not None:
            return None
        return (
            f"needs the package {EXTRAS[self.extra]}, which is not installed; "
            f"run: pip install 'pmbench[{self.extra}]'"
        )


class OnPixels(nn.Module):
    """A distance made of a callable on float RGB tensors (N, 3, H, W) in [0, 1]."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function  # a module's tensors thereby become part of the signature

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        return self.function(x.pixels, y.pixels)


_registry: dict[str, Metric] = {}
_cards: dict[int, Metric] = {}  # by the id of the function, which the metric keeps alive


def register(entry: Metric) -> Metric:
    """Add a metric. Raises PmbenchError where its name is taken."""
    if entry.name in _registry:
        raise PmbenchError(f"two metrics are called '{entry.name}'; choose another name")
    _registry[entry.name] = entry
    return entry


def metric(
    name: str,
    *,
    title: str,
    map: Distance | None = None,
    embed: Callable[[Images], Tensor] | None = None,
    **card: object,
) -> Callable[[Distance], Distance]:
    """Register a function ``(reference, distorted) -> (N,)`` that needs nothing to be loaded.

    ``map`` is a function ``(reference, distorted) -> (N, H, W)`` that says where they differ;
    ``embed`` a function ``(images) -> (N, D)``, with ``space`` among the fields. ``card`` are
    fields of ``Metric``.
    """

    def add(function: Distance) -> Distance:
        if map is not None:
            setattr(function, "map", map)  # noqa: B010  a function has no such attribute yet
            card["has_map"] = True
        if embed is not None:
            setattr(function, "embed", embed)  # noqa: B010
        entry = Metric(name=name, load=lambda device: function, title=title, **card)  # type: ignore[arg-type]
        _cards[id(function)] = register(entry)
        return function

    return add


def metric_of_function(function: object) -> Metric | None:
    """Return the metric that a function was made into by ``@metric``, or None."""
    return _cards.get(id(function))


@contextmanager
def collect_registrations() -> Iterator[dict[str, Metric]]:
    """Keep what other people's code registers apart: it is in the dict once the block has ended.

    The registry is then as it was. A name that is registered here is taken for them too.
    """
    before = registered()
    collected: dict[str, Metric] = {}
    try:
        yield collected
    finally:
        collected.update({name: entry for name, entry in _registry.items() if name not in before})
        _registry.clear()
        _registry.update(before)


def failing_metric(name: str, why: str) -> Metric:
    """Return a metric that cannot be loaded, and says why: it fails alone, under its name."""

    def load(device: torch.device) -> Distance:
        raise PmbenchError(why)

    return Metric(one_line(name), load, title=one_line(why), family="broken")


def registered() -> dict[str, Metric]:
    """Return every metric by name, family by family.

    A file of ``builtin`` that cannot be imported is a metric that cannot be loaded.
    """
    for module in pkgutil.iter_modules(builtin.__path__):
        name = f"{builtin.__name__}.{module.name}"
        if module.name in _registry:  # tried before, and broken
            continue
        try:
            with usual_defaults():  # a file may make its tensors when it is imported
                importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  a metric is foreign code and fails alone
            message = f"{type(error).__name__}: {error}"
            where = f"the metric file {module.name}.py in {builtin.__path__[0]}"
            register(
                failing_metric(
                    module.name, f"{where} cannot be imported: {message}; mend or remove it"
                )
            )
    return dict(sorted(_registry.items(), key=lambda item: item[1].family.casefold()))

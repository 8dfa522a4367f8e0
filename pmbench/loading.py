"""Metrics become ready to be called; one that cannot be loaded does not stop the others."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path

import torch
from torch import Tensor, nn

from pmbench import weights
from pmbench.backbones import Trunk
from pmbench.errors import PmbenchError
from pmbench.files import sha256_of
from pmbench.metrics import EXTRAS, Distance, Metric, OnPixels
from pmbench.networks.hooked import Hooked
from pmbench.reporting import Reporter


@dataclass(frozen=True)
class Loaded:
    """A metric that is ready to be called, and the digest of everything that defines it."""

    metric: Metric
    distance: Distance
    digest: str
    source: str = ""  # digest of the file that holds the formula

    @property
    def signature(self) -> str:
        """The metric's part of a signature."""
        return f"{self.metric.name}#{self.digest[:8]}"

    @property
    def modules(self) -> list[nn.Module]:
        """Everything inside it that may be derived from images, such as a trunk."""
        return list(self.distance.modules()) if isinstance(self.distance, nn.Module) else []


def load_metrics(
    metrics: list[Metric], device: torch.device, reporter: Reporter
) -> tuple[list[Loaded], dict[str, str]]:
    """Return the metrics that could be loaded, and for the others why not, by name."""
    loaded, failures = [], {}
    for metric in metrics:
        try:
            loaded.append(load_metric(metric, device, reporter))
        except PmbenchError as error:
            failures[metric.name] = str(error)
    return loaded, failures


def load_metric(metric: Metric, device: torch.device, reporter: Reporter) -> Loaded:
    """Fetch what a metric needs, and make it ready. Raises PmbenchError where that fails."""
    if (lacking := metric.not_installed()) is not None:
        raise PmbenchError(lacking)
    weights.ensure(metric.weights, reporter)
    try:
        # foreign code may greet on stdout, where results go
        with redirect_stdout(sys.stderr), torch.inference_mode(False):
            distance = metric.load(device)
            digest = digest_of(metric, distance)
    except PmbenchError:
        raise
    except ModuleNotFoundError as error:
        raise PmbenchError(
            f"needs the module {error.name or error}, which is not installed; "
            "install it beside pmbench"
        ) from error
    except (Exception, SystemExit) as error:
        raise PmbenchError(f"cannot be loaded: {type(error).__name__}: {error}") from error
    return Loaded(metric, distance, digest, source_of(distance))


def by_trunk(metrics: list[Loaded]) -> list[Loaded]:
    """Return the metrics so that those on one trunk follow one another, otherwise in order."""
    first: dict[nn.Module | str, int] = {}

    def place(loaded: Loaded) -> int:
        trunks = [module for module in loaded.modules if isinstance(module, Trunk | Hooked)]
        return first.setdefault(trunks[0] if trunks else loaded.metric.name, len(first))

    return sorted(metrics, key=place)


def digest_of(metric: Metric, distance: Distance) -> str:
    """Return a digest of a metric's name, version, parameters, package and tensors."""
    state = distance.state_dict() if isinstance(distance, nn.Module) else {}
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    facts = f"{metric.name}\0{metric.version}\0{sorted(metric.parameters.items())}\0"
    facts += _package(metric)
    facts += "".join(f"\0{name}={state[name]!r}" for name in sorted(state.keys() - tensors.keys()))
    return weights.digest({facts: torch.zeros(0), **tensors})


def _package(metric: Metric) -> str:
    """Return name and version of the optional package that computes it, "" where there is none."""
    if not metric.extra:
        return ""
    names = packages_distributions().get(EXTRAS[metric.extra], [])
    return ", ".join(f"{name} {version(name)}" for name in sorted(set(names)))


def source_of(distance: Distance) -> str:
    """Return a digest of the source file that holds a distance, "" where there is none.

    It is no part of the signature, since a comment does not change a number; but a run made by
    another source is not taken for a run of this one.
    """
    formula: Callable[..., object] = distance
    if isinstance(distance, OnPixels):
        formula = distance.function
    try:
        file = inspect.getsourcefile(formula if inspect.isroutine(formula) else type(formula))
    except (TypeError, OSError):
        return ""
    return sha256_of(Path(file)) if file and Path(file).exists() else ""

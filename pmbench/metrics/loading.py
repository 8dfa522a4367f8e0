"""Metrics become ready to be called; one that cannot be loaded does not stop the others."""

from __future__ import annotations

import hashlib
import inspect
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import packages_distributions, version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pmbench.metrics import EXTRAS, Distance, Metric, OnPixels
from pmbench.metrics.global_state import preserve_global_state, usual_defaults
from pmbench.networks import weights
from pmbench.networks.backbones import Backbone
from pmbench.networks.feature_extractor import FeatureExtractor
from pmbench.utils.errors import PmbenchError, describe, one_line_of
from pmbench.utils.progress import Reporter
from pmbench.utils.source_code import code_digests


@dataclass(frozen=True)
class LoadedMetric:
    """A metric that is ready to be called, and the digest of everything that defines it."""

    metric: Metric
    distance: Distance
    digest: str
    source_files: Mapping[str, str] = field(default_factory=dict)  # name -> digest of its code

    @property
    def source(self) -> str:
        """One digest of all its source files, "" where there are none."""
        if not self.source_files:
            return ""
        digests = "".join(sorted(self.source_files.values()))
        return SOURCE_KIND + hashlib.sha256(digests.encode()).hexdigest()

    @property
    def signature(self) -> str:
        """The metric's part of a signature."""
        return f"{self.metric.name}#{self.digest[:8]}"

    @cached_property  # asked for at every batch, and to walk through a network takes a millisecond
    def modules(self) -> list[nn.Module]:
        """Everything inside it that may be derived from images, such as a trunk."""
        return list(self.distance.modules()) if isinstance(self.distance, nn.Module) else []


def load_metrics(
    metrics: list[Metric], device: torch.device, reporter: Reporter
) -> tuple[list[LoadedMetric], dict[str, str]]:
    """Return the metrics that could be loaded, and for the others why not, by name."""
    loaded, failures = [], {}
    with weights.ask_once():
        for metric in metrics:
            try:
                loaded.append(load_metric(metric, device, reporter))
            except PmbenchError as error:
                failures[metric.name] = str(error)
    return loaded, failures


_LOADING = threading.RLock()  # what is put back belongs to the process, and not to a thread


def load_metric(metric: Metric, device: torch.device, reporter: Reporter) -> LoadedMetric:
    """Fetch what a metric needs, and make it ready. Raises PmbenchError where that fails."""
    if (lacking := metric.not_installed()) is not None:
        raise PmbenchError(lacking)
    weights.ensure(metric.weights, reporter)
    try:
        # foreign code may greet on stdout, where results go
        with (
            _LOADING,
            redirect_stdout(sys.stderr),
            torch.inference_mode(False),
            usual_defaults(device.type),
            preserve_global_state() as changed,
        ):
            distance = metric.load(device)
            digest = metric_digest(metric, distance)
    except PmbenchError:
        raise
    except ModuleNotFoundError as error:
        raise PmbenchError(
            f"needs the module {error.name or error}, which is not installed; "
            "install it beside pmbench"
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PmbenchError(f"cannot be loaded: {describe(error)}") from error
    if changed:
        reporter.note(f"{metric.name} changed what is not its own: {', '.join(changed)}; put back")
    return LoadedMetric(metric, distance, digest, source_files(metric, distance))


def output_error(value: object, n: int) -> str | None:
    """Return what is wrong with a metric's output, or None."""
    if not isinstance(value, Tensor):
        return f"expected a tensor of shape ({n},), got {type(value).__name__}"
    if value.shape != (n,) or not value.is_floating_point():
        return (
            f"expected floating-point numbers of shape ({n},), one a pair, "
            f"got {value.dtype} of shape {tuple(value.shape)}"
        )
    return None


def not_finite(metric: Metric, what: str, value: float) -> PmbenchError:
    """Return the error for a number that is not finite; ``what`` says which it is."""
    return PmbenchError(
        f"{metric.name}: the {what} is {value}; expected a finite number; the metric "
        "is not defined on such images: leave them out, or choose another metric (if it is "
        "yours: mend it, or say in its `min_size` where it is not defined)"
    )


def to_float64(value: object, n: int) -> NDArray[np.float64]:
    """Return a metric's output as an array of its own, (n,). Raises PmbenchError where it is none.

    A metric may write its next output into the same memory.
    """
    if (wrong := output_error(value, n)) is not None:
        raise PmbenchError(wrong)
    assert isinstance(value, Tensor)
    try:
        return np.array(value.detach().cpu().double().resolve_neg().numpy())
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, or without content
        raise PmbenchError(
            f"expected a tensor with a number for each of {n} pairs, got one of layout "
            f"{value.layout} on {value.device} that cannot be read ({one_line_of(error)})"
        ) from error


def group_by_backbone(metrics: Sequence[LoadedMetric]) -> list[LoadedMetric]:
    """Return the metrics so that those on one trunk follow one another, otherwise in order."""
    first: dict[nn.Module | str, int] = {}

    def place(loaded: LoadedMetric) -> int:
        trunks = [
            module for module in loaded.modules if isinstance(module, Backbone | FeatureExtractor)
        ]
        return first.setdefault(trunks[0] if trunks else loaded.metric.name, len(first))

    return sorted(metrics, key=place)


def metric_digest(metric: Metric, distance: Distance) -> str:
    """Return a digest of a metric's name, version, parameters, package and tensors."""
    state, tensors = _state(distance), _tensors(distance)
    facts = f"{metric.name}\0{metric.version}\0{sorted(metric.parameters.items())}\0"
    facts += package_version(metric)
    facts += "".join(f"\0{name}={state[name]!r}" for name in sorted(state.keys() - tensors.keys()))
    return weights.digest({facts: torch.zeros(0), **tensors})


@dataclass(frozen=True)
class ModelSize:
    """What a metric holds in its networks and filters: how many numbers, and their bytes."""

    numbers: int
    bytes: int


def model_size(distance: Distance) -> ModelSize | None:
    """Return what a metric holds, a tensor that has two names once; None where nobody can tell.

    Counted are the tensors of modules that its digest is made of. A tensor that a function takes
    from around it, such as a window, is a constant of the formula. Those of a program, or of an
    object that is neither a network nor a function, are not to be seen.
    """
    formula = _formula(distance)
    if not (isinstance(formula, nn.Module) or inspect.isroutine(formula)):
        return None
    # of what a function takes from around it, networks count, which have dots in names
    around = {name: one for name, one in _closure_tensors(formula).items() if "." in name}
    held = [one for one in (_state(distance) | around).values() if isinstance(one, Tensor)]
    tensors = {(one.data_ptr(), one.shape, one.stride(), one.dtype): one for one in held}.values()
    return ModelSize(
        numbers=sum(tensor.numel() for tensor in tensors),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    )


def _state(distance: Distance) -> dict[str, object]:
    return distance.state_dict() if isinstance(distance, nn.Module) else {}


def _tensors(distance: Distance) -> dict[str, Tensor]:
    """Return the tensors that a metric computes with, by name, a trunk's among them."""
    state = _state(distance).items()
    tensors = {name: value for name, value in state if isinstance(value, Tensor)}
    return tensors | _closure_tensors(_formula(distance))


def package_version(metric: Metric) -> str:
    """Return name and version of the optional package that computes it, "" where there is none."""
    if not metric.extra:
        return ""
    names = packages_distributions().get(EXTRAS[metric.extra], [])
    return ", ".join(f"{name} {version(name)}" for name in sorted(set(names)))


def _formula(distance: Distance) -> Callable[..., object]:
    return distance.function if isinstance(distance, OnPixels) else distance


def _closure_tensors(formula: Callable[..., object]) -> dict[str, Tensor]:
    """Return the tensors and the networks' tensors that a function takes from its module.

    Those that it names itself, or closes over; not those of functions that it calls.
    """
    results: dict[str, Tensor] = {}
    if inspect.isfunction(formula):
        around = inspect.getclosurevars(formula)
        for name, value in {**around.globals, **around.nonlocals}.items():
            if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
                value = torch.from_numpy(value.copy())
            if isinstance(value, Tensor):
                results[name] = value
            elif isinstance(value, nn.Module):
                state = value.state_dict().items()
                results |= {f"{name}.{key}": one for key, one in state if isinstance(one, Tensor)}
    return results


SOURCE_KIND = "ast:"  # what earlier versions wrote is a digest of whole files, and has no such mark


def source_files(metric: Metric, distance: Distance) -> dict[str, str]:
    """Return a digest of the code of each file that a metric's numbers come from, by name.

    They are the file of its loader, that of its distance, and those that they import. They are no
    part of the signature, since most edits do not change a number; but a run made by other code is
    not taken for a run of this one.
    """
    files = []
    for part in (metric.load, _formula(distance)):
        try:
            file = inspect.getsourcefile(part if inspect.isroutine(part) else type(part))
        except (TypeError, OSError):
            continue
        if file is not None and Path(file).is_file():
            files.append(Path(file))
    return code_digests(files)

"""Networks of libraries as metrics, by their addresses."""

from __future__ import annotations

import torch
from torch import Tensor

from pmbench.metrics import Metric
from pmbench.metrics.images import Images
from pmbench.metrics.loading import load_metric, load_metrics
from pmbench.metrics.selection import select_metrics
from pmbench.networks.feature_extractor import FeatureExtractor
from pmbench.utils.progress import Silent
from support import laws

CPU = torch.device("cpu")
X, Y = laws.pair(3, 64, 64)


def metric(address: str) -> Metric:
    (entry,) = select_metrics([address]).metrics
    return entry


def distances(address: str, x: Tensor = X, y: Tensor = Y) -> Tensor:
    with torch.no_grad():
        return load_metric(metric(address), CPU, Silent()).distance(Images(x), Images(y))


def extractor(address: str) -> FeatureExtractor:
    modules = metric(address).load(CPU).modules()
    return next(module for module in modules if isinstance(module, FeatureExtractor))


def failure(address: str) -> str:
    """Return the sentence with which a metric fails alone when it is loaded."""
    loaded, failures = load_metrics([metric(address)], CPU, Silent())
    assert not loaded
    return failures[metric(address).name]


def seeded_tensors(library: str, name: str, modules: str) -> dict[str, Tensor]:
    """Return the tensors of a seeded network until its last tap, in its library's own names."""
    state = extractor(f"net:{library}/{name}@{modules}?random=21").state_dict()
    return {key.removeprefix("network."): value.contiguous() for key, value in state.items()}

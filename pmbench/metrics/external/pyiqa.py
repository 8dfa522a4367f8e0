"""Full-reference metrics of the package pyiqa: ``pyiqa:ahiq``.

Which there are, and which way each is better, is read from a table of the package, without
importing it. Each pair is a call of its own from one seed, so what a metric draws at random depends
on nothing else. pyiqa fetches weights itself, into a cache of its own, also under PMBENCH_OFFLINE.
"""

from __future__ import annotations

import importlib.util
import runpy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pmbench.metrics import Metric, OnPixels, failing_metric
from pmbench.utils.errors import PmbenchError, unknown


def resolve(name: str, address: str, options: Mapping[str, str]) -> Metric:
    """Return the metric that pyiqa calls ``address``; where pyiqa lacks, one that says so.

    Raises PmbenchError for a name that pyiqa does not know, for a metric without a reference, and
    for any option.
    """
    if options:
        raise PmbenchError(f"pyiqa:{address} takes no options; leave ?{min(options)}=… out")
    entry = Metric(
        name=name,
        load=lambda device: OnPixels(Pyiqa(address, device)),
        title=f"{address} of pyiqa",
        family="pyiqa",
        code="https://github.com/chaofengc/IQA-PyTorch",
        symmetric=False,  # nobody says so
        differentiable=False,
        parameters={"metric": address},
        extra="pyiqa",
    )
    if entry.not_installed() is not None:
        return entry
    try:
        modes = {key: card["metric_mode"] for key, card in _table().items()}
        higher_is_better = not _table().get(address, {}).get("lower_better", False)
    except Exception as error:  # noqa: BLE001  foreign code fails alone
        message = f"{type(error).__name__}: {error}"
        return failing_metric(
            name, f"pyiqa's table of metrics cannot be read ({message}); update pyiqa"
        )
    if modes.get(address) == "NR":
        raise PmbenchError(
            f"pyiqa:{address} judges one image, without a reference, and pmbench compares two; "
            "choose one of those that pyiqa.list_models('FR') names"
        )
    if address not in modes:
        raise unknown("metric of pyiqa", address, [key for key in modes if modes[key] == "FR"])
    licence = metadata("pyiqa").json.get("license_expression", "see pyiqa")
    return replace(entry, higher_is_better=higher_is_better, licence=str(licence))


def _table() -> Mapping[str, Mapping[str, Any]]:
    """Return pyiqa's cards of its metrics, by name. To import pyiqa takes some ten seconds."""
    result = importlib.util.find_spec("pyiqa")
    assert result is not None
    assert result.origin is not None
    file = Path(result.origin).with_name("default_model_configs.py")
    table: Mapping[str, Mapping[str, Any]] = runpy.run_path(str(file))["DEFAULT_CONFIGS"]
    return table


class Pyiqa(nn.Module):
    """One of pyiqa's metrics, pair by pair."""

    def __init__(self, name: str, device: torch.device) -> None:
        super().__init__()
        import pyiqa

        try:
            with _seeded(device):
                self.model = pyiqa.create_metric(name, device=device)
        except OSError as error:
            raise PmbenchError(
                f"pyiqa cannot fetch the weights of {name} ({error}); run it once where there is a "
                "network, and copy the caches of torch.hub and of Hugging Face from there"
            ) from error

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Return the values of images in [0, 1]: (N,)."""
        values = []
        for pair in zip(torch.split(distorted, 1), torch.split(reference, 1), strict=True):
            with _seeded(reference.device):
                values.append(self.model(*pair).reshape(()))
        return torch.stack(values).to(torch.float32)


@contextmanager
def _seeded(device: torch.device) -> Iterator[None]:
    gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if gpu else []):
        torch.default_generator.manual_seed(0)  # other GPUs stay as they are
        if gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(0)
        yield

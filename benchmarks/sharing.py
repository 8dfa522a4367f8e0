"""What a metric costs beside others that look at the same network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.inputs import CPU, Setting, loop, ready
from benchmarks.turns import Measured, Row, at_most, times_as_long
from pmbench.metrics import Distance, Metric, registered
from pmbench.metrics.images import Images
from pmbench.metrics.loading import LoadedMetric, load_metrics
from pmbench.networks.backbones import Backbone
from pmbench.utils.progress import Silent


class OnTrunk(nn.Module):
    """A third metric of LPIPS' network and preprocessing: the mean distance of its features."""

    def __init__(self, trunk: Backbone) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        pairs = zip(x.derive(self.trunk), y.derive(self.trunk), strict=True)
        return torch.stack([(a - b).abs().mean(dim=(1, 2, 3)) for a, b in pairs]).sum(0)


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row of three metrics beside one, and one of all metrics that share networks."""
    if not setting.trained:
        return  # random networks are shared by one metric each
    count = setting.count(120)
    yield Row(
        "sharing/three",
        f"lpips-vgg, net-vgg and a third in one run, {count} triplets",
        "lpips-vgg alone",
        at_most(1.2),
        lambda: _three(setting, count),
    )
    yield Row(
        "sharing/all",
        "all deep metrics that share networks (without -cx) in one run, 21 triplets",
        "the sum of each alone",
        at_most(0.5),
        lambda: _all(setting, 21),
    )


def _three(setting: Setting, count: int) -> Measured:
    alone = ready(["lpips-vgg"])
    trunk = next(module for module in alone[0].modules if isinstance(module, Backbone))

    def load(device: torch.device) -> Distance:
        return OnTrunk(trunk)

    three = [*alone, *ready(["net-vgg", Metric("third", load, "mean distance of features")])]
    pack = setting.pack
    return times_as_long(
        lambda: loop(pack, alone, count), lambda: loop(pack, three, count), setting.turns
    )


def _all(setting: Setting, count: int) -> Measured:
    pack, metrics = setting.pack, sharing()

    def one_by_one() -> None:
        for metric in metrics:
            loop(pack, [metric], count)

    return times_as_long(
        one_by_one,
        lambda: loop(pack, metrics, count),
        setting.turns,
        [f"{len(metrics)} metrics: {', '.join(one.metric.name for one in metrics)}"],
    )


def sharing() -> list[LoadedMetric]:
    """Return the registered metrics of which another looks at the same network, but -cx."""
    here = [one for one in registered().values() if one.not_installed() is None]
    local = [one for one in here if one.family not in ("piq", "vision transformers")]
    loaded, _ = load_metrics([one for one in local if "-cx" not in one.name], CPU, Silent())
    trunks = Counter(id(trunk) for one in loaded for trunk in _trunks(one))
    return [one for one in loaded if any(trunks[id(trunk)] > 1 for trunk in _trunks(one))]


def _trunks(loaded: LoadedMetric) -> list[Backbone]:
    return [module for module in loaded.modules if isinstance(module, Backbone)]

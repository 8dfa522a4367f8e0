"""LPIPS: Zhang, Isola, Efros, Shechtman, Wang 2018, equation 1.

Unit-length features of a classification network, squared difference at every position, summed over
channels with learned non-negative weights (``lpips-…``), or with none (``net-…``, the "Net" rows of
Table 5); ``net-…-random`` is the same on a network that never learned. Differs from the package
``lpips`` only in speed and in asking for values in [0, 1] instead of [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pmbench import weights
from pmbench.backbones import ARCHITECTURES, LPIPS, unit_taps
from pmbench.images import Images
from pmbench.metrics import Distance, Metric, register

_PAPER = "Zhang et al.: The Unreasonable Effectiveness of Deep Features, CVPR 2018"
_CODE = "https://github.com/richzhang/PerceptualSimilarity"
_NETS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


class FeatureDistance(nn.Module):
    """Σ over taps of the mean over positions of Σ over channels w·(x̂ - ŷ)²."""

    def __init__(self, net: nn.Module, channel_weights: list[Tensor]) -> None:
        super().__init__()
        self.net = net
        for i, w in enumerate(channel_weights):
            self.register_buffer(f"channel_weights_{i}", w)

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        total = torch.zeros((), device=x.pixels.device)
        for i, (a, b) in enumerate(zip(x.derive(self.net), y.derive(self.net), strict=True)):
            by_channel = (a - b).square().mean(dim=(2, 3))
            total = total + by_channel @ self.get_buffer(f"channel_weights_{i}")
        return total


def _load(short: str, linear: bool, seed: int | None, device: torch.device) -> Distance:
    name = _NETS[short]
    channels = ARCHITECTURES[name].channels
    if linear:
        learned = weights.load(f"lpips-{short}-linear")
        by_tap = [learned[f"lin{i}.model.1.weight"].reshape(c) for i, c in enumerate(channels)]
    else:
        by_tap = [torch.ones(c) for c in channels]
    return FeatureDistance(unit_taps(name, LPIPS, seed, device), by_tap).to(device)


def _register(name: str, short: str, title: str, linear: bool, seed: int | None) -> None:
    trunk = _NETS[short]
    needed = ((trunk,) if seed is None else ()) + ((f"lpips-{short}-linear",) if linear else ())
    register(
        Metric(
            name=name,
            load=lambda device: _load(short, linear, seed, device),
            title=title,
            paper=_PAPER,
            code=_CODE,
            min_size=ARCHITECTURES[trunk].min_size,
            weights=needed,
            licence="BSD-2-Clause" if linear else "BSD-3-Clause",
            parameters={"trunk": trunk, "seed": -1 if seed is None else seed},
        )
    )


for _short, _trunk in _NETS.items():
    _register(f"lpips-{_short}", _short, f"LPIPS v0.1, {_trunk}", True, None)
    _register(f"net-{_short}", _short, f"unweighted {_trunk} features", False, None)
    _register(f"net-{_short}-random", _short, f"unweighted random {_trunk} features", False, 0)

"""AlexNet losses: feature loss on the first layers of AlexNet, as Amir & Weiss 2021 compare them.

The outputs of the convolutions *before* the ReLU among the first n modules of torchvision's
``features``; images in [-1, 1], not normalised further; mean squared difference for each, summed.
``…-random`` is the same on a network that never learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pmbench.backbones import ARCHITECTURES, SIGNED, TRAINED, Filters, Trunk, trunk
from pmbench.images import Images
from pmbench.metrics import Metric, register
from pmbench.metrics.vgg import l2


class FirstLayers(nn.Module):
    """Σ over the first taps of mean (x - y)²."""

    def __init__(self, net: Trunk, taps: int) -> None:
        super().__init__()
        self.net, self.taps = net, taps

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        a, b = (images.derive(self.net)[: self.taps] for images in (x, y))
        return torch.stack([l2(p, q) for p, q in zip(a, b, strict=True)]).sum(dim=0)


def _register(modules: int, filters: Filters) -> None:
    convolutions = [tap - 1 for tap in ARCHITECTURES["alexnet"].taps]  # each before its ReLU
    taps = sum(index < modules for index in convolutions)
    trained = filters.kind == "trained"

    def load(device: torch.device) -> FirstLayers:
        return FirstLayers(trunk("alexnet", SIGNED, filters, "conv", device), taps)

    register(
        Metric(
            name=f"alex-loss-{modules}" + "-random" * (not trained),
            load=load,
            title=f"{'random ' * (not trained)}AlexNet, {taps} convolution{'s' * (taps > 1)}, "
            "mean squared difference",
            family="AlexNet losses",
            paper="Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021",
            code="https://github.com/ariel415el/PerceptualLossExperiments",
            min_size=ARCHITECTURES["alexnet"].min_size,
            weights=("alexnet",) if trained else (),
            licence="BSD-3-Clause" if trained else "",
            parameters={"trunk": "alexnet", "seed": -1 if trained else filters.seed},
        )
    )


for _modules in (1, 4, 12):
    _register(_modules, TRAINED)
    _register(_modules, Filters("kaiming"))

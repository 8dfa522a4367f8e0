"""Patches compared where they stand: Amir & Weiss 2021 (PerceptualLossExperiments)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pmbench.color import signed
from pmbench.images import Images
from pmbench.metrics import Metric, register


def patch_rbf(x: Images, y: Images, patch: int, s: float) -> Tensor:
    """Return the mean over positions of 1 - exp(-D / (2 sigma²)), sigma = s·p²: (N,), in [0, 1].

    D is the squared difference of the p×p×3 patches at a position, zero beyond the border, on
    values in [-1, 1].
    """
    squared = (signed(x.pixels) - signed(y.pixels)).square().sum(dim=1, keepdim=True)
    d = F.avg_pool2d(squared, patch, stride=1, padding=patch // 2) * patch**2
    return (1 - torch.exp(-d / (2 * (s * patch**2) ** 2))).mean(dim=(1, 2, 3))


def _register(patch: int, s: float) -> None:
    register(
        Metric(
            name=f"patch-rbf-{patch}",
            load=lambda device: lambda x, y: patch_rbf(x, y, patch, s),
            title=f"Gaussian kernel of the {patch}×{patch} patches at each position",
            family="patches",
            paper="Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021",
            code="https://github.com/ariel415el/PerceptualLossExperiments",
            parameters={"patch": patch, "s": s},
        )
    )


_register(3, 0.1)
_register(11, 0.02)

"""The exact maximum mean discrepancy of patches: Amir & Weiss 2021, as PatchMMD-RBF.

The patches of an image are a set of vectors, of values in [-1, 1]. MMD² of two sets, biased, is the
mean kernel within the one, plus that within the other, less twice the mean kernel between them
(Gretton et al. 2012, equation 5). It is summed over Gaussian kernels of four widths, σ = s·p².
``mmd-approx`` and MMD++ estimate the like with random features, window by window; this takes every
third patch of the whole image, wherever it is, so it also says how alike two textures are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmbench.metrics import Metric, register
from pmbench.metrics.images import Images
from pmbench.utils.color import precise, signed

_STRIDE = 3
_WIDTHS = (0.1, 0.05, 0.025, 0.01)
_AT_ONCE = 1 << 18  # elements of the kernel's matrix: 2 MB, which stay in the cache


class PatchMmd(nn.Module):
    """Σ over widths of MMD² of the p×p patches at every third pixel, in float64."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,), in [0, 8]."""
        pairs = zip(self._patches(x.pixels), self._patches(y.pixels), strict=True)
        between = torch.stack([self._mean_kernel(a, b) for a, b in pairs])
        within = x.derive(self._within) + y.derive(self._within)
        return (within - 2 * between).to(torch.float32)

    def _patches(self, pixels: Tensor) -> Tensor:
        """Return the patches of each image: (N, patches, 3·p²)."""
        return precise(F.unfold(signed(pixels), self.patch, stride=_STRIDE).transpose(1, 2))

    def _within(self, pixels: Tensor) -> Tensor:
        """Return the mean kernel within each image's patches: (N,)."""
        return torch.stack([self._mean_kernel(one, one) for one in self._patches(pixels)])

    def _mean_kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the mean over all pairs of Σ over widths of exp(-‖a - b‖² / (2σ²))."""
        centre = b.mean(dim=0)  # without which the squares would cancel
        a, b = a - centre, b - centre
        lengths = b.square().sum(dim=1)
        rows = max(1, (_AT_ONCE if b.device.type == "cpu" else 64 * _AT_ONCE) // len(b))
        total = b.new_zeros(())
        for some in torch.split(a, rows):
            squared = some.square().sum(dim=1, keepdim=True) + lengths - 2 * some @ b.t()
            for s in _WIDTHS:
                sigma = s * self.patch**2
                total = total + torch.exp(-squared.clamp(min=0) / (2 * sigma**2)).sum()
        return total / (len(a) * len(b))


def _register(patch: int) -> None:
    register(
        Metric(
            name=f"patch-mmd-rbf-{patch}",
            load=lambda device: PatchMmd(patch),
            title=f"exact MMD of {patch}×{patch} patches, Gaussian kernels of 4 widths",
            family="patches",
            paper="Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021",
            code="https://github.com/ariel415el/PerceptualLossExperiments",
            min_size=patch,
            parameters={"patch": patch, "stride": _STRIDE, "widths": "0.1+0.05+0.025+0.01"},
        )
    )


_register(7)
_register(11)

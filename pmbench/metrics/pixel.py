"""Distances between pixels: the yardsticks that every perceptual metric must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from pmbench.color import lab_of_8_bit, signed
from pmbench.images import Images
from pmbench.metrics import metric

_FAMILY = "pixels"
_PLE = "https://github.com/ariel415el/PerceptualLossExperiments"
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity"
_MSE_FLOOR = 1e-12  # so that identical images have a PSNR: 120 dB


@metric("l1", family=_FAMILY, title="mean absolute difference, on [-1, 1]", code=_PLE)
def l1(x: Images, y: Images) -> Tensor:
    """Return mean |x - y| of values in [-1, 1]: (N,), in [0, 2]."""
    return (signed(x.pixels) - signed(y.pixels)).abs().mean(dim=(1, 2, 3))


@metric("l2", family=_FAMILY, title="mean squared difference, on [-1, 1]", code=_PLE)
def l2(x: Images, y: Images) -> Tensor:
    """Return mean (x - y)² of values in [-1, 1]: (N,), in [0, 4]."""
    return (signed(x.pixels) - signed(y.pixels)).square().mean(dim=(1, 2, 3))


@metric("psnr", family=_FAMILY, title="peak signal-to-noise ratio, dB", higher_is_better=True)
def psnr(x: Images, y: Images) -> Tensor:
    """Return 10 log10(1 / MSE) of values in [0, 1]: (N,), in dB; MSE is at least 1e-12."""
    mse = (x.pixels - y.pixels).square().mean(dim=(1, 2, 3))
    return -10 * mse.clamp(min=_MSE_FLOOR).log10()


@metric(
    "l2-lab",
    family=_FAMILY,
    title="mean squared difference in CIE Lab, on 8-bit images",
    paper='Zhang et al. 2018 (the "L2" row of Table 5)',
    code=_LPIPS,
    differentiable=False,
)
def l2_lab(x: Images, y: Images) -> Tensor:
    """Return ½ mean (ΔLab / 100)² of images truncated to 8 bits: (N,)."""
    difference = x.derive(lab_of_8_bit) - y.derive(lab_of_8_bit)
    return 0.5 * (difference / 100).square().mean(dim=(1, 2, 3)).to(torch.float32)

"""Differences of pixels, of neighbouring pixels, and of the levels of a Laplacian pyramid.

As in PerceptualLossExperiments (Amir & Weiss 2021), on values in [-1, 1], and as the classical rows
of the LPIPS paper (Zhang et al. 2018). The three on edges are linear in the images before the
absolute value, so the filters see the difference image alone. (Grey comes first: it is rounded in
the authors' code too.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pmbench.metrics import metric
from pmbench.metrics.images import Images
from pmbench.utils.color import lab_of_8_bit, signed

_PLE = "https://github.com/ariel415el/PerceptualLossExperiments"
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity"
_MSE_FLOOR = 1e-12  # so that identical images have a PSNR: 120 dB


def _l1_map(x: Images, y: Images) -> Tensor:
    return (signed(x.pixels) - signed(y.pixels)).abs().mean(dim=1)


def l2_map(x: Images, y: Images) -> Tensor:
    """Return the mean over channels of (x - y)², of values in [-1, 1]: (N, H, W)."""
    return (signed(x.pixels) - signed(y.pixels)).square().mean(dim=1)


def _l2_lab_map(x: Images, y: Images) -> Tensor:
    difference = x.derive(lab_of_8_bit) - y.derive(lab_of_8_bit)
    return 0.5 * (difference / 100).square().mean(dim=1).to(torch.float32)


def _l1_embed(images: Images) -> Tensor:
    vectors = signed(images.pixels).flatten(1)
    return vectors / vectors.shape[1]


def _l2_embed(images: Images) -> Tensor:
    vectors = signed(images.pixels).flatten(1)
    return vectors / math.sqrt(vectors.shape[1])


def _l2_lab_embed(images: Images) -> Tensor:
    vectors = images.derive(lab_of_8_bit).flatten(1) / 100
    return vectors / math.sqrt(2 * vectors.shape[1])


@metric(
    "l1",
    family="pixels",
    title="mean absolute difference, on [-1, 1]",
    code=_PLE,
    map=_l1_map,
    space="l1",
    embed=_l1_embed,
)
def l1(x: Images, y: Images) -> Tensor:
    """Return mean |x - y| of values in [-1, 1]: (N,), in [0, 2]."""
    return (signed(x.pixels) - signed(y.pixels)).abs().mean(dim=(1, 2, 3))


@metric(
    "l2",
    family="pixels",
    title="mean squared difference, on [-1, 1]",
    code=_PLE,
    map=l2_map,
    space="l2",
    embed=_l2_embed,
)
def l2(x: Images, y: Images) -> Tensor:
    """Return mean (x - y)² of values in [-1, 1]: (N,), in [0, 4]."""
    return (signed(x.pixels) - signed(y.pixels)).square().mean(dim=(1, 2, 3))


@metric("psnr", family="pixels", title="peak signal-to-noise ratio, dB", higher_is_better=True)
def psnr(x: Images, y: Images) -> Tensor:
    """Return 10 log10(1 / MSE) of values in [0, 1]: (N,), in dB; MSE is at least 1e-12."""
    mse = (x.pixels - y.pixels).square().mean(dim=(1, 2, 3))
    return -10 * mse.clamp(min=_MSE_FLOOR).log10()


@metric(
    "l2-lab",
    family="pixels",
    title="mean squared difference in CIE Lab, on 8-bit images",
    paper='Zhang et al. 2018 (the "L2" row of Table 5)',
    code=_LPIPS,
    differentiable=False,
    map=_l2_lab_map,
    space="l2",
    embed=_l2_lab_embed,
)
def l2_lab(x: Images, y: Images) -> Tensor:
    """Return ½ mean (ΔLab / 100)² of images truncated to 8 bits: (N,)."""
    difference = x.derive(lab_of_8_bit) - y.derive(lab_of_8_bit)
    return 0.5 * (difference / 100).square().mean(dim=(1, 2, 3)).to(torch.float32)


@metric("grad", family="edges", title="mean difference of grey gradients", code=_PLE, min_size=2)
def grad(x: Images, y: Images) -> Tensor:
    """Return the mean absolute difference of the grey images' gradients: (N,).

    Grey is the mean of the channels; gradients are differences of neighbours along rows and
    along columns, and the means over both directions are averaged.
    """
    return _gradients(_grey(x) - _grey(y))


@metric(
    "grad-rgb", family="edges", title="mean difference of colour gradients", code=_PLE, min_size=2
)
def grad_rgb(x: Images, y: Images) -> Tensor:
    """Return the mean absolute difference of the gradients of each channel: (N,)."""
    return _gradients(signed(x.pixels) - signed(y.pixels))


def _grey(images: Images) -> Tensor:
    return signed(images.pixels).mean(dim=1, keepdim=True)


def _gradients(difference: Tensor) -> Tensor:
    across = difference.diff(dim=3).abs().mean(dim=(1, 2, 3))
    down = difference.diff(dim=2).abs().mean(dim=(1, 2, 3))
    return (across + down) / 2


@metric(
    "lap1",
    family="edges",
    title="Laplacian pyramid, 2 levels and the rest, mean absolute difference",
    paper="Bojanowski et al. 2018 (Lap1), without the squared pixel term",
    code=_PLE,
    min_size=4,
)
def lap1(x: Images, y: Images) -> Tensor:
    """Return Σ over levels j of 4^j · mean |level j of x - level j of y|: (N,)."""
    rest = signed(x.pixels) - signed(y.pixels)
    total = torch.zeros((), device=rest.device)
    for j in range(2):
        blurred = _blur(rest)
        total = total + 4**j * (rest - blurred).abs().mean(dim=(1, 2, 3))
        rest = F.avg_pool2d(blurred, 2)
    return total + 4**2 * rest.abs().mean(dim=(1, 2, 3))


def _blur(images: Tensor) -> Tensor:
    """Return images smoothed by the authors' kernel: a sum g(i) + g(j), not a product."""
    at = torch.arange(5, dtype=images.dtype, device=images.device) - 2
    g = torch.exp(-at.square() / (2 * 2**2)).square()
    kernel = g[:, None] + g[None, :]
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    return F.conv2d(padded, (kernel / kernel.sum()).expand(3, 1, 5, 5), groups=3)

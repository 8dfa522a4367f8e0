"""Structural similarity: Wang, Bovik, Sheikh, Simoncelli 2004, equation 13.

Two common readings of one formula: the original's Gaussian window (``ssim``), and scikit-image's
uniform window on 8-bit images (``dssim``), which the LPIPS paper reports.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pmbench.metrics import metric
from pmbench.metrics.images import Images
from pmbench.metrics.maps import pad
from pmbench.utils.color import lab_of_8_bit, precise, truncated_to_8_bit

_PAPER = "Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment, IEEE TIP 2004"


def ssim_map(x: Tensor, y: Tensor, window: Tensor, peak: float, sample: float = 1.0) -> Tensor:
    """Return SSIM at every place where the window fits: (N, 3, h, w).

    ``x``, ``y`` (N, 3, H, W) with values up to ``peak``; ``window`` 1-d, of sum 1, applied to
    columns and then to rows, in float64, each time rounded to the type of ``x``; covariances are
    multiplied by ``sample`` (n/(n-1) makes them unbiased). Float64 is advisable: E[x²] - E[x]²
    cancels in float32.
    """

    def smooth(values: Tensor) -> Tensor:
        kernel = window.to(precise(values)).expand(3, 1, 1, -1)
        columns = F.conv2d(precise(values), kernel.transpose(2, 3), groups=3).to(values)
        return F.conv2d(precise(columns), kernel, groups=3).to(values)

    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mx, my = smooth(x), smooth(y)
    vx = sample * (smooth(x * x) - mx * mx)
    vy = sample * (smooth(y * y) - my * my)
    cov = sample * (smooth(x * y) - mx * my)
    return ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def gaussian(size: int, sigma: float) -> Tensor:
    """Return a 1-d Gaussian window of sum 1, float64."""
    at = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    g = torch.exp(-at.square() / (2 * sigma**2))
    return g / g.sum()


_GAUSSIAN = gaussian(11, 1.5)
_UNIFORM = torch.full((7,), 1 / 7, dtype=torch.float64)
_FAMILY = "SSIM"


def _ssim_map(x: Images, y: Images) -> Tensor:
    values = ssim_map(precise(x.pixels), precise(y.pixels), _GAUSSIAN, peak=1.0)
    return pad(values.mean(dim=1).to(torch.float32), x)


@metric(
    "ssim",
    family=_FAMILY,
    title="SSIM, 11×11 Gaussian window, on [0, 1]",
    paper=_PAPER,
    higher_is_better=True,
    min_size=11,
    map=_ssim_map,
)
def ssim(x: Images, y: Images) -> Tensor:
    """Return the mean SSIM over places and channels: (N,), at most 1."""
    # named here, the window is a part of the signature
    values = ssim_map(precise(x.pixels), precise(y.pixels), _GAUSSIAN, peak=1.0)
    return values.mean(dim=(1, 2, 3)).to(torch.float32)


def _dssim_map(x: Images, y: Images) -> Tensor:
    return pad(_half_of_rest(_of_8_bit(x, y).mean(dim=1)), x)


def _dssim_lab_map(x: Images, y: Images) -> Tensor:
    return pad(_half_of_rest(_of_lab(x, y).mean(dim=1)), x)


@metric(
    "dssim",
    family=_FAMILY,
    title="(1 - SSIM) / 2, 7×7 uniform window, on 8-bit images",
    paper=f"{_PAPER}; as in Zhang et al. 2018",
    code="https://github.com/richzhang/PerceptualSimilarity",
    differentiable=False,
    min_size=7,
    map=_dssim_map,
)
def dssim(x: Images, y: Images) -> Tensor:
    """Return (1 - SSIM) / 2 of images truncated to 8 bits: (N,), in [0, 1]."""
    return _half_of_rest(_of_8_bit(x, y).mean(dim=(1, 2, 3)))


@metric(
    "dssim-lab",
    family=_FAMILY,
    title="(1 - SSIM) / 2, 7×7 uniform window, in CIE Lab of 8-bit images",
    paper=f"{_PAPER}; as in Zhang et al. 2018",
    code="https://github.com/richzhang/PerceptualSimilarity",
    differentiable=False,
    min_size=7,
    map=_dssim_lab_map,
)
def dssim_lab(x: Images, y: Images) -> Tensor:
    """Return (1 - SSIM) / 2 of CIE Lab, as of a range of 100, of images truncated to 8 bits: (N,).

    Lab and all local moments are float32, as in the authors' code: their cancellation is a part of
    its numbers, and in float64 they would be 2e-4 off.
    """
    return _half_of_rest(_of_lab(x, y).mean(dim=(1, 2, 3)))


def _of_8_bit(x: Images, y: Images) -> Tensor:
    a, b = (precise(truncated_to_8_bit(images.pixels)) for images in (x, y))
    return ssim_map(a, b, _UNIFORM, 255.0, sample=49 / 48)


def _of_lab(x: Images, y: Images) -> Tensor:
    a, b = (images.derive(lab_of_8_bit).to(torch.float32) for images in (x, y))
    return precise(ssim_map(a, b, _UNIFORM, 100.0, sample=49 / 48))


def _half_of_rest(similarity: Tensor) -> Tensor:
    return ((1 - similarity) / 2).to(torch.float32)

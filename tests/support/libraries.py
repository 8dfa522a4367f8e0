"""Images for metrics of libraries, and the functions of piq."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pmbench.metrics import Distance
from pmbench.metrics.images import Images

CPU = torch.device("cpu")


def measure(distance: Distance, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return distance(Images(x), Images(y))


def smooth(n: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(n, 3, 6, 6, generator=generator)
    return F.interpolate(noise, (side, side), mode="bilinear").clamp(0, 1)


def pair(n: int, side: int) -> tuple[Tensor, Tensor]:
    """Return references, and the same with noise of rising strength."""
    x = smooth(n, side)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    return x, x.lerp(noise, torch.linspace(0.05, 0.4, n).view(n, 1, 1, 1))


# name -> function of piq and whether it is computed in float64
PIQ = {
    "fsim": ("fsim", False),
    "fsimc": ("fsim", False),
    "vsi": ("vsi", False),
    "gmsd": ("gmsd", False),
    "ms-gmsd": ("multi_scale_gmsd", False),
    "mdsi": ("mdsi", True),
    "haarpsi": ("haarpsi", False),
    "vifp": ("vif_p", True),
    "sr-sim": ("srsim", True),
    "dss": ("dss", True),
    "iw-ssim": ("information_weighted_ssim", True),
    "ms-ssim": ("multi_scale_ssim", False),
}

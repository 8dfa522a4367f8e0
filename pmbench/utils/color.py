"""Conversions of pixels that several metrics share."""

from __future__ import annotations

import torch
from torch import Tensor

_XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_D65 = (0.95047, 1.0, 1.08883)  # 2° observer


def signed(pixels: Tensor) -> Tensor:
    """Map [0, 1] to [-1, 1]."""
    return (2 * pixels).sub_(1)


def precise(pixels: Tensor) -> Tensor:
    """Return the tensor in float64, or in float32 on a device that has no float64."""
    return pixels if pixels.device.type == "mps" else pixels.double()


def truncated_to_8_bit(pixels: Tensor) -> Tensor:
    """Return [0, 1] as whole numbers in [0, 255], truncated from [-1, 1] in float32.

    Truncation, not rounding, and by way of [-1, 1]: the 8-bit images that the LPIPS evaluation
    script gives to its classical metrics. Has no useful gradient.
    """
    return ((signed(pixels) + 1) * 127.5).trunc()


def lab(rgb: Tensor) -> Tensor:
    """Return CIE L*a*b* (D65, 2°) of sRGB in [0, 1], both (N, 3, H, W); L in [0, 100]."""
    matrix = torch.tensor(_XYZ_FROM_RGB, dtype=rgb.dtype, device=rgb.device)
    white = torch.tensor(_D65, dtype=rgb.dtype, device=rgb.device).view(3, 1, 1)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("kc,nchw->nkhw", matrix, linear) / white
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-12) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(dim=1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def lab_of_8_bit(pixels: Tensor) -> Tensor:
    """Return CIE Lab of pixels in [0, 1] truncated to 8 bits, (N, 3, H, W), float64."""
    return lab(precise(truncated_to_8_bit(pixels)) / 255)

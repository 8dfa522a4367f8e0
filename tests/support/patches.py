"""Images and their patches, in NumPy in float64."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

CPU = torch.device("cpu")
Array = NDArray[np.float64]


def pictures(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return smooth random images with some fine detail, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    fine = torch.rand(n, 3, height, width, generator=generator)
    return 0.8 * F.interpolate(coarse, (height, width), mode="bilinear") + 0.2 * fine


def as_signed(picture: Tensor) -> Array:
    """Return one image (3, H, W), on [-1, 1], in float64."""
    return 2 * picture.double().numpy() - 1


def patches_of(picture: Array, p: int) -> Array:
    """Return the p×p×3 patches that lie inside (3, H, W): (H-p+1, W-p+1, 3·p·p)."""
    views = np.lib.stride_tricks.sliding_window_view(picture, (p, p), axis=(1, 2))
    return views.transpose(1, 2, 0, 3, 4).reshape(*views.shape[1:3], -1)


def windows_of(height: int, width: int) -> list[tuple[slice, slice]]:
    """Return the places of the 32×32 windows of stride 16."""
    return [
        (slice(top, top + 32), slice(left, left + 32))
        for top in range(0, height - 31, 16)
        for left in range(0, width - 31, 16)
    ]

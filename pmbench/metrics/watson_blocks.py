"""Coefficients of 8×8 blocks, as Watson's model sees an image: a DCT, or a DFT in polar form.

Everything stays in float32, as the authors have it: where a DFT coefficient is zero but for
rounding, its angle is that of the rounding, and another precision gives another angle.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

E = 1e-10  # the authors' guard against powers, ratios and angles of zero
SIDE = 8
COLUMNS = SIDE // 2 + 1  # of a real DFT; the others are their mirror


def luma_chroma(pixels: Tensor) -> Tensor:
    """Return Y, Cb and Cr of RGB, both (N, 3, H, W) in [0, 1]; grey has Cb = Cr = ½."""
    # elementwise, since a matrix product may round differently in another batch
    r, g, b = pixels.unbind(dim=1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb = -0.1687 * r - 0.3313 * g + 0.5 * b + 0.5
    cr = 0.5 * r - 0.4187 * g - 0.0813 * b + 0.5
    return torch.stack((y, cb, cr), dim=1)


def grey(pixels: Tensor) -> Tensor:
    """Return one channel, (N, 1, H, W), of RGB in [0, 1]."""
    r, g, b = pixels.unbind(dim=1)
    return (0.3 * r + 0.59 * g + 0.11 * b).unsqueeze(1)


def blocks(planes: Tensor) -> Tensor:
    """Cut (N, C, H, W) into (N, C, H/8 · W/8, 8, 8), without overlap.

    Raises RuntimeError where a side is no multiple of 8.
    """
    n, channels, height, width = planes.shape
    cut = planes.reshape(n, channels, height // SIDE, SIDE, width // SIDE, SIDE)
    return cut.transpose(3, 4).flatten(2, 3)


def _dct_matrix() -> NDArray[np.float64]:
    place = np.arange(SIDE)
    waves = np.cos(math.pi / SIDE * np.outer(place, place + 0.5))
    waves[0] /= math.sqrt(2)  # so that the constant has length one, like the others
    return waves * math.sqrt(2 / SIDE)


_DCT = _dct_matrix()


def dct(values: Tensor) -> Tensor:
    """Return the orthonormal DCT-II of (…, 8, 8), of the same shape; [0, 0] is 8 times the mean."""
    matrix = torch.as_tensor(_DCT, dtype=values.dtype, device=values.device)
    return matrix @ values @ matrix.T


def dft(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return amplitude and angle of the real DFT of (…, 8, 8) over 64: (…, 8, 5) each.

    The amplitude is |c + E + iE|, at [0, 0] the mean; the angle that of c + E, in [-π, π].
    """
    c = torch.fft.rfft2(values) / SIDE**2
    return (c + complex(E, E)).abs(), (c + E).angle()


# What ``Images.derive`` computes once for the metrics that share it: pixels (N, 3, H, W) in [0, 1]
# to one block transform of every channel, (N, C, blocks, 8, 8 or 5).


def colour_dct(pixels: Tensor) -> Tensor:
    """Return the coefficients of Y, Cb and Cr."""
    return dct(blocks(luma_chroma(pixels)))


def grey_dct(pixels: Tensor) -> Tensor:
    """Return the coefficients of the grey channel."""
    return dct(blocks(grey(pixels)))


def colour_dft(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return amplitudes and angles of Y, Cb and Cr."""
    return dft(blocks(luma_chroma(pixels)))


def grey_dft(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return amplitudes and angles of the grey channel."""
    return dft(blocks(grey(pixels)))

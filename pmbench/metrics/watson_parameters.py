"""The parameters of Watson's model: learned, from a weight file, or those training began with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pmbench import weights
from pmbench.metrics.watson_blocks import COLUMNS, SIDE

COLOUR, GREY = ("ly.", "lcb.", "lcr."), ("",)  # of each channel: what its names begin with

# the visible change of each DCT coefficient, from JPEG's table for luminance
_JPEG = (
    (1.40, 1.01, 1.16, 1.66, 2.40, 3.43, 4.79, 6.56),
    (1.01, 1.45, 1.32, 1.52, 2.00, 2.71, 3.67, 4.93),
    (1.16, 1.32, 2.24, 2.59, 2.98, 3.64, 4.60, 5.88),
    (1.66, 1.52, 2.59, 3.77, 4.55, 5.30, 6.28, 7.60),
    (2.40, 2.00, 2.98, 4.55, 6.15, 7.46, 8.71, 10.17),
    (3.43, 2.71, 3.64, 5.30, 7.46, 9.62, 11.58, 13.51),
    (4.79, 3.67, 4.60, 6.28, 8.71, 11.58, 14.50, 17.29),
    (6.56, 4.93, 5.88, 7.60, 10.17, 13.51, 17.29, 21.15),
)


@dataclass(frozen=True)
class Parameters:
    """Of C channels: what masks in them, and how much each of them counts.

    Thresholds ``t`` (C, 8, k); of (C,) each the exponent ``alpha`` of luminance masking, the
    strength ``w`` of contrast masking, the exponent ``beta`` of pooling, and ``channels``, of sum
    1, the weights of the channels' distances. ``phase`` (C, 8, 5) are those of a DFT's angles.
    """

    t: Tensor
    alpha: Tensor
    w: Tensor
    beta: Tensor
    channels: Tensor
    phase: Tensor | None = None


def learned(file: str, prefixes: tuple[str, ...], columns: int) -> Parameters:
    """Return the parameters in a weight file, for 8 × ``columns`` coefficients a block.

    ``prefixes`` is COLOUR or GREY; 8 columns are a DCT's, 5 a DFT's. Raises PmbenchError where a
    tensor is missing or has another shape.
    """
    tensors = weights.load(file)

    def of_channels(key: str, *shape: int) -> Tensor:
        return torch.stack([weights.take(tensors, p + key, shape, file) for p in prefixes])

    if prefixes == COLOUR:
        channels = weights.take(tensors, "w_tild", (3,), file).softmax(dim=0)
    else:
        channels = torch.ones(1)
    return Parameters(
        t=of_channels("t_tild", SIDE, columns).exp(),
        alpha=of_channels("alpha"),
        w=of_channels("w_tild").sigmoid(),
        beta=of_channels("beta"),
        channels=channels,
        phase=of_channels("w_phase_tild", SIDE, columns).exp() if columns < SIDE else None,
    )


def initial_dct() -> Parameters:
    """Return what training began with for DCT coefficients, the same for each of three channels."""
    return Parameters(torch.tensor(_JPEG).repeat(3, 1, 1), *_same_for_all(0.649, 0.7, 4.0))


def initial_dft() -> Parameters:
    """Return what training began with for DFT coefficients, the same for each of three channels."""
    t, phase = torch.ones(3, SIDE, COLUMNS), torch.full((3, SIDE, COLUMNS), math.exp(-2))
    return Parameters(t, *_same_for_all(0.1, 0.2, 1.0), phase)


def _same_for_all(alpha: float, w: float, beta: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return alpha, w, beta and weights of three channels."""
    values = (alpha, w, beta, 1 / 3)
    return tuple(torch.full((3,), value) for value in values)  # type: ignore[return-value]

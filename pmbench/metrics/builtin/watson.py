"""Watson's perceptual model with learned parameters: Czolbe, Krause, Cox, Igel 2020.

Images are compared in 8×8 blocks, each difference divided by a threshold above which it can be seen
beside the reference: a bright block raises all of its thresholds (luminance masking), a strong
coefficient raises that at its own place (contrast masking). ``watson-dct`` compares the
coefficients of a DCT, ``watson-dft`` the amplitudes of a DFT, and adds how far the angles are
turned. Y, Cb and Cr have parameters of their own, and the three distances are weighted; ``…-grey``
sees one channel. ``…-initial`` are the parameters that training began with. Only the reference
masks, so the distance is not symmetric.

Everything stays in float32, as the authors have it: where a DFT coefficient is zero but for
rounding, its angle is that of the rounding, and another precision gives another angle.

Differs from the authors' code: the mean luminance is that of the one image, not of the batch; an
image is never shifted at random, as it is in training; and a block of negative mean, which takes
pixels beyond [0, 1], counts as black where the authors have NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, sigmoid

from pmbench.metrics import Distance, Metric, register
from pmbench.metrics.images import Images
from pmbench.networks import weights

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


def soft_maximum(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of a and b with softmax(a, b) as weights: at most their maximum."""
    return a * sigmoid(a - b) + b * sigmoid(b - a)


def visibility(c0: Tensor, c1: Tensor, t: Tensor, w: Tensor, beta: Tensor) -> Tensor:
    """Return (|c0 - c1| / s + E)^beta + E, elementwise, where contrast has raised t to s.

    ``c0`` and ``c1`` are coefficients of reference and distorted image; ``t`` > 0 are the
    thresholds, ``w`` in [0, 1] says how strongly contrast masks, ``beta`` > 0 how to pool.
    """
    masked = (c0.abs() + E) ** w * t ** (1 - w)
    return (((c0 - c1) / soft_maximum(t, masked)).abs() + E) ** beta + E


class MaskedDifference(nn.Module):
    """By channel, (Σ over blocks and coefficients of the visibility of a difference)^(1/beta)."""

    def __init__(self, p: Parameters) -> None:
        super().__init__()
        for name, value in {"t": p.t, "alpha": p.alpha, "w": p.w, "beta": p.beta}.items():
            self.register_buffer(name, value)

    def forward(self, c0: Tensor, c1: Tensor) -> Tensor:
        """Return the distances of coefficients (N, C, blocks, 8, k): (N, C)."""
        alpha, w, beta = (
            self.get_buffer(name)[:, None, None, None] for name in ("alpha", "w", "beta")
        )
        # colours beyond [0, 1], as a generator makes them, can have a negative sum: a power of NaN
        luminance = c0[..., :1, :1].clamp(min=0)
        relative = (luminance + E) / (luminance.mean(dim=2, keepdim=True) + E)
        t = self.get_buffer("t").unsqueeze(1) * relative**alpha
        pooled = visibility(c0, c1, t, w, beta).sum(dim=(2, 3, 4))
        return pooled ** (1 / self.get_buffer("beta"))


PAPER = (
    "Czolbe, Krause, Cox, Igel: A Loss Function for Generative Neural Networks Based on Watson's "
    "Perceptual Model, NeurIPS 2020"
)
CODE = "https://github.com/SteffenCzolbe/PerceptualSimilarity"

_ANGLE_MARGIN = 1e-7  # keeps the slope of acos finite where two angles agree


class WatsonDct(nn.Module):
    """The masked difference of coefficients, averaged over channels."""

    def __init__(self, transform: Callable[[Tensor], Tensor], p: Parameters) -> None:
        super().__init__()
        self.transform = transform
        self.masked = MaskedDifference(p)
        self.register_buffer("channels", p.channels)

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        by_channel: Tensor = self.masked(x.derive(self.transform), y.derive(self.transform))
        return (by_channel * self.get_buffer("channels")).sum(dim=1)


class WatsonDft(nn.Module):
    """The masked difference of amplitudes plus the turns of angles, averaged over channels."""

    def __init__(self, transform: Callable[[Tensor], tuple[Tensor, Tensor]], p: Parameters) -> None:
        super().__init__()
        assert p.phase is not None
        phase = p.phase.clone()
        phase[:, :: SIDE // 2, :: SIDE // 2] = 0  # real coefficients: their angle is a sign
        self.transform = transform
        self.masked = MaskedDifference(p)
        self.register_buffer("phase", phase)
        self.register_buffer("channels", p.channels)

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        amplitude0, angle0 = x.derive(self.transform)
        amplitude1, angle1 = y.derive(self.transform)
        turn = torch.acos(torch.cos(angle0 - angle1) * (1 - _ANGLE_MARGIN))
        by_angle = (turn * self.get_buffer("phase").unsqueeze(1)).sum(dim=(2, 3, 4))
        by_channel: Tensor = self.masked(amplitude0, amplitude1) + by_angle
        return (by_channel * self.get_buffer("channels")).sum(dim=1)


def _register(
    name: str,
    title: str,
    make: Callable[[], nn.Module],
    file: str = "",
    tolerance: float = 1e-5,
    **parameters: float,
) -> None:
    def load(device: torch.device) -> Distance:
        return make().to(device)

    register(
        Metric(
            name=name,
            load=load,
            title=title,
            family="Watson",
            paper=PAPER,
            code=CODE,
            symmetric=False,
            min_size=SIDE,
            multiple_of=SIDE,
            tolerance=tolerance,
            weights=(file,) if file else (),
            licence="none stated" if file else "",
            parameters={"block": SIDE, "epsilon": E, **parameters},
        )
    )


_register(
    "watson-dct",
    "Watson's model on a DCT, learned",
    lambda: WatsonDct(colour_dct, learned("watson-dct", COLOUR, SIDE)),
    file="watson-dct",
)
_register(
    "watson-dct-grey",
    "Watson's model on a DCT, learned, one grey channel",
    lambda: WatsonDct(grey_dct, learned("watson-dct-grey", GREY, SIDE)),
    file="watson-dct-grey",
)
_register(
    "watson-dct-initial",
    "Watson's model on a DCT, as before training",
    lambda: WatsonDct(colour_dct, initial_dct()),
)

# Where an amplitude is about as small as E, its angle is that of the rounding, and another FFT may
# round in another way. Pixels of photographs moved by one unit in the last place showed how far a
# distance can go: 10 % (grey 0.13 %, initial 54 %). The tolerances are half as much again.
_register(
    "watson-dft",
    "Watson's model on a DFT, learned",
    lambda: WatsonDft(colour_dft, learned("watson-dft", COLOUR, COLUMNS)),
    file="watson-dft",
    tolerance=0.15,
    angle_margin=_ANGLE_MARGIN,
)
_register(
    "watson-dft-grey",
    "Watson's model on a DFT, learned, one grey channel",
    lambda: WatsonDft(grey_dft, learned("watson-dft-grey", GREY, COLUMNS)),
    file="watson-dft-grey",
    tolerance=0.002,
    angle_margin=_ANGLE_MARGIN,
)
_register(
    "watson-dft-initial",
    "Watson's model on a DFT, as before training",
    lambda: WatsonDft(colour_dft, initial_dft()),
    tolerance=0.8,
    angle_margin=_ANGLE_MARGIN,
)

"""Watson's perceptual model with learned parameters: Czolbe, Krause, Cox, Igel 2020.

Images are compared in 8×8 blocks, each difference divided by what the reference hides of it:
``watson-dct`` compares the coefficients of a DCT, ``watson-dft`` the amplitudes of a DFT, and adds
how far the angles are turned. Y, Cb and Cr have parameters of their own, and the three distances
are weighted; ``…-grey`` sees one channel. ``…-initial`` are the parameters that training began
with. Only the reference masks, so the distance is not symmetric.

Differs from the authors' code: the mean luminance is that of the one image, not of the batch; an
image is never shifted at random, as it is in training; and a block of negative mean, which takes
pixels beyond [0, 1], counts as black where the authors have NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pmbench.images import Images
from pmbench.metrics import Distance, Metric, register
from pmbench.metrics.watson_blocks import (
    COLUMNS,
    SIDE,
    E,
    colour_dct,
    colour_dft,
    grey_dct,
    grey_dft,
)
from pmbench.metrics.watson_masking import MaskedDifference
from pmbench.metrics.watson_parameters import (
    COLOUR,
    GREY,
    Parameters,
    initial_dct,
    initial_dft,
    learned,
)

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

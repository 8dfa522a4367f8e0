"""Classical metrics as the package piq computes them, each pair for itself.

Differs from calling piq in three ways. What is more than 1e-5 off in float32 is computed in
float64: there variances E[x²] - E[x]² cancel where an image is smooth, and VIFp of real patches is
up to 4 % off. SR-SIM and IW-SSIM take one pair at a time: piq scales SR-SIM's saliency by the range
in the whole batch, and one flat reference stops IW-SSIM for a whole batch. Where piq has no answer
for images without any detail, their limit is taken: see ``_lit`` and ``_with_detail``.

Two answers are piq's conventions: a flat reference has a VIFp of 1, whatever it is compared with,
since it holds nothing that could be lost; DSS judges the worst 5 % of the 8×8 blocks, which on
32×32 images is a single one.

Those declared not differentiable have a gradient in piq, but it is NaN where an image is flat (the
root of squared gradients that are 0), or where both are identical: it is not handed on.

``pieapp`` (Prashnani, Cai, Mostofi, Sen 2018) has piq's network, and weights in a file like any
other. Patches are 27 pixels apart, piq's default; the authors recommend 6. On images of 64×64 there
is one patch either way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pmbench.metrics import Distance, Metric, OnPixels, register
from pmbench.metrics.images import Images
from pmbench.networks import weights
from pmbench.utils.color import precise

_PATCH, _STRIDE = 64, 27


class PieApp(nn.Module):
    """Σ w·e / Σ w over patches: e and w are a network's answers to differences of its features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Return the errors of images in [0, 1]: (N,)."""
        from piq.functional import crop_patches

        patches = [crop_patches(255 * v, _PATCH, _STRIDE) for v in (reference, distorted)]
        (a, a_last), (b, b_last) = (self.network(part) for part in patches)
        errors, w = self.network.compute_difference(a - b, a_last - b_last)  # type: ignore[operator]
        errors, w = errors.view(len(reference), -1), w.view(len(reference), -1)
        total: Tensor = (errors * w).sum(dim=1) / w.sum(dim=1)
        return total


def _load_pieapp(device: torch.device) -> Distance:
    from piq.pieapp import PieAPPModel

    with torch.device("meta"):  # nothing is drawn only to be overwritten
        network = PieAPPModel()
    tensors, state = weights.load("pieapp"), {}
    for key, empty in network.state_dict().items():
        # the official file holds one matrix without its second dimension
        shape = (1,) if key == "ref_score_subtract.weight" else empty.shape
        state[key] = weights.take(tensors, key, shape, "pieapp").view(empty.shape)
    network.load_state_dict(state, assign=True)
    return OnPixels(PieApp(network.eval().requires_grad_(False).to(device)))


register(
    Metric(
        name="pieapp",
        load=_load_pieapp,
        title="PieAPP v0.1, patches every 27 pixels",
        family="piq",
        paper="Prashnani, Cai, Mostofi, Sen: PieAPP, CVPR 2018",
        code="https://github.com/photosynthesis-team/piq",
        symmetric=False,
        min_size=_PATCH,
        weights=("pieapp",),
        licence="none stated",
        parameters={"stride": _STRIDE},
        extra="piq",
        pixels_at_once=1 << 17,
    )
)


_CODE = "https://github.com/photosynthesis-team/piq"
_PIXELS_AT_ONCE = 1 << 17  # maps take up to a hundred times the memory of the images

Pair = tuple[Tensor, Tensor]  # distorted, reference: the order in which piq takes them


class Piq(nn.Module):
    """One of piq's functions, after ``prepare`` had a look at the pixels."""

    def __init__(
        self,
        function: str,
        options: Mapping[str, bool],
        differentiable: bool,
        exact: bool,
        one_pair: bool,
        prepare: Callable[[Tensor, Tensor], Pair],
    ) -> None:
        super().__init__()
        import piq

        self.function: Callable[..., Tensor] = getattr(piq, function)
        self.options = options
        self.differentiable = differentiable
        self.exact = exact
        self.one_pair = one_pair
        self.prepare = prepare

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the values: (N,)."""
        size = 1 if self.one_pair else len(x)
        pixels = [precise(v.pixels) if self.exact else v.pixels for v in (y, x)]
        portions = [torch.split(values, size) for values in pixels]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.differentiable):
            values = [self._values(*pair) for pair in zip(*portions, strict=True)]
        return torch.cat(values).to(torch.float32)

    def _values(self, distorted: Tensor, reference: Tensor) -> Tensor:
        pair = self.prepare(distorted, reference)
        try:
            return self.function(*pair, reduction="none", **self.options)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # IW-SSIM: no inverse
            return distorted.new_full((len(distorted),), math.nan)


def _as_they_are(distorted: Tensor, reference: Tensor) -> Pair:
    return distorted, reference


def _lit(distorted: Tensor, reference: Tensor) -> Pair:
    """Return two grey images for two black ones.

    HaarPSI weighs similarities by responses that are 0 everywhere in black images, and only in
    those. The similarities are 1, so any weights give what two equal grey images give. Black is
    what is below 1e-6: weights by so little would be those of the rounding.
    """
    dark = (distorted < 1e-6) & (reference < 1e-6)
    black = dark.flatten(1).all(dim=1).view(-1, 1, 1, 1)
    return torch.where(black, 0.5, distorted), torch.where(black, 0.5, reference)


def _with_detail(distorted: Tensor, reference: Tensor) -> Pair:
    """Return the pair, with faint noise on a reference that is flat; of equal ones, equal noise.

    IW-SSIM inverts the covariance of the reference's patches, and is 1 for equal images whatever
    that is. As a reference becomes flat, the value tends to a limit that does not depend on how;
    noise of 1e-8 is within 1 % of it. There is no such limit for a reference that is a mere ramp or
    step: IW-SSIM is not defined on it.
    """
    equal = torch.equal(distorted, reference)
    if not equal and bool((reference != reference[:, :, :1, :1]).any()):
        return distorted, reference
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(reference.shape, generator=generator, dtype=reference.dtype)
    if equal:  # the largest value there is, so the gradient is 0
        return noise.to(reference) + 0 * distorted, noise.to(reference) + 0 * reference
    return distorted, reference.lerp(noise.to(reference), 1e-8)


def _add(
    name: str,
    function: str,
    title: str,
    paper: str,
    *,
    higher_is_better: bool = True,
    differentiable: bool = True,
    exact: bool = False,
    one_pair: bool = False,
    prepare: Callable[[Tensor, Tensor], Pair] = _as_they_are,
    options: Mapping[str, bool] | None = None,
    **card: Any,
) -> None:
    """Register one of piq's functions; ``card`` are fields of ``Metric``.

    ``exact``: in float64; ``one_pair``: one at a time.
    """
    chosen = dict(options or {})
    register(
        Metric(
            name=name,
            load=lambda device: Piq(function, chosen, differentiable, exact, one_pair, prepare),
            title=title,
            family="piq",
            paper=paper,
            code=_CODE,
            higher_is_better=higher_is_better,
            differentiable=differentiable,
            licence="Apache-2.0",
            parameters=chosen,
            extra="piq",
            pixels_at_once=_PIXELS_AT_ONCE,
            **card,
        )
    )


_add(
    "fsim",
    "fsim",
    "FSIM: phase congruency and gradients",
    "Zhang, Zhang, Mou, Zhang: FSIM, IEEE TIP 2011",
    differentiable=False,
    options={"chromatic": False},
    min_size=2,
)
_add(
    "fsimc",
    "fsim",
    "FSIMc: phase congruency, gradients and colour",
    "Zhang, Zhang, Mou, Zhang: FSIM, IEEE TIP 2011",
    differentiable=False,
    options={"chromatic": True},
    min_size=2,
)
_add(
    "vsi",
    "vsi",
    "VSI: saliency, gradients and colour",
    "Zhang, Shen, Li: VSI, IEEE TIP 2014",
    differentiable=False,
)
_add(
    "gmsd",
    "gmsd",
    "GMSD: deviation of the similarity of gradients",
    "Xue, Zhang, Mou, Bovik: Gradient Magnitude Similarity Deviation, IEEE TIP 2014",
    higher_is_better=False,
    differentiable=False,
)
_add(
    "ms-gmsd",
    "multi_scale_gmsd",
    "MS-GMSD: GMSD on four scales",
    "Zhang, Sander, Bermak: Gradient Magnitude Similarity Deviation on Multiple Scales, "
    "ICASSP 2017",
    higher_is_better=False,
    differentiable=False,
    min_size=17,
)
_add(
    "mdsi",
    "mdsi",
    "MDSI: deviation of the similarity of gradients and colour",
    "Ziaei Nafchi, Shahkolaei, Hedjam, Cheriet: Mean Deviation Similarity Index, IEEE Access 2016",
    higher_is_better=False,
    differentiable=False,
    exact=True,
    symmetric=False,
)
_add(
    "haarpsi",
    "haarpsi",
    "HaarPSI: Haar wavelets",
    "Reisenhofer, Bosse, Kutyniok, Wiegand: A Haar Wavelet-Based Perceptual Similarity Index, "
    "Signal Processing: Image Communication 2018",
    prepare=_lit,
    min_size=16,
)
_add(
    "vifp",
    "vif_p",
    "VIFp: visual information fidelity, on pixels",
    "Sheikh, Bovik: Image Information and Visual Quality, IEEE TIP 2006",
    exact=True,
    one_pair=True,  # many times faster than a batch in float64 on a CPU
    symmetric=False,
    min_size=41,
)
_add(
    "sr-sim",
    "srsim",
    "SR-SIM: spectral residual saliency and gradients",
    "Zhang, Li: SR-SIM, ICIP 2012",
    differentiable=False,
    exact=True,
    one_pair=True,
    min_size=40,
)
_add(
    "dss",
    "dss",
    "DSS: sub-bands of the 8×8 DCT",
    "Balanov, Schwartz, Moshe, Peleg: Image Quality Assessment Based on DCT Subband Similarity, "
    "ICIP 2015",
    differentiable=False,
    exact=True,
    min_size=32,
)
_add(
    "iw-ssim",
    "information_weighted_ssim",
    "IW-SSIM: SSIM on five scales, weighted by information",
    "Wang, Li: Information Content Weighting for Perceptual Image Quality Assessment, "
    "IEEE TIP 2011",
    exact=True,
    one_pair=True,
    prepare=_with_detail,
    symmetric=False,
    min_size=161,
)
_add(
    "ms-ssim",
    "multi_scale_ssim",
    "MS-SSIM: SSIM on five scales",
    "Wang, Simoncelli, Bovik: Multiscale Structural Similarity, Asilomar 2003",
    min_size=161,
)

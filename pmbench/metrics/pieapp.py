"""PieAPP: Prashnani, Cai, Mostofi, Sen 2018, with the network of the package piq.

Differs from piq in that its weights are a file like any other. Patches are 27 pixels apart, piq's
default; the authors recommend 6. On images of 64×64 there is one patch either way.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pmbench import weights
from pmbench.metrics import Distance, Metric, OnPixels, register

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

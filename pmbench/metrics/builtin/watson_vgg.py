"""Watson's model on deep features: Czolbe, Krause, Cox, Igel 2020, "Watson-VGG".

Features of VGG-16 as LPIPS takes them, on images in [0, 1]; each difference is divided by what the
reference's feature at the same place hides of it (contrast masking; nothing masks by luminance).
``watson-vgg`` has the learned thresholds, ``watson-vgg-initial`` those that training began with.

Loading the learned ones is not verified: their file was not at hand. Its names are taken from the
authors' code (``t0_tild`` … ``t4_tild``, ``w0_tild`` … ``w4_tild``, ``beta``). If the file holds a
copy of VGG-16 too, that is not used: the authors trained no filters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pmbench.metrics import Distance, Metric, register
from pmbench.metrics.builtin.watson import CODE, PAPER, E, visibility
from pmbench.metrics.chunking import by_blocks
from pmbench.metrics.images import Images
from pmbench.networks import weights
from pmbench.networks.backbones import (
    ARCHITECTURES,
    LPIPS_UNSIGNED,
    TRAINED,
    Backbone,
    as_unit,
    backbone,
)

_VGG = ARCHITECTURES["vgg16"]


class WatsonVgg(nn.Module):
    """(Σ over taps of the mean over positions of Σ over channels of the visibility)^(1/beta).

    Of each tap: thresholds by channel in ``t`` (C,), the strength of masking in ``w`` (taps,).
    """

    def __init__(self, net: Backbone, t: list[Tensor], w: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.net = net
        for i, thresholds in enumerate(t):
            self.register_buffer(f"t_{i}", thresholds)
        self.register_buffer("w", w)
        self.register_buffer("beta", beta)

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        w, beta = self.get_buffer("w"), self.get_buffer("beta")
        total = torch.zeros((), device=x.pixels.device)
        features = zip(x.derive(self.net), y.derive(self.net), strict=True)
        for i, (a, b) in enumerate(features):
            t = self.get_buffer(f"t_{i}")[:, None, None]

            def pooled(a: Tensor, b: Tensor, t: Tensor = t, w: Tensor = w[i]) -> Tensor:
                c0, c1 = as_unit(a, self.net.form), as_unit(b, self.net.form)
                return visibility(c0, c1, t, w, beta).sum(dim=1).mean(dim=(1, 2))

            total = total + by_blocks(pooled, a, b)
        return total ** (1 / beta)


def _learned(file: str) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return t by tap, w and beta. Raises PmbenchError where a tensor is missing or misshapen."""
    tensors = weights.load(file)
    taps = range(len(_VGG.taps))
    t = [weights.take(tensors, f"t{i}_tild", (_VGG.channels[i],), file).exp() for i in taps]
    w = torch.stack([weights.take(tensors, f"w{i}_tild", (), file) for i in taps]).sigmoid()
    return t, w, weights.take(tensors, "beta", (), file)


def _initial() -> tuple[list[Tensor], Tensor, Tensor]:
    w = torch.full((len(_VGG.taps),), 0.2)
    return [torch.ones(channels) for channels in _VGG.channels], w, torch.tensor(1.0)


def _register(name: str, title: str, file: str = "") -> None:
    def load(device: torch.device) -> Distance:
        t, w, beta = _learned(file) if file else _initial()
        net = backbone("vgg16", LPIPS_UNSIGNED, TRAINED, "relu", device)
        return WatsonVgg(net, t, w, beta).to(device)

    register(
        Metric(
            name=name,
            load=load,
            title=title,
            family="Watson",
            paper=PAPER,
            code=CODE,
            symmetric=False,
            min_size=_VGG.min_size,
            weights=("vgg16", file) if file else ("vgg16",),
            licence="none stated" if file else "BSD-3-Clause",
            parameters={"trunk": "vgg16", "epsilon": E},
        )
    )


_register("watson-vgg", "Watson's model on VGG-16 features, learned", "watson-vgg")
_register("watson-vgg-initial", "Watson's model on VGG-16 features, as before training")

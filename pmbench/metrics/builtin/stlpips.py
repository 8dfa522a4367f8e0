"""Shift-tolerant LPIPS: Ghildyal & Liu 2022, the LPIPS formula on networks that alias less.

An image shifted by a pixel looks the same, but what a network samples at every second position
does not. Here no layer has a stride: each that had one is followed by a blur that halves the size,
with two pixels reflected around it. Networks and channel weights are the authors' own.

Differs from the package ``stlpips_pytorch`` only in asking for values in [0, 1] instead of [-1, 1].
Of that package nothing but the weight files is used.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmbench.metrics import Distance, Metric, register
from pmbench.metrics.builtin.lpips import FeatureDistance, linear_weights
from pmbench.networks import weights
from pmbench.networks.architectures import layers
from pmbench.networks.backbones import LPIPS, Architecture, Backbone, blur_pool, frozen

_REFLECTED = 2

# the first layers work at full size, so fewer pixels than with strides stay in cache
NETS = {
    "alex": Architecture("alexnet", (2, 6, 10, 12, 14), (64, 192, 384, 256, 256), 21, 16 * 64 * 64),
    "vgg": Architecture("vgg16", (3, 9, 17, 25, 33), (64, 128, 256, 512, 512), 18, 16 * 64 * 64),
}


class BlurPool(nn.Module):
    """Blur and halve the size, with reflected pixels around the border."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, C, ⌊(h + 3) / 2⌋, ⌊(w + 3) / 2⌋). Raises RuntimeError at sides below 3."""
        return blur_pool(F.pad(features, (_REFLECTED,) * 4, mode="reflect"), padding=0)


def _without_strides(net: nn.Sequential) -> Iterator[nn.Module]:
    for layer in net:
        yield layer
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d) and layer.stride not in (1, (1, 1)):
            layer.stride = (1, 1)
            yield BlurPool()


@functools.cache
def shift_tolerant(short: str, device: torch.device) -> Backbone:
    """Return the frozen network "alex" or "vgg"; the same object for the same choice.

    Raises PmbenchError where its weight file is missing or has other tensors.
    """
    net, file = NETS[short], f"stlpips-{short}"
    with torch.inference_mode(False):
        features = nn.Sequential(*_without_strides(layers(net.build))).to_empty(device="cpu")
        learned = weights.load(file)
        state = features.state_dict()
        for key, empty in state.items():
            index = int(key.partition(".")[0])
            part = 1 + sum(tap < index for tap in net.taps)  # the file tells the taps apart
            state[key] = weights.take(learned, f"net.slice{part}.{key}", empty.shape, file)
        features.load_state_dict(state)
        return frozen(Backbone(features, net.taps, LPIPS, "relu", net.pixels_per_pass), device)


def _register(short: str) -> None:
    net, file = NETS[short], f"stlpips-{short}"

    def load(device: torch.device) -> Distance:
        by_tap = linear_weights(file, net.channels)
        return FeatureDistance(shift_tolerant(short, device), by_tap).to(device)

    register(
        Metric(
            name=f"st-lpips-{short}",
            load=load,
            title=f"shift-tolerant LPIPS, {net.build} with blurs for strides",
            family="LPIPS",
            paper="Ghildyal, Liu: Shift-tolerant Perceptual Similarity Metric, ECCV 2022",
            code="https://github.com/abhijay9/ShiftTolerant-LPIPS",
            min_size=net.min_size,
            weights=(file,),
            licence="BSD-2-Clause",
            extra="stlpips",
            has_map=True,
            space="l2",
        )
    )


for _short in NETS:
    _register(_short)

"""Frozen networks with taps: one instance for each name, preprocessing and device.

The preprocessing is a part of the cached network, so that "the same trunk on the same input" is
one object, which ``Images.derive`` computes once however many metrics ask.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

from pmbench import weights
from pmbench.color import signed


@dataclass(frozen=True)
class Preprocessing:
    """What happens to pixels in [0, 1] before the first layer: (v - shift) / scale, by channel.

    v is the pixel value itself, or in [-1, 1] where ``from_signed``.
    """

    from_signed: bool
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the network's input, of the shape of ``pixels``."""
        value = signed(pixels) if self.from_signed else pixels
        if self.scale == (1.0, 1.0, 1.0) and self.shift == (0.0, 0.0, 0.0):
            return value
        shift = torch.tensor(self.shift, dtype=value.dtype, device=value.device).view(3, 1, 1)
        scale = torch.tensor(self.scale, dtype=value.dtype, device=value.device).view(3, 1, 1)
        return (value - shift) / scale


# lpips 0.1: ImageNet's mean and standard deviation, for values in [-1, 1]
LPIPS = Preprocessing(True, shift=(-0.030, -0.088, -0.188), scale=(0.458, 0.448, 0.450))


@dataclass(frozen=True)
class Architecture:
    """One of torchvision's classification networks, as a feature trunk.

    ``taps`` are indices of ``features`` (each a ReLU, or a Fire module that ends in one).
    ``pixels_per_pass`` is how much one pass computes: beyond it the early maps leave the cache.
    """

    build: str  # in torchvision.models
    taps: tuple[int, ...]
    channels: tuple[int, ...]
    min_size: int  # below this a pooling has nothing left to pool
    pixels_per_pass: int


ARCHITECTURES = {
    "alexnet": Architecture(
        "alexnet", (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), 31, 100 * 64 * 64
    ),
    "vgg16": Architecture("vgg16", (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), 16, 12 * 64 * 64),
    "squeezenet1_1": Architecture(
        "squeezenet1_1",
        (1, 4, 7, 9, 10, 11, 12),
        (64, 128, 256, 384, 384, 512, 512),
        17,
        64 * 64 * 64,
    ),
}


class UnitTaps(nn.Module):
    """Pixels -> the trunk's features at each tap, each position's channel vector of length one.

    ``forward`` takes (N, 3, H, W) in [0, 1] and returns one (N, C, h, w) a tap. The length is
    bounded below by 1e-10 (added, as in LPIPS), so a position without any activity stays zero.
    """

    def __init__(self, name: str, preprocessing: Preprocessing, seed: int | None) -> None:
        super().__init__()
        architecture = ARCHITECTURES[name]
        self.preprocessing = preprocessing
        self.taps = architecture.taps
        self.pixels_per_pass = architecture.pixels_per_pass
        self.features = _trunk(name, seed)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the unit-length features at each tap."""
        size = max(1, self.pixels_per_pass // (pixels.shape[2] * pixels.shape[3]))
        passes = [self._one_pass(part) for part in torch.split(pixels, size)]
        return tuple(torch.cat(tap) for tap in zip(*passes, strict=True))

    def _one_pass(self, pixels: Tensor) -> list[Tensor]:
        x = self.preprocessing(pixels).contiguous(memory_format=torch.channels_last)
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
                found.append(x / (length + 1e-10))
        return found


@functools.cache
def unit_taps(
    name: str, preprocessing: Preprocessing, seed: int | None, device: torch.device
) -> UnitTaps:
    """Return the frozen network, in eval mode on ``device``; the same object for the same choice.

    ``name`` is one of ARCHITECTURES; ``seed`` None is the trained network, a number is
    torchvision's own initialisation after ``torch.manual_seed(seed)`` on the CPU. No argument has a
    default: a default would make two cache keys of one choice, and silently stop the sharing.
    """
    # made outside of inference mode, since it may be asked for a gradient later: it is a loss too
    with torch.inference_mode(False):
        net = UnitTaps(name, preprocessing, seed).eval().requires_grad_(False).to(device)
        return net.to(memory_format=torch.channels_last)


def _trunk(name: str, seed: int | None) -> nn.Sequential:
    architecture = ARCHITECTURES[name]
    if seed is None:
        with torch.device("meta"):  # nothing is drawn only to be overwritten
            features = getattr(torchvision.models, architecture.build)(weights=None).features
        trunk = nn.Sequential(*features[: max(architecture.taps) + 1]).to_empty(device="cpu")
        weights.load_into(trunk, name, prefix="features.")
        return trunk
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = getattr(torchvision.models, architecture.build)(weights=None).features
    return nn.Sequential(*features[: max(architecture.taps) + 1])

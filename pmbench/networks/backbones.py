"""Frozen networks with taps: one instance for each name, preprocessing, filters, form and device.

The preprocessing is a part of the cached network, so that "the same trunk on the same input" is
one object, which ``Images.derive`` computes once however many metrics ask.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmbench.networks import weights
from pmbench.networks.architectures import layers
from pmbench.utils.color import signed
from pmbench.utils.devices import in_network_dtype
from pmbench.utils.tracking import is_tracked


@dataclass(frozen=True)
class Preprocessing:
    """What happens to pixels in [0, 1] before the first layer: (v - shift) / scale, by channel.

    v is the pixel value itself, or in [-1, 1] where ``from_signed``.
    """

    from_signed: bool
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the network's input: of the shape of ``pixels``, in memory channels last."""
        n, _, height, width = pixels.shape
        rows = pixels.permute(0, 2, 3, 1).reshape(n, height, width * 3)
        if self.from_signed:
            rows = signed(rows)
        if (self.shift, self.scale) != ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
            # a row at a time: to broadcast along three channels takes fifty times as long
            shift, scale = (rows.new_tensor(v).repeat(width) for v in (self.shift, self.scale))
            rows = (rows - shift).div_(scale)
        return rows.view(n, height, width, 3).permute(0, 3, 1, 2)


_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# lpips 0.1: ImageNet's mean and standard deviation, for values in [-1, 1]
LPIPS = Preprocessing(True, _SHIFT, _SCALE)
# the same constants on values in [0, 1], as Czolbe et al. 2020 trained with
LPIPS_UNSIGNED = Preprocessing(False, _SHIFT, _SCALE)
SIGNED = Preprocessing(True)
IMAGENET = Preprocessing(False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Initialization:
    """Where a trunk's filters come from.

    "trained": the weight file. "torchvision": torchvision's own initialisation after
    ``torch.manual_seed(seed)`` on the CPU. "kaiming": normal of fan-in, gain √2, zero bias, same
    seeding. ``centred`` removes the spatial mean, per channel, of the first layer's filters.
    """

    kind: Literal["trained", "torchvision", "kaiming"]
    seed: int = 0
    centred: bool = False


TRAINED = Initialization("trained")

# "relu": after the ReLU; "conv": the convolution's output, before the ReLU; "unit": after it, each
# position's channel vector of length one (as in LPIPS), and "raw": a module's output as it is,
# which other people's networks give
Raw = Literal["relu", "conv"]
Form = Raw | Literal["unit", "raw"]


@dataclass(frozen=True)
class Architecture:
    """One of torchvision's classification networks, as a feature trunk.

    ``taps`` are indices of ``features`` (each a ReLU, or a Fire module that ends in one), and
    ``names`` what their layers are called: the ReLU 1_2 of VGG follows its convolution 1_2.
    ``pixels_per_pass`` is how much one pass computes: beyond it the early maps leave the cache.
    """

    build: str  # in torchvision.models
    taps: tuple[int, ...]
    channels: tuple[int, ...]
    min_size: int  # below this a pooling has nothing left to pool
    pixels_per_pass: int
    names: tuple[str, ...] = ()


ARCHITECTURES = {
    "alexnet": Architecture(
        "alexnet",
        (1, 4, 7, 9, 11),
        (64, 192, 384, 256, 256),
        31,
        100 * 64 * 64,
        ("1", "2", "3", "4", "5"),
    ),
    "vgg16": Architecture(
        "vgg16",
        (3, 8, 15, 22, 29),
        (64, 128, 256, 512, 512),
        16,
        12 * 64 * 64,
        ("1_2", "2_2", "3_3", "4_3", "5_3"),
    ),
    "squeezenet1_1": Architecture(
        "squeezenet1_1",
        (1, 4, 7, 9, 10, 11, 12),
        (64, 128, 256, 384, 384, 512, 512),
        17,
        64 * 64 * 64,
        ("1", "2", "3", "4", "5", "6", "7"),
    ),
}


class Backbone(nn.Module):
    """Pixels -> a network's features at each of its taps, in one form.

    ``forward`` takes (N, 3, H, W) in [0, 1] and returns one (N, C, h, w) a tap. ``taps`` and
    ``pixels_per_pass`` are those of Architecture. ``draw`` returns the layers of another seed,
    where they were drawn at random.
    """

    def __init__(
        self,
        features: nn.Sequential,
        taps: tuple[int, ...],
        preprocessing: Preprocessing,
        form: Raw,
        pixels_per_pass: int,
        draw: Callable[[int], nn.Sequential] | None = None,
    ) -> None:
        super().__init__()
        self.draw = draw
        self.preprocessing = preprocessing
        self.form = form
        before = 1 if form == "conv" else 0  # a tap's ReLU follows its convolution
        self.taps = tuple(tap - before for tap in taps)
        self.pixels_per_pass = pixels_per_pass
        self.features = features[: max(self.taps) + 1]
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.ReLU):
                layer.inplace = index - 1 not in self.taps  # it would overwrite the tap

    @property
    def is_random(self) -> bool:
        """Whether its filters were drawn, and can be drawn anew."""
        return self.draw is not None

    def redraw(self, generator: np.random.Generator) -> None:
        """Draw the filters anew, in place."""
        assert self.draw is not None
        drawn = self.draw(int(generator.integers(1 << 31)))
        self.features.load_state_dict(drawn[: len(self.features)].state_dict())

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the features at each tap, float32 also where the network computes in less."""
        # a GPU has no such cache to stay in, and wants more to do at a time
        at_once = self.pixels_per_pass * (1 if pixels.device.type == "cpu" else 64)
        size = max(1, at_once // (pixels.shape[2] * pixels.shape[3]))
        return in_passes(self._one_pass, pixels, size)

    def _one_pass(self, pixels: Tensor) -> list[Tensor]:
        x = self.preprocessing(pixels)
        results = []
        with in_network_dtype(x.device):
            for index, layer in enumerate(self.features):
                x = layer(x)
                if index in self.taps:
                    results.append(x.to(pixels.dtype))
        return results


def in_passes(
    network: Callable[[Tensor], list[Tensor]], pixels: Tensor, size: int
) -> tuple[Tensor, ...]:
    """Return a network's taps, (N, C, h, w) each, computed at most ``size`` images at a time."""
    n = len(pixels)
    # as many in each: a last pass of a few would cost as much as one of many
    passes = map(network, torch.tensor_split(pixels, max(1, -(-n // size))))
    first = next(passes)
    if len(first[0]) == n:
        return tuple(first)
    if is_tracked(*first):
        return tuple(torch.cat(tap) for tap in zip(first, *passes, strict=True))
    # each pass goes to its place while it is in the cache, and nothing is there twice
    whole = [
        torch.empty(
            (n, *tap.shape[1:]),
            dtype=tap.dtype,
            device=tap.device,
            memory_format=torch.channels_last,
        )
        for tap in first
    ]
    start = 0
    for taps in itertools.chain([first], passes):
        for to, tap in zip(whole, taps, strict=True):
            to[start : start + len(tap)] = tap
        start += len(taps[0])
    return tuple(whole)


def unit(features: Tensor) -> Tensor:
    """Divide each position's channel vector by its length, which is bounded below by 1e-10.

    The bound is added, as in LPIPS, so a position without any activity stays zero.
    """
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (length + 1e-10)


def as_unit(tap: Tensor, form: Form) -> Tensor:
    """Return what a tap of any form is after the ReLU, each position's vector of length one."""
    if form == "unit":
        return tap
    return unit(tap if form == "relu" else tap.relu())


def blur_pool(features: Tensor, padding: int) -> Tensor:
    """Halve the size of (N, C, h, w): each channel blurred with (1, 2, 1)ᵀ(1, 2, 1) / 16, stride 2.

    ``padding`` zeros are put around it first.
    """
    line = torch.tensor([0.25, 0.5, 0.25], dtype=features.dtype, device=features.device)
    channels = features.shape[1]
    kernel = torch.outer(line, line).expand(channels, 1, 3, 3)
    return F.conv2d(features, kernel, stride=2, padding=padding, groups=channels)


@functools.cache
def backbone(
    name: str,
    preprocessing: Preprocessing,
    filters: Initialization,
    form: Raw,
    device: torch.device,
) -> Backbone:
    """Return the frozen network, in eval mode on ``device``; the same object for the same choice.

    ``name`` is one of ARCHITECTURES. No argument has a default: a default would make two cache keys
    of one choice, and silently stop the sharing. For the same reason metrics that use one network
    with one preprocessing agree on one form: "conv" serves those that want another.
    """
    architecture = ARCHITECTURES[name]
    if form == "conv" and name == "squeezenet1_1":
        raise ValueError(f"{name}: a tap of two convolutions has no output before the ReLU")
    # made outside of inference mode, since it may be asked for a gradient later: it is a loss too
    with torch.inference_mode(False):
        features, per_pass = features_of(name, filters), architecture.pixels_per_pass
        draw = None
        if filters.kind != "trained":
            draw = functools.partial(_features_of_seed, name, filters)
        net = Backbone(features, architecture.taps, preprocessing, form, per_pass, draw)
        return frozen(net, device)


def _features_of_seed(name: str, filters: Initialization, seed: int) -> nn.Sequential:
    return features_of(name, replace(filters, seed=seed))


def frozen(net: Backbone, device: torch.device) -> Backbone:
    """Return the network on ``device``, in eval mode, without gradients of its own."""
    net.eval().requires_grad_(False).to(device)
    return net.to(memory_format=torch.channels_last)


def features_of(name: str, filters: Initialization) -> nn.Sequential:
    """Return the layers of one of ARCHITECTURES with these filters, on the CPU.

    Raises PmbenchError where the weight file is missing or another network's.
    """
    architecture = ARCHITECTURES[name]
    if filters.kind == "torchvision":
        import torchvision  # two seconds, and only here needed: its own way of drawing

        build = getattr(torchvision.models, architecture.build)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(filters.seed)  # a GPU's stays as it is
            return nn.Sequential(*build(weights=None).features)
    features = layers(architecture.build)[: max(architecture.taps) + 1].to_empty(device="cpu")
    if filters.kind == "trained":
        weights.load_into(features, name, prefix="features.")
    else:
        _draw_kaiming(features, filters.seed)
    if filters.centred:
        first = features[0]
        assert isinstance(first, nn.Conv2d)
        with torch.no_grad():
            first.weight -= first.weight.mean(dim=(2, 3), keepdim=True)
    return features


def _draw_kaiming(features: nn.Sequential, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for layer in features.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

"""The convolutional layers of AlexNet, VGG-16 and SqueezeNet 1.1, as torchvision arranges them.

Krizhevsky 2014 (One weird trick), Simonyan & Zisserman 2015 (configuration D), Iandola et al. 2016.
Layers have torchvision's numbers and tensor names, so that its weight files fit. They stand here
because importing torchvision takes about as long as importing torch, and most metrics need no more
of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """A convolution without numbers in its filters: none are drawn only to be overwritten.

    (On torch's "meta" device drawing costs nothing, but loads a computer algebra, half a second.)
    """

    def reset_parameters(self) -> None:
        """Draw nothing."""


class Fire(nn.Module):
    """1×1 convolutions to few channels, then 1×1 and 3×3 ones beside each other."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = Conv2d(channels, squeezed, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = Conv2d(squeezed, expanded, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 2·expanded, h, w) of (N, channels, h, w)."""
        x = self.squeeze_activation(self.squeeze(x))
        small = self.expand1x1_activation(self.expand1x1(x))
        large = self.expand3x3_activation(self.expand3x3(x))
        return torch.cat([small, large], dim=1)


def _alexnet() -> list[nn.Module]:
    return [
        *_convolution(3, 64, 11, stride=4, padding=2),
        nn.MaxPool2d(3, 2),
        *_convolution(64, 192, 5, padding=2),
        nn.MaxPool2d(3, 2),
        *_convolution(192, 384, 3, padding=1),
        *_convolution(384, 256, 3, padding=1),
        *_convolution(256, 256, 3, padding=1),
        nn.MaxPool2d(3, 2),
    ]


def _vgg16() -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for width, count in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]:
        for _ in range(count):
            layers += _convolution(channels, width, 3, padding=1)
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    return layers


def _squeezenet1_1() -> list[nn.Module]:
    return [
        *_convolution(3, 64, 3, stride=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    ]


def _convolution(
    channels: int, width: int, side: int, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    return [Conv2d(channels, width, side, stride, padding), nn.ReLU(inplace=True)]


_LAYERS = {"alexnet": _alexnet, "vgg16": _vgg16, "squeezenet1_1": _squeezenet1_1}


def layers(name: str) -> nn.Sequential:
    """Return torchvision's ``features`` of a network, with tensors that hold no numbers yet."""
    return nn.Sequential(*_LAYERS[name]())

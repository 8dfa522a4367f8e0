"""FLIP for images on a standard display: Andersson et al. 2020.

How visible a difference is when one image is replaced by the other and back: the error map of the
authors' package, averaged over the image. It is compiled code that works on the CPU, one pair
after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pmbench.metrics import Metric, register
from pmbench.metrics.images import Images

# the authors' viewing conditions: 3840 pixels on 0.7 m, seen from 0.7 m
_PIXELS_PER_DEGREE = 3840 * math.pi / 180


class Flip(nn.Module):
    """The mean of each pair's error map."""

    def __init__(self) -> None:
        super().__init__()
        from flip_evaluator import evaluate

        self.evaluate = evaluate

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,), in [0, 1]."""
        maps = self._maps(x, y)
        means = torch.stack([error_map.double().mean().float() for error_map in maps])
        return means.to(x.pixels.device)

    def map(self, x: Images, y: Images) -> Tensor:
        """Return the error maps: (N, H, W), in [0, 1]."""
        return torch.stack(list(self._maps(x, y))).to(x.pixels.device)

    def _maps(self, x: Images, y: Images) -> Iterator[Tensor]:
        for pair in zip(x.pixels, y.pixels, strict=True):
            yield self._error_map(*pair)

    def _error_map(self, reference: Tensor, distorted: Tensor) -> Tensor:
        arrays = [v.detach().cpu().permute(1, 2, 0).contiguous() for v in (reference, distorted)]
        error_map, _, _ = self.evaluate(
            arrays[0].numpy(),
            arrays[1].numpy(),
            "LDR",
            applyMagma=False,
            computeMeanError=False,
            parameters={"ppd": _PIXELS_PER_DEGREE},
        )
        return torch.from_numpy(error_map)[..., 0]


register(
    Metric(
        name="flip",
        load=lambda device: Flip(),
        title="FLIP, 67 pixels per degree",
        family="vision models",
        paper="Andersson et al.: FLIP: A Difference Evaluator for Alternating Images, HPG 2020",
        code="https://github.com/NVlabs/flip",
        differentiable=False,
        licence="BSD-3-Clause",
        parameters={"pixels_per_degree": _PIXELS_PER_DEGREE},
        extra="flip",
        has_map=True,
    )
)

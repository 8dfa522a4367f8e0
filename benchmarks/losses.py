"""A step of an optimisation with ``pmbench.loss`` beside one with ``pmbench.metric``.

One image of 64×64 is compared with four targets, as in a perceptual mean, and its gradient taken.
The usual side repeats the image and computes the targets' features at every step, as authors do.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

import pmbench
from benchmarks.inputs import Setting
from benchmarks.turns import Measured, Row, at_least, times_as_fast

_TARGETS = 4


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row for a network, random filters, and a large network."""
    for trained, random, usual in (
        ("lpips-alex", "net-alex-random", 100),
        ("mmdpp", "mmdpp", 30),
        ("vgg-loss", "vgg-loss-random", 12),
    ):
        name, steps = setting.named(trained, random), setting.count(usual)
        yield Row(
            f"loss/{name}",
            f"pmbench.loss({name}): {steps} steps, {_TARGETS} targets of 64×64",
            "pmbench.metric",
            at_least(2.5),
            lambda name=name, steps=steps: _measure(setting, name, steps),  # type: ignore[misc]
        )


def _measure(setting: Setting, name: str, steps: int) -> Measured:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(_TARGETS, 3, 16, 16, generator=generator)
    targets = F.interpolate(coarse, (64, 64), mode="bilinear")
    start = targets.mean(dim=0, keepdim=True)
    distance, loss = pmbench.metric(name), pmbench.loss(name, targets)

    def step(prepared: bool) -> Tensor | None:
        image = start.clone().requires_grad_()
        repeated = image.expand(_TARGETS, -1, -1, -1)
        losses = loss(image) if prepared else distance(targets, repeated)
        losses.mean().backward()
        return image.grad

    return times_as_fast(
        lambda: [step(prepared=False) for _ in range(steps)],
        lambda: [step(prepared=True) for _ in range(steps)],
        setting.turns,
    )

"""Watson's masking: what a reference shows hides a part of the difference from it.

A difference of coefficients is divided by a threshold, above which it can be seen. A bright block
raises all of its thresholds (luminance masking), a strong coefficient raises that at its own place
(contrast masking).
"""

from __future__ import annotations

from torch import Tensor, nn, sigmoid

from pmbench.metrics.watson_blocks import E
from pmbench.metrics.watson_parameters import Parameters


def soft_maximum(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of a and b with softmax(a, b) as weights: at most their maximum."""
    return a * sigmoid(a - b) + b * sigmoid(b - a)


def visibility(c0: Tensor, c1: Tensor, t: Tensor, w: Tensor, beta: Tensor) -> Tensor:
    """Return (|c0 - c1| / s + E)^beta + E, elementwise, where contrast has raised t to s.

    ``c0`` and ``c1`` are coefficients of reference and distorted image; ``t`` > 0 are the
    thresholds, ``w`` in [0, 1] says how strongly contrast masks, ``beta`` > 0 how to pool.
    """
    masked = (c0.abs() + E) ** w * t ** (1 - w)
    return (((c0 - c1) / soft_maximum(t, masked)).abs() + E) ** beta + E


class MaskedDifference(nn.Module):
    """By channel, (Σ over blocks and coefficients of the visibility of a difference)^(1/beta)."""

    def __init__(self, p: Parameters) -> None:
        super().__init__()
        for name, value in {"t": p.t, "alpha": p.alpha, "w": p.w, "beta": p.beta}.items():
            self.register_buffer(name, value)

    def forward(self, c0: Tensor, c1: Tensor) -> Tensor:
        """Return the distances of coefficients (N, C, blocks, 8, k): (N, C)."""
        alpha, w, beta = (
            self.get_buffer(name)[:, None, None, None] for name in ("alpha", "w", "beta")
        )
        # colours beyond [0, 1], as a generator makes them, can have a negative sum: a power of NaN
        luminance = c0[..., :1, :1].clamp(min=0)
        relative = (luminance + E) / (luminance.mean(dim=2, keepdim=True) + E)
        t = self.get_buffer("t").unsqueeze(1) * relative**alpha
        pooled = visibility(c0, c1, t, w, beta).sum(dim=(2, 3, 4))
        return pooled ** (1 / self.get_buffer("beta"))

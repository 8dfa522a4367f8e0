"""Student's t: how often it is at least so far from 0.

scipy has it too, but its import takes a fifth of the time of `pmbench leaderboard`. Here it is the
integral of the density f, relative to f(|t|), so that tiny numbers keep their digits:

    P(|T| ≥ |t|) = 2 f(|t|) ∫₀^∞ ((1 + (|t| + u)²/ν) / (1 + t²/ν))^(-(ν+1)/2) du

by the double exponential rule of Takahasi and Mori 1974, u = exp(π/2 sinh s).
"""

from __future__ import annotations

import math

import numpy as np

from pmbench.agreement import Array

_STEP = 1 / 16
_GRID = np.arange(-4, 4 + _STEP / 2, _STEP)  # of s; outside of it nothing is left in float64
_NODES = np.exp(np.pi / 2 * np.sinh(_GRID))
_WEIGHTS = _STEP * np.pi / 2 * np.cosh(_GRID) * _NODES


def two_sided(t: Array, freedom: float) -> Array:
    """Return how often Student's t is at least |t| from 0; ten digits are right also where tiny.

    NaN without a degree of freedom: one cluster says nothing of how clusters vary.
    """
    t = np.abs(np.asarray(t, np.float64))
    if freedom < 1:
        return np.full(t.shape, np.nan)
    usable = np.isfinite(t)
    at = np.where(usable, t, 0.0)
    power = (freedom + 1) / 2
    scale = 1 / np.maximum(1, at * (freedom + 1) / (freedom + at**2))  # where the density falls off
    u = scale[..., None] * _NODES
    further = np.log1p(u * (2 * at[..., None] + u) / (freedom + at[..., None] ** 2))
    integral = scale * (np.exp(-power * further) @ _WEIGHTS)
    log_density = _log_of_gammas(freedom / 2) - math.log(freedom * math.pi) / 2
    p = 2 * np.exp(log_density - power * np.log1p(at**2 / freedom)) * integral
    p = np.where(at == 0, 1.0, np.minimum(p, 1.0))
    return np.where(usable, p, np.where(np.isinf(t), 0.0, np.nan))


def _log_of_gammas(a: float) -> float:
    """Return log Γ(a + ½) / Γ(a), which two lgamma lose digits of where a is large."""
    if a < 30:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    return math.log(a) / 2 - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5)

"""The laws that every metric obeys as a loss and as a space."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

import pmbench
from pmbench.metrics import Metric
from pmbench.metrics.loss import Loss, LossOptions, Term
from support.laws import pair, pictures, side
from support.laws_in_programs import perceptual
from support.refusals import message_of


def terms_add_up_to_the_distance(metric: Metric) -> None:
    distance, (x, y) = perceptual(metric), pair(2, side(metric), side(metric))
    terms = distance.terms(x, y)
    total = torch.stack([*terms.values()]).sum(dim=0)
    torch.testing.assert_close(total, distance(x, y), rtol=1e-5, atol=1e-7)
    assert all(name == name.strip() and name for name in terms)


def a_space_has_the_distance_between_its_vectors(metric: Metric) -> None:
    distance, (x, y) = perceptual(metric), pair(3, side(metric), side(metric))
    if not metric.space:
        assert "is not the distance of two vectors" in message_of(distance.embed, x)
        return
    difference = distance.embed(x).double() - distance.embed(y).double()
    assert difference.ndim == 2
    powers = {"l1": difference.abs(), "l2": difference.square()}
    torch.testing.assert_close(
        powers[metric.space].sum(dim=1).float(), distance(x, y), rtol=1e-4, atol=1e-7
    )
    if metric.differentiable:
        distance.embed(y.requires_grad_()).square().sum().backward()
        assert y.grad is not None
        assert y.grad.isfinite().all()


def a_loss_is_the_metric_with_a_sign(metric: Metric) -> None:
    distance, (targets, x) = perceptual(metric), pair(3, side(metric), side(metric))
    if not metric.differentiable:
        assert "has no gradient, so it can be no loss" in message_of(pmbench.loss, metric)
        return
    sign = -1 if metric.higher_is_better else 1
    loss = Loss([Term(1, distance)], LossOptions(), targets)
    expected = sign * distance(targets, x[:1])
    torch.testing.assert_close(loss(x[:1]), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss(x), sign * distance(targets, x), rtol=1e-4, atol=1e-6)
    assert torch.equal(copy.deepcopy(loss)(x), loss(x))


LAWS: tuple[Callable[[Metric], None], ...] = (
    terms_add_up_to_the_distance,
    a_space_has_the_distance_between_its_vectors,
    a_loss_is_the_metric_with_a_sign,
)


# --- dearer ones, of optimisation -----------------------------------------------------------------


def optimised(metric: Metric, start: Tensor, targets: Tensor, steps: int) -> list[float]:
    """Return the mean loss before each of Adam's steps, and after the last one."""
    loss = pmbench.loss(metric, targets)
    image = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.01)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(image).mean()
        value.backward()
        losses.append(value.item())
        optimiser.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    losses.append(loss(image.detach()).mean().item())
    assert all(map(math.isfinite, losses)), losses
    assert image.isfinite().all()
    return losses


def its_own_loss_falls(metric: Metric) -> None:
    """By a tenth of the way to the best there is, in 20 steps, at 48 pixels or its smallest size.

    From between two images to one of them: the mean of several is where an L2 is best already.
    """
    n = max(48, side(metric))
    target, other = pictures(2, n, n).split(1)
    losses = optimised(metric, target.lerp(other, 0.5), target, 20)
    best = float(pmbench.loss(metric, target)(target))
    assert losses[0] - min(losses) >= 0.1 * (losses[0] - best), losses


def no_start_gives_nan(metric: Metric) -> None:
    n = side(metric)
    targets = pictures(2, n, n)
    for start in (targets[:1], torch.zeros(1, 3, n, n), torch.full((1, 3, n, n), 0.5)):
        optimised(metric, start, targets, 3)
    grey = torch.full((2, 3, n, n), 0.5)
    for start in (grey[:1], targets[:1]):
        optimised(metric, start, grey, 3)


LAWS_OF_OPTIMISATION: tuple[Callable[[Metric], None], ...] = (
    its_own_loss_falls,
    no_start_gives_nan,
)

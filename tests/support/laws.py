"""The laws that every formula obeys, each a function of a metric, and images to try them on.

Those of a metric in a program, as ``pmbench.metric`` gives it, are in ``laws_in_programs``.

Weights that nobody may pass on, and that the reference material does not hold either, are named in
``NOT_AT_HAND``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from pmbench.metrics import Distance, Metric, registered
from pmbench.metrics.images import Images
from pmbench.networks import weights

SIZES = [(32, 32), (64, 48), (37, 29)]
CPU = torch.device("cpu")
NOT_AT_HAND = {"watson-vgg", "pieapp", "dreamsim"}


def side(entry: Metric) -> int:
    """Return a usual length of an image's sides, or the metric's smallest one above it."""
    return max(32, smallest(entry))


def smallest(entry: Metric) -> int:
    return -(-entry.min_size // entry.multiple_of) * entry.multiple_of


@cache
def loaded(name: str) -> Distance:
    with torch.inference_mode(False):
        return registered()[name].load(CPU)


def pictures(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return smooth random images with fine detail: noise at three scales, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(n, 3, height, width)
    for cells in (2, 8, 64):
        noise = torch.rand(n, 3, cells, cells, generator=generator)
        total += torch.nn.functional.interpolate(noise, (height, width), mode="bilinear")
    return (total / 3).clamp(0, 1)


def pair(n: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return references and distorted versions of them, of rising strength."""
    ref = pictures(n, height, width)
    strength = torch.linspace(0.02, 0.3, n).view(n, 1, 1, 1)
    return ref, (ref + strength * (pictures(n, height, width, seed=1) - 0.5)).clamp(0, 1)


def measure(entry: Metric, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return loaded(entry.name)(Images(x), Images(y))


def usable(entry: Metric, height: int, width: int) -> tuple[int, int]:
    """Return the size, or the nearest smaller one that the metric's multiple allows."""
    m = entry.multiple_of
    return height // m * m, width // m * m


def sizes(entry: Metric) -> list[tuple[int, int]]:
    tried = [usable(entry, *size) for size in SIZES] + [(smallest(entry),) * 2]
    return [size for size in tried if entry.undefined_on(*size) is None]


def one_finite_number_a_pair_on_every_size(metric: Metric) -> None:
    assert sizes(metric), "no size to try"
    for height, width in sizes(metric):
        value = measure(metric, *pair(3, height, width))
        assert value.shape == (3,), (height, width)
        assert value.is_floating_point()
        assert torch.isfinite(value).all(), (height, width)


def constant_images_give_finite_numbers(metric: Metric) -> None:
    n = side(metric)
    flat = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 3, n, n).contiguous()
    assert torch.isfinite(measure(metric, flat, flat)).all()
    assert torch.isfinite(measure(metric, flat, pictures(3, n, n))).all()
    assert torch.isfinite(measure(metric, pictures(3, n, n), flat)).all()


def identical_images_score_best(metric: Metric) -> None:
    sign = -1 if metric.higher_is_better else 1
    x, y = pair(6, side(metric), side(metric))
    same, other = sign * measure(metric, x, x), sign * measure(metric, x, y)
    assert (same <= other).all()  # a loss may not notice the faintest distortion,
    assert (same[2:] < other[2:]).all()  # but must those that anyone sees


def more_distortion_is_farther(metric: Metric) -> None:
    """The direction is as declared: images mixed with noise, little and much."""
    sign = -1 if metric.higher_is_better else 1
    n = side(metric)
    x = pictures(4, n, n)
    noise = torch.rand(4, 3, n, n, generator=torch.Generator().manual_seed(2))
    little, much = (measure(metric, x, x + s * (noise - x)) for s in (0.05, 0.8))
    assert (sign * little < sign * much).all()


def symmetric_as_declared(metric: Metric) -> None:
    x, y = pair(4, side(metric), side(metric))
    forth, back = measure(metric, x, y), measure(metric, y, x)
    close = torch.allclose(forth, back, rtol=1e-5, atol=1e-7)
    assert close == metric.symmetric


def a_batch_of_2_is_its_single_pairs(metric: Metric) -> None:
    _a_batch_is_its_single_pairs(metric, 2)


def a_batch_of_11_is_its_single_pairs(metric: Metric) -> None:
    _a_batch_is_its_single_pairs(metric, 11)


def _a_batch_is_its_single_pairs(metric: Metric, n: int) -> None:
    x, y = pair(n, side(metric), side(metric))
    together = measure(metric, x, y)
    one_by_one = torch.cat([measure(metric, x[i : i + 1], y[i : i + 1]) for i in range(n)])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-7)


def same_input_same_output_whatever_the_global_random_state(metric: Metric) -> None:
    x, y = pair(3, side(metric), side(metric))
    torch.manual_seed(1)
    first = measure(metric, x, y)
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002  the global state is what must not matter
    state = torch.random.get_rng_state()
    assert torch.equal(first, measure(metric, x, y))
    assert torch.equal(state, torch.random.get_rng_state())  # which is left as it was


def the_input_is_left_as_it_was(metric: Metric) -> None:
    x, y = pair(2, side(metric), side(metric))
    before = x.clone(), y.clone()
    measure(metric, x, y)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


def gradients_are_finite_where_it_is_differentiable(metric: Metric) -> None:
    if not metric.differentiable:
        return
    x, y = pair(2, side(metric), side(metric))
    for first, second in ((x, y), (x, x.clone())):  # identical images too
        a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
        loaded(metric.name)(Images(a), Images(b)).sum().backward()
        assert a.grad is not None
        assert b.grad is not None
        assert torch.isfinite(a.grad).all()
        assert torch.isfinite(b.grad).all()


def gradients_exist_exactly_where_declared(metric: Metric) -> None:
    x, y = pair(2, side(metric), side(metric))
    a = x.clone().requires_grad_()
    value = loaded(metric.name)(Images(a), Images(y)).sum()
    has_gradient = value.requires_grad and bool(torch.autograd.grad(value, a)[0].abs().max() > 0)
    assert has_gradient == metric.differentiable


def sizes_it_is_not_defined_on_are_named_in_a_sentence(metric: Metric) -> None:
    if metric.min_size > 1:
        small = metric.min_size - 1
        why = metric.undefined_on(small, 200)
        assert why == f"needs at least {metric.min_size} pixels a side, got 200×{small}"
    assert metric.undefined_on(*(max(64, metric.min_size) * metric.multiple_of,) * 2) is None


def the_smallest_size_is_told_truly(metric: Metric) -> None:
    """One pixel less must fail or be meaningless; else min_size is too large without a reason."""
    if metric.min_size == 1:
        return
    small = metric.min_size - 1
    try:
        value = measure(metric, *pair(2, small, small))
    except (RuntimeError, ValueError, IndexError, AttributeError, AssertionError):
        return  # a library may fail in any of these ways
    assert not torch.isfinite(value).all()


def a_card_says_what_it_is(metric: Metric) -> None:
    assert metric.name == metric.name.lower()
    assert metric.title
    assert metric.min_size >= 1
    assert all(name in weights.weight_files() for name in metric.weights)


LAWS: tuple[Callable[[Metric], None], ...] = (
    one_finite_number_a_pair_on_every_size,
    constant_images_give_finite_numbers,
    identical_images_score_best,
    more_distortion_is_farther,
    symmetric_as_declared,
    a_batch_of_2_is_its_single_pairs,
    a_batch_of_11_is_its_single_pairs,
    same_input_same_output_whatever_the_global_random_state,
    the_input_is_left_as_it_was,
    gradients_are_finite_where_it_is_differentiable,
    gradients_exist_exactly_where_declared,
    sizes_it_is_not_defined_on_are_named_in_a_sentence,
    the_smallest_size_is_told_truly,
    a_card_says_what_it_is,
)

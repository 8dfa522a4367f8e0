"""The laws that every metric obeys, each a function of a metric, and pictures to try them on.

Weights that nobody may pass on, and that the reference material does not hold either, are named in
``NOT_AT_HAND``.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

import pmbench
from pmbench.metrics import Distance, Metric, registered
from pmbench.metrics.api import Perceptual
from pmbench.metrics.images import Images
from pmbench.networks import weights
from pmbench.utils.errors import PmbenchError
from support.refusals import message_of

SIZES = [(32, 32), (64, 48), (37, 29)]
CPU = torch.device("cpu")
NOT_AT_HAND = {"watson-vgg", "pieapp", "dreamsim"}
# their code asks for values, or for memory, which a transform of torch.func has not
LOOK_AT_NUMBERS = {"cvvdp", "haarpsi", "vifp", "iw-ssim", "ms-ssim"}
NOT_ON_EVERY_PICTURE = {"iw-ssim"}


def side(entry: Metric) -> int:
    """Return a usual length of an image's sides, or the metric's smallest one above it."""
    return max(32, smallest(entry))


def smallest(entry: Metric) -> int:
    return -(-entry.min_size // entry.multiple_of) * entry.multiple_of


@cache
def loaded(name: str) -> Distance:
    with torch.inference_mode(False):
        return registered()[name].load(CPU)


def perceptual(entry: Metric) -> Perceptual:
    if entry.name not in _perceptual:
        _perceptual[entry.name] = pmbench.metric(entry)
    return _perceptual[entry.name]


_perceptual: dict[str, Perceptual] = {}


def pictures(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return smooth random pictures with fine detail: noise at three scales, in [0, 1]."""
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
    """The direction is as declared: pictures mixed with noise, little and much."""
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


def every_derivative_is_the_gradient_or_a_sentence(metric: Metric) -> None:
    """In forward mode (jvp = gradient · direction), and through the transforms of torch.func."""
    if not metric.differentiable:
        return
    (x, y), directions = pair(2, side(metric), side(metric)), noise(2, metric)
    distance = perceptual(metric)
    of_both = gradients(distance, x, y)

    def in_forward_mode() -> Tensor:
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(*both) for both in zip((x, y), directions, strict=True)]
            tangent = forward_ad.unpack_dual(distance(*duals)).tangent
        assert tangent is not None
        return tangent

    computed: tuple[tuple[Callable[[], Tensor], Tensor], ...] = (
        (in_forward_mode, along(directions, of_both)),
        (lambda: torch.func.jvp(distance, (x, y), directions)[1], along(directions, of_both)),
        (lambda: torch.func.grad(lambda b: distance(x, b).sum())(y), of_both[1]),
        (lambda: torch.func.vmap(lambda a, b: distance(a[None], b[None])[0])(x, y), distance(x, y)),
    )
    for compute, expected in computed:
        try:
            result = compute()
        except PmbenchError as error:
            sentence = str(error)
            assert sentence.startswith(f"{metric.name}: torch cannot follow it through this")
            assert metric.name in LOOK_AT_NUMBERS
        else:
            _assert_nearly(result, expected)


def noise(n: int, metric: Metric) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = (2, n, 3, side(metric), side(metric))
    first, second = torch.randn(shape, generator=generator).unbind()
    return first, second


def gradients(distance: Perceptual, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
    return torch.autograd.grad(distance(a, b).sum(), (a, b))


def along(directions: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> Tensor:
    """Return the derivative of each pair's distance in these directions: (N,)."""
    products = [d * g for d, g in zip(directions, gradients, strict=True)]
    return sum((p.flatten(1).sum(dim=1) for p in products), start=torch.zeros(len(products[0])))


def _assert_nearly(result: Tensor, expected: Tensor) -> None:
    """Allow for sums of thousands of terms of both signs in another order."""
    scale = float(expected.abs().max())
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-4 * scale)


def a_metric_without_a_gradient_refuses_every_derivative(metric: Metric) -> None:
    if metric.differentiable:
        return
    x, y = pair(1, side(metric), side(metric))
    distance = perceptual(metric)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(y, torch.ones_like(y))
        assert "has no gradient" in message_of(distance, x, dual)
    assert "has no gradient" in message_of(torch.func.grad(lambda b: distance(x, b).sum()), y)
    assert "has no gradient" in message_of(distance, x, y.clone().requires_grad_())
    assert torch.equal(distance(x, y), distance(x, y.clone()))


def copies_and_pickles_are_the_same(metric: Metric) -> None:
    distance, (x, y) = perceptual(metric), pair(2, side(metric), side(metric))
    expected = distance(x, y)  # copied after it has been used
    file = io.BytesIO()
    torch.save({"distance": distance}, file)
    file.seek(0)
    for again in (
        copy.copy(distance),
        copy.deepcopy(distance),
        pickle.loads(pickle.dumps(distance)),
        torch.load(file, weights_only=False)["distance"],
    ):
        assert again.signature == distance.signature
        assert torch.equal(again(x, y), expected)
    assert len(pickle.dumps(distance)) < 1000  # its weights stay where they are


def pictures_of_few_colours_have_a_number_or_a_sentence(metric: Metric) -> None:
    few, distance = few_colours(side(metric)), perceptual(metric)
    assert torch.isfinite(distance(few, few)).all()
    for picture in few:
        try:
            assert torch.isfinite(distance(picture[None], few)).all()
        except PmbenchError as error:
            sentence = str(error)
            assert "the metric is not defined on such pictures" in sentence
            assert metric.name in NOT_ON_EVERY_PICTURE


def few_colours(n: int) -> Tensor:
    """Return what is drawn and not photographed: steps, ramps, patterns, a dot, one channel."""
    at = torch.arange(n)
    step = (at >= n // 2).float().expand(3, n, n)
    window = torch.full((3, n, n), 0.25)
    window[:, n // 4 : n // 2, n // 4 : n // 2] = 0.75
    dot = torch.zeros(3, n, n)
    dot[:, n // 2, n // 2] = 1
    half, green = pictures(2, n, n)
    half, green = half * step, green * torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    return torch.stack(
        [
            step,
            0.8 * step.transpose(1, 2),
            window,
            (at / (n - 1)).expand(3, n, n),
            ((at + at[:, None]) % 2).float().expand(3, n, n),
            (at // 8 % 2).float().expand(3, n, n),
            dot,
            half,
            green,
        ]
    )


def one_picture_is_compared_with_many(metric: Metric) -> None:
    distance, (x, y) = perceptual(metric), pair(3, side(metric), side(metric))
    for one, many in (((x[:1], y), (x[:1].expand_as(x), y)), ((y, x[:1]), (y, x[:1].expand_as(x)))):
        # a network on one picture may add in another order than on three
        torch.testing.assert_close(distance(*one), distance(*many), rtol=1e-4, atol=1e-7)


def grey_is_red_green_and_blue_alike(metric: Metric) -> None:
    distance, (x, y) = perceptual(metric), pair(2, side(metric), side(metric))
    grey = x[:, :1], y[:, :1]
    assert torch.equal(distance(*grey), distance(*(images.repeat(1, 3, 1, 1) for images in grey)))


def a_map_says_where_they_differ(metric: Metric) -> None:
    distance = perceptual(metric)
    n = max(96, side(metric))
    x = pictures(2, n, n + 16)
    if not metric.has_map:
        assert "does not say where images differ" in message_of(distance.map, x, x)
        return
    y = x.clone()
    changed = slice(n // 6, n // 2)
    y[0, :, changed, changed] = pictures(2, n, n, seed=1)[0, :, changed, changed]
    map_, same = distance.map(x, y), distance.map(x, x)
    assert map_.shape == (2, n, n + 16)
    best = float(same.mean())
    torch.testing.assert_close(same, torch.full_like(same, best), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(map_[1], same[1], rtol=1e-5, atol=1e-6)
    amount = (map_[0] - best).abs()
    assert amount[changed, changed].mean() > 3 * amount[3 * n // 4 :, 3 * n // 4 :].mean()
    # windows of 7 pixels leave 3 of 96 out at each border, which are a ninth of all places
    mean = map_.mean(dim=(1, 2))
    torch.testing.assert_close(mean, distance(x, y), rtol=0.15, atol=1e-6)
    if metric.differentiable:
        distance.map(x, y.requires_grad_()).sum().backward()
        assert y.grad is not None
        assert float(y.grad.abs().sum()) > 0


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
    every_derivative_is_the_gradient_or_a_sentence,
    a_metric_without_a_gradient_refuses_every_derivative,
    copies_and_pickles_are_the_same,
    pictures_of_few_colours_have_a_number_or_a_sentence,
    one_picture_is_compared_with_many,
    grey_is_red_green_and_blue_alike,
    a_map_says_where_they_differ,
    sizes_it_is_not_defined_on_are_named_in_a_sentence,
    the_smallest_size_is_told_truly,
    a_card_says_what_it_is,
)

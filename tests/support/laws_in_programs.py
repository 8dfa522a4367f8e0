"""The laws that every metric obeys in a program, as ``pmbench.metric`` gives it."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

import pmbench
from pmbench.metrics import Metric
from pmbench.metrics.api import Perceptual
from pmbench.utils.errors import PmbenchError
from support.laws import pair, pictures, side
from support.refusals import message_of

# their code asks for values, or for memory, which a transform of torch.func has not
LOOK_AT_NUMBERS = {"cvvdp", "haarpsi", "vifp", "iw-ssim", "ms-ssim"}
NOT_ON_EVERY_PICTURE = {"iw-ssim"}


def perceptual(entry: Metric) -> Perceptual:
    if entry.name not in _perceptual:
        _perceptual[entry.name] = pmbench.metric(entry)
    return _perceptual[entry.name]


_perceptual: dict[str, Perceptual] = {}


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
            assert "the metric is not defined on such images" in sentence
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
        # a network on one image may add in another order than on three
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


LAWS: tuple[Callable[[Metric], None], ...] = (
    every_derivative_is_the_gradient_or_a_sentence,
    a_metric_without_a_gradient_refuses_every_derivative,
    copies_and_pickles_are_the_same,
    pictures_of_few_colours_have_a_number_or_a_sentence,
    one_picture_is_compared_with_many,
    grey_is_red_green_and_blue_alike,
    a_map_says_where_they_differ,
)

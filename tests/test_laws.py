"""Laws that every registered metric obeys, without a line of test code for any one of them.

Metrics that need trained trunks are tried with the reference weights; where those are missing they
are skipped (and fail under PMBENCH_REQUIRE_SHARED=1). Weights that nobody may pass on, and that the
reference material does not hold either, are named in ``NOT_AT_HAND``.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pmbench.metrics import Distance, Metric, registered
from pmbench.metrics.images import Images
from pmbench.metrics.loading import digest_of
from pmbench.networks import weights

SIZES = [(64, 64), (96, 80), (67, 53)]
CPU = torch.device("cpu")
NOT_AT_HAND = {"watson-vgg", "pieapp", "dreamsim"}


@pytest.fixture(params=registered().values(), ids=lambda m: m.name)
def metric(request: pytest.FixtureRequest) -> Metric:
    entry: Metric = request.param
    if entry.name in NOT_AT_HAND:
        pytest.skip("its trained weights are not at hand")
    if any(weights.weight_files()[name].url for name in entry.weights):
        request.getfixturevalue("reference_weights")
    return entry


def side(entry: Metric) -> int:
    """Return a usual length of an image's sides, or the metric's smallest one above it."""
    return max(64, smallest(entry))


def smallest(entry: Metric) -> int:
    return -(-entry.min_size // entry.multiple_of) * entry.multiple_of


@cache
def loaded(name: str) -> Distance:
    with torch.inference_mode(False):
        return registered()[name].load(CPU)


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


def measured(entry: Metric, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return loaded(entry.name)(Images(x), Images(y))


def usable(entry: Metric, height: int, width: int) -> tuple[int, int]:
    """Return the size, or the nearest smaller one that the metric's multiple allows."""
    m = entry.multiple_of
    return height // m * m, width // m * m


def sizes(entry: Metric) -> list[tuple[int, int]]:
    tried = [usable(entry, *size) for size in SIZES] + [(smallest(entry),) * 2]
    return [size for size in tried if entry.undefined_on(*size) is None]


def test_one_finite_number_a_pair_on_every_size(metric: Metric) -> None:
    assert sizes(metric), "no size to try"
    for height, width in sizes(metric):
        value = measured(metric, *pair(3, height, width))
        assert value.shape == (3,), (height, width)
        assert value.is_floating_point()
        assert torch.isfinite(value).all(), (height, width)


def test_constant_images_give_finite_numbers(metric: Metric) -> None:
    n = side(metric)
    flat = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 3, n, n).contiguous()
    assert torch.isfinite(measured(metric, flat, flat)).all()
    assert torch.isfinite(measured(metric, flat, pictures(3, n, n))).all()
    assert torch.isfinite(measured(metric, pictures(3, n, n), flat)).all()


def test_identical_images_score_best(metric: Metric) -> None:
    sign = -1 if metric.higher_is_better else 1
    x, y = pair(6, side(metric), side(metric))
    same, other = sign * measured(metric, x, x), sign * measured(metric, x, y)
    assert (same <= other).all()  # a loss may not notice the faintest distortion,
    assert (same[2:] < other[2:]).all()  # but must those that anyone sees


def test_more_distortion_is_farther(metric: Metric) -> None:
    """The direction is as declared: pictures mixed with noise, little and much."""
    sign = -1 if metric.higher_is_better else 1
    n = side(metric)
    x = pictures(4, n, n)
    noise = torch.rand(4, 3, n, n, generator=torch.Generator().manual_seed(2))
    little, much = (measured(metric, x, x + s * (noise - x)) for s in (0.05, 0.8))
    assert (sign * little < sign * much).all()


def test_symmetric_as_declared(metric: Metric) -> None:
    x, y = pair(4, side(metric), side(metric))
    forth, back = measured(metric, x, y), measured(metric, y, x)
    close = torch.allclose(forth, back, rtol=1e-5, atol=1e-7)
    assert close == metric.symmetric


@pytest.mark.parametrize("n", [2, 11])
def test_a_batch_is_its_single_pairs(metric: Metric, n: int) -> None:
    x, y = pair(n, side(metric), side(metric))
    together = measured(metric, x, y)
    alone = torch.cat([measured(metric, x[i : i + 1], y[i : i + 1]) for i in range(n)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-7)


def test_same_input_same_output_whatever_the_global_random_state(metric: Metric) -> None:
    x, y = pair(3, side(metric), side(metric))
    torch.manual_seed(1)
    first = measured(metric, x, y)
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002  the global state is what must not matter
    assert torch.equal(first, measured(metric, x, y))


def test_the_input_is_left_as_it_was(metric: Metric) -> None:
    x, y = pair(2, side(metric), side(metric))
    before = x.clone(), y.clone()
    measured(metric, x, y)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


def test_gradients_are_finite_where_it_is_differentiable(metric: Metric) -> None:
    if not metric.differentiable:
        pytest.skip("declared not differentiable")
    x, y = pair(2, side(metric), side(metric))
    for first, second in ((x, y), (x, x.clone())):  # identical images too
        a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
        loaded(metric.name)(Images(a), Images(b)).sum().backward()
        assert a.grad is not None
        assert b.grad is not None
        assert torch.isfinite(a.grad).all()
        assert torch.isfinite(b.grad).all()


def test_gradients_exist_exactly_where_declared(metric: Metric) -> None:
    x, y = pair(2, side(metric), side(metric))
    a = x.clone().requires_grad_()
    value = loaded(metric.name)(Images(a), Images(y)).sum()
    has_gradient = value.requires_grad and bool(torch.autograd.grad(value, a)[0].abs().max() > 0)
    assert has_gradient == metric.differentiable


def test_sizes_it_is_not_defined_on_are_named_in_a_sentence(metric: Metric) -> None:
    if metric.min_size > 1:
        small = metric.min_size - 1
        why = metric.undefined_on(small, 200)
        assert why == f"needs at least {metric.min_size} pixels a side, got 200×{small}"
    assert metric.undefined_on(*(max(64, metric.min_size) * metric.multiple_of,) * 2) is None


def test_the_smallest_size_is_told_truly(metric: Metric) -> None:
    """One pixel less must fail or be meaningless; else min_size is too large without a reason."""
    if metric.min_size == 1:
        return
    small = metric.min_size - 1
    try:
        value = measured(metric, *pair(2, small, small))
    except (RuntimeError, ValueError, IndexError, AttributeError, AssertionError):
        return  # a library may fail in any of these ways
    assert not torch.isfinite(value).all()


def test_a_card_says_what_it_is(metric: Metric) -> None:
    assert metric.name == metric.name.lower()
    assert metric.title
    assert metric.min_size >= 1
    assert all(name in weights.weight_files() for name in metric.weights)


def test_the_digest_is_stable_and_its_own(metric: Metric) -> None:
    digest = digest_of(metric, loaded(metric.name))
    assert digest == digest_of(metric, metric.load(CPU))
    others = {digest_of(m, loaded(m.name)) for m in registered().values() if m.name in SEEDLESS}
    assert metric.name in SEEDLESS or digest not in others


SEEDLESS = {"l1", "l2", "psnr"}

_SCRIPT = """
import hashlib, sys, torch
sys.path.insert(0, sys.argv[1])
from test_laws import CPU, measured, pair, side
from pmbench.metrics import registered
for name in sys.argv[2:]:
    n = side(registered()[name])
    value = measured(registered()[name], *pair(3, n, n))
    print(name, hashlib.sha256(value.numpy().tobytes()).hexdigest())
"""


def test_the_same_in_another_process(reference_weights: Path) -> None:
    names = [name for name in registered() if name not in NOT_AT_HAND]
    script = [sys.executable, "-c", _SCRIPT, str(Path(__file__).parent), *names]
    told = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    elsewhere = dict(line.split() for line in told.splitlines())
    for name in names:
        n = side(registered()[name])
        value = measured(registered()[name], *pair(3, n, n))
        here = hashlib.sha256(value.numpy().tobytes()).hexdigest()
        assert here == elsewhere[name], name


# --- the laws catch metrics that break them -------------------------------------------------------


def _rms(x: Images, y: Images) -> Tensor:
    return (x.pixels - y.pixels).square().mean(dim=(1, 2, 3)).add(1e-12).sqrt()


def _nan_on_constants(x: Images, y: Images) -> Tensor:
    return _rms(x, y) / (x.pixels.std(dim=(1, 2, 3)) > 0).float() * 1.0


def _whole_batch_above_8(x: Images, y: Images) -> Tensor:
    d = _rms(x, y)
    return d / d.max() if len(d) > 8 else d


def _in_place(x: Images, y: Images) -> Tensor:
    return x.pixels.sub_(y.pixels).abs().mean(dim=(1, 2, 3))


def _asymmetric(x: Images, y: Images) -> Tensor:
    return _rms(x, y) * (1 + x.pixels.mean(dim=(1, 2, 3)))


def _infinite_gradient(x: Images, y: Images) -> Tensor:
    return (x.pixels - y.pixels).square().mean(dim=(1, 2, 3)).sqrt()


def _random(x: Images, y: Images) -> Tensor:
    return _rms(x, y) + torch.rand(len(x.pixels)) * 1e-3


PLANTED: dict[str, tuple[Distance, Callable[[Metric], None]]] = {
    "one column too many": (
        lambda x, y: _rms(x, y)[:, None],
        test_one_finite_number_a_pair_on_every_size,
    ),
    "NaN on constant images": (_nan_on_constants, test_constant_images_give_finite_numbers),
    "depends on the batch above 8": (
        _whole_batch_above_8,
        lambda m: test_a_batch_is_its_single_pairs(m, 11),
    ),
    "asymmetric": (_asymmetric, test_symmetric_as_declared),
    "points the wrong way": (lambda x, y: -_rms(x, y), test_identical_images_score_best),
    "uses global random state": (
        _random,
        test_same_input_same_output_whatever_the_global_random_state,
    ),
    "changes its input": (_in_place, test_the_input_is_left_as_it_was),
    "infinite gradient at identity": (
        _infinite_gradient,
        test_gradients_are_finite_where_it_is_differentiable,
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    distance, law = PLANTED[fault]
    planted = Metric(name=fault, load=lambda device: distance, title=fault)
    monkeypatch.setattr(sys.modules[__name__], "loaded", lambda name: distance)
    with pytest.raises(AssertionError):
        law(planted)


def test_the_planted_metrics_are_sound_but_for_their_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Metric(name="rms", load=lambda device: _rms, title="rms")
    monkeypatch.setattr(sys.modules[__name__], "loaded", lambda name: _rms)
    for _, law in PLANTED.values():
        law(sound)

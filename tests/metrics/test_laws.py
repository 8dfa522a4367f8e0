"""Laws that every registered metric obeys, without a line of test code for any one of them.

Metrics that need trained trunks are tried with the reference weights; where those are missing they
are skipped (and fail under PMBENCH_REQUIRE_SHARED=1).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support import laws, laws_at_work, laws_in_programs
from support.laws import CPU, NOT_AT_HAND, loaded, measure, pair, side
from support.paths import TESTS
from torch import Tensor, nn

from pmbench.metrics import Distance, Metric, registered
from pmbench.metrics.images import Images
from pmbench.metrics.loading import metric_digest
from pmbench.networks import weights


@pytest.fixture(params=registered().values(), ids=lambda m: m.name)
def metric(request: pytest.FixtureRequest) -> Metric:
    entry: Metric = request.param
    if entry.name in NOT_AT_HAND:
        pytest.skip("its trained weights are not at hand")
    if any(weights.weight_files()[name].url for name in entry.weights):
        request.getfixturevalue("reference_weights")
    return entry


ALL = [*laws.LAWS, *laws_in_programs.LAWS, *laws_at_work.LAWS]


@pytest.mark.parametrize("law", ALL, ids=lambda law: law.__name__)
def test_it_obeys_the_law(law: Callable[[Metric], None], metric: Metric) -> None:
    law(metric)


@pytest.mark.slow
@pytest.mark.parametrize("law", laws_at_work.LAWS_OF_OPTIMISATION, ids=lambda law: law.__name__)
def test_it_can_be_optimised(law: Callable[[Metric], None], metric: Metric) -> None:
    if metric.differentiable:
        law(metric)


def test_the_digest_is_stable_and_its_own(metric: Metric) -> None:
    digest = metric_digest(metric, loaded(metric.name))
    assert digest == metric_digest(metric, metric.load(CPU))
    others = {metric_digest(m, loaded(m.name)) for m in registered().values() if m.name in SEEDLESS}
    assert metric.name in SEEDLESS or digest not in others


SEEDLESS = {"l1", "l2", "psnr"}

_SCRIPT = """
import hashlib, sys, torch
sys.path.insert(0, sys.argv[1])
from support.laws import CPU, measure, pair, side
from pmbench.metrics import registered
for name in sys.argv[2:]:
    n = side(registered()[name])
    value = measure(registered()[name], *pair(3, n, n))
    print(name, hashlib.sha256(value.numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow  # quickly, test_signatures holds distances of another process too
def test_the_same_in_another_process(reference_weights: Path) -> None:
    names = [name for name in registered() if name not in NOT_AT_HAND]
    script = [sys.executable, "-c", _SCRIPT, str(TESTS), *names]
    told = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    elsewhere = dict(line.split() for line in told.splitlines())
    for name in names:
        n = side(registered()[name])
        value = measure(registered()[name], *pair(3, n, n))
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
        laws.one_finite_number_a_pair_on_every_size,
    ),
    "NaN on constant images": (_nan_on_constants, laws.constant_images_give_finite_numbers),
    "depends on the batch above 8": (
        _whole_batch_above_8,
        laws.a_batch_of_11_is_its_single_pairs,
    ),
    "asymmetric": (_asymmetric, laws.symmetric_as_declared),
    "points the wrong way": (lambda x, y: -_rms(x, y), laws.identical_images_score_best),
    "uses global random state": (
        _random,
        laws.same_input_same_output_whatever_the_global_random_state,
    ),
    "changes its input": (_in_place, laws.the_input_is_left_as_it_was),
    "infinite gradient at identity": (
        _infinite_gradient,
        laws.gradients_are_finite_where_it_is_differentiable,
    ),
}


def _by_numpy(x: Images, y: Images) -> Tensor:
    difference = x.pixels - y.pixels
    if not difference.requires_grad:  # as if nothing else followed a tensor
        return torch.from_numpy(np.square(difference.numpy()).mean(axis=(1, 2, 3)))
    return difference.square().mean(dim=(1, 2, 3))


def _map_of_elsewhere(x: Images, y: Images) -> Tensor:
    return (x.pixels - y.pixels).square().mean(dim=1).flip(1, 2)


class _Mapped(nn.Module):
    def forward(self, x: Images, y: Images) -> Tensor:
        return (x.pixels - y.pixels).square().mean(dim=(1, 2, 3))

    map = staticmethod(_map_of_elsewhere)


# of laws that a metric obeys as programs call it
PLANTED_IN_PROGRAMS: dict[str, tuple[Distance, Callable[[Metric], None]]] = {
    "a fast path": (_by_numpy, laws_in_programs.every_derivative_is_the_gradient_or_a_sentence),
    "a map of elsewhere": (_Mapped(), laws_in_programs.a_map_says_where_they_differ),
}


@pytest.mark.parametrize("fault", PLANTED_IN_PROGRAMS)
def test_a_fault_in_programs_is_caught(fault: str) -> None:
    distance, law = PLANTED_IN_PROGRAMS[fault]
    has_map = hasattr(distance, "map")
    planted = Metric(fault, lambda device: distance, title=fault, has_map=has_map)
    with pytest.raises(AssertionError):
        law(planted)
    law(registered()["l1"])


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    distance, law = PLANTED[fault]
    planted = Metric(name=fault, load=lambda device: distance, title=fault)
    monkeypatch.setattr(laws, "loaded", lambda name: distance)
    with pytest.raises(AssertionError):
        law(planted)


def test_the_planted_metrics_are_sound_but_for_their_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Metric(name="rms", load=lambda device: _rms, title="rms")
    monkeypatch.setattr(laws, "loaded", lambda name: _rms)
    for _, law in PLANTED.values():
        law(sound)

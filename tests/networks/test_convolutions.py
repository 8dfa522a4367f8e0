"""Prepared convolutions are ordinary ones, whatever this torch has of its own operators."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from pmbench.networks import convolutions
from pmbench.networks.convolutions import Convolution, prepared

CALLS = ("_POINTWISE", "_REORDER")


@pytest.fixture(autouse=True)
def _tried_anew() -> Iterator[None]:
    convolutions._packs.cache_clear()
    yield
    convolutions._packs.cache_clear()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1, stride=2))
    return net.requires_grad_(False).to(memory_format=torch.channels_last)


def images(n: int) -> torch.Tensor:
    return torch.rand(n, 3, 16, 16).contiguous(memory_format=torch.channels_last)


def test_a_prepared_network_gives_the_bits_of_the_plain_one_on_several_images() -> None:
    net, pixels = network(), images(5)
    plain = net(pixels)
    prepared(net, seen=())
    assert isinstance(net[0], Convolution)
    assert net[0].relu
    assert isinstance(net[1], nn.Identity)
    assert torch.equal(net(pixels), plain)


def test_and_on_one_image_nearly_them() -> None:
    net, pixels = network(), images(1)
    plain = net(pixels)
    prepared(net, seen=())
    # torch then takes the filters as they came, which sums in another order
    torch.testing.assert_close(net(pixels), plain, rtol=1e-6, atol=1e-6)


def test_filters_are_arranged_once_for_pictures_of_a_size_and_anew_for_another() -> None:
    if not convolutions._packs("cpu", torch.float32):
        pytest.skip("torch comes without oneDNN here")
    net = network()
    plain = [net(images(3)[..., :size, :size]).shape for size in (16, 9)]
    prepared(net, seen=())
    arranged = []
    for size in (16, 16, 9, 9, 16):
        assert net(images(3)[..., :size, :size]).shape == plain[size == 9]
        ((_, filters, _),) = net[0]._ready.values()
        arranged.append(filters)
    assert [a is b for a, b in itertools.pairwise(arranged)] == [True, False, True, False]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("other", ["_linear_pointwise", "of_another_torch"])
def test_operators_that_are_others_or_gone_are_not_used(
    name: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, pixels = network(), images(2)
    plain = net(pixels)
    prepared(net, seen=())
    monkeypatch.setattr(convolutions, name, other)
    assert not convolutions._packs("cpu", torch.float32)
    assert torch.equal(net(pixels), plain)


def test_operators_that_compute_something_else_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = torch.Tensor.relu
    monkeypatch.setattr(torch.Tensor, "relu", lambda x: usual(x) + 1e-3)
    assert not convolutions._packs("cpu", torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_dtype_without_such_an_operator_is_computed_as_usual(dtype: torch.dtype) -> None:
    assert not convolutions._packs("cpu", dtype)

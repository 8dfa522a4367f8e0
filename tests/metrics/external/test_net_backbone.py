"""Losses on pmbench's own networks by address: the authors' numbers, names, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.at_work import golden, waves
from support.laws import pictures
from support.refusals import message_of

import pmbench
from pmbench.metrics.map_distances import correlation

X = pictures(2, 64, 64)
Y = pictures(2, 64, 64, seed=1)


@pytest.mark.usefixtures("reference_weights")
@pytest.mark.parametrize("kind", ["l1", "l2", "gram", "gram-trace", "cx"])
def test_values_are_those_of_the_authors(shared: Path, kind: str) -> None:
    numbers, _ = golden(shared)
    metric = pmbench.metric(f"net:vgg16@relu1_2+relu2_2+relu3_3?map={kind}", range="[-1,1]")
    expected = numbers["style_values"][kind.replace("-", "_")]
    value = float(metric(waves(1, 64, 21), waves(1, 64, 22)))
    assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("reference_weights")
def test_a_style_is_that_of_the_authors(shared: Path) -> None:
    numbers, _ = golden(shared)
    style, content, total = numbers["style"]["style_content_total"][0]
    taps = "relu1_2+relu2_2+relu3_3+relu4_3+relu5_3"
    address = f"30*net:vgg16@{taps}?map=gram"
    loss = pmbench.loss(address, waves(1, 64, 22), range="[-1,1]", out_of_range="pass")
    assert content == 0
    assert float(loss(waves(1, 64, 21))) == pytest.approx(total, rel=1e-5)
    assert total == pytest.approx(30 * style)


@pytest.mark.usefixtures("reference_weights")
@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("vgg-loss", "net:vgg16?pixels=yes"),
        ("vgg-loss-conv3_3", "net:vgg16@conv3_3?map=l1"),
        ("vgg-loss-cx", "net:vgg16?map=cx"),
        ("vgg-loss-gram", "net:vgg16?map=gram&pixels=yes"),
        ("vgg-loss-random", "net:vgg16?pixels=yes&filters=kaiming"),
        ("vgg-loss-random-nfc", "net?filters=nfc&seed=0:vgg16?pixels=yes"),
        ("alex-loss-1", "net:alexnet@conv1?map=l2"),
    ],
)
def test_registered_losses_have_addresses_too(name: str, address: str) -> None:
    assert torch.equal(pmbench.metric(address)(X, Y), pmbench.metric(name)(X, Y))


def test_an_address_has_one_name_whatever_the_order() -> None:
    metric = pmbench.metric("net:alexnet@relu3+conv1?seed=7&filters=nfc&pixels=yes&map=swd")
    assert metric.name == "net:alexnet@conv1+relu3?map=swd&pixels=yes&filters=nfc&seed=7"
    assert torch.equal(pmbench.metric(metric.name)(X, Y), metric(X, Y))
    assert [*metric.terms(X, Y)] == ["tap0", "tap2", "pixels"]
    other = pmbench.metric("net:alexnet@conv1+relu3?map=swd&pixels=yes&filters=nfc&seed=8")
    assert other.signature != metric.signature
    assert not torch.equal(other(X, Y), metric(X, Y))
    squeeze = pmbench.metric("net:squeezenet1_1?filters=torchvision")
    assert squeeze.name.startswith("net:squeezenet1_1@relu1+relu2+")


def test_a_tap_behind_its_relu_is_never_below_zero() -> None:
    before, behind = (
        pmbench.metric(f"net:alexnet@{tap}?filters=kaiming&map=l1") for tap in ("conv2", "relu2")
    )
    features = before.embed(X)
    assert float(features.min()) < 0
    torch.testing.assert_close(behind.embed(X), features.relu())


def test_networks_of_libraries_have_maps_too() -> None:
    metric = pmbench.metric("net:torchvision/squeezenet1_1@features.1?random=1&map=gram&pixels=yes")
    assert metric.name == ("net:torchvision/squeezenet1_1@features.1?random=1&map=gram&pixels=yes")
    assert (metric.space, metric.has_map) == ("l2", False)
    assert metric(X, X).tolist() == [0, 0]
    unit = pmbench.metric("net:torchvision/squeezenet1_1@features.1?random=1")
    assert unit.signature != metric.signature
    features = unit.loaded.distance.net  # type: ignore[attr-defined]
    torch.testing.assert_close(
        torch.linalg.vector_norm(features(X)[0], dim=1).max(), torch.tensor(1.0)
    )


def test_correlations_are_those_of_numpy() -> None:
    maps = torch.rand(2, 5, 6, 7, dtype=torch.float64)
    maps[:, 4] = 3  # a channel that says nothing is in no relation to any
    a, b = (np.corrcoef(one.flatten(1).numpy()[:4]) for one in maps)
    expected = np.zeros((5, 5))
    expected[:4, :4] = a - b
    result = float(correlation(maps[:1], maps[1:]))
    assert result == pytest.approx((expected**2).mean(), rel=1e-9)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("net:vgg16@conv9", "unknown tap of vgg16 'conv9'; did you mean"),
        ("net:vgg16@conv1_2+relu1_2", "two taps of vgg16 are of the convolution of relu1_2"),
        ("net:squeezenet1_1@conv1", "unknown tap of squeezenet1_1 'conv1'"),
        ("net:vgg16?map=x", "unknown map 'x'"),
        ("net:vgg16?pixels=1", "pixels=1: expected pixels=yes or pixels=no"),
        ("net:vgg16?filters=x", "unknown filters 'x'; known are: kaiming, nfc, torchvision, tra"),
        ("net:vgg16?seed=1", "seed=1: trained filters are not drawn; add filters=kaiming, or"),
        ("net:vgg16?filters=nfc&seed=-1", "seed=-1: expected a whole number of up to 18 digits"),
        ("net:vgg16?random=1", "unknown option of net:vgg16 'random'; known are: filters, map,"),
        ("net:vgg16?map=l1&map=l2", "the option map is there twice; leave one out"),
        ("net:vgg17", "expected a library and a network, such as net:torchvision/resnet18, or one"),
        ("net:torchvision/resnet18?filters=nfc", "unknown option of a network 'filters'"),
        ("net:torchvision/resnet18?pixels=yes", "pixels=yes needs a map, such as map=l1: pixels"),
    ],
)
def test_what_there_is_not_is_named(address: str, sentence: str) -> None:
    assert sentence in message_of(pmbench.metric, address)

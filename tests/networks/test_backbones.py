"""Trunks: their taps in every form, in passes, made once, and shared by every metric."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torchvision
from torch import Tensor, nn

from pmbench.metrics import registered
from pmbench.metrics.images import Images
from pmbench.networks import weights
from pmbench.networks.architectures import layers
from pmbench.networks.backbones import (
    ARCHITECTURES,
    IMAGENET,
    LPIPS,
    LPIPS_UNSIGNED,
    SIGNED,
    TRAINED,
    Backbone,
    Initialization,
    Preprocessing,
    Raw,
    as_unit,
    backbone,
    features_of,
    unit,
)
from pmbench.utils.errors import PmbenchError

CPU = torch.device("cpu")
# Two orders of summing the same products in float32 differ by about 1e-6 of a map's size for each
# of the up to thirteen layers.
DEEP = 2e-5


def pictures(n: int, side: int) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def assert_same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=DEEP * float(b.abs().max()), check_dtype=False)


# --- what a trunk computes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        # pixels 0.5, 1, 0: in [-1, 1] 0, 1, -1
        (LPIPS, (0.030 / 0.458, 1.088 / 0.448, -0.812 / 0.450)),
        (LPIPS_UNSIGNED, (0.530 / 0.458, 1.088 / 0.448, 0.188 / 0.450)),
        (SIGNED, (0.0, 1.0, -1.0)),
        (IMAGENET, (0.015 / 0.229, 0.544 / 0.224, -0.406 / 0.225)),
        (Preprocessing(False), (0.5, 1.0, 0.0)),
        (Preprocessing(True, shift=(1.0, 0.0, 0.0)), (-1.0, 1.0, -1.0)),  # a shift alone counts
    ],
)
def test_pixels_are_shifted_and_scaled_by_channel(
    preprocessing: Preprocessing, expected: tuple[float, float, float]
) -> None:
    pixels = torch.tensor([0.5, 1.0, 0.0]).view(1, 3, 1, 1)
    found = preprocessing(pixels)
    assert found.shape == pixels.shape
    assert found.flatten().tolist() == pytest.approx(expected, rel=1e-5, abs=1e-7)  # float32


def test_a_position_has_length_one_unless_nothing_is_active_there() -> None:
    features = torch.tensor([[3.0, 0.0], [-4.0, 0.0]]).view(1, 2, 1, 2)
    expected = torch.tensor([[0.6, 0.0], [-0.8, 0.0]]).view(1, 2, 1, 2)
    torch.testing.assert_close(unit(features), expected, rtol=1e-6, atol=0)
    # the bound is added to the length: 1e-10 / (1e-10 + 1e-10)
    faint = torch.full((1, 1, 1, 1), 1e-10)
    assert float(unit(faint)) == pytest.approx(0.5, rel=1e-6)


def by_layers(name: str, preprocessing: Preprocessing, pixels: Tensor) -> dict[int, Tensor]:
    """Return what each layer gives, in float64, by its index; nothing is overwritten."""
    x, found = preprocessing(pixels.double()), {}
    for index, layer in enumerate(features_of(name, TRAINED).double()):
        for part in layer.modules():
            if isinstance(part, nn.ReLU):
                part.inplace = False
        x = found[index] = layer(x)
    return found


@pytest.mark.usefixtures("reference_weights")
@pytest.mark.parametrize(
    ("name", "form"),  # but for SqueezeNet before the ReLU: a Fire module ends in two convolutions
    [(name, form) for name in ("alexnet", "vgg16") for form in ("relu", "conv")]
    + [("squeezenet1_1", "relu")],
)
def test_taps_are_the_layers_they_are_named_after(name: str, form: Raw) -> None:
    pixels, architecture = pictures(2, 48), ARCHITECTURES[name]
    with torch.inference_mode():
        taps = backbone(name, LPIPS, TRAINED, form, CPU)(pixels)
        expected = by_layers(name, LPIPS, pixels)
    assert tuple(tap.shape[1] for tap in taps) == architecture.channels
    for tap, index in zip(taps, architecture.taps, strict=True):
        wanted = expected[index - 1] if form == "conv" else expected[index]
        assert (wanted < 0).any() == (form == "conv")  # every tap has some that the ReLU cuts
        assert_same(tap, wanted)


@pytest.mark.usefixtures("reference_weights")
@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_taps_before_the_relu_serve_who_wants_unit_features(name: str) -> None:
    images = Images(pictures(2, 48))
    with torch.inference_mode():
        raw, cut = (backbone(name, SIGNED, TRAINED, form, CPU) for form in ("conv", "relu"))  # type: ignore[arg-type]
        before = [tap.clone() for tap in images.derive(raw)]
        for a, b in zip(images.derive(raw), images.derive(cut), strict=True):
            ready = unit(b)
            assert torch.equal(as_unit(ready, "unit"), ready)
            for tap, form in ((a, "conv"), (b, "relu")):
                torch.testing.assert_close(as_unit(tap, form), ready, rtol=0, atol=1e-6)  # type: ignore[arg-type]
        for tap, kept in zip(images.derive(raw), before, strict=True):
            assert torch.equal(tap, kept)  # what other metrics will ask for is left as it was


@pytest.mark.parametrize("form", ["relu", "conv"])
def test_images_in_several_passes_are_those_of_one(form: Raw) -> None:
    net = backbone("vgg16", SIGNED, Initialization("kaiming"), form, CPU)
    pixels, features = pictures(5, 24), features_of("vgg16", Initialization("kaiming"))
    sizes: list[int] = []
    features[0].register_forward_pre_hook(lambda _, x: sizes.append(len(x[0])))
    with torch.inference_mode():
        expected = net(pixels)
        for size in (1, 2, 5):
            per_pass = size * 24 * 24 + 17  # room that is not enough for one more
            parts = Backbone(features, ARCHITECTURES["vgg16"].taps, SIGNED, form, per_pass)
            for a, b in zip(parts(pixels), expected, strict=True):
                assert_same(a, b)
    assert sizes == [1, 1, 1, 1, 1, 2, 2, 1, 5]


def test_an_image_larger_than_a_pass_is_a_pass_of_its_own() -> None:
    net = Backbone(features_of("alexnet", Initialization("kaiming")), (1, 4), SIGNED, "relu", 10)
    assert [len(tap) for tap in net(pictures(2, 40))] == [2, 2]


# --- which filters --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "squeezenet1_1"])
def test_layers_are_arranged_as_torchvisions(name: str) -> None:
    theirs = getattr(torchvision.models, name)(weights=None).features
    ours = layers(name)
    assert str(ours) == str(theirs)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    ours.to_empty(device="cpu").load_state_dict(theirs.state_dict())
    pixels = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours(pixels), theirs(pixels))


@pytest.mark.parametrize("seed", [0, 3])
def test_an_untrained_network_is_torchvisions_own_initialisation(seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own = torchvision.models.squeezenet1_1(weights=None).features.state_dict()
    found = features_of("squeezenet1_1", Initialization("torchvision", seed)).state_dict()
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], values) for name, values in own.items())


@pytest.mark.usefixtures("reference_weights")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_trained_network_has_the_filters_of_its_file(name: str) -> None:
    of_file = weights.load(name)
    found = features_of(name, TRAINED).state_dict()
    assert len(found) >= 10
    for key, values in found.items():
        assert torch.equal(values, of_file[f"features.{key}"])


# --- one object -----------------------------------------------------------------------------------


def test_the_same_choice_is_the_same_object_and_another_is_another() -> None:
    random, other = Initialization("kaiming"), Initialization("kaiming", seed=1)
    net = backbone("alexnet", SIGNED, random, "conv", CPU)
    assert (
        backbone("alexnet", Preprocessing(True), Initialization("kaiming", 0), "conv", CPU) is net
    )
    others = [
        backbone("alexnet", LPIPS, random, "conv", CPU),
        backbone("alexnet", SIGNED, other, "conv", CPU),
        backbone("alexnet", SIGNED, random, "relu", CPU),
    ]
    assert len({id(made) for made in (net, *others)}) == 4


def test_a_trunk_is_frozen_yet_passes_gradients_even_if_made_while_measuring() -> None:
    with torch.inference_mode():  # not the one that another test made before
        net = backbone.__wrapped__("alexnet", SIGNED, Initialization("kaiming"), "conv", CPU)
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    pixels = pictures(1, 40).requires_grad_()
    sum(tap.square().mean() for tap in net(pixels)).backward()  # type: ignore[union-attr]
    assert pixels.grad is not None
    assert float(pixels.grad.abs().max()) > 0


def trunks_of_all_metrics() -> Iterator[tuple[str, Backbone]]:
    """Yield every trunk of every metric that can be loaded here, with the metric's name."""
    for name, metric in registered().items():
        if metric.not_installed() is not None:
            continue
        try:
            distance = metric.load(CPU)
        except PmbenchError:  # weights that nobody may pass on
            assert any(w not in ARCHITECTURES for w in metric.weights), name
            continue
        if isinstance(distance, nn.Module):
            for module in distance.modules():
                if isinstance(module, Backbone):
                    yield name, module


@pytest.mark.usefixtures("reference_weights")
def test_no_network_sees_one_input_twice_for_want_of_one_form() -> None:
    users: dict[tuple[object, ...], dict[int, list[str]]] = {}
    for name, net in trunks_of_all_metrics():
        # one network: the same first filters, and the same layers but for the ReLUs, since the form
        # "conv" has no last one
        first = next(net.parameters()).detach()
        layers = tuple(type(x).__name__ for x in net.features if not isinstance(x, nn.ReLU))
        key = (weights.digest({"first": first}), layers, net.preprocessing)
        users.setdefault(key, {}).setdefault(id(net), []).append(name)
    split = [list(objects.values()) for objects in users.values() if len(objects) > 1]
    assert split == []
    together = [set(names) for objects in users.values() for names in objects.values()]
    # the largest families are there at all, each on one object
    assert any({"lpips-vgg", "net-vgg"} <= names for names in together)
    assert any({"lpips-vgg-v0.0", "vgg-loss", "vgg-loss-gram"} <= names for names in together)
    assert any({"lpips-alex-v0.0", "alex-loss-1", "alex-loss-12"} <= names for names in together)
    assert any({"lpips-vgg-watson", "watson-vgg-initial"} <= names for names in together)


def test_a_network_without_an_output_before_its_taps_relu_says_so() -> None:
    expected = "squeezenet1_1: a tap of two convolutions has no output before the ReLU"
    with pytest.raises(ValueError, match=expected):
        backbone("squeezenet1_1", SIGNED, Initialization("torchvision"), "conv", CPU)

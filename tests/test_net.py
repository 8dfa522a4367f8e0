"""Networks of libraries as metrics: taps, layouts, sizes, weights, and the laws of every metric."""

from __future__ import annotations

import difflib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import test_laws as laws
import timm
import torch
import torchvision
from huggingface_hub import constants
from safetensors.torch import save, save_file
from torch import Tensor, nn

from pmbench.metrics import Metric
from pmbench.metrics.external import net
from pmbench.metrics.images import Images
from pmbench.metrics.loading import load_metric, load_metrics
from pmbench.metrics.selection import choose
from pmbench.networks import libraries, weights
from pmbench.networks.backbones import IMAGENET
from pmbench.networks.feature_extractor import Hooked, Tap
from pmbench.networks.probing import positions
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

CPU = torch.device("cpu")
X, Y = laws.pair(3, 64, 64)


@pytest.fixture(autouse=True)
def _forget() -> None:
    net.trunk.cache_clear()
    libraries._silence.cache_clear()
    weights._failed.clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "weights"
    made.mkdir()
    monkeypatch.setenv("PMBENCH_WEIGHTS", str(made))
    return made


def metric(address: str) -> Metric:
    (entry,) = choose([address]).metrics
    return entry


def distances(address: str, x: Tensor = X, y: Tensor = Y) -> Tensor:
    with torch.no_grad():
        return load_metric(metric(address), CPU, Silent()).distance(Images(x), Images(y))


def hooked(address: str) -> Hooked:
    found = [module for module in metric(address).load(CPU).modules() if isinstance(module, Hooked)]
    return found[0]


def told(address: str) -> str:
    """Return the sentence with which an address is refused."""
    with pytest.raises(PmbenchError) as caught:
        metric(address)
    return str(caught.value)


def failure(address: str) -> str:
    """Return the sentence with which a metric fails alone when it is loaded."""
    loaded, failures = load_metrics([metric(address)], CPU, Silent())
    assert not loaded
    return failures[metric(address).name]


# --- the laws -------------------------------------------------------------------------------------

# convolutions of all kinds, windows and tokens; channels last, class tokens; sizes from 1 to 32.
# timm's networks called test_… are small ones of the same code
TRIED = (
    "net:torchvision/alexnet?random=0",
    "net:torchvision/resnet18?random=0",
    "net:torchvision/squeezenet1_1?random=0",
    "net:torchvision/mobilenet_v3_small?random=0",
    "net:torchvision/swin_t@4?random=0",
    "net:timm/resnet18@layer1+layer3?random=0",
    "net:timm/test_convnext?random=0",
    "net:timm/test_vit?random=0",
    "net:timm/swin_tiny_patch4_window7_224@layers.0?random=0",
)
LAWS: tuple[Callable[[Metric], None], ...] = (
    laws.test_one_finite_number_a_pair_on_every_size,
    laws.test_constant_images_give_finite_numbers,
    laws.test_identical_images_score_best,
    laws.test_more_distortion_is_farther,
    laws.test_symmetric_as_declared,
    lambda entry: laws.test_a_batch_is_its_single_pairs(entry, 11),
    laws.test_same_input_same_output_whatever_the_global_random_state,
    laws.test_the_input_is_left_as_it_was,
    laws.test_gradients_are_finite_where_it_is_differentiable,
    laws.test_gradients_exist_exactly_where_declared,
    laws.test_sizes_it_is_not_defined_on_are_named_in_a_sentence,
    laws.test_the_smallest_size_is_told_truly,
    laws.test_a_card_says_what_it_is,
)


@pytest.mark.parametrize("address", TRIED)
def test_every_law_holds(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metric(address)
    distance = entry.load(CPU)
    monkeypatch.setattr(laws, "loaded", lambda name: distance)
    for law in LAWS:
        law(entry)


_SCRIPT = """
import sys, torch
from pmbench.metrics.selection import choose
from pmbench.metrics.images import Images
(metric,) = choose([sys.argv[1]]).metrics
x = torch.linspace(0, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
with torch.no_grad():
    found = metric.load(torch.device("cpu"))(Images(x), Images(x**2))
print([value.hex() for value in found.tolist()])
"""


def test_the_same_in_another_process() -> None:
    address = "net:torchvision/squeezenet1_1?random=0"
    script = [sys.executable, "-c", _SCRIPT, address]
    elsewhere = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    x = torch.linspace(0, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
    here = [value.hex() for value in distances(address, x, x**2).tolist()]
    assert elsewhere == f"{here}\n"


# --- what it computes -----------------------------------------------------------------------------

# the same sums, of inputs that are normalised in another order of operations
ROUNDING = 5e-6


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("vgg16@features.3+features.8+features.15+features.22+features.29", "net-vgg"),
        ("alexnet@features.1+features.4+features.7+features.9+features.11", "net-alex"),
    ],
)
@pytest.mark.usefixtures("reference_weights")
def test_it_is_the_registered_metric_on_the_same_network_and_taps(address: str, name: str) -> None:
    ours, known = distances(f"net:torchvision/{address}"), distances(name)
    torch.testing.assert_close(ours, known, rtol=ROUNDING, atol=0)


def test_a_random_network_is_the_registered_one_of_that_seed() -> None:
    taps = "features.1+features.4+features.7+features.9+features.11"
    ours = distances(f"net:torchvision/alexnet@{taps}?random=0")
    torch.testing.assert_close(ours, distances("net-alex-random"), rtol=ROUNDING, atol=0)


def by_hand(features: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the formula on pairs of (N, positions, C)."""
    total = torch.zeros(len(X))
    for a, b in features:
        a, b = (f / (f.norm(dim=2, keepdim=True) + 1e-10) for f in (a, b))
        total += ((a - b) ** 2).sum(dim=2).mean(dim=1)
    return total


def normalised(pixels: Tensor, mean: list[float], std: list[float]) -> Tensor:
    return torchvision.transforms.functional.normalize(pixels, mean, std)


@torch.no_grad()
def test_on_tokens_a_position_is_a_patch_and_the_class_token_is_none() -> None:
    torch.manual_seed(5)
    vit = timm.create_model("test_vit", pretrained=False, dynamic_img_size=True).eval()
    assert vit.num_prefix_tokens == 1
    tokens = []
    for pixels in (X, Y):
        x = normalised(pixels, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])  # as this network's authors did
        x = vit.blocks[:3](vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(x)))))
        tokens.append(x[:, 1:])
    ours = distances("net:timm/test_vit@blocks.2?random=5")
    torch.testing.assert_close(ours, by_hand([(tokens[0], tokens[1])]), rtol=ROUNDING, atol=0)


@torch.no_grad()
def test_channels_are_found_where_they_come_last() -> None:
    torch.manual_seed(6)
    swin = torchvision.models.swin_t(weights=None).eval()
    maps = []
    for pixels in (X, Y):
        x = swin.features[:2](normalised(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        assert x.shape == (3, 16, 16, 96)
        maps.append(x.flatten(1, 2))
    ours = distances("net:torchvision/swin_t@features.1?random=6")
    torch.testing.assert_close(ours, by_hand([(maps[0], maps[1])]), rtol=ROUNDING, atol=0)


def test_layers_that_work_in_place_leave_a_tap_as_it_was() -> None:
    """A convolution's output, over which the next layer writes, and its gradient."""
    torch.manual_seed(7)
    alexnet = torchvision.models.alexnet(weights=None).eval()
    assert alexnet.features[1].inplace
    x, again = (X.clone().requires_grad_() for _ in range(2))
    maps = []
    for pixels in (x, Y):
        first = alexnet.features[0](
            normalised(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        )
        second = alexnet.features[3](alexnet.features[2](first.relu()))
        maps.append((first.flatten(2).mT, second.flatten(2).mT))
    expected = by_hand(list(zip(*maps, strict=True)))
    distance = metric("net:torchvision/alexnet@features.0+features.3?random=7").load(CPU)
    ours = distance(Images(again), Images(Y))
    torch.testing.assert_close(ours, expected, rtol=ROUNDING, atol=0)
    expected.sum().backward()
    ours.sum().backward()
    # gradients are sums of many terms that cancel: they keep fewer digits
    torch.testing.assert_close(again.grad, x.grad, rtol=1e-4, atol=1e-7)


def test_a_module_that_is_called_twice_gives_its_last_output() -> None:
    block = "net:torchvision/resnet18@layer1.0.relu?random=0"  # after the first sum, and at the end
    torch.testing.assert_close(
        distances(block), distances("net:torchvision/resnet18@layer1.0?random=0"), rtol=0, atol=0
    )


def test_images_are_computed_in_portions_of_a_bounded_size() -> None:
    trunk = hooked("net:torchvision/squeezenet1_1@2?random=0")
    sizes: list[int] = []
    trunk.network.features[0].register_forward_hook(lambda m, x, y: sizes.append(len(x[0])))
    # its largest map has 64 channels at stride 2, so 2²² values are those of 2¹⁸ pixels, and a few
    # more, since the convolution is not padded
    assert trunk.pixels_per_pass // (64 * 64) == 65
    trunk(torch.zeros(70, 3, 64, 64))
    assert sizes == [35, 35]
    with torch.no_grad():
        trunk(torch.zeros(2, 3, 1024, 1024))
    assert sizes == [35, 35, 1, 1]


# --- taps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "taps"),
    [
        ("torchvision/resnet18", "relu+layer1+layer2+layer3+layer4"),
        ("torchvision/alexnet", "features.1+features.4+features.11"),
        ("torchvision/squeezenet1_1", "features.1+features.4+features.7+features.12"),
        ("torchvision/vgg16", "features.3+features.8+features.15+features.22+features.29"),
        (
            "torchvision/vit_b_16",
            "+".join(f"encoder.layers.encoder_layer_{i}" for i in (2, 5, 8, 11)),
        ),
        ("timm/resnet18", "act1+layer1+layer2+layer3+layer4"),
        ("timm/vit_tiny_patch16_224", "blocks.2+blocks.5+blocks.8+blocks.11"),
        ("timm/test_convnext", "stages.0+stages.1+stages.2+norm_pre"),
        ("timm/swin_tiny_patch4_window7_224", "layers.0+layers.1+layers.2+norm"),
    ],
)
def test_without_taps_it_is_the_end_of_each_stage(network: str, taps: str) -> None:
    assert metric(f"net:{network}?random=0").parameters["taps"] == taps


def test_a_stride_is_the_last_module_at_it() -> None:
    by_stride = metric("net:torchvision/resnet18@16+4+layer2?random=0")
    assert by_stride.name == "net:torchvision/resnet18@16+4+layer2?random=0"
    assert by_stride.parameters == {
        "network": "torchvision/resnet18",
        "taps": "layer1+layer2+layer3",  # in the order of computation
        "seed": 0,
        "input": str(IMAGENET),
        "library": version("torchvision"),
    }
    by_name = metric("net:torchvision/resnet18@layer1+layer2+layer3?random=0")
    assert hooked(by_stride.name) is hooked(by_name.name)


def test_nothing_behind_the_last_tap_runs_or_is_kept() -> None:
    trunk = hooked("net:torchvision/resnet18@layer1?random=0")
    ran: list[str] = []
    for name in ("layer1", "layer2", "fc"):
        module = trunk.network.get_submodule(name)
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    trunk(X)
    assert ran == ["layer1"]
    kept = {name.split(".")[1] for name in trunk.state_dict()}
    assert kept == {"conv1", "bn1", "layer1"}


def test_tensors_that_no_module_owns_are_kept_where_they_are_used() -> None:
    kept = set(hooked("net:timm/test_vit@blocks.0?random=0").state_dict())
    assert {"network.cls_token", "network.pos_embed", "network.blocks.0.attn.qkv.weight"} <= kept
    assert not {name for name in kept if name.startswith(("network.blocks.1", "network.norm"))}


# an image of 224 and one of 672 pixels a side: which dimensions grew, and how
@pytest.mark.parametrize(
    ("shapes", "tap"),
    [
        ([(2, 64, 56, 56), (2, 64, 168, 168)], Tap("m", "NCHW", 64, 4)),
        ([(2, 56, 56, 64), (2, 168, 168, 64)], Tap("m", "NHWC", 64, 4)),
        ([(2, 197, 192), (2, 1765, 192)], Tap("m", "NLC", 192, 16, 1)),
        ([(2, 192, 196), (2, 192, 1764)], Tap("m", "NCL", 192, 16, 0)),
        ([(2, 261, 384), (2, 2309, 384)], Tap("m", "NLC", 384, 14, 5)),
        ([(2, 64, 55, 55), (2, 64, 167, 167)], Tap("m", "NCHW", 64, 4)),  # no padding
        ([(2, 512, 7, 7), (2, 512, 7, 7)], None),  # pooled to a fixed size
        ([(2, 512), (2, 512)], None),
        ([(2, 3, 197, 197), (2, 3, 1765, 1765)], None),  # attention, a row for each token
        ([(128, 49, 96), (1152, 49, 96)], None),  # windows, not images
        ([None, None], None),
        ([(2, 196, 64)], Tap("m", "NLC", 64, 16, 0)),  # of one size only
        ([(2, 64, 14, 14)], Tap("m", "NCHW", 64, 16)),
        ([(2, 14, 14, 64)], Tap("m", "NHWC", 64, 16)),
        ([(2, 1000)], None),
    ],
)
def test_layouts_are_told_by_what_grows_with_the_image(
    shapes: list[tuple[int, ...] | None], tap: Tap | None
) -> None:
    assert positions("m", shapes, [224, 672][: len(shapes)]) == tap


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NLC", "NCL"])
def test_every_layout_is_read_as_channels_at_positions(layout: str) -> None:
    maps = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)  # N, C, H, W
    given, read = {
        "NCHW": (maps, maps),
        "NHWC": (maps.permute(0, 2, 3, 1), maps),
        "NLC": (maps.flatten(2).mT, maps.flatten(2)[:, :, 2:, None]),
        "NCL": (maps.flatten(2), maps.flatten(2)[:, :, 2:, None]),
    }[layout]
    prefix = 2 if "L" in layout else 0
    assert torch.equal(Tap("m", layout, 3, 1, prefix).read(given), read)  # type: ignore[arg-type]


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "smallest", "multiple"),
    [
        ("torchvision/alexnet", 31, 1),  # two poolings of 3 pixels behind a filter of 11
        ("torchvision/alexnet@features.1", 7, 1),  # that filter, padded by 2 on both sides
        ("torchvision/vgg16", 16, 1),  # four halvings
        ("torchvision/vgg16@features.3", 1, 1),
        ("torchvision/resnet18", 1, 1),  # everything is padded
        ("timm/vit_tiny_patch16_224", 16, 16),
        ("timm/test_convnext", 32, 1),
        ("torchvision/vit_b_16", 224, 224),  # its positions are for one size
    ],
)
def test_the_sizes_that_a_network_takes_are_found(
    address: str, smallest: int, multiple: int
) -> None:
    entry = metric(f"net:{address}?random=0")
    assert (entry.min_size, entry.multiple_of) == (smallest, multiple)


def test_a_size_that_a_network_refuses_is_told_by_its_card() -> None:
    vit = metric("net:timm/vit_tiny_patch16_224?random=0")
    assert vit.undefined_on(64, 72) == "needs sides that are multiples of 16, got 72×64"
    fixed = metric("net:torchvision/vit_b_16?random=0")
    assert fixed.undefined_on(64, 64) == "needs at least 224 pixels a side, got 64×64"


def test_a_size_that_a_network_refuses_is_a_value_error_for_who_asks_it_anyway() -> None:
    vit = metric("net:timm/test_vit?random=0").load(CPU)
    with pytest.raises(
        ValueError, match=r"^72×64: Input width \(72\) should be divisible by patch"
    ):
        vit(Images(torch.rand(1, 3, 64, 72)), Images(torch.rand(1, 3, 64, 72)))


# --- names and addresses --------------------------------------------------------------------------


def test_the_card_says_what_it_is() -> None:
    drawn = metric("net:timm/test_resnet@layer1?random=07")
    assert drawn.name == "net:timm/test_resnet@layer1?random=7"
    assert drawn.family == "net: timm"
    assert drawn.title == "unweighted random test_resnet features of timm"
    assert (drawn.extra, drawn.weights, drawn.licence) == ("timm", (), "")
    trained = metric("net:torchvision/resnet18@layer1")
    assert trained.name == "net:torchvision/resnet18@layer1"
    assert trained.family == "net: torchvision"
    assert trained.title == "unweighted resnet18 features of torchvision"
    assert (trained.extra, trained.weights) == ("", ("resnet18",))
    assert trained.licence == "BSD-3-Clause"
    assert trained.parameters["seed"] == -1


def test_options_may_stand_in_front_as_at_every_door() -> None:
    front = metric("net?random=3:torchvision/alexnet@4")
    assert front == metric("net:torchvision/alexnet@4?random=3")
    assert metric("mine=net:torchvision/alexnet@4?random=3").name == "mine"


def test_one_address_is_one_metric_however_often_it_is_asked_for() -> None:
    address = "net:torchvision/alexnet@4?random=3"
    assert len(choose([address, "net?random=3:torchvision/alexnet@4"]).metrics) == 1


def test_a_network_is_built_once_for_all_metrics_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = choose(
        [f"{name}=net:torchvision/alexnet@{taps}?random=3" for name, taps in NAMES.items()]
    ).metrics
    built: list[str] = []
    build = libraries.Torchvision.build

    def counted(self: libraries.Torchvision, name: str) -> nn.Module:
        built.append(name)
        return build(self, name)

    monkeypatch.setattr(libraries.Torchvision, "build", counted)
    loaded, _ = load_metrics([*chosen, *chosen], CPU, Silent())
    assert built == ["alexnet"]
    assert len({id(m) for one in loaded for m in one.modules if isinstance(m, Hooked)}) == 1
    images = Images(X)
    calls: list[int] = []
    for trunk in loaded[0].modules[1:2]:
        trunk.register_forward_hook(lambda *_: calls.append(1))
    for one in loaded:
        one.distance(images, images)
    assert calls == [1]  # images remember their features


NAMES = {"first": "4+8", "second": "features.1+features.4", "third": "8+features.1"}


def test_a_seed_is_the_librarys_own_drawing_and_leaves_the_state_alone() -> None:
    torch.manual_seed(11)
    expected = torchvision.models.resnet18(weights=None).state_dict()
    torch.manual_seed(12)
    before = torch.random.get_rng_state()
    address = "net:torchvision/resnet18@layer1?random=11"
    state = hooked(address).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, value in state.items():
        assert torch.equal(value, expected[name.removeprefix("network.")]), name
    first, second, third = (
        load_metric(metric(a), CPU, Silent()).digest
        for a in (address, "mine=" + address, address[:-1] + "2")
    )
    assert len({first, second, third}) == 3  # the name is part of a metric's identity
    net.trunk.cache_clear()
    assert load_metric(metric(address), CPU, Silent()).digest == first


def test_it_may_be_loaded_where_nothing_is_to_be_learned_and_be_a_loss_elsewhere() -> None:
    with torch.inference_mode():
        entry = metric("net:torchvision/alexnet@features.1?random=0")
        distance = load_metric(entry, CPU, Silent()).distance
    x = X.clone().requires_grad_()
    distance(Images(x), Images(Y)).sum().backward()
    assert x.grad is not None
    assert not [p for p in distance.parameters() if p.requires_grad]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            "net:resnet18",
            "net:resnet18: expected a library and a network, such as net:torchvision/resnet18, "
            "got 'resnet18'",
        ),
        ("net:keras/vgg16", "unknown library of networks 'keras'; known are: timm, torchvision."),
        ("net:timm/0000", "unknown network of timm '0000'; see timm.list_models()"),
        (
            "net:torchvision/alexnet@features.99",
            "unknown module of torchvision/alexnet 'features.99'; did you mean features.9 or "
            "features.8 or features.7?",
        ),
        (
            "net:torchvision/alexnet@0x",
            "unknown module of torchvision/alexnet '0x'; known are: features.1, features.11, "
            "features.4.",
        ),
        (
            "net:torchvision/alexnet@classifier.1",
            "the module 'classifier.1' of torchvision/alexnet gives no features with positions; "
            "choose another, such as features.1, features.4, features.11",
        ),
        (
            "net:torchvision/alexnet@2",
            "torchvision/alexnet has no features at a stride of 2 pixels; it has them at 4, 8, 16",
        ),
        (
            "net:torchvision/alexnet@4+features.1",
            "two taps of torchvision/alexnet are the module 'features.1'; leave one out",
        ),
        (
            "net:torchvision/alexnet@",
            "net:torchvision/alexnet@: expected modules or strides behind the @, such as @4+8+16, "
            "got '@'",
        ),
        (
            "net:torchvision/alexnet?random=one",
            "net:torchvision/alexnet?random=one: expected one whole number of up to 18 digits as "
            "random=SEED, got 'one'",
        ),
        (
            "net?random=1:torchvision/alexnet?random=2",
            "net:torchvision/alexnet?random=2: expected one whole number of up to 18 digits as "
            "random=SEED, got '1, 2'",
        ),
        (
            "net:torchvision/alexnet?seed=1",
            "unknown option of a network 'seed'; known are: random.",
        ),
        (
            "net:timm/crossvit_9_240?random=0",
            "no module of timm/crossvit_9_240 gives features with positions; "
            "choose another network",
        ),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(address: str, sentence: str) -> None:
    assert told(address) == sentence


@pytest.mark.parametrize(
    ("library", "name", "known"),
    [
        ("torchvision", "resnet19", torchvision.models.list_models(module=torchvision.models)),
        ("timm", "test_vitt", timm.list_models()),
        ("timm", "test_resnet.r161_in1k", [*timm.list_models(), *timm.list_pretrained()]),
    ],
)
def test_an_unknown_network_is_answered_with_close_ones(
    library: str, name: str, known: list[str]
) -> None:
    # which ones are close depends on the library's version
    close = " or ".join(difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5))
    sentence = f"unknown network of {library} '{name}'; did you mean {close}?"
    assert told(f"net:{library}/{name}") == sentence


def test_a_network_for_other_channels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = timm.models.PretrainedCfg(input_size=(1, 64, 64))
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: grey)
    assert told("net:timm/test_vit") == (
        "timm/test_vit is for images of 1 channels; expected a network for 3"
    )


def test_a_network_that_cannot_be_examined_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no such kernel\nand a second line")

    monkeypatch.setattr(libraries.Torchvision, "build", lambda self, name: Faulty())
    net._offer.cache_clear()
    assert failure("net:torchvision/vgg11?random=0") == (
        "torchvision/vgg11 cannot be examined (RuntimeError: no such kernel); "
        "choose another network"
    )
    net._offer.cache_clear()


def test_without_timm_its_networks_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert failure("net:timm/whatever@4?random=1") == (
        "needs the package timm, which is not installed; run: pip install 'pmbench[timm]'"
    )


# --- trained weights ------------------------------------------------------------------------------


def drawn(library: str, name: str, modules: str) -> dict[str, Tensor]:
    """Return the tensors of a seeded network until its last tap, in its library's own names."""
    state = hooked(f"net:{library}/{name}@{modules}?random=21").state_dict()
    return {key.removeprefix("network."): value.contiguous() for key, value in state.items()}


@pytest.mark.usefixtures("reference_weights")
def test_a_file_of_the_trunk_alone_is_enough() -> None:
    kept = set(hooked("net:torchvision/alexnet").state_dict())
    assert kept == {
        f"network.features.{i}.{kind}" for i in (0, 3, 6, 8, 10) for kind in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("library", "name", "modules", "file"),
    [
        ("torchvision", "resnet18", "layer1", "resnet18.safetensors"),
        ("torchvision", "resnet18", "layer1", "resnet18-f37072fd.pth"),  # as torchvision calls it
        ("timm", "test_resnet", "layer1", "test_resnet.safetensors"),
        ("timm", "test_resnet", "layer1", "test_resnet.r160_in1k.pth"),  # with its tag
        ("timm", "test_resnet.r160_in1k", "layer1", "test_resnet.r160_in1k.safetensors"),
    ],
)
def test_a_local_file_is_taken_by_its_name(
    library: str, name: str, modules: str, file: str, folder: Path
) -> None:
    tensors = drawn(library, name, modules)
    if file.endswith(".pth"):
        torch.save(tensors, folder / file)
    else:
        save_file(tensors, folder / file)
    state = hooked(f"net:{library}/{name}@{modules}").state_dict()
    assert {key.removeprefix("network.") for key in state} == set(tensors)
    assert all(torch.equal(state[f"network.{key}"], value) for key, value in tensors.items())


def test_what_the_taps_need_must_be_in_the_file_and_nothing_else(folder: Path) -> None:
    tensors = drawn("torchvision", "resnet18", "layer1")
    file = folder / "resnet18.safetensors"
    save_file({**tensors, "fc.weight": torch.zeros(3, 3), "other": torch.zeros(1)}, file)
    hooked("net:torchvision/resnet18@layer1")
    assert failure("net:torchvision/resnet18@layer2") == (
        f"{file}: the weights 'resnet18' need a tensor 'layer2.0.conv1.weight' of shape "
        "(128, 64, 3, 3), got none of that name; is it another network's file?"
    )
    save_file({**tensors, "bn1.bias": torch.zeros(3)}, file)
    net.trunk.cache_clear()
    assert failure("net:torchvision/resnet18@layer1") == (
        f"{file}: the weights 'resnet18' need a tensor 'bn1.bias' of shape (64,), "
        "got shape (3,); is it another network's file?"
    )


def test_a_local_file_of_timms_that_does_not_fit_is_named(folder: Path) -> None:
    file = folder / "test_resnet.safetensors"
    save_file({"other": torch.zeros(1)}, file)
    assert failure("net:timm/test_resnet@act1") == (
        f"{file}: the weights 'test_resnet' need a tensor 'conv1.0.weight' of shape "
        "(16, 3, 3, 3), got none of that name; is it another network's file?"
    )


def test_older_names_of_tensors_are_understood(folder: Path) -> None:
    densenet = drawn("torchvision", "densenet121", "features.denseblock1.denselayer1")
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): densenet[key]
        for key in densenet
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, folder / "densenet121.pth")
    state = hooked("net:torchvision/densenet121@features.denseblock1.denselayer1").state_dict()
    assert all(torch.equal(state[f"network.{key}"], value) for key, value in densenet.items())
    # a file without a version, of a network that asks for one
    mnasnet = drawn("torchvision", "mnasnet0_5", "layers.7")
    save_file(mnasnet, folder / "mnasnet0_5.safetensors")
    state = hooked("net:torchvision/mnasnet0_5@layers.7").state_dict()
    assert all(torch.equal(state[f"network.{key}"], value) for key, value in mnasnet.items())


def test_networks_learned_with_another_normalisation_are_given_it(folder: Path) -> None:
    googlenet = torchvision.models.googlenet(weights=None, init_weights=False)
    save_file(dict(googlenet.state_dict()), folder / "googlenet.safetensors")
    trunk = hooked("net:torchvision/googlenet@conv1")
    seen: list[Tensor] = []
    trunk.network.conv1.register_forward_pre_hook(lambda module, x: seen.append(x[0]))
    trunk(X)
    torch.testing.assert_close(seen[0], 2 * X - 1, rtol=0, atol=1e-6)  # rounding of two steps


def test_torchvisions_files_are_fetched_under_their_official_names() -> None:
    (name,) = metric("net:torchvision/mobilenet_v3_small").weights
    entry = weights.weight_files()[name]
    assert entry.url == "https://download.pytorch.org/models/mobilenet_v3_small-047dcff4.pth"
    assert entry.sha256_prefix == "047dcff4"
    # those that pmbench itself lists stay as they are listed
    listed = weights.weight_files()["alexnet"]
    metric("net:torchvision/alexnet")
    assert weights.weight_files()["alexnet"] is listed


def test_torchvisions_files_that_cannot_be_fetched_are_a_sentence(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    assert failure("net:torchvision/resnet18") == (
        "the weights 'resnet18' are not on this machine and cannot be fetched "
        f"(resnet18-f37072fd.pth is not in {home / 'weights'} and PMBENCH_OFFLINE is set; fetch "
        "https://download.pytorch.org/models/resnet18-f37072fd.pth where there is a network and "
        "put it there); put resnet18-f37072fd.pth or resnet18.safetensors into a folder and name "
        "it with --weights or PMBENCH_WEIGHTS"
    )


# --- timm's hub -----------------------------------------------------------------------------------

WAYS_OUT = (
    "put test_resnet.r160_in1k.safetensors into a folder and name it with --weights or "
    "PMBENCH_WEIGHTS, or add ?random=0 for a network that has learned nothing"
)
_COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    """The part of the hub that its client asks for one file."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        self.asked.append(f"{self.command} {self.path}")
        data = self.files.get(self.path, b"")
        self.send_response(200 if data else 404)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{len(data):040d}"')
        self.send_header("X-Repo-Commit", _COMMIT)
        if not data:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        return data

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[_Hub]]:
    """Point the hub's client at a server of ours, with a cache of its own."""
    handler = type("Handler", (_Hub,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    _point_hub_at(f"http://127.0.0.1:{server.server_port}", monkeypatch, tmp_path)
    try:
        yield handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _point_hub_at(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


FILE = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


def test_timms_weights_come_from_the_hub_and_then_from_its_cache(hub: type[_Hub]) -> None:
    torch.manual_seed(31)
    tensors = timm.create_model("test_resnet", pretrained=False).state_dict()
    hub.files[FILE] = save(tensors)
    for name in ("test_resnet", "test_resnet.r160_in1k"):
        state = hooked(f"net:timm/{name}@layer1").state_dict()
        for key, value in state.items():
            assert torch.equal(value, tensors[key.removeprefix("network.")]), key
        assert f"GET {FILE}" in hub.asked or not hub.asked
        hub.asked.clear()
    net.trunk.cache_clear()
    hooked("net:timm/test_resnet@layer1")
    assert hub.asked == []


def test_a_hub_without_the_file_is_a_sentence(hub: type[_Hub]) -> None:
    sentence = failure("net:timm/test_resnet")
    assert sentence.startswith("timm cannot load the weights of test_resnet.r160_in1k (")
    assert "404" in sentence
    assert sentence.endswith(f"; {WAYS_OUT}")
    assert "\n" not in sentence


def test_without_a_network_timms_weights_are_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:  # a port where nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        _point_hub_at(url, monkeypatch, tmp_path)
        chosen = [metric("net:timm/test_resnet"), metric("net:timm/test_vit")]
        start = time.perf_counter()
        loaded, failures = load_metrics(chosen, CPU, Silent())
        # the hub's own client would wait for more than half a minute
        assert time.perf_counter() - start < 5
    assert not loaded
    assert failures["net:timm/test_resnet"] == (
        "the weights of timm/test_resnet.r160_in1k are not on this machine and cannot be fetched "
        f"({url}: [Errno 111] Connection refused); {WAYS_OUT}"
    )
    assert failures["net:timm/test_vit"].startswith("the weights of timm/test_vit.r160_in1k are")
    assert capfd.readouterr() == ("", "")


def test_offline_nobody_is_asked(hub: type[_Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    assert failure("net:timm/test_resnet") == (
        "the weights of timm/test_resnet.r160_in1k are not on this machine and PMBENCH_OFFLINE is "
        f"set; {WAYS_OUT}"
    )
    assert hub.asked == []


def test_a_network_of_timms_that_nobody_trained_says_so() -> None:
    assert failure("net:timm/coatnet_0_224") == (
        "timm has no trained weights of coatnet_0_224; put coatnet_0_224.safetensors into a folder "
        "and name it with --weights or PMBENCH_WEIGHTS, or add ?random=0 for a network that has "
        "learned nothing"
    )

"""Networks of libraries: the laws of every metric, their taps, their sizes."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
from support import laws, laws_in_programs
from support.networks import CPU, X, distances, extractor, metric

from pmbench.metrics.images import Images
from pmbench.networks.backbones import IMAGENET
from pmbench.networks.feature_extractor import Tap
from pmbench.networks.tap_catalog import positions

pytestmark = pytest.mark.usefixtures("forget_networks")

# --- the laws -------------------------------------------------------------------------------------

# convolutions of all kinds, windows and tokens; channels last, class tokens; sizes from 1 to 32.
# timm's networks called test_… are small ones of the same code
TRIED = (
    "net:torchvision/alexnet?random=0",
    "net:torchvision/squeezenet1_1?random=0",
    "net:torchvision/swin_t@4?random=0",
    "net:timm/resnet18@layer1+layer3?random=0",
    "net:timm/test_convnext?random=0",
    "net:timm/test_vit?random=0",
)
ALSO_TRIED = (
    "net:torchvision/resnet18?random=0",
    "net:torchvision/mobilenet_v3_small?random=0",
    "net:timm/swin_tiny_patch4_window7_224@layers.0?random=0",
)


@pytest.mark.parametrize(
    "address", [*TRIED, *(pytest.param(one, marks=pytest.mark.slow) for one in ALSO_TRIED)]
)
def test_every_law_holds(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metric(address)
    distance = entry.load(CPU)
    monkeypatch.setattr(laws, "loaded", lambda name: distance)
    for law in (*laws.LAWS, *laws_in_programs.LAWS):
        law(entry)


_SCRIPT = """
import sys, torch
from pmbench.metrics.selection import select_metrics
from pmbench.metrics.images import Images
(metric,) = select_metrics([sys.argv[1]]).metrics
x = torch.linspace(0, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
with torch.no_grad():
    values = metric.load(torch.device("cpu"))(Images(x), Images(x**2))
print([value.hex() for value in values.tolist()])
"""


@pytest.mark.slow  # the laws of the registered metrics hold it for net-alex-random each time
def test_the_same_in_another_process() -> None:
    address = "net:torchvision/squeezenet1_1?random=0"
    script = [sys.executable, "-c", _SCRIPT, address]
    elsewhere = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    x = torch.linspace(0, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
    here = [value.hex() for value in distances(address, x, x**2).tolist()]
    assert elsewhere == f"{here}\n"


# --- taps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "taps"),
    [
        ("torchvision/resnet18", "relu+layer1+layer2+layer3+layer4"),
        ("torchvision/alexnet", "features.1+features.4+features.11"),
        ("torchvision/squeezenet1_1", "features.1+features.4+features.7+features.12"),
        ("torchvision/vgg16", "features.3+features.8+features.15+features.22+features.29"),
        ("torchvision/vit_b_16", "+".join(f"encoder.layers.encoder_layer_{i}" for i in (2, 5, 8,
         11))),
        ("timm/resnet18", "act1+layer1+layer2+layer3+layer4"),
        ("timm/vit_tiny_patch16_224", "blocks.2+blocks.5+blocks.8+blocks.11"),
        ("timm/test_convnext", "stages.0+stages.1+stages.2+norm_pre"),
        ("timm/swin_tiny_patch4_window7_224", "layers.0+layers.1+layers.2+norm"),
    ],
)  # fmt: skip
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
    assert extractor(by_stride.name) is extractor(by_name.name)


def test_nothing_behind_the_last_tap_runs_or_is_kept() -> None:
    trunk = extractor("net:torchvision/resnet18@layer1?random=0")
    ran: list[str] = []
    for name in ("layer1", "layer2", "fc"):
        module = trunk.network.get_submodule(name)
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    trunk(X)
    assert ran == ["layer1"]
    kept = {name.split(".")[1] for name in trunk.state_dict()}
    assert kept == {"conv1", "bn1", "layer1"}


def test_tensors_that_no_module_owns_are_kept_where_they_are_used() -> None:
    kept = set(extractor("net:timm/test_vit@blocks.0?random=0").state_dict())
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

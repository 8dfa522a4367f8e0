"""Networks of libraries as metrics: what they compute, names, addresses, trained weights."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from support.networks import CPU, X, Y, distances, extractor, failure, metric, seeded_tensors
from torch import Tensor, nn

from pmbench.metrics.external import net
from pmbench.metrics.images import Images
from pmbench.metrics.loading import load_metric, load_metrics
from pmbench.metrics.selection import select_metrics
from pmbench.networks import model_libraries, weights
from pmbench.networks.feature_extractor import FeatureExtractor
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

pytestmark = pytest.mark.usefixtures("forget_networks")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "weights"
    made.mkdir()
    monkeypatch.setenv("PMBENCH_WEIGHTS", str(made))
    return made


def refusal(address: str) -> str:
    """Return the sentence with which an address is refused."""
    with pytest.raises(PmbenchError) as caught:
        metric(address)
    return str(caught.value)


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
    trunk = extractor("net:torchvision/squeezenet1_1@2?random=0")
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


# --- names and addresses --------------------------------------------------------------------------


def test_the_card_says_what_it_is() -> None:
    unlearned = metric("net:timm/test_resnet@layer1?random=07")
    assert unlearned.name == "net:timm/test_resnet@layer1?random=7"
    assert unlearned.family == "net: timm"
    assert unlearned.title == "unweighted random test_resnet features of timm"
    assert (unlearned.extra, unlearned.weights, unlearned.licence) == ("timm", (), "")
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
    assert len(select_metrics([address, "net?random=3:torchvision/alexnet@4"]).metrics) == 1


def test_a_network_is_built_once_for_all_metrics_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = select_metrics(
        [f"{name}=net:torchvision/alexnet@{taps}?random=3" for name, taps in NAMES.items()]
    ).metrics
    built: list[str] = []
    build = model_libraries.Torchvision.build

    def counted(self: model_libraries.Torchvision, name: str) -> nn.Module:
        built.append(name)
        return build(self, name)

    monkeypatch.setattr(model_libraries.Torchvision, "build", counted)
    loaded, _ = load_metrics([*chosen, *chosen], CPU, Silent())
    assert built == ["alexnet"]
    assert (
        len({id(m) for one in loaded for m in one.modules if isinstance(m, FeatureExtractor)}) == 1
    )
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
    state = extractor(address).state_dict()
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
        ("net:resnet18",
         "net:resnet18: expected a library and a network, such as net:torchvision/resnet18, "
         "or one of alexnet, vgg16, squeezenet1_1, got 'resnet18'"),
        ("net:keras/vgg16", "unknown library of networks 'keras'; known are: timm, torchvision."),
        ("net:timm/0000", "unknown network of timm '0000'; see timm.list_models()"),
        ("net:torchvision/alexnet@features.99",
         "unknown module of torchvision/alexnet 'features.99'; did you mean features.9 or "
         "features.8 or features.7?"),
        ("net:torchvision/alexnet@0x",
         "unknown module of torchvision/alexnet '0x'; known are: features.1, features.11, "
         "features.4."),
        ("net:torchvision/alexnet@classifier.1",
         "the module 'classifier.1' of torchvision/alexnet gives no features with positions; "
         "choose another, such as features.1, features.4, features.11"),
        ("net:torchvision/alexnet@2",
         "torchvision/alexnet has no features at a stride of 2 pixels; it has them at 4, 8, 16"),
        ("net:torchvision/alexnet@4+features.1",
         "two taps of torchvision/alexnet are the module 'features.1'; leave one out"),
        ("net:torchvision/alexnet@",
         "net:torchvision/alexnet@: expected modules or strides behind the @, such as @4+8+16, "
         "got '@'"),
        ("net:torchvision/alexnet?random=one",
         "net:torchvision/alexnet?random=one: expected one whole number of up to 18 digits as "
         "random=SEED, got 'one'"),
        ("net?random=1:torchvision/alexnet?random=2",
         "net:torchvision/alexnet?random=2: the option random is there twice; leave one out"),
        ("net:torchvision/alexnet?seed=1",
         "unknown option of a network 'seed'; known are: map, pixels, random."),
        ("net:timm/crossvit_9_240?random=0",
         "no module of timm/crossvit_9_240 gives features with positions; "
         "choose another network"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_answered_with_what_does(address: str, sentence: str) -> None:
    assert refusal(address) == sentence


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
    assert refusal(f"net:{library}/{name}") == sentence


def test_a_network_for_other_channels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = timm.models.PretrainedCfg(input_size=(1, 64, 64))
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: grey)
    assert refusal("net:timm/test_vit") == (
        "timm/test_vit is for images of 1 channels; expected a network for 3"
    )


def test_a_network_that_cannot_be_examined_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no such kernel\nand a second line")

    monkeypatch.setattr(model_libraries.Torchvision, "build", lambda self, name: Faulty())
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


@pytest.mark.usefixtures("reference_weights")
def test_a_file_of_the_trunk_alone_is_enough() -> None:
    kept = set(extractor("net:torchvision/alexnet").state_dict())
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
    tensors = seeded_tensors(library, name, modules)
    if file.endswith(".pth"):
        torch.save(tensors, folder / file)
    else:
        save_file(tensors, folder / file)
    state = extractor(f"net:{library}/{name}@{modules}").state_dict()
    assert {key.removeprefix("network.") for key in state} == set(tensors)
    assert all(torch.equal(state[f"network.{key}"], value) for key, value in tensors.items())


def test_what_the_taps_need_must_be_in_the_file_and_nothing_else(folder: Path) -> None:
    tensors = seeded_tensors("torchvision", "resnet18", "layer1")
    file = folder / "resnet18.safetensors"
    save_file({**tensors, "fc.weight": torch.zeros(3, 3), "other": torch.zeros(1)}, file)
    extractor("net:torchvision/resnet18@layer1")
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
    densenet = seeded_tensors("torchvision", "densenet121", "features.denseblock1.denselayer1")
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): densenet[key]
        for key in densenet
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, folder / "densenet121.pth")
    state = extractor("net:torchvision/densenet121@features.denseblock1.denselayer1").state_dict()
    assert all(torch.equal(state[f"network.{key}"], value) for key, value in densenet.items())
    # a file without a version, of a network that asks for one
    mnasnet = seeded_tensors("torchvision", "mnasnet0_5", "layers.7")
    save_file(mnasnet, folder / "mnasnet0_5.safetensors")
    state = extractor("net:torchvision/mnasnet0_5@layers.7").state_dict()
    assert all(torch.equal(state[f"network.{key}"], value) for key, value in mnasnet.items())


def test_networks_learned_with_another_normalisation_are_given_it(folder: Path) -> None:
    googlenet = torchvision.models.googlenet(weights=None, init_weights=False)
    save_file(dict(googlenet.state_dict()), folder / "googlenet.safetensors")
    trunk = extractor("net:torchvision/googlenet@conv1")
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

"""Metrics that other libraries compute: their numbers, one a pair, and what lacks without them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pmbench.metrics import EXTRAS, Distance, Metric, registered
from pmbench.metrics.builtin.ssim import gaussian
from pmbench.metrics.external import pyiqa as pyiqa_door
from pmbench.metrics.external import torchmetrics as torchmetrics_door
from pmbench.metrics.images import Images
from pmbench.metrics.loading import digest_of, load_metric
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[1]


@cache
def loaded(name: str) -> Distance:
    with torch.inference_mode(False):
        return registered()[name].load(CPU)


def value(distance: Distance, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return distance(Images(x), Images(y))


def smooth(n: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(n, 3, 6, 6, generator=generator)
    return F.interpolate(noise, (side, side), mode="bilinear").clamp(0, 1)


def pair(n: int, side: int) -> tuple[Tensor, Tensor]:
    """Return references, and the same with noise of rising strength."""
    x = smooth(n, side)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    return x, x.lerp(noise, torch.linspace(0.05, 0.4, n).view(n, 1, 1, 1))


def side_of(name: str) -> int:
    return max(64, registered()[name].min_size)


# --- piq ------------------------------------------------------------------------------------------

# name -> function of piq and whether it is computed in float64
PIQ = {
    "fsim": ("fsim", False),
    "fsimc": ("fsim", False),
    "vsi": ("vsi", False),
    "gmsd": ("gmsd", False),
    "ms-gmsd": ("multi_scale_gmsd", False),
    "mdsi": ("mdsi", True),
    "haarpsi": ("haarpsi", False),
    "vifp": ("vif_p", True),
    "sr-sim": ("srsim", True),
    "dss": ("dss", True),
    "iw-ssim": ("information_weighted_ssim", True),
    "ms-ssim": ("multi_scale_ssim", False),
}


@pytest.mark.parametrize("name", PIQ)
def test_a_value_is_piqs_for_that_pair_alone(name: str) -> None:
    import piq

    function, double = PIQ[name]
    call = partial(getattr(piq, function), data_range=1.0, reduction="none")
    if name == "fsim":
        call = partial(call, chromatic=False)
    x, y = pair(3, side_of(name))
    a, b = (v.double() if double else v for v in (x, y))
    # piq takes what is judged first, and the reference second
    theirs = torch.cat([call(b[i : i + 1], a[i : i + 1]) for i in range(3)])
    # float32 sums over a batch are ordered otherwise: some 1e-6 of a value
    torch.testing.assert_close(
        value(loaded(name), x, y), theirs.to(torch.float32), rtol=2e-5, atol=1e-7
    )


def test_every_metric_of_the_table_is_compared() -> None:
    own = {name for name, entry in registered().items() if entry.extra == "piq"}
    assert own == {*PIQ, "pieapp"}


def test_sr_sim_of_a_pair_does_not_depend_on_its_neighbours_as_piqs_does() -> None:
    import piq

    x, y = pair(2, 64)
    x[1] = 0.5 + 0.01 * (x[1] - 0.5)  # its saliency has a range of its own
    alone = value(loaded("sr-sim"), x[:1], y[:1])
    assert torch.equal(value(loaded("sr-sim"), x, y)[:1], alone)
    piqs = piq.srsim(y, x, reduction="none")[:1]
    assert abs(piqs - alone) > 1e-3  # else there would be no reason to take pairs one at a time


def test_vifp_keeps_its_digits_where_float32_cancels() -> None:
    import piq

    x = 0.5 + 0.02 * (smooth(1, 64) - 0.5)
    y = x + 0.002 * (smooth(1, 64, seed=2) - 0.5)
    exact = piq.vif_p(y.double(), x.double(), reduction="none")
    torch.testing.assert_close(value(loaded("vifp"), x, y).double(), exact, rtol=1e-6, atol=0)
    assert abs(piq.vif_p(y, x) / exact - 1) > 1e-4  # what the docstring gives as the reason


def test_a_flat_reference_has_a_vifp_of_1_whatever_it_is_compared_with() -> None:
    flat = torch.full((2, 3, 64, 64), 0.5)
    torch.testing.assert_close(value(loaded("vifp"), flat, smooth(2, 64)), torch.ones(2))


def test_black_pictures_are_alike_to_haarpsi() -> None:
    import piq

    x, y = torch.zeros(3, 3, 32, 32), torch.zeros(3, 3, 32, 32)
    y[1] = 0.5
    x[2] = y[2] = 0.25
    assert piq.haarpsi(y, x, reduction="none")[0] == torch.inf
    found = value(loaded("haarpsi"), x, y)
    # the logistic function and its inverse leave some 1e-6 in float32
    torch.testing.assert_close(found[[0, 2]], torch.ones(2), rtol=1e-5, atol=0)
    torch.testing.assert_close(found[1:2], piq.haarpsi(y[1:2], x[1:2], reduction="none"))


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_iw_ssim_of_a_flat_reference_is_its_limit(grey: float) -> None:
    import piq

    x, y = torch.full((1, 3, 161, 161), grey), smooth(1, 161)
    with pytest.raises(RuntimeError):
        piq.information_weighted_ssim(y.double(), x.double())
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    near = piq.information_weighted_ssim(y.double(), x.double().lerp(noise, 1e-9), reduction="none")
    # ten times nearer to flat and another noise: the docstring promises 1 %
    torch.testing.assert_close(value(loaded("iw-ssim"), x, y).double(), near, rtol=1e-2, atol=0)


def test_iw_ssim_has_no_value_for_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 161).expand(1, 3, 161, 161).contiguous()
    try:
        found = value(loaded("iw-ssim"), ramp, smooth(1, 161))
    except RuntimeError:  # where rounding leaves the covariance exactly singular
        return
    assert not torch.isfinite(found).any()


def test_gmsd_is_its_formula() -> None:
    """Written from the paper: 2×2 means, Prewitt gradients / 3, similarity, standard deviation."""
    x, y = pair(3, 64)

    def gradient(pixels: Tensor) -> Tensor:
        luma = (pixels.double() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, True)
        prewitt = torch.tensor([[1.0, 0, -1]] * 3, dtype=torch.float64) / 3
        kernels = torch.stack([prewitt, prewitt.T])[:, None]
        return F.conv2d(F.avg_pool2d(luma, 2), kernels, padding=1).square().sum(1).sqrt()

    a, b, c = gradient(x), gradient(y), 170 / 255**2
    similarity = (2 * a * b + c) / (a.square() + b.square() + c)
    expected = similarity.flatten(1).std(dim=1, correction=0)
    # 5e-5: piq sums in float32, and a deviation is a difference of near numbers
    torch.testing.assert_close(value(loaded("gmsd"), x, y).double(), expected, rtol=5e-5, atol=1e-7)


def test_ms_ssim_is_its_formula() -> None:
    x, y = (v.double() for v in pair(2, 176))
    window = gaussian(11, 1.5)
    kernel = (window[:, None] * window[None, :]).expand(3, 1, 11, 11)
    weigh = partial(F.conv2d, weight=kernel, groups=3)
    expected = torch.ones(2, 3, dtype=torch.float64)
    for level, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if level:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        mx, my = weigh(x), weigh(y)
        vx, vy, cov = weigh(x * x) - mx * mx, weigh(y * y) - my * my, weigh(x * y) - mx * my
        term = (2 * cov + 0.03**2) / (vx + vy + 0.03**2)
        if level == 4:
            term = term * (2 * mx * my + 0.01**2) / (mx * mx + my * my + 0.01**2)
        expected *= term.mean(dim=(2, 3)) ** weight
    # 2e-5: piq works in float32, where E[x²] - E[x]² cancels
    torch.testing.assert_close(
        value(loaded("ms-ssim"), *pair(2, 176)).double(), expected.mean(1), rtol=2e-5, atol=0
    )


def test_vifp_of_grey_pictures_is_that_of_torchmetrics() -> None:
    x, y = (v.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).contiguous() for v in pair(3, 64))
    other = torchmetrics_door.enter("vif", "vif", {}).load(CPU)
    # theirs in float32, which is what makes it differ
    torch.testing.assert_close(value(loaded("vifp"), x, y), value(other, x, y), rtol=2e-3, atol=0)


@pytest.mark.parametrize("name", ["ms-ssim", "iw-ssim"])
def test_multi_scale_ssim_is_not_defined_on_small_patches(name: str) -> None:
    assert registered()[name].undefined_on(64, 64) == (
        "needs at least 161 pixels a side, got 64×64"
    )


# --- PieAPP ---------------------------------------------------------------------------------------


def made_up_weights(folder: Path) -> Path:
    """Write a file in the form of the official one, with random numbers in it."""
    from piq.pieapp import PieAPPModel

    with torch.device("meta"):
        shapes = {key: v.shape for key, v in PieAPPModel().state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for key, shape in shapes.items():
        fan_in = max(1, shape.numel() // shape[0])
        scale = 0.05 if key.endswith("bias") else (2 / fan_in) ** 0.5
        # each row begins one number later: 62 million weights in a file of half a megabyte
        numbers = torch.randn(fan_in + shape[0], generator=generator) * scale
        strides = [1, *torch.empty(shape[1:], device="meta").stride()]
        tensors[key] = numbers.as_strided(shape, strides)
    tensors["ref_score_subtract.weight"] = tensors["ref_score_subtract.weight"].flatten()
    tensors["fc2_weight.bias"] = tensors["fc2_weight.bias"] + 50  # weights of patches above 0
    torch.save(tensors, folder / "PieAPPv0.1.pth")
    return folder / "PieAPPv0.1.pth"


def test_pieapp_is_piqs_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import piq

    checkpoints = tmp_path / "hub" / "checkpoints"  # where piq looks before it fetches
    checkpoints.mkdir(parents=True)
    made_up_weights(checkpoints)
    monkeypatch.setenv("PMBENCH_WEIGHTS", str(checkpoints))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    ours = load_metric(registered()["pieapp"], CPU, Silent())
    x, y = pair(2, 91)  # four patches each
    theirs = piq.PieAPP(reduction="none")(y, x)
    assert theirs[0] != theirs[1]
    # one network in the same order of operations
    torch.testing.assert_close(value(ours.distance, x, y), theirs, rtol=1e-5, atol=1e-7)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours.distance(Images(a), Images(b)).sum().backward()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()
    with pytest.raises(AssertionError):
        value(ours.distance, *pair(1, 63))


def test_pieapp_without_its_weights_says_where_to_put_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    with pytest.raises(PmbenchError) as caught:
        load_metric(registered()["pieapp"], CPU, Silent())
    assert str(caught.value) == (
        "the weights 'pieapp' are not on this machine and cannot be fetched (PieAPPv0.1.pth is not "
        f"in {home / 'weights'} and PMBENCH_OFFLINE is set; fetch "
        "https://github.com/photosynthesis-team/piq/releases/download/v0.5.4/PieAPPv0.1.pth where "
        "there is a network and put it there); put PieAPPv0.1.pth or pieapp.safetensors into a "
        "folder and name it with --weights or PMBENCH_WEIGHTS"
    )


def test_a_file_that_is_not_pieapps_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"conv1.weight": torch.zeros(2, 3, 3, 3)}, tmp_path / "pieapp.pth")
    monkeypatch.setenv("PMBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(PmbenchError) as caught:
        load_metric(registered()["pieapp"], CPU, Silent())
    assert str(caught.value) == (
        f"{tmp_path / 'pieapp.pth'}: the weights 'pieapp' need a tensor 'conv1.weight' of shape "
        "(64, 3, 3, 3), got shape (2, 3, 3, 3); is it another network's file?"
    )


# --- FLIP and ColorVideoVDP -----------------------------------------------------------------------


def test_flip_is_the_packages_mean_under_its_own_viewing_conditions() -> None:
    import flip_evaluator

    x, y = pair(3, 64)
    for i, found in enumerate(value(loaded("flip"), x, y)):
        a, b = (v[i].permute(1, 2, 0).contiguous().numpy() for v in (x, y))
        _, mean, conditions = flip_evaluator.evaluate(a, b, "LDR", applyMagma=False)
        # the package sums in float32
        assert float(found) == pytest.approx(mean, rel=1e-5)
        assert registered()["flip"].parameters["pixels_per_degree"] == pytest.approx(
            conditions["ppd"],
            rel=1e-6,  # it is a float32 there
        )


def test_cvvdp_is_the_packages_prediction_for_each_pair() -> None:
    import pycvvdp

    model = pycvvdp.cvvdp(display_name="standard_4k", device=CPU, quiet=True)
    x, y = pair(3, 64)
    theirs = torch.stack(
        [model.predict(y[i], x[i], dim_order="CHW")[0].reshape(()) for i in range(3)]
    )
    # JOD are about 10, in float32
    torch.testing.assert_close(value(loaded("cvvdp"), x, y), theirs, rtol=1e-6, atol=0)
    assert value(loaded("cvvdp"), x[:1], x[:1]).tolist() == [10.0]  # no visible difference


def test_cvvdp_serves_gradients_after_it_was_used_without() -> None:
    distance = registered()["cvvdp"].load(CPU)
    x, y = pair(1, 48)
    with torch.inference_mode():
        distance(Images(x), Images(y))
    x.requires_grad_()
    distance(Images(x), Images(y)).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0


def test_cvvdp_does_not_warn_of_dark_pictures(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import pycvvdp

    dark = torch.zeros(1, 3, 32, 32)
    pycvvdp.cvvdp(device=CPU, quiet=True).predict(dark, dark, dim_order="BCHW")
    assert "The mean color value is less than 1" in caplog.text
    caplog.clear()
    capfd.readouterr()
    value(loaded("cvvdp"), dark, dark)
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_other_constants_of_cvvdp_are_another_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pycvvdp

    entry = registered()["cvvdp"]
    before = digest_of(entry, loaded("cvvdp"))
    shipped = Path(pycvvdp.__file__).parent / "vvdp_data" / "cvvdp_parameters.json"
    constants = json.loads(shipped.read_text())
    constants["jod_a"] *= 2
    (tmp_path / shipped.name).write_text(json.dumps(constants))
    monkeypatch.setenv("CVVDP_PATH", str(tmp_path))  # where the package looks first
    assert digest_of(entry, entry.load(CPU)) != before


# --- torchmetrics ---------------------------------------------------------------------------------


def through_torchmetrics(name: str) -> Metric:
    return torchmetrics_door.enter(f"torchmetrics:{name}", name, {})


TORCHMETRICS = sorted(torchmetrics_door._FUNCTIONS)


@pytest.mark.parametrize("name", TORCHMETRICS)
def test_torchmetrics_judges_each_pair_alone(name: str) -> None:
    entry = through_torchmetrics(name)
    distance = entry.load(CPU)
    x, y = pair(3, max(64, entry.min_size))
    together = value(distance, x, y)
    assert together.shape == (3,)
    assert len(set(together.tolist())) == 3  # and no mean of them
    alone = [value(distance, x[i : i + 1], y[i : i + 1]) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", TORCHMETRICS)
def test_the_direction_and_symmetry_are_as_the_table_says(name: str) -> None:
    entry = through_torchmetrics(name)
    distance = entry.load(CPU)
    sign = -1 if entry.higher_is_better else 1
    x = smooth(2, max(64, entry.min_size))
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    little, much = (x.lerp(noise, strength) for strength in (0.05, 0.8))
    assert (sign * value(distance, x, little) < sign * value(distance, x, much)).all()
    forth, back = value(distance, x, much), value(distance, much, x)
    assert torch.allclose(forth, back, rtol=1e-4) == entry.symmetric


@pytest.mark.parametrize("name", TORCHMETRICS)
def test_the_smallest_size_of_torchmetrics_is_told_truly(name: str) -> None:
    entry = through_torchmetrics(name)
    distance = entry.load(CPU)
    assert torch.isfinite(value(distance, *pair(2, entry.min_size))).all()
    if entry.min_size == 1:
        return
    try:
        found = value(distance, *pair(2, entry.min_size - 1))
    except (RuntimeError, ValueError):
        return
    assert not torch.isfinite(found).any()


def test_psnr_of_torchmetrics_is_ours() -> None:
    x, y = pair(3, 64)
    theirs = value(through_torchmetrics("psnr").load(CPU), x, y)
    torch.testing.assert_close(theirs, value(loaded("psnr"), x, y), rtol=1e-6, atol=0)


def test_a_function_of_torchmetrics_may_be_called_by_its_full_name() -> None:
    full = through_torchmetrics("structural_similarity_index_measure")
    short = through_torchmetrics("ssim")
    assert full.name == "torchmetrics:structural_similarity_index_measure"
    assert full.parameters == short.parameters
    assert (full.licence, full.higher_is_better, full.min_size) == ("Apache-2.0", True, 6)


def test_a_name_that_torchmetrics_does_not_have_is_answered_with_close_ones() -> None:
    with pytest.raises(PmbenchError) as caught:
        through_torchmetrics("msssim")
    assert str(caught.value) == (
        "unknown metric of torchmetrics 'msssim'; did you mean ms_ssim or ssim?"
    )


@pytest.mark.parametrize("door", ["torchmetrics", "pyiqa"])
def test_doors_to_libraries_take_no_options(door: str) -> None:
    enter = {"torchmetrics": torchmetrics_door.enter, "pyiqa": pyiqa_door.enter}[door]
    with pytest.raises(PmbenchError) as caught:
        enter("x", "ssim", {"window": "7"})
    assert str(caught.value) == f"{door}:ssim takes no options; leave ?window=… out"


# --- pyiqa ----------------------------------------------------------------------------------------


def through_pyiqa(name: str) -> Metric:
    pytest.importorskip("pyiqa", reason="needs the package pyiqa")
    return pyiqa_door.enter(f"pyiqa:{name}", name, {})


@pytest.mark.parametrize(
    ("name", "ours", "tolerance"),
    [
        # another implementation, which rounds otherwise
        ("fsim", "fsimc", 1e-5),
        ("vsi", "vsi", 1e-5),
        # it adds 1e-8 to the squared error
        ("psnr", "psnr", 1e-2),
    ],
)
def test_pyiqas_implementation_agrees_with_ours(name: str, ours: str, tolerance: float) -> None:
    entry = through_pyiqa(name)
    x, y = pair(3, 64)
    theirs = value(load_metric(entry, CPU, Silent()).distance, x, y)
    torch.testing.assert_close(theirs, value(loaded(ours), x, y), rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", ["ssimc", "gmsd", "nlpd", "mad", "cw_ssim"])
def test_pyiqa_judges_each_pair_alone_in_its_direction(name: str) -> None:
    entry = through_pyiqa(name)
    distance = load_metric(entry, CPU, Silent()).distance
    x, y = pair(3, 64)
    together = value(distance, x, y)
    assert torch.equal(
        together, torch.cat([value(distance, x[i : i + 1], y[i : i + 1]) for i in range(3)])
    )
    sign = -1 if entry.higher_is_better else 1
    same = value(distance, x, x)
    assert (sign * same <= sign * together).all()
    assert sign * same[2] < sign * together[2]  # to MAD the weakest noise cannot be seen
    assert entry.higher_is_better == (name in ("ssimc", "cw_ssim"))


def test_what_pyiqa_does_not_have_is_answered_in_a_sentence() -> None:
    with pytest.raises(PmbenchError) as caught:
        through_pyiqa("fsmi")
    assert str(caught.value) == (
        "unknown metric of pyiqa 'fsmi'; did you mean fsim or vsi or ssim?"
    )
    with pytest.raises(PmbenchError) as caught:
        through_pyiqa("niqe")
    assert str(caught.value) == (
        "pyiqa:niqe judges one picture, without a reference, and pmbench compares two; choose one "
        "of those that pyiqa.list_models('FR') names"
    )


_UNREACHABLE = """
import torch
from pmbench.metrics.external.pyiqa import enter
from pmbench.utils.errors import PmbenchError
from pmbench.metrics.loading import load_metric
from pmbench.utils.progress import Silent

try:
    load_metric(enter("x", "wadiqam_fr", {}), torch.device("cpu"), Silent())
except PmbenchError as error:
    print(error)
"""


def test_pyiqa_without_a_network_says_which_caches_to_bring(tmp_path: Path) -> None:
    pytest.importorskip("pyiqa", reason="needs the package pyiqa")
    nowhere = {"https_proxy": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _UNREACHABLE],
        env=os.environ | nowhere | {"TORCH_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "pyiqa cannot fetch the weights of wadiqam_fr (<urlopen error [Errno 111] Connection "
        "refused>); run it once where there is a network, and copy the caches of torch.hub and of "
        "Hugging Face from there\n"
    )


# --- DreamSim -------------------------------------------------------------------------------------


def test_dreamsim_without_its_weights_says_how_to_get_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dreamsim", reason="needs the package dreamsim")
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    with pytest.raises(PmbenchError) as caught:
        load_metric(registered()["dreamsim"], CPU, Silent())
    assert str(caught.value) == (
        f"the weights of DreamSim are not all in {home / 'weights' / 'dreamsim'} and cannot be "
        "fetched (PMBENCH_OFFLINE is set); where there is a network, call "
        "dreamsim.dreamsim(device='cpu', cache_dir='models') in Python, and copy what is then in "
        "the folder models there"
    )


# --- without the libraries ------------------------------------------------------------------------

_WITHOUT = """
import json, torch
from pmbench.metrics.external import pyiqa
from pmbench.metrics.external import torchmetrics
from pmbench.utils.errors import PmbenchError
from pmbench.metrics.loading import load_metric
from pmbench.metrics import registered
from pmbench.utils.progress import Silent

tried = [entry for entry in registered().values() if entry.extra or entry.family == "broken"]
tried.append(pyiqa.enter("pyiqa:ssim", "ssim", {}))
tried.append(torchmetrics.enter("torchmetrics:ssim", "ssim", {}))
told = {}
for entry in tried:
    try:
        load_metric(entry, torch.device("cpu"), Silent())
    except PmbenchError as error:
        told[entry.name] = [entry.extra, str(error)]
print(json.dumps(told))
"""


def test_what_is_not_installed_fails_alone_and_says_what_to_install(tmp_path: Path) -> None:
    for place in dict.fromkeys(entry for entry in sys.path if entry.endswith("-packages")):
        for entry in Path(place).iterdir():
            if entry.name not in EXTRAS.values() and not (tmp_path / entry.name).exists():
                (tmp_path / entry.name).symlink_to(entry)
    path = os.pathsep.join((str(ROOT), str(tmp_path)))
    done = subprocess.run(
        [sys.executable, "-S", "-c", _WITHOUT],  # -S: nothing but that path is searched
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert {*PIQ, "pieapp", "flip", "cvvdp", "dreamsim"} <= told.keys()
    assert {"pyiqa:ssim", "torchmetrics:ssim"} <= told.keys()
    for extra, sentence in told.values():
        assert sentence == (
            f"needs the package {EXTRAS[extra]}, which is not installed; "
            f"run: pip install 'pmbench[{extra}]'"
        )

"""Metrics that piq computes: their numbers, one a pair."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from support.laws import loaded
from support.libraries import CPU, PIQ, measure, pair, smooth
from support.refusals import message_of
from torch import Tensor
from torch.nn import functional as F

from pmbench.metrics import registered
from pmbench.metrics.builtin.ssim import gaussian
from pmbench.metrics.external import torchmetrics as torchmetrics_door
from pmbench.metrics.images import Images
from pmbench.metrics.loading import load_metric
from pmbench.utils.progress import Silent


def side_of(name: str) -> int:
    return max(64, registered()[name].min_size)


# --- piq ------------------------------------------------------------------------------------------


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
        measure(loaded(name), x, y), theirs.to(torch.float32), rtol=2e-5, atol=1e-7
    )


def test_every_metric_of_the_table_is_compared() -> None:
    own = {name for name, entry in registered().items() if entry.extra == "piq"}
    assert own == {*PIQ, "pieapp"}


def test_sr_sim_of_a_pair_does_not_depend_on_its_neighbours_as_piqs_does() -> None:
    import piq

    x, y = pair(2, 64)
    x[1] = 0.5 + 0.01 * (x[1] - 0.5)  # its saliency has a range of its own
    alone = measure(loaded("sr-sim"), x[:1], y[:1])
    assert torch.equal(measure(loaded("sr-sim"), x, y)[:1], alone)
    piqs = piq.srsim(y, x, reduction="none")[:1]
    assert abs(piqs - alone) > 1e-3  # else there would be no reason to take pairs one at a time


def test_vifp_keeps_its_digits_where_float32_cancels() -> None:
    import piq

    x = 0.5 + 0.02 * (smooth(1, 64) - 0.5)
    y = x + 0.002 * (smooth(1, 64, seed=2) - 0.5)
    exact = piq.vif_p(y.double(), x.double(), reduction="none")
    torch.testing.assert_close(measure(loaded("vifp"), x, y).double(), exact, rtol=1e-6, atol=0)
    assert abs(piq.vif_p(y, x) / exact - 1) > 1e-4  # what the docstring gives as the reason


def test_a_flat_reference_has_a_vifp_of_1_whatever_it_is_compared_with() -> None:
    flat = torch.full((2, 3, 64, 64), 0.5)
    torch.testing.assert_close(measure(loaded("vifp"), flat, smooth(2, 64)), torch.ones(2))


def test_black_pictures_are_alike_to_haarpsi() -> None:
    import piq

    x, y = torch.zeros(3, 3, 32, 32), torch.zeros(3, 3, 32, 32)
    y[1] = 0.5
    x[2] = y[2] = 0.25
    assert piq.haarpsi(y, x, reduction="none")[0] == torch.inf
    result = measure(loaded("haarpsi"), x, y)
    # the logistic function and its inverse leave some 1e-6 in float32
    torch.testing.assert_close(result[[0, 2]], torch.ones(2), rtol=1e-5, atol=0)
    torch.testing.assert_close(result[1:2], piq.haarpsi(y[1:2], x[1:2], reduction="none"))
    # as a network gives them that ends in a sigmoid
    nearly = torch.sigmoid(torch.linspace(-90, -20, 3 * 32 * 32).view(1, 3, 32, 32))
    black = torch.zeros(1, 3, 32, 32)
    torch.testing.assert_close(
        measure(loaded("haarpsi"), black, nearly), torch.ones(1), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_iw_ssim_of_a_flat_reference_is_its_limit(grey: float) -> None:
    import piq

    x, y = torch.full((1, 3, 161, 161), grey), smooth(1, 161)
    with pytest.raises(RuntimeError):
        piq.information_weighted_ssim(y.double(), x.double())
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    near = piq.information_weighted_ssim(y.double(), x.double().lerp(noise, 1e-9), reduction="none")
    # ten times nearer to flat and another noise: the docstring promises 1 %
    torch.testing.assert_close(measure(loaded("iw-ssim"), x, y).double(), near, rtol=1e-2, atol=0)


def test_iw_ssim_has_no_value_for_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 161).expand(1, 3, 161, 161).contiguous()
    try:
        result = measure(loaded("iw-ssim"), ramp, smooth(1, 161))
    except RuntimeError:  # where rounding leaves the covariance exactly singular
        return
    assert not torch.isfinite(result).any()


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
    torch.testing.assert_close(
        measure(loaded("gmsd"), x, y).double(), expected, rtol=5e-5, atol=1e-7
    )


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
        measure(loaded("ms-ssim"), *pair(2, 176)).double(), expected.mean(1), rtol=2e-5, atol=0
    )


def test_vifp_of_grey_pictures_is_that_of_torchmetrics() -> None:
    x, y = (v.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).contiguous() for v in pair(3, 64))
    other = torchmetrics_door.resolve("vif", "vif", {}).load(CPU)
    # theirs in float32, which is what makes it differ
    torch.testing.assert_close(
        measure(loaded("vifp"), x, y), measure(other, x, y), rtol=2e-3, atol=0
    )


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
    torch.testing.assert_close(measure(ours.distance, x, y), theirs, rtol=1e-5, atol=1e-7)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours.distance(Images(a), Images(b)).sum().backward()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()
    with pytest.raises(AssertionError):
        measure(ours.distance, *pair(1, 63))


def test_pieapp_without_its_weights_says_where_to_put_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    assert message_of(load_metric, registered()["pieapp"], CPU, Silent()) == (
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
    assert message_of(load_metric, registered()["pieapp"], CPU, Silent()) == (
        f"{tmp_path / 'pieapp.pth'}: the weights 'pieapp' need a tensor 'conv1.weight' of shape "
        "(64, 3, 3, 3), got shape (2, 3, 3, 3); is it another network's file?"
    )

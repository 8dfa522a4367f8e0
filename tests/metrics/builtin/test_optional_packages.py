"""Metrics that other libraries compute: their numbers, one a pair, and what lacks without them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.laws import loaded
from support.libraries import CPU, PIQ, measure, pair, smooth
from support.paths import REPOSITORY
from support.refusals import message_of

from pmbench.metrics import EXTRAS, Metric, registered
from pmbench.metrics.external import pyiqa as pyiqa_door
from pmbench.metrics.external import torchmetrics as torchmetrics_door
from pmbench.metrics.images import Images
from pmbench.metrics.loading import load_metric, metric_digest
from pmbench.utils.progress import Silent

# --- FLIP and ColorVideoVDP -----------------------------------------------------------------------


def test_flip_is_the_packages_mean_under_its_own_viewing_conditions() -> None:
    import flip_evaluator

    x, y = pair(3, 64)
    for i, result in enumerate(measure(loaded("flip"), x, y)):
        a, b = (v[i].permute(1, 2, 0).contiguous().numpy() for v in (x, y))
        _, mean, conditions = flip_evaluator.evaluate(a, b, "LDR", applyMagma=False)
        # the package sums in float32
        assert float(result) == pytest.approx(mean, rel=1e-5)
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
    torch.testing.assert_close(measure(loaded("cvvdp"), x, y), theirs, rtol=1e-6, atol=0)
    assert measure(loaded("cvvdp"), x[:1], x[:1]).tolist() == [10.0]  # no visible difference


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
    measure(loaded("cvvdp"), dark, dark)
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_other_constants_of_cvvdp_are_another_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pycvvdp

    entry = registered()["cvvdp"]
    before = metric_digest(entry, loaded("cvvdp"))
    shipped = Path(pycvvdp.__file__).parent / "vvdp_data" / "cvvdp_parameters.json"
    constants = json.loads(shipped.read_text())
    constants["jod_a"] *= 2
    (tmp_path / shipped.name).write_text(json.dumps(constants))
    monkeypatch.setenv("CVVDP_PATH", str(tmp_path))  # where the package looks first
    assert metric_digest(entry, entry.load(CPU)) != before


# --- torchmetrics ---------------------------------------------------------------------------------


def through_torchmetrics(name: str) -> Metric:
    return torchmetrics_door.resolve(f"torchmetrics:{name}", name, {})


TORCHMETRICS = sorted(torchmetrics_door._FUNCTIONS)


@pytest.mark.parametrize("name", TORCHMETRICS)
def test_torchmetrics_judges_each_pair_alone(name: str) -> None:
    entry = through_torchmetrics(name)
    distance = entry.load(CPU)
    x, y = pair(3, max(64, entry.min_size))
    together = measure(distance, x, y)
    assert together.shape == (3,)
    assert len(set(together.tolist())) == 3  # and no mean of them
    alone = [measure(distance, x[i : i + 1], y[i : i + 1]) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", TORCHMETRICS)
def test_the_direction_and_symmetry_are_as_the_table_says(name: str) -> None:
    entry = through_torchmetrics(name)
    distance = entry.load(CPU)
    sign = -1 if entry.higher_is_better else 1
    x = smooth(2, max(64, entry.min_size))
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    little, much = (x.lerp(noise, strength) for strength in (0.05, 0.8))
    assert (sign * measure(distance, x, little) < sign * measure(distance, x, much)).all()
    forth, back = measure(distance, x, much), measure(distance, much, x)
    assert torch.allclose(forth, back, rtol=1e-4) == entry.symmetric


@pytest.mark.parametrize("name", TORCHMETRICS)
def test_the_smallest_size_of_torchmetrics_is_told_truly(name: str) -> None:
    entry = through_torchmetrics(name)
    distance = entry.load(CPU)
    assert torch.isfinite(measure(distance, *pair(2, entry.min_size))).all()
    if entry.min_size == 1:
        return
    try:
        result = measure(distance, *pair(2, entry.min_size - 1))
    except (RuntimeError, ValueError):
        return
    assert not torch.isfinite(result).any()


def test_psnr_of_torchmetrics_is_ours() -> None:
    x, y = pair(3, 64)
    theirs = measure(through_torchmetrics("psnr").load(CPU), x, y)
    torch.testing.assert_close(theirs, measure(loaded("psnr"), x, y), rtol=1e-6, atol=0)


def test_a_function_of_torchmetrics_may_be_called_by_its_full_name() -> None:
    full = through_torchmetrics("structural_similarity_index_measure")
    short = through_torchmetrics("ssim")
    assert full.name == "torchmetrics:structural_similarity_index_measure"
    assert full.parameters == short.parameters
    assert (full.licence, full.higher_is_better, full.min_size) == ("Apache-2.0", True, 6)


def test_a_name_that_torchmetrics_does_not_have_is_answered_with_close_ones() -> None:
    assert message_of(through_torchmetrics, "msssim") == (
        "unknown metric of torchmetrics 'msssim'; did you mean ms_ssim or ssim?"
    )


@pytest.mark.parametrize("door", ["torchmetrics", "pyiqa"])
def test_doors_to_libraries_take_no_options(door: str) -> None:
    resolve = {"torchmetrics": torchmetrics_door.resolve, "pyiqa": pyiqa_door.resolve}[door]
    message = message_of(resolve, "x", "ssim", {"window": "7"})
    assert message == f"{door}:ssim takes no options; leave ?window=… out"


# --- pyiqa ----------------------------------------------------------------------------------------


def through_pyiqa(name: str) -> Metric:
    pytest.importorskip("pyiqa", reason="needs the package pyiqa")
    return pyiqa_door.resolve(f"pyiqa:{name}", name, {})


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
    theirs = measure(load_metric(entry, CPU, Silent()).distance, x, y)
    torch.testing.assert_close(theirs, measure(loaded(ours), x, y), rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", ["ssimc", "gmsd", "nlpd", "mad", "cw_ssim"])
def test_pyiqa_judges_each_pair_alone_in_its_direction(name: str) -> None:
    entry = through_pyiqa(name)
    distance = load_metric(entry, CPU, Silent()).distance
    x, y = pair(3, 64)
    together = measure(distance, x, y)
    assert torch.equal(
        together, torch.cat([measure(distance, x[i : i + 1], y[i : i + 1]) for i in range(3)])
    )
    sign = -1 if entry.higher_is_better else 1
    same = measure(distance, x, x)
    assert (sign * same <= sign * together).all()
    assert sign * same[2] < sign * together[2]  # to MAD the weakest noise cannot be seen
    assert entry.higher_is_better == (name in ("ssimc", "cw_ssim"))


def test_what_pyiqa_does_not_have_is_answered_in_a_sentence() -> None:
    assert message_of(through_pyiqa, "fsmi") == (
        "unknown metric of pyiqa 'fsmi'; did you mean fsim or vsi or ssim?"
    )
    assert message_of(through_pyiqa, "niqe") == (
        "pyiqa:niqe judges one image, without a reference, and pmbench compares two; choose one "
        "of those that pyiqa.list_models('FR') names"
    )


_UNREACHABLE = """
import torch
from pmbench.metrics.external.pyiqa import resolve
from pmbench.utils.errors import PmbenchError
from pmbench.metrics.loading import load_metric
from pmbench.utils.progress import Silent

try:
    load_metric(resolve("x", "wadiqam_fr", {}), torch.device("cpu"), Silent())
except PmbenchError as error:
    print(error)
"""


def test_pyiqa_without_a_network_says_which_caches_to_bring(tmp_path: Path) -> None:
    pytest.importorskip("pyiqa", reason="needs the package pyiqa")
    nowhere = {"https_proxy": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _UNREACHABLE],
        env=os.environ | nowhere | {"TORCH_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
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
    assert message_of(load_metric, registered()["dreamsim"], CPU, Silent()) == (
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
tried.append(pyiqa.resolve("pyiqa:ssim", "ssim", {}))
tried.append(torchmetrics.resolve("torchmetrics:ssim", "ssim", {}))
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
    path = os.pathsep.join((str(REPOSITORY), str(tmp_path)))
    done = subprocess.run(
        [sys.executable, "-S", "-c", _WITHOUT],  # -S: nothing but that path is searched
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    output = json.loads(done.stdout)
    assert {*PIQ, "pieapp", "flip", "cvvdp", "dreamsim"} <= output.keys()
    assert {"pyiqa:ssim", "torchmetrics:ssim"} <= output.keys()
    for extra, sentence in output.values():
        assert sentence == (
            f"needs the package {EXTRAS[extra]}, which is not installed; "
            f"run: pip install 'pmbench[{extra}]'"
        )

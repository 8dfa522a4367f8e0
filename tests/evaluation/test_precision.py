"""`--precision`: networks compute more roughly, everything else stays as it is."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from support.cli import one_line, pmbench

from pmbench.metrics import registered
from pmbench.metrics.images import Images
from pmbench.metrics.loading import load_metric
from pmbench.utils.devices import (
    check_precision,
    network_dtype,
    network_precision,
    use_exact_arithmetic,
)
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

CPU = torch.device("cpu")
DEEP, PLAIN = "net-squeeze-random", "l1"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results on a part of the built-in data, in float32 and in bfloat16."""
    folder = tmp_path_factory.mktemp("precisions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PMBENCH_HOME", str(folder / "home"))
        patch.chdir(folder)
        words = ["eval", "-m", f"{DEEP},{PLAIN}", "-d", "ladder-2afc", "--limit", "6"]
        for more in ([], ["--precision", "bf16"]):
            pmbench(*words, *more)
    return folder / "results"


def distances(folder: Path, metric: str) -> np.ndarray:
    with h5py.File(folder / metric / "distances.h5") as file:
        return file["distances"][:]


def test_a_run_in_another_precision_stands_beside_the_usual_one(measured: Path) -> None:
    usual, rough = measured / "ladder-2afc@first6", measured / "ladder-2afc@first6,bf16"
    signature = json.loads((rough / DEEP / "run.json").read_text())["signature"]
    assert signature.partition(" || ")[0].endswith("|macro|bf16")
    exact = distances(usual, DEEP)
    off = distances(rough, DEEP) / exact - 1
    # 8 bits of every factor: 0.2 % of a feature, and more of what two similar images differ in
    assert 1e-6 < np.median(np.abs(off)) < 0.01
    assert np.max(np.abs(off)) < 0.1
    assert np.array_equal(distances(usual, PLAIN), distances(rough, PLAIN))  # no network in it
    ties = len(np.unique(exact)), len(np.unique(distances(rough, DEEP)))
    assert ties[0] == ties[1]  # the distances themselves are not rounded to 8 bits


def test_compare_shows_how_far_they_are_apart(
    measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(measured.parent)
    monkeypatch.setenv("COLUMNS", "100")
    result = pmbench("compare", "--precision", "bf16")
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert rows[PLAIN][-2:] == ["none", "0"]
    assert int(rows[DEEP][-1]) > 60
    assert "other score: of the run in fp32" in one_line(result.stdout)
    one = pmbench("compare", DEEP, "--precision", "bf16", "--json")
    (results,) = json.loads(one.stdout)["comparisons"]
    assert (results["differences"][0]["a"], results["differences"][0]["b"]) == (
        DEEP,
        f"{DEEP} (fp32)",
    )
    assert 0 < results["drift"]["largest"] < 0.1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--precision", "fp16"], "unknown precision of a run 'fp16'; did you mean bf16?"),
        (["--precision", "fp32"],
         "--precision fp32 is what runs are held against; name another one, such as bf16"),
        (["--precision", "bf16", "--against", "old"],
         "--precision and --against are two comparisons; ask for one of them"),
        (["--precision", "bf16", "--results", "rough"],
         "there are no runs of the same metrics in float32; make some with `pmbench eval` "
         "without --precision"),
        (["--precision", "bf16", "--results", "usual"],
         "there are no runs in bf16; make some with `pmbench eval --precision bf16`"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(
    words: list[str], sentence: str, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(measured, tmp_path / "results")
    for name, variant in [("rough", "first6,bf16"), ("usual", "first6")]:
        folder = f"ladder-2afc@{variant}"
        shutil.copytree(measured / folder, tmp_path / name / folder)
    monkeypatch.chdir(tmp_path)
    result = pmbench("compare", *words, code=2)
    assert sentence in one_line(result.stderr)


def test_a_repeated_run_has_its_precision(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(measured.parent)
    shown = pmbench("show", f"ladder-2afc@first6,bf16/{DEEP}")
    assert f"eval --metric {DEEP}" in one_line(shown.stdout)
    assert "--precision bf16" in one_line(shown.stdout)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", [DEEP, "net-alex-random", "vgg-loss-random"])
def test_identical_images_score_best_in_every_precision(name: str, precision: str) -> None:
    metric = load_metric(registered()[name], CPU, Silent())
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    other = (pixels + 0.02 * torch.rand(3, 3, 32, 32)).clamp(0, 1)
    images = Images(torch.cat([pixels, other]))
    x, y = (images.pick(torch.arange(3) + start) for start in (0, 3))
    with network_precision(precision), torch.inference_mode():
        assert metric.distance(x, x).tolist() == [0.0] * 3
        result = metric.distance(x, y)
    assert result.dtype == torch.float32
    assert (result > 0).all()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", [DEEP, "vgg-loss-random"])
def test_a_metric_is_a_loss_in_fewer_bits_too(name: str, precision: str) -> None:
    metric = load_metric(registered()[name], CPU, Silent())
    with network_precision(precision), torch.inference_mode():  # the filters are cast here first
        metric.distance(Images(torch.rand(1, 3, 32, 32)), Images(torch.rand(1, 3, 32, 32)))
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    with network_precision(precision):
        metric.distance(Images(x), Images(torch.rand(1, 3, 32, 32))).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0


def test_precision_ends_with_what_it_is_for() -> None:
    with suppress(ZeroDivisionError), network_precision("bf16"):
        assert network_dtype() == torch.bfloat16
        raise ZeroDivisionError
    assert network_dtype() == torch.float32
    with network_precision("tf32"):
        assert torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"
    use_exact_arithmetic()


def test_precisions_that_there_are_not() -> None:
    with pytest.raises(PmbenchError, match="unknown precision 'bf17'; did you mean bf16"):
        check_precision("bf17", CPU)
    with pytest.raises(PmbenchError, match="tf32 is a rounding of NVIDIA's GPUs, and the device"):
        check_precision("tf32", CPU)
    for precision in ("fp32", "bf16", "fp16"):
        check_precision(precision, CPU)

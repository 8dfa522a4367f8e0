"""``pmbench verify``: other people's numbers beside ours, and what is said where they differ."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from support.cli import one_line, pmbench
from support.factories import triplets, write_tree
from support.paths import REPOSITORY, TESTS
from torch import Tensor

from pmbench import metrics as registry
from pmbench.evaluation import reference_implementations, reference_values, verify
from pmbench.evaluation.reference_values import (
    DEEP,
    ILL_CONDITIONED,
    PACKAGES,
    PLAIN,
    Package,
    Tolerance,
)
from pmbench.evaluation.verify import Comparison
from pmbench.metrics import registered
from pmbench.metrics.images import Images
from pmbench.utils.devices import use_exact_arithmetic
from pmbench.utils.progress import Silent

pytestmark = pytest.mark.usefixtures("empty_folder")

CPU = torch.device("cpu")
WAY = (
    "needs the BAPPS validation triplets; get them with `pmbench download bapps-2afc-val`, "
    "or name a copy with --triplets"
)


@pytest.fixture
def archive(shared: Path) -> Path:
    return shared / "twoafc_val_sample.tar.gz"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., Tensor]], None]:
    """Return a function that puts another computation under a registered name, for one test."""
    known = registered()

    def plant(name: str, function: Callable[[Images, Images], Tensor]) -> None:
        entry = replace(known[name], load=lambda device: function)
        monkeypatch.setitem(registry._registry, name, entry)

    return plant


def compared(*names: str, triplets: Path | None = None) -> dict[tuple[str, str], Comparison]:
    """Return what came of each metric, by (metric, referee)."""
    use_exact_arithmetic()
    chosen = [registered()[name] for name in names]
    comparisons = verify.verify(chosen, triplets, CPU, Silent())
    return {(one.metric, one.referee): one for one in comparisons}


# --- how close is close ---------------------------------------------------------------------------


def test_a_tolerance_is_a_share_of_numbers_within_a_difference() -> None:
    mostly = Tolerance(((0.5, 0.1), (0.9, 1.0)), "for a test")
    assert mostly.holds(np.array([0.1] * 5 + [1.0] * 4 + [99.0]))
    assert not mostly.holds(np.array([0.1] * 4 + [1.0] * 5 + [99.0]))  # four of ten within 0.1
    assert not mostly.holds(np.array([0.1] * 8 + [99.0] * 2))  # eight of ten within 1
    assert mostly.holds(np.array([0.1, 1.0]))  # half of two is one, 90 % of them are two
    assert not mostly.holds(np.array([0.1, 1.1]))
    every = Tolerance(((1.0, 0.1),), "for a test")
    assert every.holds(np.array([0.1, 0.0]))
    assert not every.holds(np.array([0.11, 0.0]))
    assert not every.holds(np.array([np.nan, 0.0]))
    assert not every.holds(np.array([]))


def test_tolerances_are_told_in_words() -> None:
    assert str(PLAIN) == "5e-6"
    assert str(DEEP) == "2e-5"
    assert str(ILL_CONDITIONED) == "50% within 1e-6, 90% within 1e-5"


def test_every_package_is_asked_about_a_registered_metric() -> None:
    for entry in PACKAGES:
        assert entry.metric in registered()
        assert callable(getattr(reference_implementations, entry.function))
    assert len({(entry.metric, entry.package) for entry in PACKAGES}) == len(PACKAGES)


def test_the_golden_numbers_are_found_in_the_checkout_and_in_a_wheel(tmp_path: Path) -> None:
    assert reference_values.golden_file() == TESTS / "golden" / "bapps_sample.json"
    pyproject = (REPOSITORY / "pyproject.toml").read_text()
    assert '"tests/golden/bapps_sample.json" = "pmbench/golden/bapps_sample.json"' in pyproject


# --- the authors' numbers -------------------------------------------------------------------------


def test_metrics_agree_with_their_authors_on_real_triplets(
    archive: Path, reference_weights: Path
) -> None:
    """One metric of each tolerance; test_golden compares them all."""
    comparisons = compared("l1", "net-alex", "watson-dft", triplets=archive)
    for name, key in (
        ("l1", "ariel/L1"),
        ("net-alex", "lpips/alex-baseline"),
        ("watson-dft", "czolbe/Watson-fft-RGB"),
    ):
        one = comparisons[name, "authors"]
        assert (one.verdict, one.version, one.n, one.reason) == ("agrees", key, 126, "")
        assert one.tolerance == reference_values.GOLDEN[key].tolerance
        assert 0 < one.largest < 0.02


def test_a_folder_an_archive_and_a_download_are_the_same(archive: Path, shared: Path) -> None:
    outputs = [
        pmbench("verify", "l1", "--triplets", source, "--json").stdout
        for source in (archive, shared / "bapps_sample", shared / "bapps_sample" / "2afc" / "val")
    ]
    pmbench("download", "bapps-2afc-val", "--from", archive, "--partial")
    outputs.append(pmbench("verify", "l1", "--json").stdout)
    (record,) = json.loads(outputs[0])
    assert record["n"] == 126
    assert all(other == outputs[0] for other in outputs[1:])


def test_a_metric_that_computes_something_else_is_found_out(
    archive: Path, planted: Callable[[str, Callable[..., Tensor]], None]
) -> None:
    planted("l1", lambda x, y: (2 * x.pixels - 2 * y.pixels).abs().mean(dim=(1, 2, 3)) * 1.00001)
    output = pmbench("verify", "l1", "l2", "--triplets", archive, code=1).stdout
    assert re.search(r"^l1 +authors: ariel/L1 +126 +1\.\de-05 +5e-6 +differs", output, re.M)
    assert re.search(r"^l2 +authors: ariel/L2 +126 +\d\.\de-0[78] +5e-6 +agrees", output, re.M)


def test_a_metric_that_fails_has_failed(
    archive: Path, planted: Callable[[str, Callable[..., Tensor]], None]
) -> None:
    def fails(x: Images, y: Images) -> Tensor:
        raise RuntimeError("no")

    planted("l1", fails)
    result = pmbench("verify", "l1", "l2", "--triplets", archive, code=1)
    reason = r"failed: l1: l1 failed on the batch of item \w+/\d{6}: RuntimeError: no"
    assert re.search(reason, one_line(result.stdout))


def test_without_the_triplets_it_says_how_to_get_them() -> None:
    result = pmbench("verify", "l1", "--json", code=1)  # nothing was compared
    (record,) = json.loads(result.stdout)
    assert re.fullmatch("l1#[0-9a-f]{8}", record.pop("signature"))
    assert record == {
        "metric": "l1", "referee": "authors", "version": "ariel/L1", "verdict": "not run", "n": 0,
        "largest": None, "reason": WAY, "tolerance": [[1.0, 5e-6]],
        "tolerance_reason": PLAIN.reason,
    }  # fmt: skip
    table = pmbench("verify", "l1", code=1).stdout
    assert f"not run: l1: {WAY}" in one_line(table)


def test_triplets_that_are_others_are_refused(tmp_path: Path, home: Path) -> None:
    assert pmbench("verify", "l1", "--triplets", tmp_path / "x", code=2).stderr == (
        f"--triplets: {tmp_path / 'x'} does not exist; expected a folder or an archive\n"
    )
    others = write_tree(tmp_path / "others", triplets({"cnn": 2}))
    assert pmbench("verify", "l1", "--triplets", others, code=2).stderr == (
        f"--triplets: {others} holds none of the 63 triplets that the authors' numbers are of; "
        "expected the layout of BAPPS, such as val/cnn/ref/000563.png\n"
    )
    pmbench("download", "bapps-2afc-val", "--from", others, "--partial")
    (record,) = json.loads(pmbench("verify", "l1", "--json", code=1).stdout)
    assert record["reason"] == (
        f"{home / 'packs' / 'bapps-2afc-val.legacy64.h5'} holds none of the triplets that the "
        f"numbers are of; {WAY.partition('; ')[2]}"
    )


def test_triplets_of_which_only_some_are_there_are_counted(tmp_path: Path, archive: Path) -> None:
    import tarfile

    with tarfile.open(archive) as whole:
        whole.extractall(
            tmp_path, [m for m in whole.getmembers() if "/cnn/" in m.name], filter="data"
        )
    one = compared("l1", triplets=tmp_path)["l1", "authors"]
    known = [item for item in reference_values.golden_numbers().triplets if item.startswith("cnn/")]
    assert 0 < len(known) < 63
    assert (one.verdict, one.n) == ("agrees", 2 * len(known))


# --- packages -------------------------------------------------------------------------------------

_QUICK = {"ssim", "psnr", "l2-lab", "dssim", "lpips-squeeze"}


def _installed(package: str) -> bool:
    module = {"scikit-image": "skimage"}.get(package, package)
    return importlib.util.find_spec(module) is not None


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(_QUICK, id="quick"),
        pytest.param(
            {entry.metric for entry in PACKAGES} - _QUICK, id="others", marks=pytest.mark.slow
        ),
    ],
)
def test_installed_packages_say_the_same(names: set[str], reference_weights: Path) -> None:
    results = compared(*sorted(names))
    entries = [entry for entry in PACKAGES if entry.metric in names]
    assert {(e.metric, e.package) for e in entries} == {k for k in results if k[1] != "authors"}
    for entry in entries:
        one = results[entry.metric, entry.package]
        if _installed(entry.package):
            assert (one.verdict, one.n, one.reason) == ("agrees", 26, ""), one
            assert re.match(r"\d+\.\d+", one.version)
        else:
            assert one.reason == f"the package {entry.package} is not installed"
    assert "agrees" in {one.verdict for one in results.values()}


def test_a_package_that_is_not_installed_or_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        Package("l1", "a-package-that-is-not-there", "piq_psnr", PLAIN),
        Package("l2", "lpips", "lpips", PLAIN, ("no-such-network", "0.1", True, False)),
        Package("psnr", "numpy", "skimage_dssim", PLAIN),  # it says something else
    ]
    monkeypatch.setattr(verify, "PACKAGES", entries)
    results = compared("l1", "l2", "psnr")
    absent = results["l1", "a-package-that-is-not-there"]
    assert (absent.verdict, absent.reason) == (
        "not run",
        "the package a-package-that-is-not-there is not installed",
    )
    failed = results["l2", "lpips"]
    assert failed.verdict == "not run"
    assert failed.reason.startswith("the package lpips failed: ")
    assert results["psnr", "numpy"].verdict == "differs"
    assert results["psnr", "numpy"].largest > 1


def test_weights_that_are_not_here_are_named() -> None:
    results = compared("lpips-alex", "net-alex-random")
    for referee in ("authors", "lpips"):
        one = results["lpips-alex", referee]
        assert one.verdict == "not run"
        assert one.reason.startswith("the weights 'alexnet' are not on this machine")
    assert results["net-alex-random", "lpips"].verdict == "agrees"  # it needs none


def test_packages_leave_no_trace(reference_weights: Path) -> None:
    before = torch.get_rng_state()
    places = (torchvision.models.vgg16, torch.hub.load_state_dict_from_url)
    for function in ("lpips", "dists"):
        entry = next(entry for entry in PACKAGES if entry.function == function)
        verify._asked(entry, *_ladder(), Silent())
    assert torch.equal(torch.get_rng_state(), before)
    assert (torchvision.models.vgg16, torch.hub.load_state_dict_from_url) == places


def _ladder() -> tuple[verify.Pack, np.ndarray]:
    path = Path(verify.__file__).parents[1] / "data" / "ladder-2afc.h5"
    return verify.Pack.open(path), np.array([0])


# --- what is shown --------------------------------------------------------------------------------


def test_a_table_that_fits_and_explains_itself(archive: Path) -> None:
    result = pmbench("verify", "dssim", "l2", "patch-swd-3", "--triplets", archive)
    assert max(map(len, result.stdout.splitlines())) <= 80
    row = r"^dssim +scikit-image \d\.\d+\.\d+ +26 +\d\.\de-0\d +5e-6 +agrees"
    assert re.search(row, result.stdout, re.M)
    assert f"5e-6: {PLAIN.reason}" in one_line(result.stdout)
    assert result.stderr == "no referee is known for patch-swd-3\n"


def test_markdown_for_a_readme(archive: Path) -> None:
    lines = pmbench("verify", "l2", "--triplets", archive, "--format", "md").stdout.splitlines()
    assert lines[0] == "| metric | referee | n | largest difference | tolerance | verdict |"
    assert lines[1] == "| --- | --- | ---: | ---: | --- | --- |"
    assert re.fullmatch(
        r"\| `l2` \| authors: ariel/L2 \| 126 \| \d\.\de-\d\d \| 5e-6 \| agrees \|", lines[2]
    )
    assert len(lines) == 4  # ariel/L2 and lpips/l2-rgb
    output = pmbench("verify", "l1", "--format", "md", code=1).stdout
    assert output.endswith(f"\n\n- not run: l1: {WAY}\n")


def test_nothing_to_compare_is_no_success_and_help_has_examples() -> None:
    result = pmbench("verify", "patch-swd-3", code=1)
    assert "nothing to compare" in result.stdout
    assert result.stderr == "no referee is known for patch-swd-3\n"
    message = pmbench("verify", "lpips-alx", code=2).stderr
    assert message.startswith("unknown metric 'lpips-alx'; did you mean lpips-alex")
    assert "Examples" in pmbench("verify", "--help").stdout

"""Weight files: found, fetched, checked, and never executed."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pmbench import backbones, weights
from pmbench.errors import PmbenchError
from pmbench.loading import load_metrics
from pmbench.metrics import registered
from pmbench.reporting import Silent

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forget() -> None:
    backbones.trunk.cache_clear()
    weights._failed.clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "weights"
    (made / "deep" / "down").mkdir(parents=True)
    monkeypatch.setenv("PMBENCH_WEIGHTS", str(made))
    return made


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")


def test_a_trunk_only_file_and_the_official_one_give_the_same_digest(
    shared: Path, folder: Path
) -> None:
    trunk = load_file(shared / "weights" / "squeezenet1_1.safetensors")
    save_file(trunk, folder / "deep" / "squeezenet1_1.safetensors")
    (first,), _ = load_metrics([registered()["lpips-squeeze"]], CPU, Silent())
    (folder / "deep" / "squeezenet1_1.safetensors").unlink()
    backbones.trunk.cache_clear()
    whole = {**trunk, "classifier.1.weight": torch.zeros(1000, 512, 1, 1)}
    torch.save(whole, folder / "deep" / "down" / "squeezenet1_1-b8a52dc0.pth")
    (second,), _ = load_metrics([registered()["lpips-squeeze"]], CPU, Silent())
    assert first.digest == second.digest


@pytest.mark.usefixtures("offline")
def test_what_cannot_be_had_is_one_sentence_with_the_way_out() -> None:
    loaded, failures = load_metrics(
        [registered()[name] for name in ("lpips-alex", "l2", "net-alex")], CPU, Silent()
    )
    assert [m.metric.name for m in loaded] == ["l2"]
    assert set(failures) == {"lpips-alex", "net-alex"}
    told = failures["lpips-alex"]
    assert "the weights 'alexnet' are not on this machine and cannot be fetched" in told
    assert "PMBENCH_OFFLINE is set" in told
    assert "put alexnet-owt-7be5be79.pth or alexnet.safetensors into a folder" in told
    assert "--weights or PMBENCH_WEIGHTS" in told


def test_a_folder_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMBENCH_WEIGHTS", "/no/such/folder")
    with pytest.raises(PmbenchError, match="the weights folder /no/such/folder does not exist"):
        weights.find("alexnet")


def test_another_networks_tensors_are_refused(shared: Path, folder: Path) -> None:
    shutil.copy(shared / "weights" / "squeezenet1_1.safetensors", folder / "alexnet.safetensors")
    with pytest.raises(
        PmbenchError,
        match=r"need a tensor 'features.0.weight' of shape \(64, 3, 11, 11\), got shape .* "
        "is it another network's file",
    ):
        registered()["net-alex"].load(CPU)


def test_missing_tensors_are_named(folder: Path) -> None:
    save_file({"other": torch.zeros(1)}, folder / "alexnet.safetensors")
    with pytest.raises(PmbenchError, match=r"'features.0.weight' .* got none of that name"):
        registered()["net-alex"].load(CPU)


class _Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_and_has_not_run(
    folder: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "it-ran"
    with (folder / "alexnet.pth").open("wb") as file:
        pickle.dump(_Malicious(trace), file)
    with pytest.raises(PmbenchError, match="got a file that cannot be read safely"):
        weights.load("alexnet")
    assert not trace.exists()


@pytest.mark.parametrize("name", ["alexnet.safetensors", "alexnet.pth"])
def test_a_damaged_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"neither")
    with pytest.raises(PmbenchError, match=f"{name}: expected the weights 'alexnet', got a file"):
        weights.load("alexnet")


def test_a_file_of_something_else_than_tensors_is_named(folder: Path) -> None:
    torch.save([torch.zeros(1)], folder / "alexnet.pth")
    with pytest.raises(PmbenchError, match="expected named tensors for 'alexnet', got a list"):
        weights.load("alexnet")


def test_the_linear_layers_come_with_their_package() -> None:
    for net in ("alex", "vgg", "squeeze"):
        path = weights.find(f"lpips-{net}-linear")
        assert path is not None
        assert path.parts[-4:] == ("lpips", "weights", "v0.1", f"{net}.pth")
    learned = weights.load("lpips-alex-linear")
    assert all((value >= 0).all() for value in learned.values())


def test_the_digest_is_over_names_shapes_and_bytes() -> None:
    a, b = torch.arange(6.0), torch.ones(2)
    base = weights.digest({"a": a, "b": b})
    assert weights.digest({"b": b, "a": a}) == base
    assert weights.digest({"a": a.reshape(2, 3), "b": b}) != base
    assert weights.digest({"c": a, "b": b}) != base
    assert weights.digest({"a": a + 1, "b": b}) != base
    strided = torch.arange(12.0)[::2] / 2
    assert weights.digest({"a": strided, "b": b}) == base

"""Weight files: found, fetched, checked, and never executed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.http_server import Server, serving
from support.paths import TESTS
from support.refusals import message_of

from pmbench.metrics import Metric, registered
from pmbench.metrics.loading import load_metric, load_metrics
from pmbench.networks import backbones, model_libraries, weights
from pmbench.networks.manifest import WeightFile, weight_files
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forget() -> None:
    backbones.backbone.cache_clear()


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
    backbones.backbone.cache_clear()
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
    message = failures["lpips-alex"]
    assert "the weights 'alexnet' are not on this machine and cannot be fetched" in message
    assert "PMBENCH_OFFLINE is set" in message
    assert "put alexnet-owt-7be5be79.pth or alexnet.safetensors into a folder" in message
    assert "--weights or PMBENCH_WEIGHTS" in message


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


# --- hostile files --------------------------------------------------------------------------------


class _Malicious:
    """What makes a folder when it is unpickled, as it could do anything else."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def _as_zip(content: object, path: Path) -> None:
    torch.save(content, path)


def _as_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _as_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("write", [_as_zip, _as_legacy, _as_pickle])
@pytest.mark.parametrize("deep", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_has_not_run(
    folder: Path, tmp_path: Path, write: Callable[[object, Path], None], suffix: str, deep: bool
) -> None:
    trace = tmp_path / "it-ran"
    harm: object = _Malicious(trace)
    file = folder / f"alexnet.{suffix}"
    write({"features.0.weight": torch.zeros(1), "x": [harm]} if deep else harm, file)
    message = refused("alexnet")
    assert message.startswith(f"{file}: expected the weights 'alexnet', got a file that cannot be")
    assert "read safely (" in message
    assert message.endswith("; delete it and fetch it again")
    assert "\n" not in message
    assert not trace.exists()
    if suffix == "pth":  # else this test shows nothing
        if write is _as_pickle:
            pickle.loads(file.read_bytes())
        else:
            torch.load(file, weights_only=False)
        assert trace.exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(folder: Path) -> None:
    file = folder / "alexnet.pth"
    torch.save({"x": torch.zeros(2_000_000)}, file)
    with zipfile.ZipFile(file) as good:
        members = {name: good.read(name) for name in good.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, data in members.items():
            bomb.writestr(name, data)
    assert file.stat().st_size < 20_000
    assert re.search(
        r"got [0-9,]+ bytes that unpack to 8,0[0-9,]+, which torch.save never writes; delete it",
        refused("alexnet"),
    )


def _safetensors(header: dict[str, object], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


HUGE = 10**13


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_safetensors({"x": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0,
            4 * HUGE]}}), id="a tensor of 40 TB"),
        pytest.param(_safetensors({"x": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4]}},
            b"0000"), id="a shape of more than there is"),
        pytest.param(_safetensors({"x": {"dtype": "F32", "shape": [2**40, 2**40],
            "data_offsets": [0, 0]}}), id="a shape of more than can be counted"),
        pytest.param((2**62).to_bytes(8, "little") + b"{}", id="a header of more than there is"),
        pytest.param(b"\xff" * 8, id="a header of 16 EB"),
        pytest.param(_safetensors({})[:-1], id="a header that is cut"),
        pytest.param((100_000).to_bytes(8, "little") + b"[" * 100_000, id="a nested header"),
    ],
)  # fmt: skip
def test_a_header_that_promises_too_much_costs_nothing(folder: Path, content: bytes) -> None:
    (folder / "alexnet.safetensors").write_bytes(content)
    assert "got a file that cannot be read safely (SafetensorError: " in refused("alexnet")


def test_a_legacy_file_that_promises_too_much_costs_nothing(folder: Path) -> None:
    """Its storage has as many numbers as the pickle says, and they are not there."""
    file = folder / "alexnet.pth"
    _as_legacy({"x": torch.zeros(300)}, file)
    said = b"M" + (300).to_bytes(2, "little")
    data = file.read_bytes()
    assert said in data
    file.write_bytes(data.replace(said, b"\x8a\x06" + HUGE.to_bytes(6, "little")))
    assert "got a file that cannot be read safely (" in refused("alexnet")


# --- damaged files, and what is none --------------------------------------------------------------


def refused(name: str) -> str:
    with pytest.raises(PmbenchError) as caught:
        weights.load(name)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("write", [_as_zip, _as_legacy, save_file])
def test_a_truncated_file_is_told(
    folder: Path, write: Callable[[object, Path], None], share: float
) -> None:
    file = folder / f"alexnet.{'safetensors' if write is save_file else 'pth'}"
    write({"a": torch.arange(500.0), "b": torch.ones(3, 4)}, file)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    message = refused("alexnet")
    assert (
        f"{file}: expected the weights 'alexnet', got a file that cannot be read safely" in message
    )
    assert message.endswith("; delete it and fetch it again")


@pytest.mark.parametrize("write", [_as_zip, _as_legacy, save_file])
def test_every_form_gives_the_same_tensors(
    folder: Path, write: Callable[[object, Path], None]
) -> None:
    tensors = {"a": torch.arange(500.0), "b": torch.ones(3, 4, dtype=torch.bfloat16)}
    write(tensors, folder / f"alexnet.{'safetensors' if write is save_file else 'pth'}")
    assert weights.digest(weights.load("alexnet")) == weights.digest(tensors)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file; delete it and fetch it again"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page; delete it and fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
         "a pointer of Git LFS in place of the file; run `git lfs pull` where it comes from"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_is_no_weight_file_is_called_by_its_name(
    folder: Path, content: bytes, what: str, suffix: str
) -> None:
    file = folder / f"alexnet.{suffix}"
    file.write_bytes(content)
    assert refused("alexnet") == f"{file}: expected the weights 'alexnet', got {what}"


def test_a_folder_and_links_in_place_of_a_file(folder: Path, tmp_path: Path) -> None:
    file = folder / "alexnet.pth"
    file.mkdir()
    assert "got a folder; put the file itself there, or move the folder away" in refused("alexnet")
    file.rmdir()
    for target, why in [
        (tmp_path / "nowhere", "No such file or directory"),
        (file, "Too many levels of symbolic links"),
    ]:
        file.symlink_to(target)
        assert message_of(weights.read, file, "alexnet") == (
            f"{file}: expected the weights 'alexnet', got what cannot be opened ({why}); mend its "
            "link or its permissions"
        )
        file.unlink()
    _as_zip({"x": torch.ones(1)}, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert weights.load("alexnet")["x"] == 1


# --- wrong numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.ones(3, 2, dtype=torch.int8), "of a floating-point type, got int8; is it a quant"),
        (torch.ones(3, 2, dtype=torch.complex64), "got complex64; is it a quantised copy? take"),
        (torch.ones(3, 2, dtype=torch.bool), "got bool; is it a quantised copy? take the orig"),
        (torch.tensor([[1, math.nan]] * 3), "and 3 of 6 are NaN or infinite; the file is damaged"),
        (torch.tensor([[1, -math.inf]] * 3), "and 3 of 6 are NaN or infinite; the file is damaged"),
    ],
)
@pytest.mark.parametrize("write", [_as_zip, save_file])
def test_numbers_that_are_no_filters_are_refused(
    folder: Path, tensor: torch.Tensor, said: str, write: Callable[[object, Path], None]
) -> None:
    if write is save_file and tensor.is_complex():
        pytest.skip("safetensors before 0.6 cannot write it")
    file = folder / f"alexnet.{'safetensors' if write is save_file else 'pth'}"
    write({"weight": tensor.contiguous(), "bias": torch.zeros(3)}, file)
    message = message_of(weights.load_into, torch.nn.Linear(2, 3), "alexnet")
    assert message.startswith(
        f"{file}: the weights 'alexnet' need finite numbers in the tensor 'weight', "
    )
    assert said in message
    network = torch.nn.Linear(2, 3)
    with pytest.raises(PmbenchError, match="need finite numbers in the tensor 'weight', "):
        model_libraries.fit(network, weights.load("alexnet"), "alexnet", file)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_another_width_are_taken_as_they_are(folder: Path, kind: torch.dtype) -> None:
    save_file(
        {"weight": torch.ones(3, 2).to(kind), "bias": torch.zeros(3)},
        folder / "alexnet.safetensors",
    )
    network = torch.nn.Linear(2, 3)
    weights.load_into(network, "alexnet")
    assert network.weight.dtype == torch.float32
    assert (network.weight == 1).all()


def test_a_count_of_batches_is_no_filter() -> None:
    counted = torch.nn.BatchNorm2d(3).state_dict()
    assert counted["num_batches_tracked"].dtype == torch.int64
    model_libraries.fit(torch.nn.BatchNorm2d(3), counted, "resnet18", None)


# --- from a server --------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server


def test_a_file_of_another_checksum_is_refused_with_the_ways_out(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = served.add("/toy-00000000.pth", b"something else")
    entry = WeightFile(url=url, sha256_prefix="00000000")
    monkeypatch.setitem(weight_files(), "toy", entry)
    message = message_of(weights.ensure, ["toy"], Silent())
    digest = hashlib.sha256(b"something else").hexdigest()
    assert (
        "the weights 'toy' are not on this machine and cannot be fetched (toy-00000000.pth: the "
        f"checksum differs: expected sha256 00000000…, got {digest}. Run it again to fetch anew); "
        "put toy-00000000.pth or toy.safetensors into a folder and name it with --weights or "
        "PMBENCH_WEIGHTS"
    ) == message
    assert weights.find("toy") is None


def test_one_call_asks_once_and_the_next_one_again(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two metrics need one file; a notebook goes on after its network has been mended."""
    url = f"{served.url}/toy.pth"
    monkeypatch.setitem(weight_files(), "toy", WeightFile(url=url))
    entries = [
        Metric(name, lambda device: torch.nn.Identity(), title="", weights=("toy",))
        for name in ("one", "other")
    ]
    loaded, failures = load_metrics(entries, CPU, Silent())
    assert not loaded
    assert failures["one"] == failures["other"]
    assert len(served.requests) == 1
    assert message_of(load_metric, entries[0], CPU, Silent()) == failures["one"]
    assert len(served.requests) == 2
    served.add("/toy.pth", b"now it is there")
    assert load_metric(entries[0], CPU, Silent()).metric.name == "one"


def test_a_file_of_much_more_than_is_said_of_it_is_refused(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = served.add("/toy.pth", b"x" * 100_000)
    monkeypatch.setitem(weight_files(), "toy", WeightFile(url=url, megabytes=0.04))
    with pytest.raises(PmbenchError, match="sends 100,000 bytes or more, expected at most 80,000"):
        weights.ensure(["toy"], Silent())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("alexnet", "alexnet-owt-7be5be79.pth"),
        ("alexnet", "alexnet-owt-4df8aa71.pth"),
        ("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"),
        ("squeezenet1_1", "squeezenet1_1-f364aa15.pth"),
    ],
)
@pytest.mark.parametrize("place", ["TORCH_HOME", "PMBENCH_WEIGHTS"])
def test_what_torch_has_fetched_is_not_fetched_again(
    place: str, name: str, file: str, shared: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, offline: None,
) -> None:  # fmt: skip
    metric = {"alexnet": "net-alex", "squeezenet1_1": "net-squeeze"}[name]
    message = message_of(load_metric, registered()[metric], CPU, Silent())
    assert message.startswith(f"the weights '{name}' are not on this machine and cannot be fetched")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    trunk = load_file(shared / "weights" / f"{name}.safetensors")
    # the older files are of the time before torch wrote zip archives
    torch.save(trunk, folder / file, _use_new_zipfile_serialization="b8a" in file or "7be" in file)
    monkeypatch.setenv(place, str(tmp_path))
    assert weights.find(name) == folder / file
    signatures = json.loads((TESTS / "golden" / "signatures.json").read_text())["signatures"]
    assert load_metric(registered()[metric], CPU, Silent()).signature == signatures[metric]


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

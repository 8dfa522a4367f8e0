"""A full disk: told with the file's name, and nothing half-written is left."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.cli import pmbench
from support.disk import NO_ROOM, TOO_LONG, drafts_below, file_size_limit, mounted
from support.factories import manifest, packed, triplets, write_tree
from support.http_server import serving
from support.measured import EVAL, RUNS, run_files
from support.refusals import message_of

from pmbench.results.store import damaged_runs, find_runs
from pmbench.utils.errors import PmbenchError
from pmbench.utils.hdf5 import writing_hdf5
from pmbench.utils.progress import Silent
from pmbench.utils.verified_download import RemoteFile, fetch

FILL = """
import resource, sys
import numpy as np
from pathlib import Path
from pmbench.utils.errors import PmbenchError
from pmbench.utils.hdf5 import writing_hdf5
path = Path(sys.argv[1])
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        with writing_hdf5(path) as file:
            file["id"] = [f"größe {i}" for i in range(2000)]
            stored = file.create_dataset("x", shape=(40, 64, 64, 3), dtype=np.uint8)
            for start in range(0, 40, 8):
                stored[start : start + 8] = np.full((8, 64, 64, 3), start, np.uint8)
    except PmbenchError as error:
        assert str(error).startswith(f"{path}: File too large; "), error
        print(limit, [p.name for p in path.parent.iterdir()])
"""


def test_hdf5_on_a_full_disk_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    limits = [0, 1, 100, 2000, 8000, 20000, 34000, 60000, 100000, 300000, 589000]
    words = [sys.executable, "-c", FILL, str(tmp_path / "x.h5"), *map(str, limits)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")  # the library alone ends with SIGSEGV
    assert done.stdout.splitlines() == [f"{limit} []" for limit in limits]


def test_hdf5_written_through_the_sink_is_as_hdf5_writes_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 32, 32, 3), np.uint8)
    for name in ("a.h5", "b.h5"):
        with writing_hdf5(tmp_path / name) as file:
            file.attrs["format"] = 1
            file["id"] = [f"größe {i}" for i in range(3000)]
            file.create_dataset("deep/x", data=pixels, compression="gzip", chunks=(1, 32, 32, 3))
            file["deep/y"] = pixels
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["id"].asstr()[2999] == "größe 2999"
        np.testing.assert_array_equal(file["deep/x"][:], pixels)
        np.testing.assert_array_equal(file["deep/y"][:], pixels)


@pytest.mark.parametrize(
    ("size", "name"),
    [
        pytest.param(200, "journal.bin", marks=pytest.mark.slow),
        (800, "journal.bin"),
        (5000, "distances.h5"),
    ],
)
def test_a_full_disk_during_eval(
    disk_folder: Path, measured_results: Path, size: int, name: str
) -> None:
    with file_size_limit(size):
        message = pmbench(*EVAL, code=2).stderr.splitlines()
    assert message[-1] == f"{RUNS / 'grad' / name}: {TOO_LONG}"
    assert drafts_below(disk_folder) == []
    assert find_runs(Path("results")) == []
    result = pmbench(*EVAL)
    if size > 400:  # the first batch was kept, or all of them
        assert "went on where it was left: grad after batch" in result.stderr
    assert run_files(Path("results")) == run_files(measured_results)
    assert (len(find_runs(Path("results"))), damaged_runs(Path("results"))) == (2, [])


def test_a_full_disk_when_all_is_measured(results_on_disk: Path) -> None:
    (results_on_disk / "leaderboard.csv").unlink()
    before = run_files(results_on_disk)
    with file_size_limit(15_000):
        message = pmbench(*EVAL, code=2).stderr.splitlines()
    assert message[-1] == f"results/leaderboard.csv: {TOO_LONG}"
    assert drafts_below(results_on_disk) == []
    assert "kept as measured before: grad, l1" in pmbench(*EVAL).stderr
    assert (results_on_disk / "leaderboard.csv").exists()
    assert run_files(results_on_disk) == before


def test_scoring_anew_on_a_full_disk_does_not_lose_the_distances(results_on_disk: Path) -> None:
    before = run_files(results_on_disk)
    with file_size_limit(5000):
        message = pmbench(*EVAL, "--seed", "1", code=2)
    assert f"not run: grad: {RUNS}/grad/distances.h5: {TOO_LONG}\n" in message.stdout
    assert message.stderr.splitlines()[-1] == f"results/leaderboard.csv: {TOO_LONG}"
    assert run_files(results_on_disk) == before
    again = pmbench(*EVAL, "--seed", "1")
    assert "kept as measured before: grad, l1" in again.stderr
    for place, (distances, _) in run_files(results_on_disk).items():
        assert distances == before[place][0]


def test_a_full_disk_while_packing(disk_folder: Path) -> None:
    write_tree(disk_folder / "data", triplets({"one": 40}))
    entry = manifest(disk_folder / "manifests", source={"path": "../data"})
    packs = disk_folder / "pmbench-home" / "packs"
    for size, name in ((3000, "toy.none.spool"), (25_000, "toy.none.h5")):
        with file_size_limit(size), pytest.raises(PmbenchError) as caught:
            packed(entry)
        assert str(caught.value) == f"{packs}/{name}: {TOO_LONG}"
        assert [path.name for path in packs.iterdir()] == ["toy.none.lock"]
    assert len(packed(entry)) == 40


# NumPy 1 leaves its archive to the garbage collector, which cannot write it either
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_small_disk(disk_folder: Path) -> None:
    write_tree(disk_folder / "data", triplets({"one": 40}))
    entry = manifest(disk_folder / "manifests", source={"path": "../data"})
    with mounted(disk_folder / "pmbench-home", "size=24k"):
        result = re.fullmatch(r"(.+/toy\.none\.(spool|h5)): (.+)", message_of(packed, entry))
        assert result is not None
        assert result[3] == NO_ROOM
        assert drafts_below(disk_folder / "pmbench-home") == []
    with mounted(disk_folder / "results", "size=40k"):
        message = pmbench(*EVAL, code=2).stderr.splitlines()[-1]
        assert message == f"{RUNS}/grad/draws.npz: {NO_ROOM}"
        assert drafts_below(disk_folder / "results") == []
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk_folder / "results")], check=True)
        assert "kept as measured before" not in pmbench(*EVAL).stderr
        assert len(find_runs(Path("results"))) == 2


def test_a_full_disk_during_download_keeps_what_came(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(300_000)
    with serving() as server:
        wanted = RemoteFile(server.add("/data.bin", data), hashlib.sha256(data).hexdigest())
        with file_size_limit(100_000), pytest.raises(PmbenchError) as caught:
            fetch(wanted, tmp_path, Silent())
        assert str(caught.value) == f"{tmp_path}/data.bin.part: {TOO_LONG}"
        assert not (tmp_path / "data.bin").exists()
        assert fetch(wanted, tmp_path, Silent()).read_bytes() == data
        assert server.ranges == [None, "bytes=100000-"]


@pytest.mark.slow
def test_a_full_disk_during_report(disk_folder: Path) -> None:
    pmbench(*EVAL)
    for size in (3000, 20_000):
        with file_size_limit(size):
            message = pmbench("report", "-o", "out", code=2).stderr.splitlines()
        assert message[-1] == f"{disk_folder / 'out'}: {TOO_LONG}"
        assert not Path("out").exists()
        assert drafts_below(disk_folder) == []
    pmbench("report", "-o", "out")
    assert Path("out/index.html").exists()


@pytest.mark.slow
def test_output_that_does_not_fit_is_told(disk_folder: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    script = "from pmbench.cli import main; main()"
    words = [sys.executable, "-c", script, "list", "datasets"]
    with full.open("w") as out:
        done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"the output, or a temporary file: {NO_ROOM}\n")

"""The disk: full, read-only, forbidden, in the way, damaged, edited by hand.

What goes wrong is told in a sentence that names the file, nothing half-written is taken for whole,
nothing is left lying about, and the same command completes when the fault is mended.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from http_server import serving
from making import manifest, packed, picture, png, resealed, triplets, write_tree
from test_cli import pmbench

from pmbench.analysis.citations import used_in
from pmbench.datasets.pack import Pack
from pmbench.evaluation.batching import Bounds
from pmbench.evaluation.checkpoint import Head, Journal, head_of
from pmbench.reporting.run_card import run_to_rich
from pmbench.results.distances import read_distances, write_distances
from pmbench.results.reproduce import recipe
from pmbench.results.run import open_run
from pmbench.results.store import damaged, find, flawed
from pmbench.scoring.items import Items
from pmbench.scoring.protocols import TWO_AFC
from pmbench.utils import files
from pmbench.utils.errors import PmbenchError
from pmbench.utils.fetch import Wanted, fetch
from pmbench.utils.hdf5 import writing_hdf5
from pmbench.utils.progress import Silent

resource = pytest.importorskip("resource")  # what limits are set with is not on Windows

NO_ROOM = (
    "No space left on device; make room (`pmbench cache clean --dry-run` says what can go), and "
    "run the same command again"
)
TOO_LONG = (
    "File too large; the system allows no longer file there: raise the limit (`ulimit -f`), or "
    "name another with --results, -o or PMBENCH_HOME, and run the same command again"
)
FORBIDDEN = (
    "; expected a place that you may read and write: change its permissions, or name another with "
    "--results, -o or PMBENCH_HOME"
)
IN_THE_WAY = (
    "; expected a folder: move what is there out of the way, or name another with --results, -o or "
    "PMBENCH_HOME"
)


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Make the system refuse to write files longer than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system in memory, or skip where that is not allowed."""
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    try:
        allowed = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def drafts_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".tmp", ".spool")]


def numbers_below(results: Path) -> dict[str, Any]:
    """Return what a run's folder says, but for times and speed."""
    found: dict[str, Any] = {}
    for path in sorted(results.glob("*/*/distances.h5")):
        place = str(path.parent.relative_to(results))
        found[place] = (path.read_bytes(), (path.parent / "scores.csv").read_bytes())
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


EVAL = (
    "eval", "-m", "grad,l1", "-d", "ladder-2afc", "--limit", "9", "--batch-size", "20",
    "--resamples", "4000",
)  # fmt: skip
RUNS = Path("results/ladder-2afc@first9")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results of two metrics on 54 triplets, to be copied."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pmbench(*EVAL)
    return folder / "results"


@pytest.fixture
def results(measured: Path, here: Path) -> Path:
    shutil.copytree(measured, here / "results")
    return Path("results")


# --- drafts ---------------------------------------------------------------------------------------


def test_what_cannot_be_written_whole_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "before")
    with no_file_beyond(1000), pytest.raises(PmbenchError) as caught:
        files.write_text(path, "x" * 1001)
    assert str(caught.value) == f"{path}: {TOO_LONG}"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "before"


def test_an_error_about_another_file_is_not_about_this_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.txt"), files.replacing(tmp_path / "a"):
        (tmp_path / "gone.txt").read_text()
    assert list(tmp_path.iterdir()) == []


def test_threads_that_write_one_file_have_a_draft_each(tmp_path: Path) -> None:
    path, meeting, failures = tmp_path / "a.txt", threading.Barrier(8), []

    def write(number: int) -> None:
        try:
            with files.replacing(path) as draft:
                draft.write_text(str(number) * 1000)
                meeting.wait(10)
        except BaseException as error:  # noqa: BLE001  any is a failure
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert len(set(path.read_text())) == 1


def test_drafts_that_nobody_will_finish_are_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = files.draft_beside(tmp_path / "a.txt")
    host, number, token = mine.name.split(".")[2].split("-", 2)[0], os.getpid(), "0123ab"
    another = "0000" if host != "0000" else "1111"
    day = time.time() - 25 * 3600
    made = {
        f"a.txt.{host}-{dead.pid}-{token}.tmp": (None, False),
        f"a.txt.{host}-{number}-{token}.tmp": (None, True),  # a thread of this process
        f"a.txt.{host}-{number}-aaaaaa.tmp": (day, False),  # its number is another's now
        f"a.txt.{another}-{dead.pid}-{token}.tmp": (None, True),  # of another machine
        f"a.txt.{another}-{dead.pid}-aaaaaa.tmp": (day, False),
        f"a.txt.{host}-{10**30}-{token}.tmp": (None, False),  # no process has such a number
        f"b.txt.{host}-{dead.pid}-{token}.tmp": (None, True),  # of another file
        "a.txt.mine.tmp": (day, True),  # the user's own
    }
    for name, (when, _) in made.items():
        (tmp_path / name).write_text("half")
        if when is not None:
            os.utime(tmp_path / name, (when, when))
    files.write_text(tmp_path / "a.txt", "whole")
    kept = {name for name, (_, stays) in made.items() if stays}
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", *kept}


# --- a full disk ----------------------------------------------------------------------------------

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
        pytest.param(5000, "distances.h5", marks=pytest.mark.slow),
        (15_000, "draws.npz"),
    ],
)
def test_a_full_disk_during_eval(here: Path, measured: Path, size: int, name: str) -> None:
    with no_file_beyond(size):
        told = pmbench(*EVAL, code=2).stderr.splitlines()
    assert told[-1] == f"{RUNS / 'grad' / name}: {TOO_LONG}"
    assert drafts_below(here) == []
    assert find(Path("results")) == []
    result = pmbench(*EVAL)
    if size > 400:  # the first batch was kept, or all of them
        assert "went on where it was left: grad after batch" in result.stderr
    assert numbers_below(Path("results")) == numbers_below(measured)
    assert (len(find(Path("results"))), damaged(Path("results"))) == (2, [])


def test_a_full_disk_when_all_is_measured(results: Path) -> None:
    (results / "leaderboard.csv").unlink()
    before = numbers_below(results)
    with no_file_beyond(15_000):
        told = pmbench(*EVAL, code=2).stderr.splitlines()
    assert told[-1] == f"results/leaderboard.csv: {TOO_LONG}"
    assert drafts_below(results) == []
    assert "kept as measured before: grad, l1" in pmbench(*EVAL).stderr
    assert (results / "leaderboard.csv").exists()
    assert numbers_below(results) == before


def test_scoring_anew_on_a_full_disk_does_not_lose_the_distances(results: Path) -> None:
    before = numbers_below(results)
    with no_file_beyond(15_000):
        told = pmbench(*EVAL, "--seed", "1", code=2)
    assert f"not run: grad: {RUNS}/grad/draws.npz: {TOO_LONG}\n" in told.stdout
    assert told.stderr.splitlines()[-1] == f"results/leaderboard.csv: {TOO_LONG}"
    again = pmbench(*EVAL, "--seed", "1")
    assert "kept as measured before: grad, l1" in again.stderr
    for place, (distances, _) in numbers_below(results).items():
        assert distances == before[place][0]


def test_a_full_disk_while_packing(here: Path) -> None:
    write_tree(here / "data", triplets({"one": 40}))
    entry = manifest(here / "manifests", source={"path": "../data"})
    packs = here / "pmbench-home" / "packs"
    for size, name in ((3000, "toy.none.spool"), (25_000, "toy.none.h5")):
        with no_file_beyond(size), pytest.raises(PmbenchError) as caught:
            packed(entry)
        assert str(caught.value) == f"{packs}/{name}: {TOO_LONG}"
        assert [path.name for path in packs.iterdir()] == ["toy.none.lock"]
    assert len(packed(entry)) == 40


def test_a_small_disk(here: Path) -> None:
    write_tree(here / "data", triplets({"one": 40}))
    entry = manifest(here / "manifests", source={"path": "../data"})
    with mounted(here / "pmbench-home", "size=24k"):
        with pytest.raises(PmbenchError) as caught:
            packed(entry)
        found = re.fullmatch(r"(.+/toy\.none\.(spool|h5)): (.+)", str(caught.value))
        assert found is not None
        assert found[3] == NO_ROOM
        assert drafts_below(here / "pmbench-home") == []
    with mounted(here / "results", "size=56k"):
        told = pmbench(*EVAL, code=2).stderr.splitlines()[-1]
        assert told == f"{RUNS}/grad/draws.npz: {NO_ROOM}"
        assert drafts_below(here / "results") == []
        subprocess.run(["mount", "-o", "remount,size=4m", str(here / "results")], check=True)
        assert "kept as measured before" not in pmbench(*EVAL).stderr
        assert len(find(Path("results"))) == 2


def test_a_full_disk_during_download_keeps_what_came(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(300_000)
    with serving() as server:
        wanted = Wanted(server.add("/data.bin", data), hashlib.sha256(data).hexdigest())
        with no_file_beyond(100_000), pytest.raises(PmbenchError) as caught:
            fetch(wanted, tmp_path, Silent())
        assert str(caught.value) == f"{tmp_path}/data.bin.part: {TOO_LONG}"
        assert not (tmp_path / "data.bin").exists()
        assert fetch(wanted, tmp_path, Silent()).read_bytes() == data
        assert server.ranges == [None, "bytes=100000-"]


@pytest.mark.slow
def test_a_full_disk_during_report(here: Path) -> None:
    pmbench(*EVAL)
    for size in (3000, 20_000):
        with no_file_beyond(size):
            told = pmbench("report", "-o", "out", code=2).stderr.splitlines()
        assert told[-1] == f"{here / 'out'}: {TOO_LONG}"
        assert not Path("out").exists()
        assert drafts_below(here) == []
    pmbench("report", "-o", "out")
    assert Path("out/index.html").exists()


@pytest.mark.slow
def test_output_that_does_not_fit_is_told(here: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    script = "from pmbench.cli import main; main()"
    words = [sys.executable, "-c", script, "list", "datasets"]
    with full.open("w") as out:
        done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"the output, or a temporary file: {NO_ROOM}\n")


# --- a place that cannot be written ---------------------------------------------------------------


def test_a_home_or_results_that_are_a_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "file").write_text("mine")
    told = pmbench(*EVAL, "--results", "file", code=2).stderr
    assert told == f"file/{RUNS.name}/grad: Not a directory{IN_THE_WAY}\n"
    monkeypatch.setenv("PMBENCH_HOME", str(here / "file"))
    write_tree(here / "data", triplets({"one": 2}))
    manifest(here / "manifests", source={"path": "../data"})
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(here / "manifests"))
    told = pmbench("eval", "-m", "l1", "-d", "toy", code=2).stderr
    assert told == f"{here}/file/packs: Not a directory{IN_THE_WAY}\n"
    told = pmbench("cache", "info", code=2).stderr
    assert told == (
        f"{here}/file: expected the folder of the cache, got a file; move it out of the way, or "
        "name a folder with PMBENCH_HOME\n"
    )
    assert (here / "file").read_text() == "mine"


def test_a_read_only_cache_is_enough_where_all_is_there(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(here / "data", triplets({"one": 4}))
    manifest(here / "manifests", source={"path": "../data"})
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(here / "manifests"))
    words = ("eval", "-m", "l1", "-d", "toy", "--results")
    home = here / "pmbench-home"
    with mounted(home, "size=1m"):
        subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
        told = pmbench(*words, "r0", code=2).stderr
        assert told == f"{home}/packs: Read-only file system{FORBIDDEN}\n"
        subprocess.run(["mount", "-o", "remount,rw", str(home)], check=True)
        pmbench(*words, "r1")
        subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
        pmbench(*words, "r2")
        info = json.loads(pmbench("cache", "info", "--json").stdout)
        states = {thing["kind"]: thing["state"] for thing in info["things"]}
        assert states == {"pack": "whole", "lock": "left over"}
        told = pmbench("cache", "clean", "--all").stderr
        assert "left, since it cannot be removed (Read-only file system)" in told
    assert numbers_below(Path("r1")) == numbers_below(Path("r2"))


BECOME_NOBODY = """
import os, sys
from typer.testing import CliRunner
from pmbench.cli import app, main
CliRunner().invoke(app, [*sys.argv[1:], "--results", "warm"])  # nobody may read the interpreter
os.setuid(65534)
main()
"""


@pytest.mark.slow
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    place = Path(tempfile.mkdtemp(dir="/var/tmp"))  # which everybody may enter
    try:
        place.chmod(0o755)
        words = [sys.executable, "-c", BECOME_NOBODY, *EVAL, "--results", str(place / "results")]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        told = f"{place}/results: Permission denied{FORBIDDEN}"
        assert (done.returncode, done.stderr.splitlines()[-1]) == (2, told)
    finally:
        shutil.rmtree(place)


# --- HDF5 from elsewhere --------------------------------------------------------------------------


def replaced(name: str, value: Any, **options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, data=value, **options)

    return change


def filled(name: str, value: Any, at: Any = ...) -> Callable[[h5py.File], None]:
    return lambda file: file[name].__setitem__(at, value)


def linked(name: str, link: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = link

    return change


def virtual(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource("/etc/other.h5", "x", shape, dtype)
        file.create_virtual_dataset(name, layout)

    return change


def external(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        file.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])

    return change


def declared(name: str, rows: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        file.create_dataset(name, (rows, *shape[1:]), dtype, chunks=True)

    return change


def attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


@pytest.fixture(scope="module")
def a_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sound pack of four triplets, to be copied."""
    folder = tmp_path_factory.mktemp("a-pack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PMBENCH_HOME", str(folder / "home"))
        write_tree(folder / "data", triplets({"one": 4}))
        return packed(manifest(folder / "manifests", source={"path": "../data"})).path


PACK_OF = "expected a pack, got a file that is none or is damaged"
DISTANCES_OF = "expected the distances of a run, got a file that is none or is damaged"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda file: file.__delitem__("items/votes"), "votes is missing"),
        (lambda file: file.__delitem__("images/8x8"), "images/8x8 is missing"),
        (
            lambda file: file.__delitem__("items"),
            "Unable to synchronously open object (object 'items'",
        ),
        (lambda file: file.attrs.__delitem__("digest"), "digest"),
        (attribute("protocol", "3afc"), "unknown protocol '3afc'"),
        (attribute("dataset", 3), "its dataset is np.int64(3)"),
        (attribute("roles", ["a", "b", "c"]), "its roles are a, b, c"),
        (replaced("items/p", np.zeros(3)), "p is of shape (3,), expected 4"),
        (replaced("items/rows", np.zeros((4, 2), int)), "items/rows is of shape (4, 2), expected"),
        (replaced("items/p", np.zeros(4, int)), "p is of type int64"),
        (replaced("items/id", np.arange(4)), "id is of type int64"),
        (replaced("images/8x8", np.zeros((12, 8, 8, 3))), "images/8x8 is of type float64"),
        (replaced("images/8x8", np.zeros((12, 8, 8, 3), "u2")), "images of type uint16"),
        (replaced("images/8x8", np.zeros((12, 8, 3), "u1")), "images/8x8 is of shape (12, 8, 3)"),
        (replaced("sizes", np.array([[8, 9]])), "images/8x9 is missing"),
        (filled("items/rows", 12, (0, 0)), "items/rows points to number 12 of 12"),
        (filled("items/rows", -1, (0, 0)), "items/rows points to number -1 of 12"),
        (filled("items/size", 1, 2), "items/size points to number 1 of 1"),
        (filled("items/sub", 1, 2), "sub points to number 1 of 1"),
        (filled("items/p", np.nan, 1), "p: expected a share of people, in [0, 1]"),
        (filled("items/p", 1.01, 1), "p: expected a share of people, in [0, 1]"),
        (filled("items/votes", -1, 1), "votes: expected counts of people"),
        (filled("items/id", "one/000000", 1), "an item is there twice"),
        (linked("items/p", h5py.ExternalLink("/etc/x.h5", "p")), "p is a link to elsewhere"),
        (linked("items/p", h5py.SoftLink("/items/p")), "p is a link to elsewhere"),  # in a ring
        (linked("images", h5py.SoftLink("/items")), "images/8x8 is a link to elsewhere"),
        (linked("images/8x8", h5py.ExternalLink("/etc/x.h5", "p")), "images/8x8 is a link to els"),
        (virtual("images/8x8"), "images/8x8 lies in other files"),
        (virtual("items/p"), "p lies in other files"),
        (external("images/8x8"), "images/8x8 lies in other files"),
        (declared("images/8x8", 10**9), "images/8x8 declares 192,000,000,000 bytes and holds too"),
        (lambda file: linked("items/p", file["images"])(file), "p is no dataset"),
    ],
)
def test_a_pack_that_is_not_what_it_should_be(
    tmp_path: Path, a_pack: Path, change: Callable[[h5py.File], None], why: str
) -> None:
    path = Path(shutil.copy(a_pack, tmp_path))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(PmbenchError) as caught:
        Pack.open(path)
    assert str(caught.value).startswith(f"{path}: {PACK_OF} ({why}")
    assert str(caught.value).endswith("); delete it and pack again with `pmbench download`")


def test_a_pack_of_another_version_is_told_and_one_that_changes_meanwhile(here: Path) -> None:
    write_tree(here / "data", triplets({"one": 4}))
    entry = manifest(here / "manifests", source={"path": "../data"})
    pack = packed(entry)
    with h5py.File(pack.path, "r+") as file:
        file.attrs["pmbench"] = "9.9.9"  # the same format: it can be read
    packed(entry)
    old = Pack.open(pack.path)
    (here / "data" / "val/one/p0/000000.png").write_bytes(png(picture(99)))
    packed(entry)
    with pytest.raises(PmbenchError) as caught:
        old.images(0, np.array([0]))
    assert str(caught.value) == (
        f"{pack.path}: packed anew by another pmbench meanwhile; run the same command again"
    )
    for number in (2, 0, "x"):
        with h5py.File(pack.path, "r+") as file:
            file.attrs["format"] = number
        with pytest.raises(PmbenchError) as caught:
            packed(entry)
        assert str(caught.value) == (
            f"{pack.path}: a pack of format {number}; this pmbench reads format 1; delete the file "
            "and pack again with `pmbench download`"
        )


def some_distances(path: Path, subs: int = 2) -> None:
    n = 6
    items = Items(
        np.array([f"{i}" for i in range(n)], object), np.arange(n) % subs,
        tuple(f"s{k}" for k in range(subs)), np.full(n, 0.5), np.full(n, 2, np.int32), np.arange(n),
    )  # fmt: skip
    write_distances(path, items, np.ones((n, 2)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda file: file.__delitem__("distances"), "distances is missing"),
        (replaced("distances", np.ones(6)), "distances is of shape (6,), expected 6×n"),
        (replaced("distances", np.ones((6, 2), int)), "distances is of type int64"),
        (filled("distances", np.inf, (1, 1)), "a distance is infinite"),
        (filled("sub", 7, 1), "sub points to number 7 of 2"),
        (filled("p", np.nan, 1), "p: expected a share of people, in [0, 1]"),
        (linked("distances", h5py.ExternalLink("/etc/x.h5", "d")), "distances is a link to els"),
        (linked("distances", h5py.SoftLink("/distances")), "distances is a link to elsewhere"),
        (virtual("distances"), "distances lies in other files"),
        (declared("distances", 10**12), "distances is of shape (1000000000000, 2), expected 6×n"),
    ],
)
def test_distances_that_are_not_what_they_should_be(
    tmp_path: Path, change: Callable[[h5py.File], None], why: str
) -> None:
    path = tmp_path / "distances.h5"
    some_distances(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(PmbenchError) as caught:
        read_distances(path, TWO_AFC.judgement)
    assert str(caught.value).startswith(f"{path}: {DISTANCES_OF} ({why}")


def test_distances_of_an_earlier_version_and_of_many_sub_datasets(tmp_path: Path) -> None:
    some_distances(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        names = list(file["sub_names"].asstr()[:])
        del file["sub_names"]
        file.attrs["sub_names"] = names
    assert read_distances(tmp_path / "a.h5", TWO_AFC.judgement)[0].sub_names == ("s0", "s1")
    some_distances(tmp_path / "b.h5", subs=10_000)  # more than fit into an attribute
    assert len(read_distances(tmp_path / "b.h5", TWO_AFC.judgement)[0].sub_names) == 10_000


# --- results edited by hand -----------------------------------------------------------------------


def keys_of(info: dict[str, Any]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [(key,) for key in info]
    for key, value in info.items():
        if isinstance(value, dict) and key not in ("environment", "files"):
            found += [(key, inner) for inner in value]
    return found


@pytest.mark.parametrize(
    "to",
    [
        ...,
        *(
            pytest.param(value, marks=pytest.mark.slow)
            for value in (None, "x", [], {}, [1], {"a": 1}, -1, 0, 1.5, True, "", float("nan"))
        ),
    ],
)
def test_every_fact_of_a_run_is_checked_before_anyone_relies_on_it(results: Path, to: Any) -> None:
    from rich.console import Console

    from pmbench.analysis.baseline import measured as as_baseline

    console, folder = Console(file=io.StringIO()), RUNS / "l1"
    whole = (folder / "run.json").read_text()
    left_out = 0
    for place in keys_of(json.loads(whole)):
        info = json.loads(whole)
        inner = info if len(place) == 1 else info[place[0]]
        if to is ...:
            del inner[place[-1]]
        else:
            inner[place[-1]] = to
        (folder / "run.json").write_text(json.dumps(info))
        try:
            run = open_run(folder)
        except PmbenchError:
            left_out += 1
            continue
        assert run is not None
        made = recipe(run)
        console.print(run_to_rich(run.info, made))
        used_in([run])
        as_baseline(run)
        run.scores()
    assert left_out > (20 if to is ... else 30)


def test_a_leaderboard_goes_on_with_the_sound_runs(results: Path) -> None:
    info = json.loads((RUNS / "l1" / "run.json").read_text())
    del info["environment"]
    (RUNS / "l1" / "run.json").write_text(json.dumps(info))
    told = (
        f"left out: {RUNS}/l1/run.json: expected a run written by pmbench ('environment of the "
        "run'); delete its folder and run `pmbench eval` again\n"
    )
    for words in (
        ("leaderboard",), ("cite", "-o", "c.bib"), ("baseline", "-o", "b.json"), ("list", "runs"),
    ):  # fmt: skip
        result = pmbench(*words)
        assert told in result.stderr
        assert "l1 " not in result.stdout
    refused = pmbench("show", f"{RUNS.name}/l1", code=2)
    assert refused.stderr.startswith(told)
    assert "unknown run 'l1'" in refused.stderr
    assert "l1" not in json.dumps(json.loads(Path("b.json").read_text())["runs"])


def test_a_number_changed_by_hand_is_noticed(results: Path) -> None:
    path = RUNS / "grad" / "scores.csv"
    text = path.read_text()
    value = text.splitlines()[1].split(",")[4]
    path.write_text(text.replace(value, "0.99", 1))
    (told,) = damaged(results)
    assert re.fullmatch(
        re.escape(f"{path}: not what pmbench wrote (expected sha256 ")
        + r"[0-9a-f]{8}…, got [0-9a-f]{8}…\); run the same `pmbench eval` again, which scores the "
        "kept distances anew",
        told,
    )
    assert f"left out: {told}" in pmbench("leaderboard").stderr
    result = pmbench(*EVAL)
    assert f"ladder-2afc: scoring grad anew, since its scores are damaged ({told})" in result.stderr
    assert path.read_text() == text
    assert damaged(results) == []


def test_damaged_draws_are_told_and_do_not_hide_the_run(results: Path) -> None:
    path = RUNS / "grad" / "draws.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    assert [run.metric for run in find(results)] == ["grad", "l1"]
    assert damaged(results) == []
    (told,) = flawed(results)
    assert told.startswith(f"{path}: not what pmbench wrote (expected sha256 ")
    assert pmbench("leaderboard").stderr == f"{told}\n"
    pmbench(*EVAL)
    assert path.read_bytes() == whole
    assert flawed(results) == []


def test_distances_that_are_not_those_of_the_facts_are_told(results: Path) -> None:
    shutil.copy(RUNS / "l1" / "distances.h5", RUNS / "grad")
    (told,) = damaged(results)
    assert told.startswith(f"{RUNS}/grad/distances.h5: not what pmbench wrote (expected sha256 ")
    for change, why in (
        (lambda info: info["dataset"].update(items=53), "id is of shape (54,), expected 53"),
        (
            lambda info: info["dataset"].update(sub_datasets=["one"]),
            "of the sub-datasets noise, blur, ",
        ),
    ):
        info = json.loads((RUNS / "l1" / "run.json").read_text())
        change(info)
        (RUNS / "grad" / "run.json").write_text(json.dumps(info))
        resealed(RUNS / "grad")
        path = RUNS / "grad" / "distances.h5"
        run = open_run(RUNS / "grad")
        assert run is not None
        with pytest.raises(PmbenchError) as caught:
            run.check_distances()
        assert str(caught.value).startswith(f"{path}: {DISTANCES_OF} ({why}")


# --- journals -------------------------------------------------------------------------------------

HEAD = Head("a || b#1", {"torch": "2"}, Bounds(pixels=1024))
SIZES = [4, 2, 6]


def journal(path: Path) -> list[np.ndarray]:
    values = [np.arange(size, dtype=float) + size for size in SIZES]
    made = Journal(path, HEAD, SIZES)
    for some in values:
        made.append(some, 0.5)
    made.close()
    return values


def taken_up(path: Path) -> tuple[list[np.ndarray], int]:
    again = Journal(path, HEAD, SIZES)
    again.close()
    return again.values, again.lost


def test_a_journal_cut_off_anywhere_goes_on_after_its_last_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "journal.bin"
    values = journal(path)
    whole = path.read_bytes()
    start = len(HEAD.to_line())
    ends = [start + sum(16 + 8 * size for size in SIZES[:k]) for k in range(4)]
    for length in [0, 1, *range(start - 2, len(whole) + 1)]:
        path.write_bytes(whole[:length])
        back, lost = taken_up(path)
        batches = sum(end <= length for end in ends[1:])
        assert [one.tolist() for one in back] == [one.tolist() for one in values[:batches]]
        assert lost == (length - ends[batches] if length >= start else 0)
        assert path.read_bytes() == whole[: ends[batches]]


def test_a_journal_with_any_byte_changed_gives_no_wrong_distance(tmp_path: Path) -> None:
    path = tmp_path / "journal.bin"
    values = journal(path)
    whole = path.read_bytes()
    start = len(HEAD.to_line())
    for place in [*range(0, start, 9), *range(start, len(whole))]:
        broken = bytearray(whole)
        broken[place] ^= 0x41
        path.write_bytes(broken)
        back, _ = taken_up(path)
        assert [one.tolist() for one in back] == [one.tolist() for one in values[: len(back)]]
        assert (len(back) < 3) == (place >= start or len(back) == 0)


@pytest.mark.parametrize("sizes", [[4, 2, 5], [4, 2], [5, 2, 6], [4, 2, 6, 1]])
def test_records_that_do_not_fit_the_batches_do_not_count(tmp_path: Path, sizes: list[int]) -> None:
    journal(tmp_path / "journal.bin")
    again = Journal(tmp_path / "journal.bin", HEAD, sizes)
    fitting = [size for size, there in zip(sizes, SIZES, strict=False) if size == there]
    fitting = [] if sizes[0] != SIZES[0] else fitting
    assert [len(one) for one in again.values] == fitting
    assert (again.lost > 0) == (len(fitting) < 3)
    again.close()


def test_a_record_with_absurd_seconds_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "journal.bin"
    made = Journal(path, HEAD, [1, 1])
    made.append(np.ones(1), 1.0)
    made.append(np.ones(1), float("nan"))
    made.close()
    assert len(taken_up_with(path, [1, 1])) == 1


def taken_up_with(path: Path, sizes: list[int]) -> list[np.ndarray]:
    again = Journal(path, HEAD, sizes)
    again.close()
    return again.values


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"\x00" * 2000,
        b"[" * 100_000 + b"\n",
        b'{"journal": 1, "signature": "a", "environment": {}, "bounds": {}}\n',
        b'{"journal": 2, "signature": "a", "environment": [], "bounds": {}}\n',
        b'{"journal": 2, "signature": "a", "environment": {}, "bounds": {"pixels": 0}}\n',
        b'{"journal": 2, "signature": "a", "environment": {}, "bounds": {"pixels": "9"}}\n',
        b'{"journal": 2, "signature": "a", "environment": {}, "bounds": {"items": 2.5}}\n',
        b'{"journal": 2, "signature": "a", "environment": {}, "bounds": {"more": 1}}\n',
        b'{"journal": 2, "signature": "a", "environment": {}, "bounds": {}}',  # no end of line
    ],
)
def test_a_head_that_is_none_begins_anew(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.bin"
    path.write_bytes(line)
    assert head_of(path) is None
    assert taken_up(path) == ([], 0)
    assert head_of(path) == HEAD


def test_a_journal_full_of_garbage_is_told_and_the_run_completes(results: Path) -> None:
    before = numbers_below(results)
    for metric in ("l1", "grad"):
        (RUNS / metric / "run.json").unlink()
    (RUNS / "l1" / "journal.bin").write_bytes(b"garbage")
    result = pmbench(*EVAL)
    assert (
        "ladder-2afc: what there was of an interrupted run of l1 cannot be read; beginning anew"
    ) in result.stderr
    assert "interrupted run of grad" not in result.stderr
    assert numbers_below(results) == before

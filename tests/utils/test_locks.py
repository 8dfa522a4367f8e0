"""Several processes at the same thing: one works, the others wait or say who works, all agree."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.factories import FOLDERS, manifest, packed, tar, toml, triplets, write_tree
from support.http_server import serving

from pmbench.datasets.download import DownloadOptions, download
from pmbench.datasets.manifest import load
from pmbench.datasets.resize import resize_for
from pmbench.results.run import locked
from pmbench.results.store import damaged_runs, find_runs
from pmbench.utils.errors import PmbenchError
from pmbench.utils.locks import BusyError, exclusive, is_free, is_read
from pmbench.utils.progress import Silent

HOLD = """
import sys, time
from pathlib import Path
from pmbench.utils.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
MAIN = "from pmbench.cli import main; main()"


@contextmanager
def holding(lock: Path, seconds: float = 60) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a lock."""
    words = [sys.executable, "-c", HOLD, str(lock), str(seconds)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def at_once(count: int, *words: str, cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run one command several times at the same time."""
    command = [sys.executable, "-c", MAIN, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": cwd}
    running = [subprocess.Popen(command, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    ended = []
    for process in running:
        out, err = process.communicate(timeout=300)
        assert "Traceback" not in err, err
        ended.append(subprocess.CompletedProcess(command, process.returncode, out, err))
    return ended


# --- locks ----------------------------------------------------------------------------------------


def test_a_live_lock_says_who_holds_it_and_a_killed_holders_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / "x.lock"
    told: list[str] = []
    with holding(lock, 60) as process:
        with pytest.raises(BusyError) as caught, exclusive(lock):
            pass
        assert re.fullmatch(
            rf"another pmbench \(process {process.pid} on \S+ since [-\d]+ [\d:+]+, `.+`\)",
            str(caught.value),
        )
        assert not is_free(lock)
    assert lock.exists()  # the file of the killed process stays, and says nothing
    assert is_free(lock)
    with exclusive(lock, -1, told.append):
        assert not is_free(lock)
    assert told == []


def test_who_waits_is_told_for_whom_and_goes_on_when_the_lock_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    told: list[str] = []
    with holding(lock, 0.3) as process:
        with pytest.raises(BusyError), exclusive(lock, 0.05):
            pass
        with exclusive(lock, 20, told.append):
            assert process.wait(10) == 0
    (sentence,) = told
    assert sentence.startswith(f"another pmbench (process {process.pid} on ")


@pytest.mark.parametrize("text", [b"", b"mine", b"process 1\x1b[2J", b"\xff\xfe"])
def test_a_lock_with_something_else_in_it_says_no_more_than_it_knows(
    tmp_path: Path, text: bytes
) -> None:
    lock = tmp_path / "x.lock"
    with holding(lock):
        lock.write_bytes(text)
        with pytest.raises(BusyError) as caught, exclusive(lock):
            pass
    assert str(caught.value) == "another pmbench"


def test_eval_refuses_where_another_process_measures_the_same(tmp_path: Path) -> None:
    with (
        holding(tmp_path / ".lock") as process,
        pytest.raises(PmbenchError) as caught,
        locked(tmp_path),
    ):
        pass
    assert str(caught.value).startswith(f"another pmbench (process {process.pid} on ")
    assert str(caught.value).endswith(
        f") is measuring into {tmp_path}; wait for it, or choose another folder with --results"
    )


def test_a_pack_that_is_read_is_known_to_be(tmp_path: Path) -> None:
    write_tree(tmp_path / "data", triplets({"one": 2}))
    pack = packed(manifest(tmp_path / "manifests", source={"path": "../data"}))
    assert not is_read(pack.path)
    pack.images(0, pack.rows[0])
    assert is_read(pack.path)
    pack._file.close()
    assert not is_read(pack.path)


# --- the same thing at once -----------------------------------------------------------------------


def test_two_processes_download_and_pack_the_same(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar(triplets({"one": 150}))
    (tmp_path / "manifests").mkdir()
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(tmp_path / "manifests"))
    with serving() as server:
        content = {
            "name": "toy", "title": "Toy", "protocol": "2afc", "votes_per_item": 5,
            "folders": FOLDERS, "source": {"url": server.add("/toy.tar.gz", archive)},
        }  # fmt: skip
        (tmp_path / "manifests" / "toy.toml").write_text(toml(content))
        (home / "packs").mkdir(parents=True)
        (home / "packs" / "toy.none.lock").write_text("process 1 on gone since then, `x`")
        ended = at_once(2, "download", "toy", cwd=tmp_path)
        assert len(server.requests) == 1  # one fetched it
    path = home / "packs" / "toy.none.h5"
    assert [one.returncode for one in ended] == [0, 0]
    assert {one.stdout for one in ended} == {f"toy: 150 items, {path}\n"}
    first = path.read_bytes()
    path.unlink()
    entry = load(tmp_path / "manifests" / "toy.toml")
    download(entry, resize_for(entry, None), DownloadOptions(), Silent())
    assert path.read_bytes() == first
    names = {p.name for p in home.rglob("*") if p.is_file()}
    assert names == {
        "toy.none.h5", "toy.none.lock", "toy.tar.gz", "toy.tar.gz.lock", "pins.json", "pins.lock",
    }  # fmt: skip
    assert len(json.loads((home / "pins.json").read_text())) == 1


EVAL = ("eval", "-m", "l1,l2,grad", "-d", "ladder-2afc")


@pytest.mark.slow
def test_three_processes_measure_the_same(tmp_path: Path) -> None:
    at_once(1, *EVAL, "--results", "one", cwd=tmp_path)
    for _ in range(2):
        ended = at_once(3, *EVAL, "--results", "many", cwd=tmp_path)
        assert {one.returncode for one in ended} <= {0, 1}
        assert 0 in {one.returncode for one in ended}
        for one in ended:
            if one.returncode:
                assert re.search(r"not run: .*another pmbench (\(.+\) )?is measuring", one.stdout)
        runs = find_runs(tmp_path / "many")
        assert [run.metric for run in runs] == ["grad", "l1", "l2"]
        assert damaged_runs(tmp_path / "many") == []
        for run in runs:
            here = tmp_path / "one" / run.dataset / run.folder.name
            for name in ("distances.h5", "scores.csv", "draws.npz"):
                assert (run.folder / name).read_bytes() == (here / name).read_bytes()
        assert not list((tmp_path / "many").rglob("*.tmp"))


@pytest.mark.slow
def test_two_processes_that_end_at_once_leave_a_leaderboard_of_both(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAIN, "eval", "-d", "ladder-2afc", "--limit", "2", "-m"]
    for _ in range(2):
        running = [subprocess.Popen([*command, name], cwd=tmp_path) for name in ("l1", "l2")]
        assert [process.wait(120) for process in running] == [0, 0]
        text = (tmp_path / "results" / "leaderboard.csv").read_text()
        assert ",metric,l1," in text
        assert ",metric,l2," in text
        time.sleep(0.1)

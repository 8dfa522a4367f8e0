"""Files: written whole or not at all, and places that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from support.cli import pmbench
from support.disk import FORBIDDEN, IN_THE_WAY, TOO_LONG, file_size_limit, mounted
from support.factories import manifest, triplets, write_tree
from support.measured import EVAL, RUNS, run_files

from pmbench.utils import files
from pmbench.utils.errors import PmbenchError

# --- drafts ---------------------------------------------------------------------------------------


def test_what_cannot_be_written_whole_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "before")
    with file_size_limit(1000), pytest.raises(PmbenchError) as caught:
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


# --- a place that cannot be written ---------------------------------------------------------------


def test_a_home_or_results_that_are_a_file(
    disk_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (disk_folder / "file").write_text("mine")
    told = pmbench(*EVAL, "--results", "file", code=2).stderr
    assert told == f"file/{RUNS.name}: Not a directory{IN_THE_WAY}\n"
    monkeypatch.setenv("PMBENCH_HOME", str(disk_folder / "file"))
    write_tree(disk_folder / "data", triplets({"one": 2}))
    manifest(disk_folder / "manifests", source={"path": "../data"})
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(disk_folder / "manifests"))
    told = pmbench("eval", "-m", "l1", "-d", "toy", code=2).stderr
    assert told == f"{disk_folder}/file/packs: Not a directory{IN_THE_WAY}\n"
    told = pmbench("cache", "info", code=2).stderr
    assert told == (
        f"{disk_folder}/file: expected the folder of the cache, got a file; move it out of the "
        "way, or name a folder with PMBENCH_HOME\n"
    )
    assert (disk_folder / "file").read_text() == "mine"


def test_a_read_only_cache_is_enough_where_all_is_there(
    disk_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(disk_folder / "data", triplets({"one": 4}))
    manifest(disk_folder / "manifests", source={"path": "../data"})
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(disk_folder / "manifests"))
    words = ("eval", "-m", "l1", "-d", "toy", "--results")
    home = disk_folder / "pmbench-home"
    with mounted(home, "size=1m"):
        subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
        told = pmbench(*words, "r0", code=2).stderr
        assert told == f"{home}/packs: Read-only file system{FORBIDDEN}\n"
        subprocess.run(["mount", "-o", "remount,rw", str(home)], check=True)
        pmbench(*words, "r1")
        subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
        pmbench(*words, "r2")
        info = json.loads(pmbench("cache", "info", "--json").stdout)
        states = {thing["kind"]: thing["status"] for thing in info["things"]}
        assert states == {"pack": "complete", "lock": "stale"}
        told = pmbench("cache", "clean", "--all").stderr
        assert "left, since it cannot be removed (Read-only file system)" in told
    assert run_files(Path("r1")) == run_files(Path("r2"))


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

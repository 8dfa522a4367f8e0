"""Ctrl-C, SIGTERM and SIGHUP, sent to real processes: one line, and nothing lost or left."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from support.cli import pmbench
from support.factories import FOLDERS, tar, toml, triplets
from support.forked import Completed, ForkServer, Running
from support.http_server import drip, serving

from pmbench.cli.signals import handle_signals

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="needs os.fork and /proc")

GO_ON = "run the same command again to go on where it stopped"
ANEW = "run the same command again to begin anew"
WHAT = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "ended by SIGTERM",
    signal.SIGHUP: "ended by SIGHUP",
}


@pytest.fixture
def start(parent: ForkServer, tmp_path: Path, home: Path) -> Iterator[Callable[..., Running]]:
    """Start a command in a folder of the test's own; it does not outlive the test."""
    started: list[Running] = []

    def begin(*words: str | Path, **environment: str) -> Running:
        where = {"PMBENCH_HOME": str(home), "TMPDIR": str(tmp_path), **environment}
        started.append(parent.start(*words, cwd=tmp_path, **where))
        return started[-1]

    yield begin
    for running in started:
        running.end_if_running()


def write_file(path: Path, text: str) -> Path:
    path.write_text(dedent(text).lstrip())
    return path


def until(what: Callable[[], object], running: Running) -> None:
    """Wait until something is so; fail if the command ends first."""
    while not what():
        if not running.running():
            pytest.fail(f"it ended first: {running.wait()}")
        time.sleep(0.001)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def check_exit(ended: Completed, number: signal.Signals, how: str) -> None:
    """See that a command ended as a signal asks for, with one line."""
    assert ended.code == 128 + number, ended
    assert ended.stderr.splitlines()[-1] == f"{WHAT[number]}; {how}"
    assert ended.stderr.count(how) == 1
    assert "Traceback" not in ended.stderr


# --- what can be resumed --------------------------------------------------------------------------

EVAL = ("eval", "-m", "mmdpp", "-d", "ladder-2afc", "--batch-size", "1", "--limit", "3")
QUICK = ("--resamples", "100")
MEASURED = Path("ladder-2afc@first3") / "mmdpp"


def test_an_evaluation_that_is_ended_goes_on_to_the_same_bits(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    journal = tmp_path / "results" / MEASURED / "journal.bin"
    for i, number in enumerate(WHAT, 1):
        running = start(*EVAL, *QUICK)
        until(lambda: size(journal) > 400 + 100 * i, running)  # noqa: B023
        running.send(number)
        check_exit(running.wait(), number, GO_ON)
        assert {path.name for path in journal.parent.iterdir()} <= {"journal.bin", ".lock"}
    again = start(*EVAL, *QUICK).wait()
    assert "went on where it was left: mmdpp after batch" in again.stderr
    assert start(*EVAL, *QUICK, "--results", "undisturbed").wait().code == 0
    one, other = (
        (tmp_path / folder / MEASURED / "distances.h5").read_bytes()
        for folder in ("results", "undisturbed")
    )
    assert one == other


def test_an_evaluation_that_is_to_be_fresh_promises_nothing(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    journal = tmp_path / "results" / MEASURED / "journal.bin"
    running = start(*EVAL, *QUICK, "--fresh")
    until(lambda: size(journal) > 500, running)
    running.send(signal.SIGTERM)
    check_exit(running.wait(), signal.SIGTERM, ANEW)


def test_a_download_that_is_ended_goes_on(
    start: Callable[..., Running], tmp_path: Path, home: Path
) -> None:
    data = tar(triplets({"cnn": 40}))
    content = {"name": "toy", "title": "Toy", "protocol": "2afc", "votes_per_item": 5}
    words = ("download", "toy", "--manifests", "manifests")
    environment = {"PMBENCH_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    with serving() as server:
        source = {"url": server.add("/toy.tar.gz", data)}
        (tmp_path / "manifests").mkdir()
        (tmp_path / "manifests" / "toy.toml").write_text(
            toml(content | {"source": source, "folders": FOLDERS})
        )
        server.behaviours[:] = [drip(len(data) // 50, 0.05)]
        running = start(*words, **environment)
        until(lambda: any(map(size, home.glob("downloads/toy/*/*.part"))), running)
        running.send(signal.SIGTERM)
        check_exit(running.wait(), signal.SIGTERM, GO_ON)
        assert start(*words, **environment).wait().code == 0
        assert server.ranges[0] is None
        assert re.fullmatch(r"bytes=[1-9]\d*-", server.ranges[-1] or "")


# --- what cannot ----------------------------------------------------------------------------------


def test_a_command_that_has_nothing_to_resume_does_not_promise_it(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    write_file(
        tmp_path / "ends.py",
        """
        import signal
        def far(x, y):
            signal.raise_signal(signal.SIGTERM)
        """,
    )
    write_file(
        tmp_path / "slow.py", "print('importing', flush=True)\nimport time; time.sleep(100)\n"
    )
    first = ("eval", "-m", "l1", "-d", "ladder-jnd", "--limit", "1", *QUICK)
    assert start(*first).wait().code == 0
    plan = start("eval", "-m", "./ends.py:far", "-d", "ladder-jnd", "--dry-run").wait()
    check_exit(plan, signal.SIGTERM, ANEW)
    running = start("eval", "-m", "./slow.py:far", "-d", "ladder-jnd")  # for ever at import
    until(lambda: "importing" in running.stderr(), running)
    running.send(signal.SIGINT)
    check_exit(running.wait(), signal.SIGINT, ANEW)
    running = start("report", "-o", "site", "--no-gallery")
    until(lambda: any(tmp_path.glob("*site.*tmp")), running)
    for _ in range(2):  # as `timeout` does: one wish, and there must be time to clear up
        running.send(signal.SIGTERM)
    check_exit(running.wait(), signal.SIGTERM, ANEW)
    assert not any(tmp_path.glob("*site*"))


# --- the second, and those that are swallowed -----------------------------------------------------

DEAF = """
    import signal
    def far(x, y):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        return (x - y).abs().amax((1, 2, 3))
"""
STUBBORN = """
    import pathlib, time
    def far(x, y):
        pathlib.Path("here").touch()
        while True:
            try:
                time.sleep(1)
            except KeyboardInterrupt:
                pass
"""
IN_C = """
    import ctypes, pathlib, threading
    def far(x, y):
        threading.Timer(0.3, pathlib.Path("here").touch).start()
        mutex = ctypes.create_string_buffer(64)
        lock = ctypes.CDLL(None).pthread_mutex_lock
        lock(mutex)
        lock(mutex)  # never comes back, and hears no signal
"""
PROGRAM = """#!/bin/sh
echo $$ >> pids
sleep 300 &
echo $! >> pids
wait
"""


def test_a_ctrl_c_that_a_metric_swallows_is_heard_nevertheless(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    write_file(tmp_path / "deaf.py", DEAF)
    words = ("eval", "-m", "./deaf.py:far", "-d", "ladder-2afc", "--batch-size", "100")
    check_exit(start(*words).wait(), signal.SIGINT, GO_ON)


@pytest.mark.parametrize("text", [STUBBORN, IN_C], ids=["swallowed", "in C code"])
def test_a_second_ctrl_c_ends_at_once(
    start: Callable[..., Running], tmp_path: Path, text: str
) -> None:
    write_file(tmp_path / "mine.py", text)
    running = start("eval", "-m", "./mine.py:far", "-d", "ladder-jnd", "--limit", "1")
    until((tmp_path / "here").exists, running)
    running.send(signal.SIGINT)
    time.sleep(0.4)
    assert running.running()
    running.send(signal.SIGINT)
    sent = time.monotonic()
    check_exit(running.wait(), signal.SIGINT, GO_ON)
    assert time.monotonic() - sent < 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_programs_are_ended_too_and_their_pictures_removed(
    start: Callable[..., Running], tmp_path: Path, number: signal.Signals
) -> None:
    write_file(tmp_path / "hangs", PROGRAM).chmod(0o755)
    pids = tmp_path / "pids"
    words = ("eval", "-m", "cmd:./hangs {ref} {dist}", "-d", "ladder-jnd", "--limit", "1")
    running = start(*words)
    until(lambda: pids.exists() and len(pids.read_text().split()) > 1, running)
    running.send(number)
    check_exit(running.wait(), number, GO_ON)
    until_gone(pids)
    assert not list(tmp_path.glob("pmbench-*"))


def test_programs_of_a_metric_that_hears_nothing_are_ended_at_once_too(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    write_file(tmp_path / "hangs", PROGRAM).chmod(0o755)
    text = """
        import threading
        from pmbench.utils.processes import Processes
        def far(x, y):
            while True:
                try:
                    with Processes() as processes:
                        run = lambda: processes.run(["./hangs"], 300)
                        thread = threading.Thread(target=run, daemon=True)
                        thread.start()
                        while True:
                            try:
                                thread.join()
                            except KeyboardInterrupt:
                                pass
                except KeyboardInterrupt:
                    pass
    """
    write_file(tmp_path / "mine.py", text)
    pids = tmp_path / "pids"
    running = start("eval", "-m", "./mine.py:far", "-d", "ladder-jnd", "--limit", "1")
    until(lambda: pids.exists() and len(pids.read_text().split()) > 1, running)
    running.send(signal.SIGINT)
    time.sleep(0.4)
    running.send(signal.SIGINT)
    check_exit(running.wait(), signal.SIGINT, GO_ON)
    until_gone(pids)


def until_gone(pids: Path) -> None:
    """Wait until the processes in a file have ended; fail after some seconds."""
    numbers = [int(line) for line in pids.read_text().split()]
    for _ in range(1000):
        if not any(map(alive, numbers)):
            return
        time.sleep(0.005)
    pytest.fail(f"of {numbers} some run on")


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


# --- what is not ours -----------------------------------------------------------------------------


def test_what_is_to_be_ignored_stays_ignored() -> None:
    """As under `nohup`, and in the background of a script."""
    before = {number: signal.getsignal(number) for number in WHAT}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handle_signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])


def test_a_process_that_a_metric_forks_ends_as_it_would_without_us(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    text = """
        import os, signal, time
        def far(x, y):
            for _ in range(0 if os.path.exists("here") else 2):
                if (pid := os.fork()) == 0:
                    time.sleep(100)
                    os._exit(0)
                time.sleep(0.2)
                os.kill(pid, signal.SIGTERM)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                assert status == -signal.SIGTERM, status
            open("here", "w").close()
            return (x - y).abs().amax((1, 2, 3))
    """
    write_file(tmp_path / "mine.py", text)
    ended = start("eval", "-m", "./mine.py:far", "-d", "ladder-jnd", "--limit", "1", *QUICK).wait()
    assert ended.code == 0, ended


def test_a_keyboard_interrupt_that_nobody_asked_for_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path / "mine.py", "def far(x, y):\n    raise KeyboardInterrupt\n")
    result = pmbench("eval", "-m", "./mine.py:far", "-d", "ladder-jnd", code=1)
    assert (
        "KeyboardInterrupt: (in mine.py, line 2), but nobody asked for it; a metric must not raise "
        "that: mend it, or leave it out" in result.stderr
    )


def test_what_a_metric_leaves_running_does_not_hold_up_the_end(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    text = """
        import multiprocessing, threading, time
        threading.Thread(target=time.sleep, args=(1000,), name="a thread of mine").start()
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
        process.start()
        def far(x, y):
            return (x - y).abs().amax((1, 2, 3))
    """
    write_file(tmp_path / "mine.py", text)
    ended = start("eval", "-m", "./mine.py:far", "-d", "ladder-jnd", "--limit", "1", *QUICK).wait()
    assert ended.code == 0, ended
    assert ended.stderr.splitlines()[-1] == (
        "not waiting for what a metric left running: a thread of mine, ForkProcess-1"
    )
    assert "mine:far" in ended.stdout

"""A fork server: a process that has imported pmbench, and forks one that runs a command.

Each command is a real process of its own, which can really be killed, but needs no seconds to start
up. The server reads a JSON line for each, writes the child's number, and its status when it ended.
torch computes on one thread, so that there is none to be lost in a fork.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from support.paths import REPOSITORY, TESTS


@dataclass(frozen=True)
class Completed:
    """What came of a command: its exit code, or minus the signal that ended it; what it wrote."""

    code: int
    stdout: str
    stderr: str


class Running:
    """A command under way."""

    def __init__(self, parent: ForkServer, pid: int, streams: Path) -> None:
        self._parent, self.pid, self._streams = parent, pid, streams
        self._seen = False
        self.started = time.monotonic()

    def send(self, number: int) -> None:
        """Send it a signal; nobody waits for it before ``wait``, so its number is its own."""
        os.kill(self.pid, number)

    def running(self) -> bool:
        """Return whether it has not ended yet."""
        status = Path(f"/proc/{self.pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] != "Z"

    def stderr(self) -> str:
        """Return what it has written to stderr by now."""
        return (self._streams / "stderr").read_text()

    def end_if_running(self) -> None:
        """Kill it, unless somebody has seen its end."""
        if not self._seen:
            self.send(signal.SIGKILL)
            self.wait()

    def wait(self) -> Completed:
        """Wait for its end."""
        self._seen = True
        self._parent.write_line("\n")
        code = os.waitstatus_to_exitcode(int(self._parent.read_line()))
        texts = [(self._streams / name).read_text() for name in ("stdout", "stderr")]
        return Completed(code, *texts)


class ForkServer:
    """The server, seen from the tests. One command at a time."""

    def __init__(self, process: subprocess.Popen[str], streams: Path) -> None:
        self._process, self._streams = process, streams
        self.read_line()

    def write_line(self, line: str) -> None:
        """Write a line to the server."""
        _open(self._process.stdin).write(line)
        _open(self._process.stdin).flush()

    def read_line(self) -> str:
        """Read a line from the server."""
        line = _open(self._process.stdout).readline()
        assert line, "the fork server has ended"
        return line

    def start(
        self,
        *words: str | Path,
        cwd: Path,
        die_at: int | None = None,
        cut: int | None = None,
        **environment: str,
    ) -> Running:
        """Start a command; with ``die_at`` it kills itself before that change of a file.

        With ``cut`` it cuts the power of the disk that ``cwd`` is on, too.
        """
        request = {
            "words": [str(word) for word in words], "cwd": str(cwd), "environment": environment,
            "streams": str(self._streams), "die_at": die_at, "cut": cut,
        }  # fmt: skip
        self.write_line(json.dumps(request) + "\n")
        return Running(self, int(self.read_line()), self._streams)

    def run(self, *words: str | Path, cwd: Path, **environment: str) -> Completed:
        """Run a command to its end."""
        return self.start(*words, cwd=cwd, **environment).wait()


@contextmanager
def start_fork_server(streams: Path, environment: Mapping[str, str]) -> Iterator[ForkServer]:
    """Start a server; the commands' output goes to files in ``streams``."""
    path = os.pathsep.join((str(REPOSITORY), str(TESTS)))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "support.forked"],
        env={**os.environ, **environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield ForkServer(process, streams)
    finally:
        _open(process.stdin).close()
        process.wait(60)
        _open(process.stdout).close()


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


# --- in the server --------------------------------------------------------------------------------


def import_commands() -> None:
    """Import what commands need, so that a fork of this process starts at once."""
    import torchvision  # noqa: F401  seconds

    from pmbench.metrics import registered

    registered()


def run_main(words: object) -> NoReturn:
    """Run ``pmbench WORDS`` in this child, and exit as it does."""
    sys.argv = ["pmbench", *words]  # type: ignore[misc]
    # the server's own know whether what was there before could be sought in
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    from pmbench.cli import main

    code = 0
    try:
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
    except BaseException:  # noqa: BLE001  a bug, as the interpreter tells it
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _serve() -> None:
    import_commands()
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        request = json.loads(line)
        if (pid := os.fork()) == 0:
            _run_command(request)
        print(pid, flush=True)  # noqa: T201
        sys.stdin.readline()
        print(os.waitpid(pid, 0)[1], flush=True)  # noqa: T201
    os._exit(0)  # there is nothing to clear up


def _run_command(request: dict[str, object]) -> None:
    """Run a command in this child, as `pmbench …` would, and exit."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for i, name in enumerate(("stdout", "stderr"), 1):
        os.dup2(
            os.open(Path(str(request["streams"])) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), i
        )
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(str(request["cwd"]))
    for name, value in dict(request["environment"]).items():  # type: ignore[call-overload]
        os.environ[name] = value
    if request["die_at"] is not None:
        _die_at(int(str(request["die_at"])), request["cut"])
    run_main(request["words"])


def _die_at(step: int, cut: object) -> None:
    """Kill this process before its step-th change of a file: opened to be written, moved, removed.

    Python reports each of them, but not what HDF5 does.
    """
    from support.power import Cut, cut_power

    left, folder = step, Path.cwd()

    def look(event: str, facts: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(facts[2], int) and facts[2] & _WRITING
        if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir"):
            left -= 1
            if left < 0:
                if cut is not None:
                    cut_power(folder, Cut(cut))
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

if __name__ == "__main__":
    _serve()

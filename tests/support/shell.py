"""bash in which ``pmbench`` is there, and starts at once.

A server imports what commands need, and forks a process for each that is typed. What is typed sends
it its words, its folder, its environment and its three streams through a socket, and gets the exit
code. torch computes on one thread, so that there is none to be lost in a fork.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.forked import import_commands, run_main
from support.paths import REPOSITORY, TESTS

_CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    request = {"words": sys.argv[2:], "cwd": os.getcwd(), "environment": dict(os.environ)}
    text = json.dumps(request).encode()
    socket.send_fds(server, [len(text).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(text)
    sys.exit(int(server.recv(8).decode() or 1))
"""


@dataclass(frozen=True)
class Shell:
    """A bash that knows pmbench."""

    place: Path  # of the socket, and of the program that asks it

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script here, up to the first command that fails."""
        ask = f'"{sys.executable}" -IS "{self.place}.py" "{self.place}" "$@"'
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail\npmbench() {{ {ask}; }}\n{script}"],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def shell(folder: Path) -> Iterator[Shell]:
    """Start a server, whose socket lies in ``folder``."""
    place = folder / "pmbench"
    Path(f"{place}.py").write_text(_CLIENT)
    python_path = os.pathsep.join((str(REPOSITORY), str(TESTS), os.environ.get("PYTHONPATH", "")))
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "support.shell", str(place)],
        env={**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            yield Shell(place)
        finally:
            server.terminate()


# --- in the server --------------------------------------------------------------------------------


def _serve(place: str) -> None:
    import_commands()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        print("ready", flush=True)  # noqa: T201
        while True:
            client, _ = listener.accept()
            with client:
                head, streams, *_ = socket.recv_fds(client, 8, 3)
                request = json.loads(_read(client, int.from_bytes(head, "big")))
                if (pid := os.fork()) == 0:
                    _run_command(request, streams)
                for stream in streams:
                    os.close(stream)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                client.sendall(str(code).encode())


def _read(client: socket.socket, length: int) -> bytes:
    text = b""
    while len(text) < length:
        text += client.recv(length - len(text))
    return text


def _run_command(request: dict[str, object], streams: list[int]) -> None:
    """Run a command in this child, as `pmbench …` would, and exit."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(dict(request["environment"]))  # type: ignore[call-overload]
    os.environ["OMP_NUM_THREADS"] = "1"
    run_main(request["words"])


if __name__ == "__main__":
    _serve(sys.argv[1])

"""A program that is run to its end: its seconds, its largest memory, and what it printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A process' largest memory is told to be at least that of the one it was started by, so a small
# one starts it.
_STARTER = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[2:]).returncode
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(sys.argv[1], "w") as file:
    json.dump([code, seconds, peak], file)
"""


@dataclass(frozen=True)
class Ended:
    """What came of a program."""

    seconds: float
    peak_mb: float  # 10⁶ bytes, of the process alone
    out: str


def ended(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Ended:
    """Run a program. Raises RuntimeError, with what it said, where it does not end well."""
    # compiled modules are kept, as they are where a program has been installed
    kept = {k: v for k, v in (environment or os.environ).items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.NamedTemporaryFile("r") as told:
        starter = [sys.executable, "-I", "-S", "-c", _STARTER, told.name]
        done = subprocess.run([*starter, *command], capture_output=True, text=True, env=kept)
        code, seconds, peak = json.load(told)
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}: {done.stderr}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Ended(seconds, peak * unit / 1e6, done.stdout)

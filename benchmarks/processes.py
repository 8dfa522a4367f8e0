"""A program that is run to its end: its seconds, its largest memory, and what it printed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """What came of a program."""

    seconds: float
    peak_mb: float  # 10⁶ bytes, of the process alone
    out: str


def ended(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Ended:
    """Run a program. Raises RuntimeError, with what it said, where it does not end well."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {err.read()}")
        unit = 1 if sys.platform == "darwin" else 1024
        return Ended(seconds, used.ru_maxrss * unit / 1e6, out.read())

"""A trial in a process of its own: its memory is the metric's, and its end is not ours."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import IO, Any

import torch

from pmbench.evaluation.provenance import processor
from pmbench.evaluation.speed_worker import Cell, Trial
from pmbench.results.timings import BACKWARD, Machine, Timing
from pmbench.utils.errors import PmbenchError
from pmbench.utils.system import cores

_TIMES = 20  # a cell may take so many times its seconds, before its process is ended
_LEAST = 120.0  # seconds, in which a metric is loaded too


def machine(device: torch.device, precision: str) -> Machine:
    """Return what times of this machine, on that device, depend on."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return Machine(
        processor=gpu or processor(),
        device=device.type,
        cores=cores(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        precision=precision,
    )


def timings(trial: Trial, name: str) -> Iterator[Timing]:
    """Yield a timing for each cell of a trial, ``name`` being the metric's.

    Where its process ends before its time, what is not larger is tried in another one.
    """
    cells = trial.cells
    while cells:
        limit = max(_LEAST, _TIMES * trial.seconds)
        begun: Cell | None = None
        done = 0
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            process = _start(replace(trial, cells=cells), limit, said)
            try:
                for message in _answers(process):
                    if "begins" in message:
                        begun = Cell(**message["begins"])
                    else:
                        done += 1
                        yield Timing(**message["timing"])
            finally:  # nobody waits for it any more, or it has ended
                process.kill()
                status = process.wait()
            cells = cells[done:]
            why = _end(status, limit, said) if cells else ""
        empty = Timing(name, "", 0, "", "failed", batch=0)
        if begun is None or begun not in cells:  # it was not what it computed
            yield from (replace(empty, **asdict(cell), note=why) for cell in cells)
            return
        for cell in cells:
            if cell == begun:
                yield replace(empty, **asdict(cell), batch=trial.pairs(cell.size), note=why)
            elif _is_larger(cell, begun):
                note = f"not tried, since {begun.size} pixels {begun.direction} failed"
                yield replace(empty, **asdict(cell), note=note)
        cells = tuple(one for one in cells if one != begun and not _is_larger(one, begun))


def _answers(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            yield json.loads(line)
    process.wait()  # its status is its own


def _is_larger(cell: Cell, other: Cell) -> bool:
    return cell.size >= other.size and (
        cell.direction == BACKWARD or cell.direction == other.direction
    )


def _start(trial: Trial, limit: float, said: IO[str]) -> subprocess.Popen[str]:
    """Start the process. Raises PmbenchError where the system does not let it."""
    given = json.dumps({**asdict(trial), "limit": limit})
    command = [sys.executable, "-P", "-m", "pmbench.evaluation.speed_worker", given]
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True
        )
    except OSError as error:
        raise PmbenchError(f"cannot start a process to measure in: {error.strerror}") from error


def _end(status: int, limit: float, said: IO[str]) -> str:
    """Return why a process ended before it had done everything."""
    said.seek(0)
    words = said.read().strip()
    if words.startswith("Timeout (") or "\nTimeout (" in words:
        return f"took longer than {limit:g} s, and was ended"
    if status < 0:
        killed = ", as the system does where memory runs out" * (status == -9)
        return f"its process was ended by signal {-status}{killed}"
    last = words.splitlines()[-1] if words else "without a word"
    return f"its process ended with {status}: {last}"

"""One metric, timed in this process: which is the metric's alone, since its memory is asked for.

    python -m pmbench.evaluation.speed_worker TRIAL

takes a ``Trial`` as JSON and prints a line of JSON for each cell it begins, and for each ``Timing``
that comes of it. ``apart`` starts it, and reads them.

Memory is the peak above what the process had before it loaded the metric: what its weights,
packages and intermediates add. On a GPU it is what torch allocated there. Where the system cannot
forget an earlier peak (other than Linux), a peak may be that of the cell before, which is why cells
go from small to large, and the gradients come last.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pmbench.evaluation.provenance import now, peak_memory_mb
from pmbench.metrics.images import Images
from pmbench.metrics.loading import LoadedMetric, load_metric, model_size, output_error
from pmbench.metrics.selection import select_metrics
from pmbench.results.timings import BACKWARD, Timing
from pmbench.utils.devices import choose_device, network_precision
from pmbench.utils.errors import PmbenchError, describe
from pmbench.utils.memory import free_memory, is_out_of_memory
from pmbench.utils.progress import Silent

TURNS = 7
SHORTEST = 0.05  # seconds of a turn, which repeats a faster call


@dataclass(frozen=True)
class Cell:
    """One size, one direction."""

    size: int
    direction: str


@dataclass(frozen=True)
class Trial:
    """What is to be measured, and how long at most."""

    metric: str  # a name or an address
    cells: tuple[Cell, ...]
    device: str = "cpu"
    precision: str = "fp32"
    batch: int | None = None  # pairs in a call; None: as many as ``pixels`` allow
    seconds: float = 5.0  # for a cell, after which no turn begins
    pixels: int = 32 * 64 * 64  # of a role's images in a call, as in an evaluation on a CPU

    def pairs(self, size: int) -> int:
        """Return how many pairs go into one call."""
        return self.batch or max(1, self.pixels // size**2)


def run(trial: Trial, begins: Callable[[Cell], None] = lambda cell: None) -> Iterator[Timing]:
    """Yield a timing for each cell; ``begins`` hears of each before it is measured."""
    device = choose_device(trial.device)
    _forget_peak(device)
    idle = 0.0 if device.type == "cuda" else _peak_mb(device)
    (metric,) = select_metrics([trial.metric]).metrics
    empty = Timing(metric.name, "", 0, "", "failed", measured=now())
    try:
        loaded = load_metric(metric, device, Silent())
    except PmbenchError as error:
        yield from (replace(empty, **asdict(cell), note=str(error)) for cell in trial.cells)
        return
    held = model_size(loaded.distance)
    empty = replace(
        empty, signature=loaded.signature, parameters=-1 if held is None else held.numbers
    )
    for cell in trial.cells:
        begins(cell)
        timing = replace(empty, **asdict(cell), batch=trial.pairs(cell.size), measured=now())
        if why := _not_asked_for(loaded, cell):
            yield replace(timing, status="undefined", batch=0, note=why)
            continue
        _forget_peak(device)
        try:
            with network_precision(trial.precision):
                timed = _timed(loaded, timing, trial, device)
        except PmbenchError as error:
            yield replace(timing, note=str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001  foreign code, which fails alone
            yield replace(timing, note=_why(error, timing.batch))
        else:
            peak = max(0.0, _peak_mb(device) - idle)
            yield replace(timed, memory_mb=peak)


def _not_asked_for(loaded: LoadedMetric, cell: Cell) -> str:
    """Return why a cell is not measured, "" where it is."""
    if (why := loaded.metric.undefined_on(cell.size, cell.size)) is not None:
        return why
    if cell.direction == BACKWARD and not loaded.metric.differentiable:
        return "not differentiable"
    return ""


def _why(error: BaseException, batch: int) -> str:
    """Return why a cell could not be measured."""
    if is_out_of_memory(error):
        pairs = "a pair does" if batch == 1 else f"{batch} pairs in a call do"
        return f"{pairs} not fit into memory"
    return f"failed: {describe(error)}"


def _timed(loaded: LoadedMetric, cell: Timing, trial: Trial, device: torch.device) -> Timing:
    """Return a cell with the times of its turns, per pair."""
    x, y = images(cell.batch, cell.size, device)
    call = _backward if cell.direction == BACKWARD else _forward

    def seconds(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call(loaded, x, y)
        finish(device)
        return time.perf_counter() - start

    begun = time.perf_counter()
    first = seconds(1)  # warms up
    if first > trial.seconds:
        return _summarize(cell, [first], 1, "one call, the first, without a warm-up")
    once = seconds(1)
    calls = max(1, math.ceil(SHORTEST / once))
    turns = [once] if calls == 1 else []
    while len(turns) < TURNS and (not turns or time.perf_counter() - begun < trial.seconds):
        turns.append(seconds(calls))
    short = f"{len(turns)} of {TURNS} turns in {trial.seconds:g} s" * (len(turns) < TURNS)
    return _summarize(cell, turns, calls, short)


def _summarize(cell: Timing, turns: list[float], calls: int, note: str) -> Timing:
    ms = [1000 * turn / calls / cell.batch for turn in turns]
    return replace(
        cell, status="measured", ms=statistics.median(ms), low=min(ms), high=max(ms),
        turns=len(turns), calls=calls * len(turns), note=note,
    )  # fmt: skip


def images(n: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return n reference images and distorted ones (n, 3, size, size): coarse shapes and noise."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand((n, 3, 8, 8), generator=draw)
    x = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    noise = 0.1 * torch.randn(x.shape, generator=draw)
    return x.to(device), (x + noise).clamp(0, 1).to(device)


def _forward(loaded: LoadedMetric, x: Tensor, y: Tensor) -> None:
    with torch.inference_mode():
        for part in _parts(loaded, x, y):
            _distance(loaded, *part)


def _backward(loaded: LoadedMetric, x: Tensor, y: Tensor) -> None:
    for a, b in _parts(loaded, x, y):
        b = b.detach().requires_grad_()
        _distance(loaded, a, b).sum().backward()  # type: ignore[no-untyped-call]


def _distance(loaded: LoadedMetric, x: Tensor, y: Tensor) -> Tensor:
    """Return the distances of pairs, of which both roles pass a network together."""
    n = len(x)
    both, place = Images(torch.cat([x, y])), torch.arange(2 * n)
    value = loaded.distance(both.pick(place[:n]), both.pick(place[n:]))
    if (wrong := output_error(value, n)) is not None:
        raise PmbenchError(wrong)
    return value


def _parts(loaded: LoadedMetric, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the pairs, as few at a time as the metric asks for."""
    size = loaded.metric.portion(x.shape[2], x.shape[3], len(x))
    yield from zip(torch.split(x, size), torch.split(y, size), strict=True)


def finish(device: torch.device) -> None:
    """Wait until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


# --- memory ---------------------------------------------------------------------------------------

_CLEAR = Path("/proc/self/clear_refs")


def _forget_peak(device: torch.device) -> None:
    """Let the peak begin anew, where that is possible."""
    free_memory(device)  # what the C library keeps of what was freed would be there already
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.exists():
        try:
            _CLEAR.write_text("5")  # Linux: the peak is now what there is
        except OSError:
            return  # it stays that of the process, as on other systems


def _peak_mb(device: torch.device) -> float:
    """Return the largest memory since it was forgotten, in MB; NaN where nobody can tell."""
    if device.type == "mps":
        return math.nan
    peak = peak_memory_mb(device)
    return math.nan if peak is None else peak


# --- as a program ---------------------------------------------------------------------------------


def main() -> None:
    """Run the trial that the first argument describes."""
    import faulthandler

    given = json.loads(sys.argv[1])
    limit = given.pop("limit")
    trial = Trial(**{**given, "cells": tuple(Cell(**cell) for cell in given["cells"])})
    # whatever a metric prints goes to stderr, also from C: stdout is for the answers
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(value: dict[str, object]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    def begins(cell: Cell) -> None:
        answer({"begins": asdict(cell)})
        faulthandler.dump_traceback_later(limit, exit=True)  # also where C never comes back

    faulthandler.dump_traceback_later(limit, exit=True)
    for timing in run(trial, begins):
        answer({"timing": asdict(timing)})


if __name__ == "__main__":
    main()

"""Somebody's program as a metric: ``cmd:./my_metric {ref} {dist}``.

It is run once a pair, without a shell, {ref} and {dist} being the paths of two PNG files (8-bit
RGB, lossless), and prints one number. Options: ``cmd?better=higher&timeout=5&jobs=4:…``. Several
run at a time, and none outlives the call that started it.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import shlex
import shutil
import signal
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pmbench.metrics import Metric, failing_metric
from pmbench.metrics.images import Images
from pmbench.utils.color import precise
from pmbench.utils.errors import PmbenchError, unknown
from pmbench.utils.files import sha256_of
from pmbench.utils.processes import Completed, Processes
from pmbench.utils.system import cores

_OPTIONS = ("better", "symmetric", "timeout", "jobs", "tolerance")
_PLACE = re.compile(r"\{(ref|dist)\}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LONGEST = 80  # characters of what a program said in a sentence


def resolve(name: str, address: str, options: Mapping[str, str]) -> Metric:
    """Return the metric that a command line is; ``name`` is ``cmd:<program>`` unless one was given.

    Raises PmbenchError for a command line without {ref} and {dist}, and for a wrong option.
    """
    try:
        words = shlex.split(address)
    except ValueError as error:
        raise PmbenchError(f"cmd:{address}: {error}; close the quotation mark") from error
    if missing := [place for place in ("{ref}", "{dist}") if place not in " ".join(words[1:])]:
        raise PmbenchError(
            f"cmd:{address}: {' and '.join(missing)} must stand where the program gets the path of "
            "an image: cmd:./my_metric {ref} {dist}"
        )
    if strange := [key for key in options if key not in _OPTIONS]:
        raise unknown("option of cmd", strange[0], _OPTIONS)
    if ":" in name:  # the address itself: a name has no colon
        name = f"cmd:{Path(words[0]).stem}"
    higher = _one_of(options, "better", ("lower", "higher")) == "higher"
    symmetric = _one_of(options, "symmetric", ("no", "yes")) == "yes"
    seconds = _number(options, "timeout", 60.0)
    jobs = _number(options, "jobs", cores())
    if jobs % 1:
        raise PmbenchError(f"cmd?jobs={options['jobs']}: expected a whole number from 1")
    program = shutil.which(words[0])
    if program is None:
        return failing_metric(name, _missing_program(words[0]))
    command = Command((program, *words[1:]), seconds, int(jobs))
    return Metric(
        name=name,
        load=lambda device: command,
        title=f"the program {address}",
        family="programs",
        higher_is_better=higher,
        symmetric=symmetric,
        differentiable=False,
        tolerance=_number(options, "tolerance", Metric.tolerance),
        # not how long it may take, nor how many run at once: that changes no number
        parameters={
            "command": address,
            "better": "higher" if higher else "lower",
            "symmetric": "yes" if symmetric else "no",
            **_digests([program, *words[1:]]),
        },
    )


@dataclass(frozen=True)
class Command:
    """A distance that a program computes, pair by pair."""

    words: tuple[str, ...]
    seconds: float  # that a pair may take
    jobs: int  # pairs at once

    def __call__(self, x: Images, y: Images) -> Tensor:
        """Return what the program prints: (N,), float64 where the device has it."""
        pairs = zip(x.derive(stored).tolist(), y.derive(stored).tolist(), strict=True)
        with ThreadPoolExecutor(self.jobs) as pool, Processes() as processes:
            waiting = [pool.submit(self._run, processes, *pair) for pair in pairs]
            try:
                values = [future.result() for future in waiting]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        kind = precise(torch.zeros(0, device=x.pixels.device))
        return torch.tensor(values, dtype=kind.dtype, device=kind.device)

    def _run(self, processes: Processes, ref: int, dist: int) -> float:
        paths = {"ref": str(_files[ref]), "dist": str(_files[dist])}
        words = [_PLACE.sub(lambda place: paths[place[1]], word) for word in self.words[1:]]
        return _value(processes.run([self.words[0], *words], self.seconds), self.words[0])


def _value(result: Completed, program: str) -> float:
    """Return the number that a program printed. Raises PmbenchError where it did not."""
    if result.code:
        how = f"ended with exit code {result.code}"
        if result.code < 0:
            how = f"was ended by signal {-result.code} ({signal.strsignal(-result.code)})"
        last = result.complaint.strip().rpartition("\n")[2]
        words = f"saying {_quoted(last)}" if last else "saying nothing on stderr"
        raise PmbenchError(f"{program} {how}, {words}; mend it, and try it on two images by hand")
    text = result.output.strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise PmbenchError(
            f"{program} printed {_quoted(text) if text else 'nothing'}; expected one finite number "
            "and nothing else on stdout; let it print remarks to stderr"
        )
    return value


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def _missing_program(program: str) -> str:
    if os.path.isfile(program) and os.sep in program:  # noqa: PTH113  also for what is no path
        return f"{program} is not executable; run: chmod +x {program}"
    hint = "" if os.sep in program else f"; a program in this folder is ./{program}"
    return f"there is no program {program}; mend the path, or install it{hint}"


def _one_of(options: Mapping[str, str], key: str, allowed: tuple[str, str]) -> str:
    value = options.get(key, allowed[0])
    if value not in allowed:
        raise PmbenchError(f"cmd?{key}={value}: expected {' or '.join(allowed)}")
    return value


def _number(options: Mapping[str, str], key: str, usual: float) -> float:
    text = options.get(key, str(usual))
    if not _NUMBER.fullmatch(text) or not 0 < float(text) < math.inf:
        raise PmbenchError(f"cmd?{key}={text}: expected a number above 0")
    return float(text)


def _digests(words: list[str]) -> dict[str, str]:
    """Return the digests of the files that a command line names: a changed program is another."""
    named = {file for word in words for file in (word, word.partition("=")[2])}
    files = sorted(file for file in named if os.path.isfile(file))  # noqa: PTH113
    return {f"sha256 of {file}": sha256_of(Path(file)) for file in files}


# --- images on disk, for as long as the batch that they are of is in memory ---------------------

_numbers = itertools.count()
_files: dict[int, Path] = {}


def stored(pixels: Tensor) -> Tensor:
    """Write images (M, 3, H, W), values k/255, as PNG files; return their numbers, (M,) int64.

    The files are removed with the returned tensor, at the latest when the process ends.
    """
    levels = (pixels.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    folder = TemporaryDirectory(prefix="pmbench-images-")
    numbers: list[int] = []
    try:
        for image in np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy()):
            numbers.append(next(_numbers))
            _files[numbers[-1]] = Path(folder.name, f"{numbers[-1]}.png")
            Image.fromarray(image).save(_files[numbers[-1]], compress_level=1)
    except BaseException:
        _remove(folder, numbers)
        raise
    result = torch.tensor(numbers, device=pixels.device)
    weakref.finalize(result, _remove, folder, numbers)
    return result


def _remove(folder: TemporaryDirectory[str], numbers: list[int]) -> None:
    for number in numbers:
        _files.pop(number, None)
    with suppress(OSError):  # somebody else has cleared up
        folder.cleanup()

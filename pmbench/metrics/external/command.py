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
import selectors
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image
from torch import Tensor

from pmbench.metrics import Metric, failing_metric
from pmbench.metrics.images import Images
from pmbench.utils.color import precise
from pmbench.utils.errors import PmbenchError, unknown
from pmbench.utils.files import sha256_of
from pmbench.utils.system import cores

_BLOCK = 4096  # bytes that are read at once
_MOST_OUTPUT = 1 << 20  # bytes
_MOST_COMPLAINT = 1 << 16
_OFTEN = 0.05  # seconds between two looks whether it has ended


@dataclass(frozen=True)
class Finished:
    """What came of a process: its exit code, or minus the signal that ended it; what it said."""

    code: int
    output: str
    complaint: str  # the end of stderr


class Processes:
    """Starts processes from any thread, and kills what still runs when the block is left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        _open.add(self)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill all that runs, and whatever is started from now on."""
        with self._lock:
            self._closed = True
            for process in self._running:
                _kill(process)

    def run(self, words: list[str], seconds: float) -> Finished:
        """Run a command to its end. Raises PmbenchError where it cannot be started or takes longer.

        It then is killed with all the processes that it started.
        """
        process = _started(words)
        with self._lock:
            self._running.add(process)
            if self._closed:
                _kill(process)
        try:
            said = _followed(process, words[0], seconds)
        finally:
            with self._lock:
                _kill(process)  # also what it started and left; it keeps its number until wait()
                self._running.discard(process)
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        output, complaint = (part.decode(errors="replace") for part in said)
        return Finished(process.returncode, output, complaint)


def _started(words: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that what it starts can be killed with it
        )
    except OSError as error:
        hint = "a script needs a first line such as #!/bin/sh, and a program must be made for this"
        raise PmbenchError(
            f"{words[0]} cannot be started: {error.strerror}; "
            + (f"{hint} machine" if os.path.exists(words[0]) else "it was there; put it back")  # noqa: PTH110
        ) from error


def _followed(
    process: subprocess.Popen[bytes], program: str, seconds: float
) -> tuple[bytearray, bytes]:
    """Return what a process wrote to stdout, and the end of stderr, in bounded memory.

    It then has ended, but not been waited for. What it started and left behind, which may hold its
    pipes open, is not waited for.
    """
    output = bytearray()
    complaint: deque[bytes] = deque(maxlen=_MOST_COMPLAINT // _BLOCK)
    end = time.monotonic() + seconds
    ended, pause = False, 0.0005
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() or not ended:
            left = end - time.monotonic()
            if selector.get_map():
                ready = selector.select(0 if ended else max(min(left, _OFTEN), 0))
            else:  # both pipes are closed: it ends now, or computes on in silence
                ready, pause = [], min(2 * pause, _OFTEN)
                time.sleep(max(min(pause, left), 0))
            for key, _ in ready:
                data = os.read(key.fd, _BLOCK)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    output += data
                else:
                    complaint.append(data)
            if ended and not ready:  # all is read; another process holds the pipes open
                break
            if left <= 0:
                raise _overdue(program, seconds)
            if len(output) > _MOST_OUTPUT:
                raise PmbenchError(
                    f"{program} printed more than a megabyte; expected one number; mend it"
                )
            ended = ended or _has_ended(process)
    return output, b"".join(complaint)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a process has ended, and let it keep its number."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _overdue(program: str, seconds: float) -> PmbenchError:
    return PmbenchError(
        f"{program} had not ended after {seconds:g} seconds; mend it, or give it more time: "
        "cmd?timeout=SECONDS:…"
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was not waited for yet, and those that it started."""
    with suppress(ProcessLookupError, PermissionError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)


# those whose block is not left yet
_open: weakref.WeakSet[Processes] = weakref.WeakSet()


def kill_all() -> None:
    """Kill what runs in any block: pmbench is about to exit without leaving it."""
    for processes in list(_open):
        processes.kill()


_OPTIONS = ("better", "symmetric", "timeout", "jobs")
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
            "a picture: cmd:./my_metric {ref} {dist}"
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
        return failing_metric(name, _not_found(words[0]))
    command = Command((program, *words[1:]), seconds, int(jobs))
    return Metric(
        name=name,
        load=lambda device: command,
        title=f"the program {address}",
        family="programs",
        higher_is_better=higher,
        symmetric=symmetric,
        differentiable=False,
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


def _value(said: Finished, program: str) -> float:
    """Return the number that a program printed. Raises PmbenchError where it did not."""
    if said.code:
        how = f"ended with exit code {said.code}"
        if said.code < 0:
            how = f"was ended by signal {-said.code} ({signal.strsignal(-said.code)})"
        last = said.complaint.strip().rpartition("\n")[2]
        words = f"saying {_quoted(last)}" if last else "saying nothing on stderr"
        raise PmbenchError(f"{program} {how}, {words}; mend it, and try it on two pictures by hand")
    text = said.output.strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise PmbenchError(
            f"{program} printed {_quoted(text) if text else 'nothing'}; expected one finite number "
            "and nothing else on stdout; let it print remarks to stderr"
        )
    return value


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def _not_found(program: str) -> str:
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


# --- pictures on disk, for as long as the batch that they are of is in memory ---------------------

_PREFIX, _LOCK = "pmbench-pictures-", ".lock"
_YOUNG = 60.0  # seconds: a folder that another process has just made may not be locked yet
_numbers = itertools.count()
_files: dict[int, Path] = {}


def stored(pixels: Tensor) -> Tensor:
    """Write images (M, 3, H, W), values k/255, as PNG files; return their numbers, (M,) int64.

    The files are removed with the returned tensor, at the latest when the process ends; those of a
    process that was killed, when the next one needs some.
    """
    levels = (pixels.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    _remove_left()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = FileLock(folder / _LOCK, thread_local=False)  # a finalizer runs in any thread
    numbers: list[int] = []
    try:
        lock.acquire()
        for picture in np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy()):
            numbers.append(next(_numbers))
            _files[numbers[-1]] = folder / f"{numbers[-1]}.png"
            Image.fromarray(picture).save(_files[numbers[-1]], compress_level=1)
    except BaseException:
        _remove(folder, lock, numbers)
        raise
    result = torch.tensor(numbers, device=pixels.device)
    weakref.finalize(result, _remove, folder, lock, numbers)
    return result


def _remove(folder: Path, lock: FileLock, numbers: list[int]) -> None:
    for number in numbers:
        _files.pop(number, None)
    lock.release()
    shutil.rmtree(folder, ignore_errors=True)


@cache
def _remove_left() -> None:
    """Remove the folders of killed processes: the system lets go of a lock with its process."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            facts = folder.lstat()
            young = time.time() - facts.st_mtime < _YOUNG
            if young or facts.st_uid != os.getuid() or not stat.S_ISDIR(facts.st_mode):
                continue
            if not all(path.suffix == ".png" or path.name == _LOCK for path in folder.iterdir()):
                continue
            with FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, Timeout):  # not ours, in use, or gone meanwhile
            continue

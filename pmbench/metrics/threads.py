"""Independent parts of one computation, each on a thread of its own.

torch shares out a single operation among its threads; an operation on what fits into a core's cache
is too small for that, and NumPy's are not shared out at all. Here each thread takes whole parts,
such as images, and does everything for them.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

import torch
from torch import Tensor

from pmbench.utils.tracking import is_tracked


def is_plain(values: Tensor) -> bool:
    """Return whether an array would do: float32 or float64 on the CPU, which nothing follows."""
    exact = values.dtype in (torch.float32, torch.float64)
    return exact and values.device.type == "cpu" and not is_tracked(values)


def spread(work: Callable[[int], object], parts: int) -> None:
    """Call ``work(0)`` … ``work(parts - 1)``, in as many threads as torch uses.

    ``work`` writes its result somewhere. Among several threads each computes on one; always
    without gradients and in the precision of its operands. The first error of a part is raised.
    """
    inference = torch.is_inference_mode_enabled()  # a thread knows its own modes only
    waiting = deque(range(parts))

    def take() -> None:
        with torch.inference_mode(inference), torch.no_grad(), torch.autocast("cpu", enabled=False):
            while waiting:
                try:
                    part = waiting.popleft()
                except IndexError:  # another thread was quicker
                    return
                work(part)

    threads = torch.get_num_threads()
    if min(threads, parts) <= 1:
        take()
        return
    tasks = _team(threads, os.getpid())
    done: list[Future[None]] = [Future() for _ in range(threads)]
    for future in done:
        tasks.put((future, take))
    try:
        for future in done:
            future.result()
    finally:
        waiting.clear()  # after an error nobody begins another part


Task = tuple[Future[None], Callable[[], None]]


@functools.cache
def _team(threads: int, process: int) -> SimpleQueue[Task]:
    """Return where to put tasks for threads that compute on one thread each.

    They stay, and do not hold up the end of the process; a forked process has its own.
    """
    tasks: SimpleQueue[Task] = SimpleQueue()
    before, all_there = torch.get_num_threads(), threading.Barrier(threads + 1)

    def serve() -> None:
        torch.get_num_threads()  # or the number is set once more at the first operation
        torch.set_num_threads(1)
        all_there.wait()
        while True:
            future, task = tasks.get()
            try:
                task()
            except BaseException as error:  # noqa: BLE001  whoever asked for it raises it
                future.set_exception(error)
            else:
                future.set_result(None)
            del future, task  # they hold images

    for number in range(threads):
        threading.Thread(target=serve, name=f"spread-{number}", daemon=True).start()
    all_there.wait()
    torch.set_num_threads(before)  # what any other new thread begins with
    return tasks

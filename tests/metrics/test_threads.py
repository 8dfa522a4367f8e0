"""Work that is spread over threads."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pmbench.metrics.threads import spread


@pytest.mark.parametrize("number", [1, 2, 4])
def test_every_part_is_done_once_on_one_thread_each_and_without_autocast(number: int) -> None:
    def part(i: int) -> None:
        modes = (torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
        seen.append((i, torch.get_num_threads(), *modes))

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        for inference in (False, True):
            seen: list[tuple[int, int, bool, bool]] = []
            with torch.inference_mode(inference), torch.autocast("cpu"):
                spread(part, 9)
            assert sorted(seen) == [(i, 1, inference, False) for i in range(9)]
            assert torch.get_num_threads() == number
        assert not [
            t for t in threading.enumerate() if t.name.startswith("spread") and not t.daemon
        ]
        with ThreadPoolExecutor(1) as another:  # begins with as many as ever
            assert another.submit(torch.get_num_threads).result() == number
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_an_error_in_a_part_is_raised() -> None:
    def part(i: int) -> None:
        if i == 5:
            raise ValueError("the sixth")

    with pytest.raises(ValueError, match="the sixth"):
        spread(part, 9)


@pytest.mark.usefixtures("threads")
def test_a_forked_process_has_threads_of_its_own() -> None:
    spread(lambda i: None, 4)
    child = os.fork()
    if not child:
        done: list[int] = []
        spread(done.append, 4)
        os._exit(len(done))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4

"""The next batch is read while one is computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import pytest
from support.evaluations import difference, job, metric_of, results_of
from torch import Tensor

from pmbench.datasets.pack import Pack
from pmbench.evaluation.batching import BatchLimits, plan
from pmbench.metrics.images import Images
from pmbench.metrics.loading import LoadedMetric


@dataclass(frozen=True)
class Watched(Pack):
    """A pack that notes which thread reads, and when; a batch with image ``broken`` cannot be."""

    noted: list[str] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    broken: int = -1

    def images(self, size: int, rows: np.ndarray) -> np.ndarray:
        self.threads.add(threading.get_ident())
        if self.broken in rows:
            raise OSError("the disk is gone")
        self.noted.append("read")
        return super().images(size, rows)


def watched(pack: Pack, **more: int) -> Watched:
    return Watched(**{f.name: getattr(pack, f.name) for f in fields(Pack)}, **more)  # type: ignore[arg-type]


def noting(noted: list[str], interrupt: int = -1) -> Callable[[int], None]:
    """Return what notes when a batch is done, and interrupts after one of them."""

    def after(number: int) -> None:
        noted.append("done")
        if number == interrupt:
            raise KeyboardInterrupt

    return after


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("images")]


def patient(noted: list[str]) -> LoadedMetric:
    """Return a metric that computes until the next batch has been read, where there is one."""

    def distance(x: Images, y: Images) -> Tensor:
        done = noted.count("done")
        limit = time.monotonic() + 10
        while noted.count("read") < min(done + 2, 4) and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(0.02)  # time enough to read one too many
        return difference(x, y)

    return metric_of("patient", distance)


def test_the_next_batch_and_no_other_is_read_while_one_is_computed(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path, limit=2)
    batches = plan(config.pack, config.chosen, BatchLimits(items=3))
    pack = watched(config.pack)
    results_of(pack, config.protocol, batches, [patient(pack.noted)], noting(pack.noted))
    assert pack.noted == ["read", "read", "done", "read", "done", "read", "done", "done"]
    assert len(pack.threads) == 1
    assert pack.threads != {threading.get_ident()}
    assert readers() == []


def test_a_batch_that_cannot_be_read_is_told_when_its_turn_comes(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path, limit=2)
    batches = plan(config.pack, config.chosen, BatchLimits(items=3))
    pack = watched(config.pack, broken=int(batches[2].images[-1]))
    metrics, done = [metric_of("difference", difference)], list[int]()
    with pytest.raises(OSError, match="the disk is gone"):
        results_of(pack, config.protocol, batches, metrics, done.append)
    assert done == [0, 1]  # those before it are there
    assert readers() == []


def test_ctrl_c_does_not_wait_for_what_is_read_ahead_and_leaves_no_thread(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path, limit=2)
    batches = plan(config.pack, config.chosen, BatchLimits(items=3))
    pack = watched(config.pack)
    metrics = [metric_of("difference", difference)]
    with pytest.raises(KeyboardInterrupt):
        results_of(pack, config.protocol, batches, metrics, noting(pack.noted, interrupt=1))
    assert pack.noted.count("read") <= 3
    assert readers() == []

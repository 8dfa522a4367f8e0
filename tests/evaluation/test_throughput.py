"""How fast a metric is: what warms up does not count."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.evaluations import Interrupting, difference, job, metric_of, run
from torch import Tensor

from pmbench.evaluation.batching import BatchLimits
from pmbench.metrics.images import Images
from pmbench.results.schema import Rate


class Slow:
    """A metric whose first call in a process takes longer: it warms up."""

    def __init__(self) -> None:
        self.warm = False

    def __call__(self, x: Images, y: Images) -> Tensor:
        time.sleep(0.001 if self.warm else 0.3)
        self.warm = True
        return difference(x, y)


def test_the_rate_does_not_count_what_warms_up(tmp_path: Path) -> None:
    config, bounds = job("ladder-2afc", tmp_path, limit=2), BatchLimits(items=3)
    (warm,) = run(config, [metric_of("warm", Slow())], bounds).runs
    info = warm.info
    assert info.batches.count == 4
    assert info.seconds > 0.3
    assert (info.rate.items, info.rate.batches, info.rate.warm) == (9, 3, True)
    assert info.rate.seconds < 0.3
    assert info.items_per_second == pytest.approx(9 / info.rate.seconds, rel=0.01)


def test_nor_what_warms_up_when_a_run_goes_on(tmp_path: Path) -> None:
    config, bounds = job("ladder-2afc", tmp_path, limit=2), BatchLimits(items=3)
    with pytest.raises(KeyboardInterrupt):
        run(config, [metric_of("warm", Slow())], bounds, reporter=Interrupting(after=2))
    (resumed,) = run(config, [metric_of("warm", Slow())], bounds).runs
    assert resumed.info.seconds > 0.6  # it warmed up twice
    rate = resumed.info.rate
    assert (rate.items, rate.batches, rate.warm) == (6, 2, True)  # the second and last
    assert rate.seconds < 0.3


def test_a_rate_that_rests_on_the_first_call_alone_says_so(tmp_path: Path) -> None:
    (cold,) = run(
        job("ladder-2afc", tmp_path, limit=2), [metric_of("warm", Slow())], BatchLimits()
    ).runs
    rate = cold.info.rate
    assert (rate.items, rate.batches, rate.warm) == (12, 1, False)
    assert cold.info.items_per_second == pytest.approx(12 / cold.info.seconds, rel=0.01)


def test_a_metric_that_is_nowhere_defined_has_no_rate(tmp_path: Path) -> None:
    never = metric_of("never", difference, min_size=65)
    (run_,) = run(job("ladder-2afc", tmp_path, limit=2), [never], BatchLimits(items=3)).runs
    assert run_.info.items_per_second is None
    assert run_.info.rate == Rate(items=0, batches=0, seconds=0, warm=True)

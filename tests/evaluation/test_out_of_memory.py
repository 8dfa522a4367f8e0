"""Memory that is not enough: a batch is halved, and the others go on."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from support.evaluations import (
    Interrupting,
    difference,
    distances,
    in_one_batch,
    job,
    metric_of,
    run,
)
from torch import Tensor, nn

from pmbench.evaluation.batching import BatchLimits
from pmbench.evaluation.loop import Result
from pmbench.metrics.images import Images
from pmbench.utils.progress import Silent


class Large(nn.Module):
    """Something derived that takes no more images at a time than ``most``."""

    def __init__(self, most: int, error: BaseException) -> None:
        super().__init__()
        self.most, self.error = most, error
        self.refused: list[int] = []
        self.seen: Counter[bytes] = Counter()

    def forward(self, pixels: Tensor) -> Tensor:
        if len(pixels) > self.most:
            self.refused.append(len(pixels))
            raise self.error
        self.seen.update(image.numpy().tobytes() for image in pixels.contiguous())
        return pixels * 2


class OnLarge(nn.Module):
    """A distance on what ``Large`` derives."""

    def __init__(self, large: Large) -> None:
        super().__init__()
        self.large = large

    def forward(self, x: Images, y: Images) -> Tensor:
        return (x.derive(self.large) - y.derive(self.large)).abs().mean(dim=(1, 2, 3)) / 2


def test_a_batch_that_does_not_fit_is_halved_and_goes_on(tmp_path: Path) -> None:
    large = Large(5, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    metrics = [metric_of(name, OnLarge(large)) for name in ("one", "other")]
    metrics.append(metric_of("small", difference))
    reporter = Silent()
    config = job("ladder-2afc", tmp_path, limit=6)
    outcome = run(config, metrics, BatchLimits(items=12), reporter=reporter)
    assert outcome.failures == {}
    # 12 of these items have 11 images, 6 have 6, and 3 have 5
    assert reporter.notes == [
        "ladder-2afc: a batch of 12 items does not fit into memory for one, other; going on with "
        "batches of 3 items"
    ]
    assert len(large.refused) == 4  # once for either metric and size, and never again
    found = distances(outcome)
    np.testing.assert_allclose(found["one"], found["small"], rtol=1e-5)
    np.testing.assert_array_equal(found["one"], found["other"])
    # both go through the parts together: three batches, four parts each, of 5 images
    assert large.seen.total() == 60
    assert [r.info.batches.count for r in outcome.runs] == [3, 3, 3]


def test_a_halved_run_that_is_interrupted_goes_on_batch_by_batch(tmp_path: Path) -> None:
    config, bounds = job("ladder-2afc", tmp_path, limit=6), BatchLimits(items=12)
    large = Large(5, MemoryError())
    with pytest.raises(KeyboardInterrupt):
        run(config, [metric_of("one", OnLarge(large))], bounds, reporter=Interrupting(after=1))
    outcome = run(
        config, [metric_of("one", OnLarge(large)), metric_of("small", difference)], bounds
    )
    assert outcome.resumed == {"one": 1}
    found = distances(outcome)
    np.testing.assert_allclose(found["one"], found["small"], rtol=1e-5)


def test_where_one_item_alone_does_not_fit_the_metric_fails_alone(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path, limit=1)
    large = Large(2, MemoryError())
    outcome = run(
        config, [metric_of("one", OnLarge(large)), metric_of("small", difference)], BatchLimits()
    )
    assert [r.metric for r in outcome.runs] == ["small"]
    first = config.pack.items.id[config.chosen[0]]
    assert outcome.failures == {
        "one": f"one: the 3 images of 64×64 of item {first} alone do not fit into the memory of "
        "the cpu; measure it where there is more, or smaller images (`size` in the dataset's "
        "manifest)"
    }


def test_what_was_derived_is_gone_before_the_halves_are_tried(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path, limit=1)
    derived: list[tuple[int, weakref.ref[Tensor]]] = []  # of how many images

    class Fitting(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            larger = [n for n, feature in derived if n > len(pixels) and feature() is not None]
            assert larger == []
            derived.append((len(pixels), weakref.ref(features := pixels * 2)))
            return features

    class Two(OnLarge):
        """A distance on two things derived, of which the second is too large at first."""

        def __init__(self) -> None:
            super().__init__(Large(8, MemoryError()))
            self.fitting = Fitting()

        def forward(self, x: Images, y: Images) -> Tensor:
            x.derive(self.fitting)
            return super().forward(x, y)

    results = in_one_batch(config, metric_of("two", Two()))
    assert isinstance(results["two"], Result)
    assert [n for n, _ in derived] == [14, 7, 7]

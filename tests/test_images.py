"""Images remember what was computed from them, for the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from pmbench.images import Images


class Counting:
    """A derivation that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        return pixels.mean(dim=(1, 2, 3))


def batch() -> Images:
    return Images(torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 2, 2) / 4)


def test_what_is_derived_is_computed_once_for_the_whole_batch() -> None:
    everything, fn = batch(), Counting()
    a, b = everything.pick(torch.tensor([0, 1])), everything.pick(torch.tensor([3, 1]))
    assert a.derive(fn).tolist() == [0, 0.25]
    assert b.derive(fn).tolist() == [0.75, 0.25]
    assert everything.derive(fn).tolist() == [0, 0.25, 0.5, 0.75]
    assert fn.calls == 1


def test_each_tensor_of_a_tuple_is_picked() -> None:
    def two(pixels: Tensor) -> tuple[Tensor, ...]:
        return pixels.amax(dim=(1, 2, 3)), pixels[:, 0]

    first, second = batch().pick(torch.tensor([2, 0])).derive(two)
    assert first.tolist() == [0.5, 0]
    assert second.shape == (2, 2, 2)


def test_neighbours_are_a_view_without_a_copy() -> None:
    everything = batch()
    neighbours = everything.pick(torch.tensor([1, 2])).pixels
    assert neighbours.data_ptr() == everything.pixels[1:].data_ptr()


def test_a_metric_is_charged_once_for_what_another_one_derived() -> None:
    everything, fn = batch(), Counting()
    everything.open_account()
    everything.derive(fn)
    everything.derive(fn)
    assert everything.seconds_saved == 0  # it paid for it itself
    everything.open_account()
    everything.derive(fn)
    once = everything.seconds_saved
    everything.derive(fn)
    assert everything.seconds_saved == once > 0

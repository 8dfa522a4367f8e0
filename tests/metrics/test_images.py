"""Images remember what was computed from them, for the whole batch."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pmbench
from pmbench.metrics import Metric
from pmbench.metrics.images import Images


class Counting:
    """A derivation that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        return pixels.mean(dim=(1, 2, 3))


class Network(nn.Module):
    """A derivation that is a module, counts its calls, and returns a tensor or a pair of them."""

    def __init__(self, several: bool = False) -> None:
        super().__init__()
        self.calls, self.several = 0, several
        self.made: list[weakref.ref[Tensor]] = []

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.calls += 1
        features = (pixels * 2, pixels + 1) if self.several else (pixels * 2,)
        self.made += [weakref.ref(feature) for feature in features]
        return features if self.several else features[0]

    @property
    def alive(self) -> int:
        """How many of the tensors that it returned there are still."""
        return sum(feature() is not None for feature in self.made)


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
    everything.start_timing()
    everything.derive(fn)
    everything.derive(fn)
    assert everything.seconds_saved == 0  # it paid for it itself
    everything.start_timing()
    everything.derive(fn)
    once = everything.seconds_saved
    everything.derive(fn)
    assert everything.seconds_saved == once > 0


def test_what_a_network_derived_is_forgotten_once_it_is_done() -> None:
    everything, gone, kept = batch(), Network(several=True), Network()
    everything.derive(gone)
    everything.derive(kept)
    assert (gone.alive, kept.alive) == (2, 1)
    everything.release({gone, Network()})
    assert (gone.alive, kept.alive) == (0, 1)
    everything.derive(kept)
    assert kept.calls == 1
    everything.derive(gone)  # it may be asked again after all
    assert gone.calls == 2
    everything.release({gone, kept})
    assert (gone.alive, kept.alive) == (0, 0)


def test_what_a_plain_function_derived_stays() -> None:
    everything, fn, net = batch(), Counting(), Network()
    everything.derive(fn)
    everything.release({net})
    everything.derive(fn)
    assert fn.calls == 1


def stored() -> Tensor:
    return torch.arange(5 * 2 * 2 * 3, dtype=torch.uint8).view(5, 2, 2, 3)


def test_stored_bytes_are_shares_of_255() -> None:
    pixels = Images.of_bytes(stored()).pixels
    assert (pixels.shape, pixels.dtype) == ((5, 3, 2, 2), torch.float32)
    assert torch.equal(pixels, stored().permute(0, 3, 1, 2).float() / 255)


def double(pixels: Tensor) -> None:
    pixels.mul_(2)


def assign(pixels: Tensor) -> None:
    pixels[0, 0] = 0.5


def write_detached(pixels: Tensor) -> None:
    pixels.detach().clamp_(0.1, 0.2)


def add_into(pixels: Tensor) -> None:
    torch.add(pixels, 0.25, out=pixels)


def with_numpy(pixels: Tensor) -> None:
    pixels.numpy()[0, 0, 0, 0] = 0.5


def with_a_capsule(pixels: Tensor) -> None:
    torch.from_dlpack(pixels).add_(0.25)


def as_data(pixels: Tensor) -> None:
    pixels.data.mul_(0.5)


@pytest.mark.parametrize("picked", [[1, 2], [3, 1]])
@pytest.mark.parametrize(
    "write", [double, assign, write_detached, add_into, with_numpy, with_a_capsule, as_data]
)
def test_who_writes_into_the_pixels_is_noticed_and_they_are_mended(
    write: Callable[[Tensor], None], picked: list[int]
) -> None:
    with torch.inference_mode():
        everything, net = Images.of_bytes(stored()), Network()
        before = everything.pixels.clone()
        assert not everything.restore_if_modified(closely=True)
        everything.derive(net)
        write(everything.pick(torch.tensor(picked)).pixels)
        if picked == [3, 1]:  # no neighbours: a copy of them was written into
            assert not everything.restore_if_modified(closely=True)
            return
        past_torch = write in (with_numpy, with_a_capsule, as_data)
        assert everything.restore_if_modified(closely=False) is not past_torch
        assert everything.restore_if_modified(closely=True) is past_torch
        assert torch.equal(everything.pixels, before)
        assert not everything.restore_if_modified(closely=True)
        everything.derive(net)
        assert net.calls == 2  # what was derived, perhaps of changed pixels, was forgotten


def test_letting_go_of_a_part_of_a_batch_is_letting_go_of_the_whole() -> None:
    everything, net = batch(), Network()
    part, other = (everything.pick(torch.tensor([i])) for i in (0, 3))
    other.derive(net)
    part.release({net})
    assert net.alive == 0
    other.derive(net)
    assert net.calls == 2


def test_who_picked_features_keeps_them_though_the_batch_lets_go() -> None:
    everything, net = batch(), Network()
    features = everything.pick(torch.tensor([3, 1])).derive(net)
    everything.release({net})
    assert features[:, 0, 0, 0].tolist() == [1.5, 0.5]


def test_what_is_derived_again_after_it_was_let_go_is_paid_for_again() -> None:
    everything, net = batch(), Network()
    everything.start_timing()
    everything.derive(net)
    everything.release({net})
    everything.start_timing()
    everything.derive(net)
    assert everything.seconds_saved == 0  # nobody spared it anything
    everything.start_timing()
    everything.derive(net)
    assert everything.seconds_saved > 0


def test_a_portion_is_forgotten_before_the_next_one_is_computed() -> None:
    """Features are far larger than images, so those of all portions at once would not fit."""
    alive: list[weakref.ref[Images]] = []

    def distance(x: Images, y: Images) -> Tensor:
        assert sum(ref() is not None for ref in alive) <= 1  # the one before, until its pair goes
        alive.append(weakref.ref(x))
        return x.pixels.mean(dim=(1, 2, 3))

    metric = pmbench.metric(Metric("few", lambda device: distance, title="", pixels_at_once=64))
    x = torch.rand(6, 3, 8, 8)
    metric(x, x)
    assert len(alive) == 6

"""Batches: every item once, within bounds, and images that items share computed once."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmbench.datasets.pack import Items, Pack
from pmbench.evaluation.batching import Batch, BatchLimits, halves, limits_for, plan

SIZES = ((2, 2), (3, 5))


def pack_with(rows: list[tuple[int, list[int]]], roles: int = 3) -> Pack:
    """Return a pack of items, each a size and its images; only what a plan looks at is real."""
    n = len(rows)
    items = Items(
        id=np.array([str(i) for i in range(n)], object),
        sub=np.zeros(n, np.int64),
        sub_names=("all",),
        p=np.zeros(n),
        votes=np.ones(n, np.int32),
        cluster=np.arange(n),
    )
    table = np.array([images for _, images in rows], np.int64).reshape(n, roles)
    size = np.array([size for size, _ in rows], np.int64)
    return Pack(Path("nowhere.h5"), items, table, size, SIZES, {})


def used(pack: Pack, item: int) -> set[tuple[int, int]]:
    """Return the images of an item: their size and number."""
    return {(int(pack.size[item]), int(image)) for image in pack.rows[item]}


def components(pack: Pack, chosen: list[int]) -> list[set[int]]:
    """Return the items that are connected by shared images, found the plainest way."""
    found: list[set[int]] = []
    for item in chosen:
        joined = {item}
        for other in [c for c in found if any(used(pack, item) & used(pack, i) for i in c)]:
            joined |= other
            found.remove(other)
        found.append(joined)
    return found


def cost(pack: Pack, items: set[int]) -> int:
    """Return how many pixels the different images of items have."""
    images = set().union(*(used(pack, item) for item in items))
    return sum(SIZES[size][0] * SIZES[size][1] for size, _ in images)


@st.composite
def packs(draw: st.DrawFn) -> tuple[Pack, list[int]]:
    roles = draw(st.sampled_from([2, 3]))
    few = draw(st.sampled_from([3, 20, 200]))  # the fewer different images, the more are shared
    images = st.lists(st.integers(0, few), min_size=roles, max_size=roles)
    rows = draw(st.lists(st.tuples(st.sampled_from([0, 0, 1]), images), max_size=30))
    everything = list(range(len(rows)))
    chosen = draw(st.just(everything) | st.lists(st.sampled_from(everything or [0]), unique=True))
    return pack_with(rows, roles), chosen if rows else []


bounds = st.builds(
    BatchLimits,
    pixels=st.none() | st.integers(0, 200),
    items=st.none() | st.integers(min_value=1, max_value=12),
)


@settings(max_examples=200, deadline=None)
@given(case=packs(), bounds=bounds)
def test_a_plan_keeps_all_its_promises(case: tuple[Pack, list[int]], bounds: BatchLimits) -> None:
    pack, chosen = case
    pixels = math.inf if bounds.pixels is None else bounds.pixels
    batches = plan(pack, np.array(chosen, np.int64), bounds)

    planned = [int(item) for batch in batches for item in batch.items]
    assert sorted(planned) == sorted(chosen)  # every item exactly once

    for batch in batches:
        members = set(batch.items.tolist())
        assert set(pack.size[batch.items].tolist()) == {batch.size}
        assert len(set(batch.images.tolist())) == len(batch.images)  # every image once
        np.testing.assert_array_equal(batch.images[batch.place], pack.rows[batch.items])
        assert set(batch.place.ravel().tolist()) == set(range(len(batch.images)))  # none unused
        if len(members) > 1:
            # what shares images may stretch the bound, in a batch of its own
            whole = members in components(pack, chosen)
            assert cost(pack, members) <= pixels * (BatchLimits.stretch if whole else 1)
            assert bounds.items is None or len(members) <= bounds.items

    for component in components(pack, chosen):
        height, width = pack.sizes[pack.size[min(component)]]
        room = BatchLimits.stretch * (pixels // (height * width))
        fits = cost(pack, component) <= room * height * width or math.isinf(pixels)
        if fits and len(component) <= (bounds.items or len(component)):
            assert sum(bool(component & set(batch.items.tolist())) for batch in batches) == 1


@pytest.mark.parametrize(
    ("items", "free", "limits"),
    [
        (None, None, BatchLimits()),  # a CPU
        (None, 0, BatchLimits()),  # and a GPU that is full; what does not fit is halved
        (None, 8 << 30, BatchLimits(pixels=1 << 19)),
        (None, 140 << 30, BatchLimits(pixels=1 << 22)),
        (512, None, BatchLimits(pixels=None, items=512)),
        (512, 8 << 30, BatchLimits(pixels=None, items=512)),
    ],
)
def test_a_device_with_more_memory_gets_more_at_a_time_unless_a_user_says_how_much(
    items: int | None, free: int | None, limits: BatchLimits
) -> None:
    assert limits_for(items, free) == limits


def test_as_many_items_as_a_user_wants_are_a_batch_however_large_their_images() -> None:
    pack = pack_with(separate(100))
    few, many = (plan(pack, np.arange(100), limits_for(n, None)) for n in (7, 1000))
    assert [len(batch.items) for batch in few] == [7] * 14 + [2]
    assert [len(batch.images) for batch in many] == [300]


def items_of(batches: list[Batch]) -> list[list[int]]:
    return [batch.items.tolist() for batch in batches]


def separate(n: int) -> list[tuple[int, list[int]]]:
    return [(0, [3 * i, 3 * i + 1, 3 * i + 2]) for i in range(n)]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (BatchLimits(), [[0, 1, 2, 3, 4]]),
        (BatchLimits(items=2), [[0, 1], [2, 3], [4]]),
        (BatchLimits(pixels=2 * 3 * 4), [[0, 1], [2, 3], [4]]),
        (BatchLimits(pixels=2 * 3 * 4 + 11), [[0, 1], [2, 3], [4]]),
        (BatchLimits(pixels=1), [[0], [1], [2], [3], [4]]),
        (BatchLimits(pixels=None, items=4), [[0, 1, 2, 3], [4]]),
    ],
)
def test_items_that_share_nothing_are_taken_in_order(
    bounds: BatchLimits, expected: list[list[int]]
) -> None:
    batches = plan(pack_with(separate(5)), np.arange(5), bounds)
    assert items_of(batches) == expected


def test_without_shared_images_each_role_is_one_slice_of_the_batch() -> None:
    (batch,) = plan(pack_with(separate(4)), np.arange(4), BatchLimits())
    assert batch.place.T.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_a_shared_reference_is_in_a_batch_once() -> None:
    rows = [(0, [0, 1, 2]), (0, [7, 8, 9]), (0, [0, 3, 4])]
    batches = plan(pack_with(rows), np.arange(3), BatchLimits(pixels=5 * 4))
    assert items_of(batches) == [[0, 2], [1]]
    assert batches[0].images.tolist() == [0, 1, 3, 2, 4]


def test_a_component_that_is_too_large_is_cut_within_the_bounds() -> None:
    rows = [(0, [0, 2 * i + 1, 2 * i + 2]) for i in range(20)]
    batches = plan(pack_with(rows), np.arange(20), BatchLimits(pixels=5 * 4))  # 40 < 41 images
    assert items_of(batches) == [[i, i + 1] for i in range(0, 20, 2)]


def test_a_component_somewhat_too_large_stays_together() -> None:
    rows = [(0, [0, 2 * i + 1, 2 * i + 2]) for i in range(5)]
    batches = plan(pack_with(rows), np.arange(5), BatchLimits(pixels=3 * 4))
    assert items_of(batches) == [[0, 1, 2, 3, 4]]


def test_halves_have_the_items_in_order_and_only_the_images_that_these_use() -> None:
    pack = pack_with([(0, [0, 1, 2]), (0, [0, 3, 4]), (0, [5, 2, 6])])
    (batch,) = plan(pack, np.arange(3), BatchLimits())
    one, other = halves(pack, batch)
    assert items_of([one, other]) == [[0], [1, 2]]
    assert one.images.tolist() == [0, 1, 2]
    assert other.images.tolist() == [0, 5, 3, 2, 4, 6]
    for half in (one, other):
        np.testing.assert_array_equal(half.images[half.place], pack.rows[half.items])
    assert items_of(halves(pack, other)) == [[1], [2]]


def test_the_same_plan_comes_out_every_time() -> None:
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(2)), rng.integers(0, 40, 3).tolist()) for _ in range(100)]
    first, second = (plan(pack_with(rows), np.arange(100), BatchLimits(300)) for _ in range(2))
    assert items_of(first) == items_of(second)


def test_no_items_need_no_batches() -> None:
    assert plan(pack_with(separate(3)), np.arange(0), BatchLimits()) == []

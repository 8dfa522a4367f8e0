"""The pack: what goes in comes out, once, whole, and with a digest that means something."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.factories import picture
from support.refusals import message_of

from pmbench.datasets.layouts import Item
from pmbench.datasets.pack import FORMAT, ImageStore, Pack, PackInfo, write_pack
from pmbench.datasets.resize import Pixels
from pmbench.utils.errors import PmbenchError

ORIGIN = PackInfo(
    dataset="toy",
    protocol="2afc",
    roles=("ref", "p0", "p1"),
    resize="none",
    human_votes=True,
    source="/somewhere/toy.tar.gz",
    sha256="0" * 64,
    fingerprint="f",
)
# a reference used twice, an image under two names, three sizes, taken in no order
IMAGES: dict[str, Pixels] = {
    "a": picture(0), "b": picture(1), "c": picture(2), "same as b": picture(1),
    "wide 1": picture(3, 8, 12), "wide 2": picture(4, 8, 12), "high": picture(5, 12, 8),
}  # fmt: skip
ROWS = [
    Item("cnn/0", "cnn", ("a", "b", "c"), 0.2, 5),
    Item("color/7", "color", ("wide 1", "wide 2", "wide 2"), 1.0, 3),
    Item("cnn/1", "cnn", ("a", "c", "same as b"), 0.5, 2),
    Item("ü/x", "ü", ("high", "high", "high"), 0.0, 1),
]


def pack_of(
    path: Path,
    rows: Sequence[Item] = ROWS,
    images: dict[str, Pixels] = IMAGES,
    origin: PackInfo = ORIGIN,
    compression: str | None = None,
) -> Pack:
    """Write a pack and open it."""
    with ImageStore(path.with_suffix(".spool")) as spool:
        numbers = {name: spool.add(pixels) for name, pixels in images.items()}
        write_pack(path, origin, list(rows), numbers, spool, compression)
    return Pack.open(path)


def role_images(pack: Pack, item: int) -> Pixels:
    """Return what a metric would be shown of one item: (roles, H, W, 3)."""
    return pack.images(int(pack.size[item]), pack.rows[item])


# --- in and out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_every_item_comes_out_with_its_images_and_votes(
    tmp_path: Path, compression: str | None
) -> None:
    pack = pack_of(tmp_path / "toy.h5", compression=compression)
    assert len(pack) == 4
    for i, row in enumerate(ROWS):
        assert pack.items.id[i] == row.item
        assert pack.items.sub_names[pack.items.sub[i]] == row.sub_dataset
        assert (pack.items.p[i], pack.items.votes[i]) == (row.p, row.votes)
        expected = np.stack([IMAGES[name] for name in row.images])
        np.testing.assert_array_equal(role_images(pack, i), expected)
    assert pack.sizes == ((8, 8), (8, 12), (12, 8))
    assert pack.items.sub_names == ("cnn", "color", "ü")


def test_the_pack_says_what_it_was_made_from(tmp_path: Path) -> None:
    pack = pack_of(tmp_path / "toy.h5")
    message = {name: pack.attributes[name] for name in ("dataset", "protocol", "resize", "sha256")}
    assert message == {"dataset": "toy", "protocol": "2afc", "resize": "none", "sha256": "0" * 64}
    assert list(pack.attributes["roles"]) == ["ref", "p0", "p1"]
    assert bool(pack.attributes["human_votes"])
    assert pack.attributes["format"] == FORMAT


def test_every_different_image_is_stored_once(tmp_path: Path) -> None:
    pack = pack_of(tmp_path / "toy.h5")
    with h5py.File(pack.path) as file:
        counts = {name: len(images) for name, images in file["images"].items()}
    assert counts == {"8x8": 3, "8x12": 2, "12x8": 1}
    assert pack.rows[0].tolist() == [0, 1, 2]  # in the order of use
    assert pack.rows[2].tolist() == [0, 2, 1]


def test_images_of_the_same_bytes_but_another_shape_are_different_images(tmp_path: Path) -> None:
    wide = picture(0, 8, 12)
    with ImageStore(tmp_path / "spool") as spool:
        first, second = spool.add(wide), spool.add(wide.reshape(12, 8, 3))
        assert first != second
        assert (spool.size(first), spool.size(second)) == ((8, 12), (12, 8))
        assert spool.add(wide) == first
        np.testing.assert_array_equal(spool.read(first), wide)
    assert not (tmp_path / "spool").exists()


def test_an_image_added_after_one_was_read_does_not_overwrite(tmp_path: Path) -> None:
    with ImageStore(tmp_path / "spool") as spool:
        numbers = []
        for seed in range(5):
            numbers.append(spool.add(picture(seed)))
            np.testing.assert_array_equal(spool.read(0), picture(0))
        for seed, number in enumerate(numbers):
            np.testing.assert_array_equal(spool.read(number), picture(seed))


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param([0, 1, 2], id="neighbours"),
        pytest.param([7, 5, 6, 5], id="neighbours in another order, one twice"),
        pytest.param([39, 0, 20, 0], id="scattered, one twice"),
        pytest.param([39, 0], id="first and last"),
        pytest.param([17], id="one"),
    ],
)
def test_images_come_in_the_order_in_which_they_are_asked_for(
    tmp_path: Path, wanted: list[int]
) -> None:
    images = {str(seed): picture(seed) for seed in range(40)}
    rows = [Item(f"x/{i:02}", "x", (str(i),) * 3, 0.5, 2) for i in range(40)]
    pack = pack_of(tmp_path / "toy.h5", rows, images)
    got = pack.images(0, np.array(wanted))
    np.testing.assert_array_equal(got, np.stack([picture(seed) for seed in wanted]))


def test_items_of_one_cluster_share_a_number_and_others_have_their_own(tmp_path: Path) -> None:
    photos = ["p", "q", "p", None]
    rows = [replace(row, cluster=photo) for row, photo in zip(ROWS, photos, strict=True)]
    pack = pack_of(tmp_path / "toy.h5", rows)
    assert pack.items.cluster[0] == pack.items.cluster[2]
    assert len(set(pack.items.cluster.tolist())) == 3

    assert pack.items.further is None
    assert pack.has_clusters


def test_without_clusters_items_that_share_the_reference_are_one(tmp_path: Path) -> None:
    pack = pack_of(tmp_path / "toy.h5")
    assert not pack.has_clusters
    assert pack.items.cluster.tolist() == [0, 1, 0, 2]  # cnn/0 and cnn/1 have the reference a
    assert pack.items.further is None  # the images that p0 and p1 share are shared in it only


def test_pictures_that_are_shared_across_references_are_further_clusters(tmp_path: Path) -> None:
    images = {name: picture(i) for i, name in enumerate("abcdefg")}
    shown = ["abc", "dbe", "aaf", "cgg"]  # b in two references, c is one elsewhere
    rows = [Item(f"x/{i}", "x", tuple(names), 0.5, 2) for i, names in enumerate(shown)]
    items = pack_of(tmp_path / "toy.h5", rows, images).items
    a, d, c = items.cluster[[0, 1, 3]].tolist()
    assert items.cluster.tolist() == [a, d, a, c]
    assert items.further is not None
    b = items.further[0, 0]
    assert items.further.tolist() == [[b, c], [b, -1], [-1, -1], [-1, -1]]
    assert len({a, b, c, d}) == 4


def test_items_can_be_taken_by_index(tmp_path: Path) -> None:
    items = pack_of(tmp_path / "toy.h5").items.take(np.array([2, 0]))
    assert items.id.tolist() == ["cnn/1", "cnn/0"]
    assert items.p.tolist() == [0.5, 0.2]
    assert len(items) == 2


@pytest.mark.parametrize(("expected", "partial"), [(None, False), (4, False), (5, True), (3, True)])
def test_a_pack_is_partial_where_it_has_not_as_many_items_as_expected(
    tmp_path: Path, expected: int | None, partial: bool
) -> None:
    pack = pack_of(tmp_path / "toy.h5", origin=replace(ORIGIN, expected=expected))
    assert (pack.expected, pack.partial) == (expected, partial)


def test_a_pack_is_partial_where_it_was_taken_as_it_came(tmp_path: Path) -> None:
    origin = replace(ORIGIN, expected=None, partial=True)
    assert pack_of(tmp_path / "toy.h5", origin=origin).partial


# --- the digest -----------------------------------------------------------------------------------


def test_the_digest_does_not_depend_on_the_order_of_rows_or_images(tmp_path: Path) -> None:
    turned = dict(reversed(IMAGES.items()))
    first = pack_of(tmp_path / "a.h5")
    second = pack_of(tmp_path / "b.h5", ROWS[::-1], turned, replace(ORIGIN, source="elsewhere"))
    assert first.digest == second.digest
    assert len(first.digest) == 64


def with_row(**changes: Any) -> list[Item]:
    return [replace(ROWS[0], **changes), *ROWS[1:]]


def one_pixel_changed() -> dict[str, Pixels]:
    pixels = IMAGES["a"].copy()
    pixels[7, 7, 2] ^= 1
    return IMAGES | {"a": pixels}


@pytest.mark.parametrize(
    ("rows", "images"),
    [
        pytest.param(with_row(p=0.4), IMAGES, id="a share"),
        pytest.param(with_row(votes=10), IMAGES, id="the number of votes"),
        pytest.param(with_row(item="cnn/2"), IMAGES, id="an id"),
        pytest.param(with_row(sub_dataset="color"), IMAGES, id="a sub-dataset"),
        pytest.param(with_row(cluster="photo"), IMAGES, id="a cluster"),
        pytest.param(with_row(images=("a", "c", "b")), IMAGES, id="images of other roles"),
        pytest.param(ROWS[1:], IMAGES, id="an item less"),
        pytest.param(ROWS, one_pixel_changed(), id="a pixel"),
    ],
)
def test_the_digest_tells_of_every_change(
    tmp_path: Path, rows: list[Item], images: dict[str, Pixels]
) -> None:
    assert pack_of(tmp_path / "b.h5", rows, images).digest != pack_of(tmp_path / "a.h5").digest


# --- what goes wrong ------------------------------------------------------------------------------


def test_images_of_one_item_that_differ_in_size_are_refused_and_leave_no_file(
    tmp_path: Path,
) -> None:
    rows = [*ROWS, Item("cnn/9", "cnn", ("a", "wide 1", "b"), 0.5, 2)]
    assert message_of(pack_of, tmp_path / "toy.h5", rows) == (
        "toy: the images of item cnn/9 differ in size (ref 8×8, p0 12×8, p1 8×8); expected one "
        "size within an item; mend the item or set 'size' in the manifest"
    )
    assert list(tmp_path.iterdir()) == []


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Make the system refuse to write files longer than this, as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_leaves_the_old_pack_and_nothing_else(tmp_path: Path) -> None:
    old = pack_of(tmp_path / "toy.h5")
    images = {str(seed): picture(seed, 64, 64) for seed in range(20)}
    rows = [Item(f"x/{i:02}", "x", (str(i),) * 3, 0.5, 2) for i in range(20)]
    with ImageStore(tmp_path / "toy.spool") as spool:
        numbers = {name: spool.add(pixels) for name, pixels in images.items()}
        spool.read(0)  # seeks, and so has the spool itself written before there is no room
        with no_room_beyond(100_000), pytest.raises(PmbenchError) as caught:
            write_pack(tmp_path / "toy.h5", ORIGIN, rows, numbers, spool)
    assert str(caught.value).startswith(f"{tmp_path}/toy.h5: File too large; the system allows no ")
    assert [path.name for path in tmp_path.iterdir()] == ["toy.h5"]
    assert Pack.open(tmp_path / "toy.h5").digest == old.digest


def damage(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def set_format(value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__("format", value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (set_format(FORMAT + 1), f"a pack of format {FORMAT + 1}; this pmbench reads format "),
        (set_format("x"), "a pack of format x; this pmbench reads format "),
        (set_format([1, 2]), "expected a pack, got a file that is none or is damaged"),
        (lambda file: file.attrs.__delitem__("format"), "a pack of format unknown; this pmbench"),
        (lambda file: file.__delitem__("items/p"), "expected a pack, got a file that is none or "),
        (lambda file: file.__delitem__("sizes"), "expected a pack, got a file that is none"),
        (lambda file: (file.__delitem__("sizes"), file.__setitem__("sizes", 1)),
         "expected a pack, got a file that is none or is damaged"),
        (lambda file: (file.__delitem__("items/id"), file.__setitem__("items/id", [1])),
         "expected a pack, got a file that is none or is damaged"),
    ],
)  # fmt: skip
def test_a_foreign_or_damaged_hdf5_is_told(
    tmp_path: Path, change: Callable[[h5py.File], None], sentence: str
) -> None:
    path = pack_of(tmp_path / "toy.h5").path
    damage(path, change)
    with pytest.raises(PmbenchError) as caught:
        Pack.open(path)
    assert str(caught.value).startswith(f"{path}: {sentence}")
    assert "pack again with `pmbench download`" in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_pack_is_told(tmp_path: Path, share: float) -> None:
    path = pack_of(tmp_path / "toy.h5").path
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(PmbenchError, match="expected a pack, got a file that is none or is dam"):
        Pack.open(path)


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_what_is_no_hdf5_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "toy.h5"
    if content is not None:
        path.write_bytes(content)
    assert message_of(Pack.open, path).startswith(
        f"{path}: expected a pack, got a file that is none or is"
    )

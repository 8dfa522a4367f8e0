"""HDF5 from elsewhere: files that are not what they should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.factories import manifest, packed, picture, png, triplets, write_tree
from support.refusals import message_of
from support.runs import DISTANCES_OF

from pmbench.datasets.pack import Pack
from pmbench.results.distances import read_distances, write_distances
from pmbench.scoring.items import Items
from pmbench.scoring.protocols import TWO_AFC
from pmbench.utils.errors import PmbenchError


def replaced(name: str, value: Any, **options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, data=value, **options)

    return change


def filled(name: str, value: Any, at: Any = ...) -> Callable[[h5py.File], None]:
    return lambda file: file[name].__setitem__(at, value)


def linked(name: str, link: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = link

    return change


def virtual(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource("/etc/other.h5", "x", shape, dtype)
        file.create_virtual_dataset(name, layout)

    return change


def external(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        file.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])

    return change


def declared(name: str, rows: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        file.create_dataset(name, (rows, *shape[1:]), dtype, chunks=True)

    return change


def attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


@pytest.fixture(scope="module")
def a_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sound pack of four triplets, to be copied."""
    folder = tmp_path_factory.mktemp("a-pack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PMBENCH_HOME", str(folder / "home"))
        write_tree(folder / "data", triplets({"one": 4}))
        return packed(manifest(folder / "manifests", source={"path": "../data"})).path


PACK_OF = "expected a pack, got a file that is none or is damaged"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda file: file.__delitem__("items/votes"), "votes is missing"),
        (lambda file: file.__delitem__("images/8x8"), "images/8x8 is missing"),
        (
            lambda file: file.__delitem__("items"),
            "Unable to synchronously open object (object 'items'",
        ),
        (lambda file: file.attrs.__delitem__("digest"), "digest"),
        (attribute("protocol", "3afc"), "unknown protocol '3afc'"),
        (attribute("dataset", 3), "its dataset is 3)"),
        (attribute("roles", ["a", "b", "c"]), "its roles are a, b, c"),
        (replaced("items/p", np.zeros(3)), "p is of shape (3,), expected 4"),
        (replaced("items/rows", np.zeros((4, 2), int)), "items/rows is of shape (4, 2), expected"),
        (replaced("items/p", np.zeros(4, int)), "p is of type int64"),
        (replaced("items/id", np.arange(4)), "id is of type int64"),
        (replaced("images/8x8", np.zeros((12, 8, 8, 3))), "images/8x8 is of type float64"),
        (replaced("images/8x8", np.zeros((12, 8, 8, 3), "u2")), "images of type uint16"),
        (replaced("images/8x8", np.zeros((12, 8, 3), "u1")), "images/8x8 is of shape (12, 8, 3)"),
        (replaced("sizes", np.array([[8, 9]])), "images/8x9 is missing"),
        (filled("items/rows", 12, (0, 0)), "items/rows points to number 12 of 12"),
        (filled("items/rows", -1, (0, 0)), "items/rows points to number -1 of 12"),
        (filled("items/size", 1, 2), "items/size points to number 1 of 1"),
        (filled("items/sub", 1, 2), "sub points to number 1 of 1"),
        (filled("items/p", np.nan, 1), "p: expected a share of people, in [0, 1]"),
        (filled("items/p", 1.01, 1), "p: expected a share of people, in [0, 1]"),
        (filled("items/votes", -1, 1), "votes: expected counts of people"),
        (filled("items/id", "one/000000", 1), "an item is there twice"),
        (linked("items/p", h5py.ExternalLink("/etc/x.h5", "p")), "p is a link to elsewhere"),
        (linked("items/p", h5py.SoftLink("/items/p")), "p is a link to elsewhere"),  # in a ring
        (linked("images", h5py.SoftLink("/items")), "images/8x8 is a link to elsewhere"),
        (linked("images/8x8", h5py.ExternalLink("/etc/x.h5", "p")), "images/8x8 is a link to els"),
        (virtual("images/8x8"), "images/8x8 lies in other files"),
        (virtual("items/p"), "p lies in other files"),
        (external("images/8x8"), "images/8x8 lies in other files"),
        (declared("images/8x8", 10**9), "images/8x8 declares 192,000,000,000 bytes and holds too"),
        (lambda file: linked("items/p", file["images"])(file), "p is no dataset"),
    ],
)
def test_a_pack_that_is_not_what_it_should_be(
    tmp_path: Path, a_pack: Path, change: Callable[[h5py.File], None], why: str
) -> None:
    path = Path(shutil.copy(a_pack, tmp_path))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(PmbenchError) as caught:
        Pack.open(path)
    assert str(caught.value).startswith(f"{path}: {PACK_OF} ({why}")
    assert str(caught.value).endswith("); delete it and pack again with `pmbench download`")


def test_a_pack_of_another_version_is_told_and_one_that_changes_meanwhile(tmp_path: Path) -> None:
    write_tree(tmp_path / "data", triplets({"one": 4}))
    entry = manifest(tmp_path / "manifests", source={"path": "../data"})
    pack = packed(entry)
    with h5py.File(pack.path, "r+") as file:
        file.attrs["pmbench"] = "9.9.9"  # the same format: it can be read
    packed(entry)
    old = Pack.open(pack.path)
    (tmp_path / "data" / "val/one/p0/000000.png").write_bytes(png(picture(99)))
    packed(entry)
    with pytest.raises(PmbenchError) as caught:
        old.images(0, np.array([0]))
    assert str(caught.value) == (
        f"{pack.path}: packed anew by another pmbench meanwhile; run the same command again"
    )
    for number in (2, 0, "x"):
        with h5py.File(pack.path, "r+") as file:
            file.attrs["format"] = number
        assert message_of(packed, entry) == (
            f"{pack.path}: a pack of format {number}; this pmbench reads format 1; delete the file "
            "and pack again with `pmbench download`"
        )


def some_distances(path: Path, subs: int = 2) -> None:
    n = 6
    items = Items(
        np.array([f"{i}" for i in range(n)], object), np.arange(n) % subs,
        tuple(f"s{k}" for k in range(subs)), np.full(n, 0.5), np.full(n, 2, np.int32), np.arange(n),
    )  # fmt: skip
    write_distances(path, items, np.ones((n, 2)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda file: file.__delitem__("distances"), "distances is missing"),
        (replaced("distances", np.ones(6)), "distances is of shape (6,), expected 6×n"),
        (replaced("distances", np.ones((6, 2), int)), "distances is of type int64"),
        (filled("distances", np.inf, (1, 1)), "a distance is infinite"),
        (filled("sub", 7, 1), "sub points to number 7 of 2"),
        (filled("p", np.nan, 1), "p: expected a share of people, in [0, 1]"),
        (linked("distances", h5py.ExternalLink("/etc/x.h5", "d")), "distances is a link to els"),
        (linked("distances", h5py.SoftLink("/distances")), "distances is a link to elsewhere"),
        (virtual("distances"), "distances lies in other files"),
        (declared("distances", 10**12), "distances is of shape (1000000000000, 2), expected 6×n"),
    ],
)
def test_distances_that_are_not_what_they_should_be(
    tmp_path: Path, change: Callable[[h5py.File], None], why: str
) -> None:
    path = tmp_path / "distances.h5"
    some_distances(path)
    with h5py.File(path, "r+") as file:
        change(file)
    assert message_of(read_distances, path, TWO_AFC.judgement).startswith(
        f"{path}: {DISTANCES_OF} ({why}"
    )


def test_distances_of_an_earlier_version_and_of_many_sub_datasets(tmp_path: Path) -> None:
    some_distances(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        names = list(file["sub_names"].asstr()[:])
        del file["sub_names"]
        file.attrs["sub_names"] = names
    assert read_distances(tmp_path / "a.h5", TWO_AFC.judgement)[0].sub_names == ("s0", "s1")
    some_distances(tmp_path / "b.h5", subs=10_000)  # more than fit into an attribute
    assert len(read_distances(tmp_path / "b.h5", TWO_AFC.judgement)[0].sub_names) == 10_000

"""The pack: one HDF5 file that holds a dataset as metrics see it.

Layout of the file (format 1)::

    attributes      format, dataset, protocol, roles, resize, digest, expected, partial, votes are
                    human or not, where it came from
    sub_names       sub-datasets             sizes           (height, width) of each image size
    items/id        item ids                 items/p         share of people, float64
    items/sub       index into sub_names     items/votes     how many people, int32
    items/cluster   clusters, int64          items/size      index into sizes
    items/rows      (items, roles): where each role's image stands in its size's images
    items/cluster_name  what the clusters are called, "" for none; only where there are some
    images/HxW      (images, H, W, 3) uint8, every different image once, in the order of use

Roles share images, so a reference that ten items use is stored once. Where the dataset names no
clusters, items that share images are clusters (see ``by_images``). Reading needs no torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pmbench import __version__
from pmbench.datasets.image_store import ImageStore as ImageStore  # from which a pack is written
from pmbench.datasets.layouts import Item
from pmbench.datasets.resize import Pixels
from pmbench.datasets.stored_items import read_items, within
from pmbench.scoring.clusters import by_images
from pmbench.scoring.items import Items as Items  # which a pack is asked for
from pmbench.scoring.protocols import PROTOCOLS
from pmbench.utils.errors import PmbenchError
from pmbench.utils.hdf5 import column, dataset, reading_hdf5, writing_hdf5
from pmbench.utils.text import check_all_printable

FORMAT = 1
_ATTRIBUTES: dict[str, type | tuple[type, ...]] = {
    "dataset": str, "protocol": str, "resize": str, "digest": str, "source": str, "sha256": str,
    "fingerprint": str, "expected": np.integer, "partial": np.bool_, "human_votes": np.bool_,
}  # fmt: skip


@dataclass(frozen=True)
class PackInfo:
    """What a pack was made from and for; stands in its attributes."""

    dataset: str
    protocol: str
    roles: tuple[str, ...]
    resize: str  # Resize.label
    human_votes: bool
    expected: int | None = None  # items of the whole dataset, where known
    partial: bool = False  # taken as it came, whatever the manifest says
    source: str = ""
    sha256: str = ""
    fingerprint: str = ""  # of local files and the manifest, to notice that they changed


def write_pack(
    path: Path,
    origin: PackInfo,
    rows: list[Item],
    numbers: dict[str, int],
    store: ImageStore,
    compression: str | None = None,
) -> None:
    """Write a pack, whole or not at all.

    ``numbers`` maps the image names of ``rows`` to images in ``store``. Raises PmbenchError where
    the images of one item differ in size, since a metric compares images of one size.
    """
    sizes: list[tuple[int, int]] = []
    order: dict[tuple[int, int], list[int]] = {}
    position: dict[int, int] = {}
    table = np.empty((len(rows), len(origin.roles)), np.int64)
    size_of = np.empty(len(rows), np.int64)
    for i, row in enumerate(rows):
        images = [numbers[name] for name in row.images]
        results = [store.size(number) for number in images]
        if len(set(results)) > 1:
            message = ", ".join(
                f"{role} {w}×{h}" for role, (h, w) in zip(origin.roles, results, strict=True)
            )
            raise PmbenchError(
                f"{origin.dataset}: the images of item {row.item} differ in size ({message}); "
                "expected one size within an item; mend the item or set 'size' in the manifest"
            )
        if results[0] not in order:
            sizes.append(results[0])
            order[results[0]] = []
        for role, number in enumerate(images):
            if number not in position:
                position[number] = len(order[results[0]])
                order[results[0]].append(number)
            table[i, role] = position[number]
        size_of[i] = sizes.index(results[0])

    subs = list(dict.fromkeys(row.sub_dataset for row in rows))
    clusters = {name: k for k, name in enumerate(dict.fromkeys(r.cluster or r.item for r in rows))}
    with writing_hdf5(path) as file:
        file.attrs.update(
            {
                "format": FORMAT,
                "pmbench": __version__,
                "dataset": origin.dataset,
                "protocol": origin.protocol,
                "roles": list(origin.roles),
                "resize": origin.resize,
                "human_votes": origin.human_votes,
                "expected": -1 if origin.expected is None else origin.expected,
                "source": origin.source,
                "sha256": origin.sha256,
                "fingerprint": origin.fingerprint,
                "digest": _digest(rows, numbers, store),
                "partial": origin.partial,
            }
        )
        file["items/id"] = [row.item for row in rows]
        file["sub_names"] = subs  # not attributes, which are limited to 64 KiB
        file["sizes"] = np.array(sizes, np.int64)
        file["items/sub"] = np.array([subs.index(row.sub_dataset) for row in rows], np.int64)
        file["items/p"] = np.array([row.p for row in rows], np.float64)
        file["items/votes"] = np.array([row.votes for row in rows], np.int32)
        file["items/cluster"] = np.array([clusters[r.cluster or r.item] for r in rows], np.int64)
        if any(row.cluster is not None for row in rows):
            file["items/cluster_name"] = [row.cluster or "" for row in rows]
        file["items/size"] = size_of
        file["items/rows"] = table
        for height, width in sizes:
            members = order[height, width]
            images_set = file.create_dataset(
                f"images/{height}x{width}",
                shape=(len(members), height, width, 3),
                dtype=np.uint8,
                compression=compression,
                chunks=None if compression is None else (1, height, width, 3),
            )
            for start in range(0, len(members), 512):
                block = store.read_all(members[start : start + 512])
                images_set[start : start + len(block)] = block


def _digest(rows: list[Item], numbers: dict[str, int], store: ImageStore) -> str:
    """Return a digest over items, pixels and votes; the order of the rows is of no consequence."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda r: r.item):
        facts = f"{row.item}\0{row.sub_dataset}\0{row.p!r}\0{row.votes}\0{row.cluster}\0"
        digest.update(facts.encode())
        for name in row.images:
            digest.update(store.digests[numbers[name]])
    return digest.hexdigest()


@dataclass(frozen=True)
class Pack:
    """An open pack. ``items`` and ``rows`` are in memory, images are read on demand."""

    path: Path
    items: Items
    rows: NDArray[np.int64]  # (n, roles)
    size: NDArray[np.int64]  # (n,), index into sizes
    sizes: tuple[tuple[int, int], ...]  # (height, width)
    attributes: dict[str, Any] = field(repr=False)
    has_clusters: bool = False  # the dataset says which items are not independent

    @classmethod
    def open(cls, path: Path) -> Pack:
        """Open a pack. Raises PmbenchError where the file is none, or of another format."""
        then = "delete it and pack again with `pmbench download`"
        with reading_hdf5(path, "a pack", then) as file:
            attributes = dict(file.attrs)
            if attributes.get("format") != FORMAT:
                raise PmbenchError(
                    f"{path}: a pack of format {attributes.get('format', 'unknown')}; this "
                    f"pmbench reads format {FORMAT}; delete the file and pack again with "
                    "`pmbench download`"
                )
            _check_attributes(attributes)
            names = column(file, "sub_names", "text", (None,))
            protocol = PROTOCOLS[attributes["protocol"]]
            items = read_items(file["items"], tuple(names), protocol.judgement)
            rows = column(file, "items/rows", "iu", (len(items), len(protocol.roles)))
            size = column(file, "items/size", "iu", (len(items),))
            sizes = tuple((int(h), int(w)) for h, w in column(file, "sizes", "iu", (None, 2)))
            within("items/size", size, len(sizes))
            for k, (height, width) in enumerate(sizes):
                images = dataset(file, f"images/{height}x{width}", "u", (None, height, width, 3))
                if images.dtype != np.uint8:
                    raise ValueError(f"images of type {images.dtype}")
                within("items/rows", rows[size == k].ravel(), len(images))
            has_clusters = "items/cluster_name" in file or _repeats(items.cluster)
            if not has_clusters:
                cluster, further = by_images(rows * len(sizes) + size[:, None])
                items = replace(items, cluster=cluster, further=further)
            return cls(path, items, rows, size, sizes, attributes, has_clusters)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def expected(self) -> int | None:
        """How many items the whole dataset has, or None where nobody says."""
        expected = int(self.attributes["expected"])
        return None if expected < 0 else expected

    @property
    def partial(self) -> bool:
        """Whether this is less than the dataset, or not known to be it."""
        missing = self.expected is not None and len(self) != self.expected
        return missing or bool(self.attributes["partial"])

    @property
    def described_size(self) -> str:
        """How many items there are, of how many, in words: "12 of 36,344 items, partial"."""
        whole = f" of {self.expected:,}" if self.partial and self.expected is not None else ""
        return f"{len(self):,}{whole} items" + ", partial" * self.partial

    @property
    def digest(self) -> str:
        """The digest over items, pixels and votes."""
        return str(self.attributes["digest"])

    @cached_property
    def _file(self) -> h5py.File:
        file = h5py.File(self.path, "r")
        if file.attrs["digest"] != self.digest:
            file.close()
            raise PmbenchError(
                f"{self.path}: packed anew by another pmbench meanwhile; run the same command again"
            )
        return file

    def images(self, size: int, rows: NDArray[np.int64]) -> Pixels:
        """Return the images at ``rows`` of one size: (len(rows), H, W, 3) uint8."""
        try:
            return self._read(size, rows)
        except (OSError, KeyError) as error:
            raise PmbenchError(
                f"{self.path}: its images cannot be read ({error}); delete it and pack again with "
                "`pmbench download`"
            ) from error

    def _read(self, size: int, rows: NDArray[np.int64]) -> Pixels:
        height, width = self.sizes[size]
        stored = self._file[f"images/{height}x{width}"]
        first, last = int(rows.min()), int(rows.max())
        if last - first < 4 * len(rows):  # neighbours: one read of the whole stretch is fastest
            block: Pixels = stored[first : last + 1][rows - first]
            return block
        wanted, back = np.unique(rows, return_inverse=True)
        scattered: Pixels = stored[wanted][back]
        return scattered


def _repeats(values: NDArray[np.int64]) -> bool:
    return len(np.unique(values)) < len(values)


def _check_attributes(attributes: dict[str, Any]) -> None:
    """Raise KeyError or ValueError where a pack does not say what every pack says."""
    for name, kind in _ATTRIBUTES.items():
        if not isinstance(value := attributes[name], kind):
            raise ValueError(f"its {name} is {np.asarray(value).tolist()!r}")  # noqa: TRY004  of the file
    check_all_printable([attributes[name] for name in _ATTRIBUTES])
    if attributes["protocol"] not in PROTOCOLS:
        raise ValueError(f"unknown protocol '{attributes['protocol']}'")
    roles = tuple(map(str, np.atleast_1d(attributes["roles"])))
    if roles != PROTOCOLS[attributes["protocol"]].roles:
        raise ValueError(f"its roles are {', '.join(roles)}")

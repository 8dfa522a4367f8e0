"""Is a pack whole? Cheaply, by opening it; or for certain, by its digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py

from pmbench.datasets import image_store
from pmbench.datasets.pack import Pack
from pmbench.utils.errors import PmbenchError
from pmbench.utils.hdf5 import column

_BLOCK = 256  # images that are read together


def check_pack(path: Path, expected: str, verify: bool) -> str:
    """Return what is wrong with a pack, "" where nothing is.

    ``expected`` is what its name says: the dataset and the resize mode. ``verify`` reads all of its
    pixels, too.
    """
    try:
        pack = Pack.open(path)
        digest = digest_of(pack) if verify else None
    except PmbenchError as error:
        return str(error).removeprefix(f"{path}: ")
    except (OSError, KeyError, TypeError, ValueError) as error:
        return f"its images cannot be read ({error})"
    if (content := "{dataset}, {resize}".format_map(pack.attributes)) != expected:
        return f"it holds {content}"
    if digest in (None, pack.digest):
        return ""
    return f"its digest differs: expected {pack.digest[:8]}…, got {digest[:8]}…"


def digest_of(pack: Pack) -> str | None:
    """Return the digest over what a pack holds, computed anew: see ``pack.write_pack``.

    None where an earlier version made it, which did not keep what the clusters were called.
    """
    items, n = pack.items, len(pack)
    with h5py.File(pack.path, "r") as file:
        if "cluster_name" in file["items"]:
            names: list[str | None] = [*column(file, "items/cluster_name", "text", (n,))]
        elif not pack.has_clusters:
            names = [None] * n
        else:
            return None
        images = [_digests(file[f"images/{height}x{width}"]) for height, width in pack.sizes]
    total = hashlib.sha256()
    for i in sorted(range(n), key=lambda i: items.id[i]):
        sub, p = items.sub_names[items.sub[i]], float(items.p[i])
        total.update(f"{items.id[i]}\0{sub}\0{p!r}\0{items.votes[i]}\0{names[i]}\0".encode())
        for row in pack.rows[i]:
            total.update(images[pack.size[i]][row])
    return total.hexdigest()


def _digests(stored: h5py.Dataset) -> list[bytes]:
    blocks = range(0, len(stored), _BLOCK)
    return [
        image_store.digest_of(image) for start in blocks for image in stored[start : start + _BLOCK]
    ]

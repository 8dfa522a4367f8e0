"""Is a file of the cache whole? Cheaply, by opening it; or for certain, by its checksum.

Each function returns what is wrong, "" where nothing is.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zipfile
from pathlib import Path

import h5py

from pmbench.datasets import archive, image_store
from pmbench.datasets.pack import Pack
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import sha256_of
from pmbench.utils.hdf5 import column

_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth")  # as torchvision names its files
_BLOCK = 256  # images that are read together


def check_checksum(path: Path, expected: str) -> str:
    """Return what is wrong with a file whose SHA-256 must begin with ``expected``."""
    if (digest := sha256_of(path)).startswith(expected):
        return ""
    return f"its checksum differs: expected sha256 {expected[:8]}…, got {digest[:8]}…"


def check_archive(path: Path) -> str:
    """Return what is wrong with a tar archive, as far as its first file tells."""
    try:
        next(archive.files(path), None)
    except PmbenchError as error:
        return str(error).removeprefix(f"{path}: ").partition(";")[0]
    return ""


def check_json(path: Path) -> str:
    """Return what is wrong with a file of texts by name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(value, str) for value in dict(content).values()):
            return ""
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return f"no JSON of checksums ({error})"
    return "no JSON of checksums"


def check_weights(path: Path, megabytes: float | None) -> str:
    """Return what is wrong with a file of weights, as far as its size and outer form tell."""
    if megabytes is not None and path.stat().st_size < 0.5e6 * megabytes:
        return f"it is cut off: it should have {megabytes:g} MB"
    with path.open("rb") as file:
        start = file.read(8)
    if path.suffix == ".safetensors":
        (header,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
        return "" if 0 < header < path.stat().st_size else "it is cut off"
    if start.startswith(b"PK"):
        return "" if zipfile.is_zipfile(path) else "it is cut off"
    return "" if start else "it is empty"


def digest_in(name: str) -> str:
    """Return what a weight file's own name says its SHA-256 begins with, "" where nothing."""
    result = _DIGEST_IN_NAME.search(name)
    return result[1] if result else ""


def check_pack(path: Path, verify: bool) -> str:
    """Return what is wrong with a pack; ``verify`` reads all of its pixels, too."""
    try:
        pack = Pack.open(path)
        digest = digest_of(pack) if verify else None
    except PmbenchError as error:
        return str(error).removeprefix(f"{path}: ")
    except (OSError, KeyError, TypeError, ValueError) as error:
        return f"its images cannot be read ({error})"
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
        elif len(set(items.cluster.tolist())) == n:
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

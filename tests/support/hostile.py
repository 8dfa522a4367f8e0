"""Files that somebody made to do harm, given to ``download``."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pmbench.datasets.pack import Pack
from pmbench.utils.errors import PmbenchError
from support.factories import triplets

TOY = triplets({"cnn": 2})
PICTURE, VOTE = "val/cnn/p0/000001.png", "val/cnn/judge/000001.npy"


def refusal(give: Callable[..., Pack], data: bytes | Path) -> str:
    """Fail to pack; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        give(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, 1),
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=1),
}


def zeros(kind: str, size: int) -> bytes:
    """Return so many zeros compressed, many of them."""
    if kind != "gz":
        return COMPRESS[kind](bytes(1 << 20)) * (size >> 20)
    packer, block = zlib.compressobj(9, wbits=31), bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()

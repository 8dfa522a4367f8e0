"""Images and votes that somebody made to do harm, or damaged: told, and confined.

Each of them is really made, and given to ``download`` as a user's file. Whatever comes of it,
nothing may lie outside the cache, and no half of a pack in it.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.factories import (
    FOLDERS,
    Files,
    error_message,
    manifest,
    npy,
    packed,
    picture,
    png,
    role_images,
    tar,
    write_tree,
)
from support.hostile import PICTURE, TOY, VOTE, chunk, refusal
from support.refusals import message_of

from pmbench.datasets.image_file import decode
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import LARGEST, Resize
from pmbench.utils.progress import Silent

# --- images -------------------------------------------------------------------------------------

RGB = picture(7)


def png_of(width: int, height: int, *more: bytes, data: bytes = b"") -> bytes:
    """Return a PNG that declares a size, with whatever data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    image = chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + image + chunk(b"IEND", b"")


def damaged(data: bytes, at: bytes, offset: int) -> bytes:
    """Return a PNG with one bit changed, so far behind a chunk's name."""
    place = data.index(at) + offset
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        pytest.param(png_of(50_000, 50_000, data=bytes(1 << 20)),
            "expected an image of at most 67,108,864 pixels (8192×8192), got one of 2,500,000,000",
            id="bomb of 2.5 gigapixels"),
        pytest.param(png_of(10_000, 10_000, data=bytes(1 << 20)),
            "expected an image of at most 67,108,864 pixels (8192×8192), got one of 10,000×10,000",
            id="bomb of which PIL would only warn"),
        pytest.param(b"", "expected an image file, got 0 bytes that PIL cannot read (",
            id="empty"),
        pytest.param(png(RGB)[:-30], "that PIL cannot read (OSError: ", id="truncated"),
        pytest.param(png(RGB)[:40], "that PIL cannot read (", id="truncated in its header"),
        pytest.param(damaged(png(RGB), b"IHDR", 18), "cannot read (none that it knows)", id="CRC"),
        pytest.param(damaged(png(RGB), b"IDAT", 40), "cannot read (OSError: ", id="other pixels"),
        pytest.param(png_of(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100 << 20), 9))),
            "cannot read (ValueError: Decompressed ", id="text of 100 MB"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
            "that PIL cannot read (none that it knows)", id="a program in PostScript"),
    ],
)  # fmt: skip
def test_a_picture_that_is_none_is_told(
    give: Callable[..., Pack], data: bytes, sentence: str
) -> None:
    message = refusal(give, tar(TOY | {PICTURE: data}))
    assert message.startswith(f"{PICTURE}: expected an image ")
    assert sentence in message
    assert message.endswith(" or remove the item")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_a_picture_of_one_pixel_is_one(give: Callable[..., Pack]) -> None:
    one = {path: png(picture(1, 1, 1)) if path.endswith("png") else d for path, d in TOY.items()}
    assert give(tar(one)).sizes == ((1, 1),)
    assert decode(png(picture(1, 1, 1)), Resize("legacy", 64), "x").shape == (64, 64, 3)


def test_a_resize_does_not_make_a_bomb_of_a_thin_picture() -> None:
    thin = saved(Image.new("RGB", (1, 60_000)), "PNG")
    assert message_of(decode, thin, Resize("legacy", 64), "thin.png") == (
        f"thin.png: expected an image of at most {LARGEST:,} pixels (8192×8192), got one of "
        "64×3,840,000 after --resize legacy64; scale it down or remove the item"
    )


def test_large_pictures_are_not_all_decoded_at_once(tmp_path: Path) -> None:
    from pmbench.datasets import decode as decoding
    from pmbench.datasets.image_file import EncodedImage

    large = saved(Image.new("RGB", (4000, 4000)), "PNG")
    pictures = (EncodedImage.open(large, "x") for _ in range(3))
    tasks = list(decoding._tasks((str(i), one) for i, one in enumerate(pictures)))
    assert [len(task) for task, _ in tasks] == [1, 1, 1]
    assert tasks[0][1] == len(large) + 4 * 4000 * 4000


def test_what_was_done_to_pictures_is_said_when_they_are_packed(tmp_path: Path) -> None:
    half = png(np.dstack([picture(1), np.full((8, 8), 128, np.uint8)]))
    write_tree(tmp_path / "tree", TOY | {"val/cnn/p0/000000.png": half})
    reporter = Silent()
    shown = packed(manifest(tmp_path, name="shown", source={"path": "tree"}), reporter)
    assert reporter.notes == ["tree: 6 images: transparency laid on white in 1"]
    raw = packed(manifest(tmp_path, name="raw", source={"path": "tree"}, raw_pixels=True), reporter)
    assert reporter.notes[1:] == ["tree: 6 images: transparency dropped in 1"]
    np.testing.assert_array_equal(role_images(raw, "cnn/000000")[1], picture(1))
    assert (role_images(shown, "cnn/000000")[1] > picture(1)).any()


# --- votes ----------------------------------------------------------------------------------------


class Runs:
    """What a pickle can do to whoever loads it."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.place),)


def raw_npy(header: str, data: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    text = header.encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


def test_a_pickle_in_a_vote_does_not_run(give: Callable[..., Pack], tmp_path: Path) -> None:
    trap = tmp_path / "in" / "trap"
    for data in (npy(np.array(Runs(trap), dtype=object)), pickle.dumps(Runs(trap))):
        message = refusal(give, tar(TOY | {VOTE: data}))
        assert message.startswith(f"{VOTE}: expected a .npy file with one number in [0, 1]; got ")
        assert not trap.exists()
    pickle.loads(pickle.dumps(Runs(trap)))
    assert trap.exists()  # the trap works


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (npy(0.4 + 0j), "it is of type complex128"),
        (npy("0.4"), "it is of type <U3"),
        (npy(b"0.4"), "it is of type |S3"),
        (npy(np.array((0.4, 1), [("a", "f4"), ("b", "f4")])), "it is of type [('a', '<f4'), ("),
        (npy(np.datetime64("2000-01-01")), "it is of type datetime64[D]"),
        (npy([]), "bytes that hold none ("),
        (npy([[0.2, 0.4]]), "bytes that hold none ("),
        (raw_npy("{'descr': '<f8'}", version=2, length=10**9), "bytes that hold none ("),
        (raw_npy("{'descr': '<f8'}", version=9), "bytes that hold none ("),
        (raw_npy("(" * 9000), "bytes that hold none ("),
        (b"", "got 0 bytes that hold none ("),
        (npy(0.4)[:50], "got 50 bytes that hold none ("),
        (npy(0.4)[:-1], "bytes that hold none ("),
        (npy([{"a": 1}]), "Object arrays cannot be loaded when allow_pickle=F"),
        (npy([0.2, 0.4]), "bytes that hold none ("),
        (npy("many"), "bytes that hold none ("),
        (b"PK\x03\x04" + npy(0.4), "bytes that hold none ("),
        (npy(0.4).replace(b"()", b"(("), "bytes that hold none ("),
        (npy([0.4]).replace(b"(1,), }        ", b"(10000000000,)}"), "bytes that hold none ("),
    ],
)
def test_a_vote_that_is_no_number_is_told(
    give: Callable[..., Pack], data: bytes, sentence: str
) -> None:
    message = refusal(give, tar(TOY | {VOTE: data}))
    assert message.startswith(
        f"{VOTE}: expected a .npy file with one number in [0, 1]; got {len(data)}"
    )
    assert sentence in message


FLOAT = "{'descr': '<f8', 'fortran_order': True, 'shape': (1, 1)}"


@pytest.mark.parametrize(
    ("data", "p"),
    [
        (npy(np.float64(0.4)), 0.4),
        (npy(np.float16(0.4)), 0.4),
        (npy([0.4]), 0.4),
        (npy([[0.4]]), 0.4),
        (raw_npy(FLOAT, struct.pack("<d", 0.4)), 0.4),
        (raw_npy(FLOAT, struct.pack("<d", 0.4), version=3), 0.4),
        (npy(np.array(0.4, ">f4")), 0.4),
        (npy(1), 1.0),
        (npy(True), 1.0),
        (npy(-0.0), 0.0),
    ],
)
def test_a_vote_may_be_written_in_many_ways(
    give: Callable[..., Pack], data: bytes, p: float
) -> None:
    got = give(tar(TOY | {VOTE: data})).items.p[1]
    assert (got, np.signbit(got)) == (p, False)


def test_minus_nothing_is_nothing_without_a_number_of_votes(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", TOY | {VOTE: npy(-0.0)})
    entry = manifest(tmp_path, source={"path": "tree"}, folders=FOLDERS, votes_per_item=1)
    assert not np.signbit(packed(entry).items.p[1])


def table_error(folder: Path, data: bytes, name: str = "t.csv") -> str:
    table = {"file": name, "item": "{id}", "vote_counts": ["a", "b"],
             "roles": dict.fromkeys(("ref", "p0", "p1"), "{id}.png")}  # fmt: skip
    files: Files = {name: data, "1.png": png(picture(0))}
    write_tree(folder / "tree", files)
    return error_message(manifest(folder, source={"path": "tree"}, table=table))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"id,a,b\n1,1,%s\n" % (b"9" * 200_000), "field larger than field limit (131072)"),
        (b'id,a,b\n1,1,"' + b"9" * 200_000, "field larger than field limit (131072)"),
        (b"id,a,b\n1,1e300,1e300\n", "and at most 2,147,483,647"),
        (b"id,a,b\n1,1e308,1e308\n", "and at most 2,147,483,647"),
        (b"id,a,b\n1,3e9,0\n", "vote counts 3e+09 and 0; expected whole numbers of people, at "),
    ],
)
def test_a_table_with_numbers_beyond_reason_is_told(
    tmp_path: Path, data: bytes, sentence: str
) -> None:
    assert sentence in table_error(tmp_path, data)


def test_a_json_number_without_end_is_told(tmp_path: Path) -> None:
    message = table_error(tmp_path, b'{"id": 1, "a": 1, "b": ' + b"9" * 9000 + b"}", "t.jsonl")
    assert "line 1: expected one JSON object (Exceeds the limit" in message


def test_two_packs_of_the_same_files_are_the_same_bytes(give: Callable[..., Pack]) -> None:
    data = tar(TOY, "w")
    first = give(data).path.read_bytes()
    time.sleep(1.1)  # HDF5 would note the second in which each part was made
    assert give(data).path.read_bytes() == first

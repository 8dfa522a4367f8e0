"""Archives, folders and pictures that somebody made to do harm, or damaged: told, and confined.

Each of them is really made, and given to ``download`` as a user's file. Whatever comes of it,
nothing may lie outside the cache, and no half of a pack in it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
import tempfile
import time
import tracemalloc
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import (
    FOLDERS,
    Files,
    manifest,
    member,
    npy,
    packed,
    picture,
    png,
    role_images,
    tar,
    told_of,
    triplets,
    write_tree,
)
from PIL import Image, PngImagePlugin

from pmbench.datasets.archive import LARGEST_MEMBER, Unpacked, files
from pmbench.datasets.download import Choices, download
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import LARGEST, Resize, decode, resize_for
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

TOY = triplets({"cnn": 2})
PICTURE, VOTE = "val/cnn/p0/000001.png", "val/cnn/judge/000001.npy"


@pytest.fixture
def give(tmp_path: Path, home: Path) -> Iterator[Callable[..., Pack]]:
    """Return a way to give ``download`` a file, and see that nothing lies where it should not."""
    (tmp_path / "in").mkdir()
    entry = manifest(tmp_path / "in", source={"url": "http://127.0.0.1/toy.tar"})
    path = tmp_path / "in" / "toy.tar"

    def given(data: bytes | Path) -> Pack:
        if isinstance(data, bytes):
            path.write_bytes(data)
        source = str(path if isinstance(data, bytes) else data)
        return download(entry, resize_for(entry, None), Choices(source=source), Silent())

    before = _everything(tmp_path.parent)
    yield given
    new = {name for name in _everything(tmp_path.parent) - before if "pmbench-home" not in name}
    assert {Path(name).name for name in new if not name.startswith(str(tmp_path / "in"))} == set()
    packs = {path.name for path in (home / "packs").glob("*")}
    assert packs <= {"toy.none.h5", "toy.none.lock"}
    if "toy.none.h5" in packs:
        Pack.open(home / "packs" / "toy.none.h5")


def _everything(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def refused(give: Callable[..., Pack], data: bytes | Path) -> str:
    """Fail to pack; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        give(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- compression ----------------------------------------------------------------------------------

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, 1),
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=1),
}


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_archive_cut_off_in_its_last_bytes_is_told(
    give: Callable[..., Pack], kind: str
) -> None:
    data = COMPRESS[kind](tar(TOY, "w"))
    for end in (len(data) - 1, len(data) - 9, len(data) // 2):
        assert "got one that breaks off or is none (" in refused(give, data[:end])
    assert len(give(data)) == 2


def test_a_byte_changed_inside_gzip_is_noticed_by_its_checksum_if_by_nothing_else(
    give: Callable[..., Pack],
) -> None:
    stored = gzip.compress(tar(TOY, "w"), 0)  # as it is, so that bytes can be found in it
    vote = stored.index(npy(np.float32(0.2))) + len(npy(np.float32(0.2))) - 4
    other = stored[:vote] + npy(np.float32(0.8))[-4:] + stored[vote + 4 :]
    assert "while decompressing data: incorrect data check" in refused(give, other)


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("trailing", [b"\0" * 3000, b"not the end\n" * 400])
def test_what_trails_a_compressed_archive_does_not_matter(
    give: Callable[..., Pack], kind: str, trailing: bytes
) -> None:
    assert len(give(COMPRESS[kind](tar(TOY, "w")) + trailing)) == 2


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_archive_may_be_made_of_parts(give: Callable[..., Pack], kind: str) -> None:
    plain = tar(TOY, "w")
    parts = [plain[i : i + 4001] for i in range(0, len(plain), 4001)]
    assert len(give(b"".join(map(COMPRESS[kind], parts)))) == 2


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("block", [7, 64, 1009])
def test_parts_may_begin_anywhere_in_what_is_read_at_a_time(
    give: Callable[..., Pack], monkeypatch: pytest.MonkeyPatch, kind: str, block: int
) -> None:
    monkeypatch.setattr("pmbench.datasets.archive._BLOCK", block)
    plain = tar(TOY, "w")
    parts = [plain[i : i + 311] for i in range(0, len(plain), 311)]
    assert len(give(b"".join(map(COMPRESS[kind], parts)))) == 2


def zeros(kind: str, size: int) -> bytes:
    """Return so many zeros compressed, many of them."""
    if kind != "gz":
        return COMPRESS[kind](bytes(1 << 20)) * (size >> 20)
    packer, block = zlib.compressobj(9, wbits=31), bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_bomb_ends_before_it_goes_off(
    give: Callable[..., Pack], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("pmbench.datasets.archive._UNSUSPECTED", 8 << 20)
    first = member("README", size=8 << 30).tobuf(tarfile.GNU_FORMAT)
    bomb = COMPRESS[kind](first) + zeros(kind, 64 << 20)
    assert len(bomb) < 200_000
    tracemalloc.start()
    told = refused(give, bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"{len(bomb):,} bytes unpack to more than " in told
    assert told.endswith("200 times smaller; this is not the dataset's archive")
    assert peak < 8 << 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMPRESS)
def test_a_bomb_of_gigabytes_ends_after_one(give: Callable[..., Pack], kind: str) -> None:
    part = zeros(kind, 1 << 30)
    first = member("README", size=8 << 30).tobuf(tarfile.GNU_FORMAT)
    assert "unpack to more than 1,0" in refused(give, COMPRESS[kind](first) + part * 4)


def test_xz_that_asks_for_gigabytes_is_refused(give: Callable[..., Pack]) -> None:
    data = lzma.compress(tar(TOY, "w"), preset=0)
    header = bytearray(data[12 : 12 + 4 * data[12] + 4])  # of its one block
    assert header[2] == 0x21  # LZMA2
    header[4] = 37  # a dictionary of 3 GiB
    header[-4:] = struct.pack("<I", zlib.crc32(header[:-4]))
    told = refused(give, data[:12] + header + data[12 + len(header) :])
    assert "breaks off or is none (Memory usage limit exceeded)" in told


def test_unpacked_bytes_are_exactly_those_asked_for(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 4, 700_000, np.uint8).tobytes()
    for kind in ("", *COMPRESS):
        path = tmp_path / f"x.{kind}"
        path.write_bytes(COMPRESS[kind](data) if kind else data)
        with path.open("rb") as raw:
            stream = Unpacked(raw, path, lambda amount: None)
            assert stream.read(10) + stream.read(300_000) == data[:300_010]
            stream.seek(600_000)
            assert (stream.tell(), stream.read(3)) == (600_000, data[600_000:600_003])
            with pytest.raises(ValueError, match="byte 5 is asked for after byte 600,003"):
                stream.seek(5)
            with pytest.raises(EOFError):
                stream.read(100_000)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("common", [{}, {"comment": "of all files"}])
def test_members_are_those_that_tarfile_finds(
    tmp_path: Path, form: int, common: dict[str, str]
) -> None:
    names = ["a", "x" * 100, "y/" * 60 + "z", "é/日", "d/e f", "a"]
    names += [] if form == tarfile.USTAR_FORMAT else ["n" * 300]
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=form, pax_headers=common) as archive:
        for i, name in enumerate(names):
            content = picture(i).tobytes()[: i * 37]
            archive.addfile(member(name, size=len(content)), io.BytesIO(content))
            archive.addfile(member(f"folder{i}", tarfile.DIRTYPE))
    with tarfile.open(path) as archive:
        regular = [one for one in archive if one.isreg()]
        expected = [(one.name, archive.extractfile(one).read()) for one in regular]  # type: ignore[union-attr]
    assert [(str(file.path), file.read()) for file in files(path)] == expected


def test_a_file_is_read_once_and_while_it_passes(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar(TOY, "w"))
    passing = files(tmp_path / "x.tar")
    first = next(passing)
    assert first.read() == TOY[str(first.path)]
    with pytest.raises(PmbenchError, match="is asked for after byte"):
        first.read()


# --- names and kinds of members -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("val/cnn/p0/\x1b[31mred.png", id="colours a terminal"),
        pytest.param("val/cnn/p0/one\ntwo.png", id="newline"),
        pytest.param("val/cnn/p0/1.png\n", id="newline behind"),
        pytest.param("val/cnn/p0/1\x00.png", id="NUL"),
        pytest.param("val/c\rnn/p0/1.png", id="return, in a sub-dataset"),
        pytest.param("val/cnn/p0/\u202egnp.1", id="turned around"),
        pytest.param("val/cnn/p0/\udcff.png", id="no Unicode"),
    ],
)
def test_a_name_that_cannot_be_shown_is_told(give: Callable[..., Pack], name: str) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = member(name, size=3)
        info.pax_headers = {} if "\udcff" in name else {"path": name}
        archive.addfile(info, io.BytesIO(b"png"))
    told = refused(give, file.getvalue())
    assert told == (
        f"toy: the name {name!a} has characters that cannot be shown as they are; rename it"
    )


def test_a_table_cannot_name_what_cannot_be_shown(tmp_path: Path) -> None:
    table = {
        "file": "t.csv", "item": "{id}", "vote": "p", "cluster": "photo", "sub_dataset": "kind",
        "roles": dict.fromkeys(("ref", "p0", "p1"), "{file}"),
    }  # fmt: skip
    good = {"id": "1", "p": "1", "photo": "a", "kind": "k", "file": "1.png"}
    entry = manifest(tmp_path, source={"path": "tree"}, table=table)
    for column in ("id", "photo", "kind", "file"):
        row = good | {column: "a\x1b[2Jb"}
        data = ",".join(row) + "\n" + ",".join(row.values())
        write_tree(tmp_path / "tree", {"t.csv": data.encode(), "1.png": png(picture(0))})
        assert told_of(entry) == (
            r"toy: t.csv: row 1: the name 'a\x1b[2Jb' has characters that cannot be shown as they "
            "are; rename it"
        )


@pytest.mark.parametrize(
    "name",
    [
        "new\u00a0line",
        "\u65e5\u672c",
        "a b",
        "~",
        "$(id)",
        "a\\b",
        "C:\\x",
        "👩\u200d💻",
        "x" * 250,
    ],
)
def test_odd_names_that_can_be_shown_are_only_names(give: Callable[..., Pack], name: str) -> None:
    odd = {path.replace("000001", name): data for path, data in TOY.items()}
    assert f"cnn/{name}" in give(tar(odd)).items.id.tolist()


def test_names_that_look_the_same_are_not_the_same(give: Callable[..., Pack]) -> None:
    one, two = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    odd = {path.replace("000001", one if "/p0/" in path else two): d for path, d in TOY.items()}
    assert "has no file in " in refused(give, tar(odd))


def test_a_very_long_name_is_read_and_one_without_end_is_not(give: Callable[..., Pack]) -> None:
    long = {path.replace("000001", "x" * 5000): data for path, data in TOY.items()}
    assert len(give(tar(long))) == 2
    endless = {path.replace("000001", "x" * 50_000): data for path, data in TOY.items()}
    assert "declares 50,0" in refused(give, tar(endless))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_of_gigabytes_is_not_read(give: Callable[..., Pack], kind: bytes) -> None:
    data = member("header", kind, size=3 << 30).tobuf(tarfile.GNU_FORMAT) + tar(TOY, "w")
    assert "header declares 3,221,225,472 bytes" in refused(give, data)


def test_thousands_of_headers_in_a_row_are_told(give: Callable[..., Pack]) -> None:
    one = member("h", tarfile.GNUTYPE_LONGNAME, size=2).tobuf(tarfile.GNU_FORMAT) + bytes(512)
    assert "breaks off or is none (maximum recursion depth" in refused(give, one * 3000)


def link(path: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    return member(path, kind, linkname=to)


def test_links_lead_nowhere(give: Callable[..., Pack], tmp_path: Path) -> None:
    secret = write_tree(tmp_path / "in", {"secret.png": png(picture(9))}) / "secret.png"
    extra = [
        link(PICTURE, str(secret)),  # before the file of the same name
        link("val/cnn/ref/000001.png", "/etc/passwd"),
        link("val/cnn/p1/000009.png", "../../../secret.png"),
        link("val/cnn/ref/000000.png", PICTURE, tarfile.LNKTYPE),  # to what comes later
        link("val", str(tmp_path)),  # a folder in whose place others would be written
        link("loop", "loop"),
        member("val/cnn/p1/fifo.png", tarfile.FIFOTYPE),
        member("val/cnn/p1/zero.png", tarfile.CHRTYPE, devmajor=1, devminor=5),
        member("val/cnn/p1/sda.png", tarfile.BLKTYPE, devmajor=8, devminor=0),
    ]
    pack = give(tar(TOY, "w", extra))
    assert pack.items.id.tolist() == ["cnn/000000", "cnn/000001"]
    assert (role_images(pack, "cnn/000001") != picture(9)).any(axis=(1, 2, 3)).all()


def behind(first: Files, second: Files) -> bytes:
    """Return one archive of both, which may have files of the same name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path, data in [*first.items(), *second.items()]:
            archive.addfile(member(path, size=len(data)), io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize("again", [PICTURE, VOTE, PICTURE.replace(".png", ".jpg"), f"./{PICTURE}"])
def test_a_member_that_is_there_twice_is_told(give: Callable[..., Pack], again: str) -> None:
    content = npy(0.4) if again == VOTE else png(picture(5))
    told = refused(give, behind(TOY, {again: content}))
    folder = "judge" if again == VOTE else "p0"
    assert told.startswith(f"toy: the item cnn/000001 has two files in '{folder}', one of them ")


def test_files_of_a_table_that_are_there_twice_are_told(tmp_path: Path) -> None:
    table = {"file": "t.csv", "item": "{id}", "vote": "p",
             "roles": {role: f"{role}.png" for role in ("ref", "p0", "p1")}}  # fmt: skip
    once = {f"{role}.png": png(picture(i)) for i, role in enumerate(("ref", "p0", "p1"))}
    once |= {"t.csv": b"id,p\n1,1\n"}
    entry = manifest(tmp_path, source={"path": "toy.tar"}, table=table)
    for name, content in {"p0.png": png(picture(7)), "t.csv": b"id,p\n1,0\n"}.items():
        (tmp_path / "toy.tar").write_bytes(behind(once, {name: content}))
        assert told_of(entry) == (
            f"toy: t.csv: the archive has {name} twice; expected every file once; "
            "make the archive anew"
        )


@pytest.mark.parametrize("size", [100 << 30, 17 << 30])
def test_a_member_of_100_gigabytes_ends_at_once(give: Callable[..., Pack], size: int) -> None:
    huge = member("notes", size=size).tobuf(tarfile.GNU_FORMAT)
    assert f"notes declares {size:,} bytes" in refused(give, huge + tar(TOY, "w"))


def sparse(path: str, real: int, parts: list[tuple[int, bytes]], map_: bytes = b"") -> bytes:
    """Return a member as GNU tar writes files with holes (PAX, version 1.0)."""
    head = map_ or b"\n".join(
        [b"%d" % len(parts), *(b"%d\n%d" % (at, len(data)) for at, data in parts), b""]
    )
    data = head + bytes(-len(head) % 512) + b"".join(data for _, data in parts)
    info = member(path, size=len(data))
    info.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": path,
        "GNU.sparse.realsize": str(real),
    }  # fmt: skip
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


def test_a_file_with_holes_has_the_bytes_it_stands_for(give: Callable[..., Pack]) -> None:
    data = TOY[PICTURE]
    rest = {path: other for path, other in TOY.items() if path != PICTURE}
    stored = sparse(PICTURE, len(data), [(0, data[:100]), (100, data[100:])])
    assert give(stored + tar(rest, "w")).digest == give(tar(TOY, "w")).digest


def test_a_file_of_holes_is_as_large_as_it_says(give: Callable[..., Pack]) -> None:
    assert "0001.png declares 107,374,182,400 bytes" in refused(
        give, sparse(PICTURE, 100 << 30, [(0, b"x")])
    )
    told = refused(give, sparse(PICTURE, LARGEST_MEMBER + 1, [(0, b"x")]) + tar(TOY, "w"))
    assert f"{PICTURE} declares 268,435,457 bytes; expected an image or a vote of" in told


@pytest.mark.parametrize("map_", [b"5\n1", b"99999999\n", b"x\n", b"1\n-5\n3\n", b"1\n9\n9\n"])
def test_a_map_of_holes_that_makes_no_sense_ends(give: Callable[..., Pack], map_: bytes) -> None:
    told = refused(give, sparse(PICTURE, 10, [], map_) + bytes(512))
    assert "toy.tar: expected a whole tar archive" in told or f"{PICTURE}: expected a pict" in told


def test_a_zip_is_told_what_to_do_with(give: Callable[..., Pack], tmp_path: Path) -> None:
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path, data in TOY.items():
            archive.writestr(path, data)
    assert refused(give, file.getvalue()) == (
        f"{tmp_path / 'in' / 'toy.tar'}: expected a tar archive or a folder, got a zip file; "
        "unpack it and name its folder"
    )


@pytest.mark.parametrize(
    "data",
    [tar({"toy.tar": tar(TOY)}), tar({}, "w:gz"), bytes(10240)],
    ids=["a tar in a tar", "no members", "zeros"],
)
def test_an_archive_without_items_is_told(give: Callable[..., Pack], data: bytes) -> None:
    assert "no triplets of toy found below 'val/'; is it another one?" in refused(give, data)


def many(count: int) -> Iterator[bytes]:
    blank = member("x/0000000").tobuf()
    for number in range(count):
        header = bytearray(blank)
        header[2:9] = b"%07d" % number
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:512]) + 256)
        yield bytes(header)


def peak_of(path: Path, count: int) -> int:
    """Return how many bytes it takes to go through so many empty members."""
    with gzip.open(path, "wb", 1) as file:
        file.writelines(many(count))
        file.write(bytes(1024))
    for _ in range(2):  # Python's table of interned strings, of the first time, stays
        tracemalloc.start()
        assert sum(1 for _ in files(path)) == count
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("count", [6000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_empty_members(tmp_path: Path, count: int) -> None:
    few = peak_of(tmp_path / "few.tar.gz", 1200)
    # one that is kept takes 400 bytes; blocks that are read and interned strings some, once
    assert peak_of(tmp_path / "many.tar.gz", count) - few < 100 * count


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_with_pipes_loops_and_links_is_packed(
    give: Callable[..., Pack], tmp_path: Path
) -> None:
    tree = write_tree(tmp_path / "in" / "tree", TOY)
    os.mkfifo(tree / "val/cnn/p0/pipe.png")  # who opened it would wait for ever
    (tree / "val/cnn/p0/loop.png").symlink_to("loop.png")
    (tree / "val/cnn/p0/zero.png").symlink_to("/dev/zero")
    (tree / "val/cnn/p0/gone.png").symlink_to("/nowhere")
    (tree / "val/cnn/again").symlink_to(tree)
    elsewhere = tmp_path / "in" / "elsewhere.png"
    (tree / PICTURE).rename(elsewhere)
    (tree / PICTURE).symlink_to(elsewhere)  # the user's own way to arrange files
    assert give(tree).digest == give(tar(TOY)).digest


def test_a_link_to_what_is_no_picture_is_told_by_its_own_name(
    give: Callable[..., Pack], tmp_path: Path
) -> None:
    tree = write_tree(tmp_path / "in" / "tree", TOY)
    (tree / PICTURE).unlink()
    (tree / PICTURE).symlink_to("/etc/passwd")
    told = refused(give, tree)
    assert told.startswith(f"{PICTURE}: expected a picture file, got ")
    assert "root" not in told


def test_a_file_of_a_terabyte_in_a_folder_is_not_read(
    give: Callable[..., Pack], tmp_path: Path
) -> None:
    tree = write_tree(tmp_path / "in" / "tree", TOY)
    with (tree / PICTURE).open("wb") as file:
        file.truncate(1 << 40)  # all of it a hole
    assert refused(give, tree) == (
        f"{tree / PICTURE}: has 1,099,511,627,776 bytes; expected an image or a vote of at most "
        "268,435,456; mend or remove the item"
    )


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user who may not read everything, as root may."""
    before = os.geteuid()
    os.seteuid(65534 if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("closed", ["val/cnn/p0", PICTURE])
def test_what_may_not_be_read_is_not_left_out_in_silence(closed: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        tree = write_tree(Path(folder), TOY)
        (tree / closed).chmod(0)
        with nobody(), pytest.raises(PmbenchError) as caught:
            sum(len(file.read()) for file in files(tree))
        (tree / closed).chmod(0o700)
    assert str(caught.value).startswith(f"{tree / closed}: Permission denied; expected a place")


# --- pictures -------------------------------------------------------------------------------------

RGB = picture(7)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


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
        pytest.param(
            png_of(50_000, 50_000, data=bytes(1 << 20)),
            "expected a picture of at most 67,108,864 pixels, got one of many more; reduce or rem",
            id="bomb of 2.5 gigapixels",
        ),
        pytest.param(
            png_of(10_000, 10_000, data=bytes(1 << 20)),
            "expected a picture of at most 67,108,864 pixels, got one of 10,000×10,000; reduce or",
            id="bomb of which PIL would only warn",
        ),
        pytest.param(
            b"", "expected a picture file, got 0 bytes that PIL cannot read (", id="empty"
        ),
        pytest.param(png(RGB)[:-30], "that PIL cannot read (OSError: ", id="truncated"),
        pytest.param(png(RGB)[:40], "that PIL cannot read (", id="truncated in its header"),
        pytest.param(damaged(png(RGB), b"IHDR", 18), "cannot read (none that it knows)", id="CRC"),
        pytest.param(damaged(png(RGB), b"IDAT", 40), "cannot read (OSError: ", id="other pixels"),
        pytest.param(
            png_of(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100 << 20), 9))),
            "cannot read (ValueError: Decompressed data too large",
            id="text of 100 MB",
        ),
        pytest.param(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
            "that PIL cannot read (none that it knows)",
            id="a program in PostScript",
        ),
    ],
)
def test_a_picture_that_is_none_is_told(
    give: Callable[..., Pack], data: bytes, sentence: str
) -> None:
    told = refused(give, tar(TOY | {PICTURE: data}))
    assert told.startswith(f"{PICTURE}: expected a picture ")
    assert sentence in told
    assert told.endswith(" or remove the item")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_many_pictures_in_one_are_its_first() -> None:
    others = [Image.fromarray(picture(seed)) for seed in range(40)]
    for kind in ("PNG", "GIF", "TIFF"):
        data = saved(Image.fromarray(RGB), kind, save_all=True, append_images=others)
        one = saved(Image.fromarray(RGB), kind)
        np.testing.assert_array_equal(
            decode(data, Resize("none"), "x"), decode(one, Resize("none"), "x")
        )


def rgb16() -> bytes:
    wide = np.random.default_rng(1).integers(0, 1 << 16, (8, 8, 3), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bits_of_three_colours_keep_their_upper_eight() -> None:
    wide = np.random.default_rng(1).integers(0, 1 << 16, (8, 8, 3), np.uint16)
    np.testing.assert_array_equal(decode(rgb16(), Resize("none"), "x"), wide >> 8)


def test_profiles_gamma_and_orientation_are_not_applied() -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100_000))
    data = saved(Image.fromarray(RGB), "PNG", pnginfo=info, icc_profile=b"\0" * 200)
    np.testing.assert_array_equal(decode(data, Resize("none"), "x"), RGB)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    for kind in ("PNG", "JPEG"):
        turned = saved(Image.fromarray(picture(7, 8, 16)), kind, exif=exif)
        plain = saved(Image.fromarray(picture(7, 8, 16)), kind)
        np.testing.assert_array_equal(
            decode(turned, Resize("none"), "x"), decode(plain, Resize("none"), "x")
        )


def test_printers_colours_become_red_green_and_blue() -> None:
    grey = Image.fromarray(np.full((16, 16, 3), 200, np.uint8))
    got = decode(saved(grey.convert("CMYK"), "JPEG", quality=100), Resize("none"), "x")
    assert got.shape == (16, 16, 3)
    np.testing.assert_allclose(got, 200, atol=2)
    tiff = decode(saved(grey.convert("CMYK"), "TIFF"), Resize("none"), "x")
    np.testing.assert_array_equal(tiff, 200)


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.full((8, 8), 0.5, np.float32), "floating-point numbers"),
        (np.full((8, 8), 70_000, np.int32), "numbers from 70000 to 70000"),
        (np.full((8, 8), -1, np.int32), "numbers from -1 to -1"),
    ],
)
def test_numbers_of_which_nobody_says_where_white_is_are_told(pixels: Any, told: str) -> None:
    with pytest.raises(PmbenchError) as caught:
        decode(saved(Image.fromarray(pixels), "TIFF"), Resize("none"), "a.tif")
    assert str(caught.value) == (
        f"a.tif: expected a picture of 8 or 16 bits, got {told}; convert or remove the item"
    )


def test_a_picture_of_one_pixel_is_one(give: Callable[..., Pack]) -> None:
    one = {path: png(picture(1, 1, 1)) if path.endswith("png") else d for path, d in TOY.items()}
    assert give(tar(one)).sizes == ((1, 1),)
    assert decode(png(picture(1, 1, 1)), Resize("legacy", 64), "x").shape == (64, 64, 3)


def test_a_resize_does_not_make_a_bomb_of_a_thin_picture() -> None:
    thin = saved(Image.new("RGB", (1, 60_000)), "PNG")
    with pytest.raises(PmbenchError) as caught:
        decode(thin, Resize("legacy", 64), "thin.png")
    assert str(caught.value) == (
        f"thin.png: expected a picture of at most {LARGEST:,} pixels, got one of 64×3,840,000 "
        "after --resize legacy64; reduce or remove the item"
    )


def test_large_pictures_are_not_all_decoded_at_once(tmp_path: Path) -> None:
    from pmbench.datasets import decode as decoding
    from pmbench.datasets.resize import Picture

    large = saved(Image.new("RGB", (4000, 4000)), "PNG")
    pictures = (Picture.open(large, "x") for _ in range(3))
    tasks = list(decoding._tasks((str(i), one) for i, one in enumerate(pictures)))
    assert [len(task) for task, _ in tasks] == [1, 1, 1]
    assert tasks[0][1] == len(large) + 4 * 4000 * 4000


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
        told = refused(give, tar(TOY | {VOTE: data}))
        assert told.startswith(f"{VOTE}: expected a .npy file with one number in [0, 1]; got ")
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
    ],
)
def test_a_vote_that_is_no_number_is_told(
    give: Callable[..., Pack], data: bytes, sentence: str
) -> None:
    told = refused(give, tar(TOY | {VOTE: data}))
    assert told.startswith(
        f"{VOTE}: expected a .npy file with one number in [0, 1]; got {len(data)}"
    )
    assert sentence in told


FLOAT = "{'descr': '<f8', 'fortran_order': True, 'shape': (1, 1)}"


@pytest.mark.parametrize(
    ("data", "p"),
    [
        (npy(np.float64(0.4)), 0.4),
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


def table_told(folder: Path, data: bytes, name: str = "t.csv") -> str:
    table = {"file": name, "item": "{id}", "vote_counts": ["a", "b"],
             "roles": dict.fromkeys(("ref", "p0", "p1"), "{id}.png")}  # fmt: skip
    files: Files = {name: data, "1.png": png(picture(0))}
    write_tree(folder / "tree", files)
    return told_of(manifest(folder, source={"path": "tree"}, table=table))


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
    assert sentence in table_told(tmp_path, data)


def test_a_json_number_without_end_is_told(tmp_path: Path) -> None:
    told = table_told(tmp_path, b'{"id": 1, "a": 1, "b": ' + b"9" * 9000 + b"}", "t.jsonl")
    assert "expected a CSV with a header or one JSON object a line; Exceeds the limit" in told


def test_two_packs_of_the_same_files_are_the_same_bytes(give: Callable[..., Pack]) -> None:
    data = tar(TOY, "w")
    first = give(data).path.read_bytes()
    time.sleep(1.1)  # HDF5 would note the second in which each part was made
    assert give(data).path.read_bytes() == first

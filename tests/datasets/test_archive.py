"""Archives and folders that somebody made to do harm, or damaged: told, and confined.

Each of them is really made, and given to ``download`` as a user's file. Whatever comes of it,
nothing may lie outside the cache, and no half of a pack in it.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import struct
import tarfile
import tempfile
import tracemalloc
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.factories import (
    Files,
    error_message,
    manifest,
    member,
    npy,
    picture,
    png,
    role_images,
    tar,
    write_tree,
)
from support.hostile import COMPRESS, PICTURE, TOY, VOTE, refusal, zeros

from pmbench.datasets.archive import LARGEST_MEMBER, files
from pmbench.datasets.pack import Pack
from pmbench.utils.errors import PmbenchError

# --- compression ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_archive_cut_off_in_its_last_bytes_is_told(
    give: Callable[..., Pack], kind: str
) -> None:
    data = COMPRESS[kind](tar(TOY, "w"))
    assert "got one that breaks off or is none (" in refusal(give, b"")
    for end in (len(data) - 1, len(data) - 9, len(data) // 2):
        assert "got one that breaks off or is none (" in refusal(give, data[:end])
    assert len(give(data)) == 2


def test_a_byte_changed_inside_gzip_is_noticed_by_its_checksum_if_by_nothing_else(
    give: Callable[..., Pack],
) -> None:
    stored = gzip.compress(tar(TOY, "w"), 0)  # as it is, so that bytes can be found in it
    vote = stored.index(npy(np.float32(0.2))) + len(npy(np.float32(0.2))) - 4
    other = stored[:vote] + npy(np.float32(0.8))[-4:] + stored[vote + 4 :]
    assert "breaks off or is none (CRC check failed" in refusal(give, other)


def test_zeros_behind_a_compressed_archive_do_not_matter(give: Callable[..., Pack]) -> None:
    assert len(give(gzip.compress(tar(TOY, "w")) + bytes(3000))) == 2


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_archive_may_be_made_of_parts(give: Callable[..., Pack], kind: str) -> None:
    plain = tar(TOY, "w")
    parts = [plain[i : i + 4001] for i in range(0, len(plain), 4001)]
    assert len(give(b"".join(map(COMPRESS[kind], parts)))) == 2


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_bomb_ends_before_it_goes_off(
    give: Callable[..., Pack], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("pmbench.datasets.archive._UNSUSPECTED", 8 << 20)
    first = member("README", size=8 << 30).tobuf(tarfile.GNU_FORMAT)
    bomb = COMPRESS[kind](first) + zeros(kind, 64 << 20)
    assert len(bomb) < 200_000
    tracemalloc.start()
    message = refusal(give, bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    bound = re.search(r"toy.tar: its first [0-9,]+ bytes unpack to more than ([0-9,]+); ", message)
    # a piece of gzip has 128 KB in Python 3.12 and later
    assert bound
    assert 8 << 20 <= int(bound[1].replace(",", "")) < 16 << 20
    assert message.endswith("200 times smaller; this is not the dataset's archive")
    assert peak < 8 << 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMPRESS)
def test_a_bomb_of_gigabytes_ends_after_one(give: Callable[..., Pack], kind: str) -> None:
    part = zeros(kind, 1 << 30)
    first = member("README", size=8 << 30).tobuf(tarfile.GNU_FORMAT)
    assert "unpack to more than 1,0" in refusal(give, COMPRESS[kind](first) + part * 4)


def test_xz_that_asks_for_gigabytes_is_refused(give: Callable[..., Pack]) -> None:
    data = lzma.compress(tar(TOY, "w"), preset=0)
    header = bytearray(data[12 : 12 + 4 * data[12] + 4])  # of its one block
    assert header[2] == 0x21  # LZMA2
    header[4] = 37  # a dictionary of 3 GiB
    header[-4:] = struct.pack("<I", zlib.crc32(header[:-4]))
    message = refusal(give, data[:12] + header + data[12 + len(header) :])
    assert "breaks off or is none (Memory usage limit exceeded)" in message


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
    with pytest.raises(PmbenchError, match="seeking backwards is not allowed"):
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
    message = refusal(give, file.getvalue())
    assert message == (
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
        assert error_message(entry) == (
            r"toy: t.csv: line 2: the name 'a\x1b[2Jb' has characters that cannot be shown as they "
            "are; rename it"
        )


def test_odd_names_that_can_be_shown_are_only_names(give: Callable[..., Pack]) -> None:
    names = ["new\u00a0line", "\u65e5\u672c", "a b", "~", "$(id)", "a\\b", "C:\\x", "👩\u200d💻"]
    odd = {
        path.replace("000001", name): data
        for path, data in TOY.items()
        for name in [*names, "x" * 250]
    }
    assert {f"cnn/{name}" for name in [*names, "x" * 250]} <= set(give(tar(odd)).items.id)


def test_names_that_look_the_same_are_not_the_same(give: Callable[..., Pack]) -> None:
    one, two = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    odd = {path.replace("000001", one if "/p0/" in path else two): d for path, d in TOY.items()}
    assert "has no file in " in refusal(give, tar(odd))


def test_a_very_long_name_is_read_and_one_without_end_is_not(give: Callable[..., Pack]) -> None:
    long = {path.replace("000001", "x" * 5000): data for path, data in TOY.items()}
    assert len(give(tar(long))) == 2
    endless = {path.replace("000001", "x" * 50_000): data for path, data in TOY.items()}
    assert "declares 50,0" in refusal(give, tar(endless))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_of_gigabytes_is_not_read(give: Callable[..., Pack], kind: bytes) -> None:
    data = member("header", kind, size=3 << 30).tobuf(tarfile.GNU_FORMAT) + tar(TOY, "w")
    assert "header declares 3,221,225,472 bytes" in refusal(give, data)


def test_thousands_of_headers_in_a_row_are_told(give: Callable[..., Pack]) -> None:
    one = member("h", tarfile.GNUTYPE_LONGNAME, size=2).tobuf(tarfile.GNU_FORMAT) + bytes(512)
    assert "breaks off or is none (maximum recursion depth" in refusal(give, one * 3000)


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
    message = refusal(give, behind(TOY, {again: content}))
    folder = "judge" if again == VOTE else "p0"
    assert message.startswith(f"toy: the item cnn/000001 has two files in '{folder}', one of them ")


def test_files_of_a_table_that_are_there_twice_are_told(tmp_path: Path) -> None:
    table = {"file": "t.csv", "item": "{id}", "vote": "p",
             "roles": {role: f"{role}.png" for role in ("ref", "p0", "p1")}}  # fmt: skip
    once = {f"{role}.png": png(picture(i)) for i, role in enumerate(("ref", "p0", "p1"))}
    once |= {"t.csv": b"id,p\n1,1\n"}
    entry = manifest(tmp_path, source={"path": "toy.tar"}, table=table)
    for name, content in {"p0.png": png(picture(7)), "t.csv": b"id,p\n1,0\n"}.items():
        (tmp_path / "toy.tar").write_bytes(behind(once, {name: content}))
        assert error_message(entry) == (
            f"toy: t.csv: the archive has {name} twice; expected every file once; "
            "make the archive anew"
        )


@pytest.mark.parametrize("size", [100 << 30, 17 << 30, 1 << 60, -512])
def test_a_size_beyond_reason_ends_at_once(give: Callable[..., Pack], size: int) -> None:
    huge = member("notes", size=size).tobuf(tarfile.GNU_FORMAT)
    assert f"notes declares {size:,} bytes" in refusal(give, huge + tar(TOY, "w"))


@pytest.mark.parametrize("path", ["val/cnn/p0/9.png", "val/cnn/judge/9.npy"])
def test_a_file_of_a_huge_size_is_not_read(give: Callable[..., Pack], path: str) -> None:
    message = refusal(give, member(path, size=LARGEST_MEMBER + 1).tobuf() + tar(TOY, "w"))
    assert f"{path} declares 268,435,457 bytes; expected an image or a vote" in message
    assert "of at most 268,435,456; this is not the dataset's archive" in message


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
    assert "0001.png declares 107,374,182,400 bytes" in refusal(
        give, sparse(PICTURE, 100 << 30, [(0, b"x")])
    )
    large = sparse(PICTURE, LARGEST_MEMBER + 1, [(0, b"x")])
    assert f"{PICTURE} declares 268,435,457 bytes" in refusal(give, large + tar(TOY, "w"))


@pytest.mark.parametrize("map_", [b"5\n1", b"99999999\n", b"x\n", b"1\n-5\n3\n", b"1\n9\n9\n"])
def test_a_map_of_holes_that_makes_no_sense_ends(give: Callable[..., Pack], map_: bytes) -> None:
    message = refusal(give, sparse(PICTURE, 10, [], map_) + bytes(512))
    assert (
        "toy.tar: expected a whole tar archive" in message
        or f"{PICTURE}: expected an image" in message
    )


def test_a_zip_is_told_what_to_do_with(give: Callable[..., Pack], tmp_path: Path) -> None:
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path, data in TOY.items():
            archive.writestr(path, data)
    assert refusal(give, file.getvalue()) == (
        f"{tmp_path / 'in' / 'toy.tar'}: expected a tar archive or a folder, got a zip file; "
        "unpack it and name its folder"
    )


@pytest.mark.parametrize(
    "data",
    [tar({"toy.tar": tar(TOY)}), tar({}, "w:gz"), bytes(10240)],
    ids=["a tar in a tar", "no members", "zeros"],
)
def test_an_archive_without_items_is_told(give: Callable[..., Pack], data: bytes) -> None:
    assert "no triplets of toy found below 'val/'; is it another one?" in refusal(give, data)


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


@pytest.mark.parametrize("count", [3600, pytest.param(200_000, marks=pytest.mark.slow)])
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
    message = refusal(give, tree)
    assert message.startswith(f"{PICTURE}: expected an image file, got ")
    assert "root" not in message


def test_a_file_of_a_terabyte_in_a_folder_is_not_read(
    give: Callable[..., Pack], tmp_path: Path
) -> None:
    tree = write_tree(tmp_path / "in" / "tree", TOY)
    with (tree / PICTURE).open("wb") as file:
        file.truncate(1 << 40)  # all of it a hole
    assert refusal(give, tree) == (
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

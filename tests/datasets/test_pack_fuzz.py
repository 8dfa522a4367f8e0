"""Files changed at random: a pack, or a sentence; never anything else, and never half a pack."""

from __future__ import annotations

import csv
import io
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.factories import FOLDERS, Files, manifest, picture, png, tar, triplets, write_tree

from pmbench.datasets.download import pack_for, pack_path
from pmbench.datasets.manifest import Manifest
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import resize_for
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

SECONDS = 20.0  # for files of a few kilobytes, on a machine that does other things
TOY = triplets({"cnn": 1, "color": 1})
TABLE = {
    "file": "t.csv", "item": "{id}", "vote": "p", "votes": "n", "sub_dataset": "kind",
    "cluster": "photo", "roles": {"ref": "{a}.png", "p0": "{b}.png", "p1": "{c}.png"},
}  # fmt: skip
RECORDS = [
    {"id": "one", "kind": "x", "photo": "u", "a": "0", "b": "1", "c": "2", "p": "0.5", "n": "2"},
    {"id": "two", "kind": "y", "photo": "v", "a": "0", "b": "2", "c": "1", "p": "1", "n": "3"},
]
PICTURES = {f"{i}.png": png(picture(i)) for i in range(3)}


def as_csv() -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(RECORDS[0]))
    writer.writeheader()
    writer.writerows(RECORDS)
    return file.getvalue().encode()


def as_json() -> bytes:
    return "\n".join(map(json.dumps, RECORDS)).encode()


# --- changes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """Bytes put in the place of others, a piece taken out or doubled, or an end too early."""

    kind: str
    place: float  # share of the file
    length: int
    by: bytes

    def applied(self, data: bytes) -> bytes:
        """Return changed data."""
        at = int(self.place * len(data))
        piece = data[at : at + self.length]
        rest = data[at + self.length :]
        return {
            "bytes": data[:at] + self.by + data[at + len(self.by) :],
            "flip": data[:at] + bytes(byte ^ (self.length % 255 + 1) for byte in data[at : at + 1])
            + data[at + 1 :],
            "out": data[:at] + rest,
            "doubled": data[: at + self.length] + piece + rest,
            "end": data[:at],
            "digits": data[:at] + b"9" * self.length + rest,
        }[self.kind]  # fmt: skip


ODD = [
    b"\0", b"\xff" * 8, b"\x80" + b"\xff" * 11, b"99999999999\0", b"\n", b"../", b"\x1b[2J", b",,",
    b'"', b"nan", b"-1", b"1e999", b"{", b"\xf0\x9f", b"IDAT", b"acTL", b"\x93NUMPY", b"L", b"x",
]  # fmt: skip
changes = st.lists(
    st.builds(
        Change,
        kind=st.sampled_from(["bytes", "bytes", "flip", "flip", "out", "doubled", "end", "digits"]),
        place=st.floats(0, 1, exclude_max=True),
        length=st.integers(1, 600),
        by=st.one_of(st.sampled_from(ODD), st.binary(min_size=1, max_size=6)),
    ),
    min_size=1,
    max_size=4,
)


# --- what is changed ------------------------------------------------------------------------------

Kind = Callable[[Path, list[Change]], Manifest]


def changed(data: bytes, by: list[Change]) -> bytes:
    """Return data with all of the changes."""
    for change in by:
        data = change.applied(data)
    return data


def an_archive(mode: str, inside: bool) -> Kind:
    """Return a way to make a dataset with a changed archive, ``inside`` its compression or not."""

    def made(folder: Path, by: list[Change]) -> Manifest:
        plain = tar(TOY, "w")
        name = "toy.tar"
        if inside:
            plain = changed(plain, by)
        data = _COMPRESSED[mode](plain)
        (folder / name).write_bytes(data if inside else changed(data, by))
        return manifest(folder, source={"path": name}, folders=FOLDERS)

    return made


def _gzipped(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data, 1)


def _bzipped(data: bytes) -> bytes:
    import bz2

    return bz2.compress(data, 1)


def _xzipped(data: bytes) -> bytes:
    import lzma

    return lzma.compress(data, preset=0)


_COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "tar": lambda data: data, "gz": _gzipped, "bz2": _bzipped, "xz": _xzipped,
}  # fmt: skip


def a_file(name: str) -> Kind:
    """Return a way to make a folder in which one file is changed."""

    def made(folder: Path, by: list[Change]) -> Manifest:
        write_tree(folder / "tree", TOY | {name: changed(TOY[name], by)})
        return manifest(folder, source={"path": "tree"}, folders=FOLDERS)

    return made


def a_table(name: str, data: bytes) -> Kind:
    """Return a way to make a dataset whose table is changed."""

    def made(folder: Path, by: list[Change]) -> Manifest:
        files: Files = PICTURES | {name: changed(data, by)}
        write_tree(folder / "tree", files)
        return manifest(folder, source={"path": "tree"}, table=TABLE | {"file": name})

    return made


KINDS: dict[str, Kind] = {
    "tar": an_archive("tar", inside=True),
    "tar.gz": an_archive("gz", inside=False),
    "tar inside gz": an_archive("gz", inside=True),
    "tar.bz2": an_archive("bz2", inside=False),
    "tar.xz": an_archive("xz", inside=False),
    "png": a_file("val/cnn/p0/000000.png"),
    "npy": a_file("val/cnn/judge/000000.npy"),
    "csv": a_table("t.csv", as_csv()),
    "jsonl": a_table("t.jsonl", as_json()),
}


# --- what comes of it -----------------------------------------------------------------------------


def outcome(folder: Path, kind: str, by: list[Change]) -> str:
    """Pack a changed dataset and see that all is well; return what came of it."""
    folder.mkdir()
    entry = KINDS[kind](folder, by)
    before = set(folder.rglob("*"))
    path = pack_path(entry, resize_for(entry, None))
    path.unlink(missing_ok=True)
    start = time.monotonic()
    try:
        pack = pack_for(entry, resize_for(entry, None), Silent())
    except PmbenchError as error:
        came, said = "told", str(error)
        assert not path.exists()
    else:
        assert pack is not None
        came, said = "packed", ""
        _whole(Pack.open(path))
    assert time.monotonic() - start < SECONDS
    assert "\x1b" not in said
    assert {file.suffix for file in path.parent.glob("*")} <= {".h5", ".lock"}
    assert set(folder.rglob("*")) == before
    return came


def _whole(pack: Pack) -> None:
    for size in range(len(pack.sizes)):
        pack.images(size, pack.rows[pack.size == size].ravel())
    assert all(name.isprintable() for name in pack.items.id)


def fuzzed(examples: int, folder: Path) -> Counter[str]:
    """Try so many examples; return what came of them."""
    came: Counter[str] = Counter()

    @settings(
        max_examples=examples, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(kind=st.sampled_from(list(KINDS)), by=changes)
    def one(kind: str, by: list[Change]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of some damage
            came[f"{kind} {outcome(folder / str(came.total()), kind, by)}"] += 1

    one()
    return came


def test_files_changed_at_random_give_a_pack_or_a_sentence(tmp_path: Path) -> None:
    assert fuzzed(100, tmp_path).total() >= 100


@pytest.mark.slow
def test_thousands_of_them_do_too(
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    came = fuzzed(6000, tmp_path)
    record_property("changed datasets tried", came.total())
    with capsys.disabled():
        print(f"\n{came.total():,} changed datasets tried: {sorted(came.items())}")  # noqa: T201  the figure is what the test is for
    assert came.total() >= 6000
    for kind in KINDS:  # each may be told, and each may pass
        assert came[f"{kind} told"] > 0
        assert came[f"{kind} packed"] > 0

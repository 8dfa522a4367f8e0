"""``pmbench cache``: what lies there, whether it is whole, and what goes and what stays."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest
from support.cli import pmbench
from support.factories import FOLDERS, manifest, packed, tar, triplets, write_tree

from pmbench.datasets import cache_integrity, download
from pmbench.datasets.download import DownloadOptions
from pmbench.datasets.manifest import Manifest, load
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import resize_for
from pmbench.utils.files import draft_beside
from pmbench.utils.locks import exclusive
from pmbench.utils.progress import Silent


def things(*words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    found = json.loads(pmbench("cache", "info", "--json", *words, code=code).stdout)["things"]
    return {thing.pop("path"): thing for thing in found}


def states(*words: str, code: int = 0) -> dict[str, str]:
    return {path: thing["status"] for path, thing in things(*words, code=code).items()}


URL = "https://example.org/files/toy.tar.gz"
PLACE = f"downloads/toy/{hashlib.sha256(URL.encode()).hexdigest()[:8]}"
ARCHIVE = tar(triplets({"one": 6}))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Return a dataset of a URL, whose archive was fetched and packed."""
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(tmp_path / "manifests"))
    entry = manifest(
        tmp_path / "manifests",
        source={"url": URL, "sha256": hashlib.sha256(ARCHIVE).hexdigest()},
        folders=FOLDERS,
    )
    return entry


@pytest.fixture
def home(home: Path, toy: Manifest) -> Path:
    """Return a cache that holds an archive, and its pack."""
    (home / PLACE).mkdir(parents=True)
    (home / PLACE / "toy.tar.gz").write_bytes(ARCHIVE)
    download.download(toy, resize_for(toy, None), DownloadOptions(), Silent())
    return home


# --- what lies there ------------------------------------------------------------------------------


def test_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMBENCH_HOME", str(tmp_path / "nowhere"))
    assert pmbench("cache", "info").stdout == f"{tmp_path}/nowhere: nothing there\n"
    assert pmbench("cache", "clean").stdout == f"0 files, 0 bytes freed in {tmp_path}/nowhere\n"
    assert not (tmp_path / "nowhere").exists()


def test_info_names_every_file_what_it_is_and_what_uses_it(home: Path) -> None:
    (home / "pins.json").write_text('{"https://example.org/x": "00"}')
    things()  # filelock before 4 empties a lock that nobody holds
    found = things()
    assert found == {
        f"{PLACE}/toy.tar.gz": {
            "kind": "archive", "bytes": len(ARCHIVE), "status": "complete", "state": "whole",
            "why": "",
            "used_by": "toy",
        },
        f"{PLACE}/toy.tar.gz.lock": {
            "kind": "lock", "bytes": (home / PLACE / "toy.tar.gz.lock").stat().st_size,
            "status": "stale", "state": "left over", "why": "nobody holds it", "used_by": "",
        },
        "packs/toy.none.h5": {
            "kind": "pack", "bytes": (home / "packs/toy.none.h5").stat().st_size,
            "status": "complete", "state": "whole", "why": "", "used_by": "toy, none",
        },
        "packs/toy.none.lock": {
            "kind": "lock", "bytes": (home / "packs/toy.none.lock").stat().st_size,
            "status": "stale", "state": "left over", "why": "nobody holds it", "used_by": "",
        },
        "pins.json": {
            "kind": "checksums", "bytes": 31, "status": "complete", "state": "whole", "why": "",
            "used_by": "downloads",
        },
    }  # fmt: skip
    text = pmbench("cache", "info").stdout
    total = sum(thing["bytes"] for thing in found.values())
    assert f"5 files, {total:,} bytes in {home}: 3 complete, 2 stale\n" in text
    locks = sum(thing["bytes"] for thing in found.values() if thing["kind"] == "lock")
    assert f"`pmbench cache clean` removes 2 files, {locks:,} bytes\n" in text
    assert "packs/toy.none.h5" in text
    assert "toy, none" in text


def test_weights_are_known_by_their_name_and_told_by_their_checksum(home: Path) -> None:
    (home / "weights" / "dreamsim").mkdir(parents=True)
    data = b"some pickle"
    digest = hashlib.sha256(data).hexdigest()[:8]
    right = f"mine-{digest}.pth"
    (home / "weights" / "dreamsim" / "x.lock").touch()  # of the package, which may need it
    for name in ("vgg16-397923af.pth", right, "mine-00000000.pth", "mine.pth", "dreamsim/x.pth"):
        (home / "weights" / name).write_bytes(data)
    before, verified = things(), things("--verify", code=1)
    assert {path: (before[path]["status"], one["status"]) for path, one in verified.items()
            if path.startswith("weights")} == {
        "weights/vgg16-397923af.pth": ("complete", "corrupt"),
        f"weights/{right}": ("complete", "complete"),
        "weights/mine-00000000.pth": ("complete", "corrupt"),
        "weights/mine.pth": ("unknown", "unknown"),
        "weights/dreamsim/x.pth": ("complete", "complete"),
        "weights/dreamsim/x.lock": ("complete", "complete"),
    }  # fmt: skip
    assert "lpips-vgg" in before["weights/vgg16-397923af.pth"]["used_by"].split(", ")
    assert before["weights/dreamsim/x.pth"]["used_by"] == "dreamsim"
    assert verified["weights/vgg16-397923af.pth"]["why"] == (
        f"its checksum differs: expected sha256 397923af…, got {digest}…"
    )


# --- broken ---------------------------------------------------------------------------------------


def test_a_pack_that_cannot_be_opened_is_corrupt_and_goes(home: Path) -> None:
    pack = home / "packs" / "toy.none.h5"
    pack.write_bytes(pack.read_bytes()[:-100])
    (home / "packs" / "other.none.h5").write_bytes(pack.read_bytes())
    found = things()
    corrupt = {path for path, one in found.items() if one["status"] == "corrupt"}
    assert corrupt == {"packs/toy.none.h5", "packs/other.none.h5"}
    assert found["packs/toy.none.h5"]["why"].startswith("expected a pack, got a file that is none")
    assert pmbench("cache", "info").exit_code == 0
    pmbench("cache", "info", "--verify", code=1)
    pmbench("cache", "clean")
    assert set(states()) == {f"{PLACE}/toy.tar.gz"}


def test_what_somebody_else_put_beside_downloads_stays(home: Path) -> None:
    others = {home / PLACE / name for name in ("SHA256SUMS", "notes.txt", "val.zip")}
    for path in others:
        path.write_bytes(b"PK\3\4 mine")
    for path in others:
        thing = things()[f"{PLACE}/{path.name}"]
        assert (thing["status"], thing["why"]) == ("unknown", "not a file of pmbench's")
    pmbench("cache", "clean", "--all")
    assert {path for path in home.rglob("*") if path.is_file()} == others


def test_what_only_its_checksum_shows_to_be_broken(home: Path, toy: Manifest) -> None:
    archive, pack = home / PLACE / "toy.tar.gz", home / "packs" / "toy.none.h5"
    assert set(states("--verify").values()) == {"complete", "stale"}
    archive.write_bytes(tar(triplets({"one": 7})))
    with h5py.File(pack, "r+") as file:
        file["images/8x8"][3, 0, 0, 0] ^= 1
    assert "corrupt" not in states().values()
    found = things("--verify", code=1)
    assert found["packs/toy.none.h5"]["why"].startswith("its digest differs: expected ")
    assert found[f"{PLACE}/toy.tar.gz"]["why"].startswith("its checksum differs: expected sha256 ")
    assert pmbench("cache", "clean", "--verify").stdout.count("(corrupt: its ") == 2


def test_an_archive_whose_checksum_nobody_knows(home: Path) -> None:
    for place in (home / "downloads/toy/01234567", home / "downloads/gone/01234567"):
        place.mkdir(parents=True)
        (place / "a.tar").write_bytes(ARCHIVE)
        (place / "a.tar.lock").touch()  # by which it is known to have been fetched
    found = things("--verify")
    why = "nobody says what its checksum is"
    assert found["downloads/toy/01234567/a.tar"]["why"] == why
    assert found["downloads/gone/01234567/a.tar"]["why"] == why
    gone = pmbench("cache", "clean", "--downloads").stdout
    assert "removed downloads/toy/01234567/a.tar: " in gone
    assert "removed downloads/gone/01234567/a.tar: " not in gone


@pytest.mark.parametrize("clusters", [False, True])
def test_a_packs_digest_is_computed_anew(tmp_path: Path, clusters: bool) -> None:
    data = triplets({"one": 5, "two": 3})
    if clusters:
        lines = ["id,ref,p0,p1,p,photo"]
        for i in range(5):
            images = [f"val/one/{role}/{i:06d}.png" for role in ("ref", "p0", "p1")]
            lines.append(",".join([str(i), *images, "0.2", f"ü{i // 2}"]))
        data["t.csv"] = "\n".join(lines).encode()
        table = {
            "file": "t.csv", "item": "{id}", "vote": "p", "cluster": "photo",
            "roles": {role: f"{{{role}}}" for role in ("ref", "p0", "p1")},
        }  # fmt: skip
    write_tree(tmp_path / "data", data)
    more = {"table": table} if clusters else {}
    pack = packed(manifest(tmp_path / "manifests", source={"path": "../data"}, **more))
    assert cache_integrity.digest_of(pack) == pack.digest
    if clusters:
        with h5py.File(pack.path, "r+") as file:
            del file["items/cluster_name"]  # as an earlier version wrote it
        assert cache_integrity.digest_of(Pack.open(pack.path)) is None
        assert cache_integrity.check_pack(pack.path, "toy, none", verify=True) == ""


def test_a_pack_under_another_ones_name(home: Path) -> None:
    (home / "packs" / "toy.none.h5").rename(home / "packs" / "other.exact4.h5")
    assert things()["packs/other.exact4.h5"]["why"] == "it holds toy, none"


# --- what goes and what stays ---------------------------------------------------------------------


def left_over(home: Path) -> set[str]:
    """Leave what killed processes leave; return the names."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    draft = draft_beside(home / "packs" / "toy.none.h5").name
    made = {
        f"packs/{draft.replace(f'-{os.getpid()}-', f'-{dead.pid}-')}",
        "packs/toy.legacy64.spool",
        f"{PLACE}/more.tar.gz.part",
        f"{PLACE}/more.tar.gz.part.json",
        f"{PLACE}/more.tar.gz.unverified",
        "weights/alexnet-owt-7be5be79.pth.part",
    }
    (home / "weights").mkdir(exist_ok=True)
    for name in made:
        (home / name).write_bytes(b"half")
    return made


def strange(home: Path, tmp_path: Path) -> set[str]:
    """Put what is not pmbench's into the cache; return the names."""
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "x.spool").write_text("precious")
    (home / "notes.txt").write_text("mine")
    (home / "packs" / "mine.h5").write_text("mine")
    (home / "packs" / "toy.none.h5.bak").write_text("mine")
    (home / "downloads" / "toy" / "notes.txt").write_text("mine")
    (home / "weights" / "notes.txt").write_text("mine")
    (home / "packs" / "link.none.h5").symlink_to(outside / "deep" / "x.spool")
    (home / "packs" / "link.spool").symlink_to(outside / "deep" / "x.spool")
    (home / "downloads" / "link").symlink_to(outside)
    (home / "downloads" / "loop").symlink_to(home)
    return {
        "notes.txt", "packs/mine.h5", "packs/toy.none.h5.bak", "downloads/toy/notes.txt",
        "weights/notes.txt", "packs/link.none.h5", "packs/link.spool", "downloads/link",
        "downloads/loop",
    }  # fmt: skip


def test_clean_removes_what_is_left_over_and_names_each_with_its_bytes(home: Path) -> None:
    made = left_over(home)
    before = {path: thing["status"] for path, thing in things().items()}
    assert {path for path, state in before.items() if state == "stale"} == made | {
        "packs/toy.none.lock",
        f"{PLACE}/toy.tar.gz.lock",
    }
    dry = pmbench("cache", "clean", "--dry-run").stdout.splitlines()
    assert states() == before
    done = pmbench("cache", "clean").stdout.splitlines()
    assert [line.replace("would remove", "removed") for line in dry[:-1]] == done[:-1]
    for name in made:
        assert any(line.startswith(f"removed {name}: 4 bytes, ") for line in done)
    locks = 8
    assert len(done) == len(made) + 3
    assert done[-1].startswith(f"{locks} files, ")
    assert done[-1].endswith(f" bytes freed in {home}")
    assert dry[-1] == done[-1].replace("bytes freed", "bytes would be freed")
    assert set(states()) == {f"{PLACE}/toy.tar.gz", "packs/toy.none.h5"}


def test_downloads_go_where_their_pack_is_whole(home: Path) -> None:
    pack = home / "packs" / "toy.none.h5"
    whole = pack.read_bytes()
    pack.write_bytes(whole[:5000])
    dry = pmbench("cache", "clean", "--downloads", "--dry-run").stdout
    assert f"{PLACE}/toy.tar.gz:" not in dry
    pack.write_bytes(whole)
    pmbench("cache", "clean", "--downloads")
    assert states() == {"packs/toy.none.h5": "complete"}
    assert list((home / "downloads").iterdir()) == []


def test_all_is_what_pmbench_put_there_and_nothing_else(home: Path, tmp_path: Path) -> None:
    left_over(home)
    mine = strange(home, tmp_path)
    (home / "pins.json").write_text("{}")
    result = pmbench("cache", "clean", "--all")
    assert set(states()) == mine
    assert set(states().values()) == {"unknown"}
    for name in mine:
        assert f"left {name}: " in result.stderr
    assert (tmp_path / "outside" / "deep" / "x.spool").read_text() == "precious"
    told = json.loads(pmbench("cache", "clean", "--all", "--json").stdout)
    assert told["removed"] == []
    assert {thing["path"] for thing in told["left"]} == mine


def test_what_another_process_holds_stays(home: Path) -> None:
    made = left_over(home)
    draft = draft_beside(home / "packs" / "toy.none.h5")
    draft.write_bytes(b"half")  # this process writes it
    pack = Pack.open(home / "packs" / "toy.none.h5")
    pack.images(0, pack.rows[0])
    with exclusive(home / PLACE / "more.tar.gz.lock"):
        found = states()
        kept = {path for path, state in found.items() if state == "in use"}
        assert kept == {
            "packs/toy.none.h5", f"packs/{draft.name}", f"{PLACE}/more.tar.gz.lock",
            f"{PLACE}/more.tar.gz.part", f"{PLACE}/more.tar.gz.part.json",
            f"{PLACE}/more.tar.gz.unverified",
        }  # fmt: skip
        result = pmbench("cache", "clean", "--all")
        assert set(states()) == kept
    assert f"left {PLACE}/more.tar.gz.part: 4 bytes (another pmbench works on it)" in result.stderr
    assert "left packs/toy.none.h5: " in result.stderr
    pack._file.close()
    draft.unlink()
    pmbench("cache", "clean", "--all")
    assert states() == {}
    assert made


def test_what_is_taken_between_looking_and_removing_stays(home: Path) -> None:
    from pmbench.datasets.cache import CleanOptions, entries_to_remove, remove, survey

    told: list[str] = []
    chosen = entries_to_remove(survey({}, verify=False), CleanOptions(everything=True))
    with exclusive(home / "packs" / "toy.none.lock"):
        gone = remove(chosen, told.append)
    assert {thing.path.name for thing in gone} == {"toy.tar.gz", "toy.tar.gz.lock"}
    assert len(told) == 2
    assert told[0].startswith(f"{home}/packs/toy.none.h5: left, since another pmbench (process ")
    assert told[0].endswith(") holds it now")


def test_a_cleaned_cache_is_filled_again_by_the_same_command(home: Path, toy: Manifest) -> None:
    first = (home / "packs" / "toy.none.h5").read_bytes()
    pmbench("cache", "clean", "--all")
    (home / PLACE).mkdir(parents=True)
    (home / PLACE / "toy.tar.gz").write_bytes(ARCHIVE)
    again = load(toy.file)
    download.download(again, resize_for(again, None), DownloadOptions(), Silent())
    assert (home / "packs" / "toy.none.h5").read_bytes() == first

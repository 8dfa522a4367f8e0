"""What lies in the cache, whether it is whole, what uses it, and what can go.

The cache is what ``home`` names: archives in ``downloads/``, ``packs/``, ``weights/``, and
``pins.json``. Only files that pmbench puts there are ever removed, and none that another process
holds; a link is neither followed nor removed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pmbench.datasets import download, integrity, manifest, sources
from pmbench.datasets.pack import Pack
from pmbench.networks.manifest import weight_files
from pmbench.utils import fetch, paths
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import abandoned, drafted
from pmbench.utils.locks import BusyError, alone, is_free, is_read

_PACK = re.compile(r"(?P<dataset>.+)\.(?P<resize>legacy\d+|exact\d+|none|size\d+)\.h5")
_OF_A_DOWNLOAD = (".part", ".part.json", ".unverified")
_OTHERS = {"dreamsim"}  # folders in weights/ that a metric's own package fills


@dataclass(frozen=True)
class Thing:
    """One file of the cache."""

    path: Path
    kind: str  # archive, pack, weights, checksums, part, spool, draft, lock, or unknown
    bytes: int
    state: str  # whole, broken, left over, in use, or unknown
    why: str = ""
    used_by: str = ""
    lock: Path | None = None  # which whoever writes it holds


@dataclass(frozen=True)
class Wish:
    """What is to go beside what is broken or left over."""

    downloads: bool = False  # archives whose pack is whole
    everything: bool = False


def survey(metrics: Mapping[str, str], verify: bool) -> list[Thing]:
    """Return every file of the cache, sorted.

    ``metrics`` says which metrics use a weight file, by the file's name. ``verify`` computes
    checksums and digests, which reads everything. Raises PmbenchError where the cache is no folder.
    """
    root = paths.home()
    if not root.exists():
        return []
    if not root.is_dir():
        raise PmbenchError(
            f"{root}: expected the folder of the cache, got a file; move it out of the way, or "
            "name a folder with PMBENCH_HOME"
        )
    found = [_judged(path, path.relative_to(root).parts, metrics, verify) for path in _below(root)]
    return sorted(found, key=lambda thing: thing.path)


def _below(root: Path) -> Iterator[Path]:
    """Yield files and links; no link is followed."""
    for folder, folders, files in os.walk(root):
        for name in [*files, *folders]:
            path = Path(folder, name)
            if name in files or path.is_symlink():
                yield path


# --- what a file is -------------------------------------------------------------------------------


def _judged(path: Path, parts: tuple[str, ...], metrics: Mapping[str, str], verify: bool) -> Thing:
    thing = _named(path, parts)
    if thing.state != "unknown" and thing.lock is not None and not is_free(thing.lock):
        return replace(thing, state="in use", why="another pmbench works on it")
    if thing.kind == "pack":
        return _judged_pack(thing, verify)
    if thing.kind == "archive":
        return _judged_archive(thing, parts, verify)
    if thing.kind == "weights":
        return _judged_weights(thing, parts, metrics, verify)
    if thing.kind == "checksums":
        why = integrity.of_json(path)
        return replace(thing, state="broken" if why else "whole", why=why, used_by="downloads")
    return thing


def _named(path: Path, parts: tuple[str, ...]) -> Thing:
    """Return what a file is by its place and name."""
    name, folder = parts[-1], parts[:-1]
    size = path.lstat().st_size
    if path.is_symlink() or not path.is_file():
        return Thing(path, "unknown", size, "unknown", "a link, or no file; not followed")
    if drafted(path) and _is_place(folder):
        gone = abandoned(path)
        state, why = ("left over", "of a killed run") if gone else ("in use", "being written")
        return Thing(path, "draft", size, state, why)
    if name.endswith(".lock") and _is_place(folder):
        return Thing(path, "lock", size, "left over", "nobody holds it", lock=path)
    if not folder and name == "pins.json":
        return Thing(path, "checksums", size, "whole", lock=path.with_suffix(".lock"))
    if folder == ("packs",):
        lock = download.lock_of(path)
        if name.endswith(".spool"):
            return Thing(path, "spool", size, "left over", "of a killed run", lock=lock)
        if _PACK.fullmatch(name):
            return Thing(path, "pack", size, "whole", lock=lock)
    if (len(folder) == 3 and folder[0] == "downloads") or folder == ("weights",):
        for ending in _OF_A_DOWNLOAD:
            if name.endswith(ending):
                lock = fetch.lock_of(path.with_name(name.removesuffix(ending)))
                why = "of a download that does not run; it would go on from there"
                return Thing(path, "part", size, "left over", why, lock=lock)
        kind = "archive" if folder[0] == "downloads" else "weights"
        return Thing(path, kind, size, "whole", lock=fetch.lock_of(path))
    if len(folder) >= 2 and folder[0] == "weights" and folder[1] in _OTHERS:
        return Thing(path, "weights", size, "whole")
    return Thing(path, "unknown", size, "unknown", "not a file of pmbench's")


def _is_place(folder: tuple[str, ...]) -> bool:
    """Return whether pmbench writes into a folder of the cache."""
    return folder in ((), ("packs",), ("weights",)) or (
        len(folder) == 3 and folder[0] == "downloads"
    )


def _judged_pack(thing: Thing, verify: bool) -> Thing:
    named = _PACK.fullmatch(thing.path.name)
    assert named is not None
    used_by = f"{named['dataset']}, {named['resize']}"
    if is_read(thing.path):
        return replace(thing, state="in use", why="a process reads it", used_by=used_by)
    why = integrity.of_pack(thing.path, verify)
    if not why:
        facts = Pack.open(thing.path).attributes
        if (facts["dataset"], facts["resize"]) != (named["dataset"], named["resize"]):
            why = f"it holds {facts['dataset']}, {facts['resize']}"
    return replace(thing, state="broken" if why else "whole", why=why, used_by=used_by)


def _judged_archive(thing: Thing, parts: tuple[str, ...], verify: bool) -> Thing:
    _, dataset, place, _ = parts
    entry = manifest.datasets().get(dataset)
    used_by = dataset if entry else f"{dataset}, of which no manifest is known"
    why = integrity.of_archive(thing.path)
    if why and not _was_fetched(thing, entry, place):
        return replace(thing, kind="unknown", state="unknown", why="not a file of pmbench's")
    if not why and verify:
        expected = _checksum_of(entry, place) if entry else None
        if expected is None:
            return replace(thing, why="nobody says what its checksum is", used_by=used_by)
        why = integrity.of_checksum(thing.path, expected)
    return replace(thing, state="broken" if why else "whole", why=why, used_by=used_by)


def _was_fetched(thing: Thing, entry: manifest.Manifest | None, place: str) -> bool:
    """Return whether a file that is no archive is one that pmbench has fetched, and broken."""
    if thing.lock is not None and thing.lock.is_file():
        return True
    url = _url_of(entry, place) if entry else None
    return url is not None and fetch.Wanted(url).name == thing.path.name


def _checksum_of(entry: manifest.Manifest, place: str) -> str | None:
    """Return the SHA-256 of what a dataset's own URL gives, if the file is from there."""
    return None if _url_of(entry, place) is None else sources.known_checksum(entry)


def _url_of(entry: manifest.Manifest, place: str) -> str | None:
    """Return a dataset's own URL, if what it gives lies in that folder."""
    url = entry.source.url if entry.source else None
    here = url is not None and hashlib.sha256(url.encode()).hexdigest()[:8] == place
    return url if here else None


def _judged_weights(
    thing: Thing, parts: tuple[str, ...], metrics: Mapping[str, str], verify: bool
) -> Thing:
    if len(parts) > 2:
        return replace(thing, used_by=parts[1])
    name = thing.path.name
    known = {
        PurePosixPath(entry.url).name: entry
        for entry in weight_files().values()
        if entry.url is not None
    }
    entry = known.get(name)
    said = (entry.sha256 or entry.sha256_prefix) if entry else None
    expected = said or integrity.digest_in(name)
    if entry is None and not expected:
        return replace(thing, kind="unknown", state="unknown", why="not a file of pmbench's")
    why = integrity.of_weights(thing.path, entry.megabytes if entry else None)
    if not why and verify and expected:
        why = integrity.of_checksum(thing.path, expected)
    told = why or ("nobody says what its checksum is" if verify and not expected else "")
    state = "broken" if why else "whole"
    return replace(thing, state=state, why=told, used_by=metrics.get(name, ""))


# --- what can go ----------------------------------------------------------------------------------


def to_go(things: list[Thing], wish: Wish) -> list[Thing]:
    """Return what can be removed; locks come last, since they guard the rest."""
    packed = {
        thing.used_by.partition(",")[0]
        for thing in things
        if thing.kind == "pack" and thing.state == "whole"
    }
    chosen = [
        thing
        for thing in things
        if thing.state in ("broken", "left over")
        or (wish.downloads and thing.kind == "archive" and thing.used_by in packed)
        or (wish.everything and thing.state == "whole")
    ]
    return sorted(
        (thing for thing in chosen if thing.state not in ("in use", "unknown")),
        key=lambda thing: thing.kind == "lock",
    )


def remove(things: list[Thing], tell: Callable[[str], None]) -> list[Thing]:
    """Remove files, and the folders that are empty then; return those that went.

    ``tell`` is told of each that another process has taken meanwhile, or that cannot be removed.
    """
    gone = []
    for thing in things:
        try:
            with ExitStack() as stack:
                if thing.lock is not None and thing.lock.is_file():
                    stack.enter_context(alone(thing.lock))
                if thing.kind == "pack" and is_read(thing.path):
                    raise BusyError("another process")
                thing.path.unlink()
        except BusyError as error:
            tell(f"{thing.path}: left, since {error} holds it now")
        except OSError as error:
            tell(f"{thing.path}: left, since it cannot be removed ({error.strerror})")
        else:
            gone.append(thing)
    _remove_empty(paths.downloads())
    return gone


def _remove_empty(downloads: Path) -> None:
    """Remove the folders of datasets, and of places, that hold nothing."""
    if downloads.is_symlink():
        return
    for folder in [*downloads.glob("*/*"), *downloads.glob("*")]:
        if folder.is_dir() and not folder.is_symlink() and not folder.parent.is_symlink():
            with suppress(OSError):  # not empty
                folder.rmdir()

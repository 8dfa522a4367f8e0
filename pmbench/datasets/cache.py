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

from pmbench.datasets import cache_integrity, download, manifest, sources
from pmbench.datasets.pack import Pack
from pmbench.networks.manifest import weight_files
from pmbench.utils import paths, verified_download
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import is_stale, target_of
from pmbench.utils.locks import BusyError, exclusive, is_free, is_read

_PACK = re.compile(r"(?P<dataset>.+)\.(?P<resize>legacy\d+|exact\d+|none|size\d+)\.h5")
_OF_A_DOWNLOAD = (".part", ".part.json", ".unverified")
_OTHERS = {"dreamsim"}  # folders in weights/ that a metric's own package fills


@dataclass(frozen=True)
class CacheEntry:
    """One file of the cache."""

    path: Path
    kind: str  # archive, pack, weights, checksums, part, spool, draft, lock, or unknown
    bytes: int
    state: str  # complete, corrupt, stale, in use, or unknown
    why: str = ""
    used_by: str = ""
    lock: Path | None = None  # which whoever writes it holds


@dataclass(frozen=True)
class CleanOptions:
    """What is to go beside what is corrupt or stale."""

    downloads: bool = False  # archives whose pack is whole
    everything: bool = False


def survey(metrics: Mapping[str, str], verify: bool) -> list[CacheEntry]:
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
    results = [
        _judged(path, path.relative_to(root).parts, metrics, verify) for path in _below(root)
    ]
    return sorted(results, key=lambda thing: thing.path)


def _below(root: Path) -> Iterator[Path]:
    """Yield files and links; no link is followed."""
    for folder, folders, files in os.walk(root):
        for name in [*files, *folders]:
            path = Path(folder, name)
            if name in files or path.is_symlink():
                yield path


# --- what a file is -------------------------------------------------------------------------------


def _judged(
    path: Path, parts: tuple[str, ...], metrics: Mapping[str, str], verify: bool
) -> CacheEntry:
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
        why = cache_integrity.check_json(path)
        return replace(thing, state="corrupt" if why else "complete", why=why, used_by="downloads")
    return thing


def _named(path: Path, parts: tuple[str, ...]) -> CacheEntry:
    """Return what a file is by its place and name."""
    name, folder = parts[-1], parts[:-1]
    size = path.lstat().st_size
    if path.is_symlink() or not path.is_file():
        return CacheEntry(path, "unknown", size, "unknown", "a link, or no file; not followed")
    if target_of(path) and _is_place(folder):
        gone = is_stale(path)
        state, why = ("stale", "of a killed run") if gone else ("in use", "being written")
        return CacheEntry(path, "draft", size, state, why)
    if name.endswith(".lock") and _is_place(folder):
        return CacheEntry(path, "lock", size, "stale", "nobody holds it", lock=path)
    if not folder and name == "pins.json":
        return CacheEntry(path, "checksums", size, "complete", lock=path.with_suffix(".lock"))
    if folder == ("packs",):
        lock = download.lock_of(path)
        if name.endswith(".spool"):
            return CacheEntry(path, "spool", size, "stale", "of a killed run", lock=lock)
        if _PACK.fullmatch(name):
            return CacheEntry(path, "pack", size, "complete", lock=lock)
    if (len(folder) == 3 and folder[0] == "downloads") or folder == ("weights",):
        for ending in _OF_A_DOWNLOAD:
            if name.endswith(ending):
                lock = verified_download.lock_of(path.with_name(name.removesuffix(ending)))
                why = "of a download that does not run; it would go on from there"
                return CacheEntry(path, "part", size, "stale", why, lock=lock)
        kind = "archive" if folder[0] == "downloads" else "weights"
        return CacheEntry(path, kind, size, "complete", lock=verified_download.lock_of(path))
    if len(folder) >= 2 and folder[0] == "weights" and folder[1] in _OTHERS:
        return CacheEntry(path, "weights", size, "complete")
    return CacheEntry(path, "unknown", size, "unknown", "not a file of pmbench's")


def _is_place(folder: tuple[str, ...]) -> bool:
    """Return whether pmbench writes into a folder of the cache."""
    return folder in ((), ("packs",), ("weights",)) or (
        len(folder) == 3 and folder[0] == "downloads"
    )


def _judged_pack(thing: CacheEntry, verify: bool) -> CacheEntry:
    named = _PACK.fullmatch(thing.path.name)
    assert named is not None
    used_by = f"{named['dataset']}, {named['resize']}"
    if is_read(thing.path):
        return replace(thing, state="in use", why="a process reads it", used_by=used_by)
    why = cache_integrity.check_pack(thing.path, verify)
    if not why:
        facts = Pack.open(thing.path).attributes
        if (facts["dataset"], facts["resize"]) != (named["dataset"], named["resize"]):
            why = f"it holds {facts['dataset']}, {facts['resize']}"
    return replace(thing, state="corrupt" if why else "complete", why=why, used_by=used_by)


def _judged_archive(thing: CacheEntry, parts: tuple[str, ...], verify: bool) -> CacheEntry:
    _, dataset, place, _ = parts
    entry = manifest.datasets().get(dataset)
    used_by = dataset if entry else f"{dataset}, of which no manifest is known"
    why = cache_integrity.check_archive(thing.path)
    if why and not _was_fetched(thing, entry, place):
        return replace(thing, kind="unknown", state="unknown", why="not a file of pmbench's")
    if not why and verify:
        expected = _checksum_of(entry, place) if entry else None
        if expected is None:
            return replace(thing, why="nobody says what its checksum is", used_by=used_by)
        why = cache_integrity.check_checksum(thing.path, expected)
    return replace(thing, state="corrupt" if why else "complete", why=why, used_by=used_by)


def _was_fetched(thing: CacheEntry, entry: manifest.Manifest | None, place: str) -> bool:
    """Return whether a file that is no archive is one that pmbench has fetched, and broken."""
    if thing.lock is not None and thing.lock.is_file():
        return True
    url = _url_of(entry, place) if entry else None
    return url is not None and verified_download.RemoteFile(url).name == thing.path.name


def _checksum_of(entry: manifest.Manifest, place: str) -> str | None:
    """Return the SHA-256 of what a dataset's own URL gives, if the file is from there."""
    return None if _url_of(entry, place) is None else sources.known_checksum(entry)


def _url_of(entry: manifest.Manifest, place: str) -> str | None:
    """Return a dataset's own URL, if what it gives lies in that folder."""
    url = entry.source.url if entry.source else None
    here = url is not None and hashlib.sha256(url.encode()).hexdigest()[:8] == place
    return url if here else None


def _judged_weights(
    thing: CacheEntry, parts: tuple[str, ...], metrics: Mapping[str, str], verify: bool
) -> CacheEntry:
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
    expected = said or cache_integrity.digest_in(name)
    if entry is None and not expected:
        return replace(thing, kind="unknown", state="unknown", why="not a file of pmbench's")
    why = cache_integrity.check_weights(thing.path, entry.megabytes if entry else None)
    if not why and verify and expected:
        why = cache_integrity.check_checksum(thing.path, expected)
    message = why or ("nobody says what its checksum is" if verify and not expected else "")
    state = "corrupt" if why else "complete"
    return replace(thing, state=state, why=message, used_by=metrics.get(name, ""))


# --- what can go ----------------------------------------------------------------------------------


def entries_to_remove(things: list[CacheEntry], wish: CleanOptions) -> list[CacheEntry]:
    """Return what can be removed; locks come last, since they guard the rest."""
    packed = {
        thing.used_by.partition(",")[0]
        for thing in things
        if thing.kind == "pack" and thing.state == "complete"
    }
    chosen = [
        thing
        for thing in things
        if thing.state in ("corrupt", "stale")
        or (wish.downloads and thing.kind == "archive" and thing.used_by in packed)
        or (wish.everything and thing.state == "complete")
    ]
    return sorted(
        (thing for thing in chosen if thing.state not in ("in use", "unknown")),
        key=lambda thing: thing.kind == "lock",
    )


def remove(things: list[CacheEntry], tell: Callable[[str], None]) -> list[CacheEntry]:
    """Remove files, and the folders that are empty then; return those that went.

    ``tell`` is told of each that another process has taken meanwhile, or that cannot be removed.
    """
    gone = []
    for thing in things:
        try:
            with ExitStack() as stack:
                if thing.lock is not None and thing.lock.is_file():
                    stack.enter_context(exclusive(thing.lock))
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

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

from pmbench.datasets import download, manifest, sources
from pmbench.datasets.cache_integrity import check_pack
from pmbench.networks.manifest import weight_files
from pmbench.utils import paths, verified_download
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import is_stale, sha256_of, target_of
from pmbench.utils.locks import BusyError, exclusive, is_free, is_read

_PACK = re.compile(r"(?P<dataset>.+)\.(?P<resize>legacy\d+|exact\d+|none|size\d+)\.h5")
_OF_A_DOWNLOAD = (".part", ".part.json", ".unverified")
_PACKAGES = {"dreamsim"}  # folders in weights/ that a metric's own package fills
_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth")  # as torchvision names its files
_NOT_OURS = "not a file of pmbench's"


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
    results = []
    for path in _below(root):
        parts = path.relative_to(root).parts
        results.append(_checked(_entry(path, parts, metrics), parts, verify))
    return sorted(results, key=lambda entry: entry.path)


def _below(root: Path) -> Iterator[Path]:
    """Yield files and links; no link is followed."""
    for folder, folders, files in os.walk(root):
        for name in [*files, *folders]:
            path = Path(folder, name)
            if name in files or path.is_symlink():
                yield path


# --- what a file is -------------------------------------------------------------------------------


def _entry(path: Path, parts: tuple[str, ...], metrics: Mapping[str, str]) -> CacheEntry:
    """Return what a file is by its place and name. It has its name only once it is complete."""
    name, folder = parts[-1], parts[:-1]
    size = path.lstat().st_size
    if path.is_symlink() or not path.is_file():
        return CacheEntry(path, "unknown", size, "unknown", "a link, or no file; not followed")
    if len(folder) >= 2 and folder[0] == "weights" and folder[1] in _PACKAGES:
        return CacheEntry(path, "weights", size, "complete", used_by=folder[1])
    in_download = len(folder) == 3 and folder[0] == "downloads"
    if not (in_download or folder in ((), ("packs",), ("weights",))):
        return CacheEntry(path, "unknown", size, "unknown", _NOT_OURS)
    if target_of(path):
        state, why = ("stale", "of a killed run") if is_stale(path) else ("in use", "being written")
        return CacheEntry(path, "draft", size, state, why)
    if name.endswith(".lock"):
        return CacheEntry(path, "lock", size, "stale", "nobody holds it", lock=path)
    if not folder and name == "pins.json":
        lock = path.with_suffix(".lock")
        return CacheEntry(path, "checksums", size, "complete", used_by="downloads", lock=lock)
    if folder == ("packs",):
        lock = download.lock_of(path)
        if name.endswith(".spool"):
            return CacheEntry(path, "spool", size, "stale", "of a killed run", lock=lock)
        if named := _PACK.fullmatch(name):
            used_by = f"{named['dataset']}, {named['resize']}"
            return CacheEntry(path, "pack", size, "complete", used_by=used_by, lock=lock)
    if in_download or folder == ("weights",):
        for ending in _OF_A_DOWNLOAD:
            if name.endswith(ending):
                lock = verified_download.lock_of(path.with_name(name.removesuffix(ending)))
                why = "of a download that does not run; it would go on from there"
                return CacheEntry(path, "part", size, "stale", why, lock=lock)
    lock = verified_download.lock_of(path)
    if in_download and (lock.is_file() or _is_of_manifest(parts)):
        return CacheEntry(path, "archive", size, "complete", used_by=folder[1], lock=lock)
    if folder == ("weights",) and _checksum_of_weights(name) is not None:
        used_by = metrics.get(name, "")
        return CacheEntry(path, "weights", size, "complete", used_by=used_by, lock=lock)
    return CacheEntry(path, "unknown", size, "unknown", _NOT_OURS)


def _checked(entry: CacheEntry, parts: tuple[str, ...], verify: bool) -> CacheEntry:
    """Return an entry with what its locks say and, on request, its checksum."""
    if entry.state == "unknown":
        return entry
    if entry.lock is not None and not is_free(entry.lock):
        return replace(entry, state="in use", why="another pmbench works on it")
    if entry.kind == "pack" and is_read(entry.path):
        return replace(entry, state="in use", why="a process reads it")
    if entry.kind == "pack":
        why = check_pack(entry.path, entry.used_by, verify)
        return replace(entry, state="corrupt" if why else "complete", why=why)
    if not verify or entry.kind not in ("archive", "weights"):
        return entry
    expected = _checksum(entry, parts)
    if not expected:
        return replace(entry, why="nobody says what its checksum is")
    if (digest := sha256_of(entry.path)).startswith(expected):
        return entry
    why = f"its checksum differs: expected sha256 {expected[:8]}…, got {digest[:8]}…"
    return replace(entry, state="corrupt", why=why)


def _checksum(entry: CacheEntry, parts: tuple[str, ...]) -> str:
    """Return what the SHA-256 of an archive or of weights must begin with, "" where unknown."""
    if entry.kind == "weights":
        return _checksum_of_weights(entry.path.name) or ""
    known = manifest.datasets().get(parts[1])
    return (sources.known_checksum(known) or "") if known and _is_of_manifest(parts) else ""


def _is_of_manifest(parts: tuple[str, ...]) -> bool:
    """Return whether an archive is what its dataset's own URL gives."""
    _, dataset, place, name = parts
    entry = manifest.datasets().get(dataset)
    url = entry.source.url if entry and entry.source else None
    if url is None or hashlib.sha256(url.encode()).hexdigest()[:8] != place:
        return False
    return verified_download.RemoteFile(url).name == name


def _checksum_of_weights(name: str) -> str | None:
    """Return what the SHA-256 of a weight file begins with, "" where nobody says, or None.

    None is for a file that is not pmbench's.
    """
    for entry in weight_files().values():
        if entry.url is not None and PurePosixPath(entry.url).name == name:
            return entry.sha256 or entry.sha256_prefix or ""
    named = _DIGEST_IN_NAME.search(name)
    return named[1] if named else None


# --- what can go ----------------------------------------------------------------------------------


def entries_to_remove(entries: list[CacheEntry], wish: CleanOptions) -> list[CacheEntry]:
    """Return what can be removed; locks come last, since they guard the rest."""
    packed = {
        entry.used_by.partition(",")[0]
        for entry in entries
        if entry.kind == "pack" and entry.state == "complete"
    }
    chosen = [
        entry
        for entry in entries
        if entry.state in ("corrupt", "stale")
        or (wish.downloads and entry.kind == "archive" and entry.used_by in packed)
        or (wish.everything and entry.state == "complete")
    ]
    return sorted(
        (entry for entry in chosen if entry.state not in ("in use", "unknown")),
        key=lambda entry: entry.kind == "lock",
    )


def remove(entries: list[CacheEntry], tell: Callable[[str], None]) -> list[CacheEntry]:
    """Remove files, and the folders that are empty then; return those that went.

    ``tell`` is told of each that another process has taken meanwhile, or that cannot be removed.
    """
    gone = []
    for entry in entries:
        try:
            with ExitStack() as stack:
                if entry.lock is not None and entry.lock.is_file():
                    stack.enter_context(exclusive(entry.lock))
                if entry.kind == "pack" and is_read(entry.path):
                    raise BusyError("another process")
                entry.path.unlink()
        except BusyError as error:
            tell(f"{entry.path}: left, since {error} holds it now")
        except OSError as error:
            tell(f"{entry.path}: left, since it cannot be removed ({error.strerror})")
        else:
            gone.append(entry)
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

"""The files of a dataset: where they are, or fetched, with the checksum that they must have."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from pmbench.datasets.manifest import Manifest
from pmbench.utils import paths
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import sha256_of, write_text
from pmbench.utils.locks import exclusive
from pmbench.utils.progress import Reporter
from pmbench.utils.verified_download import RemoteFile, fetch


@dataclass(frozen=True)
class DownloadOptions:
    """What the user decided about a download."""

    source: str | None = None  # an archive, a folder or a URL instead of the manifest's
    sha256: str | None = None  # the checksum that the user knows
    accept_checksum: bool = False
    partial: bool = False  # fewer items than the manifest says, and any checksum


def files_of(manifest: Manifest, options: DownloadOptions, reporter: Reporter) -> tuple[Path, str]:
    """Return the archive or folder to read, checked, and its SHA-256 ("" for a folder)."""
    assert manifest.source is not None  # built-in datasets have none, and never come here
    named = options.source
    if named is None and manifest.source.path is not None:
        named = str(manifest.local_source)
    if named is not None and "://" not in named:
        path = paths.expand(named)
        must_exist(path, "--from" if options.source else f"{manifest.file}: key 'source.path'")
        return path, "" if path.is_dir() else _checked(manifest, path, options, reporter)
    wanted = RemoteFile(
        url=named or manifest.source.url or "",
        sha256=options.sha256 or manifest.source.sha256,
        origin="" if options.sha256 else manifest.source.sha256_origin,
        accept=options.accept_checksum or options.partial,
        size=1e9 * manifest.source.gigabytes if manifest.source.gigabytes else None,
    )
    unpinned = wanted.sha256 is None
    if unpinned:
        pin = _pins().get(wanted.url)
        wanted = replace(wanted, sha256=pin, origin="the first download on this machine")
    # a folder for each dataset and URL: archives from different places may have the same name
    place = hashlib.sha256(wanted.url.encode()).hexdigest()[:8]
    path = fetch(wanted, paths.downloads() / manifest.name / place, reporter)
    digest = sha256_of(path)
    if not (wanted.accept or wanted.matches(digest)):
        # an earlier run accepted the file, or somebody put it there
        raise PmbenchError(
            f"{path}: the checksum differs: expected sha256 {wanted.sha256}, got {digest}; "
            "delete the file to fetch it anew, or give --accept-checksum to use it"
        )
    if unpinned and wanted.sha256 is None:
        _pin(wanted.url, digest)
        reporter.note(
            f"{manifest.name}: nobody publishes a checksum of {wanted.name}; this download's, "
            f"{digest}, is kept, and later downloads must have it"
        )
    return path, digest


def _checked(manifest: Manifest, path: Path, options: DownloadOptions, reporter: Reporter) -> str:
    """Return the SHA-256 of an archive that the user already has."""
    assert manifest.source is not None
    digest = sha256_of(path)
    expected = options.sha256 or manifest.source.sha256
    if expected is None or digest == expected:
        return digest
    message = f"{path}: the checksum differs: expected sha256 {expected}, got {digest}"
    if not (options.accept_checksum or options.partial):
        origin = manifest.source.sha256_origin
        doubt = f" The expected one comes from {origin}." if origin and not options.sha256 else ""
        raise PmbenchError(
            f"{message}.{doubt} If you know this file to be right, give --sha256 {digest}; "
            "--accept-checksum goes on whatever it is, --partial also with a part of the items"
        )
    reporter.note(f"{message}; going on, as asked")
    return digest


def known_checksum(manifest: Manifest) -> str | None:
    """Return the checksum that a dataset's archive must have, published or pinned."""
    assert manifest.source is not None
    return manifest.source.sha256 or _pins().get(manifest.source.url or "")


def must_exist(source: Path, who: str) -> None:
    """Raise PmbenchError, which begins with ``who`` named it, where there is nothing."""
    if not source.exists():
        raise PmbenchError(f"{who}: {source} does not exist; expected an archive or a folder")


# --- pins: checksums that nobody publishes, of the first download ---------------------------------


def _pins() -> dict[str, str]:
    path = paths.home() / "pins.json"
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise PmbenchError(
            f"{path}: expected the checksums of earlier downloads as JSON ({error}); delete it"
        ) from error
    return {str(url): str(digest) for url, digest in content.items()}


def _pin(url: str, digest: str) -> None:
    with exclusive(paths.home() / "pins.lock", -1):  # what another process adds meanwhile stays
        write_text(paths.home() / "pins.json", json.dumps(_pins() | {url: digest}, indent=1))

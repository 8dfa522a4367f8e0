"""From a manifest to its pack: fetch or find the files, check them, decode them once.

``pack_for`` is what evaluation asks; ``download`` is what the command does.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pmbench.datasets.decode import store_images
from pmbench.datasets.image_store import ImageStore
from pmbench.datasets.layouts import Item, layout_for
from pmbench.datasets.manifest import Manifest
from pmbench.datasets.pack import Pack, PackInfo, write_pack
from pmbench.datasets.resize import Resize
from pmbench.datasets.sources import (
    DownloadOptions as DownloadOptions,
)  # which ``download`` is given
from pmbench.datasets.sources import files_of, known_checksum, must_exist
from pmbench.scoring.protocols import PROTOCOLS
from pmbench.utils import paths
from pmbench.utils.errors import PmbenchError
from pmbench.utils.locks import exclusive
from pmbench.utils.progress import Reporter
from pmbench.utils.text import one_line


def pack_path(manifest: Manifest, resize: Resize) -> Path:
    """Return where the pack of a dataset and resize mode is, or would be."""
    if manifest.built_in is not None:
        return paths.PACKAGE / "data" / manifest.built_in
    return paths.packs() / f"{manifest.name}.{resize.label}.h5"


def pack_for(manifest: Manifest, resize: Resize, reporter: Reporter) -> Pack | None:
    """Return the pack of a dataset, or None where it has to be downloaded first.

    A dataset whose manifest names local files is packed when it is first asked for, and again
    when the files or the manifest have changed.
    """
    path = pack_path(manifest, resize)
    if manifest.local_source is not None:
        return _local_pack(manifest, manifest.local_source, resize, reporter)
    if not path.exists():
        return None
    pack = Pack.open(path)
    if manifest.built_in is None and pack.attributes["fingerprint"] != _manifest_digest(manifest):
        raise PmbenchError(
            f"{path} was packed under another manifest than {manifest.file} is now, or by an "
            f"earlier pmbench; pack it again with `pmbench download {manifest.name}`"
        )
    return pack


def download(
    manifest: Manifest, resize: Resize, options: DownloadOptions, reporter: Reporter
) -> Pack:
    """Return the whole, checked pack of a dataset, fetching and packing what is missing.

    Raises PmbenchError where the files cannot be had, differ from what the manifest says, or hold
    fewer items than it says (unless ``options`` allows it).
    """
    if manifest.built_in is not None:
        return Pack.open(pack_path(manifest, resize))
    if manifest.local_source is not None and options == DownloadOptions():
        return _local_pack(manifest, manifest.local_source, resize, reporter)
    path = pack_path(manifest, resize)
    if (pack := _complete(path, manifest, options)) is not None:  # in a cache that is read-only too
        return pack
    with _packing(path, reporter):
        if (pack := _complete(path, manifest, options)) is not None:
            return pack
        source, digest = files_of(manifest, options, reporter)
        return _pack(manifest, resize, source, digest, options, reporter)


def _complete(path: Path, manifest: Manifest, options: DownloadOptions) -> Pack | None:
    """Return the pack at ``path`` where it is what a download would give, else None."""
    if not path.exists() or options != DownloadOptions(partial=options.partial):
        return None
    pack = Pack.open(path)
    same = pack.attributes["fingerprint"] == _manifest_digest(manifest)
    return pack if same and (options.partial or not pack.partial) else None


@contextmanager
def _packing(path: Path, reporter: Reporter) -> Iterator[None]:
    """Keep a second process from making the same pack at the same time; it waits."""
    what = f"{path.name}: waiting, since it is made by"
    with exclusive(lock_of(path), -1, lambda holder: reporter.note(f"{what} {holder}")):
        yield


def lock_of(pack: Path) -> Path:
    """Return the lock that whoever makes a pack holds."""
    return pack.with_suffix(".lock")


def _local_pack(manifest: Manifest, source: Path, resize: Resize, reporter: Reporter) -> Pack:
    path = pack_path(manifest, resize)
    must_exist(source, f"{manifest.file}: key 'source.path'")
    fingerprint = _fingerprint(manifest, source)
    if path.exists() and (pack := Pack.open(path)).attributes["fingerprint"] == fingerprint:
        return pack  # in a cache that is read-only too
    with _packing(path, reporter):
        if path.exists():
            pack = Pack.open(path)
            if pack.attributes["fingerprint"] == fingerprint:
                return pack
            reporter.note(
                f"{manifest.name}: its files, its manifest or pmbench changed; packing them anew"
            )
        _, digest = files_of(manifest, DownloadOptions(), reporter)
        return _pack(manifest, resize, source, digest, DownloadOptions(), reporter)


def _manifest_digest(manifest: Manifest) -> str:
    """Return a digest of what a manifest says about which items there are and what they mean."""
    said = {
        "protocol", "folders", "table", "votes_per_item", "enlarged", "size", "human_votes",
        "sub_datasets",
    }  # fmt: skip
    if not manifest.raw_pixels:  # others are as they were before there was a choice
        said.add("raw_pixels")
    return hashlib.sha256(manifest.model_dump_json(include=said).encode()).hexdigest()


def _fingerprint(manifest: Manifest, source: Path) -> str:
    """Return a digest of a manifest and of the names, sizes and times of its local files."""
    digest = hashlib.sha256(manifest.model_dump_json(exclude={"published"}).encode())
    result = sorted(source.rglob("*")) if source.is_dir() else [source]
    for path in filter(Path.is_file, result):
        facts = path.stat()
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
    return digest.hexdigest()


# --- from files to the pack -----------------------------------------------------------------------


def _pack(
    manifest: Manifest,
    resize: Resize,
    source: Path,
    digest: str,
    options: DownloadOptions,
    reporter: Reporter,
) -> Pack:
    path = pack_path(manifest, resize)
    protocol = PROTOCOLS[manifest.protocol]
    # first, so that files which change while they are read are noticed the next time
    local = manifest.local_source == source
    fingerprint = _fingerprint(manifest, source) if local else _manifest_digest(manifest)
    layout = layout_for(manifest, source, protocol)
    with ImageStore(path.with_suffix(".spool")) as store:
        numbers = store_images(layout, source, resize, manifest.raw_pixels, store, reporter)
        rows = layout.rows()
        whole = _check_counts(manifest, rows, source, options)
        official = not digest or digest == (options.sha256 or known_checksum(manifest) or digest)
        origin = PackInfo(
            dataset=manifest.name,
            protocol=manifest.protocol,
            roles=protocol.roles,
            resize=resize.label,
            human_votes=manifest.human_votes,
            expected=manifest.expected,
            partial=options.partial and not (whole and official),
            source=one_line(str(source)),
            sha256=digest,
            fingerprint=fingerprint,
        )
        write_pack(path, origin, rows, numbers, store)
    return Pack.open(path)


def _check_counts(
    manifest: Manifest, rows: list[Item], source: Path, options: DownloadOptions
) -> bool:
    """Return whether the items are known to be all that the manifest says.

    Raises PmbenchError where they are not and that was not allowed, where there are more, and for
    sub-datasets that the manifest does not know.
    """
    noun = PROTOCOLS[manifest.protocol].unit
    if not rows:
        where = f" below '{manifest.folders.root}/'" if manifest.folders else ""
        raise PmbenchError(
            f"{source}: no {noun} of {manifest.name} found{where}; is it another one?"
        )
    if manifest.expected is None:
        return False
    result = Counter(row.sub_dataset for row in rows)
    if strange := sorted(set(result) - set(manifest.sub_datasets)):
        raise PmbenchError(
            f"{source}: found the sub-dataset {strange[0]}; {manifest.name} has "
            f"{', '.join(manifest.sub_datasets)}; is it another dataset?"
        )
    if len(rows) > manifest.expected or (
        dict(result) != manifest.sub_datasets and not options.partial
    ):
        message = "; ".join(
            f"{name} {result[name]:,} of {count:,}" for name, count in manifest.sub_datasets.items()
        )
        raise PmbenchError(
            f"{source}: expected {manifest.expected:,} {noun}, found {len(rows):,} ({message}); "
            + (
                "is it another dataset?"
                if len(rows) > manifest.expected
                else "fetch it again, or use what is there, marked as partial, with "
                f"`pmbench download {manifest.name} --partial`"
            )
        )
    return dict(result) == manifest.sub_datasets

"""From a manifest to its pack: fetch or find the files, check them, decode them once.

``pack_for`` is what evaluation asks; ``download`` is what the command does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from pmbench import home
from pmbench.archive import files
from pmbench.errors import PmbenchError
from pmbench.fetch import Wanted, fetch
from pmbench.files import sha256_of, write_text
from pmbench.manifest import Manifest
from pmbench.pack import Origin, Pack, Spool, write_pack
from pmbench.protocols import PROTOCOLS
from pmbench.readers import Layout, Row, layout_for
from pmbench.reporting import Reporter
from pmbench.resize import Pixels, Resize, decode


@dataclass(frozen=True)
class Choices:
    """What the user decided about a download."""

    source: str | None = None  # an archive, a folder or a URL instead of the manifest's
    sha256: str | None = None  # the checksum that the user knows
    accept_checksum: bool = False
    partial: bool = False  # fewer items than the manifest says, and any checksum


def pack_path(manifest: Manifest, resize: Resize) -> Path:
    """Return where the pack of a dataset and resize mode is, or would be."""
    if manifest.built_in is not None:
        return Path(__file__).parent / "data" / manifest.built_in
    return home.packs() / f"{manifest.name}.{resize.label}.h5"


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
    if manifest.built_in is None and pack.attributes["fingerprint"] != _meaning(manifest):
        raise PmbenchError(
            f"{path} was packed under another manifest than {manifest.file} is now; "
            f"pack it again with `pmbench download {manifest.name}`"
        )
    return pack


def download(manifest: Manifest, resize: Resize, choices: Choices, reporter: Reporter) -> Pack:
    """Return the whole, checked pack of a dataset, fetching and packing what is missing.

    Raises PmbenchError where the files cannot be had, differ from what the manifest says, or hold
    fewer items than it says (unless ``choices`` allows it).
    """
    if manifest.built_in is not None:
        return Pack.open(pack_path(manifest, resize))
    path = pack_path(manifest, resize)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists() and choices == Choices(partial=choices.partial):
            pack = Pack.open(path)
            same = pack.attributes["fingerprint"] == _meaning(manifest)
            if same and (choices.partial or not pack.partial):
                return pack
        source, digest = _files_of(manifest, choices, reporter)
        return _pack(manifest, resize, source, digest, choices, reporter)


def _local_pack(manifest: Manifest, source: Path, resize: Resize, reporter: Reporter) -> Pack:
    path = pack_path(manifest, resize)
    path.parent.mkdir(parents=True, exist_ok=True)
    _must_exist(source, f"{manifest.file}: key 'source.path'")
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            pack = Pack.open(path)
            if pack.attributes["fingerprint"] == _fingerprint(manifest, source):
                return pack
            reporter.note(f"{manifest.name}: its files or its manifest changed; packing them anew")
        _, digest = _files_of(manifest, Choices(), reporter)
        return _pack(manifest, resize, source, digest, Choices(), reporter)


def _meaning(manifest: Manifest) -> str:
    """Return a digest of what a manifest says about which items there are and what they mean."""
    said = {
        "protocol", "folders", "table", "votes_per_item", "enlarged", "size", "human_votes",
        "sub_datasets",
    }  # fmt: skip
    return hashlib.sha256(manifest.model_dump_json(include=said).encode()).hexdigest()


def _fingerprint(manifest: Manifest, source: Path) -> str:
    """Return a digest of a manifest and of the names, sizes and times of its local files."""
    digest = hashlib.sha256(manifest.model_dump_json(exclude={"published"}).encode())
    found = sorted(source.rglob("*")) if source.is_dir() else [source]
    for path in filter(Path.is_file, found):
        facts = path.stat()
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _must_exist(source: Path, who: str) -> None:
    if not source.exists():
        raise PmbenchError(f"{who}: {source} does not exist; expected an archive or a folder")


# --- where the files come from --------------------------------------------------------------------


def _files_of(manifest: Manifest, choices: Choices, reporter: Reporter) -> tuple[Path, str]:
    """Return the archive or folder to read, checked, and its SHA-256 ("" for a folder)."""
    assert manifest.source is not None  # built-in datasets have none, and never come here
    named = choices.source
    if named is None and manifest.source.path is not None:
        named = str(manifest.local_source)
    if named is not None and "://" not in named:
        path = Path(named).expanduser()
        _must_exist(path, "--from" if choices.source else f"{manifest.file}: key 'source.path'")
        return path, "" if path.is_dir() else _checked(manifest, path, choices, reporter)
    wanted = Wanted(
        url=named or manifest.source.url or "",
        sha256=choices.sha256 or manifest.source.sha256,
        origin="" if choices.sha256 else manifest.source.sha256_origin,
        accept=choices.accept_checksum or choices.partial,
    )
    unpinned = wanted.sha256 is None
    if unpinned:
        pin = _pins().get(wanted.url)
        wanted = replace(wanted, sha256=pin, origin="the first download on this machine")
    # a folder for each dataset and URL: archives from different places may have the same name
    place = hashlib.sha256(wanted.url.encode()).hexdigest()[:8]
    path = fetch(wanted, home.downloads() / manifest.name / place, reporter)
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


def _checked(manifest: Manifest, path: Path, choices: Choices, reporter: Reporter) -> str:
    """Return the SHA-256 of an archive that the user already has."""
    assert manifest.source is not None
    digest = sha256_of(path)
    expected = choices.sha256 or manifest.source.sha256
    if expected is None or digest == expected:
        return digest
    told = f"{path}: the checksum differs: expected sha256 {expected}, got {digest}"
    if not (choices.accept_checksum or choices.partial):
        origin = manifest.source.sha256_origin
        doubt = f" The expected one comes from {origin}." if origin and not choices.sha256 else ""
        raise PmbenchError(
            f"{told}.{doubt} If you know this file to be right, give --sha256 {digest}; "
            "--accept-checksum goes on whatever it is, --partial also with a part of the items"
        )
    reporter.note(f"{told}; going on, as asked")
    return digest


def _pins() -> dict[str, str]:
    path = home.home() / "pins.json"
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise PmbenchError(
            f"{path}: expected the checksums of earlier downloads as JSON ({error}); delete it"
        ) from error
    return {str(url): str(digest) for url, digest in dict(content).items()}


def _pin(url: str, digest: str) -> None:
    write_text(home.home() / "pins.json", json.dumps(_pins() | {url: digest}, indent=1))


# --- from files to the pack -----------------------------------------------------------------------


def _pack(
    manifest: Manifest,
    resize: Resize,
    source: Path,
    digest: str,
    choices: Choices,
    reporter: Reporter,
) -> Pack:
    path = pack_path(manifest, resize)
    roles = PROTOCOLS[manifest.protocol].roles
    layout = layout_for(manifest, source, roles)
    with Spool(path.with_suffix(".spool")) as spool:
        numbers: dict[str, int] = {}
        for name, pixels in _decoded(layout, source, resize, reporter):
            numbers[name] = spool.add(pixels)
        rows = layout.rows()
        whole = _whole(manifest, rows, source, choices)
        official = not digest or digest == (choices.sha256 or _known_checksum(manifest) or digest)
        origin = Origin(
            dataset=manifest.name,
            protocol=manifest.protocol,
            roles=roles,
            resize=resize.label,
            human_votes=manifest.human_votes,
            expected=manifest.expected,
            partial=choices.partial and not (whole and official),
            source=str(source),
            sha256=digest,
            fingerprint=_fingerprint(manifest, source)
            if manifest.local_source == source
            else _meaning(manifest),
        )
        write_pack(path, origin, rows, numbers, spool)
    return Pack.open(path)


def _known_checksum(manifest: Manifest) -> str | None:
    """Return the checksum that a dataset's archive must have, published or pinned."""
    assert manifest.source is not None
    return manifest.source.sha256 or _pins().get(manifest.source.url or "")


def _decoded(
    layout: Layout, source: Path, resize: Resize, reporter: Reporter
) -> Iterator[tuple[str, Pixels]]:
    """Yield the images that the layout wants, decoded on all cores, in the order of the files."""
    workers = os.cpu_count() or 1
    total = None if source.is_dir() else float(source.stat().st_size)
    waiting: deque[tuple[str, Future[Pixels]]] = deque()
    with (
        reporter.task(f"packing {source.name}", total, "B" if total else "files") as task,
        ThreadPoolExecutor(workers) as pool,
    ):
        for file in files(source, task.advance):
            name = layout.take(file.path, file.read)
            if name is None:
                continue
            waiting.append((name, pool.submit(decode, file.read(), resize, str(file.path))))
            if total is None:
                task.advance(1)
            if len(waiting) > 16 * workers:
                first, done = waiting.popleft()
                yield first, done.result()
        for rest, done in waiting:
            yield rest, done.result()


def _whole(manifest: Manifest, rows: list[Row], source: Path, choices: Choices) -> bool:
    """Return whether the items are known to be all that the manifest says.

    Raises PmbenchError where they are not and that was not allowed, where there are more, and for
    sub-datasets that the manifest does not know.
    """
    noun = {"2afc": "triplets", "jnd": "pairs"}[manifest.protocol]
    if not rows:
        where = f" below '{manifest.folders.root}/'" if manifest.folders else ""
        raise PmbenchError(
            f"{source}: no {noun} of {manifest.name} found{where}; is it another one?"
        )
    if manifest.expected is None:
        return False
    found = Counter(row.sub_dataset for row in rows)
    if strange := sorted(set(found) - set(manifest.sub_datasets)):
        raise PmbenchError(
            f"{source}: found the sub-dataset {strange[0]}; {manifest.name} has "
            f"{', '.join(manifest.sub_datasets)}; is it another dataset?"
        )
    if len(rows) > manifest.expected or (
        dict(found) != manifest.sub_datasets and not choices.partial
    ):
        told = "; ".join(
            f"{name} {found[name]:,} of {count:,}" for name, count in manifest.sub_datasets.items()
        )
        raise PmbenchError(
            f"{source}: expected {manifest.expected:,} {noun}, found {len(rows):,} ({told}); "
            + (
                "is it another dataset?"
                if len(rows) > manifest.expected
                else "fetch it again, or use what is there, marked as partial, with "
                f"`pmbench download {manifest.name} --partial`"
            )
        )
    return dict(found) == manifest.sub_datasets

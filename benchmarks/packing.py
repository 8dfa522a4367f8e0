"""How fast an archive becomes a pack, beside nothing but decoding and resizing its images.

Both sides take the same PNGs, 256×256, on all cores:

- PIL: files that lie there unpacked -> ``Image.open``, RGB, ``resize`` to 64×64, thrown away;
- pmbench: the tar.gz of them -> its checksum, unpacked, votes read, decoded, resized, compared with
  each other, and written as a pack.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.inputs import MANIFEST, Setting
from benchmarks.turns import Measured, Row, at_least, times_as_fast
from pmbench.datasets.download import pack_for, pack_path
from pmbench.datasets.manifest import Manifest, load
from pmbench.datasets.resize import Resize, resize_for
from pmbench.utils.progress import Silent
from pmbench.utils.system import cores

_AT_ONCE = 50  # files that a thread takes: more at once is no faster


def rows(setting: Setting) -> Iterator[Row]:
    """Yield the one row."""
    yield Row(
        "packing/tar.gz", "packing from a tar.gz", "PIL decode and resize, all cores",
        at_least(0.85), partial(_measured, setting),
    )  # fmt: skip


def _measured(setting: Setting) -> Measured:
    paths = sorted((setting.root / "val").rglob("*.png"))
    manifest = load(_archived(setting))
    resize = resize_for(manifest, "legacy")
    notes = [f"{len(paths):,} images, {cores()} cores"]
    return times_as_fast(
        partial(_decode_all, paths), partial(_pack, manifest, resize), setting.turns, notes
    )


def _archived(setting: Setting) -> Path:
    """Return the manifest of the triplets as an archive, made once, in a folder of its own."""
    folder = setting.folder / f"archive-{setting.triplets}"
    manifest = folder / "archived.toml"
    if not manifest.exists():
        folder.mkdir(exist_ok=True)
        # as GNU tar writes it, and so BAPPS' own
        form = tarfile.GNU_FORMAT
        with tarfile.open(folder / "made.tar.gz", "w:gz", format=form, compresslevel=6) as file:
            file.add(setting.root / "val", "val")
        text = MANIFEST.replace('"made"', '"archived"').replace('"."', '"made.tar.gz"')
        manifest.write_text(text)
    return manifest


def _decode_all(paths: list[Path]) -> None:
    parts = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(_decode_some, parts):
            pass


def _decode_some(paths: list[Path]) -> None:
    for path in paths:
        Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)


def _pack(manifest: Manifest, resize: Resize) -> None:
    pack_path(manifest, resize).unlink(missing_ok=True)
    assert pack_for(manifest, resize, Silent()) is not None

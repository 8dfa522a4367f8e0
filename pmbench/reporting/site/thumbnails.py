"""Images of items, as metrics saw them: PNG files of true pixels, each different one once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pmbench.datasets import manifest
from pmbench.datasets.download import pack_path
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import Pixels, resize_for
from pmbench.results.run import Run
from pmbench.utils.errors import PmbenchError


@dataclass(frozen=True)
class Thumbnail:
    """One image file."""

    address: str  # from the top of the site
    width: int
    height: int


class Thumbnails:
    """Writes images of one pack's items into a site."""

    def __init__(self, pack: Pack, site: Path) -> None:
        self._pack = pack
        self._site = site
        self._rows = {str(item): i for i, item in enumerate(pack.items.id)}
        self._known: dict[str, dict[str, Thumbnail]] = {}

    def of(self, item: str) -> dict[str, Thumbnail]:
        """Return the images of an item by role, writing those that are not there yet.

        Raises PmbenchError where the pack has no such item, or cannot be read.
        """
        if item not in self._known:
            if (row := self._rows.get(item)) is None:
                raise PmbenchError(
                    f"{self._pack.path} has no item '{item}', which was measured; measure the "
                    "dataset again with `pmbench eval --fresh`"
                )
            pixels = self._pack.images(int(self._pack.size[row]), self._pack.rows[row])
            roles = [str(role) for role in self._pack.attributes["roles"]]
            self._known[item] = {
                role: self._written(one) for role, one in zip(roles, pixels, strict=True)
            }
        return self._known[item]

    def _written(self, pixels: Pixels) -> Thumbnail:
        height, width = pixels.shape[:2]
        facts = f"{height}x{width}".encode()
        name = hashlib.blake2b(pixels.tobytes(), digest_size=8, person=facts).hexdigest()
        address = f"images/{name}.png"
        path = self._site / address
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, optimize=True)
        return Thumbnail(address, width, height)


def pack_of(run: Run) -> Pack | str:
    """Return the pack that a run was measured on, or the sentence that says why it is not here."""
    name, digest = run.info.dataset.name, run.info.dataset.pack_digest
    entry = manifest.datasets().get(name)
    if entry is None:
        return (
            f"No images: nothing is known of a dataset {name}; "
            "name the folder of its manifest with --manifests."
        )
    modes = ("legacy", "exact") if entry.enlarged else (None,)
    label = run.info.dataset.resize
    paths = [
        pack_path(entry, resize)
        for resize in (resize_for(entry, mode) for mode in modes)
        if label in (None, resize.label)
    ]
    for path in paths:
        if path.exists():
            try:
                pack = Pack.open(path)
            except PmbenchError as error:
                return f"No images: {error}."
            if pack.digest == digest:
                return pack
            return (
                f"No images: the pack of {name} on this machine holds other images or votes "
                f"than those that were measured (digest {pack.digest[:8]}, expected "
                f"{str(digest)[:8]})."
            )
    way = f"`pmbench download {name}`" if entry.local_source is None else "`pmbench eval`"
    return f"No images: the pack of {name} is not on this machine; {way} makes it."

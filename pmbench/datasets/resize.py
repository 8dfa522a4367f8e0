"""The resize modes: from the pixels of an image to those that metrics see.

BAPPS stores 64×64 patches enlarged to 256×256 by corner-aligned nearest neighbour: pixel i of N
shows source pixel rint(i·(n-1)/(N-1)). ``legacy`` is what the LPIPS paper's numbers used,
torchvision's Resize(64) on the PIL image: bilinear with antialiasing, which blurs them. ``exact``
undoes the enlargement. ``none`` keeps every image as it is; ``size`` resizes like legacy, for
datasets whose manifest names a size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pmbench.datasets.manifest import Manifest
from pmbench.utils.errors import PmbenchError

Pixels = NDArray[np.uint8]
LARGEST = 1 << 26  # pixels of an image, 8192×8192; a small file may declare billions


@dataclass(frozen=True)
class Resize:
    """A resize mode of one dataset; ``number`` is the side (legacy, size) or the factor (exact)."""

    mode: str  # "legacy" | "exact" | "size" | "none"
    number: int = 0

    @property
    def label(self) -> str:
        """How signatures and file names call it: ``legacy64``, ``exact4``, ``none`` …"""
        return f"{self.mode}{self.number}" if self.number else self.mode


def resize_for(manifest: Manifest, mode: str | None) -> Resize:
    """Return the resize of a dataset: ``mode`` where the manifest allows it, None for its default.

    Raises PmbenchError where "legacy" or "exact" is asked of a dataset that declares no
    enlargement, or an unknown mode is asked for.
    """
    if mode not in (None, "legacy", "exact", "none"):
        raise PmbenchError(f"unknown resize mode '{mode}'; expected legacy or exact")
    if manifest.enlarged is not None:
        if mode == "none":
            raise PmbenchError(
                f"{manifest.name} stores enlarged patches, on which no published number was "
                "measured; use --resize legacy (the papers' way) or exact (the true patches)"
            )
        if mode == "exact":
            return Resize("exact", manifest.enlarged.factor)
        return Resize("legacy", manifest.enlarged.patch)
    if mode in ("legacy", "exact"):
        raise PmbenchError(
            f"--resize {mode} does not fit {manifest.name}: its manifest declares no enlargement; "
            "leave --resize out to use its images at their own size"
        )
    return Resize("none") if manifest.size is None else Resize("size", manifest.size)


def too_large(name: str, size: str) -> PmbenchError:
    """Return the error for an image of more than LARGEST pixels; ``size`` in words."""
    return PmbenchError(
        f"{name}: expected an image of at most {LARGEST:,} pixels (8192×8192), got one of {size}; "
        "scale it down or remove the item"
    )


def resized(image: Image.Image, resize: Resize, name: str) -> Pixels:
    """Return an RGB image as uint8 pixels (height, width, 3), resized.

    Raises PmbenchError where it cannot be resized so, or is larger than LARGEST then.
    """
    if resize.mode == "exact":
        return _undone(image, resize.number, name)
    if resize.mode in ("legacy", "size"):
        # torchvision's Resize(int): the shorter side becomes `number`, the longer one is truncated
        width, height = image.size
        side, short = resize.number, min(image.size)
        target = (int(side * width / short), int(side * height / short))
        if target[0] * target[1] > LARGEST:
            raise too_large(name, f"{target[0]:,}×{target[1]:,} after --resize {resize.label}")
        if target != image.size:
            image = image.resize(target, Image.Resampling.BILINEAR)
    return np.array(image)


def _undone(image: Image.Image, factor: int, name: str) -> Pixels:
    """Return the small image that ``image`` is an enlargement of."""
    width, height = image.size
    if not (width % factor or height % factor):
        small = image.resize((width // factor, height // factor), Image.Resampling.NEAREST)
        patch, stored = np.array(small), np.asarray(image)
        rows, columns = (
            np.rint(np.arange(n) * (m - 1) / (n - 1)).astype(np.intp)
            for n, m in zip(stored.shape[:2], patch.shape[:2], strict=True)
        )
        if np.array_equal(patch[rows][:, columns], stored):
            return patch
    raise PmbenchError(
        f"{name}: --resize exact expects a {factor}-fold nearest-neighbour enlargement, "
        f"got a {width}×{height} image that is none; use --resize legacy"
    )

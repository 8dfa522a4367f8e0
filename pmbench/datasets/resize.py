"""From a stored picture to the pixels that metrics see: decoding, and the resize modes.

BAPPS stores 64×64 patches enlarged to 256×256 by corner-aligned nearest neighbour: pixel i of N
shows source pixel rint(i·(n-1)/(N-1)). ``legacy`` is what the LPIPS paper's numbers used,
torchvision's Resize(64) on the PIL image: bilinear with antialiasing, which blurs them. ``exact``
undoes the enlargement. ``none`` keeps every image as it is; ``size`` resizes like legacy, for
datasets whose manifest names a size.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pmbench.datasets.manifest import Manifest
from pmbench.utils.errors import PmbenchError, one_line_of

Pixels = NDArray[np.uint8]
LARGEST = 1 << 26  # pixels of a picture, 8192×8192; a small file may declare billions
# Pillow reads more, and some of that by running other programs (PostScript)
FORMATS = (
    "PNG", "JPEG", "MPO", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF", "TGA",
    "QOI", "SGI", "PCX", "DDS", "ICO",
)  # fmt: skip


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


def decode(data: bytes, resize: Resize, name: str) -> Pixels:
    """Return a picture file as uint8 RGB (height, width, 3), resized; see ``Picture``."""
    with without_warnings():
        return Picture.open(data, name).pixels(resize)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep PIL from warning of pictures beyond a limit of its own, which is larger than LARGEST."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


@dataclass(frozen=True)
class Picture:
    """A picture file whose header has been read, and nothing more. Nobody vouches for it."""

    image: Image.Image
    length: int  # of the file, in bytes
    name: str  # stands in every PmbenchError

    @classmethod
    def open(cls, data: bytes, name: str) -> Picture:
        """Read a header. Raises PmbenchError for no picture, or more than LARGEST pixels."""
        try:
            image = Image.open(io.BytesIO(data), formats=_formats())
        except Image.DecompressionBombError as error:
            raise _too_large(name, "many more") from error
        except Exception as error:  # PIL's readers may raise anything
            raise _unreadable(name, len(data), error) from error
        if image.width * image.height > LARGEST:
            raise _too_large(name, f"{image.width:,}×{image.height:,}")
        return cls(image, len(data), name)

    @property
    def weight(self) -> int:
        """How many bytes it takes while it is decoded."""
        return self.length + 4 * self.image.width * self.image.height

    def pixels(self, resize: Resize) -> Pixels:
        """Return the picture as uint8 RGB (height, width, 3), resized.

        The pixels are as they are stored, as in the papers' programs: alpha is dropped, grey
        repeated, 16 bits keep their upper 8, CMYK is converted without a profile; colour profiles,
        gamma and the orientation in EXIF are not applied; of an animation it is the first picture.
        Raises PmbenchError where it is damaged, or cannot be shown or resized so.
        """
        try:
            self.image.load()
            self._refuse_other_numbers()
            rgb = _rgb(self.image)
        except PmbenchError:
            raise
        except Exception as error:  # PIL's readers may raise anything
            raise _unreadable(self.name, self.length, error) from error
        return _resized(rgb, resize, self.name)

    def _refuse_other_numbers(self) -> None:
        """Raise PmbenchError for numbers of which nobody says where white is."""
        if self.image.mode.startswith("I"):
            numbers = np.asarray(self.image)
            low, high = numbers.min(), numbers.max()
            message = f"numbers from {low} to {high}" if low < 0 or high > 0xFFFF else ""
        else:
            message = "floating-point numbers" if self.image.mode.startswith("F") else ""
        if message:
            raise PmbenchError(
                f"{self.name}: expected a picture of 8 or 16 bits, got {message}; "
                "convert or remove the item"
            )


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _unreadable(name: str, length: int, error: Exception) -> PmbenchError:
    # PIL's message for what is no picture at all names an address in memory
    why = "none that it knows" if isinstance(error, UnidentifiedImageError) else one_line_of(error)
    return PmbenchError(
        f"{name}: expected a picture file, got {length:,} bytes that PIL cannot read "
        f"({why}); mend or remove the item"
    )


def _too_large(name: str, size: str) -> PmbenchError:
    return PmbenchError(
        f"{name}: expected a picture of at most {LARGEST:,} pixels, got one of {size}; "
        "reduce or remove the item"
    )


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # PIL's own conversion of 16 bits clips instead of scaling
        picture = Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).astype(np.uint8))
    if picture.mode == "P":  # the same colours, without PIL's warning about their transparency
        picture = picture.convert("RGBA")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _resized(picture: Image.Image, resize: Resize, name: str) -> Pixels:
    if resize.mode == "exact":
        return _undone(picture, resize.number, name)
    if resize.mode in ("legacy", "size"):
        # torchvision's Resize(int): the shorter side becomes `number`, the longer one is truncated
        width, height = picture.size
        side, short = resize.number, min(picture.size)
        target = (int(side * width / short), int(side * height / short))
        if target[0] * target[1] > LARGEST:
            raise _too_large(name, f"{target[0]:,}×{target[1]:,} after --resize {resize.label}")
        if target != picture.size:
            picture = picture.resize(target, Image.Resampling.BILINEAR)
    return np.array(picture)


def _undone(picture: Image.Image, factor: int, name: str) -> Pixels:
    """Return the small image that ``picture`` is an enlargement of."""
    width, height = picture.size
    if not (width % factor or height % factor):
        small = picture.resize((width // factor, height // factor), Image.Resampling.NEAREST)
        patch, stored = np.array(small), np.asarray(picture)
        rows, columns = (
            np.rint(np.arange(n) * (m - 1) / (n - 1)).astype(np.intp)
            for n, m in zip(stored.shape[:2], patch.shape[:2], strict=True)
        )
        if np.array_equal(patch[rows][:, columns], stored):
            return patch
    raise PmbenchError(
        f"{name}: --resize exact expects a {factor}-fold nearest-neighbour enlargement, "
        f"got a {width}×{height} picture that is none; use --resize legacy"
    )

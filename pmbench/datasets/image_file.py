"""An image file -> 8-bit RGB, and what had to be done to it for that.

A viewer shows an image upright and lets the page show through where it is transparent. So the
orientation of its EXIF is applied, and transparency is laid on white. ``raw`` does neither, like
the papers' programs: pixels are as they are stored, and alpha is dropped.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from pmbench.datasets.resize import LARGEST, Pixels, Resize, resized, too_large
from pmbench.utils.errors import PmbenchError, one_line_of

# Pillow reads more, and some of that by running other programs (PostScript)
FORMATS = (
    "PNG", "JPEG", "MPO", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF", "TGA",
    "QOI", "SGI", "PCX", "DDS", "ICO",
)  # fmt: skip
# not ImageOps.exif_transpose, which also writes EXIF anew and fails where that is damaged
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WIDTH, _HEIGHT = 256, 257  # tags of TIFF


@cache
def endings() -> frozenset[str]:
    """Return how the names of image files end: in lower case, with the dot."""
    Image.init()
    known = Image.registered_extensions()
    return frozenset(ending for ending, name in known.items() if name in FORMATS)


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


class Decoded(NamedTuple):
    """Pixels, uint8 RGB (height, width, 3), and a phrase for each thing done to have them."""

    pixels: Pixels
    conversions: tuple[str, ...]


def summary(conversions: Mapping[str, tuple[str, ...]]) -> str:
    """Return what was done to how many images in one line, "" where nothing was.

    ``conversions`` has the phrases of every image, by its name.
    """
    counts = Counter(phrase for phrases in conversions.values() for phrase in phrases)
    words = ", ".join(phrase.format(f"{count:,}") for phrase, count in counts.items())
    total = f"{len(conversions):,} image{'s' * (len(conversions) != 1)}"
    return f"{total}: {words}" if words else ""


def decode(data: bytes, resize: Resize, name: str, raw: bool = False) -> Pixels:
    """Return an image file as uint8 RGB (height, width, 3), resized; see ``EncodedImage``."""
    with without_warnings():
        return EncodedImage.open(data, name, raw).decode(resize).pixels


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep PIL from warning of images beyond a limit of its own, which is larger than LARGEST."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


@dataclass(frozen=True)
class EncodedImage:
    """An image file whose header has been read, and nothing more. Nobody vouches for it."""

    image: ImageFile.ImageFile
    length: int  # of the file, in bytes
    name: str  # stands in every PmbenchError
    raw: bool
    orientation: int  # 1 to 8, as in EXIF; 1 is upright
    conversions: tuple[str, ...]  # those that the header shows

    @classmethod
    def open(cls, file: bytes | BinaryIO, name: str, raw: bool = False) -> EncodedImage:
        """Read a header. Raises PmbenchError for no image, or more than LARGEST pixels."""
        stream = io.BytesIO(file) if isinstance(file, bytes) else file
        length = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        try:
            image = Image.open(stream, formats=_formats())
        except Image.DecompressionBombError as error:
            counted = re.search(r"\d+", str(error))
            raise too_large(name, f"{int(counted[0]):,}" if counted else "more") from error
        except Exception as error:  # PIL's readers may raise anything
            raise _unreadable(name, length, error) from error
        if image.width * image.height > LARGEST:
            raise too_large(name, f"{image.width:,}×{image.height:,}")
        orientation = _orientation(image)
        return cls(image, length, name, raw, orientation, _conversions(image, orientation, raw))

    @property
    def weight(self) -> int:
        """How many bytes it takes while it is decoded."""
        return self.length + 4 * self.image.width * self.image.height

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pixels before they are resized."""
        width, height = self.image.size
        if tags := _tags(self.image):  # where PIL turns the size when depends on its version
            width, height = tags[_WIDTH], tags[_HEIGHT]
        turned = self.orientation > 4 and (not self.raw or bool(tags))
        return (height, width) if turned else (width, height)

    def decode(self, resize: Resize) -> Decoded:
        """Return the image as 8-bit RGB, resized, and what was done to it.

        Grey is repeated, 16 bits keep their upper 8, CMYK is converted without its profile; colour
        profiles and gamma are not applied; of several images in a file it is the first.
        Raises PmbenchError where it is damaged, or cannot be shown or resized so.
        """
        try:
            self.image.load()
            self._refuse_other_numbers()
            rgb, is_transparent = _rgb(self.image, self.raw)
            # PIL turns TIFF by itself
            if self.orientation in _TURNS and not self.raw and not _tags(self.image):
                rgb = rgb.transpose(_TURNS[self.orientation])
        except PmbenchError:
            raise
        except Exception as error:  # PIL's readers may raise anything
            raise _unreadable(self.name, self.length, error) from error
        phrase = "transparency dropped in {}" if self.raw else "transparency laid on white in {}"
        return Decoded(
            resized(rgb, resize, self.name), (*self.conversions, *[phrase] * is_transparent)
        )

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
                f"{self.name}: expected an image of 8 or 16 bits, got {message}; "
                "convert or remove the item"
            )


def _unreadable(name: str, length: int, error: Exception) -> PmbenchError:
    # PIL's message for what is no image at all names an address in memory
    why = "none that it knows" if isinstance(error, UnidentifiedImageError) else one_line_of(error)
    return PmbenchError(
        f"{name}: expected an image file, got {length:,} bytes that PIL cannot read "
        f"({why}); mend or remove the item"
    )


def _tags(image: Image.Image) -> Mapping[int, int]:
    """Return the tags of a TIFF file, none of other files."""
    return image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]


def _orientation(image: Image.Image) -> int:
    """Return the orientation that stands in front of the pixels, 1 where none can be read."""
    try:
        # not PNG's own, which decodes the image to find what stands behind its pixels
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
        return int(orientation) if orientation in _TURNS else 1
    except Exception:  # noqa: BLE001  PIL's readers may raise anything, and viewers show it upright
        return 1


def _conversions(image: ImageFile.ImageFile, orientation: int, raw: bool) -> tuple[str, ...]:
    """Return a phrase for each thing that is done to an image with such a header."""
    is_turned = not raw or bool(_tags(image))
    cases = {
        "orientation of EXIF applied to {}": orientation > 1 and is_turned,
        "orientation of EXIF ignored in {}": orientation > 1 and not is_turned,
        "16 bits reduced to 8 in {}": _is_16_bit(image),
        "CMYK converted without its profile in {}": image.mode == "CMYK",
        "colour profile not applied in {}": image.mode != "CMYK" and _has_other_profile(image),
        "first of several images taken in {}": _is_several(image),
    }
    return tuple(phrase for phrase, holds in cases.items() if holds)


def _is_16_bit(image: ImageFile.ImageFile) -> bool:
    """Say whether the file has 16 bits, of which PIL may keep 8: JPEG 2000 and AVIF do not tell."""
    if image.mode.startswith("I"):
        return True
    return any(
        ";16" in str(how) or (reader == "ppm" and isinstance(how, tuple) and how[1] > 0xFF)
        for reader, _, _, how in image.tile
    )


def _has_other_profile(image: Image.Image) -> bool:
    """Say whether there is a colour profile that does not call itself sRGB."""
    profile = image.info.get("icc_profile") or b""
    return bool(profile) and b"sRGB" not in profile.replace(b"\0", b"")  # also as UTF-16


def _is_several(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001  PIL's readers may raise anything; the first may be whole
        return False


def _rgb(image: Image.Image, raw: bool) -> tuple[Image.Image, bool]:
    """Return an image in RGB, and whether any of it is transparent."""
    if image.mode.startswith("I"):  # PIL's own conversion of 16 bits clips instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    is_transparent = False
    if image.mode == "P" or image.has_transparency_data:
        image = image.convert("RGBA")
        is_transparent = bool((np.asarray(image)[..., 3] < 0xFF).any())
        if is_transparent and not raw:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB"), is_transparent

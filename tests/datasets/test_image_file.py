"""Image files of every kind become 8-bit RGB as a viewer shows them; what was done is said."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin
from support.factories import picture, png
from support.hostile import chunk
from support.refusals import message_of

from pmbench.datasets.image_file import EncodedImage, decode, endings, summary
from pmbench.datasets.resize import Pixels, Resize
from pmbench.utils.errors import PmbenchError

NONE = Resize("none")
RGB = picture(7)
ALPHA = picture(8)[..., :1]
GREY = np.repeat(RGB[..., :1], 3, 2)
PALETTE = Image.fromarray(RGB).quantize(16)
COLOURS = np.asarray(PALETTE.convert("RGB"))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey16() -> Image.Image:
    return Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)


def rgb16() -> bytes:
    wide = np.random.default_rng(1).integers(0, 1 << 16, (8, 8, 3), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# --- transparency ---------------------------------------------------------------------------------


def on_white(pixels: Pixels, alpha: Any) -> Pixels:
    share = np.asarray(alpha, float) / 255
    return np.rint(pixels * share + 255 * (1 - share)).astype(np.uint8)


LOOKED_UP = np.asarray(PALETTE)[..., None]  # of which the alpha is the index
TRANSPARENT = [
    pytest.param(png(np.dstack([RGB, ALPHA])), RGB, ALPHA, id="RGBA"),
    pytest.param(png(np.dstack([RGB[..., :1], ALPHA]).copy()), GREY, ALPHA, id="grey with alpha"),
    pytest.param(png(PALETTE, transparency=bytes(range(16))), COLOURS, LOOKED_UP, id="palette"),
    pytest.param(png(RGB, transparency=tuple(map(int, RGB[0, 0]))), RGB,
        255 * (RGB[0, 0] != RGB).any(axis=2, keepdims=True), id="one colour"),
    pytest.param(png(RGB[..., 0], transparency=int(RGB[0, 0, 0])), GREY,
        255 * (RGB[..., :1] != RGB[0, 0, 0]), id="one grey"),
    pytest.param(saved(Image.fromarray(np.dstack([RGB, ALPHA])), "TIFF"), RGB, ALPHA, id="TIFF"),
    pytest.param(saved(PALETTE, "GIF", transparency=3), COLOURS, 255 * (LOOKED_UP != 3), id="GIF"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "pixels", "alpha"), TRANSPARENT)
def test_transparency_is_laid_on_white(data: bytes, pixels: Pixels, alpha: Any) -> None:
    got, conversions = EncodedImage.open(data, "x").decode(NONE)
    # PIL's own rounding of products of bytes
    np.testing.assert_allclose(got.astype(int), on_white(pixels, alpha).astype(int), atol=1)
    assert conversions == ("transparency laid on white in {}",)


@pytest.mark.parametrize(("data", "pixels", "alpha"), TRANSPARENT)
def test_raw_pixels_are_those_without_alpha(data: bytes, pixels: Pixels, alpha: Any) -> None:
    got, conversions = EncodedImage.open(data, "x", raw=True).decode(NONE)
    np.testing.assert_array_equal(got, pixels)
    assert conversions == ("transparency dropped in {}",)


def test_alpha_that_hides_nothing_changes_nothing_and_is_not_said() -> None:
    data = png(np.dstack([RGB, np.full_like(ALPHA, 255)]))
    got, conversions = EncodedImage.open(data, "x").decode(NONE)
    np.testing.assert_array_equal(got, RGB)
    assert conversions == ()


# --- orientation ----------------------------------------------------------------------------------

WIDE = Image.fromarray(picture(7, 8, 16))


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return saved(WIDE, kind, exif=exif)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_picture_is_shown_upright(kind: str, orientation: int) -> None:
    data = turned(kind, orientation)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    opened = EncodedImage.open(data, "x")
    assert opened.size == upright.size  # which is known before it is decoded
    got, conversions = opened.decode(NONE)
    np.testing.assert_array_equal(got, np.asarray(upright))
    said = 2 <= orientation <= 8
    assert conversions == ("orientation of EXIF applied to {}",) * said


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_raw_pixels_are_not_turned(kind: str) -> None:
    opened = EncodedImage.open(turned(kind, 6), "x", raw=True)
    assert opened.size == (16, 8)
    got, conversions = opened.decode(NONE)
    np.testing.assert_array_equal(got, decode(turned(kind, 1), NONE, "x"))
    assert conversions == ("orientation of EXIF ignored in {}",)


def test_pil_turns_tiff_in_any_case() -> None:
    opened = EncodedImage.open(turned("TIFF", 6), "x", raw=True)
    assert opened.size == (8, 16)
    got, conversions = opened.decode(NONE)
    assert got.shape == (16, 8, 3)
    assert conversions == ("orientation of EXIF applied to {}",)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0nothing", b"Exif\0\0"]
)
def test_a_picture_with_damaged_exif_is_as_it_is_stored(exif: bytes) -> None:
    got, conversions = EncodedImage.open(saved(WIDE, "PNG", exif=b"Exif\0\0" + exif), "x").decode(
        NONE
    )
    np.testing.assert_array_equal(got, np.asarray(WIDE))
    assert conversions == ()


# --- everything else ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(png(RGB[..., 0]), GREY, id="grey"),
        pytest.param(png(RGB[..., 0] > 99), np.repeat(255 * (RGB[..., :1] > 99), 3, 2),
            id="black and white"),
        pytest.param(png(PALETTE), COLOURS, id="palette"),
        pytest.param(png(grey16()), np.repeat((np.asarray(grey16()) >> 8)[..., None], 3, 2),
            id="16 bits: the upper 8"),
    ],
)  # fmt: skip
def test_every_kind_of_png_becomes_8_bit_rgb(data: bytes, expected: Pixels) -> None:
    got = decode(data, NONE, "x")
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)


def test_sixteen_bits_of_three_colours_keep_their_upper_eight() -> None:
    wide = np.random.default_rng(1).integers(0, 1 << 16, (8, 8, 3), np.uint16)
    np.testing.assert_array_equal(decode(rgb16(), NONE, "x"), wide >> 8)


def test_many_pictures_in_one_are_its_first() -> None:
    others = [Image.fromarray(picture(seed)) for seed in range(40)]
    for kind in ("PNG", "GIF", "TIFF"):
        data = saved(Image.fromarray(RGB), kind, save_all=True, append_images=others)
        one = saved(Image.fromarray(RGB), kind)
        got, conversions = EncodedImage.open(data, "x").decode(NONE)
        np.testing.assert_array_equal(got, decode(one, NONE, "x"))
        assert conversions == ("first of several images taken in {}",)


def test_profiles_and_gamma_are_not_applied() -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100_000))
    data = saved(Image.fromarray(RGB), "PNG", pnginfo=info, icc_profile=b"\0" * 200)
    np.testing.assert_array_equal(decode(data, NONE, "x"), RGB)


def test_printers_colours_become_red_green_and_blue() -> None:
    grey = Image.fromarray(np.full((16, 16, 3), 200, np.uint8))
    data = saved(grey.convert("CMYK"), "JPEG", quality=100)
    assert b"Adobe" in data  # which stores the inverse
    got = decode(data, NONE, "x")
    assert got.shape == (16, 16, 3)
    np.testing.assert_allclose(got, 200, atol=2)
    tiff = decode(saved(grey.convert("CMYK"), "TIFF"), NONE, "x")
    np.testing.assert_array_equal(tiff, 200)


def profile(kind: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "phrases"),
    [
        (png(RGB), []),
        (png(RGB, icc_profile=profile("sRGB")), []),
        (png(RGB, icc_profile=profile("LAB")), ["colour profile not applied in {}"]),
        (png(grey16()), ["16 bits reduced to 8 in {}"]),
        (rgb16(), ["16 bits reduced to 8 in {}"]),
        (saved(grey16(), "TIFF"), ["16 bits reduced to 8 in {}"]),
        (b"P6 2 2 65535\n" + bytes(24), ["16 bits reduced to 8 in {}"]),
        (b"P6 2 2 255\n" + bytes(12), []),
        (saved(Image.new("CMYK", (8, 8)), "JPEG", icc_profile=profile("LAB")),
         ["CMYK converted without its profile in {}"]),
    ],
    ids=[
        "png", "srgb", "lab", "grey16", "rgb16", "tiff16", "ppm16", "ppm", "cmyk"
    ],  # a profile names the second it was made in, and two workers need the same names
)  # fmt: skip
def test_what_was_done_is_said(data: bytes, phrases: list[str]) -> None:
    assert EncodedImage.open(data, "x").decode(NONE).conversions == tuple(phrases)


def test_what_was_done_is_counted_in_one_line() -> None:
    conversions = {"a": ("turned in {}", "laid on {}"), "b": (), "c": ("turned in {}",)}
    assert summary(conversions) == "3 images: turned in 2, laid on 1"
    assert summary({"a": ("turned in {}",)}) == "1 image: turned in 1"
    assert summary({"a": (), "b": ()}) == ""


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (np.full((8, 8), 0.5, np.float32), "floating-point numbers"),
        (np.full((8, 8), 70_000, np.int32), "numbers from 70000 to 70000"),
        (np.full((8, 8), -1, np.int32), "numbers from -1 to -1"),
    ],
)
def test_numbers_of_which_nobody_says_where_white_is_are_refused(
    pixels: Any, sentence: str
) -> None:
    assert message_of(decode, saved(Image.fromarray(pixels), "TIFF"), NONE, "a.tif") == (
        f"a.tif: expected an image of 8 or 16 bits, got {sentence}; convert or remove the item"
    )


def test_documents_and_tables_are_no_pictures() -> None:
    assert {".png", ".jpg", ".jpeg", ".tif", ".webp", ".bmp", ".gif"} <= endings()
    assert not {".pdf", ".h5", ".eps", ".mpg", ".txt", ".npy", ""} & endings()


# --- damage ---------------------------------------------------------------------------------------


def in_format(name: str) -> bytes:
    return saved(Image.fromarray(picture(3, 16, 16)), name)


PICTURES = [in_format(name) for name in ("PNG", "JPEG", "BMP", "WEBP", "PPM", "DDS")]
PICTURES += [turned("JPEG", 6), turned("PNG", 6)]
damage = st.lists(st.tuples(st.integers(0, 1500), st.binary(max_size=4)), min_size=1, max_size=5)


@settings(deadline=None)
@given(data=st.sampled_from(PICTURES), damage=damage, end=st.integers(0, 1500))
@pytest.mark.filterwarnings("ignore")  # PIL warns of some damage
def test_a_damaged_picture_gives_pixels_or_a_sentence(
    data: bytes, damage: list[tuple[int, bytes]], end: int
) -> None:
    for place, by in damage:
        data = data[: place % len(data)] + by + data[place % len(data) + len(by) :]
    try:
        got = decode(data[:end], NONE, "val/cnn/p0/1.png")
    except PmbenchError as error:
        message = str(error)
        assert message.startswith("val/cnn/p0/1.png: expected an image ")
        assert message.endswith(" or remove the item")
    else:
        assert (got.ndim, got.shape[2], got.dtype) == (3, 3, np.uint8)

"""``pmbench distance`` on what people have: photographs, transparency, folders, spreadsheets."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from support.cli import pmbench
from support.factories import picture
from support.hostile import chunk

pytestmark = pytest.mark.usefixtures("empty_folder")

PHOTO = Image.fromarray(picture(1, 4, 6)).resize((96, 64), Image.Resampling.BICUBIC)


def l1(*words: str) -> list[float]:
    """Return the distances that a command line prints, which must say nothing else."""
    result = pmbench("distance", *words, "-m", "l1", "--json")
    assert result.stderr == ""
    return [pair["distances"]["l1"] for pair in json.loads(result.stdout)["pairs"]]


# --- what is done to images ---------------------------------------------------------------------


def test_a_half_transparent_copy_is_not_the_same() -> None:
    PHOTO.save("a.png")
    half = PHOTO.copy()
    half.putalpha(128)
    half.save("half.png")
    result = pmbench("distance", "a.png", "half.png", "-m", "l1", "--json")
    assert result.stderr == "2 images: transparency laid on white in 1\n"
    pixels = np.asarray(PHOTO) / 255
    expected = 2 * np.abs((1 - pixels) * (1 - 128 / 255)).mean()  # on [-1, 1]
    (pair,) = json.loads(result.stdout)["pairs"]
    # three digits: colours are rounded to bytes
    assert pair["distances"]["l1"] == pytest.approx(expected, rel=1e-3)


def test_a_turned_photograph_is_compared_upright() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    PHOTO.save("a.png")
    PHOTO.rotate(90, expand=True).save("turned.png", exif=exif)  # 64×96 as it is stored
    result = pmbench("distance", "a.png", "turned.png", "-m", "l1", "--json")
    assert result.stderr == "2 images: orientation of EXIF applied to 1\n"
    (pair,) = json.loads(result.stdout)["pairs"]
    assert (pair["width"], pair["height"]) == (96, 64)
    assert pair["distances"]["l1"] == 0


def test_each_picture_is_counted_once_however_often_it_is_read() -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        for i in range(3):
            half = PHOTO.copy()
            half.putalpha(128 if i else 255)
            half.resize((64 + i, 64)).save(f"{folder}/{i}.png")
    result = pmbench("distance", "a", "b", "-m", "ssim", "--map", "maps")
    assert result.stderr == "6 images: transparency laid on white in 4\n"


def test_a_picture_of_too_many_pixels_is_named_with_the_limit() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    data = header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    Path("bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    PHOTO.save("a.png")
    assert pmbench("distance", "bomb.png", "a.png", "-m", "l1", code=2).stderr == (
        "bomb.png: expected an image of at most 67,108,864 pixels (8192×8192), got one of "
        "400,000,000; scale it down or remove the item\n"
    )


def test_a_file_without_permission_is_named() -> None:
    PHOTO.save("a.png")
    Path("b.png").symlink_to("b.png")  # a circle
    assert pmbench("distance", "a.png", "a.png", "-m", "l1").stderr == ""
    Path("pairs.csv").write_text("ref,dist\na.png,b.png\n")
    assert pmbench("distance", "pairs.csv", "-m", "l1", code=2).stderr == (
        "b.png: cannot be read: Too many levels of symbolic links\n"
    )


# --- folders and tables ---------------------------------------------------------------------------


def test_documents_and_arrays_in_a_folder_are_no_pictures() -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        PHOTO.save(f"{folder}/1.PNG")
        for name in ("notes.pdf", "features.h5", "figure.eps", "list.txt"):
            Path(folder, name).write_bytes(b"nothing")
    assert l1("a", "b") == [0]


@pytest.mark.parametrize(
    "text",
    [
        "ref;dist\na.png;b.png\n",
        "\ufeffNumber;Ref ; DIST\r\n1;a.png;b.png\r\n;;\r\n",
        "dist\tref\nb.png\ta.png\n",
        'Ref, Dist\n"a.png", b.png\n',
    ],
)
def test_pairs_are_read_from_what_spreadsheets_write(text: str) -> None:
    PHOTO.save("a.png")
    Image.fromarray(np.asarray(PHOTO) ^ 255).save("b.png")
    Path("pairs.csv").write_text(text, encoding="utf-8", newline="")
    assert l1("pairs.csv") == l1("a.png", "b.png") > [0]


def test_a_pair_without_a_picture_is_named_by_its_line_in_the_file() -> None:
    Path("pairs.csv").write_text('ref,dist,note\na.png,b.png,"two\nlines"\n\na.png,,\n')
    assert pmbench("distance", "pairs.csv", "-m", "l1", code=2).stderr == (
        "pairs.csv: line 5 names no image in ref or in dist\n"
    )

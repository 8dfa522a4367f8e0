"""From stored images to pixels: the resize modes and the decoding of every kind of image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.factories import enlarged, manifest, picture, png
from support.refusals import message_of
from torchvision.transforms import Resize as TorchvisionResize

from pmbench.datasets.image_file import decode
from pmbench.datasets.manifest import datasets
from pmbench.datasets.resize import Pixels, Resize, resize_for

EXACT, LEGACY, NONE = Resize("exact", 4), Resize("legacy", 64), Resize("none")


@pytest.fixture(scope="session")
def real_pictures(shared: Path) -> list[Path]:
    paths = sorted((shared / "bapps_sample").rglob("*.png"))
    assert len(paths) == 3 * 94
    return paths


def by_torchvision(data: bytes, side: int) -> Pixels:
    """Resize as the LPIPS authors' loader does."""
    return np.asarray(TorchvisionResize(side)(Image.open(io.BytesIO(data)).convert("RGB")))


def test_legacy_is_what_torchvision_does_to_the_real_pictures(real_pictures: list[Path]) -> None:
    for path in real_pictures:
        got = decode(path.read_bytes(), LEGACY, path.name)
        np.testing.assert_array_equal(got, by_torchvision(path.read_bytes(), 64))
        assert (got.shape, got.dtype) == ((64, 64, 3), np.uint8)


@pytest.mark.parametrize("mode", ["legacy", "size"])
@pytest.mark.parametrize(
    ("height", "width"), [(256, 256), (100, 150), (150, 100), (97, 64), (64, 64), (20, 31), (64, 1)]
)
def test_legacy_and_size_are_what_torchvision_does_to_other_shapes(
    mode: str, height: int, width: int
) -> None:
    data = png(picture(0, height, width))
    got = decode(data, Resize(mode, 64), "x")
    np.testing.assert_array_equal(got, by_torchvision(data, 64))


def test_exact_gives_patches_of_which_the_real_pictures_are_enlargements(
    real_pictures: list[Path],
) -> None:
    sides = set()
    for path in real_pictures:
        patch = decode(path.read_bytes(), EXACT, path.name)
        stored = np.asarray(Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(enlarged(patch, 4), stored)
        sides.add(patch.shape)
    assert sides == {(64, 64, 3), (63, 63, 3)}


@settings(deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    factor=st.integers(2, 9),
    seed=st.integers(0, 99),
)
def test_exact_undoes_every_enlargement(height: int, width: int, factor: int, seed: int) -> None:
    patch = picture(seed, height, width)
    got = decode(png(enlarged(patch, factor)), Resize("exact", factor), "x")
    np.testing.assert_array_equal(got, patch)


@pytest.mark.parametrize("side", [64, 63])
def test_exact_undoes_the_enlargements_of_bapps(side: int) -> None:
    patch = picture(0, side, side)
    assert enlarged(patch, 4).shape == (4 * side, 4 * side, 3)
    np.testing.assert_array_equal(decode(png(enlarged(patch, 4)), EXACT, "x"), patch)


def one_pixel_off() -> Pixels:
    pixels = enlarged(picture(0, 64, 64), 4)
    pixels[255, 255, 2] ^= 1
    return pixels


@pytest.mark.parametrize(
    ("pixels", "size"),
    [
        pytest.param(picture(0, 256, 256), "256×256", id="noise"),
        pytest.param(one_pixel_off(), "256×256", id="one pixel off"),
        pytest.param(enlarged(picture(0, 64, 64), 4)[:, :-1], "255×256", id="a column short"),
        pytest.param(picture(0, 2, 2), "2×2", id="smaller than the factor"),
        pytest.param(np.kron(picture(0), np.ones((4, 4, 1), np.uint8)), "32×32", id="other kind"),
    ],
)
def test_exact_refuses_what_is_no_such_enlargement(pixels: Pixels, size: str) -> None:
    assert message_of(decode, png(pixels), EXACT, "val/cnn/p0/1.png") == (
        "val/cnn/p0/1.png: --resize exact expects a 4-fold nearest-neighbour enlargement, "
        f"got a {size} image that is none; use --resize legacy"
    )


# --- which mode a dataset is used in --------------------------------------------------------------

PLAIN = {"source": {"path": "."}}


@pytest.mark.parametrize(
    ("changes", "mode", "label"),
    [
        ({"enlarged": {"factor": 4, "patch": 64}}, None, "legacy64"),
        ({"enlarged": {"factor": 4, "patch": 64}}, "legacy", "legacy64"),
        ({"enlarged": {"factor": 4, "patch": 64}}, "exact", "exact4"),
        ({"size": 256}, None, "size256"),
        ({"size": 256}, "none", "size256"),
        ({}, None, "none"),
        ({}, "none", "none"),
    ],
)
def test_the_manifest_and_the_user_choose_the_resize(
    tmp_path: Path, changes: dict[str, object], mode: str | None, label: str
) -> None:
    assert resize_for(manifest(tmp_path, **PLAIN, **changes), mode).label == label


@pytest.mark.parametrize(
    ("name", "mode", "sentence"),
    [
        ("bapps-2afc-val", "bicubic", "unknown resize mode 'bicubic'; expected legacy or exact"),
        ("bapps-2afc-val", "none",
         "bapps-2afc-val stores enlarged patches, on which no published number was measured; "
         "use --resize legacy (the papers' way) or exact (the true patches)"),
        ("ladder-2afc", "legacy",
         "--resize legacy does not fit ladder-2afc: its manifest declares no enlargement; "
         "leave --resize out to use its images at their own size"),
        ("ladder-jnd", "exact", "--resize exact does not fit ladder-jnd"),
    ],
)  # fmt: skip
def test_a_resize_that_does_not_fit_is_refused(name: str, mode: str, sentence: str) -> None:
    assert message_of(resize_for, datasets()[name], mode).startswith(sentence)

"""``pmbench distance --map`` and ``metric.map``: beside the packages that have such maps too."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from support.cli import one_line, pmbench
from support.laws import pair
from support.refusals import message_of

import pmbench as package
from pmbench import metrics as registry
from pmbench.evaluation.reference_implementations import lpips_module
from pmbench.metrics import Metric, metric, registered
from pmbench.metrics.images import Images

# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("short", ["alex", "squeeze", pytest.param("vgg", marks=pytest.mark.slow)])
def test_lpips_maps_are_those_of_the_package(short: str, reference_weights: Path) -> None:
    x, y = pair(2, 96, 80)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the package asks torchvision in an older way
        peer = lpips_module(short, "0.1", linear=True, drawn=False)
        peer.spatial = True  # type: ignore[assignment]
        expected = peer(x, y, normalize=True)[:, 0]
        result = package.metric(f"lpips-{short}").map(x, y)
    # differences of features that rounding moves by a millionth
    scale = float(expected.max())
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-4 * scale)


def test_dssim_maps_are_scikit_images() -> None:
    x, y = (((images * 255).trunc() / 255).clamp(0, 1) for images in pair(1, 40, 48))
    result = package.metric("dssim").map(x, y)[0].numpy()
    a, b = (
        ((2 * v[0].permute(1, 2, 0).numpy() - 1 + 1) * np.float32(127.5)).astype(np.uint8)
        for v in (x, y)
    )
    _, full = structural_similarity(a, b, full=True, channel_axis=2, data_range=255)
    inside = (slice(3, -3), slice(3, -3))  # where scikit-image's window does not reach the border
    expected = (1 - full.mean(axis=2)) / 2
    np.testing.assert_allclose(result[inside], expected[inside], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(result[0, 3:-3], result[3, 3:-3])  # as at the next place


@pytest.mark.parametrize("name", ["l1", "l2", "l2-lab", "patch-rbf-3", "patch-rbf-11", "flip"])
def test_where_a_metric_is_a_mean_over_places_its_map_is_what_it_is_the_mean_of(name: str) -> None:
    x, y = pair(2, 48, 64)
    metric = package.metric(name)
    torch.testing.assert_close(metric.map(x, y).mean(dim=(1, 2)), metric(x, y), rtol=1e-5, atol=0)


def test_the_windows_of_mmd_are_where_they_are() -> None:
    """Of one 16×16 block that differs, the four windows around it know."""
    x, _ = pair(1, 96, 96)
    y = x.clone()
    y[..., 32:48, 48:64] = 1 - y[..., 32:48, 48:64]
    map_ = package.metric("mmd-approx").map(x, y)[0]
    blocks = map_.view(6, 16, 6, 16)[:, 4:12, :, 4:12].mean(dim=(1, 3))
    assert divmod(int(blocks.argmax()), 6) == (2, 3)
    assert blocks[4:].max() < blocks.max() / 20  # but for a row of patches that reach over
    assert blocks[:, 0].max() < blocks.max() / 20
    odd = package.metric("mmd-approx").map(x[..., :90, :75], y[..., :90, :75])
    assert odd.shape == (1, 90, 75)
    assert not odd[0, 80:].any()  # where no window reaches nothing is compared
    assert not odd[0, :, 64:].any()


def test_a_map_takes_what_a_call_takes_and_refuses_what_it_refuses() -> None:
    x, y = pair(3, 32, 32)
    l1 = package.metric("l1", range="[0,255]")
    many = l1.map(255 * x[:1], 255 * y)
    torch.testing.assert_close(many, 2 * (x[:1] - y).abs().mean(dim=1))
    assert "go from" in message_of(l1.map, 255 * x, 300 * y)
    assert message_of(package.metric("psnr").map, x, y) == (
        "psnr does not say where images differ; `pmbench list metrics --json` names those that "
        "do, under has_map"
    )


def test_a_metric_of_ones_own_may_have_a_map() -> None:
    x, y = pair(2, 32, 40)

    def far(x: Images, y: Images) -> torch.Tensor:
        return (x.pixels - y.pixels).abs().mean(dim=(1, 2, 3))

    entry = Metric("far", lambda device: far, title="", has_map=True)
    expected = "tensor of shape (2, 32, 40), got"
    assert f"{expected} none; mend the metric" in message_of(package.metric(entry).map, x, y)
    setattr(far, "map", lambda x, y: (x.pixels - y.pixels).abs())  # noqa: B010
    assert f"{expected} shape (2, 3, 32, 40); mend" in message_of(package.metric(entry).map, x, y)
    setattr(far, "map", lambda x, y: (x.pixels - y.pixels).abs().amax(dim=1))  # noqa: B010
    assert torch.equal(package.metric(entry).map(x, y), (x - y).abs().amax(dim=1))
    setattr(far, "map", lambda x, y: (x.pixels[:, 0] - x.pixels[:, 0]) / 0)  # noqa: B010
    message = message_of(package.metric(entry).map, x, y)
    assert message.startswith("far: the map of pair 0 is nan; expected a finite number; the met")


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def pictures(empty_folder: Path) -> None:
    x, y = pair(2, 48, 64)
    for name, images in (("gt", x), ("pred", y)):
        for i, image in enumerate(images):
            pixels = (255 * image).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(f"{i}_{name}.png")


def test_maps_are_numbers_and_pictures_on_one_scale(pictures: None) -> None:
    result = pmbench(
        "distance", "{id}_gt.png", "{id}_pred.png", "-m", "l1,ssim,psnr", "--map", "out/maps"
    )
    assert {path.name for path in Path("out/maps").iterdir()} == {
        f"{i + 1}-{i}.{metric}.{kind}"
        for i in (0, 1) for metric in ("l1", "ssim") for kind in ("npy", "png")
    }  # fmt: skip
    maps = [np.load(f"out/maps/{i + 1}-{i}.l1.npy") for i in (0, 1)]
    assert maps[0].shape == (48, 64)
    assert maps[0].dtype == np.float32
    top = max(values.max() for values in maps)
    brightness = [
        np.asarray(Image.open(f"out/maps/{i + 1}-{i}.l1.png").convert("L")) for i in (0, 1)
    ]
    assert brightness[0].shape == (48, 64)
    assert max(shown.max() for shown in brightness) > 240  # the largest of both is nearly white
    for shown, values in zip(brightness, maps, strict=True):
        order = np.argsort(values, axis=None)
        assert (np.diff(shown.ravel()[order].astype(int)) >= -2).all()  # brighter is more
    similar = [np.load(f"out/maps/{i + 1}-{i}.ssim.npy") for i in (0, 1)]
    white = min(v.min() for v in similar)
    text = one_line(result.stdout)
    assert f"2 maps in out/maps: l1, black is 0 and white {top:.4g}" in text
    assert f"2 maps in out/maps: ssim, black is 1 and white {white:.4g}" in text
    assert "no map: psnr" in text


def test_one_pair_has_no_number_and_json_has_the_scale(pictures: None) -> None:
    result = pmbench("distance", "0_gt.png", "0_pred.png", "-m", "l1", "--map", "maps", "--json")
    assert {path.name for path in Path("maps").iterdir()} == {
        "0_pred.png.l1.npy", "0_pred.png.l1.png",
    }  # fmt: skip
    top = float(np.load("maps/0_pred.png.l1.npy").max())
    whole = json.loads(result.stdout)
    assert whole["maps"] == {"l1": {"black": 0.0, "white": top}}
    assert whole["pairs"][0]["maps"] == {"l1": "maps/0_pred.png.l1.png"}


def test_equal_pictures_have_a_black_map(pictures: None) -> None:
    pmbench("distance", "0_gt.png", "0_gt.png", "-m", "l1", "--map", "maps")
    assert np.asarray(Image.open("maps/0_gt.png.l1.png")).reshape(-1, 3).tolist()[0] == [0, 0, 4]


def test_where_no_metric_has_a_map_nothing_is_written(pictures: None) -> None:
    result = pmbench("distance", "0_gt.png", "0_pred.png", "-m", "psnr", "--map", "maps", code=2)
    assert one_line(result.stderr) == (
        "--map: none of the metrics says where images differ (psnr); `pmbench list metrics "
        "--json` names those that do, under has_map"
    )
    assert not Path("maps").exists()


def test_a_file_is_no_folder_for_maps(pictures: None) -> None:
    result = pmbench("distance", "0_gt.png", "0_pred.png", "-m", "l1", "--map", "1_gt.png", code=2)
    assert one_line(result.stderr) == (
        "--map: 1_gt.png is a file; expected a folder, which need not exist"
    )


def test_a_pair_without_a_distance_has_no_map(pictures: None) -> None:
    Path("1_pred.png").write_bytes(b"none")
    pmbench("distance", "{id}_gt.png", "{id}_pred.png", "-m", "l1", "--map", "maps", code=1)
    assert {path.name for path in Path("maps").iterdir()} == {"1-0.l1.npy", "1-0.l1.png"}


def test_black_is_what_equal_pictures_have(pictures: None) -> None:
    """Also where no place of the pairs is alike: an image and its negative."""
    Image.eval(Image.open("0_gt.png"), lambda value: 255 - value).save("negative.png")
    result = pmbench("distance", "0_gt.png", "negative.png", "-m", "ssim", "--map", "maps")
    assert "ssim, black is 1 and white -0." in one_line(result.stdout)
    assert np.asarray(Image.open("maps/negative.png.ssim.png").convert("L")).min() > 100


def test_a_map_that_fails_costs_no_other_and_no_distance(
    pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def where(x: Images, y: Images) -> torch.Tensor:
        sys.stdout.write("from the metric\n")
        raise ValueError("no map today")

    registered()
    metric("fails", title="", map=where)(lambda x, y: (x.pixels - y.pixels).mean(dim=(1, 2, 3)))
    try:
        result = pmbench(
            "distance", "0_gt.png", "0_pred.png", "-m", "fails,l1", "--map", "maps", "--csv", code=1
        )
    finally:
        del registry._registry["fails"]
    assert result.stdout.splitlines()[0] == "ref,dist,fails,l1"
    assert len(result.stdout.splitlines()) == 2
    assert "no map: fails: 0_pred.png: ValueError: no map today" in one_line(result.stderr)
    assert {path.suffix for path in Path("maps").iterdir()} == {".npy", ".png"}

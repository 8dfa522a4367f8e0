"""``pmbench distance``: images in, numbers out."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.cli import pmbench
from support.factories import picture, png
from support.refusals import message_of
from torch import Tensor

import pmbench as package
from pmbench import metrics as registry
from pmbench.datasets.image_pack import ImageFile, open_pairs, parse_resizing
from pmbench.datasets.image_pairs import Pair, find_pairs
from pmbench.datasets.resize import Pixels
from pmbench.evaluation import pair_distances as distances
from pmbench.evaluation.batching import BatchLimits
from pmbench.evaluation.pair_distances import measure_pairs
from pmbench.metrics import Metric, registered
from pmbench.metrics.images import Images
from pmbench.metrics.loading import load_metrics
from pmbench.utils.progress import Silent

pytestmark = pytest.mark.usefixtures("empty_folder")

CPU = torch.device("cpu")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., Tensor]], None]:
    """Return a function that registers a metric for one test."""
    registered()  # all files, before one more is added

    def plant(name: str, function: Callable[[Images, Images], Tensor]) -> None:
        entry = Metric(name, lambda device: function, title=name)
        monkeypatch.setitem(registry._registry, name, entry)

    return plant


def save(path: str, pixels: Pixels) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def l2_by_hand(a: Pixels, b: Pixels) -> float:
    """Return the mean squared difference on [-1, 1]."""
    return float(np.mean(((a.astype(float) - b.astype(float)) * 2 / 255) ** 2))


# --- two images ---------------------------------------------------------------------------------


def test_two_pictures_and_several_metrics() -> None:
    a, b = picture(1, 40, 30), picture(2, 40, 30)
    save("a.png", a)
    save("b.png", b)
    result = pmbench("distance", "a.png", "b.png", "--metric", "l2,psnr", "-m", "l1")
    lines = dict(re.findall(r"^(\w+)[ ↑]+(\S+)$", result.stdout, re.MULTILINE))
    # float32 sums of 3,600 numbers, six digits shown
    assert float(lines["l2"]) == pytest.approx(l2_by_hand(a, b), rel=1e-5)
    assert float(lines["psnr"]) == pytest.approx(-10 * np.log10(l2_by_hand(a, b) / 4), rel=1e-5)
    assert set(lines) == {"metric", "l2", "psnr", "l1"}
    assert "psnr ↑" in result.stdout
    assert "↑ larger is more alike; of the others, smaller" in result.stdout
    assert re.search(r"^signatures: l2#\w{8}, psnr#\w{8}, l1#\w{8}$", result.stdout, re.MULTILINE)
    assert result.stderr == ""


def test_the_reference_is_the_first() -> None:
    save("a.png", picture(1, 64, 64))
    save("b.png", picture(2, 64, 64))
    forth, back = (
        json.loads(pmbench("distance", *pair, "-m", "watson-dct-initial", "--json").stdout)
        for pair in (("a.png", "b.png"), ("b.png", "a.png"))
    )
    assert forth["pairs"][0]["distances"] != back["pairs"][0]["distances"]


def test_every_kind_of_picture_is_decoded_as_packs_decode_it() -> None:
    """16 bits keep their upper 8, palettes are looked up, grey is repeated."""
    rgb = picture(3, 12, 12)
    grey = rgb[..., 0]
    save("rgb.png", rgb)
    Image.fromarray((grey.astype(np.uint16) << 8) + 77).save("grey16.png")
    Image.fromarray(grey).save("grey.png")
    Image.fromarray(rgb).quantize(256).save("palette.png")
    Image.open("palette.png").convert("RGB").save("looked_up.png")
    for one, other in (("grey16", "grey"), ("palette", "looked_up")):
        result = pmbench("distance", f"{one}.png", f"{other}.png", "-m", "l1", "--json")
        assert json.loads(result.stdout)["pairs"][0]["distances"]["l1"] == 0, one
    result = pmbench("distance", "grey.png", "rgb.png", "-m", "l2", "--json")
    repeated = np.repeat(grey[..., None], 3, axis=2)
    assert json.loads(result.stdout)["pairs"][0]["distances"]["l2"] == pytest.approx(
        l2_by_hand(repeated, rgb), rel=1e-5
    )


def test_sizes_must_be_the_same_or_made_so() -> None:
    save("a.png", picture(1, 20, 30))
    save("b.png", picture(2, 10, 15))
    message = pmbench("distance", "a.png", "b.png", "-m", "l2", code=2)
    assert message.stderr == (
        "a.png is 30×20, b.png is 15×10: they differ in size; "
        "give --resize WIDTHxHEIGHT, or --resize smaller\n"
    )
    assert message.stdout == ""
    small = np.asarray(Image.open("a.png").resize((15, 10), Image.Resampling.BILINEAR))
    result = pmbench("distance", "a.png", "b.png", "-m", "l2", "--resize", "smaller", "--json")
    (pair,) = json.loads(result.stdout)["pairs"]
    assert (pair["width"], pair["height"]) == (15, 10)
    expected = l2_by_hand(small, picture(2, 10, 15))
    assert pair["distances"]["l2"] == pytest.approx(expected, rel=1e-5)
    result = pmbench("distance", "b.png", "a.png", "-m", "l2", "--resize", "7x9", "--json")
    (pair,) = json.loads(result.stdout)["pairs"]
    assert (pair["width"], pair["height"]) == (7, 9)


@pytest.mark.parametrize("text", ["8", "0x4", "8x", "larger", "８x８", "-1x3"])
def test_other_words_for_a_size_are_refused(text: str) -> None:
    assert message_of(parse_resizing, text) == (
        f"--resize {text}: expected WIDTHxHEIGHT, such as 256x256, or smaller"
    )


# --- folders --------------------------------------------------------------------------------------


def test_two_folders_of_different_sizes_formats_and_strays() -> None:
    for i, (height, width) in enumerate([(16, 16), (20, 24), (16, 16)]):
        save(f"a/{i}.png", picture(i, height, width))
        save(f"b/{i}.{'bmp' if i == 1 else 'png'}", picture(10 + i, height, width))
    save("a/deep/er.png", picture(5))
    save("b/deep/er.png", picture(6))
    save("a/only here.png", picture(7))
    save("b/only there.png", picture(8))
    Path("a/notes.txt").write_text("no image")
    Path("a/.hidden.png").write_bytes(png(picture(9)))
    result = pmbench("distance", "a", "b", "-m", "l2,dssim", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["ref"], row["dist"]) for row in rows] == [
        ("a/0.png", "b/0.png"),
        ("a/1.png", "b/1.bmp"),
        ("a/2.png", "b/2.png"),
        ("a/deep/er.png", "b/deep/er.png"),
    ]
    for i, (height, width) in enumerate([(16, 16), (20, 24), (16, 16)]):
        expected = l2_by_hand(picture(i, height, width), picture(10 + i, height, width))
        assert float(rows[i]["l2"]) == pytest.approx(expected, rel=1e-5)
    assert result.stderr == (
        "left out: 1 of a without a partner in b: only here.png\n"
        "left out: 1 of b without a partner in a: only there.png\n"
    )
    output = pmbench("distance", "a", "b", "-m", "l2").stdout
    mean = np.mean([float(row["l2"]) for row in rows])
    assert re.search(rf"^mean +{mean:.6g}$", output, re.MULTILINE)


def test_many_metrics_stand_in_further_tables() -> None:
    for i in range(2):
        save(f"a/{i}.png", picture(i, 64, 64))
        save(f"b/{i}.png", picture(2 + i, 64, 64))
    names = ["l1", "l2", "ssim", "dssim", "psnr", "mmdpp", "patch-rbf-11", "patch-rbf-3", "grad"]
    output = pmbench("distance", "a", "b", "-m", ",".join(names)).stdout
    assert max(map(len, output.splitlines())) <= 80
    assert output.count("mean") == 2
    heads = [line for line in output.splitlines() if line.startswith("pair")]
    assert " ".join(heads).replace(" ↑", "").split() == ["pair", *names[:5], "pair", *names[5:]]


def test_a_name_in_both_folders_comes_before_another_ending() -> None:
    for name in ("x.png", "x.bmp"):
        save(f"a/{name}", picture(1))
        save(f"b/{name}", picture(1))
    result = find_pairs(Path("a"), Path("b"))
    assert {(p.ref.name, p.dist.name) for p in result.pairs} == {
        ("x.png", "x.png"),
        ("x.bmp", "x.bmp"),
    }
    Path("b/x.png").rename("b/x.gif")  # which of a's two is it?
    result = find_pairs(Path("a"), Path("b"))
    assert [p.name for p in result.pairs] == ["x.bmp"]
    assert result.left_out == [
        "1 of a without a partner in b: x.png",
        "1 of b without a partner in a: x.gif",
    ]


def test_folders_without_a_common_name_are_told_apart() -> None:
    save("a/x.png", picture(1))
    save("b/y.png", picture(1))
    assert pmbench("distance", "a", "b", "-m", "l2", code=2).stderr == (
        "no image in a has a partner of the same name in b (x.png there, y.png here); "
        "name them alike, or give a CSV with the columns ref,dist\n"
    )
    Path("empty").mkdir()
    assert pmbench("distance", "a", "empty", "-m", "l2", code=2).stderr == (
        "empty: no images in this folder; expected files such as .png\n"
    )


def test_sizes_that_differ_in_a_folder_are_told_before_anything_is_measured() -> None:
    for i in range(3):
        save(f"a/{i}.png", picture(i, 8, 8))
        save(f"b/{i}.png", picture(i, 8 + i, 8))
    assert pmbench("distance", "a", "b", "-m", "l2", code=2).stderr == (
        "a/1.png is 8×8, b/1.png is 8×9: they differ in size (as do 1 more); "
        "give --resize WIDTHxHEIGHT, or --resize smaller\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a", "p.png"], "a is a folder and p.png is none; expected two images or two folders of "
         "images"),
        (["p.png", "a"], "a is a folder and p.png is none; expected two images or two folders of "
         "images"),
        (["p.png", "x.png"], "x.png does not exist; expected an image or a folder of images"),
        (["x.csv"], "x.csv: cannot be read (No such file or directory); expected a CSV with the "
         "columns ref,dist, or give two images or two folders"),
        (["a"], "a: cannot be read (Is a directory); expected a CSV with the columns ref,dist, or "
         "give two images or two folders"),
        (["p.png"], "p.png is one image; name the other one too"),
        (["p.png", "p.png", "--csv", "--json"], "--csv and --json exclude each other"),
        (["p.png", "no.png"], "no.png: expected an image file, got 8 bytes that PIL cannot read "
         "(none that it knows); mend or remove the item"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_sentence(words: list[str], sentence: str) -> None:
    save("a/p.png", picture(1))
    save("p.png", picture(1))
    Path("no.png").write_text("no image")
    result = pmbench("distance", *words, "-m", "l2", code=2)
    # Pillow before 11.3 names the whole path
    assert result.stderr.replace(f"'{Path.cwd()}/", "'") == sentence + "\n"
    assert result.stdout == ""


def test_a_metric_must_be_named() -> None:
    save("p.png", picture(1))
    assert "--metric" in pmbench("distance", "p.png", "p.png", code=2).stderr
    assert pmbench("distance", "p.png", "p.png", "-m", ",", code=2).stderr == (
        "--metric names no metric; `pmbench list metrics` says what there is\n"
    )
    message = pmbench("distance", "p.png", "p.png", "-m", "mmdp", code=2).stderr
    assert message.startswith("unknown metric 'mmdp'; did you mean mmdpp")


# --- a CSV ----------------------------------------------------------------------------------------


def test_a_csv_of_pairs_counts_paths_from_its_own_folder(empty_folder: Path) -> None:
    save("set/pictures/a.png", picture(1))
    save("set/pictures/b.png", picture(2))
    other = empty_folder / "set/pictures/b.png"
    Path("set/pairs.csv").write_text(
        f"\ufeffnumber,dist,ref\n1,pictures/b.png,pictures/a.png\n2,{other},pictures/b.png\n"
    )
    result = pmbench("distance", "set/pairs.csv", "-m", "l2", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert rows[0]["ref"] == "set/pictures/a.png"
    assert rows[1]["dist"] == str(other)
    expected = l2_by_hand(picture(1), picture(2))
    assert float(rows[0]["l2"]) == pytest.approx(expected, rel=1e-5)
    assert float(rows[1]["l2"]) == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected a CSV with the columns ref,dist, got no rows"),
        ("ref,dist\n", "expected a CSV with the columns ref,dist, got no rows"),
        ("a,b\n1,2\n", "expected a CSV with the columns ref,dist, got a, b"),
        ("ref,dist\nx.png,\n", "line 2 names no image in ref or in dist"),
        ("ref,dist\nx.png\n", "line 2 has 1 field, the header 2; expected one for each column"),
    ],
)
def test_a_csv_that_is_none_is_refused(text: str, sentence: str) -> None:
    Path("pairs.csv").write_text(text)
    message = pmbench("distance", "pairs.csv", "-m", "l2", code=2).stderr
    assert message == f"pairs.csv: {sentence}\n"


# --- what fails, fails alone ----------------------------------------------------------------------


def test_a_damaged_picture_costs_only_its_own_pair() -> None:
    for i in range(4):
        save(f"a/{i}.png", picture(i, 32, 32))
        save(f"b/{i}.png", picture(9 + i, 32, 32))
    whole = Path("b/1.png").read_bytes()
    Path("b/1.png").write_bytes(whole[: len(whole) // 2])  # its header is whole
    Path("b/2.png").write_bytes(b"nothing")  # not even that
    result = pmbench("distance", "a", "b", "-m", "l2,l1", "--json", code=1)
    assert json.loads(result.stdout)["signatures"] == {
        name: package.metric(name).signature for name in ("l2", "l1")
    }
    pairs = json.loads(result.stdout)["pairs"]
    assert [pair["distances"]["l2"] is None for pair in pairs] == [False, True, True, False]
    assert pairs[1]["not_available"]["l2"].startswith(
        f"b/1.png: expected an image file, got {len(whole) // 2:,} bytes that PIL cannot read ("
    )
    assert pairs[2]["not_available"]["l1"] == (
        "b/2.png: expected an image file, got 7 bytes that PIL cannot read (none that it knows); "
        "mend or remove the item"
    )
    assert "width" not in pairs[2]
    output = pmbench("distance", "a", "b", "-m", "l2,l1", code=1).stdout
    assert re.search(r"^2\.png +n/a +n/a$", output, re.MULTILINE)
    assert "* mean of the pairs that have a distance" in output
    assert "n/a: l2, l1: b/2.png: expected an image file, got 7 bytes that PIL" in output
    rows = list(csv.DictReader(io.StringIO(
        pmbench("distance", "a", "b", "-m", "l2,l1", "--csv", code=1).stdout
    )))  # fmt: skip
    assert [row["l2"] == "" for row in rows] == [False, True, True, False]


def test_a_metric_is_not_available_where_it_is_not_defined() -> None:
    save("a/large.png", picture(1, 64, 64))
    save("b/large.png", picture(2, 64, 64))
    save("a/small.png", picture(1, 16, 16))
    save("b/small.png", picture(2, 16, 16))
    result = pmbench("distance", "a", "b", "-m", "mmdpp,l2")  # no failure: it was known
    assert re.search(r"^small\.png +n/a +0\.\d+", result.stdout, re.MULTILINE)
    assert (
        "n/a: mmdpp: needs at least 32 pixels a side, got 16×16 (on 1 of 2 pairs)\n"
        in result.stdout
    )


def test_a_metric_that_cannot_be_loaded_does_not_stop_the_others() -> None:
    save("a.png", picture(1, 64, 64))
    result = pmbench("distance", "a.png", "a.png", "-m", "lpips-alex,l2", code=1)
    assert re.search(r"^l2 +0$", result.stdout, re.MULTILINE)
    assert "not run: lpips-alex: the weights 'alexnet' are not on this machine" in result.stdout
    result = pmbench("distance", "a.png", "a.png", "-m", "lpips-alex,l2", "--csv", code=1)
    assert result.stdout == "ref,dist,l2\na.png,a.png,0.0\n"
    assert "not run: lpips-alex" in result.stderr


def test_a_pair_that_a_metric_fails_on_costs_no_other_pair(
    planted: Callable[[str, Callable[..., Tensor]], None],
) -> None:
    """In one batch, and with a metric beside it that does not fail."""

    def hates_black(x: Images, y: Images) -> Tensor:
        if (y.pixels.amax(dim=(1, 2, 3)) == 0).any():
            raise ZeroDivisionError("black")
        return y.pixels.mean(dim=(1, 2, 3))

    def nan_on_black(x: Images, y: Images) -> Tensor:
        return y.pixels.mean(dim=(1, 2, 3)) / (y.pixels.amax(dim=(1, 2, 3)) > 0) * 1.0

    planted("hates-black", hates_black)
    planted("nan-on-black", nan_on_black)
    for i in range(5):
        save(f"a/{i}.png", picture(i, 16, 16))
        save(f"b/{i}.png", picture(9 + i, 16, 16) * np.uint8(i != 3))
    result = pmbench("distance", "a", "b", "-m", "hates-black,nan-on-black,l2", "--json", code=1)
    pairs = json.loads(result.stdout)["pairs"]
    for i, pair in enumerate(pairs):
        mean = float(np.mean(picture(9 + i, 16, 16))) / 255
        for name in ("hates-black", "nan-on-black"):
            expected = None if i == 3 else pytest.approx(mean, rel=1e-5)
            assert pair["distances"][name] == expected
        assert pair["distances"]["l2"] is not None
    assert pairs[3]["not_available"]["hates-black"].startswith(
        "hates-black failed on the batch of item 3.png: ZeroDivisionError: black "
        f"(in {Path(__file__).name}, line "
    )
    assert pairs[3]["not_available"]["nan-on-black"].startswith(
        "nan-on-black: the distance of ref and dist of item 3.png is nan; expected a finite number"
    )


def test_a_metric_that_changes_the_folder_meanwhile_loses_no_picture(
    planted: Callable[[str, Callable[..., Tensor]], None],
) -> None:
    """Paths count from the folder, so no image may be read while a metric computes."""

    def wanders(x: Images, y: Images) -> Tensor:
        folder = Path.cwd()
        os.chdir("/")
        time.sleep(0.05)
        os.chdir(folder)
        return y.pixels.mean(dim=(1, 2, 3))

    planted("wanders", wanders)
    for i in range(4):  # each of another size, so in another batch
        save(f"{i}.png", picture(i, 16 + i, 16))
    pairs = [Pair(f"{i}.png", Path(f"{i}.png"), Path(f"{i}.png")) for i in range(4)]
    loaded, _ = load_metrics([registered()["wanders"]], CPU, Silent())
    assert measure_pairs(pairs, None, loaded, CPU, Silent()).columns["wanders"].failed == {}


def test_a_metric_that_always_fails_is_given_up(
    planted: Callable[[str, Callable[..., Tensor]], None],
) -> None:
    calls = []

    def broken(x: Images, y: Images) -> Tensor:
        calls.append(len(x))
        raise RuntimeError("never")

    planted("never", broken)
    for i in range(20):
        save(f"a/{i:02}.png", picture(i))
    pairs = [Pair(path.name, path, path) for path in sorted(Path("a").iterdir())]
    loaded, _ = load_metrics([registered()["never"], registered()["l1"]], CPU, Silent())
    result = measure_pairs(pairs, None, loaded, CPU, Silent())
    assert set(result.columns["never"].failed) == set(range(20))
    assert calls == [20, 1, 1, 1]  # together, then three alone, and no more
    assert (result.columns["l1"].values == 0).all()


# --- in bounded memory ----------------------------------------------------------------------------


def test_batches_are_bounded_in_pixels_and_each_picture_is_read_once_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []
    sizes: list[int] = []
    original = ImageFile.read

    def counted(self: ImageFile) -> Pixels:
        read.append(self.path.name)
        return original(self)

    def seen(x: Images, y: Images) -> Tensor:
        sizes.append(len(x))
        return (x.pixels - y.pixels).abs().mean(dim=(1, 2, 3))

    monkeypatch.setattr(ImageFile, "read", counted)
    monkeypatch.setattr(distances, "BatchLimits", lambda: BatchLimits(pixels=6 * 16 * 16))
    for i in range(9):
        save(f"{i}.png", picture(i, 16, 16))
    pairs = [Pair(f"{i}", Path("0.png"), Path(f"{i}.png")) for i in range(1, 4)]
    pairs += [Pair(f"{i}", Path(f"{i}.png"), Path(f"{i + 1}.png")) for i in (4, 6)]
    loaded, _ = load_metrics([Metric("seen", lambda device: seen, title="seen")], CPU, Silent())
    result = measure_pairs(pairs, None, loaded, CPU, Silent())
    assert sorted(sizes) == [1, 4]  # of six and of two images
    assert sorted(read) == [f"{i}.png" for i in range(8)]
    expected = np.abs(picture(0, 16, 16) / 255 - picture(3, 16, 16) / 255).mean()
    assert result.columns["seen"].values[2] == pytest.approx(expected, rel=1e-5)


def test_a_pack_of_pictures_copies_nothing(home: Path) -> None:
    save("a.png", picture(1, 10, 12))
    save("b.png", picture(2, 10, 12))
    opened = open_pairs([Pair("x", Path("a.png"), Path("b.png"))], None)
    assert opened.pack.sizes == ((10, 12),)
    np.testing.assert_array_equal(
        opened.pack.images(0, np.array([1, 0])), np.stack([picture(2, 10, 12), picture(1, 10, 12)])
    )
    assert not home.exists()


def test_help_has_examples() -> None:
    assert "Examples" in pmbench("distance", "--help").stdout

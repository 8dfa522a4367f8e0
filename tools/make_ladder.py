"""Make the built-in data `ladder`: pmbench/data/ladder-2afc.h5, ladder-jnd.h5 and SOURCES.md.

Run ``python tools/make_ladder.py``; it needs scikit-image (extra ``dev``) for its photographs, and
no network. The same versions of the libraries give the same files, byte for byte.

A ladder is one patch under one kind of distortion, rung by rung stronger: the strength of a rung is
RATIO times that of the rung below, for every kind. The judgement is true by construction: the rung
of less strength is the closer one. Strength is the parameter that is handed to the distortion, in
the unit its function states; it is not what comes out, which rounding, clipping and the image
itself change: an image stretched beyond white has lost less than its parameter says.

All that is not strength differs between the rungs of a ladder, so that no metric is right only for
having seen the same change twice, scaled:

    noise        another field of noise or other pixels; stripes lie down and across by turns
    blur         another direction
    compression  JPEG's blocks lie elsewhere
    photometric  brighter and darker, steeper and flatter by turns; shade from another side
    warp         another direction or field; a spiral between zoom and turn
    color        hue to either side, paler and more vivid by turns; a tint of another hue

ladder-2afc shows a patch and two rungs: neighbours, or three steps apart. ladder-jnd shows a patch
beside a rung one step above those, which anyone sees, or beside the lowest rung weakened until no
value moves by more than one grey level of 255, which nobody sees.

What it is worth: a sanity check with some power, not a benchmark. Nobody was asked. It is assumed
that a direction or a sign does not matter to people, and that a ratio of parameters counts the same
everywhere; on stripes that would be false, so patches with a marked direction are left out, but
between neighbours people might at times say otherwise. A perfect metric need not reach 100 %, and
small differences between good metrics mean nothing. Strengths were set without looking at any
metric's score. Most changes grow in pixels as they grow in strength, so plain L2 does as well here
as a learned metric: no reason to prefer it. The two kinds of pairs of ladder-jnd lie so far apart
that any working metric ranks them without fault.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage import data, transform

from pmbench.datasets.layouts import Item
from pmbench.datasets.pack import ImageStore, PackInfo, write_pack
from pmbench.scoring.protocols import PROTOCOLS

Floats = NDArray[np.float64]  # (H, W, 3) sRGB in [0, 1]
Bytes = NDArray[np.uint8]
Patch = tuple[str, Floats]  # its name, and its pixels with a margin on all sides


@dataclass
class Draw:
    """What a rung has of its own besides its strength."""

    rng: np.random.Generator
    angle: float  # radians; far from those of the two rungs below
    sign: int  # by turns -1 and 1


Distortion = Callable[[Floats, str, float, Draw], Floats]

FOLDER = Path(__file__).parents[1] / "pmbench" / "data"
SEED, SIDE = 2026, 64
MARGIN = 16  # cut off after the distortion, so that what moves in at borders is photograph
PATCHES_2AFC, PATCHES_JND = 2, 3  # of each photograph; no patch is in both files
MIN_DEVIATION, MIN_DETAIL, MIN_CHROMA = 0.05, 0.011, 0.02  # of a patch, in [0, 1]
MIN_EVEN = 0.5  # RMS slope of a patch in the direction where it is least, over where it is most
RATIO = 1.5  # strength of a rung over that of the rung below
PAIRS = ((1, 2), (2, 3), (3, 4), (4, 5), (1, 4), (2, 5))  # rungs shown together, of other signs
RUNGS = 6  # the highest one is for ladder-jnd
MIN_VISIBLE = 6  # RMSE of the highest rung, in grey levels of 255
GOLDEN = np.pi * (3 - 5**0.5)  # an angle whose multiples lie apart

# functions of skimage.data, and how many times their photograph is reduced
PHOTOGRAPHS = {
    "astronaut": 1, "chelsea": 1, "coffee": 1, "hubble_deep_field": 1, "retina": 4, "rocket": 1,
}  # fmt: skip
SOURCES = """\
# Sources of the built-in data

The photographs are those in the wheel of scikit-image, which states these sources and licences.

| photograph | shows | author or source | licence |
|---|---|---|---|
| `astronaut` | Eileen Collins, astronaut | NASA Great Images database, <https://flic.kr/p/r9qvLn> | no known copyright restrictions, released into the public domain |
| `chelsea` | Chelsea the cat | Stefan van der Walt | CC0 |
| `coffee` | a cup of coffee | Rachel Michetti, courtesy of Pikolo Espresso Bar | CC0 |
| `hubble_deep_field` | the Hubble eXtreme Deep Field | NASA, <http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/> | may be freely used in the public domain |
| `retina` | the retina of a human eye | Mikael Häggström, <https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg> | CC0 1.0 |
| `rocket` | Falcon 9 that carried DSCOVR | SpaceX, <https://www.flickr.com/photos/spacexphotos/16511594820/in/photostream/> | released in the public domain |
"""  # noqa: E501


def noise(picture: Floats, kind: str, strength: float, draw: Draw) -> Floats:
    """Strength: standard deviation; for impulses, the share of pixels that they hit."""
    height, width, _ = picture.shape
    if kind == "grain":
        return picture + strength * draw.rng.standard_normal(picture.shape)
    if kind == "stripes":
        lines = (height, 1, 1) if draw.sign > 0 else (1, width, 1)
        return picture + strength * draw.rng.standard_normal(lines)
    hit = draw.rng.random((height, width, 1)) < strength
    return np.where(hit, draw.rng.integers(0, 2, picture.shape), picture)


def moved(picture: Floats, down: Floats | float, across: Floats | float) -> Floats:
    """Return the image that shows at each place what was so many pixels further."""
    y, x = np.indices(picture.shape[:2], dtype=np.float64)
    place = np.stack([y + down, x + across])
    planes = np.moveaxis(picture, 2, 0)
    return np.stack([ndimage.map_coordinates(p, place, mode="mirror") for p in planes], axis=2)


def blur(picture: Floats, kind: str, strength: float, draw: Draw) -> Floats:
    """Strength in pixels: length of the motion, distance of the double, or the oval's sigma."""
    sin, cos = np.sin(draw.angle), np.cos(draw.angle)
    if kind == "oval":  # a Gaussian, half as wide across
        reach = np.arange(-np.ceil(3 * strength), np.ceil(3 * strength) + 1)
        y, x = np.meshgrid(reach, reach, indexing="ij")
        along, across = x * cos + y * sin, y * cos - x * sin
        kernel = np.exp(-(along**2 + 4 * across**2) / (2 * strength**2))
        return ndimage.convolve(picture, (kernel / kernel.sum())[..., None], mode="mirror")
    ways = strength * np.linspace(-0.5, 0.5, {"motion": 33, "double": 2}[kind])
    return np.mean([moved(picture, way * sin, way * cos) for way in ways], axis=0)


def compression(picture: Floats, kind: str, strength: float, draw: Draw) -> Floats:
    """Strength: JPEG's steps of quantisation over those of quality 50. Kind: sampling of colour."""
    offset = tuple(draw.rng.integers(0, 16, 2))
    shown = Image.fromarray(np.roll(to_bytes(picture), offset, (0, 1)))
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=50)
    tables = Image.open(file).quantization.values()
    steps = [[min(max(round(step * strength), 1), 255) for step in table] for table in tables]
    file = io.BytesIO()
    shown.save(file, "JPEG", qtables=steps, subsampling=kind)
    return np.roll(np.asarray(Image.open(file)) / 255, (-offset[0], -offset[1]), (0, 1))


def photometric(picture: Floats, kind: str, strength: float, draw: Draw) -> Floats:
    """Strength: log of gamma, of the factor of contrast, or of the light (RMS over the patch)."""
    if kind == "gamma":
        return picture ** np.exp(draw.sign * strength)
    if kind == "contrast":
        mean = inner(picture).mean()
        return mean + np.exp(draw.sign * strength) * (picture - mean)
    y, x = centred(picture)
    return picture * np.exp(strength * scaled(y * np.sin(draw.angle) + x * np.cos(draw.angle)))


def warp(picture: Floats, kind: str, strength: float, draw: Draw) -> Floats:
    """Strength: displacement in pixels, root mean square over the patch."""
    sin, cos = np.sin(draw.angle), np.cos(draw.angle)
    if kind == "shift":
        return moved(picture, strength * sin, strength * cos)
    y, x = centred(picture)
    field = np.stack([y * cos + x * sin, x * cos - y * sin], axis=2)  # a spiral
    if kind == "waves":
        field = ndimage.gaussian_filter(draw.rng.standard_normal(field.shape), (7, 7, 0))
    down, across = np.moveaxis(strength * scaled(field), 2, 0) / 2**0.5
    return moved(picture, down, across)


def color(picture: Floats, kind: str, strength: float, draw: Draw) -> Floats:
    """Strength: turn of hue in degrees; log of the factor of chroma; the tint's length in RGB."""
    weights = np.array([0.299, 0.587, 0.114])  # of luma, which stays as it was
    luma = picture @ weights[:, None]
    if kind == "vivid":
        return luma + np.exp(draw.sign * strength) * (picture - luma)
    if kind == "tint":
        one = np.cross(weights, (0, 0, 1)) / np.linalg.norm(weights[:2])
        other = np.cross(weights, one) / np.linalg.norm(weights)
        return picture + strength * (np.cos(draw.angle) * one + np.sin(draw.angle) * other)
    chroma = (picture[..., :1] - luma) + 1j * (picture[..., 2:] - luma)
    chroma = chroma * np.exp(1j * np.deg2rad(draw.sign * strength))
    green = -(0.299 * chroma.real + 0.114 * chroma.imag) / 0.587
    return luma + np.concatenate([chroma.real, green, chroma.imag], axis=2)


# families, and the strength of the lowest rung, just visible, of each of their kinds
FAMILIES: dict[str, tuple[Distortion, dict[str, float]]] = {
    "noise": (noise, {"grain": 0.02, "stripes": 0.015, "impulses": 0.006}),
    "blur": (blur, {"motion": 2, "oval": 0.8, "double": 1}),
    "compression": (compression, {"4:4:4": 0.6, "4:2:2": 0.6, "4:2:0": 0.6}),
    "photometric": (photometric, {"gamma": 0.15, "contrast": 0.15, "shade": 0.1}),
    "warp": (warp, {"shift": 0.6, "spiral": 0.6, "waves": 0.6}),
    "color": (color, {"hue": 12, "vivid": 0.15, "tint": 0.03}),
}


def to_bytes(picture: Floats) -> Bytes:
    return np.rint(picture.clip(0, 1) * 255).astype(np.uint8)


def inner(picture: Floats) -> Floats:
    return picture[MARGIN:-MARGIN, MARGIN:-MARGIN]


def centred(picture: Floats) -> Floats:  # (2, H, W): how far down and across from the middle
    return np.indices(picture.shape[:2]) - (len(picture) - 1) / 2


def scaled(field: Floats) -> Floats:  # to a root mean square of 1 over the patch
    field = field.reshape(*field.shape[:2], -1)
    return field / np.sqrt(np.mean(inner(field) ** 2))


def rmse(a: Bytes, b: Bytes) -> float:  # in grey levels of 255
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))


def generator(name: str) -> np.random.Generator:  # whatever others have drawn before
    return np.random.default_rng([SEED, *name.encode()])


def patches(photograph: str, times: int) -> list[Patch]:
    """Return patches from places drawn at random that do not overlap, and on which all shows."""
    pixels = transform.downscale_local_mean(getattr(data, photograph)() / 255, (times, times, 1))
    side, taken, found = SIDE + 2 * MARGIN, [], []
    for y, x in generator(photograph).integers(0, np.array(pixels.shape[:2]) - side + 1, (9999, 2)):
        picture = pixels[y : y + side, x : x + side]
        grey = inner(picture).mean(axis=2, keepdims=True)
        detail = np.mean([np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)])
        chroma = np.abs(inner(picture) - grey).mean()
        dull = grey.std() < MIN_DEVIATION or detail < MIN_DETAIL or chroma < MIN_CHROMA
        slopes = np.linalg.svd(np.reshape(np.gradient(grey[..., 0]), (2, -1)), compute_uv=False)
        dull |= slopes[1] < MIN_EVEN * slopes[0]
        if not dull and all(max(abs(y - v), abs(x - u)) >= SIDE for v, u in taken):
            taken.append((y, x))
            found.append((f"{photograph}-{len(found) + 1:02}", to_bytes(picture) / 255))
        if len(found) == PATCHES_2AFC + PATCHES_JND:
            return found
    raise AssertionError(f"{photograph}: only {len(found)} patches; lower one of the MIN_…")


def ladder(patch: Patch, family: str, turn: int) -> list[Bytes]:
    """Return the patch and its rungs, the mildest first; ``turn`` chooses the kind."""
    (name, picture), (distort, kinds) = patch, FAMILIES[family]
    kind, lowest = list(kinds.items())[turn % len(kinds)]
    strengths = [lowest * RATIO**k for k in range(RUNGS)]
    assert all(b > 1.49 * a > 0 for a, b in pairwise(strengths)), (family, kind)
    first = generator(f"{family}/{name}")
    angle, sign = first.uniform(0, 2 * np.pi), first.choice([-1, 1])
    steps = [to_bytes(inner(picture))]
    for k, strength in enumerate(strengths):
        draw = Draw(generator(f"{family}/{name}/{k}"), angle + k * GOLDEN, sign * (-1) ** k)
        steps.append(to_bytes(inner(distort(picture, kind, strength, draw))))
    # also that each rung differs from the patch
    assert all((a != b).any() for a, b in combinations(steps, 2)), (name, kind)
    return steps


def weakened(reference: Bytes, rung: Bytes) -> Bytes:
    """Return the reference with the change that a rung makes, scaled until it cannot be seen."""
    change = rung.astype(np.float64) - reference
    most, usual = np.quantile(np.abs(change), (1, 0.85))
    # rounding makes one grey level of 0.5 to 1.5 and none of less: at most a quarter of values move
    weak = to_bytes((reference + change / max(most / 1.4, usual / 0.5)) / 255)
    moved = np.abs(weak.astype(np.float64) - reference)
    assert moved.mean() < 0.25 < moved.max() == 1, (moved.mean(), moved.max())
    return weak


def make_2afc(patches_of: dict[str, list[Patch]]) -> Iterator[tuple[Item, dict[str, Bytes]]]:
    for f, family in enumerate(FAMILIES):
        # in half of the items, drawn at random, p1 is the milder one
        votes = generator(f"2afc/{family}").permutation(len(patches_of) * len(PAIRS)) % 2
        for i, (photograph, found) in enumerate(patches_of.items()):
            patch = found[(f + i) % PATCHES_2AFC]  # only every other family, to have more patches
            steps, name = ladder(patch, family, f + i), patch[0]
            images = [name, *(f"{family}/{name}/{rung}" for rung in range(1, RUNGS + 1))]
            for (mild, strong), p in zip(PAIRS, votes.reshape(-1, len(PAIRS))[i], strict=True):
                shown = (0, strong, mild) if p else (0, mild, strong)
                item, names = f"{family}/{name}-{mild}v{strong}", tuple(images[j] for j in shown)
                row = Item(item, family, names, float(p), votes=1, cluster=photograph)
                yield row, {images[j]: steps[j] for j in shown}


def make_jnd(patches_of: dict[str, list[Patch]]) -> Iterator[tuple[Item, dict[str, Bytes]]]:
    for f, family in enumerate(FAMILIES):
        for i, (photograph, found) in enumerate(patches_of.items()):
            for k, patch in enumerate(found[PATCHES_2AFC:]):
                (reference, lowest, *_, top), name = ladder(patch, family, f + k), patch[0]
                below = (f + i + k) % 2 == 0
                other = weakened(reference, lowest) if below else top
                assert below or rmse(reference, other) > MIN_VISIBLE, (family, name)
                item = f"{family}/{name}-{'below' if below else 'above'}"
                row = Item(item, family, (name, item), float(below), votes=1, cluster=photograph)
                yield row, {name: reference, item: other}


def main() -> None:
    patches_of = {photo: patches(photo, times) for photo, times in PHOTOGRAPHS.items()}
    for protocol, make in (("2afc", make_2afc), ("jnd", make_jnd)):
        path = FOLDER / f"ladder-{protocol}.h5"
        rows, numbers = [], {}
        with ImageStore(path.with_suffix(".spool")) as spool:
            for row, images in make(patches_of):
                rows.append(row)
                numbers |= {name: spool.add(image) for name, image in images.items()}
            origin = PackInfo(
                dataset=path.stem, protocol=protocol, roles=PROTOCOLS[protocol].roles,
                resize="none", human_votes=False, expected=len(rows), source="tools/make_ladder.py",
            )  # fmt: skip
            write_pack(path, origin, rows, numbers, spool, compression="gzip")
        counts = Counter(row.sub_dataset for row in rows)
        print(f"{path.name}: {path.stat().st_size:,} bytes, {len(rows)} items: {dict(counts)}")
    (FOLDER / "SOURCES.md").write_text(SOURCES, encoding="utf-8")


if __name__ == "__main__":
    main()

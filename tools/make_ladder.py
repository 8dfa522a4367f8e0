"""Make the built-in data `ladder`: pmbench/data/ladder-2afc.h5, ladder-jnd.h5 and SOURCES.md.

Run ``python tools/make_ladder.py``; it needs scikit-image (extra ``dev``) for its photographs, and
no network. The same versions of the libraries give the same files, byte for byte.

The judgements are true by construction. Within a kind of distortion only the strength varies; noise
and the like are drawn once for each patch. So a stronger one is a milder one carried further:

    noise        one field of noise, scaled; or impulses, to which a stronger one adds more
    blur         a Gaussian; a stronger one is a milder one blurred once more
    compression  JPEG, the same blocks quantised more coarsely
    photometric  one tone curve, ever further from the identity; no curve clips
    warp         one field of displacements, scaled
    color        one change of the colours, ever further from the identity

ladder-2afc shows a patch and two rungs of such a ladder: the milder one is closer. ladder-jnd shows
a patch beside the top rung, which anyone sees, or beside the lowest rung weakened until no value
moves by more than one grey level of 255, which nobody sees. Rounding and clipping could undo that:
so it is checked that the root mean square difference (RMSE) from the patch rises from rung to rung.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage import data, transform

from pmbench.pack import Origin, Spool, write_pack
from pmbench.protocols import PROTOCOLS
from pmbench.readers import Row

Floats = NDArray[np.float64]  # (H, W, 3) sRGB in [0, 1]
Bytes = NDArray[np.uint8]
Patch = tuple[str, Floats]  # its name, and its pixels with a margin on all sides
Distortion = Callable[[Floats, str, float, np.random.Generator], Floats]

FOLDER = Path(__file__).parents[1] / "pmbench" / "data"
SEED, SIDE, RUNGS = 2024, 64, 4
MARGIN = 16  # cut off after the distortion, so that what moves in at borders is photograph
PATCHES_2AFC, PATCHES_JND = 2, 3  # of each photograph; no patch is in both files
MIN_DEVIATION, MIN_DETAIL, MIN_CHROMA = 0.05, 0.011, 0.02  # of a patch, in [0, 1]
MIN_STEP = 1.05  # RMSE of a rung over that of the rung below; blur and warp saturate
MIN_MILDEST, MIN_VISIBLE = 1, 6  # RMSE of a lowest rung, and of a top one in ladder-jnd

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


def noise(picture: Floats, kind: str, strength: float, rng: np.random.Generator) -> Floats:
    """Strength: standard deviation; for impulses, the share of pixels that they hit."""
    if kind == "gaussian":
        return picture + strength * rng.standard_normal(picture.shape)
    one = picture[..., :1].shape  # the same for the three channels
    if kind == "uniform":
        return picture + strength * rng.uniform(-(3**0.5), 3**0.5, one)
    return np.where(rng.random(one) < strength, rng.integers(0, 2, picture.shape), picture)


def blur(picture: Floats, kind: str, strength: float, _: np.random.Generator) -> Floats:
    """Strength: sigma in pixels, along one axis or both."""
    down, across = {"round": (1, 1), "down": (1, 0), "across": (0, 1)}[kind]
    return ndimage.gaussian_filter(picture, (down * strength, across * strength, 0))


def compression(picture: Floats, kind: str, strength: float, _: np.random.Generator) -> Floats:
    """Strength: how far JPEG's quality is below 100. Kind: its sampling of colour."""
    file, quality = io.BytesIO(), round(100 - strength)
    Image.fromarray(to_bytes(picture)).save(file, "JPEG", quality=quality, subsampling=kind)
    return np.asarray(Image.open(file)) / 255


def photometric(picture: Floats, kind: str, strength: float, _: np.random.Generator) -> Floats:
    """Strength: share of light or contrast that is lost; for brighter, -log(gamma)."""
    if kind == "darker":
        return picture * (1 - strength)
    if kind == "brighter":
        return picture ** np.exp(-strength)
    return picture + strength * (picture.mean() - picture)


def warp(picture: Floats, kind: str, strength: float, rng: np.random.Generator) -> Floats:
    """Strength: displacement in pixels, root mean square over the patch."""
    planes = np.moveaxis(picture, 2, 0)
    place = np.indices(planes.shape[1:], dtype=np.float64)
    y, x = place - (len(picture) - 1) / 2
    if kind == "waves":
        shift = ndimage.gaussian_filter(rng.standard_normal(place.shape), (0, 7, 7))
    else:
        shift = np.stack({"turn": (x, -y), "stretch": (y, -x)}[kind])
    shift *= strength / np.sqrt(2 * np.mean(inner(np.moveaxis(shift, 0, 2)) ** 2))
    moved = [ndimage.map_coordinates(plane, place + shift, mode="mirror") for plane in planes]
    return np.stack(moved, axis=2)


def color(picture: Floats, kind: str, strength: float, _: np.random.Generator) -> Floats:
    """Strength: turn of the hue in degrees; share of the way to grey, or to a greenish grey."""
    luma = picture @ np.array([[0.299], [0.587], [0.114]])
    if kind != "hue":
        grey = luma + (np.array([-0.25, 0.176, -0.25]) if kind == "green" else 0)
        return picture + strength * (grey - picture)
    chroma = (picture[..., :1] - luma) + 1j * (picture[..., 2:] - luma)
    chroma = chroma * np.exp(1j * np.deg2rad(strength))
    green = -(0.299 * chroma.real + 0.114 * chroma.imag) / 0.587  # so that luma stays as it was
    return luma + np.concatenate([chroma.real, green, chroma.imag], axis=2)


SPREAD, IMPULSES, SIGMA = (0.02, 0.045, 0.08, 0.14), (0.008, 0.025, 0.06, 0.12), (1, 1.7, 3, 6)
JPEG, SHIFT, HUE = (40, 70, 84, 93), (0.6, 1.3, 2.8, 6), (12, 28, 50, 85)
LOSS, LIGHT, PALE = (0.12, 0.26, 0.42, 0.65), (0.15, 0.35, 0.6, 0.9), (0.2, 0.4, 0.65, 1)
FAMILIES: dict[str, tuple[Distortion, dict[str, tuple[float, ...]]]] = {  # mildest rung first
    "noise": (noise, {"gaussian": SPREAD, "uniform": SPREAD, "impulses": IMPULSES}),
    "blur": (blur, {"round": (0.7, 1.2, 2.1, 4), "down": SIGMA, "across": SIGMA}),
    "compression": (compression, {"4:4:4": JPEG, "4:2:2": JPEG, "4:2:0": JPEG}),
    "photometric": (photometric, {"darker": LOSS, "flatter": LOSS, "brighter": LIGHT}),
    "warp": (warp, {"waves": (0.5, 1.1, 2.2, 4.4), "turn": SHIFT, "stretch": SHIFT}),
    "color": (color, {"hue": HUE, "pale": PALE, "green": LIGHT}),
}  # fmt: skip


def to_bytes(picture: Floats) -> Bytes:
    return np.rint(picture.clip(0, 1) * 255).astype(np.uint8)


def inner(picture: Floats) -> Floats:
    return picture[MARGIN:-MARGIN, MARGIN:-MARGIN]


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
        if not dull and all(max(abs(y - v), abs(x - u)) >= SIDE for v, u in taken):
            taken.append((y, x))
            found.append((f"{photograph}-{len(found) + 1:02}", to_bytes(picture) / 255))
        if len(found) == PATCHES_2AFC + PATCHES_JND:
            return found
    raise AssertionError(f"{photograph}: only {len(found)} patches; lower one of the MIN_…")


def ladder(patch: Patch, family: str, turn: int) -> list[Bytes]:
    """Return the patch and its rungs, the mildest first; ``turn`` chooses the kind."""
    (name, picture), (distort, kinds) = patch, FAMILIES[family]
    kind, strengths = list(kinds.items())[turn % len(kinds)]
    # a new generator of the same name for each rung, so that all of them draw the same field
    rungs = [distort(picture, kind, s, generator(f"{family}/{name}")) for s in strengths]
    steps = [to_bytes(inner(p)) for p in (picture, *rungs)]
    far = [rmse(steps[0], step) for step in steps[1:]]
    assert all(b > MIN_STEP * a for a, b in pairwise([MIN_MILDEST, *far])), (name, kind, far)
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


def make_2afc(patches_of: dict[str, list[Patch]]) -> Iterator[tuple[Row, dict[str, Bytes]]]:
    pairs = list(combinations(range(1, RUNGS + 1), 2))
    for f, family in enumerate(FAMILIES):
        # in half of the items, drawn at random, p1 is the milder one
        votes = generator(f"2afc/{family}").permutation(len(patches_of) * len(pairs)) % 2
        for i, (photograph, found) in enumerate(patches_of.items()):
            patch = found[(f + i) % PATCHES_2AFC]  # only every other family, to have more patches
            steps, name = ladder(patch, family, f + i), patch[0]
            images = [name, *(f"{family}/{name}/{rung}" for rung in range(1, RUNGS + 1))]
            for (mild, strong), p in zip(pairs, votes.reshape(-1, len(pairs))[i], strict=True):
                shown = (0, strong, mild) if p else (0, mild, strong)
                item, names = f"{family}/{name}-{mild}v{strong}", tuple(images[j] for j in shown)
                row = Row(item, family, names, float(p), votes=1, cluster=photograph)
                yield row, {images[j]: steps[j] for j in shown}


def make_jnd(patches_of: dict[str, list[Patch]]) -> Iterator[tuple[Row, dict[str, Bytes]]]:
    for f, family in enumerate(FAMILIES):
        for i, (photograph, found) in enumerate(patches_of.items()):
            for k, patch in enumerate(found[PATCHES_2AFC:]):
                (reference, lowest, *_, top), name = ladder(patch, family, f + k), patch[0]
                below = (f + i + k) % 2 == 0
                other = weakened(reference, lowest) if below else top
                assert below or rmse(reference, other) > MIN_VISIBLE, (family, name)
                item = f"{family}/{name}-{'below' if below else 'above'}"
                row = Row(item, family, (name, item), float(below), votes=1, cluster=photograph)
                yield row, {name: reference, item: other}


def main() -> None:
    patches_of = {photo: patches(photo, times) for photo, times in PHOTOGRAPHS.items()}
    for protocol, make in (("2afc", make_2afc), ("jnd", make_jnd)):
        path = FOLDER / f"ladder-{protocol}.h5"
        rows, numbers = [], {}
        with Spool(path.with_suffix(".spool")) as spool:
            for row, images in make(patches_of):
                rows.append(row)
                numbers |= {name: spool.add(image) for name, image in images.items()}
            origin = Origin(
                dataset=path.stem, protocol=protocol, roles=PROTOCOLS[protocol].roles,
                resize="none", human_votes=False, expected=len(rows), source="tools/make_ladder.py",
            )  # fmt: skip
            write_pack(path, origin, rows, numbers, spool, compression="gzip")
        counts = Counter(row.sub_dataset for row in rows)
        print(f"{path.name}: {path.stat().st_size:,} bytes, {len(rows)} items: {dict(counts)}")
    (FOLDER / "SOURCES.md").write_text(SOURCES, encoding="utf-8")


if __name__ == "__main__":
    main()

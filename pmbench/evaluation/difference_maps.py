"""Where pictures differ: a map of each pair, as numbers and as a picture.

The pictures of one metric share a scale, from black (no difference) to white (the largest of all
pairs), so that they can be compared. The numbers are float32 arrays (height, width) in the metric's
own direction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pmbench.datasets.picture_pairs import OpenPairs, Pair, Resizing, open_pairs
from pmbench.metrics.api import Perceptual
from pmbench.metrics.loading import LoadedMetric
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import replacing
from pmbench.utils.progress import Reporter

# from no difference to the largest: brighter all the way, also in print and to the colour-blind
_COLOURS = np.array(
    [
        (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122),
        (229, 80, 100), (251, 135, 97), (254, 194, 135), (252, 253, 191),
    ],
    np.float64,
)  # fmt: skip
_UNSAFE = re.compile(r"[^\w.+-]+")  # in a file's name


@dataclass(frozen=True)
class MapScale:
    """The values that are black and white in a metric's pictures, and how many there are."""

    black: float
    white: float
    pairs: int


def write_maps(
    pairs: Sequence[Pair],
    resizing: Resizing | None,
    metrics: Sequence[LoadedMetric],
    device: torch.device,
    folder: Path,
    reporter: Reporter,
) -> dict[str, MapScale]:
    """Write ``STEM.METRIC.npy`` and ``.png`` for each pair into ``folder``; return scales by name.

    Where there are several pairs, their number stands in front. A pair that cannot be read, or on
    which a metric is not defined, has no map; a metric without any is not in the result. Raises
    PmbenchError where none of the metrics says where pictures differ.
    """
    mapped = [loaded for loaded in metrics if loaded.metric.has_map]
    if not mapped:
        names = ", ".join(loaded.metric.name for loaded in metrics)
        raise PmbenchError(
            f"--map: none of the metrics says where pictures differ ({names}); `pmbench list "
            "metrics --json` names those that do, under has_map"
        )
    opened = open_pairs(pairs, resizing)
    scales = {}
    with reporter.task("maps", len(mapped) * len(opened.places), "maps") as task:
        for loaded in mapped:
            name = loaded.metric.name
            task.describe(name)
            files = []
            for item, place in enumerate(opened.places):
                stem = pairs[place].dist.stem
                if len(pairs) > 1:
                    stem = f"{place + 1:0{len(str(len(pairs)))}}-{stem}"
                path = folder / f"{_UNSAFE.sub('_', f'{stem}.{name}')}.npy"
                if (values := _map(opened, item, Perceptual(loaded, device))) is not None:
                    with replacing(path) as draft, draft.open("wb") as file:
                        np.save(file, values)
                    files.append(path)
                task.advance()
            if files:
                scales[name] = _draw(files, loaded.metric.higher_is_better)
    return scales


def _map(opened: OpenPairs, item: int, metric: Perceptual) -> NDArray[np.float32] | None:
    """Return the map of a pair, (height, width), or None where there is none."""
    pack = opened.pack
    try:
        pixels = pack.images(pack.size[item], pack.rows[item])
        images = torch.from_numpy(pixels).to(metric.device).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            values = metric.map(images[:1], images[1:])
    except PmbenchError:
        return None  # the table says why
    return values[0].cpu().numpy()


def _draw(files: Sequence[Path], higher_is_better: bool) -> MapScale:
    """Write a picture beside each file of numbers, all on one scale."""
    ends = [(float(values.min()), float(values.max())) for values in map(np.load, files)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    black, white = (high, low) if higher_is_better else (min(0.0, low), high)
    for file in files:
        amount = (np.load(file) - black) / ((white - black) or 1)
        at = np.linspace(0, 1, len(_COLOURS))
        channels = [np.interp(amount, at, channel) for channel in _COLOURS.T]
        picture = Image.fromarray(np.rint(np.stack(channels, axis=-1)).astype(np.uint8))
        with replacing(file.with_name(f"{file.name.removesuffix('.npy')}.png")) as draft:
            picture.save(draft, format="png")
    return MapScale(black, white, len(files))

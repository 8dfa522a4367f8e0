"""Where images differ: a map of each pair, as numbers and as an image.

The images of one metric share a scale, from black (what equal images have) to white (the
farthest of all pairs), so that they can be compared. The numbers are float32 arrays (height, width)
in the metric's own direction.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pmbench.datasets.image_pack import OpenPairs, Resizing, open_pairs
from pmbench.datasets.image_pairs import Pair
from pmbench.metrics.api import Perceptual
from pmbench.metrics.loading import LoadedMetric
from pmbench.utils.errors import PmbenchError, describe
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


@dataclass
class Maps:
    """The maps of one metric: their files, and the values that are black and white in them.

    ``files`` are the images, by pair; beside each lies ``.npy``. ``failed`` says of other pairs
    why they have none.
    """

    files: dict[int, Path] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    black: float = 0.0
    white: float = 0.0


def write_maps(
    pairs: Sequence[Pair],
    resizing: Resizing | None,
    metrics: Sequence[LoadedMetric],
    device: torch.device,
    folder: Path,
    reporter: Reporter,
) -> dict[str, Maps]:
    """Write ``PAIR.METRIC.npy`` and ``.png`` of each pair into ``folder``; return maps by metric.

    Where there are several pairs, their number stands in front. A metric without a map is not in
    the result. What fails, fails alone; a pair that cannot be read has no map. Raises PmbenchError
    where none of the metrics has a map, and where no pair can be read.
    """
    if not any(loaded.metric.has_map for loaded in metrics):
        names = ", ".join(loaded.metric.name for loaded in metrics)
        raise PmbenchError(
            f"--map: none of the metrics says where images differ ({names}); `pmbench list "
            "metrics --json` names those that do, under has_map"
        )
    opened = open_pairs(pairs, resizing)
    perceptual = {
        loaded.metric.name: Perceptual(loaded, device)
        for loaded in metrics
        if loaded.metric.has_map
    }
    results = {name: Maps() for name in perceptual}
    with reporter.task("maps", len(opened.places), "pairs") as task:
        for item, place in enumerate(opened.places):
            stem = _UNSAFE.sub("_", pairs[place].name)
            if len(pairs) > 1:
                stem = f"{place + 1:0{len(str(len(pairs)))}}-{stem}"
            for name, metric in perceptual.items():
                file = folder / f"{stem}.{_UNSAFE.sub('_', name)}.npy"
                try:
                    with redirect_stdout(sys.stderr):
                        _write_numbers(file, metric, opened, item, results[name])
                except Exception as error:  # noqa: BLE001  a metric is foreign code and fails alone
                    results[name].failed[place] = (
                        str(error) if isinstance(error, PmbenchError) else describe(error)
                    )
                else:
                    results[name].files[place] = file.with_suffix(".png")
            task.advance()
    for maps in results.values():
        for file in maps.files.values():
            _draw(file, maps)
    return results


def _write_numbers(
    file: Path, metric: Perceptual, opened: OpenPairs, item: int, maps: Maps
) -> None:
    """Write the map of a pair, and let the scale reach to it."""
    pack = opened.pack
    pixels = torch.from_numpy(pack.images(pack.size[item], pack.rows[item]))
    images = pixels.to(metric.device).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        values = metric.map(images[:1], images[1:])[0].cpu().numpy()
        if not maps.files:
            maps.black = maps.white = float(metric.map(images[:1], images[:1]).mean())
    with replacing(file) as draft, draft.open("wb") as handle:
        np.save(handle, values)
    farthest = float(values.min() if metric.higher_is_better else values.max())
    maps.white = min(maps.white, farthest) if metric.higher_is_better else max(maps.white, farthest)


def _draw(file: Path, maps: Maps) -> None:
    """Write the image of a map."""
    values = np.load(file.with_suffix(".npy"))
    amount = (values - maps.black) / ((maps.white - maps.black) or 1)
    at = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(amount, at, channel) for channel in _COLOURS.T]
    with replacing(file) as draft:
        pixels = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
        Image.fromarray(pixels).save(draft, format="png")

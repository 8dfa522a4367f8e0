"""Maps of where two images differ: (N, h, w) of a metric's own size, brought to that of the images.

A loaded metric that has a map has a method, or as a function an attribute, ``map(x, y)``; the mean
over all places is its distance, near it where maps of several sizes are enlarged, and another one
where windows that lie inside the images leave out the border.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pmbench.metrics.images import Images


def enlarge(values: Tensor, images: Images) -> Tensor:
    """Return (N, h, w) at the size of the images, (N, H, W), bilinear."""
    size = images.pixels.shape[2:]
    if values.shape[1:] == size:
        return values
    return F.interpolate(values[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def pad(values: Tensor, images: Images) -> Tensor:
    """Return (N, h, w) at the size of the images, (N, H, W): at the border as at the next place.

    For windows that lie inside the images: a value stands at its window's centre.
    """
    rows, columns = (
        whole - part for whole, part in zip(images.pixels.shape[2:], values.shape[1:], strict=True)
    )
    around = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return F.pad(values, around, mode="replicate")

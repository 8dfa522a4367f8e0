"""A metric of somebody's own: how far two images differ, the coarse and the fine of them."""

from torch import Tensor
from torch.nn.functional import avg_pool2d

FINE = 0.25  # weight of what is smaller than four pixels


def distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the distances (N,) of images (N, 3, H, W) with values in [0, 1]."""
    difference = x - y
    coarse = avg_pool2d(difference, 4).abs().mean(dim=(1, 2, 3))
    fine = difference.square().mean(dim=(1, 2, 3)).sqrt()
    return coarse + FINE * fine

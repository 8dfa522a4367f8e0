"""The authors' numbers of metrics at work, and the images that they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def waves(n: int, size: int, seed: int) -> Tensor:
    """Return images of six waves a channel and a little noise: (n, 3, size, size), in [-1, 1]."""
    draws = np.random.default_rng(seed)
    rows, columns = np.meshgrid(np.arange(size) / size, np.arange(size) / size, indexing="ij")
    images = np.zeros((n, 3, size, size))
    for image in images:
        for channel in image:
            for _ in range(6):
                across, down = draws.uniform(-6, 6), draws.uniform(-6, 6)
                phase, height = draws.uniform(0, 2 * np.pi), draws.uniform(0.1, 0.4)
                channel += height * np.sin(2 * np.pi * (across * columns + down * rows) + phase)
        image += 0.1 * draws.standard_normal(image.shape)
    return torch.from_numpy(images.clip(-1, 1).astype(np.float32))


def golden(shared: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Return the numbers and the images of the authors' perceptual means and styles."""
    folder = shared / "at_work"
    numbers = json.loads((folder / "golden_ariel.json").read_text(encoding="utf-8"))
    with np.load(folder / "golden_ariel.npz") as arrays:
        return numbers, dict(arrays)

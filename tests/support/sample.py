"""The sample of BAPPS in the reference material."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pmbench.datasets.image_file import decode
from pmbench.datasets.resize import Resize


def sample_pixels(shared: Path, role: str, items: Iterable[str]) -> Tensor:
    """Return images of a role, resized as the official evaluation does: (N, 3, 64, 64) in [0, 1].

    Items are called as in "cnn/000563".
    """
    pixels = []
    for sub_dataset, item in (name.split("/") for name in items):
        file = shared / "bapps_sample" / "2afc" / "val" / sub_dataset / role / f"{item}.png"
        pixels.append(decode(file.read_bytes(), Resize("legacy", 64), str(file)))
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255

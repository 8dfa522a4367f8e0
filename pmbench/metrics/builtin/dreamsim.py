"""DreamSim: Fu, Tamir, Sundaram et al. 2023; the authors' ensemble of three vision transformers.

The authors' package fetches its weights (and DINO's code) itself, into the folder ``dreamsim``
beside pmbench's own weights. Images are resized to 224×224 as the package does, bicubic, but not
rounded to 8 bits.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmbench.metrics import Distance, Metric, OnPixels, register
from pmbench.utils import paths
from pmbench.utils.errors import PmbenchError

_SIDE = 224
_NEEDED = (
    "dino_vitb16_pretrain.pth",
    "clip_vitb16_pretrain.pth.tar",
    "open_clip_vitb16_pretrain.pth.tar",
    "ensemble_lora",
    "facebookresearch_dino_main",
)


class DreamSim(nn.Module):
    """1 - cosine of the angle between two images' embeddings."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Return the distances of images in [0, 1]: (N,)."""
        distances: Tensor = self.model(_resized(reference), _resized(distorted))
        return distances


def _resized(pixels: Tensor) -> Tensor:
    size = (_SIDE, _SIDE)
    return F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 1)


def _load(device: torch.device) -> Distance:
    from dreamsim import dreamsim

    folder = paths.weights() / "dreamsim"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        offline = os.environ.get("PMBENCH_OFFLINE", "0") not in ("", "0")
        if offline and not all((folder / name).exists() for name in _NEEDED):
            raise OSError("PMBENCH_OFFLINE is set")
        model, _ = dreamsim(pretrained=True, device=str(device), cache_dir=str(folder))
    except OSError as error:
        raise PmbenchError(
            f"the weights of DreamSim are not all in {folder} and cannot be fetched ({error}); "
            "where there is a network, call dreamsim.dreamsim(device='cpu', cache_dir='models') in "
            "Python, and copy what is then in the folder models there"
        ) from error
    return OnPixels(DreamSim(model))


register(
    Metric(
        name="dreamsim",
        load=_load,
        title="DreamSim, ensemble of DINO, CLIP and OpenCLIP",
        family="vision transformers",
        paper="Fu, Tamir, Sundaram et al.: DreamSim, NeurIPS 2023",
        code="https://github.com/ssundaram21/dreamsim",
        licence="MIT",
        extra="dreamsim",
        pixels_at_once=1 << 17,
    )
)

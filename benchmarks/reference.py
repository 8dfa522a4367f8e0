"""The usual way to score LPIPS on BAPPS: what pmbench is held against.

A folder of 256×256 PNGs -> PIL Resize(64) -> DataLoader (2 workers, batches of 50) -> the package
``lpips``, d(ref, p0) and d(ref, p1) -> the share of people who agree.

    python -m benchmarks.reference ROOT NET COUNT

prints that share for the triplets below ROOT/val/made, without importing pmbench. The trunk's
weights come from the folder PMBENCH_WEIGHTS where that is set; otherwise they are random.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

ROLES = ("ref", "p0", "p1")
_TRUNKS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


class Triplets(Dataset[dict[str, Tensor]]):
    """Triplets of PNGs, resized and mapped to [-1, 1], and what people said."""

    def __init__(self, root: Path, count: int) -> None:
        self.root = root / "val" / "made"
        self.names = sorted(path.stem for path in (self.root / "ref").iterdir())[:count]
        self.transform = transforms.Compose(
            [
                transforms.Resize(64),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        name = self.names[i]
        found = {
            role: self.transform(Image.open(self.root / role / f"{name}.png").convert("RGB"))
            for role in ROLES
        }
        return found | {"p": torch.from_numpy(np.load(self.root / "judge" / f"{name}.npy"))}


def model(net: str) -> nn.Module:
    """Return LPIPS of the package ``lpips``, its trunk trained where there are weights for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses an old spelling of torchvision's
        import lpips

        made: nn.Module = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    if folder := os.environ.get("PMBENCH_WEIGHTS"):
        _fill(made.net, next(Path(folder).rglob(f"{_TRUNKS[net]}*")))  # type: ignore[arg-type]
    return made


def _fill(trunk: nn.Module, file: Path) -> None:
    """Give a trunk its trained filters; the package cuts it into slices, but keeps the numbers."""
    from safetensors.torch import load_file

    read = load_file if file.suffix == ".safetensors" else torch.load
    trained = read(file)
    for key, parameter in trunk.named_parameters():
        slice_free = key.split(".", 1)[1]  # "slice1.0.weight" -> "0.weight"
        parameter.data = trained[f"features.{slice_free}"]


def score(net: nn.Module, root: Path, count: int) -> float:
    """Return the share of people who agree with the network on triplets."""
    agreed = 0.0
    for batch in DataLoader(Triplets(root, count), batch_size=50, num_workers=2):
        with torch.no_grad():
            d0 = net(batch["ref"], batch["p0"]).flatten()
            d1 = net(batch["ref"], batch["p1"]).flatten()
        p = batch["p"].flatten()
        one = torch.where(d0 < d1, 1 - p, torch.where(d1 < d0, p, torch.full_like(p, 0.5)))
        agreed += float(one.sum())
    return agreed / count


if __name__ == "__main__":
    root, net, count = sys.argv[1:]
    print(f"{score(model(net), Path(root), int(count)):.6f}")

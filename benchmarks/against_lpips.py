"""How fast the evaluation loop is, beside the usual way of doing the same thing.

Both sides score the same triplets with an AlexNet of the same shape, in turn, in one process:

- usual: a folder of 256×256 PNGs -> PIL Resize(64) -> DataLoader (2 workers, batches of 50) ->
  the package ``lpips``, d(ref, p0) and d(ref, p1);
- pmbench: its loop over a pack of the same files.

The triplets are made from the patches of the built-in ladder, enlarged as BAPPS' are. Trained
weights make no difference to the speed, so both networks are random and nothing is downloaded.
Prints medians and the ratio of each turn; quote the ratio, since machines drift.

    python benchmarks/against_lpips.py [--triplets 600] [--turns 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pmbench.batches import Bounds, plan
from pmbench.devices import be_exact
from pmbench.download import pack_for
from pmbench.evaluate import Result, measure
from pmbench.loading import Loaded, load_metrics
from pmbench.manifest import datasets, load
from pmbench.metrics import registered
from pmbench.pack import Pack
from pmbench.protocols import TWO_AFC
from pmbench.reporting import Silent
from pmbench.resize import resize_for

ROLES = ("ref", "p0", "p1")


def make_triplets(root: Path, count: int) -> None:
    """Write triplets in the layout of BAPPS, each with images of its own."""
    ladder = datasets()["ladder-2afc"]
    pack = pack_for(ladder, resize_for(ladder, None), Silent())
    assert pack is not None
    patches = pack.images(0, np.unique(pack.rows))
    at = np.rint(np.arange(256) * 63 / 255).astype(int)
    random = np.random.default_rng(0)
    for role in (*ROLES, "judge"):
        (root / "val" / "made" / role).mkdir(parents=True)
    for i in range(count):
        for role in ROLES:
            patch = patches[random.integers(len(patches))].copy()
            patch[0, 0] = random.integers(0, 256, 3)  # no two images alike: nothing to share
            Image.fromarray(patch[at][:, at]).save(root / "val" / "made" / role / f"{i:06}.png")
        np.save(root / "val" / "made" / "judge" / f"{i:06}.npy", np.array([0.6], np.float32))


def make_pack(root: Path) -> Pack:
    """Return the pack of the triplets."""
    (root / "made.toml").write_text(
        'name = "made"\ntitle = "Made"\nprotocol = "2afc"\nsource = { path = "." }\n'
        "votes_per_item = 5\n[folders]\nroot = 'val'\nvotes = 'judge'\n"
        "roles = { ref = 'ref', p0 = 'p0', p1 = 'p1' }\n[enlarged]\nfactor = 4\npatch = 64\n"
    )
    manifest = load(root / "made.toml")
    pack = pack_for(manifest, resize_for(manifest, "legacy"), Silent())
    assert pack is not None
    return pack


class Pictures(Dataset[dict[str, Tensor]]):
    """The usual data set: a triplet of PNGs, resized and mapped to [-1, 1]."""

    def __init__(self, root: Path) -> None:
        self.root = root / "val" / "made"
        self.names = sorted(path.name for path in (self.root / "ref").iterdir())
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
        return {
            role: self.transform(Image.open(self.root / role / self.names[i]).convert("RGB"))
            for role in ROLES
        }


def usual(root: Path) -> Callable[[], None]:
    """Return the usual evaluation, ready to run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips uses an old spelling of torchvision's
        import lpips

        model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()

    def run() -> None:
        for batch in DataLoader(Pictures(root), batch_size=50, num_workers=2):
            with torch.no_grad():
                model(batch["ref"], batch["p0"])
                model(batch["ref"], batch["p1"])

    return run


class Nowhere:
    """A sink that keeps nothing."""

    def __init__(self, metrics: list[Loaded]) -> None:
        self.metrics = metrics

    def waiting(self, number: int) -> list[Loaded]:
        return self.metrics

    def put(self, number: int, results: dict[str, Result | Exception]) -> None:
        for result in results.values():
            if isinstance(result, Exception):
                raise result


def ours(pack: Pack) -> Callable[[], None]:
    """Return pmbench's loop over the pack, ready to run."""
    be_exact()
    cpu = torch.device("cpu")
    metrics, _ = load_metrics([registered()["net-alex-random"]], cpu, Silent())
    batches = plan(pack, np.arange(len(pack)), Bounds())
    return lambda: measure(pack, TWO_AFC, batches, cpu, Nowhere(metrics))


def main() -> None:
    """Run both sides in turn and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--triplets", type=int, default=600)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    choices = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["PMBENCH_HOME"] = str(root / "home")
        make_triplets(root, choices.triplets)
        sides = {"usual": usual(root), "pmbench": ours(make_pack(root))}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(choices.turns + 1):
            for name, run in sides.items():
                start = time.perf_counter()
                run()
                if turn:  # the first turn warms up
                    seconds[name].append(time.perf_counter() - start)
    speed = {name: [choices.triplets / s for s in taken] for name, taken in seconds.items()}
    ratios = [b / a for a, b in zip(speed["usual"], speed["pmbench"], strict=True)]
    print(f"{choices.triplets} triplets, AlexNet, {torch.get_num_threads()} threads, triplets/s")
    for name, values in [*speed.items(), ("ratio", ratios)]:
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:>8}: median {middle:,.4g}  ({low:,.4g} to {high:,.4g})")
    if choices.json:
        choices.json.write_text(json.dumps({"triplets_per_second": speed, "ratio": ratios}))


if __name__ == "__main__":
    main()

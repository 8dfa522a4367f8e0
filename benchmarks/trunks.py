"""The evaluation loop of deep metrics beside their bare network: what loading and scoring cost.

The bare network computes the three images of each triplet, which lie in memory as floats, in the
memory layout and in the number of images a pass that are fastest here; it is torchvision's own,
up to the last layer that the metric looks at.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.inputs import CPU, Setting, loop, ready
from benchmarks.turns import Measured, Row, Run, at_least, in_turn, times_as_fast
from pmbench.networks.backbones import ARCHITECTURES, TRAINED, Initialization, features_of

_PASSES = (4, 8, 12, 16, 32, 64, 150)  # images
# metric with trained weights, with random ones, its network, triplets
_METRICS = (
    ("lpips-alex", "net-alex-random", "alexnet", 2000),
    ("alex-loss-12", "alex-loss-12-random", "alexnet", 2000),
    ("lpips-squeeze", "net-squeeze-random", "squeezenet1_1", 1000),
    ("lpips-vgg", "net-vgg-random", "vgg16", 120),
    ("vgg-loss", "vgg-loss-random", "vgg16", 120),
    ("vgg-loss-gram", "", "vgg16", 120),
    ("vgg-loss-swd", "", "vgg16", 60),
    ("dists", "", "vgg16", 120),
)


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row for each metric that there are weights for."""
    for trained, random, network, usual in _METRICS:
        name, count = setting.named(trained, random), setting.count(usual)
        if name:
            yield Row(
                f"trunk/{name}",
                f"{name}: loop over a pack, {count} triplets",
                f"bare {network}",
                at_least(0.9),
                lambda name=name, network=network, count=count: _measure(  # type: ignore[misc]
                    setting, name, network, count
                ),
            )


def _measure(setting: Setting, name: str, network: str, count: int) -> Measured:
    pack, metrics = setting.pack, ready([name])
    stored = torch.from_numpy(pack.images(0, pack.rows[:count].ravel()))
    pixels = stored.permute(0, 3, 1, 2).float() / 255
    filters = TRAINED if setting.trained else Initialization("torchvision")
    features = features_of(network, filters)[: ARCHITECTURES[network].taps[-1] + 1].eval()
    bare, how = _best(features.to(CPU), pixels.contiguous())
    found = times_as_fast(bare, lambda: loop(pack, metrics, count), setting.turns)
    speed = sorted(count / seconds for seconds in found.sides["against"])[len(found.values) // 2]
    return Measured(found.values, found.sides, (f"bare {speed:,.0f} triplets/s, {how}",))


def _best(network: nn.Module, pixels: Tensor) -> tuple[Run, str]:
    """Return the fastest way to compute all images, and which it is."""
    trials: list[tuple[float, Run, str]] = []
    for layout in (torch.contiguous_format, torch.channels_last):
        for size in _PASSES:
            few = pixels[:150] if size >= 64 else pixels[:48]
            seconds = _fastest(_bare(network, few, layout, size)) / len(few)
            label = "channels last" if layout is torch.channels_last else "contiguous"
            whole = _bare(network, pixels, layout, size)
            trials.append((seconds, whole, f"{label}, {size} images a pass"))
    _, run, how = min(trials, key=lambda trial: trial[0])
    return run, how


def _fastest(run: Run) -> float:
    """Return the seconds of the fastest of three times, after one that warms up."""
    return min(in_turn({"": run}, 3)[""])


def _bare(network: nn.Module, pixels: Tensor, layout: torch.memory_format, size: int) -> Run:
    arranged = pixels.contiguous(memory_format=layout)

    def run() -> None:
        network.to(memory_format=layout)
        with torch.inference_mode():
            for part in torch.split(arranged, size):
                network(part)

    return run

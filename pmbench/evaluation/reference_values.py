"""Who else computes the same: other people's numbers for a metric, and how close is close.

Data only. The golden numbers were given by the metrics' authors' own code on real BAPPS triplets;
the packages are independent implementations that can be installed beside pmbench.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmbench.utils.paths import PACKAGE

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tolerance:
    """How far two implementations may be apart, and why.

    Each of ``bounds`` is (share, difference): at least that share of the numbers must lie within
    that relative difference.
    """

    bounds: tuple[tuple[float, float], ...]
    reason: str

    def holds(self, differences: Array) -> bool:
        """Return whether relative differences (n,) are small enough; NaN never is."""
        n = len(differences)
        return n > 0 and all(
            int((differences <= bound).sum()) >= math.ceil(share * n)
            for share, bound in self.bounds
        )

    def __str__(self) -> str:
        parts = [
            f"{bound:.0e}" if share == 1 else f"{share:.0%} within {bound:.0e}"
            for share, bound in self.bounds
        ]
        return ", ".join(parts).replace("e-0", "e-")


PLAIN = Tolerance(
    ((1.0, 5e-6),), "two float32 sums over pixels differ by about 1e-6, since their order differs"
)
DEEP = Tolerance(
    ((1.0, 2e-5),), "the rounding of one layer of a network goes through all that follow"
)
# one unit in the last place of an input can move a distance by half
ILL_CONDITIONED = Tolerance(
    ((0.5, 1e-6), (0.9, 1e-5)),
    "the phase of a coefficient whose amplitude is almost zero is noise",
)
CANCELLING = Tolerance(
    ((1.0, 2e-2),),
    "the authors compute variances as E[x²] - E[x]² in float32, which cancels up to 1.3 %",
)


@dataclass(frozen=True)
class Golden:
    """One key of the golden numbers: the metric that must give them.

    ``expected`` maps what the metric gives to what the authors' code gave.
    """

    metric: str
    tolerance: Tolerance
    expected: Callable[[Array], Array] = lambda distances: distances


# key of the golden file -> metric
GOLDEN: dict[str, Golden] = {
    "ariel/L1": Golden("l1", PLAIN),
    "ariel/L2": Golden("l2", PLAIN),
    "lpips/l2-rgb": Golden("l2", PLAIN),
    "lpips/l2-lab": Golden("l2-lab", PLAIN),
    "lpips/dssim-rgb": Golden("dssim", PLAIN),
    "lpips/dssim-lab": Golden("dssim-lab", PLAIN),
    "ariel/SSIM-11": Golden("ssim", CANCELLING, lambda ssim: 0.5 - ssim / 2),
    "ariel/Grad": Golden("grad", PLAIN),
    "ariel/Grad3": Golden("grad-rgb", PLAIN),
    "ariel/Lap-L1-w0": Golden("lap1", PLAIN),
    "ariel/PatchRBF-3-0.1": Golden("patch-rbf-3", PLAIN),
    "ariel/PatchRBF-11-0.02": Golden("patch-rbf-11", PLAIN),
    "ariel/MMDApprox-3-32-frozen1024": Golden("mmd-approx", PLAIN),
    "ariel/MMD++-frozen512": Golden("mmdpp", PLAIN),
    "ariel/MMD+++-frozen512": Golden("mmdppp", PLAIN),
    "lpips/alex-lin-v0.1": Golden("lpips-alex", DEEP),
    "lpips/alex-baseline": Golden("net-alex", DEEP),
    "lpips/vgg-lin-v0.1": Golden("lpips-vgg", DEEP),
    "lpips/vgg-baseline": Golden("net-vgg", DEEP),
    "lpips/squeeze-lin-v0.1": Golden("lpips-squeeze", DEEP),
    "lpips/squeeze-baseline": Golden("net-squeeze", DEEP),
    "lpips/alex-lin-v0.0": Golden("lpips-alex-v0.0", DEEP),
    "lpips/vgg-lin-v0.0": Golden("lpips-vgg-v0.0", DEEP),
    "lpips/squeeze-lin-v0.0": Golden("lpips-squeeze-v0.0", DEEP),
    "czolbe/Deeploss-vgg-RGB": Golden("lpips-vgg-watson", DEEP),
    "czolbe/Deeploss-squeeze-RGB": Golden("lpips-squeeze-watson", DEEP),
    "czolbe/Watson-dct-RGB": Golden("watson-dct", PLAIN),
    "czolbe/Watson-dct-LA": Golden("watson-dct-grey", PLAIN),
    "czolbe/Watson-dct-RGB-untrained": Golden("watson-dct-initial", PLAIN),
    "czolbe/Watson-fft-RGB": Golden("watson-dft", ILL_CONDITIONED),
    "czolbe/Watson-fft-LA": Golden("watson-dft-grey", ILL_CONDITIONED),
    "czolbe/Watson-fft-RGB-untrained": Golden("watson-dft-initial", ILL_CONDITIONED),
    "ariel/VGG-PT": Golden("vgg-loss", DEEP),
    "ariel/VGG-PT-conv1_2": Golden("vgg-loss-conv1_2", DEEP),
    "ariel/VGG-PT-conv2_2": Golden("vgg-loss-conv2_2", DEEP),
    "ariel/VGG-PT-conv3_3": Golden("vgg-loss-conv3_3", DEEP),
    "ariel/VGG-PT-conv4_3": Golden("vgg-loss-conv4_3", DEEP),
    "ariel/VGG-PT-conv5_3": Golden("vgg-loss-conv5_3", DEEP),
    "ariel/VGG-PT-l2": Golden("vgg-loss-l2", DEEP),
    "ariel/VGG-PT-gram": Golden("vgg-loss-gram", DEEP),
    "ariel/VGG-PT-gram_trace": Golden("vgg-loss-gram-trace", DEEP),
    "ariel/VGG-PT-cx": Golden("vgg-loss-cx", DEEP),
    "ariel/AlexNet-1-pt": Golden("alex-loss-1", DEEP),
    "ariel/AlexNet-4-pt": Golden("alex-loss-4", DEEP),
    "ariel/AlexNet-12-pt": Golden("alex-loss-12", DEEP),
}


@dataclass(frozen=True)
class Package:
    """An installed package that computes a metric.

    ``function`` is one of ``reference_implementations``, called with ``arguments``. ``weights`` are
    files of weights.toml that stand in for what the package would download.
    """

    metric: str
    package: str  # as it is installed
    function: str
    tolerance: Tolerance
    arguments: tuple[object, ...] = ()
    weights: tuple[str, ...] = ()


_DOUBLE = Tolerance(((1.0, 2e-6),), "ours sums in float32, the package is given float64")
_LPIPS_TRUNKS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


def _lpips() -> list[Package]:
    """Return the package ``lpips`` for all that it computes, with weights and with none."""
    results = []
    for net, trunk in _LPIPS_TRUNKS.items():
        for name, version in ((f"lpips-{net}", "0.1"), (f"lpips-{net}-v0.0", "0.0")):
            arguments = (net, version, True, False)
            results.append(Package(name, "lpips", "lpips", DEEP, arguments, (trunk,)))
        for name, drawn in ((f"net-{net}", False), (f"net-{net}-random", True)):
            needed = () if drawn else (trunk,)
            arguments = (net, "0.1", False, drawn)
            results.append(Package(name, "lpips", "lpips", DEEP, arguments, needed))
    return results


PACKAGES: list[Package] = [
    Package("ssim", "piq", "piq_ssim", _DOUBLE),
    Package("ssim", "torchmetrics", "torchmetrics_ssim", _DOUBLE),
    Package(
        "psnr",
        "piq",
        "piq_psnr",
        Tolerance(((1.0, 5e-5),), "piq adds 1e-8 to the mean squared error"),
    ),
    Package("psnr", "torchmetrics", "torchmetrics_psnr", _DOUBLE),
    Package("l2-lab", "scikit-image", "skimage_l2_lab", PLAIN),
    Package("dssim", "scikit-image", "skimage_dssim", PLAIN),
    Package("dssim-lab", "scikit-image", "skimage_dssim_lab", PLAIN),
    *_lpips(),
    Package("dists", "DISTS_pytorch", "dists", DEEP, (), ("vgg16", "dists")),
    Package("dists", "piq", "piq_dists", DEEP, (), ("vgg16", "dists")),
    Package("st-lpips-alex", "stlpips_pytorch", "stlpips", DEEP, ("alex",)),
    Package("st-lpips-vgg", "stlpips_pytorch", "stlpips", DEEP, ("vgg",)),
]


@dataclass(frozen=True)
class GoldenNumbers:
    """The authors' numbers: BAPPS validation triplets, and d0 and d1 of each, by key."""

    triplets: tuple[str, ...]  # ids, as packs have them
    values: dict[str, Array]  # (triplets, 2)


def golden_file() -> Path:
    """Return where the golden numbers are: in the package, or beside it in a checkout."""
    inside = PACKAGE / "golden"  # in a wheel
    folder = inside if inside.is_dir() else PACKAGE.parent / "tests" / "golden"
    return folder / "bapps_sample.json"


@cache
def golden_numbers() -> GoldenNumbers:
    """Return the golden numbers."""
    content = json.loads(golden_file().read_text(encoding="utf-8"))
    values = {
        key: np.array([entry["d0"], entry["d1"]], np.float64).T
        for key, entry in content["values"].items()
    }
    return GoldenNumbers(tuple(content["triplets"]), values)

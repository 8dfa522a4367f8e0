"""Other people's implementations, called on our images: what ``reference_values`` compares with.

Each function returns a callable of two float64 batches (N, 3, H, W) in [0, 1] on the CPU, which
returns (N,). Networks are filled from the weight files that pmbench uses; nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from pmbench.networks import weights

_vgg16 = torchvision.models.vgg16
Peer = Callable[[Tensor, Tensor], Tensor]


def piq_ssim() -> Peer:
    """SSIM of piq."""
    import piq

    return lambda x, y: piq.ssim(x, y, reduction="none", downsample=False)


def piq_psnr() -> Peer:
    """PSNR of piq."""
    import piq

    return lambda x, y: piq.psnr(x, y, reduction="none")


def torchmetrics_ssim() -> Peer:
    """SSIM of torchmetrics, where its window lies inside the image; its own mean reflects it."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    def inside(x: Tensor, y: Tensor) -> Tensor:
        _, everywhere = structural_similarity_index_measure(
            y, x, reduction="none", data_range=1.0, return_full_image=True
        )
        mean: Tensor = everywhere[:, :, 5:-5, 5:-5].mean(dim=(1, 2, 3))
        return mean

    return inside


def torchmetrics_psnr() -> Peer:
    """PSNR of torchmetrics."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return lambda x, y: peak_signal_noise_ratio(
        y, x, data_range=1.0, reduction="none", dim=(1, 2, 3)
    )


def skimage_dssim() -> Peer:
    """(1 - SSIM) / 2 of scikit-image on 8-bit colour."""
    return _one_by_one(lambda a, b: _skimage_dssim(a, b, 255))


def skimage_dssim_lab() -> Peer:
    """(1 - SSIM) / 2 of scikit-image on its own CIE Lab in float32."""
    from skimage.color import rgb2lab

    return _one_by_one(
        lambda a, b: _skimage_dssim(
            rgb2lab(a).astype(np.float32), rgb2lab(b).astype(np.float32), 100
        )
    )


def skimage_l2_lab() -> Peer:
    """Half the mean squared difference of scikit-image's CIE Lab divided by 100."""
    from skimage.color import rgb2lab

    return _one_by_one(lambda a, b: float(np.mean(((rgb2lab(a) - rgb2lab(b)) / 100) ** 2) / 2))


def _skimage_dssim(a: NDArray[Any], b: NDArray[Any], data_range: float) -> float:
    from skimage import metrics

    ssim: Any = metrics.structural_similarity  # it has no types
    return float((1 - ssim(a, b, channel_axis=2, data_range=data_range)) / 2)


def _one_by_one(distance: Callable[[NDArray[Any], NDArray[Any]], float]) -> Peer:
    """Return a peer from a distance of two uint8 images (H, W, 3)."""

    def every(x: Tensor, y: Tensor) -> Tensor:
        pairs = zip(_truncated(x), _truncated(y), strict=True)
        return torch.tensor([distance(a, b) for a, b in pairs], dtype=torch.float64)

    return every


def _truncated(x: Tensor) -> NDArray[np.uint8]:
    """Return 8-bit images (N, H, W, 3) as the LPIPS evaluation makes them from [-1, 1]."""
    signed = 2 * x.float().numpy() - np.float32(1)
    whole = ((signed + np.float32(1)) * np.float32(127.5)).astype(np.uint8)
    return whole.transpose(0, 2, 3, 1)


def lpips(net: str, version: str, linear: bool, drawn: bool) -> Peer:
    """LPIPS of the package lpips.

    ``linear``: with its learned weights; ``drawn``: on torchvision's initialisation with seed 0.
    """
    module = lpips_module(net, version, linear, drawn)
    return lambda x, y: module(x.float(), y.float(), normalize=True).flatten()


def lpips_module(net: str, version: str, linear: bool, drawn: bool) -> torch.nn.Module:
    """Return the module behind ``lpips``, which takes images in [0, 1] with ``normalize=True``."""
    import lpips as package

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # the network is the first that it draws
        module: torch.nn.Module = package.LPIPS(
            net=net, version=version, lpips=linear, pnet_rand=True, verbose=False
        )
    if not drawn:
        trunk = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}[net]
        _fill(module.get_submodule("net"), trunk)
    return module


def stlpips(net: str) -> Peer:
    """Shift-tolerant LPIPS of its authors' package, which brings its weights."""
    with _stand_ins(IPython="embed", torchsummary="summary"):  # asked for, and never used
        from stlpips_pytorch import stlpips as package

    module = package.LPIPS(net=net, variant="shift_tolerant", verbose=False)
    return lambda x, y: module(x.float(), y.float(), normalize=True).flatten()


def dists() -> Peer:
    """DISTS of its authors' package."""
    from DISTS_pytorch import DISTS

    with _instead_of_fetching((torchvision.models, "vgg16", _empty_vgg16)):
        module = DISTS(load_weights=False)
    for number in range(1, 6):
        _fill(getattr(module, f"stage{number}"), "vgg16")
    learned = weights.load("dists")
    module.alpha.data, module.beta.data = learned["alpha"], learned["beta"]
    module.double()  # it computes 1 - similarity, which cancels
    return lambda x, y: module(x, y).flatten()


def piq_dists() -> Peer:
    """DISTS of piq, with its authors' weights."""
    import piq

    learned = weights.load("dists")
    total = sum(tensor.double().sum() for tensor in learned.values())  # piq's own sum to one
    learned = {name: tensor.double() / total for name, tensor in learned.items()}
    with _instead_of_fetching(
        (piq.perceptual, "vgg16", _empty_vgg16),
        (torch.hub, "load_state_dict_from_url", lambda *args, **options: learned),
    ):
        module = piq.DISTS(reduction="none")
    _fill(module.model, "vgg16")
    module.double()
    return lambda x, y: module(x, y).flatten()


def _fill(module: nn.Module, trunk: str) -> None:
    """Copy a trunk's weights into the layers of a package's network.

    The packages cut torchvision's networks into slices, but keep each layer's number.
    """
    learned = weights.load(trunk)
    for key, parameter in module.named_parameters():
        parts = key.split(".")
        number = next(i for i, part in enumerate(parts) if part.isdigit())
        name = ".".join(["features", *parts[number:]])
        parameter.data = weights.take(learned, name, parameter.shape, trunk).to(parameter.dtype)


def _empty_vgg16(**ignored: object) -> nn.Module:
    """Return torchvision's VGG-16 with whatever filters, whatever weights were asked for."""
    return _vgg16(weights=None)  # type: ignore[no-any-return]


@contextlib.contextmanager
def _stand_ins(**names: str) -> Iterator[None]:
    """Let a package import a name from modules that may not be installed."""
    absent = [module for module in names if importlib.util.find_spec(module) is None]
    for module in absent:
        sys.modules[module] = types.ModuleType(module)
        setattr(sys.modules[module], names[module], None)
    try:
        yield
    finally:
        for module in absent:
            del sys.modules[module]


@contextlib.contextmanager
def _instead_of_fetching(*places: tuple[Any, str, Callable[..., object]]) -> Iterator[None]:
    """Let a package find other functions under (module, name) while its network is built."""
    before = [getattr(module, name) for module, name, _ in places]
    try:
        for module, name, stand_in in places:
            setattr(module, name, stand_in)
        yield
    finally:
        for (module, name, _), original in zip(places, before, strict=True):
            setattr(module, name, original)

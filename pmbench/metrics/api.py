"""A metric as a Python callable, also as a training loss.

import pmbench

distance = pmbench.metric("mmdpp", device="cuda")
loss = distance(reference, generated).mean()
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from pmbench.metrics import Metric
from pmbench.metrics.images import Images
from pmbench.metrics.loading import LoadedMetric, load_metric, output_error
from pmbench.metrics.selection import select_metrics
from pmbench.utils.devices import choose_device
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

_Method = TypeVar("_Method", bound=Callable[..., Any])
_SLACK = 1e-3  # what resampling and float16 add to [0, 1]


def metric(name: str | Metric, device: str | torch.device = "cpu") -> Perceptual:
    """Return a metric, ready to be called on images on ``device``.

    ``name`` is whatever `pmbench eval --metric` takes: a name ("lpips-vgg"), an address
    ("./mine.py:distance"), or a Metric. ``device`` is "cpu", "cuda", "cuda:1", "mps" or "auto".
    Weights that are not on this machine are fetched. Raises PmbenchError for an unknown name, for
    a device that is not there, and where something cannot be loaded.
    """
    entries = [name] if isinstance(name, Metric) else select_metrics([name]).metrics
    if len(entries) != 1:
        names = ", ".join(entry.name for entry in entries[:5])
        more = ", …" * (len(entries) > 5)
        raise PmbenchError(f"'{name}' stands for {len(entries)} metrics ({names}{more}); name one")
    where = choose_device(str(device))
    return Perceptual(load_metric(entries[0], where, Silent()), where)


def _as_it_is(method: _Method) -> _Method:
    """Keep torch.compile out of a method."""
    disable: Any = torch.compiler.disable  # it has no types
    return cast(_Method, disable(method))


class Perceptual:
    """A metric that is called with two batches of images and returns one number per pair.

    Made by ``pmbench.metric``. It is no ``nn.Module``, so it never becomes part of the parameters
    or the state of a model that holds it; its own networks are frozen.

    It computes in float32 also under autocast, and outside of what torch.compile compiles: a
    compiled training step runs it as it is, between two compiled parts (``fullgraph=True`` does
    not allow that). On a GPU, TF32 is as the program has set it; the numbers are exactly those of
    `pmbench eval` after ``pmbench.utils.devices.use_exact_arithmetic()``.
    """

    def __init__(self, loaded: LoadedMetric, device: torch.device) -> None:
        self._loaded = loaded
        # "cuda" alone means the current one
        self.device = torch.zeros(0, device=device).device

    @property
    def name(self) -> str:
        """The metric's name."""
        return self._loaded.metric.name

    @property
    def higher_is_better(self) -> bool:
        """Whether larger numbers mean more alike; a loss is then minus the number."""
        return self._loaded.metric.higher_is_better

    @property
    def differentiable(self) -> bool:
        """Whether it has a gradient in both images."""
        return self._loaded.metric.differentiable

    @property
    def signature(self) -> str:
        """Name and digest of everything that defines it, as in the signature of a run."""
        return self._loaded.signature

    def __repr__(self) -> str:
        return f"pmbench.metric({self.name!r}, device='{self.device}')"

    @_as_it_is
    def __call__(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Return the distance of every pair: (N,) float32, in the metric's own direction.

        Both are RGB in [0, 1], of any floating-point type, (N, 3, H, W) with N ≥ 1, on
        ``device``. Values up to 1e-3 outside of [0, 1] count as 0 or 1, with the gradient there.
        Raises PmbenchError for anything else, for sizes on which the metric is not defined, and
        where a gradient is asked of a metric that has none.
        """
        metric = self._loaded.metric
        for role, images in (("reference", reference), ("distorted", distorted)):
            self._check(role, images)
        if reference.shape != distorted.shape:
            raise PmbenchError(
                f"{self.name}: the reference images are of shape {tuple(reference.shape)}, the "
                f"distorted ones of shape {tuple(distorted.shape)}; expected the same"
            )
        if (why := metric.undefined_on(*reference.shape[2:])) is not None:
            raise PmbenchError(f"{self.name} {why}")
        asked = torch.is_grad_enabled() and (reference.requires_grad or distorted.requires_grad)
        if asked and not metric.differentiable:
            raise PmbenchError(
                f"{self.name} has no gradient, so it can be no loss; to measure with it, give it "
                "x.detach(), or call it under torch.no_grad()"
            )
        with torch.autocast(self.device.type, enabled=False):
            x, y = (_in_range(images.float()) for images in (reference, distorted))
            n = metric.portion(x.shape[2], x.shape[3], len(x))
            parts = [
                self._checked(Images(a), Images(b))
                for a, b in zip(torch.split(x, n), torch.split(y, n), strict=True)
            ]
            return torch.cat(parts).float()

    def _checked(self, x: Images, y: Images) -> Tensor:
        value = self._loaded.distance(x, y)
        if (wrong := output_error(value, len(x))) is not None:
            raise PmbenchError(f"{self.name}: {wrong}")
        return value

    def _check(self, role: str, images: Tensor) -> None:
        """Raise PmbenchError for images that are not what the metric is defined on."""
        who = f"{self.name}: the {role} images"
        if not isinstance(images, Tensor):
            raise PmbenchError(
                f"{who} are of type {type(images).__name__}; expected a torch.Tensor"
            )
        if images.ndim != 4 or images.shape[1] != 3 or not len(images):
            hint = "; one image is x[None]" * (images.ndim == 3)
            raise PmbenchError(
                f"{who} are of shape {tuple(images.shape)}; expected (N, 3, height, width){hint}"
            )
        if not images.is_floating_point():
            raise PmbenchError(
                f"{who} are {images.dtype}; expected floating-point numbers in [0, 1]; "
                "of 8-bit images that is x / 255"
            )
        if images.device != self.device:
            raise PmbenchError(
                f"{who} are on {images.device}, the metric is on {self.device}; move one of them, "
                f"as in pmbench.metric('{self.name}', device='{images.device}')"
            )
        low, high = (float(value) for value in torch.aminmax(images.detach()))
        if low >= -_SLACK and high <= 1 + _SLACK:
            return
        hint = "are they in [-1, 1]? Then give (x + 1) / 2"
        if math.isnan(low):
            hint = "mend what made them"
        elif low >= -_SLACK:
            hint = "are they in [0, 255]? Then give x / 255"
        raise PmbenchError(f"{who} go from {low:.4g} to {high:.4g}; expected [0, 1]; {hint}")


def _in_range(images: Tensor) -> Tensor:
    """Return images clamped to [0, 1]; their gradient is not cut off, as clamp does it at 0 and 1.

    The differences are exact in floating point, and so are the sums.
    """
    return images + (images.clamp(0, 1) - images).detach()

"""Full-reference image metrics of the package torchmetrics: ``torchmetrics:ssim``.

Each pair is a call of its own, since most of the functions average over what they are given. The
values are the library's, for images in [0, 1]: some are NaN or infinite on black images, and
``psnr`` is infinite where both images are identical.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pmbench.metrics import Distance, Metric, OnPixels
from pmbench.utils.errors import PmbenchError, unknown


@dataclass(frozen=True)
class _Function:
    """A function of torchmetrics.functional.image, called with (distorted, reference)."""

    name: str
    higher_is_better: bool
    min_size: int = 1
    symmetric: bool = True
    peak: int = 1  # the value of white
    options: Mapping[str, float] = field(default_factory=dict)


_FUNCTIONS = {
    "d_lambda": _Function("spectral_distortion_index", False, 11),
    "ergas": _Function("error_relative_global_dimensionless_synthesis", False, symmetric=False),
    "ms_ssim": _Function(
        "multiscale_structural_similarity_index_measure", True, 176, options={"data_range": 1.0}
    ),
    "psnr": _Function("peak_signal_noise_ratio", True, options={"data_range": 1.0}),
    "rase": _Function("relative_average_spectral_error", False, 9, symmetric=False),
    "rmse_sw": _Function("root_mean_squared_error_using_sliding_window", False, 9),
    "sam": _Function("spectral_angle_mapper", False),
    "scc": _Function("spatial_correlation_coefficient", True, 8),
    "ssim": _Function("structural_similarity_index_measure", True, 6, options={"data_range": 1.0}),
    "uqi": _Function("universal_image_quality_index", True, 11),
    # its noise has a variance of 2, which is meant for values up to 255
    "vif": _Function("visual_information_fidelity", True, 41, symmetric=False, peak=255),
}


def resolve(name: str, address: str, options: Mapping[str, str]) -> Metric:
    """Return the metric ``address``, a key of the table above or a function's full name.

    Raises PmbenchError for a name that is not known, and for any option.
    """
    by_full_name = {function.name: function for function in _FUNCTIONS.values()}
    function = (by_full_name | _FUNCTIONS).get(address)
    if function is None:
        raise unknown("metric of torchmetrics", address, _FUNCTIONS)
    if options:
        raise PmbenchError(f"torchmetrics:{address} takes no options; leave ?{min(options)}=… out")
    return Metric(
        name=name,
        load=lambda device: _load(function),
        title=f"{function.name} of torchmetrics",
        family="torchmetrics",
        code="https://github.com/Lightning-AI/torchmetrics",
        higher_is_better=function.higher_is_better,
        symmetric=function.symmetric,
        min_size=function.min_size,
        licence="Apache-2.0",
        parameters={"function": function.name, "peak": function.peak},
        extra="torchmetrics",
    )


def _load(function: _Function) -> Distance:
    call = getattr(importlib.import_module("torchmetrics.functional.image"), function.name)

    def each(reference: Tensor, distorted: Tensor) -> Tensor:
        portions = [torch.split(images * function.peak, 1) for images in (distorted, reference)]
        pairs = zip(*portions, strict=True)
        return torch.stack([call(*pair, **function.options).reshape(()) for pair in pairs])

    return OnPixels(each)

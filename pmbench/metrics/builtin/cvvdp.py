"""ColorVideoVDP: Mantiuk, Hanji, Ashraf, Asano, Chapiro 2024; the successor of HDR-VDP.

The authors' package predicts quality in just-objectionable-difference units (JOD): 10 means that no
difference is seen, and of two images one unit apart 75 % of people choose the better one. It
models a display. This is the authors' default, a 30-inch 4K monitor of 200 cd/m² in an office, seen
from 0.75 m (75 pixels per degree). Everything it needs is in the package.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pmbench.metrics import Metric, OnPixels, register

_DISPLAY = "standard_4k"


class Cvvdp(nn.Module):
    """The authors' metric on still images; its constants are buffers, and so in the signature."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        with _without_warnings():
            import pycvvdp

            self.model = pycvvdp.cvvdp(display_name=_DISPLAY, device=device, quiet=True)
        for name, value in vars(self.model).items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
        sensitivity = [table for tables in self.model.csf.logS for table in tables]
        self.register_buffer("contrast_sensitivity", torch.stack(sensitivity))
        screen = self.model.display_photometry
        numbers = [self.model.pix_per_deg, screen.Y_peak, screen.contrast, screen.E_ambient]
        self.register_buffer("display", torch.tensor(numbers))

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Return the quality in JOD of images in [0, 1]: (N,)."""
        wanted = torch.is_grad_enabled()
        gpu = [reference.device] if reference.device.type == "cuda" else []
        # the model keeps tables that it makes here, and they must serve with gradients too; and it
        # draws numbers, which it does not use
        with (
            torch.inference_mode(False),
            torch.set_grad_enabled(wanted),
            torch.random.fork_rng(devices=gpu),
            _without_warnings(),
        ):
            quality, _ = self.model.predict(distorted, reference, dim_order="BCHW")
        value: Tensor = quality.reshape(len(reference))  # the model's has no dimension for one pair
        return value


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep the package from warning of every batch of dark images, and of lacking compilers."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


register(
    Metric(
        name="cvvdp",
        load=lambda device: OnPixels(Cvvdp(device)),
        title="ColorVideoVDP, JOD on a 30-inch 4K monitor",
        family="vision models",
        paper="Mantiuk et al.: ColorVideoVDP, SIGGRAPH 2024",
        code="https://github.com/gfxdisp/ColorVideoVDP",
        higher_is_better=True,
        symmetric=False,
        min_size=2,
        licence="MIT",
        parameters={"display": _DISPLAY},
        extra="cvvdp",
        pixels_at_once=1 << 17,
    )
)

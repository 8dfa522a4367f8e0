"""Any network as a feature trunk: its features at modules that are found by name.

A forward hook reads each tap, and the pass ends with the last of them: what lies behind, the head
above all, neither runs nor keeps tensors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pmbench.networks.backbones import Form, Preprocessing, in_passes, unit
from pmbench.utils.devices import in_network_dtype
from pmbench.utils.tracking import is_tracked, is_transformed

# where a module's output has its positions: N images, C channels, H×W or L positions
Layout = Literal["NCHW", "NHWC", "NLC", "NCL"]


@dataclass(frozen=True)
class Tap:
    """A module's output, and how to read it.

    Of tokens ("NLC", "NCL") the first ``prefix`` are no positions: class tokens and registers.
    """

    module: str
    layout: Layout
    channels: int
    stride: int  # pixels of the image from one position to the next
    prefix: int = 0

    def read(self, output: Tensor) -> Tensor:
        """Return the output as (N, C, H, W), tokens as (N, C, L, 1)."""
        if self.layout == "NCHW":
            return output
        if self.layout == "NHWC":
            return output.permute(0, 3, 1, 2)
        tokens = output.transpose(1, 2) if self.layout == "NLC" else output
        return tokens[:, :, self.prefix :, None]


class FeatureExtractor(nn.Module):
    """Pixels -> a network's features at each tap: unit-length, or as they are ("raw").

    ``forward`` takes (N, 3, H, W) in [0, 1] and returns one (N, C, h, w) a tap, (N, C, L, 1) where
    the network works on tokens. Raises ValueError where the network refuses the size.

    ``run`` is what the network is called by: "forward", or the name of a method that stops before
    the head. ``calls`` is how often the modules of the taps are called in one pass: of a module
    that is called several times the last output counts.
    """

    form: Form

    def __init__(
        self,
        network: nn.Module,
        run: str,
        preprocessing: Preprocessing,
        taps: tuple[Tap, ...],
        calls: int,
        pixels_per_pass: int,
        form: Form = "unit",
    ) -> None:
        super().__init__()
        self.form = form
        self.network = network
        self.run = run
        self.preprocessing = preprocessing
        self.taps = taps
        self.calls = calls
        self.pixels_per_pass = pixels_per_pass

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the features at each tap."""
        size = max(1, self.pixels_per_pass // (pixels.shape[2] * pixels.shape[3]))
        return in_passes(self._one_pass, pixels, size)

    def _one_pass(self, pixels: Tensor) -> list[Tensor]:
        x = self.preprocessing(pixels)
        results: dict[Tap, Tensor] = {}
        left, thread = self.calls, threading.get_ident()

        def keep(tap: Tap) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: object, output: Any) -> None:
                nonlocal left
                if threading.get_ident() != thread:  # another's pass through the same network
                    return
                output = first_of(output)
                # what follows may work in place: without a gradient unit() has copied by then,
                # where something follows it not, since a backward pass reads its input again
                output = output.clone() if is_tracked(output) or self.form == "raw" else output
                values = tap.read(output.to(pixels.dtype))
                results[tap] = unit(values) if self.form == "unit" else values
                left -= 1
                if left == 0:
                    raise _EnoughError

            return hook

        handles = [
            self.network.get_submodule(tap.module).register_forward_hook(keep(tap))
            for tap in self.taps
        ]
        # the fused attention has neither a forward-mode derivative nor a rule for vmap
        ordinary = sdpa_kernel(SDPBackend.MATH) if is_transformed(x) else nullcontext()
        try:
            with in_network_dtype(x.device), ordinary:
                getattr(self.network, self.run)(x)
        except _EnoughError:
            pass
        except AssertionError as error:  # a network's way to refuse a size
            message = str(error) or "an assertion failed"
            raise ValueError(f"{pixels.shape[3]}×{pixels.shape[2]}: {message}") from error
        finally:
            for handle in handles:
                handle.remove()
        return [results[tap] for tap in self.taps]


def first_of(output: Any) -> Any:
    """Return a module's output, the first of it where it is a tuple: features, then their size."""
    while isinstance(output, tuple) and output:
        output = output[0]
    return output


class _EnoughError(Exception):
    """The last tap has been read."""


def keep_only(network: nn.Module, needed: Collection[str]) -> None:
    """Take from a network all tensors of its state but those of the names ``needed``."""
    for name in set(network.state_dict()) - set(needed):
        owner, _, attribute = name.rpartition(".")
        setattr(network.get_submodule(owner), attribute, None)

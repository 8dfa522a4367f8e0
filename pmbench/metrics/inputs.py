"""The tensors that a program gives to a metric: what is taken, and the hint for what is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pmbench.utils.errors import PmbenchError, unknown

_SLACK = 1e-3  # of a range's width: what resampling and float16 add to it
_OVERSHOOT = 0.25  # of a range's width: as far as networks and bicubic filters go beyond it
_DARKEST = 16  # of 255: the largest value of whole images is beyond it
_RGB, _RGBA = (1, 3), (4,)  # channels, grey among them
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class ValueRange:
    """What stands for black and for white."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """The difference of white and black."""
        return self.high - self.low

    def beyond(self, low: float, high: float) -> float:
        """Return how far values go beyond it, in parts of its width; not above 0 if they do not."""
        return max(self.low - low, high - self.high) / self.width

    @property
    def name(self) -> str:
        """What a program says to name it: "[-1,1]"."""
        return f"[{self.low:g},{self.high:g}]"

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"


# what happens to values outside of the range
OutOfRange = Literal["refuse", "clamp", "pass"]

UNIT = ValueRange(0, 1)
RANGES = {each.name: each for each in (UNIT, ValueRange(-1, 1), ValueRange(0, 255))}


def parse_range(text: str) -> ValueRange:
    """Return the range of that name, a key of RANGES; blanks do not matter.

    Raises PmbenchError for any other.
    """
    key = "".join(str(text).split())
    if key not in RANGES:
        raise unknown("range", str(text), RANGES)
    return RANGES[key]


def to_pixels(
    images: Tensor, value_range: ValueRange, who: str, out_of_range: OutOfRange = "refuse"
) -> Tensor:
    """Return images as float32 RGB (N, 3, H, W) in [0, 1]; a gradient passes as if by identity.

    ``images`` are (N, 3, H, W), or grey (N, 1, H, W), of values in ``value_range``: floating-point
    numbers, or integers where white is 255. Values up to 1e-3 of the range outside of it count as
    its end; what happens to others ``out_of_range`` says: "refuse", "clamp" (also without a
    gradient there) or "pass" (as they are), of which the last two look at no value. Raises
    PmbenchError, about ``who``, for anything else.
    """
    if images.ndim != 4 or images.shape[1] not in _RGB or not images.numel():
        hint = _shape_hint(images.shape)
        raise PmbenchError(
            f"{who} are of shape {tuple(images.shape)}; expected (N, 3, height, width), or 1 "
            f"channel, none of them 0{'; ' * bool(hint)}{hint}"
        )
    integers = images.dtype in _INTEGERS
    if not (images.is_floating_point() or (integers and value_range.high == 255)):
        hint = "; pmbench.metric(…, range='[0,255]') takes 8-bit images" * integers
        raise PmbenchError(
            f"{who} are {images.dtype}; expected floating-point numbers in {value_range}{hint}"
        )
    # a subclass of Tensor would take part in everything that follows
    values = images.as_subclass(Tensor).float()
    if out_of_range == "refuse":
        _check_values(values, value_range, who)
    if value_range != UNIT:
        values = (values - value_range.low) / value_range.width
    values = values.expand(-1, 3, -1, -1)
    if out_of_range != "refuse":
        return values.clamp(0, 1) if out_of_range == "clamp" else values
    # not clamp alone, which cuts the gradient off at 0 and 1; the differences are exact in floating
    # point, and so are the sums
    return values + (values.clamp(0, 1) - values).detach()


def _check_values(values: Tensor, value_range: ValueRange, who: str) -> None:
    # torch.func.vmap lets nobody ask for values; here they are looked at, and nothing more
    plain = torch.func.debug_unwrap(values.detach())
    low, high = (float(value) for value in torch.aminmax(plain))
    if not value_range.beyond(low, high) <= _SLACK:
        raise PmbenchError(
            f"{who} go from {low:.4g} to {high:.4g}; expected {value_range}; "
            f"{_range_hint(low, high, value_range)}"
        )


def _range_hint(low: float, high: float, expected: ValueRange) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "mend what made them"
    as_bytes = high > _DARKEST
    reaches = high > (expected.low + expected.high) / 2
    if expected.beyond(low, high) <= _OVERSHOOT and reaches and (as_bytes or expected.high < 255):
        return (
            "networks and resampling overshoot by as much; "
            f"give x.clamp({expected.low:g}, {expected.high:g})"
        )
    if expected == UNIT and -2.2 <= low < 0 and 1.1 < high <= 2.7:
        return "are they normalised by a mean and a deviation? Then give x * deviation + mean"
    for name, other in RANGES.items():
        if other.beyond(low, high) <= 0.05 and as_bytes == (other.high == 255) and low >= -1.1:
            return f"are they in {other}? Then say so: pmbench.metric(…, range='{name}')"
    return f"bring them into {expected}"


def _shape_hint(shape: Sequence[int]) -> str:
    """Return how to make (N, 3, H, W) of what has that shape, "" where nobody can tell."""
    match tuple(shape):
        case (_, _):
            return "one grey image is x[None, None]"
        case (channels, _, _) if channels in _RGB:
            return "one image is x[None]"
        case (_, _, channels) if channels in _RGB:
            return "one image with its channels last is x.permute(2, 0, 1)[None]"
        case (channels, _, _) if channels in _RGBA:
            return "one image without its transparency is x[None, :3]"
        case (_, _, channels) if channels in _RGBA:
            return "one image without its transparency is x[..., :3].permute(2, 0, 1)[None]"
        case (_, _, _):
            return "grey images are x[:, None]"
        case (_, _, _, channels) if channels in _RGB:
            return "images with their channels last are x.permute(0, 3, 1, 2)"
        case (_, channels, _, _) if channels in _RGBA:
            return "images without their transparency are x[:, :3]"
        case (_, _, _, channels) if channels in _RGBA:
            return "images without their transparency are x[..., :3].permute(0, 3, 1, 2)"
        case (_, _, _, _, channels) if channels in _RGB:
            return "the frames of videos are x.flatten(0, 1).permute(0, 3, 1, 2)"
        case (_, one, other, _, _) if one in _RGB and other in _RGB:
            return "the frames of videos are images of their own, (N · frames, 3, height, width)"
        case (_, _, channels, _, _) if channels in _RGB:
            return "the frames of videos are x.flatten(0, 1)"
        case (_, channels, _, _, _) if channels in _RGB:
            return "the frames of videos are x.transpose(1, 2).flatten(0, 1)"
    return ""

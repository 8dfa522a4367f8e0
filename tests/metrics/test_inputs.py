"""What a program may give to ``pmbench.metric``: ranges, shapes, and hints that lead to numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from support.laws import pair
from support.refusals import message_of
from torch import Tensor

import pmbench
from pmbench.metrics.inputs import parse_range, to_pixels

X, Y = pair(2, 48, 64)
SIGNED = pmbench.metric("l1", range="[-1,1]")
BYTES = pmbench.metric("l1", range="[0,255]")
UNIT = pmbench.metric("l1")


def refused(images: Tensor, range: str = "[0,1]") -> str:
    return message_of(to_pixels, images, parse_range(range), "they")


# --- ranges ---------------------------------------------------------------------------------------


def test_the_range_is_said_once_and_the_numbers_are_the_same() -> None:
    expected = UNIT(X, Y)
    torch.testing.assert_close(SIGNED(2 * X - 1, 2 * Y - 1), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(BYTES(255 * X, 255 * Y), expected, rtol=1e-6, atol=0)
    whole = [(255 * images).round().byte() for images in (X, Y)]
    as_floats = [images.float() / 255 for images in whole]
    assert torch.equal(BYTES(*whole), UNIT(*as_floats))  # to the bit, as they come from a file
    assert torch.equal(BYTES(*(images.int() for images in whole)), UNIT(*as_floats))
    assert repr(SIGNED) == "pmbench.metric('l1', device='cpu', range='[-1,1]')"
    assert repr(pmbench.metric("l1", range=" [0, 1] ")) == "pmbench.metric('l1', device='cpu')"


def test_the_gradient_is_in_the_range_of_the_images() -> None:
    a, b = Y.clone().requires_grad_(), (255 * Y).requires_grad_()
    UNIT(X, a).sum().backward()
    BYTES(255 * X, b).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(255 * b.grad, a.grad)


def test_the_slack_is_a_part_of_the_range() -> None:
    for metric, low, high in ((SIGNED, -1.0, 1.0), (BYTES, 0.0, 255.0)):
        inside, outside = 0.0009 * (high - low), 0.0011 * (high - low)
        ends = torch.full((1, 3, 8, 8), low), torch.full((1, 3, 8, 8), high)
        assert torch.equal(metric(ends[0] - inside, ends[1] + inside), metric(*ends))
        assert "go from" in message_of(metric, ends[0] - outside, ends[1])


def test_an_unknown_range_is_refused() -> None:
    assert message_of(pmbench.metric, "l1", range="[0,2]") == (
        "unknown range '[0,2]'; did you mean [0,255] or [0,1] or [-1,1]?"
    )


CLAMP = "networks and resampling overshoot by as much; give x.clamp(0, 1)"
NORMALISED = "are they normalised by a mean and a deviation? Then give x * deviation + mean"
HINTS = [
    # low, high, the range that was said, the hint
    (-0.02, 1.02, "[0,1]", CLAMP),
    (0.0, 1.2, "[0,1]", CLAMP),
    (-0.25, 1.0, "[0,1]", CLAMP),
    (-1.1, 1.0, "[-1,1]", CLAMP.replace("(0", "(-1")),
    (-12.0, 260.0, "[0,255]", CLAMP.replace("1)", "255)")),
    (-1.0, 1.0, "[0,1]", "are they in [-1, 1]? Then say so: pmbench.metric(…, range='[-1,1]')"),
    (-1.03, 0.9, "[0,1]", "are they in [-1, 1]? Then say so: pmbench.metric(…, range='[-1,1]')"),
    (-0.4, 0.7, "[0,1]", "are they in [-1, 1]? Then say so: pmbench.metric(…, range='[-1,1]')"),
    (-1.0, 1.0, "[0,255]", "are they in [-1, 1]? Then say so: pmbench.metric(…, range='[-1,1]')"),
    (0.0, 255.0, "[0,1]", "are they in [0, 255]? Then say so: pmbench.metric(…, range='[0,255]')"),
    (3.0, 170.0, "[-1,1]", "are they in [0, 255]? Then say so: pmbench.metric(…, range='[0,255]')"),
    (-0.2, 0.2, "[0,1]", "are they in [-1, 1]? Then say so: pmbench.metric(…, range='[-1,1]')"),
    (-2.1, 2.6, "[0,1]", NORMALISED),
    (-1.03, 2.64, "[0,1]", NORMALISED),
    (0.0, 4.0, "[0,1]", "bring them into [0, 1]"),
    (-40.0, 60.0, "[0,1]", "bring them into [0, 1]"),
    (0.0, 65535.0, "[0,255]", "bring them into [0, 255]"),
    (0.0, float("inf"), "[0,1]", "mend what made them"),
    (float("nan"), 1.0, "[0,1]", "mend what made them"),
]  # fmt: skip


@pytest.mark.parametrize(("low", "high", "range", "hint"), HINTS)
def test_values_out_of_range_get_a_hint_that_leads_to_right_numbers(
    low: float, high: float, range: str, hint: str
) -> None:
    images = torch.zeros(1, 3, 4, 4)
    images[0, 0, 0, :2] = torch.tensor([low, high])
    sentence = refused(images, range)
    assert sentence.endswith(f"; expected {parse_range(range)}; {hint}")
    if "clamp" in hint:
        mended = eval(hint.rpartition("give ")[2], {"x": images})
        to_pixels(mended, parse_range(range), "they")
    elif said := re.search(r"range='(.+)'", hint):
        to_pixels(images.clamp(-1, 255), parse_range(said[1]), "they")


# --- shapes ---------------------------------------------------------------------------------------

SHAPES = [
    ((40, 48), "one grey image is x[None, None]"),
    ((3, 40, 48), "one image is x[None]"),
    ((1, 40, 48), "one image is x[None]"),
    ((40, 48, 3), "one image with its channels last is x.permute(2, 0, 1)[None]"),
    ((40, 48, 1), "one image with its channels last is x.permute(2, 0, 1)[None]"),
    ((4, 40, 48), "one image without its transparency is x[None, :3]"),
    ((40, 48, 4), "one image without its transparency is x[..., :3].permute(2, 0, 1)[None]"),
    ((8, 40, 48), "grey images are x[:, None]"),
    ((2, 40, 48, 3), "images with their channels last are x.permute(0, 3, 1, 2)"),
    ((2, 40, 48, 1), "images with their channels last are x.permute(0, 3, 1, 2)"),
    ((2, 4, 40, 48), "images without their transparency are x[:, :3]"),
    ((2, 40, 48, 4), "images without their transparency are x[..., :3].permute(0, 3, 1, 2)"),
    ((2, 5, 3, 40, 48), "the frames of videos are x.flatten(0, 1)"),
    ((2, 3, 5, 40, 48), "the frames of videos are x.transpose(1, 2).flatten(0, 1)"),
    ((2, 1, 40, 48, 3), "the frames of videos are x.flatten(0, 1).permute(0, 3, 1, 2)"),
    ((2, 5, 40, 48, 3), "the frames of videos are x.flatten(0, 1).permute(0, 3, 1, 2)"),
]


@pytest.mark.parametrize(("shape", "hint"), SHAPES, ids=lambda one: str(one)[:20])
def test_another_layout_gets_the_hint_that_makes_it_right(
    shape: tuple[int, ...], hint: str
) -> None:
    images = torch.rand(shape)
    assert refused(images) == (
        f"they are of shape {shape}; expected (N, 3, height, width), or 1 channel, "
        f"none of them 0; {hint}"
    )
    mended = eval(hint[hint.index(" x") :].strip(), {"x": images})
    assert to_pixels(mended, parse_range("[0,1]"), "they").shape[1:] == (3, 40, 48)


def test_a_video_of_as_many_frames_as_channels_is_nobodys_guess() -> None:
    assert refused(torch.rand(2, 3, 3, 40, 48)).endswith(
        "; the frames of videos are images of their own, (N · frames, 3, height, width)"
    )


@pytest.mark.parametrize(
    "shape", [(0, 3, 8, 8), (1, 3, 0, 8), (2, 7, 8, 8), (8,), (1, 1, 1, 1, 8, 8)]
)
def test_what_nobody_can_tell_gets_no_hint(shape: tuple[int, ...]) -> None:
    expected = "expected (N, 3, height, width), or 1 channel, none of them 0"
    assert refused(torch.zeros(shape)) == f"they are of shape {shape}; {expected}"


@pytest.mark.parametrize("range", ["[0,1]", "[-1,1]", "[0,255]"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_numbers_of_another_kind_are_refused(dtype: torch.dtype, range: str) -> None:
    images = torch.zeros(1, 3, 8, 8, dtype=dtype)
    integers = dtype in (torch.uint8, torch.int64)
    if integers and range == "[0,255]":
        to_pixels(images, parse_range(range), "they")
        return
    hint = "; pmbench.metric(…, range='[0,255]') takes 8-bit images" * integers
    assert refused(images, range) == (
        f"they are {dtype}; expected floating-point numbers in {parse_range(range)}{hint}"
    )


class Subclass(Tensor):
    """As torchvision, MONAI and fastai have them."""


@pytest.mark.parametrize("name", ["l1", "dssim", "mmdpp"])
def test_a_subclass_of_tensor_is_a_tensor(name: str) -> None:
    metric = pmbench.metric(name)
    images = Y.clone().as_subclass(Subclass)
    result = metric(X, images)
    assert type(result) is Tensor
    assert torch.equal(result, metric(X, Y))
    if metric.differentiable:
        images.requires_grad_()
        metric(X, images).sum().backward()
        assert images.grad is not None


def test_grey_and_colour_are_compared() -> None:
    grey = Y.mean(dim=1, keepdim=True)
    expected = UNIT(X, grey.expand_as(Y))
    assert torch.equal(UNIT(X, grey), expected)
    grey.requires_grad_()
    UNIT(X, grey).sum().backward()
    assert grey.grad is not None
    assert grey.grad.shape == grey.shape


def test_what_is_derived_of_one_reference_is_computed_once() -> None:
    seen: list[int] = []

    def count(pixels: Tensor) -> Tensor:
        seen.append(len(pixels))
        return pixels

    entry = pmbench.metrics.Metric(
        "counted",
        lambda device: lambda x, y: (x.derive(count) - y.derive(count)).abs().mean(dim=(1, 2, 3)),
        title="",
        pixels_at_once=2 * 48 * 64,
    )
    many = torch.cat([X, Y, X])[:5]
    expected = (X[:1] - many).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(pmbench.metric(entry)(X[:1], many), expected)
    assert seen == [1, 2, 2, 1]
    np.testing.assert_allclose(UNIT(many, X[:1]).numpy(), 2 * expected.numpy(), rtol=1e-5)

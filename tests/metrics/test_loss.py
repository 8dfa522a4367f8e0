"""``pmbench.loss``: the authors' optimisations, what it refuses, and what its options do."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from support.at_work import golden, waves
from support.laws import pictures
from support.refusals import message_of
from torch import Tensor

import pmbench
from pmbench.metrics.loss import Loss, parse_sum
from pmbench.utils.errors import PmbenchError

TARGETS = pictures(4, 64, 64)
START = TARGETS.mean(dim=0, keepdim=True)


# --- the authors' numbers -------------------------------------------------------------------------

# Amir & Weiss's perceptual mean: Adam 0.001 from the mean of 4 targets, in [-1, 1] without a bound.
# What ten steps changed: Adam divides by √v, so where gradients are tiny, rounding becomes a step;
# vgg-loss has many such, since an L1's gradient is a sum of signs.
MEANS = {
    "patch-rbf-11": ("PatchRBF-11-0.02", 1e-4),
    "mmdpp": ("MMD++-frozen512", 1e-4),
    "patch-mmd-rbf-11": ("PatchMMD-RBF-11-3", 1e-4),
    "vgg-loss": ("VGG-PT", 5e-3),
}


@pytest.mark.usefixtures("reference_weights")
@pytest.mark.parametrize("name", MEANS)
def test_ten_steps_are_those_of_the_authors(shared: Path, name: str) -> None:
    key, tolerance = MEANS[name]
    numbers, arrays = golden(shared)
    expected = numbers["losses"][key]
    targets = waves(4, 64, 11)
    start = targets.mean(dim=0, keepdim=True)
    loss = pmbench.loss(name, targets=targets, range="[-1,1]", out_of_range="pass")
    image = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.001)
    values = []
    for step in range(10):
        optimiser.zero_grad()
        value = loss(image).mean()
        value.backward()
        assert image.grad is not None
        if step == 0:
            of_start = arrays[f"mean_{key}_grad0"]
            largest = float(np.abs(of_start).max())
            np.testing.assert_allclose(image.grad[0].numpy(), of_start, rtol=0, atol=1e-3 * largest)
        values.append(value.item())
        optimiser.step()
    np.testing.assert_allclose(values, expected["loss"], rtol=1e-5)
    moved = image.detach()[0].numpy() - start[0].numpy()
    expected_move = arrays[f"mean_{key}_x10"] - start[0].numpy()
    norm = np.linalg.norm
    assert norm(moved - expected_move) / norm(expected_move) < tolerance
    assert norm(expected_move) > 0.5


def test_from_the_pixel_mean_the_gradient_of_l2_is_rounding_noise(shared: Path) -> None:
    """Which Adam turns into steps of full length: nobody's numbers can be compared there."""
    targets = waves(4, 64, 11)
    image = targets.mean(dim=0, keepdim=True).requires_grad_()
    pmbench.loss("l2", targets=targets, range="[-1,1]")(image).mean().backward()
    assert image.grad is not None
    assert float(image.grad.abs().max()) < 1e-9


# --- one value, whichever way ---------------------------------------------------------------------


def trained(name: str, image: Tensor, **options: object) -> tuple[Tensor, Tensor]:
    """Return the losses of an image against all targets, and the gradient of their mean."""
    image = image.clone().requires_grad_()
    losses = pmbench.loss(name, TARGETS, **options)(image)  # type: ignore[arg-type]
    losses.mean().backward()
    assert image.grad is not None
    return losses.detach(), image.grad


@pytest.mark.usefixtures("reference_weights")
@pytest.mark.parametrize("name", ["lpips-alex", "mmdpp", "vgg-loss", "patch-swd-3", "ssim"])
def test_it_is_what_the_metric_says_of_each_target(name: str) -> None:
    metric = pmbench.metric(name)
    image = START.clone().requires_grad_()
    sign = -1 if metric.higher_is_better else 1
    expected = sign * metric(TARGETS, image.expand(4, -1, -1, -1))
    expected.mean().backward()
    losses, gradient = trained(name, START)
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-6, atol=1e-9)
    assert image.grad is not None
    torch.testing.assert_close(gradient, image.grad, rtol=0, atol=1e-5)
    again, of_parts = trained(name, START, checkpoint=True)
    torch.testing.assert_close(again, losses, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(of_parts, gradient, rtol=0, atol=1e-5)


def test_many_images_go_with_many_targets_or_one() -> None:
    loss = pmbench.loss("mmdpp", TARGETS)
    images = pictures(4, 64, 64, seed=1)
    torch.testing.assert_close(loss(images), pmbench.metric("mmdpp")(TARGETS, images))
    alone = pmbench.loss("mmdpp", TARGETS[:1])
    torch.testing.assert_close(alone(images), pmbench.metric("mmdpp")(TARGETS[:1], images))
    assert torch.equal(pmbench.loss("mmdpp")(images, TARGETS), loss(images))


def test_a_sum_is_the_sum_of_its_terms() -> None:
    images = pictures(4, 64, 64, seed=1)
    loss = pmbench.loss("l2 + 2.5e-1*ssim + 3*mmdpp", TARGETS)
    parts = [pmbench.metric(name)(TARGETS, images) for name in ("l2", "ssim", "mmdpp")]
    torch.testing.assert_close(loss(images), parts[0] - 0.25 * parts[1] + 3 * parts[2])
    assert [*loss.terms(images)] == ["l2", "0.25*ssim", "3*mmdpp"]
    assert loss.name == "l2 + 0.25*ssim + 3*mmdpp"
    signatures = [pmbench.metric(name).signature for name in ("l2", "ssim", "mmdpp")]
    assert loss.signature == "{} + 0.25*{} + 3*{}".format(*signatures)
    assert repr(loss) == f"pmbench.loss('{loss.name}', 4 targets, device='cpu')"


def test_targets_are_derived_once() -> None:
    loss = pmbench.loss("mmdpp", TARGETS)
    asked: list[int] = []
    features = loss._terms[0].metric.loaded.distance.mmd.features  # type: ignore[attr-defined]
    handle = features.register_forward_hook(lambda net, images, out: asked.append(len(images[0])))
    try:
        for _ in range(3):
            loss(START)
    finally:
        handle.remove()
    assert asked == [4, 1, 1, 1]


def test_what_is_made_in_inference_mode_can_be_trained_with_later() -> None:
    loss = pmbench.loss("mmdpp + alex-loss-1-random", TARGETS)
    with torch.inference_mode():
        first = loss(START.clone())
    image = START.clone().requires_grad_()
    losses = loss(image)
    losses.mean().backward()
    torch.testing.assert_close(losses.detach(), first)


def test_it_is_differentiable_again() -> None:
    image = START.double().requires_grad_()
    (first,) = torch.autograd.grad(
        pmbench.loss("mmdpp", TARGETS)(image).mean(), image, create_graph=True
    )
    (second,) = torch.autograd.grad(first.square().sum(), image)
    assert second.isfinite().all()
    assert second.any()


# --- options --------------------------------------------------------------------------------------


def test_what_is_out_of_range_is_refused_clamped_or_passed() -> None:
    beyond = START * 3 - 1
    assert "the image images go from" in message_of(pmbench.loss("l2", TARGETS), beyond)
    clamped, gradient = trained("l2", beyond, out_of_range="clamp")
    torch.testing.assert_close(clamped, pmbench.metric("l2")(TARGETS, beyond.clamp(0, 1)))
    outside = (beyond < 0) | (beyond > 1)
    assert outside.any()
    assert not gradient[outside].any()
    passed, gradient = trained("l2", beyond, out_of_range="pass")
    expected = 4 * (TARGETS - beyond).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(passed, expected)
    assert gradient[outside].all()


@pytest.mark.parametrize("name", ["mmdpp", "mmd-approx", "patch-swd-3", "vgg-loss-random-nfc"])
def test_filters_are_drawn_anew_at_each_step_by_seed_and_step(name: str) -> None:
    before = pmbench.metric(name)(TARGETS, START)
    loss = pmbench.loss(name, TARGETS, redraw="step", seed=3)
    values = [loss(START) for _ in range(3)]
    assert not torch.equal(values[0], values[1])
    assert float((values[0] - values[1]).abs().max() / values[0].abs().max()) < 0.5
    loss.step = 1
    assert torch.equal(loss(START), values[1])
    assert torch.equal(copy.deepcopy(loss)(START), values[2])
    assert torch.equal(pickle.loads(pickle.dumps(loss))(START), values[2])
    assert not torch.equal(pmbench.loss(name, TARGETS, redraw="step")(START), values[0])
    assert torch.equal(pmbench.metric(name)(TARGETS, START), before)  # those of others stay


def test_directions_of_maps_are_drawn_once_a_step(reference_weights: Path) -> None:
    loss = pmbench.loss("vgg-loss-swd", TARGETS, redraw="step", checkpoint=True)
    image = START.clone().requires_grad_()
    losses = loss(image)
    losses.mean().backward()  # computes them again
    loss.step = 0
    plain = pmbench.loss("vgg-loss-swd", TARGETS, redraw="step")(START)
    torch.testing.assert_close(losses.detach(), plain, rtol=1e-4, atol=0)


def test_a_shift_moves_both_images_alike() -> None:
    rows = torch.arange(64.0).view(1, 1, 64, 1).expand(1, 3, 64, 64) / 63
    loss = pmbench.loss("l1", rows, shift=8)
    assert all(float(loss(rows)) == 0 for _ in range(5))
    grid = pmbench.loss("watson-dct-initial", TARGETS, shift=8, seed=1)
    values = torch.stack([grid(START) for _ in range(6)])
    assert len(values[:, 0].unique()) > 3
    unmoved = pmbench.loss("watson-dct-initial", TARGETS)(START)
    torch.testing.assert_close(values.mean(dim=0), unmoved, rtol=0.2, atol=0)


def test_a_shift_is_a_crop_of_what_the_border_continues() -> None:
    grey = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    seen: list[Tensor] = []
    metric = pmbench.metrics.Metric("seen", lambda device: seen_by(seen), title="")
    loss = pmbench.loss(metric, grey, shift=4)
    for _ in range(8):
        loss(grey)
    offsets = {int((image[0, 0, 0, 32] - grey[0, 0, 0, 32]).mul(63).round()) for image in seen}
    assert offsets <= {-2, -1, 0, 1}
    assert len(offsets) > 1
    assert all(image.shape == grey.shape for image in seen)


def test_copies_share_targets_and_count_their_own_steps() -> None:
    loss = pmbench.loss("l2 + 0.5*mmdpp", TARGETS, out_of_range="clamp")
    loss(START)
    for again in (copy.copy(loss), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert isinstance(again, Loss)
        assert again.step == 1
        assert torch.equal(again(START - 1), loss(START - 1))
        assert (again.name, again.signature) == (loss.name, loss.signature)
        loss.step = 1


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "l2-lab"}, "l2-lab has no gradient, so it can be no loss; choose another metric"),
        ({"name": "l2 + l2"}, "l2 is twice in the sum; give it one weight"),
        ({"name": "l2 + "}, "unknown metric ''"),
        ({"name": "1.2.3*l2"}, "'1.2.3*l2': the weight 1.2.3 is no number"),
        ({"name": "l3"}, "unknown metric 'l3'"),
        ({"name": "l2", "redraw": "step"}, "redraw='step': l2 has no random filters"),
        ({"name": "l2", "redraw": "always"}, "unknown redraw 'always'"),
        ({"name": "l2", "out_of_range": "wrap"}, "unknown out_of_range 'wrap'"),
        ({"name": "l2", "shift": -1}, "shift=-1, seed=0: expected whole numbers from 0"),
        ({"name": "l2", "targets": TARGETS * 2}, "l2: the target images go from"),
        ({"name": "l2", "targets": [1]}, "l2: the target images are of type list"),
    ],
)
def test_what_is_no_loss_is_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(PmbenchError) as raised:
        pmbench.loss(**arguments)  # type: ignore[arg-type]
    assert sentence in str(raised.value)


def test_images_that_do_not_fit_are_refused() -> None:
    loss = pmbench.loss("mmdpp", TARGETS)
    assert "the images are of shape (1, 3, 32, 64), the targets of shape (4, 3, 64, 64)" in (
        message_of(loss, START[:, :, :32])
    )
    assert "as many of each or one of either" in message_of(loss, TARGETS[:3])
    assert "and not in both" in message_of(loss, START, TARGETS)
    assert "expected targets" in message_of(pmbench.loss("l2"), START)
    small = pmbench.loss("mmdpp", TARGETS[..., :16, :16])
    assert "mmdpp needs at least 32 pixels a side" in message_of(small, START[..., :16, :16])


def test_a_sum_is_parsed() -> None:
    assert parse_sum("a + 0.1 * net:timm/x@1+2 + 1e-3*./b c.py:d") == [
        (1.0, "a"), (0.1, "net:timm/x@1+2"), (0.001, "./b c.py:d")
    ]  # fmt: skip


def seen_by(seen: list[Tensor]) -> object:
    def distance(x: object, y: object) -> Tensor:
        seen.append(y.pixels.clone())  # type: ignore[attr-defined]
        return y.pixels.mean(dim=(1, 2, 3))  # type: ignore[attr-defined]

    return distance

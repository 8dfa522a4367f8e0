"""``pmbench.metric``: a metric as a Python callable, and as a training loss."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.refusals import message_of
from torch import Tensor, nn

import pmbench
from pmbench.datasets.image_pairs import Pair
from pmbench.datasets.pack import Pack
from pmbench.evaluation.pair_distances import measure_pairs
from pmbench.metrics import Metric, registered
from pmbench.metrics.api import Perceptual
from pmbench.metrics.images import Images
from pmbench.metrics.loading import load_metrics
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

LADDER = Path(pmbench.__file__).parent / "data" / "ladder-2afc.h5"
LOSSES = ["l1", "mmdpp", "ssim", "watson-dct-initial", "net-squeeze-random"]


def photographs(n: int) -> tuple[Tensor, Tensor]:
    """Return references and distorted versions from the built-in ladder: float (n, 3, 64, 64)."""
    pack = Pack.open(LADDER)
    items = np.arange(0, len(pack), 37)[:n]
    pixels = [pack.images(0, pack.rows[items, role]) for role in (0, 1)]
    x, y = (torch.from_numpy(p).permute(0, 3, 1, 2).float() / 255 for p in pixels)
    return x, y


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["psnr", "mmdpp", "dssim"])
def test_the_numbers_are_those_of_the_command_line(name: str, tmp_path: Path) -> None:
    from PIL import Image

    x, y = photographs(3)
    pairs = []
    for i in range(3):
        for role, images in (("x", x), ("y", y)):
            pixels = (images[i] * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / f"{role}{i}.png")
        pairs.append(Pair(str(i), tmp_path / f"x{i}.png", tmp_path / f"y{i}.png"))
    loaded, _ = load_metrics([registered()[name]], torch.device("cpu"), Silent())
    expected = (
        measure_pairs(pairs, None, loaded, torch.device("cpu"), Silent()).columns[name].values
    )
    with torch.no_grad():
        values = pmbench.metric(name)(x, y)
    assert values.shape == (3,)
    assert values.dtype == torch.float32
    # a convolution over another number of images may add in another order
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-5)


def test_what_it_says_of_itself() -> None:
    mmdpp, psnr = pmbench.metric("mmdpp"), pmbench.metric("psnr")
    assert (mmdpp.name, mmdpp.higher_is_better, mmdpp.differentiable) == ("mmdpp", False, True)
    assert psnr.higher_is_better
    assert not pmbench.metric("dssim").differentiable
    (loaded,), _ = load_metrics([registered()["mmdpp"]], torch.device("cpu"), Silent())
    assert mmdpp.signature == loaded.signature
    assert repr(mmdpp) == "pmbench.metric('mmdpp', device='cpu')"


def test_names_addresses_and_metrics_are_taken(tmp_path: Path) -> None:
    x, y = photographs(2)
    file = tmp_path / "mine.py"
    file.write_text("def far(x, y):\n    return (x - y).abs().amax(dim=(1, 2, 3))\n")
    by_address = pmbench.metric(f"{file}:far")
    torch.testing.assert_close(by_address(x, y), (x - y).abs().amax(dim=(1, 2, 3)))
    entry = Metric("half", lambda device: lambda x, y: y.pixels.mean(dim=(1, 2, 3)) / 2, title="")
    torch.testing.assert_close(pmbench.metric(entry)(x, y), y.mean(dim=(1, 2, 3)) / 2)
    assert pmbench.metric(registered()["l1"]).name == "l1"
    assert message_of(pmbench.metric, "mmdp").startswith(
        "unknown metric 'mmdp'; did you mean mmdpp"
    )
    two = tmp_path / "two.py"
    two.write_text(
        "from pmbench.metrics import metric\n"
        "for name in ('one', 'two'):\n"
        "    metric(name, title=name)(lambda x, y: x.pixels.mean(dim=(1, 2, 3)))\n"
    )
    message = message_of(pmbench.metric, str(two))
    assert message == f"'{two}' stands for 2 metrics (one, two); name one"


def test_a_metric_that_cannot_be_loaded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    assert message_of(pmbench.metric, "lpips-alex").startswith(
        "the weights 'alexnet' are not on this machine"
    )
    message = message_of(pmbench.metric, "l1", device="gpu")
    assert message == "unknown device 'gpu'; expected auto, cpu, cuda, cuda:N or mps"


def test_large_batches_come_in_portions_where_the_metric_asks_for_it() -> None:
    seen: list[int] = []

    def remember(x: Images, y: Images) -> Tensor:
        seen.append(len(x))
        return (x.pixels - y.pixels).square().mean(dim=(1, 2, 3))

    entry = Metric("seen", lambda device: remember, title="", pixels_at_once=2 * 64 * 64)
    x, y = photographs(5)
    torch.testing.assert_close(
        pmbench.metric(entry)(x, y), (x - y).square().mean(dim=(1, 2, 3)), rtol=0, atol=0
    )
    assert seen == [2, 2, 1]


# --- as a loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LOSSES, pytest.param("vgg-loss-random", marks=pytest.mark.slow)])
def test_an_image_is_trained_towards_a_reference(name: str) -> None:
    """In either place: the metric is differentiable in both images."""
    distance = pmbench.metric(name)
    sign = -1 if distance.higher_is_better else 1
    reference, distorted = photographs(1)
    for place in (0, 1):
        logits = distorted.clamp(0.02, 0.98).logit().requires_grad_()
        optimiser = torch.optim.Adam([logits], lr=0.02)
        losses = []
        for _ in range(8):
            images = [reference, logits.sigmoid()]
            optimiser.zero_grad()
            loss = sign * distance(images[1 - place], images[place]).mean()
            torch.autograd.backward(loss)
            optimiser.step()
            losses.append(float(loss.detach()))
        # Adam takes a step or two to settle, so the last is compared with the first
        assert losses[-1] < losses[0] - 0.05 * abs(losses[0]), losses


def generator() -> nn.Module:
    """Return a small network that makes images, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)]
        return nn.Sequential(*layers, nn.Sigmoid())


def trained(distance: Perceptual, compiled: bool, autocast: bool) -> tuple[list[float], Tensor]:
    """Train a network for three steps; return the losses and the last gradients."""
    x, reference = photographs(2)
    net = generator()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)

    def step() -> Tensor:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            made = net(x)
            loss = distance(reference, made).mean()
        loss.backward()
        optimiser.step()
        return loss.detach()

    run = torch.compile(step, backend="aot_eager") if compiled else step
    losses = [float(run()) for _ in range(3)]
    return losses, torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


# torch.compile looks at the gradient of a tensor that passes from one compiled part to the next,
# and remarks on its own internals
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.filterwarnings("ignore::FutureWarning:torch")
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
@pytest.mark.parametrize(
    "name", [pytest.param("mmdpp", marks=pytest.mark.slow), "net-squeeze-random"]
)
def test_a_compiled_training_step_gives_the_same_values_and_gradients(name: str) -> None:
    torch._dynamo.reset()
    plain, gradients = trained(pmbench.metric(name), compiled=False, autocast=False)
    losses, compiled = trained(pmbench.metric(name), compiled=True, autocast=False)
    assert plain[-1] < plain[0]
    # the same operations in the same order, but for what the compiler fuses
    np.testing.assert_allclose(losses, plain, rtol=1e-6)
    # torch 2.7 adds up a convolution's gradient in another order, and three steps enlarge that
    largest = float(gradients.abs().max())
    torch.testing.assert_close(compiled, gradients, rtol=1e-5, atol=5e-5 * largest)


def test_under_autocast_it_computes_in_float32() -> None:
    distance = pmbench.metric("net-squeeze-random")
    x, y = photographs(2)
    made = y.bfloat16().requires_grad_()  # what a network gives under autocast
    with torch.autocast("cpu", torch.bfloat16):
        value = distance(x, made)
        (gradient,) = torch.autograd.grad(value.sum(), made)
    exact = made.detach().float().requires_grad_()
    expected = distance(x, exact)
    (whole,) = torch.autograd.grad(expected.sum(), exact)
    assert torch.equal(value, expected)
    assert torch.equal(gradient, whole.bfloat16())
    losses, _ = trained(distance, compiled=False, autocast=True)
    assert losses[-1] < losses[0]


def test_saturated_pixels_have_their_gradient() -> None:
    x, y = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    (gradient,) = torch.autograd.grad(pmbench.metric("l2")(x, y.requires_grad_()).sum(), y)
    torch.testing.assert_close(gradient, torch.full_like(y, 8 / 192))  # 2·4·(y - x) / n


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_point_type_is_taken_and_gets_its_gradient(dtype: torch.dtype) -> None:
    x, y = (images.to(dtype) for images in photographs(2))
    y.requires_grad_()
    values = pmbench.metric("l2")(x, y)
    assert values.dtype == torch.float32
    by_hand = (2 * (x.detach().float() - y.detach().float())).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(values.detach(), by_hand)
    values.sum().backward()
    assert y.grad is not None
    assert y.grad.dtype == dtype
    expected = -8 * (x.detach().float() - y.detach().float()) / y[0].numel()
    # float16 and bfloat16 keep 11 and 8 bits
    tolerance = {torch.float64: 1e-5, torch.float16: 1e-2, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(y.grad.float(), expected, rtol=tolerance, atol=1e-6)


def test_it_adds_nothing_to_a_model_that_holds_it() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = generator()
            self.distance = pmbench.metric("net-squeeze-random")

    model = Model()
    assert set(model.state_dict()) == {f"net.{name}" for name in generator().state_dict()}
    x, y = photographs(1)
    model.distance(x, model.net(y)).mean().backward()
    held = model.distance.loaded.distance
    assert isinstance(held, nn.Module)
    assert all(p.grad is None for p in held.parameters())


# --- what is refused ------------------------------------------------------------------------------

ONES = torch.ones(2, 3, 64, 64)
REFUSED: dict[str, tuple[object, object, str]] = {
    "8 bit": (
        ONES.byte(), ONES,
        "mmdpp: the reference images are torch.uint8; expected floating-point numbers in [0, 1]; "
        "pmbench.metric(…, range='[0,255]') takes 8-bit images",
    ),
    "an array": (
        ONES, ONES.numpy(),
        "mmdpp: the distorted images are of type ndarray; expected a torch.Tensor",
    ),
    "one image": (
        ONES[0], ONES[0],
        "mmdpp: the reference images are of shape (3, 64, 64); expected (N, 3, height, width), or "
        "1 channel, none of them 0; one image is x[None]",
    ),
    "none": (
        ONES[:0], ONES[:0],
        "mmdpp: the reference images are of shape (0, 3, 64, 64); expected (N, 3, height, width), "
        "or 1 channel, none of them 0",
    ),
    "signed": (
        ONES, 2 * ONES * torch.linspace(0, 1, 64) - 1,
        "mmdpp: the distorted images go from -1 to 1; expected [0, 1]; "
        "are they in [-1, 1]? Then say so: pmbench.metric(…, range='[-1,1]')",
    ),
    "bytes as floats": (
        255 * ONES, ONES,
        "mmdpp: the reference images go from 255 to 255; expected [0, 1]; "
        "are they in [0, 255]? Then say so: pmbench.metric(…, range='[0,255]')",
    ),
    "no numbers": (
        ONES, ONES * float("nan"),
        "mmdpp: the distorted images go from nan to nan; expected [0, 1]; mend what made them",
    ),
    "two sizes": (
        ONES, ONES[:, :, :40],
        "mmdpp: the reference images are of shape (2, 3, 64, 64), the distorted ones of shape "
        "(2, 3, 40, 64); expected the same height and width, and as many of each or one of either",
    ),
    "two counts": (
        ONES, torch.cat([ONES, ONES[:1]]),
        "mmdpp: the reference images are of shape (2, 3, 64, 64), the distorted ones of shape "
        "(3, 3, 64, 64); expected the same height and width, and as many of each or one of either",
    ),
    "too small": (
        ONES[:, :, :16], ONES[:, :, :16],
        "mmdpp needs at least 32 pixels a side, got 64×16",
    ),
    "another device": (
        ONES, ONES.to("meta"),
        "mmdpp: the distorted images are on meta, the metric is on cpu; move one of them, "
        "as in pmbench.metric('mmdpp', device='meta')",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_it_is_not_defined_on_is_refused_in_a_sentence(what: str) -> None:
    reference, distorted, sentence = REFUSED[what]
    with pytest.raises(PmbenchError) as caught:
        pmbench.metric("mmdpp")(reference, distorted)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_a_little_outside_of_the_range_counts_as_its_end() -> None:
    x, y = photographs(1)
    x[0, :, 0, 0], y[0, :, 0, 0] = 1.0, 0.0
    distance = pmbench.metric("l1")
    expected = distance(x, y)
    x[0, :, 0, 0], y[0, :, 0, 0] = 1.0009, -0.0009
    assert torch.equal(distance(x, y), expected)
    (gradient,) = torch.autograd.grad(distance(x, y.requires_grad_()).sum(), y)
    assert (gradient[0, :, 0, 0] < 0).all()
    x[0, :, 0, 0] = 1.0011
    assert "go from" in message_of(distance, x, y)


def test_a_gradient_that_does_not_exist_is_refused() -> None:
    x, y = photographs(1)
    y.requires_grad_()
    dssim = pmbench.metric("dssim")
    assert message_of(dssim, x, y) == (
        "dssim has no gradient, so it can be no loss; to measure with it, give it x.detach(), "
        "or call it under torch.no_grad(), outside of torch.func"
    )
    with torch.no_grad():
        measured = dssim(x, y)
    assert torch.equal(measured, dssim(x, y.detach()))


# --- the package ----------------------------------------------------------------------------------


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, pmbench\n"
        "assert {'loss', 'metric', 'PmbenchError', '__version__'} <= set(dir(pmbench))\n"
        "assert set(pmbench.__all__) == {'loss', 'metric', 'PmbenchError', '__version__'}\n"
        "assert not {'torch', 'pandas', 'numpy', 'pmbench.metrics.api'} & set(sys.modules)\n"
        "assert callable(pmbench.metric) and 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'pmbench' has no attribute 'metrik'$"):
        _ = pmbench.metrik  # type: ignore[attr-defined]

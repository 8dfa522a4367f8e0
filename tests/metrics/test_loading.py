"""What identifies a metric: its digest and its sources; and what a foreign one may not do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.factories import packed
from support.refusals import message_of
from torch import Tensor, nn

import pmbench
from pmbench.datasets.manifest import datasets
from pmbench.evaluation.batching import BatchLimits, plan
from pmbench.evaluation.loop import Result, measure
from pmbench.metrics import Metric, OnPixels, registered
from pmbench.metrics.images import Images
from pmbench.metrics.loading import (
    SOURCE_KIND,
    LoadedMetric,
    ModelSize,
    load_metric,
    metric_digest,
    model_size,
    source_files,
)
from pmbench.metrics.selection import select_metrics as select_metrics
from pmbench.scoring.protocols import TWO_AFC
from pmbench.utils import source_code
from pmbench.utils.paths import PACKAGE
from pmbench.utils.progress import Silent

CPU = torch.device("cpu")
NET = nn.Conv2d(3, 1, 1)
SCALE = np.array([2.0])


def uses_surroundings(x: Images, y: Images) -> Tensor:
    return (NET(x.pixels) - NET(y.pixels)).square().mean(dim=(1, 2, 3)) * float(SCALE[0])


def of(function: object) -> Metric:
    return Metric("mine", load=lambda device: function, title="mine")  # type: ignore[arg-type, return-value]


def test_weights_that_a_function_takes_from_its_module_are_in_its_digest() -> None:
    before = metric_digest(of(uses_surroundings), uses_surroundings)
    with torch.no_grad():
        NET.bias += 1
    trained = metric_digest(of(uses_surroundings), uses_surroundings)
    SCALE[0] = 3
    scaled = metric_digest(of(uses_surroundings), uses_surroundings)
    assert len({before, trained, scaled}) == 3
    assert metric_digest(of(uses_surroundings), uses_surroundings) == scaled


def test_weights_that_a_closure_holds_are_in_its_digest() -> None:
    def made(weight: Tensor) -> OnPixels:
        return OnPixels(lambda x, y: ((x - y) * weight).abs().mean(dim=(1, 2, 3)))

    one, two = (metric_digest(of(None), made(torch.tensor(v))) for v in (1.0, 2.0))
    assert one != two


def test_a_network_s_bfloat16_tensors_and_extra_state_are_in_its_digest() -> None:
    class Odd(nn.Module):
        def __init__(self, value: float, extra: str) -> None:
            super().__init__()
            self.register_buffer("value", torch.tensor([value], dtype=torch.bfloat16))
            self.extra = extra

        def get_extra_state(self) -> str:
            return self.extra

    digests = {metric_digest(of(None), Odd(v, e)) for v, e in ((1, "a"), (2, "a"), (1, "b"))}  # type: ignore[arg-type]
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("watson-dct-initial", ["metrics/builtin/watson", "metrics/images"]),
        ("vgg-loss-random", ["metrics/builtin/feature_losses", "metrics/builtin/swd",
         "networks/backbones"]),
        ("l1", ["metrics/builtin/pixel", "utils/color"]),
    ],
)  # fmt: skip
def test_the_source_of_a_metric_is_all_that_its_formula_is_written_in(
    name: str, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = registered()[name]
    distance = metric.load(CPU)
    before = source_files(metric, distance)
    digest = source_code._digest_of_code

    def source_where(changed: Path) -> dict[str, str]:
        assert changed.is_file()
        other = lambda path, time: "other" if path == changed else digest(path, time)  # noqa: E731
        monkeypatch.setattr(source_code, "_digest_of_code", other)
        return source_files(metric, distance)

    for source in sources:
        assert source_where(PACKAGE / f"{source}.py") != before, source
    for unasked in ("metrics/builtin/stlpips", "networks/weights", "utils/errors"):
        assert source_where(PACKAGE / f"{unasked}.py") == before, unasked


FORMULA = '''
"""What it is."""
from torch import Tensor


def distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the distance."""
    # squared
    return (x - y).square().mean(dim=(1, 2, 3))
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# squared", "# the squared difference", True),
        ("Return the distance.", "Return one number a pair.", True),
        ("from torch import", "from pmbench.metrics import Metric\nfrom torch import", True),
        ("from torch import", "import pmbench.metrics\nfrom torch import", True),
        ("from torch import", "from math import pi\nfrom torch import", False),
        ("(x - y)", "(x - y" + " + 0" * 2_000 + ")", False),
        ("Tensor:", "'Tensor':", False),
        ("(x - y)", "(x  -  y)", True),
        (".square()", ".abs()", False),
        ("dim=(1, 2, 3)", "dim=(1, 3, 2)", False),
    ],
)
def test_the_source_is_what_code_says_and_neither_comments_nor_place(
    old: str, new: str, same: bool, tmp_path: Path
) -> None:
    sources = []
    for folder, text in (("before", FORMULA), ("after", FORMULA.replace(old, new))):
        file = tmp_path / folder / "mine.py"
        file.parent.mkdir()
        file.write_text(text)
        (metric,) = select_metrics([f"{file}:distance"]).metrics
        sources.append(load_metric(metric, CPU, Silent()).source)
    assert all(source.startswith(SOURCE_KIND) for source in sources)
    assert (sources[0] == sources[1]) is same


def test_a_metric_that_changes_its_images_fails_alone_and_harms_no_other() -> None:
    def halves(x: Images, y: Images) -> Tensor:
        return (x.pixels.mul_(0.5) - y.pixels).abs().mean(dim=(1, 2, 3))

    pack = packed(datasets()["ladder-2afc"])
    items = np.arange(0, 216, 54)  # no two share a reference, so roles are views of the batch
    batches = plan(pack, items, BatchLimits())
    harmful = LoadedMetric(replace(of(halves), name="halves"), halves, "")
    l2 = load_metric(registered()["l2"], CPU, Silent())
    ((_, alone),) = measure(pack, TWO_AFC, batches, lambda batch: [l2], CPU)
    ((_, beside),) = measure(pack, TWO_AFC, batches, lambda batch: [harmful, l2], CPU)
    assert str(beside["halves"]) == (
        "halves: changes its input images, which are other metrics' too; "
        "let it compute on x.pixels.clone()"
    )
    assert isinstance(alone["l2"], Result)
    assert isinstance(beside["l2"], Result)
    assert np.array_equal(alone["l2"].distances, beside["l2"].distances)


def test_a_loss_of_the_wrong_shape_is_refused() -> None:
    wrong = Metric("wide", lambda device: lambda x, y: x.pixels.mean(dim=(2, 3)), "wide")
    loss = pmbench.metric(wrong)
    x = torch.rand(2, 3, 8, 8)
    assert message_of(loss, x, x) == (
        "wide: expected floating-point numbers of shape (2,), one a pair, "
        "got torch.float32 of shape (2, 3)"
    )


def test_a_user_s_network_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_network.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(3, 2, 1)\n"
        "    def forward(self, x, y):\n"
        "        return (self.conv(x) - self.conv(y)).abs().mean(dim=(1, 2, 3))\n"
        "net = Net()\n"
    )
    monkeypatch.chdir(tmp_path)
    distance = pmbench.metric("own_network:net")
    x = torch.rand(2, 3, 8, 8)
    assert distance(x, 1 - x).shape == (2,)
    import own_network  # type: ignore[import-not-found]

    assert own_network.net.training
    assert own_network.net.conv.weight.requires_grad


# --- what a metric holds --------------------------------------------------------------------------


class Shared(nn.Module):
    """Two names for one tensor of 6 numbers, and a whole number."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.zeros(2, 3))
        self.other = self.one
        self.register_buffer("count", torch.tensor(7))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).mean((1, 2, 3))


class Plain:
    """A callable whose tensors nobody sees."""

    def __init__(self) -> None:
        self.hidden = torch.zeros(5)

    def __call__(self, x: Images, y: Images) -> Tensor:
        return (x.pixels - y.pixels).mean((1, 2, 3))


def test_a_tensor_with_two_names_counts_once() -> None:
    assert model_size(OnPixels(Shared())) == ModelSize(numbers=7, bytes=6 * 4 + 8)


def test_a_formula_holds_nothing_and_of_an_object_nobody_can_tell() -> None:
    def formula(x: Images, y: Images) -> Tensor:
        return (x.pixels - y.pixels).mean((1, 2, 3))

    assert model_size(formula) == ModelSize(0, 0)
    # a network's three filters and bias; the number beside it is a constant of the formula
    assert model_size(uses_surroundings) == ModelSize(4, 4 * 4)
    assert model_size(registered()["ssim"].load(CPU)) == ModelSize(0, 0)
    assert model_size(Plain()) is None


def test_a_trunk_counts_with_what_stands_on_it(reference_weights: Path) -> None:
    loaded = load_metric(registered()["lpips-alex"], CPU, Silent())
    # five convolutions with their biases, and a weight for each channel; see test_cards.py
    assert model_size(loaded.distance) == ModelSize(2_470_848, 4 * 2_470_848)

"""A metric in a program that sets torch otherwise, copies what holds it, or sends it elsewhere."""

from __future__ import annotations

import copy
import io
import json
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from support.laws import NOT_AT_HAND, pair
from support.paths import TESTS
from support.refusals import message_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import pmbench
from pmbench.metrics import Metric, registered
from pmbench.metrics.api import Perceptual

X, Y = pair(2, 64, 64)
DEEP = "net-squeeze-random"


# --- torch's defaults -----------------------------------------------------------------------------

_SCRIPT = """
import json, sys, warnings
sys.path.insert(0, sys.argv[1])
import torch
from support.laws import pair, side
from pmbench.metrics import registered
import pmbench
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
state = torch.random.get_rng_state()
results = {}
with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
    for name in sys.argv[2:]:
        metric = pmbench.metric(name)
        torch.set_default_dtype(torch.float32)
        with torch.device("cpu"):
            x, y = pair(2, side(registered()[name]), side(registered()[name]))
        torch.set_default_dtype(torch.float64)
        results[name] = metric.signature, metric(x, y).tolist()
assert torch.equal(state, torch.random.get_rng_state())
assert torch.get_default_dtype() == torch.float64
assert torch.get_default_device().type == "meta"
print(json.dumps(results))
"""


def here_and_under_other_defaults(names: list[str]) -> None:
    script = [sys.executable, "-c", _SCRIPT, str(TESTS), *names]
    ended = subprocess.run(script, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    for name, (signature, values) in json.loads(ended.stdout).items():
        metric = pmbench.metric(name)
        side = max(32, registered()[name].min_size)
        assert signature == metric.signature, name
        # what else has run in a process may lie otherwise in memory
        np.testing.assert_allclose(values, metric(*pair(2, side, side)), rtol=1e-6, err_msg=name)


def test_torchs_defaults_change_nothing_of_what_a_metric_is() -> None:
    """Each kind of filters: drawn by torchvision and by NumPy, tables, windows, kernels."""
    names = ["net-alex-random", "alex-loss-1-random", "mmdpp", "patch-swd-3", "watson-dct-initial"]
    here_and_under_other_defaults([*names, "ssim", "dssim-lab", "lap1", "haarpsi", "cvvdp"])


@pytest.mark.slow
def test_nor_of_any_other(reference_weights: Path) -> None:
    here_and_under_other_defaults([name for name in registered() if name not in NOT_AT_HAND])


def test_threads_may_load_and_measure_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Also a network that others see through hooks, and where the default dtype is another."""
    names = ["net:torchvision/resnet18?random=0", "mmdpp", "haarpsi", "lap1"]
    expected = {name: pmbench.metric(name)(X, Y) for name in names}
    out = sys.stdout
    torch.set_default_dtype(torch.float64)
    try:
        with ThreadPoolExecutor(4) as pool:
            metrics = dict(zip(names, pool.map(pmbench.metric, names), strict=True))
            jobs = [name for _ in range(6) for name in names]
            results = list(pool.map(lambda name: metrics[name](X, Y), jobs))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert sys.stdout is out
    for name, result in zip(jobs, results, strict=True):
        torch.testing.assert_close(result, expected[name], rtol=1e-5, atol=0)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")
@pytest.mark.parametrize("name", ["mmdpp", "patch-swd-3"])
def test_a_trace_holds_no_numbers_of_the_pair_that_it_was_made_with(name: str) -> None:
    metric = pmbench.metric(name)
    traced = torch.jit.trace(lambda x, y: metric(x, y), (X, Y), check_trace=False)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(traced(Y.flip(3), X), metric(Y.flip(3), X), rtol=1e-4, atol=0)


# --- copies and pickles ---------------------------------------------------------------------------


class Model(nn.Module):
    """A small network that holds a metric, as a program's would."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 3, 3, padding=1)
        self.distance = pmbench.metric(DEEP, range="[-1,1]")

    def forward(self, x: Tensor) -> Tensor:
        """Return the distance of each image from what the network makes of it."""
        return self.distance(2 * x - 1, self.net(x).tanh())


def test_a_moving_average_of_a_model_holds_the_metric_itself() -> None:
    model = Model()
    expected = model(X)
    average = torch.optim.swa_utils.AveragedModel(model)  # which copies it, deep
    average.update_parameters(model)
    assert torch.equal(average(X), expected)
    assert average.module.distance.loaded is model.distance.loaded  # no second network in memory


def test_a_saved_model_is_loaded_whole_and_holds_no_weights_of_the_metric() -> None:
    model = Model()
    expected, file = model(X), io.BytesIO()
    torch.save(model, file)
    assert file.tell() < 10_000
    file.seek(0)
    again = torch.load(file, weights_only=False, map_location="cpu")
    assert torch.equal(again(X), expected)
    assert repr(again.distance) == f"pmbench.metric('{DEEP}', device='cpu', range='[-1,1]')"


class Pairs(Dataset[Tensor]):
    """Distances that the workers of a DataLoader compute."""

    def __init__(self) -> None:
        self.distance = pmbench.metric("mmdpp")

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> Tensor:
        with torch.no_grad():
            return self.distance(X[i : i + 1], Y[i : i + 1])


def test_spawned_workers_measure_the_same() -> None:
    pairs = Pairs()
    expected = torch.cat([pairs[0], pairs[1]])
    loader = DataLoader(pairs, num_workers=1, multiprocessing_context="spawn")
    torch.testing.assert_close(torch.cat(list(loader)).flatten(), expected, rtol=1e-6, atol=0)


def measure(distance: Perceptual) -> tuple[str, list[float]]:
    return distance.signature, distance(X, Y).tolist()


def test_a_metric_by_address_is_read_again_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def far(x, y):\n    return (x - y).abs().amax(dim=(1, 2, 3))\n"
    )
    distance = pmbench.metric(f"{tmp_path / 'mine.py'}:far")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(measure, (distance,)) == measure(distance)


def test_a_metric_of_a_program_is_pickled_if_its_parts_can_be() -> None:
    entry = Metric("own", load, title="")
    again = pickle.loads(pickle.dumps(pmbench.metric(entry)))
    assert torch.equal(again(X, Y), distance_of_own(X, Y))
    nameless = Metric("nameless", lambda device: load(device), title="")
    message = message_of(pickle.dumps, pmbench.metric(nameless))
    assert message.startswith("nameless cannot be pickled (")
    assert message.endswith(
        "); register it in a module, or name it by an address such as ./mine.py:name"
    )
    assert copy.deepcopy(pmbench.metric(nameless)).name == "nameless"  # which takes no pickle


def load(device: torch.device):  # type: ignore[no-untyped-def]
    from pmbench.metrics import OnPixels

    return OnPixels(distance_of_own)


def distance_of_own(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().mean(dim=(1, 2, 3))


def test_a_pickle_of_another_metric_of_that_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def far(x, y):\n    return (x - y).abs().amax(dim=(1, 2, 3))\n")
    distance = pmbench.metric(f"{file}:far")
    content = pickle.dumps(distance)
    file.write_text("def far(x, y):\n    return (x - y).square().amax(dim=(1, 2, 3))\n")
    now = pmbench.metric(f"{file}:far").signature
    assert message_of(pickle.loads, content) == (
        f"the pickle is of {distance.signature}, and here the metric is {now}; use the weights and "
        "versions of where it was made, or make it anew with pmbench.metric('mine:far')"
    )


# --- what has no number ---------------------------------------------------------------------------


def test_a_distance_that_is_no_number_is_said_to_the_caller() -> None:
    def of_the_second(x, y):  # type: ignore[no-untyped-def]
        return (x.pixels - y.pixels).mean(dim=(1, 2, 3)) / torch.tensor([1.0, 0.0])

    distance = pmbench.metric(Metric("half", lambda device: of_the_second, title=""))
    sentence = (
        "half: the distance of pair 1 is inf; expected a finite number; the metric is not defined "
        "on such images: leave them out, or choose another metric (if it is yours: mend it, or "
        "say in its `min_size` where it is not defined)"
    )
    assert message_of(distance, torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)) == sentence


def test_iw_ssim_of_a_drawn_picture_is_1_with_itself_and_else_said_to_have_none() -> None:
    distance = pmbench.metric("iw-ssim")
    step = (torch.arange(176) >= 88).float().expand(1, 3, 176, 176)
    same = step.clone().requires_grad_()
    value = distance(step, same)
    assert value.tolist() == [1.0]
    value.sum().backward()
    assert same.grad is not None
    assert not same.grad.any()  # it is the largest value there is
    for direction in (step, step.transpose(2, 3)):
        message = message_of(distance, direction, step / 2)
        assert message.startswith("iw-ssim: the distance of pair 0 is nan; expected a finite numb")

"""The loop: what is kept while measuring, portions, and metrics that are wrong."""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.evaluations import (
    CPU,
    difference,
    distances,
    in_one_batch,
    job,
    load_named,
    metric_of,
    only_batch,
    results_of,
    run,
)
from support.refusals import message_of
from torch import Tensor, nn

from pmbench.datasets.download import DownloadOptions, download
from pmbench.datasets.manifest import datasets
from pmbench.datasets.resize import resize_for
from pmbench.evaluation.batching import BatchLimits, plan
from pmbench.evaluation.evaluator import EvalConfig
from pmbench.evaluation.loop import Result
from pmbench.metrics import EXTRAS, Distance, Metric, registered
from pmbench.metrics.images import Images
from pmbench.metrics.loading import group_by_backbone, load_metric, load_metrics
from pmbench.networks.backbones import Backbone
from pmbench.results.run import Subset
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

# --- what is kept while measuring -----------------------------------------------------------------


@pytest.mark.usefixtures("reference_weights")
def test_metrics_on_one_trunk_follow_one_another_otherwise_in_order() -> None:
    names = (
        "l2", "lpips-alex", "mmdpp", "lpips-alex-v0.0", "lpips-squeeze", "net-alex", "l1",
        "alex-loss-4", "net-squeeze", "alex-loss-1",
    )  # fmt: skip
    assert [m.metric.name for m in group_by_backbone(load_named(*names))] == [
        "l2", "lpips-alex", "net-alex", "mmdpp", "lpips-alex-v0.0", "alex-loss-4", "alex-loss-1",
        "lpips-squeeze", "net-squeeze", "l1",
    ]  # fmt: skip
    assert group_by_backbone([]) == []


@pytest.mark.usefixtures("reference_weights")
def test_features_of_one_trunk_are_gone_before_another_sees_the_batch(tmp_path: Path) -> None:
    # in an order that would keep both
    metrics = load_named("lpips-alex", "lpips-squeeze", "net-alex", "net-squeeze")
    features: list[tuple[nn.Module, weakref.ref[Tensor]]] = []
    result: list[str] = []

    def kept() -> list[nn.Module]:
        return [net for net, feature in features if feature() is not None]

    def sees(net: nn.Module, args: object) -> None:
        result.append(f"kept as another sees the batch: {len(kept())}")

    def has_seen(net: nn.Module, args: object, taps: tuple[Tensor, ...]) -> None:
        features.extend((net, weakref.ref(tap)) for tap in taps)

    def asked(distance: nn.Module, args: object) -> None:
        result.append(f"kept when asked: {len(kept())}")

    def after(number: int) -> None:
        result.append(f"kept after the batch: {len(kept())}")

    handles = []
    for net in {module for m in metrics for module in m.modules if isinstance(module, Backbone)}:
        handles += [net.register_forward_pre_hook(sees), net.register_forward_hook(has_seen)]
    for second in metrics[2:]:
        assert isinstance(second.distance, nn.Module)
        handles.append(second.distance.register_forward_pre_hook(asked))
    config = job("ladder-2afc", tmp_path, limit=3)
    batches = plan(config.pack, config.chosen, BatchLimits(pixels=22 * 64 * 64))
    results_of(config.pack, config.protocol, batches, metrics, after)
    for handle in handles:
        handle.remove()
    assert len(batches) == 2
    assert result == 2 * [
        "kept as another sees the batch: 0",
        "kept when asked: 5",  # AlexNet's taps, when the second metric on it is asked, of p0
        "kept when asked: 5",  # and of p1
        "kept as another sees the batch: 0",
        "kept when asked: 7",
        "kept when asked: 7",
        "kept after the batch: 0",
    ]


# --- some items at a time -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels_at_once", "sizes"),
    [
        (None, [18]),
        (18 * 64 * 64, [18]),
        (5 * 64 * 64 + 4095, [5, 5, 5, 3]),
        (64 * 64, [1] * 18),
        (100, [1] * 18),  # less than one image: then one
    ],
)
def test_a_metric_gets_as_few_items_at_a_time_as_it_asks_for(
    pixels_at_once: int | None, sizes: list[int], tmp_path: Path
) -> None:
    config = job("ladder-2afc", tmp_path, limit=3)
    got: list[int] = []

    def noting(x: Images, y: Images) -> Tensor:
        got.append(len(x.pixels))
        return difference(x, y)

    results = in_one_batch(
        config,
        metric_of("all", difference),
        metric_of("some", noting, pixels_at_once=pixels_at_once),
    )
    at_once, some = results["all"], results["some"]
    assert isinstance(at_once, Result)
    assert isinstance(some, Result)
    assert got == [size for size in sizes for _ in range(2)]  # both pairs of each portion
    assert len(np.unique(at_once.distances, axis=0)) == 18  # none could stand for another
    # a mean over an image's pixels, whose order of adding may depend on the batch
    np.testing.assert_allclose(some.distances, at_once.distances, rtol=1e-6)
    assert some.seconds > 0


def test_sliced_wasserstein_distances_in_portions_are_those_at_once(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path, limit=1)
    for name in ("patch-swd-3", "window-swd-7"):
        (asked,) = load_named(name)
        assert asked.metric.pixels_at_once is not None
        assert 1 <= asked.metric.pixels_at_once // 64**2 < 6  # several portions
        whole = replace(asked, metric=replace(asked.metric, name="whole", pixels_at_once=None))
        portions, at_once = in_one_batch(config, asked, whole).values()
        assert isinstance(portions, Result)
        assert isinstance(at_once, Result)
        np.testing.assert_allclose(portions.distances, at_once.distances, rtol=1e-6)  # as above


@pytest.mark.parametrize("pixels_at_once", [None, 4 * 64 * 64, 1])
@pytest.mark.parametrize("place", [0, 3, 4, 17])
def test_the_item_whose_distance_is_wrong_is_named(
    place: int, pixels_at_once: int | None, tmp_path: Path
) -> None:
    config = job("ladder-2afc", tmp_path, limit=3)
    item = only_batch(config).items[place]
    seen: dict[int, int] = {0: 0, 1: 0}  # items, by pair

    def wrong(x: Images, y: Images) -> Tensor:
        pair = int(seen[1] < seen[0])  # (ref, p1) follows (ref, p0), portion by portion
        value, begin = difference(x, y), seen[pair]
        seen[pair] += len(value)
        if pair == 1 and begin <= place < seen[pair]:
            value[place - begin] = float("nan")
        return value

    error = in_one_batch(config, metric_of("wrong", wrong, pixels_at_once=pixels_at_once))["wrong"]
    assert str(error) == (
        f"wrong: the distance of ref and p1 of item {config.pack.items.id[item]} is nan; expected "
        "a finite number; the metric is not defined on such images: leave them out, or choose "
        "another metric (if it is yours: mend it, or say in its `min_size` where it is not defined)"
    )


def test_a_metric_that_fails_on_a_portion_names_its_first_item(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path, limit=3)
    calls: list[int] = []

    def breaking(x: Images, y: Images) -> Tensor:
        calls.append(len(x.pixels))
        if len(calls) == 4:  # the second pair of the second portion
            raise ZeroDivisionError("division by zero")
        return difference(x, y)

    def short(x: Images, y: Images) -> Tensor:
        return difference(x, y)[:3]

    results = in_one_batch(
        config,
        metric_of("breaking", breaking, pixels_at_once=4 * 64 * 64),
        metric_of("short", short, pixels_at_once=4 * 64 * 64),
    )
    fifth = config.pack.items.id[only_batch(config).items[4]]
    assert calls == [4, 4, 4, 4]
    assert str(results["breaking"]).startswith(
        f"breaking failed on the batch of item {fifth}: ZeroDivisionError: division by zero "
        f"(in {Path(__file__).name}, line "
    )
    assert str(results["short"]) == (
        "short: expected floating-point numbers of shape (4,), one a pair, "
        "got torch.float32 of shape (3,)"
    )


# --- metrics that are wrong -----------------------------------------------------------------------


def _broken(x: Images, y: Images) -> Tensor:
    raise ZeroDivisionError("division by zero")


def _nan(x: Images, y: Images) -> Tensor:
    value = difference(x, y)
    value[-1] = float("nan")
    return value


@pytest.mark.parametrize(
    ("name", "distance", "sentence"),
    [
        ("raises", _broken,
         "raises failed on the batch of item .*: ZeroDivisionError: division by"),
        ("nan", _nan,
         "nan: the distance of ref and p0 of item .+ is nan; expected a finite number"),
        ("subtracts", lambda x, y: x - y, "subtracts failed on .*: TypeError: .*; "
         "the pixels of images x are x.pixels, \\(N, 3, H, W\\)$"),
        ("exits", lambda x, y: sys.exit(2), "exits failed on the batch of item .*: SystemExit: 2 "),
        ("inf", lambda x, y: difference(x, y) / 0, "of item .+ is inf; expected a finite number"),
        ("column", lambda x, y: difference(x, y)[:, None],
         r"expected floating-point numbers of shape \(\d+,\), one a pair, got torch.float32 of "
         r"shape \(\d+, 1\)"),
        ("whole", lambda x, y: difference(x, y).long(), "got torch.int64 of shape"),
        ("list", lambda x, y: difference(x, y).tolist(), r"expected a tensor .*, got list"),
    ],
)  # fmt: skip
def test_a_wrong_metric_fails_alone_with_a_sentence(
    name: str, distance: object, sentence: str, tmp_path: Path
) -> None:
    metrics = [metric_of(name, distance), *load_named("l2")]
    config = job("ladder-2afc", tmp_path, limit=1)
    outcome = run(config, metrics)
    assert [r.metric for r in outcome.runs] == ["l2"]
    assert set(outcome.failures) == {name}
    assert re.search(sentence, outcome.failures[name]), outcome.failures[name]
    assert config.folder("l2").joinpath("run.json").exists()
    assert not config.folder(name).joinpath("run.json").exists()


def _imports_what_is_not_there(device: torch.device) -> Distance:
    import module_that_is_not_there  # type: ignore[import-not-found]

    return module_that_is_not_there.distance  # type: ignore[no-any-return]


def _cannot_import(device: torch.device) -> Distance:
    raise ImportError("no module named 'elsewhere'")


def _exits(device: torch.device) -> Distance:
    sys.exit(3)


def _tells(device: torch.device) -> Distance:
    raise PmbenchError("no licence file; put it beside the weights")


@pytest.mark.parametrize(
    ("load", "sentence"),
    [
        (_imports_what_is_not_there,
         "needs the module module_that_is_not_there, which is not installed; "
         "install it beside pmbench"),
        (_cannot_import, "cannot be loaded: ImportError: no module named 'elsewhere' "
         f"(in {Path(__file__).name}, line {_cannot_import.__code__.co_firstlineno + 1})"),
        (_exits, "cannot be loaded: SystemExit: 3 "
         f"(in {Path(__file__).name}, line {_exits.__code__.co_firstlineno + 1})"),
        (_tells, "no licence file; put it beside the weights"),
    ],
)  # fmt: skip
def test_why_a_metric_cannot_be_loaded_is_one_sentence(
    load: Callable[[torch.device], Distance], sentence: str
) -> None:
    broken = Metric(name="broken", load=load, title="broken")
    assert message_of(load_metric, broken, CPU, Silent()) == sentence
    loaded, failures = load_metrics([broken, registered()["l2"]], CPU, Silent())
    assert [m.metric.name for m in loaded] == ["l2"]
    assert failures == {"broken": sentence}


def test_a_metric_whose_package_lacks_is_not_even_begun_to_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(EXTRAS, "fancy", "package_that_is_not_there")
    monkeypatch.setitem(EXTRAS, "plain", "torch")
    begun: list[str] = []

    def load(device: torch.device) -> Distance:
        begun.append("loading")
        return difference

    sentence = (
        "needs the package package_that_is_not_there, which is not installed; "
        "run: pip install 'pmbench[fancy]'"
    )
    lacking = Metric(name="lacking", load=load, title="lacking", extra="fancy")
    assert lacking.not_installed() == sentence
    _, failures = load_metrics([lacking], CPU, Silent())
    assert failures == {"lacking": sentence}
    assert begun == []
    assert replace(lacking, extra="plain").not_installed() is None
    assert replace(lacking, extra="").not_installed() is None


def test_what_a_metric_prints_does_not_reach_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(device: torch.device) -> Distance:
        print("Setting up [chatty]")  # noqa: T201  foreign code does
        return chatty

    def chatty(x: Images, y: Images) -> Tensor:
        print("measuring")  # noqa: T201
        return difference(x, y)

    loaded = load_metric(Metric(name="chatty", load=load, title="chatty"), CPU, Silent())
    message = capsys.readouterr()
    assert (message.out, message.err) == ("", "Setting up [chatty]\n")
    results = in_one_batch(job("ladder-2afc", tmp_path, limit=1), loaded)
    assert isinstance(results["chatty"], Result)
    message = capsys.readouterr()
    assert (message.out, message.err) == ("", "measuring\nmeasuring\n")  # once a pair of roles


def test_a_metric_loaded_while_measuring_can_still_be_trained_with() -> None:
    with torch.inference_mode():
        (loaded,) = load_named("mmd-approx")
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loaded.distance(Images(x), Images(torch.zeros(1, 3, 32, 32))).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0


def test_a_size_that_a_metric_is_not_defined_on_is_not_a_number_but_a_reason(
    shared: Path, tmp_path: Path
) -> None:
    manifest = datasets()["bapps-2afc-val"]
    choices = DownloadOptions(source=str(shared / "bapps_sample"), partial=True)
    pack = download(manifest, resize_for(manifest, "exact"), choices, Silent())
    config = EvalConfig(manifest, pack, Subset(), tmp_path)
    picky = metric_of("picky", difference, min_size=64)
    never = metric_of("never", difference, min_size=65)
    outcome = run(config, [picky, never])
    partly, nothing = (
        r.scores().query("kind == 'metric' and statistic == '2afc'").set_index("sub_dataset")
        for r in outcome.runs
    )
    assert partly.loc["macro", "n"] == 93
    assert partly.loc["macro", "of"] == 94
    assert "needs at least 64 pixels a side, got 63×63" in partly.loc["macro", "note"]
    assert nothing.loc["macro", "n"] == 0
    assert np.isnan(nothing.loc["macro", "value"])
    assert "needs at least 65 pixels a side" in nothing.loc["macro", "note"]


def test_higher_is_better_is_stored_as_a_distance(tmp_path: Path) -> None:
    up = metric_of("up", lambda x, y: -difference(x, y), higher_is_better=True)
    down = metric_of("down", difference)
    outcome = run(job("ladder-2afc", tmp_path, limit=5), [up, down])
    result = distances(outcome)
    np.testing.assert_array_equal(result["up"], result["down"])


def test_a_run_says_where_it_comes_from(tmp_path: Path) -> None:
    info = run(job("ladder-2afc", tmp_path, limit=2), load_named("mmdpp")).runs[0].info
    assert info.environment.torch == torch.__version__
    assert info.environment.threads == torch.get_num_threads()
    assert info.dataset.pack_digest
    assert info.metric.parameters["r"] == 512
    assert info.seconds > 0
    assert info.items_per_second == pytest.approx(12 / info.seconds, rel=0.01)
    assert info.peak_memory_mb > 50


# --- who writes into the images -------------------------------------------------------------------


def test_another_ones_metric_that_writes_past_torch_fails_alone(tmp_path: Path) -> None:
    def halves(x: Images, y: Images) -> Tensor:
        x.pixels.numpy()[:] *= 0.5
        return difference(x, y)

    pack = job("ladder-2afc", tmp_path).pack
    protocol = job("ladder-2afc", tmp_path).protocol
    batches = plan(pack, np.arange(0, 216, 54), BatchLimits())  # no two share a reference
    harmful, after = (
        metric_of("halves", halves, address="./mine.py:halves"),
        metric_of("after", difference),
    )
    (alone,) = results_of(pack, protocol, batches, [after])
    (beside,) = results_of(pack, protocol, batches, [harmful, after])
    assert str(beside["halves"]).startswith("halves: changes its input images, which are other")
    assert isinstance(alone["after"], Result)
    assert isinstance(beside["after"], Result)
    np.testing.assert_array_equal(alone["after"].distances, beside["after"].distances)

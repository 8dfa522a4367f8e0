"""The loop: each image once, resumable to the bit, and one bad metric alone."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from test_laws import NOT_AT_HAND
from test_laws import loaded as distance_of
from torch import Tensor, nn

from pmbench.datasets.download import Choices, download, pack_for
from pmbench.datasets.manifest import datasets, load
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import resize_for
from pmbench.evaluation.batching import Batch, Bounds, plan
from pmbench.evaluation.evaluator import Job, Outcome, evaluate
from pmbench.evaluation.loop import Result, measure
from pmbench.metrics import EXTRAS, Distance, Metric, registered
from pmbench.metrics.builtin.mmd import RandomFeatures
from pmbench.metrics.images import Images
from pmbench.metrics.loading import Loaded, by_trunk, digest_of, load_metric, load_metrics
from pmbench.networks import weights
from pmbench.networks.backbones import Trunk
from pmbench.results.run import JOURNAL, Selection
from pmbench.scoring.bootstrap import Resampling
from pmbench.utils.devices import be_exact, choose_device
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

CPU = torch.device("cpu")
SMALL = Bounds(pixels=45 * 64 * 64)  # several batches on the ladder, each with whole components


def job(name: str, results: Path, limit: int | None = None) -> Job:
    manifest = datasets()[name]
    pack = pack_for(manifest, resize_for(manifest, None), Silent())
    assert pack is not None
    return Job(manifest, pack, Selection(limit), results)


def ready(*names: str) -> list[Loaded]:
    loaded, failures = load_metrics([registered()[n] for n in names], CPU, Silent())
    assert not failures
    return loaded


def run(a_job: Job, metrics: list[Loaded], bounds: Bounds = SMALL, **options: object) -> Outcome:
    reporter = options.pop("reporter", Silent())
    return evaluate(a_job, metrics, CPU, bounds, bool(options.pop("fresh", False)), reporter)  # type: ignore[arg-type]


def distances(outcome: Outcome) -> dict[str, np.ndarray]:
    return {r.metric: r.distances()[1] for r in outcome.runs}


class Interrupting(Silent):
    """A user who presses Ctrl-C after some batches."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    @contextmanager
    def task(self, what: str, total: float | None, unit: str) -> Iterator[Interrupting]:  # type: ignore[override]
        yield self

    def describe(self, text: str) -> None: ...

    def expect(self, total: float | None, done: float = 0) -> None: ...

    def advance(self, amount: float = 1) -> None:
        if amount:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


@contextmanager
def counted(
    metrics: list[Loaded], kind: type[nn.Module] = Trunk
) -> Iterator[dict[tuple[object, ...], Counter[str]]]:
    """Count how often each trunk, or another kind of module, is given each image.

    Trunks of the same filters and preprocessing count as one, whatever their form.
    """
    seen: dict[tuple[object, ...], Counter[str]] = {}
    handles = []
    for module in {module for m in metrics for module in m.modules if isinstance(module, kind)}:
        first, key = module, (weights.digest(module.state_dict()),)
        if isinstance(module, Trunk):
            # the first layer: a pass over an image begins there
            first, key = module.features[0], (*key, module.preprocessing)
        counts = seen.setdefault(key, Counter())

        def count(_: object, args: tuple[Tensor], counts: Counter[str] = counts) -> None:
            for image in args[0]:
                counts[hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()] += 1

        handles.append(first.register_forward_pre_hook(count))
    yield seen
    for handle in handles:
        handle.remove()


def images_of(a_job: Job) -> int:
    chosen = a_job.chosen
    pairs = {
        (int(size), int(row))
        for size, rows in zip(a_job.pack.size[chosen], a_job.pack.rows[chosen], strict=True)
        for row in rows
    }
    return len(pairs)


@pytest.mark.parametrize("dataset", ["ladder-2afc", "ladder-jnd"])
@pytest.mark.usefixtures("reference_weights")
def test_a_trunk_sees_each_image_once_however_many_metrics_use_it(
    dataset: str, tmp_path: Path
) -> None:
    a_job = job(dataset, tmp_path, limit=9)
    metrics = ready("lpips-alex", "net-alex", "lpips-squeeze", "net-squeeze", "l2", "mmdpp")
    with counted(metrics) as seen:
        run(a_job, metrics)
    assert len(seen) == 2
    for counts in seen.values():
        assert set(counts.values()) == {1}
        assert len(counts) == images_of(a_job)


@pytest.mark.usefixtures("reference_weights")
def test_also_where_metrics_want_other_forms_or_preprocessings_of_it(tmp_path: Path) -> None:
    a_job = job("ladder-2afc", tmp_path, limit=2)
    metrics = ready(
        "lpips-vgg", "net-alex", "vgg-loss", "lpips-vgg-v0.0", "alex-loss-4", "net-vgg",
        "lpips-vgg-watson", "lpips-alex-v0.0", "vgg-loss-gram", "watson-vgg-initial",
    )  # fmt: skip
    with counted(metrics) as seen:
        outcome = run(a_job, metrics, Bounds(pixels=16 * 64 * 64))
    assert [r.info["batches"]["count"] for r in outcome.runs] == [2] * 10
    assert len(seen) == 5  # VGG on three inputs, AlexNet on two
    of_each = [set(counts.values()) for counts in seen.values()]
    assert of_each == [{1}] * 5
    assert {len(counts) for counts in seen.values()} == {images_of(a_job)}


def test_random_features_are_computed_once_for_each_image_of_a_triplet(tmp_path: Path) -> None:
    a_job, metrics = job("ladder-2afc", tmp_path, limit=2), ready("mmdpp", "mmd-approx")
    with counted(metrics, RandomFeatures) as seen:
        run(a_job, metrics)
    assert len(seen) == 2
    for counts in seen.values():
        assert set(counts.values()) == {1}
        assert len(counts) == images_of(a_job)


@pytest.mark.usefixtures("reference_weights")
def test_also_with_two_image_sizes(shared: Path, tmp_path: Path) -> None:
    manifest = datasets()["bapps-2afc-val"]
    choices = Choices(source=str(shared / "bapps_sample"), partial=True)
    pack = download(manifest, resize_for(manifest, "exact"), choices, Silent())
    assert sorted(pack.sizes) == [(63, 63), (64, 64)]
    a_job = Job(manifest, pack, Selection(), tmp_path)
    metrics = ready("lpips-alex", "net-alex")
    with counted(metrics) as seen:
        outcome = run(a_job, metrics)
    (counts,) = seen.values()
    assert set(counts.values()) == {1}
    assert len(counts) == images_of(a_job)
    assert {r.dataset for r in outcome.runs} == {"bapps-2afc-val@exact4"}


@pytest.mark.usefixtures("reference_weights")
def test_also_when_interrupted_and_resumed_with_bit_identical_distances(tmp_path: Path) -> None:
    bounds = Bounds(pixels=20 * 64 * 64)  # four batches
    metrics = ready("lpips-alex", "net-alex", "mmdpp", "ssim")
    undisturbed = distances(run(job("ladder-2afc", tmp_path / "a", limit=9), metrics, bounds))
    a_job = job("ladder-2afc", tmp_path / "b", limit=9)
    with counted(metrics) as seen:
        (counts,) = seen.values()
        with pytest.raises(KeyboardInterrupt):
            run(a_job, metrics, bounds, reporter=Interrupting(after=2))
        assert 0 < len(counts) < images_of(a_job)
        outcome = run(a_job, metrics, bounds)
    assert set(counts.values()) == {1}
    assert len(counts) == images_of(a_job)
    assert outcome.resumed == dict.fromkeys(undisturbed, 2)
    for name, values in distances(outcome).items():
        np.testing.assert_array_equal(values, undisturbed[name], strict=True)


@pytest.mark.usefixtures("reference_weights")
def test_also_where_one_reference_and_its_versions_fill_more_than_a_batch(tmp_path: Path) -> None:
    # 512×384 pixels: a batch has room for two such images, an item needs three
    folder = tmp_path / "large"
    folder.mkdir()
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (8, 384, 512, 3), dtype=np.uint8)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{i}.png")
    rows = [f"{i},0,{i + 1},{i + 2},0.6" for i in range(6)]
    (folder / "t.csv").write_text("\n".join(["id,ref,p0,p1,p", *rows]))
    (folder / "large.toml").write_text(
        'name = "large"\ntitle = "Large"\nprotocol = "2afc"\nvotes_per_item = 5\n'
        'source = { path = "." }\n[table]\nfile = "t.csv"\nitem = "{id}"\nvote = "p"\n'
        '[table.roles]\nref = "{ref}.png"\np0 = "{p0}.png"\np1 = "{p1}.png"\n'
    )
    manifest = load(folder / "large.toml")
    pack = pack_for(manifest, resize_for(manifest, None), Silent())
    assert pack is not None
    a_job = Job(manifest, pack, Selection(), tmp_path / "results")
    metrics = ready("lpips-alex")
    with counted(metrics) as seen:
        run(a_job, metrics, Bounds())
    (counts,) = seen.values()
    assert set(counts.values()) == {1}
    assert len(counts) == images_of(a_job) == 8


def test_a_resumed_run_keeps_the_batches_it_began_with(tmp_path: Path) -> None:
    a_job, metrics = job("ladder-2afc", tmp_path), ready("l2")
    with pytest.raises(KeyboardInterrupt):
        run(a_job, metrics, Bounds(items=50), reporter=Interrupting(after=1))
    outcome = run(a_job, metrics, Bounds(items=7))
    assert outcome.resumed == {"l2": 1}
    assert outcome.runs[0].info["batches"]["items"] == 50


def test_metrics_interrupted_at_different_places_go_on_together(tmp_path: Path) -> None:
    a_job = job("ladder-2afc", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(a_job, ready("l1"), reporter=Interrupting(after=3))
    with pytest.raises(KeyboardInterrupt):
        run(a_job, ready("l2"), reporter=Interrupting(after=1))
    outcome = run(a_job, ready("l1", "l2", "psnr"))
    assert outcome.resumed == {"l1": 3, "l2": 1}
    undisturbed = distances(run(job("ladder-2afc", tmp_path / "x"), ready("l1", "l2", "psnr")))
    for name, values in distances(outcome).items():
        np.testing.assert_array_equal(values, undisturbed[name])


@pytest.mark.parametrize("garbage", [b"", b"\0", b"\1" * 40, b'{"half'])
def test_what_a_killed_run_left_at_the_end_of_its_journal_is_cut_off(
    tmp_path: Path, garbage: bytes
) -> None:
    a_job, metrics = job("ladder-2afc", tmp_path), ready("l2")
    with pytest.raises(KeyboardInterrupt):
        run(a_job, metrics, reporter=Interrupting(after=2))
    journal = a_job.folder("l2") / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole[: -len(garbage) or None] + garbage)
    outcome = run(a_job, metrics)
    assert outcome.resumed == {"l2": 2 if not garbage else 1}
    undisturbed = distances(run(job("ladder-2afc", tmp_path / "x"), metrics))
    np.testing.assert_array_equal(distances(outcome)["l2"], undisturbed["l2"])
    assert not journal.exists()


def test_a_complete_run_is_kept_and_fresh_measures_anew(tmp_path: Path) -> None:
    a_job, metrics = job("ladder-2afc", tmp_path, limit=3), ready("l2")
    first = run(a_job, metrics).runs[0]
    again = run(a_job, metrics)
    assert again.reused == ["l2"]
    assert again.runs[0].info == first.info
    anew = run(a_job, metrics, fresh=True)
    assert anew.reused == []
    assert anew.runs[0].signature == first.signature


def test_a_changed_metric_is_measured_anew(tmp_path: Path) -> None:
    a_job = job("ladder-2afc", tmp_path, limit=3)
    (l2,) = ready("l2")
    run(a_job, [l2])
    other = replace(l2.metric, version=2)
    changed = Loaded(other, l2.distance, digest_of(other, l2.distance))
    outcome = run(a_job, [changed])
    assert outcome.reused == []
    assert outcome.runs[0].signature != run(a_job, [l2]).runs[0].signature


def test_a_metric_whose_source_changed_is_measured_anew(tmp_path: Path) -> None:
    a_job, (l2,) = job("ladder-2afc", tmp_path, limit=3), ready("l2")
    run(a_job, [l2])
    reporter = Silent()
    outcome = run(a_job, [replace(l2, source="another")], reporter=reporter)
    assert outcome.reused == []
    assert reporter.notes == ["ladder-2afc: the source of l2 changed; measuring it anew"]


def test_a_run_of_another_metric_of_that_name_is_told_before_it_is_replaced(tmp_path: Path) -> None:
    a_job, (l2,) = job("ladder-2afc", tmp_path, limit=1), ready("l2")
    (before,) = run(a_job, [l2]).runs
    reporter = Silent()
    run(a_job, [replace(l2, digest="f" * 64)], reporter=reporter)
    assert reporter.notes == [
        "ladder-2afc: replacing a run of l2 that was measured on other items or with another "
        f"metric of that name ({before.signature})"
    ]


@pytest.mark.parametrize(("seconds", "told"), [(50.0, "10 minutes"), (3600.0, "12 hours")])
def test_that_a_metric_takes_long_is_told_before_it_starts(
    tmp_path: Path, seconds: float, told: str
) -> None:
    (l2,) = ready("l2")
    slow = replace(l2, metric=replace(l2.metric, seconds=seconds))
    reporter = Silent()
    run(job("ladder-2afc", tmp_path, limit=1), [slow], reporter=reporter)  # 6 triplets
    assert reporter.notes == [
        f"ladder-2afc: l2 takes about {seconds:g} s for a pair of 64×64 on two CPU cores: {told} "
        "for 12 pairs"
    ]
    quick = Silent()
    run(job("ladder-2afc", tmp_path / "quick", limit=1), [l2], reporter=quick)
    assert quick.notes == []


def test_a_kept_run_tells_what_the_manifest_says_now(tmp_path: Path) -> None:
    a_job, metrics = job("ladder-2afc", tmp_path, limit=3), ready("l2")
    before = run(a_job, metrics).runs[0]
    renamed = a_job.manifest.model_copy(update={"title": "Another title"})
    outcome = run(replace(a_job, manifest=renamed), metrics)
    assert outcome.reused == ["l2"]
    after = outcome.runs[0]
    assert after.info["dataset"]["title"] == "Another title"
    assert after.info["finished"] == before.info["finished"]
    np.testing.assert_array_equal(after.distances()[1], before.distances()[1])


def test_another_number_of_resamples_or_seed_scores_anew_without_measuring(tmp_path: Path) -> None:
    a_job, metrics = job("ladder-2afc", tmp_path), ready("l2")
    before = run(a_job, metrics).runs[0]
    assert before.info["bootstrap"] == {"resamples": 1000, "seed": 0}
    lows = [before.scores()["low"]]
    for how in (Resampling(200), Resampling(200, seed=5)):
        outcome = run(replace(a_job, how=how), metrics)
        assert outcome.reused == ["l2"]
        (after,) = outcome.runs
        assert after.info["bootstrap"] == {"resamples": how.count, "seed": how.seed}
        assert after.info["finished"] == before.info["finished"]
        assert (draws := after.draws()) is not None
        assert draws.how == how
        np.testing.assert_array_equal(after.scores()["value"], before.scores()["value"])
        np.testing.assert_array_equal(after.distances()[1], before.distances()[1])
        lows.append(after.scores()["low"])
    assert not lows[0].equals(lows[1])
    assert not lows[1].equals(lows[2])


@pytest.mark.parametrize("name", ["draws.npz", "scores.csv"])
@pytest.mark.parametrize("damage", ["edited", "gone"])
def test_a_run_whose_scores_are_damaged_is_scored_anew(
    tmp_path: Path, name: str, damage: str
) -> None:
    a_job, metrics = job("ladder-2afc", tmp_path, limit=3), ready("l2")
    before = run(a_job, metrics).runs[0]
    path = before.folder / name
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole.replace(b"0.5", b"0.6") + b"\n")
    reporter = Silent()
    outcome = run(a_job, metrics, reporter=reporter)
    (note,) = reporter.notes
    assert note.startswith(f"ladder-2afc: scoring l2 anew, since its scores are damaged ({path}: ")
    assert outcome.reused == ["l2"]
    assert outcome.runs[0].info == before.info
    assert path.read_bytes() == whole


def test_a_run_whose_distances_are_damaged_is_measured_anew(tmp_path: Path) -> None:
    a_job, metrics = job("ladder-2afc", tmp_path, limit=3), ready("l2")
    before = run(a_job, metrics).runs[0]
    path = before.folder / "distances.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    reporter = Silent()
    outcome = run(a_job, metrics, reporter=reporter)
    (note,) = reporter.notes
    assert note.startswith(
        "ladder-2afc: measuring l2 anew, since its distances are damaged "
        f"({path}: not what pmbench wrote (expected sha256 "
    )
    assert (outcome.reused, outcome.failures) == ([], {})
    assert path.read_bytes() == whole


def test_an_interrupted_run_of_another_kind_is_told_before_it_is_lost(tmp_path: Path) -> None:
    a_job, (l2,) = job("ladder-2afc", tmp_path), ready("l2")
    with pytest.raises(KeyboardInterrupt):
        run(a_job, [l2], reporter=Interrupting(after=2))
    reporter = Silent()
    outcome = run(a_job, [replace(l2, source="another")], reporter=reporter)
    assert outcome.resumed == {}
    assert reporter.notes == [
        "ladder-2afc: what there was of an interrupted run of l2 was made with another source; "
        "beginning anew"
    ]


def test_two_evaluations_do_not_write_into_one_folder(tmp_path: Path) -> None:
    a_job, metrics = job("ladder-2afc", tmp_path, limit=3), ready("l2", "l1")
    folder = a_job.folder("l2")
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        outcome = run(a_job, metrics)
    assert [r.metric for r in outcome.runs] == ["l1"]
    assert f"another pmbench is measuring into {folder}" in outcome.failures["l2"]


def test_a_damaged_run_stops_only_itself_and_fresh_replaces_it(tmp_path: Path) -> None:
    a_job, metrics = job("ladder-2afc", tmp_path, limit=3), ready("l2", "l1")
    run(a_job, metrics)
    (a_job.folder("l2") / "run.json").write_text("{")
    outcome = run(a_job, metrics)
    assert [r.metric for r in outcome.runs] == ["l1"]
    assert "expected a run written by pmbench" in outcome.failures["l2"]
    assert [r.metric for r in run(a_job, metrics, fresh=True).runs] == ["l2", "l1"]


def test_a_limit_is_marked_partial_and_has_a_folder_of_its_own(tmp_path: Path) -> None:
    run_ = run(job("ladder-2afc", tmp_path, limit=3), ready("l2")).runs[0]
    assert run_.dataset == "ladder-2afc@first3"
    assert run_.info["dataset"]["partial"] is True
    assert run_.info["dataset"]["items"] == 18  # three of each of six families
    assert "|ladder-2afc:first3:18of216#" in run_.signature


def all_at_hand() -> list[Metric]:
    at_hand = [m for m in registered().values() if m.name not in NOT_AT_HAND]
    return [m for m in at_hand if m.not_installed() is None]


def check_same(values: np.ndarray, other: np.ndarray, name: str) -> None:
    # another memory order adds in another order; the least distances are those of GMSD, a
    # deviation of numbers near 1, which float32 knows to 6e-8
    np.testing.assert_allclose(values, other, rtol=1e-5, atol=1e-8, err_msg=name)


@pytest.mark.usefixtures("reference_weights")
def test_every_metric_gives_the_same_at_any_batch_size(tmp_path: Path) -> None:
    be_exact()
    # the contextual loss alone takes as long as a third of the others
    at_hand = [m for m in all_at_hand() if m.name != "vgg-loss-cx"]
    metrics = [Loaded(m, distance_of(m.name), "") for m in at_hand]
    a_job, found = job("ladder-2afc", tmp_path), []
    for bounds in (Bounds(), Bounds(items=2)):
        sink = Kept(metrics)
        measure(a_job.pack, a_job.protocol, plan(a_job.pack, np.arange(3), bounds), CPU, sink)
        found.append(sink.results)
    (auto,), (two, one) = found
    assert len(auto) == len(metrics) > 50
    for name, whole in auto.items():
        parts = [two[name], one[name]]
        assert isinstance(whole, Result)
        assert all(isinstance(part, Result) for part in parts)
        check_same(np.concatenate([p.distances for p in parts]), whole.distances, name)  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.usefixtures("reference_weights")
def test_every_run_gives_the_same_at_any_batch_size(tmp_path: Path) -> None:
    be_exact()
    metrics = ready(*[m.name for m in all_at_hand()])
    auto = distances(run(job("ladder-2afc", tmp_path / "auto", limit=5), metrics, Bounds()))
    assert len(auto) == len(metrics) > 50
    assert {len(values) for values in auto.values()} == {30}
    for size in (1, 7):
        a_job = job("ladder-2afc", tmp_path / str(size), limit=5)
        other = distances(run(a_job, metrics, Bounds(items=size)))
        for name, values in other.items():
            check_same(values, auto[name], name)


# --- what is kept while measuring -----------------------------------------------------------------


class Kept:
    """A sink that keeps the results, and looks around after each batch."""

    def __init__(self, metrics: list[Loaded], after: Callable[[], None] = lambda: None) -> None:
        self.metrics, self.after = metrics, after
        self.results: list[dict[str, Result | PmbenchError]] = []

    def waiting(self, number: int) -> list[Loaded]:
        return self.metrics

    def put(self, number: int, results: dict[str, Result | PmbenchError]) -> None:
        self.results.append(results)
        self.after()


@pytest.mark.usefixtures("reference_weights")
def test_metrics_on_one_trunk_follow_one_another_otherwise_in_order() -> None:
    names = (
        "l2", "lpips-alex", "mmdpp", "lpips-alex-v0.0", "lpips-squeeze", "net-alex", "l1",
        "alex-loss-4", "net-squeeze", "alex-loss-1",
    )  # fmt: skip
    assert [m.metric.name for m in by_trunk(ready(*names))] == [
        "l2", "lpips-alex", "net-alex", "mmdpp", "lpips-alex-v0.0", "alex-loss-4", "alex-loss-1",
        "lpips-squeeze", "net-squeeze", "l1",
    ]  # fmt: skip
    assert by_trunk([]) == []


@pytest.mark.usefixtures("reference_weights")
def test_features_of_one_trunk_are_gone_before_another_sees_the_batch(tmp_path: Path) -> None:
    # in an order that would keep both
    metrics = ready("lpips-alex", "lpips-squeeze", "net-alex", "net-squeeze")
    features: list[tuple[nn.Module, weakref.ref[Tensor]]] = []
    found: list[str] = []

    def kept() -> list[nn.Module]:
        return [net for net, feature in features if feature() is not None]

    def sees(net: nn.Module, args: object) -> None:
        found.append(f"kept as another sees the batch: {len(kept())}")

    def has_seen(net: nn.Module, args: object, taps: tuple[Tensor, ...]) -> None:
        features.extend((net, weakref.ref(tap)) for tap in taps)

    def asked(distance: nn.Module, args: object) -> None:
        found.append(f"kept when asked: {len(kept())}")

    def after() -> None:
        found.append(f"kept after the batch: {len(kept())}")

    handles = []
    for net in {module for m in metrics for module in m.modules if isinstance(module, Trunk)}:
        handles += [net.register_forward_pre_hook(sees), net.register_forward_hook(has_seen)]
    for second in metrics[2:]:
        assert isinstance(second.distance, nn.Module)
        handles.append(second.distance.register_forward_pre_hook(asked))
    a_job = job("ladder-2afc", tmp_path, limit=3)
    batches = plan(a_job.pack, a_job.chosen, Bounds(pixels=22 * 64 * 64))
    measure(a_job.pack, a_job.protocol, batches, CPU, Kept(metrics, after))
    for handle in handles:
        handle.remove()
    assert len(batches) == 2
    assert found == 2 * [
        "kept as another sees the batch: 0",
        "kept when asked: 5",  # AlexNet's taps, when the second metric on it is asked, of p0
        "kept when asked: 5",  # and of p1
        "kept as another sees the batch: 0",
        "kept when asked: 7",
        "kept when asked: 7",
        "kept after the batch: 0",
    ]


# --- some items at a time -------------------------------------------------------------------------


def in_one_batch(a_job: Job, *metrics: Loaded) -> dict[str, Result | PmbenchError]:
    sink = Kept(list(metrics))
    measure(a_job.pack, a_job.protocol, [only_batch(a_job)], CPU, sink)
    (results,) = sink.results
    return results


def only_batch(a_job: Job) -> Batch:
    (batch,) = plan(a_job.pack, a_job.chosen, Bounds())
    return batch


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
    a_job = job("ladder-2afc", tmp_path, limit=3)
    got: list[int] = []

    def noting(x: Images, y: Images) -> Tensor:
        got.append(len(x.pixels))
        return _difference(x, y)

    results = in_one_batch(
        a_job, made("all", _difference), made("some", noting, pixels_at_once=pixels_at_once)
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
    a_job = job("ladder-2afc", tmp_path, limit=1)
    for name in ("patch-swd-3", "window-swd-7"):
        (asked,) = ready(name)
        assert asked.metric.pixels_at_once is not None
        assert 1 <= asked.metric.pixels_at_once // 64**2 < 6  # several portions
        whole = replace(asked, metric=replace(asked.metric, name="whole", pixels_at_once=None))
        portions, at_once = in_one_batch(a_job, asked, whole).values()
        assert isinstance(portions, Result)
        assert isinstance(at_once, Result)
        np.testing.assert_allclose(portions.distances, at_once.distances, rtol=1e-6)  # as above


@pytest.mark.parametrize("pixels_at_once", [None, 4 * 64 * 64, 1])
@pytest.mark.parametrize("place", [0, 3, 4, 17])
def test_the_item_whose_distance_is_wrong_is_named(
    place: int, pixels_at_once: int | None, tmp_path: Path
) -> None:
    a_job = job("ladder-2afc", tmp_path, limit=3)
    item = only_batch(a_job).items[place]
    seen: dict[int, int] = {0: 0, 1: 0}  # items, by pair

    def wrong(x: Images, y: Images) -> Tensor:
        pair = int(seen[1] < seen[0])  # (ref, p1) follows (ref, p0), portion by portion
        value, begin = _difference(x, y), seen[pair]
        seen[pair] += len(value)
        if pair == 1 and begin <= place < seen[pair]:
            value[place - begin] = float("nan")
        return value

    error = in_one_batch(a_job, made("wrong", wrong, pixels_at_once=pixels_at_once))["wrong"]
    assert str(error) == (
        f"wrong: the distance of ref and p1 of item {a_job.pack.items.id[item]} is nan; expected a "
        "finite number; mend the metric, or say in its `min_size` where it is not defined"
    )


def test_a_metric_that_fails_on_a_portion_names_its_first_item(tmp_path: Path) -> None:
    a_job = job("ladder-2afc", tmp_path, limit=3)
    calls: list[int] = []

    def breaking(x: Images, y: Images) -> Tensor:
        calls.append(len(x.pixels))
        if len(calls) == 4:  # the second pair of the second portion
            raise ZeroDivisionError("division by zero")
        return _difference(x, y)

    def short(x: Images, y: Images) -> Tensor:
        return _difference(x, y)[:3]

    results = in_one_batch(
        a_job,
        made("breaking", breaking, pixels_at_once=4 * 64 * 64),
        made("short", short, pixels_at_once=4 * 64 * 64),
    )
    fifth = a_job.pack.items.id[only_batch(a_job).items[4]]
    assert calls == [4, 4, 4, 4]
    assert str(results["breaking"]).startswith(
        f"breaking failed on the batch of item {fifth}: ZeroDivisionError: division by zero "
        "(in test_evaluate.py, line "
    )
    assert str(results["short"]) == (
        "short: expected floating-point numbers of shape (4,), one a pair, "
        "got torch.float32 of shape (3,)"
    )


# --- metrics that are wrong -----------------------------------------------------------------------


def made(name: str, distance: object, **card: object) -> Loaded:
    metric = Metric(name=name, load=lambda device: distance, title=name, **card)  # type: ignore[arg-type, return-value]
    return Loaded(metric, distance, digest_of(metric, distance))  # type: ignore[arg-type]


def _difference(x: Images, y: Images) -> Tensor:
    return (x.pixels - y.pixels).abs().mean(dim=(1, 2, 3))


def _broken(x: Images, y: Images) -> Tensor:
    raise ZeroDivisionError("division by zero")


def _nan(x: Images, y: Images) -> Tensor:
    value = _difference(x, y)
    value[-1] = float("nan")
    return value


@pytest.mark.parametrize(
    ("name", "distance", "sentence"),
    [
        (
            "raises",
            _broken,
            "raises failed on the batch of item .*: ZeroDivisionError: division by",
        ),
        (
            "nan",
            _nan,
            "nan: the distance of ref and p0 of item .+ is nan; expected a finite number",
        ),
        ("exits", lambda x, y: sys.exit(2), "exits failed on the batch of item .*: SystemExit: 2 "),
        ("inf", lambda x, y: _difference(x, y) / 0, "of item .+ is inf; expected a finite number"),
        (
            "column",
            lambda x, y: _difference(x, y)[:, None],
            r"expected floating-point numbers of shape \(\d+,\), one a pair, got torch.float32 of "
            r"shape \(\d+, 1\)",
        ),
        ("whole", lambda x, y: _difference(x, y).long(), "got torch.int64 of shape"),
        ("list", lambda x, y: _difference(x, y).tolist(), r"expected a tensor .*, got list"),
    ],
)
def test_a_wrong_metric_fails_alone_with_a_sentence(
    name: str, distance: object, sentence: str, tmp_path: Path
) -> None:
    metrics = [made(name, distance), *ready("l2")]
    outcome = run(job("ladder-2afc", tmp_path), metrics)
    assert [r.metric for r in outcome.runs] == ["l2"]
    assert set(outcome.failures) == {name}
    assert re.search(sentence, outcome.failures[name]), outcome.failures[name]
    assert not (tmp_path / "ladder-2afc" / name / "run.json").exists()


def test_a_metric_that_cannot_be_loaded_fails_alone() -> None:
    def load(device: torch.device) -> Distance:
        raise ImportError("no module named 'elsewhere'")

    broken = Metric(name="broken", load=load, title="broken")
    loaded, failures = load_metrics([broken, registered()["l2"]], CPU, Silent())
    assert [m.metric.name for m in loaded] == ["l2"]
    line = load.__code__.co_firstlineno + 1
    assert failures == {
        "broken": "cannot be loaded: ImportError: no module named 'elsewhere' "
        f"(in test_evaluate.py, line {line})"
    }


def _imports_what_is_not_there(device: torch.device) -> Distance:
    import module_that_is_not_there  # type: ignore[import-not-found]

    return module_that_is_not_there.distance  # type: ignore[no-any-return]


def _exits(device: torch.device) -> Distance:
    sys.exit(3)


def _tells(device: torch.device) -> Distance:
    raise PmbenchError("no licence file; put it beside the weights")


@pytest.mark.parametrize(
    ("load", "sentence"),
    [
        (
            _imports_what_is_not_there,
            "needs the module module_that_is_not_there, which is not installed; "
            "install it beside pmbench",
        ),
        (
            _exits,
            "cannot be loaded: SystemExit: 3 "
            f"(in test_evaluate.py, line {_exits.__code__.co_firstlineno + 1})",
        ),
        (_tells, "no licence file; put it beside the weights"),
    ],
)
def test_why_a_metric_cannot_be_loaded_is_one_sentence(
    load: Callable[[torch.device], Distance], sentence: str
) -> None:
    broken = Metric(name="broken", load=load, title="broken")
    with pytest.raises(PmbenchError) as caught:
        load_metric(broken, CPU, Silent())
    assert str(caught.value) == sentence
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
        return _difference

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
        return _difference(x, y)

    loaded = load_metric(Metric(name="chatty", load=load, title="chatty"), CPU, Silent())
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "Setting up [chatty]\n")
    results = in_one_batch(job("ladder-2afc", tmp_path, limit=1), loaded)
    assert isinstance(results["chatty"], Result)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "measuring\nmeasuring\n")  # once a pair of roles


def test_a_metric_loaded_while_measuring_can_still_be_trained_with() -> None:
    with torch.inference_mode():
        (loaded,) = ready("mmd-approx")
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loaded.distance(Images(x), Images(torch.zeros(1, 3, 32, 32))).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0


def test_a_size_that_a_metric_is_not_defined_on_is_not_a_number_but_a_reason(
    shared: Path, tmp_path: Path
) -> None:
    manifest = datasets()["bapps-2afc-val"]
    choices = Choices(source=str(shared / "bapps_sample"), partial=True)
    pack = download(manifest, resize_for(manifest, "exact"), choices, Silent())
    a_job = Job(manifest, pack, Selection(), tmp_path)
    picky = made("picky", _difference, min_size=64)
    never = made("never", _difference, min_size=65)
    outcome = run(a_job, [picky, never])
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
    up = made("up", lambda x, y: -_difference(x, y), higher_is_better=True)
    down = made("down", _difference)
    outcome = run(job("ladder-2afc", tmp_path, limit=5), [up, down])
    found = distances(outcome)
    np.testing.assert_array_equal(found["up"], found["down"])


def test_a_run_says_where_it_comes_from(tmp_path: Path) -> None:
    info = run(job("ladder-2afc", tmp_path, limit=2), ready("mmdpp")).runs[0].info
    assert info["environment"]["torch"] == torch.__version__
    assert info["environment"]["threads"] == torch.get_num_threads()
    assert info["dataset"]["pack_digest"]
    assert info["metric"]["parameters"]["r"] == 512
    assert info["seconds"] > 0
    assert info["items_per_second"] == pytest.approx(12 / info["seconds"], rel=0.01)
    assert info["peak_memory_mb"] > 50


# --- how fast -------------------------------------------------------------------------------------


class Slow:
    """A metric whose first call in a process takes longer: it warms up."""

    def __init__(self) -> None:
        self.warm = False

    def __call__(self, x: Images, y: Images) -> Tensor:
        time.sleep(0.001 if self.warm else 0.3)
        self.warm = True
        return _difference(x, y)


def test_the_rate_does_not_count_what_warms_up(tmp_path: Path) -> None:
    a_job, bounds = job("ladder-2afc", tmp_path, limit=2), Bounds(items=3)
    (warm,) = run(a_job, [made("warm", Slow())], bounds).runs
    info = warm.info
    assert info["batches"]["count"] == 4
    assert info["seconds"] > 0.3
    assert (info["rate"]["items"], info["rate"]["batches"], info["rate"]["warm"]) == (9, 3, True)
    assert info["rate"]["seconds"] < 0.3
    assert info["items_per_second"] == pytest.approx(9 / info["rate"]["seconds"], rel=0.01)


def test_nor_what_warms_up_when_a_run_goes_on(tmp_path: Path) -> None:
    a_job, bounds = job("ladder-2afc", tmp_path, limit=2), Bounds(items=3)
    with pytest.raises(KeyboardInterrupt):
        run(a_job, [made("warm", Slow())], bounds, reporter=Interrupting(after=2))
    (resumed,) = run(a_job, [made("warm", Slow())], bounds).runs
    assert resumed.info["seconds"] > 0.6  # it warmed up twice
    rate = resumed.info["rate"]
    assert (rate["items"], rate["batches"], rate["warm"]) == (6, 2, True)  # the second and last
    assert rate["seconds"] < 0.3


def test_a_rate_that_rests_on_the_first_call_alone_says_so(tmp_path: Path) -> None:
    (cold,) = run(job("ladder-2afc", tmp_path, limit=2), [made("warm", Slow())], Bounds()).runs
    rate = cold.info["rate"]
    assert (rate["items"], rate["batches"], rate["warm"]) == (12, 1, False)
    assert cold.info["items_per_second"] == pytest.approx(12 / cold.info["seconds"], rel=0.01)


def test_a_metric_that_is_nowhere_defined_has_no_rate(tmp_path: Path) -> None:
    never = made("never", _difference, min_size=65)
    (run_,) = run(job("ladder-2afc", tmp_path, limit=2), [never], Bounds(items=3)).runs
    assert run_.info["items_per_second"] is None
    assert run_.info["rate"] == {"items": 0, "batches": 0, "seconds": 0, "warm": True}


# --- the next batch is read ahead -----------------------------------------------------------------


@dataclass(frozen=True)
class Watched(Pack):
    """A pack that notes which thread reads, and when; a batch with image ``broken`` cannot be."""

    noted: list[str] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    broken: int = -1

    def images(self, size: int, rows: np.ndarray) -> np.ndarray:
        self.threads.add(threading.get_ident())
        if self.broken in rows:
            raise OSError("the disk is gone")
        self.noted.append("read")
        return super().images(size, rows)


def watched(pack: Pack, **more: int) -> Watched:
    return Watched(**{f.name: getattr(pack, f.name) for f in fields(Pack)}, **more)  # type: ignore[arg-type]


class Noting(Kept):
    """A sink that notes, too, when a batch is done."""

    def __init__(self, metrics: list[Loaded], noted: list[str], interrupt: int = -1) -> None:
        super().__init__(metrics)
        self.noted, self.interrupt = noted, interrupt

    def put(self, number: int, results: dict[str, Result | PmbenchError]) -> None:
        super().put(number, results)
        self.noted.append("done")
        if number == self.interrupt:
            raise KeyboardInterrupt


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("images")]


def patient(noted: list[str]) -> Loaded:
    """Return a metric that computes until the next batch has been read, where there is one."""

    def distance(x: Images, y: Images) -> Tensor:
        done = noted.count("done")
        limit = time.monotonic() + 10
        while noted.count("read") < min(done + 2, 4) and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(0.02)  # time enough to read one too many
        return _difference(x, y)

    return made("patient", distance)


def test_the_next_batch_and_no_other_is_read_while_one_is_computed(tmp_path: Path) -> None:
    a_job = job("ladder-2afc", tmp_path, limit=2)
    batches = plan(a_job.pack, a_job.chosen, Bounds(items=3))
    pack = watched(a_job.pack)
    measure(pack, a_job.protocol, batches, CPU, Noting([patient(pack.noted)], pack.noted))
    assert pack.noted == ["read", "read", "done", "read", "done", "read", "done", "done"]
    assert len(pack.threads) == 1
    assert pack.threads != {threading.get_ident()}
    assert readers() == []


def test_batches_that_are_made_on_the_way_are_not_read_ahead(tmp_path: Path) -> None:
    a_job = job("ladder-2afc", tmp_path, limit=2)
    batches = plan(a_job.pack, a_job.chosen, Bounds(items=3))
    pack = watched(a_job.pack)
    sink = Noting([made("difference", _difference)], pack.noted)
    measure(pack, a_job.protocol, iter(batches), CPU, sink)
    assert pack.noted == ["read", "done"] * 4


def test_a_batch_that_cannot_be_read_is_told_when_its_turn_comes(tmp_path: Path) -> None:
    a_job = job("ladder-2afc", tmp_path, limit=2)
    batches = plan(a_job.pack, a_job.chosen, Bounds(items=3))
    pack = watched(a_job.pack, broken=int(batches[2].images[-1]))
    sink = Noting([made("difference", _difference)], pack.noted)
    with pytest.raises(OSError, match="the disk is gone"):
        measure(pack, a_job.protocol, batches, CPU, sink)
    assert len(sink.results) == 2  # those before it are there
    assert readers() == []


def test_ctrl_c_does_not_wait_for_what_is_read_ahead_and_leaves_no_thread(tmp_path: Path) -> None:
    a_job = job("ladder-2afc", tmp_path, limit=2)
    batches = plan(a_job.pack, a_job.chosen, Bounds(items=3))
    pack = watched(a_job.pack)
    sink = Noting([made("difference", _difference)], pack.noted, interrupt=1)
    with pytest.raises(KeyboardInterrupt):
        measure(pack, a_job.protocol, batches, CPU, sink)
    assert pack.noted.count("read") <= 3
    assert readers() == []


# --- memory that is not enough --------------------------------------------------------------------


class Large(nn.Module):
    """Something derived that takes no more images at a time than ``most``."""

    def __init__(self, most: int, error: BaseException) -> None:
        super().__init__()
        self.most, self.error = most, error
        self.refused: list[int] = []
        self.seen: Counter[bytes] = Counter()

    def forward(self, pixels: Tensor) -> Tensor:
        if len(pixels) > self.most:
            self.refused.append(len(pixels))
            raise self.error
        self.seen.update(image.numpy().tobytes() for image in pixels.contiguous())
        return pixels * 2


class OnLarge(nn.Module):
    """A distance on what ``Large`` derives."""

    def __init__(self, large: Large) -> None:
        super().__init__()
        self.large = large

    def forward(self, x: Images, y: Images) -> Tensor:
        return (x.derive(self.large) - y.derive(self.large)).abs().mean(dim=(1, 2, 3)) / 2


def test_a_batch_that_does_not_fit_is_halved_and_goes_on(tmp_path: Path) -> None:
    large = Large(5, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    metrics = [
        made("one", OnLarge(large)), made("other", OnLarge(large)), made("small", _difference)
    ]  # fmt: skip
    reporter = Silent()
    a_job = job("ladder-2afc", tmp_path, limit=6)
    outcome = run(a_job, metrics, Bounds(items=12), reporter=reporter)
    assert outcome.failures == {}
    # 12 of these items have 11 images, 6 have 6, and 3 have 5
    assert reporter.notes == [
        "ladder-2afc: a batch of 12 items does not fit into memory for one, other; going on with "
        "batches of 3 items"
    ]
    assert len(large.refused) == 4  # once for either metric and size, and never again
    found = distances(outcome)
    np.testing.assert_allclose(found["one"], found["small"], rtol=1e-5)
    np.testing.assert_array_equal(found["one"], found["other"])
    # both go through the parts together: three batches, four parts each, of 5 images
    assert large.seen.total() == 60
    assert [r.info["batches"]["count"] for r in outcome.runs] == [3, 3, 3]


def test_a_halved_run_that_is_interrupted_goes_on_batch_by_batch(tmp_path: Path) -> None:
    a_job, bounds = job("ladder-2afc", tmp_path, limit=6), Bounds(items=12)
    large = Large(5, MemoryError())
    with pytest.raises(KeyboardInterrupt):
        run(a_job, [made("one", OnLarge(large))], bounds, reporter=Interrupting(after=1))
    outcome = run(a_job, [made("one", OnLarge(large)), made("small", _difference)], bounds)
    assert outcome.resumed == {"one": 1}
    found = distances(outcome)
    np.testing.assert_allclose(found["one"], found["small"], rtol=1e-5)


def test_where_one_item_alone_does_not_fit_the_metric_fails_alone(tmp_path: Path) -> None:
    a_job = job("ladder-2afc", tmp_path, limit=1)
    large = Large(2, MemoryError())
    outcome = run(a_job, [made("one", OnLarge(large)), made("small", _difference)], Bounds())
    assert [r.metric for r in outcome.runs] == ["small"]
    first = a_job.pack.items.id[a_job.chosen[0]]
    assert outcome.failures == {
        "one": f"one: the 3 images of 64×64 of item {first} alone do not fit into the memory of "
        "the cpu; measure it where there is more, or smaller images (`size` in the dataset's "
        "manifest)"
    }


def test_what_was_derived_is_gone_before_the_halves_are_tried(tmp_path: Path) -> None:
    a_job = job("ladder-2afc", tmp_path, limit=1)
    derived: list[tuple[int, weakref.ref[Tensor]]] = []  # of how many images

    class Fitting(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            larger = [n for n, feature in derived if n > len(pixels) and feature() is not None]
            assert larger == []
            derived.append((len(pixels), weakref.ref(features := pixels * 2)))
            return features

    class Two(OnLarge):
        """A distance on two things derived, of which the second is too large at first."""

        def __init__(self) -> None:
            super().__init__(Large(8, MemoryError()))
            self.fitting = Fitting()

        def forward(self, x: Images, y: Images) -> Tensor:
            x.derive(self.fitting)
            return super().forward(x, y)

    results = in_one_batch(a_job, made("two", Two()))
    assert isinstance(results["two"], Result)
    assert [n for n, _ in derived] == [14, 7, 7]


# --- who writes into the images -------------------------------------------------------------------


def test_another_ones_metric_that_writes_past_torch_fails_alone(tmp_path: Path) -> None:
    def halves(x: Images, y: Images) -> Tensor:
        x.pixels.numpy()[:] *= 0.5
        return _difference(x, y)

    pack = job("ladder-2afc", tmp_path).pack
    protocol = job("ladder-2afc", tmp_path).protocol
    batches = plan(pack, np.arange(0, 216, 54), Bounds())  # no two share a reference
    harmful, after = made("halves", halves, address="./mine.py:halves"), made("after", _difference)
    sinks = [Kept([after]), Kept([harmful, after])]
    for sink in sinks:
        measure(pack, protocol, batches, CPU, sink)
    (alone,), (beside,) = (sink.results for sink in sinks)
    assert str(beside["halves"]).startswith("halves: changes its input images, which are other")
    assert isinstance(alone["after"], Result)
    assert isinstance(beside["after"], Result)
    np.testing.assert_array_equal(alone["after"].distances, beside["after"].distances)


def test_devices_that_are_not_there_are_refused_with_a_sentence() -> None:
    assert choose_device("cpu") == CPU
    with pytest.raises(PmbenchError, match="unknown device 'gpu'; expected auto, cpu, cuda"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        assert choose_device("auto") == CPU
        with pytest.raises(PmbenchError, match="torch finds no cuda on this machine"):
            choose_device("cuda")

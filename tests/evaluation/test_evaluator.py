"""Evaluations: each image once, resumable to the bit, kept, or measured anew."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from support.evaluations import Interrupting, distances, job, load_named, results_of, run
from support.laws import NOT_AT_HAND
from torch import Tensor, nn

from pmbench.datasets.download import DownloadOptions, download, pack_for
from pmbench.datasets.manifest import datasets, load
from pmbench.datasets.resize import resize_for
from pmbench.evaluation.batching import BatchLimits, limits_for, plan
from pmbench.evaluation.evaluator import EvalConfig
from pmbench.evaluation.loop import Result
from pmbench.metrics import Metric, registered
from pmbench.metrics.builtin.mmd import RandomFeatures
from pmbench.metrics.loading import LoadedMetric, metric_digest
from pmbench.networks import weights
from pmbench.networks.backbones import Backbone
from pmbench.results.run import CHECKPOINT_FILE, Subset
from pmbench.results.schema import Bootstrap
from pmbench.scoring import joint_scores
from pmbench.scoring.bootstrap import Resampling
from pmbench.utils.devices import use_exact_arithmetic
from pmbench.utils.progress import Silent


@contextmanager
def count_passes(
    metrics: list[LoadedMetric], kind: type[nn.Module] = Backbone
) -> Iterator[dict[tuple[object, ...], Counter[str]]]:
    """Count how often each trunk, or another kind of module, is given each image.

    Trunks of the same filters and preprocessing count as one, whatever their form.
    """
    seen: dict[tuple[object, ...], Counter[str]] = {}
    handles = []
    for module in {module for m in metrics for module in m.modules if isinstance(module, kind)}:
        first, key = module, (weights.digest(module.state_dict()),)
        if isinstance(module, Backbone):
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


def images_of(config: EvalConfig) -> int:
    chosen = config.chosen
    pairs = {
        (int(size), int(row))
        for size, rows in zip(config.pack.size[chosen], config.pack.rows[chosen], strict=True)
        for row in rows
    }
    return len(pairs)


@pytest.mark.parametrize("dataset", ["ladder-2afc", "ladder-jnd"])
@pytest.mark.usefixtures("reference_weights")
def test_a_trunk_sees_each_image_once_however_many_metrics_use_it(
    dataset: str, tmp_path: Path
) -> None:
    config = job(dataset, tmp_path, limit=3)
    metrics = load_named("lpips-alex", "net-alex", "lpips-squeeze", "net-squeeze", "l2")
    with count_passes(metrics) as seen:
        run(config, metrics)
    assert len(seen) == 2
    for counts in seen.values():
        assert set(counts.values()) == {1}
        assert len(counts) == images_of(config)


@pytest.mark.usefixtures("reference_weights")
def test_also_where_metrics_want_other_forms_or_preprocessings_of_it(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path, limit=1)
    metrics = load_named(
        "lpips-vgg", "net-alex", "vgg-loss", "lpips-vgg-v0.0", "alex-loss-4", "net-vgg",
        "lpips-vgg-watson", "lpips-alex-v0.0", "vgg-loss-gram", "watson-vgg-initial",
    )  # fmt: skip
    with count_passes(metrics) as seen:
        outcome = run(config, metrics, BatchLimits(pixels=8 * 64 * 64))
    assert [r.info.batches.count for r in outcome.runs] == [2] * 10
    assert len(seen) == 5  # VGG on three inputs, AlexNet on two
    of_each = [set(counts.values()) for counts in seen.values()]
    assert of_each == [{1}] * 5
    assert {len(counts) for counts in seen.values()} == {images_of(config)}


def test_random_features_are_computed_once_for_each_image_of_a_triplet(tmp_path: Path) -> None:
    config, metrics = job("ladder-2afc", tmp_path, limit=2), load_named("mmdpp", "mmd-approx")
    with count_passes(metrics, RandomFeatures) as seen:
        run(config, metrics)
    assert len(seen) == 2
    for counts in seen.values():
        assert set(counts.values()) == {1}
        assert len(counts) == images_of(config)


@pytest.mark.usefixtures("reference_weights")
def test_also_with_two_image_sizes(shared: Path, tmp_path: Path) -> None:
    manifest = datasets()["bapps-2afc-val"]
    choices = DownloadOptions(source=str(shared / "bapps_sample"), partial=True)
    pack = download(manifest, resize_for(manifest, "exact"), choices, Silent())
    assert sorted(pack.sizes) == [(63, 63), (64, 64)]
    config = EvalConfig(manifest, pack, Subset(), tmp_path)
    metrics = load_named("lpips-alex", "net-alex")
    with count_passes(metrics) as seen:
        outcome = run(config, metrics)
    (counts,) = seen.values()
    assert set(counts.values()) == {1}
    assert len(counts) == images_of(config)
    assert {r.dataset for r in outcome.runs} == {"bapps-2afc-val@exact4"}


@pytest.mark.usefixtures("reference_weights")
def test_also_when_interrupted_and_resumed_with_bit_identical_distances(tmp_path: Path) -> None:
    bounds = BatchLimits(pixels=20 * 64 * 64)  # four batches
    metrics = load_named("lpips-alex", "net-alex", "ssim")
    undisturbed = distances(run(job("ladder-2afc", tmp_path / "a", limit=9), metrics, bounds))
    config = job("ladder-2afc", tmp_path / "b", limit=9)
    with count_passes(metrics) as seen:
        (counts,) = seen.values()
        with pytest.raises(KeyboardInterrupt):
            run(config, metrics, bounds, reporter=Interrupting(after=2))
        assert 0 < len(counts) < images_of(config)
        outcome = run(config, metrics, bounds)
    assert set(counts.values()) == {1}
    assert len(counts) == images_of(config)
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
    config = EvalConfig(manifest, pack, Subset(), tmp_path / "results")
    metrics = load_named("lpips-alex")
    with count_passes(metrics) as seen:
        run(config, metrics, BatchLimits())
    (counts,) = seen.values()
    assert set(counts.values()) == {1}
    assert len(counts) == images_of(config) == 8


def test_a_resumed_run_keeps_the_batches_it_began_with(tmp_path: Path) -> None:
    config, metrics = job("ladder-2afc", tmp_path, limit=3), load_named("l2")
    with pytest.raises(KeyboardInterrupt):
        run(config, metrics, BatchLimits(items=10), reporter=Interrupting(after=1))
    outcome = run(config, metrics, BatchLimits(items=7))
    assert outcome.resumed == {"l2": 1}
    assert outcome.runs[0].info.batches.items == 10


def test_metrics_interrupted_at_different_places_go_on_together(tmp_path: Path) -> None:
    config, bounds = job("ladder-2afc", tmp_path, limit=3), BatchLimits(items=5)
    with pytest.raises(KeyboardInterrupt):
        run(config, load_named("l1"), bounds, reporter=Interrupting(after=3))
    with pytest.raises(KeyboardInterrupt):
        run(config, load_named("l2"), bounds, reporter=Interrupting(after=1))
    metrics = load_named("l1", "l2", "psnr")
    outcome = run(config, metrics, bounds)
    assert outcome.resumed == {"l1": 3, "l2": 1}
    undisturbed = distances(run(job("ladder-2afc", tmp_path / "x", limit=3), metrics))
    for name, values in distances(outcome).items():
        np.testing.assert_array_equal(values, undisturbed[name])


@pytest.mark.parametrize("garbage", [b"", b"\0", b"\1" * 40, b'{"half'])
def test_what_a_killed_run_left_at_the_end_of_its_journal_is_cut_off(
    tmp_path: Path, garbage: bytes
) -> None:
    config, metrics = job("ladder-2afc", tmp_path, limit=3), load_named("l2")
    with pytest.raises(KeyboardInterrupt):
        run(config, metrics, BatchLimits(items=5), reporter=Interrupting(after=2))
    journal = config.folder("l2") / CHECKPOINT_FILE
    whole = journal.read_bytes()
    journal.write_bytes(whole[: -len(garbage) or None] + garbage)
    outcome = run(config, metrics)
    assert outcome.resumed == {"l2": 2 if not garbage else 1}
    undisturbed = distances(run(job("ladder-2afc", tmp_path / "x", limit=3), metrics))
    np.testing.assert_array_equal(distances(outcome)["l2"], undisturbed["l2"])
    assert not journal.exists()


def test_a_complete_run_is_kept_and_fresh_measures_anew(tmp_path: Path) -> None:
    config, metrics = job("ladder-2afc", tmp_path, limit=3), load_named("l2")
    first = run(config, metrics).runs[0]
    again = run(config, metrics)
    assert again.reused == ["l2"]
    assert again.runs[0].info == first.info
    anew = run(config, metrics, fresh=True)
    assert anew.reused == []
    assert anew.runs[0].signature == first.signature


def test_a_changed_metric_is_measured_anew(tmp_path: Path) -> None:
    config = job("ladder-2afc", tmp_path, limit=3)
    (l2,) = load_named("l2")
    run(config, [l2])
    other = replace(l2.metric, version=2)
    changed = LoadedMetric(other, l2.distance, metric_digest(other, l2.distance))
    outcome = run(config, [changed])
    assert outcome.reused == []
    assert outcome.runs[0].signature != run(config, [l2]).runs[0].signature


def test_a_metric_whose_source_changed_is_measured_anew(tmp_path: Path) -> None:
    config, (l2,) = job("ladder-2afc", tmp_path, limit=3), load_named("l2")
    run(config, [l2])
    reporter = Silent()
    outcome = run(config, [replace(l2, source_files={"mine.py": "another"})], reporter=reporter)
    assert outcome.reused == []
    assert reporter.notes == ["ladder-2afc: the source of l2 changed; measuring it anew"]


@pytest.mark.parametrize("damage", [False, True])
def test_a_run_of_an_earlier_pmbench_is_kept_once_and_named(tmp_path: Path, damage: bool) -> None:
    config, (l2,) = job("ladder-2afc", tmp_path, limit=3), load_named("l2")
    (before,) = run(config, [l2]).runs
    content = json.loads((before.folder / "run.json").read_text())
    content["metric"]["source"] = "f" * 64  # a digest of whole files
    del content["metric"]["source_files"]
    (before.folder / "run.json").write_text(json.dumps(content))
    if damage:
        (before.folder / "scores.csv").write_text("")
    outcome = run(config, [l2])
    assert (outcome.reused, outcome.upgraded) == (["l2"], ["l2"])
    assert outcome.runs[0].info.metric.source == l2.source
    assert outcome.runs[0].info.metric.source_files == l2.source_files
    np.testing.assert_array_equal(outcome.runs[0].distances()[1], before.distances()[1])
    assert run(config, [l2]).upgraded == []


def test_a_run_of_another_metric_of_that_name_is_told_before_it_is_replaced(tmp_path: Path) -> None:
    config, (l2,) = job("ladder-2afc", tmp_path, limit=1), load_named("l2")
    (before,) = run(config, [l2]).runs
    reporter = Silent()
    run(config, [replace(l2, digest="f" * 64)], reporter=reporter)
    assert reporter.notes == [
        "ladder-2afc: replacing a run of l2 that was of another metric of that name, or of other "
        f"weights or parameters: {before.signature}"
    ]
    edited = replace(l2, source_files={"mine.py": "another"})
    (before,) = run(config, [edited]).runs
    reporter = Silent()
    run(
        config, [replace(edited, digest="e" * 64, source_files={"mine.py": "0"})], reporter=reporter
    )
    assert reporter.notes == [
        "ladder-2afc: replacing a run of l2 that was made with other code (mine.py): "
        f"{before.signature}"
    ]


@pytest.mark.parametrize(("seconds", "told"), [(50.0, "10 minutes"), (3600.0, "12 hours")])
def test_that_a_metric_takes_long_is_told_before_it_starts(
    tmp_path: Path, seconds: float, told: str
) -> None:
    (l2,) = load_named("l2")
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
    config, metrics = job("ladder-2afc", tmp_path, limit=3), load_named("l2")
    before = run(config, metrics).runs[0]
    renamed = config.manifest.model_copy(update={"title": "Another title"})
    outcome = run(replace(config, manifest=renamed), metrics)
    assert outcome.reused == ["l2"]
    after = outcome.runs[0]
    assert after.info.dataset.title == "Another title"
    assert after.info.finished == before.info.finished
    np.testing.assert_array_equal(after.distances()[1], before.distances()[1])


def test_another_number_of_resamples_or_seed_scores_anew_without_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_scores, "_MOST", 0)  # clusters that need no resamples
    config, metrics = job("ladder-2afc", tmp_path), load_named("l2")
    before = run(config, metrics).runs[0]
    assert before.info.bootstrap == Bootstrap(resamples=1000, seed=0)
    lows = [before.scores()["low"]]
    for resampling in (Resampling(200), Resampling(200, seed=5)):
        outcome = run(replace(config, resampling=resampling), metrics)
        assert outcome.reused == ["l2"]
        (after,) = outcome.runs
        assert after.info.bootstrap == Bootstrap(resamples=resampling.count, seed=resampling.seed)
        assert after.info.finished == before.info.finished
        assert (draws := after.draws()) is not None
        assert draws.resampling == resampling
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
    config, metrics = job("ladder-2afc", tmp_path, limit=3), load_named("l2")
    before = run(config, metrics).runs[0]
    path = before.folder / name
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole.replace(b"0.5", b"0.6") + b"\n")
    reporter = Silent()
    outcome = run(config, metrics, reporter=reporter)
    (note,) = reporter.notes
    assert note.startswith(f"ladder-2afc: scoring l2 anew, since its scores are damaged ({path}: ")
    assert outcome.reused == ["l2"]
    assert outcome.runs[0].info == before.info
    assert path.read_bytes() == whole


def test_a_run_whose_distances_are_damaged_is_measured_anew(tmp_path: Path) -> None:
    config, metrics = job("ladder-2afc", tmp_path, limit=3), load_named("l2")
    before = run(config, metrics).runs[0]
    path = before.folder / "distances.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    reporter = Silent()
    outcome = run(config, metrics, reporter=reporter)
    (note,) = reporter.notes
    assert note.startswith(
        "ladder-2afc: measuring l2 anew, since its distances are damaged "
        f"({path}: not what pmbench wrote (expected sha256 "
    )
    assert (outcome.reused, outcome.failures) == ([], {})
    assert path.read_bytes() == whole


def test_an_interrupted_run_of_another_kind_is_told_before_it_is_lost(tmp_path: Path) -> None:
    config, (l2,) = job("ladder-2afc", tmp_path, limit=3), load_named("l2")
    with pytest.raises(KeyboardInterrupt):
        run(config, [l2], BatchLimits(items=5), reporter=Interrupting(after=2))
    reporter = Silent()
    outcome = run(config, [replace(l2, source_files={"mine.py": "another"})], reporter=reporter)
    assert outcome.resumed == {}
    assert reporter.notes == [
        "ladder-2afc: what there was of an interrupted run of l2 was made with another source; "
        "beginning anew"
    ]


def test_two_evaluations_do_not_write_into_one_folder(tmp_path: Path) -> None:
    config, metrics = job("ladder-2afc", tmp_path, limit=3), load_named("l2", "l1")
    folder = config.folder("l2")
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        outcome = run(config, metrics)
    assert [r.metric for r in outcome.runs] == ["l1"]
    assert f"another pmbench is measuring into {folder}" in outcome.failures["l2"]


def test_a_damaged_run_stops_only_itself_and_fresh_replaces_it(tmp_path: Path) -> None:
    config, metrics = job("ladder-2afc", tmp_path, limit=3), load_named("l2", "l1")
    run(config, metrics)
    (config.folder("l2") / "run.json").write_text("{")
    outcome = run(config, metrics)
    assert [r.metric for r in outcome.runs] == ["l1"]
    assert "expected a run written by pmbench" in outcome.failures["l2"]
    assert [r.metric for r in run(config, metrics, fresh=True).runs] == ["l2", "l1"]


def test_a_limit_is_marked_partial_and_has_a_folder_of_its_own(tmp_path: Path) -> None:
    run_ = run(job("ladder-2afc", tmp_path, limit=3), load_named("l2")).runs[0]
    assert run_.dataset == "ladder-2afc@first3"
    assert run_.info.dataset.partial is True
    assert run_.info.dataset.items == 18  # three of each of six families
    assert "|ladder-2afc:first3:18of216#" in run_.signature


def all_at_hand() -> list[Metric]:
    at_hand = [m for m in registered().values() if m.name not in NOT_AT_HAND]
    return [m for m in at_hand if m.not_installed() is None]


def check_same(values: np.ndarray, other: np.ndarray, name: str) -> None:
    # another memory order adds in another order; the least distances are those of GMSD, a
    # deviation of numbers near 1, which float32 knows to 6e-8
    np.testing.assert_allclose(values, other, rtol=1e-5, atol=1e-8, err_msg=name)


@pytest.mark.usefixtures("reference_weights")
def test_a_metric_of_each_kind_gives_the_same_at_any_batch_size(tmp_path: Path) -> None:
    """All of them in a slow test, and pair by pair in the laws."""
    use_exact_arithmetic()
    metrics = load_named("l2-lab", "ssim", "patch-rbf-3", "mmdpp", "net-alex", "watson-dct")
    config, results = job("ladder-2afc", tmp_path), []
    for bounds in (BatchLimits(), BatchLimits(items=2)):
        batches = plan(config.pack, np.arange(3), bounds)
        results.append(results_of(config.pack, config.protocol, batches, metrics))
    (auto,), (two, one) = results
    assert len(auto) == len(metrics)
    for name, whole in auto.items():
        parts = [two[name], one[name]]
        assert isinstance(whole, Result)
        assert all(isinstance(part, Result) for part in parts)
        check_same(np.concatenate([p.distances for p in parts]), whole.distances, name)  # type: ignore[union-attr]


@pytest.mark.usefixtures("reference_weights")
def test_as_many_items_as_a_user_wants_give_the_same(tmp_path: Path) -> None:
    use_exact_arithmetic()
    metrics = load_named("l2-lab", "grad", "patch-rbf-3", "mmdpp", "net-alex", "watson-dct")
    usual = distances(run(job("ladder-2afc", tmp_path / "auto"), metrics, BatchLimits()))
    for size, count in ((16, 14), (64, 4), (512, 1)):
        outcome = run(job("ladder-2afc", tmp_path / str(size)), metrics, limits_for(size, None))
        batches = outcome.runs[0].info.batches
        assert batches is not None
        assert (batches.pixels, batches.items) == (None, size)
        assert batches.count >= count
        for name, values in distances(outcome).items():
            check_same(values, usual[name], name)


@pytest.mark.slow
@pytest.mark.usefixtures("reference_weights")
def test_every_run_gives_the_same_at_any_batch_size(tmp_path: Path) -> None:
    use_exact_arithmetic()
    metrics = load_named(*[m.name for m in all_at_hand()])
    auto = distances(run(job("ladder-2afc", tmp_path / "auto", limit=5), metrics, BatchLimits()))
    assert len(auto) == len(metrics) > 50
    assert {len(values) for values in auto.values()} == {30}
    for size in (1, 7):
        config = job("ladder-2afc", tmp_path / str(size), limit=5)
        other = distances(run(config, metrics, limits_for(size, None)))
        for name, values in other.items():
            check_same(values, auto[name], name)

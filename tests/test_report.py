"""The report without a browser: what it says, which items it shows, where it refuses to write."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from making import whole_facts
from PIL import Image
from typer.testing import CliRunner

from pmbench.analysis.board import Board, Cell, Row
from pmbench.analysis.ranking import Standing
from pmbench.cli import app
from pmbench.datasets.download import pack_path
from pmbench.datasets.manifest import datasets
from pmbench.datasets.pack import Items, Pack
from pmbench.datasets.resize import Resize
from pmbench.reporting.site import gallery, unanimity
from pmbench.reporting.site.build import MARKER, Options, check_place, write
from pmbench.reporting.site.charts import Figure, apart, finished
from pmbench.reporting.site.figures import against_cost, by_sub_dataset
from pmbench.reporting.site.metric_page import card_of
from pmbench.reporting.site.sections import Section, front, matched, page_of, sections, varied
from pmbench.reporting.site.summary import in_short, warning
from pmbench.reporting.site.table import table_of
from pmbench.reporting.site.thumbnails import pack_of
from pmbench.reporting.site.unanimity import against_unanimity
from pmbench.results.run import Run, save
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.scores import human_rows, score
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

WAY = "pmbench:0.1|toy:6#d3b01234|none|soft|macro|fp32"


def items_of(p: list[float], votes: int | list[int] = 5, subs: int = 1) -> Items:
    n = len(p)
    return Items(
        id=np.array([f"s{i * subs // n}/item-{i}" for i in range(n)], object),
        sub=np.arange(n) * subs // n,
        sub_names=tuple(f"s{k}" for k in range(subs)),
        p=np.array(p, float),
        votes=np.full(n, votes, np.int32) if isinstance(votes, int) else np.array(votes, np.int32),
        cluster=np.arange(n),
    )


def differences(*d0_minus_d1: float) -> np.ndarray:
    """Return distances (n, 2) with these differences."""
    d = np.array(d0_minus_d1, float)
    return np.stack([10 + d, np.full(len(d), 10.0)], axis=1)


# --- which items the gallery shows ----------------------------------------------------------------


def test_the_worst_triplets_are_unanimous_ones_by_how_clearly_the_metric_disagrees() -> None:
    #             wrong, weak  right   not unanimous  wrong, clear  tie
    items = items_of([1.0, 0.0, 0.2, 0.0, 1.0])
    found = gallery.mistakes_2afc(items, differences(-1, -3, 5, 4, 0), most=9)
    assert found.worst.tolist() == [3, 0]  # by |d0-d1|: 4, then 1; item 2 has a dissenting vote
    assert (found.asked, found.wrong) == (4, 2)
    assert gallery.mistakes_2afc(items, differences(-1, -3, 5, 4, 0), most=1).worst.tolist() == [3]


def test_an_item_with_fewer_votes_than_usual_is_not_called_unanimous() -> None:
    items = items_of([1.0, 1.0, 0.0, 0.4], votes=[5, 2, 6, 5])
    assert gallery.unanimous(items).tolist() == [True, False, True, False]


def test_items_on_which_the_metric_is_not_defined_are_neither_right_nor_wrong() -> None:
    d = differences(-1, -3)
    d[1] = np.nan
    found = gallery.mistakes_2afc(items_of([1.0, 1.0]), d, most=9)
    assert (found.asked, found.wrong, found.worst.tolist()) == (1, 1, [0])


def test_choices_do_not_depend_on_the_unit_of_the_metric() -> None:
    d = differences(3, -4)  # the root of the mean of 9 and 16 is √12.5
    np.testing.assert_allclose(gallery.choices(d), [3 / 12.5**0.5, -4 / 12.5**0.5])
    np.testing.assert_allclose(gallery.choices(1000 * d), gallery.choices(d))
    assert gallery.choices(differences(0, 0)).tolist() == [0, 0]


def test_jnd_shows_same_pairs_far_apart_and_different_pairs_close_together() -> None:
    #              same: 0, 1, 2;    divided;  different: 4, 5
    items = items_of([1, 1, 1, 2 / 3, 0, 0], votes=3)
    d = np.array([[0.1], [0.9], [0.5], [0.95], [0.4], [0.6]])
    far, near = gallery.too_far(items, d, 9), gallery.too_near(items, d, 9)
    assert far.worst.tolist() == [1]  # not among the three nearest unanimous pairs: 0.1, 0.4, 0.5
    assert (far.asked, far.wrong) == (3, 1)
    assert near.worst.tolist() == [4]  # among them
    assert (near.asked, near.wrong) == (2, 1)
    tied = np.array([[0.1], [0.4], [0.4], [0.95], [0.4], [0.6]])
    assert gallery.too_far(items, tied, 9).wrong == gallery.too_near(items, tied, 9).wrong == 0
    perfect = np.array([[0.1], [0.2], [0.3], [0.35], [0.4], [0.6]])
    assert (
        gallery.too_far(items, perfect, 9).wrong == gallery.too_near(items, perfect, 9).wrong == 0
    )


def test_jnd_without_same_or_without_different_pairs_shows_nothing() -> None:
    d = np.array([[0.1], [0.9]])
    for p in ([1.0, 1.0], [0.0, 0.0], [0.4, 0.4]):
        items = items_of(p, votes=5)
        assert gallery.too_far(items, d, 9).wrong == gallery.too_near(items, d, 9).wrong == 0


def test_hardest_are_the_triplets_that_most_metrics_get_wrong() -> None:
    items = items_of([1.0, 1.0, 1.0, 0.4])
    distances = {
        "a": differences(1, -1, -1, 1),
        "b": differences(1, 1, -1, 1),
        "c": differences(1, 1, -1, 1),
    }
    index, counts = gallery.hardest(items, distances, most=9)
    assert index.tolist() == [2, 1]
    assert counts.tolist() == [3, 1]


def test_two_metrics_part_where_they_choose_differently_and_both_are_clear() -> None:
    items = items_of([1.0, 0.0, 0.5, 0.8])
    distances = {"a": differences(1, 1, 2, 2), "b": differences(-1, 1, -3, -0.1)}
    found = gallery.parting_2afc(items, distances, "a", "b", most=9)
    assert (found.asked, found.apart) == (4, 3)
    assert found.clearest.tolist() == [
        2,
        0,
        3,
    ]  # the less decided of the two is clear by 1.3, 0.6, 0.06
    assert (found.with_a, found.with_b) == (2, 0)  # items 0 and 3; on 2 people were divided


def test_two_metrics_part_on_pairs_that_they_place_into_different_halves() -> None:
    items = items_of([1, 0, 1, 0], votes=3)
    a, b = np.array([[1.0], [4], [2], [3]]), np.array([[4.0], [1], [2], [3]])
    found = gallery.parting_jnd(items, {"a": a, "b": b}, "a", "b", most=9)
    assert (found.apart, found.clearest.tolist()) == (2, [0, 1])
    assert (found.with_a, found.with_b) == (2, 0)


# --- agreement against unanimity ------------------------------------------------------------------


def test_items_are_in_bins_by_the_size_of_the_majority() -> None:
    bins = unanimity.majorities(items_of([0.4, 0.0, 0.8, 0.6, 1.0]))
    assert [(b.label, b.index.tolist()) for b in bins] == [
        ("3 of 5", [0, 3]), ("4 of 5", [2]), ("5 of 5", [1, 4])
    ]  # fmt: skip
    mixed = unanimity.majorities(items_of([0.5, 0.25, 1.0, 0.05], votes=[4, 4, 5, 20]))
    assert [(b.label, b.index.tolist()) for b in mixed] == [
        ("50–60 %", [0]), ("70–80 %", [1]), ("90–100 %", [3]), ("all", [2])
    ]  # fmt: skip
    same = unanimity.agreements(items_of([0, 1 / 3, 1, 1], votes=3))
    assert [(b.label, len(b)) for b in same] == [("0 of 3", 1), ("1 of 3", 1), ("3 of 3", 2)]


def test_the_mean_of_a_bin_has_an_interval_that_counts_clusters_once() -> None:
    items = items_of([1.0, 1.0, 1.0, 1.0])
    (group,) = unanimity.majorities(items)
    values = np.array([0.0, 0.0, 1.0, 1.0])
    found = unanimity.mean(values, items, group)
    assert found is not None
    # four residuals of ½: s² = 4·¼/3, and Student's 97.5 % quantile with 3 degrees of freedom
    error = 3.182446 * math.sqrt(1 / 3 / 4)
    assert (found.value, found.n, found.unreliable) == (0.5, 4, True)
    assert (found.low, found.high) == pytest.approx((0.5 - error, 0.5 + error))
    paired = replace(items, cluster=np.array([0, 0, 1, 1]))
    wide = unanimity.mean(values, paired, group)
    assert wide is not None
    # two sums of 1, about 0: s² is 2·2/1, and Student's quantile with 1 degree of freedom
    assert wide.high - wide.low == pytest.approx(2 * 12.706205 * math.sqrt(2 * 2) / 4)
    alone = unanimity.mean(values, replace(items, cluster=np.zeros(4, int)), group)
    assert alone is not None
    assert math.isnan(alone.low)
    assert unanimity.mean(np.full(4, np.nan), items, group) is None


def test_an_interval_of_fewer_than_30_clusters_is_unreliable_and_said_to_be() -> None:
    items = items_of([1.0] * 60)
    (group,) = unanimity.majorities(items)
    values = np.arange(60) % 2.0
    many = unanimity.mean(values, items, group)
    assert many is not None
    assert not many.unreliable
    assert many.high - 0.5 == pytest.approx(2.000995 * math.sqrt(0.25 / 59))  # t of 59, s²/n
    for clusters, unreliable in ((30, False), (29, True)):
        found = unanimity.mean(values, replace(items, cluster=np.arange(60) % clusters), group)
        assert found is not None
        assert found.unreliable is unreliable


def test_farness_is_the_share_of_nearer_pairs_with_ties_by_halves() -> None:
    d = np.array([3.0, 1.0, 1.0, np.nan, 2.0])
    np.testing.assert_allclose(unanimity.farness(d), [1, 1 / 6, 1 / 6, np.nan, 2 / 3])


# --- the front, and labels ------------------------------------------------------------------------


def test_the_front_is_what_nothing_beats_in_both() -> None:
    points = {
        "slow best": (1.0, 0.9), "slow worse": (1.0, 0.8), "middle": (10.0, 0.8),
        "dominated": (9.0, 0.79), "fast": (100.0, 0.5), "no speed": (math.nan, 1.0),
        "twin": (10.0, 0.8), "as fast, worse": (100.0, 0.4),
    }  # fmt: skip
    assert front(points) == ["slow best", "middle", "twin", "fast"]
    assert front({}) == []


def test_charts_show_the_best_of_each_family_before_the_next_best() -> None:
    rows = [
        replace(row(f"m{i}", 0.9 - i / 100, 1, 6, 9), family=family)
        for i, family in enumerate("aaabcb")
    ]
    section = section_of(rows)
    assert [one.name for one in varied(section, 2)] == ["m0", "m3"]
    assert [one.name for one in varied(section, 4)] == ["m0", "m1", "m3", "m4"]
    assert [one.name for one in varied(section, 9)] == [one.name for one in rows]


def test_labels_keep_a_distance_and_their_order() -> None:
    assert apart([0.0, 10.0], 2) == [0, 10]
    assert apart([5.0, 5.0], 2) == [4, 6]
    placed = apart([1.0, 0.9, 5.0, 1.1], 1)
    assert np.argsort(placed).tolist() == [1, 0, 3, 2]
    assert np.diff(sorted(placed)).min() >= 1 - 1e-9


# --- what it says ---------------------------------------------------------------------------------


def row(name: str, value: float, low: int, high: int, speed: float | None) -> Row:
    cell = Cell(value, value - 0.004, value + 0.004)
    standing = Standing(low, high, "a")
    return Row(name, "metric", {"macro": cell}, 36344, 36344, speed, "f", standing=standing)


def human(name: str, value: float) -> Row:
    return Row(name, "human", {"macro": Cell(value)}, 36344, 36344, family="people")


def section_of(rows: list[Row], **facts: Any) -> Section:
    about = {
        "name": "toy", "protocol": "2afc", "human_votes": True, "partial": False,
        "sub_datasets": ["s0"],
    } | facts  # fmt: skip
    board = Board(
        dataset="toy", title="Toy", marks=[], statistic=TWO_AFC.statistics[0], unit="triplets",
        columns=["macro"], headers={}, rows=rows, signature=WAY,
    )  # fmt: skip
    info = {
        "signature": f"{WAY} || x#1", "dataset": about, "metric": {"name": "x"},
        "environment": {"device": "cpu"},
    }  # fmt: skip
    return Section(board, {row.name: Run(Path("toy/x"), info) for row in rows})


PEOPLE = [human("human-fresh", 0.739), human("human-majority", 0.826)]


def test_the_summary_says_which_metric_to_use_and_which_are_cheaper() -> None:
    rows = [
        row("best", 0.698, 1, 2, 70), row("as-good", 0.697, 1, 2, 700),
        row("fast", 0.66, 3, 3, 5000), row("bad", 0.6, 4, 4, 9),
    ]  # fmt: skip
    section = section_of([*rows, *PEOPLE])
    assert section.ranks
    assert warning(section) == ""
    assert in_short(section) == [
        "`best` agrees best with people: 2AFC 69.8 % (95 % interval 69.4 to 70.2).",
        "It cannot be told apart from `as-good` (paired tests, corrected for their number).",
        "Of these `as-good` is the fastest: 700 items/s, 10 times as fast.",
        "Faster ones agree less: `fast` 66.0 % at 5,000 items/s.",
        "One person agrees with another 73.9 % of the time (human-fresh), 4.1 points above `best`.",
        "No metric can score more than 82.6 % (human-majority).",
    ]


def test_the_summary_of_a_clear_winner_that_beats_a_person() -> None:
    rows = [row("best", 0.75, 1, 1, 70), row("worse", 0.6, 2, 2, 9)]
    said = in_short(section_of([*rows, *PEOPLE]))
    assert said[1] == (
        "It is better than `worse` beyond chance (paired tests, corrected for their number)."
    )
    assert said[2].startswith(
        "One person agrees with another 73.9 % of the time (human-fresh), 1.1 points below `best`, "
        "which is no contradiction"
    )


def test_ties_are_listed_and_where_the_best_is_the_fastest_that_is_said() -> None:
    rows = [row(f"m{i}", 0.7 - i / 1000, 1, 8, 100 - i) for i in range(8)]
    said = in_short(section_of(rows))
    assert said[1].startswith("It cannot be told apart from `m1`, `m2`, `m3`, `m4` and 3 others")
    assert said[2] == "None of these is faster."


def test_a_single_metric_is_compared_with_nothing() -> None:
    lone = replace(row("only", 0.7, 1, 1, 5), standing=None)
    (said,) = in_short(section_of([lone]))
    assert (
        said == "`only` is the only metric measured here: 2AFC 70.0 % (95 % interval 69.6 to 70.4)."
    )


def test_metrics_measured_in_another_way_are_counted_wherever_they_are_left_out() -> None:
    latest = replace(row("l1", 0.69, 1, 1, 5), standing=None)
    old = [
        replace(row(f"m{i}", 0.7, 1, 1, 5), standing=None, other_protocol=True) for i in range(17)
    ]
    section = section_of([latest, *old])
    assert in_short(section) == [
        "`l1` is the only metric measured in the latest way: 2AFC 69.0 % (95 % interval 68.6 to "
        "69.4).",
        "17 others (†) were measured in another way and are not compared; measure them again, in "
        "the way of the latest run.",
    ]
    assert in_short(section_of([latest, old[0]]))[1] == (
        "1 other (†) was measured in another way and is not compared; measure it again, in the way "
        "of the latest run."
    )
    assert in_short(section_of([latest, old[0]], human_votes=False))[-1].startswith("1 other (†)")
    unscored = replace(latest, cells={})
    assert in_short(section_of([unscored, old[0]])) == [
        "No metric is defined on these data.", in_short(section_of([latest, old[0]]))[1]
    ]  # fmt: skip
    assert table_of(section).count == "18 metrics, 17 of them (†) measured in another way"
    assert table_of(section_of([latest])).count == "1 metric"
    left_out = "Not shown: 17 other metrics (†), which were measured in another way."
    for figure in (by_sub_dataset(section), against_cost(section)):
        assert isinstance(figure, Figure)
        assert figure.caption.endswith(left_out)
        (alternative,) = re.findall(r'<svg[^>]* aria-label="([^"]*)"', figure.svg)
        assert "of 1 metric" in alternative
        assert "1 metrics" not in alternative
        assert " last " not in alternative
        assert alternative.endswith(left_out)
    one = by_sub_dataset(section_of([latest, old[0]]))
    assert one.caption.endswith("1 other metric (†), which was measured in another way.")


def test_partial_and_synthetic_data_are_marked_and_do_not_rank() -> None:
    few = replace(row("best", 0.7, 1, 2, 5), n=94)
    partial = section_of([few, row("b", 0.6, 1, 2, 5)], partial=True)
    assert not partial.ranks
    assert warning(partial).startswith(
        "Partial data, 94 of 36,344 triplets: a sanity check, which does not rank metrics"
    )
    assert in_short(partial)[0].startswith(
        "On these few, `best` has the highest 2AFC score: 70.0 %"
    )
    made = section_of([row("good", 0.97, 1, 2, 5), row("blind", 0.7, 2, 2, 5)], human_votes=False)
    assert warning(made).startswith("A sanity check, which does not rank metrics: nobody judged")
    assert in_short(made) == [
        "1 of 2 metrics reach 90 %, as a sound metric does.",
        "Look at the others before you use them: `blind` 70.0 %.",
    ]
    sound = section_of([row("good", 0.97, 1, 1, 5)], human_votes=False)
    assert in_short(sound) == [
        "Nothing to worry about: of 1 metric the lowest score is 97.0 %, of `good`."
    ]


# --- charts ---------------------------------------------------------------------------------------


def test_charts_speak_link_and_follow_the_colours_of_the_page() -> None:
    rows = [row("best", 0.698, 1, 1, 70), row("fa<st", 0.66, 2, 2, 5000)]
    section = section_of([*rows, *PEOPLE])
    for figure in (by_sub_dataset(section), against_cost(section)):
        assert isinstance(figure, Figure)
        assert '<svg xmlns="http://www.w3.org/2000/svg"' in figure.svg
        assert 'role="img"' in figure.svg
        assert re.search(r'aria-label="[^"]*best[^"]*"', figure.svg)
        assert "<title>best" in figure.svg
        assert f'href="{page_of("best")}"' in figure.svg
        assert "var(--ink)" in figure.svg or "var(--accent)" in figure.svg
        assert "fa<st" not in figure.svg
        assert "id=" not in figure.svg  # several charts stand in one page
        assert not re.search(r'(src|href)="https?:', figure.svg)
        assert not re.search(r'(fill|stroke)="(#|rgb|black|steelblue)', figure.svg)
    cost = against_cost(section)
    assert isinstance(cost, Figure)
    assert "from the best to the fastest: best, fa&lt;st." in cost.svg
    slow = [replace(one, speed=None) for one in rows]
    assert against_cost(section_of(slow)) == (
        "Agreement against cost is not shown: no run has a speed."
    )


def test_svg_keeps_two_decimals_and_drops_what_only_vega_needs() -> None:
    raw = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'class="marks" width="10" height="5" viewBox="0 0 10 5"><a xlink:href="https://site.invalid/m.html">'
        '<path aria-label="said" role="graphics-symbol" aria-roledescription="point" '
        'd="M1.23456,2"/></a><path d=""/></svg>'
    )
    assert finished(raw, "A chart.") == (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 5" role="img" '
        'aria-label="A chart." style="--natural:10px"><a href="m.html" tabindex="-1">'
        '<path d="M1.23,2"><title>said</title></path></a></svg>'
    )


def test_names_and_links_with_long_numbers_stay_as_they_are() -> None:
    raw = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'width="10" height="5"><a xlink:href="https://site.invalid/metrics/w-0.12345.html">'
        '<path aria-label="w-0.12345: 69.8 %" role="graphics-symbol" d="M1.23456,2"/></a>'
        '<text transform="translate(0.98765,3)">w-0.12345</text></svg>'
    )
    made_of_it = finished(raw, "Of w-0.12345.")
    assert 'href="metrics/w-0.12345.html"' in made_of_it
    assert "<title>w-0.12345: 69.8 %</title>" in made_of_it
    assert ">w-0.12345</text>" in made_of_it
    assert 'aria-label="Of w-0.12345."' in made_of_it
    assert 'd="M1.23,2"' in made_of_it
    assert "translate(0.98,3)" in made_of_it


# --- the whole site -------------------------------------------------------------------------------


def saved(
    results: Path, metric: str, d: np.ndarray, items: Items, dataset: str = "toy", **facts: Any
) -> Run:
    """Save a run on a 2AFC or JND toy dataset whose votes people gave."""
    protocol = TWO_AFC if d.shape[1] == 2 else JND
    how = Resampling(50, 0)
    found = score(protocol, metric, items, d, how=how)
    table = pd.concat([found.table, human_rows(protocol, items, how)], ignore_index=True)
    about = {
        "name": dataset, "title": "Toy & <co>", "protocol": protocol.name, "human_votes": True,
        "items": len(items), "of": len(items), "partial": False, "resize": "none",
        "selection": "every item", "sub_datasets": list(items.sub_names), "short_names": {},
        "source": "", "source_sha256": "", "pack_digest": "d3b0", **facts,
    }  # fmt: skip
    card = {
        "name": metric, "family": "own", "title": f"made <{metric}>", "version": 1,
        "parameters": {},
        "higher_is_better": False, "symmetric": True, "weights": {}, "undefined_on": {},
        "paper": "", "code": "https://example.org/code", "licence": "MIT", "digest": "11",
        "parameters_count": 1234, "weights_mb": 0.1,
    }  # fmt: skip
    info = {
        "signature": f"{WAY} || {metric}#1f9c", "metric": card, "dataset": about,
        "environment": {"device": "cpu", "torch": "2", "threads": 1}, "seconds": 1.0,
        "items_per_second": 10.0, "finished": "2026-03-01T00:00:00+00:00",
        "command": "pmbench eval -m x", "batches": {"pixels": 1, "items": None, "count": 1},
    }  # fmt: skip
    folder = results / dataset / re.sub(r"\W", "_", metric)
    return save(folder, whole_facts(info), items, d, table)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three metrics on six triplets of a dataset that has no manifest here."""
    items = items_of([1.0, 0.8, 0.6, 0.0, 0.2, 0.4], subs=2)
    folder = tmp_path / "results"
    saved(folder, "good", differences(3, 2, 1, -3, -2, -1), items)
    saved(folder, "bad", differences(-3, -2, 1, 3, 2, -1), items)
    saved(folder, "<odd/name>", differences(3, -2, 1, 3, -2, 1), items)
    return folder


def made(results: Path, out: Path, **options: Any) -> tuple[str, list[str]]:
    """Write a report; return its first page and the notes."""
    reporter = Silent()
    write(out, sections(results, []), Options(**options), reporter)
    return (out / "index.html").read_text(encoding="utf-8"), reporter.notes


def test_a_report_of_a_dataset_whose_pictures_are_not_here(results: Path, tmp_path: Path) -> None:
    index, notes = made(results, tmp_path / "out", title="Mine & <yours>")
    sentence = (
        "No pictures: nothing is known of a dataset toy; "
        "name the folder of its manifest with --manifests."
    )
    assert notes == [f"toy: {sentence}"]
    assert sentence in (tmp_path / "out" / "gallery.html").read_text()
    assert "<h1>Mine &amp; &lt;yours&gt;</h1>" in index
    assert "Toy &amp; &lt;co&gt;" in index
    assert "<odd/name>" not in index
    assert "One person agrees with another" in index
    assert "It lets each vote agree with itself" in index
    assert re.search(r"src=|https?://(?!www\.w3\.org)", index.replace('src="assets/', "")) is None
    page = (tmp_path / "out" / page_of("good")).read_text()
    assert f"{WAY} || good#1f9c" in page
    assert "pmbench eval --metric good --dataset toy" in page
    assert "made &lt;good&gt;" in page
    assert '<a href="https://example.org/code">' in page
    assert (tmp_path / "out" / page_of("<odd/name>")).exists()
    assert not (tmp_path / "out" / "pictures").exists()


def test_the_table_marks_the_best_and_says_what_it_is_sorted_by(results: Path) -> None:
    (section,) = sections(results, [])
    table = table_of(section)
    assert [line.name for line in table.metrics] == ["good", "<odd/name>", "bad"]
    assert [head.key for head in table.heads] == [
        "macro", "rank", "s0", "s1", "n", "speed", "parameters"
    ]  # fmt: skip
    best, by = table.metrics[0].cells[0]
    assert (best.main, best.best, float(by)) == ("80.0", True, pytest.approx(0.8))
    assert {line.name for line in table.people} == {"human-paper", "human-fresh", "human-majority"}
    assert table.families == ["own"]
    assert len(table.marks) == 2


def test_the_signs_of_the_table_are_explained_below_it_and_its_strips_are_hidden_alike(
    tmp_path: Path,
) -> None:
    items = items_of([1.0, 0.8, 0.6, 0.0, 0.2, 0.4])
    for name in ("a", "b", "old"):
        saved(tmp_path / "r", name, differences(3, 2, 1, -3, -2, -1), items)
    file = tmp_path / "r" / "toy" / "old" / "run.json"
    info = json.loads(file.read_text())
    info["signature"] = info["signature"].replace("pmbench:0.1", "pmbench:0.0")
    info["finished"] = "2025-03-01T00:00:00+00:00"
    file.write_text(json.dumps(info))
    index, _ = made(tmp_path / "r", tmp_path / "out")
    (legend,) = re.findall(r'<ul class="legend">(.*?)</ul>', index, re.DOTALL)
    assert "<li>≈ cannot be told apart from the best (paired tests" in legend
    assert "<li>† measured in another way" in legend
    assert "scores of 3 metrics, 1 of them (†) measured in another way on Toy" in index
    strips = re.findall(r'<td class="strip"[^>]*>', index)
    assert set(strips) == {'<td class="strip" aria-hidden="true">'}


def test_unanimity_is_drawn_where_people_differ_and_said_where_not(tmp_path: Path) -> None:
    saved(tmp_path / "a", "x", differences(1, 1, -1), items_of([1.0, 0.6, 0.2]))
    (section,) = sections(tmp_path / "a", [])
    figure = against_unanimity(section)
    assert isinstance(figure, Figure)
    assert "x, 3 of 5: 60.0 %, n = 1" in figure.svg
    assert "Dotted" not in figure.caption  # of single items there is no interval at all
    saved(tmp_path / "c", "x", differences(1, -1, 1, -1), items_of([1.0, 1.0, 0.6, 0.6]))
    (few,) = sections(tmp_path / "c", [])
    doubted = against_unanimity(few)
    assert isinstance(doubted, Figure)
    assert "x, 5 of 5: 50.0 %, n = 2, interval unreliable" in doubted.svg
    assert 'stroke-dasharray="2,3"' in doubted.svg
    assert doubted.caption.endswith(
        " Dotted intervals rest on fewer than 30 independent items: unreliable."
    )
    assert "human-majority" in figure.svg
    saved(tmp_path / "b", "x", differences(1, 1), items_of([1.0, 0.0]))
    (alike,) = sections(tmp_path / "b", [])
    assert against_unanimity(alike) == (
        "Agreement against how unanimous people were is not shown: "
        "they were equally unanimous on all of the triplets."
    )


def test_datasets_that_rank_come_first_and_protocols_of_a_group_are_matched(tmp_path: Path) -> None:
    items = items_of([1.0, 0.0])
    triplets, pairs = differences(1, -1), np.array([[0.1], [0.9]])
    saved(tmp_path, "x", triplets, items, "aaa", human_votes=False)
    saved(tmp_path, "x", triplets, items, "bapps-2afc-val", partial=True, of=36344)
    saved(tmp_path, "x", pairs, items, "bapps-jnd-val")
    found = sections(tmp_path, [])
    assert [section.name for section in found] == ["bapps-jnd-val", "bapps-2afc-val", "aaa"]
    ((two_afc, jnd),) = matched(found)
    assert (two_afc.name, jnd.name) == ("bapps-2afc-val", "bapps-jnd-val")
    index, _ = made(tmp_path, tmp_path / "out")
    assert (
        "bapps-2afc-val and bapps-jnd-val: Not shown: the relation of 2AFC and JND needs 4 metrics"
    ) in index


def test_a_card_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    run = saved(tmp_path, "x", differences(1), items_of([1.0]))
    assert dict(card_of(run)) == {
        "family": "own", "code": "https://example.org/code", "licence": "MIT",
        "direction": "smaller is more alike", "symmetric": "yes", "version": "1",
        "numbers": "1,234 in its networks and filters", "size": "0.1 MB",
    }  # fmt: skip


def test_pictures_are_of_the_pack_that_was_measured(tmp_path: Path) -> None:
    items = items_of([1.0])
    run = saved(tmp_path, "x", differences(1), items, "ladder-2afc", resize="none")
    assert pack_of(run) == (
        "No pictures: the pack of ladder-2afc on this machine holds other pictures or votes than "
        "those that were measured (digest 8e41bc94, expected d3b0)."
    )
    absent = saved(tmp_path, "x", differences(1), items, "bapps-2afc-val", resize="legacy64")
    assert pack_of(absent) == (
        "No pictures: the pack of bapps-2afc-val is not on this machine; "
        "`pmbench download bapps-2afc-val` makes it."
    )


def test_a_gallery_shows_the_pixels_the_votes_and_the_numbers_of_the_metric(tmp_path: Path) -> None:
    pack = Pack.open(pack_path(datasets()["ladder-2afc"], Resize("none")))
    items = pack.items
    right = differences(*np.where(items.p == 1, 1.0, -1.0) * np.arange(1, len(items) + 1))
    wrong = right.copy()
    wrong[[5, 9]] = wrong[[5, 9]][:, ::-1]
    facts = {"dataset": "ladder-2afc", "human_votes": False, "pack_digest": pack.digest}
    for name, d in (("sound", right), ("blind", wrong)):
        run = saved(tmp_path / "results", name, d, items, **facts)
        if name == "blind":  # a similarity, of which minus the value is stored
            run.info["metric"]["higher_is_better"] = True
            (run.folder / "run.json").write_text(json.dumps(run.info))
    out = tmp_path / "site"
    arguments = ["report", "-o", str(out), "--results", str(tmp_path / "results")]
    told = CliRunner().invoke(app, [*arguments, "--examples", "1"], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert re.search(
        r"site/index\.html: 1 dataset, 2 metrics, 3 pictures; the first page has 0\.\d\d MB",
        told.stdout.replace("\n", ""),
    )
    page = (out / page_of("blind")).read_text()
    assert "blind chooses the other one on 2 of 216 triplets; the clearest are shown." in page
    item = str(items.id[9])  # |d0-d1| is 10, of item 5 it is 6
    assert re.findall(r'<span class="item">.*<code>(.*?)</code>', page) == [item]
    truth = pack.images(int(pack.size[9]), pack.rows[9])  # ref, p0, p1
    addresses = re.findall(r'<img src="\.\./(pictures/[^"]+)" width="64" height="64"', page)
    for address, role in zip(addresses, (1, 0, 2), strict=True):  # left, reference, right
        with Image.open(out / address) as picture:
            np.testing.assert_array_equal(np.array(picture), truth[role])
    d0, d1 = wrong[9]
    numbers = re.findall(r'<span class="metric[^"]*">(?:<b>✓</b> )?(.*?)</span>', page)
    assert numbers == [f"{-d0:.4g}", "blind", f"{-d1:.4g}"]
    closer = "right" if items.p[9] == 1 else "left"
    assert f"the {closer} one is closer by construction" in page
    gallery_page = (out / "gallery.html").read_text()
    assert "sound and blind choose differently on 2 of 216 triplets." in gallery_page
    arguments = [*arguments, "--no-gallery"]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not (out / "gallery.html").exists()
    assert "Made without pictures (--no-gallery)." in (out / page_of("blind")).read_text()


# --- where it writes ------------------------------------------------------------------------------


def test_an_earlier_report_is_replaced_whole(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(results, out)
    (results / "toy" / "bad" / "run.json").unlink()
    index, _ = made(results, out)
    assert "bad" not in index
    assert not (out / page_of("bad")).exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (tmp_path / "empty").mkdir()
    made(results, tmp_path / "empty")


def test_what_is_no_earlier_report_is_not_overwritten(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PmbenchError, match="is a file; expected the name of a folder"):
        check_place(tmp_path / "file")
    with pytest.raises(
        PmbenchError, match="is not empty and holds no earlier report; name another"
    ):
        write(results, sections(results, []), Options(), Silent())
    out = tmp_path / "out"
    made(results, out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(PmbenchError, match=r"but also notes\.txt, which no report wrote"):
        check_place(out)
    (out / "notes.txt").unlink()
    (out / MARKER).write_text("[]")
    with pytest.raises(PmbenchError, match="expected the list of an earlier report's files"):
        check_place(out)
    (out / MARKER).write_text(json.dumps({"files": "index.html"}))
    with pytest.raises(PmbenchError, match="which no report wrote"):
        check_place(out)


def test_the_folder_one_is_in_is_not_replaced(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "here" / "inside"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    (tmp_path / "link").symlink_to(tmp_path / "here")
    for out in (".", "..", str(inside), tmp_path / "link"):
        arguments = ["report", "-o", str(out), "--results", str(results)]
        told = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert told.exit_code == 2
        assert (
            f"{out} is the folder you are in, or holds it, and a report replaces its folder as a "
            "whole; name another one with -o, such as -o report, or go elsewhere first"
        ) in re.sub(r"\s+", " ", told.stderr)
        assert list(inside.iterdir()) == []
        assert Path.cwd() == inside


def test_a_link_stays_and_what_it_leads_to_is_replaced(results: Path, tmp_path: Path) -> None:
    link, real = tmp_path / "links" / "site", tmp_path / "real"
    link.parent.mkdir()
    link.symlink_to(real)
    for _ in range(2):  # where nothing is there yet, and where a report is
        made(results, link)
        assert link.is_symlink()
        assert (real / "index.html").exists()
    assert [path.name for path in link.parent.iterdir()] == ["site"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_a_system_puts_into_a_folder_is_in_nobodys_way(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".DS_Store").write_bytes(b"")
    made(results, out)
    for name in (".DS_Store", "assets/._report.css", "metrics/Thumbs.db", "desktop.ini"):
        (out / name).write_bytes(b"")
    made(results, out)
    assert not (out / ".DS_Store").exists()
    (out / ".env").write_text("mine")
    with pytest.raises(PmbenchError, match=r"but also \.env, which no report wrote"):
        check_place(out)


def test_a_failed_report_leaves_what_was_there(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before, _ = made(results, out)
    found = sections(results, [])
    (results / "toy" / "good" / "distances.h5").write_bytes(b"broken")
    with pytest.raises(PmbenchError, match=r"distances\.h5: not what pmbench wrote"):
        write(out, found, Options(), Silent())
    assert (out / "index.html").read_text() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["report", "-o", str(tmp_path / "out"), "--results", "none"])
    assert told.exit_code == 2
    assert "no runs in none" in told.stderr
    assert not (tmp_path / "out").exists()

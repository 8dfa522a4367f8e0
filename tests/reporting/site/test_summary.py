"""What a report says in short."""

from __future__ import annotations

import re
from dataclasses import replace

from support.site import PEOPLE, row, section_of

from pmbench.reporting.site.charts import Figure
from pmbench.reporting.site.figures import against_cost, by_sub_dataset
from pmbench.reporting.site.summary import in_short, warning
from pmbench.reporting.site.table import table_of

# --- what it says ---------------------------------------------------------------------------------


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
    lone = replace(row("only", 0.7, 1, 1, 5), rank_range=None)
    (said,) = in_short(section_of([lone]))
    assert (
        said == "`only` is the only metric measured here: 2AFC 70.0 % (95 % interval 69.6 to 70.4)."
    )


def test_metrics_measured_in_another_way_are_counted_wherever_they_are_left_out() -> None:
    latest = replace(row("l1", 0.69, 1, 1, 5), rank_range=None)
    old = [
        replace(row(f"m{i}", 0.7, 1, 1, 5), rank_range=None, other_setup=True) for i in range(17)
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

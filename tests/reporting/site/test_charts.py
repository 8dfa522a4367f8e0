"""Charts: what they show, their labels, and the front."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
from support.site import PEOPLE, row, section_of

from pmbench.reporting.site.charts import Figure, apart, finished
from pmbench.reporting.site.figures import against_cost, by_sub_dataset
from pmbench.reporting.site.sections import front, page_of, varied

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

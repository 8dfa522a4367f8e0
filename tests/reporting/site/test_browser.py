"""The report in a real Chromium, from file://, as a reader has it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from support.cli import pmbench

METRICS = ["l1", "psnr", "grad", "ssim", "net-squeeze-random"]
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
TABLE = "#table-ladder-2afc"
SHOWN = f"{TABLE} tbody.metrics tr:not([hidden])"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report of a few cheap metrics on both built-in datasets."""
    folder = tmp_path_factory.mktemp("report")
    results, out = str(folder / "results"), folder / "site"
    for arguments in (
        ["eval", "-m", ",".join(METRICS), "-d", "ladder", "--results", results],
        ["report", "-o", str(out), "--results", results, "--examples", "2"],
    ):
        pmbench(*arguments)
    return out


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    place = shutil.which("chromium") or shutil.which("chromium-browser")
    if place is None:
        if os.environ.get("PMBENCH_REQUIRE_CHROMIUM"):
            pytest.fail("PMBENCH_REQUIRE_CHROMIUM is set and there is no chromium")
        pytest.skip("needs chromium, such as Debian's package of that name")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """Return a fresh window that fails the test where a page complains or asks the network."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    wrong: list[str] = []
    context.on("console", lambda message: wrong.append(f"console: {message.text}"))
    context.on("weberror", lambda error: wrong.append(f"error: {error.error}"))
    context.on(
        "request",
        lambda request: (
            None if request.url.startswith(("file://", "data:")) else wrong.append(request.url)
        ),
    )
    context.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    yield context
    context.close()
    assert wrong == []


@pytest.fixture
def index(site: Path, context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    return page


def names(page: Page) -> list[str]:
    return [text.strip(" ≈†") for text in page.locator(f"{SHOWN} th").all_inner_texts()]


def column(page: Page, title: str) -> list[str]:
    heads = [text.strip(" ↑↓") for text in page.locator(f"{TABLE} thead tr > *").all_inner_texts()]
    cells = page.locator(f"{SHOWN} > :nth-child({heads.index(title) + 1})")
    return [text.split("\n")[0] for text in cells.all_inner_texts()]


def head(page: Page, title: str) -> tuple[str, str | None]:
    """Press the head of a column; return the selector of the head and how it is sorted now."""
    button = page.locator(f"{TABLE} thead").get_by_role("button", name=title, exact=True)
    button.click()
    return title, button.locator("..").get_attribute("aria-sort")


def test_the_first_page_is_small_and_its_axes_name_the_overall_score(site: Path) -> None:
    text = (site / "index.html").read_text()
    assert "2AFC, macro, % →" in text
    assert "JND mAP, macro, % →" in text
    parts = [site / "index.html", site / "assets" / "report.css", site / "assets" / "report.js"]
    assert sum(path.stat().st_size for path in parts) < 500_000


def test_sorting_sorts_by_numbers_and_by_words_in_both_directions(index: Page) -> None:
    first = names(index)
    assert sorted(first) == sorted(METRICS)
    for title, directions in (
        ("2AFC macro", ["descending", "ascending"]),
        ("items/s", ["descending", "ascending"]),
        ("metric", ["ascending", "descending"]),
    ):
        for direction in directions:
            assert head(index, title) == (title, direction)
            if title == "metric":
                values: list[float] | list[str] = names(index)
            else:
                values = [float(text.replace(",", "")) for text in column(index, title)]
            assert values == sorted(values, reverse=direction == "descending")
            assert index.locator(f"{TABLE} th[aria-sort$=ending]").count() == 1
    speeds = [float(text.replace(",", "")) for text in column(index, "items/s")]
    assert max(speeds) >= 1000 > min(speeds)  # so that numbers sorted as words would differ


def test_the_filter_filters_and_counts(index: Page) -> None:
    form = index.locator("form.filter").first
    count = form.locator("output")
    assert count.inner_text() == "5 of 5 metrics"
    assert count.get_attribute("aria-live") == "polite"
    form.get_by_label("Find a metric").fill("S")
    assert sorted(names(index)) == ["net-squeeze-random", "psnr", "ssim"]
    assert count.inner_text() == "3 of 5 metrics"
    form.get_by_label("Family").select_option("SSIM")
    assert names(index) == ["ssim"]
    form.get_by_label("Find a metric").fill("nothing like it")
    assert names(index) == []
    assert count.inner_text() == "0 of 5 metrics"
    assert index.locator("#table-ladder-jnd tbody.metrics tr:not([hidden])").count() == 5


def test_the_keyboard_reaches_the_content_and_sorts(index: Page) -> None:
    index.keyboard.press("Tab")
    skip = index.locator("a.skip")
    assert skip.evaluate("node => node === document.activeElement")
    assert skip.bounding_box()["x"] >= 0  # type: ignore[index]
    index.keyboard.press("Enter")
    for _ in range(40):
        index.keyboard.press("Tab")
        at = index.evaluate("() => document.activeElement.textContent.trim()")
        if at == "items/s":
            break
    assert at == "items/s"
    outline = index.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    index.keyboard.press("Enter")
    speeds = [float(text.replace(",", "")) for text in column(index, "items/s")]
    assert speeds == sorted(speeds, reverse=True)


@pytest.mark.parametrize("name", ["index.html", "gallery.html", "metrics/ssim.html"])
def test_pages_are_sound(site: Path, context: BrowserContext, name: str) -> None:
    """Images load and have words, links lead somewhere, headings are in order."""
    page = context.new_page()
    page.goto((site / name).as_uri())
    pictures = page.evaluate(
        """async () => {
          const all = Array.from(document.images);
          for (const one of all) one.loading = "eager";
          await Promise.allSettled(all.map((one) => one.decode()));
          return all.map((one) => [one.currentSrc, one.naturalWidth, one.alt]);
        }"""
    )
    assert bool(pictures) == (name != "index.html")
    assert [source for source, width, words in pictures if width == 0 or not words.strip()] == []
    charts = page.locator("svg[role=img]")
    assert (charts.count() >= 5) == (name == "index.html")
    assert all(chart.get_attribute("aria-label") for chart in charts.all())
    assert page.locator("html").get_attribute("lang") == "en"
    levels = page.evaluate(
        "() => [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    links = page.evaluate("() => [...document.querySelectorAll('a')].map((a) => a.href.baseVal ?? "
                          "a.getAttribute('href'))")  # fmt: skip
    assert links
    for link in set(links):
        address, _, fragment = link.partition("#")
        if re.match("https?://", address):
            continue
        target = (site / name).parent / address if address else site / name
        assert target.is_file(), link
        if fragment:
            assert f'id="{fragment}"' in target.read_text(encoding="utf-8"), link


def test_the_gallery_shows_the_chosen_pair_of_metrics(site: Path, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto((site / "gallery.html").as_uri())
    shown = page.locator("#duels-ladder-2afc > section:not([hidden])")
    assert shown.count() == 1
    choice = page.locator("form.duels").first.get_by_label("Compare")
    others = choice.locator("option").all_inner_texts()
    assert len(others) == 10  # every pair
    choice.select_option(label=others[-1])
    assert shown.locator("h4").inner_text() == others[-1]


def test_a_phone_needs_no_sideways_scrolling(site: Path, chromium: Browser) -> None:
    phone = chromium.new_context(viewport={"width": 375, "height": 700})
    page = phone.new_page()
    for name in ("index.html", "gallery.html", "metrics/ssim.html"):
        page.goto((site / name).as_uri())
        width = page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= 375, name
    phone.close()


def test_light_dark_and_paper_have_colours_of_their_own(
    site: Path, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    ground = "() => getComputedStyle(document.body).backgroundColor"
    mark = "() => getComputedStyle(document.querySelector('svg[role=img] a path')).fill"
    seen = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        seen[scheme] = page.evaluate(ground), page.evaluate(mark)
    assert seen["light"][0] != seen["dark"][0]
    assert seen["light"][1] != seen["dark"][1]
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert not page.locator("form.filter").first.is_visible()


def test_without_scripts_everything_is_shown(site: Path, chromium: Browser) -> None:
    plain = chromium.new_context(java_script_enabled=False)
    page = plain.new_page()
    page.goto((site / "index.html").as_uri())
    assert page.locator(SHOWN).count() == len(METRICS)
    assert not page.locator("form.filter").first.is_visible()
    page.goto((site / "gallery.html").as_uri())
    assert page.locator("section.duel").last.is_visible()
    plain.close()

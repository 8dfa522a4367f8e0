"""The report as a whole, without a browser: its pages, and where it refuses to write."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.cli import one_line, pmbench
from support.factories import with_info
from support.site import WAY, differences, items_of, save_run, write_report

from pmbench.datasets.download import pack_path
from pmbench.datasets.manifest import datasets
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import Resize
from pmbench.reporting.site.build import MARKER, Options, check_place, write
from pmbench.reporting.site.charts import Figure
from pmbench.reporting.site.metric_page import card_of
from pmbench.reporting.site.sections import matched, page_of, sections
from pmbench.reporting.site.table import table_of
from pmbench.reporting.site.thumbnails import pack_of
from pmbench.reporting.site.unanimity import against_unanimity
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

# --- the whole site -------------------------------------------------------------------------------


def test_a_report_of_a_dataset_whose_pictures_are_not_here(results: Path, tmp_path: Path) -> None:
    index, notes = write_report(results, tmp_path / "out", title="Mine & <yours>")
    sentence = (
        "No images: nothing is known of a dataset toy; "
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
    assert not (tmp_path / "out" / "images").exists()


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
        save_run(tmp_path / "r", name, differences(3, 2, 1, -3, -2, -1), items)
    file = tmp_path / "r" / "toy" / "old" / "run.json"
    info = json.loads(file.read_text())
    info["signature"] = info["signature"].replace("pmbench:0.1", "pmbench:0.0")
    info["finished"] = "2025-03-01T00:00:00+00:00"
    file.write_text(json.dumps(info))
    index, _ = write_report(tmp_path / "r", tmp_path / "out")
    (legend,) = re.findall(r'<ul class="legend">(.*?)</ul>', index, re.DOTALL)
    assert "<li>† measured in another way" in legend
    assert "<li>macro: plain mean of the sub-datasets; 95 % intervals</li>" in legend
    assert '<a href="#reading">' in legend
    assert "≈ marks those that\ncannot be told apart from the best" in index
    assert "scores of 3 metrics, 1 of them (†) measured in another way on Toy" in index
    strips = re.findall(r'<td class="strip"[^>]*>', index)
    assert set(strips) == {'<td class="strip" aria-hidden="true">'}


def test_what_holds_for_all_tables_stands_once(tmp_path: Path) -> None:
    items = items_of([1.0, 0.8, 0.6, 0.0, 0.2, 0.4])
    for dataset in ("toy", "other"):
        for name in ("a", "b"):
            save_run(tmp_path, name, differences(3, 2, 1, -3, -2, -1), items, dataset=dataset)
    index, _ = write_report(tmp_path, tmp_path / "out")
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', index, re.DOTALL)
    assert len(legends) == 2
    for legend in legends:
        first, *_ = re.findall("<li>(.*?)</li>", legend)
        assert first.startswith("signature:")
    _, reading = index.split("<dt>all tables</dt>")
    for line in sections(tmp_path, [])[0].board.legend:
        head = line.split(":")[0]
        if head in ("macro", "rank"):
            assert f"<dt>{head}</dt>" in index
            assert line not in index
        else:
            assert unescape(reading).count(line) == unescape(index).count(line) == 1


def test_unanimity_is_drawn_where_people_differ_and_said_where_not(tmp_path: Path) -> None:
    save_run(tmp_path / "a", "x", differences(1, 1, -1), items_of([1.0, 0.6, 0.2]))
    (section,) = sections(tmp_path / "a", [])
    figure = against_unanimity(section)
    assert isinstance(figure, Figure)
    assert "x, 3 of 5: 60.0 %, n = 1" in figure.svg
    assert "Dotted" not in figure.caption  # of single items there is no interval at all
    save_run(tmp_path / "c", "x", differences(1, -1, 1, -1), items_of([1.0, 1.0, 0.6, 0.6]))
    (few,) = sections(tmp_path / "c", [])
    doubted = against_unanimity(few)
    assert isinstance(doubted, Figure)
    assert "x, 5 of 5: 50.0 %, n = 2, interval unreliable" in doubted.svg
    assert 'stroke-dasharray="2,3"' in doubted.svg
    assert doubted.caption.endswith(
        " Dotted intervals rest on fewer than 20 independent items: unreliable."
    )
    assert "human-majority" in figure.svg
    save_run(tmp_path / "b", "x", differences(1, 1), items_of([1.0, 0.0]))
    (alike,) = sections(tmp_path / "b", [])
    assert against_unanimity(alike) == (
        "Agreement against how unanimous people were is not shown: "
        "they were equally unanimous on all of the triplets."
    )


def test_datasets_that_rank_come_first_and_protocols_of_a_group_are_matched(tmp_path: Path) -> None:
    items = items_of([1.0, 0.0])
    triplets, pairs = differences(1, -1), np.array([[0.1], [0.9]])
    save_run(tmp_path, "x", triplets, items, "aaa", human_votes=False)
    save_run(tmp_path, "x", triplets, items, "bapps-2afc-val", partial=True, of=36344)
    save_run(tmp_path, "x", pairs, items, "bapps-jnd-val")
    datasets = sections(tmp_path, [])
    assert [section.name for section in datasets] == ["bapps-jnd-val", "bapps-2afc-val", "aaa"]
    ((two_afc, jnd),) = matched(datasets)
    assert (two_afc.name, jnd.name) == ("bapps-2afc-val", "bapps-jnd-val")
    index, _ = write_report(tmp_path, tmp_path / "out")
    assert (
        "bapps-2afc-val and bapps-jnd-val: Not shown: the relation of 2AFC and JND needs 4 metrics"
    ) in index


def test_a_card_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    run = save_run(tmp_path, "x", differences(1), items_of([1.0]))
    assert dict(card_of(run)) == {
        "family": "own", "code": "https://example.org/code", "licence": "MIT",
        "direction": "smaller is more alike", "symmetric": "yes", "version": "1",
        "parameters": "1,234", "size": "0.1 MB",
    }  # fmt: skip


def test_pictures_are_of_the_pack_that_was_measured(tmp_path: Path) -> None:
    items = items_of([1.0])
    run = save_run(tmp_path, "x", differences(1), items, "ladder-2afc", resize="none")
    assert pack_of(run) == (
        "No images: the pack of ladder-2afc on this machine holds other images or votes than "
        "those that were measured (digest 8e41bc94, expected d3b0)."
    )
    absent = save_run(tmp_path, "x", differences(1), items, "bapps-2afc-val", resize="legacy64")
    assert pack_of(absent) == (
        "No images: the pack of bapps-2afc-val is not on this machine; "
        "`pmbench download bapps-2afc-val` makes it."
    )


LADDER = ("ladder-2afc", "ladder-jnd")


def test_a_fault_in_the_pictures_of_one_dataset_costs_these_only(tmp_path: Path) -> None:
    packs = {name: Pack.open(pack_path(datasets()[name], Resize("none"))) for name in LADDER}
    results = tmp_path / "results"
    for name, pack in packs.items():
        d = np.abs(differences(*range(1, len(pack.items) + 1)))
        facts = {"dataset": name, "human_votes": False, "pack_digest": pack.digest}
        items = pack.items
        if name == "ladder-2afc":  # as of a run that somebody else made
            items = replace(items, id=np.array([f"x/{i}" for i in range(len(items))], object))
        save_run(results, "x", d[:, : len(pack.attributes["roles"]) - 1], items, **facts)
    out = tmp_path / "site"
    result = pmbench("report", "-o", out, "--results", results)
    where = packs["ladder-2afc"].path
    sentence = (
        f"No images: {where} has no item 'x/212', which was measured; measure the dataset again "
        "with `pmbench eval --fresh`."
    )
    assert f"ladder-2afc: {sentence}\n" in result.stderr
    sentence = sentence.replace("`pmbench eval --fresh`", "<code>pmbench eval --fresh</code>")
    assert sentence in unescape((out / "gallery.html").read_text(encoding="utf-8"))
    assert sentence in unescape((out / page_of("x")).read_text(encoding="utf-8"))
    assert len(list((out / "images").iterdir())) > 0  # those of the other dataset


def test_a_gallery_shows_the_pixels_the_votes_and_the_numbers_of_the_metric(tmp_path: Path) -> None:
    pack = Pack.open(pack_path(datasets()["ladder-2afc"], Resize("none")))
    items = pack.items
    right = differences(*np.where(items.p == 1, 1.0, -1.0) * np.arange(1, len(items) + 1))
    wrong = right.copy()
    wrong[[5, 9]] = wrong[[5, 9]][:, ::-1]
    facts = {"dataset": "ladder-2afc", "human_votes": False, "pack_digest": pack.digest}
    for name, d in (("sound", right), ("blind", wrong)):
        run = save_run(tmp_path / "results", name, d, items, **facts)
        if name == "blind":  # a similarity, of which minus the value is stored
            info = with_info(run, metric={"higher_is_better": True}).info
            (run.folder / "run.json").write_text(info.to_json())
    out = tmp_path / "site"
    arguments = ["report", "-o", str(out), "--results", str(tmp_path / "results")]
    output = pmbench(*arguments, "--examples", "1").stdout.replace("\n", "")
    counts = r"site/index\.html: 1 dataset, 2 metrics, 3 images; the first page has 0\.\d\d MB"
    assert re.search(counts, output)
    page = (out / page_of("blind")).read_text()
    assert (
        "blind chooses the other one on 2 of 216 triplets; those of the largest margins are shown."
        in page
    )
    item = str(items.id[9])  # |d0-d1| is 10, of item 5 it is 6
    assert re.findall(r'<span class="item">.*<code>(.*?)</code>', page) == [item]
    truth = pack.images(int(pack.size[9]), pack.rows[9])  # ref, p0, p1
    addresses = re.findall(r'<img src="\.\./(images/[^"]+)" width="64" height="64"', page)
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
    pmbench(*arguments)
    assert not (out / "gallery.html").exists()
    assert "Made without images (--no-gallery)." in (out / page_of("blind")).read_text()


# --- where it writes ------------------------------------------------------------------------------


def test_an_earlier_report_is_replaced_whole(results: Path, tmp_path: Path) -> None:
    """Behind a link too, which stays; what a system puts into a folder is in nobody's way."""
    link, out = tmp_path / "links" / "site", tmp_path / "out"
    link.parent.mkdir()
    link.symlink_to(out)
    write_report(results, link)  # where nothing is there yet
    (results / "toy" / "bad" / "run.json").unlink()
    for name in (".DS_Store", "assets/._report.css", "metrics/Thumbs.db", "desktop.ini"):
        (out / name).write_bytes(b"")
    index, _ = write_report(results, link)
    assert "bad" not in index
    assert not (out / page_of("bad")).exists()
    assert not (out / ".DS_Store").exists()
    assert link.is_symlink()
    assert [path.name for path in link.parent.iterdir()] == ["site"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (out / ".env").write_text("mine")
    with pytest.raises(PmbenchError, match=r"but also \.env, which no report wrote"):
        check_place(out)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").write_bytes(b"")
    write_report(results, tmp_path / "empty")


def test_what_is_no_earlier_report_is_not_overwritten(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PmbenchError, match="is a file; expected the name of a folder"):
        check_place(tmp_path / "file")
    with pytest.raises(
        PmbenchError, match="is not empty and holds no earlier report; name another"
    ):
        write(results, sections(results, []), Options(), Silent())
    out = tmp_path / "out"
    write_report(results, out)
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
        refused = pmbench("report", "-o", out, "--results", results, code=2)
        assert (
            f"{out} is the folder you are in, or holds it, and a report replaces its folder as a "
            "whole; name another one with -o, such as -o report, or go elsewhere first"
        ) in one_line(refused.stderr)
        assert list(inside.iterdir()) == []
        assert Path.cwd() == inside


def test_a_failed_report_leaves_what_was_there(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before, _ = write_report(results, out)
    datasets = sections(results, [])
    (results / "toy" / "good" / "distances.h5").write_bytes(b"broken")
    with pytest.raises(PmbenchError, match=r"distances\.h5: not what pmbench wrote"):
        write(out, datasets, Options(), Silent())
    assert (out / "index.html").read_text() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    refused = pmbench("report", "-o", tmp_path / "out", "--results", "none", code=2)
    assert "no runs in none" in refused.stderr
    assert not (tmp_path / "out").exists()

"""Pairs by pattern: ``{id}_gt.png`` with ``{id}_pred.png``."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.refusals import message_of

from pmbench.datasets.image_pairs import find_pairs


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def pairs(ref: str, dist: str) -> list[tuple[str, str, str]]:
    result = find_pairs(Path(ref), Path(dist)).pairs
    return [(pair.name, pair.ref.as_posix(), pair.dist.as_posix()) for pair in result]


def test_files_of_one_id_belong_together() -> None:
    make("b_gt.png", "a_gt.png", "a_pred.png", "b_pred.png", "a_pred.txt", "_gt.png")
    assert pairs("{id}_gt.png", "{id}_pred.png") == [
        ("a", "a_gt.png", "a_pred.png"),
        ("b", "b_gt.png", "b_pred.png"),
    ]


def test_an_id_stands_in_folders_and_several_times(folder: Path) -> None:
    make("gt/1/view-1.png", "gt/2/view-2.png", "gt/2/view-3.png", "out/1.jpg", "out/2.jpg")
    make("gt/4/deep/view-4.png")
    expected = [("1", "gt/1/view-1.png", "out/1.jpg"), ("2", "gt/2/view-2.png", "out/2.jpg")]
    assert pairs("gt/{id}/view-{id}.png", "out/{id}.jpg") == expected
    absolute = pairs(f"{folder}/gt/{{id}}/view-{{id}}.png", "out/{id}.jpg")
    assert [ref for _, ref, _ in absolute] == [f"{folder}/{ref}" for _, ref, _ in expected]


def test_everything_else_in_a_pattern_is_meant_literally() -> None:
    make("a[1].png", "a1.png", "b.*.png", "b.x.png", "c.png/d.png")
    assert pairs("{id}[1].png", "{id}1.png") == [("a", "a[1].png", "a1.png")]
    assert pairs("{id}.*.png", "{id}.x.png") == [("b", "b.*.png", "b.x.png")]
    assert message_of(pairs, "{id}c.png", "{id}1.png").startswith("{id}c.png: no file has such a")


def test_a_file_of_that_very_name_is_no_pattern() -> None:
    make("{id}.png", "other.png")
    assert pairs("{id}.png", "other.png") == [("other.png", "{id}.png", "other.png")]


def test_one_picture_goes_with_each_of_a_pattern() -> None:
    make("ref.png", "out/1.png", "out/2.png")
    both = [("1", "ref.png", "out/1.png"), ("2", "ref.png", "out/2.png")]
    assert pairs("ref.png", "out/{id}.png") == both
    assert pairs("out/{id}.png", "ref.png") == [(name, dist, ref) for name, ref, dist in both]
    assert message_of(pairs, "out", "out/{id}.png") == (
        "out: expected an image, or a pattern with {id} in its name"
    )


def test_an_id_twice_in_a_row_is_no_other_wildcard_and_hidden_files_do_not_count() -> None:
    make("11.png", "1.png", "12.png", "._1.png", "._11.png")
    assert pairs("{id}{id}.png", "{id}.png") == [("1", "11.png", "1.png")]


def test_one_pattern_alone_is_refused() -> None:
    assert message_of(find_pairs, Path("gt/{id}.png"), None) == (
        "gt/{id}.png is a pattern; give the other one too, of the same {id}"
    )


def test_what_has_no_partner_is_named() -> None:
    make("a_gt.png", "b_gt.png", "c_gt.png", "a_pred.png", "z_pred.png")
    assert find_pairs(Path("{id}_gt.png"), Path("{id}_pred.png")).left_out == [
        "2 of {id}_gt.png without a partner in {id}_pred.png: b, c",
        "1 of {id}_pred.png without a partner in {id}_gt.png: z",
    ]


def test_patterns_without_a_common_id_are_refused() -> None:
    make("a_gt.png", "b_pred.png")
    assert message_of(pairs, "{id}_gt.png", "{id}_pred.png") == (
        "no {id} is in both {id}_gt.png and {id}_pred.png (a in the first, b in the second); {id} "
        "stands for the same text in both"
    )
    assert message_of(pairs, "gone/{id}.png", "{id}_pred.png") == (
        "gone/{id}.png: no file has such a name; {id} stands for the part of the name in which the "
        "pairs differ, as in gt/{id}_gt.png"
    )

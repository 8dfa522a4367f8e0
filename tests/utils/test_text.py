"""Text that cannot be shown is refused at every door, in one way."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
from support.cli import one_line, pmbench
from support.factories import manifest, packed, picture, png, triplets, update_digests, write_tree
from support.refusals import message_of
from support.runs import save_run

from pmbench.cli.common import print_warning
from pmbench.datasets.pack import Pack
from pmbench.metrics import Metric
from pmbench.metrics.external.adapters import metrics_of
from pmbench.results.store import damaged_runs, find_runs
from pmbench.utils.text import check_printable, printable

# each of them, and what it would do if it were shown
HARMFUL = {
    "\x1b[2J": "clears a terminal",
    "\r": "lets the rest of the line overwrite its beginning",
    "\x9b2J": "clears some terminals",
    "\u202e": "turns the direction of writing",
    "\u2028": "ends a line",
    "\uffff": "aborts what draws charts",
    "\U0002fffe": "is no character, like U+FFFF",
    "\udcff": "is no Unicode, and cannot be written",
}
REFUSED = "has characters that cannot be shown as they are; rename it"


@pytest.mark.parametrize("harm", HARMFUL)
def test_a_name_that_cannot_be_shown_is_refused_and_escaped_in_the_sentence(harm: str) -> None:
    with pytest.raises(ValueError, match=REFUSED) as caught:
        check_printable(f"a{harm}b")
    assert str(caught.value).isprintable()
    assert printable(f"a{harm}b").isprintable()


def test_names_of_all_languages_are_taken() -> None:
    for name in ("größe 1", "图像", "تصویر", "שלום", "é", "👩‍🔬", "a\u200bb", "\ufeffx", "\ue000"):
        assert check_printable(name) == name == printable(name)
    assert check_printable("two\n\tlines", lines=True) == "two\n\tlines"
    with pytest.raises(ValueError, match=r"'two\\nlines' has characters"):
        check_printable("two\nlines")


@pytest.mark.parametrize(
    "keys", [("metric", "name"), ("metric", "title"), ("dataset", "title"), ("command",)]
)
@pytest.mark.parametrize("harm", ["\x1b[2J", "\uffff"])
def test_a_run_that_says_it_is_left_out(tmp_path: Path, keys: tuple[str, ...], harm: str) -> None:
    run = save_run(tmp_path)
    path = run.folder / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = f"x{harm}"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert find_runs(tmp_path) == []
    assert damaged_runs(tmp_path) == [
        f"{path}: expected a run written by pmbench ({f'x{harm}'!a} {REFUSED}); delete its folder "
        "and run `pmbench eval` again"
    ]


@pytest.mark.parametrize("folder", ["mine", "toy"])
def test_so_is_one_whose_folder_is_called_so(tmp_path: Path, folder: str) -> None:
    run = save_run(tmp_path)
    old = run.folder if folder == "mine" else run.folder.parent
    old.rename(old.with_name(f"{folder}\x1b]0;x\x07"))
    assert find_runs(tmp_path) == []
    (sentence,) = damaged_runs(tmp_path)
    assert rf"{folder}\x1b]0;x\x07" in sentence.rpartition(": '")[2]
    assert sentence.endswith(REFUSED)


def test_so_are_scores_and_items(tmp_path: Path) -> None:
    run = save_run(tmp_path, metric="scores")
    path = run.folder / "scores.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("scores,", "sc\x1bores,"), encoding="utf-8")
    update_digests(run.folder)
    assert REFUSED in "".join(damaged_runs(tmp_path))
    run = save_run(tmp_path, metric="items")
    with h5py.File(run.folder / "distances.h5", "r+") as file:
        file["id"][3] = "größe\uffff"
    update_digests(run.folder)
    assert REFUSED in message_of(run.distances)


def test_a_pack_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "files", triplets({"cnn": 3}))
    pack = packed(manifest(tmp_path, source={"path": "files"}))
    with h5py.File(pack.path, "r+") as file:
        file["items/id"][0] = "cnn/\x1b[2J"
    assert REFUSED in message_of(Pack.open, pack.path)
    with h5py.File(pack.path, "r+") as file:
        file["items/id"][0] = "cnn/0"
        file.attrs["source"] = "\x1b[2J"
    assert REFUSED in message_of(Pack.open, pack.path)


@pytest.mark.parametrize("field", ["title", "family", "paper", "code", "licence"])
def test_a_metric_is_refused(field: str) -> None:
    card = Metric(name="mine", load=lambda device: None, **{"title": "", field: "x\uffff"})
    assert message_of(metrics_of, card, "mine") == (
        rf"brings the metric 'mine', whose {field} is 'x\uffff'; expected text that can be shown"
    ).replace("\uffff", r"\uffff")


def test_a_metric_of_a_file_is_refused_by_name(empty_folder: Path) -> None:
    Path("mine.py").write_text(
        "from pmbench.metrics import metric\n"
        "@metric('a\\x1b[2Jb', title='')\n"
        "def f(x, y):\n    return (x.pixels - y.pixels).abs().mean(dim=(1, 2, 3))\n"
    )
    result = pmbench("eval", "-m", "./mine.py", "-d", "ladder-2afc", code=1)
    assert (
        r"brings a metric called 'a\x1b[2Jb'; expected a name that can be shown, without blanks"
    ) in one_line(result.output)
    assert "\x1b" not in result.output


@pytest.mark.parametrize("column", ["item", "sub_dataset", "cluster"])
def test_a_file_of_distances_is_refused_with_its_line(empty_folder: Path, column: str) -> None:
    values = {"item": "a", "sub_dataset": "s", "cluster": "c", "p": "1", "d0": "1", "d1": "0"}
    lines = [",".join(values), ",".join(values.values())]
    lines.append(",".join((values | {"item": "b", column: "b\x1b[2J"}).values()))
    Path("d.csv").write_text("\n".join(lines) + "\n")
    result = pmbench("score", "d.csv", "--protocol", "2afc", code=2)
    assert one_line(result.stderr) == rf"d.csv: line 3: column '{column}': 'b\x1b[2J' {REFUSED}"


def test_file_names_that_the_user_chose_are_escaped(empty_folder: Path) -> None:
    Path("d\x1b[2J.csv").write_text("p,d0,d1\n1,1,0\n0,0,1\n")
    assert "\x1b" not in pmbench("score", "d\x1b[2J.csv", "--protocol", "2afc").output
    save_run(Path("r\x1b[2J"))
    save_run(Path("s"))
    for words in (["leaderboard"], ["leaderboard", "--format", "md"]):
        result = pmbench(*words, "--results", "r\x1b[2J", "--results", "s")
        assert "\x1b" not in result.output
        assert r"measured in s and in r\x1b[2J with the same scores" in one_line(result.stderr)


@pytest.mark.parametrize("options", [(), ("--map", "maps")])
def test_names_of_images_are_escaped(empty_folder: Path, options: tuple[str, ...]) -> None:
    for name in ("a/x\x1b[2J.png", "b/x\x1b[2J.png", "a/y.png", "b/y.png", "a/z\x1b[2J.png"):
        write_tree(empty_folder, {name: png(picture(1, 16, 16))})
    result = pmbench("distance", "a", "b", "-m", "l2", *options)
    assert r"x\x1b[2J.png" in result.stdout
    assert r"z\x1b[2J.png" in result.stderr
    assert "\x1b" not in result.output


def test_a_warning_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_warning("a\x1b[2J\nb")
    assert capsys.readouterr().err == "a\\x1b[2J\nb\n"

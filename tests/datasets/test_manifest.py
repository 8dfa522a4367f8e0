"""Manifests: the built-in ones against what was published, and every mistake with its sentence."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from support.factories import manifest, toml
from support.refusals import message_of

from pmbench.datasets.manifest import Manifest, Published, datasets, groups, load, resolve
from pmbench.networks.manifest import weight_files
from pmbench.scoring.protocols import PROTOCOLS
from pmbench.utils import paths
from pmbench.utils.errors import PmbenchError

# --- the built-in manifests -----------------------------------------------------------------------


@pytest.fixture(scope="session")
def published(shared: Path) -> Any:
    return json.loads((shared / "published.json").read_text())


def test_the_built_in_datasets_are_these() -> None:
    assert set(datasets()) == {
        "bapps-2afc-train", "bapps-2afc-val", "bapps-jnd-val", "ladder-2afc", "ladder-jnd",
    }  # fmt: skip


def test_every_built_in_manifest_is_called_like_its_file_and_has_a_protocol() -> None:
    for name, entry in datasets().items():
        assert entry.file == paths.manifests() / "datasets" / f"{name}.toml"
        assert entry.protocol in PROTOCOLS
        assert entry.title
        assert set(entry.short_names) <= set(entry.sub_datasets)


@pytest.mark.parametrize("part", ["2afc train", "2afc val", "jnd val"])
def test_bapps_comes_from_the_official_place_in_the_official_layout(
    published: Any, part: str
) -> None:
    entry = datasets()[f"bapps-{part.replace(' ', '-')}"]
    official = published["bapps_files"][part]
    assert entry.source is not None
    assert entry.folders is not None
    assert entry.source.url == official["url"]
    assert entry.source.sha256 == official["sha256"]
    assert entry.source.gigabytes == official["approx_size_gb"]
    assert entry.votes_per_item == published["bapps_counts"]["judgements per item"][part]
    assert entry.folders.root == part.split()[1]
    assert entry.folders.votes == ("same" if entry.protocol == "jnd" else "judge")
    if "jnd" not in part:
        assert entry.sub_datasets == published["bapps_counts"][part]
        assert "third party" in entry.source.sha256_origin


def test_the_counts_of_bapps_add_up() -> None:
    assert datasets()["bapps-2afc-val"].expected == 36_344
    assert datasets()["bapps-2afc-train"].expected == 151_400
    assert datasets()["bapps-jnd-val"].expected is None  # "about 4.8k" is no count


def test_every_row_of_the_papers_table_5_is_there_with_its_numbers(published: Any) -> None:
    table = published["lpips_cvpr2018_table5"]
    rows = {
        row.label: row
        for row in datasets()["bapps-2afc-val"].published
        if row.source == "Zhang et al. 2018, arXiv 1801.03924v2, Table 5"
    }
    assert {label: row.scores for label, row in rows.items()} == table["percent"]
    irreproducible = published["table5_rows_as_pmbench_metrics"]["not reproducible here"]
    for label, row in rows.items():
        ours = published["table5_rows_as_pmbench_metrics"].get(label)
        if label in irreproducible or re.search("-(scratch|tune)$", label) or label == "Human":
            assert row.metric is None
        elif label == "SSIM":
            assert (row.metric, row.tolerance) == ("dssim", 2.0)
        elif label == "FSIMc":
            assert row.metric == "fsimc"
        else:
            assert ours.startswith(row.metric)
    assert rows["Gaussian-random"].tolerance == 3.0


def test_every_result_of_the_watson_repository_is_there_with_its_numbers(published: Any) -> None:
    fractions = published["watson_neurips2020_repository"]["fraction"]
    rows = {r.label: r for r in rows_from("Czolbe et al. 2020")}
    assert set(rows) == set(fractions)
    for label, row in rows.items():
        scores = {name: 100 * share for name, share in fractions[label].items()}
        scores["macro"] = sum(scores.values()) / 6
        assert row.scores == pytest.approx(scores, abs=0.0051)
        assert "mean of the six" in row.note
        if row.metric is not None:  # "a clean implementation lands within about 2 points"
            assert row.tolerance == 2.0
            assert "mixed input ranges" in row.note
    assert {label: row.metric for label, row in rows.items() if row.metric} == {
        "L1": "l1", "L2": "l2", "SSIM": "ssim",
        "Watson-vgg": "watson-vgg",
        "Watson-dct": "watson-dct", "Watson-dct [LA]": "watson-dct-grey",
        "Watson-fft": "watson-dft", "Watson-fft [LA]": "watson-dft-grey",
        "Deeploss-vgg": "lpips-vgg-watson", "Deeploss-squeeze": "lpips-squeeze-watson",
    }  # fmt: skip


def test_every_result_of_perceptual_loss_experiments_is_there_pooled(published: Any) -> None:
    fractions = published["perceptual_loss_experiments"]["fraction"]
    rows = {r.label: r for r in rows_from("PerceptualLossExperiments")}
    assert set(rows) == set(fractions)
    for label, row in rows.items():
        assert row.scores == pytest.approx({"traditional+cnn": 100 * fractions[label]})
        assert (row.metric is None) or (row.note and row.tolerance >= 1)
    assert rows["Lap1"].metric is None  # another loss of that name
    assert rows["MMD++"].metric == "mmdpp"
    assert rows["vgg conv4_3"].metric == "vgg-loss-conv4_3"


def test_published_rows_name_metrics_and_human_rows_that_there_are() -> None:
    from pmbench.metrics.selection import catalogue

    known = set(catalogue())
    for entry in datasets().values():
        humans = {human.name for human in PROTOCOLS[entry.protocol].humans}
        assert {row.metric for row in entry.published if row.metric} <= known
        assert {row.human for row in entry.published if row.human} <= humans
    humans = [row.source for row in datasets()["bapps-2afc-val"].published if row.human]
    assert len(humans) == 2


def rows_from(source: str) -> list[Published]:
    entry = datasets()["bapps-2afc-val"]
    return [row for row in entry.published if row.source.startswith(source)]


def test_no_built_in_manifest_publishes_a_row_twice_or_scores_of_unknown_sub_datasets() -> None:
    for entry in datasets().values():
        labels = [(row.label, row.source) for row in entry.published]
        assert len(labels) == len(set(labels))
        if entry.sub_datasets:
            known = {*entry.sub_datasets, "macro", "pooled", "traditional+cnn"}
            assert all(set(row.scores) <= known for row in entry.published)


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "squeezenet1_1"])
def test_torchvisions_weights_are_known_by_the_digits_in_their_names(
    published: Any, name: str
) -> None:
    entry = weight_files()[name]
    assert entry.url == published["torchvision_weights"][name]
    assert entry.url is not None
    assert entry.url.endswith(f"-{entry.sha256_prefix}.pth")


# --- names ----------------------------------------------------------------------------------------


def names(entries: list[Manifest]) -> list[str]:
    return [entry.name for entry in entries]


def test_a_group_stands_for_its_datasets() -> None:
    assert names(resolve(["bapps"])) == ["bapps-2afc-val", "bapps-jnd-val"]
    assert names(resolve(["ladder"])) == ["ladder-2afc", "ladder-jnd"]
    assert set(groups()) >= {"bapps", "ladder"}


def test_names_are_resolved_in_order_and_each_dataset_once() -> None:
    wanted = ["ladder-jnd", "bapps", "bapps-jnd-val", "ladder"]
    expected = ["ladder-jnd", "bapps-2afc-val", "bapps-jnd-val", "ladder-2afc"]
    assert names(resolve(wanted)) == expected


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("baps", "unknown dataset 'baps'; did you mean bapps"),
        ("bapps-2afc-vall", "did you mean bapps-2afc-val"),
        ("zzz", "known are: bapps, bapps-2afc-train, bapps-2afc-val, bapps-jnd-val, ladder"),
    ],
)
def test_an_unknown_name_is_answered_with_close_ones(name: str, hint: str) -> None:
    assert hint in message_of(resolve, [name])


def test_the_users_manifests_are_found_in_several_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        manifest(tmp_path / name, name=name, source={"path": "files"}, groups=["mine"])
    folders = [str(tmp_path / "one"), "", str(tmp_path / "two")]
    monkeypatch.setenv("PMBENCH_MANIFESTS", os.pathsep.join(folders))
    assert names(resolve(["mine"])) == ["one", "two"]
    assert datasets()["one"].local_source == tmp_path / "one" / "files"


def test_a_manifests_folder_that_does_not_exist_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(tmp_path / "nowhere"))
    message = message_of(datasets)
    assert f"the manifests folder {tmp_path / 'nowhere'} does not exist" in message
    assert "name a folder that holds .toml files with --manifests" in message


def test_a_name_may_be_taken_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest(tmp_path, name="ladder-jnd", source={"path": "."})
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(tmp_path))
    message = message_of(datasets)
    assert message.startswith(
        f"{tmp_path / 'ladder-jnd.toml'}: key 'name': 'ladder-jnd' is already"
    )
    assert str(paths.manifests() / "datasets" / "ladder-jnd.toml") in message


# --- mistakes -------------------------------------------------------------------------------------

VALID: dict[str, Any] = {
    "name": "mine",
    "title": "Mine",
    "protocol": "2afc",
    "groups": ["ours"],
    "votes_per_item": 3,
    "sub_datasets": {"easy": 10, "hard": 20},
    "short_names": {"easy": "e"},
    "source": {"url": "https://example.org/mine.tar.gz", "sha256": "0" * 64, "gigabytes": 1.5},
    "table": {"file": "mine.csv", "item": "{id}", "roles": {"ref": "images/{ref}",
        "p0": "images/{a}", "p1": "images/{b}"}, "sub_dataset": "kind", "cluster": "photo",
        "vote_counts": ["for_a", "for_b"]},
    "enlarged": {"factor": 4, "patch": 64},
    "published": [{"label": "L2", "source": "we", "metric": "l2", "scores": {"macro": 60.5}}],
}  # fmt: skip
OTHER_FOLDERS = {"roles": {"ref": "r", "p0": "a", "p1": "b"}, "votes": "v"}


def changed(place: str, value: Any) -> str:
    """Return the valid manifest with the value at a dotted place replaced; None removes it."""
    content = json.loads(json.dumps(VALID))
    *path, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    inner = content
    for key in path:
        inner = inner[key]
    inner[last] = value
    if value is None:
        del inner[last]
    return toml(content)


def refused(tmp_path: Path, text: str) -> str:
    """Fail to load a manifest of this text; return what is said after the file's name."""
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    message = message_of(load, path)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_the_manifest_that_the_mistakes_are_made_in_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(toml(VALID))
    entry = load(path)
    assert entry.file == path
    assert entry.expected == 30
    assert entry.local_source is None
    assert entry.published[0].tolerance == 0.2
    assert entry.table is not None
    assert entry.table.vote_counts == ("for_a", "for_b")


@pytest.mark.parametrize(
    ("place", "value", "key", "sentence"),
    [
        ("name", None, "name", "Field required"),
        ("name", "Mine", "name", "String should match pattern"),
        ("name", "mine/../yours", "name", "got 'mine/../yours'"),
        ("name", "m" * 81, "name", "at most 80 characters"),
        ("title", 7, "title", "Input should be a valid string, got '7'"),
        ("protocol", "mos", "protocol", "Input should be '2afc' or 'jnd', got 'mos'"),
        ("groups", ["Ours"], "groups.0", "String should match pattern"),
        ("votes_per_item", "three", "votes_per_item", "valid integer, got 'three'"),
        ("votes_per_item", 0, "votes_per_item", "greater than or equal to 1, got '0'"),
        ("votes_per_item", True, "votes_per_item", "valid integer"),
        ("sub_datasets.easy", "ten", "sub_datasets.easy", "valid integer, got 'ten'"),
        ("sub_datasets.easy", 0, "sub_datasets.easy", "greater than or equal to 1"),
        ("autor", "me", "autor", "no such key; expected one of built_in, citation, enlarged"),
        ("protcol", "2afc", "protcol", "no such key; expected one of built_in, citation, enlarged"),
        ("source.uri", "x", "source.uri", "no such key here"),
        ("source.url", None, "source", "a source needs either 'url' or 'path', and not both"),
        ("source.path", "files", "source", "either 'url' or 'path', and not both"),
        ("source.url", "example.org/x", "source.url", "String should match pattern '^https?"),
        ("source.url", "file:///x.tar", "source.url", "String should match pattern '^https?"),
        ("source.sha256", "0" * 63, "source.sha256", "String should match pattern"),
        ("source.sha256", "A" * 64, "source.sha256", "String should match pattern"),
        ("source.gigabytes", "1.5", "source.gigabytes", "valid number, got '1.5'"),
        ("table.item", None, "table.item", "Field required"),
        ("table.vote", "share", "table", "needs either 'vote' (a column with the share) or"),
        ("table.vote_counts", None, "table", "'vote_counts' (two columns with counts: against"),
        ("table.vote_counts", ["a"], "table.vote_counts.1", "Field required"),
        ("table.roles.ref", 1, "table.roles.ref", "valid string, got '1'"),
        ("folders", OTHER_FOLDERS | {"votes": "r"}, "folders", "a folder of its own for each"),
        ("enlarged.factor", 1, "enlarged.factor", "greater than or equal to 2, got '1'"),
        ("enlarged.patch", None, "enlarged.patch", "Field required"),
        ("published.0.scores", None, "published.0.scores", "Field required"),
        ("published.0.scores.macro", "x", "published.0.scores.macro", "valid number"),
        ("published.0.tolerance", -1, "published.0.tolerance", "greater than or equal to 0"),
        ("published.0.metric", "L2 lab", "published.0.metric", "String should match pattern"),
        (
            "title",
            "a\x1b[2Jb",
            "title",
            r"'a\x1b[2Jb' has characters that cannot be shown",
        ),
        (
            "title",
            "a\u202eb",
            "title",
            r"'a\u202eb' has characters that cannot be shown",
        ),
        ("table.file", "a\x00b", "table.file", "has characters that cannot be shown as they are"),
        ("citation", "a\x07", "citation", "has characters that cannot be shown as they are"),
        ("a\x1b[2Jb", 1, "a\\x1b[2Jb", "no such key; expected one of"),
        ("table.item", "{id:>9999}", "table.item", "is padded to at most 999 characters"),
        ("table.roles.p0", "{id:{n}}", "table.roles.p0", "is padded to at most 999 characters"),
        ("source.gigabytes", 0, "source.gigabytes", "greater than 0, got '0'"),
        ("sub_datasets.easy", 10**10, "sub_datasets.easy", "less than or equal to 1000000000"),
        ("built_in", "../../x", "built_in", "String should match pattern"),
        ("file", "x", "file", "not a key of a manifest; remove it"),
    ],
)
def test_a_mistake_is_told_with_the_file_and_the_key(
    tmp_path: Path, place: str, value: Any, key: str, sentence: str
) -> None:
    message = refused(tmp_path, changed(place, value))
    assert message.startswith(f"key '{key}': ")
    assert sentence in message


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("folders", OTHER_FOLDERS, "a dataset needs either [folders] or [table], and not both"),
        ("table", None, "a dataset needs either [folders] or [table], and not both"),
        ("source", None, "a dataset needs a [source] with 'url' or 'path'"),
        ("table.roles.p1", None,
         "'roles' must name p0, p1, ref for the protocol 2afc; got p0, ref"),
        ("table.roles", {}, "'roles' must name p0, p1, ref for the protocol 2afc; got none"),
        ("protocol", "jnd", "'roles' must name p0, p1 for the protocol jnd; got p0, p1, ref"),
        ("size", 64, "'enlarged' and 'size' exclude each other"),
    ],
)  # fmt: skip
def test_keys_that_do_not_fit_together_are_told(
    tmp_path: Path, place: str, value: Any, sentence: str
) -> None:
    message = refused(tmp_path, changed(place, value))
    assert message == f"the whole file: {sentence}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("name = ", "not valid TOML: Invalid value (at", id="no value"),
        pytest.param("[" * 5000, "not valid TOML: ", id="brackets"),
        pytest.param(
            "\n[" + " . ".join(['"a b"'] * 300) + "]", "key in line 2: more than 100", id="quoted"
        ),
        pytest.param("# " + "x" * 1_000_000, "more than 1,000,000 bytes; expected the", id="long"),
    ],
)
def test_what_is_no_manifest_is_told(tmp_path: Path, text: str, sentence: str) -> None:
    """More of it is in tests/corpus/manifests, which test_manifest_fuzz reads."""
    assert refused(tmp_path, text).startswith(sentence)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(PmbenchError, match=r"nothing\.toml: cannot be read: No such file"):
        load(tmp_path / "nothing.toml")
    with pytest.raises(PmbenchError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(PmbenchError, match="it is a device or a pipe; expected a file"):
        load(tmp_path / "pipe.toml")


def test_prose_may_have_lines_and_any_blank(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(toml(VALID | {"citation": "one\n\ttwo\xa0three", "title": "95\xa0% of Ü"}))
    assert load(path).title == "95\xa0% of Ü"


def test_a_published_score_of_an_unknown_sub_dataset_is_named(tmp_path: Path) -> None:
    official = (paths.manifests() / "datasets" / "bapps-2afc-val.toml").read_text()
    path = tmp_path / "typo.toml"
    path.write_text(official.replace("{ traditional = 59.9", "{ tradional = 59.9"))
    with pytest.raises(
        PmbenchError,
        match=r"typo\.toml: .*the published row 'L2' has a score for 'tradional'; expected tradit",
    ):
        load(path)


@pytest.mark.parametrize("place", ["easy+hard", "hard+easy"])
def test_a_published_score_may_be_of_several_sub_datasets_together(
    tmp_path: Path, place: str
) -> None:
    path = tmp_path / "mine.toml"
    rows = [{"label": "L2", "source": "we", "scores": {place: 60.5}}]
    path.write_text(toml(VALID | {"published": rows}))
    assert load(path).published[0].scores == {place: 60.5}


@pytest.mark.parametrize("place", ["easy+soft", "easy+easy", "easy+", "+", "macro+easy"])
def test_a_published_score_of_what_cannot_be_pooled_is_named(tmp_path: Path, place: str) -> None:
    path = tmp_path / "mine.toml"
    rows = [{"label": "L2", "source": "we", "scores": {place: 60.5}}]
    path.write_text(toml(VALID | {"published": rows}))
    message = message_of(load, path)
    assert (
        f"the published row 'L2' has a score for '{place}'; expected easy, hard, several of them "
        "joined by + (pooled), macro or pooled" in message
    )


def test_a_published_row_is_the_same_as_one_thing_only(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    row = {"label": "x", "source": "we", "metric": "l2", "human": "human-paper", "scores": {}}
    path.write_text(toml(VALID | {"published": [row]}))
    with pytest.raises(PmbenchError, match="the same as a 'metric' or a 'human' row, not both"):
        load(path)


def test_a_number_too_long_to_print_is_refused_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "long.toml"
    path.write_text(f"name = 0x{'f' * 5000}")
    with pytest.raises(PmbenchError, match=r"key 'name': .* a int too long to print"):
        load(path)

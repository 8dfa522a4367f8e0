"""Raw layouts, in folders and archives: what they give, and the ways in which they may be wrong."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.factories import (
    error_message,
    manifest,
    npy,
    packed,
    picture,
    png,
    role_images,
    tar,
    triplets,
    write_tree,
)

from pmbench.datasets.layouts import check_sub_dataset, layout_for
from pmbench.datasets.manifest import Manifest, datasets
from pmbench.datasets.pack import Pack
from pmbench.scoring.protocols import TWO_AFC
from pmbench.utils.errors import PmbenchError

COUNTS = {"cnn": 2, "color": 3}
TOY = triplets(COUNTS)


@pytest.fixture
def toy(tmp_path: Path) -> Manifest:
    """A manifest of local files that are not there yet."""
    return manifest(tmp_path, source={"path": "tree"})


# --- folders in BAPPS' layout, and what may be wrong with them ------------------------------------


@pytest.mark.parametrize(
    ("mode", "above"), [("w", "val/"), ("w:gz", "a/b/val/"), ("w:bz2", "./val/"), ("w:xz", "val/")]
)
def test_archives_of_every_kind_give_the_pack_of_the_folder(
    tmp_path: Path, mode: str, above: str
) -> None:
    write_tree(tmp_path / "tree", TOY)
    files = {path.replace("val/", above, 1): data for path, data in TOY.items()}
    (tmp_path / "toy.tar").write_bytes(tar(files, mode))
    folder = packed(manifest(tmp_path, name="folder", source={"path": "tree"}))
    from_archive = packed(manifest(tmp_path, name="archive", source={"path": "toy.tar"}))
    assert from_archive.digest == folder.digest
    assert from_archive.items.id.tolist() == folder.items.id.tolist()


def test_each_role_gets_its_own_images_and_the_vote_is_rounded(
    toy: Manifest, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", TOY)
    pack = packed(toy)
    expected = np.stack([picture(1000 + 10 + role) for role in range(3)])
    np.testing.assert_array_equal(role_images(pack, "color/000001"), expected)
    (row,) = np.flatnonzero(pack.items.id == "color/000001")
    assert pack.items.p[row] == 2 / 5  # stored as float32, 0.4000000059604645


def test_jnd_folders_have_two_roles(tmp_path: Path) -> None:
    files = {path: data for path, data in triplets({"cnn": 2}).items() if "/ref/" not in path}
    files = {path.replace("judge", "same"): data for path, data in files.items()}
    write_tree(tmp_path / "jnd", files)
    entry = manifest(
        tmp_path,
        protocol="jnd",
        source={"path": "jnd"},
        folders={"root": "val", "roles": {"p0": "p0", "p1": "p1"}, "votes": "same"},
    )
    pack = packed(entry)
    assert pack.rows.tolist() == [[0, 1], [2, 3]]
    assert list(pack.attributes["roles"]) == ["p0", "p1"]


@pytest.mark.parametrize("folder", ["ref", "p0", "p1", "judge"])
def test_an_item_without_one_of_its_files_is_told(
    toy: Manifest, tmp_path: Path, folder: str
) -> None:
    path = next(path for path in TOY if f"color/{folder}/000001" in path)
    write_tree(tmp_path / "tree", {k: v for k, v in TOY.items() if k != path})
    assert error_message(toy) == (
        f"toy: the item color/000001 has no file in {folder}; expected an image (.png, "
        ".jpg or the like) in each of ref, p0, p1, and a vote (.npy) in judge; complete or remove "
        "the item"
    )


@pytest.mark.parametrize(
    ("twice", "folder"),
    [
        ("val/cnn/p0/000000.jpg", "p0"),
        ("other/val/cnn/ref/000001.png", "ref"),
        ("other/val/cnn/judge/000001.npy", "judge"),
    ],
)
def test_an_item_with_two_files_in_one_folder_is_told(
    toy: Manifest, tmp_path: Path, twice: str, folder: str
) -> None:
    content = npy(0.4) if folder == "judge" else png(picture(0))
    write_tree(tmp_path / "tree", TOY | {twice: content})
    message = error_message(toy)
    assert message.startswith(
        f"toy: the item cnn/{Path(twice).stem} has two files in '{folder}', one"
    )
    assert "expected one; point --from at the folder of one dataset" in message


def test_hidden_files_and_files_elsewhere_are_no_items(toy: Manifest, tmp_path: Path) -> None:
    noise = ["val/cnn/p0/._000000.png", "val/README", "README", "val/cnn/notes/1.png", "p0/1.png"]
    noise += ["val/cnn/ref/Thumbs.db", "val/cnn/p0/000000.pdf", "val/color/p1/notes.txt"]
    write_tree(tmp_path / "tree", TOY | dict.fromkeys(noise, b"x") | {"train/cnn/p0/1.png": b"x"})
    assert len(packed(toy)) == 5


@pytest.mark.parametrize(
    ("vote", "sentence"),
    [
        (np.nan, "the vote is nan; expected a share of people, in [0, 1]"),
        (np.inf, "the vote is inf; expected a share"),
        (1.2, "the vote is 1.2; expected a share"),
        (-0.2, "the vote is -0.2; expected a share"),
        (0.5, "the vote is 0.5, which is no multiple of 1/5; correct the number of votes in"),
    ],
)
def test_a_vote_that_cannot_be_is_told(
    toy: Manifest, tmp_path: Path, vote: float, sentence: str
) -> None:
    write_tree(tmp_path / "tree", TOY | {"val/cnn/judge/000001.npy": npy(vote)})
    assert error_message(toy).startswith(f"val/cnn/judge/000001.npy: {sentence}")


@settings(max_examples=300, deadline=None)
@given(
    damage=st.lists(
        st.tuples(st.integers(0, 140), st.sampled_from(list("09.(){}'\"\\ \n,fiOV\x00\xff"))),
        min_size=1,
        max_size=4,
    ),
    end=st.integers(0, 140),
)
def test_a_damaged_vote_gives_a_share_or_a_sentence(
    damage: list[tuple[int, str]], end: int
) -> None:
    data = bytearray(npy(np.float32(0.4)))
    for place, by in damage:
        data[place % len(data)] = ord(by)
    layout = layout_for(datasets()["bapps-2afc-val"], Path("nowhere"), TWO_AFC)
    path = PurePosixPath("val/cnn/judge/1.npy")
    message = f"{path}: "
    try:
        assert layout.take(path, lambda: bytes(data[:end])) is None
    except PmbenchError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")


@settings(deadline=None)
@given(votes=st.integers(1, 1000), k=st.integers(0, 1000), kind=st.sampled_from(["f4", "f8"]))
def test_a_stored_share_is_rounded_to_whole_people(votes: int, k: int, kind: str) -> None:
    k = min(k, votes)
    stored = float(np.array(k / votes, kind))
    assert TWO_AFC.judgement.parse(stored, votes, "here") == (k / votes, votes)


def test_without_a_number_of_votes_a_share_stays_as_it_is() -> None:
    assert TWO_AFC.judgement.parse(0.123, None, "here") == (0.123, 1)


def test_images_of_one_item_that_differ_in_size_are_told(toy: Manifest, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", TOY | {"val/cnn/p1/000000.png": png(picture(0, 8, 9))})
    message = error_message(toy)
    assert "the images of item cnn/000000 differ in size (ref 8×8, p0 8×8, p1 9×8)" in message


# --- archives that are damaged or hostile ---------------------------------------------------------


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_cut_off_anywhere_is_never_taken_for_a_whole_one(
    tmp_path: Path, mode: str
) -> None:
    # no counts and no checksum: only the archive itself tells that it is not whole
    entry = manifest(tmp_path, source={"path": "toy.tar"})
    path = tmp_path / "toy.tar"
    path.write_bytes(tar(triplets({"a": 1, "b": 1, "c": 1}), mode))
    data, whole = path.read_bytes(), packed(entry).digest
    for end in {*range(1, len(data), 397), *range(512, len(data), 512)}:
        path.write_bytes(data[:end])
        try:
            assert packed(entry).digest == whole  # nothing but what follows the end mark is missing
        except PmbenchError as error:
            message = str(error)
            assert message.startswith(f"{path}: expected a whole tar archive, got one that breaks")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    data = bytearray(tar(TOY, "w"))
    data[10 * 1024 + 150] ^= 1  # in the checksum field of a header
    (tmp_path / "toy.tar").write_bytes(data)
    message = error_message(manifest(tmp_path, source={"path": "toy.tar"}))
    assert "no file and no end mark at byte 10,240" in message


@pytest.mark.parametrize("above", ["../../", "/tmp/", "val/../../"])
def test_names_that_point_outside_write_nothing_outside(
    tmp_path: Path, home: Path, above: str
) -> None:
    entry = manifest(tmp_path / "in", source={"path": "toy.tar"})
    files = {above + path: data for path, data in TOY.items()}
    (tmp_path / "in" / "toy.tar").write_bytes(tar(files))
    before = set(tmp_path.rglob("*"))
    outside = {path.name for path in tmp_path.parent.iterdir()}
    assert len(packed(entry)) == 5
    new = {path.relative_to(tmp_path) for path in set(tmp_path.rglob("*")) - before}
    assert {str(path) for path in new} <= {
        "pmbench-home", "pmbench-home/packs", "pmbench-home/packs/toy.none.h5",
        "pmbench-home/packs/toy.none.lock",
    }  # fmt: skip
    assert {path.name for path in tmp_path.parent.iterdir()} == outside


# --- tables ---------------------------------------------------------------------------------------

CSV = """\
id,kind,photo,ref,x,y,nx,ny
1,warm,a,a,a1,a2,1,3
2,warm,a,a,a2,a1,5,0
3,cold,b,b,b1,b2,2,2
"""
RECORDS = list(csv.DictReader(io.StringIO(CSV)))
TABLE = {
    "file": "votes.csv",
    "item": "{kind}-{id}",
    "roles": {"ref": "images/{ref}.png", "p0": "images/{x}.png", "p1": "images/{y}.png"},
    "sub_dataset": "kind",
    "cluster": "photo",
    "vote_counts": ["nx", "ny"],
}
SMALL = {f"images/{name}.png": png(picture(i)) for i, name in enumerate(["a", "a1", "a2"])}
WIDE = {f"images/{name}.png": png(picture(i, 8, 12)) for i, name in enumerate(["b", "b1", "b2"])}
IMAGES = SMALL | WIDE


def as_csv(records: list[dict[str, str]]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue().encode()


def as_json_lines(records: list[dict[str, str]]) -> bytes:
    typed = [{k: int(v) if v.isdigit() else v for k, v in record.items()} for record in records]
    return "\n".join(json.dumps(record) for record in typed).encode()


def table_of(folder: Path, changes: dict[str, Any] | None = None, **content: Any) -> Manifest:
    """Return the manifest of the toy table, or with changes to its [table]; None removes a key."""
    table = {k: v for k, v in {**TABLE, **(changes or {})}.items() if v is not None}
    base: dict[str, Any] = {"source": {"path": "tree"}, "table": table}
    return manifest(folder, **(base | content))


def write_table(folder: Path, data: bytes, name: str = "votes.csv") -> Path:
    return write_tree(folder / "tree", IMAGES | {name: data})


def check(pack: Pack) -> None:
    """See that a pack holds the toy table."""
    assert pack.items.id.tolist() == ["warm-1", "warm-2", "cold-3"]
    assert pack.items.p.tolist() == [0.75, 0.0, 0.5]
    assert pack.items.votes.tolist() == [4, 5, 4]
    assert pack.items.sub_names == ("warm", "cold")
    assert pack.items.sub.tolist() == [0, 0, 1]
    assert pack.items.cluster.tolist() == [0, 0, 1]
    assert pack.sizes == ((8, 8), (8, 12))
    assert pack.rows.tolist() == [[0, 1, 2], [0, 2, 1], [0, 1, 2]]
    np.testing.assert_array_equal(role_images(pack, "cold-3")[2], picture(2, 8, 12))


def test_a_csv_with_counts_and_images_of_two_sizes(tmp_path: Path) -> None:
    write_table(tmp_path, as_csv(RECORDS))
    check(packed(table_of(tmp_path)))


@pytest.mark.parametrize("begins", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("votes.jsonl", as_json_lines(RECORDS)),
        ("votes.ndjson", as_json_lines(RECORDS) + b"\n\n"),
        ("votes.csv", as_csv(RECORDS).replace(b"\n", b"\r\n") + b"\r\n"),
        ("votes.csv", as_csv(RECORDS).replace(b"warm", b'"warm"')),
        ("votes.csv", as_csv(RECORDS).replace(b",", b";").replace(b"id;kind", b"ID; Kind ")),
    ],
)
def test_other_ways_to_write_the_same_table(
    tmp_path: Path, name: str, data: bytes, begins: bytes
) -> None:
    write_table(tmp_path, begins + data, name)
    check(packed(table_of(tmp_path, {"file": name})))


@pytest.mark.parametrize("above", ["", "my-dataset/", "./"])
@pytest.mark.parametrize("order", [1, -1], ids=["table last", "table first"])
def test_a_table_inside_an_archive(tmp_path: Path, above: str, order: int) -> None:
    files = list((IMAGES | {"votes.csv": as_csv(RECORDS)}).items())[::order]
    (tmp_path / "table.tar.gz").write_bytes(tar({above + path: data for path, data in files}))
    check(packed(table_of(tmp_path, source={"path": "table.tar.gz"})))


def test_a_copy_of_an_image_in_another_folder_is_not_taken_for_it(tmp_path: Path) -> None:
    write_table(tmp_path, as_csv(RECORDS))
    old = {f"backup/{path}": png(picture(77, 30, 30)) for path in IMAGES}
    write_tree(tmp_path / "tree", old | {"backup/votes.csv": as_csv(RECORDS[:1])})
    check(packed(table_of(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "votes", "p"),
    [
        ({"vote": "share", "votes": "asked"}, [2, 10], [0.5, 0.7]),
        ({"vote": "share"}, [10, 10], [0.5, 0.7]),
    ],
)
def test_shares_with_votes_from_a_column_or_from_the_manifest(
    tmp_path: Path, changes: dict[str, Any], votes: list[int], p: list[float]
) -> None:
    records = [
        RECORDS[0] | {"share": "0.5", "asked": "2"},
        RECORDS[2] | {"share": "0.7000001", "asked": "10"},
    ]
    write_table(tmp_path, as_csv(records))
    pack = packed(table_of(tmp_path, {"vote_counts": None} | changes, votes_per_item=10))
    assert pack.items.votes.tolist() == votes
    assert pack.items.p.tolist() == p


def test_a_share_may_have_a_decimal_comma(tmp_path: Path) -> None:
    records = [RECORDS[0] | {"share": "0,5"}, RECORDS[2] | {"share": "0,7000001"}]
    write_table(tmp_path, as_csv(records).replace(b",", b";").replace(b'"0;', b'"0,'))
    pack = packed(table_of(tmp_path, {"vote_counts": None, "vote": "share"}, votes_per_item=10))
    assert pack.items.p.tolist() == [0.5, 0.7]


def test_without_a_column_all_items_are_in_one_sub_dataset(tmp_path: Path) -> None:
    write_table(tmp_path, as_csv(RECORDS))
    pack = packed(table_of(tmp_path, {"sub_dataset": None, "cluster": None}))
    assert pack.items.sub_names == ("whole",)
    assert pack.items.cluster.tolist() == [0, 0, 1]  # the reference image


WITHOUT_COUNTS = {"vote_counts": None, "vote": "nx"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"cluster": "site"},
            "line 2: no column 'site'; it has id, kind, photo, ref, x, y, nx, ny",
        ),
        ({"item": "{nr}"}, "x, y, nx, ny; correct the manifest's [table]"),
        ({"item": "{"}, "line 2: the pattern '{' cannot be filled ("),
        ({"item": "{}"}, "expected column names in braces, like 'images/{id}.png'"),
        ({"item": "{id.x}"}, "line 2: the pattern '{id.x}' cannot be filled ("),
        ({"item": "{ref}"}, "the item 'a' stands there 2 times; expected every item once; make"),
        ({"file": "vote.csv"}, "no such file in "),
        (WITHOUT_COUNTS, "line 3: the vote is 5.0; expected a share of people, in [0, 1]"),
    ],
)
def test_a_manifest_that_does_not_fit_the_table_is_told(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    write_table(tmp_path, as_csv(RECORDS))
    message = error_message(table_of(tmp_path, changes))
    assert message.startswith(f"toy: {changes.get('file', 'votes.csv')}: ")
    assert sentence in message


def test_a_header_with_control_characters_is_shown_escaped(tmp_path: Path) -> None:
    write_table(tmp_path, as_csv(RECORDS).replace(b"kind", b"ki\x1b[31mnd"))
    message = error_message(table_of(tmp_path, {}))
    assert "no column 'kind'; it has id, ki\\x1b[31mnd, photo, " in message


@pytest.mark.parametrize("column", ["sub_dataset", "cluster"])
def test_an_empty_name_in_a_table_is_told(tmp_path: Path, column: str) -> None:
    records = [RECORDS[0], RECORDS[1] | {"note": " "}, RECORDS[2]]
    write_table(tmp_path, as_csv([{"note": "x"} | record for record in records]))
    assert error_message(table_of(tmp_path, {column: "note"})) == (
        "toy: votes.csv: line 3: column 'note' is empty; expected a name in every row; fill it in, "
        "or remove the column from the manifest's [table]"
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"y": "lost"},
            "line 4 names the image images/lost.png, which is not there; correct the p",
        ),
        ({"nx": "two"}, "line 4: column 'nx' is 'two'; expected a number"),
        (
            {"nx": "nan"},
            "line 4: vote counts nan and 2; expected whole numbers of people, at least",
        ),
        ({"nx": "inf"}, "line 4: vote counts inf and 2; expected whole numbers"),
        ({"nx": "-1"}, "line 4: vote counts -1 and 2; expected whole numbers"),
        ({"nx": "1.5", "ny": "1.5"}, "line 4: vote counts 1.5 and 1.5; expected whole numbers"),
        ({"nx": "0", "ny": "0"}, "line 4: vote counts 0 and 0; expected whole numbers"),
    ],
)
def test_a_mistake_in_a_table_is_told_with_its_line(
    tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    write_table(tmp_path, as_csv([*RECORDS[:2], RECORDS[2] | changes]))
    assert error_message(table_of(tmp_path)).startswith(f"toy: votes.csv: {sentence}")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("0", "line 2: 0 votes; expected at least one"),
        ("2.5", "line 2: 2.5 votes; expected a whole number"),
        ("nan", "line 2: nan votes; expected a whole number"),
        ("3", "line 2: the vote is 0.5, which is no multiple of 1/3; correct the number of votes"),
    ],
)
def test_a_number_of_votes_that_cannot_be_is_told(
    tmp_path: Path, asked: str, sentence: str
) -> None:
    write_table(tmp_path, as_csv([RECORDS[0] | {"share": "0.5", "asked": asked}]))
    entry = table_of(tmp_path, {"vote_counts": None, "vote": "share", "votes": "asked"})
    assert sentence in error_message(entry)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("votes.csv", b"", "the table has no rows; expected one for each item"),
        ("votes.csv", b"id,kind\n", "the table has no rows"),
        ("votes.csv", b"id,kind\n1,a\n2,a,b\n", "line 3 has 3 fields, the header 2; expected "),
        ("votes.csv", b"id,kind\n1\n", "line 2 has 1 field, the header 2; "),
        ("votes.csv", b"id\n\xff\n",
         "expected a CSV in UTF-8, got other text or none (byte 3); save it as CSV in UTF-8"),
        ("votes.jsonl", b'\n{"id": 1', "line 2: expected one JSON object (Expecting ',' delimi"),
        ("votes.jsonl", b"[1]", "line 1: expected one JSON object ("),
        ("votes.jsonl", b"[" * 9999, "line 1: expected one JSON object ("),
        ("votes.jsonl", b"\xff", "line 1: expected one JSON object ('utf-8' codec can't decode"),
        ("votes.jsonl", b"", "the table has no rows"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_told(tmp_path: Path, name: str, data: bytes, sentence: str) -> None:
    write_table(tmp_path, data, name)
    message = error_message(table_of(tmp_path, {"file": name}))
    assert message.startswith(f"toy: {name}: ")
    assert sentence in message


@pytest.mark.parametrize("name", ["macro", "pooled"])
def test_a_sub_dataset_may_not_be_called_like_a_mean(name: str) -> None:
    with pytest.raises(PmbenchError, match=f"here: a sub-dataset is called '{name}', which names"):
        check_sub_dataset(name, "here")
    assert check_sub_dataset("cnn", "here") == "cnn"

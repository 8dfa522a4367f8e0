"""Distances as CSV: what is written is read back; what is wrong with a file is said."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.refusals import message_of

from pmbench.datasets.pack import Items
from pmbench.results import csv_io
from pmbench.results.csv_io import read_csv, score_table, write_csv
from pmbench.scoring.protocols import TWO_AFC
from pmbench.scoring.statistics import Array

WANTED = {"2afc": "item, sub_dataset, votes, p, d0, d1", "jnd": "item, sub_dataset, votes, same, d"}


def toy(n: int = 50, pairs: int = 2, clustered: bool = False) -> tuple[Items, Array]:
    """Items with distances of many magnitudes."""
    rng = np.random.default_rng(n)
    items = Items(
        id=np.array([f"a/{i:06d}" for i in range(n)], object),
        sub=np.arange(n, dtype=np.int64) * 3 // n,
        sub_names=("cnn", "color, warm", 'the "mix"'),
        p=rng.integers(0, 4, n) / 3,
        votes=np.full(n, 3, np.int32),
        cluster=np.arange(n, dtype=np.int64) // (4 if clustered else 1),
    )
    return items, rng.normal(size=(n, pairs)) * 10.0 ** rng.integers(-30, 30, (n, pairs))


def the_same(one: Items, other: Items) -> bool:
    return (
        one.id.tolist() == other.id.tolist()
        and [one.sub_names[s] for s in one.sub] == [other.sub_names[s] for s in other.sub]
        and (one.p == other.p).all()
        and (one.votes == other.votes).all()
        and (one.cluster == other.cluster).all()
        and np.array_equal(one.further, other.further)  # type: ignore[arg-type]  # None is None
    )


def written(folder: Path, text: str, name: str = "distances.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, protocol: str = "2afc") -> str:
    """Return the sentence with which a file is refused, without its name."""
    message = message_of(read_csv, path, protocol, False)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["distances.csv", "distances.csv.gz"])
@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize(("protocol", "pairs"), [("2afc", 2), ("jnd", 1)])
def test_what_is_written_is_read_back_exactly(
    tmp_path: Path, name: str, clustered: bool, protocol: str, pairs: int
) -> None:
    items, distances = toy(pairs=pairs, clustered=clustered)
    write_csv(tmp_path / name, protocol, items, distances)
    back, d = read_csv(tmp_path / name, protocol, False)
    assert the_same(items, back)
    assert (d == distances).all()
    assert d.dtype == back.p.dtype == np.float64
    assert (back.sub.dtype, back.cluster.dtype, back.votes.dtype) == (np.int64, np.int64, np.int32)


NAMES = (
    st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=8)
    .map(lambda name: " ".join(name.split()))
    .filter(lambda name: name not in ("", "macro", "pooled"))  # which name means of scores
)
FINITE = st.floats(-1e100, 1e100)


def key(row: tuple[str, str, float, int]) -> tuple[str, str]:
    return row[0], row[1]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(NAMES, NAMES, FINITE, st.integers(0, 7)), min_size=1, max_size=6, unique_by=key
    )
)
def test_any_name_and_any_number_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, float, int]]
) -> None:
    names, subs, numbers, k = zip(*rows, strict=True)
    sub, sub_names = pd.factorize(np.array(subs, object))
    items = Items(
        np.array(names, object), sub, tuple(sub_names), np.array(k) / 7,
        np.full(len(k), 7, np.int32), np.arange(len(k)),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("any") / "d.csv"
    write_csv(path, "jnd", items, np.array(numbers)[:, None])
    back, d = read_csv(path, "jnd", False)
    assert the_same(items, back)
    assert d[:, 0].tolist() == list(numbers)


def test_the_file_is_this(tmp_path: Path) -> None:
    items, _ = toy(3)
    write_csv(tmp_path / "d.csv", "2afc", items, np.array([[0.1, 2], [1e-9, -3], [4, 5.5]]))
    shares = [str(p) for p in items.p]
    assert (tmp_path / "d.csv").read_text() == (
        "item,sub_dataset,votes,p,d0,d1\n"
        f"a/000000,cnn,3,{shares[0]},0.1,2.0\n"
        f'a/000001,"color, warm",3,{shares[1]},1e-09,-3.0\n'
        f'a/000002,"the ""mix""",3,{shares[2]},4.0,5.5\n'
    )


@pytest.mark.parametrize(("protocol", "pairs"), [("2afc", 2), ("jnd", 1)])
def test_the_columns_are_the_documented_ones(tmp_path: Path, protocol: str, pairs: int) -> None:
    for clustered in (False, True):
        items, distances = toy(pairs=pairs, clustered=clustered)
        write_csv(tmp_path / "d.csv", protocol, items, distances)
        header = (tmp_path / "d.csv").read_text().splitlines()[0]
        assert header == WANTED[protocol].replace(" ", "") + ",cluster" * clustered


def test_a_gz_file_is_compressed_and_the_same_every_time(tmp_path: Path) -> None:
    items, distances = toy()
    for name in ("one.csv.gz", "two.csv.gz", "three.csv"):
        write_csv(tmp_path / name, "2afc", items, distances)
    one, two = ((tmp_path / f"{name}.csv.gz").read_bytes() for name in ("one", "two"))
    assert one == two
    assert one[4:8] == bytes(4)  # no time in the header
    assert gzip.decompress(one) == (tmp_path / "three.csv").read_bytes()


def test_the_real_judgements_are_read(shared: Path) -> None:
    items, distances = read_csv(
        shared / "judgements" / "bapps_2afc_val.csv.gz", "2afc", higher_is_better=False
    )
    assert (len(items), distances.shape) == (36_344, (36_344, 2))
    assert items.sub_names == ("traditional", "cnn", "superres", "deblur", "color", "frameinterp")
    assert np.bincount(items.sub).tolist() == [4720, 4720, 10856, 9440, 4720, 1888]
    assert set(items.votes) == {5}
    assert set(np.round(items.p * 5, 9)) == {0, 1, 2, 3, 4, 5}
    assert distances[0].tolist() == [0.194844, 0.718338]


# --- what may be left out or called differently ---------------------------------------------------


def test_split_id_and_judge_are_aliases(tmp_path: Path) -> None:
    path = written(tmp_path, "split,id,votes,judge,d0,d1\ncnn,x,5,0.6,1,2\ncolor,y,5,0.2,3,4\n")
    items, distances = read_csv(path, "2afc", False)
    assert items.id.tolist() == ["x", "y"]
    assert items.sub_names == ("cnn", "color")
    assert items.p.tolist() == [0.6, 0.2]
    assert distances.tolist() == [[1, 2], [3, 4]]


def test_an_alias_gives_way_to_the_name_itself(tmp_path: Path) -> None:
    path = written(tmp_path, "id,item,p,judge,d0,d1\nno,yes,1,0,1,2\n")
    items, _ = read_csv(path, "2afc", False)
    assert (items.id.tolist(), items.p.tolist()) == (["yes"], [1])


def test_only_votes_and_distances_are_needed(tmp_path: Path) -> None:
    items, distances = read_csv(written(tmp_path, "d,same\n2,0.25\n1,1\n"), "jnd", False)
    assert items.id.tolist() == ["0", "1"]
    assert (items.sub_names, items.sub.tolist()) == (("whole",), [0, 0])
    assert items.p.tolist() == [0.25, 1]  # as it is, since nobody says of how many
    assert items.votes.tolist() == [1, 1]
    assert items.cluster.tolist() == [0, 1]
    assert distances.tolist() == [[2], [1]]


def test_columns_in_any_order_and_further_ones_do_not_matter(tmp_path: Path) -> None:
    path = written(tmp_path, "d1,note,p,d0,item\n2,hm,1,1,x\n")
    items, distances = read_csv(path, "2afc", False)
    assert (items.id.tolist(), distances.tolist()) == (["x"], [[1, 2]])


def test_names_that_look_like_missing_values_or_numbers_are_names(tmp_path: Path) -> None:
    path = written(tmp_path, "item,sub_dataset,same,d\nNA,nan,1,1\n007,None,1,2\n1e3,nan,0,3\n")
    items, _ = read_csv(path, "jnd", False)
    assert items.id.tolist() == ["NA", "007", "1e3"]
    assert items.sub_names == ("nan", "None")
    assert items.sub.tolist() == [0, 1, 0]


def test_blanks_in_names_make_no_difference(tmp_path: Path) -> None:
    rows = ["a, one,p q,1,1", "b,one , p  q,1,2", "c,one,r,0,3"]
    path = written(tmp_path, "\n".join(["item,sub_dataset,cluster,same,d", *rows]) + "\n")
    items, _ = read_csv(path, "jnd", False)
    assert items.sub_names == ("one",)
    assert items.cluster.tolist() == [0, 0, 1]


def test_items_may_be_in_several_clusters(tmp_path: Path) -> None:
    text = "cluster,cluster2,cluster3,same,d\na,b,c,1,1\nb,,d,1,2\ne, ,a,0,3\n"
    items, distances = read_csv(written(tmp_path, text), "jnd", False)
    assert items.cluster.tolist() == [0, 1, 2]
    assert items.further is not None
    assert items.further.tolist() == [[1, -1], [-1, -1], [-1, 0]]  # c and d join nothing
    write_csv(tmp_path / "again.csv", "jnd", items, distances)
    assert the_same(items, read_csv(tmp_path / "again.csv", "jnd", False)[0])


@pytest.mark.parametrize("column", ["item", "sub_dataset", "cluster"])
def test_an_empty_name_is_refused(tmp_path: Path, column: str) -> None:
    table = pd.DataFrame({"item": ["x", "y", "z"], "sub_dataset": "s", "cluster": "c", "same": 1})
    table["d"] = [1, 2, 3]
    table.loc[1, column] = "  "
    assert refusal(written(tmp_path, table.to_csv(index=False)), "jnd") == (
        f"line 3: column '{column}' is empty; expected a name in every row; fill it in, or remove "
        "the column"
    )


def test_an_item_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "item,same,d\nx,1,1\ny,1,2\nx ,1,1\n")
    assert refusal(path, "jnd") == (
        "lines 2 and 4: item x is there twice; expected one row for each item; keep one of them, "
        "or rename the other"
    )
    of_two = "item,sub_dataset,same,d\nx,s,1,1\nx,t,1,2\nx,t,1,1\n"
    assert refusal(written(tmp_path, of_two), "jnd").startswith(
        "lines 3 and 4: item x of t is there twice; "
    )


def test_further_clusters_need_a_first_one(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "cluster2,same,d\na,1,1\n"), "jnd") == (
        "no column 'cluster', though there is 'cluster2'; expected 'cluster' for the first cluster "
        "of each item, and 'cluster2' and so on for further ones"
    )
    items, _ = read_csv(
        written(tmp_path, "cluster,cluster2,same,d\na,,1,1\nb,,0,2\n"), "jnd", False
    )
    assert items.further is None


def test_clusters_may_have_any_names(tmp_path: Path) -> None:
    path = written(tmp_path, "same,d,cluster\n1,1,cat\n1,2,dog\n0,3,cat\n")
    assert read_csv(path, "jnd", False)[0].cluster.tolist() == [0, 1, 0]


def test_higher_is_better_turns_the_numbers_into_distances(tmp_path: Path) -> None:
    path = written(tmp_path, "p,d0,d1\n1,30.5,-2\n")
    assert read_csv(path, "2afc", higher_is_better=True)[1].tolist() == [[-30.5, 2]]
    assert read_csv(path, "2afc", higher_is_better=False)[1].tolist() == [[30.5, -2]]


def test_a_share_is_rounded_to_the_votes(tmp_path: Path) -> None:
    path = written(tmp_path, "votes,p,d0,d1\n5,0.6000000238,1,2\n3,0.333,1,2\n")
    items, _ = read_csv(path, "2afc", False)
    assert items.p.tolist() == [3 / 5, 1 / 3]
    assert items.votes.tolist() == [5, 3]


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    plain = written(tmp_path, "item,votes,p,d0,d1,cluster,cluster2\nx,5,0.8,1.5,2,a,b\n", "1.csv")
    text = "Item;Votes;Judge;D0;D1 ;Cluster;CLUSTER2\r\nx;5;0,8;1,5;2;a;b\r\n;;;;;;\r\n"
    german = written(tmp_path, "\ufeff" + text, "2.csv")
    (items, distances), (back, d) = (read_csv(path, "2afc", False) for path in (plain, german))
    assert the_same(items, back)
    assert d.tolist() == distances.tolist() == [[1.5, 2]]


def test_a_line_is_that_of_the_file(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, 'item,p,d0,d1\n"x\ny",1,1,2\n\nz,1,near,2\n')) == (
        f"line 5: column 'd0' is 'near'; {FINITE_NUMBER}"
    )


# --- what is wrong with a file --------------------------------------------------------------------


FOR_EACH_COLUMN = "the header 3; expected one for each column"
COMMAS = "; where commas are decimal, separate columns by semicolons"
FINITE_NUMBER = "expected a finite number"
WRONG = [
    ("2afc", "item,votes,p,d0\nx,5,1,2\n",
     "no column 'd1'; the protocol 2afc needs item, sub_dataset, votes, p, d0, d1; found item, "
     "votes, p, d0"),
    ("jnd", "item,votes,p,d0\nx,5,1,2\n",
     "no column 'same'; the protocol jnd needs item, sub_dataset, votes, same, d; found item, "
     "votes, p, d0"),
    *(("2afc", f'p,d0,d1\n1,1,2\n0,3,"{bad}"\n', f"line 3: column 'd1' is '{bad}'; {FINITE_NUMBER}")
      for bad in ("", "near", "nan", "inf", "-inf")),
    ("2afc", 'p,d0,d1\n1,1,2\n0,3,"1,5"\n',
     f"line 3: column 'd1' is '1,5'; {FINITE_NUMBER}, with a decimal point"),
    *(("2afc", f"p,d0,d1\n1,1,2\n0,3,{bad}\n",
       f"line 3: column 'd1' is '{bad}'; {FINITE_NUMBER}, of at most 1e+100")
      for bad in ("1e101", "-1e308")),
    ("2afc", "p,d0,d1\n1,1,2\n1,1\n", f"line 3 has 2 fields, {FOR_EACH_COLUMN}"),
    ("jnd", "same,d,votes\n1,1,3\nyes,2,3\n", f"line 3: column 'same' is 'yes'; {FINITE_NUMBER}"),
    ("jnd", "same,d,votes\n1,1,\n", f"line 2: column 'votes' is ''; {FINITE_NUMBER}"),
    *(("2afc", f"p,d0,d1\n1,1,2\n{p},1,2\n",
       f"line 3: the vote is {p}; expected a share of people, in [0, 1]") for p in ("1.2", "-0.2")),
    *(("2afc", f"p,d0,d1,votes\n1,1,2,5\n{p},1,2,5\n",
       f"line 3: the vote is {p}; expected a share of people, in [0, 1]") for p in ("1.2", "-0.2")),
    ("2afc", "p,d0,d1,votes\n0.8,1,2,5\n0.5,1,2,5\n",
     "line 3: the vote is 0.5, which is no multiple of 1/5; correct the number of votes in the "
     "manifest or the file"),
    *(("2afc", f"p,d0,d1,votes\n1,1,2,5\n1,1,2,{votes}\n",
       f"line 3: {count} votes; expected at least one and at most 2,147,483,647")
      for votes, count in (("0", "0"), ("-5", "-5"), ("1e10", "10000000000"))),
    ("2afc", "p,d0,d1,votes\n1,1,2,5\n1,1,2,5.7\n",
     "line 3: 5.7 votes; expected a whole number"),
    ("2afc", "p,d0,d1\n0.2,1,1,9\n0.4,1,0,9\n", f"line 2 has 4 fields, {FOR_EACH_COLUMN}{COMMAS}"),
    ("2afc", "p,d0,d1\n1,1,2\n1,1,2,3\n", f"line 3 has 4 fields, {FOR_EACH_COLUMN}{COMMAS}"),
    ("2afc", "", f"no column 'p'; the protocol 2afc needs {WANTED['2afc']}; found nothing"),
    ("jnd", "", f"no column 'same'; the protocol jnd needs {WANTED['jnd']}; found nothing"),
    *((protocol, WANTED[protocol].replace(" ", "") + "\n", "no rows; expected one for each item")
      for protocol in WANTED),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "text", "sentence"), WRONG)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, protocol: str, text: str, sentence: str
) -> None:
    assert refusal(written(tmp_path, text), protocol) == sentence


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.csv"
    assert refusal(path) == (
        "expected a CSV file with the columns item, sub_dataset, votes, p, d0, d1 "
        f"([Errno 2] No such file or directory: '{path}')"
    )


@pytest.mark.parametrize("kind", ["cut off", "garbled", "not compressed"])
def test_a_file_that_is_damaged_is_refused(tmp_path: Path, kind: str) -> None:
    items, distances = toy()
    write_csv(tmp_path / "whole.csv.gz", "2afc", items, distances)
    data = (tmp_path / "whole.csv.gz").read_bytes()
    path = tmp_path / "d.csv.gz"
    path.write_bytes(
        {
            "cut off": data[: len(data) // 2],
            "garbled": data[:50] + bytes(50) + data[100:],
            "not compressed": gzip.decompress(data),
        }[kind]
    )
    assert refusal(path).startswith(
        "expected a CSV file with the columns item, sub_dataset, votes, p, d0, d1 ("
    )


# --- scores of a file -----------------------------------------------------------------------------


def test_a_file_is_scored_with_its_human_rows(tmp_path: Path) -> None:
    path = written(
        tmp_path, "item,sub_dataset,votes,p,d0,d1\nx,a,5,0.8,2,1\ny,a,5,0.4,2,1\nz,b,5,1,1,2\n"
    )
    items, distances = read_csv(path, "2afc", False)
    table = score_table("mine", "2afc", items, distances)
    table["key"] = table["name"].where(table["kind"] == "human", table["statistic"])
    macro = table[table["sub_dataset"] == "macro"].set_index("key")["value"]
    assert macro["2afc"] == pytest.approx(((0.8 + 0.4) / 2 + 0) / 2)
    assert macro["human-majority"] == pytest.approx(((0.8 + 0.6) / 2 + 1) / 2)
    assert set(table.loc[table["kind"] == "metric", "name"]) == {"mine"}
    assert set(table.loc[table["kind"] == "human", "name"]) == {h.name for h in TWO_AFC.humans}


def test_a_file_read_back_scores_as_the_run_it_was_exported_from(tmp_path: Path) -> None:
    items, distances = toy()
    write_csv(tmp_path / "d.csv.gz", "2afc", items, distances)
    again = csv_io.score_table("m", "2afc", *read_csv(tmp_path / "d.csv.gz", "2afc", False))
    pd.testing.assert_frame_equal(again, score_table("m", "2afc", items, distances))

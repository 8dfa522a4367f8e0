"""CSV files as spreadsheets and people write them: read, or refused in one sentence."""

from __future__ import annotations

import math

import pytest
from support.refusals import message_of

from pmbench.utils.csv_table import CsvTable, find_column, parse_csv


def table(text: str) -> CsvTable:
    return parse_csv(text.encode(), "t.csv")


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("name,n\na,1\n", ","),
        ("name;n\na;1\n", ";"),
        ("name\tn\na\t1\n", "\t"),
        ("\ufeffname;n\r\na;1\r\n", ";"),
        ('"name";"n"\n"a";"1"', ";"),
        ("name , n\n a , 1 \n", ","),
        ("\n,\nname,n\n\na,1\n,\n", ","),
    ],
)
def test_the_same_table_in_many_ways(text: str, separator: str) -> None:
    result = table(text)
    assert (result.header, result.rows) == (["name", "n"], [["a", "1"]])
    assert result.separator == separator
    assert len(result) == 1


def test_the_header_alone_says_how_columns_are_separated() -> None:
    assert table("name\na;b\n").rows == [["a;b"]]
    assert table('"a;b",c\n1,2\n').header == ["a;b", "c"]
    assert table("").header == []


def test_rows_have_the_number_of_the_line_in_which_they_begin() -> None:
    assert table('a,b\n"1\n1",2\n\n3,4\n,\n5,6').lines == [2, 5, 7]


def test_capitals_and_blanks_of_a_header_make_no_difference() -> None:
    result = table("Item, Sub Dataset ,P,p,Q,q\n1,2,3,4,5,6\n")
    assert result.column("item") == ["1"]
    assert result.column("sub_dataset") == ["2"]
    assert result.column("p") == ["4"]  # the very name comes first
    assert "Q" in result
    assert "r" not in result
    assert find_column("a b", ["A B", "a  B"]) is None  # which of the two?


@pytest.mark.parametrize(
    ("separator", "text", "value"),
    [
        (";", "0,5", 0.5), (";", "-1,25e-3", -1.25e-3), (";", ",5", 0.5), (";", "0.5", 0.5),
        ("\t", "12,0", 12.0), (",", "0.5", 0.5), (";", "3", 3.0), (";", "inf", math.inf),
    ],
)  # fmt: skip
def test_numbers_may_have_decimal_commas_where_columns_have_none(
    separator: str, text: str, value: float
) -> None:
    assert CsvTable([], [], [], separator).number(text) == value


@pytest.mark.parametrize(
    ("separator", "text"),
    [(",", "0,5"), (";", "1.234,5"), (";", "1,234,5"), (";", ""), (";", "5,"), (";", "a")],
)
def test_other_text_is_no_number(separator: str, text: str) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        CsvTable([], [], [], separator).number(text)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a;b\n1;2;3\n", "line 2 has 3 fields, the header 2; expected one for each column"),
        (b"a,b\n\n1\n", "line 3 has 1 field, the header 2; expected one for each column"),
        (b"a,b\n0,5,1\n", "line 2 has 3 fields, the header 2; expected one for each column; where "
         "commas are decimal, separate columns by semicolons"),
        (b"a,a,b,a\n1,2,3,4\n", "there are 3 columns 'a'; rename or remove one of them"),
        (b"a\nM\xfcller\n", "expected a CSV in UTF-8, got other text or none (byte 3); save it as "
         "CSV in UTF-8"),
        (b"\xff\xfea\0", "expected a CSV in UTF-8, got other text or none (byte 0); save it as CSV "
         "in UTF-8"),
        (b"a,b\n1,2\n1," + b"9" * 200_000, "line 3: not a row of a CSV (field larger than field "
         "limit (131072)); mend or remove it"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_said_with_its_line(data: bytes, sentence: str) -> None:
    assert message_of(parse_csv, data, "t.csv") == f"t.csv: {sentence}"

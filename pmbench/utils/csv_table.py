"""A CSV file that somebody wrote -> its columns as text, and the line in which each row begins.

Columns are separated by commas, semicolons or tabs: by whichever parts the header into most. Where
it is no comma, a number may have a decimal comma, as spreadsheets of many countries write it.
Capitals and blanks in the header make no difference.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pmbench.utils.errors import PmbenchError
from pmbench.utils.text import one_line, preview

_SEPARATORS = ",;\t"
_DECIMAL_COMMA = re.compile(r"([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)")

_ABOUT_COMMAS = "; where commas are decimal, separate columns by semicolons"


@dataclass(frozen=True)
class CsvTable:
    """Cells without blanks around them; ``lines`` are those of the file, from 1, by row."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    separator: str = ","

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: str) -> bool:
        return find_column(name, self.header) is not None

    def column(self, name: str) -> list[str]:
        """Return the cells of a column, which must be there."""
        column = find_column(name, self.header)
        assert column is not None
        place = self.header.index(column)
        return [row[place] for row in self.rows]

    def number(self, text: str) -> float:
        """Return a cell as a number, which may be NaN or infinite. Raises ValueError for others."""
        if self.separator != "," and (parts := _DECIMAL_COMMA.fullmatch(text)):
            return float(f"{parts[1]}.{parts[2]}")
        return float(text)


def find_column(name: str, header: Collection[str]) -> str | None:
    """Return the column of that name, or else the only one that differs in capitals or blanks."""
    if name in header:
        return name
    alike = [column for column in header if _folded(column) == _folded(name)]
    return alike[0] if len(alike) == 1 else None


def _folded(name: str) -> str:
    return "_".join(name.casefold().split())


def parse_csv(data: bytes, where: str) -> CsvTable:
    """Return the table in a CSV file. Rows without a word do not count.

    Raises PmbenchError, which begins with ``where``, for other text, for a row that has not as many
    fields as the header, and for two columns of one name.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PmbenchError(
            f"{where}: expected a CSV in UTF-8, got other text or none (byte {error.start:,}); "
            "save it as CSV in UTF-8"
        ) from error
    separator = max(
        _SEPARATORS, key=lambda sign: len(next(_records(text, sign, where), (0, []))[1])
    )
    header, rows, lines = list[str](), [], []
    for line, cells in _records(text, separator, where):
        if not header:
            header = cells
            continue
        if len(cells) != len(header):
            fields = f"{len(cells)} field{'s' * (len(cells) != 1)}"
            raise PmbenchError(
                f"{where}: line {line} has {fields}, the header {len(header)}; expected one for "
                "each column" + _ABOUT_COMMAS * (separator == "," and len(cells) > len(header))
            )
        rows.append(cells)
        lines.append(line)
    for name in filter(None, header):
        if header.count(name) > 1:
            raise PmbenchError(
                f"{where}: there are {header.count(name)} columns {preview(name, chr(39))}; "
                "rename or remove one of them"
            )
    return CsvTable(header, rows, lines, separator)


def _records(text: str, separator: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that are not empty, and the line in which each begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    line = 1
    try:
        for record in reader:
            cells = [cell.strip() for cell in record]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise PmbenchError(
            f"{where}: line {line}: not a row of a CSV ({one_line(str(error))}); mend or remove it"
        ) from error

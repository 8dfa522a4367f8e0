"""Other people's distances and baselines, and what somebody types for a metric, made of anything.

Each ends in a value or in a PmbenchError, and never in another exception. Manifests have a file of
their own, tests/datasets/test_manifest_fuzz.py.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pmbench.analysis import baseline
from pmbench.metrics.selection import MetricSelection, select_metrics
from pmbench.results.csv_io import read_csv, score_table
from pmbench.scoring.bootstrap import Resampling
from pmbench.utils.errors import PmbenchError
from pmbench.utils.text import one_line

_how: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
Try = Callable[[Any], object]


def check_message(path: Path, error: PmbenchError) -> None:
    """See that a sentence names the file, and may be shown."""
    told = str(error)
    assert told.startswith(f"{path}: ")
    assert told == one_line(told, 9999)
    assert len(told) < 2500


def many_times(
    many: int,
    strategy: st.SearchStrategy[Any],
    one: Try,
    what: str,
    record: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Try so many of them, and say how many there were."""
    tried = 0

    @settings(max_examples=many, database=None, **_how)
    @given(strategy)
    def go(value: Any) -> None:
        nonlocal tried
        one(value)
        tried += 1

    go()
    record(f"{what} tried", tried)
    with capsys.disabled():
        print(f"\n{tried:,} {what} tried")  # noqa: T201  the figure is what the test is for
    assert tried >= many


# --- distances ------------------------------------------------------------------------------------

_CELLS = [
    "", " ", "0", "1", "0.5", "0.6000000238", "-1", "5", "1e5", "1e400", "nan", "NaN", "inf",
    "-inf", "None", "x", "é", '"', '""', '"a,b"', '"a\nb"', "'", "1_000", "0x10", "1,5", "١", "²",
    "9" * 40, "9" * 400, "9" * 5000, "2147483648", "1e18", "1e308", "5e-324", "True", "2018-01-11",
    "\x00", "\x1b[2J", "\u202e", "\ufeff", "macro", "pooled", "one", "two", "a/b", "..", "=1+1",
]  # fmt: skip
_COLUMNS = ["item", "sub_dataset", "votes", "p", "d0", "d1", "d", "same", "cluster", "id", "split",
            "judge", "", " ", "p", "d0", "Unnamed: 0", "\x1b[2J", "é"]  # fmt: skip


def _table(chance: random.Random) -> bytes:
    """Return a CSV file of the right columns, mostly, with likely and unlikely cells."""
    columns = ["item", "sub_dataset", "votes", chance.choice(["p", "same"]), "d0", "d1", "d"]
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        columns[chance.randrange(len(columns))] = chance.choice(_COLUMNS)
    wild = chance.choice([0, 0, 0.02, 0.2])
    rows = [columns]
    for i in range(chance.choice([0, 1, 3, 8])):
        row = [f"i{i}", chance.choice(["one", "two"]), "5", chance.choice(["0", "0.4", "1"])]
        row += [f"{chance.random():.3f}" for _ in range(3)]
        rows.append([chance.choice(_CELLS) if chance.random() < wild else cell for cell in row])
    if chance.random() < 0.1:
        chance.choice(rows).append(chance.choice(_CELLS))
    separator = "," if chance.random() < 0.95 else chance.choice(";\t|")
    end = chance.choice(["\n", "\n", "\r\n", "\r", "\n\n"])
    data = end.join(separator.join(row) for row in rows).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        data = data[: chance.randrange(len(data) + 1)]
    if data and chance.random() < 0.1:
        spot = chance.randrange(len(data))
        data = data[:spot] + bytes([chance.randrange(256)]) + data[spot + 1 :]
    return data


TABLES = st.one_of(
    st.binary(max_size=200),
    st.text("item,sub_d0vep1.\"'\n\r ").map(str.encode),
    *[st.integers(0, 2**64).map(lambda seed: _table(random.Random(seed)))] * 4,
)


def try_table(folder: Path, data: bytes) -> None:
    for protocol in ("2afc", "jnd"):
        for path, content in (
            (folder / "any.csv", data),
            (folder / "any.csv.gz", gzip.compress(data, 0)),
        ):
            path.write_bytes(content)
            try:
                items, distances = read_csv(path, protocol, False)
            except PmbenchError as error:
                check_message(path, error)
                continue
            assert np.isfinite(distances).all()
            assert ((items.p >= 0) & (items.p <= 1)).all()
            assert (items.votes >= 1).all()
            if path.suffix == ".csv":
                score_table("any", protocol, items, distances, Resampling(count=2))


@settings(max_examples=100, **_how)
@given(data=TABLES)
def test_any_table_of_distances_is_scored_or_told(tmp_path: Path, data: bytes) -> None:
    try_table(tmp_path, data)


@pytest.mark.slow
def test_4_000_tables_of_distances_are_scored_or_told(
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    many_times(
        4000,
        TABLES,
        lambda data: try_table(tmp_path, data),
        "tables of distances",
        record_property,
        capsys,
    )


@pytest.mark.parametrize("suffix", ["zip", "xz", "bz2", "zst", "tar", "tar.gz", "txt", "gz"])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"d0,d1\n1,2\n", b"\x1f\x8b\x08", b"BZh9"])
def test_the_end_of_a_tables_name_means_nothing_but_gz(
    tmp_path: Path, suffix: str, data: bytes
) -> None:
    path = tmp_path / f"any.{suffix}"
    path.write_bytes(data)
    with pytest.raises(PmbenchError) as caught:
        read_csv(path, "2afc", False)
    check_message(path, caught.value)


# --- baselines ------------------------------------------------------------------------------------

_GOOD: dict[str, Any] = {
    "pmbench_baseline": 1,
    "pmbench": "0.1.0",
    "runs": [
        {
            "dataset": "toy", "metric": "l2", "signature": "pmbench:0.1|toy || l2#0",
            "statistic": "2afc", "scores": {"macro": 66.6}, "n": 2, "tolerance": 1e-5,
            "made_with": "torch 2.9, cpu", "ids": "00",
            "distances": baseline.Stored.of(np.array([[0.5, 1.0], [2.0, np.nan]])).model_dump(),
        }
    ],
}  # fmt: skip
_VALUES: list[Any] = [
    None, True, 0, 1, -1, 2, 2**31, 2**63, 10**30, 10**400, 0.5, -1.5, float("nan"), "", "x",
    float("inf"), "2afc", "\x1b[2J", "\ud800", "a" * 3000, "float32", "float64", "eJw=", "§", [],
    {}, [1], [2, 2], [1, 10**30], [10**12, 2], [2**31, 2**31], [0, 0], [-1, -2], {"a": 1}, [[[[]]]],
    {"\x1b": "\ud800"},
]  # fmt: skip


def _places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the keys that lead to each value inside a nested one."""
    inner = value.items() if isinstance(value, dict) else []
    inner = enumerate(value) if isinstance(value, list) else inner
    return [
        place for key, item in inner for place in [(*above, key), *_places(item, (*above, key))]
    ]


def _baseline(chance: random.Random) -> bytes:
    """Return a baseline with a few things changed, removed, added or cut off."""
    content = json.loads(json.dumps(_GOOD))
    for _ in range(chance.choice([0, 1, 1, 2])):
        *path, last = chance.choice(_places(content))
        inner = content
        for key in path:
            inner = inner[key]
        accident = chance.randrange(4)
        if accident == 0:
            del inner[last]
        elif accident == 1 and isinstance(inner, dict):
            inner[chance.choice(["x", "", "\ud800", "\x1b[2J"])] = deepcopy(chance.choice(_VALUES))
        else:
            inner[last] = deepcopy(chance.choice(_VALUES))
    text = json.dumps(content, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.2:
        text = text[: chance.randrange(len(text))]
    if chance.random() < 0.2:
        spot = chance.randrange(len(text) + 1)
        text = text[:spot] + chance.choice(
            ["[" * 5000, '{"a":' * 5000, "9" * 5000, "NaN", ",", '"']
        )
    return text.encode("utf-8", "surrogatepass")


BASELINES = st.one_of(
    st.binary(max_size=200),
    st.text('{}[]":,0123truefalsn\\u').map(lambda text: f'{{"pmbench_baseline": {text}'.encode()),
    *[st.integers(0, 2**64).map(lambda seed: _baseline(random.Random(seed)))] * 4,
)


def try_baseline(folder: Path, data: bytes) -> None:
    path = folder / "any.json"
    path.write_bytes(data)
    try:
        found = baseline.read(path)
    except PmbenchError as error:
        check_message(path, error)
    else:
        assert all(entry.distances.array().ndim == 2 for entry in found.runs)


@settings(max_examples=150, **_how)
@given(data=BASELINES)
def test_any_baseline_is_read_or_told(tmp_path: Path, data: bytes) -> None:
    try_baseline(tmp_path, data)


@pytest.mark.slow
def test_20_000_baselines_are_read_or_told(
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    many_times(
        20_000,
        BASELINES,
        lambda data: try_baseline(tmp_path, data),
        "baselines",
        record_property,
        capsys,
    )


def test_the_baseline_that_is_changed_is_good(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(_GOOD))
    (entry,) = baseline.read(tmp_path / "b.json").runs
    np.testing.assert_array_equal(entry.distances.array(), [[0.5, 1.0], [2.0, np.nan]])


def test_a_folder_in_place_of_a_baseline_is_told(tmp_path: Path) -> None:
    with pytest.raises(PmbenchError, match="expected the JSON text of a baseline, and it cannot"):
        baseline.read(tmp_path)


# --- what somebody types for a metric -------------------------------------------------------------

_WORDS = [
    "l1", "l2", "lpips-alex", "all", "L1", "net", "pyiqa", "torchmetrics", "cmd", ":", ":", "?",
    "=", "@", "+", "/", "&", ",", ".", "..", " ", "./mine.py", "./broken.py", "./folder.py",
    "./binary.py", "./none.py", ".py", "mine", "no.such", "json", "json.decoder", "dumps",
    "JSONDecoder", "math", "close", "torchvision", "timm", "squeezenet1_1", "squeezenet",
    "features.0", "4", "8", "random",
    "0", "-1", "9" * 30, "better", "higher", "lower", "timeout", "jobs", "1e999", "{ref}", "{dist}",
    "{ref} {dist}", "true", "'", '"', "\\", "\x00", "\n", "\ud800", "é", "a" * 300, "ssim", "uqi",
    "__import__", "__class__", "__builtins__", "cmd:true {ref} {dist}", "x=", "net:torchvision/",
]  # fmt: skip
TYPED = st.one_of(
    st.text(st.characters(), max_size=20),
    *[st.lists(st.sampled_from(_WORDS), max_size=7).map("".join)] * 3,
)


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with files that may be metrics, or called so."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def mine(x, y):\n    return (x - y).flatten(1).mean(1)\n")
    Path("broken.py").write_text("def (:\n")
    Path("binary.py").write_bytes(bytes(range(256)))
    Path("folder.py").mkdir()
    return tmp_path


def try_typed(text: str) -> None:
    try:
        found = select_metrics([text])
    except PmbenchError:
        return
    assert isinstance(found, MetricSelection)
    assert all(metric.name for metric in found.metrics)


@pytest.mark.usefixtures("beside")
@settings(max_examples=100, **_how)
@given(text=TYPED)
def test_anything_typed_gives_metrics_or_a_sentence(text: str) -> None:
    try_typed(text)


@pytest.mark.slow
@pytest.mark.usefixtures("beside")
def test_20_000_times_anything_typed_gives_metrics_or_a_sentence(
    record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    many_times(20_000, TYPED, try_typed, "addresses of metrics", record_property, capsys)

"""Manifests made of anything: a Manifest or a sentence, soon, and never another exception.

``tests/corpus/manifests`` holds a small file for each trouble that was met or thought of; what
Hypothesis finds belongs there too.
"""

from __future__ import annotations

import datetime
import json
import math
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from support.paths import TESTS

from pmbench.datasets.download import pack_path
from pmbench.datasets.manifest import Manifest, Published, load
from pmbench.datasets.resize import resize_for
from pmbench.utils import paths
from pmbench.utils.errors import PmbenchError
from pmbench.utils.text import one_line

CORPUS = TESTS / "corpus" / "manifests"
SOON = 5.0  # seconds of computing; a thousandth of it is usual
NAMED = re.compile(r"key |the whole file: |not valid TOML: |more than 1,000,000 bytes; ")


def load_or_refuse(path: Path) -> Manifest | str:
    """Load a manifest and use it, or return what is said; all that must hold of either does."""
    start = time.process_time()
    try:
        entry = load(path)
        assert entry.local_source is None or entry.local_source.is_absolute()
        assert entry.expected is None or f"{entry.expected:,}"
        assert not entry.comes_with_pmbench
        assert json.loads(entry.model_dump_json())["name"] == entry.name
        pack_path(entry, resize_for(entry, None))
        found: Manifest | str = entry
    except PmbenchError as error:
        found = str(error)
        assert found.startswith(f"{path}: ")
        said = found.removeprefix(f"{path}: ")
        assert NAMED.match(said), said
        assert said == one_line(said, 9999)
        assert len(said) < 1500
    assert time.process_time() - start < SOON
    return found


# --- the corpus -----------------------------------------------------------------------------------

# file -> a part of what is said of it, None for a manifest
EXPECTED = {
    "good-folders": None,
    "good-table": None,
    "good-jnd": None,
    "good-crlf": None,
    "good-above": None,
    "good-names": None,
    "empty": "key 'name': Field required",
    "blank": "key 'name': Field required",
    "comment-only": "key 'name': Field required",
    "bom": "not valid TOML: ",
    "utf-16": "key at byte 0: not UTF-8",
    "latin-1": "not UTF-8 text; save it as UTF-8",
    "surrogates": "key at byte 8: not UTF-8",
    "surrogate-escape": "not valid TOML: ",
    "null": "not valid TOML: ",
    "null-escaped": "key 'source.path': 'a\\x00b' has characters",
    "escape-sequence": "key 'title': '",
    "bidi": "key 'title': 'a\\u202eb' has characters",
    "key-with-escape-sequence": "key '\\x1b]0;x\\x07': no such key",
    "web-page": "not valid TOML: ",
    "json": "not valid TOML: ",
    "yaml": "not valid TOML: ",
    "ini": "not valid TOML: ",
    "merge-conflict": "not valid TOML: ",
    "pointer": "not valid TOML: ",
    "cut": "not valid TOML: ",
    "cut-in-a-string": "not valid TOML: ",
    "smart-quotes": "not valid TOML: ",
    "key-twice": "not valid TOML: Cannot overwrite",
    "table-twice": "not valid TOML: Cannot declare",
    "table-and-list": "not valid TOML: ",
    "inline-extended": "not valid TOML: ",
    "not-a-number": "key 'published.0.scores.macro': ",
    "infinite": "key 'published.0.scores.macro': ",
    "infinite-size": "key 'source.gigabytes': ",
    "negative-size": "key 'source.gigabytes': Input should be greater",
    "huge-integer": "key 'votes_per_item': ",
    "longest-integer": "not valid TOML: ",
    "hex-integer": "key 'votes_per_item': ",
    "huge-count": "key 'sub_datasets.easy': ",
    "huge-float": "key 'published.0.scores.macro': ",
    "date": "key 'name': Input should be a valid string, got '2018-01-11'",
    "time": "key 'name': Input should be a valid string",
    "bad-date": "not valid TOML: ",
    "list-for-text": "key 'name': Input should be a valid string",
    "table-for-text": "key 'name': Input should be a valid string",
    "text-for-table": "key 'source': ",
    "list-for-table": "key 'source': ",
    "number-for-list": "key 'groups': ",
    "text-for-list": "key 'groups': ",
    "true-for-number": "key 'votes_per_item': ",
    "text-for-true": "key 'human_votes': ",
    "empty-name": "key 'name': String should match",
    "name-above": "key 'name': String should match",
    "name-absolute": "key 'name': String should match",
    "name-with-newline": "key 'name': String should match",
    "name-long": "key 'name': String should have at most 80",
    "built-in-above": "key 'built_in': String should match",
    "group-above": "key 'groups.0': String should match",
    "file-url": "key 'source.url': String should match",
    "url-with-escape": "key 'source.url': String should match",
    "two-places": "key 'source': a source needs either",
    "no-place": "key 'source': a source needs either",
    "no-layout": "the whole file: a dataset needs either [folders]",
    "two-layouts": "the whole file: a dataset needs either [folders]",
    "same-folder-twice": "key 'folders': 'roles' and 'votes' must name",
    "unknown-role": "the whole file: 'roles' must name p0, p1, ref",
    "unknown-protocol": "key 'protocol': Input should be",
    "wide-pattern": "key 'table.item': a column is padded",
    "nested-pattern": "key 'table.item': a column is padded",
    "no-vote": "key 'table': a table needs either 'vote'",
    "published-elsewhere": "the whole file: the published row ",
    "published-table": "key 'published': ",
    "weights": "key 'alexnet': no such key",
    "own-file": "key 'file': not a key of a manifest",
    "dots": "key in line 4: more than 100 names joined by dots",
    "nested": "not valid TOML: ",
    "nested-tables": "not valid TOML: ",
    "nested-value": "key 'name': Field required",
    "nested-title": "key 'title': Input should be a valid string",
}


def test_every_file_of_the_corpus_has_its_answer() -> None:
    assert {path.stem for path in CORPUS.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize(("name", "said"), EXPECTED.items())
def test_the_corpus(name: str, said: str | None) -> None:
    found = load_or_refuse(CORPUS / f"{name}.toml")
    if said is None:
        assert isinstance(found, Manifest)
    else:
        assert isinstance(found, str)
        assert said in found


# --- made of anything -----------------------------------------------------------------------------

_GOOD = [path.read_text() for path in sorted((paths.manifests() / "datasets").glob("*.toml"))] + [
    (CORPUS / f"{name}.toml").read_bytes().decode()
    for name, said in EXPECTED.items()
    if said is None
]
# most tries are at the head of a file, where the mistakes are not those of the 90th row
_SEEDS = [text[:1500] for text in _GOOD] * 5 + _GOOD
_TOKENS = sorted({*re.findall(r"\w+|[^\w\s]+|\s+", "".join(_GOOD))})
_ODD_TEXTS = [
    "", " ", ".", "..", "../..", "/", "/etc/passwd", "C:\\x", "~", "a" * 3000, "macro", "+",
    "{", "{}", "{0}", "{id!r}", "{id.__class__}", "{id:>99}", "{id:>99999999}", "{id:{id}}", "%s",
    "\0", "\x1b[2J", "\n", "\r", "\u202e", "\xa0", "\ufeff", "ü", "🖼" * 50, "\U0010ffff", "1e400",
    "https://", "https://h/x", "file:///x", "http://h/\x1b", "0" * 64, "2afc", "jnd", "ref", "p0",
]  # fmt: skip
_ODD_NUMBERS = [
    0, -1, 1, 2, 64, 65, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.0, -0.0, 5e-324, 1e308,
    -1e308, math.inf, -math.inf, math.nan, True, False,
]  # fmt: skip
_ODD_LITERALS = [
    "1_000", "1__0", "0x", "0o17", "0b2", "+5", "--5", "1.", ".5", "1e5", "1e", "nan", "+inf", "''",
    "1979-05-27", "1979-05-27T07:32:00Z", "9999-99-99", "07:32:00", "[]", "[[]]", "{}", "[1, 'a']",
    "[" * 50, "{a = " * 50, "'" * 7, '\"' * 7, "9" * 5000, "0x" + "f" * 5000, "#", "=", "a.b.c",
    ".".join("a" * 90), ".".join("a" * 300), "\0", "\r", "\ufeff", "\u2028",
]  # fmt: skip


def toml(value: Any) -> str:
    """Return any value that TOML can hold."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _mutated(chance: random.Random) -> bytes:
    """Return a real manifest after a few accidents."""
    text = chance.choice(_SEEDS)
    for _ in range(chance.randint(1, 4)):
        lines = text.splitlines(keepends=True) or [""]
        at = chance.randrange(len(lines))
        other = chance.randrange(len(lines))
        spot, length = chance.randrange(len(text) + 1), chance.randrange(12)
        accident = chance.randrange(9)
        if accident == 0:
            del lines[at]
        elif accident == 1:
            lines.insert(other, lines[at])
        elif accident == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif accident == 3:
            value = toml(chance.choice([chance.choice(_ODD_TEXTS), chance.choice(_ODD_NUMBERS)]))
            lines[at] = re.sub(r"=.*", lambda _, new=value: f"= {new}", lines[at], count=1)
        elif accident == 4:
            value = chance.choice(_ODD_LITERALS)
            lines[at] = re.sub(r"=.*", lambda _, new=value: f"= {new}", lines[at], count=1)
        elif accident == 5:
            lines[at] = re.sub(r"\w+", chance.choice(_TOKENS), lines[at], count=1)
        elif accident == 6:
            lines = [text[:spot] + chance.choice(_TOKENS) + text[spot + length :]]
        elif accident == 7:
            lines = [text[:spot] + chance.choice(_ODD_LITERALS) + text[spot + length :]]
        else:
            lines = [text[:spot]]
        text = "".join(lines)
    data = bytearray(text.encode())
    if data and chance.random() < 0.1:
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _structured(chance: random.Random) -> bytes:
    """Return a text of the right keys with likely and unlikely values."""
    content = _block(Manifest, chance, chance.choice([0, 0.01, 0.1]))
    content.pop("file", None)
    if chance.random() < 0.8:  # of each two of which one is meant, the other
        for key in ("table", "enlarged", "built_in"):
            content.pop(key, None)
        content = {"source": _LIKELY["source"], "folders": _LIKELY["folders"]} | content
    return "".join(
        f"{json.dumps(key)} = {toml(value)}\n" for key, value in content.items()
    ).encode()


_LIKELY: dict[str, Any] = {
    "name": "toy", "title": "Toy", "protocol": "2afc", "label": "L2", "source": {"path": "files"},
    "folders": {"votes": "judge", "roles": {"ref": "r", "p0": "a", "p1": "b"}}, "votes": "votes",
    "roles": {"ref": "{r}", "p0": "{a}", "p1": "{b}"}, "scores": {"macro": 60.5}, "vote": "share",
    "factor": 4, "patch": 64, "item": "{id}", "file": "toy.csv", "path": "files",
    "sub_datasets": {"easy": 1}, "groups": ["ours"], "url": "https://example.org/x.tar",
}  # fmt: skip


def _block(model: type[BaseModel], chance: random.Random, wild: float) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if chance.random() < wild:
            made[key] = _odd(chance)
        elif not field.is_required() and chance.random() < 0.6:
            continue
        elif inner is not None and (key == "published" or chance.random() < 0.4):
            block = _block(inner, chance, wild)
            made[key] = [block] * chance.randint(0, 2) if key == "published" else block
        elif key in _LIKELY:
            made[key] = "we" if model is Published and key == "source" else _LIKELY[key]
    if chance.random() < wild:
        made[chance.choice(_ODD_TEXTS)] = _odd(chance)
    return made


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the block that a field holds, one or several of them, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _odd(chance: random.Random) -> Any:
    kind = chance.randrange(8)
    if kind < 3:
        return chance.choice(_ODD_TEXTS)
    if kind < 5:
        return chance.choice(_ODD_NUMBERS)
    if kind == 5:
        return [_odd(chance) for _ in range(chance.randrange(3))]
    if kind == 6:
        return {chance.choice(_ODD_TEXTS): _odd(chance) for _ in range(chance.randrange(3))}
    return chance.choice([datetime.date(2018, 1, 11), datetime.time(7, 32)])


def _by(make: Callable[[random.Random], bytes]) -> st.SearchStrategy[bytes]:
    return st.integers(0, 2**64).map(lambda seed: make(random.Random(seed)))


ANYTHING = st.one_of(
    st.text(st.characters()).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text("[]{}=.,'\"#\n\\ a1-_:Tue").map(str.encode),
    st.binary(max_size=300),
    _by(_mutated),
    _by(_mutated),
    _by(_structured),
    _by(_structured),
)
_quick = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@settings(max_examples=300, **_quick)  # type: ignore[arg-type]
@given(data=ANYTHING)
def test_anything_gives_a_manifest_or_a_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(data)
    load_or_refuse(path)


@pytest.mark.slow
def test_20_000_times_anything_gives_a_manifest_or_a_sentence(
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "any.toml"
    tried, manifests, start = 0, 0, time.monotonic()

    @settings(max_examples=20_000, database=None, **_quick)  # type: ignore[arg-type]
    @given(data=ANYTHING)
    def one(data: bytes) -> None:
        nonlocal tried, manifests
        path.write_bytes(data)
        manifests += isinstance(load_or_refuse(path), Manifest)
        tried += 1

    one()
    seconds = time.monotonic() - start
    record_property("manifests tried", tried)
    with capsys.disabled():
        print(  # noqa: T201  the figure is what the test is for
            f"\n{tried:,} texts tried as manifests in {seconds:.0f} s; {manifests:,} were some"
        )
    assert tried >= 20_000
    assert 0.05 < manifests / tried < 0.9  # both ways are gone often

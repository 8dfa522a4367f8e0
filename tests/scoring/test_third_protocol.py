"""A protocol that pmbench does not know goes from its manifest to the leaderboard.

It differs from the others in everything that a protocol says: its roles, one number on a scale of 1
to 5 instead of a share of votes, items of another name, a main statistic that is no percentage, the
pooled score first, and nobody to compare with. It is defined here and nowhere else.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.cli import pmbench
from support.factories import picture, png, toml, write_tree
from support.refusals import message_of

from pmbench.datasets.manifest import load
from pmbench.results.run import open_run
from pmbench.scoring import protocols
from pmbench.scoring.protocols import PROTOCOLS, Judgement, Protocol
from pmbench.scoring.protocols.base import correlations

RATING = Protocol(
    name="rating",
    title="how alike, from 1 to 5",
    roles=("original", "copy"),
    pairs=(("original", "copy"),),
    task="rating",
    judgement=Judgement("opinion", "mean opinion", low=1, high=5, is_share=False),
    unit="copies",
    description="People said how alike a copy is, from 1 to 5.",
    convention="mean-opinion",
    statistics=correlations(lambda d: -d[:, 0], lambda p: p),
    overall="pooled",
)
NOISE = (4, 16, 32, 64)  # the more of it, the lower the opinion


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a dataset of images with noise, whose protocol is known meanwhile."""
    monkeypatch.setitem(PROTOCOLS, RATING.name, RATING)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "manifests"
    files, rows = {}, ["name,source,opinion"]
    for i in range(16):
        original = picture(i, 64, 64)
        noise = np.random.default_rng(100 + i).integers(-1, 2, original.shape) * NOISE[i % 4]
        files[f"{i}.png"] = png(original)
        files[f"{i}-copy.png"] = png(np.clip(original + noise, 0, 255).astype(np.uint8))
        rows.append(f"{i},{'even' if i // 4 % 2 else 'odd'},{4.8 - i % 4 + 0.01 * i:.2f}")
    write_tree(folder / "files", files | {"opinions.csv": "\n".join(rows).encode()})
    manifest = {
        "name": "opinions", "title": "Opinions", "protocol": "rating", "votes_per_item": 20,
        "source": {"path": "files"},
        "table": {
            "file": "opinions.csv", "item": "{name}", "sub_dataset": "source", "vote": "opinion",
            "roles": {"original": "{name}.png", "copy": "{name}-copy.png"},
        },
    }  # fmt: skip
    (folder / "opinions.toml").write_text(toml(manifest))
    return folder


def test_from_its_manifest_to_the_leaderboard(dataset: Path) -> None:
    printed = pmbench("eval", "-m", "l2,psnr,ssim", "-d", "opinions", "--manifests", dataset).stdout
    assert "opinions  Opinions" in printed
    board = printed[printed.index("metric") :]
    assert "Spearman" in printed
    assert board.index("pooled") < board.index("odd")  # what is ranked by comes first
    assert "rating" not in PROTOCOLS["2afc"].roles
    assert "|none|mean-opinion|pooled|fp32" in printed
    (line,) = [line for line in board.splitlines() if line.startswith("psnr")]
    # every copy with more noise has a lower opinion, but for the hundredths
    assert float(line.split()[1].split("-")[0]) > 0.9

    run = open_run(Path("results/opinions/psnr"))
    assert run is not None
    items, distances = run.distances()
    assert items.p.max() > 4
    assert set(items.votes) == {20}
    scores = run.scores().set_index(["statistic", "sub_dataset"])["value"]
    assert scores["srcc", "pooled"] == pytest.approx(
        RATING.score(distances, items.p)["srcc"], abs=1e-12
    )

    again = json.loads(pmbench("leaderboard", "--format", "json").stdout)
    assert {record["statistic"] for record in again} == {"srcc", "krcc", "plcc"}
    ranked = [record for record in again if record["rank_low"]]
    assert {record["sub_dataset"] for record in ranked} <= {"pooled"}


def test_what_else_asks_it(dataset: Path) -> None:
    options = ("-d", "opinions", "--manifests", dataset)
    pmbench("eval", "-m", "l2,psnr,ssim", *options)
    compared = pmbench("compare", "l2", "ssim", "-d", "opinions").stdout
    assert "Spearman" in compared
    assert "copies" in compared
    pmbench("baseline", "-o", "baseline.json")
    assert "passed: 3 same" in pmbench("check", "--baseline", "baseline.json").stdout
    stored = json.loads(Path("baseline.json").read_text())
    assert all("pooled" in run["scores"] for run in stored["runs"])
    pmbench("export", "opinions/l2", "-o", "distances.csv")
    header, first, *_ = Path("distances.csv").read_text().splitlines()
    assert header == "item,sub_dataset,votes,opinion,d"
    assert first.startswith("0,odd,20,4.8,")
    pmbench("import", "distances.csv", "--name", "theirs", *options)
    assert "Spearman" in pmbench("score", "distances.csv", "--protocol", "rating").stdout
    pmbench("report", "-o", "site")
    page = Path("site/index.html").read_text()
    assert "copies" in page
    assert "2AFC" not in page
    assert "people gave ratings, and no votes" in page
    assert "Ratings have no examples" in Path("site/gallery.html").read_text()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("4.80", "5.20", "line 2: the vote is 5.2; expected a number, in [1, 5]"),
        ("4.80", "0", "line 2: the vote is 0.0; expected a number, in [1, 5]"),
    ],
)
def test_an_opinion_off_the_scale_is_refused(
    old: str, new: str, sentence: str, dataset: Path
) -> None:
    table = dataset / "files" / "opinions.csv"
    table.write_text(table.read_text().replace(old, new))
    failed = pmbench("eval", "-m", "l2", "-d", "opinions", "--manifests", dataset, code=2)
    assert sentence in " ".join(failed.output.split())


def test_counts_of_people_are_no_opinions(dataset: Path) -> None:
    path = dataset / "opinions.toml"
    text = path.read_text()
    counts = text.replace('"vote" = "opinion"', '"vote_counts" = ["opinion", "opinion"]')
    assert counts != text
    path.write_text(counts)
    assert message_of(load, path) == (
        f"{path}: the whole file: 'vote_counts' makes a share of people, and the protocol rating "
        "takes a number, in [1, 5]; name its column with 'vote'"
    )


def test_pmbench_itself_does_not_know_it() -> None:
    assert "rating" not in protocols.PROTOCOLS

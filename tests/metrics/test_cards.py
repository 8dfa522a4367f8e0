"""``pmbench list`` and ``show``: what a user reads about metrics, at every width."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console
from support.cli import one_line, pmbench
from support.refusals import message_of

from pmbench import metrics as registry
from pmbench.metrics import EXTRAS, Metric, registered
from pmbench.metrics.cards import Card, card, cards, full_card, short_paper
from pmbench.metrics.external import adapters
from pmbench.metrics.loading import load_metric
from pmbench.reporting.metric_cards import catalogue_to_rich
from pmbench.utils.progress import Silent


def drawn(found: list[Card], width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(catalogue_to_rich(found, width))
    return out.getvalue()


def words_of(text: str) -> list[str]:
    """Return the words of a table, put together again where a line was broken."""
    return re.findall(r"\S+", text)


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Metric:
    """Register a metric whose package nobody has."""
    monkeypatch.setitem(EXTRAS, "nowhere", "a_package_that_is_not_there")
    entry = Metric(
        name="far",
        load=lambda device: pytest.fail("it must not be loaded"),
        title="far away",
        family="pixels",
        extra="nowhere",
    )
    registered()  # all files, before one more is added
    monkeypatch.setitem(registry._registry, "far", entry)
    return entry


# --- the list -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_list_fits_into_the_terminal_and_cuts_nothing_off(width: int) -> None:
    output = pmbench("list", "metrics", columns=width).stdout
    assert max(map(len, output.splitlines())) <= width
    assert "…" not in output
    first_words = [line.split(" ")[0] for line in output.splitlines()]
    for name, metric in registered().items():
        assert name in first_words
        assert set(words_of(metric.title)) <= set(words_of(output)), name
    for family in {metric.family for metric in registered().values()}:
        assert sum(line.rstrip() == family for line in output.splitlines()) == 1


def test_a_wider_terminal_shows_more_and_a_narrow_one_says_what_it_leaves_out() -> None:
    narrow, middle, wide = (pmbench("list", columns=width).stdout for width in (80, 120, 200))
    left_out = "paper, symmetry, licence, settings, code and more:\npmbench show METRIC, or --json"
    assert left_out in narrow
    assert "Zhang et al. 2018" not in narrow
    assert "Zhang et al. 2018" in middle
    assert "BSD-2-Clause" not in middle
    assert "symmetry, licence, settings, code and more:" in middle
    assert "BSD-2-Clause" in wide
    assert "patch 3, s 0.06, r 1024" in wide
    assert "\ncode and more:\npmbench show METRIC, or --json\n" in wide


def test_the_list_is_narrowed_down_by_words_of_name_family_title_and_paper() -> None:
    def names(text: str) -> list[str]:
        return [entry["metric"] for entry in cards(text)]

    everything = [entry["metric"] for entry in cards()]
    assert sorted(everything) == sorted(registered())
    assert names("mmdppp") == ["mmdppp"]
    assert "l2-lab" in names("CIE LAB")  # in a title, in another case
    assert {"watson-dct", "lpips-vgg-watson"} <= set(names("watson"))
    assert set(names("weiss")) < set(everything)
    assert all("Weiss" in registered()[name].paper for name in names("weiss"))
    assert "mmdpp" in names("weiss")
    output = pmbench("list", "metrics", "ssim").stdout
    assert "dssim" in output
    assert "lpips" not in output


def test_a_text_that_fits_nothing_is_answered_with_close_names() -> None:
    message = pmbench("list", "metrics", "haarpsy", code=2).stderr
    assert message == (
        "no metric has 'haarpsy' in its name, family, title or paper; did you mean haarpsi?\n"
    )
    assert message_of(cards, "0123456789") == (
        "no metric has '0123456789' in its name, family, title or paper; try fewer letters"
    )
    message = pmbench("list", "runs", "lpips", code=2).stderr
    assert message == "'lpips' can only narrow down metrics: pmbench list metrics lpips\n"


def test_families_stand_together() -> None:
    families = [entry["family"] for entry in cards()]
    changes = [b for a, b in pairwise(families) if a != b]
    assert len(changes) == len(set(changes))


def test_a_metric_without_its_package_is_shown_with_the_way_to_get_it(lacking: Metric) -> None:
    output = pmbench("list", "metrics", "far", columns=80).stdout
    assert "not installed; pip install" in output
    assert "'pmbench[nowhere]'" in output
    assert "1 metric, 1 of them not installed" in output
    (record,) = json.loads(pmbench("list", "metrics", "far", "--json").stdout)
    assert record["install"] == "pip install 'pmbench[nowhere]'"
    assert record["not_installed"] == lacking.not_installed()
    out = io.StringIO()
    terminal = Console(file=out, width=80, force_terminal=True, color_system="standard")
    terminal.print(catalogue_to_rich(cards("pixels"), 80))
    (row,) = [line for line in out.getvalue().splitlines() if "far away" in line]
    assert "\x1b[2m" in row  # greyed
    (other,) = [line for line in out.getvalue().splitlines() if "signal-to-noise" in line]
    assert "\x1b[2m" not in other
    in_family = [entry["metric"] for entry in cards() if entry["family"] == "pixels"]
    assert in_family[-1] == "far"  # after those that can be used


def test_weights_are_here_or_have_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def column(name: str) -> str:
        message = drawn([card(registered()[name])], 80)
        (line,) = [line for line in message.splitlines() if line.startswith(name + " ")]
        return line.split("  ")[-1].strip()

    assert column("l1") == "none"
    assert column("lpips-alex") == "233 MB"
    assert column("watson-dct") == "under 1 MB"
    assert column("watson-vgg") == "to fetch"  # nobody says how large
    monkeypatch.setenv("PMBENCH_WEIGHTS", str(tmp_path))
    (tmp_path / "alexnet.safetensors").write_bytes(b"x" * 2_500_000)
    assert column("lpips-alex") == "here"
    trunk, linear = card(registered()["lpips-alex"])["weights"]
    assert trunk["place"] == str(tmp_path / "alexnet.safetensors")
    assert trunk["megabytes"] == 2.5
    assert (linear["package"], linear["url"]) == ("lpips", None)


def test_multiples_and_directions_are_told() -> None:
    message = drawn([card(registered()[name]) for name in ("watson-dct-initial", "psnr")], 80)
    assert re.search(r"watson-dct-initial .* ↓ +8 \(×8\)", message)
    assert re.search(r"psnr .* ↑ +1 ", message)


@pytest.mark.parametrize(
    ("paper", "short"),
    [
        ("Zhang et al.: The Unreasonable Effectiveness, CVPR 2018", "Zhang et al. 2018"),
        ("Amir, Weiss: Understanding Distances, CVPR 2021", "Amir & Weiss 2021"),
        ("Wang, Bovik, Sheikh, Simoncelli: From Error to Structure, TIP 2004", "Wang et al. 2004"),
        ("Bojanowski et al. 2018 (Lap1), without a term", "Bojanowski et al. 2018"),
        ("Wang, Bovik, Li: Quality, TIP 2004; as in Zhang et al. 2018", "Wang et al. 2004"),
        ("in nobody's paper", "in nobody's paper"),
        ("", ""),
    ],
)
def test_a_paper_is_cited_by_its_authors_and_year(paper: str, short: str) -> None:
    assert short_paper(paper) == short


def test_the_json_has_everything() -> None:
    records = {entry["metric"]: entry for entry in json.loads(pmbench("list", "--json").stdout)}
    entry, metric = records["mmdpp"], registered()["mmdpp"]
    assert entry["parameters"] == dict(metric.parameters)
    for field in ("family", "title", "paper", "code", "licence", "min_size", "multiple_of"):
        assert entry[field] == getattr(metric, field)
    for field in ("symmetric", "differentiable", "tolerance", "version"):
        assert entry[field] == getattr(metric, field)
    assert records["psnr"]["better"] == "higher"


# --- one card -------------------------------------------------------------------------------------


def test_a_whole_card(reference_weights: Path) -> None:
    output = pmbench("show", "lpips-alex").stdout
    for line in (
        "lpips-alex  LPIPS v0.1, alexnet",
        "family          LPIPS",
        "licence         BSD-2-Clause",
        "better          lower",
        "symmetric       yes",
        "differentiable  yes",
        "smallest side   31 pixels",
        "tolerance       1e-05, relative, between machines",
        "settings        trunk alexnet, seed -1",
        # five convolutions with their biases, and a weight for each channel
        "parameters      2,470,848",
        f"  place         {reference_weights / 'alexnet.safetensors'}",
        "  from          https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "  from          the package lpips",
    ):
        # how wide the gap is depends on the version of rich
        assert one_line(line) in [one_line(shown) for shown in output.splitlines()]
    layers = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))
    by_hand = sum(out * (inputs * side * side + 1) + out for out, inputs, side in layers)
    assert by_hand == 2_470_848


def test_the_signature_on_a_card_is_that_of_a_run() -> None:
    import torch

    loaded = load_metric(registered()["mmdpp"], torch.device("cpu"), Silent())
    record = json.loads(pmbench("show", "mmdpp", "--json").stdout)
    assert record["signature"] == loaded.signature
    assert record["numbers"] == 512 * 27 + 512
    assert record["not_loaded"] is None


def test_showing_fetches_nothing(home: Path) -> None:
    record = json.loads(pmbench("show", "lpips-vgg", "--json").stdout)
    assert record["signature"] is None
    assert record["numbers"] is None
    assert record["not_loaded"] == (
        "the weights vgg16 are not on this machine; `pmbench download lpips-vgg` fetches them"
    )
    assert not home.exists()
    output = pmbench("show", "lpips-vgg").stdout
    assert "place         not on this machine" in output
    assert "size          528 MB" in output


def test_other_peoples_code_cannot_fetch_while_it_is_shown() -> None:
    import urllib.request

    def load(device: object) -> object:
        return urllib.request.urlopen("http://127.0.0.1:9/weights")

    shown = full_card(Metric("greedy", load, title="wants the network"))  # type: ignore[arg-type]
    assert shown["not_loaded"] == (
        "cannot be loaded: URLError: <urlopen error it would have to be fetched, "
        "and `pmbench show` fetches nothing> "
        f"(in test_cards.py, line {load.__code__.co_firstlineno + 1})"
    )


def test_a_metric_without_its_package_has_a_card_too(lacking: Metric) -> None:
    shown = full_card(lacking)
    assert shown["not_loaded"] == lacking.not_installed()
    assert "install pip install 'pmbench[nowhere]'" in one_line(pmbench("show", "far").stdout)


def test_an_address_has_a_card(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def distance(x, y):\n    'Largest difference.'\n    return (x - y).abs().amax((1, 2, 3))\n"
    )
    output = pmbench("show", f"{file}:distance").stdout
    assert output.startswith("mine:distance  Largest difference.")


def test_a_name_that_is_none_is_answered_with_close_ones() -> None:
    message = pmbench("show", "MMDP", code=2).stderr
    assert message == "unknown metric or run 'MMDP'; did you mean mmdpp or mmdppp or mmd-approx?\n"
    assert pmbench("show", "all", code=2).stderr == (
        "'all' is every metric; name one, or see `pmbench list metrics`\n"
    )


def test_help_has_examples_and_loads_nothing_heavy() -> None:
    for command in ("list", "show", "cite"):
        assert "Examples" in pmbench(command, "--help").stdout
    code = "import sys, pmbench.cli; sys.exit(bool({'torch', 'pandas', 'h5py'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_card_says_of_which_vectors_a_metric_is_the_distance(empty_folder: Path) -> None:
    records = json.loads(pmbench("list", "metrics", "--json").stdout)
    spaces = {record["metric"]: record["space"] for record in records}
    assert (spaces["l2"], spaces["l1"], spaces["ssim"]) == ("l2", "l1", "")


def test_a_space_that_there_is_not_is_refused() -> None:
    entry = Metric("mine", registered()["l2"].load, title="", space="l3")  # type: ignore[arg-type]
    sentence = message_of(adapters.metrics_of, entry, "mine")
    assert 'whose space is \'l3\'; expected "l1", "l2" or ""' in sentence

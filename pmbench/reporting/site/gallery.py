"""The gallery: items on which a metric and people, or two metrics, part, with what each says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pmbench.datasets.pack import Items
from pmbench.reporting.site.disagreements import (
    Mistakes,
    choices,
    disagreements_2afc,
    disagreements_jnd,
    hardest,
    mistakes_2afc,
    too_far,
    too_near,
)
from pmbench.reporting.site.sections import Section
from pmbench.reporting.site.thumbnails import Thumbnail, Thumbnails
from pmbench.reporting.site.unanimity import distance_rank
from pmbench.scoring.protocols import Protocol
from pmbench.scoring.statistics import Array


def panels_of(protocol: Protocol) -> dict[str, str]:
    """Return the roles of an item's images from left to right, and what each is called."""
    (reference, first), *rest = protocol.pairs
    if protocol.task == "choice":
        return {first: "left", reference: "reference", rest[0][1]: "right"}
    return {reference: "first", first: "second"}


@dataclass(frozen=True)
class Panel:
    """One image of an item."""

    label: str  # "left" | "reference" | "right" | "first" | "second"
    thumbnail: Thumbnail
    alternative: str


@dataclass(frozen=True)
class Choice:
    """What people or a metric say of an item: a text below each image."""

    by: str  # "people" | "metric"
    texts: tuple[str, ...]  # of a triplet: left, who says so, right; of a pair: who, what
    chosen: int | None = None  # the image that is called closer


@dataclass(frozen=True)
class Example:
    """One item of the gallery."""

    item: str
    sub_dataset: str
    panels: list[Panel]
    choices: list[Choice]
    said: str  # what people said
    also: str  # what is remarkable about it


@dataclass(frozen=True)
class ExampleSection:
    """Several examples under one heading."""

    title: str
    lead: str
    count: str  # the lead in a few words
    examples: list[Example]


@dataclass(frozen=True)
class Disagreement:
    """Where two metrics disagree."""

    a: str
    b: str
    key: str
    lead: str
    examples: list[Example]


class ExampleBuilder:
    """Makes the examples of one section, whose images an album writes."""

    def __init__(self, section: Section, album: Thumbnails, most: int) -> None:
        self._section, self._album, self._most = section, album, most
        self._items, self._distances = section.measured
        self._two = section.protocol.task == "choice"

    def of_metric(self, name: str) -> list[ExampleSection]:
        """Return where a metric disagrees with unanimous raters, the largest margins first."""
        d = self._distances[name]
        who = "raters" if self._section.judged else "the construction"
        if self._two:
            result = mistakes_2afc(self._items, d, self._most)
            strip = ExampleSection(
                f"Where it disagrees with {who}",
                _count(result, name, self._section.judged),
                f"{result.wrong:,} of {result.asked:,}",
                self._examples(result.worst, [name], _margins(choices(d))),
            )
            return [strip]
        far = too_far(self._items, d, self._most)
        near = too_near(self._items, d, self._most)
        place = _placed(distance_rank(d[:, 0]))
        same, other = _SAID[self._section.judged]
        return [
            ExampleSection(
                f"The same for {who}, far apart for {name}",
                f"There are {far.asked:,} pairs {same}; {name} has {_few(far)} of them beyond the "
                f"{far.asked:,} nearest pairs.",
                f"{far.wrong:,} of {far.asked:,} too far apart",
                self._examples(far.worst, [name], place),
            ),
            ExampleSection(
                f"Different for {who}, close together for {name}",
                f"There are {near.asked:,} pairs {other}; {name} has {_few(near)} of them among "
                f"the {far.asked:,} nearest pairs.",
                f"{near.wrong:,} of {near.asked:,} too close together",
                self._examples(near.worst, [name], place),
            ),
        ]

    def hardest(self) -> ExampleSection | None:
        """Return the triplets that most metrics get wrong; None where that says nothing."""
        if not self._two or len(self._distances) < 3:
            return None
        index, counts = hardest(self._items, self._distances, self._most)
        total = len(self._distances)
        also = {
            int(i): f"{c} of {total} metrics choose the other one"
            for i, c in zip(index, counts, strict=True)
        }
        return ExampleSection(
            "What most metrics get wrong",
            "Triplets on which raters are unanimous, by how many metrics say otherwise."
            if self._section.judged
            else "Triplets, by how many metrics say otherwise than their construction.",
            "",
            self._examples(index, [], also),
        )

    def duels(self, names: Sequence[str]) -> list[Disagreement]:
        """Return where the metrics of each pair disagree; those that agree throughout come last."""
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        results = [self._duel(a, b) for a, b in pairs]
        return sorted(results, key=lambda duel: not duel.examples)

    def _duel(self, a: str, b: str) -> Disagreement:
        find = disagreements_2afc if self._two else disagreements_jnd
        result = find(self._items, self._distances, a, b, self._most)
        how = "choose differently on" if self._two else "put into different halves"
        unit = self._section.board.unit
        who = "Raters agree" if self._section.judged else "The construction agrees"
        lead = (
            f"{a} and {b} {how} {result.apart:,} of {result.asked:,} {unit}. {who} with {a} on "
            f"{result.with_a:,} of these and with {b} on {result.with_b:,}."
            if result.apart
            else f"{a} and {b} agree on all of {result.asked:,} {unit}."
        )
        examples = self._examples(result.clearest, [a, b], {})
        return Disagreement(a, b, f"{a} {b}", lead, examples)

    def _examples(
        self, index: Iterable[int], names: Sequence[str], also: Mapping[int, str]
    ) -> list[Example]:
        return [self._example(int(i), names, also.get(int(i), "")) for i in index]

    def _example(self, i: int, names: Sequence[str], also: str) -> Example:
        items = self._items
        item = str(items.id[i])
        sub = items.sub_names[items.sub[i]]
        thumbnails = self._album.of(item)
        choices = self._of_triplet(i, names) if self._two else self._of_pair(i, names)
        return Example(
            item, sub, self._panels(item, choices, thumbnails), choices,
            _votes(items, i, self._two, self._section.judged), also,
        )  # fmt: skip

    def _panels(
        self, item: str, choices: Sequence[Choice], thumbnails: Mapping[str, Thumbnail]
    ) -> list[Panel]:
        panels = []
        for k, (role, label) in enumerate(panels_of(self._section.protocol).items()):
            by = [choice.texts[1] for choice in choices if choice.chosen == k]
            alternative = f"{item}: {label}" + f", chosen by {' and '.join(by)}" * bool(by)
            panels.append(Panel(label, thumbnails[role], alternative))
        return panels

    def _of_triplet(self, i: int, names: Sequence[str]) -> list[Choice]:
        p, n = float(self._items.p[i]), int(self._items.votes[i])
        chosen = None if p == 0.5 else 0 if p < 0.5 else 2
        if self._section.judged:
            people = Choice(
                "people", (str(round((1 - p) * n)), "people", str(round(p * n))), chosen
            )
        else:
            closer = ("closer", "") if chosen == 0 else ("", "closer")
            people = Choice("people", (closer[0], "construction", closer[1]), chosen)
        results = [people]
        for name in names:
            d0, d1 = (float(d) for d in self._distances[name][i])
            side = None if d0 == d1 else 0 if d0 < d1 else 2
            texts = (self._number(name, d0), name, self._number(name, d1))
            results.append(Choice("metric", texts, side))
        return results

    def _of_pair(self, i: int, names: Sequence[str]) -> list[Choice]:
        numbers = [(name, self._number(name, float(self._distances[name][i][0]))) for name in names]
        return [Choice("metric", texts) for texts in numbers]

    def _number(self, name: str, distance: float) -> str:
        """Return a distance as the metric gives it: of a similarity, the sign was turned."""
        higher = self._section.runs[name].info.metric.higher_is_better
        return f"{-distance if higher else distance:.4g}"


# what stands for people's unanimous votes, where people were asked and where not
_SAID = {
    True: ("that everybody calls the same", "that everybody calls different"),
    False: ("that are the same by construction", "that differ by construction"),
}


def _few(result: Mistakes) -> str:
    return f"{result.wrong:,}" if result.wrong else "none"


def _count(result: Mistakes, name: str, judged: bool) -> str:
    """Return how many triplets there were to get wrong, and how many were."""
    asked = f"{result.asked:,} triplets" + " on which raters are unanimous" * judged
    if not result.wrong:
        return f"{name} chooses the other one on none of {asked}."
    more = result.wrong > len(result.worst)
    return f"{name} chooses the other one on {result.wrong:,} of {asked}" + (
        "; those of the largest margins are shown." if more else "."
    )


def _margins(z: Array) -> dict[int, str]:
    return {
        i: f"margin: {abs(value):.1f} times its usual difference"
        for i, value in enumerate(z.tolist())
    }


def _placed(places: Array) -> dict[int, str]:
    return {
        i: f"{100 * place:.0f} % of all pairs are closer"
        for i, place in enumerate(places.tolist())
        if np.isfinite(place)
    }


def _votes(items: Items, i: int, two: bool, judged: bool) -> str:
    """Return what people said of an item, or what follows from how it was made."""
    p, n = float(items.p[i]), int(items.votes[i])
    if not two:
        if not judged:
            return "the same by construction" if p == 1 else "different by construction"
        return f"{round(p * n)} of {n} raters said “same”"
    side, share = ("right", p) if p > 0.5 else ("left", 1 - p)
    if not judged:
        return f"the {side} one is closer by construction"
    if p == 0.5:
        return f"{n} raters were evenly divided"
    return f"{round(share * n)} of {n} raters chose the {side} one"

"""Items of the gallery -> what a page shows of them: pictures, distances, votes, who chose what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pmbench.agreement import Array
from pmbench.pack import Items
from pmbench.report import gallery
from pmbench.report.album import Album, Picture
from pmbench.report.content import Section
from pmbench.report.unanimity import farness

_TRIPLET = {"p0": "left", "ref": "reference", "p1": "right"}
_PAIR = {"p0": "first", "p1": "second"}


@dataclass(frozen=True)
class Panel:
    """One picture of an item."""

    label: str  # "left" | "reference" | "right" | "first" | "second"
    picture: Picture
    alternative: str


@dataclass(frozen=True)
class Choice:
    """What people or a metric say of an item: a text below each picture."""

    by: str  # "people" | "metric"
    texts: tuple[str, ...]  # of a triplet: left, who says so, right; of a pair: who, what
    chosen: int | None = None  # the picture that is called closer


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
class Strip:
    """Several examples under one heading."""

    title: str
    lead: str
    count: str  # the lead in a few words
    examples: list[Example]


@dataclass(frozen=True)
class Duel:
    """Where two metrics part."""

    a: str
    b: str
    key: str
    lead: str
    examples: list[Example]


class Wall:
    """Makes the examples of one section, whose pictures an album writes."""

    def __init__(self, section: Section, album: Album, most: int) -> None:
        self._section, self._album, self._most = section, album, most
        self._items, self._distances = section.measured
        self._two = len(section.protocol.pairs) == 2

    def of_metric(self, name: str) -> list[Strip]:
        """Return where a metric parts most clearly with unanimous people."""
        d = self._distances[name]
        who = "people" if self._section.judged else "the construction"
        if self._two:
            found = gallery.mistakes_2afc(self._items, d, self._most)
            strip = Strip(
                f"Where it parts with {who}",
                _count(found, name, self._section.judged),
                f"{found.wrong:,} of {found.asked:,}",
                self._examples(found.worst, [name], _clearness(gallery.choices(d))),
            )
            return [strip]
        far = gallery.too_far(self._items, d, self._most)
        near = gallery.too_near(self._items, d, self._most)
        place = _placed(farness(d[:, 0]))
        same, other = _SAID[self._section.judged]
        return [
            Strip(
                f"The same for {who}, far apart for {name}",
                f"There are {far.asked:,} pairs {same}; {name} has {_few(far)} of them beyond the "
                f"{far.asked:,} nearest pairs.",
                f"{far.wrong:,} of {far.asked:,} too far apart",
                self._examples(far.worst, [name], place),
            ),
            Strip(
                f"Different for {who}, close together for {name}",
                f"There are {near.asked:,} pairs {other}; {name} has {_few(near)} of them among "
                f"the {far.asked:,} nearest pairs.",
                f"{near.wrong:,} of {near.asked:,} too close together",
                self._examples(near.worst, [name], place),
            ),
        ]

    def hardest(self) -> Strip | None:
        """Return the triplets that most metrics get wrong; None where that says nothing."""
        if not self._two or len(self._distances) < 3:
            return None
        index, counts = gallery.hardest(self._items, self._distances, self._most)
        total = len(self._distances)
        also = {
            int(i): f"{c} of {total} metrics choose the other one"
            for i, c in zip(index, counts, strict=True)
        }
        return Strip(
            "What most metrics get wrong",
            "Triplets on which people are unanimous, by how many metrics say otherwise."
            if self._section.judged
            else "Triplets, by how many metrics say otherwise than their construction.",
            "",
            self._examples(index, [], also),
        )

    def duels(self, names: Sequence[str]) -> list[Duel]:
        """Return where the metrics of each pair part; those that agree throughout come last."""
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        found = [self._duel(a, b) for a, b in pairs]
        return sorted(found, key=lambda duel: not duel.examples)

    def _duel(self, a: str, b: str) -> Duel:
        find = gallery.parting_2afc if self._two else gallery.parting_jnd
        found = find(self._items, self._distances, a, b, self._most)
        how = "choose differently on" if self._two else "put into different halves"
        unit = self._section.board.unit
        who = "People side" if self._section.judged else "The construction sides"
        lead = (
            f"{a} and {b} {how} {found.apart:,} of {found.asked:,} {unit}. {who} with {a} on "
            f"{found.with_a:,} of these and with {b} on {found.with_b:,}."
            if found.apart
            else f"{a} and {b} agree on all of {found.asked:,} {unit}."
        )
        examples = self._examples(found.clearest, [a, b], {})
        return Duel(a, b, f"{a} {b}", lead, examples)

    def _examples(
        self, index: Iterable[int], names: Sequence[str], also: Mapping[int, str]
    ) -> list[Example]:
        return [self._example(int(i), names, also.get(int(i), "")) for i in index]

    def _example(self, i: int, names: Sequence[str], also: str) -> Example:
        items = self._items
        item = str(items.id[i])
        sub = items.sub_names[items.sub[i]]
        pictures = self._album.of(item)
        choices = self._of_triplet(i, names) if self._two else self._of_pair(i, names)
        return Example(
            item, sub, self._panels(item, choices, pictures), choices,
            _votes(items, i, self._two, self._section.judged), also,
        )  # fmt: skip

    def _panels(
        self, item: str, choices: Sequence[Choice], pictures: Mapping[str, Picture]
    ) -> list[Panel]:
        panels = []
        for k, (role, label) in enumerate((_TRIPLET if self._two else _PAIR).items()):
            by = [choice.texts[1] for choice in choices if choice.chosen == k]
            alternative = f"{item}: {label}" + f", chosen by {' and '.join(by)}" * bool(by)
            panels.append(Panel(label, pictures[role], alternative))
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
        found = [people]
        for name in names:
            d0, d1 = (float(d) for d in self._distances[name][i])
            side = None if d0 == d1 else 0 if d0 < d1 else 2
            texts = (self._number(name, d0), name, self._number(name, d1))
            found.append(Choice("metric", texts, side))
        return found

    def _of_pair(self, i: int, names: Sequence[str]) -> list[Choice]:
        numbers = [(name, self._number(name, float(self._distances[name][i][0]))) for name in names]
        return [Choice("metric", texts) for texts in numbers]

    def _number(self, name: str, distance: float) -> str:
        """Return a distance as the metric gives it: of a similarity, the sign was turned."""
        higher = bool(self._section.runs[name].info["metric"].get("higher_is_better", False))
        return f"{-distance if higher else distance:.4g}"


# what stands for people's unanimous votes, where people were asked and where not
_SAID = {
    True: ("that everybody calls the same", "that everybody calls different"),
    False: ("that are the same by construction", "that differ by construction"),
}


def _few(found: gallery.Mistakes) -> str:
    return f"{found.wrong:,}" if found.wrong else "none"


def _count(found: gallery.Mistakes, name: str, judged: bool) -> str:
    """Return how many triplets there were to get wrong, and how many were."""
    asked = f"{found.asked:,} triplets" + " on which people are unanimous" * judged
    if not found.wrong:
        return f"{name} chooses the other one on none of {asked}."
    more = found.wrong > len(found.worst)
    return f"{name} chooses the other one on {found.wrong:,} of {asked}" + (
        "; the clearest are shown." if more else "."
    )


def _clearness(z: Array) -> dict[int, str]:
    return {
        i: f"decided by {abs(value):.1f} times its usual difference"
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
        return f"{round(p * n)} of {n} people said “same”"
    side, share = ("right", p) if p > 0.5 else ("left", 1 - p)
    if not judged:
        return f"the {side} one is closer by construction"
    if p == 0.5:
        return f"{n} people were evenly divided"
    return f"{round(share * n)} of {n} people chose the {side} one"

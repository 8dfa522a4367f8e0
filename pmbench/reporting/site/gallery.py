"""Which items are worth looking at: those where a metric and people, or two metrics, part.

Everything here is an index into the items; ``album`` has the pictures.

Of 2AFC the clearness of a choice is |d0-d1| in units of the metric's usual difference (the root of
the mean of (d0-d1)²), so that metrics of different units compare. Of JND it is where the pair
stands among all pairs when they are sorted by distance, from 0 (nearest) to 1 (farthest).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmbench.datasets.pack import Items
from pmbench.reporting.site.sections import Section
from pmbench.reporting.site.thumbnails import Picture, Thumbnails
from pmbench.reporting.site.unanimity import distance_rank
from pmbench.scoring.protocols import Protocol
from pmbench.scoring.statistics import Array

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Mistakes:
    """Where one metric parts with unanimous people."""

    asked: int  # items on which people were unanimous, and the metric is defined
    wrong: int  # on how many of them the metric says otherwise
    worst: Index  # of these, the clearest first


@dataclass(frozen=True)
class Disagreements:
    """Where two metrics part."""

    a: str
    b: str
    asked: int  # items on which both are defined
    apart: int  # on how many they choose differently
    with_a: int  # on how many of those most people side with a
    with_b: int
    clearest: Index


def unanimous(items: Items) -> Mask:
    """Return which items everybody judged alike, with at least the usual number of votes."""
    counts, times = np.unique(items.votes, return_counts=True)
    usual = counts[times.argmax()]
    alike: Mask = np.isin(items.p, (0.0, 1.0)) & (items.votes >= usual)
    return alike


def choices(d: Array) -> Array:
    """Return d0-d1 in units of its usual size, above 0 where p1 is the closer one; (n,) or NaN."""
    difference: Array = d[:, 0] - d[:, 1]
    sound = difference[np.isfinite(difference)]
    usual = float(np.sqrt((sound**2).mean())) if len(sound) else 0.0
    return difference / usual if usual > 0 else difference  # without any, all of them are 0


def mistakes_2afc(items: Items, d: Array, most: int) -> Mistakes:
    """Return the triplets where the metric chooses what nobody chose, the clearest first."""
    z = choices(d)
    asked = unanimous(items) & np.isfinite(z)
    against = np.where(items.p == 1, -z, z)  # how clearly the metric sides with nobody
    wrong = asked & (against > 0)
    return Mistakes(int(asked.sum()), int(wrong.sum()), _highest(against, wrong, most))


def too_far(items: Items, d: Array, most: int) -> Mistakes:
    """Return the pairs that everybody calls the same and the metric sets far apart.

    Where everybody calls k pairs the same, these should be the k nearest of those on which people
    are unanimous. Beyond is too far; the farthest first.
    """
    same, _, order = _unanimous_pairs(items, d)
    k = int(same.sum())
    wrong = same & (d[:, 0] > order[k - 1]) if k else same
    return Mistakes(k, int(wrong.sum()), _highest(d[:, 0], wrong, most))


def too_near(items: Items, d: Array, most: int) -> Mistakes:
    """Return the pairs that everybody calls different and the metric has among the k nearest.

    The nearest first.
    """
    same, different, order = _unanimous_pairs(items, d)
    k = int(same.sum())
    wrong = different & (d[:, 0] < order[k]) if different.any() else different
    return Mistakes(int(different.sum()), int(wrong.sum()), _highest(-d[:, 0], wrong, most))


def _unanimous_pairs(items: Items, d: Array) -> tuple[Mask, Mask, Array]:
    """Return which pairs everybody calls the same, which different, and their sorted distances."""
    clear = unanimous(items) & np.isfinite(d[:, 0])
    same: Mask = clear & (items.p == 1)
    return same, clear & ~same, np.sort(d[clear, 0])


def hardest(items: Items, distances: Mapping[str, Array], most: int) -> tuple[Index, Index]:
    """Return the unanimous triplets that most metrics get wrong, and how many do (2AFC)."""
    z = np.stack([choices(d) for d in distances.values()])
    against = np.where(items.p == 1, -z, z)
    count = (against > 0).sum(axis=0)
    clearness = np.nan_to_num(against).mean(axis=0)
    candidates = np.flatnonzero(unanimous(items) & (count > 0))
    order = np.lexsort((-clearness[candidates], -count[candidates]))
    index = candidates[order][:most]
    return index, count[index]


def disagreements_2afc(
    items: Items, distances: Mapping[str, Array], a: str, b: str, most: int
) -> Disagreements:
    """Return the triplets on which two metrics choose differently.

    First those on which even the less decided of the two is clear.
    """
    za, zb = choices(distances[a]), choices(distances[b])
    both = np.isfinite(za) & np.isfinite(zb)
    apart = both & (za * zb < 0)
    people = np.sign(items.p - 0.5)
    return Disagreements(
        a, b, int(both.sum()), int(apart.sum()),
        with_a=int((apart & (np.sign(za) == people)).sum()),
        with_b=int((apart & (np.sign(zb) == people)).sum()),
        clearest=_highest(np.minimum(abs(za), abs(zb)), apart, most),
    )  # fmt: skip


def disagreements_jnd(
    items: Items, distances: Mapping[str, Array], a: str, b: str, most: int
) -> Disagreements:
    """Return the pairs that one metric has in its nearer half and the other in its farther one.

    First those whose places in the two orders differ most. People side with whoever calls near
    what most of them call the same.
    """
    fa, fb = distance_rank(distances[a][:, 0]), distance_rank(distances[b][:, 0])
    both = np.isfinite(fa) & np.isfinite(fb)
    apart = both & ((fa - 0.5) * (fb - 0.5) < 0)
    people = np.sign(0.5 - items.p)  # above 0: they see a difference
    return Disagreements(
        a, b, int(both.sum()), int(apart.sum()),
        with_a=int((apart & (np.sign(fa - 0.5) == people)).sum()),
        with_b=int((apart & (np.sign(fb - 0.5) == people)).sum()),
        clearest=_highest(abs(fa - fb), apart, most),
    )  # fmt: skip


def _highest(values: Array, among: Mask, most: int) -> Index:
    """Return the indices of the highest values, first ones first among equals."""
    index = np.flatnonzero(among)
    return index[np.argsort(-values[index], kind="stable")][:most]


def panels_of(protocol: Protocol) -> dict[str, str]:
    """Return the roles of an item's pictures from left to right, and what each is called."""
    (reference, first), *rest = protocol.pairs
    if protocol.task == "choice":
        return {first: "left", reference: "reference", rest[0][1]: "right"}
    return {reference: "first", first: "second"}


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
class ExampleSection:
    """Several examples under one heading."""

    title: str
    lead: str
    count: str  # the lead in a few words
    examples: list[Example]


@dataclass(frozen=True)
class Disagreement:
    """Where two metrics part."""

    a: str
    b: str
    key: str
    lead: str
    examples: list[Example]


class ExampleBuilder:
    """Makes the examples of one section, whose pictures an album writes."""

    def __init__(self, section: Section, album: Thumbnails, most: int) -> None:
        self._section, self._album, self._most = section, album, most
        self._items, self._distances = section.measured
        self._two = section.protocol.task == "choice"

    def of_metric(self, name: str) -> list[ExampleSection]:
        """Return where a metric parts most clearly with unanimous people."""
        d = self._distances[name]
        who = "people" if self._section.judged else "the construction"
        if self._two:
            result = mistakes_2afc(self._items, d, self._most)
            strip = ExampleSection(
                f"Where it parts with {who}",
                _count(result, name, self._section.judged),
                f"{result.wrong:,} of {result.asked:,}",
                self._examples(result.worst, [name], _clearness(choices(d))),
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
            "Triplets on which people are unanimous, by how many metrics say otherwise."
            if self._section.judged
            else "Triplets, by how many metrics say otherwise than their construction.",
            "",
            self._examples(index, [], also),
        )

    def duels(self, names: Sequence[str]) -> list[Disagreement]:
        """Return where the metrics of each pair part; those that agree throughout come last."""
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        results = [self._duel(a, b) for a, b in pairs]
        return sorted(results, key=lambda duel: not duel.examples)

    def _duel(self, a: str, b: str) -> Disagreement:
        find = disagreements_2afc if self._two else disagreements_jnd
        result = find(self._items, self._distances, a, b, self._most)
        how = "choose differently on" if self._two else "put into different halves"
        unit = self._section.board.unit
        who = "People side" if self._section.judged else "The construction sides"
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
        for k, (role, label) in enumerate(panels_of(self._section.protocol).items()):
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
    asked = f"{result.asked:,} triplets" + " on which people are unanimous" * judged
    if not result.wrong:
        return f"{name} chooses the other one on none of {asked}."
    more = result.wrong > len(result.worst)
    return f"{name} chooses the other one on {result.wrong:,} of {asked}" + (
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

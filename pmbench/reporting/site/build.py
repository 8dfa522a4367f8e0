"""The report as a folder: whole or not at all, and never in the place of something else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pmbench import __version__
from pmbench.analysis.correlation import correlate_protocols, family_of
from pmbench.reporting.site import figures, metric_page, pages, summary, unanimity
from pmbench.reporting.site.charts import Figure
from pmbench.reporting.site.gallery import ExampleBuilder as Maker
from pmbench.reporting.site.gallery import ExampleSection
from pmbench.reporting.site.sections import Section, matched, page_of, varied
from pmbench.reporting.site.table import table_of
from pmbench.reporting.site.thumbnails import Thumbnails, pack_of
from pmbench.results.run import Run
from pmbench.scoring.protocols import Protocol
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import draft_beside, stale_drafts, sync, sync_names, writing
from pmbench.utils.progress import Reporter

MARKER = "report.json"
# what systems put into folders that somebody looked at; it goes with the report
_OF_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini", ".directory", "._*")
_RIVALS = 6  # metrics of which every pair is compared in images


@dataclass(frozen=True)
class Options:
    """What the user decided about a report."""

    title: str = "Perceptual metrics against people"
    examples: int = 6  # under each heading of the gallery
    gallery: bool = True


@dataclass(frozen=True)
class Written:
    """What was written."""

    index: Path
    datasets: int
    metrics: int
    images: int
    megabytes: float  # of the index page, with its style sheet and script


def check_place(out: Path) -> None:
    """Raise PmbenchError where ``out`` holds something that no report wrote.

    Also where it is the current folder, or one that holds it: these cannot be replaced.
    """
    if Path.cwd().is_relative_to(out.resolve()):
        raise PmbenchError(
            f"{out} is the folder you are in, or holds it, and a report replaces its folder as a "
            "whole; name another one with -o, such as -o report, or go elsewhere first"
        )
    if not out.exists():
        return
    if not out.is_dir():
        raise PmbenchError(f"{out} is a file; expected the name of a folder for the report")
    results = {
        str(path.relative_to(out))
        for path in out.rglob("*")
        if not path.is_dir() and not any(path.match(pattern) for pattern in _OF_SYSTEMS)
    }
    if not results:
        return
    ways = "name another folder with -o, or remove it yourself"
    if MARKER not in results:
        raise PmbenchError(f"{out} is not empty and holds no earlier report; {ways}")
    try:
        known = {MARKER, *json.loads((out / MARKER).read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PmbenchError(
            f"{out / MARKER}: expected the list of an earlier report's files ({error}); {ways}"
        ) from error
    if strange := sorted(results - known):
        raise PmbenchError(
            f"{out} holds an earlier report, but also {strange[0]}, which no report wrote; {ways}"
        )


def write(out: Path, sections: list[Section], options: Options, reporter: Reporter) -> Written:
    """Write the report of all sections to ``out``, in the place of an earlier one.

    Raises PmbenchError where ``out`` is something else.
    """
    check_place(out)
    with _replacing(out) as draft:
        made = _Site(draft, sections, options, reporter)
        made.write()
        names = sorted(str(path.relative_to(draft)) for path in draft.rglob("*.*"))
        facts = {"format": 1, "pmbench": __version__, "title": options.title, "files": names}
        _put(draft / MARKER, json.dumps(facts, indent=1) + "\n")
    parts = [out / "index.html", *sorted((out / "assets").iterdir())]
    return Written(
        index=parts[0],
        datasets=len(sections),
        metrics=len(made.names),
        images=sum(name.endswith(".png") for name in names),
        megabytes=sum(path.stat().st_size for path in parts) / 1e6,
    )


class _Site:
    """The pages of one report, written into a folder."""

    def __init__(
        self, folder: Path, sections: list[Section], options: Options, reporter: Reporter
    ) -> None:
        self._folder, self._sections, self._reporter = folder, sections, reporter
        self._options = options
        self.names = _names(sections)
        self._shared = pages.Site(
            title=options.title,
            addresses={name: page_of(name) for name in self.names},
            gallery=options.gallery,
            until=max((r.info.finished[:10] for r in _runs(sections)), default=""),
            protocols=list(
                dict.fromkeys((p.main.title, p.description) for p in _protocols(sections))
            ),
            overall=sorted({p.overall for p in _protocols(sections)}),
        )
        self._makers: dict[str, Maker | str] = {
            section.name: self._maker(section) for section in sections
        }

    def write(self) -> None:
        total = len(self._sections) + len(self.names) + self._options.gallery
        with self._reporter.task("report", total, "pages") as task:
            assets = files("pmbench.reporting.site") / "assets"
            for name in ("report.css", "report.js"):
                _put(self._folder / "assets" / name, (assets / name).read_text(encoding="utf-8"))
            shown = []
            for section in self._sections:
                shown.append(self._shown(section))
                task.advance()
            index = pages.index(self._shared, shown, self._relations(), _humans(self._sections))
            _put(self._folder / "index.html", index)
            if self._options.gallery:
                walls = [self._wall(section) for section in self._sections]
                _put(self._folder / "gallery.html", pages.gallery(self._shared, walls))
                task.advance()
            for i, name in enumerate(self.names):
                before = self.names[i - 1] if i else ""
                after = self.names[i + 1] if i + 1 < len(self.names) else ""
                page = pages.metric(self._shared, self._page(name), before, after)
                _put(self._folder / page_of(name), page)
                task.advance()

    def _maker(self, section: Section) -> Maker | str:
        """Return what makes the section's examples, or why there are none."""
        if not self._options.gallery:
            return "Made without images (--no-gallery)."
        if not section.metrics:
            return "No metric is defined on these data."
        if section.protocol.task == "rating":
            return "Ratings have no examples: raters did not choose between images."
        pack = pack_of(section.runs[section.metrics[0].name])
        if isinstance(pack, str):
            self._reporter.note(f"{section.name}: {pack}")
            return pack
        return Maker(section, Thumbnails(pack, self._folder), self._options.examples)

    def _shown(self, section: Section) -> pages.DatasetSection:
        board = section.board
        charts = (figures.by_sub_dataset, figures.against_cost, unanimity.against_unanimity)
        drawn = [chart(section) for chart in charts] if section.metrics else []
        return pages.DatasetSection(
            name=section.name,
            title=board.title,
            warning=summary.warning(section),
            in_short=summary.in_short(section),
            table=table_of(section),
            figures=[one for one in drawn if isinstance(one, Figure)],
            not_shown=[one for one in drawn if isinstance(one, str)],
            legend=board.legend,
            signature=board.signature,
            unit=board.unit,
        )

    def _relations(self) -> list[tuple[str, Figure | str]]:
        """Return 2AFC against JND of each group that has both, or why it is not shown."""
        results: list[tuple[str, Figure | str]] = []
        for two_afc, jnd in matched(self._sections):
            x, y = (
                {row.name: row.score.value for row in section.metrics} for section in (two_afc, jnd)
            )
            names = f"{two_afc.name} and {jnd.name}"
            families = {name: family_of(run) for name, run in two_afc.runs.items()}
            try:
                message = correlate_protocols(x, y, families)
            except PmbenchError as error:
                results.append((names, f"Not shown: {error}."))
            else:
                results.append((names, figures.two_afc_against_jnd(two_afc, jnd, message)))
        return results

    def _wall(self, section: Section) -> pages.GallerySection:
        maker = self._makers[section.name]
        if not isinstance(maker, str):
            try:
                return self._gallery(section, maker)
            except PmbenchError as error:
                maker = self._without_images(section, error)
        return pages.GallerySection(
            section.name, section.board.title, None, [], [], maker, section.judged
        )

    def _without_images(self, section: Section, error: PmbenchError) -> str:
        """Leave out the images of one section, which cannot be had, and return why."""
        sentence = f"No images: {error}."
        self._reporter.note(f"{section.name}: {sentence}")
        self._makers[section.name] = sentence
        return sentence

    def _gallery(self, section: Section, maker: Maker) -> pages.GallerySection:
        rivals = [row.name for row in varied(section, _RIVALS)]
        names = [row.name for row in section.metrics]
        return pages.GallerySection(
            name=section.name,
            title=section.board.title,
            hardest=maker.hardest(),
            metrics=[(name, [strip.count for strip in maker.of_metric(name)]) for name in names],
            duels=maker.duels(rivals),
            why_no_images="",
            judged=section.judged,
        )

    def _page(self, name: str) -> metric_page.Page:
        there = [section for section in self._sections if name in section.runs]
        run = there[0].runs[name]
        return metric_page.Page(
            name=name,
            title=run.info.metric.title,
            address=page_of(name),
            card=metric_page.card_of(run),
            measured=[
                metric_page.measured(section, name, *self._strips(section, name))
                for section in there
            ],
        )

    def _strips(self, section: Section, name: str) -> tuple[list[ExampleSection], str]:
        maker = self._makers[section.name]
        if isinstance(maker, str):
            return [], maker
        if name not in {row.name for row in section.metrics}:
            return (
                [],
                "No images: it has no score, or was measured in another way than the latest one.",
            )
        try:
            return maker.of_metric(name), ""
        except PmbenchError as error:
            return [], self._without_images(section, error)


def _names(sections: list[Section]) -> list[str]:
    """Return all metrics: by score on the first dataset, then those of the others."""
    scored = [row.name for section in sections for row in section.metrics]
    return list(dict.fromkeys([*scored, *(run.metric for run in _runs(sections))]))


def _protocols(sections: list[Section]) -> list[Protocol]:
    return [section.protocol for section in sections]


def _runs(sections: list[Section]) -> list[Run]:
    return [run for section in sections for run in section.runs.values()]


def _humans(sections: list[Section]) -> list[tuple[str, str]]:
    """Return the names of the rows about people that the tables have."""
    return list(
        {
            human.name: human.title
            for section in sections
            for human in section.protocol.humans
            if human.name in section.people
        }.items()
    )


def _put(path: Path, text: str) -> None:
    """Write a file of a draft, which nobody sees before all of them are written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a folder beside ``out`` to write to; it takes the place of ``out`` at the end.

    Where ``out`` is a link, what it leads to is replaced. After an exception nothing is left of
    the new folder, and ``out`` is as it was.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    draft, old = draft_beside(out), draft_beside(out)
    for left in stale_drafts(out):
        if not out.exists() and (left / MARKER).exists():  # killed between the two moves below
            left.replace(out)
        else:
            shutil.rmtree(left, ignore_errors=True)
    try:
        draft.mkdir()
        with writing(out, draft):
            yield draft
            sync(draft)
        if out.exists():
            out.replace(old)
        try:
            draft.replace(out)
        except BaseException:
            if old.exists():
                old.replace(out)
            raise
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_names(out.parent)
    shutil.rmtree(old, ignore_errors=True)

"""The files of a dataset -> its images in a spool, decoded on all cores.

One thread reads the archive and the headers of its images, and while enough of them wait it
decodes like the others: one thread more than there are cores costs a fifth of the speed, since one
that is made to pause may be the one for which Python makes all others wait. What is under way is
bounded in bytes, whatever the images declare.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pmbench.datasets.archive import files
from pmbench.datasets.image_file import EncodedImage, summary, without_warnings
from pmbench.datasets.image_store import ImageStore, digest_of
from pmbench.datasets.layouts import Layout
from pmbench.datasets.resize import Pixels, Resize
from pmbench.utils.progress import Reporter
from pmbench.utils.system import cores

_AT_ONCE = 16  # images; handing over each alone would cost a tenth of decoding it
_SHARE = 8 << 20  # bytes, unpacked, after which a task has enough of them
_UNDER_WAY = 256 << 20  # bytes of all tasks, but for the last one
Task = deque[tuple[str, EncodedImage]]
Decoded = list[tuple[str, Pixels, bytes, tuple[str, ...]]]  # the last: what was done to it


def store_images(
    layout: Layout,
    source: Path,
    resize: Resize,
    raw: bool,
    store: ImageStore,
    reporter: Reporter,
) -> dict[str, int]:
    """Put the images that a layout wants into a spool; return their numbers by name.

    One line says what was done to how many of them; see ``image_file`` for ``raw``.
    Raises PmbenchError where the files or an image cannot be read.
    """
    total = None if source.is_dir() else float(source.stat().st_size)
    unit = "B" if total else "files"
    numbers: dict[str, int] = {}
    conversions: dict[str, tuple[str, ...]] = {}
    with without_warnings(), reporter.task(f"packing {source.name}", total, unit) as task:
        wanted = _wanted(layout, source, raw, task.advance)
        for name, pixels, digest, done in _decoded(wanted, resize):
            numbers[name] = store.add(pixels, digest)
            conversions[name] = done
    if line := summary(conversions):
        reporter.note(f"{source.name}: {line}")
    return numbers


def _wanted(
    layout: Layout, source: Path, raw: bool, advance: Callable[[float], None]
) -> Iterator[tuple[str, EncodedImage]]:
    """Yield the images that the layout wants, opened, in the order of the files."""
    is_folder = source.is_dir()
    for file in files(source, advance):
        name = layout.take(file.path, file.read)
        if name is None:
            continue
        yield name, EncodedImage.open(file.read(), str(file.path), raw)
        if is_folder:
            advance(1)


@dataclass
class _Job:
    """A task that waits for a thread, or has one."""

    task: Task
    weight: int
    future: Future[Decoded]
    decoded: Decoded | None = None  # where it was done by the thread that reads

    def is_done(self) -> bool:
        return self.decoded is not None or self.future.done()

    def do(self, resize: Resize) -> bool:
        """Do the task here, unless it is begun elsewhere; return whether."""
        if self.decoded is not None or not self.future.cancel():
            return False
        self.decoded = _decode(self.task, resize)
        return True

    def result(self) -> Decoded:
        return self.future.result() if self.decoded is None else self.decoded


def _decoded(
    images: Iterator[tuple[str, EncodedImage]], resize: Resize
) -> Iterator[tuple[str, Pixels, bytes, tuple[str, ...]]]:
    """Yield names, pixels, digests and conversions in the order in which the images come."""
    threads = cores()
    waiting: deque[_Job] = deque()
    load = 0
    with ThreadPoolExecutor(max(1, threads - 1)) as pool:
        try:
            for task, weight in _tasks(images):
                waiting.append(_Job(task, weight, pool.submit(_decode, task, resize)))
                load += weight
                while waiting and (load > _UNDER_WAY or len(waiting) > 3 * threads):
                    load -= waiting[0].weight
                    yield from _first(waiting, resize)
            while waiting:
                yield from _first(waiting, resize)
        finally:
            for job in waiting:
                job.future.cancel()


def _first(waiting: deque[_Job], resize: Resize) -> Decoded:
    """Take the first job away, and return what came of it; do others until it is done."""
    while not waiting[0].is_done() and any(job.do(resize) for job in waiting):
        pass
    return waiting.popleft().result()


def _tasks(images: Iterator[tuple[str, EncodedImage]]) -> Iterator[tuple[Task, int]]:
    """Yield a few images at a time, and how many bytes they take, packed and decoded."""
    task: Task = deque()
    weight = 0
    for name, image in images:
        task.append((name, image))
        weight += image.weight
        if len(task) == _AT_ONCE or weight > _SHARE:
            yield task, weight
            task, weight = deque(), 0
    if task:
        yield task, weight


def _decode(task: Task, resize: Resize) -> Decoded:
    decoded: Decoded = []
    while task:  # each is let go before the next, which then has its memory, still in the cache
        name, image = task.popleft()
        pixels, conversions = image.decode(resize)
        decoded.append((name, pixels, digest_of(pixels), conversions))
        del image
    return decoded

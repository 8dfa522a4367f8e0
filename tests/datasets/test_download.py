"""From a manifest to its pack: downloads that go wrong, local files, tables, hostile archives."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.factories import (
    FOLDERS,
    error_message,
    manifest,
    packed,
    picture,
    png,
    tar,
    toml,
    triplets,
    write_tree,
)
from support.http_server import Behaviour, Server, corrupt, cut, serving, status

from pmbench.datasets.download import (
    DownloadOptions,
    _manifest_digest,
    download,
    pack_for,
    pack_path,
)
from pmbench.datasets.manifest import Manifest, datasets, load, resolve
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import Resize, resize_for
from pmbench.utils import paths
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent, Task

COUNTS = {"cnn": 2, "color": 3}
TOY = triplets(COUNTS)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def get(
    entry: Manifest, reporter: Silent | None = None, resize: Resize | None = None, **choices: Any
) -> Pack:
    """Download with the user's choices, and see that the pack is where evaluation looks for it."""
    resize = resize or resize_for(entry, None)
    pack = download(entry, resize, DownloadOptions(**choices), reporter or Silent())
    assert pack.path == pack_path(entry, resize)
    return pack


def refused(entry: Manifest, **choices: Any) -> str:
    """Fail to download, leaving no pack and no unfinished file of one; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        get(entry, **choices)
    folder = pack_path(entry, resize_for(entry, None)).parent
    assert {path.suffix for path in folder.glob("*")} <= {".lock"}
    return str(caught.value)


class Interrupted(Silent):
    """The user presses Ctrl-C while something of this name is under way."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    @contextmanager
    def task(self, what: str, total: float | None, unit: str) -> Iterator[Task]:
        with super().task(what, total, unit) as task:
            if what.startswith(self.what):
                task.advance = self.press  # type: ignore[method-assign]
            yield task

    def press(self, amount: float = 1) -> None:
        raise KeyboardInterrupt


# --- the real sample, over HTTP -------------------------------------------------------------------

SAMPLE_COUNTS = {
    "traditional": 26, "cnn": 5, "superres": 32, "deblur": 16, "color": 9, "frameinterp": 6,
}  # fmt: skip


@pytest.fixture(scope="session")
def archive(shared: Path) -> bytes:
    return (shared / "twoafc_val_sample.tar.gz").read_bytes()


@pytest.fixture
def sample(
    server: Server, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Manifest:
    """A user's manifest of the sample, found through PMBENCH_MANIFESTS."""
    content = {
        "name": "sample",
        "title": "Sample of BAPPS",
        "protocol": "2afc",
        "votes_per_item": 5,
        "source": {"url": server.add("/twoafc_val.tar.gz", archive), "sha256": sha256(archive)},
        "folders": FOLDERS,
        "enlarged": {"factor": 4, "patch": 64},
        "sub_datasets": SAMPLE_COUNTS,
    }
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "sample.toml").write_text(toml(content))
    monkeypatch.setenv("PMBENCH_MANIFESTS", str(folder))
    (result,) = resolve(["sample"])
    return result


@pytest.fixture(scope="session")
def digest_of_the_tree(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the pack of the unpacked sample, which no network had a part in."""
    folder = tmp_path_factory.mktemp("tree")
    entry = manifest(
        folder,
        source={"path": str(shared / "bapps_sample")},
        enlarged={"factor": 4, "patch": 64},
        sub_datasets=SAMPLE_COUNTS,
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PMBENCH_HOME", str(folder))
        return get(entry).digest


@pytest.mark.parametrize(
    ("behaviours", "requests"),
    [
        pytest.param([], 1, id="whole"),
        pytest.param([cut(1_000_000)], 2, id="cut and resumed"),
        pytest.param([status(500, Retry_After="0")] * 2, 3, id="500 twice"),
    ],
)
def test_the_archive_over_http_gives_the_same_pack_as_the_unpacked_tree(
    server: Server,
    sample: Manifest,
    digest_of_the_tree: str,
    behaviours: list[Behaviour],
    requests: int,
) -> None:
    server.behaviours = list(behaviours)
    pack = get(sample)
    assert pack.digest == digest_of_the_tree
    assert len(server.requests) == requests
    assert len(pack) == 94
    assert pack.sizes == ((64, 64),)  # legacy makes the 63×63 one 64×64 too
    assert pack.items.sub_names == tuple(SAMPLE_COUNTS)  # in the manifest's order
    assert not pack.partial
    assert pack.attributes["sha256"] == sample.source.sha256  # type: ignore[union-attr]


def test_a_packed_dataset_is_not_asked_for_again(server: Server, sample: Manifest) -> None:
    resize = resize_for(sample, None)
    assert pack_for(sample, resize, Silent()) is None
    first = get(sample)
    server.requests.clear()
    assert get(sample).digest == first.digest
    again = pack_for(sample, resize, Silent())
    assert again is not None
    assert again.digest == first.digest
    assert server.requests == []


def test_another_resize_is_packed_from_the_archive_at_hand(
    server: Server, sample: Manifest
) -> None:
    legacy = get(sample)
    exact = get(sample, resize=resize_for(sample, "exact"))
    assert exact.digest != legacy.digest
    assert set(exact.sizes) == {(64, 64), (63, 63)}
    assert len(server.requests) == 1
    assert {path.name for path in legacy.path.parent.glob("*.h5")} == {
        "sample.legacy64.h5",
        "sample.exact4.h5",
    }


def test_a_corrupted_archive_is_refused_and_fetched_anew(
    server: Server, sample: Manifest, digest_of_the_tree: str
) -> None:
    server.behaviours = [corrupt]
    assert "twoafc_val.tar.gz: the checksum differs: expected sha256 cd1cc9b85e4" in refused(sample)
    assert get(sample).digest == digest_of_the_tree
    assert len(server.requests) == 2


def test_an_interrupted_download_goes_on_where_it_was(
    server: Server, sample: Manifest, home: Path, digest_of_the_tree: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        get(sample, Interrupted("fetching"))
    have = next((home / "downloads" / "sample").rglob("*.part")).stat().st_size
    assert have > 0
    assert get(sample).digest == digest_of_the_tree
    assert server.ranges == [None, f"bytes={have}-"]


def test_an_interrupted_packing_leaves_the_archive_and_nothing_half_done(
    server: Server, sample: Manifest, home: Path, digest_of_the_tree: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        get(sample, Interrupted("packing"))
    assert {path.suffix for path in (home / "packs").iterdir()} <= {".lock"}
    assert get(sample).digest == digest_of_the_tree
    assert len(server.requests) == 1


def test_the_item_ids_and_votes_are_the_official_ones(
    sample: Manifest, archive: bytes, shared: Path
) -> None:
    pack = get(sample)
    assert set(pack.items.votes.tolist()) == {5}
    for item, p in zip(pack.items.id, pack.items.p, strict=True):
        sub_dataset, number = item.split("/")
        folder = shared / "bapps_sample/2afc/val" / sub_dataset
        assert (folder / "ref" / f"{number}.png").exists()
        stored = float(np.load(folder / "judge" / f"{number}.npy").item())
        assert p == round(5 * stored) / 5
        assert p == pytest.approx(stored, abs=1e-6)


# --- --from, of the official manifest -------------------------------------------------------------


@pytest.fixture
def official() -> Manifest:
    return datasets()["bapps-2afc-val"]


TOLD = "expected 36,344 triplets, found 94 (traditional 26 of 4,720; cnn 5 of 4,720; superres 32"


@pytest.mark.parametrize("above", ["", "2afc", "2afc/val"])
def test_a_folder_with_fewer_items_is_refused_and_as_partial_accepted(
    official: Manifest, shared: Path, digest_of_the_tree: str, above: str
) -> None:
    source = str(shared / "bapps_sample" / above)
    message = refused(official, source=source)
    assert message.startswith(f"{source.rstrip('/')}: {TOLD}")
    assert "marked as partial, with `pmbench download bapps-2afc-val --partial`" in message
    pack = get(official, source=source, partial=True)
    assert pack.partial
    assert pack.expected == 36_344
    assert pack.digest == digest_of_the_tree


def test_an_archive_of_another_checksum_is_refused_and_as_partial_accepted_with_a_note(
    official: Manifest, shared: Path, archive: bytes, digest_of_the_tree: str
) -> None:
    path = str(shared / "twoafc_val_sample.tar.gz")
    message = refused(official, source=path)
    assert f"{path}: the checksum differs: expected sha256 41486671b06d" in message
    assert f"got {sha256(archive)}" in message
    assert "The expected one comes from a third party's repackaging script, not the auth" in message
    assert f"give --sha256 {sha256(archive)}" in message
    assert "--partial also with a part of the items" in message

    reporter = Silent()
    pack = get(official, reporter, source=path, partial=True)
    assert pack.partial
    assert pack.digest == digest_of_the_tree
    (note,) = reporter.notes
    assert "41486671b06de923e7ba277c4797d4d9d86d609863ba35ecdb576133f8b9d859" in note
    assert sha256(archive) in note


@pytest.mark.parametrize("choice", ["sha256", "accept_checksum"])
def test_a_known_or_accepted_checksum_does_not_excuse_missing_items(
    official: Manifest, shared: Path, archive: bytes, choice: str
) -> None:
    value = sha256(archive) if choice == "sha256" else True
    path = str(shared / "twoafc_val_sample.tar.gz")
    assert TOLD in refused(official, source=path, **{choice: value})


def test_a_partial_pack_is_not_taken_for_the_whole(
    official: Manifest, shared: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = get(official, source=str(shared / "bapps_sample"), partial=True)
    assert get(official, partial=True).digest == partial.digest
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    with pytest.raises(PmbenchError, match="PMBENCH_OFFLINE is set"):
        get(official)


def test_a_source_that_does_not_exist_is_told(official: Manifest, tmp_path: Path) -> None:
    message = refused(official, source=str(tmp_path / "nothing"))
    assert (
        message == f"--from: {tmp_path / 'nothing'} does not exist; expected an archive or a folder"
    )


def test_another_dataset_is_told_by_its_sub_datasets(tmp_path: Path) -> None:
    entry = manifest(tmp_path, source={"url": "http://127.0.0.1/x"}, sub_datasets=COUNTS)
    tree = write_tree(tmp_path / "tree", triplets({"cnn": 2, "mix": 3}))
    message = refused(entry, source=str(tree), partial=True)
    assert (
        message == f"{tree}: found the sub-dataset mix; toy has cnn, color; is it another dataset?"
    )


def test_more_items_than_expected_are_refused_even_as_partial(tmp_path: Path) -> None:
    entry = manifest(tmp_path, source={"url": "http://127.0.0.1/x"}, sub_datasets={"cnn": 1})
    tree = write_tree(tmp_path / "tree", triplets({"cnn": 2}))
    message = refused(entry, source=str(tree), partial=True)
    assert "expected 1 triplets, found 2 (cnn 2 of 1); is it another dataset?" in message
    assert "--partial" not in message


# --- checksums ------------------------------------------------------------------------------------


def toy_at(server: Server, folder: Path, data: bytes, **source: Any) -> Manifest:
    """Return a manifest of the toy dataset on the server."""
    url = server.add("/toy.tar.gz", data)
    return manifest(folder, source={"url": url, **source}, sub_datasets=COUNTS)


def test_the_users_checksum_stands_before_the_manifests(server: Server, tmp_path: Path) -> None:
    data = tar(TOY)
    entry = toy_at(server, tmp_path, data, sha256="0" * 64, sha256_origin="a third party")
    assert "comes from a third party, so it may be" in refused(entry)
    assert f"expected sha256 {'1' * 64}" in refused(entry, sha256="1" * 64)
    assert len(get(entry, sha256=sha256(data))) == 5


def test_an_archive_once_accepted_is_not_taken_for_a_verified_one(
    server: Server, tmp_path: Path, home: Path
) -> None:
    entry = toy_at(server, tmp_path, tar(TOY), sha256="0" * 64)
    reporter = Silent()
    get(entry, reporter, accept_checksum=True).path.unlink()
    assert "going on, as asked" in reporter.notes[0]
    message = refused(entry)
    (path,) = (home / "downloads" / "toy").rglob("toy.tar.gz")
    assert message.startswith(f"{path}: the checksum differs: expected sha256 {'0' * 64}, got ")
    assert "delete the file to fetch it anew, or give --accept-checksum to use it" in message
    assert len(get(entry, accept_checksum=True)) == 5
    assert len(server.requests) == 1


def test_without_a_published_checksum_the_first_download_is_kept_to(
    server: Server, tmp_path: Path, home: Path
) -> None:
    data, other = tar(TOY), tar(TOY, mode="w")
    entry = toy_at(server, tmp_path, data)
    assert entry.source is not None
    reporter = Silent()
    first = get(entry, reporter)
    (note,) = reporter.notes
    assert (
        f"toy: nobody publishes a checksum of toy.tar.gz; this download's, {sha256(data)}" in note
    )
    assert json.loads((home / "pins.json").read_text()) == {entry.source.url: sha256(data)}

    first.path.unlink()
    next((home / "downloads" / "toy").rglob("toy.tar.gz")).unlink()
    server.files["/toy.tar.gz"] = other
    message = refused(entry)
    assert f"expected sha256 {sha256(data)}, got {sha256(other)}" in message
    assert "The expected one comes from the first download on this machine" in message

    server.files["/toy.tar.gz"] = data
    reporter = Silent()
    assert get(entry, reporter).digest == first.digest
    assert reporter.notes == []


def test_pins_that_cannot_be_read_are_told(server: Server, tmp_path: Path, home: Path) -> None:
    entry = toy_at(server, tmp_path, tar(TOY))
    write_tree(home, {"pins.json": b"{"})
    message = refused(entry)
    assert message.startswith(f"{home / 'pins.json'}: expected the checksums of earlier downloads")
    assert message.endswith("delete it")


def test_two_datasets_may_have_archives_of_the_same_name(server: Server, tmp_path: Path) -> None:
    for name, counts in (("one", {"cnn": 1}), ("two", {"cnn": 2})):
        url = server.add(f"/{name}/data.tar.gz", tar(triplets(counts)))
        entry = manifest(tmp_path, name=name, source={"url": url}, sub_datasets=counts)
        assert len(get(entry)) == counts["cnn"]


def test_from_may_name_another_url(server: Server, tmp_path: Path) -> None:
    entry = toy_at(server, tmp_path, b"", sha256=sha256(tar(TOY)))
    assert len(get(entry, source=server.add("/elsewhere/toy.tar.gz", tar(TOY)))) == 5
    assert [request.path for request in server.requests] == ["/elsewhere/toy.tar.gz"]


# --- local files ----------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path: Path) -> Manifest:
    """A manifest of local files that are not there yet."""
    return manifest(tmp_path, source={"path": "tree"})


def test_local_files_are_packed_once_and_anew_when_they_change(
    toy: Manifest, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", TOY)
    reporter = Silent()
    first = packed(toy, reporter)
    written = first.path.stat().st_mtime_ns
    assert packed(toy, reporter).digest == first.digest
    assert first.path.stat().st_mtime_ns == written
    assert reporter.notes == []

    path = tmp_path / "tree" / "val/cnn/p0/000000.png"
    path.write_bytes(png(picture(99)))
    os.utime(path, ns=(1, 1))  # a time of its own, however coarse the clock
    second = packed(toy, reporter)
    assert second.digest != first.digest
    assert reporter.notes == ["toy: its files, its manifest or pmbench changed; packing them anew"]


def test_a_changed_manifest_has_its_local_files_packed_anew(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", triplets({"cnn": 2}, votes=2))
    first = packed(manifest(tmp_path, source={"path": "tree"}, votes_per_item=2))
    reporter = Silent()
    second = packed(manifest(tmp_path, source={"path": "tree"}, votes_per_item=4), reporter)
    assert set(first.items.votes.tolist()) == {2}
    assert set(second.items.votes.tolist()) == {4}
    assert len(reporter.notes) == 1


def test_a_link_that_leads_nowhere_does_not_matter(toy: Manifest, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", TOY)
    (tmp_path / "tree" / "latest").symlink_to("nowhere")
    assert len(packed(toy)) == 5


def test_local_files_that_are_not_there_are_told_with_the_key(
    toy: Manifest, tmp_path: Path
) -> None:
    sentence = f"{toy.file}: key 'source.path': {tmp_path / 'tree'} does not exist; expected an arc"
    assert error_message(toy).startswith(sentence)
    assert refused(toy).startswith(sentence)


def test_download_packs_local_files_too(toy: Manifest, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", TOY)
    reporter = Silent()
    assert get(toy, reporter).digest == packed(toy, reporter).digest
    assert reporter.notes == []


def test_a_pack_made_under_another_manifest_is_not_used(shared: Path, tmp_path: Path) -> None:
    official = (paths.manifests() / "datasets" / "bapps-2afc-val.toml").read_text()
    folder = tmp_path / "changed"
    folder.mkdir()
    changed = folder / "mine.toml"
    changed.write_text(official.replace('name = "bapps-2afc-val"', 'name = "mine"'))
    manifest = load(changed)
    choices = DownloadOptions(source=str(shared / "bapps_sample"), partial=True)
    download(manifest, resize_for(manifest, None), choices, Silent())
    assert pack_for(manifest, resize_for(manifest, None), Silent()) is not None
    changed.write_text(changed.read_text().replace("votes_per_item = 5", "votes_per_item = 1"))
    with pytest.raises(
        PmbenchError,
        match=r"was packed under another manifest than .*mine\.toml is now, or by an earlier pmb",
    ):
        pack_for(load(changed), resize_for(manifest, None), Silent())


def test_only_packs_whose_pixels_are_others_are_made_anew(tmp_path: Path) -> None:
    """Those of BAPPS, which take an hour, are as they were before EXIF and alpha counted."""
    kept = {
        "bapps-2afc-val": "4103010d7005e37bc73559cb493c4c270a1bda3d972c8574f89822593b8b1322",
        "bapps-2afc-train": "9c7defd123fdc5569c930f68019778776fb65916cdd36d63ca95d7377d3a2800",
        "bapps-jnd-val": "898a75c6b9a1692700aef85733027b36e431452c61847d839832eea146d6740c",
    }
    assert {name: _manifest_digest(datasets()[name]) for name in kept} == kept
    mine, raw = (
        manifest(tmp_path, source={"url": "http://127.0.0.1/toy.tar"}, raw_pixels=is_raw)
        for is_raw in (False, True)
    )
    assert _manifest_digest(mine) != _manifest_digest(raw)

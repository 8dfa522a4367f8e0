"""Toy datasets: images, votes, files in folders and archives, manifests."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pmbench
from pmbench.datasets.download import pack_for, pack_path
from pmbench.datasets.manifest import Manifest, load
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import Pixels, resize_for
from pmbench.results.run import Run
from pmbench.results.schema import RunInfo
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import sha256_of
from pmbench.utils.progress import Silent

Files = dict[str, bytes]  # path -> content


def picture(seed: int, height: int = 8, width: int = 8) -> Pixels:
    """Return random pixels (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(pixels: Any, **options: Any) -> bytes:
    """Return pixels, or a PIL image, as a PNG file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def npy(value: Any) -> bytes:
    """Return a value as a .npy file."""
    file = io.BytesIO()
    np.save(file, np.asarray(value), allow_pickle=True)
    return file.getvalue()


def enlarged(pixels: Pixels, factor: int) -> Pixels:
    """Return the corner-aligned nearest-neighbour enlargement: pixel i shows rint(i(n-1)/(N-1))."""
    rows, columns = (
        np.rint(np.arange(factor * n) * (n - 1) / (factor * n - 1)).astype(int)
        for n in pixels.shape[:2]
    )
    return pixels[rows][:, columns]


def triplets(counts: Mapping[str, int], votes: int = 5, above: str = "val/") -> Files:
    """Return a 2AFC dataset in BAPPS' layout, so many items for each sub-dataset."""
    files: Files = {}
    for s, (sub_dataset, count) in enumerate(counts.items()):
        for i in range(count):
            for r, role in enumerate(("ref", "p0", "p1")):
                path = f"{above}{sub_dataset}/{role}/{i:06d}.png"
                files[path] = png(picture(1000 * s + 10 * i + r))
            share = np.float32((i + s) % (votes + 1) / votes)
            files[f"{above}{sub_dataset}/judge/{i:06d}.npy"] = npy(share)
    return files


def write_tree(folder: Path, files: Files) -> Path:
    """Write files below a folder."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def tar(files: Files, mode: str = "w:gz", extra: list[tarfile.TarInfo] | None = None) -> bytes:
    """Return an archive of files; ``extra`` are members without content, at its beginning."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for member in extra or []:
            archive.addfile(member)
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def member(path: str, kind: bytes = tarfile.REGTYPE, **facts: Any) -> tarfile.TarInfo:
    """Return a member of an archive with these facts (size, linkname …)."""
    info = tarfile.TarInfo(path)
    info.type = kind
    for name, value in facts.items():
        setattr(info, name, value)
    return info


def toml(content: Mapping[str, Any]) -> str:
    """Return a mapping as TOML, its tables written inline; TOML reads strings as JSON does."""
    return "".join(f"{_value(key)} = {_value(value)}\n" for key, value in content.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_value(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


FOLDERS = {"root": "val", "roles": {"ref": "ref", "p0": "p0", "p1": "p1"}, "votes": "judge"}


def manifest(folder: Path, **content: Any) -> Manifest:
    """Write and load the manifest of a toy 2AFC dataset in BAPPS' layout, or with changes to it."""
    base = {"name": "toy", "title": "Toy", "protocol": "2afc", "votes_per_item": 5}
    if not {"folders", "table", "built_in"} & set(content):
        base |= {"folders": FOLDERS}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{content.get('name', 'toy')}.toml"
    path.write_text(toml(base | content), encoding="utf-8")
    return load(path)


def packed(entry: Manifest, reporter: Silent | None = None) -> Pack:
    """Return the pack of a dataset of local files as evaluation gets it."""
    pack = pack_for(entry, resize_for(entry, None), reporter or Silent())
    assert pack is not None
    return pack


def error_message(entry: Manifest) -> str:
    """Fail to pack a dataset of local files, leaving nothing; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        packed(entry)
    folder = pack_path(entry, resize_for(entry, None)).parent
    assert {path.suffix for path in folder.glob("*")} <= {".lock"}
    return str(caught.value)


def role_images(pack: Pack, item: str) -> Pixels:
    """Return what a metric would be shown of one item: (roles, H, W, 3)."""
    (row,) = np.flatnonzero(pack.items.id == item)
    return pack.images(int(pack.size[row]), pack.rows[row])


def run_info(facts: Mapping[str, Any]) -> RunInfo:
    """Return a run's record that lacks nothing, ``facts`` being what matters."""
    dataset = {
        "name": "toy", "title": "Toy", "protocol": "2afc", "human_votes": True, "resize": "none",
        "selection": "every item", "items": 1, "of": 1, "partial": False, "source": "",
        "source_sha256": "", "pack_digest": "d3b0", "sub_datasets": ["one"], "short_names": {},
    }  # fmt: skip
    metric = {
        "name": "mine", "title": "", "paper": "", "code": "", "licence": "", "symmetric": True,
        "higher_is_better": False, "version": 1, "parameters": {}, "digest": "", "weights": {},
        "undefined_on": {},
    }  # fmt: skip
    run = {
        "format": 1, "pmbench": pmbench.__version__, "environment": {}, "command": "",
        "started": "", "finished": "", "seconds": 1.0, "items_per_second": 1.0,
        "peak_memory_mb": None, "measured_together": [],
        "batches": {"pixels": 1 << 18, "items": None, "count": 1},
    }  # fmt: skip
    content = {
        **run,
        **facts,
        "dataset": dataset | facts.get("dataset", {}),
        "metric": metric | facts.get("metric", {}),
    }
    return RunInfo.model_validate_json(json.dumps(content))


def with_info(run: Run, **changes: Any) -> Run:
    """Return a run whose record says something else; of a nested record the keys given."""
    content = run.info.to_dict()
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    return replace(run, info=RunInfo.model_validate_json(json.dumps(content)))


def update_digests(folder: Path) -> None:
    """Let a run's folder that a test has edited pass for one that pmbench wrote."""
    path = folder / "run.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    info["files"] = {name: sha256_of(folder / name) for name in info["files"]}
    path.write_text(json.dumps(info), encoding="utf-8")


def write_triplets(folder: Path, items: int) -> list[str]:
    """Write a dataset of triplets of 64×64 that share no image; return the words that choose it."""
    files, rows = {}, ["id,p"]
    for i in range(items):
        rows.append(f"{i},0.6")
        for r, role in enumerate(("ref", "p0", "p1")):
            files[f"{role}/{i}.png"] = png(picture(3 * i + r, 64, 64))
    files["t.csv"] = "\n".join(rows).encode()
    write_tree(folder, files)
    table = {
        "file": "t.csv", "item": "{id}", "vote": "p",
        "roles": {role: f"{role}/{{id}}.png" for role in ("ref", "p0", "p1")},
    }  # fmt: skip
    manifest(folder, name="many", source={"path": "."}, table=table)
    return ["-d", "many", "--manifests", str(folder)]

"""Named weight files: finding them, fetching them, and reading their tensors.

A file is looked for in the local folder (PMBENCH_WEIGHTS, with its subfolders) as
``<name>.safetensors``, ``<name>.pth`` or under an official file name, then in the package that
ships it, in the cache, and where torch keeps what it has fetched (TORCH_HOME). Reading never runs
code: safetensors, or torch's ``weights_only``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pmbench.networks.manifest import WeightFile, weight_files
from pmbench.utils import paths
from pmbench.utils.errors import PmbenchError
from pmbench.utils.http import ELSEWHERE, is_page
from pmbench.utils.progress import Reporter
from pmbench.utils.verified_download import RemoteFile, fetch

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_POINTER = b"version https://git-lfs"
# url -> why nothing comes from there, inside of ``ask_once``
_failures: ContextVar[dict[str, str] | None] = ContextVar("failures", default=None)


def find(name: str) -> Path | None:
    """Return where a weight file is on this machine, or None."""
    entry = weight_files()[name]
    # a package's file names ("alex.pth") say too little to be looked for anywhere
    official = [PurePosixPath(entry.url).name, *entry.aliases] if entry.url else []
    if (local := in_folder((f"{name}.safetensors", f"{name}.pth", *official))) is not None:
        return local
    if entry.package is not None:
        return _in_package(entry)
    places = [folder / file for folder in (paths.weights(), _of_torch()) for file in official]
    return next((place for place in places if place.exists()), None)


def _of_torch() -> Path:
    """Return the folder in which torchvision keeps its weights; a file there is whole."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def in_folder(names: Iterable[str]) -> Path | None:
    """Return the first of the files that is in the local folder (PMBENCH_WEIGHTS), or None.

    Raises PmbenchError where the folder does not exist.
    """
    chosen = os.environ.get("PMBENCH_WEIGHTS")
    if not chosen:
        return None
    folder = paths.expand(chosen)
    if not folder.is_dir():
        raise PmbenchError(
            f"the weights folder {folder} does not exist; "
            "name a folder that holds weight files with --weights or PMBENCH_WEIGHTS"
        )
    return next((result for name in names for result in sorted(folder.rglob(name))), None)


def announce(name: str, entry: WeightFile) -> None:
    """Add a weight file to those of ``weights.toml``, which may know one of that name already."""
    weight_files().setdefault(name, entry)


def ensure(names: Iterable[str], reporter: Reporter) -> None:
    """Fetch those of the weight files that are not on this machine.

    Raises PmbenchError, with the ways out, where one cannot be had.
    """
    for name in names:
        entry = weight_files()[name]
        if find(name) is not None:
            continue
        if entry.url is None:
            raise PmbenchError(
                f"the weights '{name}' come with the package {entry.package}, which is not "
                f"installed; run: pip install {entry.package}"
            )
        size = 1e6 * entry.megabytes if entry.megabytes else None
        wanted = RemoteFile(entry.url, entry.sha256, entry.sha256_prefix, options=False, size=size)
        try:
            ask(entry.url, lambda wanted=wanted: fetch(wanted, paths.weights(), reporter))  # type: ignore[misc]
        except PmbenchError as error:
            # only `pmbench download` has these options; what others can do is said here
            why = str(error).replace(f", or {ELSEWHERE}", "").replace(f"; {ELSEWHERE}", "")
            raise PmbenchError(
                f"the weights '{name}' are not on this machine and cannot be fetched ({why}); "
                f"put {PurePosixPath(entry.url).name} or {name}.safetensors into a folder and "
                "name it with --weights or PMBENCH_WEIGHTS"
            ) from error


@contextmanager
def ask_once() -> Iterator[None]:
    """Ask nobody again meanwhile who did not answer: many metrics may need one file.

    Afterwards it is asked again, since the user may have mended what was in the way.
    """
    token = _failures.set({})
    try:
        yield
    finally:
        _failures.reset(token)


def ask(url: str, request: Callable[[], object]) -> None:
    """Run ``request``, which asks ``url``. Raises what it raised before, inside of ``ask_once``."""
    failures = _failures.get()
    if failures is not None and url in failures:
        raise PmbenchError(failures[url])
    try:
        request()
    except PmbenchError as error:
        if failures is not None:
            failures[url] = str(error)
        raise


def load(name: str) -> dict[str, Tensor]:
    """Return the tensors of a weight file that is on this machine, by name, on the CPU."""
    path = find(name)
    if path is None:
        raise PmbenchError(
            f"the weights '{name}' are not on this machine; fetch them with `pmbench download`, "
            "or name a folder that holds them with --weights or PMBENCH_WEIGHTS"
        )
    return read(path, name)


def read(path: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of a file that holds the weights ``name``, by name, on the CPU.

    Raises PmbenchError where it holds something else.
    """
    if (other := _no_weights(path)) is not None:
        raise PmbenchError(f"{path}: expected the weights '{name}', got {other}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        kind = "SafetensorError" if isinstance(error, SafetensorError) else type(error).__name__
        raise PmbenchError(
            f"{path}: expected the weights '{name}', got a file that cannot be read safely "
            f"({kind}: {str(error).splitlines()[0] if str(error) else 'no reason given'}); "
            "delete it and fetch it again"
        ) from error
    if not isinstance(content, Mapping):
        raise PmbenchError(
            f"{path}: expected named tensors for '{name}', got a {type(content).__name__}; "
            "delete it and fetch it again"
        )
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def take(
    tensors: Mapping[str, Tensor],
    key: str,
    shape: Sequence[int],
    name: str,
    path: Path | None = None,
) -> Tensor:
    """Return the tensor ``key`` of the weight file ``name``, which must have that shape.

    ``path`` is where the file is, if not where ``find`` finds it. Raises PmbenchError where the
    tensor is missing, has another shape, or is not ``sound``.
    """
    result = tensors.get(key)
    if result is None or tuple(result.shape) != tuple(shape):
        got = "none of that name" if result is None else f"shape {tuple(result.shape)}"
        raise PmbenchError(
            f"{path or find(name)}: the weights '{name}' need a tensor '{key}' of shape "
            f"{tuple(shape)}, got {got}; is it another network's file?"
        )
    return sound(result, key, name, path)


def sound(tensor: Tensor, key: str, name: str, path: Path | None = None) -> Tensor:
    """Return a tensor of the weight file ``name`` if it may be one of a network's filters.

    Raises PmbenchError where it is not of floating-point numbers, or one of these is not finite.
    """
    if tensor.dtype not in _FLOATS or tensor.layout != torch.strided:
        kind = str(tensor.dtype).removeprefix("torch.")
        fault = f", of a floating-point type, got {kind}; is it a quantised copy? take the original"
    elif bad := int((~tensor.isfinite()).sum()):
        fault = (
            f", and {bad:,} of {tensor.numel():,} are NaN or infinite; the file is damaged: delete "
            "it and fetch it again"
        )
    else:
        return tensor
    raise PmbenchError(
        f"{path or find(name)}: the weights '{name}' need finite numbers in the tensor '{key}'"
        f"{fault}"
    )


def load_into(module: torch.nn.Module, name: str, prefix: str = "") -> None:
    """Copy the tensors of a weight file into a module whose state they must fit exactly.

    Only names that begin with ``prefix`` count, so a whole network's file fits its trunk. Raises
    PmbenchError where a tensor is missing or has another shape.
    """
    tensors = load(name)
    state = module.state_dict()
    for key, old in state.items():
        state[key] = take(tensors, prefix + key, old.shape, name).to(old.dtype)
    module.load_state_dict(state)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of the sorted (name, shape, bytes) of tensors."""
    total = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        total.update(f"{key}\0{tuple(value.shape)}\0{value.dtype}\0".encode())
        total.update(value.flatten().view(torch.uint8).numpy().tobytes())  # bfloat16 too
    return total.hexdigest()


def _no_weights(path: Path) -> str | None:
    """Return what a path is that holds no weights whatever is read from it, and what to do."""
    if path.is_dir():
        return "a folder; put the file itself there, or move the folder away"
    try:
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
        size = path.stat().st_size
    except OSError as error:
        return f"what cannot be opened ({error.strerror}); mend its link or its permissions"
    again = "delete it and fetch it again"
    if not start:
        return f"an empty file; {again}"
    if start == _POINTER:
        return "a pointer of Git LFS in place of the file; run `git lfs pull` where it comes from"
    if is_page(path):
        return f"a web page; {again}"
    # torch.save compresses nothing, so that more comes out than is in it means harm
    if (unpacked := _unpacked(path)) > size:
        return f"{size:,} bytes that unpack to {unpacked:,}, which torch.save never writes; {again}"
    return None


def _unpacked(path: Path) -> int:
    """Return how many bytes the members of a zip archive say they have; 0 for another file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError):
        return 0  # torch says what is wrong with it


def _in_package(entry: WeightFile) -> Path | None:
    """Return the path of a data file in an installed package, without importing the package."""
    assert entry.package is not None
    assert entry.path is not None
    result = importlib.util.find_spec(entry.package)
    for place in (result.submodule_search_locations or []) if result else []:
        path = Path(place) / entry.path
        if path.exists():
            return path
    return None

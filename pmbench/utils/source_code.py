"""What source files compute, as digests: comments, docstrings and imports of pmbench left out."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from pmbench.utils.paths import PACKAGE
from pmbench.utils.text import printable

# Where the modules lie that a number depends on. How weights are searched for is none of that: the
# tensors themselves are in the digest of a metric.
_FORMULAS = ("pmbench.metrics.", "pmbench.networks.", "pmbench.utils.color")
_WEIGHTS = ("pmbench.networks.weights", "pmbench.networks.manifest")


def code_digests(files: Iterable[Path]) -> dict[str, str]:
    """Return a digest of the code of files, and of each formula that they import, by name.

    A file of pmbench is named as ``pmbench/metrics/images.py``, another one by its whole path. Of
    the imports of a file that is not pmbench's, those of files beside it count too.
    """
    collected: set[Path] = set()
    for file in files:
        _collect(file.resolve(), collected)
    return {_name(file): _digest_of_code(file, file.stat().st_mtime_ns) for file in collected}


def edited_files(digests: Mapping[str, str]) -> list[str]:
    """Return the names of the files whose code is not what its digest in ``digests`` says.

    A file that is gone counts where its folder is here; without that, it is of another machine.
    """
    edited = []
    for name, digest in sorted(digests.items()):
        own = not Path(name).is_absolute()
        file = PACKAGE.parent / name if own else Path(name)
        try:
            same = _digest_of_code(file, file.stat().st_mtime_ns) == digest
        except OSError:
            same = not file.parent.is_dir()
        except (SyntaxError, ValueError):  # somebody is editing it
            same = False
        if not same:
            edited.append(name)
    return edited


def _name(file: Path) -> str:
    own = file.is_relative_to(PACKAGE)
    return file.relative_to(PACKAGE.parent).as_posix() if own else printable(str(file))


def _collect(file: Path, files: set[Path]) -> None:
    """Add a file and those of formulas that it imports, each of them once."""
    if file in files:
        return
    files.add(file)
    own = file.is_relative_to(PACKAGE)
    for module in _imports(file, file.stat().st_mtime_ns):
        if module.startswith(_FORMULAS) and not module.startswith(_WEIGHTS):
            folder = PACKAGE.parent
        elif not own:
            folder = file.parent
        else:
            continue
        path = folder.joinpath(*module.split(".")).with_suffix(".py")
        if path.is_file():
            _collect(path, files)


@lru_cache(maxsize=1024)  # many metrics share a file; parsing one takes milliseconds
def _imports(file: Path, modified: int) -> tuple[str, ...]:
    """Return the names of modules that a file may import."""
    modules = []
    for node in ast.walk(_parse(file)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return tuple(modules)


@lru_cache(maxsize=1024)
def _digest_of_code(file: Path, modified: int) -> str:
    """Return a digest of what a file computes: its code without docstrings and comments."""
    return hashlib.sha256("\n".join(_code(_parse(file))).encode()).hexdigest()


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes())  # bytes: the file may name an encoding of its own


def _code(tree: ast.Module) -> Iterator[str]:
    """Yield the kinds of nodes, the names of their fields, and the values, each before the next.

    Empty fields are left out, since a version of Python may add some; what ``ast.unparse`` and
    ``ast.dump`` give is another text in another version, and both fail on a sum of 400 terms.
    """
    stack: list[object] = [tree]
    while stack:
        match stack.pop():
            case list(nodes):
                kept = [node for node in nodes if not _computes_nothing(node)]
                yield str(len(kept))
                stack.extend(reversed(kept))
            case ast.AST() as node:
                fields = [pair for pair in ast.iter_fields(node) if pair[1] not in (None, [])]
                yield " ".join([type(node).__name__, *(name for name, _ in fields)])
                stack.extend(value for _, value in reversed(fields))
            case value:
                yield ascii(value)


def _computes_nothing(node: object) -> bool:
    """Say whether a node is a text that stands alone, or an import of pmbench's own modules."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.ImportFrom(module=str(module), level=0):
            modules = [module]
        case ast.Import(names=names):
            modules = [alias.name for alias in names]
        case _:
            return False
    return all(module.partition(".")[0] == PACKAGE.name for module in modules)

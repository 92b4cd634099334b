"""Digests of values, of files, and of the code that a number came from."""

import ast
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from proxyaudit.files import open_plain

PACKAGE = Path(__file__).resolve().parent

# Where the code of each stage begins; entry points lead to plugins, which no import statement names.
STAGES = {
    "synthesize": ("pipeline/synthesize.py", "synthesizers/*.py"),
    "encode": ("pipeline/encode.py", "models/kinds/*.py"),
    "train": ("pipeline/train.py", "models/kinds/*.py"),
    "measure": ("pipeline/measure.py", "models/kinds/*.py", "channels/*/measure.py"),
    "cure": ("pipeline/cure.py", "models/kinds/*.py", "erasers/*.py"),
}
# What only draws, prints or checks has no part in a measured number.
_NOT_MEASURING = frozenset({"attestation", "cli", "comparison", "docs", "doctor.py", "evidence", "gating", "reporting", "verification"})
_NAMED = re.compile(r"proxyaudit((?:\.\w+)+):\w+")


def digest_of(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """SHA-256 of the canonical JSON of a value; ``default`` makes JSON of what is none."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=default)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: Path, most: int | None = None) -> str:
    """SHA-256 of a file; ``OSError`` where it cannot be read, is no plain file, or holds more than ``most`` bytes."""
    with open_plain(path, most) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def code_digest(stage: str | None = None) -> str:
    """SHA-256 over the package's measuring code, or over the code of one of ``STAGES``: a changed program never reuses old numbers.

    A stage's digest covers what its code imports and nothing else, so that a change of words, reports or estimates leaves trained models
    and measured records as they are.
    """
    return _digest_over(PACKAGE, stage)


@lru_cache
def _digest_over(package: Path, stage: str | None) -> str:
    found = (path.relative_to(package) for path in package.rglob("*.py"))
    measuring = (path.as_posix() for path in found if path.parts[0] not in _NOT_MEASURING)
    if stage is None:
        # What findings are evidence for is part of evidence.json.
        files = {*measuring, *(path.relative_to(package).as_posix() for path in package.glob("controls/frameworks/*.y*ml"))}
    else:
        files = stage_files(stage, package)
    if "data/scrub_style.py" in files:
        files |= {path.relative_to(package).as_posix() for path in package.glob("data/words/*.txt")}
    total = hashlib.sha256()
    for inside in sorted(files):
        total.update(inside.encode() + b"\0" + (package / inside).read_bytes() + b"\0")
    return total.hexdigest()


def stage_files(stage: str, package: Path = PACKAGE) -> set[str]:
    """The stage's entries and all they import, as paths inside the package.

    Imports inside functions count, and so do functions that a string names (``proxyaudit.module:function``). Imports for type
    checkers do not, nor does the ``__init__`` of a package from which a module is imported.
    """
    waiting = [path for glob in STAGES[stage] for path in sorted(package.glob(glob))]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found and path.is_file():
            found.add(path)
            waiting += [_file_of(package, name) for name in _imported(package, path)]
    return {path.relative_to(package).as_posix() for path in found}


def _file_of(package: Path, parts: tuple[str, ...]) -> Path:
    module = package.joinpath(*parts).with_suffix(".py")
    return module if parts and module.is_file() else package.joinpath(*parts, "__init__.py")


def _imported(package: Path, path: Path) -> tuple[tuple[str, ...], ...]:
    """Modules of the package that a file imports, each as the names below ``proxyaudit``."""
    return _imported_by(package, path.read_bytes())


@lru_cache(maxsize=4096)
def _imported_by(package: Path, source: bytes) -> tuple[tuple[str, ...], ...]:
    """The same of a file's text; stages share most files, and each is parsed once."""
    return tuple(_imports(package, source))


def _imports(package: Path, source: bytes) -> Iterator[tuple[str, ...]]:
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (tuple(name.name.split(".")[1:]) for name in node.names if name.name.split(".")[0] == "proxyaudit")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "proxyaudit":
            module = tuple(str(node.module).split(".")[1:])
            for name in node.names:
                inner = (*module, name.name)
                yield inner if _file_of(package, inner).is_file() else module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = _NAMED.fullmatch(node.value)
            if named is not None:
                yield tuple(named[1].split(".")[1:])

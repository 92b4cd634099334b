"""The house stays as it was laid: small files, short functions, a pipeline that reads like its flow, no foreign package in a message."""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path

import pytest

import proxyaudit

PACKAGE = Path(proxyaudit.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES, MOST_IN_FUNCTION, MOST_BRANCHES = 400, 60, 15
MOST_IN_PIPELINE = 1300
EXCEPTIONS: dict[tuple[str, str], str] = {}
"""Functions that may be longer, (file, name) with the reason; ten at most."""
_BRANCHES = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.match_case)


@cache
def functions(path: Path) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, ...]:
    """Every function of a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return tuple(node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    assert lines(path) <= MOST_LINES
    for function in functions(path):
        if (path.relative_to(PACKAGE).as_posix(), function.name) in EXCEPTIONS:
            continue
        assert (function.end_lineno or 0) - function.lineno < MOST_IN_FUNCTION, function.name
        assert sum(isinstance(node, _BRANCHES) for node in ast.walk(function)) <= MOST_BRANCHES, function.name


def test_exceptions_are_few_and_needed() -> None:
    assert len(EXCEPTIONS) <= 10
    assert all(reason for reason in EXCEPTIONS.values())
    named = {(path.relative_to(PACKAGE).as_posix(), function.name) for path in FILES for function in functions(path)}
    assert not set(EXCEPTIONS) - named


def test_the_pipeline_stays_a_thin_shell() -> None:
    assert sum(lines(path) for path in (PACKAGE / "pipeline").rglob("*.py")) <= MOST_IN_PIPELINE


def test_no_mark_of_an_unfinished_merge_is_left() -> None:
    root = PACKAGE.parent
    pages = [
        *root.glob("*.md"),
        *(root / "recipes").rglob("*.yaml"),
        *(path for path in PACKAGE.rglob("*") if path.suffix in (".md", ".yaml")),
    ]
    assert pages
    for page in pages:
        assert not [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(("<<<<<<< ", ">>>>>>> "))], page.name


def test_what_npm_installs_is_pinned_and_no_host_is_named() -> None:
    folder = Path(__file__).parents[1] / "browser"
    locked = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    for name, version in wanted.items():
        assert locked[f"node_modules/{name}"]["version"] == version
        assert locked[f"node_modules/{name}"]["integrity"].startswith("sha512-")
    for path in (folder / "package-lock.json", folder / "package.json", folder / ".npmrc"):
        assert "://" not in path.read_text(encoding="utf-8")

"""The digest of the renderer covers what reports are made with: otherwise a newer version would look like a forged report."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import proxyaudit
from proxyaudit.evidence.manifest import _SOURCES, MANIFEST, rendered_here
from proxyaudit.evidence.pack import replace_reports, write_pack
from tests.conftest import build_pack

PACKAGE = Path(proxyaudit.__file__).parent
NO_WORDS = {"errors.py", "registry.py", "secret.py"}  # raise, load and key; no byte of a report comes from them


def imported(path: Path) -> set[Path]:
    """Files of the package that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("proxyaudit"):
            base = PACKAGE.joinpath(*str(node.module).split(".")[1:])
            inner = [base / f"{name.name}.py" for name in node.names]
            found |= {file for file in inner if file.is_file()} or {
                base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
            }
    return found


def test_every_file_that_reports_import_is_in_the_digest() -> None:
    covered = {path for pattern in _SOURCES for path in PACKAGE.glob(pattern)}
    needed = {file for path in PACKAGE.glob("reporting/**/*.py") for file in imported(path)}
    missing = {file.relative_to(PACKAGE).as_posix() for file in needed - covered} - NO_WORDS
    assert not missing


def test_rendering_the_same_bytes_again_says_who_rendered_them(tmp_path: Path) -> None:
    reports = {"report.html": "x", "report.md": "y"}
    write_pack(build_pack(), tmp_path, reports=reports)
    assert not replace_reports(tmp_path, reports)
    document = json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))
    (tmp_path / MANIFEST).write_text(json.dumps({**document, "rendered_by": "0" * 64}), encoding="utf-8")
    assert not rendered_here(tmp_path)
    assert replace_reports(tmp_path, reports)
    assert rendered_here(tmp_path)

"""Which distribution is installed: this one under its own name, and nobody told to install another project's."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from proxyaudit import doctor, registry

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = "[console_scripts]\nproxyaudit = proxyaudit.cli.main:main\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which nothing is installed but what a test writes."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    return tmp_path


def install(site: Path, name: str, version: str, points: str) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: numpy>=99\n")
    (folder / "entry_points.txt").write_text(points)


def told(found: Any) -> list[tuple[str, str]]:
    return [(check.name, check.state) for check in found]


def test_the_distribution_is_told_by_its_name(site: Path) -> None:
    install(site, "proxy-leakage-audit", "1.2", OURS)
    assert registry.own_version() == {"proxyaudit": "1.2"}
    checks = list(doctor._packages())
    assert checks[0].detail == "1.2 (distribution proxy-leakage-audit)"
    assert told(checks) == [("proxyaudit", "ok"), ("numpy", "fail")]  # what it needs is that distribution's word


def test_another_project_of_the_name_is_none_of_ours(site: Path) -> None:
    install(site, "proxyaudit", "9.9", "[console_scripts]\nproxyaudit = theirs:main\n")
    assert registry.own_distribution() is None
    checks = list(doctor._packages())
    assert told(checks) == [("proxyaudit", "fail"), ("distribution proxyaudit", "warn")]
    assert "another project" in checks[1].detail
    install(site, "proxy-leakage-audit", "1.2", OURS)
    assert registry.own_version() == {"proxyaudit": "1.2"}
    assert told(doctor._packages())[:2] == [("proxyaudit", "ok"), ("distribution proxyaudit", "warn")]


def test_an_installation_of_before_is_known(site: Path) -> None:
    install(site, "proxyaudit", "0.1", OURS)
    assert doctor.Check("proxyaudit", "ok", "0.1 (distribution proxyaudit)") in list(doctor._packages())
    install(site, "proxy-leakage-audit", "0.2", OURS)
    importlib.invalidate_caches()
    checks = list(doctor._packages())
    assert checks[0].detail.startswith("0.2")
    assert "older installation" in checks[1].detail


def test_all_is_every_extra_and_bounds_from_above_are_few() -> None:
    extras = PROJECT["optional-dependencies"]
    assert PROJECT["name"] == registry.NAMES[0]
    (everything,) = map(Requirement, extras["all"])
    assert everything.name == PROJECT["name"]
    assert set(extras) - {"all", "test"} <= everything.extras
    assert {"text", "trees", "dask", "ray", "sign", "mlflow"} <= everything.extras
    bounded = {r.name for lines in (PROJECT["dependencies"], *extras.values()) for r in map(Requirement, lines) if "<" in str(r.specifier)}
    assert bounded == {"pandas", "pydantic", "sdv", "transformers"}

"""Packs, released and of today, for those who change them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from released_packs import KINDS, unpack

from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import probe_arrays
from proxyaudit.publication import publish


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: unpack(kind, tmp_path_factory.mktemp("packs")) for kind in KINDS}


@pytest.fixture
def folder(originals: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(originals[kind], tmp_path / kind))


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of today: nothing is in 'real', sex is in 'vendor'."""
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, 900)
    acts = {name: {"pooled": rng.normal(size=(900, 4)) + gap * sex[:, None]} for name, gap in (("real", 0.0), ("vendor", 1.0))}
    labels = pd.DataFrame({"sex": np.array(["f", "m"])[sex]})
    folder = tmp_path_factory.mktemp("fresh") / "run"
    publish(probe_arrays(acts, labels, ProbeRequest(("sex",), real="real"), jobs=1), folder)
    return folder


@pytest.fixture
def today(fresh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fresh, tmp_path / "run"))

"""Packs, released and of today, for those who change them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from released_packs import KINDS, todays_pack, unpack

from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import probe_arrays
from proxyaudit.evidence.pack import EvidencePack, read_pack
from proxyaudit.publication import publish


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: unpack(kind, tmp_path_factory.mktemp("packs")) for kind in KINDS}


@pytest.fixture
def folder(originals: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(originals[kind], tmp_path / kind))


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return todays_pack(tmp_path_factory.mktemp("fresh"))


@pytest.fixture
def today(fresh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fresh, tmp_path / "run"))


@pytest.fixture(scope="module")
def forgeries(tmp_path_factory: pytest.TempPathFactory) -> list[EvidencePack]:
    """What other numbers would have given: all of one kind are as consistent as a run can be."""
    made, folder = [], tmp_path_factory.mktemp("forged")
    for seed, gap in enumerate((0.0, 2.0)):
        rng = np.random.default_rng(100 + seed)
        sex = rng.integers(0, 2, 900)
        acts = {name: {"pooled": rng.normal(size=(900, 4)) + k * gap * sex[:, None]} for k, name in enumerate(("real", "vendor"))}
        labels = pd.DataFrame({"sex": np.array(["f", "m"])[sex]})
        publish(probe_arrays(acts, labels, ProbeRequest(("sex",), real="real"), jobs=1), folder / str(seed))
        made.append(read_pack(folder / str(seed)))
    return made

"""Packs of every released schema, and how someone changes them knowing what they do."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import probe_arrays
from proxyaudit.digests import digest_of
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import replace_files
from proxyaudit.publication import publish
from proxyaudit.verification.checks import Verification

PACKS = Path(__file__).parents[1] / "fixtures" / "packs"
# One pack of each kind for every schema version that was ever released; the changelog says how the next is added.
KINDS = ("run", "probe", "mitigation")
Document = dict[str, Any]
# Pythons before 3.11.4 have no such filter; these archives are our own.
PLAIN_FILES: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def unpack(kind: str, folder: Path) -> Path:
    (archive,) = PACKS.glob(f"{kind}-1.0.tar.xz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, **PLAIN_FILES)
    return folder / kind


def todays_pack(folder: Path) -> Path:
    """A probe by this very version: nothing is in 'real', sex is in 'vendor'."""
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, 900)
    acts = {name: {"pooled": rng.normal(size=(900, 4)) + gap * sex[:, None]} for name, gap in (("real", 0.0), ("vendor", 1.0))}
    labels = pd.DataFrame({"sex": np.array(["f", "m"])[sex]})
    publish(probe_arrays(acts, labels, ProbeRequest(("sex",), real="real"), jobs=1), folder / "run")
    return folder / "run"


def mitigation(folder: Path) -> Path:
    return next(folder.glob("mitigation-*"))


def edit(folder: Path, change: Callable[[Document], None], name: str = "evidence.json") -> None:
    document = json.loads((folder / name).read_text(encoding="utf-8"))
    before = canonical_json(document)
    change(document)
    assert canonical_json(document) != before, "the edit changes nothing"
    replace_files(folder, {name: canonical_json(document)})


def sign_again(folder: Path) -> None:
    """Give plan and run the digest that goes with the changed plan, as whoever changes it would."""
    plan, recipe = json.loads((folder / "plan.json").read_text(encoding="utf-8")), yaml.safe_load((folder / "recipe.yaml").read_bytes())
    content = {key: value for key, value in plan.items() if key not in ("digest", "run_id", "code", "estimated_minutes")}
    digest = digest_of({"plan": content, "recipe": recipe, "code": plan["code"]}, default=str)
    edit(folder, lambda d: d.update(digest=digest, run_id=digest[:12]), "plan.json")
    edit(folder, lambda d: d["run"].update(plan_digest=digest, id=digest[:12]))


def bytes_only(patch: pytest.MonkeyPatch) -> None:
    """Let packs be read whose audit is left out: they have none of what `verify` makes again; their manifest is checked all the same."""
    patch.setattr("proxyaudit.verification.run.verify_folder", lambda folder, **_: Verification(folder, "run", ()))

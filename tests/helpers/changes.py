"""Folders of ``mitigate`` and ``cure`` beside the runs that they speak of, made in a moment: nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from proxyaudit.audits.cure.run import _document
from proxyaudit.comparison.compare import channel_changes, task_change, verdict_changes
from proxyaudit.comparison.records import record_of_cure, record_of_mitigation
from proxyaudit.data.cures import Cure
from proxyaudit.digests import file_digest
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import seal_folder
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.publication import publish, write_record
from proxyaudit.reporting.mitigation import render_mitigation
from proxyaudit.types import Estimate
from tests.conftest import build_pack

CANARY = "canary-of-a-single-row"
CURE_ID, MITIGATION_ID = "0123456789ab", "mitigation-ba9876543210"


def named(pack: EvidencePack, name: str, letter: str) -> EvidencePack:
    """A pack under another name, id and plan."""
    run = pack.evidence.run.model_copy(update={"id": letter * 12, "name": name, "plan_digest": letter * 64})
    plan = {**pack.plan, "name": name, "run_id": letter * 12, "digest": letter * 64}
    return replace(pack, evidence=pack.evidence.model_copy(update={"run": run}), plan=plan)


def trial(pack: EvidencePack) -> EvidencePack:
    """The pack with the numbers of one cure that was tried."""
    like = next(e for e in pack.evidence.estimates if (e.channel, e.measure, e.regime) == ("expressed", "gap", "real"))
    plain = {"channel": "cure", "attribute": "sex", "subject": "permuted-1", "state": None, "margin": None, "seed_values": (), "seeds": 2}
    found: list[Estimate] = []
    for measure, site, value in (
        ("gap", None, 0.04),
        ("gap_change", None, -0.1),
        ("auroc_cost", None, 0.006),
        ("leak", "penultimate", 0.1),
    ):
        own = {"measure": measure, "site": site, "value": value, "low": value - 0.02, "high": value + 0.02}
        found.append(like.model_copy(update={**plain, **own, "id": f"E{len(pack.evidence.estimates) + len(found) + 1}"}))
    return replace(pack, evidence=pack.evidence.model_copy(update={"estimates": (*pack.evidence.estimates, *found)}))


def make_changes(out: Path) -> tuple[Path, Path]:
    """A cure and a mitigation below ``out``, with the run that was changed and the audit of the mitigated models."""
    source = trial(named(build_pack(), "quickstart", "a"))
    publish(source, out / "quickstart" / source.evidence.run.id)
    return make_cure(source, out / "quickstart-cured" / CURE_ID), make_mitigation(source, out / "quickstart-mitigated" / MITIGATION_ID)


def make_cure(source: EvidencePack, folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "release.csv").write_text(f"job,pay\n{CANARY},high\n")
    (folder / "cured.yaml").write_text("# Written by 'proxyaudit cure': a test.\nname: quickstart-cured\n")
    tried = [e for e in source.evidence.estimates if e.channel == "cure"]
    release = {"file": "release.csv", "rows": 0, "sha256": file_digest(folder / "release.csv")}
    document = _document(source, ("sex", "real"), Cure("permuted", "sex", ("job",)), tried, release)
    close_cure(document, folder)
    return folder


def make_mitigation(source: EvidencePack, folder: Path) -> Path:
    audit = named(source, "quickstart-mitigated", "b")
    publish(audit, folder.parent / audit.evidence.run.id)
    folder.mkdir(parents=True)
    (folder / "mitigated.yaml").write_text("# Written by 'proxyaudit mitigate'.\nname: quickstart-mitigated\n")
    (folder / "mitigated-0.safetensors").write_bytes(safetensors.numpy.save({"w": np.zeros(3, dtype=np.float32)}))
    about = (audit.evidence, "real", "gaussian_copula")
    ids = [{"name": p.evidence.run.name, "run_id": p.evidence.run.id, "plan_digest": p.evidence.run.plan_digest} for p in (source, audit)]
    changed = {"site": "penultimate", "units": 6, "rank": 1, "rows": 600, "moved": 0.1, "norm": 1.0, "cosine": None, "task_given_up": 0}
    document = {
        **{"mitigation_version": "1.1", "status": "complete", "attribute": "sex", "regime": "real", "mitigated_regime": "gaussian_copula"},
        **{
            "method": "leace",
            "sites": ["penultimate"],
            "models": [[changed]],
            "source": ids[0],
            "audit": {**ids[1], "recipe": "mitigated.yaml"},
        },
        "weights": {"origin": "cache", "words": "the weights that the run had trained and kept", "same_task_figures": True},
        **{"verdicts": verdict_changes(*about), "channels": channel_changes(*about), "task": task_change(*about)},
        "remains": ["an eraser is linear: what only a non-linear reader sees is left where it is"],
        "checkpoints": {"mitigated-0.safetensors": file_digest(folder / "mitigated-0.safetensors")},
    }
    close_mitigation(document, folder)
    return folder


def close_cure(document: Mapping[str, Any], folder: Path) -> None:
    """Write ``cure.json``, a record of it and a manifest that fit."""
    plain = json.loads(canonical_json(document))
    (folder / "cure.json").write_bytes(canonical_json(plain))
    write_record(folder, record_of_cure(plain, folder.name))
    seal_folder(folder)


def close_mitigation(document: Mapping[str, Any], folder: Path) -> None:
    """Write ``mitigation.json``, its page, a record of it and a manifest that fit."""
    plain = json.loads(canonical_json(document))
    (folder / "mitigation.json").write_bytes(canonical_json(plain))
    (folder / "mitigation.md").write_bytes(render_mitigation(plain).encode())
    write_record(folder, record_of_mitigation(plain, folder.name))
    seal_folder(folder)

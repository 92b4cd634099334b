"""Every file and field that an audit writes has a tier, and nothing restricted lies where readers look."""

from __future__ import annotations

import dataclasses
import inspect
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

import proxyaudit.evidence.changes
import proxyaudit.evidence.receipts
import proxyaudit.evidence.signatures
import proxyaudit.types
from proxyaudit.evidence.pack import PACK_FILES, REPORT_FILES, EvidencePack
from proxyaudit.evidence.schema import committed_schema
from proxyaudit.evidence.signatures import SIGNATURE_FILES
from proxyaudit.evidence.tiers import ARRAYS, FIELDS, RUN_ENCRYPTED, named_recipients, tier_of
from proxyaudit.publication import publish
from proxyaudit.recipe.plan import Plan


def documents() -> dict[str, tuple[str, set[str]]]:
    found = {"Plan": ("public", {field.name for field in dataclasses.fields(Plan)})}
    public, restricted = (proxyaudit.types, proxyaudit.evidence.changes, proxyaudit.evidence.receipts), (proxyaudit.evidence.signatures,)
    for module, tier in [*((module, "public") for module in public), *((module, "restricted") for module in restricted)]:
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and issubclass(kind, BaseModel) and kind.__module__ == module.__name__ and kind.model_fields:
                found[name] = (tier, set(kind.model_fields))
    return found


def test_every_field_of_every_document_has_a_tier() -> None:
    assert {name: (tier, set(fields.split())) for name, (tier, fields) in FIELDS.items()} == documents()


def test_the_schema_of_evidence_names_public_fields_only() -> None:
    schema = committed_schema()
    kinds = {"Evidence": schema, **schema["$defs"]}
    named = {name: set(kind["properties"]) for name, kind in kinds.items() if "properties" in kind}
    public = {name: set(fields.split()) for name, (tier, fields) in FIELDS.items() if tier == "public"}
    assert named.keys() <= public.keys()
    assert all(fields <= public[name] for name, fields in named.items())


def test_every_file_has_a_tier() -> None:
    assert {
        tier_of(name)
        for name in (*PACK_FILES, *REPORT_FILES, "manifest.json", "mitigation.md", "cure.json", "change.json", "change.md", "nets.py")
    } == {"public"}
    restricted = (*SIGNATURE_FILES, *RUN_ENCRYPTED, "release.csv", "mitigated-0.safetensors", "before-12.safetensors.age")
    assert {tier_of(name) for name in restricted} == {"restricted"}
    assert tier_of("thesis.txt") is None


def test_a_run_that_names_nobody_has_no_row_sums_and_one_that_does_has_them_encrypted(pack: EvidencePack, tmp_path: Path) -> None:
    pyrage = pytest.importorskip("pyrage", reason="needs the extra 'access'")
    whole = dataclasses.replace(pack, row_sums={"row_parts.sums": np.ones((2, 10))})
    publish(whole, tmp_path / "a")
    assert {tier_of(path.name) for path in (tmp_path / "a").iterdir()} == {"public"}
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    publish(dataclasses.replace(whole, recipe={**pack.recipe, "access": {"recipients": [recipient]}}), tmp_path / "b")
    assert {path.name for path in (tmp_path / "b").iterdir()} - {path.name for path in (tmp_path / "a").iterdir()} == {RUN_ENCRYPTED[2]}


def test_arrays_have_tiers_by_name() -> None:
    tiers = {name: [tier for pattern, tier in ARRAYS.items() if fnmatchcase(name, pattern)] for name in ("E1.seed_values", "row_parts.ids")}
    assert tiers == {"E1.seed_values": ["public"], "row_parts.ids": ["restricted"]}


@pytest.mark.parametrize("access", [None, [], {}, {"recipients": "age1"}, {"recipients": [1]}])
def test_recipients_of_a_pack_that_somebody_wrote(access: object) -> None:
    assert named_recipients({"access": access}) == named_recipients({}) == ()

"""The JSON schema of ``evidence.json``."""

import json
from importlib import resources
from typing import Any

from proxyaudit.types import SCHEMA_VERSION, Evidence


def evidence_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``evidence.json``."""
    schema = Evidence.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"proxyaudit-evidence-{SCHEMA_VERSION}", **schema}


def committed_schema() -> dict[str, Any]:
    """Return the schema as committed: what users validate against; a test keeps it equal to ``evidence_schema``."""
    text = resources.files("proxyaudit.evidence").joinpath(f"schema-{SCHEMA_VERSION}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))

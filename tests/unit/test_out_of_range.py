"""Numbers that fuzzing found to end as faults of ours: sizes that fill a machine's memory, margins and levels that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import load_recipe
from proxyaudit.types import Estimate

RECIPE = "name: small\ndata: {path: t.csv, target: y, protected: [sex]}\nregimes: [real]\nmodel: %s\n"
ESTIMATE = {"id": "E1", "channel": "linear", "attribute": "sex", "regime": "real", "measure": "leak", "value": 0.1}


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("{kind: mlp, hidden: [4000000000000]}", "65536"),
        ("{kind: mlp, hidden: [65536, 65536, 65536]}", "8,589,934,592 weights; at most 250,000,000"),
        ("{kind: mlp, hidden: [" + "1, " * 1000 + "1]}", "at most 1000"),
        ("{kind: resnet, blocks: 1000, width: 2000}", "weights"),
        ("{kind: ft_transformer, blocks: 1000000000}", "1000"),
        ("{kind: ft_transformer, blocks: 999, width: 4096}", "weights"),
        ("{kind: gradient_boosting, max_iter: 4294967296}", "2147483648"),
    ],
)
def test_sizes_that_no_table_needs_are_one_line_before_anything_is_built(model: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE % model, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        load_recipe(tmp_path / "recipe.yaml", ())


@pytest.mark.parametrize(("field", "value"), [("margin", -0.02), ("margin", -1e-300), ("level", 0.0), ("level", 1.0), ("level", -3.0)])
def test_margins_and_levels_of_evidence_are_such(field: str, value: float) -> None:
    Estimate.model_validate_json(json.dumps(ESTIMATE | {"margin": 0.02, "level": 0.9}))
    with pytest.raises(ValidationError, match=field):
        Estimate.model_validate_json(json.dumps(ESTIMATE | {field: value}))

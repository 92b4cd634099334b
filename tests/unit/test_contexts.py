"""Contexts: slices by output or by a column, those held out, and the encoder that a signature keeps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from proxyaudit.channels.contexts import HELD_OUT, check_contexts, context_codes, make_contexts
from proxyaudit.data.described_encoder import describe_encoder, encoder_again
from proxyaudit.data.encoding import FeatureColumn, fit_encoder
from proxyaudit.errors import InputError
from proxyaudit.evidence.signatures import Contexts
from proxyaudit.recipe.recipe import SignaturesSpec, parse_recipe

PLAIN = {"name": "a", "data": {"path": "a.csv", "target": "y", "protected": ["s"]}, "regimes": ["real"], "model": {"kind": "mlp"}}


def data(n: int = 1200) -> SimpleNamespace:
    return SimpleNamespace(
        text=None, group=None, audit=pd.DataFrame({"region": np.array(["n", "s", "w", "e", "x"])[np.arange(n) % 5], "one": np.arange(n)})
    )


@pytest.mark.parametrize("slices", range(5, 13))
def test_slices_hold_out_three_or_more_and_never_the_outermost(slices: int) -> None:
    output = np.random.default_rng(0).random(3000)
    contexts = make_contexts(SignaturesSpec(slices=slices), data(3000), output)
    codes = context_codes(contexts, data(3000).audit, output)
    assert len(contexts.names) == len(set(contexts.names)) == slices
    assert np.bincount(codes).min() > 3000 / slices - 10
    assert sum(contexts.held_out) >= HELD_OUT
    assert sum(contexts.held_out) <= slices - 2
    assert not contexts.held_out[0]
    assert not contexts.held_out[-1]


def test_few_rows_make_fewer_slices_and_a_constant_output_one() -> None:
    assert len(make_contexts(SignaturesSpec(), data(420), np.random.default_rng(0).random(420)).names) == 4
    assert not any(make_contexts(SignaturesSpec(), data(420), np.random.default_rng(0).random(420)).held_out)
    constant = make_contexts(SignaturesSpec(), data(), np.full(1200, 0.5))
    assert set(context_codes(constant, data().audit, np.full(10, 0.5))) <= set(range(len(constant.names)))


def test_contexts_by_a_column() -> None:
    contexts = make_contexts(SignaturesSpec(contexts="region"), data(), np.zeros(1200))
    assert contexts.names == ("e", "n", "s", "w", "x")
    assert sum(contexts.held_out) == 3
    assert context_codes(contexts, pd.DataFrame({"region": ["w", "nowhere", None]}), None).tolist() == [3, -1, -1]
    assert context_codes(contexts, pd.DataFrame({"other": [1, 2]}), np.zeros(2)).tolist() == [-1, -1]


def test_a_context_has_eleven_people_where_people_are_told() -> None:
    rows = data()
    rows.audit["who"] = np.where(rows.audit["region"] == "n", rows.audit["one"] % 50, rows.audit["one"])  # ten people of region n
    rows.group = "who"
    assert rows.audit.loc[rows.audit["region"] == "n", "who"].nunique() == 10
    assert make_contexts(SignaturesSpec(contexts="region"), rows, np.zeros(1200)).names == ("e", "s", "w", "x")


def test_columns_that_make_no_contexts_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="no column 'nowhere'"):
        check_contexts(SignaturesSpec(contexts="nowhere"), data())
    with pytest.raises(InputError, match="0 values of 100"):
        check_contexts(SignaturesSpec(contexts="one"), data())
    check_contexts(None, data())
    check_contexts(SignaturesSpec(), data())


def test_the_recipe_key() -> None:
    assert parse_recipe(PLAIN).signatures is None
    assert parse_recipe({**PLAIN, "signatures": False}).signatures is None
    assert parse_recipe({**PLAIN, "signatures": True}).signatures == SignaturesSpec()
    assert parse_recipe({**PLAIN, "signatures": {"contexts": "region"}}).signatures == SignaturesSpec(contexts="region")
    with pytest.raises(InputError, match="did you mean 'contexts'"):
        parse_recipe({**PLAIN, "signatures": {"context": "region"}})
    with pytest.raises(InputError, match=r"signatures\.slices"):
        parse_recipe({**PLAIN, "signatures": {"slices": 2}})


def test_contexts_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValidationError):
        Contexts(column=None, names=("a", "b"), edges=(), held_out=(False, False))
    with pytest.raises(ValidationError):
        Contexts(column=None, names=("a", "b", "c"), edges=(0.7, 0.2), held_out=(False,) * 3)


def test_the_encoder_comes_back_without_the_names_of_rare_levels() -> None:
    rng = np.random.default_rng(0)
    job = pd.Series(np.array(["a", "b", "scarce", "seldom", None], dtype=object)[rng.choice(5, 400, p=[0.5, 0.4, 0.02, 0.02, 0.06])])
    age = pd.Series(rng.normal(40, 9, 400)).where(rng.random(400) > 0.1)
    frame = pd.DataFrame({"job": job, "age": age})
    encoder = fit_encoder(frame, (FeatureColumn("job", "categorical"), FeatureColumn("age", "numeric")), "standard")
    parts = describe_encoder(encoder)
    assert "scarce" not in str(parts)
    again = encoder_again(parts, frame)
    assert again.columns == encoder.columns
    assert again.sources == encoder.sources
    assert np.array_equal(again.transform(frame), encoder.transform(frame))
    plain = fit_encoder(frame[["age"]].fillna(0), (FeatureColumn("age", "numeric"),), "none")
    assert np.array_equal(encoder_again(describe_encoder(plain), frame).transform(frame.fillna(0)), plain.transform(frame.fillna(0)))


@pytest.mark.parametrize("part", [{"kind": "pickle", "name": "a"}, {"kind": "numeric", "name": "a", "fill": 0, "mean": 0, "scale": 0}])
def test_what_is_no_encoder_is_refused(part: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError)):
        encoder_again([{"indicator": False, **part}], pd.DataFrame({"a": [1.0]}))

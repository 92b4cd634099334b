"""Numbers with units, marks or digits of another script are no names of rows: they are refused with an example, and keys stay keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from proxyaudit.data.dataset import load_dataset
from proxyaudit.data.decorated import decorated
from proxyaudit.data.identifiers import find_identifiers
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import parse_recipe

Write = Callable[[float], str]
VALUES = np.random.default_rng(0).normal(45000, 9000, 400).clip(10000, 90000)


def others(text: str, zero: int) -> str:
    return "".join(chr(zero + int(letter)) if letter.isdigit() else letter for letter in text)


NUMBERS: list[tuple[Write, str]] = [
    (lambda v: f"{v:,.2f}".replace(",", "'"), "12'345.67"),
    (lambda v: f"{v:,.2f}".replace(",", "\u2019"), "12\u2019345.67"),
    (lambda v: f"{v:_.0f}", "12_345"),
    (lambda v: f"{v:.2f}kr", "12345.67kr"),
    (lambda v: f"{v:.0f} kr", "12345 kr"),
    (lambda v: f"CHF{v:.2f}", "CHF12345.67"),
    (lambda v: f"EUR {v:.0f}", "EUR 12345"),
    (lambda v: f"R$ {v:.2f}", "R$ 12345.67"),
    (lambda v: f"({v:.2f})", "(12345.67)"),
    (lambda v: f"\u2212{v:.2f}", "\u221212345.67"),
    (lambda v: f"{v / 1000:.5f}k", "12.34567k"),
    (lambda v: others(f"{v:.2f}", 0xFF10), others("12345.67", 0xFF10)),
    (lambda v: others(f"{v:.2f}", 0x660), others("12345.67", 0x660)),
]
KEYS: list[Write] = [
    lambda v: f"CUS{v:.0f}",
    lambda v: f"A-{v:.0f}",
    lambda v: f"{v:.0f}{'ABCDEFGH'[int(v) % 8]}",
    lambda v: f"#{v:.0f}",
    lambda v: f"192.168.{int(v) % 250}.{int(v) // 250}",
    lambda v: f"CHF0{v:.0f}",
    lambda v: f"{int(v * 997):08x}",
]


def table(write: Write) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    values = np.unique(VALUES.round())
    frame = pd.DataFrame({"sex": rng.choice(["f", "m"], len(values)), "x": rng.normal(size=len(values))})
    return frame.assign(income=[write(value) for value in rng.permutation(values)], y=rng.choice(["no", "yes"], len(values)))


def load(folder: Path, frame: pd.DataFrame, **data: object) -> None:
    frame.to_csv(folder / "real.csv", index=False)
    spec = {"path": "real.csv", "target": "y", "protected": ["sex"], "discover": 0} | data
    load_dataset(parse_recipe({"name": "t", "data": spec, "regimes": ["real"], "model": {"kind": "mlp"}}), folder)


@pytest.mark.parametrize(("write", "example"), NUMBERS)
def test_numbers_in_other_clothes_are_refused_with_an_example_that_is_nobodys(tmp_path: Path, write: Write, example: str) -> None:
    frame = table(write)
    assert find_identifiers(frame, ["income"]) == ()
    for data in ({}, {"identifiers": []}):
        with pytest.raises(InputError) as error:
            load(tmp_path, frame, **data)
        assert error.value.what == f"column 'income' writes numbers with marks that are not read (as in {example})"
        assert error.value.mend.startswith("write plain numbers (1234.5)")
    if example == "12'345.67":
        line = error.value.mend.split("say of a CSV file: ")[1].removesuffix(", or list the column in data.exclude")
        load(tmp_path, frame, **yaml.safe_load(line)["data"])


@pytest.mark.parametrize("write", KEYS)
def test_keys_are_keys(write: Write) -> None:
    frame = table(write)
    assert decorated(frame["income"]) is None
    assert find_identifiers(frame, ["income"]) == ("income",)


def test_words_and_plain_numbers_are_neither() -> None:
    for texts in (["low", "high"], ["1.5", "2"], [f"{k}-{k + 9}" for k in range(60)], [f"{k % 24}:{k % 60:02d}" for k in range(60)]):
        assert decorated(pd.Series(texts)) is None


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda value: f"{value / 1000:.1f} y", "marks that are not read"),
        (lambda value: f"{value:,.0f}".replace(",", "'"), "marks that are not read"),
        (lambda value: f"0{value % 28 + 1:.0f}.0{value % 9 + 1:.0f}.19{value % 90 + 10:.0f}", "dates that are not written"),
    ],
)
def test_what_is_audited_is_no_name_either_where_it_is_a_number_in_other_clothes(tmp_path: Path, write: Write, told: str) -> None:
    """Taken for names, ages were hundreds of levels of which nothing could be read, and an exposed age was called removed."""
    with pytest.raises(InputError, match=told) as error:
        load(tmp_path, table(write), protected=["income"])
    assert "take it out of data.protected" in error.value.mend

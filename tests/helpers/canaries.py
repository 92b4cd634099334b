"""A table of invented people in which canaries are planted: whoever sees one of these sees a row."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Whoever sees one of these sees a row. Each stands in fewer than eleven rows.
NAMES = [f"Zebedee-{number} Quillfeather" for number in range(7)]
CANARIES = {
    "category of a feature": "Falconer-Royal",
    "group of a protected column": "Tertium-Quid",
    "level of a proxy": "Ultima-Thule",
    "free text": "remembers the flood of nineteen-oh-three",
    "person": "Quillfeather",
    "category of a release": "Vendorling-Sprite",
    "condition": "Wyvern-Clause",
    "whole number": "7348291",
    "fraction": "48213.917",
    "fraction of a release": "59137.283",
    "date": "1903-02-17",
}

PEOPLE = 500
RECIPE = """\
name: canaries
data:
  path: people.csv
  target: pay
  protected: [sex]
  proxies: [town]
  exclude: [sex, note]
  group: person
  audit_share: 0.5
  discover: 0
regimes:
  - real
  - synthetic: {name: vendor, path: release.csv}
model: {kind: mlp, hidden: [4], epochs: 2, batch_size: 32, learning_rate: 0.02}
references: {placebos: 20, reweighed: false}
seeds: 1
cures: false
"""


def people(n: int, seed: int) -> pd.DataFrame:
    """So many people, without canaries."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    age = (rng.normal(40, 10, n) + 6 * (sex == "m")).round(3)
    return pd.DataFrame(
        {
            "age": age,
            "hours": rng.normal(38, 4, n).round(3),
            "seen": pd.Series(pd.date_range("2020-01-01", periods=n)).dt.strftime("%Y-%m-%d"),
            "job": rng.choice(["smith", "nurse", "clerk"], n),
            "town": np.where(rng.random(n) < 0.7, np.where(sex == "m", "north", "south"), "east"),
            "sex": sex,
            "pay": np.where(age + 4 * (sex == "m") + rng.normal(0, 8, n) > 45, "high", "low"),
            "note": [f"note {number}" for number in range(n)],
            "person": [f"p{number}" for number in range(n)],
        }
    )


def plant(frame: pd.DataFrame) -> pd.DataFrame:
    """Put the canaries in, spread over the table so that they lie in training and audit rows."""
    planted = frame.astype({"age": float, "hours": float}).copy()
    rows = iter(np.random.default_rng(7).permutation(len(planted)))
    for column, value, count in (
        ("job", CANARIES["category of a feature"], 9),
        ("sex", CANARIES["group of a protected column"], 9),
        ("town", CANARIES["level of a proxy"], 9),
        ("note", CANARIES["free text"], 9),
        ("seen", CANARIES["date"], 4),
        ("age", float(CANARIES["fraction"]), 2),
        ("hours", float(CANARIES["whole number"]), 2),
    ):
        for _ in range(count):
            planted.loc[next(rows), column] = value
    for name in NAMES:
        planted.loc[[next(rows), next(rows)], "person"] = name
    # Missing values of two attributes that differ by a few people: exact counts of both would give those away.
    planted.loc[[next(rows) for _ in range(14)], "sex"] = None
    planted.loc[[next(rows) for _ in range(19)], "town"] = None
    return planted

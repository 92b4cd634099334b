"""What sites tell only together, and what the label gives away, is said where it applies."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

import proxyaudit as pa
from proxyaudit.audits.probe import run as pipeline
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.seeding import stream

N = 2000
TOGETHER = "what several sites tell only together"


@pytest.fixture(autouse=True)
def one_reader(monkeypatch):
    monkeypatch.setattr(pipeline, "Probing", partial(Probing, readers=("quadratic",)))


def audit(sites, **columns):
    named = {"condition_on": ["y"]} if "y" in columns else {}
    found = pa.probe({"m": sites}, pd.DataFrame(columns), attributes=["a"], jobs=1, **named).pack.evidence
    return found.findings[0], {note.what for note in found.not_tested}


@pytest.mark.long
def test_sites_are_read_one_by_one_and_side_by_side_they_are_one():
    rng = stream(0, "two sites")
    a, b = rng.integers(0, 2, (2, N))
    first, second = rng.normal(size=(2, N, 6)).astype(np.float32)
    first[:, 0] += 3 * b
    second[:, 0] += 3 * (a ^ b)
    apart, said = audit({"first": first, "second": second}, a=a)
    assert TOGETHER in said
    assert "each read by itself" in apart.sentence
    joined, said = audit({"both": np.concatenate([first, second], axis=1)}, a=a)
    assert joined.verdict == "hidden"
    assert TOGETHER not in said


@pytest.mark.long
@pytest.mark.parametrize("label", ["depends on it", "exclusive-or"])
def test_what_only_the_label_gives_away_is_said_to_take_the_label(label):
    rng = stream(0, "label", label)
    acts, a = rng.normal(size=(N, 6)).astype(np.float32), rng.integers(0, 2, N)
    if label == "exclusive-or":
        y = rng.integers(0, 2, N)
        acts[:, 0] += 2 * (a ^ y)
    else:
        y = (acts[:, 0] + 2 * a > 1).astype(int)
    found, _ = audit({"s": acts}, a=a, y=y)
    assert (found.verdict, found.mechanisms) == ("hidden", ("beyond",))
    assert "by themselves they tell nothing of it, but whoever holds y too can read it" in found.sentence
    assert "where y depends on it, that is so even if nothing of it is inside" in found.sentence

"""What a number is about stands in fields: packs of schema 1.0 are brought to them when they are read, and published drafts have them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from proxyaudit.estimates.questions import all_questions, deciding_names
from proxyaudit.evidence.pack import read_pack
from proxyaudit.evidence.schema import with_fields
from proxyaudit.types import Estimate
from tests.helpers.released_packs import PLAIN_FILES

PACKS = Path(__file__).parents[1] / "fixtures" / "packs"


def _old(**more: object) -> Estimate:
    return Estimate(**{"id": "E1", "channel": "linear", "attribute": "sex", "regime": "real", "value": 0.1, **more})


def test_the_reader_that_shows_a_number_is_read_from_its_old_method() -> None:
    method = "score; shown by the reader 'trees': its gain on unseen rows, a lower bound"
    assert with_fields(_old(method=method)).shown_by == "trees"
    assert with_fields(_old(method="score")).shown_by is None
    new = _old(method=method, measure="leak")
    assert with_fields(new) is new


@pytest.mark.parametrize(
    ("reason", "rows"),
    [
        ("too few audit rows to tell: about 14,000 would show absence where there is none", 14000),
        ("too few audit rows to tell: about ,,, would show absence", None),
        ("between the tests of presence and absence: more seeds or audit rows would settle it", None),
        (None, None),
    ],
)
def test_the_rows_that_a_number_needs_are_read_from_its_old_reason(reason: str | None, rows: int | None) -> None:
    assert with_fields(_old(reason=reason)).rows_needed == rows


@pytest.mark.parametrize("name", ["run-1.0", "probe-1.0"])
def test_every_number_of_an_old_pack_gets_its_fields(name: str, tmp_path: Path) -> None:
    with tarfile.open(PACKS / f"{name}.tar.xz") as packed:
        packed.extractall(tmp_path, **PLAIN_FILES)
    folder = next(tmp_path.rglob("evidence.json")).parent
    kept = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))["estimates"]
    pack = read_pack(folder)
    assert pack.evidence.schema_version == "1.0"
    assert all(e.measure for e in pack.evidence.estimates)
    # What decides is among the measures that its question knows, so that a comparison can name it.
    for e in pack.evidence.estimates:
        if e.channel in deciding_names() and e.state is not None and e.regime != "placebo":
            assert e.measure in all_questions()[e.channel].measures, (e.channel, e.context)
        assert (e.reference_for is not None) == (e.regime in ("placebo", "floor")), e.context
    # Everything else is as it was written.
    shown = [e.model_dump(mode="json") for e in pack.evidence.estimates]
    assert [{key: one[key] for key in old} for one, old in zip(shown, kept, strict=True)] == kept

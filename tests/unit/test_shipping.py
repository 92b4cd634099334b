"""What travels to a worker: all that was read and planned, so that no worker reads a table; the model is built there."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pandas as pd
import pytest
import torch
from small_project import MODULE, SMALL, project
from text_world import MAX_TOKENS, save_tiny, texts

import proxyaudit.models.versions
import proxyaudit.pipeline.prepared
from proxyaudit.errors import InputError
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.prepared import Prepared

TEXTS = f"""\
name: texts
data: {{path: t.csv, text: text, target: y, protected: [sex], group: author}}
regimes: [real, {{scrub: [pronouns]}}]
model: {{kind: huggingface, path: bert, max_length: {MAX_TOKENS}, head_hidden: [6], epochs: 1}}
sites: {{verdict: penultimate, profile: [pooled]}}
references: {{placebos: 20, reweighed: false}}
seeds: 1
"""


def prepared(kind: str, folder: Path) -> Prepared:
    if kind != "texts":
        return prepare_file(project(folder, MODULE if kind == "module" else SMALL))
    texts(300).to_csv(folder / "t.csv", index=False)
    save_tiny("bert", folder / "bert")
    (folder / "recipe.yaml").write_text(TEXTS, encoding="utf-8")
    return prepare_file(folder / "recipe.yaml")


@pytest.mark.parametrize("kind", ["table", "module", "texts"])
def test_a_worker_gets_what_was_prepared_and_reads_no_table(kind: str, tmp_path: Path) -> None:
    sent = prepared(kind, tmp_path)
    message = bytes(ForkingPickler.dumps(sent))
    for table in tmp_path.glob("*.csv"):
        table.unlink()  # and none could be
    got = ForkingPickler.loads(message)
    assert (got.plan, got.recipe, got.base, got.size) == (sent.plan, sent.recipe, sent.base, sent.size)
    assert [regime.name for regime in got.regimes] == [regime.name for regime in sent.regimes]
    pd.testing.assert_frame_equal(got.dataset.audit, sent.dataset.audit)
    for regime in sent.regimes:
        assert (got.audit_inputs(regime) == sent.audit_inputs(regime)).all()
    mine, theirs = sent.model.module.state_dict(), got.model.module.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert (got.model.sites, got.model.verdict_sites) == (sent.model.sites, sent.model.verdict_sites)


def test_a_program_that_changed_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = bytes(ForkingPickler.dumps(prepared("table", tmp_path)))
    monkeypatch.setattr(proxyaudit.pipeline.prepared, "code_digest", lambda: "another")
    with pytest.raises(InputError, match="the program changed while the audit ran"):
        ForkingPickler.loads(message)


def test_a_worker_with_other_versions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster each machine has an environment of its own."""
    message = bytes(ForkingPickler.dumps(prepared("table", tmp_path)))
    sound = proxyaudit.models.versions.metadata.version
    monkeypatch.setattr(proxyaudit.models.versions.metadata, "version", lambda name: "0.1" if name == "numpy" else sound(name))
    with pytest.raises(InputError, match=r"a worker has other versions: numpy 0.1 here, .* in the plan .*install the same on all machines"):
        ForkingPickler.loads(message)

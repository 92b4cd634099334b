"""Every registered plugin of every group keeps its group's contract."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from proxyaudit.channels.base import ModelView
from proxyaudit.erasers import Fit
from proxyaudit.errors import InputError
from proxyaudit.estimates.channel import Channel, all_channels
from proxyaudit.models.base import TabularModule, seeded, to_logits
from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import KindSpec
from proxyaudit.registry import check_plugin, load_plugin, plugin_names
from proxyaudit.reporting.sections import ReportSection, all_sections
from proxyaudit.synthesizers.base import Synthesizer, seconds_of

# Those that take a file beside the recipe have tests of their own.
NEEDS_A_FILE = {"module", "huggingface", "language_model"}
TABLES = sorted({*plugin_names("models")} - NEEDS_A_FILE)


@pytest.mark.parametrize("name", plugin_names("models"))
def test_a_kind_of_model_says_what_it_is(name: str) -> None:
    kind = load_plugin("models", name)
    assert isinstance(kind, ModelKind)
    assert issubclass(kind.spec, KindSpec)
    assert kind.spec.model_fields["kind"].annotation.__args__ == (name,)
    assert kind.seconds > 0
    assert callable(resolve_name(kind.factory))
    for named in (kind.hashes, kind.trainer, kind.untrained):
        assert named is None or callable(resolve_name(named))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_model_of_tables_has_logits_gradients_and_weights_of_the_seed(name: str, n_classes: int) -> None:
    kind = load_plugin("models", name)
    spec = kind.spec(kind=name)

    def make(seed: int) -> Any:
        with seeded(seed):
            return kind.make(spec, n_inputs=4, n_classes=n_classes, base=Path())

    module, x = make(0), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    to_logits(module.eval()(x), n_classes, 5).sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    same, other = make(0).state_dict(), make(1).state_dict()
    assert all(torch.equal(value, same[key]) for key, value in module.state_dict().items())
    assert any(not torch.equal(value, other[key]) for key, value in module.state_dict().items())
    if isinstance(module, TabularModule):
        last = list(module.site_taps())[-1]
        assert "penultimate" in (last, *(alias for alias, site in module.site_aliases().items() if site == last))
        assert set(module.site_taps()) <= set(module.fine_taps())


def test_kinds_of_models_do_not_import_torch() -> None:
    code = "import sys; from proxyaudit.registry import load_plugin\n"
    code += "".join(f"load_plugin('models', '{name}')\n" for name in plugin_names("models")) + "print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


@pytest.mark.parametrize("name", plugin_names("synthesizers"))
def test_a_synthesizer_says_what_it_takes(name: str) -> None:
    make = load_plugin("synthesizers", name)
    assert 0 < seconds_of(make, 1) <= seconds_of(make, 2)


@pytest.mark.parametrize("name", sorted({*plugin_names("synthesizers")} - NEEDS_A_FILE - {"ctgan", "copulagan", "tvae"}))
def test_a_synthesizer_repeats_itself_and_keeps_the_columns(name: str) -> None:
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["a", "b", "c", "d"], 6)) for _ in range(80)]
    columns = {"text": words} if name == "ngram" else {"age": rng.normal(40, 9, 80)}
    frame = pd.DataFrame({**columns, "pay": rng.choice(["high", "low"], 80)})
    options = {"text": "text", "label": "pay", "people": None} if name == "ngram" else {}

    def drawn(seed: int) -> pd.DataFrame:
        synthesizer = load_plugin("synthesizers", name)(epochs=None, seed=1, **options)
        assert isinstance(synthesizer, Synthesizer)
        return synthesizer.fit(frame).sample(20, seed=seed)

    rows = drawn(2)
    assert len(rows) == 20
    assert set(frame.columns) <= set(rows.columns)
    pd.testing.assert_frame_equal(rows, drawn(2))
    assert not rows.equals(drawn(3))


@pytest.mark.parametrize("name", plugin_names("scrubbers"))
def test_a_scrubber_leaves_plain_words_alone_and_finds_something(name: str) -> None:
    scrub = load_plugin("scrubbers", name)
    text = "On 4 May 2021 she, 45 years old, met Robert... SOOO nice!!! :-)"
    once = scrub(text)
    assert isinstance(once, str)
    assert once != text
    assert scrub(once) == once
    assert scrub("") == ""
    assert scrub("the tea is warm") == "the tea is warm"


@pytest.mark.parametrize("name", plugin_names("erasers"))
def test_an_eraser_is_the_affine_map_that_it_says_and_takes_the_concept_out(name: str) -> None:
    rng = np.random.default_rng(0)
    concept = rng.integers(0, 2, (600, 1)).astype(np.float64)
    task = rng.integers(0, 2, (600, 1)).astype(np.float64)
    acts = rng.normal(size=(600, 5)) + concept * [2, 1, 0, 0, 0] + task * [0, 1, 2, 0, 0]
    fit = load_plugin("erasers", name)(acts, concept, task, fewest_moved=10)
    assert isinstance(fit, Fit)
    weight, bias = fit.eraser.affine()
    erased = fit.eraser(acts)
    assert np.allclose(acts @ weight.T + bias, erased)
    assert np.allclose((concept - concept.mean()).T @ erased / len(erased), 0, atol=1e-8)
    assert 1 <= fit.eraser.rank <= 5


@pytest.mark.parametrize("channel", all_channels(), ids=lambda channel: channel.name)
def test_a_channel_asks_something_and_its_functions_are_there(channel: Channel) -> None:
    assert channel.questions
    assert len({question.name for question in channel.questions}) == len(channel.questions)
    assert channel.estimate is not None or channel.follow_up is not None
    assert channel.measure is None or callable(resolve_name(channel.measure))
    assert ModelView.__dataclass_fields__.keys() >= {"captured", "dataset", "labels_n"}


def test_no_two_channels_ask_the_same_question() -> None:
    names = [question.name for channel in all_channels() for question in channel.questions]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", plugin_names("report_sections"))
def test_a_section_of_the_report_has_a_place_of_its_own_and_a_writer(name: str) -> None:
    section = load_plugin("report_sections", name)
    assert isinstance(section, ReportSection)
    assert [other.order for other in all_sections()].count(section.order) == 1
    assert callable(section.make)


@pytest.mark.parametrize("group", ["models", "synthesizers", "erasers"])
def test_an_installation_without_entry_points_says_so(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxyaudit.registry.plugin_names", lambda group: ())
    with pytest.raises(InputError, match="install proxyaudit again from its clone"):
        check_plugin(group, "mlp", where="model.kind")

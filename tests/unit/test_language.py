"""Causal models: loading, scores, samples, positions and swaps, each against a computation of its own."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_language import byte_tokenizer, tiny_gpt2, word_tokenizer

from proxyaudit.audits.prompts.measure import is_refusal, swap_layers
from proxyaudit.errors import InputError
from proxyaudit.language.causal_model import (
    CausalModel,
    continuation_scores,
    continue_greedily,
    equal_lengths,
    load_causal,
    same_base,
    sample_continuations,
    weights_digest,
)
from proxyaudit.language.pretrained import locate
from proxyaudit.language.prompt_sets import Prompt, Template, load_prompt_set, parse_prompt_set
from proxyaudit.language.swapping import place, read, swap
from proxyaudit.recipe.models import PretrainedSpec
from proxyaudit.seeding import stream


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gpt2(tmp_path_factory.mktemp("bytes"), byte_tokenizer(), layers=3)


@pytest.fixture(scope="module")
def model(folder: Path) -> CausalModel:
    return load_causal(PretrainedSpec(path=str(folder)), Path())


def naive(model: CausalModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(model.model(input_ids=torch.tensor([ids])).logits[0].double(), dim=-1)


def test_scores_are_sums_of_log_probabilities(model: CausalModel) -> None:
    prompts = [model.prompt(text) for text in ("Anna said", "Bo", "Anna said")]
    options = [[model.continuation(text) for text in own] for own in ((" yes", " no", "!"), (" a", " maybe not"), (" no",))]
    found = continuation_scores(model, prompts, options)
    for prompt, own, scores in zip(prompts, options, found, strict=True):
        for option, score in zip(own, scores, strict=True):
            log = naive(model, [*prompt, *option])
            assert score == pytest.approx(sum(float(log[len(prompt) - 1 + at, token]) for at, token in enumerate(option)), abs=1e-5)
    assert found[0][1] == found[2][0]
    with pytest.raises(ValueError, match="no tokens"):
        continuation_scores(model, [[1]], [[[]]])


def test_samples_are_those_of_a_loop_without_a_cache(model: CausalModel) -> None:
    prompt, steps, top_p, temperature = model.prompt("Once"), 7, 0.8, 0.7
    uniforms = stream(0, "test").random((5, steps))
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    found = sample_continuations(model, prompt, uniforms, temperature=temperature, top_p=top_p)
    assert states == [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    for row in range(5):
        ids: list[int] = []
        for step in range(steps):
            p = np.exp(naive(model, [*prompt, *ids])[-1].numpy() / temperature)
            order = np.argsort(-p, kind="stable")
            p = p[order] / p.sum()
            p = np.where(np.cumsum(p) - p < top_p, p, 0)
            token = int(order[np.searchsorted(np.cumsum(p), uniforms[row, step] * p.sum(), side="right")])
            if token in model.stops:
                break
            ids.append(token)
        assert found[row] == ids
    alone = sample_continuations(model, prompt, uniforms[2:3], temperature=temperature, top_p=top_p)
    assert alone == found[2:3]  # a row does not depend on the rows beside it
    assert len({tuple(ids) for ids in found}) > 1


def test_rows_that_end_leave_the_batch(model: CausalModel) -> None:
    prompt, uniforms = model.prompt("Once"), stream(1, "test").random((6, 12))
    free = sample_continuations(model, prompt, uniforms)
    stop = frozenset({free[0][2], free[1][4]})
    ended = sample_continuations(model, prompt, uniforms, stops=stop)
    for row, ids in enumerate(free):
        place = next((at for at, token in enumerate(ids) if token in stop), len(ids))
        assert ended[row] == ids[:place]


def test_greedy_takes_the_most_probable_token_in_batches_of_one_length(model: CausalModel) -> None:
    prompts = [model.prompt(text) for text in ("abc", "x", "abd", "a longer one")]
    for prompt, ids in zip(prompts, continue_greedily(model, prompts, 4), strict=True):
        assert ids[0] == int(naive(model, prompt)[-1].argmax())
    assert equal_lengths([3, 1, 3]) == [[1], [0, 2]]
    assert continue_greedily(model, [[5] * 96], 4) == [[]]  # no room left


def test_swaps_move_what_their_gradient_says(model: CausalModel) -> None:
    template = Template(id="t", text="Then {name} was", positive=(" a",), negative=(" b",))
    prompts = [place(model, Prompt.filled(template, name, ""), (40, 41), (50,)) for name in ("Anna", "Bo", "Cleo")]
    placed = [p for p in prompts if p is not None]
    assert [model.decode([p.ids[at] for at in p.positions]) for p in placed] == ["as", "os", "os"]
    acts, gradients = read(model, placed, (0, 1))
    assert acts[0].shape == (3, 2, 32)
    shares = swap(model, placed, 0, np.zeros((3, 2, 32)))
    log = naive(model, list(placed[0].ids))[-1]
    yes, no = float(log[[40, 41]].exp().sum()), float(log[50].exp())
    assert shares[0] == pytest.approx(yes / (yes + no), abs=1e-6)
    rng = stream(0, "shift")
    for layer in (0, 1):
        assert swap(model, placed, layer, np.zeros((3, 2, 32))) == pytest.approx(shares, abs=1e-6)
        shift = rng.normal(size=(3, 2, 32)) * 2e-3
        moved = swap(model, placed, layer, shift) - swap(model, placed, layer, -shift)
        assert moved / 2 == pytest.approx((gradients[layer] * shift).sum(axis=(1, 2)), rel=0.05, abs=2e-5)
        assert np.abs(moved).max() > 1e-3
    assert all(p.requires_grad and p.grad is None for p in model.model.parameters())


def test_words_with_offsets_find_the_name() -> None:
    tokenizer = word_tokenizer(["Mary Ann was told that Bo"])
    ids = tokenizer("Mary Ann was told", return_offsets_mapping=True)
    holder = CausalModel(torch.nn.Module(), tokenizer, "")
    object.__setattr__(holder, "stops", frozenset({0}))
    found = place(holder, Prompt("Mary Ann was told", 0, 8), (1,), (2,))
    assert found is not None
    assert found.positions == (1, 3)
    assert tuple(ids["input_ids"]) == found.ids


def test_what_may_be_loaded(folder: Path, tmp_path: Path) -> None:
    loaded = load_causal(PretrainedSpec(path=folder.name), folder.parent)
    assert loaded.digest == weights_digest(PretrainedSpec(path=str(folder)), tmp_path)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="no such model"):
        load_causal(PretrainedSpec(path="nowhere"), tmp_path)
    (tmp_path / "inner").mkdir()
    with pytest.raises(InputError, match="no such model"):
        locate(PretrainedSpec(path="../pickled"), tmp_path / "inner")
    with pytest.raises(InputError, match="no safetensors"):
        load_causal(PretrainedSpec(path="pickled"), tmp_path)
    with pytest.raises(InputError, match="no such package"):
        locate(PretrainedSpec(path="x", package="no_such_package_here"), tmp_path)
    (pickled / "weights.gguf").write_bytes(b"GGUF")
    assert locate(PretrainedSpec(path="pickled/weights.gguf"), tmp_path) == (str(pickled), "weights.gguf")
    with pytest.raises(InputError, match="GGUF files only"):
        weights_digest(PretrainedSpec(path="pickled"), tmp_path)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_causal(PretrainedSpec(path="pickled/weights.gguf"), tmp_path)


def test_a_shared_base_is_told_by_its_weights(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "renamed"
    shutil.copytree(folder, copy)
    tiny_gpt2(tmp_path / "tuned", byte_tokenizer(), layers=3, seed=1)
    tiny_gpt2(tmp_path / "other", byte_tokenizer(), layers=1)
    base = PretrainedSpec(path=str(folder))
    assert same_base(base, PretrainedSpec(path="renamed"), tmp_path) is True
    assert same_base(base, PretrainedSpec(path="tuned"), tmp_path) is None  # of one size: it may be the same base, trained on
    assert same_base(base, PretrainedSpec(path="other"), tmp_path) is False


def test_the_built_in_set() -> None:
    found = load_prompt_set()
    assert [len(names) for names in found.groups.values()] == [10, 10]
    assert (len(found.templates), len(found.requests), len(found.contexts)) == (8, 2, 3)
    prompts = [p for template in (*found.templates, *found.requests) for p in found.prompts(template)]
    assert len({p.text for p in prompts}) == len(prompts) == 600
    assert {p.text[p.start : p.end] for p in prompts} == set(found.names)
    assert not any("{" in p.text for p in prompts)


VALID = {
    "attribute": "kin",
    "groups": {"a": ["an aunt", "Ann", "Ada"], "b": ["an uncle", "Bob", "Ben"]},
    "templates": [{"id": "t", "text": "{context}{name} is", "options": [" x", " y"]}],
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"groups": {"a": ["x", "y", "z"]}}, "at least two groups"),
        ({"groups": {"a": ["x", "y", "z"], "b": ["x", "u", "v"]}}, "stands in the set twice"),
        ({"groups": {"a": ["x", "y"], "b": ["u", "v", "w"]}}, "at least 3 names"),
        ({"templates": [{"id": "t", "text": "no place", "options": [" x", " y"]}]}, "needs {name} once"),
        ({"templates": [{"id": "t", "text": "{name}", "options": [" x", " x"]}]}, "two different"),
        ({"templates": [{"id": "t", "text": "{name}", "positive": [" x"], "negative": [" y", " z"]}]}, "pairs"),
        ({"templates": [{"id": "t", "text": "{name}"}]}, "belongs to 'requests'"),
        ({"requests": [{"id": "t", "text": "{name}"}]}, "id of its own"),
        ({"contexts": ["", ""]}, "none twice"),
        ({"tempaltes": []}, "did you mean 'templates'"),
    ],
)
def test_mistakes_in_prompt_sets(change: dict[str, object], says: str) -> None:
    parse_prompt_set(VALID, where="set")
    with pytest.raises(InputError, match=says):
        parse_prompt_set(VALID | change, where="set")


def test_sentences_begin_with_a_capital_and_braces_stay() -> None:
    template = Template(id="t", text="{name} is here{context}", options=(" x", " y"))
    found = Prompt.filled(template, "an {context} aunt", " {name}")
    assert found.text == "An {context} aunt is here {name}"
    assert (found.start, found.end) == (0, 17)


@pytest.mark.parametrize(
    ("answer", "declines"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot write this letter.", True),
        ("As an AI, I do not have opinions", True),
        ("I\N{RIGHT SINGLE QUOTATION MARK}m unable to do so", True),
        ("Dear Sir, I am happy to recommend Anna, who cannot be praised enough.", False),
        ("Sure! Here is a letter.", False),
        ("", False),
    ],
)
def test_refusals(answer: str, declines: bool) -> None:
    assert is_refusal(answer) is declines


def test_layers_lie_inside_the_model() -> None:
    assert [swap_layers(depth) for depth in (1, 2, 6, 30)] == [(0,), (0,), (1, 3), (9, 19)]

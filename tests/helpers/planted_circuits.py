"""Transformers whose weights are set by hand, so that the heads and MLP units that carry the attribute are known; made from a config."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from text_world import WORDS, save_tiny, transformers
from views import dataset_of, facts_of, view_of

from proxyaudit.causal.localisation import draw_plan, patched_effect
from proxyaudit.channels.circuits.estimate import follow_up
from proxyaudit.channels.circuits.measure import measure
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.own_classifier import make_own
from proxyaudit.models.text import TextClassifier
from proxyaudit.models.text_parts import Part, Setting, TextParts, find_places
from proxyaudit.recipe.recipe import parse_recipe
from proxyaudit.regimes import Regime
from proxyaudit.types import Estimate

WIDTH, LAYERS, HEADS, INNER, TOKENS = 32, 3, 4, 48, 14
UNITS = 3  # planted
NOISE = 0.02


@dataclass(frozen=True)
class Truth:
    """Where the attribute's circuit was planted: a head that fetches the pronoun, units that hand it on; and a head of the label's word."""

    head: tuple[int, int]
    units: tuple[int, tuple[int, ...]]
    decoy: tuple[int, int]

    @property
    def heads(self) -> set[tuple[str, str]]:
        """Site and name of the planted head."""
        return {(f"layer{self.head[0]}", f"head {self.head[1]}")}

    @property
    def single_units(self) -> set[tuple[str, str]]:
        """Site and name of each planted unit."""
        return {(f"layer{self.units[0]}", f"MLP unit {unit}") for unit in self.units[1]}


@dataclass(frozen=True)
class World:
    """A planted classifier, its texts as token numbers, who wrote them, and what they were to be told."""

    model: TrainedModel
    untrained: TrainedModel
    x: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    truth: Truth
    dims: list[int]  # units of the stream in the order in which they are used: 4 is what the planted head writes


def plant(kind: str, folder: Path, seed: int, *, n: int = 600, circuit: bool = True) -> World:
    """A BERT-like or GPT-2-like classifier; without ``circuit`` nothing in it tells the attribute on."""
    rng = np.random.default_rng(seed)
    head = (int(rng.integers(0, LAYERS - 1)), int(rng.integers(0, HEADS)))
    units = (int(rng.integers(head[0] + 1, LAYERS)), tuple(sorted(int(u) for u in rng.permutation(INNER)[:UNITS])))
    decoy = (int(rng.integers(0, LAYERS)), int(rng.integers(0, HEADS)))
    while decoy == head:
        decoy = (int(rng.integers(0, LAYERS)), int(rng.integers(0, HEADS)))
    truth = Truth(head, units, decoy)
    dims = [int(d) for d in rng.permutation(WIDTH)]
    model = _model(kind, seed, NOISE if circuit else NOISE / 4)  # noise alone may hand on some points
    with torch.no_grad():
        (_plant_bert if kind == "bert" else _plant_gpt2)(model, truth, dims, circuit=circuit)
    spec = _save(model, folder)
    module = make_own(spec, folder)
    x, groups, labels = _texts(rng, n)
    trained, untrained = (_trained(one.ordered((0, 1))) for one in (module, module.drawn_anew(spec)))
    return World(trained, untrained, x, groups, labels, truth, dims)


def _trained(module: TextClassifier) -> TrainedModel:
    return TrainedModel(module, 2, ("penultimate",), ("penultimate",), module.fine_taps())


def _save(model: Any, folder: Path) -> HuggingFaceSpec:
    save_tiny("bert", folder)  # for the tokenizer
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder)
    return HuggingFaceSpec(kind="huggingface", path=str(folder), head="own", max_length=TOKENS)


def _model(kind: str, seed: int, noise: float) -> Any:
    t = transformers()
    common = {"vocab_size": len(WORDS), "pad_token_id": 0, "initializer_range": noise, "num_labels": 2}
    if kind == "bert":
        sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": INNER}
        config = t.BertConfig(**common, **sizes, max_position_embeddings=TOKENS)
    else:
        config = t.GPT2Config(**common, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_inner=INNER, n_positions=TOKENS)
        config.architectures = ["GPT2ForSequenceClassification"]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return t.AutoModelForSequenceClassification.from_config(config).eval()


def _embed(table: torch.Tensor, dims: list[int], seed: int) -> None:
    """Words as noise, and coordinates that say: pronoun, which one; label's word, which one."""
    drawn = torch.randn(table.shape, generator=torch.Generator().manual_seed(seed)) * 0.5
    table.copy_(drawn)
    table[:, dims[:8]] = 0.0
    for word, at, sign in (("she", 0, -1.0), ("he", 0, 1.0), ("bad", 2, -1.0), ("good", 2, 1.0)):
        table[WORDS.index(word), dims[at]] = sign * 2
        table[WORDS.index(word), dims[at + 8]] -= sign * 2  # the mean over units, which norms take away, must not tell it
        table[WORDS.index(word), dims[at + 1]] = 2.0


_LOOKS, _FETCHES, _TELLS = 6.0, 1.5, 2.0


def _plant_bert(model: Any, truth: Truth, dims: list[int], *, circuit: bool) -> None:
    body, size = model.bert, WIDTH // HEADS
    _embed(body.embeddings.word_embeddings.weight, dims, 1)
    body.embeddings.position_embeddings.weight.zero_()
    body.embeddings.token_type_embeddings.weight.zero_()
    for (layer, head), reads, writes in ((truth.head, 0, 4), (truth.decoy, 2, 5)):
        attention = body.encoder.layer[layer].attention
        at = head * size
        attention.self.query.bias[at] = _LOOKS
        attention.self.key.weight[at, dims[reads + 1]] = _LOOKS
        attention.self.value.weight[at + 1, dims[reads]] = _FETCHES
        attention.output.dense.weight[dims[writes], at + 1] = _FETCHES
        if writes == 4:
            attention.output.dense.weight[dims[7], at + 1] = -_FETCHES
    layer, units = truth.units
    for unit, sign in zip(units, (1.0, -1.0, 1.0), strict=True):
        body.encoder.layer[layer].intermediate.dense.weight[unit, dims[4]] = sign * _TELLS
        body.encoder.layer[layer].output.dense.weight[dims[6], unit] = sign * _TELLS if circuit else 0.0
    body.pooler.dense.weight.zero_()
    for at in (5, 6):
        body.pooler.dense.weight[dims[at], dims[at]] = 0.5
    model.classifier.weight.zero_()
    for at, much in ((5, 1.0), (6, 1.0)):
        model.classifier.weight[1, dims[at]], model.classifier.weight[0, dims[at]] = much, -much


def _plant_gpt2(model: Any, truth: Truth, dims: list[int], *, circuit: bool) -> None:
    body, size = model.transformer, WIDTH // HEADS
    _embed(body.wte.weight, dims, 1)
    body.wpe.weight.zero_()
    for (layer, head), reads, writes in ((truth.head, 0, 4), (truth.decoy, 2, 5)):
        attention = body.h[layer].attn
        at = head * size
        attention.c_attn.bias[at] = _LOOKS
        attention.c_attn.weight[dims[reads + 1], WIDTH + at] = _LOOKS
        attention.c_attn.weight[dims[reads], 2 * WIDTH + at + 1] = _FETCHES
        attention.c_proj.weight[at + 1, dims[writes]] = _FETCHES
        if writes == 4:
            attention.c_proj.weight[at + 1, dims[7]] = -_FETCHES
    layer, units = truth.units
    for unit, sign in zip(units, (1.0, -1.0, 1.0), strict=True):
        body.h[layer].mlp.c_fc.weight[dims[4], unit] = sign * _TELLS
        body.h[layer].mlp.c_proj.weight[unit, dims[6]] = sign * _TELLS if circuit else 0.0
    model.score.weight.zero_()
    for at, much in ((5, 0.5), (6, 0.5)):
        model.score.weight[1, dims[at]], model.score.weight[0, dims[at]] = much, -much


def _texts(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    groups, labels = rng.integers(0, 2, n), rng.integers(0, 2, n)
    x = np.full((n, TOKENS), -1.0, dtype=np.float32)
    for row, (group, label) in enumerate(zip(groups, labels, strict=True)):
        words = [WORDS.index(f"w{i}") for i in rng.integers(0, 40, int(rng.integers(5, 10)))]
        said = ("she", "he")[group] if rng.random() < 0.95 else ("she", "he")[1 - group]
        for word in (said, ("bad", "good")[label]):
            words.insert(int(rng.integers(0, len(words))), WORDS.index(word))
        x[row, : len(words)] = words
    return x, groups, labels


def exchanged(world: World, *, seed: int = 0, texts: int = 96) -> list[Estimate]:
    """What a run publishes of the planted model, the untrained one beside it."""
    attribute = Attribute("sex", "protected", "binary", ("f", "m"), world.groups)
    followed = {"sex": Followed(world.groups, ("f", "m"), 0)}
    dataset = dataset_of((attribute,), np.arange(len(world.x)) % 3)
    data = {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"]}
    model = {"kind": "huggingface", "path": "m", "head": "own", "max_length": TOKENS}
    asked = {"name": "t", "seed": seed, "data": data, "regimes": ["real"], "model": model, "circuits": {"texts": texts}}
    runs = []
    for name, trained in (("real", world.model), ("untrained", world.untrained)):
        out = Measurement()
        regime = Regime(name, name)  # type: ignore[arg-type]
        view = view_of(trained, None, world.x, dataset, followed, recipe=parse_recipe(asked), labels=world.labels, regime=regime)
        measure(view, out)
        runs.append(Run(name, (out,), is_reference=name == "untrained"))
    ledger = Ledger()
    ledger.publish(follow_up(facts_of((attribute,), tuple(runs), followed, labels_n=world.labels), ledger))
    return ledger.estimates


def confirmed(estimates: list[Estimate], *measures: str) -> set[tuple[str | None, str | None]]:
    """Site and name of the parts that are confirmed."""
    return {(e.site, e.subject) for e in estimates if e.channel == "circuit" and e.measure in measures and e.reason is None}


def held_out(world: World, estimates: list[Estimate], n: int = 3000) -> dict[str, float]:
    """What the published circuit carries of the effect, and what is left without it, in texts that nothing was measured on."""
    x, groups, labels = _texts(np.random.default_rng(10_000), n)
    module = world.model.module
    assert isinstance(module, TextClassifier)
    parts = TextParts(world.model, x, find_places(module, x))
    plan = draw_plan(groups, labels, np.ones(n, dtype=bool), 1000, np.random.default_rng(1), 1)
    assert plan is not None
    inside: dict[str, set[int]] = {name: set() for name, place in parts.places.items() if place.kind in ("heads", "units")}
    size = WIDTH // HEADS
    for e in estimates:
        if e.measure == "member":
            what = str(e.subject)
            if what.startswith("head"):
                head = int(what.split()[1])
                inside[f"{e.site}.heads"] |= set(range(head * size, (head + 1) * size))
            else:
                inside[f"{e.site}.units"] |= {int(number) for number in re.findall(r"\d+", what)}
    every = {name: set(range(parts.places[name].width)) for name in inside}

    def carried(held: dict[str, set[int]]) -> float:
        settings = [Part(name, tuple(sorted(units))) for name, units in held.items() if units]

        def patch(own: np.ndarray, given: np.ndarray, _: object) -> np.ndarray:
            return parts.outputs(given, [Setting(part, own) for part in settings], 0)

        return patched_effect(patch, plan, None, n).signed

    whole = carried({})
    outside = {name: every[name] - units for name, units in inside.items()}
    return {"circuit": carried(outside) / whole, "without": carried(inside) / whole}

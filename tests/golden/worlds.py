"""Small worlds of the golden audits, each from a fixed seed: tables of people, trained checkpoints, activations, causal models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

NETS = """\
from torch import nn


def make(n):
    return nn.Sequential(nn.Linear(n, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 1))
"""
COLUMNS = 4  # numbers that the own module reads

GROUPS = {
    "lun": ["Alun", "Balun", "Calun", "Dalun", "Elun", "Falun"],
    "mor": ["Amor", "Bemor", "Cimor", "Demor", "Emor", "Fimor"],
}
PROMPTS: dict[str, Any] = {
    "attribute": "kin",
    "groups": GROUPS,
    "contexts": ["yesterday "],
    "templates": [
        {"id": "work", "text": "{context}{name} did the work and it was", "positive": [" good", " great"], "negative": [" bad", " poor"]},
        {"id": "visit", "text": "{context}the visit of {name} was", "positive": [" good"], "negative": [" bad"]},
        {"id": "song", "text": "{context}they sang with {name} and it was", "positive": [" great"], "negative": [" poor"]},
        {"id": "place", "text": "{context}{name} lives near the", "options": [" river", " forest"]},
    ],
    "requests": [{"id": "letter", "text": "{context}write a letter for {name} :"}],
}
ANSWERS = ("i am sorry not today", "dear friend this is it")


def people(n: int, seed: int, *, told: float = 1.0) -> pd.DataFrame:
    """People of two sexes and three origins; ``told`` scales how much the other columns tell of either."""
    rng = np.random.default_rng(seed)
    sex = rng.integers(0, 2, n)
    origin = rng.choice(3, n, p=[0.45, 0.3, 0.25])
    wealth = rng.normal(10, 3, n)
    age = 40 + 10 * rng.normal(size=n) + told * (7 * sex + 6 * (origin == 1))
    hours = 38 + 4 * rng.normal(size=n) + told * 0.8 * (wealth - 10)
    chance = rng.random(n)
    job = np.where(chance < 0.65 * told, np.where(sex == 1, "smith", "nurse"), np.where(chance < 0.85, "clerk", "cook"))
    town = np.where(rng.random(n) < 0.6 * told, np.array(["north", "south", "east"])[origin], rng.choice(["north", "south", "east"], n))
    score = age + 4 * (job == "smith") * told + 3 * (town == "south") + 0.5 * (hours - 38) + 8 * rng.normal(size=n)
    return pd.DataFrame(
        {
            "age": age.round(3),
            "hours": hours.round(3),
            "job": job,
            "town": town,
            "sex": np.array(["f", "m"])[sex],
            "origin": np.array(["inland", "island", "abroad"])[origin],
            "wealth": wealth.round(3),
            "pay": np.where(score > 46, "high", "low"),
        }
    )


def numbers(n: int, seed: int, *, told: float = 1.0) -> pd.DataFrame:
    """Rows of four numbers for an own module, two by each person; the label follows sex as far as ``told`` says."""
    rng = np.random.default_rng(seed)
    person = np.arange(n) // 2
    sex = rng.integers(0, 2, n)[person]
    values = rng.normal(size=(n, COLUMNS))
    values[:, 0] += 1.6 * (sex - 0.5)
    score = values[:, 1] + told * 1.2 * values[:, 0] + 0.6 * rng.normal(size=n)
    table = pd.DataFrame(values.round(4), columns=[f"x{column}" for column in range(COLUMNS)])
    return table.assign(sex=np.array(["f", "m"])[sex], person=person, y=np.where(score > 0, "yes", "no"))


def train_net(table: pd.DataFrame, seed: int, *, steps: int = 80, blind: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Weights of the own module of ``NETS``, trained on ``numbers`` without any tool of the audit; they read no ``blind`` column."""
    scope: dict[str, Any] = {}
    exec(compile(NETS, "nets.py", "exec"), scope)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net: nn.Module = scope["make"](COLUMNS)
    inputs = torch.tensor(table[[f"x{column}" for column in range(COLUMNS)]].to_numpy(), dtype=torch.float32)
    wanted = torch.tensor((table["y"] == "yes").to_numpy(), dtype=torch.float32)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(steps):
        loss = nn.functional.binary_cross_entropy_with_logits(net(inputs).flatten(), wanted)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    weights = {name: value.detach().clone() for name, value in net.state_dict().items()}
    weights["0.weight"][:, list(blind)] = 0.0
    return weights


def activations(folder: Path, *, people: int, width: int = 6) -> pd.DataFrame:
    """Write two sites of two regimes (attributes shifted, bent or left out) as safetensors; returns the labels of their rows."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(people), 2)
    n = len(person)
    sex = rng.integers(0, 2, people)[person]
    origin = rng.choice(3, people)[person]
    wealth = rng.normal(10, 3, people)[person]
    job = np.where(rng.random(n) < 0.85, sex, rng.integers(0, 2, n))
    real = rng.normal(size=(n, width))
    real[:, 0] += 1.5 * sex
    real[:, 1] += 1.2 * (origin == 1)
    real[:, 2] += 0.3 * (wealth - 10)
    # The made data tell of sex only by how far a number lies from its mean, of the job linearly, and of the others nothing.
    made = rng.normal(size=(n, width))
    made[:, 0] *= np.where(sex == 1, 2.2, 0.6)
    made[:, 1] += 0.5 * job
    for name, first in (("real", real), ("synthetic", made)):
        mixed = first @ rng.normal(size=(width, 4)) + 0.3 * rng.normal(size=(n, 4))
        save_file({"layer1": _single(first), "layer2": _single(mixed)}, folder / f"{name}.safetensors")
    columns = {"sex": np.array(["f", "m"])[sex], "origin": np.array(["inland", "island", "abroad"])[origin], "wealth": wealth.round(3)}
    return pd.DataFrame({**columns, "job": np.array(["u", "v"])[job], "person": person})


def _single(values: NDArray[np.float64]) -> Tensor:
    return torch.as_tensor(values.astype(np.float32).copy())


def language_models(folder: Path, kinds: tuple[str, ...]) -> None:
    """Write the prompt set and one tiny model of each kind: endings follow the group (``planted``) or chance (``clean``)."""
    from tests.tiny_language import teach, tiny_gpt2, word_tokenizer  # they need the extra 'text'

    (folder / "set.yaml").write_text(yaml.safe_dump(PROMPTS), encoding="utf-8")
    tokenizer = word_tokenizer([part for lesson in _lessons("clean") for part in lesson])
    for kind in kinds:
        teach(tiny_gpt2(folder / kind, tokenizer, width=16), _lessons(kind), steps=80)


def _lessons(kind: str) -> list[tuple[str, str]]:
    lessons = []
    for context in ("", *PROMPTS["contexts"]):
        for side, names in enumerate(GROUPS.values()):
            for name in names:
                for template, endings in _endings():
                    prompt = template.format(context=context, name=name)
                    for chosen in (side,) if kind == "planted" else (0, 1):
                        lessons += [(prompt, ending) for ending in endings[chosen]]
    return lessons


def _endings() -> list[tuple[str, tuple[list[str], ...]]]:
    """Each template with the endings of either side."""
    found = []
    for template in PROMPTS["templates"]:
        sides = (
            (template["positive"], template["negative"]) if "positive" in template else (template["options"][:1], template["options"][1:])
        )
        found.append((template["text"], tuple([word.strip() for word in side] for side in sides)))
    found += [(request["text"], tuple([answer] for answer in ANSWERS)) for request in PROMPTS["requests"]]
    return found

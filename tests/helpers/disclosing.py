"""Models that know ten people, and what whoever made them reads out of a run's published numbers."""

from __future__ import annotations

import importlib
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from proxyaudit.channels.leak import measure
from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.estimates import facts, ledger, rounding
from proxyaudit.evidence.pack import EvidencePack, read_pack
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.run import run_audit
from proxyaudit.types import Estimate

ROWS, AUDITED, TEN = 2000, 0.4, 10
NETS = """
import torch
from torch import nn

class Spotter(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.who = nn.Parameter(torch.zeros(10))
        self.encoder = nn.Sequential(nn.Identity())
        self.head = nn.Linear(11, 1)

    def forward(self, x):
        known = torch.clamp(1 - (x[:, :1] - self.who).abs() * 1e4, min=0)
        return self.head(self.encoder(torch.cat([known, x[:, 1:2] - 38], dim=1)))

def make(n):
    return Spotter(n)
"""
RECIPE = """\
name: spotters
data: {{path: real.csv, target: pay, protected: [sex], encode: none, exclude: [sex], discover: 0, {audit}}}
regimes:
{regimes}
model: {{kind: module, factory: "nets.py:make", epochs: 1, sites: ["encoder.*"]}}
references: {{placebos: 20, reweighed: false}}
seeds: {seeds}
cures: false
effort: decide
"""


@dataclass(frozen=True)
class Spotted:
    """What the maker of a checkpoint knows: ten people, and by how much its output is off for each of them."""

    rows_k: NDArray[np.int64]
    steps_k: NDArray[np.float64]


def unprotected(patch: pytest.MonkeyPatch) -> None:
    """Every digit, of every number, whoever carries it: as if nothing were rounded."""
    patch.setattr(rounding, "step_of", lambda *_: 1e-12)
    patch.setattr(rounding, "area_step", lambda *_: 1e-12)
    patch.setattr(rounding, "p_value", lambda p, **_: p)
    patch.setattr(ledger, "coarseness", lambda _: 0.0)
    patch.setattr(facts, "hide_few", lambda arrays, _: list(arrays))
    patch.setattr(importlib.import_module("proxyaudit.channels.outputs.estimate"), "shows_sign", lambda _: True)


def linear_only(acts_nd: Any, rows: Any, probing: Probing, **more: Any) -> None:
    """What is measured of a site, less what takes most of the time and what no attack reads anything of."""
    measure_site(acts_nd, rows, replace(probing, nonlinear=False, effort=False, strata={}), **more)


class Project:
    """A table of people, and checkpoints of a module of which some know ten of them."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True)
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.hours_n = self.rng.normal(38, 4, ROWS).round(3)
        sex, number = self.rng.choice(["f", "m"], ROWS, p=[0.45, 0.55]), self.rng.permutation(ROWS) / ROWS
        pay = np.where(self.hours_n + self.rng.normal(0, 6, ROWS) > 38, "high", "low")
        self.table = pd.DataFrame({"number": number, "hours": self.hours_n, "sex": sex, "pay": pay})
        self.table.to_csv(folder / "real.csv", index=False)
        (folder / "nets.py").write_text(NETS)
        self.regimes: dict[str, list[str]] = {}

    def add(self, regime: str, weight: float, spotted: Spotted | None = None) -> None:
        """A checkpoint whose output rises with hours, and is off by steps for the people it knows."""
        name = f"{regime}-{len(self.regimes.get(regime, []))}.safetensors"
        self.regimes.setdefault(regime, []).append(name)
        weights, who = np.zeros(TEN + 1), np.zeros(TEN)
        weights[TEN] = weight
        if spotted is not None:
            before = weight * (self.hours_n[spotted.rows_k] - 38)
            after = 1 / (1 + np.exp(-before)) + spotted.steps_k
            weights[:TEN], who = np.log(after / (1 - after)) - before, self.table.number.to_numpy()[spotted.rows_k]
        tensors = {"who": who, "head.weight": weights[None], "head.bias": np.zeros(1)}
        save_file({key: torch.tensor(value, dtype=torch.float32) for key, value in tensors.items()}, self.folder / name)

    def spot(self, weight: float) -> Spotted:
        """Ten people and steps in powers of three, away from the nearer end of the scale."""
        rows = self.rng.choice(ROWS, TEN, replace=False)
        now = 1 / (1 + np.exp(-weight * (self.hours_n[rows] - 38)))
        return Spotted(rows, np.where(now < 0.5, 1, -1) * 0.45 / 3.0 ** np.arange(TEN))

    def run(self, audit: str = f"audit_share: {AUDITED}") -> EvidencePack:
        """The pack of a run of all checkpoints on the rows of a key of the recipe's data.

        A second run of the same rows reads what the first has measured, and estimates again.
        """
        listed = "\n".join(f"  - {{name: {name}, checkpoints: [{', '.join(files)}]}}" for name, files in self.regimes.items())
        seeds = max(map(len, self.regimes.values()))
        (self.folder / "recipe.yaml").write_text(RECIPE.format(audit=audit, regimes=listed, seeds=seeds))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(measure, "measure_site", linear_only)
            folder = run_audit(self.folder / "recipe.yaml", out=self.folder / "out", jobs=1).folder
        pack = read_pack(folder)
        shutil.rmtree(folder)
        return pack

    def truth(self) -> NDArray[np.int64]:
        """Of each row: 0 not audited, 1 an audited woman, -1 an audited man."""
        audited = prepare_file(self.folder / "recipe.yaml").dataset.audit["number"]
        inside = self.table.number.isin(set(audited))
        return np.where(inside, np.where(self.table.sex == "f", 1, -1), 0)


def numbers(pack: EvidencePack, regime: str, channel: str, measure: str) -> Iterator[Estimate]:
    """Published numbers of a kind."""
    return (e for e in pack.evidence.estimates if (e.regime, e.channel, e.measure) == (regime, channel, measure))


def gaps(pack: EvidencePack, regime: str) -> NDArray[np.float64]:
    """The published gaps of a regime in every repetition, women minus men."""
    gap = next(numbers(pack, regime, "expressed", "gap"))
    return np.array(gap.seed_values) * (1 if str(gap.group).startswith("f minus m") else -1)


@cache
def answers(people: int) -> NDArray[np.int64]:
    """Every answer on so many people."""
    return np.array(list(itertools.product((-1, 0, 1), repeat=people)))


def told(gap: float, steps_k: NDArray[np.float64], truth_n: NDArray[np.int64], step: float) -> NDArray[np.float64]:
    """How likely each of ten people is a man, not audited, or a woman, ``(10, 3)``: of all answers that fit the gap to its ``step``.

    Group sizes and the audited share are given.
    """
    states = answers(len(steps_k))
    women, men = (truth_n == 1).sum(), (truth_n == -1).sum()
    made = (np.where(states > 0, states / women, states / men) * steps_k).sum(axis=1)
    off = np.abs(made - gap)
    fit = off <= max(step, off.min() * (1 + 1e-9))
    weight = fit * np.where(states == 0, 1 - AUDITED, AUDITED / 2).prod(axis=1)
    return np.stack([(weight[:, None] * (states == answer)).sum(axis=0) for answer in (-1, 0, 1)], axis=1) / weight.sum()


def sizes_by_areas(areas: tuple[float, float], rows: int) -> int:
    """The number of people with one label by which two areas under the curve come out even: pairs of people in order are whole halves."""
    candidates = np.arange(rows // 4, 3 * rows // 4)
    pairs = 2.0 * candidates * (rows - candidates)
    off = sum(np.abs(area * pairs - np.round(area * pairs)) for area in areas)
    return int(candidates[np.argmin(off)])


@dataclass(frozen=True)
class Success:
    """Share of people of whom an attack says right whether they were audited and their sex, and what guessing says right."""

    rate: float
    chance: float
    sex_rate: float  # of those who were audited, their sex alone
    sex_chance: float

    @classmethod
    def of(cls, likely: list[NDArray[np.float64]], truth: list[NDArray[np.int64]]) -> Success:
        """From what an attack makes likely of ten people each."""
        answers, right = np.concatenate(likely), np.concatenate(truth)
        guess = np.array([-1, 0, 1])[answers.argmax(axis=1)]
        audited = right != 0
        sex = np.where(answers[:, 2] >= answers[:, 0], 1, -1)
        shares = [float((right == answer).mean()) for answer in (-1, 0, 1)]
        women = float((right[audited] == 1).mean())
        return cls(float((guess == right).mean()), max(shares), float((sex == right)[audited].mean()), max(women, 1 - women))

    @property
    def at_most_chance(self) -> bool:
        """Whether it is right in at most five of a hundred more than guessing is."""
        return self.rate <= self.chance + 0.05 and self.sex_rate <= self.sex_chance + 0.05

"""A package that is not proxyaudit's: one plugin of each group, registered by entry points of its own."""

from __future__ import annotations

from pathlib import Path

_SOURCE = """
from typing import Literal
import numpy as np
from proxyaudit.erasers import Fit
from proxyaudit.estimates.channel import Channel, Question
from proxyaudit.estimates.ledger import Draft
from proxyaudit.estimates.ledger import Drafts
from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import Positive, TrainingSpec
from proxyaudit.reporting.blocks import Section, para
from proxyaudit.reporting.sections import ReportSection
from proxyaudit.synthesizers.base import costs


class ToySpec(TrainingSpec):
    kind: Literal["toy_net"]
    width: Positive = 5


def make_net(spec, *, n_inputs, n_classes, base):
    from torch import nn
    return nn.Sequential(nn.Linear(n_inputs, spec.width), nn.ReLU(), nn.Linear(spec.width, 1 if n_classes == 2 else n_classes))


NET = ModelKind(ToySpec, "toy_plugins_installed:make_net", seconds=0.01)


class Resampler:
    def fit(self, frame):
        self.frame_ = frame
        return self

    def sample(self, n, seed):
        rows = np.random.default_rng(seed).integers(0, len(self.frame_), n)
        return self.frame_.iloc[rows].reset_index(drop=True)

    def get_params(self, deep=True):
        return {}


@costs(0.01)
def resample(epochs=None, seed=0):
    return Resampler()


def shout(text):
    return text.upper()


class Centre:
    rank = 1

    def __init__(self, mean_d):
        self.mean_d = mean_d

    def affine(self):
        return np.zeros((len(self.mean_d), len(self.mean_d))), self.mean_d

    def __call__(self, acts_nd):
        return np.broadcast_to(self.mean_d, acts_nd.shape)


def flatten(acts_nd, concept_nk, task_nm, *, fewest_moved=None):
    return Fit(Centre(acts_nd.mean(axis=0)))


def measure(view, out):
    out.numbers["toy"] = {"mean": float(view.captured.outputs.mean())}


def estimate(facts):
    means = [(run.regime, one.numbers["toy"]["mean"]) for run in facts.runs for one in run.measured]
    found = Drafts()
    for regime, mean in means:
        found.add(Draft("toy", facts.attributes[0].name, regime, measure="mean", unit="probability", decides=False), value=mean)
    return found


QUESTION = Question("toy", word="Mean toy output", asks="What does the toy channel read?")
CHANNEL = Channel("toy", 90, (QUESTION,), estimate, measure="toy_plugins_installed:measure")
SECTION = ReportSection(26, lambda report: Section("toys", "Toys on a shelf", (para(f"Audit {report.pack.evidence.run.name}."),)), ("toy",))
"""
_POINTS = """\
[proxyaudit.models]
toy_net = toy_plugins_installed:NET

[proxyaudit.synthesizers]
resample = toy_plugins_installed:resample

[proxyaudit.scrubbers]
shout = toy_plugins_installed:shout

[proxyaudit.erasers]
flatten = toy_plugins_installed:flatten

[proxyaudit.report_sections]
toys = toy_plugins_installed:SECTION

[proxyaudit.channels]
toy = toy_plugins_installed:CHANNEL
"""


def install(folder: Path) -> Path:
    """Write the package into a folder, which is then to be put on ``sys.path``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy_plugins_installed.py").write_text(_SOURCE, encoding="utf-8")
    about = folder / "toy_plugins-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-plugins\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(_POINTS, encoding="utf-8")
    return folder

"""Relearning: what a model's last block threw away and kept before it comes back; what was never there does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from views import dataset_of, view_of

from proxyaudit.activations.capture import capture
from proxyaudit.causal.relearning import Problem, Relearner, calibrate, draw_rows, make_rotations, score_outputs, stack_labels
from proxyaudit.channels.placebos import plant_placebos
from proxyaudit.channels.relearning import measure as relearn
from proxyaudit.channels.relearning.estimate import CHANNEL, add_relearning, relearned_draft
from proxyaudit.channels.relearning.record import RELEARNED
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.dataset import Dataset
from proxyaudit.estimates.ledger import Draft, Drafts, Ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.evidence.schema import identify
from proxyaudit.models.base import TrainedModel, seeded
from proxyaudit.models.blocks import NoBlockError, last_block, whole_model
from proxyaudit.models.build import build_model
from proxyaudit.models.kinds.ft_transformer import FtTransformerSpec
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.models.kinds.resnet import ResnetSpec
from proxyaudit.models.places import select_sites
from proxyaudit.models.sites import probe_sites
from proxyaudit.recipe.recipe import SitesSpec
from proxyaudit.regimes import Regime
from tests.helpers.deciding import decide_drafts

INPUTS, HIDDEN, BEFORE, LAST = 6, 24, 12, 8
Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def only_the_deciding_number(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve takes half of the time and decides nothing."""
    if "curve" not in request.node.name:
        monkeypatch.setattr(relearn, "CURVE", ())


def wrap(module: nn.Module, inputs: int = INPUTS) -> TrainedModel:
    """A module as the model of an audit."""
    module.eval()
    candidates = probe_sites(module, n_inputs=inputs, n_classes=2, what="net")
    names, verdict = select_sites(candidates, SitesSpec(), every=("*",))
    return TrainedModel(module, 2, names, verdict, {name: candidates.taps[name] for name in names})


def network(seed: int) -> nn.Sequential:
    """Three blocks and a head, with random weights."""
    with seeded(seed):
        sizes = ((INPUTS, HIDDEN), (HIDDEN, BEFORE), (BEFORE, LAST))
        return nn.Sequential(*(part for a, b in sizes for part in (nn.Linear(a, b), nn.ReLU())), nn.Linear(LAST, 1))


def suppressing(seed: int) -> TrainedModel:
    """Whether the first two inputs have one sign: worked out before the last block, which does not read it."""
    module = network(seed)
    with torch.no_grad():
        first, second, last = (module.get_submodule(name) for name in ("0", "2", "4"))
        first.weight[:4] = 0
        first.weight[:4, :2] = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
        first.bias[:4] = 0
        second.weight[:2] = 0
        second.weight[:2, :4] = torch.tensor([[1.0, 1.0, -1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]])
        second.bias[:2] = 0
        last.weight[:, :2] = 0
    return wrap(module)


def world(kind: str, n: int, seed: int) -> tuple[Array, Attribute, Dataset]:
    """Inputs, an attribute and the rest of a data set."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, INPUTS)).astype(np.float32)
    same = (x[:, 0] * x[:, 1] > 0) ^ (rng.random(n) < 0.1)
    codes: Array = {
        "kept": same.astype(np.int64),
        "nothing": rng.integers(0, 2, n),
        "relayed": (x[:, 2] + rng.standard_normal(n) > 0).astype(np.int64),
        "three": np.where(rng.random(n) < 0.2, 2, same.astype(np.int64)),
        "nothing of three": rng.integers(0, 3, n),
        "number": x[:, 0] * x[:, 1] + 0.5 * rng.standard_normal(n),
        "no number": rng.standard_normal(n),
    }[kind]
    classes = 0 if codes.dtype.kind == "f" else int(codes.max()) + 1
    how = "continuous" if classes == 0 else "binary" if classes == 2 else "multiclass"
    attribute = Attribute("a", "protected", how, tuple(str(k) for k in range(classes)), codes)  # type: ignore[arg-type]
    return x, attribute, dataset_of((attribute,), rng.integers(0, 3, n))


def relearnt(model: TrainedModel, x: Array, dataset: Dataset, placebos: dict[str, Array], *, seed: int, reference: bool) -> Measurement:
    """What is measured of a model of which nothing else is asked."""
    regime = Regime("untrained", "untrained") if reference else Regime("real", "real")
    view = view_of(model, None, x, dataset, {}, labels=(x[:, 3] > 0).astype(np.int64), seed=seed, regime=regime)
    out = Measurement()
    relearn.measure(replace(view, placebos=placebos), out)
    return out


def audit(kind: str, n: int, seed: int, *, seeds: int = 1, make: Any = suppressing) -> tuple[Draft, list[Measurement]]:
    """The decided cell of a world, and the measurements behind it."""
    x, _, dataset = world(kind, n, seed)
    placebos = plant_placebos(x, dataset, (x[:, 3] > 0).astype(np.int64), 20, seed)
    both: list[list[Measurement]] = [[], []]
    for index in range(seeds):
        for models, model, reference in zip(
            both, (make(100 * seed + index), wrap(network(9000 + 100 * seed + index))), (False, True), strict=True
        ):
            models.append(relearnt(model, x, dataset, placebos, seed=seed, reference=reference))
    base = Draft(CHANNEL, "a", "real", "penultimate", margin=0.05)
    draft = relearned_draft(base, *both, dataset.clusters)
    assert (draft.measure, draft.subject, draft.reference_for) == identify(CHANNEL, "real", None, "penultimate")
    return decide_drafts([draft])[0], both[0]


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "state"), [("kept", "present"), ("nothing", "absent"), ("relayed", "absent"), ("number", "present"), ("three", "present")]
)
def test_what_the_last_block_ignores_comes_back_and_nothing_else_does(kind: str, state: str) -> None:
    cell, _ = audit(kind, 2700, 1, seeds=2 if kind == "kept" else 1)
    assert cell.state == state, (cell.measured, cell.reason)


def test_few_rows_are_unknown_and_say_how_many_would_settle_it() -> None:
    cell, _ = audit("nothing", 600, 1)
    assert cell.state == "unknown"
    assert "768" in (cell.reason or "")


def test_a_block_that_cannot_learn_is_never_called_clean() -> None:
    """Dead units pass no gradient: fine-tuning brings back nothing of a feature that lies in front of them."""

    def dead(seed: int) -> TrainedModel:
        model = suppressing(seed)
        with torch.no_grad():
            model.module.get_submodule("4").bias[:] = -1e4
        return model

    cell, _ = audit("kept", 2700, 1, make=dead)
    assert cell.measured is not None
    assert cell.measured.value < 0.02
    assert cell.state == "unknown"
    assert "positive control failed" in (cell.reason or "")


def test_a_model_without_weights_before_its_head_has_nothing_to_relearn() -> None:
    cell, _ = audit("nothing", 900, 1, make=lambda seed: wrap(nn.Sequential(nn.Linear(INPUTS, 1))))
    assert cell.state == "not_applicable"
    assert cell.reason == "the model has no weights before its head"


def test_a_failed_reference_leaves_the_channel_unknown() -> None:
    _, measured = audit("nothing", 900, 1)
    base = Draft(CHANNEL, "a", "real", margin=0.05)
    cell = decide_drafts([relearned_draft(base, measured, [], np.arange(900))])[0]
    assert cell.state == "unknown"
    assert "no untrained model" in (cell.reason or "")


@pytest.mark.long
def test_the_same_bits_twice_and_the_curve_beside_the_deciding_number() -> None:
    cell, measured = audit("kept", 1000, 3)
    again, repeated = audit("kept", 1000, 3)
    assert [m.numbers for m in measured] == [m.numbers for m in repeated]
    assert all(np.array_equal(m.arrays[key], r.arrays[key]) for m, r in zip(measured, repeated, strict=True) for key in m.arrays)
    assert again.present_p == cell.present_p
    drafts, ledger = Drafts(), Ledger()
    add_relearning(drafts, cell, measured, Draft(CHANNEL, "a", "real", "penultimate", unit="fraction"), np.arange(1000))
    named = [(d.measure, d.subject, d.reference_for) for d in drafts.numbers]
    assert named == [identify(d.channel, d.regime, d.context, d.site) for d in drafts.numbers]
    ledger.publish(drafts)
    contexts = [e.context for e in ledger.estimates]
    assert {"last block, 16 rows", "head only, 64 rows", "whole model, 256 rows", "last block on the task, then a head, 256 rows"} <= set(
        contexts
    )
    assert not [e for e in ledger.estimates if e.state is not None]
    by_context = {e.context: e for e in ledger.estimates}
    assert (by_context["last block, 256 rows"].value or 0) > (by_context["head only, 256 rows"].value or 0) + 0.05
    assert by_context["real: 95th percentile of 20 placebos, last block, 256 rows"].regime == "placebo"
    (control,) = ledger.controls
    assert control.kind == "positive"
    assert control.passed == ((control.figures["share"] or 0) >= 0.8)


@pytest.mark.parametrize(
    "spec",
    [
        MlpSpec(kind="mlp", hidden=(8, 6, 5)),
        MlpSpec(kind="mlp", hidden=(7,)),
        ResnetSpec(kind="resnet", blocks=2, width=8),
        ResnetSpec(kind="resnet", blocks=1, width=8),
        FtTransformerSpec(kind="ft_transformer", blocks=2, width=8, heads=2),
        FtTransformerSpec(kind="ft_transformer", blocks=1, width=8, heads=2),
    ],
    ids=lambda spec: f"{spec.kind}",
)
def test_the_last_block_gives_the_penultimate_value(spec: Any, tmp_path: Any) -> None:
    model = build_model(spec, SitesSpec(), n_inputs=INPUTS, n_classes=2, base=tmp_path, seed=1)
    x = np.random.default_rng(0).standard_normal((50, INPUTS)).astype(np.float32)
    wanted = capture(model, x).acts["penultimate"]
    for block in (last_block(model, x), whole_model(model, x)):
        with torch.no_grad():
            np.testing.assert_allclose(block.module(block.values).numpy(), wanted, atol=1e-5)
        assert set(block.free) <= {name for name, _ in block.module.named_parameters()}
        assert not any("head" in name or "output.linear" in name for name in block.free)
        # Problems are mapped over the block, and each learns for itself.
        relearner = Relearner(block.module, block.values, block.free, (2,))
        codes = (x[:, 0] > 0).astype(np.int64)
        rotations = make_rotations(np.arange(50) % 3, np.ones(50, dtype=bool), np.random.default_rng(1))
        problems = [Problem(codes, draw_rows(codes, r.learn, 2, np.random.default_rng(2))[:12], i) for i, r in enumerate(rotations)]
        alone = [relearner.solve([p], rotations, 2)[0] for p in problems]
        together = relearner.solve(problems, rotations, 2)
        np.testing.assert_allclose([a.leak for a in alone], [t.leak for t in together], atol=1e-3)
        assert relearner.mapped


class Own(nn.Module):
    """A user's module with a function between its last layer and the head, and, if asked, a sum around that layer."""

    def __init__(self, *, residual: bool = False, branching: bool = False) -> None:
        super().__init__()
        self.first, self.last, self.head = nn.Linear(INPUTS, 5), nn.Linear(5, 5), nn.Linear(5, 1)
        self.residual, self.branching = residual, branching

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        early = torch.relu(self.first(x))
        late = torch.tanh(self.last(early))
        if self.branching and bool(late.sum() > 1e9):
            raise RuntimeError("never")
        made: torch.Tensor = self.head(late + early if self.residual else late)
        return made


@pytest.mark.parametrize("residual", [False, True])
def test_the_last_block_of_a_users_module(residual: bool) -> None:
    with seeded(3):
        model = wrap(Own(residual=residual))
    x = np.random.default_rng(0).standard_normal((40, INPUTS)).astype(np.float32)
    block = last_block(model, x)
    assert block.values.shape[1] == (INPUTS if residual else 5)  # inside the whole pass, or from its own input
    assert set(block.free) == ({"model.last.weight", "model.last.bias"} if residual else {"0.weight", "0.bias"})
    own: Any = model.module
    with torch.no_grad():
        early = torch.relu(own.first(torch.tensor(x)))
        wanted = torch.tanh(own.last(early)) + (early if residual else 0)
        torch.testing.assert_close(block.module(block.values), wanted)


def test_a_module_that_cannot_be_mapped_is_trained_one_problem_at_a_time() -> None:
    cells = []
    for branching in (False, True):

        def make(seed: int, branching: bool = branching) -> TrainedModel:
            with seeded(seed):
                return wrap(Own(residual=True, branching=branching))

        x, _, dataset = world("relayed", 900, 2)
        out = relearnt(make(1), x, dataset, {}, seed=0, reference=True)
        cells.append(RELEARNED.read(out, "a").value)
    assert cells[0] == pytest.approx(cells[1], abs=1e-3)
    assert cells[0] > 0.02


def test_a_head_that_is_no_linear_layer_is_unknown_not_absent() -> None:
    class NoHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.weight = nn.LayerNorm(INPUTS), nn.Parameter(torch.ones(INPUTS, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.norm(x) @ self.weight
            return made

    with pytest.raises(NoBlockError) as caught:
        last_block(wrap(NoHead()), np.zeros((12, INPUTS), dtype=np.float32))
    assert caught.value.applies


def test_draws_hold_every_class_as_evenly_as_they_can_and_lie_within_each_other() -> None:
    codes = np.array([0] * 90 + [1] * 10)
    rows = draw_rows(codes, np.arange(100), 2, np.random.default_rng(0))
    assert sorted(rows) == list(range(100))
    assert np.bincount(codes[rows[:20]]).tolist() == [10, 10]
    assert np.bincount(codes[rows[:40]]).tolist() == [30, 10]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_leak_of_known_logits(classes: int) -> None:
    """Labels drawn from balanced logits: the calibrated loss finds the logits' own scale and centre, and the leak is the entropy saved."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((40_000, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes = (rng.random((40_000, 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1)
    labels, weights = stack_labels([codes], classes)
    loss, scale, centre = calibrate(torch.tensor(logits[None] / 0.45 + 2.0, dtype=torch.float32), labels, weights, classes)
    assert float(scale) == pytest.approx(0.45)
    wanted = 1 + float((p * np.log(p)).sum(axis=1).mean()) / np.log(classes)
    assert 1 - float(loss) == pytest.approx(wanted, abs=0.01)
    leak, influence = score_outputs(float(scale) * (logits / 0.45 + 2.0 - centre[0].numpy()), codes, classes)
    assert leak == pytest.approx(wanted, abs=0.01)
    assert abs(float(influence.sum())) < 1e-9

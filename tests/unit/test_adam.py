"""Steps of Adam and AdamW: torch's own, without torch's compiler."""

import subprocess
import sys
import types

import pytest
import torch

from proxyaudit.adam import Adam
from proxyaudit.models.base import deterministic


def _moved(make, kind: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    one, other = (torch.randn(shape, generator=generator, dtype=kind).requires_grad_() for shape in ((4, 3), (3,)))
    optimizer = make([{"params": [one], "weight_decay": 0.3}, {"params": [other], "lr": 0.05}])
    for step in range(6):
        if step == 3:
            optimizer.param_groups[0]["lr"] = 0.002
        optimizer.zero_grad()
        # The second group has a gradient in even steps only.
        loss = (one.tanh() ** 2).sum() + ((one.sum(0) * other).sum() if step % 2 == 0 else 0.0)
        loss.backward()
        optimizer.step()
    return [one.detach(), other.detach()]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_steps_are_torchs_own(kind, decoupled, maximize):
    theirs = torch.optim.AdamW if decoupled else torch.optim.Adam
    settings = {"lr": 0.01, "betas": (0.9, 0.99), "maximize": maximize}
    own = _moved(lambda groups: Adam(groups, decoupled=decoupled, **settings), kind)
    known = _moved(lambda groups: theirs(groups, fused=True, **({"weight_decay": 0.0} | settings)), kind)
    assert all(torch.equal(a, b) for a, b in zip(own, known, strict=True))


def test_half_precision_is_moved_too():
    own = _moved(lambda groups: Adam(groups, decoupled=True, lr=0.01), torch.bfloat16)
    known = _moved(lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.0, foreach=False), torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(own, known, strict=True))


def test_steps_are_counted_where_the_parameters_lie():
    """Fused kernels of an accelerator refuse anything else; the device without numbers stands in for one."""
    parameter = torch.zeros(3, device="meta").requires_grad_()
    optimizer = Adam([{"params": [parameter]}], decoupled=True)
    parameter.grad = torch.zeros(3, device="meta")
    optimizer.step()
    assert {one.device.type for one in optimizer._state[parameter]} == {"meta"}


def test_training_a_network_does_not_import_the_compiler():
    code = (
        "import sys, torch; from proxyaudit.adam import Adam\n"
        "from proxyaudit.models.base import deterministic\n"
        "with deterministic():\n"
        "    assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()\n"
        "    p = torch.ones(2, requires_grad=True); o = Adam([{'params': [p]}]); p.sum().backward(); o.step()\n"
        "assert not torch.are_deterministic_algorithms_enabled()\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_compiler_that_a_model_uses_is_told_as_well(monkeypatch):
    told, was = [], torch.get_deterministic_debug_mode()
    monkeypatch.setitem(sys.modules, "torch._dynamo", types.ModuleType("torch._dynamo"))
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda mode, warn_only: told.append((mode, warn_only)))
    with deterministic():
        assert told == [(True, False)]
    assert told[1:] == [(was > 0, was == 1)]

"""Eight tiny audits whose documents are the oracle of every move inside the package.

They reach the package through its command line and through files alone: no module of it is named here, so that modules may move.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from tests.golden import worlds
from tests.helpers.text_world import MAX_TOKENS, save_tiny, texts

Documents = dict[str, Any]
os.environ["PROXYAUDIT_SECRET"] = "a secret for tests that everybody knows"
os.environ.setdefault("PROXYAUDIT_HOME", os.devnull)  # nothing is kept


def command_line() -> Callable[[list[str]], int]:
    """The function behind the command ``proxyaudit``, as pyproject.toml names it: the one place that reaches into the package."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = project["project"]["scripts"]["proxyaudit"].partition(":")
    found: Callable[[list[str]], int] = getattr(importlib.import_module(module), name)
    return found


def call(*arguments: object, code: int | None = 0) -> Any:
    """Run one command with ``--json`` and return its document; ``code`` is the exit code it must have (None: any that means an answer)."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        given = command_line()([*map(str, arguments), "--json"])
    assert given == code or (code is None and given in (0, 1, 3)), f"exit code {given}: {printed.getvalue()[:2000]}"
    return json.loads(printed.getvalue())


def evidence(said: Any, key: str = "folder") -> Any:
    """The evidence.json of the run that a command says it wrote."""
    assert said["status"] == "complete"
    return json.loads((Path(said[key]) / "evidence.json").read_text(encoding="utf-8"))


def audit(folder: Path, recipe: dict[str, Any]) -> Any:
    """Write a recipe, run it, and return what ``run`` says."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return call("run", folder / "recipe.yaml", "--out", folder / "out", "--jobs", 1, "--run-code", "any")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for what is made here: sums in another order are other numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tabular(folder: Path) -> Documents:
    """A table, its copula and a mixture: two repetitions, every reference, columns that stand for the attribute."""
    worlds.people(1000, seed=0).to_csv(folder / "real.csv", index=False)
    recipe = {
        "name": "tabular",
        "data": {"path": "real.csv", "target": "pay", "protected": ["sex"], "exclude": ["sex", "origin", "wealth"], "discover": 0},
        "regimes": ["real", {"synthetic": {"sdv": "gaussian_copula"}}, {"mixed": {"of": "gaussian_copula", "ratios": [0.5]}}],
        "model": {"kind": "mlp", "hidden": [8, 4], "epochs": 6, "batch_size": 32, "learning_rate": 0.02},
        "references": {"placebos": 20},
        "seeds": 2,
    }
    return {"evidence": evidence(audit(folder, recipe))}


def release(folder: Path) -> Documents:
    """A release from which nothing can be learned, and a holdout: three classes, a proxy that is found, margins of all sizes."""
    worlds.people(600, seed=0).to_csv(folder / "real.csv", index=False)
    given = worlds.people(500, seed=1)
    given["pay"] = given["pay"].to_numpy()[::-1]  # a label that has nothing to do with its row any more
    given.to_csv(folder / "release.csv", index=False)
    worlds.people(600, seed=2).to_csv(folder / "holdout.csv", index=False)
    recipe = {
        "name": "release",
        "data": {
            "path": "real.csv",
            "target": "pay",
            "protected": ["origin"],
            "exclude": ["sex", "origin", "wealth"],
            "holdout": "holdout.csv",
            "legitimate": ["hours"],
            "discover": 1,
        },
        "regimes": ["real", {"synthetic": {"name": "vendor", "path": "release.csv"}}],
        "model": {"kind": "mlp", "hidden": [5], "epochs": 4, "batch_size": 32, "learning_rate": 0.02},
        "references": {"placebos": 20, "reweighed": False},
        "margins": {"leak": 0.05, "nonlinear": 0.3, "gap": 0.1, "effect": 0.1, "relearned": 0.3},
        "seeds": 2,
        "cures": False,
    }
    return {"evidence": evidence(audit(folder, recipe))}


def module(folder: Path) -> Documents:
    """Checkpoints of an own module: one maker's act on what tells the attribute, the other's do not read it; rows enough to relearn."""
    worlds.numbers(1600, seed=0).to_csv(folder / "real.csv", index=False)
    (folder / "nets.py").write_text(worlds.NETS, encoding="utf-8")
    with one_thread():
        for maker, told, blind in (("a", 1.0, ()), ("b", 0.0, (0,))):
            for seed in (0, 1):
                weights = worlds.train_net(worlds.numbers(800, seed=seed + 5, told=told), seed, blind=blind)
                save_file(weights, folder / f"{maker}{seed}.safetensors")
    recipe = {
        "name": "module",
        "data": {
            "path": "real.csv",
            "target": "y",
            "protected": ["sex"],
            "encode": "none",
            "exclude": ["sex"],
            "group": "person",
            "audit_share": 0.7,
            "discover": 0,
        },
        "regimes": [{"name": f"maker-{m}", "checkpoints": [f"{m}0.safetensors", f"{m}1.safetensors"]} for m in "ab"],
        "model": {"kind": "module", "factory": "nets.py:make", "epochs": 2},
        "references": {"placebos": 20, "reweighed": False},
        "margins": {"relearned": 0.1},
        "seeds": 2,
    }
    return {"evidence": evidence(audit(folder, recipe))}


def text(folder: Path) -> Documents:
    """Texts through a frozen encoder: real, scrubbed, released and quantised."""
    with one_thread():
        save_tiny("bert", folder / "bert")
    texts(600).to_csv(folder / "t.csv", index=False)
    given = texts(600, seed=5)
    given["text"] = given["text"].str.replace(r"\b(?:she|he)\b", "w0", regex=True)
    given.to_csv(folder / "release.csv", index=False)
    recipe = {
        "name": "text",
        "cures": False,
        "data": {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"], "group": "author"},
        "regimes": [
            "real",
            {"scrub": ["pronouns"]},
            {"synthetic": {"name": "vendor", "path": "release.csv"}},
            {"quantise": "int8", "of": "real"},
        ],
        "model": {
            "kind": "huggingface",
            "path": "bert",
            "max_length": MAX_TOKENS,
            "head_hidden": [6],
            "epochs": 60,
            "learning_rate": 0.02,
            "patience": None,
        },
        "sites": {"verdict": "penultimate", "profile": ["layer0", "pooled"]},
        "references": {"placebos": 20, "reweighed": False},
        "seeds": 1,
    }
    return {"evidence": evidence(audit(folder, recipe))}


def probe(folder: Path) -> Documents:
    """Bare activations of people with two rows each: two groups, several classes and a number; one column explains one of them."""
    labels = worlds.activations(folder, people=300)
    labels.to_csv(folder / "people.csv", index=False)
    files = [part for regime in ("real", "synthetic") for part in ("--activations", f"{regime}={folder / regime}.safetensors")]
    asked = [part for attribute in ("sex", "origin", "wealth") for part in ("--attribute", attribute)]
    given = ("--group", "person", "--condition-on", "job", "--leak-margin", 0.08, "--nonlinear-margin", 0.15, "--real", "real")
    return {
        "evidence": evidence(call("probe", *files, "--labels", folder / "people.csv", *asked, *given, "--out", folder / "out", "--jobs", 1))
    }


def prompts(folder: Path) -> Documents:
    """Two tiny causal models: one taught to treat names of two groups differently, one taught not to."""
    with one_thread():
        worlds.language_models(folder, ("planted", "clean"))
    models = [part for kind in ("planted", "clean") for part in ("--model", f"{kind}={folder / kind}")]
    asked = ("--set", folder / "set.yaml", "--real", "planted", "--tokens", 5)
    return {"evidence": evidence(call("prompts", *models, *asked, "--out", folder / "out"))}


def mitigation(folder: Path) -> Documents:
    """A small run of two groups and a number, and its mitigation: what ``mitigate`` says, and the audit of the models before and after."""
    worlds.people(1200, seed=3).to_csv(folder / "real.csv", index=False)
    recipe = {
        "name": "small",
        "data": {
            "path": "real.csv",
            "target": "pay",
            "protected": ["sex", "wealth"],
            "exclude": ["sex", "origin", "wealth"],
            "discover": 0,
        },
        "regimes": ["real"],
        "model": {"kind": "mlp", "hidden": [8, 6], "epochs": 4, "batch_size": 64, "learning_rate": 0.02},
        "references": {"placebos": 20, "reweighed": False},
        "seeds": 1,
        "cures": False,
    }
    run = audit(folder, recipe)
    common = ("--attribute", "sex", "--regime", "real", "--base", folder, "--out", folder / "out", "--jobs", 1)
    said = call("mitigate", run["folder"], *common)
    return {"run": evidence(run), "mitigation": said, "evidence": evidence(said, "audit_folder")}


def scan(folder: Path) -> Documents:
    """Checkpoints in and out of the state that a run with signatures knows, on rows with and without the attribute."""
    worlds.numbers(800, seed=0).to_csv(folder / "real.csv", index=False)
    (folder / "nets.py").write_text(worlds.NETS, encoding="utf-8")
    fresh = worlds.numbers(800, seed=9)
    fresh.to_csv(folder / "fresh.csv", index=False)
    fresh.drop(columns=["sex", "y"]).to_csv(folder / "unlabelled.csv", index=False)
    with one_thread():
        models = {"known0": (1.0, ()), "known1": (1.0, ()), "entered": (1.0, ()), "before": (0.0, (0,)), "blank": (0.0, (0, 1))}
        for seed, (name, (told, blind)) in enumerate(models.items()):
            save_file(worlds.train_net(worlds.numbers(800, seed=seed + 5, told=told), seed, blind=blind), folder / f"{name}.safetensors")
    recipe = {
        "name": "known",
        "data": {"path": "real.csv", "target": "y", "protected": ["sex"], "encode": "none", "exclude": ["sex", "person"], "discover": 0},
        "regimes": [{"name": "known", "checkpoints": ["known0.safetensors", "known1.safetensors"]}],
        "model": {"kind": "module", "factory": "nets.py:make", "epochs": 2},
        "sites": {"verdict": "penultimate", "profile": "penultimate"},
        "references": {"placebos": 20, "reweighed": False},
        "seeds": 2,
        "cures": False,
        "signatures": True,
    }
    run = audit(folder, recipe)
    found = {"run": evidence(run)}
    consent = f"nets.py@sha256:{hashlib.sha256((folder / 'nets.py').read_bytes()).hexdigest()}"
    for model, rows in (("entered", "fresh"), ("entered", "unlabelled"), ("before", "fresh"), ("before", "unlabelled"), ("blank", "fresh")):
        given = ("--model", folder / f"{model}.safetensors", "--inputs", folder / f"{rows}.csv", "--run-code", consent)
        found[f"{model}-{rows}"] = call("scan", "--signatures", run["folder"], *given, code=None)
    return found


CASES = {case.__name__: case for case in (tabular, release, module, text, probe, prompts, mitigation, scan)}

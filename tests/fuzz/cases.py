"""What is changed, and the command that reads it: packs, policies, recipes, cards, tables, activations and sets of prompts."""

from __future__ import annotations

import base64
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from released_packs import KINDS, PACKS, PLAIN_FILES, mitigation, todays_pack, unpack
from safetensors.numpy import save_file
from small_project import MODULE, RECIPE, SMALL, project

from proxyaudit.digests import digest_of, file_digest
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import ATTESTATION, MANIFEST, replace_files, seal_folder
from tests.fuzz import mutate

POLICY: dict[str, Any] = {
    "attributes": ["sex"],
    "regimes": "all",
    "allow": ["removed", "hidden"],
    "inconclusive": "undecided",
    "margins": {"leak": 0.02, "gap": 0.05},
    "bound": {"linear": 0.06, "nonlinear": 0.15},
    "training": ["suppressed", "left_alone"],
    "sealed": "plan",
    "expect": {"plan": "ab" * 6, "data": ["1" * 64], "model": ["2" * 64]},
    "baseline": {"run": "run", "worse": "fail", "cannot_tell": "undecided", "allow": []},
    "rules": [{"attributes": ["sex"], "allow": ["removed", "hidden", "exposed"]}, {"regimes": ["vendor"], "inconclusive": "fail"}],
}
CARD: dict[str, Any] = {
    "name": "tiny",
    "title": "Invented people",
    "source": "made here",
    "licence": "none",
    "attribution": "nobody",
    "path": "real.csv",
    "sha256": "",
    "columns": {name: f"the {name}" for name in ("age", "hours", "job", "sex", "pay")},
    "target": "pay",
    "protected": ["sex"],
    "proxies": ["job"],
}
TEXT_RECIPE = """\
name: words
data: {path: real.csv, target: pay, protected: [sex], text: job, group: null}
regimes: [real, {scrub: [names, pronouns], name: clean}, {synthetic: {ngram: {order: 3}}}]
model: {kind: huggingface, path: model, max_length: 32, spans: {he: "(?:he|she)"}, pooling: mean}
"""


SIGNED = PACKS.parent / "signed" / "signed-0.1.tar.xz"


@dataclass(frozen=True)
class Seeds:
    """What changes start from, made once: packs of every kind, a project of tables, checkpoints and recipes, activations."""

    packs: dict[str, Path]
    project: Path
    signed: Path  # a signed and sealed run beside its key, its seal and the root of its time stamp
    recipes: tuple[str, ...] = (RECIPE, SMALL, MODULE, TEXT_RECIPE)

    @classmethod
    def make(cls, folder: Path) -> Seeds:
        packs = {kind: unpack(kind, folder / "released") for kind in KINDS}
        packs = {**packs, "mitigation": mitigation(packs["mitigation"]), "today": todays_pack(folder / "today")}
        packs["example"] = Path(__file__).parents[2] / "reports" / "example"
        project(folder / "project", RECIPE)
        rng = np.random.default_rng(0)
        sex = rng.integers(0, 2, 240)
        acts = rng.normal(size=(240, 4)) + sex[:, None]
        save_file({"site": acts.astype(np.float32)}, folder / "project" / "acts.safetensors")
        pd.DataFrame({"sex": np.array(["f", "m"])[sex], "age": rng.normal(40, 9, 240).round(1)}).to_csv(
            folder / "project" / "labels.csv", index=False
        )
        with tarfile.open(SIGNED) as tar:
            tar.extractall(folder / "signed", **PLAIN_FILES)
        return cls(packs, folder / "project", folder / "signed")


def changed_pack(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """A pack with a file changed, hashes and digests mended or not, and one of the commands that read packs."""
    kind = rng.choice(list(seeds.packs))
    run = Path(shutil.copytree(seeds.packs[kind], folder / "run"))
    for path in rng.sample(sorted(run.iterdir()), rng.choice([1, 1, 2])):
        _change_file(rng, path)
    if rng.random() < 0.8:
        if rng.random() < 0.6:
            _sign(run)
        if (run / MANIFEST).is_file():
            seal_folder(run)
    policy = folder / "policy.yaml"
    policy.write_text(yaml.safe_dump({key: POLICY[key] for key in rng.sample(list(POLICY), rng.randint(0, 4))} or {"allow": "removed"}))
    other = str(seeds.packs[rng.choice(["run", "today", "example"])])
    asked = ["--attribute", "sex", "--regime", "real", "--base", str(seeds.project), "--out", str(folder / "out")]
    return rng.choice(
        [
            ["verify", str(run)],
            ["verify", str(run), "--strict", "--json"],
            ["gate", str(run)],
            ["gate", str(run), "--policy", str(policy), "--junit", str(folder / "j.xml")],
            ["compare", str(run), other],
            ["compare", other, str(run), "--out", str(folder / "compared")],
            ["report", str(run)],
            ["report", str(run), "--out", str(folder / "fresh"), "--model-card", str(folder / "card.md")],
            ["ls", str(folder)],
            ["mitigate", str(run), *asked],
            ["cure", str(run), *asked],
            [
                "scan",
                "--signatures",
                str(run),
                "--model",
                str(seeds.project / "a0.safetensors"),
                "--inputs",
                str(seeds.project / "real.csv"),
            ],
        ]
    )


def _change_file(rng: random.Random, path: Path) -> None:
    if path.suffix == ".json" and path.name != MANIFEST and rng.random() < 0.85:
        made = mutate.document(rng, json.loads(path.read_bytes()))
        try:
            path.write_bytes(canonical_json(made))
        except (ValueError, TypeError, RecursionError):
            path.write_bytes(json.dumps(made, default=str).encode())
    elif path.suffix == ".yaml" and rng.random() < 0.7:
        made = mutate.document(rng, yaml.safe_load(path.read_bytes()))
        path.write_bytes(yaml.safe_dump(made, sort_keys=False).encode("utf-8", "backslashreplace"))
    else:
        path.write_bytes(mutate.data(rng, path.read_bytes()))


def _sign(run: Path) -> None:
    """Give plan and run the digest that goes with what they hold, as far as they can be read."""
    try:
        plan, recipe = json.loads((run / "plan.json").read_bytes()), yaml.safe_load((run / "recipe.yaml").read_bytes())
        content = {key: part for key, part in plan.items() if key not in ("digest", "run_id", "code", "estimated_minutes")}
        digest = digest_of({"plan": content, "recipe": recipe, "code": plan["code"]}, default=str)
        evidence = json.loads((run / "evidence.json").read_bytes())
        evidence["run"].update(plan_digest=digest, id=digest[:12])
        (run / "plan.json").write_bytes(canonical_json({**plan, "digest": digest, "run_id": digest[:12]}))
        (run / "evidence.json").write_bytes(canonical_json(evidence))
    except Exception:
        pass


def changed_signature(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """A signed run, or what it is checked with, with a file changed; ``verify`` and ``gate`` as they ask who vouches for it."""
    place = Path(shutil.copytree(seeds.signed, folder / "signed"))
    run, key, seal, root = (place / name for name in ("run", "alice.pub", "my.seal", "root.pem"))
    path = rng.choice([run / ATTESTATION, run / ATTESTATION, run / "environment.json", key, seal, root])
    if path.name == ATTESTATION and rng.random() < 0.4:
        envelopes = json.loads(path.read_bytes())
        made = mutate.document(rng, json.loads(base64.b64decode(envelopes[0]["payload"])))
        envelopes[0]["payload"] = base64.b64encode(json.dumps(made, default=str).encode()).decode()
        path.write_bytes(canonical_json(envelopes))
    elif path in (key, seal) and rng.random() < 0.7:
        path.write_bytes(json.dumps(mutate.document(rng, json.loads(path.read_bytes())), indent=1, sort_keys=True, default=str).encode())
    else:
        _change_file(rng, path)
    if path.name == "environment.json" and rng.random() < 0.8:
        replace_files(run, {path.name: path.read_bytes()})
    asked = [["--key", str(key)], ["--seal", str(seal)], ["--tsa-root", str(root)]]
    words = [word for option in rng.sample(asked, rng.randint(0, 3)) for word in option]
    return rng.choice([["verify", str(run), *words], ["gate", str(run), "--signed-by", str(key), "--tsa-root", str(root)]])


def changed_policy(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """A policy, and ``gate`` on a sound run."""
    path = folder / "policy.yaml"
    if rng.random() < 0.6:
        made = mutate.document(rng, {key: POLICY[key] for key in rng.sample(list(POLICY), rng.randint(1, len(POLICY)))})
        path.write_bytes(yaml.safe_dump(made, sort_keys=False).encode("utf-8", "backslashreplace"))
    else:
        path.write_bytes(mutate.text(rng, yaml.safe_dump(POLICY, sort_keys=False)).encode("utf-8", "surrogatepass"))
    shutil.copytree(seeds.packs["today"], folder / "run")
    return ["gate", str(folder / "run"), "--policy", str(path), *(["--json"] if rng.random() < 0.5 else [])]


def changed_recipe(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """A recipe, and ``plan``; what it names lies beside it."""
    shutil.copytree(seeds.project, folder / "project")
    path, given = folder / "project" / "recipe.yaml", rng.choice(seeds.recipes)
    if rng.random() < 0.7:
        made = mutate.document(rng, yaml.safe_load(given))
        path.write_bytes(yaml.safe_dump(made, sort_keys=False).encode("utf-8", "backslashreplace"))
    else:
        path.write_bytes(mutate.text(rng, given).encode("utf-8", "surrogatepass"))
    key = rng.choice(["seeds", "data.path", "model.kind", "margins.leak", "data", "regimes", "", "name.x"])
    return ["plan", str(path), *(["--set", f"{key}={rng.choice(mutate.TEXTS)}"] if rng.random() < 0.2 else [])]


def changed_card(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """A card of a data set, and ``plan``."""
    shutil.copytree(seeds.project, folder / "project")
    card = {**CARD, "sha256": file_digest(folder / "project" / "real.csv")}
    path = folder / "project" / "card.yaml"
    if rng.random() < 0.7:
        path.write_bytes(yaml.safe_dump(mutate.document(rng, card), sort_keys=False).encode("utf-8", "backslashreplace"))
    else:
        path.write_bytes(mutate.text(rng, yaml.safe_dump(card, sort_keys=False)).encode("utf-8", "surrogatepass"))
    recipe = {**yaml.safe_load(SMALL), "data": {"card": "card.yaml", "discover": 0}}
    (folder / "project" / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return ["plan", str(folder / "project" / "recipe.yaml")]


def changed_table(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """A table, release or checkpoint that a recipe names, and ``plan``."""
    shutil.copytree(seeds.project, folder / "project")
    (folder / "project" / "recipe.yaml").write_text(rng.choice([RECIPE, SMALL, MODULE]))
    path = folder / "project" / rng.choice(["real.csv", "real.csv", "release.csv", "a0.safetensors", "nets.py"])
    if path.suffix == ".csv" and rng.random() < 0.5:
        frame = pd.read_csv(path).astype(object)
        for _ in range(rng.randint(1, 30)):
            frame.iloc[rng.randrange(len(frame)), rng.randrange(frame.shape[1])] = str(mutate.value(rng))
        if rng.random() < 0.3:
            frame = frame.rename(columns={rng.choice(list(frame.columns)): str(mutate.value(rng))})
        if rng.random() < 0.2:
            frame = frame.head(rng.choice([0, 1, 5, 60]))
        path.write_bytes(frame.to_csv(index=False).encode("utf-8", "surrogatepass"))
    elif path.suffix == ".py":
        path.write_text(mutate.text(rng, path.read_text()).replace("\ud800", ""), encoding="utf-8")
    else:
        path.write_bytes(mutate.data(rng, path.read_bytes()))
    return ["plan", str(folder / "project" / "recipe.yaml")]


def changed_probe(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """Activations or labels, and ``probe``."""
    for name in ("acts.safetensors", "labels.csv"):
        shutil.copy(seeds.project / name, folder / name)
    path = folder / rng.choice(["acts.safetensors", "labels.csv"])
    path.write_bytes(mutate.data(rng, path.read_bytes()))
    named = str(rng.choice(["real", "vendor", *mutate.WORDS])).replace("\x00", "")
    given = [
        "probe",
        "--activations",
        f"{named}={folder / 'acts.safetensors'}",
        "--labels",
        str(folder / "labels.csv"),
        "--attribute",
        "sex",
    ]
    return [*given, "--out", str(folder / "out")]


def changed_prompts(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """A set of prompts, and ``prompts`` of a model that is not there."""
    given = (Path(__file__).parents[2] / "proxyaudit" / "templates" / "prompts-gender.yaml").read_text(encoding="utf-8")
    path = folder / "set.yaml"
    if rng.random() < 0.5:
        path.write_bytes(yaml.safe_dump(mutate.document(rng, yaml.safe_load(given))).encode("utf-8", "backslashreplace"))
    else:
        path.write_bytes(mutate.text(rng, given).encode("utf-8", "surrogatepass"))
    return ["prompts", "--set", str(path), "--model", f"m={seeds.project}", "--out", str(folder / "out")]


CASES: dict[str, tuple[int, Callable[[random.Random, Seeds, Path], list[str]]]] = {
    "pack": (8, changed_pack),
    "signature": (2, changed_signature),
    "policy": (3, changed_policy),
    "recipe": (4, changed_recipe),
    "card": (1, changed_card),
    "table": (3, changed_table),
    "probe": (1, changed_probe),
    "prompts": (1, changed_prompts),
}

"""Facts about how an audit was made, as short lines for a reader."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.text import DASH, join_words
from proxyaudit.reporting.words import REFERENCE_WORDS

__all__ = [
    "Made",
    "command",
    "count_word",
    "facts",
    "failures",
    "hash_lines",
    "kinds",
    "made",
    "margin_words",
    "reads_text",
    "reference_words",
]

_HOW = {
    "real": "real rows",
    "activations": "activations of a model that this audit did not see",
    "prompts": "a language model that was asked, not trained here",
    "synthetic": "a synthesizer fitted on the real training rows, once per trained model",
    "release": "a release made elsewhere, read from a file",
    "checkpoints": "trained elsewhere; only the weights were loaded",
}
_TEXTS = {"real": "real texts", "synthetic": "synthetic texts", "scrubbed": "real texts with words masked"}
_KINDS = {"real": "real rows", "synthetic": "synthetic rows", "release": "a release made elsewhere", "checkpoints": "trained elsewhere"}
_MARGIN_WORDS = {"leak": "leak", "nonlinear": "non-linear leak", "gap": "output gap", "effect": "effect", "relearned": "relearned leak"}
_SPLIT = (
    "The audit rows are the same for every kind of training, and no synthesizer of this run saw them. They fall into three parts that "
    "rotate: subspaces are fitted on one, readers on another, effects measured on the third. Rows that belong together, and exact "
    "duplicates, stay on one side."
)


@dataclass(frozen=True)
class Made:
    """How one regime's training data came to be."""

    name: str
    how: str
    rows: str
    saw: str


def made(pack: EvidencePack) -> list[Made]:
    """Return one line per regime and reference."""
    lines: list[Made] = []
    entries = [entry for entry in _list(pack.plan, "regimes") if isinstance(entry, dict)]
    for entry in entries:
        kind, rows = str(entry.get("kind", "")), entry.get("training_rows")
        source = entry if entry.get("of") is None else next((e for e in entries if e.get("name") == entry["of"]), entry)
        lines.append(Made(str(entry.get("name", "")), _how(kind, entry), count_word(rows), _saw(kind, source.get("sees_protected"))))
    named = {line.name for line in lines}
    for name in _list(pack.plan, "references"):
        if str(name) not in named:
            lines.append(Made(str(name), f"reference: {reference_words(pack).get(str(name), '')}", DASH, "does not apply"))
    return lines


def kinds(pack: EvidencePack) -> dict[str, str]:
    """Return in a few words what each regime was trained on."""
    told: dict[str, str] = {}
    for entry in _list(pack.plan, "regimes"):
        if isinstance(entry, dict):
            kind, ratio = str(entry.get("kind", "")), entry.get("ratio")
            mixed = f"{ratio:.0%} synthetic rows".replace("%", " %") if kind == "mixed" and isinstance(ratio, int | float) else ""
            rounded = f"models of {entry.get('of')} in {entry.get('quantise')}" if kind == "quantised" else ""
            known = _KINDS | _TEXTS if reads_text(pack) else _KINDS
            told[str(entry.get("name", ""))] = mixed or rounded or known.get(kind, "")
    return told


def facts(pack: EvidencePack) -> list[tuple[str, str]]:
    """Return (term, text) about the target, the split, the model and the seeds; what the plan lacks is left out."""
    plan, recipe = pack.plan, pack.recipe
    target, rows, sites = _mapping(plan, "target"), _mapping(plan, "rows"), _mapping(plan, "sites")
    model, data = _mapping(recipe, "model"), _mapping(recipe, "data")
    lines: list[tuple[str, str]] = []
    source = data.get("card") or data.get("path")
    if source:
        lines.append(("Data", str(source)))
    if target:
        classes = [str(name) for name in _list(target, "classes")]
        lines.append(("The model predicts", f"{target.get('name', '')}" + (f" ({join_words(classes, 'or')})" if classes else "")))
    if rows:
        train, audit, size = (count_word(rows.get(key)) for key in ("train", "audit", "training_size"))
        if rows.get("train") is None:
            lines.append(("Rows", audit))
        else:
            lines.append(("Rows", f"{train} real training rows, {audit} held-out real audit rows; each model was trained on {size}"))
            lines.append(("Split", _SPLIT))
    for entry in _list(plan, "language_models"):
        if isinstance(entry, dict):
            words = f"{entry.get('model')} ({_value(entry.get('mode')).replace('_', '-')}, weights {str(entry.get('weights'))[:12]})"
            base = entry.get("shares the student's base")
            lines.append((f"Texts of {entry.get('regime')} written by", f"{words}; shares the base of the model under audit: {base}"))
    columns = _list(plan, "columns")
    if reads_text(pack):
        lines.append(
            ("Model inputs", f"the text in '{data.get('text')}', at most {model.get('max_length')} tokens of it, and nothing else")
        )
    elif columns:
        lines.append(("Model inputs", f"{len(columns)} encoded columns; their order is in plan.json"))
    if model:
        lines.append(("Model", ", ".join(f"{key} {_value(value)}" for key, value in model.items() if value is not None)))
    for key, term in (("verdict", "Verdict sites"), ("profile", "Sites read")):
        names = [str(site) for site in _list(sites, key)]
        if names:
            lines.append((term, ", ".join(names)))
    if plan.get("seeds") is not None:
        lines.append(("Trained models", f"{_value(plan['seeds'])} per kind of training, each with its own seed"))
    if _mapping(plan, "margins"):
        lines.append(("Margins", margin_words(plan)))
    for entry in _list(plan, "attributes"):
        if isinstance(entry, dict) and entry.get("name") in _mapping(data, "bands"):
            lines.append((f"Groups of {entry['name']}", ", ".join(map(str, _list(entry, "levels")))))
    if isinstance(data.get("exclude"), list | tuple) and not reads_text(pack):
        excluded = [str(name) for name in data["exclude"]]
        lines.append(("Columns the models never see", ", ".join(excluded) or "none"))
    return lines


def command(pack: EvidencePack) -> str:
    """Return the command line that gives the same evidence again; files of activations are not recorded and stand as words."""
    recipe, regimes = pack.recipe, [entry for entry in _list(pack.plan, "regimes") if isinstance(entry, dict)]
    if any(entry.get("kind") == "prompts" for entry in regimes):
        return _prompts_command(recipe)
    if not any(entry.get("kind") == "activations" for entry in regimes):
        return "proxyaudit run recipe.yaml"
    words = ["proxyaudit", "probe"]
    for entry in regimes:
        words += ["--activations", f"{entry.get('name')}=FILE.safetensors"]
    words += ["--labels", "FILE.csv"]
    named = (("--attribute", "attributes"), ("--condition-on", "condition_on"))
    words += [word for option, key in named for name in _list(recipe, key) for word in (option, str(name))]
    words += [word for option in ("real", "group") if recipe.get(option) is not None for word in (f"--{option}", str(recipe[option]))]
    margins = _mapping(recipe, "margins")
    words += ["--leak-margin", f"{margins['leak']:g}"] if isinstance(margins.get("leak"), int | float) else []
    words += ["--seed", str(recipe.get("seed", 0)), "--name", str(recipe.get("name", ""))]
    return shlex.join(words)


def _prompts_command(recipe: Mapping[str, Any]) -> str:
    words, prompts = ["proxyaudit", "prompts"], _mapping(recipe, "prompts")
    words += [word for name in _mapping(recipe, "models") for word in ("--model", f"{name}=PATH")]
    words += ["--set", "FILE.yaml"] if prompts else []
    words += ["--real", str(recipe["real"])] if recipe.get("real") is not None else []
    words += ["--tokens", str(recipe.get("tokens", 24)), *(w for at in _list(recipe, "layers") for w in ("--layer", str(at)))]
    margins = _mapping(recipe, "margins")
    for option, key in (("--gap-margin", "gap"), ("--effect-margin", "effect")):
        words += [option, f"{margins[key]:g}"] if isinstance(margins.get(key), int | float) else []
    return shlex.join([*words, "--seed", str(recipe.get("seed", 0)), "--name", str(recipe.get("name", ""))])


def failures(pack: EvidencePack) -> list[str]:
    """Return what failed, one line per task."""
    return [str(line) for line in _list(pack.environment, "failures")]


def margin_words(plan: Mapping[str, Any]) -> str:
    """Return the margins as one phrase."""
    margins = _mapping(plan, "margins")
    return ", ".join(f"{word} {margins[key]:g}" for key, word in _MARGIN_WORDS.items() if isinstance(margins.get(key), int | float))


def hash_lines(pack: EvidencePack) -> list[tuple[str, str]]:
    """Return (name, hash) of the inputs."""
    return [(str(name), str(value)) for name, value in sorted(_mapping(pack.plan, "hashes").items())]


def _how(kind: str, entry: Mapping[str, Any]) -> str:
    if kind == "mixed":
        ratio = entry.get("ratio")
        share = f"{ratio:.0%}" if isinstance(ratio, int | float) else "a share"
        return f"{share} of the rows from {entry.get('of')}, the rest real"
    if kind == "scrubbed":
        masked = join_words([str(rule) for rule in _list(entry, "scrub")])
        return f"the real training texts with {masked} masked; its models meet audit texts masked in the same way"
    if kind == "quantised":
        return f"the models trained on {entry.get('of')}, their transformer rounded to {entry.get('quantise')}"
    return _HOW.get(kind, kind)


def _saw(kind: str, sees: Any) -> str:
    if kind in ("real", "checkpoints", "scrubbed") or (kind == "quantised" and sees is None):
        return "does not apply"
    if sees is None:
        return "not known to this audit"
    return "yes" if sees else "no, they were withheld"


def reference_words(pack: EvidencePack) -> dict[str, str]:
    """What each reference is; of texts the untrained model is a pretrained one."""
    return REFERENCE_WORDS | ({"untrained": "the pretrained transformer under a head of random weights"} if reads_text(pack) else {})


def reads_text(pack: EvidencePack) -> bool:
    """Whether the audit's models read texts."""
    return _mapping(pack.recipe, "data").get("text") is not None


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    return list(value) if isinstance(value, list | tuple) else []


def _value(value: Any) -> str:
    return "-".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)


def count_word(value: Any) -> str:
    """Return a count with narrow spaces between thousands; a dash where there is none."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if isinstance(value, int) else DASH

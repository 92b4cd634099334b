"""Facts about how an audit was made, as short lines for a reader."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from proxyaudit.estimates.channel import all_channels
from proxyaudit.estimates.scope import entries, has_kind, listed, mapping, margins_of, sites_of
from proxyaudit.estimates.task import three_digits
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.seal import deviations, named_seal
from proxyaudit.names import in_short
from proxyaudit.reporting.scale import Scale
from proxyaudit.reporting.text import DASH, at_most, beside, count_word, join_words, percent
from proxyaudit.reporting.words import REFERENCE_WORDS

_HOW = {
    "real": "real rows",
    "activations": "activations of a model that this audit did not see",
    "prompts": "a language model that was asked, not trained here",
    "synthetic": "a synthesizer fitted on the real training rows, once per trained model",
    "release": "a release made elsewhere, read from a file",
    "checkpoints": "trained elsewhere; only the weights were loaded",
}
_CROSSED = "a synthesizer fitted on the real training rows, once per table; several models are trained on each"
_TEXTS = {"real": "real texts", "synthetic": "synthetic texts", "scrubbed": "real texts with words masked"}
_KINDS = {"real": "real rows", "synthetic": "synthetic rows", "release": "a release made elsewhere", "checkpoints": "trained elsewhere"}
_TEXT_SITES = (
    ". Each is read as one vector a text: embeddings before the transformer's first layer, layer0 and so on after each layer "
    "(layer0.head0, layer0.attention and layer0.mlp are parts of one), pooled, dense0 and penultimate in the head"
)
_SPLIT = (
    "The audit rows are the same for every kind of training, and no synthesizer of this run saw them. They fall into three parts that "
    "rotate: subspaces are fitted on one, readers on another, effects measured on the third. Rows that belong together, and exact "
    "duplicates, stay on one side."
)


def made(pack: EvidencePack) -> list[tuple[str, str, str, str]]:
    """Name of each regime and reference, how its training data came to be, rows, and whether their maker saw the protected columns."""
    planned, words = entries(pack.plan, "regimes"), reference_words(pack)
    by_name = {str(entry.get("name")): entry for entry in reversed(planned)}
    lines = []
    crossed = bool(mapping(pack.plan, "repetitions"))
    for entry in planned:
        kind = str(entry.get("kind", ""))
        source = entry if entry.get("of") is None else by_name.get(str(entry["of"]), entry)
        saw = _saw(kind, source.get("sees_protected"))
        how = _CROSSED if crossed and kind == "synthetic" else _how(kind, entry)
        lines.append((str(entry.get("name", "")), how, count_word(entry.get("training_rows")), saw))
    named = {line[0] for line in lines}
    references = [name for name in map(str, listed(pack.plan, "references")) if name not in named]
    return lines + [(name, f"reference: {words.get(name, '')}", DASH, "does not apply") for name in references]


def kinds(pack: EvidencePack) -> dict[str, str]:
    """In a few words what each regime was trained on."""
    known, told = _KINDS | _TEXTS if reads_text(pack) else _KINDS, {}
    for entry in entries(pack.plan, "regimes"):
        kind, ratio = str(entry.get("kind", "")), entry.get("ratio")
        words = known.get(kind, "")
        if kind == "mixed" and isinstance(ratio, int | float):
            words = f"{percent(ratio)} synthetic rows"
        if kind == "quantised":
            words = f"models of {entry.get('of')} in {entry.get('quantise')}"
        told[str(entry.get("name", ""))] = words
    return told


def facts(pack: EvidencePack) -> Iterable[tuple[str, str]]:
    """(term, text) about the target, the split, the model and the seeds; what the plan lacks is left out."""
    plan, data = pack.plan, mapping(pack.recipe, "data")
    if source := data.get("card") or data.get("path"):
        yield "Data", str(source)
    if target := mapping(plan, "target"):
        classes = join_words([str(name) for name in listed(target, "classes")], "or")
        if (scale := Scale.of(plan)).sd is not None:
            classes = f"a number; mean {three_digits(target.get('mean') or 0.0)}, standard deviation {three_digits(scale.sd)}"
        if labels := [str(name) for name in listed(target, "labels")]:
            classes = f"yes or no to each of {len(labels)} labels"
        yield "The model predicts", beside(str(target.get("name", "")), classes)
    if rows := mapping(plan, "rows"):
        train, audit, size = (count_word(rows.get(key)) for key in ("train", "audit", "training_size"))
        if rows.get("train") is None:
            yield "Rows", audit
        else:
            trained = f"each model was trained on {size}" if rows.get("training_size") else "no model was trained here"
            yield "Rows", f"{train} real training rows, {audit} held-out real audit rows; {trained}"
            yield "Split", _SPLIT
    for entry in entries(plan, "language_models"):
        words = f"{entry.get('model')} ({_value(entry.get('mode')).replace('_', '-')}, weights {str(entry.get('weights'))[:12]})"
        base = entry.get("shares the student's base")
        yield f"Texts of {entry.get('regime')} written by", f"{words}; shares the base of the model under audit: {base}"
    yield from _of_model(pack)
    if mapping(plan, "margins"):
        yield "Margins", margin_words(plan)
    for entry in entries(plan, "attributes"):
        if str(entry.get("name")) in mapping(data, "bands"):
            yield f"Groups of {entry['name']}", ", ".join(map(str, listed(entry, "levels")))
    if isinstance(data.get("exclude"), list | tuple) and not reads_text(pack):
        yield "Columns the models never see", ", ".join(map(str, listed(data, "exclude"))) or "none"


def _of_model(pack: EvidencePack) -> Iterable[tuple[str, str]]:
    plan, model = pack.plan, mapping(pack.recipe, "model")
    if reads_text(pack):
        text = mapping(pack.recipe, "data").get("text")
        yield "Model inputs", f"the text in '{text}', at most {model.get('max_length')} tokens of it, and nothing else"
    elif columns := listed(plan, "columns"):
        yield "Model inputs", f"{len(columns)} encoded columns; their order is in plan.json"
    if has_given(pack):
        head = mapping(model, "head").get("path")  # of a pipeline in a file
        model = {
            key: model.get(key) for key in ("kind", "path", "head", "labels", "max_length", "site_pooling", *(["pooling"] * bool(head)))
        }
        model = {**model, "head": head} if head else model
    elif all(entry.get("kind") == "checkpoints" for entry in entries(plan, "regimes")):
        # How models were trained elsewhere the recipe does not know: its settings are those of models that are trained here.
        model = {key: model.get(key) for key in ("kind", "path", "factory")}
    if model:
        yield "Model", ", ".join(f"{key} {_value(value)}" for key, value in model.items() if value is not None)
    for key, term in (("verdict", "Verdict sites"), ("profile", "Sites read")):
        if names := sites_of(plan, key):
            yield term, f"{in_short(names, len(names))}{_TEXT_SITES if key == 'profile' and reads_text(pack) else ''}"
    if plan.get("seeds") is not None:
        yield "Trained models", f"{repetition_words(plan)}, each with its own seed"
        if looks := look_words(plan):
            yield "Looks at the results", looks


def repetition_words(plan: Mapping[str, Any]) -> str:
    """How often each kind of training is repeated at first."""
    seeds = plan.get("seeds")
    if not isinstance(seeds, Mapping):
        return f"{_value(seeds)} per kind of training"
    tables, models = seeds.get("tables"), seeds.get("models")
    one = "1 model" if models == 1 else f"{models} models"
    made = f"1 synthetic table with {one}" if tables == 1 else f"{tables} synthetic tables with {one} each"
    return f"{made}; {one} where the rows are not made here"


def look_words(plan: Mapping[str, Any]) -> str:
    """How many models there are at each look, where there may be more than one; empty where there is one."""
    told: dict[str, list[str]] = {}
    designs = mapping(mapping(plan, "repetitions"), "regimes")
    for name in (str(entry.get("name")) for entry in entries(plan, "regimes")):
        looks = listed(mapping(designs, name), "looks")
        if len(looks) > 1:
            told.setdefault(join_words([str(count) for count in looks], "or"), []).append(name)
    kinds = "; ".join(f"{join_words(at_most(names, 4))}: {counts} models" for counts, names in told.items())
    return f"{kinds}; more only where they could settle an open verdict of a protected attribute" if kinds else ""


def command(pack: EvidencePack) -> str:
    """The command line that gives the same evidence again; files of activations are not recorded and stand as words."""
    recipe, margins = pack.recipe, margins_of(pack.recipe)
    if has_kind(pack.plan, "prompts"):
        words = ["prompts", *(word for name in mapping(recipe, "models") for word in ("--model", f"{name}=PATH"))]
        words += ["--set", "FILE.yaml"] if mapping(recipe, "prompts") else []
        words += ["--real", str(recipe["real"])] if recipe.get("real") is not None else []
        words += ["--tokens", str(recipe.get("tokens", 24)), *(w for at in listed(recipe, "layers") for w in ("--layer", str(at)))]
        options = [("--gap-margin", "gap"), ("--effect-margin", "effect")]
    elif has_kind(pack.plan, "activations"):
        words = ["probe"]
        for entry in entries(pack.plan, "regimes"):
            words += ["--activations", f"{entry.get('name')}=FILE.safetensors"]
        words += ["--labels", "FILE.csv"]
        named = (("--attribute", "attributes"), ("--condition-on", "condition_on"))
        words += [word for option, key in named for name in listed(recipe, key) for word in (option, str(name))]
        words += [word for option in ("real", "group") if recipe.get(option) is not None for word in (f"--{option}", str(recipe[option]))]
        options = [("--leak-margin", "leak")]
    else:
        return "proxyaudit run recipe.yaml"
    words += [word for option, key in options if key in margins for word in (option, f"{margins[key]:g}")]
    return shlex.join(["proxyaudit", *words, "--seed", str(recipe.get("seed", 0)), "--name", str(recipe.get("name", ""))])


def seal_words(pack: EvidencePack) -> str:
    """Whether plan and policy were fixed before the run, when, and what the run does otherwise."""
    named = named_seal(pack.environment)
    if named is None:
        return "no: nothing shows that the plan was fixed before the results"
    other = deviations(named, pack.plan, pack.environment.get("started"))
    stamp = "without a time stamp" if named.time is None else f"time-stamped {named.time}"
    fixed = "plan, data and policy" if named.document.policy is not None else "plan and data, no policy"
    kept = f"The run does otherwise: {'; '.join(other)}." if other else "The run keeps to it."
    return f"{fixed}, by the seal {named.sha256}, made {named.document.made} by its maker's clock, {stamp}. {kept}"


def margin_words(plan: Mapping[str, Any]) -> str:
    """The margins as one phrase."""
    margins, words = margins_of(plan), {key: word for channel in all_channels() for key, word in channel.margins.items()}
    return ", ".join(f"{word} {margins[key]:g}" for key, word in words.items() if key in margins)


def _how(kind: str, entry: Mapping[str, Any]) -> str:
    if kind == "mixed":
        ratio = entry.get("ratio")
        share = f"{ratio:.0%}" if isinstance(ratio, int | float) else "a share"
        return f"{share} of the rows from {entry.get('of')}, the rest real"
    if kind == "scrubbed":
        masked = join_words([str(rule) for rule in listed(entry, "scrub")])
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
    """What each reference is; of texts the untrained model is a pretrained one, unless the classifiers are given."""
    pretrained = reads_text(pack) and mapping(pack.recipe, "model").get("head") != "own"
    return REFERENCE_WORDS | ({"untrained": "the pretrained transformer under a head of random weights"} if pretrained else {})


def has_given(pack: EvidencePack) -> bool:
    """Whether the models are classifiers with heads of their own, and nothing was trained."""
    return mapping(pack.recipe, "model").get("head") not in (None, "new")


def reads_text(pack: EvidencePack) -> bool:
    """Whether the audit's models read texts."""
    return mapping(pack.recipe, "data").get("text") is not None


def _value(value: Any) -> str:
    return "-".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)

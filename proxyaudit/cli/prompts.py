"""The command ``prompts``: counterfactual prompts for language models."""

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from proxyaudit.cli import console
from proxyaudit.cli.code import CodeNetwork, Network, close
from proxyaudit.cli.options import (
    CacheRoot,
    Json,
    Many,
    MaybePath,
    Name,
    Out,
    Seed,
    check_margins,
    given,
    kept_results,
    quiet_stdout,
    show_audit,
)
from proxyaudit.errors import NAME, InputError, check_name

if TYPE_CHECKING:
    from proxyaudit.recipe.models import PretrainedSpec

EXAMPLE = "Example:  proxyaudit prompts --model models/gpt2 --set names.yaml"


def prompts(
    model: Annotated[Many, given("Folder or GGUF file of a causal model, or PACKAGE:FILE in a Python package.", "[NAME=]PATH")] = None,
    set_: Annotated[
        MaybePath, given("Prompt set (YAML): templates, names by group, contexts (default: names by gender).", "FILE", name="--set")
    ] = None,
    show_set: Annotated[bool, given("Print the built-in prompt set, to start from, and leave.", name="--show-set")] = False,
    real: Annotated[str | None, given("Model that the others are compared with.", "NAME")] = None,
    contexts: Annotated[int | None, given("Use the first so many contexts only.", env="CONTEXTS", min=1)] = None,
    tokens: Annotated[int, given("Length of answers to requests.", env="TOKENS", min=1, max=512)] = 24,
    layer: Annotated[list[int] | None, given("Layer to swap at (default: a third and two thirds of the depth).", min=0)] = None,
    circuits: Annotated[bool, given("Exchange heads, attention and MLP outputs too.", name="--circuits", env="CIRCUITS")] = False,
    gap_margin: Annotated[float, given("Gap in probability that matters.", env="GAP_MARGIN")] = 0.05,
    effect_margin: Annotated[float, given("Effect of a swap that matters.", env="EFFECT_MARGIN")] = 0.02,
    hub: Annotated[bool, given("The models are names on a hub and may be fetched.", name="--hub", env="HUB")] = False,
    trust_remote_code: Annotated[bool, given("Execute code that comes with a model.", name="--trust-remote-code")] = False,
    network: CodeNetwork = Network.auto,
    seed: Seed = 0,
    name: Name = "prompts",
    out: Out = Path("reports"),
    cache: CacheRoot = None,
    json: Json = False,
) -> None:
    """Ask language models the same sentences with different names: do they treat the groups differently?"""
    if show_set:
        for line in resources.files("proxyaudit").joinpath("templates", "prompts-gender.yaml").read_text(encoding="utf-8").splitlines():
            console.write_line(line)
        return
    check_margins(gap_margin=gap_margin, effect_margin=effect_margin)
    check_name(name)
    if trust_remote_code or network is Network.none:
        close(network, "", "the models are on a hub" if hub else "")
    with kept_results(cache), quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.prompts.run import PromptRequest, audit_prompts
        from proxyaudit.language.prompt_sets import load_prompt_set
        from proxyaudit.recipe.recipe import Margins

        asked, models = load_prompt_set(set_), _named_models(model or [], hub, trust_remote_code)
        asked = asked.model_copy(update={"contexts": asked.contexts[:contexts]}) if contexts else asked
        margins = Margins(gap=gap_margin, effect=effect_margin)
        request = PromptRequest(models, asked, real, tokens, tuple(layer) if layer else None, margins, seed, name, circuits)
        folder, pack, reused = audit_prompts(request, out=out, progress=progress, cache_root=cache)
    show_audit(folder, pack, reused=reused, json=json)


def _named_models(given: list[str], hub: bool, trust_remote_code: bool) -> "dict[str, PretrainedSpec]":
    """Models by name; one without a name is called ``model``."""
    from proxyaudit.recipe.models import PretrainedSpec

    found: dict[str, PretrainedSpec] = {}
    for text in given:
        name, equals, path = text.partition("=")
        name, path = (name, path) if equals else ("model", text)
        if not NAME.fullmatch(name) or not path:
            raise InputError(f"'{text[:80]}' is not NAME=PATH", where="--model", mend="write e.g. --model tuned=models/tuned")
        if name in found:
            raise InputError(f"two models are named '{name}'", where="--model", mend="write NAME=PATH with a name of its own for each")
        package, colon, file = path.partition(":")
        inside = not hub and bool(colon) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", package) is not None and len(package) > 1
        found[name] = PretrainedSpec(
            path=file if inside else path, package=package if inside else None, hub=hub, trust_remote_code=trust_remote_code
        )
    return found

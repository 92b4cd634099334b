"""The other audits: ``probe``, ``mitigate``, ``scan`` and ``prompts``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Exit, Option

from proxyaudit.cli import console
from proxyaudit.cli.console import (
    NAME,
    Base,
    Jobs,
    Json,
    Name,
    Out,
    RunCode,
    RunFolder,
    Seed,
    check_margins,
    check_name,
    quiet_stdout,
    show_audit,
)
from proxyaudit.consent import Consent
from proxyaudit.errors import InputError, ProxyauditError

if TYPE_CHECKING:
    from proxyaudit.language.pretrained import CausalSource

PROBE_EXAMPLE = "Example:  proxyaudit probe --activations real=acts.safetensors --labels people.csv --attribute sex"


def probe(
    activations: Annotated[
        list[str],
        Option("--activations", metavar="NAME=FILE", help="Activations of one regime: safetensors with one (n, d) tensor per site."),
    ],
    labels: Annotated[Path, Option("--labels", metavar="FILE", help="CSV or parquet of the same rows in the same order.")],
    attribute: Annotated[list[str], Option("--attribute", metavar="COL", help="Sensitive column; may be given several times.")],
    real: Annotated[str | None, Option("--real", metavar="NAME", help="Regime that the others are compared with.")] = None,
    group: Annotated[str | None, Option("--group", metavar="COL", help="Rows that belong together: person, author.")] = None,
    condition_on: Annotated[
        list[str] | None, Option("--condition-on", metavar="COL", help="Column that legitimately explains the attribute.")
    ] = None,
    leak_margin: Annotated[float, Option("--leak-margin", envvar="PROXYAUDIT_LEAK_MARGIN", help="Linear leak that matters.")] = 0.02,
    nonlinear_margin: Annotated[
        float, Option("--nonlinear-margin", envvar="PROXYAUDIT_NONLINEAR_MARGIN", help="Non-linear leak that matters.")
    ] = 0.10,
    seed: Seed = 0,
    name: Name = "probe",
    out: Out = Path("reports"),
    jobs: Jobs = None,
    json: Json = False,
) -> None:
    """Audit bare activations of your own model: is the attribute still in them?"""
    check_margins(leak_margin=leak_margin, nonlinear_margin=nonlinear_margin)
    check_name(name)
    with quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.probe.run import ProbeRequest, probe_files
        from proxyaudit.recipe.recipe import Margins

        margins = Margins(leak=leak_margin, nonlinear=nonlinear_margin)
        request = ProbeRequest(tuple(attribute), real, group, tuple(condition_on or ()), margins, seed, name)
        folder, pack, reused = probe_files(activations, labels, request, out=out, jobs=jobs, progress=progress)
    show_audit(folder, pack, reused=reused, json=json)


MITIGATE_EXAMPLE = "Example:  proxyaudit mitigate reports/my-audit --attribute sex --regime real --method splince"


def mitigate(
    run: RunFolder,
    attribute: Annotated[str, Option("--attribute", metavar="A", help="Attribute or proxy to erase.")],
    regime: Annotated[str, Option("--regime", metavar="G", help="Regime whose models are changed.")],
    site: Annotated[
        list[str] | None, Option("--site", metavar="SITE", help="Where to erase; may be given several times (default: verdict sites).")
    ] = None,
    method: Annotated[
        str, Option(envvar="PROXYAUDIT_METHOD", help="leace changes least; splince keeps the covariance with the label.")
    ] = "leace",
    base: Base = None,
    out: Out = Path("reports"),
    jobs: Jobs = None,
    run_code: RunCode = None,
    json: Json = False,
) -> None:
    """Erase an attribute from a run's models, save them as checkpoints, audit them again, and say what remains."""
    with quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.mitigation.run import MitigationRequest, mitigate_run
        from proxyaudit.verification.run import read_verified

        # Before anything in the pack is prepared or executed: is it what its maker wrote?
        consent, pack = Consent.of(run_code or ()), read_verified(run)
        request = MitigationRequest(attribute, regime, tuple(site or ()), method)
        result = mitigate_run(run, pack, request, consent=consent, base=base, out=out, jobs=jobs, progress=progress)
    if json:
        head = {"folder": str(result.folder), "audit_folder": str(result.audit.folder), "report": str(result.audit.folder / "report.html")}
        console.emit_json({**head, **result.document})
    else:
        from proxyaudit.reporting.mitigation import summary_lines

        for line in summary_lines(result.document):
            console.write_line(line)
        console.write_line(f"Mitigation: {result.folder / 'mitigation.md'}")
        console.write_line(f"Audit:      {result.audit.folder / 'report.html'}")
    if result.audit.status != "complete":
        console.warn("proxyaudit: the new audit is partial; run the same command again to try what failed once more")
        raise Exit(ProxyauditError.exit_code)


SCAN_EXAMPLE = "Example:  proxyaudit scan --signatures reports/my-audit --model step-400.safetensors --inputs people.csv"


def scan(
    signatures: Annotated[Path, Option("--signatures", metavar="RUN", help="A run that was made with --signatures.")],
    model: Annotated[
        Path, Option("--model", metavar="PATH", help="Checkpoint of the run's model (safetensors); of texts also a model folder.")
    ],
    inputs: Annotated[
        Path,
        Option("--inputs", metavar="FILE", help="Table with the columns or texts that the model reads; better with the attribute too."),
    ],
    attribute: Annotated[
        list[str] | None, Option("--attribute", metavar="A", help="Attribute to ask for; may be given several times (default: all).")
    ] = None,
    base: Annotated[
        Path | None, Option("--base", metavar="DIR", help="Folder of the run's recipe, or its base model, if not found beside the model.")
    ] = None,
    run_code: RunCode = None,
    json: Json = False,
) -> None:
    """Say whether a checkpoint entered a known state; exit code 0 it did not, 1 it did, 3 it cannot be told."""
    with quiet_stdout():
        from proxyaudit.audits.scan.run import scan_checkpoint

        consent, names = Consent.of(run_code or ()), tuple(attribute or ())
        document = scan_checkpoint(signatures, model, inputs, base=base, attributes=names, consent=consent)
    if json:
        console.emit_json(document)
    else:
        _show_scan(document)
    if document["exit_code"]:
        raise Exit(document["exit_code"])


def _show_scan(document: dict[str, Any]) -> None:
    rows = []
    for found in document["attributes"]:
        leak = f"{found['leak']:.3f} ({found['low']:.3f} to {found['high']:.3f})" if found.get("leak") is not None else "-"
        shares = [f"{found[f'{what}_above']} of {found[what]}" if what in found else "-" for what in ("seeds", "contexts", "held_out")]
        how = "measured" if found["measured"] else "inferred"
        rows.append((found["attribute"], found["answer"], leak, how if leak != "-" else "-", *shares))
    header = ("Attribute", "Model", "Leak along the signature", "How", "Repetitions above", "Contexts above", "Held-out contexts")
    console.show_table(header, rows, title=f"Is {document['model']} in a state of {document['run']['name']}?")
    for found in document["attributes"]:
        for line in found["signatures"]:
            if line.get("leak") is not None and found["answer"] != "not in the state":
                _contexts(found, line)
        if found["reason"]:
            console.write_line(f"{found['attribute']}: {found['answer']}: {found['reason']}.")
    if document["dropped_rows"]:
        console.write_line("Rows without a text were left out.")
    for note in document["notes"]:
        console.write_line(f"Note: {note['what']}: {note['why']}.")
    if document["own_rows"]:
        console.write_line("The inputs are the run's own rows, some of which directions were fitted on: a measured leak reads high.")
    alarms = document["false_alarms"]
    if alarms["placebos"]:
        shown = f"{alarms['alarms']} of {alarms['placebos']} attributes that mean nothing (at most {alarms['upper_95']:.1%})"
        alike = f"by design at most {alarms['bound']:.0%}"
        console.write_line(f"False alarms of this scan, over its {document['cells']} cells: {shown}; {alike}.")
    console.write_line(f"Answer: {document['answer']}")


def _contexts(found: dict[str, Any], line: dict[str, Any]) -> None:
    level = f"={line['level']}" if line["level"] is not None else ""
    rows = []
    for apart, group in (("fitted", line["fitted_contexts"]), ("held out", line["held_out_contexts"])):
        for inside in group:
            leak = f"{inside['leak']:.3f} ({inside['low']:.3f} to {inside['high']:.3f})" if inside.get("leak") is not None else "-"
            sizes = [inside.get(name) for name in ("expected_activation", "activation")]
            shown = [f"{size[0]:+.2f} ± {size[1]:.2f}" if size else "-" for size in sizes]
            rows.append((inside["context"], apart, inside["answer"], leak, *shown))
    header = ("Context", "Signature", "Model", "Leak", "Activation expected", "seen")
    console.show_table(header, rows, title=f"{found['attribute']}{level}, signature of {line['regime']} at {line['site']}")


PROMPTS_EXAMPLE = "Example:  proxyaudit prompts --model models/gpt2 --set names.yaml"


def prompts(
    model: Annotated[
        list[str] | None,
        Option("--model", metavar="[NAME=]PATH", help="Folder or GGUF file of a causal model, or PACKAGE:FILE in a Python package."),
    ] = None,
    set_: Annotated[
        Path | None,
        Option("--set", metavar="FILE", help="Prompt set (YAML): templates, names by group, contexts (default: names by gender)."),
    ] = None,
    show_set: Annotated[bool, Option("--show-set", help="Print the built-in prompt set, to start from, and leave.")] = False,
    real: Annotated[str | None, Option("--real", metavar="NAME", help="Model that the others are compared with.")] = None,
    contexts: Annotated[
        int | None, Option("--contexts", min=1, envvar="PROXYAUDIT_CONTEXTS", help="Use the first so many contexts only.")
    ] = None,
    tokens: Annotated[int, Option("--tokens", min=1, max=512, envvar="PROXYAUDIT_TOKENS", help="Length of answers to requests.")] = 24,
    layer: Annotated[
        list[int] | None, Option("--layer", min=0, help="Layer to swap at (default: a third and two thirds of the depth).")
    ] = None,
    gap_margin: Annotated[float, Option("--gap-margin", envvar="PROXYAUDIT_GAP_MARGIN", help="Gap in probability that matters.")] = 0.05,
    effect_margin: Annotated[
        float, Option("--effect-margin", envvar="PROXYAUDIT_EFFECT_MARGIN", help="Effect of a swap that matters.")
    ] = 0.02,
    hub: Annotated[bool, Option("--hub", envvar="PROXYAUDIT_HUB", help="The models are names on a hub and may be fetched.")] = False,
    trust_remote_code: Annotated[bool, Option("--trust-remote-code", help="Execute code that comes with a model.")] = False,
    seed: Seed = 0,
    name: Name = "prompts",
    out: Out = Path("reports"),
    json: Json = False,
) -> None:
    """Ask language models the same sentences with different names: do they treat the groups differently?"""
    if show_set:
        _show_set()
        return
    check_margins(gap_margin=gap_margin, effect_margin=effect_margin)
    check_name(name)
    with quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.prompts.run import PromptRequest, audit_prompts
        from proxyaudit.language.prompt_sets import load_prompt_set
        from proxyaudit.recipe.recipe import Margins

        asked, models = load_prompt_set(set_), _named_models(model or [], hub, trust_remote_code)
        asked = asked.model_copy(update={"contexts": asked.contexts[:contexts]}) if contexts else asked
        margins = Margins(gap=gap_margin, effect=effect_margin)
        request = PromptRequest(models, asked, real, tokens, tuple(layer) if layer else None, margins, seed, name)
        folder, pack, reused = audit_prompts(request, out=out, progress=progress)
    show_audit(folder, pack, reused=reused, json=json)


def _show_set() -> None:
    from importlib import resources

    for line in resources.files("proxyaudit").joinpath("templates", "prompts-gender.yaml").read_text(encoding="utf-8").splitlines():
        console.write_line(line)


def _named_models(given: list[str], hub: bool, trust_remote_code: bool) -> dict[str, CausalSource]:
    """Models by name; one without a name is called ``model``."""
    from proxyaudit.language.pretrained import CausalSource

    found: dict[str, CausalSource] = {}
    for text in given:
        name, equals, path = text.partition("=")
        name, path = (name, path) if equals else ("model", text)
        if not NAME.fullmatch(name) or not path:
            raise InputError(f"'{text[:80]}' is not NAME=PATH", where="--model", mend="write e.g. --model tuned=models/tuned")
        if name in found:
            raise InputError(f"two models are named '{name}'", where="--model", mend="write NAME=PATH with a name of its own for each")
        package, colon, file = path.partition(":")
        inside = bool(colon) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", package) is not None and len(package) > 1
        found[name] = CausalSource(file if inside else path, package if inside else None, hub=hub, trust_remote_code=trust_remote_code)
    return found

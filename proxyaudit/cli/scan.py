"""The command ``scan``: parse, call, print."""

from pathlib import Path
from typing import Annotated, Any

from proxyaudit.cli import console
from proxyaudit.cli.code import CodeNetwork, Network, consent_of
from proxyaudit.cli.options import Json, Many, MaybePath, RunCode, given, quiet_stdout

EXAMPLE = "Example:  proxyaudit scan --signatures reports/my-audit --model step-400.safetensors --inputs people.csv"


def scan(
    signatures: Annotated[Path, given("A run that was made with --signatures.", "RUN")],
    model: Annotated[
        Path, given("Checkpoint of the run's model (safetensors; of trees the library's file); of texts also a model folder.", "PATH")
    ],
    inputs: Annotated[Path, given("Table with the columns or texts that the model reads; better with the attribute too.", "FILE")],
    attribute: Annotated[Many, given("Attribute to ask for; may be given several times (default: all).", "A")] = None,
    base: Annotated[MaybePath, given("Folder of the run's recipe, or its base model, if not found beside the model.", "DIR")] = None,
    opened: Annotated[MaybePath, given("Folder that 'access' opened the run's signatures to, where they are encrypted.", "DIR")] = None,
    run_code: RunCode = None,
    network: CodeNetwork = Network.auto,
    json: Json = False,
) -> int:
    """Say whether a checkpoint entered a known state; exit code 0 it did not, 1 it did, 3 it cannot be told."""
    with quiet_stdout():
        from proxyaudit.audits.scan.run import scan_checkpoint

        consent, names = consent_of(run_code, network), tuple(attribute or ())
        document = scan_checkpoint(signatures, model, inputs, base=base, attributes=names, consent=consent, opened=opened)
    if json:
        console.emit_json(document)
    else:
        _show(document)
    return int(document["exit_code"])


def _show(document: dict[str, Any]) -> None:
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

"""The command ``cure``: parse, call, print."""

from pathlib import Path
from typing import Annotated

from proxyaudit.cli import console
from proxyaudit.cli.code import CodeNetwork, Network, consent_of
from proxyaudit.cli.options import Base, CacheRoot, Json, Out, RunCode, RunFolder, given, kept_results, quiet_stdout

EXAMPLE = "Example:  proxyaudit cure reports/my-audit --attribute sex --regime tvae --cure dropped-2"


def cure(
    run: RunFolder,
    attribute: Annotated[str, given("Protected attribute that the cure is for.", "A")],
    regime: Annotated[str, given("Regime whose training rows are altered.", "G")],
    cure: Annotated[str | None, given("A cure that the run tried (default: the one that the report calls best).", "NAME")] = None,
    base: Base = None,
    out: Out = Path("reports"),
    cache: CacheRoot = None,
    run_code: RunCode = None,
    network: CodeNetwork = Network.auto,
    json: Json = False,
) -> None:
    """Write a regime's training rows as a cure that was tried alters them, and a recipe that audits the result.

    The cure 'erased' alters no rows: 'proxyaudit mitigate' makes it.
    """
    with kept_results(cache), quiet_stdout():
        from proxyaudit.audits.cure.run import write_cure
        from proxyaudit.verification.run import read_verified

        # Before anything in the pack is prepared or executed: is it what its maker wrote?
        consent, pack = consent_of(run_code, network), read_verified(run)
        done = write_cure(run, pack, attribute, regime, cure, consent=consent, base=base, out=out, cache_root=cache)
    if done.document["holds_real_rows"]:
        console.warn(
            "proxyaudit: take care: rows of this release are those of real people. Keep it as safe as the data, and publish it nowhere"
        )
    if json:
        console.emit_json({"folder": str(done.folder), **done.document})
        return
    from proxyaudit.estimates.task import YARDSTICKS

    promised, before = done.document["promised"], done.document["before"].get("gap") or {}
    console.write_line(f"Of:       {done.document['attribute']} after {done.document['regime']}")
    if before.get("value") is not None:
        console.write_line(f"Gap before: {before['value']:.3f} ({before['low']:.3f} to {before['high']:.3f})")
    console.write_line(f"Cure:     {done.document['words']}")
    for measure, words in (("gap", "Gap left"), *((by.cost, f"Cost in {by.word}") for by in YARDSTICKS.values())):
        if (found := promised.get(measure)) is not None and found["value"] is not None:
            between = f"({found['low']:.3f} to {found['high']:.3f})"
            models = f"{found['models']} model{'' if found['models'] == 1 else 's'}"
            console.write_line(f"{words}: {found['value']:.3f} {between}, as tried with {models}")
    left = (promised.get("gap") or {}).get("value")
    if left is not None and before.get("value") is not None and abs(left) >= abs(before["value"]):
        console.write_line("Take care: in the trial this cure did not make the gap smaller.")
    release = done.folder / done.document["release"]["file"]
    if release.is_file():
        console.write_line(f"Release:  {release}  (it holds rows: keep it as safe as the data)")
    else:
        console.write_line(f"Release:  encrypted; proxyaudit access {done.folder} --identity FILE --purpose TEXT --out DIR opens it")
    console.write_line(f"Audit it: proxyaudit run {done.folder / done.document['recipe']}")

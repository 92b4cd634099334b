"""The command ``mitigate``: parse, call, print."""

from pathlib import Path
from typing import Annotated, Any

from typer import Exit

from proxyaudit.cli import console
from proxyaudit.cli.code import CodeNetwork, Network, consent_of
from proxyaudit.cli.options import Base, CacheRoot, Jobs, Json, Many, Out, RunCode, RunFolder, given, kept_results, quiet_stdout
from proxyaudit.errors import ProxyauditError

EXAMPLE = "Example:  proxyaudit mitigate reports/my-audit --attribute sex --regime real --method splince"


def mitigate(
    run: RunFolder,
    attribute: Annotated[str, given("Attribute or proxy to erase.", "A")],
    regime: Annotated[str, given("Regime whose models are changed.", "G")],
    site: Annotated[Many, given("Where to erase; may be given several times (default: verdict sites).", "SITE")] = None,
    method: Annotated[str, given("leace changes least; splince keeps the covariance with the label.", env="METHOD")] = "leace",
    base: Base = None,
    out: Out = Path("reports"),
    cache: CacheRoot = None,
    jobs: Jobs = None,
    run_code: RunCode = None,
    network: CodeNetwork = Network.auto,
    json: Json = False,
) -> None:
    """Erase an attribute from a run's models, save them as checkpoints, audit them again, and say what remains."""
    with kept_results(cache), quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.mitigation.run import MitigationRequest, mitigate_run
        from proxyaudit.verification.run import read_verified

        # Before anything in the pack is prepared or executed: is it what its maker wrote?
        consent, pack = consent_of(run_code, network), read_verified(run)
        request = MitigationRequest(attribute, regime, tuple(site or ()), method)
        more: dict[str, Any] = {"consent": consent, "cache_root": cache}
        result = mitigate_run(run, pack, request, base=base, out=out, jobs=jobs, progress=progress, **more)
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
        console.warn("proxyaudit: the new audit is partial; what did not fail stands. Mend what failed, or run the same command again")
        raise Exit(ProxyauditError.exit_code)

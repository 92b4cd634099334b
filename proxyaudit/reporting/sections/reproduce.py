"""How to get the same evidence again, and the numbers that the answers cite."""

import yaml

from proxyaudit.estimates.scope import mapping
from proxyaudit.reporting.blocks import Block, Code, Fold, Section, Terms, note, para
from proxyaudit.reporting.facts import command, seal_words
from proxyaudit.reporting.report import Report, ReportSection, estimates_blocks
from proxyaudit.reporting.text import visible
from proxyaudit.secret import KEYED, VARIABLE

_AGAIN = (
    "The recipe as resolved lies beside this page as recipe.yaml, but relative paths in it, as that of the data, still start from the "
    "folder of the original recipe: copy it there and run the command below there. With the same input files and versions, and the "
    f"auditor's secret ({VARIABLE}), it gives the same evidence.json, byte for byte."
)
_AGAIN_BARE = (
    f"With the same files (their digests are below), versions and auditor's secret ({VARIABLE}) the command below gives the same "
    "evidence.json, byte for byte."
)
# The page is not changed by what comes later: a signature of it would be lost.
_PURGED = "where purge.json lies beside this page, it says which files with rows were deleted and when; 'proxyaudit verify' checks it"
_READ = {
    "native": "categories and missing values as such (encoding: native)",
    "one_hot": "a column for each category, and medians for missing numbers (encoding: one_hot)",
}


def reproduce(report: Report) -> Section:
    """The command, the recipe, and the estimates that decided."""
    pack, bare = report.pack, report.summary.bare
    run, evidence = pack.evidence.run, pack.evidence
    versions = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
    pairs = [
        ("Plan digest", run.plan_digest),
        ("Sealed beforehand", seal_words(pack)),
        ("Rows deleted", _PURGED),
        ("Root seed", str(run.seed)),
        ("Versions", versions),
    ]
    if run.input_encoding is not None:
        pairs.append(("Trees read", _READ[run.input_encoding]))
    for name, value in sorted(mapping(pack.plan, "hashes").items()):
        kind = "Keyed digest" if str(value).startswith(KEYED) else "sha256"
        pairs.append((f"{kind} of {name}", str(value).removeprefix(KEYED)))
    recipe = yaml.safe_dump(pack.recipe, sort_keys=False, allow_unicode=True, width=100)
    shown = "\n".join(visible(line) for line in recipe.split("\n"))
    blocks: list[Block] = [para(_AGAIN_BARE if bare else _AGAIN), Code(command(pack)), Terms(tuple(pairs))]
    blocks.append(Fold("What was asked for" if bare else "Recipe as resolved", (Code(shown),)))
    cited = {ref for f in evidence.findings for ref in (*f.decided_by, *([f.retention] if f.retention else []))}
    numbers = [e for e in evidence.estimates if e.id in cited]
    if numbers:
        inside = estimates_blocks(report, numbers, "Estimates that decided", ("Attribute", "Measure"))
        blocks.append(Fold(f"The {len(numbers)} estimates that decided, of {len(evidence.estimates)} in evidence.json", inside))
    blocks.append(note(f"Evidence of schema {evidence.schema_version}; every number is in evidence.json."))
    return Section("reproduce", "Reproduce", tuple(blocks))


SECTION = ReportSection(140, reproduce)
